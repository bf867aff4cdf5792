"""Database and every node's ledger are gone, tokens and an old backup are left: the manual's way back, step by step."""

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from keyvault.client import PreconditionFailed
from keyvault.core.statements import Action
from keyvault.demo.nodes import Node, Nodes
from keyvault.demo.postgres import SERVER_ROLE, cluster
from tests.deployment import run_keyvault
from tests.e2e.test_recovery import sign

LOST = 4


@contextmanager
def _nodes(folder: Path, prepared: Path) -> Iterator[Nodes]:
    with cluster(standbys=1) as postgres:
        made = Nodes(folder, prepared, postgres, count=2)
        try:
            made.start()
            yield made
        finally:
            made.close()


def _run(*arguments: str) -> str:
    done = run_keyvault(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def _alone(node: Node) -> Iterator[None]:
    """Serve this node's ledger without [postgres], which stands last in its configuration."""
    whole = node.config.read_text()
    node.config.write_text(whole.partition("[postgres]")[0])
    node.start()
    try:
        yield
    finally:
        assert node.stop() == 0
        node.config.write_text(whole)


def _forget(node: Node) -> None:
    for file in node.folder.glob("ledger.db*"):
        file.unlink()


def _load(here: Nodes, node: Node) -> None:
    admin = ("--conninfo", here.postgres.admin_conninfo())
    _run("database", "migrate", *admin)
    _run("database", "admit", SERVER_ROLE, "--enclave", "hot", *admin)
    _run("database", "load", *admin, "--config", str(node.config))


async def _leave(here: Nodes, node: Node) -> None:
    """Let alice ask to leave the quarantine, and bob and carol approve it."""
    at = ("--deployment", str(node.folder), "--target", node.address)
    await asyncio.to_thread(_run, "quarantine", "leave", "--reason", "a test", "--member", "alice", *at)
    async with here.client("admin-alice", node) as admin:
        proposals = [each for each in await admin.list_proposals() if each.said.action is Action.LEAVE_QUARANTINE]
    for member in ("bob", "carol"):
        await asyncio.to_thread(_run, "approve", proposals[-1].id[:12], "--yes", "--member", member, *at)


async def _obstacle(here: Nodes, node: Node, *, ends_with: str) -> None:
    """Return when this node says so of itself; empty: when it could lead."""

    async def says(obstacle: str) -> bool:
        async with here.client("admin-alice", node) as admin:
            said = (await admin.get_node()).obstacle
        return said.endswith(obstacle) if obstacle else not said

    async with asyncio.timeout(60):
        while not await says(ends_with):  # noqa: ASYNC110  another process sets no event of ours
            await asyncio.sleep(0.2)


async def _goes_on(here: Nodes, node: Node, others: list[Node]) -> None:
    """Let members give up on this node, alone, what is lost; move its ledger into the database, and start all."""
    with _alone(node):
        async with here.client("bot-demo", node) as bot:
            with pytest.raises(PreconditionFailed, match="quarantine"):
                await sign(bot, "before")
            await _leave(here, node)
            await sign(bot, f"alone-{node.name}")
    here.postgres.primary.execute("DROP SCHEMA IF EXISTS keyvault CASCADE")
    for other in others:
        _forget(other)
    await asyncio.to_thread(_load, here, node)
    await asyncio.to_thread(here.start)
    async with here.client() as bot:
        await sign(bot, f"shared-{node.name}")


@pytest.mark.timeout(300)
async def test_what_is_left_goes_on_when_members_say_so(prepared: Path, tmp_path: Path) -> None:
    """On a node that followed: it is in quarantine, whatever its token has seen; then all nodes share its ledger.

    The old leader's token has seen more than members gave up. It says so and does not lead, until they gave up that.
    """
    with _nodes(tmp_path, prepared) as here:
        leader = await here.until_leading()
        (follower,) = (node for node in here.nodes if node is not leader)
        async with here.client() as bot:
            await sign(bot, "before")
        backup = str(tmp_path / "backup")
        await asyncio.to_thread(_run, "backup", "--config", str(follower.config), "--out", backup)
        assert await asyncio.to_thread(follower.stop) == 0
        async with here.client() as bot:
            for number in range(LOST):
                await sign(bot, f"lost-{number}")
        assert await asyncio.to_thread(leader.stop) == 0
        for node in here.nodes:
            _forget(node)
        here.postgres.primary.execute("DROP SCHEMA keyvault CASCADE")

        vkey = str(follower.folder / "log.vkey")
        restored = ("restore", "--from", backup, "--database", str(follower.ledger), "--vkey-file", vkey)
        assert "in quarantine" in await asyncio.to_thread(_run, *restored)
        await _goes_on(here, follower, [leader])
        await _obstacle(here, leader, ends_with=" only")

        assert [node.stop() for node in (leader, follower)] == [0, 0]
        for name in ("ledger.db", "ledger.db.checkpoint"):
            shutil.copyfile(follower.folder / name, leader.folder / name)
        await _goes_on(here, leader, [follower])
        await _obstacle(here, follower, ends_with="")
        await _obstacle(here, leader, ends_with="")
