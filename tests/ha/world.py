"""One world for many tests: three PostgreSQL servers, three nodes, and a proxy between each node and the servers.

A test borrows it, breaks something, and mends it again. If anything went otherwise than the test says, the world is
thrown away and the next test gets a new one.
"""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from keyvault.client import KeyvaultRpcError
from keyvault.demo.bot import signed_more, signing, until
from keyvault.demo.history import Load, check_history
from keyvault.demo.nodes import Node, Nodes
from keyvault.demo.postgres import Cluster, Server, cluster
from keyvault.demo.postgres_programs import memory
from tests.ha.proxy import Proxy

ENDED = "the term ended, following"


@dataclass(slots=True, kw_only=True)
class World:
    """What runs."""

    postgres: Cluster
    here: Nodes
    proxies: dict[str, Proxy]
    folder: Path
    loads: list[Load]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The world under load. ``leader`` led at the beginning."""

    world: World
    load: Load
    leader: Node

    @property
    def here(self) -> Nodes:
        return self.world.here

    @property
    def postgres(self) -> Cluster:
        return self.world.postgres

    @property
    def proxy(self) -> Proxy:
        """The leader's way to the database."""
        return self.world.proxies[self.leader.name]

    async def signed_more(self, count: int = 60) -> None:
        """So many more signatures come."""
        await signed_more(self.load, count)

    async def until_term_ended(self, before: int) -> None:
        """The leader says that its term is over, once more than ``before``."""
        await until(lambda: len(self.leader.said(ENDED)) > before)

    async def other_leads(self) -> Node:
        """Return another leader than at the beginning."""
        return await self.here.until_leading(lambda node: node is not self.leader)


class Shared:
    """Makes worlds, and lends them."""

    def __init__(self, prepared: Path) -> None:
        self._prepared = prepared
        self._opened = ExitStack()
        self._world: World | None = None
        self._trials = 0

    def close(self) -> None:
        """End the world."""
        self._world = None
        self._opened.close()

    @asynccontextmanager
    async def trial(self) -> AsyncIterator[Trial]:
        """Give the world under load; at the end no call has failed, and the history is one history."""
        world = await asyncio.to_thread(self._get)
        self._world = None  # until all went well
        try:
            async with self._under_load(world) as trial:
                yield trial
            assert trial.load.errors == []
            events = await asyncio.to_thread(world.here.audited, world.folder)
            for load in world.loads:
                check_history(load, events)
        except BaseException:
            await asyncio.to_thread(self._opened.close)
            raise
        self._world = world

    @asynccontextmanager
    async def _under_load(self, world: World) -> AsyncIterator[Trial]:
        self._trials += 1
        leader = await world.here.until_leading()
        load = Load()
        world.loads.append(load)
        async with world.here.client() as client, signing(client, "signer", load, f"t{self._trials}", in_flight=4):
            await signed_more(load, 40)
            yield Trial(world=world, load=load, leader=leader)

    def _get(self) -> World:
        if self._world is not None:
            return self._world
        postgres = self._opened.enter_context(cluster(standbys=2, parent=memory()))
        folder = Path(tempfile.mkdtemp(prefix="keyvault-ha-"))
        self._opened.callback(shutil.rmtree, folder, ignore_errors=True)
        targets = [server.port for server in postgres.servers]
        proxies = {f"node-{number + 1}": Proxy(targets) for number in range(3)}
        for each in proxies.values():
            self._opened.callback(each.close)
        here = Nodes(
            folder,
            self._prepared,
            postgres,
            conninfo_of=lambda number: postgres.conninfo(ports=proxies[f"node-{number + 1}"].ports),
        )
        self._opened.callback(here.close)
        here.start()
        self._world = World(postgres=postgres, here=here, proxies=proxies, folder=folder, loads=[])
        return self._world


def standbys(postgres: Cluster) -> list[Server]:
    """Return all servers but the primary."""
    return [server for server in postgres.servers if server is not postgres.primary]


async def is_refused(here: Nodes) -> bool:
    """Whether a call with two seconds of patience comes back UNAVAILABLE."""
    async with here.client(deadline_s=2) as client:
        try:
            await client.sign_digest("signer", bytes(32))
        except KeyvaultRpcError as error:
            return error.code is grpc.StatusCode.UNAVAILABLE
    return False
