"""What an enclave has signed for before, so that whoever approves can be told what is new.

A projection of the ledger: only facts feed it. It decides nothing. What does not fit is left out and then looks new,
so that it warns too often and never too rarely.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from keyvault.core import limits
from keyvault.core.ids import KeyId
from keyvault.core.intent import Effect, Operation
from keyvault.core.policy_rules import ANY, Policy, Verdict, normal_destination

_LOOK_ALIKE_CHARS = 4
"""What people compare of an address: its first and last four digits; senders of look-alikes match just these."""


class Mark(StrEnum):
    """Why an approver should look twice at an effect."""

    NEW_DESTINATION = "first-seen destination"
    LOOK_ALIKE = "looks like a known address and is another"
    LARGEST = "larger than any before"
    OPAQUE = "keyvault cannot read what this does"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """A mark on effect ``effect`` (from 0), with what it is compared with."""

    effect: int
    mark: Mark
    detail: str


class Familiar:
    """Destinations that were signed for, and the largest amount of each key on each chain."""

    __slots__ = ("_destinations", "_largest")

    def __init__(self) -> None:
        self._destinations: dict[str, int] = {}
        self._largest: dict[tuple[KeyId, int], int] = {}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Familiar):
            return NotImplemented
        return (self._destinations, self._largest) == (other._destinations, other._largest)

    __hash__ = None  # type: ignore[assignment]  # mutable

    def saw(self, key: KeyId, effects: Iterable[Effect]) -> None:
        """Remember what was signed."""
        for effect in effects:
            if effect.destination is not None:
                name = normal_destination(effect.destination)
                count = self._destinations.get(name, 0)
                if count or len(self._destinations) < limits.DESTINATIONS_REMEMBERED:
                    self._destinations[name] = count + 1
            if effect.amount and effect.chain_id is not None:
                place = (key, effect.chain_id)
                before = self._largest.get(place, 0)
                if effect.amount > before and (before or len(self._largest) < limits.DESTINATIONS_REMEMBERED):
                    self._largest[place] = effect.amount

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
        if effect.amount and effect.chain_id is not None:
            largest = self._largest.get((key, effect.chain_id), 0)
            if effect.amount > largest:
                yield Mark.LARGEST, str(largest)

    def _resembled(self, name: str, listed: frozenset[str]) -> Iterator[str]:
        shape = _shape(name)
        if shape is None:
            return
        for known in sorted(listed | self._destinations.keys()):
            if known != name and _shape(known) == shape:
                yield known


def listed_destinations(policy: Policy) -> frozenset[str]:
    """Return the destinations, in normal form, that the policy names as ones to be sent to."""
    return frozenset(
        normal_destination(each)
        for rule in policy.rules
        if rule.verdict is not Verdict.DENY and rule.destinations is not None and rule.destinations is not ANY
        for each in rule.destinations
    )


def _shape(name: str) -> tuple[str, str] | None:
    """Return what people compare of an address, or None if it is too short to be taken for another."""
    body = name.removeprefix("0x")
    if len(body) <= 2 * _LOOK_ALIKE_CHARS:
        return None
    return body[:_LOOK_ALIKE_CHARS].lower(), body[-_LOOK_ALIKE_CHARS:].lower()
