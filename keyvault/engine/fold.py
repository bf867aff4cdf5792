"""From entries to a state that may be trusted, one after the other: the same fold as normal running (I2).

Recovery folds a whole ledger at once; a follower goes on from where it was. Roots are kept at the sizes that are going
to be compared with something signed.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from keyvault.core.apply import apply
from keyvault.core.errors import Corrupt, Malformed
from keyvault.core.events import Event, Genesis, TermStarted
from keyvault.core.ids import Epoch
from keyvault.core.marks import Mark, incarnation_at
from keyvault.core.pair_changes import is_unproven
from keyvault.core.state import State
from keyvault.engine.request_index import RequestIndex
from keyvault.ledger import checkpoint, codec
from keyvault.ledger.errors import Unproven
from keyvault.ledger.merkle import Tree, leaf_hash
from keyvault.ledger.note import parse_note, verifier
from keyvault.store.base import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A checkpoint that was kept outside of the ledger; who signed it is checked when the log key is known."""

    note: bytes
    mark: Mark

    @classmethod
    def of(cls, note: bytes) -> "Kept":
        """Raises Corrupt for what is no checkpoint."""
        try:
            found = checkpoint.parse_checkpoint(parse_note(note).text)
        except Malformed as error:
            raise Corrupt(f"the checkpoint file beside the ledger is not a checkpoint: {error}") from error
        _, incarnation = checkpoint.split_origin(found.origin)
        return cls(note=note, mark=Mark(incarnation=incarnation, epoch=Epoch(0), size=found.size, root=found.root))


class Fold:
    """The fold under way, and the roots that it had at the sizes that were signed."""

    def __init__(self, restored: Mark | None = None) -> None:
        """``restored``: what a backup had that the whole ledger was made from."""
        self.state = State.empty()
        self.tree = Tree()
        self.index = RequestIndex()
        self.answered = False
        self._restored = restored
        self._stood_on: Mark | None = None
        self._genesis_hash = b""
        self._roots: dict[int, bytes] = {}

    def compare_at(self, sizes: Iterable[int]) -> None:
        """Keep the roots at these sizes, which are not behind; what was kept before is forgotten."""
        self._roots = dict.fromkeys(sizes, b"")
        if self.tree.size in self._roots:
            self._roots[self.tree.size] = self.tree.root()

    def know_root(self, size: int, root: bytes) -> None:
        """Compare at this size with this root, which the entries that were folded gave."""
        self._roots[size] = root

    def take(self, entry: Entry) -> Event:
        """Apply the next entry, and return it. Raises Corrupt if it does not follow, or has another's request key."""
        event, at = codec.decode(entry.body), self.tree.size
        if isinstance(event, TermStarted) and event.stands:
            self._stood_on = self.here()
        apply(self.state, at, event)
        request_key = codec.key_of(event)
        if entry.request_key != request_key:  # or its request id would look new, and be signed once more
            raise Corrupt(f"entry {at} is filed under a request key that is not its own", index=at)
        self.index.saw(codec.request_key_of(event) or b"")
        self.answered = self.answered or not isinstance(event, Genesis | TermStarted)
        leaf = leaf_hash(entry.body)
        self._genesis_hash = self._genesis_hash or leaf
        self.tree.extend([leaf])
        if self.tree.size in self._roots:
            self._roots[self.tree.size] = self.tree.root()
        return event

    def origin(self, size: int | None = None) -> str:
        """Return the ledger's name when it had ``size`` entries; now, without it."""
        first = checkpoint.origin(self.state.enclave, self._genesis_hash)
        at = self.tree.size if size is None else size
        return checkpoint.incarnated(first, incarnation_at(self.state.incarnations, at))

    def check_signed(self, size: int, note: bytes) -> None:
        """Raise Corrupt unless the note was signed over the entries that were folded."""
        try:
            found = checkpoint.open_checkpoint(note, verifier(self.origin(size), self.state.log_public_key))
        except (Unproven, Malformed) as error:
            raise _not_signed("the newest checkpoint", error) from error
        if found.size != size or found.root != self._roots[size]:
            raise Corrupt(
                f"the checkpoint at size {size} was signed over other entries: the ledger was rewritten or cut"
            )

    def check_kept(self, kept: Kept) -> None:
        """Raise Corrupt unless the log key signed the checkpoint that was kept outside of the ledger."""
        try:
            checkpoint.open_in_any(kept.note, verifier(self.origin(), self.state.log_public_key))
        except (Unproven, Malformed) as error:
            raise _not_signed("the checkpoint in the file beside the ledger", error) from error

    def lacks(self, mark: Mark) -> str:
        """Return what the ledger has not got of what was seen of it, in words; nothing if it has all.

        ``compare_at`` its size must have been asked before. What members gave up is not lacking.
        """
        if mark.incarnation > self.state.incarnation:
            return f"it is in incarnation {self.state.incarnation}"
        left = next((each for each in self.state.incarnations if each.number > mark.incarnation), None)
        end = self.tree.size if left is None else left.position
        if mark.size <= end and mark.root == self._roots[mark.size]:
            return ""
        if left is not None and _is_part(mark, left.lost):
            return ""
        if left is not None:
            return f"members gave up {left.lost} only"
        if mark.size <= self.tree.size:
            return f"it has other entries up to {mark.size}: it was rewritten, or an older copy of it went on"
        return f"it has {self.tree.size} entries: an older copy was put back, or its end was cut"

    def here(self) -> Mark:
        """Return what was folded so far, as others would see it."""
        state, tree = self.state, self.tree
        return Mark(incarnation=state.incarnation, epoch=state.epoch, size=tree.size, root=tree.root())

    def stood_on(self) -> Mark | None:
        """Return what a node had that stood, and may lack what the pair gave out, before members gave that up."""
        return self._stood_on if is_unproven(self.state) else None

    def not_gone_on(self) -> Mark | None:
        """Return what the backup had, if members did not say since how the ledger goes on."""
        mark = self._restored
        if mark is None or any(each.index >= mark.size for each in self.state.incarnations):
            return None
        return mark


def _is_part(mark: Mark, lost: Mark) -> bool:
    """Return whether what was seen is part of what members gave up; a checkpoint does not tell its epoch."""
    same = (mark.size, mark.root) == (lost.size, lost.root)
    return same or (mark.size <= lost.size and mark.epoch <= lost.epoch)


def _not_signed(name: str, error: Exception) -> Corrupt:
    return Corrupt(f"{name} was not signed by this ledger's log key: {error}")
