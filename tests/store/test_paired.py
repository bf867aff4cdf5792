"""What the leader of a pair can read: nothing that its followers have not confirmed."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from keyvault.core.errors import OutcomeUnknown, Unavailable
from keyvault.store.base import Entry, Head
from keyvault.store.paired import PairedStore
from keyvault.store.sqlite import SqliteStore, open_store
from tests.store.worlds import after, append, entry


class Followers:
    """All of them at once: they answer, or they do not."""

    def __init__(self) -> None:
        self.are_there = True
        self.durable_before: list[Head] = []

    def confirm(self, own: SqliteStore) -> None:
        """Confirm what is durable at the leader, if they are there."""
        self.durable_before.append(own.head())
        if not self.are_there:
            raise Unavailable("nobody answers")


def open_pair(path: Path, followers: Followers, readable: list[int]) -> tuple[SqliteStore, PairedStore]:
    """Return the file and the store over it. ``readable``: the bound, if there is one."""
    own = open_store(path, create=True)

    def confirm(_expected: Head, _entries: Sequence[Entry], _new: Head) -> None:
        followers.confirm(own)

    return own, PairedStore(own, confirm, lambda: readable[0] if readable else None)


def test_what_was_not_confirmed_is_nowhere_to_be_read(tmp_path: Path) -> None:
    """Neither as bytes, nor as an entry, nor by its request id; in the file it is first, and there it stays."""
    followers = Followers()
    own, store = open_pair(tmp_path / "ledger.db", followers, [])
    epoch = store.acquire_term("h")
    head = append(store, epoch, "one")
    assert followers.durable_before == [head]
    followers.are_there = False
    with pytest.raises(OutcomeUnknown, match="did not confirm"):
        append(store, epoch, "two")
    assert own.head() == after(head, [entry("two")])
    assert store.head() == head
    assert (store.read(0, 9), store.read(1, 9)) == ([b"one"], [])
    assert [each.body for each in store.read_entries(0, 9)] == [b"one"]
    assert (store.find(b"key:one"), store.find(b"key:two")) == ((0, b"one"), None)
    assert not store.is_broken
    own.close()


def test_a_node_that_stands_reads_no_more_than_was_confirmed_before(tmp_path: Path) -> None:
    """Nobody confirms what it appends meanwhile, nor the last entry of the leader of before."""
    readable = [1]
    own, store = open_pair(tmp_path / "ledger.db", Followers(), readable)
    epoch = store.acquire_term("h")
    append(store, epoch, "one")
    append(store, epoch, "two")
    assert (store.read(0, 9), len(store.read_entries(0, 9)), store.find(b"key:two")) == ([b"one"], 1, None)
    readable.clear()
    assert (store.read(0, 9), len(store.read_entries(0, 9))) == ([b"one", b"two"], 2)
    assert store.find(b"key:two") == (1, b"two")
    own.close()
