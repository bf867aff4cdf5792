"""Backups of a ledger: whole, verified both ways, growing only, and useless to whoever changes a byte."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from keyvault.core.errors import Conflict, Corrupt, Malformed
from keyvault.core.marks import Mark
from keyvault.engine.recovery import recover
from keyvault.ledger.archive import audit
from keyvault.ledger.codec import key_of
from keyvault.ledger.errors import Unreadable
from keyvault.ledger.merkle import Tree, leaf_hash
from keyvault.store.backup import BackupArchive, audit_backup, read_manifest, restore, write_backup
from keyvault.store.base import Entry, Head
from keyvault.store.sqlite import open_store
from tests.ledger.ledgers import Ledger, sample, secp256k1_key

GOOD = sample(20)


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyvault.core.limits.BACKUP_SEGMENT_ENTRIES", 16)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The file of a ledger with every kind of key and most kinds of facts."""
    path = tmp_path / "ledger.db"
    with closing(open_store(path, create=True)) as store:
        GOOD.write(store)
    return path


def _names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def _grow(database: Path, ledger: Ledger) -> None:
    """Append to the file what the ledger has besides."""
    with closing(open_store(database, create=False)) as store:
        head, epoch = store.head(), store.acquire_term("grow")
        new = [*zip(ledger.entries, ledger.events, strict=True)][head.size :]
        tree = Tree.of([leaf_hash(body) for body in ledger.entries])
        entries = [Entry(body=body, request_key=key_of(event)) for body, event in new]
        store.append(epoch=epoch, expected=head, entries=entries, new=Head(size=tree.size, root=tree.root()))
        store.put_checkpoint(epoch=epoch, size=ledger.checkpoints[-1][0], note=ledger.checkpoints[-1][1])


def test_what_is_restored_is_what_was_backed_up(database: Path, tmp_path: Path) -> None:
    """Entries verbatim, request keys, head, newest checkpoint and the file beside it; in quarantine."""
    done = write_backup(database, tmp_path / "backup", log_vkey=GOOD.key.vkey)
    assert (done.report.entries, done.report.problems) == (len(GOOD.entries), ())
    report = restore(tmp_path / "backup", tmp_path / "restored.db", log_vkey=GOOD.key.vkey)
    assert report == done.report
    assert {each.name for each in tmp_path.glob("restored.db*")} == {
        "restored.db",
        "restored.db.checkpoint",
        "restored.db.restored",
    }
    path = tmp_path / "restored.db"
    with closing(open_store(path, create=False)) as new, closing(open_store(database, create=False)) as old:
        assert new.head() == old.head()
        assert new.read_entries(0, 1_000) == old.read_entries(0, 1_000)
        assert (new.checkpoint(), new.anchor()) == (old.checkpoint(), old.anchor())
        quarantine, state = recover(new).quarantine, recover(old).state
        assert quarantine is not None
        assert quarantine.lost == new.restored()
        assert quarantine.lost == Mark(
            incarnation=state.incarnation, epoch=state.epoch, size=old.head().size, root=old.head().root
        )
        assert (recover(old).quarantine, old.restored()) == (None, None)
    assert audit(path, log_vkey=GOOD.key.vkey).ok


def test_only_what_is_new_is_written(tmp_path: Path) -> None:
    """Full segments are written once; the last one, the checkpoint and the manifest are replaced."""
    ledger, path, folder = sample(20), tmp_path / "ledger.db", tmp_path / "backup"
    with closing(open_store(path, create=True)) as store:
        ledger.write(store)
    first = write_backup(path, folder)
    inodes = {name: (folder / name).stat().st_ino for name in _names(folder)}
    assert write_backup(path, folder).written == ()
    for _ in range(20):
        ledger.add(ledger.issued("k1"))
    ledger.sign_checkpoint()
    _grow(path, ledger)
    second = write_backup(path, folder)
    full = [each.path for each in first.manifest.segments if each.entries == 16]
    assert len(full) > 3
    assert set(second.written).isdisjoint(full)
    assert {name: (folder / name).stat().st_ino for name in full} == {name: inodes[name] for name in full}
    named = {each.path for each in (*second.manifest.segments, second.manifest.checkpoint)}
    assert _names(folder) == named | {"manifest.json"}
    restore(folder, tmp_path / "restored.db")
    assert audit(tmp_path / "restored.db").entries == len(ledger.entries)


