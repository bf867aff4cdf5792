"""What recovery refuses to lead on: ledgers that somebody edited, cut, or put back, in memory and in SQLite.

What comes of a ledger that was put back is for test_quarantine.
"""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from keyvault.core.errors import Corrupt, Unavailable
from keyvault.engine.clock import SystemClock
from keyvault.engine.enclave import Enclave, Identity
from keyvault.engine.recovery import Recovered, recover
from keyvault.ledger import codec
from keyvault.ledger.__main__ import EXIT_PROBLEMS, main
from keyvault.ledger.archive import audit
from keyvault.ledger.merkle import Tree, leaf_hash
from keyvault.store.memory import MemoryMedium, MemoryStore
from keyvault.store.sqlite import open_store
from tests.ledger.ledgers import Ledger, secp256k1_key
from tests.software_token import SoftwareToken
from tests.worlds import genesis, people


def _history(*, signatures: int = 3) -> Ledger:
    """Return a ledger as an honest server leaves it: a first checkpoint, facts, a last checkpoint."""
    ledger = Ledger()
    ledger.start()
    ledger.sign_checkpoint()
    ledger.create_key("k1", secp256k1_key())
    for _ in range(signatures):
        ledger.add(ledger.issued("k1"))
    ledger.sign_checkpoint()
    return ledger


def _write(ledger: Ledger, path: Path) -> Path:
    with closing(open_store(path, create=True)) as store:
        ledger.write(store)
    return path


def _recover(path: Path) -> Recovered:
    with closing(open_store(path, create=False)) as store:
        return recover(store)


def _edit(path: Path, *statements: str, values: tuple[object, ...] = ()) -> None:
    """Do what somebody with the file and sqlite3 does: triggers off, statements run, the head's root made to fit."""
    with closing(sqlite3.connect(path)) as connection, connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement, values if "?" in statement else ())
        leaves = [leaf_hash(body) for (body,) in connection.execute("SELECT body FROM entries ORDER BY idx")]
        connection.execute("UPDATE head SET size = ?, root = ?", (len(leaves), Tree.of(leaves).root()))
        for _, definition in triggers:
            connection.execute(definition)


_REWRITE_LAST = ("DELETE FROM entries WHERE idx = 5", "INSERT INTO entries SELECT 5, ?, ?")


def _rewritten(ledger: Ledger) -> tuple[bytes | None, bytes]:
    """Return request key and body of another entry 5 that follows just as well."""
    other = ledger.refused()
    return codec.key_of(other), codec.encode(other)


def test_what_an_honest_server_leaves_is_recovered(tmp_path: Path) -> None:
    """Entries that no checkpoint covers yet are counted, not refused: a killed server leaves some."""
    ledger = _history()
    ledger.add(ledger.issued("k1"))
    ledger.start_term()
    ledger.add(ledger.issued("k1"))
    recovered = _recover(_write(ledger, tmp_path / "ledger.db"))
    assert recovered.state == ledger.state
    assert recovered.uncovered == 3


@pytest.mark.parametrize("terms", [0, 1, 4])
def test_a_crash_before_the_first_checkpoint_is_recovered(terms: int) -> None:
    """A genesis, and terms that ended before they answered anything, need no checkpoint."""
    ledger = Ledger()
    ledger.add(genesis(*people("alice", "bob"), log_public_key=ledger.log_key.public_key().public_bytes_raw()))
    for _ in range(terms):
        ledger.start_term()
    store = MemoryStore(MemoryMedium())
    ledger.write(store)
    assert recover(store).uncovered == 1 + terms


def test_deleted_checkpoints_are_noticed(tmp_path: Path) -> None:
    """All checkpoints gone, file included, and the last answer rewritten: refused here, and found by an audit."""
    ledger = _history()
    path = _write(ledger, tmp_path / "ledger.db")
    (tmp_path / "ledger.db.checkpoint").unlink()
    _edit(path, "DELETE FROM checkpoints", *_REWRITE_LAST, values=_rewritten(ledger))
    with pytest.raises(Corrupt, match="no checkpoint"):
        _recover(path)
    assert main(["verify", str(path), "--log-vkey", ledger.key.vkey]) == EXIT_PROBLEMS


