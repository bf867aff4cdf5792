"""A TCP proxy between one node and the database servers, that breaks on purpose: cut, or swallow everything."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Sequence

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER for close(2) to send RST (socket(7))."""
_CHUNK = 65_536


class Proxy:
    """Passes until told otherwise. ``ports`` lead to the targets, in their order."""

    def __init__(self, targets: Sequence[int]) -> None:
        self.ports: list[int] = []
        self._loop = asyncio.new_event_loop()
        self._passing = asyncio.Event()
        self._passing.set()
        self._refusing = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        for target in targets:
            self.ports.append(asyncio.run_coroutine_threadsafe(self._listen(target), self._loop).result())

    def cut(self) -> None:
        """Reset every connection, and every new one."""

        def now() -> None:
            self._refusing = True
            for writer in list(self._writers):
                _reset(writer)

        self._call(now)

    def swallow(self) -> None:
        """Pass nothing on, in no direction, and say nothing: as a network that lost its way."""
        self._call(self._passing.clear)

    def heal(self) -> None:
        """Pass again, what was held first."""

        def now() -> None:
            self._refusing = False
            self._passing.set()

        self._call(now)

    def close(self) -> None:
        """End everything."""

        async def end() -> None:
            for server in self._servers:
                server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        self.cut()
        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._call(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, what: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(what)

    async def _listen(self, target: int) -> int:
        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = self._loop.create_task(self._connect(target, reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        server = await asyncio.start_server(accepted, "127.0.0.1", 0)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def _connect(self, target: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._passing.wait()
        if self._refusing:
            _reset(writer)
            return
        try:
            upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            _reset(writer)
            return
        both = {writer, upstream}
        self._writers |= both
        try:
            await asyncio.gather(self._pump(reader, upstream), self._pump(upstream_reader, writer))
        finally:
            self._writers -= both
            for each in both:
                each.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(_CHUNK):
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
