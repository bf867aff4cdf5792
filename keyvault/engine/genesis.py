"""Entry 0 of a new ledger."""

from keyvault.core.apply import apply
from keyvault.core.errors import Conflict
from keyvault.core.events import Genesis
from keyvault.core.state import State
from keyvault.engine.appender import draft
from keyvault.ledger import checkpoint
from keyvault.ledger.merkle import Tree, leaf_hash
from keyvault.store.base import Head, Store


def write_genesis(store: Store, genesis: Genesis) -> str:
    """Make ``genesis`` entry 0 of an empty ledger, durably; return the origin of its checkpoints.

    Raises Conflict if the ledger is not empty, Corrupt if the genesis is not one.
    """
    head = store.head()
    if head.size:
        raise Conflict(f"the ledger has {head.size} entries: it has its genesis")
    apply(State.empty(), 0, genesis)
    entry = draft(genesis).entry
    leaf = leaf_hash(entry.body)
    epoch = store.acquire_term("genesis")
    store.append(epoch=epoch, expected=head, entries=[entry], new=Head(size=1, root=Tree.of([leaf]).root()))
    return checkpoint.origin(genesis.enclave, leaf)
