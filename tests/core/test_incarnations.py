"""A restored ledger that goes on: who decides it, what is void, what is full, and what does not follow."""

from dataclasses import replace

import pytest

from keyvault.core.approvals import Voice
from keyvault.core.charter import Duty, Rulers, Threshold, check_charter
from keyvault.core.errors import Reason, Refused
from keyvault.core.events import IncarnationStarted, SignatureEscalated, SignatureIssued, SignatureRefused, TermStarted
from keyvault.core.ids import Epoch, UnixMillis
from keyvault.core.marks import Incarnation, Mark, incarnation_at, newest_of
from keyvault.core.policy import ANY, Limit
from keyvault.core.proposals import Outcome, Proposal
from keyvault.core.quorum import parse_quorum, quorum_text
from keyvault.core.statements import Action, proposal_id_of
from keyvault.core.units import utc
from tests.core.governed import DAY_MS, HOUR_MS, Governed
from tests.worlds import allow_digest, charter, escalate_digest, people, policy

LOST = Mark(incarnation=1, epoch=Epoch(4), size=57, root=b"\x0c" * 32)
ROOT = LOST.root.hex()
HOURLY = Limit(id="hourly", keys=ANY, window_ms=HOUR_MS, count_max=10)
DAILY = Limit(id="daily", keys=ANY, window_ms=DAY_MS, count_max=1_000)


def restored(*limited: Limit) -> Governed:
    """Return an enclave of alice, bob, carol and dave with a key, whose term is past what was lost."""
    persons = people("alice", "bob", "carol", "dave")
    rules = policy(allow_digest(), escalate_digest(key="asked"), limits=limited)
    here = Governed(*persons, rules=rules, rulers=charter(*persons, thresholds={Duty.CHARTER: "2 of admins"}))
    here.key()
    here.key("asked")
    here.sign("kept")
    here.add(TermStarted(at=here.now, epoch=Epoch(5), holder="h", software="s"))
    return here


def asked(here: Governed, **other: str) -> Proposal:
    """Let alice propose to leave the quarantine."""
    wanted = {
        "incarnation": "2",
        "position": str(here.state.decided),
        "lost_incarnation": "1",
        "lost_epoch": "4",
        "lost_position": "57",
        "lost_root": ROOT,
        "reason": "the disk is gone",
    }
    return here.propose(Action.LEAVE_QUARANTINE, wanted | other)


def left(here: Governed) -> IncarnationStarted:
    """Leave the quarantine with the yes of bob and carol."""
    proposal = asked(here)
    here.cast(proposal, "bob")
    here.cast(proposal, "carol")
    assert proposal.outcome is Outcome.EXECUTED
    fact = here.events[-1]
    assert isinstance(fact, IncarnationStarted)
    return fact


def test_it_takes_the_quorum_and_nothing_less() -> None:
    """With one yes of two nothing happens; the second begins the incarnation, and says what was given up."""
    here = restored()
    proposal = asked(here)
    assert here.cast(proposal, "bob").outcome is Outcome.OPEN
    assert (here.state.incarnation, here.state.incarnations) == (1, ())
    assert here.cast(proposal, "carol").outcome is Outcome.EXECUTED
    position = here.state.incarnations[0].position
    assert here.state.incarnations == (
        Incarnation(
            number=2,
            index=len(here.events) - 1,
            at=here.now,
            position=position,
            lost=LOST,
            reason="the disk is gone",
        ),
    )
    assert isinstance(here.events[position - 1], SignatureIssued)
    assert here.replayed() == here.state


def test_a_veto_ends_it() -> None:
    """One member who has the newer ledger in a drawer is enough to stop it."""
    here = restored()
    proposal = asked(here)
    here.cast(proposal, "dave", Voice.VETO)
    assert proposal.outcome is Outcome.VETOED
    with pytest.raises(Refused, match="vetoed"):
        here.cast(proposal, "bob")
    assert asked(here, reason="again").vetoed_before == proposal.id


