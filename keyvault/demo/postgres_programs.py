"""PostgreSQL's programs and their processes: where they are, how they are run and ended."""

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from keyvault.core.errors import KeyvaultError

START_S = 60
"""initdb, or a server's start, on a busy machine."""
_MEMORY = Path("/dev/shm")  # noqa: S108  a new folder of mode 0711 is made in it
_ROOM_BYTES = 3 * 10**9


class NoPostgres(KeyvaultError):
    """PostgreSQL's server programs are not here, or do not start; the text says what to do."""


def programs() -> Path:
    """Return the folder of the newest PostgreSQL server's programs, 15 or newer. Raises NoPostgres."""
    found = [
        path.parent
        for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")
        if path.parent.parent.name.isdigit() and int(path.parent.parent.name) >= 15  # noqa: PLR2004  the first with MERGE
    ]
    if found:
        return max(found, key=lambda each: int(each.parent.name))
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    raise NoPostgres("PostgreSQL's server is not installed; run: sh keyvault/demo/install-postgres.sh")


def memory() -> Path | None:
    """Return a folder in memory with room for several clusters, where servers start in a fifth of the time; or None.

    A server that starts syncs all of its files first. For what is no measurement.
    """
    if not (_MEMORY.is_dir() and os.access(_MEMORY, os.W_OK)):
        return None
    return _MEMORY if shutil.disk_usage(_MEMORY).free > _ROOM_BYTES else None


def run(program: str, *arguments: str) -> None:
    """Run one of the programs to its end. Raises NoPostgres with what it said."""
    done = subprocess.run(  # noqa: S603  PostgreSQL's own program
        as_postgres([str(programs() / program), *arguments]),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=START_S,
        check=False,
        cwd="/",
    )
    if done.returncode:
        raise NoPostgres(f"{program} failed: {(done.stderr or done.stdout).decode(errors='replace')[-1_000:]}")


def as_postgres(command: list[str], *, capability: str = "") -> list[str]:
    """Return the command as the user postgres, where we are root: PostgreSQL refuses to run as that.

    ``capability``: what that user may do besides, it and what it starts.
    """
    if os.geteuid() != 0:
        return command
    granted = [f"--inh-caps=+{capability}", f"--ambient-caps=+{capability}"] if capability else []
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *granted, *command]


def check_reachable(folder: Path) -> None:
    """Raise NoPostgres if the user who runs the servers cannot get to this folder."""
    closed = [each for each in folder.resolve().parents if not each.stat().st_mode & 0o001]
    if os.geteuid() == 0 and closed:
        raise NoPostgres(f"the user postgres cannot enter {closed[0]}: set TMPDIR to a folder that everybody may enter")


def give(path: Path) -> None:
    """Make it the property of the user who runs the servers."""
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(path, user.pw_uid, user.pw_gid)


def wait(holds: Callable[[], bool], failure: Callable[[], str]) -> None:
    """Return when the condition holds. Raises NoPostgres with the text after START_S."""
    ends = time.monotonic() + START_S
    while not holds():
        if time.monotonic() > ends:
            raise NoPostgres(failure())
        time.sleep(0.02)


def free_port() -> int:
    """Return a port of the loopback interface that nobody has at the moment."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def lives(pid: int) -> bool:
    """Whether it is a process, and not only what is left of one until its parent asks."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descendants(pid: int) -> list[int]:
    """Return the processes that a process started, and what those started."""
    found = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found
