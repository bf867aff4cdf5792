"""Nodes whose tokens begin empty: how they join, and what they sign with."""

import asyncio
import hashlib
import json
import secrets
import shutil
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from keyvault.client import AsyncClient
from keyvault.client.results import Key
from keyvault.demo.nodes import Node, Nodes
from keyvault.demo.postgres import Cluster
from keyvault.hsm.create import create_empty_token
from tests.deployment import run_keyvault
from tests.e2e import desk
from tests.intents.building import dynamic_fee

WAIT_S = 60
SECRET = b"another secret of the exchange, rotated"


def node_id(here: Nodes, node: Node) -> str:
    """Return the node's principal."""
    assert node in here.nodes
    return f"spiffe://keyvault.local/node/{node.name}"


def run(*arguments: str) -> dict[str, Any]:
    """Run a command and return what it printed as JSON."""
    done = run_keyvault(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def offered(node: Node) -> Path:
    """Return the file of the node's transport key, made now by ``keyvault token offer``."""
    path = node.folder / "transport.pem"
    path.unlink(missing_ok=True)
    offer = run("token", "offer", "--config", str(node.config), "--out", str(path))
    assert len(offer["transport_key_sha256"]) == 64
    return path


def join(here: Nodes, node: Node) -> None:
    """Let alice propose the node's token and bob approve it, by the commands that people type."""
    target = ",".join(each.address for each in here.nodes)
    options = (
        "--deployment",
        str(here.nodes[0].folder),
        "--target",
        target,
        "--member",
        "alice",
        "--approve-with",
        "bob",
    )
    key = str(offered(node))
    told = run("token", "join", node_id(here, node), "--transport-key", key, "--reason", "a test", *options)
    assert told["proposal"]["state"] == "EXECUTED", told


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Return when it holds; some seconds at most."""
    try:
        async with asyncio.timeout(WAIT_S):
            while not await condition():  # noqa: ASYNC110  the condition is about other processes
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"{what}: it did not come to that") from None


async def until_proved(here: Nodes, nodes_: Iterable[Node]) -> dict[str, Key]:
    """Return the keys once every version of each is proved by exactly these nodes."""
    wanted = tuple(sorted(node_id(here, node) for node in nodes_))
    found: dict[str, Key] = {}

    async def proved() -> bool:
        async with here.client("admin-alice") as admin:
            for key in await admin.list_keys():
                for version in await admin.list_keys(key.key):
                    found[f"{version.key}/{version.version}"] = version
        return all(key.proved_by == wanted for key in found.values())

    await until(proved, f"keys proved by {wanted}, not {[(key.name, key.proved_by) for key in found.values()]}")
    return found


async def standing(here: Nodes, node: Node) -> tuple[str, str]:
    """Return why the node could not lead, and what its token lacks."""
    async with here.client("admin-alice", node) as admin:
        found = await admin.get_node()
    return found.obstacle, found.installing


async def sign_with_every_key(bot: AsyncClient, name: str) -> None:
    """P-256, secp256k1, Ed25519 and HMAC; all but the HMAC are verified by the SDK, which expects the same keys."""
    await bot.sign_digest("signer", hashlib.sha256(name.encode()).digest(), request_id=f"{name}-p256")
    await bot.sign_evm_transaction("eth", dynamic_fee(), request_id=f"{name}-secp256k1")
    await bot.sign_binance("ed", query=desk.order(), request_id=f"{name}-ed25519")
    signed = await bot.sign_binance("hmac", query=desk.order(), request_id=f"{name}-hmac")
    assert len(signed.signature) == 32


@contextmanager
def empty_nodes(folder: Path, moving: Path, postgres: Cluster, count: int = 3) -> Iterator[Nodes]:
    """Give running nodes over a database of their own, of which the first has the only token with keys."""
    database = f"tokens_{secrets.token_hex(4)}"
    postgres.create_database(database)
    made = Nodes(folder, moving, postgres, count=count, database=database)
    for node in made.nodes[1:]:
        shutil.rmtree(node.folder / "token")
        create_empty_token(node.folder / "token", "hot")
    try:
        made.start()
        yield made
    finally:
        made.close()
