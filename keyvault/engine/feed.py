"""Brings a peer of a pair up to date from this node's ledger, one message at a time, and knows how far it is."""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from keyvault.core import limits
from keyvault.core.errors import Malformed, RolledBack, Unavailable
from keyvault.core.ids import Principal
from keyvault.core.marks import Mark
from keyvault.store.base import Entry, Head, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Entries for a peer that has exactly ``expected``; none is a sign of life.

    ``settled``: so many entries every follower has. ``signed``: the newest checkpoint. ``whole``: how many entries
    whoever sends it has.
    """

    expected: Head
    entries: Sequence[Entry]
    settled: int
    signed: tuple[int, bytes] | None = None
    whole: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a peer has, the newest checkpoint that it compared with it, and what it lacks to lead, in words.

    ``remembered``: by its token. ``named``: whom members named in its ledger, and at which entry. ``node``: itself.
    """

    head: Head
    signed: tuple[int, bytes] | None = None
    obstacle: str = ""
    remembered: Mark | None = None
    named: tuple[Principal, int] | None = None
    node: Principal


class Link(Protocol):
    """The way to one peer."""

    node: Principal
    address: str

    async def look(self) -> Look:
        """Return what the peer has. Raises Unavailable."""

    async def push(self, batch: Batch) -> Look:
        """Return what the peer has when the entries are durable there. Raises Fenced if it refuses, Unavailable."""

    async def close(self) -> None:
        """Let it go."""


class Source(Protocol):
    """The ledger of the node that feeds (``Replica``)."""

    @property
    def copy(self) -> Store:
        """Its entries."""

    def root_at(self, size: int) -> bytes:
        """Return the root over its first entries. Raises Malformed if there are fewer."""


class Feed:
    """One peer. Whatever fails, the next call begins by asking what the peer has."""

    def __init__(self, link: Link, source: Source) -> None:
        self.head: Head | None = None
        """What the peer has; None if that must be asked."""
        self.told: Look | None = None
        """What it said last, however long ago."""
        self.obstacle = ""
        """Why it has not got everything, in words, if that is known."""
        self._link = link
        self._source = source
        self._turn = asyncio.Lock()
        self._told = 0

    @property
    def node(self) -> Principal:
        """Who the peer is."""
        return self._link.node

    @property
    def address(self) -> str:
        """Where it is called."""
        return self._link.address

    @property
    def head_size(self) -> int:
        """How many entries it said that it has; 0 if it said nothing."""
        return 0 if self.told is None else self.told.head.size

    @property
    def lacks(self) -> str:
        """What it said that it lacks to lead."""
        return "" if self.told is None else self.told.obstacle

    async def ask(self) -> None:
        """Find out what the peer has. Raises Unavailable."""
        async with self._turn:
            await self._noted(self._asked())

    async def bring(self, settled: int) -> None:
        """Return when the peer has all that is durable on this node now, and was told what is settled.

        Raises RolledBack if the peer has what this node has not; Fenced if it follows somebody else; Unavailable.
        """
        async with self._turn:
            await self._noted(self._bring(settled))

    async def send(self, expected: Head, entries: Sequence[Entry], new: Head) -> None:
        """Return when the peer has these new entries, which are durable here. Raises as ``bring``."""
        async with self._turn:
            if self.head is not None and self.head.size >= new.size:  # a sign of life was faster
                return
            if self.head == expected:
                await self._noted(self._send(expected, entries, new))
            else:
                await self._noted(self._bring(expected.size))

    async def _noted(self, work: Coroutine[None, None, Head]) -> None:
        """Do it; what the peer has is known again only when it is done."""
        try:
            self.head, self.obstacle = await work, ""
        except BaseException as error:
            self.head, self.obstacle = None, str(error) or "it did not answer in time"
            raise

    async def _bring(self, settled: int) -> Head:
        start, to = self.head or await self._asked(), self._source.copy.head()
        self._check(start, to)
        while start.size < to.size:
            entries = self._source.copy.read_entries(start.size, min(to.size - start.size, _MOST))
            start = await self._push(start, entries, settled, to.size)
        return self._confirmed(await self._push(start, (), settled, to.size), to)

    async def _send(self, expected: Head, entries: Sequence[Entry], new: Head) -> Head:
        return self._confirmed(await self._push(expected, entries, expected.size, new.size), new)

    async def _asked(self) -> Head:
        self._told = 0
        return self._heard(await self._link.look())

    def _heard(self, found: Look) -> Head:
        if found.node != self.node:
            raise Unavailable(f"{found.node} answers at {self.address}, where {self.node} is configured")
        self.told = found
        return found.head

    def _confirmed(self, found: Head, to: Head) -> Head:
        """Return it if the peer has exactly this: a head that stays behind confirms nothing."""
        self._check(found, to)
        if found != to:
            raise Unavailable(f"{self.node} has {found.size} entries and should have {to.size}")
        return found

    async def _push(self, start: Head, entries: Sequence[Entry], settled: int, whole: int) -> Head:
        """Push in as many messages as it takes; return what the peer has then."""
        for part in _parts(entries):
            signed = self._source.copy.checkpoint()
            news = signed if signed is not None and signed[0] > self._told else None
            batch = Batch(expected=start, entries=part, settled=settled, signed=news, whole=whole)
            start = self._heard(await self._link.push(batch))
            if news is not None and news[0] <= start.size:
                self._told = news[0]
        return start

    def _check(self, head: Head, to: Head) -> None:
        """Raise RolledBack unless this node's ledger begins with what the peer has."""
        if head.size > to.size:
            raise RolledBack(
                f"{self.node} has {head.size} entries, this node has {to.size}: it lacks what was confirmed"
            )
        try:
            same = head == to if head.size == to.size else self._source.root_at(head.size) == head.root
        except Malformed as error:
            raise RolledBack(f"{self.node} has {head.size} entries, which cannot be compared: {error}") from error
        if not same:
            raise RolledBack(f"{self.node} has other entries than this node among its {head.size}")


_MOST = limits.PAIR_BATCH_ENTRIES_MAX


def _parts(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Yield what fits into one message each; one without entries if there are none."""
    part: list[Entry] = []
    size = 0
    for entry in entries:
        more = len(entry.body) + len(entry.request_key or b"")
        if part and (size + more > limits.PAIR_BATCH_BYTES_MAX or len(part) == _MOST):
            yield part
            part, size = [], 0
        part.append(entry)
        size += more
    yield part
