"""From stored bytes to a state that may be trusted. The same fold as normal running (I2).

What is damaged is not opened: Corrupt. What is whole and older than was seen elsewhere (by the token's anchor, by the
checkpoint in the file beside it) is opened in quarantine: it is read, and nothing is signed on top of it.
"""

from dataclasses import dataclass

from keyvault.core.apply import apply
from keyvault.core.errors import Conflict, Corrupt
from keyvault.core.events import TermStarted
from keyvault.core.marks import Mark, Quarantine, newest_of
from keyvault.core.state import State
from keyvault.engine.fold import Fold, Kept
from keyvault.engine.request_index import RequestIndex
from keyvault.ledger.merkle import Tree
from keyvault.store.base import Store

_READ_ENTRIES = 1_000
OUTSIDE = "its node was none of the pair that led before: nobody waited for it, and what was signed may not be here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What the ledger says, recomputed from its bytes.

    ``uncovered`` counts the entries after the newest checkpoint: nothing signed vouches for them. A drained server
    leaves none, a killed one those of about a second, more if its token was failing. ``origin`` is the ledger's first
    name. With a ``quarantine`` nothing may be signed on top of it.
    """

    state: State
    tree: Tree
    index: RequestIndex
    origin: str
    uncovered: int
    quarantine: Quarantine | None = None


def recover(store: Store, anchor: Mark | None = None) -> Recovered:
    """Fold the whole ledger; compare it with the stored head, the newest checkpoint, and what was seen of it elsewhere.

    ``anchor`` is what the token remembers. The audit finds more: it judges every signature again, and an approved one
    that is dated well before what stands before it (``ledger.judge``). A clock that was set forward under load leaves
    such a date, so no start depends on it.

    Raises Corrupt when the bytes are not what was appended or signed.
    """
    fold, quarantine = folded(store, anchor)
    return recovered(fold, store.checkpoint(), quarantine)


def recovered(fold: Fold, signed: tuple[int, bytes] | None, quarantine: Quarantine | None = None) -> Recovered:
    """Return what was folded; ``signed`` is the newest checkpoint."""
    uncovered = fold.tree.size - (signed[0] if signed else 0)
    return Recovered(
        state=fold.state,
        tree=fold.tree,
        index=fold.index,
        origin=fold.origin(0),
        uncovered=uncovered,
        quarantine=quarantine,
    )


def check_can_begin(state: State, started: TermStarted) -> None:
    """Raise Conflict unless this term follows: what does not would stand there for ever, and nobody could open it."""
    try:
        apply(state.aside(), state.size, started)
    except Corrupt as error:
        hint = "; a ledger whose members named a pair is served with [pair] (helm/README.md)" if state.pair else ""
        raise Conflict(f"no term begins here: {error}{hint}") from error


def folded(store: Store, anchor: Mark | None = None, *, is_whole: bool = True) -> tuple[Fold, Quarantine | None]:
    """Fold the whole ledger; see ``recover``. A copy that is not whole yet need not have a checkpoint."""
    head, signed, note = store.head(), store.checkpoint(), store.anchor()
    kept = None if note is None else Kept.of(note)
    seen = [] if kept is None else [("the checkpoint in the file beside it", kept.mark)]
    seen += [] if anchor is None else [("the token", anchor)]
    fold = Fold(store.restored())
    fold.compare_at([mark.size for _, mark in seen] + ([] if signed is None else [signed[0]]))
    _fold_all(fold, store, head.size)
    if fold.tree.size != head.size or fold.tree.root() != head.root:
        raise Corrupt(f"the {head.size} stored entries do not give the stored root: an entry was changed")
    if head.size == 0:
        raise Corrupt("the ledger is empty: run keyvault init")
    if signed is not None:
        fold.check_signed(*signed)
    elif fold.answered and is_whole:
        raise Corrupt(
            "the ledger has no checkpoint, but a server signs one before its first answer: checkpoints were deleted. "
            "Hold it against one kept elsewhere: keyvault audit verify --checkpoint FILE; serve a copy that agrees"
        )
    if kept is not None:
        fold.check_kept(kept)
    return fold, quarantine_of(fold, seen)


def _fold_all(fold: Fold, store: Store, size: int) -> None:
    while fold.tree.size < size:
        entries = store.read_entries(fold.tree.size, _READ_ENTRIES)
        if not entries:
            raise Corrupt(f"entry {fold.tree.size} is missing; the ledger should have {size}", index=fold.tree.size)
        for entry in entries:
            fold.take(entry)


def quarantine_of(fold: Fold, seen: list[tuple[str, Mark]]) -> Quarantine | None:
    """Return why nothing may be signed on top of what was folded, if it lacks what others have seen, each by name."""
    lacking = [(who, mark, what) for who, mark in seen if (what := fold.lacks(mark))]
    marks = [mark for _, mark, _ in lacking]
    words = [f"{who} has seen {mark} of the ledger, and {what}" for who, mark, what in lacking]
    restored = fold.not_gone_on()
    if restored is not None:
        marks.append(restored)
        words.append(f"it was restored from a backup of {restored.size} entries: what was signed later is not here")
    if (stood := fold.stood_on()) is not None:
        marks.append(stood)
        words.append(OUTSIDE)
    if not marks:
        return None
    found, lost = "; ".join(words), newest_of(*marks)
    return Quarantine(position=fold.state.decided, lost=lost, found=found)
