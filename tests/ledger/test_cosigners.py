"""Whose cosignatures an auditor asks for, and how far they reach over a ledger."""

from collections.abc import Sequence

import pytest

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.ledger.cosignature import cosigner
from keyvault.ledger.cosigners import Cosigned, Policy, parse_policy, several
from keyvault.ledger.report import Report, as_json, summary
from keyvault.ledger.verify import verify
from tests.ledger.cosigning import Witness, signed, signed_root, spoiled
from tests.ledger.ledgers import sample

GOOD = sample()
SIZES = [size for size, _ in GOOD.checkpoints]
EARLY, LATE = SIZES[1], SIZES[-1]
A, B, C = Witness("kv-1"), Witness("kv-2"), Witness("kv-3")
VKEYS = [each.key.vkey for each in (A, B, C)]


def _audited(policy: Policy | None, *kept: bytes, own: Sequence[tuple[int, bytes]] = GOOD.checkpoints) -> Report:
    return verify(GOOD.entries, own, expected_vkey=GOOD.key.vkey, kept=kept, cosigners=policy)


def _cosigned(report: Report) -> Cosigned:
    assert report.cosigned is not None
    return report.cosigned


def test_cosignatures_reach_as_far_as_enough_of_them() -> None:
    """Of three, one went further than the second: two reach as far as that one, three nowhere; each is said."""
    kept = (A.cosign(signed(GOOD, EARLY)), B.cosign(signed(GOOD, LATE)))
    report = _audited(several(VKEYS, 2), *kept)
    assert report.ok
    assert (_cosigned(report).size, _cosigned(report).furthest) == (EARLY, LATE)
    assert [size for _, size in _cosigned(report).reached] == [EARLY, LATE, 0]
    document = as_json(report)["cosigned"]
    assert isinstance(document, dict)
    entries = len(GOOD.entries)
    assert (document["entries"], document["entries_after"]) == (EARLY, entries - EARLY)
    assert document["entries_after_by_none"] == entries - LATE
    words = (
        f"up to entry {EARLY - 1} by 2 of 3; {entries - EARLY} after that are not, {entries - LATE} of them by nobody"
    )
    assert words in summary(report)
    assert _cosigned(_audited(several(VKEYS, 1), *kept)).size == LATE


def test_all_are_asked_for_unless_a_number_is_given() -> None:
    """Three keys and two cosignatures are not enough; the sentence says who vouches for what."""
    report = _audited(several(VKEYS), A.cosign(signed(GOOD, LATE)), B.cosign(signed(GOOD, LATE)))
    (problem,) = report.problems
    assert problem.sentence == (
        f"fewer than 3 of 3 cosigners vouch for any entry: kv-1 for {LATE}, kv-2 for {LATE}, kv-3 for none"
    )


def test_without_cosigners_nothing_is_asked_for() -> None:
    """A ledger of one server has no cosignatures, and is right without."""
    report = _audited(None)
    assert report.ok
    assert (report.cosigned, as_json(report)["cosigned"]) == (None, None)
    assert "cosigned" not in summary(report)


def test_the_ledgers_own_checkpoints_count_where_they_are_cosigned() -> None:
    """An export whose checkpoint was cosigned needs no folder beside it."""
    own = [*GOOD.checkpoints[:-1], (LATE, A.cosign(B.cosign(GOOD.checkpoints[-1][1])))]
    assert _cosigned(_audited(several(VKEYS, 2), own=own)).size == LATE


def test_a_cosignature_over_another_history_counts_for_nothing() -> None:
    """The log key signed two roots of one size, and a cosigner was shown the other one: both are named."""
    report = _audited(several(VKEYS, 1), A.cosign(signed_root(GOOD, LATE, bytes(32))))
    sentences = [each.sentence for each in report.problems]
    assert len(sentences) == 2
    assert "was signed over other entries" in sentences[0]
    assert "kv-1 for none" in sentences[1]
    forged = A.cosign(signed_root(GOOD, LATE, bytes(32)))
    own = _audited(several(VKEYS, 1), own=[*GOOD.checkpoints[:-1], (LATE, forged)])
    assert _cosigned(own).size == 0
    assert "differs from theirs" in own.problems[0].sentence


def test_a_cosigned_checkpoint_beyond_the_end_is_named() -> None:
    """Whoever cut the end of the ledger cannot make the cosignature go away that the auditor kept."""
    kept = A.cosign(signed(GOOD, LATE))
    cut = verify(GOOD.entries[:EARLY], GOOD.checkpoints[:2], kept=[kept], cosigners=several(VKEYS, 1))
    assert "its end was cut" in cut.problems[0].sentence
    assert _cosigned(cut).size == 0


