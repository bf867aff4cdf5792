"""From stored bytes to a state that may be trusted. The same fold as normal running (I2)."""

from collections.abc import Iterable
from dataclasses import dataclass

from keyvault.core.apply import apply
from keyvault.core.errors import Corrupt, Malformed
from keyvault.core.events import Genesis, TermStarted
from keyvault.core.state import State
from keyvault.engine.request_index import RequestIndex
from keyvault.ledger import checkpoint, codec
from keyvault.ledger.errors import Unproven
from keyvault.ledger.merkle import Tree, leaf_hash
from keyvault.ledger.note import parse_note, verifier
from keyvault.store.base import Entry, Store

_READ_ENTRIES = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What the ledger says, recomputed from its bytes.

    ``uncovered`` counts the entries after the newest checkpoint: nothing signed vouches for them. A drained server
    leaves none, a killed one those of about a second, more if its token was failing.
    """

    state: State
    tree: Tree
    index: RequestIndex
    origin: str
    uncovered: int


def recover(store: Store) -> Recovered:
    """Fold the whole ledger and compare it with the stored head, the newest checkpoint and the anchor beside it.

    The audit finds more: it judges every signature again, and an approved one that is dated well before what stands
    before it (``ledger.judge``). A clock that was set forward under load leaves such a date, so no start depends on it.

    Raises Corrupt when the bytes are not what was appended or signed: nothing may be signed on top of them.
    """
    head, signed, anchor = store.head(), store.checkpoint(), store.anchor()
    kept = None if anchor is None else (_size_of(anchor), anchor)
    fold = _Fold(size for size, _ in filter(None, (signed, kept)))
    while fold.tree.size < head.size:
        entries = store.read_entries(fold.tree.size, _READ_ENTRIES)
        if not entries:
            raise Corrupt(
                f"entry {fold.tree.size} is missing; the ledger should have {head.size}", index=fold.tree.size
            )
        for entry in entries:
            fold.take(entry)
    if fold.tree.size != head.size or fold.tree.root() != head.root:
        raise Corrupt(f"the {head.size} stored entries do not give the stored root: an entry was changed")
    if head.size == 0:
        raise Corrupt("the ledger is empty: run keyvault init")
    if signed is not None:
        fold.check_signed(*signed)
    elif fold.answered:
        raise Corrupt(
            "the ledger has no checkpoint, but a server signs one before its first answer: checkpoints were deleted. "
            "Hold it against one kept elsewhere: keyvault audit verify --checkpoint FILE; serve a copy that agrees"
        )
    if kept is not None:
        fold.check_kept(*kept)
    uncovered = head.size - (signed[0] if signed else 0)
    return Recovered(state=fold.state, tree=fold.tree, index=fold.index, origin=fold.origin(), uncovered=uncovered)


def _size_of(anchor: bytes) -> int:
    """Return the size that the anchor states; who signed it is checked when the log key is known."""
    try:
        return checkpoint.parse_checkpoint(parse_note(anchor).text).size
    except Malformed as error:
        raise Corrupt(f"the checkpoint file beside the ledger is not a checkpoint: {error}") from error


class _Fold:
    """The fold under way, and the roots that it had at the sizes that were signed."""

    def __init__(self, sizes: Iterable[int]) -> None:
        self.state = State.empty()
        self.tree = Tree()
        self.index = RequestIndex()
        self.answered = False
        self._genesis_hash = b""
        self._roots = dict.fromkeys(sizes, b"")
        if 0 in self._roots:
            self._roots[0] = self.tree.root()

    def take(self, entry: Entry) -> None:
        """Apply the next entry. Raises Corrupt if it does not follow, or is filed under a key that is not its own."""
        event, at = codec.decode(entry.body), self.tree.size
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

    def origin(self) -> str:
        """Return the ledger's name."""
        return checkpoint.origin(self.state.enclave, self._genesis_hash)

    def check_signed(self, size: int, note: bytes) -> None:
        """Raise Corrupt unless the note was signed over the entries that were folded."""
        found = self._open(note, "the newest checkpoint")
        if found.size != size or found.root != self._roots[size]:
            raise Corrupt(
                f"the checkpoint at size {size} was signed over other entries: the ledger was rewritten or cut"
            )

    def check_kept(self, size: int, note: bytes) -> None:
        """Raise Corrupt unless the note, kept outside the ledger, was signed over the entries that were folded."""
        found = self._open(note, "the checkpoint in the file beside the ledger")
        if found.size > self.tree.size:
            raise Corrupt(
                f"the ledger has {self.tree.size} entries, but the checkpoint in the file beside it covers {size}: "
                "an older copy was put back, or the ledger's end was cut. Serve the newest ledger; if it is gone, "
                "read Backup in helm/README.md before you move that file away"
            )
        if found.root != self._roots[size]:
            raise Corrupt(
                f"the checkpoint in the file beside the ledger was signed over other entries up to size {size}: "
                "the ledger was rewritten"
            )

    def _open(self, note: bytes, name: str) -> checkpoint.Checkpoint:
        try:
            return checkpoint.open_checkpoint(note, verifier(self.origin(), self.state.log_public_key))
        except (Unproven, Malformed) as error:
            raise Corrupt(f"{name} was not signed by this ledger's log key: {error}") from error
