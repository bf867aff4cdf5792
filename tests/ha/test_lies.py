"""The database is not what it was: an older copy that was promoted, and a row that somebody edited."""

import asyncio
import os
import secrets
import select
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import grpc
import pytest
from psycopg.errors import CheckViolation

from keyvault.client import AsyncClient, KeyvaultRpcError
from keyvault.demo.bot import signed_more, signing, until
from keyvault.demo.history import Load
from keyvault.demo.nodes import Nodes
from keyvault.demo.postgres import Cluster
from keyvault.ledger.merkle import Tree, leaf_hash
from tests.ha.world import is_refused

QUARANTINE = "in quarantine"


@asynccontextmanager
async def _two_nodes(folder: Path, prepared: Path, servers: Cluster) -> AsyncIterator[Nodes]:
    """Give two nodes on a database of their own; the first leads."""
    database = f"d_{secrets.token_hex(4)}"
    servers.create_database(database)
    here = await asyncio.to_thread(lambda: Nodes(folder, prepared, servers, count=2, database=database))
    try:
        here.nodes[0].start()
        await here.until_leading()
        here.nodes[1].start()
        await until(lambda: bool(here.nodes[1].said("serving")))  # it has a state
        yield here
    finally:
        await asyncio.to_thread(here.close)


async def _sign(here: Nodes, load: Load, name: str) -> None:
    async with here.client() as client, signing(client, "signer", load, name, in_flight=4):
        await signed_more(load, 60)
    assert load.errors == []


async def _follows(here: Nodes, index: int) -> None:
    """Return when the second node has this entry, too: what it never saw it cannot miss."""
    node = here.nodes[1]
    async with AsyncClient(node.address, here.credentials("admin-alice"), enclave="hot") as client, asyncio.timeout(30):
        while (await client.get_enclave()).ledger_size <= index:  # noqa: ASYNC110  another process gets there
            await asyncio.sleep(0.02)


async def test_a_stale_standby_is_promoted(prepared: Path, tmp_path: Path, spare: Cluster) -> None:
    """The new primary lacks what was acknowledged: who knows better goes into quarantine, nothing is signed."""
    async with _two_nodes(tmp_path, prepared, spare) as here:
        load = Load()
        await _sign(here, load, "kept")
        stale, other = (each for each in spare.servers if each is not spare.primary)
        dead = spare.primary
        await asyncio.to_thread(stale.kill)
        await _sign(here, load, "lost")
        await _follows(here, max(each.index for each in load.signings))
        for each in (dead, other):
            await asyncio.to_thread(each.kill)
        await asyncio.to_thread(stale.start)
        await asyncio.to_thread(spare.promote, stale)
        await asyncio.to_thread(spare.rejoin, dead, other)
        head = here.head()
        assert int(str(head["size"])) < max(each.index for each in load.signings)
        await until(lambda: all(node.said(QUARANTINE) for node in here.nodes))
        assert await is_refused(here)
        assert here.head() == head
        assert all(node.running for node in here.nodes)


async def test_a_row_is_edited(prepared: Path, tmp_path: Path, spare: Cluster) -> None:
    """A signature is edited and the head made to fit: who reads it anew stops, who knew it never leads."""
    async with _two_nodes(tmp_path, prepared, spare) as here:
        knows, reads = here.nodes
        assert await asyncio.to_thread(reads.stop) == 0
        load = Load()
        await _sign(here, load, "r")
        assert await asyncio.to_thread(knows.stop) == 0  # its last checkpoint covers everything
        await asyncio.to_thread(_edit, here, load.signings[-1].signature)
        size = here.head()["size"]
        reads.start()
        await until(lambda: bool(reads.said(QUARANTINE)) or not reads.running)
        knows.start()
        assert await asyncio.to_thread(knows.ended) == 70
        assert await is_refused(here)
        assert here.head()["size"] == size
        assert reads.leads_in() == 0  # the lease may have been had, but nothing was decided


async def test_an_address_is_edited(prepared: Path, tmp_path: Path, spare: Cluster) -> None:
    """What stands in the lease and is no address is no leader's: nobody dials it, and no answer repeats it.

    ``unix:7443`` is one, of a host of that name: it is looked for there, and not in the file system.
    """
    async with _two_nodes(tmp_path, prepared, spare) as here:
        follower = here.nodes[1]
        for address in ("unix:/tmp/evil.sock", "dns://127.0.0.9/evil:7443", "evil" * 75):
            await asyncio.to_thread(_edit_address, here, address)
            async with here.client("admin-alice", follower) as admin:
                await _until_no_leader(admin)
            async with here.client("bot-demo", follower, deadline_s=2) as bot:
                with pytest.raises(KeyvaultRpcError) as refused:
                    await bot.sign_digest("signer", b"d" * 32)
            assert refused.value.code is grpc.StatusCode.UNAVAILABLE
            assert refused.value.can_retry
            assert "nobody here knows which one does" in str(refused.value)
            assert "evil" not in str(refused.value)
        for address in ("evil:1\nx: 1", "evil" * 76):  # does not even come to stand there
            with pytest.raises(CheckViolation):
                await asyncio.to_thread(_edit_address, here, address)
        with _listening(follower.folder / "7443") as called:
            await asyncio.to_thread(_edit_address, here, "unix:7443")
            async with here.client("bot-demo", follower, deadline_s=3) as bot:
                with pytest.raises(KeyvaultRpcError):
                    await bot.sign_digest("signer", b"d" * 32)
            assert not called()


@contextmanager
def _listening(path: Path) -> Iterator[Callable[[], bool]]:
    """Give whether anybody connected to a socket there."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(path))  # its name has a bound, and our folders are deep
        listening.listen()
        yield lambda: bool(select.select([listening], [], [], 0)[0])


async def _until_no_leader(admin: AsyncClient) -> None:
    async with asyncio.timeout(30):
        while (await admin.get_node()).leader:  # noqa: ASYNC110  it is another process that looks
            await asyncio.sleep(0.02)


def _edit_address(here: Nodes, address: str) -> None:
    with here.postgres.primary.connect(here.database) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("UPDATE keyvault.head SET address = %s", (address,))


def _edit(here: Nodes, signature: bytes) -> None:
    """Change a byte of this signature where it stands, and make the head fit to all rows."""
    wrong = signature[:-1] + bytes((signature[-1] ^ 1,))
    with here.postgres.primary.connect(here.database) as connection:
        connection.execute("SET session_replication_role = replica")  # triggers off, for this session
        rows = connection.execute("SELECT idx, body FROM keyvault.entry ORDER BY idx").fetchall()
        tree = Tree()
        for index, body in rows:
            edited = bytes(body).replace(signature, wrong)  # type: ignore[call-overload]  # bytea
            if edited != body:
                connection.execute("UPDATE keyvault.entry SET body = %s WHERE idx = %s", (edited, index))
            tree.extend([leaf_hash(edited)])
        connection.execute("UPDATE keyvault.head SET root = %s", (tree.root(),))
