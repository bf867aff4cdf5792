"""A few bytes of memory for a secret that must pass through a worker: not swapped out, and zeros afterwards."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

Buffer: TypeAlias = "ctypes.Array[ctypes.c_char]"


class NotLocked(OSError):
    """The kernel does not keep the memory from being swapped out."""


@contextmanager
def locked_buffer(size: int) -> Iterator[Buffer]:
    """Give a buffer that is in no swap file while the block runs, and is zero after it, whatever happens.

    The process must have no core dumps (``harden``). Nobody may make ``bytes`` of it: Python cannot erase those.
    Raises NotLocked.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(size)
    where = ctypes.c_void_p(ctypes.addressof(buffer))
    if libc.mlock(where, ctypes.c_size_t(size)) != 0:
        raise NotLocked(ctypes.get_errno(), "mlock")
    try:
        yield buffer
    finally:
        ctypes.memset(where, 0, size)
        # Whatever else of ours lies in the page may be swapped out again; a secret does not.
        libc.munlock(where, ctypes.c_size_t(size))
