"""What an enclave has signed for before, so that whoever approves can be told what is new.

A projection of the ledger: only facts feed it. It decides nothing. What does not fit is left out and then looks new,
so that it warns too often and never too rarely.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from keyvault.core import limits
from keyvault.core.ids import KeyId, UnixMillis
from keyvault.core.intent import Effect, Operation
from keyvault.core.policy_rules import LIST_MARK, Policy, Verdict, normal_destination
from keyvault.core.slots import Replaces, Slots

_LOOK_ALIKE_CHARS = 4
"""What people compare of an address: its first and last four digits; senders of look-alikes match just these."""


class Mark(StrEnum):
    """Why an approver should look twice at an effect."""

    NEW_DESTINATION = "first-seen destination"
    LOOK_ALIKE = "looks like a known address and is another"
    LARGEST = "larger than any before"
    OPAQUE = "keyvault cannot read what this does"
    SLOT = "another content was signed for its slot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """A mark on effect ``effect`` (from 0), with what it is compared with."""

    effect: int
    mark: Mark
    detail: str


_Measured: TypeAlias = tuple[KeyId, int | str, str | None]
"""Amounts that can be compared: of one key, on one chain or at one venue, of one asset."""


def _measured(key: KeyId, effect: Effect) -> _Measured | None:
    chain = chain_of(effect)
    place = effect.venue if chain is None else chain
    return None if place is None else (key, place, effect.asset)


class Familiar:
    """Destinations and when they were signed for first, and the largest amount of each key by place and asset.

    ``known`` in a question is how many entries the asker knew: later ones are as if they were not there, so that a
    decision can be judged again exactly.
    """

    __slots__ = ("_destinations", "_largest", "_shapes", "slots")

    def __init__(self) -> None:
        self._destinations: dict[str, tuple[int, UnixMillis]] = {}
        self._largest: dict[_Measured, int] = {}
        self._shapes: dict[tuple[str, str], int] = {}
        self.slots = Slots()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Familiar):
            return NotImplemented
        return (self._destinations, self._largest, self.slots) == (other._destinations, other._largest, other.slots)

    __hash__ = None  # type: ignore[assignment]  # mutable

    def saw(self, key: KeyId, effects: Iterable[Effect], index: int, at: UnixMillis) -> None:
        """Remember what entry ``index`` signed."""
        for effect in effects:
            if effect.destination is not None:
                self._saw_destination(normal_destination(effect.destination), index, at)
            place = _measured(key, effect)
            if effect.amount and place is not None:
                before = self._largest.get(place, 0)
                if effect.amount > before and (before or len(self._largest) < limits.DESTINATIONS_REMEMBERED):
                    self._largest[place] = effect.amount

    def _saw_destination(self, name: str, index: int, at: UnixMillis) -> None:
        if name in self._destinations or len(self._destinations) >= limits.DESTINATIONS_REMEMBERED:
            return
        self._destinations[name] = index, at
        shape = _shape(name)
        if shape is not None:
            self._shapes.setdefault(shape, index)

    def origins(self, name: str, known: int) -> frozenset[int]:
        """Return the entries on which rests whether a destination (in normal form) is new, or resembles another."""
        first, shape = self._destinations.get(name), _shape(name)
        found = {first[0]} if first is not None else set()
        if shape is not None and shape in self._shapes:
            found.add(self._shapes[shape])
        return frozenset(index for index in found if index < known)

    def age_ms(self, name: str, known: int, now: UnixMillis) -> int:
        """Return how long ago a destination (in normal form) was signed for first; 0 if it never was."""
        first = self._destinations.get(name)
        return 0 if first is None or first[0] >= known else max(0, now - first[1])

    def is_look_alike(self, name: str, known: int, listed: "Listed") -> bool:
        """Return whether a destination resembles a known or listed one, and is neither."""
        first = self._destinations.get(name)
        if name in listed.names or (first is not None and first[0] < known):
            return False
        shape = _shape(name)
        return shape is not None and (shape in listed.shapes or self._shapes.get(shape, known) < known)

    def remarks(self, key: KeyId, effects: Iterable[Effect], listed: frozenset[str]) -> tuple[Remark, ...]:
        """Return what is new about these effects. ``listed``: destinations that the policy names, in normal form."""
        return tuple(
            Remark(effect=number, mark=mark, detail=detail)
            for number, effect in enumerate(effects)
            for mark, detail in self._of(key, effect, listed)
        )

    def _of(self, key: KeyId, effect: Effect, listed: frozenset[str]) -> Iterator[tuple[Mark, str]]:
        if effect.operation is Operation.OPAQUE:
            yield Mark.OPAQUE, ""
        if effect.destination is not None:
            name = normal_destination(effect.destination)
            if name not in self._destinations:
                yield Mark.NEW_DESTINATION, name
                if name not in listed:
                    yield from ((Mark.LOOK_ALIKE, known) for known in self._resembled(name, listed))
        place = _measured(key, effect)
        if effect.amount and place is not None:
            largest = self._largest.get(place, 0)
            if effect.amount > largest:
                yield Mark.LARGEST, str(largest)

    def _resembled(self, name: str, listed: frozenset[str]) -> Iterator[str]:
        shape = _shape(name)
        if shape is None:
            return
        for known in sorted(listed | self._destinations.keys()):
            if known != name and _shape(known) == shape:
                yield known


def slot_remarks(slots: Slots, slot: str | None, effects: Sequence[Effect], known: int) -> tuple[Remark, ...]:
    """Return a remark if another content was signed for the slot before: whoever has both may choose between them."""
    if slots.replaced(slot, effects, known) is not Replaces.OTHER:
        return ()
    return (Remark(effect=0, mark=Mark.SLOT, detail=str(slots.origin(slot, known))),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Destinations that a policy names as ones to be sent to, in normal form, and what people compare of them."""

    names: frozenset[str]
    shapes: frozenset[tuple[str, str]]


def listed(policy: Policy) -> Listed:
    """Return the destinations that the policy names."""
    names = listed_destinations(policy)
    return Listed(names=names, shapes=frozenset(shape for shape in map(_shape, names) if shape is not None))


def chain_of(effect: Effect) -> int | str | None:
    """Return the chain of an effect: an EIP-155 chain id, or the name of another network."""
    return effect.chain_id if effect.network is None else effect.network


def listed_destinations(policy: Policy) -> frozenset[str]:
    """Return the destinations, in normal form, that the policy names as ones to be sent to."""
    named = frozenset(
        each
        for rule in policy.rules
        if rule.verdict is not Verdict.DENY and isinstance(rule.destinations, frozenset)
        for each in rule.destinations
    )
    from_lists = frozenset(each for values in policy.lists.values() for each in values)
    return frozenset(normal_destination(each) for each in named | from_lists if not each.startswith(LIST_MARK))


def _shape(name: str) -> tuple[str, str] | None:
    """Return what people compare of an address, or None if it is too short to be taken for another."""
    body = name.removeprefix("0x")
    if len(body) <= 2 * _LOOK_ALIKE_CHARS:
        return None
    return body[:_LOOK_ALIKE_CHARS].lower(), body[-_LOOK_ALIKE_CHARS:].lower()