def _flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_a_flipped_byte_in_any_file_is_found(database: Path, tmp_path: Path) -> None:
    """In a segment, the checkpoint or the manifest, at its beginning, middle or end: nothing is restored from it."""
    good = tmp_path / "backup"
    write_backup(database, good)
    for name in sorted(_names(good)):
        size = (good / name).stat().st_size
        for place in {0, 1, size // 3, size // 2, size - 1}:
            bad = tmp_path / "bad"
            shutil.copytree(good, bad)
            _flip(bad / name, place)
            with pytest.raises((Corrupt, Unreadable)):
                restore(bad, tmp_path / "restored.db")
            with pytest.raises((Corrupt, Unreadable)):
                write_backup(database, bad)
            shutil.rmtree(bad)
    assert not [*tmp_path.glob("restored*")]


def test_a_forged_manifest_does_not_help(database: Path, tmp_path: Path) -> None:
    """Whoever changes an entry and every hash over it has still not the log's key."""
    folder = tmp_path / "backup"
    write_backup(database, folder)
    other = Ledger(log_key=GOOD.log_key, alice=GOOD.alice, bob=GOOD.bob, carol=GOOD.carol)
    other.start()
    other.create_key("k1", secp256k1_key())
    other.sign_checkpoint()
    forged = tmp_path / "forged.db"
    with closing(open_store(forged, create=True)) as store:
        other.write(store)
    with sqlite3.connect(forged) as connection:
        connection.execute("DROP TRIGGER checkpoints_are_never_changed")
        connection.execute("UPDATE checkpoints SET note = ?", (GOOD.checkpoints[-1][1],))
    with pytest.raises(Corrupt, match="not backed up"):
        write_backup(forged, tmp_path / "other")
    assert not (tmp_path / "other" / "manifest.json").exists()


def test_another_log_s_backup_is_refused(database: Path, tmp_path: Path) -> None:
    """With the log's key from elsewhere a backup that was replaced as a whole is found on both ways."""
    other = Ledger()
    other.start()
    with pytest.raises(Corrupt, match="is expected"):
        write_backup(database, tmp_path / "backup", log_vkey=other.key.vkey)
    write_backup(database, tmp_path / "backup")
    with pytest.raises(Corrupt, match="is expected"):
        restore(tmp_path / "backup", tmp_path / "restored.db", log_vkey=other.key.vkey)
    with pytest.raises(Malformed):
        restore(tmp_path / "backup", tmp_path / "restored.db", log_vkey="no key")


def test_a_restored_ledger_does_not_replace_what_it_lacks(database: Path, tmp_path: Path) -> None:
    """A shorter ledger, or one with other entries, leaves the backup as it is."""
    folder = tmp_path / "backup"
    write_backup(database, folder)
    before = {name: (folder / name).read_bytes() for name in _names(folder)}
    shorter = sample(8)
    for name, ledger in (("shorter", shorter), ("longer", sample(40))):
        path = tmp_path / f"{name}.db"
        with closing(open_store(path, create=True)) as store:
            ledger.write(store)
        with pytest.raises(Conflict, match="not the one in the backup, or an older one"):
            write_backup(path, folder)
    older = tmp_path / "older.db"
    restore(folder, older)
    _cut(older)
    with pytest.raises(Conflict, match="entries, its backup"):
        write_backup(older, folder)
    assert {name: (folder / name).read_bytes() for name in _names(folder)} == before


def _cut(path: Path) -> None:
    """Cut the last entry off, and let the head say so."""
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TRIGGER entries_are_never_deleted")
        connection.execute("DELETE FROM entries WHERE idx = (SELECT max(idx) FROM entries)")
        leaves = [leaf_hash(body) for (body,) in connection.execute("SELECT body FROM entries ORDER BY idx")]
        connection.execute("UPDATE head SET size = ?, root = ?", (len(leaves), Tree.of(leaves).root()))


def test_nothing_is_overwritten(database: Path, tmp_path: Path) -> None:
    """A database that is there stays; a checkpoint file that is there stays, too, and tells on an older backup."""
    write_backup(database, tmp_path / "backup")
    with pytest.raises(Conflict, match="exists; nothing was changed"):
        restore(tmp_path / "backup", database)
    later = sample(0)
    kept = tmp_path / "restored.db.checkpoint"
    kept.write_bytes(later.sign_checkpoint())
    restore(tmp_path / "backup", tmp_path / "restored.db")
    assert kept.read_bytes() == later.checkpoints[-1][1]


def test_an_interrupted_run_leaves_the_backup_before(database: Path, tmp_path: Path) -> None:
    """Drafts and segments that no manifest names are nothing; the next run removes what is ours, and nothing else."""
    folder = tmp_path / "backup"
    done = write_backup(database, folder)
    for name in ("manifest.json.new", "segments/000000000999.3", "checkpoint-9999", "mine.txt"):
        (folder / name).write_bytes(b"half")
    assert read_manifest(folder) == done.manifest
    with closing(BackupArchive(folder)) as archive:
        assert audit_backup(archive).ok
    write_backup(database, folder)
    named = {each.path for each in (*done.manifest.segments, done.manifest.checkpoint)}
    assert _names(folder) == named | {"manifest.json", "mine.txt"}


def test_an_interrupted_restore_is_begun_anew(database: Path, tmp_path: Path) -> None:
    """What a crash left under the draft's name is removed; the database has its name only when it is whole."""
    write_backup(database, tmp_path / "backup")
    for suffix in ("", "-wal", ".checkpoint"):
        (tmp_path / f"restored.db.restoring{suffix}").write_bytes(b"half")
    restore(tmp_path / "backup", tmp_path / "restored.db")
    assert audit(tmp_path / "restored.db").ok
    assert not [*tmp_path.glob("*.restoring*")]


def test_files_are_private(database: Path, tmp_path: Path) -> None:
    """Payloads are in it: only the owner reads."""
    before = os.umask(0)
    try:
        write_backup(database, tmp_path / "backup")
        restore(tmp_path / "backup", tmp_path / "restored.db")
    finally:
        os.umask(before)
    for path in (tmp_path / "backup", *(tmp_path / "backup").rglob("*"), tmp_path / "restored.db"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_ledger_without_a_checkpoint_has_no_backup(tmp_path: Path) -> None:
    """Nothing signed would vouch for it; the error says so, and no manifest is written."""
    ledger, path = Ledger(), tmp_path / "ledger.db"
    ledger.start()
    with closing(open_store(path, create=True)) as store:
        ledger.write(store)
    with pytest.raises(Unreadable, match="no checkpoint yet"):
        write_backup(path, tmp_path / "backup")
    assert not (tmp_path / "backup" / "manifest.json").exists()
    with pytest.raises(Unreadable, match="cannot be read"):
        restore(tmp_path / "backup", tmp_path / "restored.db")
