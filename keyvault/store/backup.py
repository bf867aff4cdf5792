"""A ledger in a folder, to be kept elsewhere and put back: entries verbatim, the newest checkpoint, and a manifest.

Laws:

1. ``segments/<first>`` holds BACKUP_SEGMENT_ENTRIES entries, each after its length in two bytes; it is written once.
   The last one may hold fewer, and has their number in its name. ``checkpoint-<size>`` is the newest note.
2. ``manifest.json`` names every file with its length and SHA-256, and itself by the last. It is written last, under its
   name at once: before that the backup is the one before, whatever was interrupted. Then what it does not name goes.
3. A backup only grows. A ledger that is shorter than its backup, or differs from it, is another history: refused, so
   that a restored ledger does not replace what it lacks.
4. Of a ledger that a pair ever kept only what its newest checkpoint covers: every machine confirmed that. What stands
   behind may vanish with this machine, and then the pair's ledger would not be the one in the backup (3).
5. Nothing is believed because the manifest says so: whoever reads a backup audits it, as any ledger.

Private keys are never here in the clear. Keys that were wrapped for other tokens (``kwp``) stand in the entries, so
``key_blobs`` is empty; a token whose keys do not move is backed up by its own means (helm/README.md).
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from keyvault.core import limits
from keyvault.core.errors import Conflict, Corrupt, Malformed
from keyvault.core.events import IncarnationStarted, PairSet, TermStarted
from keyvault.core.ids import Epoch
from keyvault.core.marks import Mark
from keyvault.ledger.archive import Archive, DatabaseArchive, audit_opened
from keyvault.ledger.codec import decode, key_of
from keyvault.ledger.errors import Unreadable
from keyvault.ledger.judge import Reader
from keyvault.ledger.merkle import Tree, leaf_hash
from keyvault.ledger.report import Problem, Report
from keyvault.ledger.tiles import LENGTH_BYTES, decode_bundle, encode_bundle
from keyvault.ledger.verify import Row
from keyvault.store.anchor import SUFFIX, sync_directory
from keyvault.store.base import Entry, Head, Store
from keyvault.store.restored import SUFFIX as RESTORED
from keyvault.store.restored import write_restored
from keyvault.store.sqlite import open_store

TYPE = "keyvault/backup/v1"
MANIFEST = "manifest.json"
SEGMENTS = "segments"
_RESTORING = ".restoring"
_SEGMENT_BYTES_MAX = limits.BACKUP_SEGMENT_ENTRIES * (LENGTH_BYTES + limits.ENTRY_BYTES_MAX)
_APPEND_ENTRIES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file of a backup, by its path inside. ``first``: index of its first entry; of the checkpoint, its size."""

    path: str
    first: int
    entries: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup says of itself; nothing is verified."""

    size: int
    root: str
    checkpoint: File
    segments: tuple[File, ...]

    def encode(self) -> bytes:
        """Return the file: canonical JSON with the hash of itself without that."""
        document = {
            "type": TYPE,
            "size": self.size,
            "root": self.root,
            "checkpoint": _file_document(self.checkpoint),
            "segments": [_file_document(each) for each in self.segments],
            "key_blobs": [],
        }
        return _canonical({**document, "sha256": hashlib.sha256(_canonical(document)).hexdigest()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Backed:
    """What a run wrote: ``report`` is the audit of what is in the folder now, ``written`` the files that are new.

    ``left_out``: entries of a pair's ledger that stand behind its newest checkpoint (4); None of any other ledger.
    """

    report: Report
    manifest: Manifest
    written: tuple[str, ...]
    left_out: int | None


# Out ------------------------------------------------------------------------------------------------------------------


def write_backup(database: Path, folder: Path, *, log_vkey: str | None = None, read: Reader | None = None) -> Backed:
    """Bring the backup in a folder up to the ledger in a database file, which may be in use; audit what was written.

    The ledger must have a checkpoint. Raises Unreadable, Conflict (law 3), or Corrupt for what is wrong with the ledger
    or the folder; then the backup is the one before.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / SEGMENTS).mkdir(mode=0o700, exist_ok=True)
        before = read_manifest(folder) if (folder / MANIFEST).exists() else None
        with closing(DatabaseArchive(database)) as opened:
            paired = _was_paired(opened)
            manifest, written = _write_files(opened, folder, before, paired=paired)
            left_out = opened.head[0] - manifest.size if paired and opened.head is not None else None
        with closing(BackupArchive(folder, manifest)) as archive:
            report = audit_backup(archive, log_vkey=log_vkey, read=read)
        if not report.ok:
            raise Corrupt(f"not backed up: {report.problems[0].sentence}", index=report.problems[0].index)
        if manifest != before:
            _put(folder, MANIFEST, manifest.encode())
        _tidy(folder, manifest)
    except OSError as error:
        raise Unreadable(f"{error.filename or folder} cannot be written: {error.strerror}") from error
    return Backed(report=report, manifest=manifest, written=written, left_out=left_out)


