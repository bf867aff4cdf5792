"""The processes of a served deployment, as /proc shows them."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.deployment import Deployment

WAIT_S = 30
_POLL_S = 0.01


def server(deployment: Deployment) -> int:
    """Return the server's process id."""
    assert deployment.process is not None
    return deployment.process.pid


def children(deployment: Deployment) -> set[int]:
    """Return the process ids of the server's live children; each is a child of the thread that started it."""
    found: set[int] = set()
    for task in Path(f"/proc/{server(deployment)}/task").iterdir():
        with suppress(FileNotFoundError):  # the thread ended meanwhile
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


def workers(deployment: Deployment) -> set[int]:
    """Return the process ids of the token's live workers."""
    return {pid for pid in children(deployment) if b"keyvault.hsm.worker" in read(pid, "cmdline")}


def read(pid: int, name: str) -> bytes:
    """Return a file of /proc/<pid>; nothing if the process ended or the kernel keeps it even from its owner."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


def memory(pid: int) -> bytes:
    """Return all private writable memory of a process that is ours."""
    parts = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as file:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            start, end = (int(part, 16) for part in span.split("-"))
            if rights != "rw-p":
                continue
            with suppress(OSError):  # a guard page, or gone meanwhile
                file.seek(start)
                parts.append(file.read(end - start))
    return b"".join(parts)


async def until(condition: Callable[[], bool]) -> None:
    """Return as soon as the condition holds; TimeoutError after WAIT_S. For what gives no other sign of itself."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110  another process cannot set our event
            await asyncio.sleep(_POLL_S)


def signal_all(pids: set[int], number: int) -> None:
    for pid in pids:
        os.kill(pid, number)
