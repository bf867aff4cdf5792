"""The laws of engine.spread, one by one: readings in, advice out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from keyvault.engine.balance import Move
from keyvault.engine.spread import Spread
from keyvault.store.base import Presence

T = 1000.0
"""When the world begins by the node's clock."""


@dataclass(slots=True)
class Table:
    """A table in which every node gives a sign of life with each reading. ``leads``: place by enclave."""

    leads: dict[str, str]
    places: Sequence[str] = ("a", "b")
    silent: set[str] = field(default_factory=set)
    unable: set[str] = field(default_factory=set)
    beat: int = 0

    def read(self) -> list[Presence]:
        self.beat += 1
        return [
            Presence(
                enclave=enclave,
                place=place,
                holder=f"{enclave}-{place}",
                address=f"{place}:7443",
                beat=0 if place in self.silent else self.beat,
                eligible=place not in self.unable,
                leads=self.leads[enclave] == place,
            )
            for enclave in self.leads
            for place in self.places
        ]


def node(enclave: str = "e1", place: str = "a") -> Spread:
    return Spread(enclave=enclave, place=place, now=T)


def watched(spread: Spread, table: Table, since: float, until: float, *, leads: bool = True) -> list[float]:
    """Read once a second from then to then; return when a hand-over was advised."""
    advised, at = [], since
    while at <= until:
        spread.saw(table.read(), leads=leads, now=T + at)
        if spread.advice(T + at) is not None:
            advised.append(at)
        at += 1
    return advised


def uneven() -> Table:
    """Place a leads two, b none: e1 should move to b."""
    return Table({"e1": "a", "e2": "a"})


def test_a_hand_over_is_advised_once_the_term_is_old_enough() -> None:
    """After thirty seconds of a term, in a picture that is long settled, the leader that the move names is told."""
    spread = node()
    assert watched(spread, uneven(), 0, 29) == []
    spread.saw(uneven().read(), leads=True, now=T + 30)  # another table: every beat is as it was not before
    assert spread.advice(T + 30) == Move(enclave="e1", to="b")


@pytest.mark.parametrize(("enclave", "place"), [("e2", "a"), ("e1", "b")])
def test_only_one_node_is_advised(enclave: str, place: str) -> None:
    """The leader of another enclave, and a node that does not lead, see the same picture and do nothing."""
    assert watched(node(enclave, place), uneven(), 0, 300) == []


def test_who_does_not_lead_is_never_advised() -> None:
    """Whatever the table says of this node."""
    assert watched(node(), uneven(), 0, 300, leads=False) == []


def test_nothing_moves_while_anything_changes() -> None:
    """Another enclave's lead moved: five seconds of quiet must pass before the next move."""
    spread, table = node(), Table({"e1": "a", "e2": "a", "e3": "a", "e4": "b"})
    assert watched(spread, table, 0, 28) == []
    table.leads["e4"] = "a"
    assert watched(spread, table, 29, 33) == []
    assert watched(spread, table, 34, 34) == [34]


def test_nothing_moves_when_a_reading_failed() -> None:
    """What was not seen may have been a change."""
    spread, table = node(), uneven()
    assert watched(spread, table, 0, 28) == []
    spread.failed(T + 29)
    assert not spread.yields()
    assert watched(spread, table, 30, 34) == []
    assert watched(spread, table, 35, 35) == [35]


def test_an_even_spread_stays() -> None:
    """A difference of one is none: nothing moves, for ever."""
    assert watched(node(), Table({"e1": "a", "e2": "a", "e3": "b"}), 0, 1_000) == []


def test_nothing_moves_to_who_is_not_there() -> None:
    """A row that does not change is a node of the past, from the first sight on."""
    table = uneven()
    table.silent = {"b"}
    assert watched(node(), table, 0, 300) == []


