"""What every store promises (keyvault/store/base.py), held against each of them."""

import threading
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyvault.core.errors import DuplicateRequest, Fenced, OutcomeUnknown
from keyvault.store.base import EMPTY_HEAD, Entry, Head, Store
from tests.store.worlds import Fault, World, after, append, entry


def _contents(store: Store) -> tuple[Head, list[bytes], list[tuple[int, bytes]]]:
    return store.head(), store.read(0, 10_000), store.checkpoints()


def test_a_new_ledger_is_empty(world: World) -> None:
    """An empty ledger has size 0, the root SHA-256 of nothing, no entries, no checkpoint."""
    store = world.open()
    assert _contents(store) == (EMPTY_HEAD, [], [])
    assert store.checkpoint() is None
    assert store.find(b"key:a") is None


def test_what_was_appended_is_there_in_order(world: World) -> None:
    """After an append the head is the new one, and entries are read and found where they were put."""
    store = world.open()
    epoch = store.acquire_term("one")
    append(store, epoch, "a", "b")
    head = append(store, epoch, "c")
    assert store.head() == head
    assert head.size == 3
    assert store.read(0, 100) == [b"a", b"b", b"c"]
    assert store.read(1, 1) == [b"b"]
    assert store.read(3, 5) == []
    assert store.find(b"key:b") == (1, b"b")
    assert store.find(b"key:d") is None


def test_everything_outlives_the_store(world: World) -> None:
    """A store that is opened again has the same entries, head, index and checkpoints."""
    store = world.open()
    epoch = store.acquire_term("one")
    append(store, epoch, "a", "b")
    store.put_checkpoint(epoch=epoch, size=2, note=b"note 2")
    before = _contents(store)
    store.close()
    store.close()
    again = world.open()
    assert _contents(again) == before
    assert again.find(b"key:a") == (0, b"a")
    assert again.checkpoint() == (2, b"note 2")


def test_epochs_only_grow(world: World) -> None:
    """Every term has a greater epoch than any before, over restarts too."""
    epochs = [world.open().acquire_term(f"process {i}") for i in range(4)]
    assert all(older < newer for older, newer in pairwise(epochs))


def test_a_term_can_be_past_an_epoch(world: World) -> None:
    """An epoch that was seen elsewhere is left behind; one that is smaller changes nothing."""
    store = world.open()
    first = store.acquire_term("one")
    assert store.acquire_term("two", above=first + 3) == first + 4
    assert store.acquire_term("three", above=first) == first + 5


def test_an_old_epoch_appends_nothing(world: World) -> None:
    """A leader whose term is over is fenced, by append and by checkpoint, and leaves no trace."""
    store = world.open()
    old = store.acquire_term("old")
    append(store, old, "a")
    new = store.acquire_term("new")
    before = _contents(store)
    with pytest.raises(Fenced, match="new"):
        append(store, old, "b")
    with pytest.raises(Fenced):
        store.put_checkpoint(epoch=old, size=1, note=b"note")
    assert _contents(store) == before
    assert append(store, new, "b").size == 2


def test_an_epoch_of_the_future_appends_nothing(world: World) -> None:
    """An epoch that nobody was given is fenced."""
    store = world.open()
    epoch = store.acquire_term("one")
    with pytest.raises(Fenced):
        append(store, epoch + 1, "a")
    assert store.head() == EMPTY_HEAD


@pytest.mark.parametrize("wrong", [Head(size=0, root=EMPTY_HEAD.root), Head(size=1, root=bytes(32))])
def test_an_unexpected_head_appends_nothing(world: World, wrong: Head) -> None:
    """A writer that has another size or another root in mind is fenced."""
    store = world.open()
    epoch = store.acquire_term("one")
    append(store, epoch, "a")
    before = _contents(store)
    with pytest.raises(Fenced):
        append(store, epoch, "b", expected=wrong)
    assert _contents(store) == before


def test_a_head_that_does_not_count_the_entries_is_a_mistake(world: World) -> None:
    """The new size is the old size and the number of entries."""
    store = world.open()
    epoch = store.acquire_term("one")
    with pytest.raises(ValueError, match="count"):
        store.append(epoch=epoch, expected=EMPTY_HEAD, entries=[entry("a")], new=Head(size=2, root=bytes(32)))
    assert store.head() == EMPTY_HEAD


def test_a_taken_request_key_appends_nothing(world: World) -> None:
    """One taken key in a batch, in the ledger or twice in the batch, is named, and the whole batch is refused."""
    store = world.open()
    epoch = store.acquire_term("one")
    append(store, epoch, "a")
    before = _contents(store)
    with pytest.raises(DuplicateRequest) as taken:
        append(store, epoch, "b", "a", "c")
    assert taken.value.request_key == b"key:a"
    with pytest.raises(DuplicateRequest) as twice:
        append(store, epoch, "b", "c", "b")
    assert twice.value.request_key == b"key:b"
    assert _contents(store) == before
    assert append(store, epoch, "b", "c").size == 3


def test_entries_without_a_request_key_never_collide(world: World) -> None:
    """Entries need no key; the same bytes may stand twice."""
    store = world.open()
    epoch = store.acquire_term("one")
    entries = [Entry(body=b"same"), Entry(body=b"same")]
    store.append(epoch=epoch, expected=EMPTY_HEAD, entries=entries, new=after(EMPTY_HEAD, entries))
    assert store.read(0, 10) == [b"same", b"same"]


