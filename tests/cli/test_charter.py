from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from keyvault.cli.main import cli
from tests.cli.conftest import carried_out, document_of
from tests.deployment import Deployment, deployment

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment whose charter the tests change."""
    with deployment(tmp_path_factory.mktemp("charter")) as made:
        yield made


@pytest.fixture
def keyvault(own: Deployment, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run commands against it as alice."""
    monkeypatch.setenv("KEYVAULT_DEPLOYMENT", str(own.dir))
    monkeypatch.setenv("KEYVAULT_MEMBER", "alice")
    return lambda *arguments: CliRunner().invoke(cli, [str(each) for each in arguments])


@pytest.fixture
def file(keyvault: Run, tmp_path: Path) -> Path:
    """The charter in force, as a file of the test's own."""
    path = tmp_path / "charter.yaml"
    path.write_text(keyvault("charter", "show").stdout)
    return path


def changed(file: Path, *pairs: tuple[str, str]) -> Path:
    text = file.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)
    return file


def test_show_prints_what_check_accepts(keyvault: Run, file: Path) -> None:
    """The charter in force comes back as a file with the same hash."""
    in_force = document_of(keyvault("charter", "show", "--json"))
    assert document_of(keyvault("charter", "check", file, "--json"))["sha256"] == in_force["sha256"]
    assert in_force["yaml"] == file.read_text()


def test_a_member_is_added_and_removed_by_two_persons(keyvault: Run, file: Path, tmp_path: Path) -> None:
    """A change is shown in plain words to the asker and the approver; approved it is in force, version by version."""
    before = document_of(keyvault("charter", "show", "--json"))["version"]
    assert keyvault("member", "keygen", "dave", "--out", tmp_path / "dave.key", "--no-passphrase").exit_code == 0
    dave = "  - {name: dave, roles: [approver], keys: [{file: dave.key.pub}]}\ngroups:"
    changed(file, ("groups:", dave), ("[alice, bob, carol]", "[alice, bob, carol, dave]"))
    asked = keyvault("charter", "apply", file, "--next-version")
    assert asked.exit_code == 0, asked.stderr
    for told in (
        "+ member dave: approver, key ",
        "~ group everybody: alice, bob, carol becomes alice, bob, carol, dave",
    ):
        assert told in asked.stderr
    assert document_of(keyvault("charter", "show", "--json"))["version"] == before
    name = asked.stdout.split()[-1]
    approved = keyvault("approve", name, "--member", "carol", "--yes")
    assert "; --ledger FILE finds out here):\n  + member dave: approver" in approved.stderr
    assert "carried out" in approved.stdout
    assert document_of(keyvault("charter", "show", "--json"))["version"] == before + 1
    removed = changed(file, (dave, "groups:"), (", dave]", "]"))
    gone = keyvault("charter", "apply", removed, "--next-version", "--approve-with", "bob")
    assert "- member dave: approver; approvals of theirs do not count any more" in gone.stderr
    assert document_of(keyvault("charter", "show", "--json"))["version"] == before + 2


def test_roles_keys_and_thresholds_are_told(keyvault: Run, file: Path) -> None:
    """What changes of a member's roles and of thresholds is told one by one; a veto ends it, and nothing changed."""
    in_force = keyvault("charter", "show").stdout
    changed(file, ("[approver]", "[approver, auditor]"), ("thaw: 1 of everybody", "thaw: 1 of admins"))
    asked = keyvault("charter", "apply", file, "--next-version")
    assert "~ member carol: approver becomes approver and auditor" in asked.stderr
    assert "~ threshold of thaw: 1 of everybody becomes 1 of admins" in asked.stderr
    name = asked.stdout.split()[-1]
    vetoed = keyvault("approve", name, "--veto", "--member", "carol", "--yes", "--json")
    assert document_of(vetoed)["proposal"]["state"] == "VETOED"
    assert keyvault("charter", "show").stdout == in_force
    again = keyvault("charter", "apply", file, "--next-version")
    assert "PREVIOUSLY VETOED" in again.stdout


def test_a_shorter_delay_is_said_to_wait(keyvault: Run, file: Path) -> None:
    """A charter that shortens a delay is said to wait for the old one, to the asker and to the approver."""
    changed(file, ("delay: 1s", "delay: 500ms"))
    asked = keyvault("charter", "apply", file, "--next-version")
    assert "It WAITS 1s after the last needed yes, because it shortens" in asked.stderr
    vetoed = keyvault("approve", asked.stdout.split()[-1], "--veto", "--member", "carol", "--yes")
    assert "It WAITS 1s after the last needed yes, because it shortens" in vetoed.stderr
    changed(file, ("delay: 500ms", "delay: 2s"))
    longer = keyvault("charter", "apply", file, "--next-version")
    assert (longer.exit_code, "It WAITS" in longer.stderr) == (0, False)
    assert keyvault("approve", longer.stdout.split()[-1], "--veto", "--member", "carol", "--yes").exit_code == 0


def test_breaking_the_glass_waits_for_days(keyvault: Run, file: Path) -> None:
    """Break-glass says its reason and its threshold, and with everybody's approval is still not carried out today."""
    in_force = keyvault("charter", "show").stdout
    changed(file, ("thaw: 1 of everybody", "thaw: 1 of admins"))
    asked = keyvault(
        *("charter", "apply", file, "--next-version", "--break-glass", "--reason", "carol lost her key"),
        *("--approve-with", "bob", "--approve-with", "carol"),
    )
    assert asked.exit_code == 0, asked.stderr
    assert "break-glass: 2 of everybody, then waits 3d." in asked.stderr
    assert "BREAK GLASS" in asked.stdout
    assert "Reason: carol lost her key" in asked.stdout
    assert "approved, not carried out yet" in asked.stdout
    assert keyvault("charter", "show").stdout == in_force


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--break-glass",), "--break-glass and --reason TEXT go together"),
        (("--reason", "x"), "--break-glass and --reason TEXT go together"),
        ((), "does not follow version"),
    ],
)
def test_what_cannot_be_meant_is_refused(keyvault: Run, file: Path, options: tuple[str, ...], says: str) -> None:
    """A charter for another version, or glass without a reason, is refused before anybody is asked."""
    result = keyvault("charter", "apply", file, *options)
    assert result.exit_code == 2
    assert says in result.stderr


def test_no_charter_without_an_admin_to_ask(keyvault: Run, file: Path) -> None:
    """Somebody who is no admin may not ask for a change of the charter."""
    result = keyvault("charter", "apply", file, "--next-version", "--member", "carol", "--as", "admin/alice")
    assert result.exit_code == 1
    assert "Refused (NOT_AUTHORIZED)" in result.stderr


def test_a_key_made_with_the_other_members_still_works(keyvault: Run) -> None:
    """After all these changes the enclave is ruled as before: two persons make a key."""
    carried_out(keyvault("key", "create", "still", "--algorithm", "p256", "--approve-with", "bob", "--json"))
