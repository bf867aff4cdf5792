from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from keyvault.cli.charter_file import CharterFileError, format_charter, parse_charter, parse_delay
from keyvault.client.public_key import pem_of
from keyvault.core import limits
from keyvault.core.charter import Charter, Duty, Member, Role, Threshold
from keyvault.core.errors import Malformed
from keyvault.core.ids import MemberName, Principal
from keyvault.core.quorum import parse_quorum
from keyvault.ledger.codec_charter import encode_charter
from tests.worlds import Person, charter, people, spki

Run = Callable[..., Result]
ALICE, BOB, CAROL = people("alice", "bob", "carol")


def rich() -> Charter:
    """A charter with everything that a file can say."""
    approver = Member(
        name=MemberName("dave"),
        roles=frozenset({Role.APPROVER, Role.AUDITOR}),
        public_keys=(spki(Person("dave").key), spki(Person("dave").key)),
        principals=frozenset({Principal("spiffe://test.local/approver/dave"), Principal("spiffe://test.local/bot/d")}),
    )
    members = (ALICE.member, BOB.member, CAROL.member, approver)
    glass = Threshold(duty=Duty.BREAK_GLASS, quorum=parse_quorum("3 of admins"), delay_ms=limits.DELAY_MS_MAX)
    return charter(
        members=members,
        groups={"risk": ("carol", "dave"), "on": ("bob",)},
        thresholds={Duty.CHARTER: "1 of risk and (1 of on or 1 of admins)", Duty.BREAK_GLASS: glass},
    )


def parse(text: str, folder: Path = Path()) -> Charter:
    return parse_charter(text, name="c.yaml", folder=folder)


def problems(text: str, folder: Path = Path()) -> tuple[str, ...]:
    with pytest.raises(CharterFileError) as caught:
        parse(text, folder)
    return caught.value.problems


def test_a_charter_that_is_written_reads_back_the_same() -> None:
    """`format_charter` writes YAML from which exactly the same charter, to the byte of its document, is read."""
    made = rich()
    again = parse(format_charter(made))
    assert again == made
    assert encode_charter(again) == encode_charter(made)


def test_keys_may_be_pem_lines_or_files(tmp_path: Path) -> None:
    """A key is the same whether it stands there as PEM, as an OpenSSH line, or in a file beside the charter."""
    text = format_charter(charter(ALICE, BOB))
    pem = pem_of(ALICE.member.public_keys[0])
    (tmp_path / "alice.pub").write_text(pem)
    line = next(line for line in text.splitlines() if "ssh-ed25519" in line)
    block = "      - |\n" + "".join(f"        {each}\n" for each in pem.splitlines())
    for other in (block.rstrip("\n"), "      - {file: alice.pub}", "      - file: ./alice.pub"):
        assert parse(text.replace(line, other, 1), tmp_path) == parse(text)


def test_every_problem_comes_with_its_place() -> None:
    """All that is wrong is told at once, each with line and column, and with what was probably meant."""
    text = """\
version: 0
members:
  - {name: alice, roles: [admn], keys: [foo, {file: nope.pub}], colour: red}
  - {name: alice, roles: [admin], keys: []}
groups: {admins: [alice, zed], admins: [alice]}
thresholds:
  chartr: 2 of admins
  thaw: 2 off admins
  freeze: {quorum: 1 of admns, delay: 9d}
"""
    found = "\n".join(problems(text))
    for expected in (
        "c.yaml:1:10: version: 0 is not from 1",
        "c.yaml:3:27: roles: unknown role 'admn': did you mean admin?",
        "c.yaml:3:41: keys: 'foo' is neither PEM nor an OpenSSH line",
        "c.yaml:3:53: file: nope.pub cannot be read (No such file or directory)",
        "c.yaml:3:65: unknown field 'colour' in a member",
        "c.yaml:4:5: member alice stands twice",
        "c.yaml:4:41: keys is empty",
        "c.yaml:5:26: group admins: zed is not a member of this charter",
        "c.yaml:5:32: admins stands twice in groups",
        "c.yaml:7:3: unknown duty 'chartr': did you mean charter?",
        "c.yaml:8:9: thaw: character 3: 'off' stands where of should",
        "c.yaml:9:11: freeze: there is no group admns: did you mean admins?",
        "c.yaml:9:39: delay: 9d is longer than 5d",
    ):
        assert expected in found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file is empty"),
        ("- a\n", "a charter must be a table of version, members, groups, thresholds"),
        ("version: 1\n", "groups is missing"),
        ("version: &one 1\n", "anchors and aliases are not permitted"),
        ("version: !!int 1\n", "tags are not permitted"),
        ("a: [", "not YAML"),
        ("version: 1\n---\nversion: 2\n", "not YAML"),
        ("version: \x1b[2J\n", "the character U+001B is not permitted"),
        ("[" * 50, "nested deeper than any charter"),
        ("#" * (limits.CHARTER_FILE_BYTES_MAX + 1), f"longer than {limits.CHARTER_FILE_BYTES_MAX} bytes"),
    ],
)
def test_what_is_no_charter_is_refused(text: str, says: str) -> None:
    """YAML that is none, that plays tricks, or that is larger than any charter is refused with a reason."""
    assert says in problems(text)[0]


def test_a_key_of_two_members_is_refused_at_its_place() -> None:
    """A person counts once: the same key under two names is a problem of the second one."""
    text = format_charter(charter(ALICE, BOB))
    lines = [line for line in text.splitlines() if "ssh-ed25519" in line]
    (problem,) = problems(text.replace(lines[1], lines[0]))
    assert "a key of bob is alice's already: a person counts once" in problem


def test_a_charter_that_cannot_rule_is_refused() -> None:
    """The laws of charters hold for files, too: a threshold that its members can never meet is refused."""
    text = format_charter(charter(ALICE, BOB)).replace("  charter: 1 of admins", "  charter: 3 of admins")
    (problem,) = problems(text)
    assert problem.startswith("c.yaml:1:1: this charter cannot rule: ")
    assert "3 of admins" in problem


def test_delays_are_lengths_of_time() -> None:
    """A delay has a unit and an end."""
    assert [parse_delay(text) for text in ("1s", "30m", "24h", "5d")] == [1_000, 1_800_000, 86_400_000, 432_000_000]
    for text in ("", "0s", "24", "1w", "1.5h", "6d", "-1h"):
        with pytest.raises(Malformed):
            parse_delay(text)


def test_check_is_offline_and_lists_problems(offline: Run, tmp_path: Path) -> None:
    """`charter check` says what a good file holds, and ends with 2 and the places of what is wrong with a bad one."""
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(format_charter(rich()))
    bad.write_text("version: 1\n")
    fine = offline("charter", "check", good)
    assert (fine.exit_code, fine.stdout) == (0, f"{good}: no problems; 4 members, 3 groups, 15 thresholds.\n")
    wrong = offline("charter", "check", bad)
    assert wrong.exit_code == 2
    assert f"{bad}:1:1: members is missing" in wrong.stderr
