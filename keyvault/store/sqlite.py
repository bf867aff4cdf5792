"""One enclave's ledger in one SQLite file.

Laws:

1. One process: an exclusive ``flock`` on ``<file>.lock``, held while the store is open. The epoch fences what the
   lock cannot see: a leader that lives on in memory after its file was restored or copied.
2. One writing connection, which also checkpoints the WAL; a second one only reads, so that a look-up never waits for
   a commit. WAL with ``synchronous=FULL``: COMMIT returns after the WAL is on disk.
3. One append is one transaction: fence, order, rows and head together.
4. After any error whose outcome is not known nothing more is written (I7): the process ends and opens the file anew,
   and SQLite's recovery says what is there.
5. The newest checkpoint also stands in a file beside the database (``store.anchor``), written after its row: it is
   never newer than an honest database.
6. The schema is ours to the last object, or the file is not opened. Triggers and views of others, which somebody can
   add while it is open, do nothing on our connections, and an append counts the rows that it added.

SQLite is apsw's own build: 3.7.0 to 3.51.2 can lose commits when a WAL is reset (sqlite.org/wal.html, "the WAL-reset
bug").
"""

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw

from keyvault.core.errors import Conflict, Corrupt, DuplicateRequest, Fenced, NotFound, OutcomeUnknown, Unavailable
from keyvault.core.marks import Mark
from keyvault.store.anchor import Anchor, sync_directory
from keyvault.store.base import EMPTY_HEAD, Entry, Head
from keyvault.store.restored import SUFFIX, read_restored

SQLITE_VERSION_MIN = (3, 51, 3)
APPLICATION_ID = 0x6B76_6C31
"""``kvl1`` in the file's header."""
SCHEMA_VERSION = 1
WAL_PAGES = 1_000
"""Pages of 4 KiB after which a commit also moves the WAL into the file: a WAL of 4 MB, a stall of some milliseconds."""
WAL_BYTES_MAX = 64 * 1024 * 1024
"""A WAL that grew further, because a reader held it, is cut back to this."""
CACHE_KIB = 16_384
"""Page cache of the writing connection: the right edges of the table and of the request index, and some history."""
BUSY_MS = 1_000
"""An operator's own sqlite3 shell may hold a lock; longer than this is a failure."""

_OPTIONS = (
    (apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0),  # ours are for people with a shell; a stranger's could drop rows
    (apsw.SQLITE_DBCONFIG_ENABLE_VIEW, 0),
    (apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0),
    (apsw.SQLITE_DBCONFIG_DEFENSIVE, 1),
)

_SCHEMA = """
CREATE TABLE entries (idx INTEGER PRIMARY KEY, request_key BLOB UNIQUE, body BLOB NOT NULL) STRICT;
CREATE TABLE head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    size INTEGER NOT NULL, root BLOB NOT NULL, epoch INTEGER NOT NULL, holder TEXT NOT NULL
) STRICT;
CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, note BLOB NOT NULL) STRICT;
CREATE TRIGGER entries_are_never_changed BEFORE UPDATE ON entries
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER entries_are_never_deleted BEFORE DELETE ON entries
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER checkpoints_are_never_changed BEFORE UPDATE ON checkpoints
    BEGIN SELECT RAISE(ABORT, 'checkpoints are for ever'); END;
CREATE TRIGGER checkpoints_are_never_deleted BEFORE DELETE ON checkpoints
    BEGIN SELECT RAISE(ABORT, 'checkpoints are for ever'); END;
"""


def open_store(path: Path, *, create: bool) -> "SqliteStore":
    """Open the ledger in this file, or make an empty one (mode 0600).

    Raises:
        NotFound: there is no such file, and ``create`` is false.
        Conflict: the file, or a checkpoint of an earlier ledger beside it, exists, and ``create`` is true.
        Fenced: another process has it open.
        Corrupt: the file is not a keyvault ledger of this version, or SQLite finds it damaged.
        Unavailable: the operating system refuses.
    """
    _check_sqlite()
    try:
        return _open(path, create=create)
    except OSError as error:
        raise Unavailable(f"cannot open {path}: {error.strerror}") from error
    except apsw.Error as error:
        raise Corrupt(f"{path} cannot be opened as a ledger: {error}") from error


def _open(path: Path, *, create: bool) -> "SqliteStore":
    anchor = Anchor(path)
    for each in (path, anchor.path, path.with_name(path.name + SUFFIX)):
        if create and each.exists():
            raise Conflict(f"{each} exists; nothing was changed")
    if not create and not path.is_file():
        raise NotFound(f"there is no ledger at {path}")
    with contextlib.ExitStack() as opened:
        lock = _lock(path.with_name(path.name + ".lock"))
        opened.callback(os.close, lock)
        if create:
            _create(path)
        writer = opened.enter_context(contextlib.closing(_connect(path, apsw.SQLITE_OPEN_READWRITE)))
        _check_identity(writer, path)
        reader = opened.enter_context(contextlib.closing(_connect(path, apsw.SQLITE_OPEN_READONLY)))
        restored = read_restored(path)
        return SqliteStore(
            writer=writer, reader=reader, anchor=anchor, restored=restored, release=opened.pop_all().close
        )