def test_nothing_moves_to_who_could_not_lead() -> None:
    """A place that is drained says so, and gets nothing."""
    table = uneven()
    table.unable = {"b"}
    spread = node()
    assert watched(spread, table, 0, 300) == []
    assert not spread.yields()


def test_who_is_seen_for_the_first_time_is_not_there_yet() -> None:
    """The row may be of a node that is long gone: only its second sign of life tells."""
    spread, table = node(place="b"), uneven()
    spread.saw(table.read(), leads=False, now=T)
    assert list(spread.picture.places) == []
    assert not spread.yields()
    spread.saw(table.read(), leads=False, now=T + 1)
    assert list(spread.picture.places) == ["a", "b"]


def test_a_node_that_falls_silent_is_gone_after_five_seconds() -> None:
    """Its place leads nothing any more, by the reader's clock."""
    spread, table = node(place="b"), uneven()
    watched(spread, table, 0, 10)
    assert spread.picture.leads == {"e1": "a", "e2": "a"}
    rows = table.read()
    spread.saw(rows, leads=False, now=T + 11)
    spread.saw(rows, leads=False, now=T + 15.9)
    assert spread.picture.leads == {"e1": "a", "e2": "a"}
    spread.saw(rows, leads=False, now=T + 16)
    assert list(spread.picture.places) == []


def test_a_new_process_is_not_there_before_its_second_sign() -> None:
    """A node that started again at the same address may have been put there by an old row."""
    spread, table = node(), uneven()
    watched(spread, table, 0, 10)
    rows = [each if each.place == "a" else _other_process(each) for each in table.read()]
    spread.saw(rows, leads=True, now=T + 11)
    assert spread.picture.places == ("a",)


def _other_process(row: Presence) -> Presence:
    return Presence(
        enclave=row.enclave,
        place=row.place,
        holder="another",
        address=row.address,
        beat=row.beat,
        eligible=row.eligible,
        leads=row.leads,
    )


def test_a_node_yields_to_the_heir() -> None:
    """The place with less load should take a free lease first; that place itself does not wait."""
    table = Table({"e1": "a", "e2": "a", "e3": "b"}, places=("a", "b", "c"))
    for place, yields in (("b", True), ("c", False)):
        spread = node(place=place)
        assert not spread.yields()
        watched(spread, table, 0, 3, leads=False)
        assert spread.yields() is yields


def test_a_table_that_lies_costs_few_hand_overs() -> None:
    """Whoever says for ever that b could lead, and never does, is believed once in thirty seconds, then ever less."""
    spread, table = node(), uneven()
    advised: list[int] = []
    for at in range(4_000):  # the lead comes back within two seconds of each hand-over
        spread.saw(table.read(), leads=not advised or at - advised[-1] >= 2, now=T + at)
        if spread.advice(T + at) is not None:
            advised.append(at)
    gaps = [after - before for before, after in pairwise(advised)]
    assert advised[0] >= 30
    assert gaps == sorted(gaps)
    assert gaps[:5] == [32, 62, 122, 242, 482]
    assert max(gaps) <= 962


def test_a_table_that_changes_all_the_time_moves_nothing() -> None:
    """Nonsense that never settles is no advice."""
    spread, table = node(), uneven()
    advised = []
    for at in range(600):
        table.unable = {"b"} if at % 4 == 0 else set()
        advised += watched(spread, table, at, at)
    assert advised == []


def test_a_hand_over_that_reached_its_aim_is_forgotten() -> None:
    """When the lead came where it should, the next one is due after thirty seconds again."""
    spread, table = node(), uneven()
    assert watched(spread, table, 0, 30) == [30]
    table.leads["e1"] = "b"
    assert watched(spread, table, 31, 100, leads=False) == []
    table.leads["e1"] = "a"
    assert watched(spread, table, 101, 131) == [131]
    table.leads["e1"] = "b"
    assert watched(spread, table, 132, 140, leads=False) == []
    table.leads["e1"] = "a"
    assert watched(spread, table, 141, 171) == [171]
