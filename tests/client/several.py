"""Several servers of one enclave, and places where no server is."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from keyvault.client import AsyncClient
from keyvault.core.errors import NotLeader
from keyvault.rpc.status import Failure, failure_of
from tests.client.scripted import ScriptedServer, Time, scripted

Servers = tuple[ScriptedServer, ScriptedServer, ScriptedServer]


@asynccontextmanager
async def three(folder: Path) -> AsyncIterator[Servers]:
    """Serve one enclave at three addresses: the same keys, each with a script of its own."""
    async with (
        scripted(folder) as first,
        scripted(folder, beside=first) as second,
        scripted(folder, beside=first) as third,
    ):
        yield first, second, third


def client(
    server: ScriptedServer,
    *addresses: str,
    time: Time | None = None,
    deadline_s: float = 40.0,
    attempt_deadline_s: float = 20.0,
) -> AsyncClient:
    """Return a client with the credentials of ``server`` and these addresses."""
    return AsyncClient(
        ",".join(addresses),
        server.credentials,
        enclave="hot",
        deadline_s=deadline_s,
        attempt_deadline_s=attempt_deadline_s,
        timing=(time or Time()).timing,
    )


def client_of(*servers: ScriptedServer, time: Time | None = None, deadline_s: float = 40.0) -> AsyncClient:
    """Return a client of all of them, in this order."""
    return client(servers[0], *(server.address for server in servers), time=time, deadline_s=deadline_s)


def leads(server: ScriptedServer) -> Failure:
    """Return what a standby says while ``server`` leads."""
    return failure_of(NotLeader(server.address))


NOBODY_LEADS = failure_of(NotLeader())


def refusing() -> str:
    """Return an address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


@asynccontextmanager
async def mute() -> AsyncIterator[str]:
    """Give the address of a listener that accepts every connection and never says anything."""
    writers: list[asyncio.StreamWriter] = []

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with suppress(ConnectionError):
            while await reader.read(65_536):
                pass

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for writer in writers:
            writer.transport.abort()
        for writer in writers:
            with suppress(ConnectionError):
                await writer.wait_closed()


@contextmanager
def deaf() -> Iterator[str]:
    """Give the address of a listener that never accepts, with a queue that is full: to connect to it takes for ever."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.settimeout(0)
            each.connect_ex(listener.getsockname())
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            for each in waiting:
                each.close()
