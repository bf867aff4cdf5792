"""RFC 6962 Merkle tree over ledger entries, grown one batch at a time.

``leaf = SHA256(0x00 || entry)``, ``node = SHA256(0x01 || left || right)``, the empty tree is ``SHA256("")``; a tree of
n leaves splits at the largest power of two below n (RFC 6962, 2.1).

Laws:

1. ``extended`` changes nothing: the root of a batch is known before the batch is durable, and a batch that failed
   leaves no trace.
2. Memory is 32 bytes for each full block of 256 leaves, plus one partial block: 125 KB at 10^6 entries.
3. A proof reads at most one block of leaf hashes below each of its ends, through the caller's function.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.ledger.errors import Unproven

HASH_BYTES = 32
BLOCK_LEVEL = 8
BLOCK_LEAVES = 1 << BLOCK_LEVEL
EMPTY_ROOT = hashlib.sha256(b"").digest()

LeavesOfBlock = Callable[[int], Sequence[bytes]]
"""Block number to the 256 leaf hashes of that full block."""

_sha256 = hashlib.sha256


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of one entry."""
    return _sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return _sha256(b"\1" + left + right).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """What a tree will be with some more leaves; ``Tree.adopt`` makes it so."""

    base: int
    size: int
    root: bytes
    _peaks: list[bytes]
    _completed: list[tuple[int, bytes]]
    _leaves: Sequence[bytes]