def _check_sqlite() -> None:
    version = tuple(map(int, apsw.sqlitelibversion().split(".")))
    if version < SQLITE_VERSION_MIN:
        raise Unavailable(f"SQLite {apsw.sqlitelibversion()} can lose commits; 3.51.3 or newer is needed")


def _lock(path: Path) -> int:
    """Return the descriptor that holds the exclusive lock; closing it gives the lock back, as does the kernel."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Fenced(f"another process has this ledger open: {path} is locked") from None
    return descriptor


def _create(path: Path) -> None:
    """Make the file with its schema, and its name durable in the directory."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with contextlib.closing(_connect(path, apsw.SQLITE_OPEN_READWRITE)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_SCHEMA)
        connection.execute("INSERT INTO head VALUES (1, 0, ?, 0, '')", (EMPTY_HEAD.root,))
        connection.pragma("application_id", APPLICATION_ID)
        connection.pragma("user_version", SCHEMA_VERSION)
        connection.execute("COMMIT")
    sync_directory(path.parent)


def _connect(path: Path, flags: int) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=flags)
    connection.set_busy_timeout(BUSY_MS)
    for option, on in _OPTIONS:
        connection.config(option, on)
    connection.pragma("mmap_size", 0)
    if flags & apsw.SQLITE_OPEN_READWRITE:
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        connection.pragma("wal_autocheckpoint", WAL_PAGES)
        connection.pragma("journal_size_limit", WAL_BYTES_MAX)
        connection.pragma("cell_size_check", 1)
        connection.pragma("cache_size", -CACHE_KIB)
    return connection


def _check_identity(connection: apsw.Connection, path: Path) -> None:
    if connection.pragma("application_id") != APPLICATION_ID:
        raise Corrupt(f"{path} is not a keyvault ledger")
    if connection.pragma("user_version") != SCHEMA_VERSION:
        raise Corrupt(f"{path} has another schema version than {SCHEMA_VERSION}, the one that this build knows")
    _check_schema(connection, path)
    if (connection.pragma("journal_mode"), connection.pragma("synchronous")) != ("wal", 2):
        raise Corrupt(f"{path} cannot be written durably: WAL with synchronous=FULL is not in force")


def _check_schema(connection: apsw.Connection, path: Path) -> None:
    """Raise Corrupt unless tables, indexes, triggers and views are those of _SCHEMA, no more, no fewer, no others."""
    with contextlib.closing(apsw.Connection(":memory:")) as own:
        own.execute(_SCHEMA)
        expected, found = _objects(own), _objects(connection)
    for name in sorted(found.keys() - expected.keys()):
        tool = " A tool that replicates by tables of its own cannot be used here." if "litestream" in name else ""
        raise Corrupt(f"{path} has the {name}, which keyvault did not make: find out who did, then drop it.{tool}")
    for name, definition in expected.items():
        if name not in found:
            raise Corrupt(f"{path} lacks the {name}: somebody edited it")
        if found[name] != definition:  # without UNIQUE one request could stand twice (I3)
            raise Corrupt(f"{path}: the {name} is not defined as keyvault made it: somebody edited it")


def _objects(connection: apsw.Connection) -> dict[str, str | None]:
    """Return the definition of each object, by kind and name; SQLite's own indexes have none."""
    rows = connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name")
    return {f"{kind} {name!a:.80}": definition for kind, name, definition in rows}


