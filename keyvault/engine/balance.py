"""How the leads of several enclaves are spread over places: who should take a free lease first, and what should move.

Pure: a picture in, a name out. Whoever has the same picture comes to the same answer, so nobody needs to be asked.

Laws:

1. A place's load is the number of enclaves that are led there. No place counts more than another.
2. The heir of an enclave is the place that should take its lease if its leader, or its leader's whole place, were gone:
   the enclaves of that place go, in the order of their names, each to the place with the least load that could lead it,
   by name among equals; what went before counts. So the enclaves of a place that dies go to all others evenly.
3. An heir could lead: a node of the enclave is there and says so. Never the place that leads it. There may be none.
4. There is at most one move in a picture: of the place with the most load, by name among equals, the first enclave
   whose heir has at least two less. If that place has none, the next one's.
5. So a move makes the spread strictly more even (the sum of the squares of the loads falls by two or more), and moves
   come to an end. When every place could lead every enclave, they end with loads at most one apart.
6. A move is what its heir says: who leaves and who takes mean the same place.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MOVES_FROM = 2
"""Least difference of two loads for which an enclave moves: with one, the two would only change places."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Who leads what, and who could. ``leads`` has no enclave that nobody leads who has a place."""

    leads: Mapping[str, str]
    """Place by enclave."""
    able: frozenset[tuple[str, str]]
    """(enclave, place): a node there says that it could lead."""

    @property
    def places(self) -> tuple[str, ...]:
        """Every place that leads or could, by name."""
        return tuple(sorted({*self.leads.values(), *(place for _, place in self.able)}))

    @property
    def enclaves(self) -> tuple[str, ...]:
        """Every enclave that is led or could be, by name."""
        return tuple(sorted({*self.leads, *(enclave for enclave, _ in self.able)}))

    def loads(self) -> Counter[str]:
        """Return how many enclaves each place leads; nothing for one that leads none."""
        return Counter(self.leads.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """The leader of this enclave should hand it to this place."""

    enclave: str
    to: str


def heir(picture: Picture, enclave: str) -> str:
    """Return the place that should take this enclave's lease when it becomes free (2, 3); empty if there is none."""
    leaving = picture.leads.get(enclave, "")
    return _heirs(picture.loads(), _led(picture).get(leaving, []), leaving, _able(picture)).get(enclave, "")


def next_move(picture: Picture) -> Move | None:
    """Return the one move that is next (4); None if the spread is as even as it can be."""
    loads, led, able = picture.loads(), _led(picture), _able(picture)
    for place in sorted(loads, key=lambda each: (-loads[each], each)):
        for enclave, to in _heirs(loads, led[place], place, able).items():
            if loads[place] - loads[to] >= MOVES_FROM:
                return Move(enclave=enclave, to=to)
    return None


def _heirs(
    loads: Mapping[str, int], enclaves: Sequence[str], leaving: str, able: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """Return the heir of each of these enclaves, which the place that leaves leads, one after the other."""
    then = Counter(loads)
    heirs: dict[str, str] = {}
    for enclave in enclaves:
        others = [place for place in able.get(enclave, ()) if place != leaving]
        if others:
            heirs[enclave] = min(others, key=lambda place: (then[place], place))
            then[heirs[enclave]] += 1
    return heirs


def _led(picture: Picture) -> dict[str, list[str]]:
    """Return the enclaves that each place leads, by name; under the empty name those that no place leads."""
    led: dict[str, list[str]] = defaultdict(list)
    for enclave in picture.enclaves:
        led[picture.leads.get(enclave, "")].append(enclave)
    return led


def _able(picture: Picture) -> dict[str, list[str]]:
    able: dict[str, list[str]] = defaultdict(list)
    for enclave, place in picture.able:
        able[enclave].append(place)
    return able
