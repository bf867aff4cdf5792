"""Runs one node of an enclave that several nodes share: follows, takes over, leads, gives up, and begins again.

The shell of ``engine.lease``, which decides when; here is only how. Two threads reach the shared store: one reads
(leases, entries), one writes (take-over, appends, beats), and a term's appends go through the very store of its
take-over. Every term ends the same way, whatever ended it: callers are told, the store is cut off, what it had
acknowledged becomes part of the copy, and the node follows again.

What ends the node for good: a ledger that is not what was written (Corrupt), and a copy that cannot be kept. A store
that was rolled back does not: the node serves reads from its copy and never leads (quarantine).
"""

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from keyvault.core import limits
from keyvault.core.errors import Broken, Conflict, Corrupt, KeyvaultError, RolledBack, Unavailable
from keyvault.core.ids import Epoch
from keyvault.engine.clock import Clock, since_boot
from keyvault.engine.cosigning import Cosigning
from keyvault.engine.enclave import Enclave, Identity
from keyvault.engine.follower import Follower
from keyvault.engine.lease import Leadership
from keyvault.engine.lease_events import (
    Acknowledged,
    Beat,
    Effect,
    Eligible,
    EndTerm,
    Event,
    Lead,
    LetGo,
    Look,
    LookFailed,
    Saw,
    StepDown,
    StepDownNow,
    SteppedDown,
    TakeOver,
    TakeOverFailed,
    TookOver,
    Woke,
    WriteFailed,
    Yields,
)
from keyvault.engine.mirror import Mirror
from keyvault.engine.node import Node
from keyvault.engine.observer import Observer
from keyvault.engine.peers import Peers
from keyvault.engine.replica import Replica
from keyvault.engine.seat import Seat, Seats
from keyvault.engine.standing import Reporter, Standing
from keyvault.hsm.base import Token
from keyvault.store.base import SharedStore


