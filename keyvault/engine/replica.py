"""A follower of a shared ledger: verifies and folds every entry, and keeps a copy in a file of its own.

Laws:

1. It folds by the same ``apply`` as the leader (I2). What does not follow, or is not what was signed, ends it for good.
2. While another leads it is given only what is settled: an entry whose acknowledgement nobody had may vanish when its
   server is lost. After a take-over everything that the store shows is durable, and it takes all.
3. Every checkpoint that comes is compared with the root over its own copy; only such ones are kept, and cosigned (I5).
   What the log key did not sign is none, whoever put it there: it is passed over, and told.
4. The copy never gets shorter. A store that has less than the copy, or other bytes, was rolled back: nothing may be
   signed on top of it. New entries are taken only behind the very entry that is the copy's last.
5. What it lacks it cannot know from its copy. So a node that is to lead holds it against what others have seen
   (engine.peers). What nobody signed a checkpoint for yet, about a second's worth, is as whoever has the database shows
   it to a node that reads it for the first time; the next checkpoint tells, or the copy of the node that wrote it.

It decides nothing, and reads the shared store with one caller at a time.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

from keyvault.core.apply import apply
from keyvault.core.errors import Corrupt, Malformed, RolledBack
from keyvault.core.events import SignatureIssued, SignatureRefused
from keyvault.core.ids import Epoch, Principal
from keyvault.core.marks import Mark, Quarantine
from keyvault.core.pair_changes import is_about_the_lead
from keyvault.core.state import State, find_key, split_key_name
from keyvault.engine import proofs
from keyvault.engine.fold import Fold, Kept
from keyvault.engine.recovery import OUTSIDE, Recovered, folded, quarantine_of, recovered
from keyvault.ledger import checkpoint, codec
from keyvault.ledger.errors import Unproven
from keyvault.ledger.merkle import Tree, leaf_hash
from keyvault.ledger.note import verifier
from keyvault.ledger.signatures import verify_signature
from keyvault.store.base import Entry, Head, SharedStore, Store

READ_ENTRIES = 100
"""Folded at once: some 10 ms in which the event loop does nothing else; 6.5 MB at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """The next entries of the shared ledger, and its newest checkpoint."""

    entries: Sequence[Entry]
    signed: tuple[int, bytes] | None