def test_a_large_entry_is_kept_byte_for_byte(world: World) -> None:
    """65,535 bytes of any value come back as they were."""
    store = world.open()
    epoch = store.acquire_term("one")
    body = bytes(range(256)) * 255 + bytes(255)
    entries = [Entry(body=body), Entry(body=b"")]
    store.append(epoch=epoch, expected=EMPTY_HEAD, entries=entries, new=after(EMPTY_HEAD, entries))
    assert store.read(0, 2) == [body, b""]


@pytest.mark.parametrize("fault", list(Fault))
def test_an_unknown_outcome_ends_all_writing(world: World, fault: Fault) -> None:
    """After an append in doubt nothing more is written; opened again, the ledger has all of the batch or none of it."""
    store = world.open()
    epoch = store.acquire_term("one")
    acknowledged = append(store, epoch, "a")
    with world.failing(fault), pytest.raises(OutcomeUnknown):
        append(store, epoch, "b", "c")
    with pytest.raises(OutcomeUnknown):
        append(store, epoch, "d", expected=acknowledged)
    with pytest.raises(OutcomeUnknown):
        store.acquire_term("two")
    with pytest.raises(OutcomeUnknown):
        store.put_checkpoint(epoch=epoch, size=1, note=b"note")
    again = world.open()
    kept = after(acknowledged, [entry("b"), entry("c")])
    expected = {Fault.LOST: (acknowledged, [b"a"]), Fault.KEPT: (kept, [b"a", b"b", b"c"])}[fault]
    assert (again.head(), again.read(0, 10)) == expected
    assert append(again, again.acquire_term("two"), "d").size == expected[0].size + 1


def test_checkpoints_grow(world: World) -> None:
    """A checkpoint follows a smaller one; the same again is no error; another for the same or a smaller size is."""
    store = world.open()
    epoch = store.acquire_term("one")
    append(store, epoch, "a", "b", "c")
    store.put_checkpoint(epoch=epoch, size=1, note=b"note 1")
    store.put_checkpoint(epoch=epoch, size=3, note=b"note 3")
    store.put_checkpoint(epoch=epoch, size=3, note=b"note 3")
    for size, note in ((3, b"other"), (2, b"note 2"), (1, b"note 1")):
        with pytest.raises(Fenced):
            store.put_checkpoint(epoch=epoch, size=size, note=note)
    assert store.checkpoints() == [(1, b"note 1"), (3, b"note 3")]
    assert store.checkpoint() == (3, b"note 3")


def test_the_anchor_is_the_last_checkpoint_kept(world: World) -> None:
    """The note that was kept last stands outside the ledger too, over restarts; a refused one does not replace it."""
    store = world.open()
    assert store.anchor() is None
    epoch = store.acquire_term("one")
    append(store, epoch, "a", "b")
    store.put_checkpoint(epoch=epoch, size=1, note=b"note 1")
    store.put_checkpoint(epoch=epoch, size=2, note=b"note 2")
    for size, note in ((2, b"other"), (3, b"note 3")):
        with pytest.raises(Fenced):
            store.put_checkpoint(epoch=epoch, size=size, note=note)
    assert store.anchor() == b"note 2"
    assert world.open().anchor() == b"note 2"


def test_entries_are_read_with_the_keys_they_are_filed_under(world: World) -> None:
    """``read_entries`` gives what was appended, request keys included, from any index."""
    store = world.open()
    entries = [Entry(body=b"a", request_key=b"key:a"), Entry(body=b"no key"), Entry(body=b"b", request_key=b"key:b")]
    store.append(epoch=store.acquire_term("one"), expected=EMPTY_HEAD, entries=entries, new=after(EMPTY_HEAD, entries))
    assert store.read_entries(0, 10) == entries
    assert store.read_entries(1, 1) == entries[1:2]
    assert store.read_entries(3, 1) == []


def test_a_checkpoint_covers_only_what_is_there(world: World) -> None:
    """A checkpoint beyond the end of the ledger is refused."""
    store = world.open()
    epoch = store.acquire_term("one")
    append(store, epoch, "a")
    with pytest.raises(Fenced):
        store.put_checkpoint(epoch=epoch, size=2, note=b"note")
    assert store.checkpoints() == []


def test_another_thread_reads_while_one_appends(world: World) -> None:
    """A reader in another thread sees whole batches only, each at its place."""
    store = world.open()
    epoch = store.acquire_term("one")
    done = threading.Event()
    wrong: list[str] = []

    def read() -> None:
        while not done.is_set():
            size = store.head().size
            bodies = store.read(0, 10_000)
            if size % 4 or len(bodies) < size or bodies != [str(i).encode() for i in range(len(bodies))]:
                wrong.append(f"{size} {len(bodies)}")
            if bodies and store.find(b"key:" + bodies[-1]) is None:
                wrong.append("not found")

    reader = threading.Thread(target=read)
    reader.start()
    for batch in range(100):
        append(store, epoch, *(str(batch * 4 + i) for i in range(4)))
    done.set()
    reader.join()
    assert wrong == []
    assert store.head().size == 400


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(st.integers(0, 30), max_size=6), max_size=8))
def test_any_history_is_a_list_without_repeated_keys(world: World, batches: list[list[int]]) -> None:
    """Whatever batches come, the ledger is the batches that were accepted, one after the other."""
    store = world.open()
    epoch = store.acquire_term("one")
    model = store.read(0, 10_000)
    for batch in batches:
        bodies = [f"{number}".encode() for number in batch]
        if len(set(bodies)) < len(bodies) or set(bodies) & set(model):
            with pytest.raises(DuplicateRequest):
                append(store, epoch, *map(str, batch))
        else:
            append(store, epoch, *map(str, batch))
            model += bodies
        assert store.read(0, 10_000) == model
        assert store.head().size == len(model)