def _was_paired(opened: Archive) -> bool:
    """Return whether members ever named followers: then what is durable here may be unconfirmed."""
    events = (decode(row.body) for row in opened.rows())
    return any(isinstance(event, PairSet) and event.followers for event in events)


def _write_files(
    opened: Archive, folder: Path, before: Manifest | None, *, paired: bool
) -> tuple[Manifest, tuple[str, ...]]:
    if not opened.checkpoints or opened.head is None:
        raise Unreadable("the ledger has no checkpoint yet, so there is nothing that a backup could be held against")
    known = {} if before is None else {each.path: each for each in before.segments}
    segments: list[File] = []
    written: list[str] = []
    tree, (size, note) = Tree(), opened.checkpoints[-1]
    for bodies in _blocks(opened, size if paired else opened.head[0]):
        file = _segment(tree.size, bodies)
        if before is not None and tree.size < before.size <= tree.size + len(bodies):
            _check_grows(tree, bodies, before)
        tree.extend([leaf_hash(body) for body in bodies])
        if known.get(file.path, file) != file:
            raise _other_history(f"{file.path} has other entries there")
        if file.path not in known:
            _put(folder, file.path, encode_bundle(bodies))
            written.append(file.path)
        segments.append(file)
    if before is not None and tree.size < before.size:
        raise _other_history(f"it has {tree.size} entries, its backup {before.size}")
    if not paired and (tree.size, tree.root()) != opened.head:  # of a pair's the checkpoint says it, in the audit
        raise Corrupt("the entries do not give the root that the ledger states: verify it first")
    checkpoint = File(
        path=f"checkpoint-{size}", first=size, entries=0, bytes=len(note), sha256=hashlib.sha256(note).hexdigest()
    )
    if before is None or before.checkpoint != checkpoint:
        _put(folder, checkpoint.path, note)
        written.append(checkpoint.path)
    manifest = Manifest(size=tree.size, root=tree.root().hex(), checkpoint=checkpoint, segments=tuple(segments))
    return manifest, tuple(written)


def _check_grows(tree: Tree, bodies: Sequence[bytes], before: Manifest) -> None:
    """Raise Conflict unless the first entries are those of the backup that is there."""
    known = tree.extended([leaf_hash(body) for body in bodies[: before.size - tree.size]])
    if known.root.hex() != before.root:
        raise _other_history(f"its first {before.size} entries are others")


def _other_history(what: str) -> Conflict:
    return Conflict(
        f"this ledger is not the one in the backup, or an older one: {what}. Nothing was replaced: if members let a"
        " restored ledger go on, keep this backup as evidence and begin another folder"
    )


def _blocks(opened: Archive, size: int) -> Iterator[list[bytes]]:
    rows, index = islice(opened.rows(), size), 0
    while True:
        bodies: list[bytes] = []
        for row in islice(rows, limits.BACKUP_SEGMENT_ENTRIES):
            if row.index != index or len(row.body) > limits.ENTRY_BYTES_MAX:
                raise Corrupt(f"entry {index} is missing or too long: verify the ledger first", index=index)
            bodies.append(row.body)
            index += 1
        if bodies:
            yield bodies
        if len(bodies) < limits.BACKUP_SEGMENT_ENTRIES:
            return


