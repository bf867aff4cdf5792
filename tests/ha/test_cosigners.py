"""An auditor and three nodes: their keys from their own logs, what they cosigned, and a ledger held against it."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keyvault.demo.bot import until
from keyvault.demo.nodes import Node, Nodes
from keyvault.demo.postgres import Cluster
from tests.deployment import run_keyvault
from tests.e2e.test_recovery import sign


@pytest.fixture
def here(prepared: Path, tmp_path: Path, spare: Cluster) -> Iterator[Nodes]:
    """Three nodes on a database of their own."""
    spare.create_database("cosigners")
    made = Nodes(tmp_path / "nodes", prepared, spare, database="cosigners")
    try:
        made.start()
        yield made
    finally:
        made.close()


async def test_an_auditor_holds_the_ledger_against_what_the_nodes_cosigned(here: Nodes, tmp_path: Path) -> None:
    """Two of three vouch before and after the lead moved; what was kept first still agrees with all that came later."""
    leader = await here.until_leading()
    async with here.client() as bot:
        await sign(bot, "r-0")
    await until(lambda: all(_vkey(node) for node in here.nodes if node is not leader))
    policy = tmp_path / "nodes.policy"
    await _cosigned(here, leader)
    assert (await asyncio.to_thread(_status, here)).count("cosigner  keyvault/hot/") >= 2
    done = await asyncio.to_thread(run_keyvault, "cluster", "step-down", *_asking(here, "admin/alice"))
    assert done.returncode == 0, done.stderr
    await here.until_leading(lambda node: node is not leader)
    async with here.client() as bot:
        await sign(bot, "r-1")
    await until(lambda: bool(_vkey(leader)))
    policy.write_text(_policy(here))
    first = await _gathered(here, policy, tmp_path / "first")
    assert first["cosigned"] > 0
    async with here.client() as bot:
        await sign(bot, "r-2")
    await asyncio.to_thread(here.audited, tmp_path)  # a copy of the database's ledger, as an auditor makes one
    ledger = tmp_path / "audited.db"
    found = await asyncio.to_thread(_audit, ledger, "--checkpoint", str(tmp_path / "first"), policy=policy)
    assert (found["problems"], found["cosigned"]["asked"]) == ([], "2 of 3")
    assert found["cosigned"]["entries"] >= first["cosigned"]
    assert found["cosigned"]["entries_after"] == found["entries"] - found["cosigned"]["entries"]
    alone = await asyncio.to_thread(_audit, ledger, policy=policy, status=1)
    assert "fewer than 2 of 3 cosigners vouch for any entry" in alone["problems"][0]["sentence"]


def _vkey(node: Node) -> str:
    """Return the key that the node's own log says it cosigns with; empty if it has not said so."""
    said = node.said("cosigning")
    return str(said[-1]["vkey"]) if said else ""


async def _cosigned(here: Nodes, leader: Node) -> None:
    """Return when every node that follows cosigned something."""
    for node in here.nodes:
        if node is leader:
            continue
        async with here.client("auditor-demo", node) as auditor, asyncio.timeout(30):
            while not (await auditor.get_node()).cosigned:  # noqa: ASYNC110  another process gets there
                await asyncio.sleep(0.05)


def _policy(here: Nodes) -> str:
    witnesses = "".join(f"witness {node.name} {_vkey(node)}\n" for node in here.nodes)
    names = " ".join(node.name for node in here.nodes)
    return f"log {here.log_vkey}\n{witnesses}group nodes 2 {names}\nquorum nodes\n"


async def _gathered(here: Nodes, policy: Path, folder: Path) -> dict[str, Any]:
    arguments = ("audit", "checkpoints", str(folder), "--cosigner-policy", str(policy))
    done = await asyncio.to_thread(run_keyvault, *arguments, *_asking(here, "auditor/demo"), "--json")
    return _document(done)


def _audit(ledger: Path, *options: str, policy: Path, status: int = 0) -> dict[str, Any]:
    done = run_keyvault("audit", "verify", str(ledger), "--cosigner-policy", str(policy), *options, "--json")
    return _document(done, status)


def _status(here: Nodes) -> str:
    done = run_keyvault("cluster", "status", *_asking(here, "auditor/demo"))
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def _asking(here: Nodes, identity: str) -> tuple[str, ...]:
    target = ",".join(node.address for node in here.nodes)
    return ("--deployment", str(here.nodes[0].folder), "--as", identity, "--target", target)


def _document(done: "subprocess.CompletedProcess[str]", status: int = 0) -> dict[str, Any]:
    assert done.returncode == status, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
