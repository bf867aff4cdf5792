"""Database files and exports, as the auditor's own program reads them."""

import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyvault.core.errors import Malformed
from keyvault.ledger.__main__ import main
from keyvault.ledger.archive import audit, export, open_archive
from keyvault.ledger.errors import Unreadable
from keyvault.ledger.merkle import leaf_hash, perfect_root
from keyvault.ledger.tiles import bundle_path, decode_bundle, encode_bundle, hash_tiles, tile_path
from keyvault.store.sqlite import open_store
from tests.ledger.ledgers import Ledger, sample

GOOD = sample(20)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Return the file of a genuine ledger."""
    return _write(GOOD, tmp_path / "ledger.db")


def _write(ledger: Ledger, path: Path) -> Path:
    with contextlib.closing(open_store(path, create=True)) as store:
        ledger.write(store)
    return path


@contextlib.contextmanager
def _tampered(path: Path) -> Iterator[sqlite3.Connection]:
    """Give the database as somebody with the file in hand has it, triggers gone."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        yield connection


def _export(database: Path, folder: Path) -> Path:
    with contextlib.closing(open_archive(database)) as archive:
        export(archive, folder)
    return folder


def test_a_genuine_database_has_nothing_wrong(database: Path) -> None:
    """The file that a store wrote passes, head, request index and checkpoints included."""
    report = audit(database, log_vkey=GOOD.key.vkey)
    assert report.problems == ()
    assert (report.entries, report.root) == (GOOD.head.size, GOOD.head.root)
    assert report.checkpoints_verified == len(GOOD.checkpoints)


def test_a_store_that_is_open_can_be_audited(tmp_path: Path) -> None:
    """An auditor reads the file while the store has it open, and changes nothing."""
    path = tmp_path / "ledger.db"
    with contextlib.closing(open_store(path, create=True)) as store:
        GOOD.write(store)
        assert audit(path).ok
        assert store.acquire_term("next") > 0


@pytest.mark.parametrize(
    ("statement", "index", "words"),
    [
        ("DELETE FROM entries WHERE idx = 7", 7, "entry 7 is missing"),
        ("DELETE FROM entries WHERE idx IN (7, 8)", 7, "entries 7..8 are missing"),
        ("DELETE FROM entries WHERE idx = 0", 0, "entry 0 is missing"),
        ("UPDATE entries SET idx = idx - 1000 WHERE idx = 5", -995, "where none belongs"),
        ("UPDATE entries SET request_key = x'00' WHERE idx = 9", 9, "request index"),
        ("UPDATE entries SET request_key = NULL WHERE idx = 9", 9, "request index"),
        ("UPDATE entries SET request_key = x'00' WHERE idx = 1", 1, "request index"),
        ("UPDATE entries SET body = CAST(body || x'00' AS BLOB) WHERE idx = 9", 9, "entry 9: not an event"),
        ("UPDATE entries SET body = (SELECT body FROM entries WHERE idx = 20) WHERE idx = 21", 21, "request index"),
        ("UPDATE head SET size = size + 1", GOOD.head.size, "its head says"),
        ("UPDATE head SET root = zeroblob(32)", GOOD.checkpoints[-1][0], "head states differs"),
        ("UPDATE checkpoints SET note = CAST(replace(note, 'a', 'b') AS BLOB)", None, "checkpoint 14"),
        ("INSERT INTO entries VALUES (1000, NULL, x'00')", GOOD.head.size, "are missing"),
    ],
)
def test_tampering_in_the_database_is_found(database: Path, statement: str, index: int | None, words: str) -> None:
    """Whatever is done to the rows, the first problem says where."""
    with _tampered(database) as connection:
        connection.execute(statement)
    first = audit(database, log_vkey=GOOD.key.vkey).problems[0]
    assert (first.index, words in first.sentence) == (index, True), first


def test_a_removed_row_with_the_rest_moved_up_is_found(database: Path) -> None:
    """Closing the gap does not help: the entries after it do not follow, or their root differs."""
    with _tampered(database) as connection:
        connection.execute("DELETE FROM entries WHERE idx = 12")
        connection.execute("UPDATE entries SET idx = -idx WHERE idx > 12")
        connection.execute("UPDATE entries SET idx = -idx - 1 WHERE idx < 0")
        connection.execute("UPDATE head SET size = size - 1")
    first = audit(database).problems[0]
    assert first.index is not None
    assert first.index <= 12 <= (first.last or 12)


