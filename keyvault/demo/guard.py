"""Ends what runs in a folder, and removes the folder, when whoever made it ends: even by SIGKILL.

Servers do not end with the process that started them, and a test that is killed cannot end them. So a process of its
own waits at the other end of a pipe, which the kernel closes in every case. It finds by their working directory what is
to end, not by numbers that were given to it: those are used again. Who has a terminal is a person who looks around in
the folder, and is spared; so servers are started in sessions of their own.

This file is also that process's program. It imports nothing of keyvault, so that it is there within milliseconds.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_POLL_S = 0.01
_TTY = 4
"""Where the terminal's number stands in /proc/PID/stat, counted after the program's name."""


def inhabitants(folder: Path) -> list[int]:
    """Return the processes without a terminal whose working directory is this folder or in it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it ended meanwhile, is what is left of one, or is not ours to look at
                lives_in = (entry / "cwd").readlink().is_relative_to(folder.resolve())
                if lives_in and (entry / "stat").read_text().rpartition(")")[2].split()[_TTY] == "0":
                    found.append(int(entry.name))
    return found


def signal_all(folder: Path, number: signal.Signals) -> None:
    """Send a signal to all of them, and to those that they started meanwhile."""
    done: set[int] = set()
    while new := set(inhabitants(folder)) - done:
        for pid in new:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        done |= new


def end_all(folder: Path) -> None:
    """SIGKILL all of them; return when none is there."""
    while inhabitants(folder):
        signal_all(folder, signal.SIGKILL)
        time.sleep(_POLL_S)


@contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """Have this folder emptied of processes and removed at the end of the block, or of this process.

    The block itself should leave nothing that runs.
    """
    guard = subprocess.Popen(  # noqa: S603  this file
        (sys.executable, "-I", "-S", __file__, str(folder)), stdin=subprocess.PIPE, cwd="/", start_new_session=True
    )
    try:
        yield
    finally:
        guard.communicate()  # closes the pipe


if __name__ == "__main__":
    sys.stdin.read()
    end_all(Path(sys.argv[1]))
    shutil.rmtree(sys.argv[1], ignore_errors=True)
