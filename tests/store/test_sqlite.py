"""What only a file can suffer: death of the process, full disks, second processes, wrong files."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from keyvault.core import limits
from keyvault.core.errors import Conflict, Corrupt, Fenced, NotFound, OutcomeUnknown, Unavailable
from keyvault.store.base import EMPTY_HEAD, Head
from keyvault.store.sqlite import SqliteStore, open_store
from tests.store.worlds import after, append, entry

ROOT = Path(__file__).parents[2]
IGNORED = "BEGIN SELECT RAISE(IGNORE); END"


def _child(path: Path, bound: int = 0) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.store.appender", str(path), str(bound)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _whole(store: SqliteStore, acknowledged: Head) -> int:
    """Check that every acknowledged entry is there, that batches are whole and heads true; return the size."""
    head, chained = store.head(), EMPTY_HEAD
    bodies = store.read(0, 1_000_000)
    assert len(bodies) == head.size >= acknowledged.size
    for start in range(0, head.size, 4):
        texts = [body.decode() for body in bodies[start : start + 4]]
        assert [text.partition(":")[0] for text in texts] == [str(start + i) for i in range(4)]
        chained = after(chained, [entry(text) for text in texts])
        if chained.size == acknowledged.size:
            assert chained == acknowledged
    assert chained == head
    return head.size


def _parse(line: str) -> Head:
    size, root = line.split()
    return Head(size=int(size), root=bytes.fromhex(root))


def test_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """SIGKILL in a burst of appends leaves every acknowledged entry and whole batches, each time."""
    path = tmp_path / "ledger.db"
    size = 0
    for appends in (1, 20, 77, 150):
        with _child(path) as child:
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(appends)]
            child.kill()
            lines += child.stdout.readlines()
        acknowledged = _parse([line for line in lines if line.endswith("\n")][-1])
        with contextlib.closing(open_store(path, create=False)) as store:
            assert size < acknowledged.size <= _whole(store, acknowledged) <= acknowledged.size + 4
            size = store.head().size


@pytest.mark.parametrize("bound", [100_000, 1_000_000, 4_300_000])
def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path, bound: int) -> None:
    """When no byte more can be written the outcome is unknown, and with space again the ledger is whole and goes on."""
    path = tmp_path / "ledger.db"
    with _child(path, bound) as child:
        assert child.stdout is not None
        *lines, last = child.stdout.readlines()
    assert (child.returncode, last) == (0, "unknown\n")
    acknowledged = _parse(lines[-1])
    with contextlib.closing(open_store(path, create=False)) as store:
        assert _whole(store, acknowledged) <= acknowledged.size + 4
        head = append(store, store.acquire_term("after"), "more")
        assert store.head() == head


def test_a_second_opener_is_refused(tmp_path: Path) -> None:
    """While one process has the ledger open nobody else opens it; once it is closed, or dead, others may."""
    path = tmp_path / "ledger.db"
    with _child(path) as child:
        assert child.stdout is not None
        child.stdout.readline()
        with pytest.raises(Fenced, match="another process"):
            open_store(path, create=False)
        child.kill()
    store = open_store(path, create=False)
    with pytest.raises(Fenced):
        open_store(path, create=False)
    store.close()
    open_store(path, create=False).close()


def test_nothing_is_overwritten_and_nothing_is_invented(tmp_path: Path) -> None:
    """Creating over a file is a conflict and opening a missing one is an error; neither touches the disk."""
    path = tmp_path / "ledger.db"
    with pytest.raises(NotFound):
        open_store(path, create=False)
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"precious")
    with pytest.raises(Conflict):
        open_store(path, create=True)
    assert path.read_bytes() == b"precious"
    left = tmp_path / "left.db.checkpoint"
    left.write_bytes(b"an earlier ledger's")
    with pytest.raises(Conflict, match=r"left\.db\.checkpoint exists"):
        open_store(tmp_path / "left.db", create=True)
    assert left.read_bytes() == b"an earlier ledger's"
    assert not (tmp_path / "left.db").exists()
    with pytest.raises(Unavailable):
        open_store(tmp_path / "missing" / "ledger.db", create=True)


def test_only_the_owner_reads_the_files(tmp_path: Path) -> None:
    """Database, WAL, shared memory, lock and anchor have mode 0600 whatever the umask."""
    before = os.umask(0)
    try:
        store = open_store(tmp_path / "ledger.db", create=True)
        epoch = store.acquire_term("one")
        append(store, epoch, "a")
        store.put_checkpoint(epoch=epoch, size=1, note=b"note")
        modes = {each.name: each.stat().st_mode & 0o777 for each in tmp_path.iterdir()}
        store.close()
    finally:
        os.umask(before)
    suffixes = ("", "-wal", "-shm", ".lock", ".checkpoint")
    assert modes == {f"ledger.db{suffix}": 0o600 for suffix in suffixes}


def test_a_file_of_another_kind_is_not_a_ledger(tmp_path: Path) -> None:
    """A file that is no database, another program's database, or a later schema is refused and left as it is."""
    text = tmp_path / "text.db"
    text.write_bytes(b"this is not a database, and it is long enough to have a header of one hundred bytes" * 3)
    foreign = tmp_path / "foreign.db"
    apsw.Connection(str(foreign)).execute("CREATE TABLE notes (text)")
    later = tmp_path / "later.db"
    open_store(later, create=True).close()
    apsw.Connection(str(later)).pragma("user_version", 2)
    for path in (text, foreign, later):
        with pytest.raises(Corrupt):
            open_store(path, create=False)
    assert text.read_bytes().startswith(b"this is not")