def test_a_fact_that_no_quorum_stands_behind_is_not_believed() -> None:
    """I4: a leader, or whoever has the database, cannot begin an incarnation by itself or change what was given up."""
    here = restored()
    proposal = asked(here)
    here.cast(proposal, "bob")
    carried = here.approve_only(proposal, "carol")
    assert isinstance(carried, IncarnationStarted)
    for other in (
        replace(carried, incarnation=3),
        replace(carried, lost=replace(LOST, size=58)),
        replace(carried, lost=replace(LOST, root=bytes(32))),
        replace(carried, position=carried.position - 1),
    ):
        here.refuses(other, Reason.STATE_MISMATCH)
    here.add(carried)
    without = restored()
    only_asked = asked(without)
    without.refuses(replace(carried, proposal=only_asked.id, at=without.now), Reason.NEEDS_APPROVAL)


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"incarnation": "3"}, "incarnation 3 is not the next one, which is 2"),
        ({"lost_incarnation": "4"}, "incarnation 2 is not the next one, which is 5"),
        ({"lost_epoch": "5"}, "epoch 5 is not past epoch 5"),
        ({"position": "3"}, "3 entries were not all that there was"),
        ({"position": "999"}, "999 entries were not all that there was"),
    ],
)
def test_what_does_not_fit_is_not_asked(parameters: dict[str, str], complaint: str) -> None:
    """Number, epoch and position follow from the ledger and from what was seen."""
    with pytest.raises(Refused, match=complaint):
        asked(restored(), **parameters)


def test_open_proposals_and_their_approvals_are_void() -> None:
    """What members approved in a history that is gone is worth nothing: changes, and signatures that were asked for."""
    here = restored()
    open_one = here.propose(Action.KEY_DESTROY, {"key": "signer", "version": "1", "after_days": "30"})
    here.cast(open_one, "bob", Voice.REJECT)
    asking = here.sign("ask", key="asked")
    assert isinstance(asking, SignatureEscalated)
    waiting = here.state.proposals.find(proposal_id_of(asking.statement))
    here.cast(waiting, "bob")
    assert waiting.approved_at is not None
    left(here)
    assert (open_one.outcome, waiting.outcome) == (Outcome.VOID, Outcome.VOID)
    assert (here.state.proposals.open, here.state.proposals.ready, here.state.proposals.by_request) == ({}, {}, {})
    with pytest.raises(Refused, match="the ledger began a new incarnation"):
        here.cast(open_one, "carol")


def test_limits_are_full_until_the_lost_period_left_their_window() -> None:
    """No room in any window that may hold what was lost; exactly a window later there is, whatever the policy says."""
    here = restored(HOURLY, DAILY)
    began = left(here)
    for later, full in ((0, "hourly"), (HOUR_MS - 1, "hourly"), (HOUR_MS, "daily"), (DAY_MS - 1, "daily")):
        here.at = began.at + later
        refused = here.decide(f"r-{later}")
        assert isinstance(refused, SignatureRefused)
        assert (refused.reason, refused.rules) == (Reason.LIMIT_EXCEEDED, (full,))
        assert f"limit {full} counts as full: the ledger was restored" in refused.explanation
        room_at = utc(UnixMillis(began.at + {"hourly": HOUR_MS, "daily": DAY_MS}[full]))
        assert f"There is room again at {room_at}" in refused.explanation
    here.at = began.at + DAY_MS
    assert isinstance(here.sign("later"), SignatureIssued)
    assert here.replayed() == here.state


def test_times_are_told_as_people_read_them() -> None:
    """To the second, in UTC; what nobody can write as a date does not stop who says it."""
    assert utc(UnixMillis(1_795_801_041_844)) == "2026-11-27 17:37:21 UTC"
    assert utc(UnixMillis(2**62)) == "9999-12-31 23:59:59 UTC"


def test_a_new_policy_does_not_empty_the_windows() -> None:
    """What is full stays full under a limit that is published afterwards."""
    here = restored()
    left(here)
    tighter = policy(allow_digest(), escalate_digest(key="asked"), limits=(HOURLY,), version=2)
    here.propose_policy(tighter)
    assert here.state.policy.version == 2
    refused = here.decide("r")
    assert isinstance(refused, SignatureRefused)
    assert refused.reason is Reason.LIMIT_EXCEEDED