def test_a_damaged_page_is_a_finding_or_unreadable(database: Path) -> None:
    """Zeroes over a page of the file never pass and never crash the auditor."""
    good = database.read_bytes()
    for page in range(0, len(good), 4096):
        database.write_bytes(good[:page] + bytes(4096) + good[page + 4096 :])
        assert main(["verify", str(database)]) in (1, 2) or page_is_unused(good, page)


def page_is_unused(data: bytes, page: int) -> bool:
    """Say whether the page is the request index's, which the auditor does not rely on, or holds nothing."""
    return data[page : page + 1] in (b"\x0a", b"\x02", b"\x00")


def test_hostile_files_are_unreadable(tmp_path: Path) -> None:
    """Other databases, views in place of tables, text, nothing at all: one error, and nothing is changed."""
    text = tmp_path / "text"
    text.write_text("not a database")
    other = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE entries (idx, request_key, body)")
    view = _write(GOOD, tmp_path / "view.db")
    with _tampered(view) as connection:
        connection.execute("ALTER TABLE entries RENAME TO real")
        connection.execute("CREATE VIEW entries AS SELECT * FROM real")
    empty = tmp_path / "folder"
    empty.mkdir()
    for path in (text, other, view, empty, tmp_path / "missing"):
        with pytest.raises(Unreadable):
            open_archive(path)


def test_a_huge_value_is_not_loaded(database: Path) -> None:
    """A body of many megabytes ends the reading as a finding."""
    with _tampered(database) as connection:
        connection.execute("UPDATE entries SET body = zeroblob(50000000) WHERE idx = 20")
    problems = audit(database).problems
    assert "damaged" in problems[0].sentence


# Exports ----------------------------------------------------------------------------------------------------------


def test_an_export_is_as_good_as_the_database(database: Path, tmp_path: Path) -> None:
    """The export holds what the newest checkpoint covers, and passes the same audit."""
    folder = _export(database, tmp_path / "export")
    size = GOOD.checkpoints[-1][0]
    report = audit(folder, log_vkey=GOOD.key.vkey)
    assert report.problems == ()
    assert (report.entries, report.covered, report.checkpoints_verified) == (size, size, len(GOOD.checkpoints))
    with contextlib.closing(open_archive(folder)) as archive:
        assert [row.body for row in archive.rows(3)] == GOOD.entries[3:size]


def test_an_export_has_the_layout_of_tlog_tiles(tmp_path: Path) -> None:
    """Full and partial tiles and bundles stand where C2SP clients look for them."""
    ledger = Ledger()
    ledger.start()
    while len(ledger.entries) < 600:
        ledger.add(ledger.refused())
    ledger.sign_checkpoint()
    folder = _export(_write(ledger, tmp_path / "ledger.db"), tmp_path / "export")
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "checkpoint",
        "checkpoints/600",
        "tile/0/000",
        "tile/0/001",
        "tile/0/002.p/88",
        "tile/1/000.p/2",
        "tile/entries/000",
        "tile/entries/001",
        "tile/entries/002.p/88",
    }
    hashes = [leaf_hash(body) for body in ledger.entries]
    assert (folder / "tile/0/001").read_bytes() == b"".join(hashes[256:512])
    assert (folder / "tile/1/000.p/2").read_bytes() == perfect_root(hashes[:256]) + perfect_root(hashes[256:512])
    assert audit(folder).ok


def test_an_export_overwrites_nothing(database: Path, tmp_path: Path) -> None:
    """A folder that exists stays as it is, and so does one that is half written."""
    folder = tmp_path / "export"
    folder.mkdir()
    with pytest.raises(Unreadable, match="exists"):
        _export(database, folder)
    assert list(folder.iterdir()) == []


def test_an_export_needs_a_checkpoint(tmp_path: Path) -> None:
    """Without a checkpoint there is nothing to export under."""
    ledger = Ledger()
    ledger.start()
    with pytest.raises(Unreadable, match="no checkpoint"):
        _export(_write(ledger, tmp_path / "ledger.db"), tmp_path / "export")


