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
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from keyvault.core.errors import Broken, Conflict, Corrupt, KeyvaultError, RolledBack, Unavailable
from keyvault.core.ids import Epoch
from keyvault.engine.clock import Clock, since_boot
from keyvault.engine.enclave import Enclave, Identity
from keyvault.engine.lease import (
    Acknowledged,
    Beat,
    Effect,
    Eligible,
    EndTerm,
    Event,
    Lead,
    Leadership,
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
)
from keyvault.engine.mirror import Mirror
from keyvault.engine.node import Node
from keyvault.engine.observer import Observer
from keyvault.engine.replica import Replica
from keyvault.hsm.base import Token
from keyvault.store.base import Lease, SharedStore

R = TypeVar("R")


class Reporter(Protocol):
    """Told what becomes of the node; for logs and metrics."""

    def leads(self, epoch: int) -> None:
        """It serves as the leader."""

    def ended(self, epoch: int, why: str) -> None:
        """Its term is over."""

    def quarantined(self, why: str) -> None:
        """It will not lead any more."""


class _Seat:
    """One opened store, and the two threads that use it."""

    def __init__(self, store: SharedStore) -> None:
        self.store = store
        self.reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="keyvault-follower")
        self.writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="keyvault-writer")

    def let_go(self) -> None:
        """Cut the store off; whoever waits in it is told, and the threads end by themselves."""
        self.store.abandon()
        self.writer.submit(self.store.close)  # after the write that was cut off: it is not safe during it
        self.reader.shutdown(wait=False)
        self.writer.shutdown(wait=False)


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
    ) -> None:
        self._open_store = open_store
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
        self._seat: _Seat | None = None
        self._enclave: Enclave | None = None
        self._mirror: Mirror | None = None
        self._ending: asyncio.Task[None] | None = None
        self._folding = asyncio.Lock()
        self._following = False
        self._settled = 0
        self._draining = False
        self._quarantine = ""

    async def run(self) -> None:
        """Follow and lead until ``drain``. What ends the node resolves ``node.stopped``, and ends this, too."""
        if self._replica.quarantine is not None:
            self._quarantined(RolledBack(self._replica.quarantine.found))
        while not self._node.stopped.done():
            event = await self._next_event()
            for effect in self._leadership.step(event):
                await self._do(effect)
            if self._draining and self._leadership.leads(since_boot()) is None and self._enclave is None:
                break
        await self._close()

    def step_down(self) -> None:
        """Hand over, if this node leads."""
        self._events.put_nowait(StepDown(now=since_boot()))

    def drain(self) -> None:
        """Hand over if this node leads, and lead no more; ``run`` returns."""
        self._draining = True
        self._events.put_nowait(Eligible(is_eligible=False, now=since_boot()))

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
                self._spawn(self._take_over(effect.seen))
            case LetGo():
                self._drop_seat()
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
            seat = await self._seated()
            lease = await self._read(seat, seat.store.lease)
        except (Unavailable, Broken) as error:
            self._drop_seat()
            self._tell_eligible(is_eligible=False)
            self._events.put_nowait(LookFailed(now=since_boot()))
            if isinstance(error, Corrupt):
                self._stop(error)
            return
        self._settled = lease.settled
        if self._enclave is None:
            self._node.follow("" if lease.session_gone else lease.address)
        self._events.put_nowait(Saw(lease=lease, now=since_boot()))
        await self._follow(seat)

    async def _follow(self, seat: _Seat) -> None:
        """Take what is settled, and say whether this node could lead."""
        if self._following or self._quarantine or self._enclave is not None:
            return
        self._following = True
        try:
            await self._take(seat, lambda: self._settled)
            await self._read(seat, seat.store.check_synchronous)
        except RolledBack as error:
            self._quarantined(error)
        except Corrupt as error:
            self._stop(error)
        except (KeyvaultError, RuntimeError):  # cannot be reached, or a commit would not be synchronous
            self._tell_eligible(is_eligible=False)
        else:
            self._tell_eligible(is_eligible=self._replica.head.size > 0 and self._token_signs())
        finally:
            self._following = False

    async def _take(self, seat: _Seat, until: Callable[[], int]) -> None:
        """Take all entries below ``until``, and the newest checkpoint."""
        async with self._folding:
            more = True
            while more:
                size = until()
                fetched = await self._read(seat, lambda size=size: self._replica.fetch(seat.store, size))  # type: ignore[misc]
                self._replica.take(fetched)
                await self._read(seat, lambda fetched=fetched: self._replica.keep(fetched))  # type: ignore[misc]
                if fetched.entries:
                    self._node.changed()
                more = self._replica.head.size < until()

    def _quarantined(self, error: RolledBack) -> None:
        self._quarantine = str(error)
        self._node.quarantine = self._replica.quarantined(str(error))
        self._reporter.quarantined(self._quarantine)
        self._tell_eligible(is_eligible=False)

    def _token_signs(self) -> bool:
        return any(lane.is_up for lane in self._token.lanes)

    def _tell_eligible(self, *, is_eligible: bool) -> None:
        eligible = is_eligible and not self._draining and not self._quarantine
        self._events.put_nowait(Eligible(is_eligible=eligible, now=since_boot()))

    # Leading --------------------------------------------------------------------------------------------------------

    async def _take_over(self, seen: Lease) -> None:
        seat = self._seat
        if seat is None:
            self._events.put_nowait(TakeOverFailed(unknown=False, now=since_boot()))
            return
        sent_at = since_boot()
        try:
            epoch = await self._write(seat, lambda: seat.store.take_over(self._identity.holder, self._address, seen))
        except Conflict:
            self._events.put_nowait(TakeOverFailed(unknown=False, now=since_boot()))
        except (KeyvaultError, RuntimeError):  # RuntimeError: the seat was let go meanwhile
            self._drop_seat(seat)
            self._events.put_nowait(TakeOverFailed(unknown=True, now=since_boot()))
        else:
            self._events.put_nowait(TookOver(epoch=epoch, sent_at=sent_at, now=since_boot()))

    async def _lead(self, epoch: int) -> None:
        seat = self._seat
        if seat is None:
            self._events.put_nowait(WriteFailed(epoch=epoch, unknown=True, now=since_boot()))
            return
        try:
            head = await self._read(seat, seat.store.head)
            await self._take(seat, lambda: head.size)
            self._replica.check_is(head)
            self._replica.check_has(await self._token.read_anchor())
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
                on_written=lambda sent_at: self._events.put_nowait(
                    Acknowledged(epoch=epoch, sent_at=sent_at, now=since_boot())
                ),
            )
        except RolledBack as error:
            self._quarantined(error)
            self._events.put_nowait(WriteFailed(epoch=epoch, unknown=True, now=since_boot()))
        except Corrupt as error:
            self._stop(error)
        except (KeyvaultError, RuntimeError) as error:
            unknown = not isinstance(error.__cause__, Conflict)
            self._events.put_nowait(WriteFailed(epoch=epoch, unknown=unknown, now=since_boot()))
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
            self._events.put_nowait(WriteFailed(epoch=epoch, unknown=unknown, now=since_boot()))

        enclave.stopped.add_done_callback(ended)
        self._node.lead(enclave, self._address)
        self._reporter.leads(epoch)

    async def _beat(self, epoch: int) -> None:
        seat, mirror = self._seat, self._mirror
        if seat is None or (self._enclave is not None and self._enclave.is_writing):
            return
        settled = self._replica.head.size if mirror is None else mirror.head().size
        sent_at = since_boot()
        try:
            await self._write(seat, lambda: seat.store.beat(epoch, settled))
        except (KeyvaultError, RuntimeError) as error:
            self._events.put_nowait(WriteFailed(epoch=epoch, unknown=not isinstance(error, Conflict), now=since_boot()))
        else:
            self._events.put_nowait(Acknowledged(epoch=epoch, sent_at=sent_at, now=since_boot()))

    # Giving up ------------------------------------------------------------------------------------------------------

    async def _hand_over(self, epoch: int) -> None:
        """Let what is under way end, and give the lease back."""
        seat, enclave, mirror = self._seat, self._enclave, self._mirror
        self._node.follow("")
        try:
            if enclave is not None:
                await enclave.drain()
            if mirror is not None:
                await asyncio.to_thread(mirror.flush)
            if seat is not None:
                await self._write(seat, lambda: seat.store.step_down(epoch))
        except (KeyvaultError, RuntimeError) as error:
            self._events.put_nowait(WriteFailed(epoch=epoch, unknown=not isinstance(error, Conflict), now=since_boot()))
        else:
            self._events.put_nowait(SteppedDown(epoch=epoch, now=since_boot()))

    def _end_term(self, epoch: int, why: str) -> None:
        """Tell callers at once; then cut the store off and bring the copy up to what was acknowledged."""
        self._node.follow("")
        if self._enclave is not None:
            self._enclave.end_term(Broken(f"the term in epoch {epoch} is over: {why}"))
        enclave, mirror = self._enclave, self._mirror
        self._enclave = self._mirror = None
        self._drop_seat()
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
            async with self._folding:
                self._replica.resume()
        except Broken as error:
            self._stop(error)

    async def _ended(self) -> None:
        """Return when the last term left nothing behind."""
        if self._ending is not None:
            await self._ending
            self._ending = None

    # Seats ----------------------------------------------------------------------------------------------------------

    async def _seated(self) -> _Seat:
        """Return the open store, or open one. Raises Unavailable, Broken."""
        if self._seat is None:
            self._seat = _Seat(await asyncio.to_thread(self._open_store))
        return self._seat

    def _drop_seat(self, seat: _Seat | None = None) -> None:
        """Let the store go, if it is still this one."""
        if self._seat is None or (seat is not None and self._seat is not seat):
            return
        dropped, self._seat = self._seat, None
        dropped.let_go()

    async def _read(self, seat: _Seat, read: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(seat.reader, read)

    async def _write(self, seat: _Seat, write: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(seat.writer, write)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._stop(Broken(f"a node failed in a way that nobody foresaw: {error!r}"))

    def _stop(self, error: Broken) -> None:
        if not self._node.stopped.done():
            self._node.stopped.set_result(error)
        self._events.put_nowait(Woke(now=since_boot()))

    async def _close(self) -> None:
        self._node.follow("")
        for task in list(self._tasks):
            task.cancel()
        if self._enclave is not None or self._mirror is not None:
            self._end_term(0, "the node stops")
        self._drop_seat()
        with suppress(Broken):
            await self._ended()
        await asyncio.gather(*self._tasks, return_exceptions=True)
