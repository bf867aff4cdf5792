"""Three enclaves over two places and one database, real processes under light load: places die, return and leave."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from keyvault.client import AsyncClient
from keyvault.core.keys import KeyAlgorithm
from keyvault.demo.bot import signed_more, signing
from keyvault.demo.history import Load, check_history
from keyvault.demo.nodes import Node, Nodes
from keyvault.demo.postgres import Cluster
from tests.deployment import new_deployment, run_keyvault, served
from tests.e2e import desk

ENCLAVES = ("e1", "e2", "e3")
PLACES = ("rack-1", "rack-2")
EVENS_OUT = "handing over to even out"


@dataclass(slots=True, kw_only=True)
class Enclave:
    """One enclave, its nodes (one in each place, in their order), and what its bot had signed."""

    here: Nodes
    load: Load = field(default_factory=Load)


def _prepare(folder: Path, name: str) -> Path:
    """Make a deployment of this enclave with a key and a policy."""
    made = new_deployment(folder, "--enclave", name)

    async def fill() -> None:
        admin = desk.credentials(made, "admin-alice")
        async with AsyncClient(f"127.0.0.1:{made.port}", admin, enclave=name, deadline_s=30) as client:
            desk.assert_done(await client.create_key("signer", KeyAlgorithm.P256, **desk.two(made)))
            rules = tuple(rule for rule in desk.POLICY.rules if rule.id == "digests")
            policy = replace(desk.POLICY, rules=rules, limits=())
            desk.assert_done(await desk.ended(client, await client.publish_policy(policy, **desk.two(made))))

    with served(made):
        asyncio.run(fill())
    return folder


@pytest.fixture(scope="module")
def enclaves(tmp_path_factory: pytest.TempPathFactory, spare: Cluster) -> Iterator[list[Enclave]]:
    """Give the enclaves with nodes in two places; none of them runs."""
    folder = tmp_path_factory.mktemp("spread")
    with ThreadPoolExecutor(max_workers=2) as workers:
        prepared = list(workers.map(lambda name: _prepare(folder / name, name), ENCLAVES))
    spare.create_database("spread")
    made: list[Enclave] = []
    try:
        for name, each in zip(ENCLAVES, prepared, strict=True):
            nodes = Nodes(folder / f"{name}-nodes", each, spare, count=len(PLACES), enclave=name, database="spread")
            made.append(Enclave(here=nodes))
            for node, place in zip(nodes.nodes, PLACES, strict=True):
                node.config.write_text(f'{node.config.read_text()}place = "{place}"\n')  # [postgres] stands last
        yield made
    finally:
        for enclave in made:
            enclave.here.close()


@asynccontextmanager
async def _under_load(enclaves: Sequence[Enclave]) -> AsyncIterator[None]:
    async with AsyncExitStack() as opened:
        for each in enclaves:
            client = await opened.enter_async_context(each.here.client())
            bot = signing(client, "signer", each.load, each.here.enclave, in_flight=2, pause_s=0.05)
            await opened.enter_async_context(bot)
        yield


def _spread(enclaves: Sequence[Enclave]) -> Counter[str]:
    """Return how many enclaves are led in each place, as the database and the nodes' logs have it."""
    leaders = [(each.here, each.here.leader()) for each in enclaves]
    return Counter(PLACES[here.nodes.index(leader)] for here, leader in leaders if leader is not None)


async def _until_spread(enclaves: Sequence[Enclave], wanted: Mapping[str, int]) -> None:
    """Return when the places lead so many; whichever way, and however long a busy machine takes."""
    async with asyncio.timeout(180):
        while await asyncio.to_thread(_spread, enclaves) != wanted:  # noqa: ASYNC110  it happens in other processes
            await asyncio.sleep(0.2)


async def _all_sign(enclaves: Sequence[Enclave]) -> None:
    await asyncio.gather(*(signed_more(each.load, 5) for each in enclaves))


def _at(place: str, enclaves: Sequence[Enclave]) -> list[Node]:
    return [each.here.nodes[PLACES.index(place)] for each in enclaves]


async def _each(nodes: Sequence[Node], what: Callable[[Node], object]) -> None:
    await asyncio.gather(*(asyncio.to_thread(what, node) for node in nodes))


def _moves(enclaves: Sequence[Enclave]) -> list[dict[str, object]]:
    return [line for each in enclaves for node in each.here.nodes for line in node.said(EVENS_OUT)]


def _status(enclave: Enclave, *options: str) -> str:
    target = ",".join(node.address for node in enclave.here.nodes)
    alice = ("--deployment", str(enclave.here.nodes[0].folder), "--as", "admin/alice")
    done = run_keyvault("cluster", "status", *alice, "--target", target, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(300)  # leads are held for 30 s, and six nodes start on what cores there are
async def test_places_share_the_enclaves_whatever_comes_and_goes(enclaves: list[Enclave], tmp_path: Path) -> None:
    """A place dies: all is led. It comes back: it gets its share. The other leaves: all is led. No call ever fails."""
    for each in enclaves:
        each.here.start()
    async with _under_load(enclaves):
        await _all_sign(enclaves)
        leader = await enclaves[0].here.until_leading()
        # Where the enclave that moves first is led: so its term is old when the other place is back.
        stays, goes = sorted(PLACES, key=lambda place: leader not in _at(place, enclaves))

        await _each(_at(goes, enclaves), Node.kill)
        await _until_spread(enclaves, {stays: 3})
        await _all_sign(enclaves)

        moves = len(await asyncio.to_thread(_moves, enclaves))
        await _each(_at(goes, enclaves), lambda node: node.start())
        await _until_spread(enclaves, {stays: 2, goes: 1})
        moved = (await asyncio.to_thread(_moves, enclaves))[moves:]
        assert [line["to"] for line in moved] == [goes]
        await _all_sign(enclaves)
        await _until_it_shows(enclaves[0], {stays: 2, goes: 1})

        await _each(_at(stays, enclaves), _stop)
        await _until_spread(enclaves, {goes: 3})
        await _all_sign(enclaves)
    for each in enclaves:
        assert each.load.errors == []
        check_history(each.load, await asyncio.to_thread(each.here.audited, _folder(tmp_path, each.here.enclave)))


async def _until_it_shows(enclave: Enclave, loads: Mapping[str, int]) -> None:
    """The nodes know how the enclaves are spread, and `cluster status` says it, to people and to programs."""
    nodes: list[dict[str, Any]] = []

    def shows() -> bool:
        nodes[:] = json.loads(_status(enclave, "--json"))["nodes"]
        seen = [{place["place"]: len(place["leads"]) for place in node["places"]} for node in nodes]
        return seen == [loads, loads]

    async with asyncio.timeout(60):
        while not await asyncio.to_thread(shows):  # noqa: ASYNC110  what is waited for happens in other processes
            await asyncio.sleep(0.2)
    assert [node["place"] for node in nodes] == list(PLACES)
    assert [place["able"] for place in nodes[0]["places"]] == [list(ENCLAVES), list(ENCLAVES)]
    text = await asyncio.to_thread(_status, enclave)
    assert "could lead" in text
    assert "rack-2" in text


def _stop(node: Node) -> None:
    assert node.stop() == 0


def _folder(parent: Path, name: str) -> Path:
    made = parent / name
    made.mkdir()
    return made
