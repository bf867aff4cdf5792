"""What several nodes say, put together: one note for each size, or two histories."""

import pytest

from keyvault.ledger.checkpoint import open_checkpoint
from keyvault.ledger.cosignature import cosignatures
from keyvault.ledger.errors import TwoHistories, Unproven
from keyvault.ledger.merge import Answer, Extension, answer, check_one_history, merged
from keyvault.ledger.merkle import Tree, leaf_hash
from keyvault.ledger.note import parse_note
from tests.ledger.cosigning import AT_S, Witness, signed, signed_root, spoiled
from tests.ledger.ledgers import sample

GOOD = sample()
SMALL, SIZE = 20, 40
TREE = Tree.of([leaf_hash(body) for body in GOOD.entries[:SIZE]])
A, B, STRANGER = Witness("kv-1"), Witness("kv-2"), Witness("somebody")
KNOWN = (A.key, B.key)


def _answer(who: str, note: bytes) -> Answer:
    return answer(who, note, GOOD.key, KNOWN)


def _extension(old_size: int, newest: Answer) -> Extension:
    def leaves(block: int) -> list[bytes]:
        return [leaf_hash(body) for body in GOOD.entries[block * 256 : (block + 1) * 256]]

    return Extension(old_size=old_size, hashes=tuple(TREE.consistency_proof(old_size, SIZE, leaves)), newest=newest)


def test_lines_of_one_text_become_one_note() -> None:
    """The log's line once, each cosigner's once, and none of whom nobody knows."""
    note = signed(GOOD, SIZE)
    given = [A.cosign(STRANGER.cosign(note)), B.cosign(A.cosign(note, AT_S + 1))]
    (found,) = merged([_answer(f"node {number}", each) for number, each in enumerate(given)])
    assert found.who == "node 0, node 1"
    assert open_checkpoint(found.note, GOOD.key).size == SIZE
    assert [line.name for line in parse_note(found.note).signatures] == [GOOD.key.name, "kv-1", "kv-2"]
    assert set(cosignatures(found.note, KNOWN)) == set(KNOWN)


def test_two_texts_of_one_size_are_two_histories() -> None:
    """A split view: nothing is merged, and both notes are in the error as they were given."""
    first, second = A.cosign(signed(GOOD, SIZE)), B.cosign(signed_root(GOOD, SIZE, bytes(32)))
    with pytest.raises(TwoHistories, match=r"TWO HISTORIES.*one gave.*two gave") as found:
        merged([_answer("one", first), _answer("two", second)])
    assert (found.value.first, found.value.second) == (("one", first), ("two", second))


def test_what_shows_nothing_is_no_answer() -> None:
    """Another log's note, and one in which the line of a known cosigner is not from it."""
    with pytest.raises(Unproven):
        _answer("liar", A.cosign(signed(sample(2), SIZE)))
    with pytest.raises(Unproven, match="kv-2"):
        _answer("liar", spoiled(A.cosign(signed(GOOD, SIZE)), B.key))


def test_sizes_stand_beside_each_other_once_they_are_shown_to_be_one_history() -> None:
    """The smaller one is extended by the larger one; a proof for another tree, or none, is two histories."""
    small, large = _answer("one", A.cosign(signed(GOOD, SMALL))), _answer("two", B.cosign(signed(GOOD, SIZE)))
    notes = merged([large, small])
    assert [each.checkpoint.size for each in notes] == [SMALL, SIZE]
    shown = [_extension(SMALL, large), Extension(old_size=SIZE, hashes=(), newest=large)]
    check_one_history(notes, shown)
    forked = _answer("one", A.cosign(signed_root(GOOD, SMALL, bytes(32))))
    for smaller, extensions in (
        (forked, shown),
        (small, [Extension(old_size=SMALL, hashes=(bytes(32),), newest=large), shown[1]]),
        (small, [Extension(old_size=SMALL, hashes=(bytes(32),) * 1_000, newest=large), shown[1]]),
    ):
        with pytest.raises(TwoHistories) as found:
            check_one_history([smaller, large], extensions)
        assert (found.value.first, found.value.second) == (("one", smaller.note), ("two", large.note))


def test_what_was_compared_with_is_one_tree() -> None:
    """Proofs into two trees prove nothing of each other: of other sizes they are asked for again, of one size named."""
    small, large = _answer("one", A.cosign(signed(GOOD, SMALL))), _answer("two", B.cosign(signed(GOOD, SIZE)))
    moved = Extension(old_size=SIZE, hashes=(), newest=_answer("two", signed(GOOD, SIZE + 1)))
    with pytest.raises(Unproven, match="changed while"):
        check_one_history([small, large], [_extension(SMALL, large), moved])
    with pytest.raises(Unproven):
        check_one_history([small, large], [_extension(SMALL, large)])
    forked = Extension(old_size=SIZE, hashes=(), newest=_answer("two", signed_root(GOOD, SIZE, bytes(32))))
    with pytest.raises(TwoHistories):
        check_one_history([small, large], [_extension(SMALL, large), forked])
