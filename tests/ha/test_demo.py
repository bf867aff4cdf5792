"""``make demo-ha`` holds what it claims."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyvault.demo.ha import EXIT_FAILED, EXIT_OK, audit
from keyvault.demo.history import Load, Signing
from keyvault.demo.nodes import Nodes
from keyvault.demo.postgres import Cluster
from keyvault.demo.postgres_programs import memory
from keyvault.demo.record import Record, Silence

ROOT = Path(__file__).resolve().parents[2]
LONGEST_S = 110


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder that the user postgres can enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(dir=memory()))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def _run(folder: Path) -> "subprocess.CompletedProcess[str]":
    clean = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    command = (sys.executable, "-m", "keyvault.demo.ha", "--json", "--without-patroni")
    return subprocess.run(command, env=clean, capture_output=True, text=True, timeout=LONGEST_S, check=False)


def test_everything_that_it_claims_is_true(open_folder: Path) -> None:
    """Leader and primary killed, a leader paused: exit 0, no call failed, nothing lost or repeated, nothing left.

    With Patroni the same takes a minute longer; it has tests of its own.
    """
    done = _run(open_folder)
    assert (done.returncode, done.stderr) == (EXIT_OK, ""), done.stdout
    told = json.loads(done.stdout)
    claims = " ".join(each["claim"] for each in told["checks"])
    assert "0 requests were signed twice" in claims
    assert "no call of the bot failed" in claims
    assert told["figures"]["entries verified offline"] > told["figures"]["signatures"]
    assert list(open_folder.iterdir()) == []


def test_a_lost_signature_is_told(prepared: Path, tmp_path: Path, spare: Cluster) -> None:
    """A signature that the bot was given and the ledger does not have: the check fails."""
    spare.create_database("lost")
    nodes = Nodes(tmp_path, prepared, spare, count=1, database="lost")
    record, load = Record(Silence()), Load()
    load.signings.append(Signing(request_id="r", asked_at=0, answered_at=1, index=3, signature=b"s"))
    audit(record, nodes, load, tmp_path)
    assert not record.ok
    assert "1 acknowledged signatures are not in the ledger" in record.checks[-1].claim


def test_without_postgresql_it_says_what_to_do(tmp_path: Path) -> None:
    """No programs: exit 1 and how to install them."""
    program = f"import sys; sys.argv = ['ha', '--json']; import keyvault.demo.ha as ha; {_ABSENT}; sys.exit(ha.main())"
    done = subprocess.run(
        (sys.executable, "-c", program),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    assert done.returncode == EXIT_FAILED
    assert "install-postgres.sh" in done.stdout


_ABSENT = "ha.programs.__globals__['Path'] = type('P', (), {'__init__': lambda s, p: None, 'glob': lambda s, p: []}); "
_ABSENT += "ha.programs.__globals__['shutil'].which = lambda _name, path=None: None"