CUTS: dict[str, Callable[[Ledger, Path], None]] = {
    "newest checkpoint and tail cut": lambda _, path: _edit(
        path, "DELETE FROM checkpoints WHERE size > 2", "DELETE FROM entries WHERE idx >= 4"
    ),
    "newest checkpoint cut, last entry rewritten": lambda ledger, path: _edit(
        path,
        "DELETE FROM checkpoints WHERE size > 2",
        *_REWRITE_LAST,
        values=_rewritten(ledger),
    ),
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS.keys())
def test_the_file_beside_remembers_what_the_ledger_forgot(tmp_path: Path, cut: Callable[[Ledger, Path], None]) -> None:
    """History undone together with its checkpoint is quarantined, and an auditor who has the file finds it, too."""
    ledger = _history(signatures=3)
    path = _write(ledger, tmp_path / "ledger.db")
    cut(ledger, path)
    quarantine = _recover(path).quarantine
    assert quarantine is not None
    assert "the checkpoint in the file beside it has seen" in quarantine.found
    assert quarantine.lost.size == ledger.checkpoints[-1][0]
    assert audit(path, log_vkey=ledger.key.vkey).ok
    kept = (tmp_path / "ledger.db.checkpoint").read_bytes()
    report = audit(path, log_vkey=ledger.key.vkey, kept=[kept])
    pinned = ["verify", str(path), "--log-vkey", ledger.key.vkey]
    assert main([*pinned, "--checkpoint", str(tmp_path / "ledger.db.checkpoint")]) == EXIT_PROBLEMS
    assert ["the checkpoint that you kept" in each.sentence for each in report.problems] == [True]
    (tmp_path / "ledger.db.checkpoint").unlink()
    assert _recover(path).quarantine is None  # nothing on this machine remembers any more


def test_an_older_copy_that_was_put_back_is_quarantined(tmp_path: Path) -> None:
    """The database of an hour ago, alone, under the checkpoint of now: it is read, and nothing is built on it."""
    ledger = _history()
    path = _write(ledger, tmp_path / "ledger.db")
    shutil.copyfile(path, tmp_path / "backup.db")
    ledger.add(ledger.issued("k1"))
    ledger.sign_checkpoint()
    path.unlink()
    (tmp_path / "ledger.db.checkpoint").unlink()
    _write(ledger, path)
    assert _recover(path).state == ledger.state
    shutil.copyfile(tmp_path / "backup.db", path)
    older = _recover(path)
    assert older.quarantine is not None
    assert older.quarantine.position == older.state.size == ledger.head.size - 1
    assert "older copy" in older.quarantine.found


@pytest.mark.parametrize("note", [b"", b"garbage", _history().checkpoints[-1][1]])
def test_a_file_beside_that_is_not_ours_is_refused(note: bytes) -> None:
    """What is no checkpoint, or another ledger's, does not count as none."""
    medium = MemoryMedium()
    _history().write(MemoryStore(medium))
    medium.anchor = note
    with pytest.raises(Corrupt, match="beside the ledger"):
        recover(MemoryStore(medium))


def test_a_file_beside_that_is_older_is_no_matter() -> None:
    """A crash between the checkpoint and the file leaves the one before; the next checkpoint catches up."""
    ledger, medium = _history(), MemoryMedium()
    ledger.write(MemoryStore(medium))
    medium.anchor = ledger.checkpoints[0][1]
    assert recover(MemoryStore(medium)).uncovered == 0


@pytest.mark.parametrize("key", [None, b"another"])
def test_an_entry_under_another_request_key_is_refused(tmp_path: Path, key: bytes | None) -> None:
    """I3: a request key taken from the index would let one request id be signed twice; the entry is named."""
    path = _write(_history(), tmp_path / "ledger.db")
    _edit(path, "UPDATE entries SET request_key = ? WHERE idx = 4", values=(key,))
    with pytest.raises(Corrupt, match="request key") as wrong:
        _recover(path)
    assert wrong.value.index == 4


async def _open(medium: MemoryMedium, token: SoftwareToken) -> Enclave:
    identity = Identity(holder="h", software="test")
    return await Enclave.open(store=MemoryStore(medium), token=token, clock=SystemClock(), identity=identity)


async def test_the_first_checkpoint_comes_before_the_first_answer() -> None:
    """An enclave that is open has a checkpoint; when the token does not sign one it does not open, and later does."""
    medium, token = MemoryMedium(), SoftwareToken()
    ledger = Ledger()
    ledger.add(genesis(*people("alice", "bob"), log_public_key=token.log_public_key))
    ledger.write(MemoryStore(medium))
    for lane in token.lanes:
        lane.fault = lambda _item: True
    with pytest.raises(Unavailable):
        await _open(medium, token)
    assert medium.checkpoints == []
    for lane in token.lanes:
        lane.fault = lambda _item: False
    enclave = await _open(medium, token)
    assert [size for size, _ in medium.checkpoints] == [3]
    assert medium.anchor == medium.checkpoints[-1][1]
    await enclave.close()
