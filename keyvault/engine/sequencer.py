"""One enclave's order of things: decide, sign, commit, then answer.

Laws:

1. A request id is looked at once: while it is pending every caller with the same bytes waits for the same fact,
   afterwards the ledger answers (I3). Other bytes are an error at any time.
2. What is decided but not yet durable is reserved, so that overlapping decisions cannot spend a limit twice.
3. An answer leaves only after the append returned: the fact, its signature, its place in the order, the use of limits
   and the epoch's right to write are one durable step (I1).
4. A token that fails frees the request id and the reservation; nothing was released.
5. Any doubt about an append ends the term (I7): all callers get Unavailable, ``stopped`` gets the reason, and the
   process must end. The next one recovers from the store.
6. A change of keys or policy is alone: it waits until nothing is in flight, and nothing is decided until it is
   durable. So every signature was decided under the policy and key states that stand before it in the ledger.
7. No caller can cancel what was decided; a caller that goes away only stops waiting.
8. A request that members are asked about has no answer yet: it is decided again when it comes again, until there is
   one. What members say is alone, as law 6; so nothing is signed while they take it back.
9. What stops things does not wait for the token: what is queued for it is given back, only what it works on ends.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from keyvault.core import limits
from keyvault.core.commands import RequestSignature, check_recordable
from keyvault.core.decide import Authorised, Waiting, decide_signature, no_longer_asked, refusal
from keyvault.core.errors import (
    ApprovalNeeded,
    Broken,
    KeyvaultError,
    Overloaded,
    RequestIdReused,
    Unavailable,
)
from keyvault.core.events import Answer, Event, SignatureEscalated, SignatureRefused, is_ordinary
from keyvault.core.ids import Principal, UnixMillis
from keyvault.core.keys import Signature
from keyvault.core.proposals import proposal_name
from keyvault.core.windows import Reservations
from keyvault.engine.appender import Appender, Draft, draft
from keyvault.engine.clock import Clock
from keyvault.engine.observer import Observer, Step
from keyvault.engine.refusals import RefusalBudget
from keyvault.engine.request_index import RequestIndex
from keyvault.engine.signing import SigningStage, SignJob
from keyvault.hsm.base import SignItem, TokenFault
from keyvault.intents import describe
from keyvault.ledger import codec
from keyvault.store.base import Store

_IN_DOUBT = "the term ended and the outcome is not known yet: ask again with the same request id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A fact and its index in the ledger."""

    event: Event
    index: int


Waiter = asyncio.Future[Recorded]


@dataclass(slots=True, kw_only=True)
class _Pending:
    """A request whose fact is not durable yet, and who waits for it."""

    command: RequestSignature
    waiters: list[Waiter] = field(default_factory=list)
    ticket: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Queued:
    """A fact that waits for its append, and who waits for it: requests under a key, or one caller."""

    draft: Draft
    request_key: bytes | None = None
    waiter: Waiter | None = None