@pytest.mark.parametrize("unique", ["", "UNIQUE COLLATE NOCASE"])
def test_a_table_without_its_unique_index_is_refused(tmp_path: Path, unique: str) -> None:
    """I3: whoever makes the table anew so that one request key can stand twice gets no server for it."""
    path = tmp_path / "ledger.db"
    open_store(path, create=True).close()
    connection = apsw.Connection(str(path))
    triggers = connection.execute("SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'entries'").get
    connection.execute("DROP TABLE entries")
    connection.execute(f"CREATE TABLE entries (idx INTEGER PRIMARY KEY, request_key BLOB {unique}, body BLOB NOT NULL)")
    connection.execute(";".join(triggers))
    connection.close()
    with pytest.raises(Corrupt, match=r"'entries' is not defined as keyvault made it|lacks the index"):
        open_store(path, create=False)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (f"CREATE TRIGGER drops BEFORE INSERT ON entries {IGNORED}", "has the trigger 'drops', which keyvault did not"),
        ("CREATE VIEW seen AS SELECT 1", "has the view 'seen', which"),
        ("CREATE INDEX by_body ON entries (body)", "has the index 'by_body', which"),
        ("CREATE TABLE _litestream_seq (id, seq)", "has the table '_litestream_seq', .* tool that replicates"),
        ("DROP TRIGGER entries_are_never_deleted", "lacks the trigger 'entries_are_never_deleted'"),
    ],
)
def test_objects_that_keyvault_did_not_make_are_refused(tmp_path: Path, statement: str, told: str) -> None:
    """A file with a trigger, view, index or table more, or one fewer, is not opened; the message names it."""
    path = tmp_path / "ledger.db"
    open_store(path, create=True).close()
    with contextlib.closing(apsw.Connection(str(path))) as shell:
        shell.execute(statement)
    with pytest.raises(Corrupt, match=told):
        open_store(path, create=False)


def test_a_trigger_that_is_added_meanwhile_drops_nothing(tmp_path: Path) -> None:
    """I1: triggers on an open file do nothing to the server's rows: what is acknowledged stands in the ledger."""
    path = tmp_path / "ledger.db"
    with contextlib.closing(open_store(path, create=True)) as store:
        epoch = store.acquire_term("one")
        with contextlib.closing(apsw.Connection(str(path))) as shell:
            shell.execute(f"CREATE TRIGGER drops BEFORE INSERT ON entries {IGNORED}")
            shell.execute(f"CREATE TRIGGER forgets BEFORE INSERT ON checkpoints {IGNORED}")
        append(store, epoch, "a")
        store.put_checkpoint(epoch=epoch, size=1, note=b"note")
        assert (store.read(0, 2), store.checkpoint()) == ([b"a"], (1, b"note"))


