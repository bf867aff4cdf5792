"""What keeps the laws of the simulated world: each part is taken away, and the same schedules find it."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from keyvault.engine.lease import Leadership
from keyvault.engine.lease_events import Acknowledged, Effect, Event, TookOver
from tests.engine.lease_invariants import SAFETY, Violated
from tests.engine.lease_servers import Session, Weakness
from tests.engine.lease_world import Trusts, World, run
from tests.engine.test_lease_world import SCHEDULES


class FromTheAnswer(Leadership):
    """Counts from the answer to a write, not from its sending."""

    def step(self, event: Event) -> tuple[Effect, ...]:
        if isinstance(event, Acknowledged | TookOver):
            event = replace(event, sent_at=event.now)
        return super().step(event)


class NeverEnds(Leadership):
    """Never gives up by the clock."""

    def _ends_at(self, term: object) -> float:
        del term
        return math.inf


def first_broken(make: Callable[[int], World]) -> tuple[str, int]:
    """Return the first law that a schedule of the suite breaks, and the seed."""
    for seed in range(SCHEDULES):
        try:
            run(make(seed))
        except Violated as error:
            return error.law, seed
    return "", SCHEDULES


def all_broken(make: Callable[[int], World], schedules: int) -> Counter[str]:
    """Return how many schedules break which law first."""
    broken: Counter[str] = Counter()
    for seed in range(schedules):
        try:
            run(make(seed))
        except Violated as error:
            broken[error.law] += 1
    return broken


NO_FENCE = partial(World, weakness=Weakness(fence=False))
NO_BARRIER = partial(World, weakness=Weakness(take_over_waits=False), trusts=Trusts(what_was_read=True))
TRUSTS_NOTICES = partial(World, trusts=Trusts(notices=True))
TRUSTS_LOSSES = partial(World, trusts=Trusts(losses=True))
RELEASES_LATE = partial(World, trusts=Trusts(the_deposed=True))


@pytest.mark.parametrize(
    ("make", "laws"),
    [
        pytest.param(NO_FENCE, {"no_append_by_the_deposed"}, id="no fence"),
        pytest.param(NO_BARRIER, {"barrier_before_trust", "acknowledged_is_kept"}, id="no barrier"),
        pytest.param(TRUSTS_NOTICES, {"barrier_before_trust", "acknowledged_is_kept"}, id="a notice is a success"),
        pytest.param(TRUSTS_LOSSES, {"barrier_before_trust", "acknowledged_is_kept"}, id="a lost answer is a success"),
        pytest.param(RELEASES_LATE, {"a_deposed_leader_releases_nothing"}, id="an ended term still releases"),
    ],
)
def test_what_safety_stands_on_is_missed_at_once(make: Callable[[int], World], laws: set[str]) -> None:
    """Without the fence, the barrier, or the doubt: a schedule among the first few hundred breaks a law of safety."""
    law, seed = first_broken(make)
    assert law in laws & SAFETY
    assert seed < 500


@pytest.mark.parametrize("kind", [FromTheAnswer, NeverEnds])
def test_a_leader_that_stays_too_long_overlaps_and_breaks_nothing_else(kind: type[Leadership]) -> None:
    """Safety is the epoch's. What a term that ends in time gives is that two leaders never say so at once."""
    broken = all_broken(partial(World, kind=kind), 2_000)
    assert set(broken) == {"terms_do_not_overlap"}


def test_clocks_may_run_a_fifth_apart() -> None:
    """With clocks that run up to 20 % fast or slow nothing is broken."""
    assert all_broken(partial(World, drift=0.2), 1_000) == {}


def test_clocks_that_run_wilder_break_no_safety() -> None:
    """With 60 % the silence of a leader is taken for its death, and two say that they lead; no signature is lost."""
    broken = all_broken(partial(World, drift=0.6), 1_000)
    assert broken["terms_do_not_overlap"] > 0
    assert set(broken) & SAFETY == set()


def test_a_take_over_that_does_not_wait_breaks_no_safety() -> None:
    """The append that begins a term is the barrier; what the take-over waits for only keeps terms apart."""
    broken = all_broken(partial(World, weakness=Weakness(take_over_waits=False)), 1_000)
    assert set(broken) & SAFETY == set()


class SlowReader(World):
    """Node 0 needs a second from its take-over to its reading."""

    def to_server(self, session: Session, deliver: Callable[[], None]) -> None:
        node = self.nodes[session.node]
        send = partial(super().to_server, session, deliver)
        if node.number == 0 and node.term is not None and node.term.size == 0:
            self.at(1.0, send)
        else:
            send()


def deposed_while_it_reads(trusts: Trusts) -> World:
    """Let node 0 take over, node 1 depose it and have an append cancelled, and then node 0 read the ledger."""
    world = SlowReader(1, trusts=trusts)
    zero, one, two = world.nodes
    one.set_willing(willing=False)
    two.set_willing(willing=False)
    while zero.term is None:
        world.run_until(world.now + 0.001)
    one.set_willing(willing=True)
    world.cluster.hint_lies = True
    while one.term is None or not one.term.serves:
        world.run_until(world.now + 0.001)
    world.cluster.hint_lies = False
    world.apart |= {frozenset("ab"), frozenset("ac")}
    one.ask("r", lambda _: None)
    world.run_until(world.now + 0.05)
    world.cluster.cancel(world.cluster.primary)
    world.run_until(world.now + 1)
    return world


def test_a_take_over_alone_is_no_barrier() -> None:
    """What is read after a take-over may be a later leader's, and not durable: only an append upon it tells."""
    with pytest.raises(Violated, match="barrier_before_trust"):
        deposed_while_it_reads(Trusts(what_was_read=True))
    assert deposed_while_it_reads(Trusts()).leaders() == []
