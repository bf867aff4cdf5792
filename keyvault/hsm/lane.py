"""A lane: one thread of the server that talks to one session of one worker.

The thread waits for what takes time, so that the event loop need not: it sends the batch to the worker, waits with a
deadline, has every signature verified by its checker, and hands the whole list back to the loop in one call. While it
has nothing to do it watches the worker, so that a dead one is replaced before the next batch comes.

States: DOWN (the worker is being replaced) -> UP -> DOWN ... -> ended. A batch is accepted only in UP, and every
accepted batch is answered exactly once: by the worker within the deadline, or by faults. Nothing is sent twice.
"""

import asyncio
import contextlib
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

from google.protobuf.message import DecodeError

from keyvault.core.keys import Signature
from keyvault.core.limits import LANE_QUEUE_MAX
from keyvault.hsm import frames
from keyvault.hsm.base import SignItem, TokenFault
from keyvault.hsm.checking import Checker, CheckerFailed
from keyvault.hsm.jobs import Job, MakeJob, SignJob, Strikes
from keyvault.hsm.process import Breaker, Link, TokenClosed, WorkerSlot
from keyvault.v1 import worker_pb2

T = TypeVar("T")
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
        self._checker = Checker(deadline_ms=deadline_ms)
        self._deadline_ms = deadline_ms
        self._latched = latched
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._tickets: deque[_Ticket[object]] = deque()
        self._up = False
        self._fault = TokenFault("NOT_READY", "the token's worker is not ready yet")
        self._waiters: set[asyncio.Future[None]] = set()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name=f"token-lane-{index}", daemon=True)
        self.started: asyncio.Future[TokenFault | None] = self._loop.create_future()
        self.latched = False
        self.hopeless = False

    def start(self) -> None:
        """Start the thread; ``started`` gets None when the lane is up for the first time, or why it is not."""
        self._thread.start()

    async def ready(self) -> None:
        """See ``keyvault.hsm.base.Lane``. Returns also when no lane of the token will ever be up: sign says why."""
        while not (self._up or self.hopeless):
            waiter = self._loop.create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)

    async def sign(self, items: Sequence[SignItem]) -> list[Signature | TokenFault]:
        """See ``keyvault.hsm.base.Lane``."""
        return await self.run(SignJob(tuple(items), self._strikes, self._checker.check))

    async def make(self, job: MakeJob) -> bytes:
        """Return the public key of the object that was made. Raises TokenFault."""
        made = await self.run(job)
        if isinstance(made, TokenFault):
            raise made
        return made

    async def run(self, job: Job[T]) -> T:
        """Return the job's result; a job that is not accepted is refused at once."""
        ticket = _Ticket(job, self._loop)
        with self._lock:
            refusal = self._refusal()
            if refusal is None:
                self._tickets.append(ticket)  # type: ignore[arg-type]  # a queue of tickets of any kind
                os.eventfd_write(self._wake, 1)  # under the lock: the thread cannot end and close it meanwhile
        if refusal is not None:
            return job.refuse(refusal)
        return await ticket.future

    def stop(self) -> None:
        """Let the thread notice that the token is closing."""
        os.eventfd_write(self._wake, 1)

    def join(self) -> None:
        """Wait until the thread ended; it does when the token has ended."""
        self._thread.join()
        os.close(self._wake)

    def announce(self) -> None:
        """Wake who waits in ``ready``. On the event loop."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _refusal(self) -> TokenFault | None:
        if not self._up:
            return self._fault
        if len(self._tickets) >= LANE_QUEUE_MAX:
            return TokenFault("LANE_BUSY", "too many batches wait for this lane")
        return None

    # --- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with contextlib.suppress(CheckerFailed):  # the first batch tries again and says what is wrong
            self._checker.start()
        while not self._breaker.closing.is_set():
            try:
                link = self._slot.link(self._index)
            except TokenClosed:
                break
            except TokenFault as fault:
                self._not_started(fault)
                if self._breaker.latch is not None:
                    self._post(self._latch)
                    break
                continue
            self._serve_one(link)
        # Not earlier: Linux kills a worker when the thread that started it ends.
        self._breaker.ended.wait()
        self._checker.close()

    def _serve_one(self, link: Link) -> None:
        """Use the link until its worker fails or the token is closed."""
        self._go_up()
        code = self._serve(link)
        if code is None:
            self._go_down(TokenFault("CLOSED", "the token is closed"))
            link.stream.close()
            return
        self._go_down(_REPLACED)
        self._slot.failed(link, code)

    def _latch(self) -> None:
        self.latched = True
        self._latched()

    def _serve(self, link: Link) -> str | None:
        """Do jobs until the worker fails, and return why; None when the token is closing."""
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        poller.register(link.stream, select.POLLIN)
        while not self._breaker.closing.is_set():
            with self._lock:
                ticket = self._tickets.popleft() if self._tickets else None
            if ticket is not None:
                code = self._do(link, ticket)
                if code is not None:
                    return code
            elif self._worker_spoke(link, poller):
                return "WORKER_DIED"
        return None

    def _worker_spoke(self, link: Link, poller: select.poll) -> bool:
        """Wait for a job or the worker; return whether the worker spoke out of turn, which is its end or worse."""
        events = poller.poll()
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        return any(descriptor == link.stream.fileno() for descriptor, _ in events)

    def _do(self, link: Link, ticket: _Ticket[object]) -> str | None:
        """Do one job and answer it; return a code if the worker must be replaced."""
        result, code = self._result(link, ticket.job)
        if code is not None:
            # Before anybody is told: nothing of the worker may still happen, and who is told may come back at once.
            link.worker.kill()
            self._go_down(_REPLACED)
        elif ticket.job.worked(result):
            self._slot.succeeded()
        self._post(partial(ticket.settle, result))
        return code

    def _result(self, link: Link, job: Job[object]) -> tuple[object, str | None]:
        try:
            response = self._exchange(link, job.request())
            result, code = job.accept(response)
        except TimeoutError:
            fault = TokenFault("DEADLINE", f"the token did not answer within {self._deadline_ms} ms")
        except (OSError, DecodeError):
            fault = TokenFault("WORKER_DIED", "the token's worker ended before it answered")
        except Exception as error:  # noqa: BLE001 - whatever an answer breaks: the caller is answered, the worker goes
            fault = TokenFault("BAD_ANSWER", f"the worker's answer made no sense ({type(error).__name__})")
        else:
            return result, code or ("RETIRED" if response.retiring else None)
        return job.refuse(fault), fault.code

    def _exchange(self, link: Link, request: worker_pb2.WorkerRequest | None) -> worker_pb2.WorkerResponse:
        if request is None:
            return worker_pb2.WorkerResponse()
        deadline = time.monotonic() + self._deadline_ms / 1000
        frames.send(link.stream, request.SerializeToString(), deadline)
        return worker_pb2.WorkerResponse.FromString(frames.receive(link.stream, deadline))

    def _go_up(self) -> None:
        with self._lock:
            self._up = True
        self._post(partial(self._report, None))
        self._post(self.announce)

    def _go_down(self, fault: TokenFault) -> None:
        with self._lock:
            self._up = False
            self._fault = fault
            orphans = list(self._tickets)
            self._tickets.clear()
        for ticket in orphans:
            self._post(partial(ticket.settle, ticket.job.refuse(fault)))

    def _not_started(self, fault: TokenFault) -> None:
        with self._lock:
            self._fault = fault
        self._post(partial(self._report, fault))

    def _report(self, fault: TokenFault | None) -> None:
        if not self.started.done():
            self.started.set_result(fault)

    def _post(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(call)
