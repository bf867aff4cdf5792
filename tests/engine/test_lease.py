"""The laws of engine.lease, one by one: events in, effects out."""

import math

import pytest

from keyvault.engine.lease import Leadership
from keyvault.engine.lease_events import (
    Acknowledged,
    Beat,
    Eligible,
    Ending,
    EndTerm,
    Event,
    Lead,
    LetGo,
    Look,
    LookFailed,
    Saw,
    StepDown,
    StepDownNow,
    SteppedDown,
    TakeOver,
    TakeOverFailed,
    TookOver,
    Woke,
    WriteFailed,
)
from keyvault.store.base import Lease

T = 1000.0
"""When the world begins by the node's clock."""


def lease(epoch: int = 7, beat: int = 40, holder: str = "other", *, gone: bool = False) -> Lease:
    return Lease(epoch=epoch, beat=beat, holder=holder, address="", settled=3, session_gone=gone)


def candidate(*, eligible: bool = True) -> Leadership:
    node = Leadership(now=T, jitter=0.5)
    node.step(Eligible(is_eligible=eligible, now=T))
    return node


def saw(node: Leadership, at: float, seen: Lease, through: int = 1) -> tuple[object, ...]:
    node.step(Woke(now=T + at))
    return node.step(Saw(lease=seen, through=through, now=T + at))


def leader(*, epoch: int = 8) -> Leadership:
    """Return a node that leads since T, by a write that was sent at T."""
    node = candidate()
    assert saw(node, 0, lease(epoch - 1, holder="")) == (TakeOver(seen=lease(epoch - 1, holder=""), through=1),)
    assert node.step(TookOver(epoch=epoch, sent_at=T, now=T)) == (Lead(epoch=epoch),)
    return node


def test_a_node_looks_at_once_and_then_at_its_pace() -> None:
    """The first look is due at the start, the next a quarter of a second after the last returned, and never two."""
    node = candidate()
    assert node.wake_at == T
    assert node.step(Woke(now=T)) == (Look(),)
    assert node.step(Woke(now=T + 1)) == ()
    node.step(Saw(lease=lease(), through=1, now=T + 1))
    assert node.wake_at == pytest.approx(T + 1.25)
    assert node.step(Woke(now=T + 1.2)) == ()
    assert node.step(Woke(now=T + 1.25)) == (Look(),)
    node.step(LookFailed(now=T + 2))
    assert node.wake_at == pytest.approx(T + 2.25)


def test_nodes_look_at_paces_of_their_own() -> None:
    """Jitter spreads the pace over a tenth of a second."""
    paces = []
    for jitter in (0.0, 1.0):
        node = Leadership(now=T, jitter=jitter)
        saw(node, 0, lease())
        paces.append(node.wake_at - T)
    assert paces == [pytest.approx(0.2), pytest.approx(0.3)]


@pytest.mark.parametrize("seen", [lease(0, 0, ""), lease(9, 50, ""), lease(gone=True)])
def test_a_free_lease_is_taken_at_once(seen: Lease) -> None:
    """Nobody ever led, the leader stepped down, or its session is gone: there is nothing to wait for."""
    assert saw(candidate(), 0, seen) == (TakeOver(seen=seen, through=1),)


def test_a_silent_lease_is_taken_after_three_seconds() -> None:
    """A lease that does not move is taken at the first look that finds it silent, which is at that very moment."""
    node, ats = candidate(), [0.0]
    while saw(node, ats[-1], lease()) == () and len(ats) < 20:
        ats.append(node.wake_at - T)
    assert ats == pytest.approx([0.25 * look for look in range(13)])


def test_the_look_that_finds_it_silent_is_not_late() -> None:
    """The last look before comes whenever it comes; the next is due when the lease falls silent."""
    node = candidate()
    saw(node, 0, lease())
    saw(node, 2.9, lease())
    assert node.wake_at == T + 3


@pytest.mark.parametrize(
    ("other", "through"),
    [(lease(beat=41), 1), (lease(epoch=8), 1), (lease(holder="third"), 1), (lease(), 2)],
)
def test_a_lease_that_moves_is_left_alone(other: Lease, through: int) -> None:
    """Another beat, epoch or holder is a sign of life; what another server says is no sign of silence."""
    node = candidate()
    for at in (0, 1, 2, 2.9):
        assert saw(node, at, lease()) == ()
    assert saw(node, 3.0, other, through) == ()
    assert saw(node, 5.9, other, through) == ()
    assert saw(node, 6.0, other, through) == (TakeOver(seen=other, through=through),)


