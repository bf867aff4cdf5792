"""One enclave's ledger in PostgreSQL, durable on a quorum of servers before an append returns.

Laws:

1. One append is one statement in autocommit: fence, order, entries, head and the lease's renewal (``keyvault.append``
   in ``migrations``). So a leader that stops in the middle leaves no lock behind.
2. Nothing cancels that statement. PostgreSQL commits a transaction before it waits for the standbys; a cancel ends the
   wait, and the commit is reported as done, with a warning. Therefore no timeout, here or on the server; callers run
   it in a thread of its own and stop waiting for it when they must.
3. Any notice during a write, any error that is not ours, and any lost connection leave the outcome unknown: nothing
   more is written through this store (I7).
4. What a restarted or promoted server shows may never have been acknowledged. The first write of a term is
   ``acquire_term``: its acknowledgement proves that everything before it is on the quorum too, because WAL is replayed
   in order. Decide nothing before it.
5. ``synchronous``: the append itself looks at the settings in the statement that commits, and ``check_synchronous`` at
   the standbys that are attached. Where a commit would not be synchronous it is refused, never degraded. Emptying
   ``synchronous_standby_names`` ends every wait, and the commit returns as if a standby had it: so the settings are
   looked at once more after the commit, and an append that finds them empty is in doubt.
6. That a commit waited is what PostgreSQL says. Twice a second a write looks, after its own commit, whether a
   synchronous standby has everything up to the look before; one that confirmed this commit must. And nothing but our
   own schema may run in an append: it is compared (``schema``) when the store is opened, at each take-over, and every
   few seconds of a term, beside a checkpoint. Who ends the waiting in a way that the schema does not show is noticed
   within a second of signatures that are on one server only.
7. Reads go through a second connection to the same server. They are bounded in time, because they never write.

Not here: who may lead, and when (``engine.lease``); which server takes writes (Patroni, CloudNativePG).
"""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg

from keyvault.core import limits
from keyvault.core.errors import (
    Broken,
    Conflict,
    Corrupt,
    DuplicateRequest,
    Fenced,
    NotFound,
    OutcomeUnknown,
    Unavailable,
)
from keyvault.core.ids import EnclaveName
from keyvault.core.marks import Mark
from keyvault.store.anchor import Anchor
from keyvault.store.base import Entry, Head, Lease
from keyvault.store.postgres.connection import connect, cut, first_line
from keyvault.store.postgres.migrate import newest, version
from keyvault.store.postgres.schema import check_schema

READ_MS = 5_000
"""Longest read; the server ends it."""

_FENCED, _NOT_SYNCHRONOUS, _NO_LEDGER, _CHANGED, _NOT_ADMITTED = "KV001", "KV002", "KV003", "KV004", "KV006"


class NotSynchronous(Broken):
    """A commit would not survive the loss of the server, so nothing was written and nothing may be signed."""


class NotAdmitted(Broken):
    """This login may not use the enclave's ledger; nothing was written (``logins``)."""


def create_ledger(conninfo: str, enclave: EnclaveName, *, after_epoch: int = 0) -> None:
    """Make an empty ledger, as a role that owns the schema. Raises Conflict if there is one, Unavailable.

    ``after_epoch``: the newest epoch of a ledger that is to be moved here.
    """
    with connect(conninfo) as connection:
        try:
            connection.execute("SET ROLE keyvault_owner")
            connection.execute("SELECT keyvault.create_ledger(%s, %s)", (enclave, after_epoch))
        except psycopg.errors.UniqueViolation:
            raise Conflict(f"the database has a ledger of enclave {enclave}; nothing was changed") from None
        except psycopg.Error as error:
            raise Unavailable(f"no ledger can be made: {first_line(error)}") from error


