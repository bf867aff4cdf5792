"""A follower of a shared ledger: verifies and folds every entry, and keeps a copy in a file of its own.

Laws:

1. It folds by the same ``apply`` as the leader (I2). What does not follow, or is not what was signed, ends it for good.
2. While another leads it takes only what is settled: an entry whose acknowledgement nobody had may vanish when its
   server is lost. After a take-over everything that the store shows is durable, and it takes all.
3. Every checkpoint that comes is compared with the root over its own copy; only such ones are kept, and cosigned (I5).
4. The copy never gets shorter. A store that has less than the copy, or other bytes, was rolled back: nothing may be
   signed on top of it.

It decides nothing, and reads the shared store with one caller at a time.
"""

from copy import deepcopy

from keyvault.core.errors import Corrupt, Malformed, RolledBack
from keyvault.core.state import State
from keyvault.engine.fold import Fold
from keyvault.engine.recovery import Recovered, folded, recovered
from keyvault.ledger import checkpoint
from keyvault.ledger.errors import Unproven
from keyvault.ledger.merkle import Tree, leaf_hash
from keyvault.ledger.note import verifier
from keyvault.store.base import Head, SharedStore, Store

_READ_ENTRIES = 500
"""At most 32 MiB at once."""


class Replica:
    """One node's view of a ledger, from its own copy."""

    def __init__(self, copy: Store, holder: str) -> None:
        """Fold the copy, which may be empty. Raises Corrupt if it is not what was written."""
        self.copy = copy
        self.copy_epoch = copy.acquire_term(holder)
        self._fold = folded(copy) if copy.head().size else Fold()
        self._checked = deepcopy(self._fold.tree)

    @property
    def head(self) -> Head:
        """What was verified and is in the copy."""
        return Head(size=self._fold.tree.size, root=self._fold.tree.root())

    @property
    def state(self) -> State:
        """What the copy gives; for reading. A term that began on top of it goes on with the same state."""
        return self._fold.state

    @property
    def tree(self) -> Tree:
        """The tree over the copy; for reading."""
        return self._fold.tree

    @property
    def origin(self) -> str:
        """The ledger's name."""
        return self._fold.origin()

    def recovered(self) -> Recovered:
        """Return state, tree and index, for a term that begins on top of them. Raises Corrupt if there are none."""
        if not self._fold.tree.size:
            raise Corrupt("the ledger is empty: run keyvault init")
        return recovered(self._fold, self.copy.checkpoint())

    def follow(self, source: SharedStore) -> int:
        """Take what is settled; return how many entries were new.

        Raises RolledBack, Corrupt, Unavailable. After an error but Unavailable the replica is of no more use.
        """
        settled, signed = source.lease().settled, source.checkpoint()
        return self._take(source, settled, signed)

    def catch_up(self, source: SharedStore) -> int:
        """Take everything that the store shows; only after a take-over of one's own. Raises as ``follow``."""
        head, signed = source.head(), source.checkpoint()
        taken = self._take(source, head.size, signed)
        if self.head != head:
            raise Corrupt(f"the {head.size} stored entries do not give the stored root: an entry was changed")
        return taken

    def _take(self, source: SharedStore, until: int, signed: tuple[int, bytes] | None) -> int:
        before = self._fold.tree.size
        shown = source.head().size
        if shown < before:
            raise RolledBack(
                f"the store has {shown} entries, this node has {before} that were acknowledged: an older copy was put "
                "back, or a stale server promoted"
            )
        while self._fold.tree.size < until:
            self._take_some(source, until)
        if signed is not None:
            self._check(*signed)
        return self._fold.tree.size - before

    def _take_some(self, source: SharedStore, until: int) -> None:
        expected = self.head
        entries = source.read_entries(expected.size, min(_READ_ENTRIES, until - expected.size))
        if not entries:
            raise Corrupt(f"entry {expected.size} is missing; the ledger should have {until}", index=expected.size)
        for entry in entries:
            self._fold.take(entry)
        self.copy.append(epoch=self.copy_epoch, expected=expected, entries=entries, new=self.head)

    def _check(self, size: int, note: bytes) -> None:
        """Keep the checkpoint if it is newer, and was signed over exactly what is in the copy."""
        if not self._checked.size <= size <= self._fold.tree.size:
            return  # an older one is covered by one that was compared; a newer one waits until its entries are here
        newest = self.copy.checkpoint()
        if newest is not None and newest[0] >= size:
            if newest[0] == size and newest[1] != note:
                raise Corrupt(f"there are two checkpoints of size {size}: the log key signs for somebody else, too")
            return
        _extend(self._checked, self.copy, size)
        try:
            key = verifier(self._fold.origin(), self._fold.state.log_public_key)
            found = checkpoint.open_checkpoint(note, key)
        except (Unproven, Malformed) as error:
            raise Corrupt(f"the store's newest checkpoint was not signed by this ledger's log key: {error}") from error
        if found.size != size or found.root != self._checked.root():
            raise RolledBack(f"the checkpoint of size {size} was signed over other entries than this node has")
        self.copy.put_checkpoint(epoch=self.copy_epoch, size=size, note=note)


def _extend(tree: Tree, copy: Store, size: int) -> None:
    while tree.size < size:
        tree.extend([leaf_hash(body) for body in copy.read(tree.size, min(_READ_ENTRIES, size - tree.size))])
