"""A pair of which one clock is wrong."""

from pathlib import Path

import pytest

from keyvault.core import limits
from keyvault.core.errors import Unavailable
from keyvault.engine.clock import SteadyClock
from tests.engine.pair_world import PairWorld, node_name, paired, until
from tests.engine.world import FixedClock

YEAR_MS = 365 * 86_400_000


def _clock_of(world: PairWorld, name: str) -> FixedClock:
    """Give a machine a clock of its own, for what it confirms."""
    clock = FixedClock()
    clock.at = world.clock.at
    world[name].terms.intake._clock = clock
    return clock


async def test_a_leap_of_the_leaders_clock_binds_nobody(tmp_path: Path) -> None:
    """What it dated a year ahead is never released, and its follower can be named by statements of today."""
    async with paired(tmp_path) as world:
        _clock_of(world, "b")
        world.clock.at += YEAR_MS
        with pytest.raises(Unavailable):
            await world.sign("a", "r1")
        world.clock.at -= YEAR_MS
        await until(lambda: "is dated" in world["a"].terms.standing().obstacle)
        told = world["a"].terms.standing().obstacle
        assert f"by the clock of {node_name('b')}" in told
        assert told.count("UTC") == 2  # both clocks
        assert world.signatures("b") == {}
        await world["a"].crash()
        await world["b"].stop()
        await world.stand("b")
        await world.name("b", "b")
        await world.sign("b", "r1")
        assert world["b"].state.latest_at < world.clock.at + YEAR_MS


async def test_a_follower_whose_clock_is_behind_goes_on_when_it_is_set_right(tmp_path: Path) -> None:
    """Nothing comes out while it is wrong, and nothing has to be thrown away."""
    async with paired(tmp_path) as world:
        clock = _clock_of(world, "b")
        clock.at -= limits.PAIR_AHEAD_MS_MAX
        await world.sign("a", "r1")
        world.clock.at += 1
        with pytest.raises(Unavailable):
            await world.sign("a", "r2")
        await until(lambda: "Set right whichever clock is wrong" in world["a"].terms.standing().obstacle)
        clock.at = world.clock.at
        await until(lambda: world["a"].leads)
        await world.sign("a", "r2")
        assert world.signatures("a") == world.signatures("b")


async def test_a_follower_whose_clock_is_far_ahead_holds_nothing_up(tmp_path: Path) -> None:
    """Also when it knows that: nothing is dated by it."""
    async with paired(tmp_path) as world:
        _clock_of(world, "b").at += YEAR_MS
        await world.sign("a", "r1")
        moved = [0]
        clock = SteadyClock(lambda: world.clock.at + moved[0], lambda: 0.0)
        moved[0] = YEAR_MS
        world["b"].terms.intake._clock = clock
        await world.sign("a", "r2")
        assert sorted(world.signatures("b")) == ["r1", "r2"]


async def test_a_ledger_that_is_dated_ahead_already_is_taken_and_goes_on(tmp_path: Path) -> None:
    """History is history: a follower catches up with it, and confirms what is not dated later still."""
    async with paired(tmp_path) as world:
        await world["b"].stop()
        await world["a"].stop()
        await world.stand("a")
        await world.name("a", "a")
        world.clock.at += YEAR_MS
        await world.sign("a", "r1")
        world.clock.at -= YEAR_MS
        world["b"].start()
        _clock_of(world, "b")
        await until(lambda: world["b"].replica.head == world["a"].replica.head)
        world.clock.at += YEAR_MS  # statements must outlive what the ledger is dated
        await world.name("a", "a", "b")
        world.clock.at -= YEAR_MS
        await world.sign("a", "r2")
        assert sorted(world.signatures("b")) == ["r1", "r2"]
