"""Messages over a stream socket: a 4-byte big-endian length, then so many bytes, bounded."""

import socket
import struct
import time

from keyvault.core.limits import TOKEN_FRAME_BYTES_MAX

HEADER = struct.Struct(">I")


class BrokenStream(ConnectionError):
    """The peer is gone, or what it sent is no frame."""


def send(stream: socket.socket, message: bytes, deadline: float | None = None) -> None:
    """Send one frame. ``deadline`` is a time.monotonic(); raises TimeoutError after it, OSError for a dead peer."""
    if len(message) > TOKEN_FRAME_BYTES_MAX:
        raise BrokenStream(f"{len(message)} bytes are more than one frame may have")
    _arm(stream, deadline)
    stream.sendall(HEADER.pack(len(message)) + message)  # its timeout covers the whole call


def receive(stream: socket.socket, deadline: float | None = None) -> bytes:
    """Return the next frame's content. Raises BrokenStream at the end of the stream, else as ``send``."""
    (size,) = HEADER.unpack(_exactly(stream, HEADER.size, deadline))
    if size > TOKEN_FRAME_BYTES_MAX:
        raise BrokenStream(f"a frame of {size} bytes is announced")
    return bytes(_exactly(stream, size, deadline))


def _exactly(stream: socket.socket, size: int, deadline: float | None) -> bytearray:
    content = bytearray(size)
    view = memoryview(content)
    filled = 0
    while filled < size:
        _arm(stream, deadline)
        count = stream.recv_into(view[filled:])
        if count == 0:
            raise BrokenStream("the peer closed the stream")
        filled += count
    return content


def _arm(stream: socket.socket, deadline: float | None) -> None:
    if deadline is None:
        stream.settimeout(None)
        return
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    stream.settimeout(left)
