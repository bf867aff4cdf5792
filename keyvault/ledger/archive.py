"""Ledgers on disk for auditors: a database file, read only, or an export folder.

Together with ``__main__`` the only place of this package that touches files. Both kinds are read as if they were
made to harm: nothing longer than a bound is taken into memory, nothing is executed that the file brings along.

An export is what C2SP tlog-tiles clients read, for the size of the newest checkpoint: ``checkpoint``,
``tile/<level>/<n>``, ``tile/entries/<n>``, and ``checkpoints/<size>``, which only we write.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Protocol

from keyvault.core import limits
from keyvault.core.errors import Corrupt, Malformed
from keyvault.ledger.checkpoint import parse_checkpoint, parse_decimal
from keyvault.ledger.cosigners import Policy, parse_policy
from keyvault.ledger.errors import Unreadable
from keyvault.ledger.judge import Reader
from keyvault.ledger.merkle import BLOCK_LEAVES, leaf_hash
from keyvault.ledger.note import parse_note
from keyvault.ledger.report import Problem, Report
from keyvault.ledger.tiles import (
    BUNDLE_BYTES_MAX,
    TILE_BYTES_MAX,
    blocks,
    bundle_path,
    decode_bundle,
    encode_bundle,
    hash_tiles,
)
from keyvault.ledger.verify import Row, verify_rows

APPLICATION_ID = 0x6B76_6C31
SCHEMA_VERSION = 1
PAGE_ROWS = 512
SQLITE_VALUE_BYTES_MAX = 1024 * 1024
"""Longest value, row or statement that SQLite may make for us; an entry is far shorter."""


class Archive(Protocol):
    """A ledger that was opened for reading."""

    head: tuple[int, bytes] | None
    """(size, root) that the archive states for itself, if it does."""
    checkpoints: list[tuple[int, bytes]]

    def rows(self, start: int = 0) -> Iterator[Row]:
        """Give the entries from index ``start``; raise Corrupt where they cannot be read further."""

    def problems(self) -> Iterator[Problem]:
        """Give what is wrong with the archive besides its entries and checkpoints."""

    def close(self) -> None:
        """Release the files."""


def open_archive(path: Path) -> Archive:
    """Open a database file or an export folder, or raise Unreadable."""
    if path.is_dir():
        return ExportArchive(path)
    if path.is_file():
        return DatabaseArchive(path)
    raise Unreadable(f"{path} is neither a ledger's database file nor an export folder")


def audit(
    path: Path,
    *,
    log_vkey: str | None = None,
    kept: Sequence[bytes] = (),
    cosigners: Policy | None = None,
    read: Reader | None = None,
) -> Report:
    """Return the full audit of a database file or an export folder; raise Unreadable, or Malformed for the key.

    ``kept`` are notes of checkpoints that the auditor kept; ``cosigners`` must vouch for some of the entries; ``read``
    decodes payloads again. Of a ledger in use: read before this is called.
    """
    with contextlib.closing(open_archive(path)) as archive:
        return audit_opened(archive, log_vkey=log_vkey, kept=kept, cosigners=cosigners, read=read)


def audit_opened(
    archive: Archive,
    *,
    log_vkey: str | None = None,
    kept: Sequence[bytes] = (),
    cosigners: Policy | None = None,
    read: Reader | None = None,
) -> Report:
    """Return the full audit of what was opened; see ``audit``."""
    report = verify_rows(
        archive.rows(),
        archive.checkpoints,
        expected_vkey=log_vkey,
        expected_head=archive.head,
        kept=kept,
        cosigners=cosigners,
        read=read,
    )
    return replace(report, problems=(*report.problems, *archive.problems()))


def read_notes(path: Path) -> list[bytes]:
    """Return what a checkpoint's file holds, or every file of a folder, verified by nobody; raise Unreadable."""
    if not path.is_dir():
        return [_read_file(path, "a checkpoint", limits.NOTE_BYTES_MAX)]
    files = sorted(islice(path.iterdir(), limits.CHECKPOINTS_KEPT_MAX + 1))
    if not 0 < len(files) <= limits.CHECKPOINTS_KEPT_MAX:
        raise Unreadable(f"{path} holds no checkpoint, or more than {limits.CHECKPOINTS_KEPT_MAX}")
    return [_read_file(each, "a checkpoint", limits.NOTE_BYTES_MAX) for each in files]


def read_policy(path: Path) -> Policy:
    """Return whose cosignatures a file asks for; raise Unreadable, Malformed."""
    return parse_policy(_read_file(path, "a policy for cosignatures", limits.COSIGNER_POLICY_BYTES_MAX))


def read_evidence(path: Path) -> bytes:
    """Return what a bundle's file holds, verified by nobody; raise Unreadable."""
    return _read_file(path, "a bundle of evidence", limits.EVIDENCE_BYTES_MAX)


