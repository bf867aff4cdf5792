"""What was signed first for each slot, so that a second signature with another content can be told from a raised fee.

A slot takes one signature (account and nonce, a Safe's nonce, outpoints). Whoever collects signatures for different
contents of one slot can choose later which of them takes effect: that is how a Safe's owners were robbed with "failed"
attempts that were signed again. A projection of the ledger, as ``familiar``, with the same meaning of ``known``.

A slot is remembered for SLOT_MEMORY_ENTRIES entries of the ledger, whoever makes them; then it looks new, and what
fills it next is its first content. What is forgotten depends on places in the ledger only, so that a decision can be
judged again exactly: a content that is forgotten is kept as long as anybody may still judge with it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import fields
from enum import StrEnum
from operator import attrgetter
from typing import NamedTuple

from keyvault.core import limits
from keyvault.core.intent import Effect

_content = attrgetter(*(each.name for each in fields(Effect) if each.name != "fee_max"))


class Replaces(StrEnum):
    """What a signature would do to an earlier one; values are the words of predicates."""

    NOTHING = ""
    SAME = "same"
    """The same effects at other fees."""
    OTHER = "other"


class _Content(NamedTuple):
    """Where a slot was filled first, and the hash of its effects without fees."""

    entry: int
    sha256: bytes


class Slots:
    """The first content of each slot, and where it stands."""

    __slots__ = ("_first",)

    def __init__(self) -> None:
        self._first: dict[str, tuple[_Content, ...]] = {}
        """Oldest first; the slots in the order of their newest."""

    def __eq__(self, other: object) -> bool:
        return self._first == other._first if isinstance(other, Slots) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # mutable

    def fill(self, slot: str | None, effects: Sequence[Effect], index: int) -> None:
        """Remember what entry ``index`` signed, if it has a slot that nothing filled before."""
        if slot is None:
            return
        forgotten = index - limits.SLOT_MEMORY_ENTRIES
        oldest = forgotten - limits.HISTORY_LAG_MAX
        while self._first:
            first = next(iter(self._first))
            if self._first[first][-1].entry >= oldest:
                break
            del self._first[first]
        before = self._first.get(slot, ())
        if not before or before[-1].entry < forgotten:
            kept = tuple(each for each in before if each.entry >= oldest)
            self._first.pop(slot, None)
            self._first[slot] = (*kept, _Content(index, _digest(effects)))

    def replaced(self, slot: str | None, effects: Sequence[Effect], known: int) -> Replaces:
        """Return what a signature with these effects would replace, for whoever knows the first ``known`` entries."""
        found = self._known(slot, known)
        if found is None:
            return Replaces.NOTHING
        return Replaces.SAME if found.sha256 == _digest(effects) else Replaces.OTHER

    def origin(self, slot: str | None, known: int) -> int | None:
        """Return the entry that filled a slot first, if it is remembered."""
        found = self._known(slot, known)
        return None if found is None else found.entry

    def _known(self, slot: str | None, known: int) -> "_Content | None":
        contents = () if slot is None else self._first.get(slot, ())
        fresh = (each for each in contents if known - limits.SLOT_MEMORY_ENTRIES <= each.entry < known)
        return next(fresh, None)


def _digest(effects: Sequence[Effect]) -> bytes:
    return hashlib.sha256(repr([_content(effect) for effect in effects]).encode()).digest()