class Sequencer:
    """Takes commands for one enclave in one term."""

    def __init__(  # the parts of the path of one signature
        self,
        *,
        store: Store,
        index: RequestIndex,
        appender: Appender,
        stage: SigningStage,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self.stopped: asyncio.Future[Broken] = asyncio.get_running_loop().create_future()
        self._store = store
        self._index = index
        self._appender = appender
        self._stage = stage
        self._clock = clock
        self._observer = observer
        self._reservations = Reservations()
        self._refusals = RefusalBudget()
        self._by_principal: Counter[Principal] = Counter()
        self._pending: dict[bytes, _Pending] = {}
        self._drafts: deque[_Queued] = deque()
        self._changed = asyncio.Event()
        self._drafted = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._open = asyncio.Event()
        self._open.set()
        self._queued = 0
        self._closing = False
        self._committer = asyncio.create_task(self._commit_forever())

    async def opened(self) -> None:
        """Return when no change is being made; raise Overloaded if too many wait for that."""
        if self._queued >= limits.INBOX_MAX:
            raise Overloaded(f"{limits.INBOX_MAX} requests wait for a change to end", retry_after_ms=100)
        self._queued += 1
        try:
            while not self._open.is_set():
                await self._open.wait()
        finally:
            self._queued -= 1

    @property
    def is_open(self) -> bool:
        """Whether ``request`` may be called at once."""
        return self._open.is_set()

    @property
    def reservations(self) -> Reservations:
        """What is decided and not durable yet; for reading."""
        return self._reservations

    def under_way(self) -> int:
        """Return how many requests are between question and durable answer."""
        return len(self._pending)

    def request(self, command: RequestSignature, deadline: float) -> Waiter:
        """Decide now if the request id is new; return a future of the durable answer, the same for ever.

        Call only while ``is_open``. ``deadline`` is in monotonic seconds; it bounds the wait for the token and never
        cuts an append. Cancelling the future cancels nothing else.

        Raises:
            RequestIdReused: the id stands for other bytes.
            ApprovalNeeded: members are asked, and have not approved yet; nothing was recorded.
            Overloaded: a queue is full, or this caller was refused too often; nothing was recorded.
            Malformed: it cannot be recorded, so nothing was decided.

        The future raises DeadlinePassed or Unavailable: nothing was released, the id is free.
        """
        self._check_running()
        waiter: Waiter = asyncio.get_running_loop().create_future()
        key = codec.request_key(command.request.principal, command.request.request_id)
        pending = self._pending.get(key)
        if pending is not None:
            _check_same(pending.command, command)
        else:
            known = not self._index.is_new(key)
            earlier = self._store.find(key) if known else None
            if earlier is not None:
                waiter.set_result(_earlier_answer(earlier, command))
                return waiter
            pending = self._decide(key, command, deadline, known=known)
        pending.waiters.append(waiter)
        return waiter

    def _decide(self, key: bytes, command: RequestSignature, deadline: float, *, known: bool) -> _Pending:
        if not self._stage.has_room() or len(self._drafts) >= limits.INBOX_MAX:
            raise Overloaded("the enclave has all the work it can queue", retry_after_ms=50)
        if self._by_principal[command.request.principal] >= limits.PRINCIPAL_IN_FLIGHT_MAX:
            raise Overloaded("this principal has all the requests in flight that it may have", retry_after_ms=50)
        now = self._clock.now()
        check_recordable(command)
        state = self._appender.state
        final = self._asked_before(command, now) if known else None
        decision = final or decide_signature(state, self._reservations, command, now, describe)
        if isinstance(decision, Waiting):
            raise ApprovalNeeded(
                decision.reason,
                decision.explanation,
                proposal=proposal_name(state.enclave, decision.proposal.id),
                quorum=decision.proposal.quorum_text(state.rulers),
                summary=describe(command.intent),
            )
        if isinstance(decision, SignatureRefused | SignatureEscalated):
            if isinstance(decision, SignatureRefused):
                self._refusals.spend(command.request.principal, now)
            decided = draft(decision)  # before anything waits for it
            pending = self._new_pending(key, command)
            self._commit_later(_Queued(draft=decided, request_key=key))
            return pending
        pending = self._new_pending(key, command)
        pending.ticket = self._reservations.reserve(decision.charge)
        self._stage.submit(self._job(key, decision, deadline))
        return pending

    def _asked_before(self, command: RequestSignature, now: UnixMillis) -> SignatureRefused | None:
        """Return the final no to a request that members were asked about, and are no more (I3)."""
        state, request = self._appender.state, command.request
        asked = state.proposals.of_request(request.principal, request.request_id)
        if asked is not None:
            if asked.request != request:
                raise RequestIdReused(f"request id {request.request_id} waits for members with another request")
            return None
        found = self._store.find(codec.escalation_key(request.principal, request.request_id))
        if found is None:
            return None
        event = codec.decode(found[1])
        if not isinstance(event, SignatureEscalated) or event.request != request:
            raise RequestIdReused(f"request id {request.request_id} was used for another request (entry {found[0]})")
        return refusal(state, command, now, no_longer_asked(state, event, now))

    def _new_pending(self, key: bytes, command: RequestSignature) -> _Pending:
        pending = _Pending(command=command)
        self._pending[key] = pending
        self._by_principal[command.request.principal] += 1
        self._index.saw(key)
        self._idle.clear()
        self._observer.step(Step.DECIDED, 1)
        return pending

    def _job(self, key: bytes, decision: Authorised, deadline: float) -> SignJob:
        def done(result: Signature | Unavailable) -> None:
            if key not in self._pending:  # the term ended meanwhile; its caller was told
                return
            if isinstance(result, Unavailable):
                self._observer.token_fault(result.code if isinstance(result, TokenFault) else "NOT_SENT")
                self._settle(key, result)
                return
            self._observer.step(Step.SIGNED, 1)
            try:
                item = draft(decision.issued(self._appender.state, result))
            except KeyvaultError as error:  # it cannot be recorded, so it is not released; only this request fails
                self._settle(key, error)
                return
            self._commit_later(_Queued(draft=item, request_key=key))

        item = SignItem(
            object_id=decision.key.token_object_id,
            algorithm=decision.key.algorithm,
            public_key=decision.key.public_key,
            input=decision.command.intent.signing_input,
        )
        return SignJob(item=item, deadline=deadline, done=done)

    async def commit_alone(self, decide: Callable[[], Event | tuple[Event, ...]], *, urgent: bool = False) -> Recorded:
        """Make the fact that ``decide`` returns durable, with nothing else in flight. One call at a time.

        Of several facts, which are made durable in one append, the last is returned.

        ``urgent``: requests that wait for the token are given back to their callers, who ask again.

        ``decide`` runs when all earlier facts are part of the state, and nothing is decided until its fact is.
        What it raises comes through; then nothing happened.
        """
        self._open.clear()
        if urgent:
            self._stage.give_back()
        try:
            await self._idle.wait()
            self._check_running()
            decided = decide()
            *before, last = list(map(draft, decided if isinstance(decided, tuple) else (decided,)))
            for item in before:  # all can be written, so all are
                self._commit_later(_Queued(draft=item))
            return await self._committed(last)
        finally:
            self._open.set()

    async def commit(self, event: Event) -> Recorded:
        """Make a fact durable that depends on nothing and on which nothing depends, among whatever is in flight."""
        self._check_running()
        return await self._committed(draft(event))

    async def _committed(self, item: Draft) -> Recorded:
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._commit_later(_Queued(draft=item, waiter=waiter))
        return await waiter

    async def next_change(self) -> None:
        """Return after the next fact that is more than an ordinary answer became durable, or when the term ends."""
        await self._changed.wait()

    async def close(self) -> None:
        """Take nothing new, let everything in flight end, then stop."""
        self._closing = True
        if not self.stopped.done():
            await self._idle.wait()
        self._committer.cancel()
        await asyncio.gather(self._committer, return_exceptions=True)

    def _check_running(self) -> None:
        if self._closing or self.stopped.done():
            raise Unavailable("the enclave is stopping; nothing was done", retry_after_ms=1_000)

    def _commit_later(self, queued: _Queued) -> None:
        self._drafts.append(queued)
        self._idle.clear()
        self._drafted.set()

    async def _commit_forever(self) -> None:
        try:
            while True:
                while not self._drafts:
                    self._drafted.clear()
                    await self._drafted.wait()
                await self._commit_batch()
        except Broken as error:
            self.end_term(error)
        except Exception as error:  # noqa: BLE001 (an error that nobody foresaw leaves the outcome unknown: I7)
            self.end_term(Broken(f"the append failed in a way that nobody foresaw: {error!r}"))

    async def _commit_batch(self) -> None:
        # They stay in the queue until they are durable: whoever ends the term meanwhile finds them there.
        batch = list(islice(self._drafts, limits.COMMIT_BATCH_MAX))
        self._observer.step(Step.APPENDING, len(batch))
        began = self._clock.monotonic()
        first = await self._appender.append([queued.draft for queued in batch])
        duration_s = self._clock.monotonic() - began
        self._observer.step(Step.APPENDED, len(batch))
        for _ in batch:
            self._drafts.popleft()
        for offset, queued in enumerate(batch):
            recorded = Recorded(event=queued.draft.event, index=first + offset)
            if queued.request_key is not None:
                self._settle(queued.request_key, recorded)
            elif queued.waiter is not None and not queued.waiter.done():
                queued.waiter.set_result(recorded)
        self._observer.step(Step.ANSWERED, len(batch))
        events = [queued.draft.event for queued in batch]
        self._observer.committed(first, events, self._appender.state, duration_s)
        if not all(map(is_ordinary, events)):
            self._wake_watchers()
        self._rest()

    def _settle(self, key: bytes, outcome: Recorded | KeyvaultError) -> None:
        pending = self._pending.pop(key)
        self._by_principal[pending.command.request.principal] -= 1
        if pending.ticket is not None:
            self._reservations.release(pending.ticket)
        for waiter in pending.waiters:
            if waiter.done():  # its caller went away
                continue
            if isinstance(outcome, Recorded):
                waiter.set_result(outcome)
            else:
                waiter.set_exception(outcome)
        self._rest()

    def _wake_watchers(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _rest(self) -> None:
        if not self._pending and not self._drafts:
            self._idle.set()

    def end_term(self, error: Broken) -> None:
        """Tell every caller that its outcome is not known, take nothing new, and resolve ``stopped``."""
        if not self.stopped.done():
            self.stopped.set_result(error)
        for key in list(self._pending):
            self._settle(key, Unavailable(_IN_DOUBT, retry_after_ms=1_000))
        for queued in self._drafts:
            if queued.waiter is not None and not queued.waiter.done():
                queued.waiter.set_exception(Unavailable(_IN_DOUBT, retry_after_ms=1_000))
        self._drafts.clear()
        self._wake_watchers()
        self._open.set()
        self._idle.set()


def _check_same(known: RequestSignature, command: RequestSignature) -> None:
    if known.request != command.request:
        raise RequestIdReused(f"request id {command.request.request_id} was used for another request")


def _earlier_answer(earlier: tuple[int, bytes], command: RequestSignature) -> Recorded:
    index, body = earlier
    event = codec.decode(body)
    if not isinstance(event, Answer) or event.request != command.request:
        raise RequestIdReused(f"request id {command.request.request_id} was used for another request (entry {index})")
    return Recorded(event=event, index=index)