def _read_file(path: Path, what: str, bytes_max: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(bytes_max + 1)
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > bytes_max:
        raise Unreadable(f"{path} is longer than {what}, {bytes_max} bytes")
    return data


# Database -------------------------------------------------------------------------------------------------------


class DatabaseArchive:
    """A store's SQLite file, also while the store is open: entries are only ever added."""

    head: tuple[int, bytes] | None

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = _connect(path)
        try:
            self._check_identity()
            self._snapshot()
        except (sqlite3.Error, OverflowError) as error:
            self.close()
            raise Unreadable(f"{path} cannot be read as a ledger: {error}") from error
        except Unreadable:
            self.close()
            raise

    def rows(self, start: int = 0) -> Iterator[Row]:
        """See ``Archive``. Page by page, so that a store that is open is not held up."""
        after = start - 1 if start else -(1 << 63)
        while True:
            try:
                page = self._connection.execute(
                    "SELECT idx, request_key, body FROM entries WHERE idx > ? AND idx <= ? ORDER BY idx LIMIT ?",
                    (after, self._last, PAGE_ROWS),
                ).fetchall()
            except sqlite3.Error as error:
                raise Corrupt(f"the database is damaged after index {max(after, -1)}: {error}") from error
            yield from map(_row, page)
            if len(page) < PAGE_ROWS:
                return
            after = page[-1][0]

    def problems(self) -> Iterator[Problem]:
        """See ``Archive``: none; every table is looked at elsewhere."""
        return iter(())

    def close(self) -> None:
        """See ``Archive``."""
        self._connection.close()

    def _check_identity(self) -> None:
        found = [
            self._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        ]
        if found != [APPLICATION_ID, SCHEMA_VERSION]:
            raise Unreadable(f"{self._path} is not a keyvault ledger of schema version {SCHEMA_VERSION}")
        kinds = self._connection.execute(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('entries', 'head', 'checkpoints')"
        ).fetchone()
        if kinds != (3,):
            raise Unreadable(f"{self._path} does not have the tables of a ledger")

    def _snapshot(self) -> None:
        """Read head, checkpoints and last index of one moment; a store that is open adds entries all the time."""
        with contextlib.closing(self._connection.cursor()) as cursor:
            cursor.execute("BEGIN")
            heads = cursor.execute("SELECT size, root FROM head").fetchall()
            self.checkpoints = cursor.execute("SELECT size, note FROM checkpoints ORDER BY size").fetchall()
            (last,) = cursor.execute("SELECT max(idx) FROM entries").fetchone()
            cursor.execute("COMMIT")
        if len(heads) != 1 or not all(_is_number_and_bytes(each) for each in (*heads, *self.checkpoints)):
            raise Unreadable(f"{self._path} needs one head and checkpoints, each a size and bytes")
        self.head = heads[0]
        self._last = -1 if last is None else last


def _is_number_and_bytes(values: tuple[object, object]) -> bool:
    return isinstance(values[0], int) and isinstance(values[1], bytes)


def _connect(path: Path) -> sqlite3.Connection:
    """Open read only. A file on a read-only medium without a WAL is opened as immutable, for SQLite wants to lock."""
    wal = path.with_name(path.name + "-wal")
    immutable = "&immutable=1" if not wal.exists() and not os.access(path.parent, os.W_OK) else ""
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro{immutable}", uri=True, isolation_level=None)
    except sqlite3.Error as error:
        raise Unreadable(f"{path} cannot be opened: {error}") from error
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, SQLITE_VALUE_BYTES_MAX)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def _row(values: tuple[object, object, object]) -> Row:
    index, request_key, body = values
    if not isinstance(index, int) or not isinstance(body, bytes) or not isinstance(request_key, bytes | None):
        raise Corrupt(f"entry {index} is not stored as bytes", index=index if isinstance(index, int) else None)
    return Row(index=index, body=body, request_key=request_key, has_request_key=True)


# Export ---------------------------------------------------------------------------------------------------------


