"""From stored bytes to a state that may be trusted. The same fold as normal running (I2)."""

from dataclasses import dataclass

from keyvault.core.errors import Corrupt
from keyvault.core.state import State
from keyvault.engine.fold import Fold, size_of
from keyvault.engine.request_index import RequestIndex
from keyvault.ledger.merkle import Tree
from keyvault.store.base import Store

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
    fold = folded(store)
    return recovered(fold, store.checkpoint())


def recovered(fold: Fold, signed: tuple[int, bytes] | None) -> Recovered:
    """Return what was folded; ``signed`` is the newest checkpoint."""
    uncovered = fold.tree.size - (signed[0] if signed else 0)
    return Recovered(state=fold.state, tree=fold.tree, index=fold.index, origin=fold.origin(), uncovered=uncovered)


def folded(store: Store) -> Fold:
    """Fold the whole ledger; see ``recover``."""
    head, signed, anchor = store.head(), store.checkpoint(), store.anchor()
    kept = None if anchor is None else (size_of(anchor), anchor)
    fold = Fold()
    fold.compare_at(size for size, _ in filter(None, (signed, kept)))
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
    return fold
