"""engine.lease in a simulated world: thousands of schedules of faults, and how soon somebody leads after one."""

from collections import Counter
from functools import partial

import pytest

from keyvault.engine.lease_events import StepDown
from tests.engine.lease_faults import fail_over_beside_the_primary
from tests.engine.lease_invariants import Violated, check_history
from tests.engine.lease_nodes import Node
from tests.engine.lease_world import World, replay, run, somebody_leads

SCHEDULES = 12_000
PARTS = 8
POLL_S = 0.3
"""Longest pace of looks."""
SLOWEST = 0.95
"""Slowest clock."""


@pytest.mark.parametrize("part", range(PARTS))
def test_every_law_holds_in_every_schedule(part: int) -> None:
    """Crashes, pauses, cuts, late and lost answers, doubts, failovers: no law is broken, and somebody leads."""
    size = SCHEDULES // PARTS
    for seed in range(part * size, (part + 1) * size):
        try:
            run(World(seed))
        except Violated as error:
            pytest.fail(f"seed {seed}: {error}\n{replay(seed)}")


def test_the_schedules_meet_what_they_are_about() -> None:
    """Every fault happens, every end of a term, every way to a term, and every trap that PostgreSQL sets."""
    counted: Counter[str] = Counter()
    for seed in range(400):
        world = World(seed)
        run(world)
        counted += world.counted
    wanted = {
        "cancelled": 100,
        "terminated": 30,
        "end: FENCED": 100,
        "end: IN_DOUBT": 100,
        "end: SILENT": 50,
        "end: STALLED": 50,
        "end: STEPPED_DOWN": 50,
        "lead: empty": 100,
        "lead: silent": 20,
        "lead: told": 100,
        "let go": 20,
        "promoted": 30,
        "promoted beside a living primary": 50,
        "shown after a restart": 10,
        "thrown away": 50,
        "told twice": 100,
        "held": 100,
    }
    assert {what: counted[what] for what, least in wanted.items() if counted[what] < least} == {}
    faults = {what: count for what, count in counted.items() if what.startswith("fault: ")}
    assert len(faults) == 19
    assert min(faults.values()) > 20


def test_one_seed_is_one_schedule() -> None:
    """A failure can be looked at again: the same seed gives the same world, line by line."""
    assert replay(7) == replay(7)
    assert replay(7) != replay(8)


def served(seed: int) -> tuple[World, Node]:
    """Return a world in which a node has led for a few seconds, and that node."""
    world = World(seed)
    world.run_until(world.random.uniform(2, 4))
    return world, world.leaders()[0]


def until_another_serves(world: World, old: Node) -> float:
    """Return how long it takes, in true time, until a node serves in a new term."""
    began, epoch = world.now, world.cluster.primary.shown.epoch
    while not any(node.term.epoch > epoch for node in world.leaders() if node is not old and node.term):
        world.run_until(world.now + 0.005)
        assert world.now < began + 30, "nobody leads"
    return world.now - began


@pytest.mark.parametrize("seed", range(5))
def test_a_healthy_system_has_one_epoch(seed: int) -> None:
    """For five minutes, with few requests or many, nobody disturbs the leader."""
    world = World(seed)
    world.run_until(1)
    for number in range(200):
        world.at(world.random.uniform(0, 300), partial(world.ask, f"r{number}"))
    world.run_until(310)
    assert world.unanswered() == set()
    assert world.cluster.primary.shown.epoch == 1
    assert _ends(world) == 0
    check_history(world.history, world.cluster)


def test_after_the_faults_nobody_disturbs_the_leader() -> None:
    """When TCP has given up what was lost, the node that leads goes on leading."""
    for seed in range(200):
        world = World(seed)
        run(world)
        world.run_until(world.now + 7)
        epoch, ends = world.cluster.primary.shown.epoch, _ends(world)
        world.run_until(world.now + 30)
        assert (world.cluster.primary.shown.epoch, _ends(world)) == (epoch, ends), f"seed {seed}"


def _ends(world: World) -> int:
    return sum(count for what, count in world.counted.items() if what.startswith("end: "))


def test_a_killed_leader_is_replaced_within_one_poll() -> None:
    """The end of its session is seen at the next look."""
    for seed in range(100):
        world, old = served(seed)
        old.crash(silently=False)
        assert until_another_serves(world, old) < POLL_S / SLOWEST + 0.05, seed


def test_a_leader_that_stands_still_is_replaced_within_silence_and_one_poll() -> None:
    """Its session lives, so only its silence tells; when it wakes it gives up, and nothing is disturbed."""
    for seed in range(100):
        world, old = served(seed)
        old.paused = True
        assert until_another_serves(world, old) < (3 + POLL_S) / SLOWEST + 0.05, seed
        epoch = world.cluster.primary.shown.epoch
        old.resume()
        assert old.leadership.leads(old.now()) is None
        world.run_until(world.now + 10)
        assert (old.term, world.cluster.primary.shown.epoch) == (None, epoch)


def test_a_hand_over_takes_one_poll() -> None:
    """The lease is free when it was given back, and the old leader does not take it again."""
    for seed in range(100):
        world, old = served(seed)
        old.set_willing(willing=False)
        assert until_another_serves(world, old) < POLL_S / SLOWEST + 0.05, seed


def test_a_primary_that_is_never_told_that_it_was_replaced_stops_nobody() -> None:
    """Nodes reach it first, and its commits wait for ever: they let go and find the other one."""
    for seed in range(50):
        world, _ = served(seed)
        old = world.cluster.primary
        fail_over_beside_the_primary(world)
        world.run_until(world.now + 2.1)
        world.healed = True  # what the fault would still do, it does not
        world.ask("r")
        somebody_leads(world)
        assert old.is_primary
        assert old is not world.cluster.primary


def test_a_long_time_without_a_quorum_leaves_nothing_behind() -> None:
    """For a minute nothing is acknowledged; then somebody leads, and what clients kept asking for is answered once."""
    for seed in range(20):
        world, _ = served(seed)
        world.apart |= {frozenset("ab"), frozenset("ac")}
        world.ask("r")
        world.run_until(world.now + 60)
        assert world.leaders() == []
        world.heal()
        somebody_leads(world)
        check_history(world.history, world.cluster)


def test_a_node_that_is_alone_takes_back_what_it_gave_up() -> None:
    """Nobody else could lead: after its abstention it leads again."""
    world, old = served(1)
    for node in world.nodes:
        if node is not old:
            node.set_willing(willing=False)
    world.run_until(world.now + 1)
    old.tell(StepDown(now=old.now()))
    world.run_until(world.now + 4.5)
    assert world.leaders() == []
    world.run_until(world.now + 3)
    assert world.leaders() == [old]