class ExportArchive:
    """A folder of tiles."""

    head: tuple[int, bytes] | None = None

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._newest = self._read("checkpoint", limits.NOTE_BYTES_MAX)
        try:
            self._size = parse_checkpoint(parse_note(self._newest).text).size
        except Malformed as error:
            raise Unreadable(f"{folder / 'checkpoint'} is no checkpoint: {error}") from error
        self.checkpoints = self._all_checkpoints()

    def rows(self, start: int = 0) -> Iterator[Row]:
        """See ``Archive``."""
        for number in range(start // BLOCK_LEAVES, -(-self._size // BLOCK_LEAVES)):
            first = number * BLOCK_LEAVES
            for index, body in enumerate(self._bundle(number), first):
                if index >= start:
                    yield Row(index=index, body=body)

    def problems(self) -> Iterator[Problem]:
        """See ``Archive``: hash tiles that are not the hashes of the entries, and a newest checkpoint of its own."""
        try:
            for path, data in hash_tiles(leaf_hash(row.body) for row in self.rows()):
                if self._read(path, TILE_BYTES_MAX) != data:
                    yield Problem(index=None, sentence=f"{path} does not hold the hashes of the entries")
        except (Corrupt, Unreadable) as error:
            yield Problem(index=None, sentence=f"the hash tiles cannot be compared further: {error}")

    def close(self) -> None:
        """See ``Archive``."""

    def _all_checkpoints(self) -> list[tuple[int, bytes]]:
        folder = self._folder / "checkpoints"
        names = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
        try:
            sizes = sorted(parse_decimal("checkpoints", name) for name in names)
        except Malformed as error:
            raise Unreadable(f"{folder} holds a file that is no checkpoint: {error}") from error
        notes = [(size, self._read(f"checkpoints/{size}", limits.NOTE_BYTES_MAX)) for size in sizes]
        if (self._size, self._newest) not in notes:
            notes.append((self._size, self._newest))
        return sorted(notes)

    def _bundle(self, number: int) -> list[bytes]:
        first = number * BLOCK_LEAVES
        width = min(BLOCK_LEAVES, self._size - first)
        try:
            entries = decode_bundle(self._read(bundle_path(number, width), BUNDLE_BYTES_MAX))
        except (Malformed, Unreadable) as error:
            raise Corrupt(f"{bundle_path(number, width)}: {error}", index=first) from error
        if len(entries) != width:
            raise Corrupt(f"{bundle_path(number, width)} has {len(entries)} entries, not {width}", index=first)
        return entries

    def _read(self, path: str, bytes_max: int) -> bytes:
        try:
            with (self._folder / path).open("rb") as file:
                data = file.read(bytes_max + 1)
        except OSError as error:
            raise Unreadable(f"{self._folder / path} cannot be read: {error.strerror}") from error
        if len(data) > bytes_max:
            raise Unreadable(f"{self._folder / path} is longer than {bytes_max} bytes")
        return data


def export(archive: Archive, folder: Path, cosigned: Sequence[bytes] = ()) -> int:
    """Write the entries under the newest checkpoint as a new folder; return their number.

    With ``cosigned`` checkpoints it is the newest of those, and they take the place of the archive's own. The folder
    appears under its name only when it is whole. Nothing is verified: the export says what the archive says. Raises
    Unreadable if the folder exists, cannot be written, or there is no checkpoint to export under; Corrupt if the
    entries cannot be read, or a cosigned checkpoint is another than the archive's own of that size; Malformed.
    """
    checkpoints = _with_cosigned(archive.checkpoints, cosigned)
    if not checkpoints:
        raise Unreadable("the ledger has no checkpoint yet, so there is nothing that an export could be held against")
    if folder.exists():
        raise Unreadable(f"{folder} exists; nothing was written")
    size, newest = checkpoints[-1]
    building = folder.with_name(folder.name + ".incomplete")
    try:
        building.mkdir(parents=True)
        _write_tiles(archive, size, building)
        for each, note in checkpoints:
            _write(building / "checkpoints" / str(each), note)
        _write(building / "checkpoint", newest)
        building.rename(folder)
    except OSError as error:
        raise Unreadable(f"{error.filename or folder} cannot be written: {error.strerror}") from error
    return size


def _with_cosigned(own: Sequence[tuple[int, bytes]], cosigned: Sequence[bytes]) -> list[tuple[int, bytes]]:
    texts = {note: parse_note(note).text for note in cosigned}
    given = {parse_checkpoint(text).size: note for note, text in texts.items()}
    for size, note in own:
        if size in given and texts[given[size]] != parse_note(note).text:
            raise Corrupt(f"the checkpoint of {size} entries that you kept is another than the ledger's: verify it")
    last = max(given, default=own[-1][0] if own else 0)
    return sorted(({size: note for size, note in own if size <= last} | given).items())


def _write_tiles(archive: Archive, size: int, folder: Path) -> None:
    """Read the entries once; write each bundle as it is full, and the hash tiles beside it."""
    for path, data in hash_tiles(_write_bundles(archive, size, folder)):
        _write(folder / path, data)


def _write_bundles(archive: Archive, size: int, folder: Path) -> Iterator[bytes]:
    for number, block in enumerate(blocks(_bodies(archive, size))):
        _write(folder / bundle_path(number, len(block)), encode_bundle(block))
        yield from map(leaf_hash, block)


def _bodies(archive: Archive, size: int) -> Iterator[bytes]:
    expected = 0
    for row in archive.rows():
        if expected == size:
            return
        if row.index != expected or len(row.body) > limits.ENTRY_BYTES_MAX:
            raise Corrupt(f"entry {expected} is missing or too long: verify the ledger first", index=expected)
        yield row.body
        expected += 1
    if expected < size:
        raise Corrupt(f"entries {expected}..{size - 1} are missing: verify the ledger first", index=expected)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