class Tree:
    """The tree of one ledger. Not safe for use from several threads."""

    __slots__ = ("_levels", "_partial", "_peaks", "_size")

    def __init__(self) -> None:
        self._size = 0
        self._peaks: list[bytes] = []  # roots of the perfect subtrees, largest first: the binary digits of the size
        self._partial: list[bytes] = []  # leaf hashes after the last full block
        self._levels: list[bytearray] = []  # [k]: roots of all full subtrees of 256^(k+1) leaves, one after the other

    @classmethod
    def of(cls, leaf_hashes: Iterable[bytes]) -> "Tree":
        """Return the tree over these leaf hashes."""
        tree = cls()
        batch: list[bytes] = []
        for each in leaf_hashes:
            batch.append(each)
            if len(batch) == BLOCK_LEAVES:
                tree.extend(batch)
                batch = []
        tree.extend(batch)
        return tree

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._size

    def root(self) -> bytes:
        """Return the root, at most one hash for each binary digit of the size."""
        return _fold(self._peaks)

    def extended(self, leaf_hashes: Sequence[bytes]) -> Extension:
        """Return what the tree would be with these leaves added. The tree stays as it is."""
        peaks = self._peaks.copy()
        completed: list[tuple[int, bytes]] = []
        size = self._size
        for each in leaf_hashes:
            node, level, count = each, 0, size
            while count & 1:
                node = _sha256(b"\1" + peaks.pop() + node).digest()
                level += 1
                count >>= 1
                if level % BLOCK_LEVEL == 0:
                    completed.append((level // BLOCK_LEVEL - 1, node))
            peaks.append(node)
            size += 1
        return Extension(
            base=self._size,
            size=size,
            root=_fold(peaks),
            _peaks=peaks,
            _completed=completed,
            _leaves=leaf_hashes,
        )

    def adopt(self, extension: Extension) -> None:
        """Become what ``extended`` of this same tree returned; ValueError if the tree has changed since."""
        if extension.base != self._size:
            raise ValueError(f"the tree has {self._size} leaves, the extension starts from {extension.base}")
        for level, node in extension._completed:  # noqa: SLF001 (an extension is the tree's own)
            if level == len(self._levels):
                self._levels.append(bytearray())
            self._levels[level] += node
        self._peaks = extension._peaks.copy()  # noqa: SLF001 (as above)
        partial = [*self._partial, *extension._leaves]  # noqa: SLF001 (as above)
        self._partial = partial[len(partial) - extension.size % BLOCK_LEAVES :]
        self._size = extension.size

    def extend(self, leaf_hashes: Sequence[bytes]) -> None:
        """Add leaves."""
        self.adopt(self.extended(leaf_hashes))

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash: amortised two hashes, at worst one for each binary digit of the size."""
        self.extend((leaf,))

    def root_at(self, size: int, leaves_of_block: LeavesOfBlock) -> bytes:
        """Return the root that the first ``size`` leaves had."""
        _check_range("size", size, self._size)
        return self._range(0, size, leaves_of_block) if size else EMPTY_ROOT

    def inclusion_proof(self, index: int, size: int, leaves_of_block: LeavesOfBlock) -> list[bytes]:
        """Return the audit path of leaf ``index`` in the tree of the first ``size`` leaves (RFC 6962, 2.1.1)."""
        _check_range("size", size, self._size)
        _check_range("index", index, size - 1)
        path: list[bytes] = []
        start, end = 0, size
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                path.append(self._range(middle, end, leaves_of_block))
                end = middle
            else:
                path.append(self._range(start, middle, leaves_of_block))
                start = middle
        return path[::-1]

    def consistency_proof(self, old: int, size: int, leaves_of_block: LeavesOfBlock) -> list[bytes]:
        """Return the proof that the first ``size`` leaves begin with the first ``old`` (RFC 6962, 2.1.2)."""
        _check_range("size", size, self._size)
        _check_range("old size", old, size)
        if old in (0, size):
            return []
        proof: list[bytes] = []
        start, end = 0, size
        while old != end:
            middle = start + _split(end - start)
            if old <= middle:
                proof.append(self._range(middle, end, leaves_of_block))
                end = middle
            else:
                proof.append(self._range(start, middle, leaves_of_block))
                start = middle
        if start:  # otherwise the old tree is itself a node, whose hash the verifier has
            proof.append(self._range(start, end, leaves_of_block))
        return proof[::-1]

    def _range(self, start: int, end: int, leaves_of_block: LeavesOfBlock) -> bytes:
        """Return MTH(D[start:end]); start is a multiple of the largest power of two that is at most the width."""
        width = end - start
        if width & (width - 1) == 0:
            return self._perfect(start, width.bit_length() - 1, leaves_of_block)
        middle = start + _split(width)
        return node_hash(self._range(start, middle, leaves_of_block), self._range(middle, end, leaves_of_block))

    def _perfect(self, start: int, level: int, leaves_of_block: LeavesOfBlock) -> bytes:
        """Return the root of the 2^level leaves from ``start``, from the finest hashes that are at hand."""
        tile_level, rest = divmod(level, BLOCK_LEVEL)
        first, count = start >> (tile_level * BLOCK_LEVEL), 1 << rest
        if tile_level == 0:
            return perfect_root(self._leaf_hashes(first, count, leaves_of_block))
        row = self._levels[tile_level - 1]
        return perfect_root([bytes(row[i * HASH_BYTES : (i + 1) * HASH_BYTES]) for i in range(first, first + count)])

    def _leaf_hashes(self, first: int, count: int, leaves_of_block: LeavesOfBlock) -> Sequence[bytes]:
        block, offset = divmod(first, BLOCK_LEAVES)
        if block == self._size // BLOCK_LEAVES:
            return self._partial[offset : offset + count]
        leaves = leaves_of_block(block)
        if len(leaves) != BLOCK_LEAVES:
            raise ValueError(f"block {block} has {len(leaves)} leaf hashes, {BLOCK_LEAVES} are needed")
        return leaves[offset : offset + count]


def _fold(peaks: Sequence[bytes]) -> bytes:
    if not peaks:
        return EMPTY_ROOT
    node = peaks[-1]
    for left in reversed(peaks[:-1]):
        node = _sha256(b"\1" + left + node).digest()
    return node


def perfect_root(nodes: Sequence[bytes]) -> bytes:
    """Return the root over nodes of one level, whose number is a power of two."""
    while len(nodes) > 1:
        nodes = [node_hash(nodes[i], nodes[i + 1]) for i in range(0, len(nodes), 2)]
    return nodes[0]


def _split(width: int) -> int:
    """Return the largest power of two below ``width``."""
    return 1 << ((width - 1).bit_length() - 1)


def _check_range(field: str, value: int, most: int) -> None:
    if not 0 <= value <= most:
        raise Malformed(field, f"{value} is not from 0 to {most}")


# Verification: RFC 9162, 2.1.3.2 and 2.1.4.2 ------------------------------------------------------------------------


def verify_inclusion(*, index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Return if the proof shows that ``leaf`` is leaf ``index`` of the tree with this size and root; else Unproven."""
    _check_proof(proof)
    if not 0 <= index < size:
        raise Unproven(f"index {index} is not in a tree of size {size}")
    place, last = index, size - 1
    node = leaf
    for sibling in proof:
        if last == 0:
            raise Unproven(f"the inclusion proof of entry {index} is too long")
        if place & 1 or place == last:
            node = node_hash(sibling, node)
            place, last = _climb(place, last)
        else:
            node = node_hash(node, sibling)
        place >>= 1
        last >>= 1
    if last or node != root:
        raise Unproven(f"the proof does not show entry {index} under the root of size {size}")


def verify_consistency(*, old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """Return if the proof shows that the tree (size, root) begins with the tree (old_size, old_root); else Unproven."""
    _check_proof(proof)
    if not 0 <= old_size <= size:
        raise Unproven(f"size {size} is before size {old_size}")
    if old_size in (0, size):
        _verify_trivial(old_size, old_root, size, root, proof)
        return
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    old_node, node = _consistency_roots(old_size, size, path)
    if old_node != old_root or node != root:
        raise Unproven(f"the trees of size {old_size} and {size} are not shown to be consistent")


def _verify_trivial(old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    if proof:
        raise Unproven("a consistency proof from size 0 or to the same size is empty")
    if old_size == size and old_root != root:
        raise Unproven(f"two roots for size {size}: the ledger was forked")
    if old_size == 0 and old_root != EMPTY_ROOT:
        raise Unproven("the root of size 0 is SHA-256 of nothing")


def _consistency_roots(old_size: int, size: int, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    if not path:
        raise Unproven("the consistency proof is empty")
    place, last = old_size - 1, size - 1
    while place & 1:
        place >>= 1
        last >>= 1
    old_node = node = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise Unproven("the consistency proof is too long")
        if place & 1 or place == last:
            old_node = node_hash(sibling, old_node)
            node = node_hash(sibling, node)
            place, last = _climb(place, last)
        else:
            node = node_hash(node, sibling)
        place >>= 1
        last >>= 1
    if last:
        raise Unproven("the consistency proof is too short")
    return old_node, node


def _climb(place: int, last: int) -> tuple[int, int]:
    """Skip the levels at which a node on the right edge has no sibling."""
    while place and not place & 1:
        place >>= 1
        last >>= 1
    return place, last


def _check_proof(proof: Sequence[bytes]) -> None:
    if len(proof) > limits.PROOF_HASHES_MAX:
        raise Unproven(f"a proof has at most {limits.PROOF_HASHES_MAX} hashes")
    if any(len(each) != HASH_BYTES for each in proof):
        raise Unproven("a hash in the proof does not have 32 bytes")
