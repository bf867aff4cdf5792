"""What was signed first for each slot, so that a second signature with another content can be told from a raised fee.

A slot takes one signature (account and nonce, a Safe's nonce, outpoints). Whoever collects signatures for different
contents of one slot can choose later which of them takes effect: that is how a Safe's owners were robbed with "failed"
attempts that were signed again. A projection of the ledger, as ``familiar``, with the same meaning of ``known``.

Remembered are the slots that were filled first in the latest SLOT_MEMORY_ENTRIES entries; an older one looks new. What
is forgotten depends on places in the ledger only, so that a decision can be judged again exactly.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import fields
from enum import StrEnum
from operator import attrgetter

from keyvault.core import limits
from keyvault.core.intent import Effect

_content = attrgetter(*(each.name for each in fields(Effect) if each.name != "fee_max"))


class Replaces(StrEnum):
    """What a signature would do to an earlier one; values are the words of predicates."""

    NOTHING = ""
    SAME = "same"
    """The same effects at other fees."""
    OTHER = "other"


class Slots:
    """The first content of each slot, and where it stands."""

    __slots__ = ("_first",)

    def __init__(self) -> None:
        self._first: dict[str, tuple[int, bytes]] = {}

    def __eq__(self, other: object) -> bool:
        return self._first == other._first if isinstance(other, Slots) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # mutable

    def fill(self, slot: str | None, effects: Sequence[Effect], index: int) -> None:
        """Remember what entry ``index`` signed, if it has a slot that nothing filled before."""
        if slot is None:
            return
        oldest = index - limits.SLOT_MEMORY_ENTRIES - limits.HISTORY_LAG_MAX
        while self._first:
            first = next(iter(self._first))
            if self._first[first][0] >= oldest:
                break
            del self._first[first]
        if slot not in self._first:
            self._first[slot] = index, _digest(effects)

    def replaced(self, slot: str | None, effects: Sequence[Effect], known: int) -> Replaces:
        """Return what a signature with these effects would replace, for whoever knows the first ``known`` entries."""
        index = self.origin(slot, known)
        if slot is None or index is None:
            return Replaces.NOTHING
        return Replaces.SAME if self._first[slot][1] == _digest(effects) else Replaces.OTHER

    def origin(self, slot: str | None, known: int) -> int | None:
        """Return the entry that filled a slot first, if it is remembered."""
        found = None if slot is None else self._first.get(slot)
        if found is None or not known - limits.SLOT_MEMORY_ENTRIES <= found[0] < known:
            return None
        return found[0]


def _digest(effects: Sequence[Effect]) -> bytes:
    return hashlib.sha256(repr([_content(effect) for effect in effects]).encode()).digest()
