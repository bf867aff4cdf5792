"""A lane: one session of one worker, used by one task of the event loop.

The task sends a batch to the worker, waits with a deadline, has every signature verified by its checker, and answers.
While it has nothing to do it watches the worker, so that a dead one is replaced before the next batch comes. What
blocks (starting, killing and reaping processes) is done by a thread of the lane's own, which lives as long as the
lane: Linux kills a worker when the thread that started it ends.

States: DOWN (the worker is being replaced) -> UP -> DOWN ... -> ended. A batch is accepted only in UP, and every
accepted batch is answered exactly once: by the worker within the deadline, or by faults. Nothing is sent twice. Only
the end of the token or a refused PIN ends a lane: what nobody foresaw costs the worker and the batches that were there.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

from google.protobuf.message import DecodeError

from keyvault.core.keys import Signature
from keyvault.core.limits import LANE_QUEUE_MAX, TOKEN_RESPAWN_MS_MIN
from keyvault.hsm.base import SignItem, TokenFault
from keyvault.hsm.channel import Channel, open_channel
from keyvault.hsm.checking import Checker
from keyvault.hsm.jobs import Job, ObjectJob, SignJob, Strikes
from keyvault.hsm.process import Breaker, Link, TokenClosed, WorkerSlot
from keyvault.v1 import worker_pb2

T = TypeVar("T")
_log = logging.getLogger("keyvault.hsm")
_CLOSED = TokenFault("CLOSED", "the token is closed")
_REPLACED = TokenFault("WORKER_REPLACED", "the token's worker is being replaced")


class _Ticket(Generic[T]):
    """A job and who waits for it."""

    def __init__(self, job: Job[T], loop: asyncio.AbstractEventLoop) -> None:
        self.job = job
        self.future: asyncio.Future[T] = loop.create_future()

    def settle(self, result: T) -> None:
        """Answer; a caller that gave up is told nothing, and the result is dropped."""
        if not self.future.done():
            self.future.set_result(result)

    def refuse(self, fault: TokenFault) -> None:
        """Answer with the fault. Raises nothing: who waits is told in any case."""
        if self.future.done():
            return
        try:
            self.settle(self.job.refuse(fault))
        except Exception:  # noqa: BLE001 - a job that cannot even be refused must not be waited for
            self.future.set_exception(fault)


class WorkerLane:
    """One session of one worker. Create and use it on one event loop; see ``keyvault.hsm.base.Lane``."""

    def __init__(
        self,
        *,
        slot: WorkerSlot,
        index: int,
        breaker: Breaker,
        strikes: Strikes,
        deadline_ms: int,
        latched: Callable[[], None],
    ) -> None:
        self._slot = slot
        self._index = index
        self._breaker = breaker
        self._strikes = strikes
        self._deadline_ms = deadline_ms
        self._latched = latched
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"token-lane-{index}")
        self._checker = Checker(deadline_ms=deadline_ms, in_thread=self._in_thread)
        self._tickets: deque[_Ticket[object]] = deque()
        self._wake = asyncio.Event()
        self._up = False
        self._fault = TokenFault("NOT_READY", "the token's worker is not ready yet")
        self._waiters: set[asyncio.Future[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._channel: Channel | None = None
        self.started: asyncio.Future[TokenFault | None] = self._loop.create_future()
        self.latched = False
        self.hopeless = False

    def start(self) -> None:
        """Begin; ``started`` gets None when the lane is up for the first time, or why it is not."""
        self._task = asyncio.create_task(self._run())

    @property
    def is_up(self) -> bool:
        """See ``keyvault.hsm.base.Lane``. Also when no lane will ever be up: sign says why."""
        return self._up or self.hopeless

    @property
    def has_worker(self) -> bool:
        """Whether there is a live worker behind the lane."""
        return self._up

    async def ready(self) -> None:
        """See ``keyvault.hsm.base.Lane``. Returns also when no lane of the token will ever be up: sign says why."""
        while not self.is_up:
            waiter = self._loop.create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)

    async def sign(self, items: Sequence[SignItem]) -> list[Signature | TokenFault]:
        """See ``keyvault.hsm.base.Lane``."""
        return await self.run(SignJob(tuple(items), self._strikes, self._checker.check))

    async def change(self, job: ObjectJob) -> bytes:
        """Make or destroy an object; return its public key, empty where there is none. Raises TokenFault."""
        changed = await self.run(job)
        if isinstance(changed, TokenFault):
            raise changed
        return changed

    async def run(self, job: Job[T]) -> T:
        """Return the job's result; a job that is not accepted is refused at once."""
        if not self._up:
            return job.refuse(self._fault)
        if len(self._tickets) >= LANE_QUEUE_MAX:
            return job.refuse(TokenFault("LANE_BUSY", "too many batches wait for this lane"))
        ticket = _Ticket(job, self._loop)
        self._tickets.append(ticket)  # type: ignore[arg-type]  # a queue of tickets of any kind
        self._wake.set()
        return await ticket.future

    def stop(self) -> None:
        """Let the lane notice that the token is closing: what it waits for is given up."""
        if self._channel is not None:
            self._channel.close()
        self._wake.set()

    async def ended(self) -> None:
        """Return when the lane does nothing any more."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    def join(self) -> None:
        """End the lane's thread and, with it, what it started. Blocks; when the token has ended."""
        self._thread.submit(self._checker.end)
        self._thread.shutdown(wait=True)

    def announce(self) -> None:
        """Wake who waits in ``ready``."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _run(self) -> None:
        try:
            with contextlib.suppress(Exception):  # the first batch tries again and says what is wrong
                await self._checker.start()
            while not self._breaker.closing.is_set() and not self.latched:
                await self._live()
        finally:
            if not self.latched:
                self._go_down(_CLOSED)
            self._checker.close()

    async def _live(self) -> None:
        """Get a worker and use it to its end, or learn why there is none."""
        try:
            await self._serve_one(await self._loop.run_in_executor(self._thread, self._slot.link, self._index))
        except TokenClosed:
            pass  # so says ``closing``, too
        except TokenFault as fault:
            self._not_started(fault)
            if self._breaker.latch is not None:
                self.latched = True
                self._latched()
        except Exception as error:  # noqa: BLE001 - whatever it is, a lane that ends silently never signs again
            _log.exception("lane %d of the token failed in a way that nobody foresaw; it begins anew", self._index)
            self._not_started(TokenFault("LANE_FAILED", f"the token's lane failed ({type(error).__name__})"))
            await self._pause()

    async def _pause(self) -> None:
        """Let some time pass, unless the token is closing: what failed may do so before the slot's own pause."""
        self._wake.clear()
        if not self._breaker.closing.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), TOKEN_RESPAWN_MS_MIN / 1000)

    async def _serve_one(self, link: Link) -> None:
        """Use the link until its worker fails or the token is closed."""
        self._channel = None
        code: str | None = "LANE_FAILED"
        try:
            self._channel = channel = await open_channel(link.stream, self._wake.set)
            self._go_up()
            code = await self._serve(link, channel)
        finally:
            self._go_down(_CLOSED if code is None else _REPLACED)
            if self._channel is not None:
                self._channel.close()
            if code is not None:
                await self._in_thread(partial(self._slot.failed, link, code))

    async def _serve(self, link: Link, channel: Channel) -> str | None:
        """Do jobs until the worker fails, and return why; None when the token is closing."""
        while not self._breaker.closing.is_set():
            if channel.lost:
                return "WORKER_DIED"
            if not self._tickets:
                self._wake.clear()
                await self._wake.wait()
                continue
            code = await self._do(link, channel, self._tickets.popleft())
            if code is not None:
                return code
        return None

    async def _do(self, link: Link, channel: Channel, ticket: _Ticket[object]) -> str | None:
        """Do one job and answer it; return a code if the worker must be replaced."""
        try:
            result, code = await self._done(link, channel, ticket.job)
            ticket.settle(result)
        finally:
            ticket.refuse(_REPLACED)  # if there is no answer
        return code

    async def _done(self, link: Link, channel: Channel, job: Job[object]) -> tuple[object, str | None]:
        result, code = await self._result(channel, job)
        if self._breaker.closing.is_set():
            code = None  # we closed the channel; the worker may finish what it writes, then the token ends it
        elif code is not None:
            # Before anybody is told: nothing of the worker may still happen, and who is told may come back at once.
            await self._in_thread(link.worker.kill)
            self._go_down(_REPLACED)
        elif job.worked(result):
            self._slot.succeeded()
        return result, code

    async def _result(self, channel: Channel, job: Job[object]) -> tuple[object, str | None]:
        deadline_ms = job.deadline_ms or self._deadline_ms
        try:
            response = await self._exchange(channel, job.request(), deadline_ms)
            result, code = await job.accept(response)
        except TimeoutError:
            fault = TokenFault("DEADLINE", f"the token did not answer within {deadline_ms} ms")
        except (OSError, DecodeError):
            fault = TokenFault("WORKER_DIED", "the token's worker ended before it answered")
        except Exception as error:  # noqa: BLE001 - whatever an answer breaks: the caller is answered, the worker goes
            fault = TokenFault("BAD_ANSWER", f"the worker's answer made no sense ({type(error).__name__})")
        else:
            return result, code or ("RETIRED" if response.retiring else None)
        return job.refuse(fault), fault.code

    async def _exchange(
        self, channel: Channel, request: worker_pb2.WorkerRequest | None, deadline_ms: int
    ) -> worker_pb2.WorkerResponse:
        if request is None:
            return worker_pb2.WorkerResponse()
        answer = await channel.exchange(request.SerializeToString(), deadline_ms / 1000)
        return worker_pb2.WorkerResponse.FromString(answer)

    async def _in_thread(self, call: Callable[[], None]) -> None:
        await self._loop.run_in_executor(self._thread, call)

    def _go_up(self) -> None:
        self._up = True
        self._report(None)
        self.announce()

    def _go_down(self, fault: TokenFault) -> None:
        self._up = False
        self._fault = fault
        orphans = list(self._tickets)
        self._tickets.clear()
        for ticket in orphans:
            ticket.refuse(fault)

    def _not_started(self, fault: TokenFault) -> None:
        self._fault = fault
        self._report(fault)

    def _report(self, fault: TokenFault | None) -> None:
        if not self.started.done():
            self.started.set_result(fault)