def open_store(conninfo: str, enclave: EnclaveName, anchor: Anchor, *, synchronous: bool = True) -> "PostgresStore":
    """Open the enclave's ledger on the server that takes writes.

    ``synchronous=False`` is for one server without standbys: what it acknowledges is lost with it.

    Raises:
        NotFound: there is no ledger of this enclave.
        Corrupt: the schema is not the one that this build knows, or somebody changed it.
        Unavailable: no server can be reached that takes writes.
    """
    with contextlib.ExitStack() as opened:
        writer = opened.enter_context(contextlib.closing(connect(conninfo)))
        reader = opened.enter_context(contextlib.closing(connect(conninfo, beside=writer)))
        try:
            _check_schema(reader)
            reader.execute(f"SET statement_timeout = {READ_MS}")
            reader.execute("SET default_transaction_read_only = on")
        except psycopg.Error as error:
            raise Unavailable(f"the ledger cannot be opened: {first_line(error)}") from error
        store = PostgresStore(
            writer=writer,
            reader=reader,
            enclave=enclave,
            anchor=anchor,
            synchronous=synchronous,
            release=opened.pop_all().close,
        )
    try:
        store.head()
    except BaseException:
        store.close()
        raise
    return store


def _check_schema(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Raise Corrupt unless version and catalog are what the migrations make."""
    try:
        stands = version(connection)
    except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege) as error:
        raise Corrupt("the database has no keyvault schema for this role: run keyvault database migrate") from error
    if stands != newest():
        raise Corrupt(f"the database has version {stands} of the schema, this build needs {newest()}: migrate it")
    check_schema(connection)


class PostgresStore:
    """A ledger in a database. Writes from one thread; reads from any."""

    def __init__(
        self,
        *,
        writer: psycopg.Connection[tuple[Any, ...]],
        reader: psycopg.Connection[tuple[Any, ...]],
        enclave: EnclaveName,
        anchor: Anchor,
        synchronous: bool,
        release: Callable[[], None],
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._reading = threading.Lock()
        self._enclave = enclave
        self._anchor = anchor
        self._synchronous = synchronous
        self._release = release
        self._in_doubt = ""
        self._noticed = ""
        self._reached, self._looks_at = "0/0", 0.0
        self._compares_at = time.monotonic() + limits.SCHEMA_COMPARED_MS / 1000
        writer.add_notice_handler(self._notice)

    @property
    def session(self) -> int:
        """The server's process that writes for this store."""
        return self._writer.info.backend_pid

    def head(self) -> Head:
        """See ``Store``. Raises NotFound if there is no ledger."""
        rows = self._all("SELECT size, root FROM keyvault.head_of(%s)", self._enclave)
        if not rows:
            raise NotFound(f"the database has no ledger of enclave {self._enclave}")
        return Head(size=rows[0][0], root=rows[0][1])

    def acquire_term(self, holder: str, *, above: int = 0) -> int:
        """See ``Store``. One statement for each epoch that is passed over."""
        epoch = self._take(holder, "", None)
        while epoch <= above:
            epoch = self._take(holder, "", None)
        return epoch

    def take_over(self, holder: str, address: str, seen: Lease) -> int:
        """Become the leader if nobody did since ``seen`` was read; return the new epoch.

        Raises Fenced if somebody did, OutcomeUnknown as ``append`` does, Corrupt as ``open_store``.
        """
        self._compare_schema()
        return self._take(holder, address, seen)

    def _take(self, holder: str, address: str, seen: Lease | None) -> int:
        epoch, beat = (None, None) if seen is None else (seen.epoch, seen.beat)
        rows = self._write("SELECT keyvault.take_term(%s, %s, %s, %s, %s)", self._enclave, holder, address, epoch, beat)
        self._check_waited()
        return int(rows[0][0])

    def append(self, *, epoch: int, expected: Head, entries: Sequence[Entry], new: Head) -> None:
        """See ``Store``. Raises NotSynchronous too: the commit would not be; nothing was written."""
        if new.size != expected.size + len(entries):
            raise ValueError("the new head does not count the entries")
        try:
            self._write(
                "SELECT keyvault.append(%b, %b, %b, %b, %b, %b, %b, %b)",
                self._enclave,
                epoch,
                expected.size,
                expected.root,
                new.root,
                [entry.body for entry in entries],
                [entry.request_key for entry in entries],
                self._synchronous,
            )
        except psycopg.errors.UniqueViolation as error:
            raise self._duplicate(entries, error) from None
        self._check_waited()

    def _check_waited(self) -> None:
        """Raise OutcomeUnknown unless the commit that returned waited for standbys, where it must.

        The postmaster tells sessions of new settings before the checkpointer, which ends the waits; and a session reads
        them before its next statement. So a wait that was ended this way is seen here. It is a round trip of its own on
        purpose: in a pipeline the append would be open until the client says Sync, and a process that is stopped right
        then would hold the head's row for ever.
        """
        if not self._synchronous:
            return
        named = "SELECT current_setting('synchronous_standby_names') <> ''"
        if time.monotonic() < self._looks_at:
            is_named, is_there = self._write(f"{named}, true")[0]
        else:
            look = f"{named}, keyvault.confirmed(%s::text::pg_lsn), pg_current_wal_insert_lsn()::text"
            is_named, is_there, self._reached = self._write(look, self._reached)[0]
            self._looks_at = time.monotonic() + limits.CONFIRMED_MS / 1000
        if not is_named:
            self._in_doubt = "synchronous_standby_names was emptied while a commit waited for a standby"
        elif not is_there:
            self._in_doubt = "a commit was acknowledged that no synchronous standby has"
        if self._in_doubt:
            raise OutcomeUnknown(f"writing to the ledger ended early: {self._in_doubt}")

    def _compare_schema(self) -> None:
        """Raise Corrupt unless the schema is still ours; Unavailable."""
        self._compares_at = time.monotonic() + limits.SCHEMA_COMPARED_MS / 1000
        try:
            with self._reading:
                _check_schema(self._reader)
        except psycopg.Error as error:
            raise Unavailable(f"the schema cannot be compared: {first_line(error)}") from error

    def beat(self, epoch: int, settled: int) -> None:
        """See ``SharedStore``."""
        self._write("SELECT keyvault.beat(%s, %s, %s)", self._enclave, epoch, settled)

    def step_down(self, epoch: int) -> None:
        """Give the term up, so that anybody may take the next one at once. Raises Fenced, OutcomeUnknown."""
        self._write("SELECT keyvault.step_down(%s, %s)", self._enclave, epoch)

    def lease(self) -> Lease:
        """Return who leads. Raises NotFound, Unavailable."""
        rows = self._all(
            "SELECT epoch, beat, holder, address, settled, session_gone FROM keyvault.lease(%s)", self._enclave
        )
        if not rows:
            raise NotFound(f"the database has no ledger of enclave {self._enclave}")
        epoch, beat, holder, address, settled, gone = rows[0]
        return Lease(epoch=epoch, beat=beat, holder=holder, address=address, settled=settled, session_gone=gone)

    def abandon(self) -> None:
        """See ``SharedStore``."""
        for connection in (self._writer, self._reader):
            cut(connection)

    def check_synchronous(self) -> None:
        """See ``SharedStore``. Raises NotSynchronous."""
        if not self._synchronous:
            return
        missing = self._all("SELECT keyvault.not_synchronous()")[0][0]
        if missing is not None:
            raise NotSynchronous(f"PostgreSQL does not keep what it acknowledges on a second server: {missing}")

    def read(self, start: int, count: int) -> list[bytes]:
        """See ``Store``."""
        return [each.body for each in self.read_entries(start, count)]

    def read_entries(self, start: int, count: int) -> list[Entry]:
        """See ``Store``."""
        rows = self._all("SELECT idx, body, request_key FROM keyvault.entries(%b, %b, %b)", self._enclave, start, count)
        for offset, (index, _, _) in enumerate(rows):
            if index != start + offset:
                raise Corrupt(f"entry {start + offset} is missing", index=start + offset)
        return [Entry(body=body, request_key=request_key) for _, body, request_key in rows]

    def find(self, request_key: bytes) -> tuple[int, bytes] | None:
        """See ``Store``."""
        rows = self._all("SELECT idx, body FROM keyvault.find(%b, %b)", self._enclave, request_key)
        return (rows[0][0], rows[0][1]) if rows else None

    def put_checkpoint(self, *, epoch: int, size: int, note: bytes) -> None:
        """See ``Store``. Raises Corrupt, too, if somebody changed the schema; nothing was written."""
        if time.monotonic() >= self._compares_at:
            self._compare_schema()
        self._write("SELECT keyvault.put_checkpoint(%b, %b, %b, %b)", self._enclave, epoch, size, note)
        self._check_waited()
        try:
            self._anchor.write(note)
        except OSError as error:
            self._in_doubt = f"{self._anchor.path} cannot be written: {error.strerror}"
            raise OutcomeUnknown(self._in_doubt) from error

    def checkpoint(self) -> tuple[int, bytes] | None:
        """See ``Store``."""
        rows = self._all("SELECT size, note FROM keyvault.newest_checkpoint(%b)", self._enclave)
        return (rows[0][0], rows[0][1]) if rows else None

    def checkpoints(self) -> list[tuple[int, bytes]]:
        """See ``Store``."""
        return [
            (size, note) for size, note in self._all("SELECT size, note FROM keyvault.checkpoints(%b)", self._enclave)
        ]

    def anchor(self) -> bytes | None:
        """See ``Store``."""
        return self._anchor.read()

    def restored(self) -> Mark | None:
        """See ``Store``: a database that was put back is found by the nodes' own copies and tokens."""
        return None

    def close(self) -> None:
        """See ``Store``. A write that is under way keeps its thread until the connection ends."""
        release, self._release = self._release, _nothing
        with self._reading:
            release()

    def _write(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run the one statement that is a whole transaction.

        A server that says no has written nothing; in every other case but success nobody knows.
        """
        if self._in_doubt:
            raise OutcomeUnknown(f"an earlier write is in doubt, open the ledger again: {self._in_doubt}")
        self._in_doubt = "a write was under way"  # until it is known
        try:
            rows = self._writer.execute(statement.encode(), values, prepare=True).fetchall()
        except psycopg.Error as error:
            said_no = error if isinstance(error, psycopg.errors.UniqueViolation) else _ours(error)
            if said_no is None or self._noticed:
                self._in_doubt = self._noticed or first_line(error)
                raise OutcomeUnknown(f"writing to the ledger failed: {self._in_doubt}") from error
            self._in_doubt = ""
            raise said_no from None
        if self._noticed:
            self._in_doubt = self._noticed
            raise OutcomeUnknown(f"writing to the ledger ended with a notice: {self._noticed}")
        self._in_doubt = ""
        return rows

    def _notice(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        # "canceling wait for synchronous replication", with SQLSTATE 01000, is how a commit on one server only is
        # reported, next to its success. No function of ours raises notices, so any of them is a reason to stop.
        self._noticed = f"{diagnostic.severity_nonlocalized}: {diagnostic.message_primary}"

    def _duplicate(self, entries: Sequence[Entry], error: psycopg.Error) -> Exception:
        """Return the error for a violated index; nothing was written."""
        seen: set[bytes] = set()
        for entry in entries:
            if entry.request_key is None:
                continue
            if entry.request_key in seen or self.find(entry.request_key) is not None:
                return DuplicateRequest(entry.request_key)
            seen.add(entry.request_key)
        return Corrupt(f"an entry cannot be added: {first_line(error)}")

    def _all(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            with self._reading:
                return self._reader.execute(statement.encode(), values, prepare=True, binary=True).fetchall()
        except psycopg.Error as error:
            raise Unavailable(f"the ledger cannot be read: {first_line(error)}") from error


def _ours(error: psycopg.Error) -> Exception | None:
    """Return what the functions of the schema say no with; None for everything else."""
    kinds: dict[str, type[Exception]] = {
        _FENCED: Fenced,
        _NOT_SYNCHRONOUS: NotSynchronous,
        _NO_LEDGER: NotFound,
        _CHANGED: Corrupt,
        _NOT_ADMITTED: NotAdmitted,
    }
    kind = kinds.get(error.sqlstate or "")
    return None if kind is None else kind(first_line(error))


def _nothing() -> None:
    """Close what is closed."""
