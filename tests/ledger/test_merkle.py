"""RFC 6962 trees against the reference vectors and a naive recursive tree."""

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core.errors import Malformed
from keyvault.ledger import merkle
from keyvault.ledger.errors import Unproven
from keyvault.ledger.merkle import Tree, leaf_hash, node_hash, verify_consistency, verify_inclusion

REFERENCE_ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
REFERENCE_ROOTS = (
    ("6e340b9c", "a01d"),
    ("fac54203", "c125"),
    ("aeb6bcfe", "6e77"),
    ("d37ee418", "14b7"),
    ("4e3bbb1f", "64d4"),
    ("76e67dad", "87ef"),
    ("ddb89be4", "4c8c"),
    ("5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370ef", "f4604328"),
)


def _leaves(count: int) -> list[bytes]:
    return [leaf_hash(str(i).encode()) for i in range(count)]


def _naive_root(hashes: Sequence[bytes]) -> bytes:
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return node_hash(_naive_root(hashes[:split]), _naive_root(hashes[split:]))


def _naive_path(index: int, hashes: Sequence[bytes]) -> list[bytes]:
    if len(hashes) == 1:
        return []
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    if index < split:
        return [*_naive_path(index, hashes[:split]), _naive_root(hashes[split:])]
    return [*_naive_path(index - split, hashes[split:]), _naive_root(hashes[:split])]


def _naive_consistency(old: int, hashes: Sequence[bytes], *, whole: bool = True) -> list[bytes]:
    if old == len(hashes):
        return [] if whole else [_naive_root(hashes)]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    if old <= split:
        return [*_naive_consistency(old, hashes[:split], whole=whole), _naive_root(hashes[split:])]
    return [*_naive_consistency(old - split, hashes[split:], whole=False), _naive_root(hashes[:split])]


def test_reference_roots() -> None:
    """The roots of the eight reference entries are those of transparency-dev/merkle."""
    tree = Tree()
    for entry, (start, end) in zip(REFERENCE_ENTRIES, REFERENCE_ROOTS, strict=True):
        tree.append(leaf_hash(entry))
        assert tree.root().hex().startswith(start)
        assert tree.root().hex().endswith(end)


def test_reference_hashes() -> None:
    """Leaf and node hashes carry their prefixes, and the empty tree is SHA-256 of nothing."""
    assert leaf_hash(b"L123456").hex() == "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"
    assert node_hash(b"N123", b"N456").hex().startswith("aa217fe8")
    assert node_hash(b"N123", b"N456").hex().endswith("6bbb")
    assert Tree().root() == hashlib.sha256(b"").digest()


@given(st.lists(st.integers(0, 300), max_size=8))
def test_any_batches_give_the_naive_root(batches: list[int]) -> None:
    """However the leaves come in batches, size and root are those of the naive tree, before and after adoption."""
    hashes = _leaves(sum(batches))
    tree = Tree()
    for count in batches:
        before = tree.root()
        extension = tree.extended(hashes[tree.size : tree.size + count])
        assert tree.root() == before
        tree.adopt(extension)
        assert (tree.size, tree.root()) == (extension.size, extension.root)
        assert tree.root() == _naive_root(hashes[: tree.size])


@given(st.data())
def test_proofs_equal_the_naive_ones_and_verify(data: st.DataObject) -> None:
    """Proofs for any index and any older size, also far below the head, are the naive ones and verify."""
    total = data.draw(st.integers(1, 1200))
    size = data.draw(st.integers(1, total))
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(0, size))
    hashes = _leaves(total)
    tree = Tree.of(hashes)

    def block(number: int) -> list[bytes]:
        return hashes[number * 256 : number * 256 + 256]

    root = tree.root_at(size, block)
    assert root == _naive_root(hashes[:size])
    proof = tree.inclusion_proof(index, size, block)
    assert proof == _naive_path(index, hashes[:size])
    verify_inclusion(index=index, size=size, leaf=hashes[index], proof=proof, root=root)
    consistency = tree.consistency_proof(old, size, block)
    assert consistency == (_naive_consistency(old, hashes[:size]) if old else [])
    verify_consistency(old_size=old, old_root=_naive_root(hashes[:old]), size=size, root=root, proof=consistency)