class Replica:
    """One node's view of a ledger, from its own copy."""

    def __init__(
        self,
        copy: Store,
        holder: str,
        *,
        is_whole: bool = True,
        passes_over: Callable[[int], None] = lambda _size: None,
    ) -> None:
        """Fold the copy, which may be empty. Raises Corrupt if it is not what was written.

        ``is_whole``: it came up to the ledger once, so it has a checkpoint. ``passes_over`` is told the size of what
        stands in the shared store as a checkpoint and is none.
        """
        self._passes_over = passes_over
        self._passed_over: bytes | None = None
        self.copy = copy
        self.copy_epoch = copy.acquire_term(holder)
        self._fold, self.quarantine = folded(copy, is_whole=is_whole) if copy.head().size else (Fold(), None)
        """``quarantine``: the copy itself was put back, so this node must not lead; it may be made anew."""
        self._checked = deepcopy(self._fold.tree)
        self._unkept = self.head

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

    # Three steps, because the first and the last wait for I/O, and the one between must not be seen half done.

    def fetch(self, source: SharedStore, until: int) -> "Fetched":
        """Read the next entries, none from ``until`` on; changes nothing. Raises RolledBack, Corrupt, Unavailable."""
        start = self._fold.tree.size
        signed, head = source.checkpoint(), source.head()
        if head.size < start:
            raise RolledBack(
                f"the store has {head.size} entries, this node has {start} that were acknowledged: an older copy was "
                "put back, or a stale server promoted"
            )
        if start >= until:
            return Fetched(entries=(), signed=signed)
        # With the last one that is here: what comes behind another one is another history.
        known = 1 if start else 0
        entries = source.read_entries(start - known, known + min(READ_ENTRIES, until - start))
        if known and entries and entries[0].body != self.copy.read(start - 1, 1)[0]:
            raise RolledBack(
                f"entry {start - 1} of the store is another than this node has: an older copy was put back and went on,"
                " or a row was edited"
            )
        if not entries[known:]:
            raise Corrupt(f"entry {start} is missing; the ledger should have {until}", index=start)
        return Fetched(entries=entries[known:], signed=signed)

    def take(self, fetched: "Fetched") -> None:
        """Fold what was fetched. Raises Corrupt; then the replica is of no more use.

        Whoever can write into the store can write an answer that no token gave: each signature is verified, unless the
        log key signed a checkpoint over it, which ``keep`` compares.
        """
        self._unkept = self.head
        vouched_for = self._vouched_for(fetched)
        for index, entry in enumerate(fetched.entries, self._fold.tree.size):
            event = self._fold.take(entry)
            if index >= vouched_for and isinstance(event, SignatureIssued):
                self._check_signature(index, event)

    def _vouched_for(self, fetched: "Fetched") -> int:
        """Return how many entries of the ledger the log key signed a checkpoint over that came with these."""
        if not fetched.entries or fetched.signed is None or not self._fold.tree.size:
            return 0
        mark = self.mark_of(fetched.signed[1])
        return 0 if mark is None else mark.size

    def _check_signature(self, index: int, event: SignatureIssued) -> None:
        key = find_key(self.state, split_key_name(event.request.key)[0], event.key_version)
        try:
            verify_signature(key.algorithm, key.public_key, event.signing_input, event.signature)
        except Unproven as error:
            name = f"key {event.request.key}, version {event.key_version}"
            raise Corrupt(f"entry {index} has a signature that is not by {name}: {error}", index=index) from error

    def keep(self, fetched: "Fetched") -> None:
        """Write what was taken to the copy, and compare the checkpoint. Raises RolledBack, Corrupt, OutcomeUnknown."""
        if fetched.entries:
            entries, expected = fetched.entries, self._unkept
            self.copy.append(epoch=self.copy_epoch, expected=expected, entries=entries, new=self.head)
        if fetched.signed is not None:
            self._check(*fetched.signed)

    def names_leader(self, entries: Sequence[Entry], node: Principal) -> bool:
        """Return whether the next entries are members' word that this node leads a pair; changes nothing.

        Only what is about the lead is looked at, up to where it is named; answers that stand before it, which the
        leader of before gave to nobody, change nothing about that. Raises Corrupt if it does not follow.
        """
        state = self._fold.state.aside()
        for index, entry in enumerate(entries, self._fold.tree.size):
            event = codec.decode(entry.body)
            if isinstance(event, SignatureIssued | SignatureRefused) and not state.stands:
                continue
            if not is_about_the_lead(event):
                return False
            apply(state, index, event)
            if state.pair is not None and state.pair.leader == node and not state.stands:
                return True
        return False

    def root_at(self, size: int) -> bytes:
        """Return the root over the first ``size`` entries of the copy. Raises Malformed if there are fewer."""
        return proofs.root_at(self.tree, self.copy.read, size)

    def check_is(self, head: Head) -> None:
        """Raise Corrupt unless this is exactly what the store's head says."""
        if self.head != head:
            raise Corrupt(f"the {head.size} stored entries do not give the stored root: an entry was changed")

    def check_has(self, anchor: Mark | None) -> None:
        """Raise RolledBack if the token of this node has seen what neither the store nor the copy has."""
        lacking = None if anchor is None else self.lacking([("the token", anchor)])
        if lacking is not None:
            raise RolledBack(lacking.found)

    def lacks(self, seen: Sequence[tuple[str, bytes]], read: proofs.Read) -> Quarantine | None:
        """Return why nothing may be signed on top of this, if others have checkpoints that it lacks, each by name.

        ``read`` gives entries. What the log key did not sign is passed over.
        """
        return self.lacking([(who, mark) for who, note in seen if (mark := self.mark_of(note)) is not None], read)

    def lacking(self, seen: list[tuple[str, Mark]], read: proofs.Read | None = None) -> Quarantine | None:
        """Return the same for what others say that they have seen. ``read``: the copy's entries if it is None."""
        self._fold.compare_at(())
        for _, mark in seen:
            if mark.size <= self._fold.tree.size:
                self._fold.know_root(mark.size, proofs.root_at(self.tree, read or self.copy.read, mark.size))
        return quarantine_of(self._fold, seen)

    def compared(self) -> Mark | None:
        """Return what the newest checkpoint in the copy has seen, and the epoch that the ledger is in by now."""
        newest = self.copy.checkpoint()
        return None if newest is None else replace(Kept.of(newest[1]).mark, epoch=Epoch(self.state.epoch))

    def mark_of(self, note: bytes) -> Mark | None:
        """Return what a checkpoint has seen; None unless this ledger's log key signed it."""
        try:
            kept = Kept.of(note)
            self._fold.check_kept(kept)
        except Corrupt:
            return None
        return kept.mark

    def quarantined(self, why: str) -> Quarantine:
        """Return why this node never leads; what is lost, if anything is, its copy has and the store has not."""
        return Quarantine(position=self.state.decided, lost=self._fold.here(), found=why, of_node=True)

    def outside(self, node: Principal) -> Quarantine | None:
        """Return why this node signs nothing if it stands: it is none of the pair, and may lack what that gave out."""
        if self.state.pair is not None and node in self.state.pair.nodes:
            return None
        return Quarantine(position=self.state.decided, lost=self._fold.here(), found=OUTSIDE)

    def resume(self) -> None:
        """Take what a term that ended had acknowledged and copied, but not made part of the state any more.

        Raises Corrupt if the copy has less than the state: then what was acknowledged is not kept.
        """
        head = self.copy.head()
        while self._fold.tree.size < head.size:
            for entry in self.copy.read_entries(self._fold.tree.size, READ_ENTRIES):
                self._fold.take(entry)
        if self.head != head:
            raise Corrupt(f"this node's copy has {head.size} entries and its state {self.head.size}: start it again")

    def _check(self, size: int, note: bytes) -> None:
        """Keep the checkpoint if it is newer, and was signed over exactly what is in the copy."""
        if not self._checked.size <= size <= self._fold.tree.size:
            return  # an older one is covered by one that was compared; a newer one waits until its entries are here
        newest = self.copy.checkpoint()
        if note == self._passed_over or (newest is not None and (newest[0] > size or newest == (size, note))):
            return
        _extend(self._checked, self.copy, size)
        try:
            key = verifier(self._fold.origin(size), self._fold.state.log_public_key)
            found = checkpoint.open_checkpoint(note, key)
        except (Unproven, Malformed):
            self._passed_over = note
            self._passes_over(size)
            return
        if newest is not None and newest[0] == size:
            raise Corrupt(f"there are two checkpoints of size {size}: the log key signs for somebody else, too")
        if found.size != size or found.root != self._checked.root():
            raise RolledBack(f"the checkpoint of size {size} was signed over other entries than this node has")
        self.copy.put_checkpoint(epoch=self.copy_epoch, size=size, note=note)


def _extend(tree: Tree, copy: Store, size: int) -> None:
    while tree.size < size:
        tree.extend([leaf_hash(body) for body in copy.read(tree.size, min(READ_ENTRIES, size - tree.size))])
