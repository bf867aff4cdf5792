"""Several enclaves over three places in a simulated world: the spread gets even, stays so, and costs nothing else."""

from dataclasses import replace
from itertools import pairwise

import pytest

from keyvault.core import limits
from keyvault.store.base import Presence
from tests.engine.spread_world import Places

EVEN_WITHIN_S = 120
"""After the last change: every lead is held for 30 s, then some six moves, each after 5 s of quiet."""
APART_S = 0.9 * limits.SPREAD_SETTLE_MS / 1000
"""Least time between two moves, whichever nodes make them; clocks run up to 5 % fast."""


def settled(places: Places) -> None:
    """Nothing moves any more, nobody waits, and the history of each enclave is one history."""
    epochs, moves = places.epochs(), len(places.handed_over)
    places.run(90)
    assert (places.epochs(), len(places.handed_over)) == (epochs, moves)
    places.run(10, asks=False)
    places.check()


@pytest.mark.parametrize("seed", range(3))
def test_places_that_start_together_share_from_the_start(seed: int) -> None:
    """Four enclaves over three places, whoever was fastest: soon one, one and two, and then nothing moves."""
    places = Places(seed)
    places.run(EVEN_WITHIN_S)
    assert sorted(places.loads(0, 1, 2)) == [1, 1, 2]
    settled(places)


@pytest.mark.parametrize("silently", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_a_place_that_dies_is_replaced_at_once_and_gets_its_share_again(seed: int, *, silently: bool) -> None:
    """Its enclaves are led within seconds, and evenly; when it is back it gets a share, one move after the other."""
    places = Places(seed, enclaves=6)
    places.run(EVEN_WITHIN_S)
    assert places.loads(0, 1, 2) == [2, 2, 2]
    places.crash(0, silently=silently)
    places.run(8 if silently else 2)
    assert places.loads(1, 2) == [3, 3]
    places.start(0)
    moves = len(places.handed_over)
    places.run(EVEN_WITHIN_S)
    assert places.loads(0, 1, 2) == [2, 2, 2]
    assert len(places.handed_over) - moves == 2
    settled(places)


def test_a_drained_place_gets_nothing() -> None:
    """Its enclaves go to the others, evenly; nothing comes while it is drained, and its share when it is not."""
    places = Places(5, enclaves=6)
    places.run(EVEN_WITHIN_S)
    places.set_willing(1, willing=False)
    places.run(EVEN_WITHIN_S)
    assert places.loads(0, 1, 2) == [3, 0, 3]
    settled(places)
    places.set_willing(1, willing=True)
    places.run(EVEN_WITHIN_S)
    assert places.loads(0, 1, 2) == [2, 2, 2]


@pytest.mark.parametrize("seed", range(12))
def test_after_any_schedule_the_spread_is_even(seed: int) -> None:
    """Places crash, hang, drain, come back, and processes die; in the end every place has its share and keeps it."""
    places = Places(seed, enclaves=5)
    for _ in range(8):
        places.run(places.random.uniform(3, 40))
        number = places.random.randrange(3)
        match places.random.randrange(4):
            case 0:
                places.crash(number, silently=places.random.random() < 0.5)
            case 1:
                places.set_willing(number, willing=places.random.random() < 0.5)
            case 2:
                places.kill_one()
            case _:
                places.start(number)
    for number in range(3):
        places.start(number)
        places.set_willing(number, willing=True)
    places.run(EVEN_WITHIN_S)
    assert sorted(places.loads(0, 1, 2)) == [1, 2, 2]
    assert all(after.at - before.at >= APART_S for before, after in pairwise(places.handed_over))
    settled(places)


def test_a_table_that_lies_costs_a_hand_over_now_and_then_and_no_more() -> None:
    """Somebody writes that another place could lead everything, which is not there: each enclave is soon led again."""

    def lie(rows: list[Presence]) -> list[Presence]:
        beat = max((each.beat for each in rows), default=0)
        nobody = Presence(enclave="", place="nowhere", holder="h", address="x:1", beat=beat, eligible=True, leads=False)
        return [*rows, *(replace(nobody, enclave=enclave) for enclave in places.worlds)]

    places = Places(7, enclaves=6)
    places.lies = lie
    places.run(500)
    last: dict[str, float] = {}
    for each in places.handed_over:
        assert each.to == "nowhere"
        assert each.at - last.get(each.enclave, -100) >= 0.94 * limits.SPREAD_HOLD_MS / 1000
        last[each.enclave] = each.at
    assert places.handed_over
    places.lies = lambda rows: rows
    places.run(EVEN_WITHIN_S)
    assert places.loads(0, 1, 2) == [2, 2, 2]
    settled(places)


def test_a_table_that_cannot_be_read_leaves_everything_where_it_is() -> None:
    """Nodes that are told nothing do what they did without places: nobody hands over, and a free lease is taken."""
    places = Places(9)
    places.lies = lambda _: []
    places.run(60)
    assert len(places.led()) == 4
    places.crash(0)
    places.run(2)
    assert len(places.led()) == 4
    places.run(200)
    assert places.handed_over == []