def test_rows_that_are_not_taken_end_the_term(tmp_path: Path) -> None:
    """I1: a table that swallows a row without an error is found before anything is acknowledged; nothing is written."""
    path = tmp_path / "ledger.db"
    with contextlib.closing(open_store(path, create=True)) as store:
        epoch = store.acquire_term("one")
        head = append(store, epoch, "a")
        with contextlib.closing(apsw.Connection(str(path))) as shell:
            shell.execute("ALTER TABLE entries RENAME TO old")
            shell.execute("CREATE TABLE entries (idx INTEGER PRIMARY KEY ON CONFLICT IGNORE, request_key, body)")
            shell.execute("INSERT INTO entries SELECT * FROM old; INSERT INTO entries VALUES (1, NULL, x'00')")
        with pytest.raises(Corrupt, match="did not take every row"):
            append(store, epoch, "b", expected=head)
        assert store.head() == head


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET body = x'00'",
        "DELETE FROM entries",
        "UPDATE checkpoints SET note = x'00'",
        "DELETE FROM checkpoints",
    ],
)
def test_history_is_not_changed_by_a_slip(tmp_path: Path, statement: str) -> None:
    """Triggers stand in the way of changing or deleting entries and checkpoints by hand."""
    path = tmp_path / "ledger.db"
    with contextlib.closing(open_store(path, create=True)) as store:
        epoch = store.acquire_term("one")
        append(store, epoch, "a")
        store.put_checkpoint(epoch=epoch, size=1, note=b"note")
    with contextlib.closing(apsw.Connection(str(path))) as shell, pytest.raises(apsw.ConstraintError):
        shell.execute(statement)


def test_a_missing_row_is_noticed_when_it_is_read(tmp_path: Path) -> None:
    """Reading over a gap is Corrupt and names the first index that is missing."""
    path = tmp_path / "ledger.db"
    with contextlib.closing(open_store(path, create=True)) as store:
        append(store, store.acquire_term("one"), "a", "b", "c")
    with contextlib.closing(apsw.Connection(str(path))) as shell:
        shell.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
        shell.execute("DELETE FROM entries WHERE idx = 1")
    with contextlib.closing(open_store(path, create=False)) as store, pytest.raises(Corrupt) as missing:
        store.read(0, 3)
    assert missing.value.index == 1


def test_the_wal_stays_small(tmp_path: Path) -> None:
    """Commits move the WAL into the file as they go: it does not grow with the ledger."""
    with contextlib.closing(open_store(tmp_path / "ledger.db", create=True)) as store:
        epoch = store.acquire_term("one")
        for batch in range(120):
            append(store, epoch, *(f"{batch}-{i}" + "x" * 3_000 for i in range(50)))
        assert (tmp_path / "ledger.db").stat().st_size > 15_000_000
        assert (tmp_path / "ledger.db-wal").stat().st_size < 8_000_000


def test_an_anchor_that_cannot_be_written_ends_all_writing(tmp_path: Path) -> None:
    """The checkpoint stands in the ledger, the store writes no more, and opened again it goes on."""
    path = tmp_path / "ledger.db"
    with contextlib.closing(open_store(path, create=True)) as store:
        epoch = store.acquire_term("one")
        head = append(store, epoch, "a")
        (tmp_path / "ledger.db.checkpoint.new").mkdir()
        with pytest.raises(OutcomeUnknown, match="checkpoint"):
            store.put_checkpoint(epoch=epoch, size=1, note=b"note")
        with pytest.raises(OutcomeUnknown):
            append(store, epoch, "b", expected=head)
    (tmp_path / "ledger.db.checkpoint.new").rmdir()
    with contextlib.closing(open_store(path, create=False)) as store:
        assert (store.checkpoint(), store.anchor()) == ((1, b"note"), None)
        store.put_checkpoint(epoch=store.acquire_term("two"), size=1, note=b"note")
        assert store.anchor() == b"note"


def test_an_anchor_is_a_short_file_and_no_link(tmp_path: Path) -> None:
    """What cannot be a checkpoint is not taken into memory, and a link is not followed."""
    path, anchor = tmp_path / "ledger.db", tmp_path / "ledger.db.checkpoint"
    with contextlib.closing(open_store(path, create=True)) as store:
        anchor.write_bytes(bytes(limits.NOTE_BYTES_MAX + 1))
        with pytest.raises(Corrupt, match="longer"):
            store.anchor()
        anchor.unlink()
        anchor.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(Corrupt, match="cannot be read"):
            store.anchor()
