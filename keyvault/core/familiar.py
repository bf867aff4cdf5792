"""What an enclave has signed for before, so that whoever approves can be told what is new.

A projection of the ledger: only facts feed it. It decides nothing. What does not fit is left out and then looks new,
so that it warns too often; but nothing is compared with it, so its look-alikes are not found.

A destination is an account in one spelling, with its tag or memo: the address of an exchange is one account for all of
its customers. Look-alikes go by the account alone. What was done with a destination counts for the same only: being
paid (TRANSFER, WITHDRAW), allowed, called. A payment or allowance of nothing makes nothing known: who has a bot could
make any number of addresses known by these. Look-alikes are compared with accounts that were paid, and with those
that are listed.

Two accounts look alike if their first three and last three digits are equal, or the first six, or the last six: that is
what wallets show of an address, and what senders of look-alikes match. Of 65,536 known accounts one resembles a random
one in some 100 cases of 10,000.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TypeAlias

from keyvault.core import limits
from keyvault.core.accounts import account_of, whole_of
from keyvault.core.ids import KeyId, UnixMillis
from keyvault.core.intent import Effect, Operation
from keyvault.core.slots import Replaces, Slots

_BOTH_CHARS, _SIDE_CHARS = 3, 6
"""Digits on both sides, or on one, that make accounts look alike."""
_BEFORE_DIGITS = re.compile(r"0x|[a-z]{2,20}1", re.ASCII)
"""What all addresses of one kind begin with."""
_OF_AMOUNT = frozenset({Operation.TRANSFER, Operation.WITHDRAW, Operation.ALLOWANCE})
_Known: TypeAlias = tuple[Operation, str]
"""What was done with an account; WITHDRAW is TRANSFER here."""

_EVERY_ENTRY = 2**63
"""More than there are in a ledger."""

_Shape: TypeAlias = tuple[str, str]
"""First and last digits that are compared; empty: the other side alone."""


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

    __slots__ = ("_destinations", "_largest", "_paid", "_shapes", "slots")

    def __init__(self) -> None:
        self._destinations: dict[_Known, tuple[int, UnixMillis]] = {}
        self._largest: dict[_Measured, int] = {}
        self._paid: dict[str, int] = {}
        """Accounts that were paid with a tag, and the first entry that did."""
        self._shapes: dict[_Shape, tuple[int, str]] = {}
        """The first account of each shape, and the entry that made it known."""
        self.slots = Slots()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Familiar):
            return NotImplemented
        return (self._destinations, self._largest, self.slots) == (other._destinations, other._largest, other.slots)

    __hash__ = None  # type: ignore[assignment]  # mutable

    def saw(self, key: KeyId, effects: Iterable[Effect], index: int, at: UnixMillis) -> None:
        """Remember what entry ``index`` signed."""
        for effect in effects:
            empty = effect.operation in _OF_AMOUNT and not (effect.amount or effect.quantity)
            if effect.destination is not None and not empty:
                self._saw_destination(effect.operation, effect.destination, index, at)
            place = _measured(key, effect)
            if effect.amount and place is not None:
                before = self._largest.get(place, 0)
                if effect.amount > before and (before or len(self._largest) < limits.DESTINATIONS_REMEMBERED):
                    self._largest[place] = effect.amount

    def _saw_destination(self, operation: Operation, destination: str, index: int, at: UnixMillis) -> None:
        account = account_of(destination)
        done = _done(operation, whole_of(destination, account))
        if done in self._destinations or len(self._destinations) >= limits.DESTINATIONS_REMEMBERED:
            return
        self._destinations[done] = index, at
        if done[0] is Operation.TRANSFER:
            if done[1] != account:
                self._paid.setdefault(account, index)
            for shape in _shapes(account):
                self._shapes.setdefault(shape, (index, account))

    def origins(self, operation: Operation, destination: str, known: int) -> frozenset[int]:
        """Return the entries on which rests whether a destination is new, or resembles another."""
        account = account_of(destination)
        whole = whole_of(destination, account)
        done = (_done(operation, whole), (Operation.TRANSFER, account), (Operation.TRANSFER, whole))
        found = {self._destinations[each][0] for each in done if each in self._destinations}
        found |= {self._shapes[shape][0] for shape in _shapes(account) if shape in self._shapes}
        found |= {self._paid[account]} if account in self._paid else set()
        return frozenset(index for index in found if index < known)

    def age_ms(self, operation: Operation, whole: str, known: int, now: UnixMillis) -> int:
        """Return how long ago this was done first with a destination (account and tag); 0 if it never was."""
        first = self._destinations.get(_done(operation, whole))
        return 0 if first is None or first[0] >= known else max(0, now - first[1])

    def _was_paid(self, account: str, known: int) -> bool:
        first = self._destinations.get((Operation.TRANSFER, account))
        return (first is not None and first[0] < known) or self._paid.get(account, known) < known

    def is_look_alike(self, name: str, known: int, listed: "Listed") -> bool:
        """Return whether a destination resembles a known or listed one, and is neither."""
        if name in listed.names or self._was_paid(name, known):
            return False
        return any(
            shape in listed.shapes or (shape in self._shapes and self._shapes[shape][0] < known)
            for shape in _shapes(name)
        )

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
            name = account_of(effect.destination)
            whole = whole_of(effect.destination, name)
            if _done(effect.operation, whole) not in self._destinations:
                yield Mark.NEW_DESTINATION, whole
                if name not in listed and not self._was_paid(name, _EVERY_ENTRY):
                    yield from ((Mark.LOOK_ALIKE, known) for known in self._resembled(name, listed))
        place = _measured(key, effect)
        if effect.amount and place is not None:
            largest = self._largest.get(place, 0)
            if effect.amount > largest:
                yield Mark.LARGEST, str(largest)

    def _resembled(self, name: str, listed: frozenset[str]) -> Iterator[str]:
        """Yield the accounts that it resembles: those listed, and the first known one of each shape."""
        shapes, by_shape = _shapes(name), _by_shape(listed)
        alike = {each for shape in shapes for each in by_shape.get(shape, ())}
        alike |= {self._shapes[shape][1] for shape in shapes if shape in self._shapes}
        yield from sorted(alike - {name})


def slot_remarks(slots: Slots, slot: str | None, effects: Sequence[Effect], known: int) -> tuple[Remark, ...]:
    """Return a remark if another content was signed for the slot before: whoever has both may choose between them."""
    if slots.replaced(slot, effects, known) is not Replaces.OTHER:
        return ()
    return (Remark(effect=0, mark=Mark.SLOT, detail=str(slots.origin(slot, known))),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Destinations that a policy names as ones to be sent to, in normal form, and what people compare of them."""

    names: frozenset[str]
    shapes: frozenset[_Shape]

    @classmethod
    def of(cls, names: frozenset[str]) -> "Listed":
        """Return these destinations with their shapes."""
        return cls(names=names, shapes=frozenset(shape for name in names for shape in _shapes(name)))