@given(st.data())
def test_a_changed_proof_proves_nothing(data: st.DataObject) -> None:
    """A flipped bit, a missing hash, an extra hash or another index, size or leaf makes a proof worthless."""
    size = data.draw(st.integers(2, 600))
    index = data.draw(st.integers(0, size - 1))
    hashes = _leaves(size)
    tree = Tree.of(hashes)
    proof = tree.inclusion_proof(index, size, lambda number: hashes[number * 256 : number * 256 + 256])
    root = tree.root()
    place = data.draw(st.integers(0, len(proof) - 1))
    flipped = [*proof]
    flipped[place] = bytes([flipped[place][0] ^ 1]) + flipped[place][1:]
    for bad in (flipped, proof[:-1], [*proof, proof[0]], [*proof[:place], proof[place][:-1], *proof[place + 1 :]]):
        with pytest.raises(Unproven):
            verify_inclusion(index=index, size=size, leaf=hashes[index], proof=bad, root=root)
    with pytest.raises(Unproven):
        verify_inclusion(index=index, size=size, leaf=hashes[index - 1], proof=proof, root=root)
    with pytest.raises(Unproven):
        verify_inclusion(index=size, size=size, leaf=hashes[index], proof=proof, root=root)


@given(st.data())
def test_a_changed_consistency_proof_proves_nothing(data: st.DataObject) -> None:
    """A consistency proof holds for its two sizes and roots only."""
    size = data.draw(st.integers(3, 600))
    old = data.draw(st.integers(1, size - 1))
    hashes = _leaves(size)
    tree = Tree.of(hashes)
    proof = tree.consistency_proof(old, size, lambda number: hashes[number * 256 : number * 256 + 256])
    old_root, root = _naive_root(hashes[:old]), tree.root()
    flipped = [bytes([proof[0][0] ^ 1]) + proof[0][1:], *proof[1:]]
    for bad in (flipped, proof[:-1], [*proof, proof[0]], []):
        with pytest.raises(Unproven):
            verify_consistency(old_size=old, old_root=old_root, size=size, root=root, proof=bad)
    with pytest.raises(Unproven):
        verify_consistency(old_size=old, old_root=root, size=size, root=root, proof=proof)
    with pytest.raises(Unproven):
        verify_consistency(old_size=size, old_root=root, size=old, root=old_root, proof=proof)


def test_two_roots_for_one_size_are_a_fork() -> None:
    """The same size with two roots is said to be a fork."""
    with pytest.raises(Unproven, match="forked"):
        verify_consistency(old_size=2, old_root=bytes(32), size=2, root=bytes([1]) * 32, proof=[])


def test_an_old_extension_is_not_adopted() -> None:
    """An extension belongs to the size that it was made from."""
    tree = Tree()
    extension = tree.extended(_leaves(3))
    tree.adopt(extension)
    with pytest.raises(ValueError, match="3 leaves"):
        tree.adopt(extension)
    assert tree.root() == _naive_root(_leaves(3))


def test_coarse_levels_serve_proofs_of_a_large_tree() -> None:
    """Beyond 65,536 leaves a proof still reads at most one block of leaves for each end."""
    hashes = _leaves(66_000)
    tree = Tree.of(hashes)
    read: list[int] = []

    def block(number: int) -> list[bytes]:
        read.append(number)
        return hashes[number * 256 : number * 256 + 256]

    proof = tree.inclusion_proof(1_000, 66_000, block)
    assert set(read) == {3}
    verify_inclusion(index=1_000, size=66_000, leaf=hashes[1_000], proof=proof, root=tree.root())
    read.clear()
    consistency = tree.consistency_proof(12_345, 66_000, block)
    assert set(read) <= {12_345 // 256}
    old_root = tree.root_at(12_345, block)
    verify_consistency(old_size=12_345, old_root=old_root, size=66_000, root=tree.root(), proof=consistency)
    assert sum(len(row) for row in tree._levels) == (66_000 // 256 + 1) * merkle.HASH_BYTES


@pytest.mark.parametrize(("index", "size"), [(3, 3), (-1, 3), (0, 4), (0, -1)])
def test_proofs_outside_the_tree_are_refused(index: int, size: int) -> None:
    """There is no proof for what the tree does not hold."""
    tree = Tree.of(_leaves(3))
    with pytest.raises(Malformed):
        tree.inclusion_proof(index, size, lambda _: [])
