"""The shell of engine.spread: what it tells the table and the node, and what becomes of it when the table fails."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from keyvault.core.errors import Unavailable
from keyvault.core.ids import Epoch
from keyvault.engine.spreading import Spreading
from keyvault.engine.standing import Standing
from keyvault.store.base import Board, Presence
from keyvault.store.memory import MemoryBoard, MemoryDatabase, MemoryMedium

ENDED_S = 30
"""Longest wait for anything."""


class Here:
    """A node that follows, as the shell sees it; it keeps what it is told."""

    def __init__(self) -> None:
        self.obstacle = ""
        self.yields: list[bool] = []
        self.handed_over = 0
        self.told = asyncio.Event()

    def standing(self) -> Standing:
        return Standing(
            address="kv-1:7443",
            leads=False,
            leader="",
            epoch=Epoch(1),
            position=1,
            checkpoint=(0, b""),
            cosigned=b"",
            obstacle=self.obstacle,
            drained=bool(self.obstacle),
            quarantined=False,
            cosigner_vkey="",
        )

    def hand_over_briefly(self) -> None:
        self.handed_over += 1

    def set_yields(self, *, yields: bool) -> None:
        self.yields.append(yields)
        self.told.set()

    def leads(self, epoch: int) -> None:
        """See Reporter."""

    def ended(self, epoch: int, why: str) -> None:
        """See Reporter."""

    def cosigns(self, vkey: str) -> None:
        """See Reporter."""

    def quarantined(self, why: str) -> None:
        """See Reporter."""

    def evens_out(self, place: str) -> None:
        """See Reporter."""

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when the condition holds, which is looked at whenever the node was told something."""
        async with asyncio.timeout(ENDED_S):
            while not condition():
                self.told.clear()
                await self.told.wait()


class SilentBoard:
    """A board on a connection that was accepted, and on which nothing ever comes."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self.closed = False

    def report(self, **_said: str | bool) -> None:
        """Wait for an answer."""
        if self._ours.recv(1) == b"":
            raise Unavailable("cut off")

    def nodes(self) -> list[Presence]:
        """Never comes to this."""
        raise AssertionError

    def abandon(self) -> None:
        """See Board."""
        self._ours.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """See Board."""
        self.closed = True
        self._ours.close()
        self._theirs.close()


@asynccontextmanager
async def running(here: Here, open_board: Callable[[], Board]) -> AsyncIterator[Spreading]:
    spreading = Spreading(
        open_board=open_board,
        node=here,
        enclave="hot",
        place="rack-1",
        holder="process-1",
        address="kv-1:7443",
        reporter=here,
    )
    task = asyncio.create_task(spreading.run())
    try:
        yield spreading
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_a_node_says_how_it_stands() -> None:
    """Its place, process and address; and that it could not lead any more, as soon as that is so."""
    database, here = MemoryDatabase(media={"hot": MemoryMedium()}), Here()
    async with running(here, lambda: MemoryBoard(database, "hot")) as spreading:
        await here.until(lambda: bool(here.yields))
        (said,) = database.said.values()
        assert (said.place, said.holder, said.address, said.eligible) == ("rack-1", "process-1", "kv-1:7443", True)
        assert spreading.places() == ()  # not even itself: nobody is there before a second sign of life
        await here.until(lambda: spreading.places() != ())
        assert [(each.place, each.leads, each.able) for each in spreading.places()] == [("rack-1", (), ("hot",))]
        here.obstacle = "it is drained"
        await here.until(lambda: spreading.places() == ())
        (said,) = database.said.values()
        assert not said.eligible
    assert here.handed_over == 0


async def test_a_table_that_never_answers_is_let_go() -> None:
    """The node yields to nobody meanwhile, leads or follows as before, and finds the next server."""
    database, here, silent = MemoryDatabase(media={"hot": MemoryMedium()}), Here(), SilentBoard()
    boards: list[Board] = [MemoryBoard(database, "hot"), silent]
    async with running(here, boards.pop) as spreading:
        await here.until(lambda: bool(here.yields))
        assert here.yields == [False]
        assert spreading.places() == ()
        await here.until(lambda: spreading.places() != ())
    assert silent.closed
    assert here.handed_over == 0


async def test_a_table_that_fails_in_any_way_costs_advice_only() -> None:
    """Whatever it raises, the shell goes on and asks a new one."""
    database, here = MemoryDatabase(media={"hot": MemoryMedium()}), Here()
    failures = iter([Unavailable("no server"), TypeError("rows of another shape")])

    def open_board() -> Board:
        for error in failures:
            raise error
        return MemoryBoard(database, "hot")

    async with running(here, open_board) as spreading:
        await here.until(lambda: spreading.places() != ())
    assert here.yields[:2] == [False, False]