def test_a_line_that_does_not_verify_spoils_its_note() -> None:
    """A cosignature that is none is a problem, in the ledger or kept, and no other line of that note counts."""
    wrong = spoiled(A.cosign(signed(GOOD, LATE)), B.key)
    for report in (
        _audited(several(VKEYS, 1), wrong),
        _audited(several(VKEYS, 1), own=[*GOOD.checkpoints[:-1], (LATE, wrong)]),
    ):
        assert f"checkpoint {LATE}: the cosignature of kv-2 on the note does not verify" in report.problems[0].sentence
        assert _cosigned(report).size == 0
    assert _audited(several(VKEYS[:1]), wrong).ok  # of one whom the auditor does not know: passed over


def test_one_key_counts_once() -> None:
    """The same key under two names would be two cosigners who are one."""
    alias = cosigner("other", A.key.public_key).vkey
    with pytest.raises(Malformed, match="twice"):
        several([A.key.vkey, alias])
    with pytest.raises(Malformed, match="twice"):
        parse_policy(f"witness a {A.key.vkey}\nwitness b {alias}\ngroup g all a b\nquorum g\n".encode())


@pytest.mark.parametrize(("count", "required"), [(0, None), (3, 0), (3, 4), (limits.COSIGNERS_MAX + 1, 1)])
def test_numbers_that_cannot_be_are_refused(count: int, required: int | None) -> None:
    """None, more than there are, or more than is read."""
    with pytest.raises(Malformed, match="cosigners"):
        several([Witness(f"w-{number}").key.vkey for number in range(count)], required)


POLICY = f"""\
# the nodes of hot, and who looks at them from outside
log {GOOD.key.vkey} https://kv-1.example.com/

witness kv1 {A.key.vkey}
\twitness kv2 {B.key.vkey} https://kv-2.example.com/
witness out {C.key.vkey}
group nodes any kv1 kv2
group both all nodes out
quorum both
"""


def test_a_policy_file_is_read_and_asked_for() -> None:
    """Groups of groups: any node, and the one outside."""
    policy = parse_policy(POLICY.encode())
    assert [each.vkey for each in policy.cosigners] == VKEYS
    assert str(policy) == "2 of 2 groups"
    nodes_only = _audited(policy, A.cosign(B.cosign(signed(GOOD, LATE))))
    assert "fewer than 2 of 2 groups" in nodes_only.problems[0].sentence
    assert _cosigned(_audited(policy, A.cosign(signed(GOOD, LATE)), C.cosign(signed(GOOD, EARLY)))).size == EARLY


def test_a_policy_of_another_log_is_not_this_ones() -> None:
    """Its log line names another key: cosignatures or not, that is said."""
    text = POLICY.replace(GOOD.key.vkey, sample(2).key.vkey)
    report = _audited(parse_policy(text.encode()), A.cosign(C.cosign(signed(GOOD, LATE))))
    assert "the policy for cosignatures is not about the log key" in report.problems[0].sentence


def test_one_witness_can_be_the_quorum() -> None:
    """A policy without groups."""
    policy = parse_policy(f"witness kv1 {A.key.vkey}\nquorum kv1".encode())
    assert _cosigned(_audited(policy, A.cosign(signed(GOOD, LATE)))).size == LATE


W = f"witness a {A.key.vkey}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no quorum"),
        (W, "no quorum"),
        (W + "quorum none\n", "asks for no cosignature"),
        (W + "quorum a\nquorum a\n", "already"),
        ("quorum a\n" + W, "not defined in a line before"),
        (W + W + "quorum a\n", "taken"),
        (f"witness none {A.key.vkey}\nquorum none\n", "taken"),
        (W + "group g 2 a\nquorum g\n", "all, any or a number"),
        (W + "group g 0 a\nquorum g\n", "all, any or a number"),
        (W + "group g 01 a\nquorum g\n", "all, any or a number"),
        (W + "group g all\nquorum g\n", "no line of a policy"),
        (W + "group g all a a\nquorum g\n", "member already"),
        (W + "group g all a\ngroup h all a\nquorum h\n", "member already"),
        (W + "group g all g\nquorum g\n", "not defined"),
        (f"witness a {GOOD.key.vkey}\nquorum a\n", "another kind of key"),
        (f"log {A.key.vkey}\n{W}quorum a\n", "Ed25519"),
        (W + "quorum a b\n", "no line of a policy"),
        (W + "trust a\nquorum a\n", "no line of a policy"),
        (W + "quorum a\r\n", "control character"),
        (W + "quorum a\x0b\n", "control character"),
        ("#" * (limits.COSIGNER_POLICY_BYTES_MAX + 1), "longer than"),
    ],
)
def test_a_policy_that_is_none_is_refused(text: str, words: str) -> None:
    """Each line that is wrong is named by its number; nothing is guessed."""
    with pytest.raises(Malformed, match=words):
        parse_policy(text.encode())


def test_a_policy_has_a_bound_on_what_it_names() -> None:
    """More witnesses than the bound are refused, not read."""
    lines = [f"witness w{number} {Witness(f'w-{number}').key.vkey}" for number in range(limits.COSIGNERS_MAX + 1)]
    with pytest.raises(Malformed, match="more than 64 witnesses and groups"):
        parse_policy("\n".join([*lines, "quorum w0"]).encode())
