"""A restored ledger that went on, as an auditor sees it: another origin, one key, and what was given up."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from keyvault.core.errors import Malformed
from keyvault.core.marks import Mark
from keyvault.core.state import State
from keyvault.core.statements import Action
from keyvault.ledger.checkpoint import assemble, in_incarnation, incarnated, open_in_any, signing_text, split_origin
from keyvault.ledger.errors import Unproven
from keyvault.ledger.evidence import check_evidence
from keyvault.ledger.evidence_words import evidence_text
from keyvault.ledger.gather import evidence_of
from keyvault.ledger.merkle import Tree
from keyvault.ledger.note import Verifier, verifier
from keyvault.ledger.report import Report, as_json, summary
from keyvault.ledger.verify import verify
from keyvault.store.base import EMPTY_HEAD
from tests.ledger.bundles import begun
from tests.ledger.ledgers import Ledger, secp256k1_key


def mark_of(ledger: Ledger) -> Mark:
    """Return what an anchor that saw this ledger says."""
    return Mark(incarnation=ledger.state.incarnation, epoch=ledger.epoch, size=ledger.head.size, root=ledger.head.root)


def copy_of(ledger: Ledger) -> Ledger:
    """Return the same ledger, which can go on otherwise."""
    same = replace(
        ledger,
        state=State.empty(),
        tree=Tree(),
        events=[],
        entries=[],
        checkpoints=list(ledger.checkpoints),
        head=EMPTY_HEAD,
    )
    for event in ledger.events:
        same.add(event)
    return same


def leave(ledger: Ledger, lost: Mark, reason: str = "the disk is gone") -> int:
    """Go on as the next incarnation, and give up what was seen; alice asks, bob and carol approve."""
    parameters = {
        "incarnation": str(max(ledger.state.incarnation, lost.incarnation) + 1),
        "position": str(ledger.state.decided),
        "lost_incarnation": str(lost.incarnation),
        "lost_epoch": str(lost.epoch),
        "lost_position": str(lost.size),
        "lost_root": lost.root.hex(),
        "reason": reason,
    }
    return ledger.change(Action.LEAVE_QUARANTINE, parameters, approvers=(ledger.bob, ledger.carol))


def two_histories() -> tuple[Ledger, Ledger]:
    """Return a ledger that was lost, and an older copy of it that went on, each with its last checkpoint."""
    ledger = begun()
    ledger.sign_checkpoint()
    ledger.create_key("k1", secp256k1_key())
    ledger.add(ledger.issued("k1"))
    ledger.sign_checkpoint()
    older = copy_of(ledger)
    for _ in range(5):
        ledger.add(ledger.issued("k1"))
    ledger.sign_checkpoint()
    older.start_term()
    older.start_term()
    leave(older, mark_of(ledger))
    older.add(older.issued("k1"))
    older.sign_checkpoint()
    return ledger, older


LOST, HERE = two_histories()
FIRST = verifier(split_origin(HERE.key.name)[0], HERE.key.public_key)
"""The key as it was pinned on the first day."""


def audited(ledger: Ledger, *, pinned: str | None = None, kept: Sequence[bytes] = ()) -> Report:
    return verify(ledger.entries, ledger.checkpoints, expected_vkey=pinned, kept=kept)


def test_the_origin_carries_the_incarnation() -> None:
    """Checkpoints before it have the old name, those after it the new one, all under one key."""
    assert HERE.key.name == f"{FIRST.name}/2" == incarnated(FIRST.name, 2)
    assert split_origin(HERE.key.name) == (FIRST.name, 2)
    assert split_origin("somebody/else") == ("somebody/else", 1)
    names = [in_incarnation(FIRST, note).name for _, note in HERE.checkpoints]
    assert names == [FIRST.name, FIRST.name, f"{FIRST.name}/2"]


@pytest.mark.parametrize("pinned", [None, FIRST.vkey, HERE.key.vkey], ids=["none", "first", "second"])
def test_the_whole_history_verifies(pinned: str | None) -> None:
    """The audit follows the change of origin, whichever name was pinned, and says what was given up and why."""
    report = audited(HERE, pinned=pinned)
    assert (report.problems, report.checkpoints_verified) == ((), 3)
    assert (report.origin, report.log_vkey) == (HERE.key.name, HERE.key.vkey)
    assert report.incarnations == HERE.state.incarnations
    (begun,) = report.incarnations
    assert (begun.lost, begun.reason) == (mark_of(LOST), "the disk is gone")
    assert f"RESTORED      incarnation 2 since entry {begun.index}: {begun.position} entries were kept" in summary(
        report
    )
    assert as_json(report)["incarnations"] == [
        {
            "incarnation": 2,
            "index": begun.index,
            "at_ms": begun.at,
            "position": begun.position,
            "lost_incarnation": 1,
            "lost_epoch": LOST.epoch,
            "lost_position": LOST.head.size,
            "lost_root": LOST.head.root.hex(),
            "reason": "the disk is gone",
        }
    ]


def test_an_auditor_with_a_checkpoint_of_the_lost_period_is_told() -> None:
    """It is not in the new history: the audit says so, where members let it go, and their reason."""
    report = audited(HERE, pinned=FIRST.vkey, kept=[LOST.checkpoints[-1][1]])
    (problem,) = report.problems
    (begun,) = HERE.state.incarnations
    assert problem.sentence == (
        f"the checkpoint that you kept is not in this history: it covers {LOST.head.size} entries of incarnation 1. The"
        f" ledger was put back to {begun.position} entries, and members let it go on as incarnation 2 (entry"
        f" {begun.index}). What the lost history signed is not known here. Their reason: the disk is gone"
    )


def test_one_of_more_than_members_were_told_of_says_so() -> None:
    """Whoever kept a later checkpoint than the anchor had seen learns that members did not know of it."""
    later = copy_of(LOST)
    later.add(later.issued("k1"))
    (problem,) = audited(HERE, kept=[later.sign_checkpoint()]).problems
    assert f"which is more than the {LOST.head.size} that members were told of" in problem.sentence


def test_a_checkpoint_of_what_was_kept_still_holds() -> None:
    """What an auditor kept from before the lost period is in the new history as it was."""
    assert audited(HERE, pinned=FIRST.vkey, kept=[HERE.checkpoints[1][1]]).ok


@pytest.mark.parametrize("place", [1, 2])
def test_a_checkpoint_under_the_name_of_another_incarnation_is_found(place: int) -> None:
    """The log key cannot say of one incarnation what holds of the other: two histories never share an origin."""
    size, note = HERE.checkpoints[place]
    root = open_in_any(note, HERE.key).root
    wrong = verifier(FIRST.name if place == 2 else f"{FIRST.name}/2", FIRST.public_key)
    text = signing_text(wrong.name, size, root)
    forged = [*HERE.checkpoints]
    forged[place] = (size, assemble(text, wrong, HERE.log_key.sign(text)))
    report = verify(HERE.entries, forged, expected_vkey=FIRST.vkey)
    assert any("is not what the log key" in each.sentence for each in report.problems)


def test_another_log_is_not_another_incarnation() -> None:
    """A key with the ledger's name and another value, or another ledger's name, opens nothing."""
    other = Ledger()
    other.start()
    note = HERE.checkpoints[-1][1]
    for key in (other.key, verifier(FIRST.name, bytes(32))):
        with pytest.raises((Unproven, Malformed)):
            open_in_any(note, key)


@pytest.mark.parametrize("pinned", [FIRST, HERE.key], ids=["first", "second"])
def test_evidence_holds_across_incarnations(pinned: Verifier) -> None:
    """A bundle from before or after the beginning convinces whoever pinned either name; it shows who let it go on."""
    (begun,) = HERE.state.incarnations
    for index in (begun.index, begun.index - 1, 4):
        data, found = evidence_of(HERE, index=index, key=HERE.key)
        assert check_evidence(data, pinned).account == found.account
    data, found = evidence_of(HERE, index=begun.index)
    assert "A restored ledger went on as incarnation 2; given up:" in evidence_text(found)
    assert found.account.incarnation == 2


def test_evidence_rests_on_the_incarnation() -> None:
    """What was decided after it has it in its bundle; a checkpoint of the old name cannot cover it."""
    ledger = copy_of(HERE)
    index = ledger.change(Action.KEY_DISABLE, {"key": "k1", "version": "1"})
    ledger.sign_checkpoint()
    data, found = evidence_of(ledger, index=index)
    assert found.account.incarnation == 2
    (begun,) = ledger.state.incarnations
    assert f'"index":{begun.index},' in data.decode()
    text = signing_text(FIRST.name, ledger.head.size, ledger.head.root)
    ledger.checkpoints[-1] = (ledger.head.size, assemble(text, FIRST, ledger.log_key.sign(text)))
    with pytest.raises(Unproven, match="incarnation 2"):
        evidence_of(ledger, index=index)