def chain_of(effect: Effect) -> int | str | None:
    """Return the chain of an effect: an EIP-155 chain id, or the name of another network."""
    return effect.chain_id if effect.network is None else effect.network


@lru_cache(maxsize=1)
def _by_shape(accounts: frozenset[str]) -> Mapping[_Shape, tuple[str, ...]]:
    """Return the accounts of each shape. Members are told of 64 effects at once, and lists have hundreds."""
    found: dict[_Shape, tuple[str, ...]] = {}
    for account in accounts:
        for shape in _shapes(account):
            found[shape] = (*found.get(shape, ()), account)
    return found


def _done(operation: Operation, account: str) -> _Known:
    return (Operation.TRANSFER if operation is Operation.WITHDRAW else operation), account


def _shapes(account: str) -> frozenset[_Shape]:
    """Return what people compare of an account; nothing if it is too short to be taken for another."""
    before = _BEFORE_DIGITS.match(account)
    digits = account if before is None else account[before.end() :]
    if len(digits) <= 2 * _SIDE_CHARS:
        return frozenset()
    digits = digits.lower()
    return frozenset(
        {
            (digits[:_BOTH_CHARS], digits[-_BOTH_CHARS:]),
            (digits[:_SIDE_CHARS], ""),
            ("", digits[-_SIDE_CHARS:]),
        }
    )