def _segment(first: int, bodies: Sequence[bytes]) -> File:
    data = encode_bundle(bodies)
    part = "" if len(bodies) == limits.BACKUP_SEGMENT_ENTRIES else f".{len(bodies)}"
    return File(
        path=f"{SEGMENTS}/{first:012}{part}",
        first=first,
        entries=len(bodies),
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _put(folder: Path, name: str, data: bytes) -> None:
    """Write a file durably, so that it has its name only when it is whole."""
    path = folder / name
    draft = path.with_name(f"{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(draft, flags, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    sync_directory(path.parent)


def _tidy(folder: Path, manifest: Manifest) -> None:
    """Remove what an earlier or an interrupted run left; what is not ours by its name stays."""
    named = {folder / each.path for each in (*manifest.segments, manifest.checkpoint)}
    for path in (*folder.glob("checkpoint-*"), *folder.glob(f"{SEGMENTS}/[0-9]*"), *folder.glob("*.new")):
        if path not in named:
            path.unlink()


# In -------------------------------------------------------------------------------------------------------------------


class BackupArchive:
    """A backup as auditors read any ledger; each file is held against the manifest when it is read."""

    head: tuple[int, bytes] | None

    def __init__(self, folder: Path, manifest: Manifest | None = None) -> None:
        """``manifest``: in place of the folder's own, which is not written yet. Raises Unreadable, Corrupt."""
        self._folder = folder
        self.manifest = manifest or read_manifest(folder)
        self.head = (self.manifest.size, bytes.fromhex(self.manifest.root))
        note = self._read(self.manifest.checkpoint)
        self.checkpoints = [(self.manifest.checkpoint.first, note)]

    def rows(self, start: int = 0) -> Iterator[Row]:
        """See ``Archive``."""
        for each in self.manifest.segments:
            if each.first + each.entries <= start:
                continue
            try:
                bodies = decode_bundle(self._read(each))
            except Malformed as error:
                raise Corrupt(f"{each.path}: {error}", index=each.first) from error
            if len(bodies) != each.entries:
                raise Corrupt(f"{each.path} has {len(bodies)} entries, not {each.entries}", index=each.first)
            for index, body in enumerate(bodies, each.first):
                if index >= start:
                    yield Row(index=index, body=body)

    def problems(self) -> Iterator[Problem]:
        """See ``Archive``: none; what the files hold is looked at when they are read."""
        return iter(())

    def close(self) -> None:
        """See ``Archive``."""

    def _read(self, file: File) -> bytes:
        data = _read_file(self._folder / file.path, file.bytes)
        if len(data) != file.bytes or hashlib.sha256(data).hexdigest() != file.sha256:
            raise Corrupt(f"{file.path} is not the file that the manifest names: it was changed", index=file.first)
        return data


def read_manifest(folder: Path) -> Manifest:
    """Return what the backup in a folder says of itself. Raises Unreadable, or Corrupt if it was changed."""
    data = _read_file(folder / MANIFEST, limits.BACKUP_MANIFEST_BYTES_MAX)
    try:
        document = json.loads(data)
        manifest = Manifest(
            size=int(document["size"]),
            root=str(document["root"]),
            checkpoint=_file(document["checkpoint"]),
            segments=tuple(map(_file, document["segments"])),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Corrupt(f"{MANIFEST} is not that of a backup ({type(error).__name__})") from None
    if manifest.encode() != data:
        raise Corrupt(f"{MANIFEST} is not in the one form that keyvault writes, or does not have its own hash")
    return manifest


def audit_backup(archive: BackupArchive, *, log_vkey: str | None = None, read: Reader | None = None) -> Report:
    """Return the full audit of a backup; raise Malformed for a key that is none."""
    return audit_opened(archive, log_vkey=log_vkey, read=read)


def restore(folder: Path, database: Path, *, log_vkey: str | None = None, read: Reader | None = None) -> Report:
    """Make a ledger's database file from a backup, after an audit that found nothing wrong; return the audit.

    A checkpoint file beside it stays as it is: it may remember more than the backup has. In any case the server starts
    in quarantine (``store.restored``): nobody knows what was signed after the backup.
    Raises Conflict if the database exists, Corrupt, Unreadable, Malformed.
    """
    if database.exists():
        raise Conflict(f"{database} exists; nothing was changed")
    with closing(BackupArchive(folder)) as archive:
        report = audit_backup(archive, log_vkey=log_vkey, read=read)
        if not report.ok:
            raise Corrupt(f"not restored: {report.problems[0].sentence}", index=report.problems[0].index)
        draft = database.with_name(database.name + _RESTORING)
        try:
            _remove(draft)
            with closing(open_store(draft, create=True)) as store:
                write_restored(draft, _fill(store, archive))
            _take_name(draft, database)
        except OSError as error:
            raise Unreadable(f"{error.filename or database} cannot be written: {error.strerror}") from error
    return report


def _fill(store: Store, archive: BackupArchive) -> Mark:
    """Append everything, and the newest checkpoint; return what the ledger has then."""
    epoch, head, tree, rows = store.acquire_term("restore"), store.head(), Tree(), archive.rows()
    incarnation, reached = 1, Epoch(0)
    while batch := list(islice(rows, _APPEND_ENTRIES)):
        events = [decode(row.body) for row in batch]
        entries = [Entry(body=row.body, request_key=key_of(event)) for row, event in zip(batch, events, strict=True)]
        reached = max([reached, *(event.epoch for event in events if isinstance(event, TermStarted))])
        begun = (event.incarnation for event in events if isinstance(event, IncarnationStarted))
        incarnation = max([incarnation, *begun])
        tree.extend([leaf_hash(row.body) for row in batch])
        new = Head(size=tree.size, root=tree.root())
        store.append(epoch=epoch, expected=head, entries=entries, new=new)
        head = new
    if (head.size, head.root) != archive.head:
        raise Corrupt("what was read differs from what was audited: the backup was changed meanwhile")
    size, note = archive.checkpoints[0]
    store.put_checkpoint(epoch=epoch, size=size, note=note)
    return Mark(incarnation=incarnation, epoch=reached, size=head.size, root=head.root)


def _take_name(draft: Path, database: Path) -> None:
    kept, own = database.with_name(database.name + SUFFIX), draft.with_name(draft.name + SUFFIX)
    if not kept.exists():
        own.rename(kept)
    draft.with_name(draft.name + RESTORED).rename(database.with_name(database.name + RESTORED))
    draft.rename(database)
    _remove(draft)
    sync_directory(database.parent)


def _remove(draft: Path) -> None:
    """Remove what there is of a draft: it is ours, and was never a ledger that anybody served."""
    for suffix in ("", "-wal", "-shm", ".lock", SUFFIX, SUFFIX + ".new", RESTORED):
        draft.with_name(draft.name + suffix).unlink(missing_ok=True)


# Format ---------------------------------------------------------------------------------------------------------------


def _file_document(file: File) -> dict[str, object]:
    return {
        "path": file.path,
        "first": file.first,
        "entries": file.entries,
        "bytes": file.bytes,
        "sha256": file.sha256,
    }


def _file(document: dict[str, object]) -> File:
    path, size = str(document["path"]), int(str(document["bytes"]))
    parts = path.split("/")
    if not 0 <= size <= _SEGMENT_BYTES_MAX or parts[:-1] not in ([], [SEGMENTS]) or parts[-1].startswith("."):
        raise ValueError(path)
    return File(
        path=path,
        first=int(str(document["first"])),
        entries=int(str(document["entries"])),
        bytes=size,
        sha256=str(document["sha256"]),
    )


def _canonical(document: dict[str, object]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _read_file(path: Path, bytes_max: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(bytes_max + 1)
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > bytes_max:
        raise Corrupt(f"{path.name} is longer than {bytes_max} bytes")
    return data
