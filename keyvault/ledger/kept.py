"""Checkpoints that an auditor kept, held against the ledger as it is now."""

from collections.abc import Iterator, Sequence

from keyvault.core.errors import Malformed
from keyvault.core.marks import Incarnation
from keyvault.ledger.checkpoint import open_in_any, parse_checkpoint, split_origin
from keyvault.ledger.errors import Unproven
from keyvault.ledger.note import Verifier, parse_note

_NAME = "the checkpoint that you kept"


class KeptCheckpoints:
    """All that were kept."""

    def __init__(self, notes: Sequence[bytes]) -> None:
        self._kept = [_Kept(note) for note in notes]
        self._by_size: dict[int, list[_Kept]] = {}
        for each in self._kept:
            self._by_size.setdefault(each.size, []).append(each)

    def wants(self, size: int) -> bool:
        """Return whether one of them speaks of so many entries; then ``saw`` must be told their root."""
        return size in self._by_size

    def saw(self, size: int, root: bytes) -> None:
        """Take the root of the first ``size`` entries."""
        for each in self._by_size[size]:
            each.saw(root)

    def problems(self, key: Verifier | None, entries: int, incarnations: Sequence[Incarnation]) -> Iterator[str]:
        """Yield what is wrong, in a sentence each.

        ``entries`` is the number that the ledger has, ``incarnations`` how it went on after it was put back.
        """
        for each in self._kept:
            sentence = each.problem(key, entries, incarnations)
            if sentence:
                yield sentence

    def agreeing(self) -> Iterator[tuple[int, bytes]]:
        """Yield size and note of those in which nothing was wrong, once ``problems`` was asked."""
        return ((each.size, each.note) for each in self._kept if each.agrees)


class _Kept:
    """One note, and the root that the entries give at its size once they were read so far."""

    __slots__ = ("_complaint", "_root", "agrees", "note", "size")

    def __init__(self, note: bytes) -> None:
        self.size = -1
        """Entries that the note speaks of; -1 if it is no checkpoint."""
        self.note = note
        self.agrees = False
        self._root: bytes | None = None
        self._complaint = ""
        try:
            self.size = parse_checkpoint(parse_note(note).text).size
        except Malformed as error:
            self._complaint = f"{_NAME} is not one: {error}"

    def saw(self, root: bytes) -> None:
        """Take the root of as many entries."""
        self._root = root

    def problem(self, key: Verifier | None, entries: int, incarnations: Sequence[Incarnation]) -> str | None:
        """Return what is wrong, in a sentence, or None: then it agrees."""
        if self._complaint or key is None:
            return self._complaint or f"{_NAME} cannot be checked: entry 0 does not give the log key"
        try:
            found = open_in_any(self.note, key)
        except (Malformed, Unproven) as error:
            return f"{_NAME} is not what the log key {key.vkey} signed: {error}"
        self.agrees = self._root == found.root
        if self.agrees:
            return None
        _, incarnation = split_origin(found.origin)
        left = next((each for each in incarnations if each.number > incarnation), None)
        if left is not None:
            return f"{_NAME} is not in this history: {_given_up(found.size, incarnation, left)}"
        if self._root is None:
            return f"{_NAME} covers {self.size} entries, the ledger has {entries}: its end was cut, or it is older"
        return f"{_NAME} was signed over other entries up to {self.size}: the ledger was rewritten since"


def _given_up(size: int, incarnation: int, left: Incarnation) -> str:
    """Return what became of a checkpoint of an incarnation that members left."""
    known = "" if size <= left.lost.size else f", which is more than the {left.lost.size} that members were told of"
    return (
        f"it covers {size} entries of incarnation {incarnation}{known}. The ledger was put back to {left.position}"
        f" entries, and members let it go on as incarnation {left.number} (entry {left.index}). What the lost history"
        f" signed is not known here. Their reason: {left.reason}"
    )
