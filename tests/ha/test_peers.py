"""The database is put back, and one node's copy is as old: the others' checkpoints keep it from leading."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from keyvault.demo.bot import until
from keyvault.demo.nodes import Node, Nodes
from keyvault.demo.postgres import Cluster
from tests.e2e.test_recovery import sign
from tests.ha.test_rollback import put_back, sizes
from tests.ha.world import is_refused

QUARANTINE = "in quarantine"
LOST = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PutBack:
    """Three nodes that are stopped, over a database of which the newest entries were taken away."""

    here: Nodes
    knowing: tuple[Node, Node]
    """Two copies have what the database lost."""
    ignorant: Node
    """Its copy ends where the database ends now."""
    entries: int
    """As many are left."""


@asynccontextmanager
async def _put_back(folder: Path, prepared: Path, servers: Cluster) -> AsyncIterator[PutBack]:
    database = f"d_{secrets.token_hex(4)}"
    servers.create_database(database)
    here = await asyncio.to_thread(lambda: Nodes(folder, prepared, servers, database=database))
    try:
        here.start()
        leader = await here.until_leading()
        ignorant = next(node for node in here.nodes if node is not leader)
        knowing = tuple(node for node in here.nodes if node is not ignorant)
        await until(lambda: all(node.said("serving") for node in here.nodes))
        assert await asyncio.to_thread(ignorant.stop) == 0
        async with here.client() as bot:
            for number in range(LOST):
                await sign(bot, f"lost-{number}")
        assert [await asyncio.to_thread(node.stop) for node in knowing] == [0, 0]
        left = sizes(here)[here.nodes.index(ignorant)]
        await asyncio.to_thread(put_back, servers, int(str(here.head()["size"])) - left, database)
        yield PutBack(here=here, knowing=(knowing[0], knowing[1]), ignorant=ignorant, entries=left)
    finally:
        await asyncio.to_thread(here.close)


def _says_who_knows(node: Node) -> bool:
    return any("has seen" in str(each["reason"]) for each in node.said(QUARANTINE))


async def test_a_node_that_knows_nothing_of_it_is_told_before_it_leads(
    prepared: Path, tmp_path: Path, spare: Cluster
) -> None:
    """It took the lease, the others have a later checkpoint: it goes into quarantine, and not one entry is written."""
    async with _put_back(tmp_path, prepared, spare) as found:
        for node in found.knowing:
            node.start()
        await until(lambda: all(node.said(QUARANTINE) for node in found.knowing))
        await until(lambda: all(len(node.said("serving")) > 1 for node in found.knowing))
        found.ignorant.start()
        await until(lambda: _says_who_knows(found.ignorant))
        assert found.ignorant.leads_in() == 0
        assert found.here.head()["size"] == found.entries
        assert await is_refused(found.here)
        assert all(node.running for node in found.here.nodes)


async def test_a_node_that_leads_already_is_told_when_another_comes_back(
    prepared: Path, tmp_path: Path, spare: Cluster
) -> None:
    """Alone it leads: nobody could know better. As soon as one does its term ends, and it is in quarantine."""
    async with _put_back(tmp_path, prepared, spare) as found:
        found.ignorant.start()
        assert await found.here.until_leading() is found.ignorant
        async with found.here.client("bot-demo", found.ignorant) as bot:
            await sign(bot, "on-an-older-state")
        found.knowing[0].start()
        await until(lambda: _says_who_knows(found.ignorant))
        assert await is_refused(found.here)
        assert all(node.running for node in (found.ignorant, found.knowing[0]))


async def test_nodes_that_know_each_other_lead_one_after_the_other(
    prepared: Path, tmp_path: Path, spare: Cluster
) -> None:
    """What others have seen of a ledger that is whole keeps nobody from leading, killed or asked to step down."""
    database = f"d_{secrets.token_hex(4)}"
    spare.create_database(database)
    here = await asyncio.to_thread(lambda: Nodes(tmp_path, prepared, spare, database=database))
    try:
        here.start()
        async with here.client() as bot:
            for number in range(4):
                leader = await here.until_leading()
                await sign(bot, f"before-{number}")
                await asyncio.to_thread(leader.kill)
                other = await here.until_leading(lambda node, killed=leader: node is not killed)  # type: ignore[misc]  # bound
                assert other.running
                await sign(bot, f"after-{number}")
                leader.start()
        assert not [node.name for node in here.nodes if node.said(QUARANTINE)]
        await asyncio.to_thread(here.audited, tmp_path)
    finally:
        await asyncio.to_thread(here.close)
