"""Frames over a socket on the event loop: one question at a time, answered within a deadline or never again.

After a timeout, the end of the stream, or a word out of turn the channel is lost for good: a late answer can never be
taken for the answer to another question.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from keyvault.core.limits import TOKEN_FRAME_BYTES_MAX
from keyvault.hsm.frames import HEADER, BrokenStream


class Channel(asyncio.Protocol):
    """Our end of a socket pair. Make it with ``open_channel``; use it on that event loop only."""

    def __init__(self, on_lost: Callable[[], None]) -> None:
        self.lost = False
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answer: asyncio.Future[bytes] | None = None

    async def exchange(self, message: bytes, deadline_s: float) -> bytes:
        """Return the answer to one message. Raises TimeoutError or BrokenStream; then the channel is lost."""
        if self.lost or self._answer is not None or self._transport is None:
            raise BrokenStream("the channel is lost or busy")
        if len(message) > TOKEN_FRAME_BYTES_MAX:
            raise BrokenStream(f"{len(message)} bytes are more than one frame may have")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        self._answer = answer
        late = loop.call_later(deadline_s, self._lose, TimeoutError("no answer within the deadline"))
        try:
            self._transport.write(HEADER.pack(len(message)) + message)
            return await answer
        finally:
            late.cancel()
            self._answer = None
            if not answer.done() or answer.cancelled():
                self._lose(BrokenStream("the question was given up"))

    def close(self) -> None:
        """Close our end."""
        self._lose(BrokenStream("the channel is closed"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._received += data
        if len(self._received) < HEADER.size:
            return
        (size,) = HEADER.unpack_from(self._received)
        end = HEADER.size + size
        if size > TOKEN_FRAME_BYTES_MAX or len(self._received) > end or self._answer is None:
            self._lose(BrokenStream("the peer sent what is no answer"))
        elif len(self._received) == end and not self._answer.done():
            self._answer.set_result(bytes(self._received[HEADER.size :]))
            self._received.clear()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        del exc
        self._lose(BrokenStream("the peer closed the stream"))

    def _lose(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        if self.lost:
            return
        self.lost = True
        if self._transport is not None:
            self._transport.abort()
        self._on_lost()


async def open_channel(stream: socket.socket, on_lost: Callable[[], None]) -> Channel:
    """Return a channel that owns the connected socket. ``on_lost`` is called once, when it is of no use any more."""
    stream.settimeout(0)
    loop = asyncio.get_running_loop()
    _, channel = await loop.create_unix_connection(lambda: Channel(on_lost), sock=stream)
    return channel
