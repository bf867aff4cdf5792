"""The only caller of the token's sign: a bounded queue of jobs, and one task per lane that empties it.

Whatever queued while a lane was busy is its next batch. A message to a worker costs as much as some signatures, so a
lane that is free waits a moment for more jobs when many requests are under way; a lone request never waits. A job ends
in exactly one call of ``done``, with a verified signature or with the reason why there is none.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keyvault.core import limits
from keyvault.core.errors import Broken, DeadlinePassed, Overloaded, Unavailable
from keyvault.core.keys import Signature
from keyvault.engine.clock import Clock
from keyvault.hsm.base import Lane, SignItem, Token


@dataclass(frozen=True, slots=True, kw_only=True)
class SignJob:
    """One signature to make before ``deadline`` (monotonic seconds)."""

    item: SignItem
    deadline: float
    done: Callable[[Signature | Unavailable], None]


class SigningStage:
    """Spreads jobs over the lanes of one token."""

    def __init__(self, token: Token, clock: Clock) -> None:
        self._token = token
        self._clock = clock
        self._jobs: deque[SignJob] = deque()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._tasks: list[asyncio.Task[None]] = []
        self._under_way: Callable[[], int] = lambda: 0
        self._wanted = 0
        self._enough = asyncio.Event()

    def start(self, *, under_way: Callable[[], int], on_broken: Callable[[Broken], None]) -> None:
        """Begin to work; needs a running event loop.

        ``under_way`` says how many requests are between question and answer; ``on_broken`` is told if a lane cannot
        go on.
        """
        self._under_way = under_way
        self._tasks = [asyncio.create_task(self._serve(lane, on_broken)) for lane in self._token.lanes]
        self._tasks.append(asyncio.create_task(self._expire_forever(on_broken)))

    def has_room(self) -> bool:
        """Say whether ``submit`` would take a job."""
        return len(self._jobs) < limits.TOKEN_QUEUE_MAX

    def submit(self, job: SignJob) -> None:
        """Queue the job; raise Overloaded if the queue is full."""
        if not self.has_room():
            raise Overloaded(f"{limits.TOKEN_QUEUE_MAX} signatures wait for the token", retry_after_ms=50)
        self._jobs.append(job)
        if not self._wanted:
            self._wake()
        elif len(self._jobs) >= self._wanted:
            self._enough.set()

    def give_back(self) -> None:
        """End the jobs that were not sent to a lane as Unavailable: something more important is to be done."""
        jobs, self._jobs = self._jobs, deque()
        for job in jobs:
            job.done(Unavailable("the enclave was told to stop something and looks at everything anew: ask again"))

    async def close(self) -> None:
        """Stop. Jobs that were not sent to a lane end as Unavailable."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while self._jobs:
            self._jobs.popleft().done(Unavailable("the enclave is stopping"))

    async def _expire_forever(self, on_broken: Callable[[Broken], None]) -> None:
        """End late jobs whatever the lanes do: with every lane down, nobody else would, and a stop waits for them."""
        try:
            while True:
                await asyncio.sleep(limits.TOKEN_EXPIRY_MS / 1000)
                self._expire()
        except Exception as error:  # noqa: BLE001 (as below)
            on_broken(Broken(f"waiting requests cannot be ended: {error!r}"))

    def _expire(self) -> None:
        now = self._clock.monotonic()
        late = [job for job in self._jobs if job.deadline <= now]
        if late:
            self._jobs = deque(job for job in self._jobs if job.deadline > now)
        for job in late:
            job.done(DeadlinePassed("the deadline passed before the token was free; nothing was signed"))

    async def _serve(self, lane: Lane, on_broken: Callable[[Broken], None]) -> None:
        try:
            while True:
                await self._some_job()
                if not lane.is_up:
                    self._wake()  # another lane may be free
                    await lane.ready()
                    continue
                await self._gather()
                batch = self._take()
                results = await lane.sign([job.item for job in batch]) if batch else ()
                for job, result in zip(batch, results, strict=True):
                    job.done(result)
        except Exception as error:  # noqa: BLE001 (its callers would wait for ever: the term must end)
            on_broken(Broken(f"a lane of the token failed in a way that nobody foresaw: {error!r}"))

    async def _some_job(self) -> None:
        while not self._jobs or self._wanted:  # another lane gathers what is there
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter

    async def _gather(self) -> None:
        self._wanted = min(limits.TOKEN_BATCH_MIN, self._under_way() // 2)
        if len(self._jobs) < self._wanted:
            self._enough.clear()
            timer = asyncio.get_running_loop().call_later(limits.TOKEN_GATHER_MS / 1000, self._enough.set)
            await self._enough.wait()
            timer.cancel()
        self._wanted = 0

    def _take(self) -> Sequence[SignJob]:
        self._expire()
        # A fair share, so that one lane does not take what another could sign at the same time; short queues are not
        # worth splitting.
        share = max(-(-len(self._jobs) // max(1, len(self._token.lanes))), limits.TOKEN_BATCH_MIN)
        batch = [self._jobs.popleft() for _ in range(min(share, limits.TOKEN_BATCH_MAX, len(self._jobs)))]
        if self._jobs:
            self._wake()
        return batch

    def _wake(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