def test_a_signature_that_had_no_room_is_not_believed() -> None:
    """Whoever folds the ledger refuses a signature under a limit that counted as full."""
    here = restored(HOURLY)
    signed = here.decide("r")
    assert isinstance(signed, SignatureIssued)
    left(here)
    assert "counts as full" in here.refuses(replace(signed, known=len(here.events)), Reason.LIMIT_EXCEEDED)
    here.at += HOUR_MS
    here.add(replace(signed, at=here.now, known=len(here.events)))


def test_keys_without_limits_sign_at_once() -> None:
    """Where the policy has no limit nothing is held back: limits are what there is to hold back with."""
    here = restored()
    left(here)
    assert isinstance(here.sign("r"), SignatureIssued)


# Whom it takes ------------------------------------------------------------------------------------------------------


def test_a_charter_that_does_not_say_takes_the_stricter_of_its_quorums() -> None:
    """As break-glass, or, where nobody can break the glass, as a change of the charter; with the charter's delay."""
    persons = people("alice", "bob", "carol", "dave")
    slow = Threshold(duty=Duty.CHARTER, quorum=parse_quorum("2 of admins"), delay_ms=HOUR_MS)
    glass = Threshold(duty=Duty.BREAK_GLASS, quorum=parse_quorum("3 of admins"), delay_ms=DAY_MS)
    for thresholds, quorum in (
        ({Duty.CHARTER: slow}, "2 of admins"),
        ({Duty.CHARTER: slow, Duty.BREAK_GLASS: glass}, "3 of admins"),
    ):
        needed = Rulers(charter(*persons, thresholds=dict(thresholds))).threshold(Duty.LEAVE_QUARANTINE)
        assert (quorum_text(needed.quorum), needed.delay_ms) == (quorum, HOUR_MS)


def test_a_charter_that_says_less_than_for_itself_does_not_rule() -> None:
    """Leaving the quarantine forgets what was decided, so it is no easier than deciding who decides."""
    persons = people("alice", "bob", "carol", "dave")
    two = {Duty.CHARTER: "2 of admins", Duty.LEAVE_QUARANTINE: "2 of admins"}
    glass = Threshold(duty=Duty.BREAK_GLASS, quorum=parse_quorum("3 of admins"), delay_ms=DAY_MS)
    check_charter(charter(*persons, thresholds=dict(two)))
    check_charter(charter(*persons, thresholds={**two, Duty.LEAVE_QUARANTINE: "3 of admins", Duty.BREAK_GLASS: glass}))
    with pytest.raises(Refused, match="leave-quarantine must need as many persons as charter, so at least 2"):
        check_charter(charter(*persons, thresholds={**two, Duty.LEAVE_QUARANTINE: "1 of admins"}))


# Marks --------------------------------------------------------------------------------------------------------------


def test_a_mark_only_grows() -> None:
    """Smaller in size or epoch, or another root at the same size, does not follow; a new incarnation may be shorter."""
    assert LOST.grows_to(LOST)
    assert LOST.grows_to(replace(LOST, size=58, root=bytes(32)))
    assert LOST.grows_to(replace(LOST, incarnation=2, epoch=Epoch(5), size=40))
    for other in (
        replace(LOST, size=56),
        replace(LOST, root=bytes(32)),
        replace(LOST, epoch=Epoch(3), size=99),
        replace(LOST, incarnation=2, epoch=Epoch(3)),
    ):
        assert not LOST.grows_to(other)
    assert not replace(LOST, incarnation=2).grows_to(replace(LOST, size=99))


def test_the_newest_of_marks_has_the_highest_epoch() -> None:
    """A checkpoint says no epoch; what another mark says of it counts."""
    note = replace(LOST, epoch=Epoch(0), size=60, root=b"n" * 32)
    assert newest_of(LOST, note) == replace(note, epoch=LOST.epoch)
    assert newest_of(note) == note


def test_an_incarnation_begins_after_its_entry() -> None:
    """Checkpoints up to its own entry, which none was ever signed over, would still be of the one before."""
    here = restored()
    began = left(here)
    index = here.events.index(began)
    assert [incarnation_at(here.state.incarnations, size) for size in (0, index, index + 1)] == [1, 1, 2]
