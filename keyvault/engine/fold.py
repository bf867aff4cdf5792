"""From entries to a state that may be trusted, one after the other: the same fold as normal running (I2).

Recovery folds a whole ledger at once; a follower goes on from where it was. Roots are kept at the sizes that are going
to be compared with something signed.
"""

from collections.abc import Iterable

from keyvault.core.apply import apply
from keyvault.core.errors import Corrupt, Malformed
from keyvault.core.events import Genesis, TermStarted
from keyvault.core.state import State
from keyvault.engine.request_index import RequestIndex
from keyvault.ledger import checkpoint, codec
from keyvault.ledger.errors import Unproven
from keyvault.ledger.merkle import Tree, leaf_hash
from keyvault.ledger.note import parse_note, verifier
from keyvault.store.base import Entry


def size_of(anchor: bytes) -> int:
    """Return the size that the anchor states; who signed it is checked when the log key is known."""
    try:
        return checkpoint.parse_checkpoint(parse_note(anchor).text).size
    except Malformed as error:
        raise Corrupt(f"the checkpoint file beside the ledger is not a checkpoint: {error}") from error


class Fold:
    """The fold under way, and the roots that it had at the sizes that were signed."""

    def __init__(self) -> None:
        self.state = State.empty()
        self.tree = Tree()
        self.index = RequestIndex()
        self.answered = False
        self._genesis_hash = b""
        self._roots: dict[int, bytes] = {}

    def compare_at(self, sizes: Iterable[int]) -> None:
        """Keep the roots at these sizes, which are not behind; what was kept before is forgotten."""
        self._roots = dict.fromkeys(sizes, b"")
        if self.tree.size in self._roots:
            self._roots[self.tree.size] = self.tree.root()

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