class SqliteStore:
    """A ledger in a file. Appends and checkpoints from one thread; reads from any."""

    def __init__(
        self,
        *,
        writer: apsw.Connection,
        reader: apsw.Connection,
        anchor: Anchor,
        restored: Mark | None,
        release: Callable[[], None],
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._reading = threading.Lock()  # apsw refuses two threads in one connection at once
        self._anchor = anchor
        self._restored = restored
        self._release = release
        self._in_doubt = False

    def head(self) -> Head:
        """See ``Store``."""
        row = self._one("SELECT size, root FROM head")
        if row is None:
            raise Corrupt("the ledger's head row is missing")
        return Head(size=row[0], root=row[1])

    def acquire_term(self, holder: str, *, above: int = 0) -> int:
        """See ``Store``."""
        with self._transaction() as execute:
            execute("UPDATE head SET epoch = max(epoch, ?) + 1, holder = ?", (above, holder))
            row = execute("SELECT epoch FROM head").get
        return int(row)

    def append(self, *, epoch: int, expected: Head, entries: Sequence[Entry], new: Head) -> None:
        """See ``Store``."""
        if new.size != expected.size + len(entries):
            raise ValueError("the new head does not count the entries")
        rows = [(expected.size + i, entry.request_key, entry.body) for i, entry in enumerate(entries)]
        try:
            with self._transaction() as execute:
                execute(
                    "UPDATE head SET size = ?, root = ? WHERE epoch = ? AND size = ? AND root = ?",
                    (new.size, new.root, epoch, expected.size, expected.root),
                )
                if self._writer.changes() != 1:
                    raise self._fenced(epoch, expected)
                before = self._writer.total_changes()
                self._writer.executemany("INSERT INTO entries VALUES (?, ?, ?)", rows)
                if self._writer.total_changes() - before != len(rows):
                    raise Corrupt("the table of entries did not take every row: somebody changed it")
        except apsw.ConstraintError as error:
            raise self._duplicate(entries, error) from error

    def read(self, start: int, count: int) -> list[bytes]:
        """See ``Store``."""
        return [each.body for each in self.read_entries(start, count)]

    def read_entries(self, start: int, count: int) -> list[Entry]:
        """See ``Store``."""
        rows = self._all(
            "SELECT idx, body, request_key FROM entries WHERE idx >= ? ORDER BY idx LIMIT ?", (start, count)
        )
        for offset, (index, _, _) in enumerate(rows):
            if index != start + offset:
                raise Corrupt(f"entry {start + offset} is missing", index=start + offset)
        return [Entry(body=body, request_key=request_key) for _, body, request_key in rows]

    def find(self, request_key: bytes) -> tuple[int, bytes] | None:
        """See ``Store``."""
        row = self._one("SELECT idx, body FROM entries WHERE request_key = ?", (request_key,))
        return None if row is None else (row[0], row[1])

    def put_checkpoint(self, *, epoch: int, size: int, note: bytes) -> None:
        """See ``Store``."""
        self._add_checkpoint(epoch=epoch, size=size, note=note)
        try:
            self._anchor.write(note)
        except OSError as error:
            self._in_doubt = True
            raise OutcomeUnknown(f"{self._anchor.path} cannot be written: {error.strerror}") from error

    def _add_checkpoint(self, *, epoch: int, size: int, note: bytes) -> None:
        with self._transaction() as execute:
            length, current, holder = execute("SELECT size, epoch, holder FROM head").get
            if epoch != current:
                raise Fenced(f"epoch {epoch} is over: {holder} leads in epoch {current}")
            if size > length:
                raise Fenced(f"the ledger has {length} entries, the checkpoint {size}")
            newest = execute("SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1").get
            if newest == (size, note):
                return
            if newest is not None and newest[0] >= size:
                raise Fenced(f"a checkpoint of size {newest[0]} stands, so none of size {size} can follow")
            execute("INSERT INTO checkpoints VALUES (?, ?)", (size, note))

    def checkpoint(self) -> tuple[int, bytes] | None:
        """See ``Store``."""
        row = self._one("SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1")
        return None if row is None else (row[0], row[1])

    def checkpoints(self) -> list[tuple[int, bytes]]:
        """See ``Store``."""
        return [(size, note) for size, note in self._all("SELECT size, note FROM checkpoints ORDER BY size")]

    def anchor(self) -> bytes | None:
        """See ``Store``."""
        return self._anchor.read()

    def restored(self) -> Mark | None:
        """See ``Store``."""
        return self._restored

    def close(self) -> None:
        """See ``Store``."""
        release, self._release = self._release, _nothing
        with self._reading:
            release()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Callable[..., apsw.Cursor]]:
        """Give a function that executes; commit at the end, or roll back and raise.

        A rule that says no, a violated constraint and rows that were not taken leave a known state: nothing was
        written. Everything else, a failed rollback included, leaves an unknown one.
        """
        if self._in_doubt:
            raise OutcomeUnknown("an earlier write is in doubt: end the process and open the ledger again")
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer.execute
            except (Fenced, Corrupt, apsw.ConstraintError):
                self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")
        except (Fenced, Corrupt, apsw.ConstraintError):
            raise
        except BaseException as error:  # whatever it was: the transaction is neither committed nor rolled back for sure
            self._in_doubt = True
            raise OutcomeUnknown(f"writing to the ledger failed: {error}") from error

    def _fenced(self, epoch: int, expected: Head) -> Fenced:
        size, current, holder = self._writer.execute("SELECT size, epoch, holder FROM head").get
        if current != epoch:
            return Fenced(f"epoch {epoch} is over: {holder} leads in epoch {current}")
        return Fenced(f"the ledger has {size} entries, not {expected.size} with the root expected")

    def _duplicate(self, entries: Sequence[Entry], error: apsw.ConstraintError) -> Exception:
        """Return the error for a violated constraint; the transaction is rolled back."""
        seen: set[bytes] = set()
        for entry in entries:
            if entry.request_key is None:
                continue
            if entry.request_key in seen or self.find(entry.request_key) is not None:
                return DuplicateRequest(entry.request_key)
            seen.add(entry.request_key)
        return Corrupt(f"an entry cannot be added: {error}")

    def _one(self, statement: str, values: tuple[object, ...] = ()) -> tuple[Any, ...] | None:
        rows = self._all(statement, values)
        return rows[0] if rows else None

    def _all(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            with self._reading:
                return self._reader.execute(statement, values).fetchall()
        except apsw.Error as error:
            raise Corrupt(f"the ledger cannot be read: {error}") from error


def _nothing() -> None:
    """Close what is closed."""
