"""Servers that a demo or a test started do not outlive it, however it ends."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from keyvault.demo.guard import guarded, inhabitants
from keyvault.demo.postgres_programs import memory

ROOT = Path(__file__).resolve().parents[2]
LONGEST_S = 30
STARTS = """
import sys, time
from pathlib import Path
from keyvault.demo.postgres import cluster

with cluster(standbys=0, parent=Path(sys.argv[1])) as servers:
    print(servers.folder, flush=True)
    time.sleep(600)
"""


def _until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + LONGEST_S
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_servers_end_with_a_process_that_is_killed() -> None:
    """SIGKILL of the process that started them: a moment later no server runs, and their folder is gone."""
    parent = memory() or Path("/tmp")
    command = (sys.executable, "-c", STARTS, str(parent))
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as starting:
        assert starting.stdout is not None
        folder = Path(starting.stdout.readline().strip())
        assert folder.parent == parent
        assert inhabitants(folder)
        starting.kill()
    _until(lambda: not inhabitants(folder))
    _until(lambda: not folder.exists())


@pytest.fixture
def terminal() -> int:
    """Return the end of a terminal that a program is given."""
    _, theirs = os.openpty()
    return theirs


def test_a_person_who_looks_around_is_spared(tmp_path: Path, terminal: int) -> None:
    """A program with a terminal in the folder lives on; one without ends with the guard."""
    folder = tmp_path / "guarded"
    folder.mkdir()
    command = ("sleep", "600")
    with guarded(folder):
        daemon = subprocess.Popen(command, cwd=folder, start_new_session=True)
        shell = subprocess.Popen(("setsid", "--ctty", *command), cwd=folder, stdin=terminal)
        _until(lambda: inhabitants(folder) == [daemon.pid])
    assert daemon.wait(LONGEST_S) < 0
    assert shell.poll() is None
    shell.kill()
    shell.wait()
    assert not folder.exists()
