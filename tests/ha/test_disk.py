"""The disk with the leader's own copy is full."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keyvault.demo.nodes import KEYVAULT, Node
from tests.ha.world import Shared, Trial

ROOM_BYTES = 1_500_000
"""What the copy may grow by: some hundred signatures."""
LIMITED = "import os, resource, sys; n = int(sys.argv[1]); resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)); "
LIMITED += "os.execv(sys.argv[2], sys.argv[2:])"


async def test_the_disk_of_the_leader_is_full(shared: Shared, tmp_path: Path) -> None:
    """A node that cannot keep what it saw ends with 70; another leads, and it follows again when there is room."""
    async with shared.trial() as trial:
        small, *others = [node for node in trial.here.nodes if node is not trial.leader] + [trial.leader]
        await asyncio.to_thread(small.stop)
        with _small_disk(small, tmp_path / "disk") as program:
            small.start(program)
            await _make_leader(trial, small, others)
            assert await asyncio.to_thread(small.ended) == 70
            await trial.signed_more()
        small.start()
        await trial.signed_more()


async def _make_leader(trial: Trial, small: Node, others: list[Node]) -> None:
    """Let it lead by stopping the others for a while."""
    for node in others:
        await asyncio.to_thread(node.stop)
    await trial.here.until_leading(lambda node: node is small)
    for node in others:
        node.start()


@contextmanager
def _small_disk(node: Node, mount: Path) -> Iterator[tuple[str, ...]]:
    """Put the node's copy on a disk of its own with little room; give the program to start it with.

    That takes root, and the right to mount. Without, the program may make no file longer than that.
    """
    text = node.config.read_text()
    files = list(node.folder.glob("ledger.db*"))
    size = sum(file.stat().st_size for file in files) + ROOM_BYTES
    if not _mounted(mount, size):
        yield (sys.executable, "-c", LIMITED, str(size), *KEYVAULT)
        return
    try:
        for file in files:
            shutil.copy2(file, mount / file.name)
        node.config.write_text(text.replace('database = "ledger.db"', f'database = "{mount / "ledger.db"}"'))
        yield KEYVAULT
        for file in mount.glob("ledger.db*"):
            shutil.copy2(file, node.folder / file.name)
    finally:
        subprocess.run(["umount", str(mount)], check=True)
        node.config.write_text(text)


def _mounted(mount: Path, size: int) -> bool:
    """Mount a tmpfs of this size; return whether that may be done here."""
    mount.mkdir()
    if os.geteuid() != 0:
        return False
    options = ["-o", f"size={size},mode=0700", "tmpfs", str(mount)]
    return subprocess.run(["mount", "-t", "tmpfs", *options], check=False, capture_output=True).returncode == 0