def test_a_node_that_is_not_eligible_takes_nothing() -> None:
    """No is the zero value: neither a free nor a silent lease, until the node says that it could lead."""
    node = Leadership(now=T, jitter=0.5)
    assert saw(node, 0, lease(holder="")) == ()
    assert saw(node, 10, lease(holder="")) == ()
    node.step(Eligible(is_eligible=True, now=T + 10))
    assert saw(node, 10.3, lease(holder="")) == (TakeOver(seen=lease(holder=""), through=1),)


def test_who_was_late_looks_again() -> None:
    """A take-over that the store refused, or of which nothing is known, gives no term; the next look comes soon."""
    for unknown in (False, True):
        node = candidate()
        saw(node, 0, lease(gone=True))
        assert node.step(TakeOverFailed(unknown=unknown, now=T + 0.1)) == ()
        assert node.leads(T + 0.1) is None
        assert node.wake_at == pytest.approx(T + 0.35)


def test_a_take_over_that_nobody_answers_is_let_go() -> None:
    """After two seconds its term would be over; an answer that still comes begins none."""
    node = candidate()
    saw(node, 0, lease(gone=True))
    assert node.wake_at == T + 2
    assert node.step(Woke(now=T + 1.9)) == ()
    assert node.step(Woke(now=T + 2)) == (LetGo(),)
    assert node.step(TookOver(epoch=8, sent_at=T, now=T + 2.1)) == ()
    assert node.leads(T + 2.1) is None


def test_who_takes_over_does_not_look() -> None:
    """Even if a lease was shown that nobody looked for."""
    node = candidate()
    assert node.step(Saw(lease=lease(gone=True), through=1, now=T)) == (TakeOver(seen=lease(gone=True), through=1),)
    assert node.step(Woke(now=T + 1)) == ()
    assert node.step(Saw(lease=lease(gone=True), through=1, now=T + 1)) == ()


def test_an_answer_that_comes_too_late_begins_nothing() -> None:
    """Even if it is the answer that wakes the node."""
    node = candidate()
    saw(node, 0, lease(gone=True))
    assert node.step(TookOver(epoch=8, sent_at=T, now=T + 2)) == (LetGo(),)
    assert node.leads(T + 2) is None


def test_an_answer_that_comes_again_begins_nothing() -> None:
    """The answer to an earlier take-over is not that to a later one."""
    node = leader(epoch=8)
    node.step(WriteFailed(epoch=8, unknown=True, now=T + 0.1))
    node.step(Eligible(is_eligible=True, now=T + 0.2))
    saw(node, 1, lease(8, gone=True))
    assert node.step(TookOver(epoch=8, sent_at=T, now=T + 1.1)) == ()
    assert node.step(TookOver(epoch=9, sent_at=T + 1, now=T + 1.2)) == (Lead(epoch=9),)
    assert node.step(TookOver(epoch=9, sent_at=T + 1, now=T + 1.3)) == ()


def test_a_slow_take_over_leaves_less_of_the_term() -> None:
    """The term counts from the sending; what was due before the answer came is due now, and is no stall."""
    node = candidate()
    saw(node, 0, lease(gone=True))
    assert node.step(TookOver(epoch=8, sent_at=T, now=T + 1.8)) == (Lead(epoch=8),)
    assert node.step(Woke(now=T + 1.81)) == (Beat(epoch=8),)
    assert node.leads(T + 1.99) == 8
    assert node.leads(T + 2) is None


def test_a_take_over_is_not_sent_after_its_answer() -> None:
    """A moment in the future is taken for now."""
    node = candidate()
    saw(node, 0, lease(gone=True))
    node.step(TookOver(epoch=8, sent_at=T + 9, now=T + 0.1))
    assert node.wake_at == pytest.approx(T + 0.6)


def test_a_leader_beats_when_nothing_else_is_written() -> None:
    """Half a second after the sending of the last acknowledged write, and every half second without one."""
    node = leader()
    assert node.wake_at == T + 0.5
    assert node.step(Woke(now=T + 0.4)) == ()
    assert node.step(Woke(now=T + 0.5)) == (Beat(epoch=8),)
    node.step(Acknowledged(epoch=8, sent_at=T + 0.6, now=T + 0.7))
    assert node.wake_at == pytest.approx(T + 1.1)
    assert node.step(Woke(now=T + 1.1)) == (Beat(epoch=8),)
    assert node.step(Woke(now=T + 1.6)) == (Beat(epoch=8),)


