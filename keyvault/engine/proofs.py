"""Merkle proofs from a tree and the entries under it (RFC 6962)."""

from collections.abc import Callable

from keyvault.core.errors import NotFound
from keyvault.ledger.merkle import Tree, leaf_hash

Read = Callable[[int, int], list[bytes]]
"""Returns up to so many entries from an index on."""


def inclusion(tree: Tree, read: Read, index: int, size: int) -> tuple[tuple[bytes, ...], bytes]:
    """Return (hashes, entry) that prove the entry at ``index`` under the root of ``size``. Raises NotFound."""
    if not 0 <= index < size:
        raise NotFound(f"the ledger has no entry {index}; its size is {size}")
    return tuple(tree.inclusion_proof(index, size, _leaves(read))), read(index, 1)[0]


def consistency(tree: Tree, read: Read, old_size: int, size: int) -> tuple[bytes, ...]:
    """Return the hashes that prove that the root of ``size`` extends that of ``old_size``. Raises NotFound."""
    if not 0 < old_size <= size:
        raise NotFound(f"the ledger never had size {old_size}; its size is {size}")
    return tuple(tree.consistency_proof(old_size, size, _leaves(read)))


def root_at(tree: Tree, read: Read, size: int) -> bytes:
    """Return the root that the first ``size`` entries gave. Raises Malformed if there are fewer."""
    return tree.root_at(size, _leaves(read))


def _leaves(read: Read) -> Callable[[int], list[bytes]]:
    return lambda block: [leaf_hash(body) for body in read(block * 256, 256)]