class Terms:
    """One node's terms, one after the other."""

    def __init__(  # noqa: PLR0913 (the parts of a node)
        self,
        *,
        open_store: Callable[[], SharedStore],
        replica: Replica,
        node: Node,
        token: Token,
        clock: Clock,
        identity: Identity,
        address: str,
        observer: Observer,
        reporter: Reporter,
        peers: Peers,
    ) -> None:
        self._seats = Seats(open_store)
        self._replica = replica
        self._node = node
        self._token = token
        self._clock = clock
        self._identity = identity
        self._address = address
        self._observer = observer
        self._reporter = reporter
        self._leadership = Leadership(now=since_boot(), jitter=random.random())  # noqa: S311  spreads nodes, no secret
        node.may_lead = lambda: self._leadership.leads(since_boot()) is not None
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._enclave: Enclave | None = None
        self._mirror: Mirror | None = None
        self._ending: asyncio.Task[None] | None = None
        self._ends = self._drained = False
        self._obstacle, self._untaken = "it has not looked at the ledger yet", ""
        self._leaves_at = 0.0
        self._cosigning = node.cosigning = Cosigning(token, clock, address, reporter.cosigns)
        self._follower = Follower(replica, node, token, self._cosigning, peers)

    async def run(self) -> None:
        """Follow and lead until ``drain``, or until something ends the node, which resolves ``node.stopped``."""
        if self._replica.quarantine is not None:
            self._quarantined(RolledBack(self._replica.quarantine.found))
        while not self._node.stopped.done():
            event = await self._next_event()
            for effect in self._leadership.step(event):
                await self._do(effect)
            if self._ends and self._leadership.leads(since_boot()) is None and self._enclave is None:
                break
        await self._close()

    def standing(self) -> Standing:
        """See Member."""
        return Standing(
            address=self._address,
            leads=self._node.leads,
            leader=self._node.leader,
            epoch=Epoch(self._replica.state.epoch),
            position=self._node.size,
            checkpoint=self._replica.copy.checkpoint() or (0, b""),
            obstacle=self._why_not() or self._untaken,
            drained=self._drained,
            quarantined=bool(self._follower.quarantine),
            cosigner_vkey=self._cosigning.vkey,
            cosigned=self._cosigning.note,
        )

    async def hand_over(self) -> None:
        """See Member."""
        self._say(StepDown(now=since_boot()))
        await self._led_no_more()

    def hand_over_briefly(self) -> None:
        """See Spreader."""
        self._say(StepDown(now=since_boot(), briefly=True))

    def set_yields(self, *, yields: bool) -> None:
        """See Spreader."""
        self._say(Yields(yields=yields, now=since_boot()))

    async def set_drained(self, *, drained: bool) -> None:
        """See Member."""
        self._drained = drained
        if drained:
            self._say(Eligible(is_eligible=False, now=since_boot()))
            await self._led_no_more()

    def drain(self) -> None:
        """Hand over if this node leads, and lead no more; ``run`` returns."""
        self._ends = self._drained = True
        self._say(Eligible(is_eligible=False, now=since_boot()))

    async def _led_no_more(self) -> None:
        while self._enclave is not None:
            await self._node.next_change()

    def _why_not(self) -> str:
        """Return why this node could not lead; empty if it could, or does."""
        if self._follower.quarantine:
            return self._follower.quarantine
        if self._drained:
            return "it is drained"
        return "" if self._enclave is not None else self._obstacle

    async def _next_event(self) -> Event:
        wait_s = max(0.0, self._leadership.wake_at - since_boot())
        try:
            return await asyncio.wait_for(self._events.get(), min(wait_s, 3_600))
        except TimeoutError:
            return Woke(now=since_boot())

    async def _do(self, effect: Effect) -> None:
        match effect:
            case Look():
                self._spawn(self._look())
            case TakeOver():
                self._spawn(self._take_over(effect))
            case LetGo():
                self._untaken = f"the database did not acknowledge its take-over within {limits.LEASE_TERM_MS} ms"
                self._seats.drop()
            case Lead():
                self._spawn(self._lead(effect.epoch))
            case Beat():
                self._spawn(self._beat(effect.epoch))
            case StepDownNow():
                self._spawn(self._hand_over(effect.epoch))
            case EndTerm():
                self._end_term(effect.epoch, str(effect.ending))

    # Following ------------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        try:
            await self._ended()
            seat = await self._seats.taken()
            lease = await asyncio.wait_for(seat.read(seat.store.lease), limits.LEASE_SILENCE_MS / 1000)
        except (Unavailable, Broken, TimeoutError) as error:  # a server that hangs may have been replaced
            self._seats.drop()
            self._tell_eligible(str(error) or "the database does not answer")
            self._say(LookFailed(now=since_boot()))
            if isinstance(error, Corrupt):
                self._stop(error)
            return
        leader = self._follower.saw(lease)
        self._untaken = "" if leader else self._untaken
        if self._enclave is None:
            self._node.follow(leader)
        self._say(Saw(lease=lease, through=seat.number, now=since_boot()))
        await self._follow(seat)

    async def _follow(self, seat: Seat) -> None:
        """Take what is settled, and say whether this node could lead."""
        if self._follower.is_busy or self._enclave is not None:
            return
        try:
            self._tell_eligible(await self._follower.follow(seat))
            self._leave_replaced(seat)
        except RolledBack as error:
            self._quarantined(error)
        except Corrupt as error:
            self._stop(error)

    def _leave_replaced(self, seat: Seat) -> None:
        """Look for another server if this one could keep nothing: its standbys may follow one that replaced it."""
        if self._follower.doubts_server and self._enclave is None and since_boot() >= self._leaves_at:
            self._leaves_at = since_boot() + limits.LEASE_SILENCE_MS / 1000
            self._seats.drop(seat)

    def _quarantined(self, error: RolledBack) -> None:
        self._follower.quarantine = str(error)
        self._node.quarantine = self._replica.quarantined(str(error))
        self._reporter.quarantined(str(error))
        self._tell_eligible(str(error))

    def _tell_eligible(self, obstacle: str) -> None:
        self._obstacle = obstacle
        self._say(Eligible(is_eligible=not self._why_not(), now=since_boot()))

    # Leading --------------------------------------------------------------------------------------------------------

    async def _take_over(self, wish: TakeOver) -> None:
        seat = self._seats.current
        if seat is None or seat.number != wish.through:
            self._say(TakeOverFailed(unknown=False, now=since_boot()))
            return
        sent_at = since_boot()
        try:
            epoch = await seat.write(lambda: seat.store.take_over(self._identity.holder, self._address, wish.seen))
        except Conflict:
            self._say(TakeOverFailed(unknown=False, now=since_boot()))
        except (KeyvaultError, RuntimeError) as error:  # RuntimeError: the seat was let go meanwhile
            self._untaken = self._untaken or f"it could not take over: {error}"
            self._seats.drop(seat)
            self._say(TakeOverFailed(unknown=True, now=since_boot()))
        else:
            self._untaken = ""
            self._say(TookOver(epoch=epoch, sent_at=sent_at, now=since_boot()))

    async def _lead(self, epoch: int) -> None:
        seat = self._seats.current
        if seat is None:
            self._say(WriteFailed(epoch=epoch, unknown=True, now=since_boot()))
            return
        try:
            await self._follower.take_over(seat, epoch)
            mirror = self._mirror = Mirror(
                shared=seat.store,
                copy=self._replica.copy,
                copy_epoch=self._replica.copy_epoch,
                head=self._replica.head,
            )
            enclave = await Enclave.lead(
                store=mirror,
                token=self._token,
                clock=self._clock,
                identity=self._identity,
                recovered=self._replica.recovered(),
                epoch=Epoch(epoch),
                observer=self._observer,
                writer=seat.writer,
                on_written=lambda sent_at: self._say(Acknowledged(epoch=epoch, sent_at=sent_at, now=since_boot())),
            )
        except RolledBack as error:
            self._quarantined(error)
            self._say(WriteFailed(epoch=epoch, unknown=True, now=since_boot()))
        except Corrupt as error:
            self._stop(error)
        except (KeyvaultError, RuntimeError) as error:
            unknown = not isinstance(error, Conflict) and not isinstance(error.__cause__, Conflict)
            self._say(WriteFailed(epoch=epoch, unknown=unknown, now=since_boot()))
        else:
            await self._serve(epoch, enclave)

    async def _serve(self, epoch: int, enclave: Enclave) -> None:
        if self._leadership.leads(since_boot()) != epoch:
            enclave.end_term(Broken(f"the term in epoch {epoch} was over before it began"))
            await enclave.close()
            return
        self._enclave = enclave

        def ended(stopped: asyncio.Future[Broken]) -> None:
            unknown = not isinstance(stopped.result().__cause__, Conflict)
            self._say(WriteFailed(epoch=epoch, unknown=unknown, now=since_boot()))

        enclave.stopped.add_done_callback(ended)
        self._spawn(self._follower.heed(enclave))
        self._node.lead(enclave, self._address)
        self._reporter.leads(epoch)

    async def _beat(self, epoch: int) -> None:
        seat, mirror = self._seats.current, self._mirror
        if seat is None or (self._enclave is not None and self._enclave.is_writing):
            return
        settled = self._replica.head.size if mirror is None else mirror.head().size
        sent_at = since_boot()
        try:
            await seat.write(lambda: seat.store.beat(epoch, settled))
        except (KeyvaultError, RuntimeError) as error:
            self._write_failed(epoch, error)
        else:
            self._say(Acknowledged(epoch=epoch, sent_at=sent_at, now=since_boot()))

    # Giving up ------------------------------------------------------------------------------------------------------

    async def _hand_over(self, epoch: int) -> None:
        """Let what is under way end, and give the lease back."""
        seat, enclave, mirror = self._seats.current, self._enclave, self._mirror
        self._node.follow("")
        try:
            if enclave is not None:
                await enclave.drain()
            if mirror is not None:
                await asyncio.to_thread(mirror.flush)
            if seat is not None:
                await seat.write(lambda: seat.store.step_down(epoch))
        except (KeyvaultError, RuntimeError) as error:
            self._write_failed(epoch, error)
        else:
            self._say(SteppedDown(epoch=epoch, now=since_boot()))

    def _end_term(self, epoch: int, why: str) -> None:
        """Tell callers at once; then cut the store off and bring the copy up to what was acknowledged."""
        self._node.follow("")
        if self._enclave is not None:
            self._enclave.end_term(Broken(f"the term in epoch {epoch} is over: {why}"))
        enclave, mirror = self._enclave, self._mirror
        self._enclave = self._mirror = None
        self._node.changed()  # who waits for the hand-over asks once more, also where nobody takes over
        self._seats.drop()
        self._reporter.ended(epoch, why)
        self._ending = asyncio.create_task(self._clear_up(enclave, mirror))

    async def _clear_up(self, enclave: Enclave | None, mirror: Mirror | None) -> None:
        if enclave is not None:
            await enclave.close()
        if mirror is None:
            return
        await asyncio.to_thread(mirror.close)
        try:
            mirror.flush()
            async with self._follower.folding:
                self._replica.resume()
        except Broken as error:
            self._stop(error)

    async def _ended(self) -> None:
        """Return when the last term left nothing behind."""
        if self._ending is not None:
            await self._ending
            self._ending = None

    def _write_failed(self, epoch: int, error: Exception) -> None:
        self._say(WriteFailed(epoch=epoch, unknown=not isinstance(error, Conflict), now=since_boot()))

    def _say(self, event: Event) -> None:
        self._events.put_nowait(event)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._stop(Broken(f"a node failed in a way that nobody foresaw: {error!r}"))

    def _stop(self, error: Broken) -> None:
        if not self._node.stopped.done():
            self._node.stopped.set_result(error)
        self._say(Woke(now=since_boot()))

    async def _close(self) -> None:
        self._node.follow("")
        for task in list(self._tasks):
            task.cancel()
        if self._enclave is not None or self._mirror is not None:
            self._end_term(0, "the node stops")
        self._seats.drop()
        with suppress(Broken):
            await self._ended()
        await asyncio.gather(*self._tasks, return_exceptions=True)