def test_a_term_ends_two_seconds_after_the_sending_of_what_was_acknowledged() -> None:
    """The answer may come as late as it likes: the sending counts."""
    node = leader()
    node.step(Woke(now=T + 0.5))
    node.step(Acknowledged(epoch=8, sent_at=T + 0.5, now=T + 0.9))
    for at in (1.0, 1.5, 2.0):
        node.step(Woke(now=T + at))
    assert node.wake_at == T + 2.5
    assert node.leads(T + 2.49) == 8
    assert node.leads(T + 2.5) is None
    assert node.step(Woke(now=T + 2.5)) == (EndTerm(epoch=8, ending=Ending.SILENT),)


def test_a_sending_in_the_future_is_not_believed() -> None:
    """Nor one that is earlier than what is known, nor one of another epoch."""
    node = leader()
    node.step(Acknowledged(epoch=8, sent_at=T + 9, now=T + 0.3))
    assert node.wake_at == pytest.approx(T + 0.8)
    node.step(Acknowledged(epoch=8, sent_at=T, now=T + 0.4))
    node.step(Acknowledged(epoch=7, sent_at=T + 0.4, now=T + 0.4))
    assert node.wake_at == pytest.approx(T + 0.8)
    for at in (0.8, 1.3, 1.8):
        assert node.step(Woke(now=T + at)) == (Beat(epoch=8),)
    assert node.wake_at == pytest.approx(T + 2.3)
    node.step(Woke(now=T + 2.3))
    assert node.leads(T + 2.3) is None


@pytest.mark.parametrize(("unknown", "ending"), [(False, Ending.FENCED), (True, Ending.IN_DOUBT)])
def test_a_write_that_failed_ends_the_term(*, unknown: bool, ending: Ending) -> None:
    """Refused or unknown (I7): the term is over, and the node leads again only after it said that it recovered."""
    node = leader()
    assert node.step(WriteFailed(epoch=8, unknown=unknown, now=T + 0.2)) == (EndTerm(epoch=8, ending=ending),)
    assert node.step(WriteFailed(epoch=8, unknown=unknown, now=T + 0.2)) == ()
    assert saw(node, 1, lease(8, gone=True)) == ()
    node.step(Eligible(is_eligible=True, now=T + 1.1))
    assert saw(node, 1.5, lease(8, gone=True)) == (TakeOver(seen=lease(8, gone=True), through=1),)


def test_what_failed_in_an_earlier_term_ends_no_later_one() -> None:
    """Late words about epoch 7 say nothing of epoch 8."""
    node = leader()
    assert node.step(WriteFailed(epoch=7, unknown=True, now=T + 0.1)) == ()
    assert node.step(SteppedDown(epoch=7, now=T + 0.1)) == ()
    assert node.leads(T + 0.1) == 8


@pytest.mark.parametrize("event", [Woke(now=T + 1.5), Acknowledged(epoch=8, sent_at=T + 1.4, now=T + 1.5)])
def test_a_leader_that_stood_still_gives_up(event: Event) -> None:
    """Whatever wakes it a second after it wanted to be woken: it does not know what it missed."""
    assert leader().step(event) == (EndTerm(epoch=8, ending=Ending.STALLED),)


def test_a_leader_whose_clock_jumps_gives_up() -> None:
    """As after the suspension of its machine."""
    node = leader()
    assert node.leads(T + 3600) is None
    assert node.step(Acknowledged(epoch=8, sent_at=T + 0.1, now=T + 3600)) == (EndTerm(epoch=8, ending=Ending.STALLED),)


def test_a_leader_hands_over_when_asked() -> None:
    """It beats while what is under way ends, gives the lease back, and takes it again only after a while."""
    node = leader()
    assert node.step(StepDown(now=T + 0.1)) == (StepDownNow(epoch=8),)
    assert node.step(StepDown(now=T + 0.2)) == ()
    assert node.step(Woke(now=T + 0.5)) == (Beat(epoch=8),)
    node.step(Acknowledged(epoch=8, sent_at=T + 0.5, now=T + 0.5))
    assert node.step(SteppedDown(epoch=8, now=T + 1)) == (EndTerm(epoch=8, ending=Ending.STEPPED_DOWN),)
    node.step(Eligible(is_eligible=True, now=T + 1.1))
    free = lease(9, holder="")
    assert saw(node, 1.3, free) == ()
    assert saw(node, 6.4, free) == ()
    assert saw(node, 6.5, free) == (TakeOver(seen=free, through=1),)


