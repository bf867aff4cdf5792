"""Tells the other nodes of the database that this one is there, and follows ``engine.spread``'s advice: its shell.

It runs beside the node's terms and touches nothing of them but what an operator may: a wish to hand over. What fails
here, or hangs, costs advice, and never a term.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from keyvault.core import limits
from keyvault.engine.clock import since_boot
from keyvault.engine.spread import Spread
from keyvault.engine.standing import PlaceStanding, Reporter, Spreader
from keyvault.store.base import Board, Presence

_REPORT_S = limits.SPREAD_REPORT_MS / 1000
_READ_S = limits.SPREAD_READ_MS / 1000


class Spreading:
    """One node's part. ``holder`` is its process, ``address`` where it is called.

    ``place`` is where it runs; empty if it takes no part.
    """

    def __init__(
        self,
        *,
        open_board: Callable[[], Board],
        node: Spreader,
        enclave: str,
        place: str,
        holder: str,
        address: str,
        reporter: Reporter,
    ) -> None:
        self.place = place
        self._open_board = open_board
        self._node = node
        self._holder = holder
        self._address = address
        self._reporter = reporter
        self._spread = Spread(enclave=enclave, place=place, now=since_boot())
        self._board: Board | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="keyvault-board")

    async def run(self) -> None:
        """Report, read and advise until it is cancelled, at a pace that keeps nodes apart. Without a place return."""
        if not self.place:
            return
        try:
            while True:
                await self._once()
                await asyncio.sleep(_REPORT_S * random.uniform(0.9, 1.1))  # noqa: S311  spreads nodes, no secret
        finally:
            self._let_go()
            self._thread.shutdown(wait=False)

    def places(self) -> tuple[PlaceStanding, ...]:
        """Return every place of the database as this node sees it, by name; none before it saw any."""
        picture = self._spread.picture
        return tuple(
            PlaceStanding(
                place=place,
                leads=tuple(each for each in picture.enclaves if picture.leads.get(each) == place),
                able=tuple(each for each in picture.enclaves if (each, place) in picture.able),
            )
            for place in picture.places
        )

    async def _once(self) -> None:
        eligible = not self._node.standing().obstacle
        try:
            reading = asyncio.get_running_loop().run_in_executor(self._thread, self._exchange, eligible)
            nodes = await asyncio.wait_for(reading, _READ_S)
            self._spread.saw(nodes, leads=self._node.standing().leads, now=since_boot())
            yields, move = self._spread.yields(), self._spread.advice(since_boot())
        except Exception:  # noqa: BLE001  whatever a database says here, or does not: it costs advice and no more
            self._let_go()
            self._spread.failed(since_boot())
            yields, move = False, None
        self._node.set_yields(yields=yields)
        if move is not None:
            self._reporter.evens_out(move.to)
            self._node.hand_over_briefly()

    def _exchange(self, eligible: bool) -> Sequence[Presence]:  # noqa: FBT001 (the executor passes no names)
        """Report and read; in the thread. A board that was let go meanwhile is not used again."""
        board = self._board
        if board is None:
            board = self._board = self._open_board()
        board.report(place=self.place, holder=self._holder, address=self._address, eligible=eligible)
        return board.nodes()

    def _let_go(self) -> None:
        board, self._board = self._board, None
        if board is not None:
            board.abandon()
            with suppress(RuntimeError):  # the thread is shut down
                self._thread.submit(board.close)  # after what was cut off: it is not safe during it