def test_tampering_in_an_export_is_found(database: Path, tmp_path: Path) -> None:
    """Any file of an export that is changed or cut is found, and any that is gone but an older checkpoint's copy."""
    good = _export(database, tmp_path / "export")
    files = [path.relative_to(good) for path in good.rglob("*") if path.is_file()]
    for number, name in enumerate(files):
        for change in ("flip", "cut", "remove"):
            bad = tmp_path / f"bad-{number}-{change}"
            shutil.copytree(good, bad)
            data = bytearray((bad / name).read_bytes())
            data[len(data) // 2] ^= 1
            (bad / name).write_bytes(data if change == "flip" else data[:-1])
            if change == "remove":
                (bad / name).unlink()
            code = main(["verify", str(bad)])
            expected = (0,) if change == "remove" and name.parent.name == "checkpoints" else (1, 2)
            assert code in expected, (name, change)


def test_paths_of_tiles() -> None:
    """Numbers are written in groups of three digits, as in the specification."""
    assert bundle_path(1_234_067, 256) == "tile/entries/x001/x234/067"
    assert tile_path(2, 0, 1) == "tile/2/000.p/1"
    assert tile_path(0, 273, 112) == "tile/0/273.p/112"
    tiles = dict(hash_tiles(bytes(32) for _ in range(70_000)))
    assert {path: len(data) // 32 for path, data in tiles.items() if ".p/" in path} == {
        "tile/0/273.p/112": 112,
        "tile/1/001.p/17": 17,
        "tile/2/000.p/1": 1,
    }
    assert len(tiles) == 273 + 1 + 3


def test_bundles() -> None:
    """Entries stand after their length in two bytes; a length that does not fit is Malformed."""
    assert encode_bundle([b"hello", b"", b"world"]).hex() == "000568656c6c6f00000005776f726c64"
    assert decode_bundle(encode_bundle([b"hello", b"", b"world"])) == [b"hello", b"", b"world"]
    for data in (b"\0", b"\0\5hell", b"\0\0\0"):
        with pytest.raises(Malformed):
            decode_bundle(data)


# The program --------------------------------------------------------------------------------------------------------


def test_the_program_says_so_when_nothing_is_wrong(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 0, a readable summary, and the same as JSON."""
    assert main(["verify", str(database), "--log-vkey", GOOD.key.vkey]) == 0
    assert "nothing is wrong" in capsys.readouterr().out
    assert main(["verify", str(database), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["entries"], report["problems"]) == (True, GOOD.head.size, [])


def test_the_program_names_what_is_wrong(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 1 for problems, 2 for what cannot be looked at."""
    with _tampered(database) as connection:
        connection.execute("DELETE FROM entries WHERE idx = 7")
    assert main(["verify", str(database)]) == 1
    assert "WRONG: entry 7 is missing" in capsys.readouterr().out
    assert main(["verify", str(database.parent / "missing")]) == 2
    assert main(["verify", str(database), "--log-vkey", "nonsense"]) == 2
    assert "vkey" in capsys.readouterr().err


def test_the_program_exports_and_shows(database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``export`` writes what ``verify`` and ``show`` read; it refuses to write over it."""
    folder = tmp_path / "export"
    assert main(["export", str(database), str(folder)]) == 0
    assert "2 are not under a checkpoint yet" in capsys.readouterr().out
    assert main(["export", str(database), str(folder)]) == 2
    assert main(["verify", str(folder)]) == 0
    capsys.readouterr()
    assert main(["show", str(folder), "--start", "4", "--count", "4"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["index"], line["fact"], line.get("key")) for line in lines] == [
        (4, "KeyCreated", "k1"),
        (5, "ProposalMade", None),
        (6, "BallotCast", None),
        (7, "KeyCreated", "p1"),
    ]


def test_the_program_needs_no_other_part_of_keyvault(database: Path) -> None:
    """Started on its own it loads the ledger, the core and the messages, and nothing else of ours."""
    code = (
        "import sys; from keyvault.ledger.__main__ import main; status = main(sys.argv[1:]);"
        "print(sorted({name.split('.')[1] for name in sys.modules if name.startswith('keyvault.')}));"
        "print('apsw' in sys.modules); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "verify", str(database)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["['core', 'ledger', 'v1']", "False"]
