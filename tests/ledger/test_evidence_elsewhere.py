"""A bundle of evidence is checked on another machine, with nothing else."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keyvault.ledger.__main__ import main
from keyvault.ledger.archive import export, open_archive
from keyvault.ledger.evidence_words import NOT_SHOWN
from keyvault.ledger.gather import evidence_of
from keyvault.store.sqlite import open_store
from tests.ledger.bundles import BUNDLE, CASE, INDEX
from tests.ledger.ledgers import sample

ROOT = Path(__file__).parents[2]
GOOD = sample(4)


def _run(where: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys; from keyvault.ledger.__main__ import main; status = main(sys.argv[1:]);"
        "print(sorted({name.split('.')[1] for name in sys.modules if name.startswith('keyvault.')})); sys.exit(status)"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=where,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_bundle_convinces_a_stranger(tmp_path: Path) -> None:
    """A fresh process in an empty folder, with the file, the key, and no more of keyvault than ledger and core."""
    (tmp_path / "bundle.json").write_bytes(BUNDLE)
    done = _run(tmp_path, "evidence", "bundle.json", "--log-vkey", CASE.key.vkey)
    assert done.returncode == 0, done.stderr
    assert "what      Key k1 version 1 is ACTIVE." in done.stdout
    assert "carol approved" in done.stdout
    assert done.stdout.splitlines()[-1] == "['core', 'ledger', 'v1']"
    (tmp_path / "bundle.json").write_bytes(BUNDLE.replace(b'"bob"', b'"eve"'))
    done = _run(tmp_path, "evidence", "bundle.json", "--log-vkey", CASE.key.vkey)
    assert done.returncode == 1
    assert done.stdout.startswith("WRONG: the bundle says something else than its entries")


def test_the_program_says_what_it_cannot_look_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key that is none and a file that is not there end with 2; another log's key, or garbage, with 1."""
    (tmp_path / "bundle.json").write_bytes(BUNDLE)
    bundle = str(tmp_path / "bundle.json")
    assert main(["evidence", bundle, "--log-vkey", "nonsense"]) == 2
    assert main(["evidence", str(tmp_path / "none"), "--log-vkey", CASE.key.vkey]) == 2
    assert main(["evidence", bundle, "--log-vkey", GOOD.key.vkey]) == 1
    (tmp_path / "garbage").write_bytes(b"\0garbage")
    assert main(["evidence", str(tmp_path / "garbage"), "--log-vkey", CASE.key.vkey]) == 1
    capsys.readouterr()
    assert main(["evidence", bundle, "--log-vkey", CASE.key.vkey, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["index"], found["charter_version"]) == (True, INDEX, 2)
    assert [each["member"] for each in found["said"]] == ["alice", "carol"]
    assert found["not_shown"] == NOT_SHOWN


def test_a_database_and_its_export_give_the_same_bundle(tmp_path: Path) -> None:
    """Evidence from a store's file and from an export is the same to the byte."""
    with contextlib.closing(open_store(tmp_path / "ledger.db", create=True)) as store:
        CASE.write(store)
    with contextlib.closing(open_archive(tmp_path / "ledger.db")) as archive:
        export(archive, tmp_path / "tiles")
        data, _ = evidence_of(archive, index=INDEX)
    with contextlib.closing(open_archive(tmp_path / "tiles")) as archive:
        assert evidence_of(archive, index=INDEX)[0] == data == BUNDLE
