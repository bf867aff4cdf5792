"""From stored bytes to a state that may be trusted. The same fold as normal running (I2)."""

from dataclasses import dataclass

from keyvault.core.errors import Corrupt, Malformed
from keyvault.core.state import State, apply
from keyvault.engine.request_index import RequestIndex
from keyvault.ledger import checkpoint, codec
from keyvault.ledger.errors import Unproven
from keyvault.ledger.merkle import Tree, leaf_hash
from keyvault.ledger.note import verifier
from keyvault.store.base import Store

_READ_ENTRIES = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What the ledger says, recomputed from its bytes."""

    state: State
    tree: Tree
    index: RequestIndex
    origin: str


def recover(store: Store) -> Recovered:
    """Fold the whole ledger and compare it with the stored head and the newest checkpoint.

    Raises Corrupt when the bytes are not what was appended or signed: nothing may be signed on top of them.
    """
    state, tree, index, genesis_hash = State.empty(), Tree(), RequestIndex(), b""
    head = store.head()
    signed = store.checkpoint()
    signed_root = tree.root() if signed is None or signed[0] == 0 else b""
    while tree.size < head.size:
        bodies = store.read(tree.size, _READ_ENTRIES)
        if not bodies:
            raise Corrupt(f"entry {tree.size} is missing; the ledger should have {head.size}", index=tree.size)
        for body in bodies:
            event = codec.decode(body)
            apply(state, tree.size, event)
            index.saw(codec.key_of(event) or b"")
            leaf = leaf_hash(body)
            genesis_hash = genesis_hash or leaf
            tree.extend([leaf])
            if signed is not None and tree.size == signed[0]:
                signed_root = tree.root()
    if tree.size != head.size or tree.root() != head.root:
        raise Corrupt(f"the {head.size} stored entries do not give the stored root: an entry was changed")
    if head.size == 0:
        raise Corrupt("the ledger is empty: run keyvault init")
    origin = checkpoint.origin(state.enclave, genesis_hash)
    if signed is not None:
        _check_signed(state, origin, signed, signed_root)
    return Recovered(state=state, tree=tree, index=index, origin=origin)


def _check_signed(state: State, origin: str, signed: tuple[int, bytes], root: bytes) -> None:
    size, note = signed
    try:
        found = checkpoint.open_checkpoint(note, verifier(origin, state.log_public_key))
    except (Unproven, Malformed) as error:
        raise Corrupt(f"the newest checkpoint was not signed by this ledger's log key: {error}") from error
    if found.size != size or found.root != root:
        raise Corrupt(f"the checkpoint at size {size} was signed over other entries: the ledger was rewritten or cut")
