"""Who leaves a free lease to another place for a moment, and that nobody leaves it for good (engine.lease, law 10)."""

import pytest

from keyvault.engine.lease import Leadership
from keyvault.engine.lease_events import (
    Acknowledged,
    Eligible,
    Ending,
    EndTerm,
    StepDown,
    SteppedDown,
    TakeOver,
    Woke,
    Yields,
)
from keyvault.store.base import Lease
from tests.engine.test_lease import T, candidate, leader, lease, saw


def yielding() -> Leadership:
    node = candidate()
    node.step(Yields(yields=True, now=T))
    return node


@pytest.mark.parametrize("seen", [lease(0, 0, ""), lease(9, 50, ""), lease(gone=True)])
def test_a_free_lease_is_left_to_another_place_for_a_moment(seen: Lease) -> None:
    """For 0.6 s from the look that found it free; then it is taken, at that very moment."""
    node = yielding()
    assert saw(node, 0, seen) == ()
    assert saw(node, 0.25, seen) == ()
    assert saw(node, 0.5, seen) == ()
    assert node.wake_at == pytest.approx(T + 0.6)
    assert saw(node, 0.6, seen) == (TakeOver(seen=seen, through=1),)


def test_who_yields_is_late_when_the_other_was_there() -> None:
    """The other place took it: its leader is left alone, and the next time the moment begins anew."""
    node = yielding()
    assert saw(node, 0, lease(gone=True)) == ()
    assert saw(node, 0.25, lease(8)) == ()
    assert saw(node, 1.0, lease(8, gone=True)) == ()
    assert saw(node, 1.5, lease(8, gone=True)) == ()
    assert saw(node, 1.6, lease(8, gone=True)) == (TakeOver(seen=lease(8, gone=True), through=1),)


def test_a_free_lease_is_taken_whatever_else_changes() -> None:
    """Numbers that move and stores that are opened anew do not prolong the moment, as long as nobody leads."""
    node = yielding()
    for number, at in enumerate((0, 0.2, 0.4)):
        assert saw(node, at, lease(9 + number, holder=""), through=number) == ()
    free = lease(12, holder="")
    assert saw(node, 0.6, free, through=5) == (TakeOver(seen=free, through=5),)


def test_a_silent_lease_is_left_for_a_moment_too() -> None:
    """A place that should lead takes it after three seconds, the others after 3.6."""
    node = yielding()
    saw(node, 0, lease())
    for at in (1, 2, 3, 3.5):
        assert saw(node, at, lease()) == ()
    assert saw(node, 3.6, lease()) == (TakeOver(seen=lease(), through=1),)


def test_who_does_not_yield_any_more_takes_it_at_the_next_look() -> None:
    """The place that should lead is gone."""
    node = yielding()
    assert saw(node, 0, lease(gone=True)) == ()
    node.step(Yields(yields=False, now=T + 0.1))
    assert saw(node, 0.25, lease(gone=True)) == (TakeOver(seen=lease(gone=True), through=1),)


def test_a_leader_that_is_told_to_yield_goes_on() -> None:
    """It is about free leases, and its own is not."""
    node = leader()
    assert node.step(Yields(yields=True, now=T + 0.1)) == ()
    assert node.leads(T + 0.2) == 8


@pytest.mark.parametrize("took_s", [0.1, 3.5])
def test_who_handed_over_only_to_even_out_is_back_soon(took_s: float) -> None:
    """It abstains for 1.2 s from the end of its term, however long the hand-over took: nobody else may come."""
    node = leader()
    node.step(StepDown(now=T, briefly=True))
    ended = T + took_s
    for at in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0):
        if at < took_s:
            node.step(Woke(now=T + at))
            node.step(Acknowledged(epoch=8, sent_at=T + at, now=T + at))
    assert node.step(SteppedDown(epoch=8, now=ended)) == (EndTerm(epoch=8, ending=Ending.STEPPED_DOWN),)
    node.step(Eligible(is_eligible=True, now=ended))
    free = lease(9, holder="")
    assert saw(node, took_s + 0.3, free) == ()
    assert saw(node, took_s + 1.1, free) == ()
    assert saw(node, took_s + 1.21, free) == (TakeOver(seen=free, through=1),)
