"""Opened shared stores, one after another, and the two threads that use each: one reads, one writes."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from keyvault.store.base import SharedStore

R = TypeVar("R")


class Seat:
    """One opened store, and the two threads that use it."""

    def __init__(self, store: SharedStore, number: int) -> None:
        """``number``: how many were opened before it."""
        self.store = store
        self.number = number
        self.reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="keyvault-follower")
        self.writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="keyvault-writer")

    def let_go(self) -> None:
        """Cut the store off; whoever waits in it is told, and the threads end by themselves."""
        self.store.abandon()
        self.writer.submit(self.store.close)  # after the write that was cut off: it is not safe during it
        self.reader.shutdown(wait=False)
        self.writer.shutdown(wait=False)

    async def read(self, read: Callable[[], R]) -> R:
        """Run what reads. Raises what it raises, and RuntimeError once the store was let go."""
        return await asyncio.get_running_loop().run_in_executor(self.reader, read)

    async def write(self, write: Callable[[], R]) -> R:
        """Run what writes; nothing cancels it. Raises as ``read``."""
        return await asyncio.get_running_loop().run_in_executor(self.writer, write)


class Seats:
    """A node's stores: at most one is open, and each has a number of its own."""

    def __init__(self, open_store: Callable[[], SharedStore]) -> None:
        self.current: Seat | None = None
        """The one that is open."""
        self._open_store = open_store
        self._opened = 0

    async def taken(self) -> Seat:
        """Return the open store, or open one. Raises Unavailable, Broken."""
        if self.current is None:
            self.current = Seat(await asyncio.to_thread(self._open_store), self._opened)
            self._opened += 1
        return self.current

    def drop(self, seat: Seat | None = None) -> None:
        """Let the store go, if it is still this one; by default whichever it is."""
        if self.current is None or (seat is not None and self.current is not seat):
            return
        dropped, self.current = self.current, None
        dropped.let_go()
