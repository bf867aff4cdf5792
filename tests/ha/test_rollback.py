"""The shared database is put back to an older state: no node signs on top of it, and nothing is lost."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from keyvault.client import PreconditionFailed
from keyvault.core.events import SignatureIssued
from keyvault.demo.hosts import Hosts
from keyvault.demo.nodes import Nodes
from keyvault.demo.postgres import DATABASE, SERVER_ROLE, cluster
from keyvault.ledger.merkle import Tree, leaf_hash
from tests.deployment import run_keyvault
from tests.e2e.test_recovery import sign

SIGNED = 6


def sizes(here: Nodes) -> list[int]:
    """Return how many entries each node's own copy has."""
    found = []
    for node in here.nodes:
        with closing(sqlite3.connect(f"file:{node.folder / 'ledger.db'}?mode=ro", uri=True)) as copy:
            found.append(int(copy.execute("SELECT size FROM head").fetchone()[0]))
    return found


def put_back(postgres: Hosts, entries: int, database: str = DATABASE) -> None:
    """Do what a restore of an older backup does, as whoever owns the database can."""
    execute = partial(postgres.primary.execute, database=database)
    bodies = [bytes(body) for (body,) in execute("SELECT body FROM keyvault.entry ORDER BY idx")]  # type: ignore[call-overload]  # bytea
    kept = len(bodies) - entries
    root = Tree.of([leaf_hash(body) for body in bodies[:kept]]).root()
    for table in ("entry", "checkpoint"):
        execute(f"ALTER TABLE keyvault.{table} DISABLE TRIGGER USER")
    execute("DELETE FROM keyvault.entry WHERE idx >= %s", kept)
    execute("DELETE FROM keyvault.checkpoint WHERE size > %s", kept)
    execute("UPDATE keyvault.head SET size = %s, settled = %s, root = %s", kept, kept, root)
    for table in ("entry", "checkpoint"):
        execute(f"ALTER TABLE keyvault.{table} ENABLE TRIGGER USER")


@contextmanager
def _nodes(folder: Path, prepared: Path) -> Iterator[Nodes]:
    with cluster(standbys=1) as postgres:
        made = Nodes(folder, prepared, postgres, count=2)
        try:
            made.start()
            yield made
        finally:
            made.close()


async def test_no_node_signs_on_a_database_that_was_put_back(prepared: Path, tmp_path: Path) -> None:
    """All nodes are quarantined by their own copies; the newest copy, loaded anew, has everything that was signed."""
    with _nodes(tmp_path, prepared) as here:
        await here.until_leading()
        async with here.client() as bot:
            for number in range(SIGNED):
                await sign(bot, f"r-{number}")
        async with asyncio.timeout(30):
            while len(set(sizes(here))) > 1:  # noqa: ASYNC110  another process sets no event of ours
                await asyncio.sleep(0.1)
        await asyncio.to_thread(_stop, here)
        await asyncio.to_thread(put_back, here.postgres, SIGNED)
        await asyncio.to_thread(here.start)
        async with here.client() as bot:
            with pytest.raises(PreconditionFailed, match="quarantine") as refused:
                await sign(bot, "new")
            assert refused.value.reason == "QUARANTINED"
        await asyncio.to_thread(_members_are_told_that_no_word_of_theirs_helps, here)
        await asyncio.to_thread(_stop, here)
        await asyncio.to_thread(_load_anew, here)
        await asyncio.to_thread(here.start)
        async with here.client() as bot:
            await sign(bot, "new")
        facts = await asyncio.to_thread(here.audited, tmp_path)
        signed = [each.request.request_id for each in facts if isinstance(each, SignatureIssued)]
        assert signed == [*(f"r-{number}" for number in range(SIGNED)), "new"]


def _members_are_told_that_no_word_of_theirs_helps(here: Nodes) -> None:
    at = ("--deployment", str(here.nodes[0].folder), "--target", here.nodes[0].address)
    shown = run_keyvault("quarantine", "show", *at)
    assert "this node has" in shown.stdout, shown.stderr
    left = run_keyvault("quarantine", "leave", "--reason", "a test", "--member", "alice", *at)
    assert (left.returncode, "members cannot give anything up here" in left.stderr) == (2, True), left.stderr


def _stop(here: Nodes) -> None:
    assert [node.stop() for node in here.nodes] == [0] * len(here.nodes)


def _load_anew(here: Nodes) -> None:
    """Do what helm/README.md says: an empty database, the newest copy into it, the other nodes without theirs."""
    newest = here.nodes[sizes(here).index(max(sizes(here)))]
    admin = ("--conninfo", here.postgres.admin_conninfo())
    here.postgres.primary.execute("DROP SCHEMA keyvault CASCADE")
    assert run_keyvault("database", "migrate", *admin).returncode == 0
    early = run_keyvault("database", "load", *admin, "--config", str(newest.config))
    assert (early.returncode, f"keyvault database admit {SERVER_ROLE} --enclave hot" in early.stderr) == (4, True)
    assert run_keyvault("database", "admit", SERVER_ROLE, "--enclave", "hot", *admin).returncode == 0
    loaded = run_keyvault("database", "load", *admin, "--config", str(newest.config))
    assert loaded.returncode == 0, loaded.stderr
    for node in here.nodes:
        if node is not newest:
            for file in node.folder.glob("ledger.db*"):
                file.unlink()