def test_who_stepped_down_is_a_candidate_again_when_another_led() -> None:
    """The wish was that somebody else leads: once that is so, its death is a death like any other."""
    node = leader()
    node.step(StepDown(now=T + 0.1))
    node.step(SteppedDown(epoch=8, now=T + 0.2))
    node.step(Eligible(is_eligible=True, now=T + 0.3))
    assert saw(node, 0.5, lease(9, holder="")) == ()
    assert saw(node, 0.8, lease(10)) == ()
    assert saw(node, 1.1, lease(10, gone=True)) == (TakeOver(seen=lease(10, gone=True), through=1),)


def test_a_hand_over_that_takes_too_long_is_cut() -> None:
    """Beats do not keep a term alive that was asked to end."""
    node, at = leader(), 0.0
    node.step(StepDown(now=T))
    effects: tuple[object, ...] = ()
    while not any(isinstance(effect, EndTerm) for effect in effects) and at < 20:
        at = node.wake_at - T
        effects = node.step(Woke(now=T + at))
        node.step(Acknowledged(epoch=8, sent_at=T + at, now=T + at))
    assert effects == (EndTerm(epoch=8, ending=Ending.TOO_LONG),)
    assert at == pytest.approx(4.0)


def test_a_leader_that_is_not_eligible_any_more_hands_over() -> None:
    """A node that drains, or whose token fails, steps down and stays away until it is well."""
    node = leader()
    assert node.step(Eligible(is_eligible=False, now=T + 0.1)) == (StepDownNow(epoch=8),)
    node.step(SteppedDown(epoch=8, now=T + 0.2))
    assert saw(node, 60, lease(9, holder="")) == ()
    node.step(Eligible(is_eligible=True, now=T + 60.1))
    assert saw(node, 60.3, lease(9, holder="")) == (TakeOver(seen=lease(9, holder=""), through=1),)


@pytest.mark.parametrize("event", [Eligible(is_eligible=False, now=T), StepDown(now=T)])
def test_a_wish_that_crosses_a_take_over_is_kept(event: Event) -> None:
    """Who must not lead gives back at once what it was given, without leading."""
    node = candidate()
    saw(node, 0, lease(gone=True))
    assert node.step(event) == ()
    assert node.step(TookOver(epoch=8, sent_at=T, now=T + 0.1)) == (StepDownNow(epoch=8),)


def test_a_follower_that_is_asked_to_step_down_does_nothing() -> None:
    """There is nothing to give back, and it stays a candidate."""
    node = candidate()
    assert node.step(StepDown(now=T)) == ()
    assert saw(node, 0, lease(holder="")) == (TakeOver(seen=lease(holder=""), through=1),)


def test_who_could_not_give_back_what_it_took_abstains() -> None:
    """It was asked to step down while it took over, and the store did not answer: the lease may still be its own."""
    node = candidate()
    saw(node, 0, lease(gone=True))
    node.step(StepDown(now=T))
    assert node.step(TookOver(epoch=8, sent_at=T, now=T + 0.1)) == (StepDownNow(epoch=8),)
    node.step(WriteFailed(epoch=8, unknown=True, now=T + 0.2))
    node.step(Eligible(is_eligible=True, now=T + 0.3))
    assert saw(node, 0.5, lease(8, holder="me", gone=True), 2) == ()
    assert saw(node, 5.7, lease(8, holder="me", gone=True), 2) == (
        TakeOver(seen=lease(8, holder="me", gone=True), through=2),
    )


def test_what_was_said_of_a_term_that_is_over_is_not_believed() -> None:
    """A node that calls itself eligible in the moment in which its term ends must say so again."""
    node = leader()
    assert node.step(Eligible(is_eligible=True, now=T + 5)) == (EndTerm(epoch=8, ending=Ending.STALLED),)
    assert saw(node, 6, lease(8, gone=True)) == ()


def test_a_leader_needs_no_looks() -> None:
    """What it is shown, late, changes nothing."""
    node = leader()
    assert node.step(Saw(lease=lease(gone=True), through=1, now=T + 0.1)) == ()
    assert node.step(LookFailed(now=T + 0.1)) == ()
    assert node.wake_at == T + 0.5
    assert node.wake_at < math.inf
