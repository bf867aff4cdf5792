"""One enclave in one term: recovered, leading, serving.

Opening is the ordinary path: fold the ledger, compare it with head, checkpoint and what was seen of it elsewhere,
become the leader, append TermStarted. Only then is anything decided.

A ledger that lacks what was seen of it is served in quarantine: it is read, proven as far as its newest checkpoint
goes, and members may leave the quarantine (``Governor`` law 5). Nothing else is decided, signed or vouched for: no
checkpoint, no anchor. When they have left it the same process goes on as the next incarnation. It is the same while the
node of a pair stands, until members named it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from keyvault.core import limits
from keyvault.core.commands import CastBallot, Propose, RequestSignature, check_recordable
from keyvault.core.errors import Broken, NotFound, NotLeader, Unavailable
from keyvault.core.events import TermStarted
from keyvault.core.ids import NOBODY, Epoch, KeyId, LedgerIndex, Principal, UnixMillis
from keyvault.core.limits_check import Quota, Room, quotas
from keyvault.core.marks import Quarantine
from keyvault.core.pair_changes import is_over
from keyvault.core.proposals import Proposal
from keyvault.core.simulation import Decision, decision_now, room_now
from keyvault.core.state import State
from keyvault.engine import proofs
from keyvault.engine.anchors import Anchorer
from keyvault.engine.appender import Appender, draft
from keyvault.engine.checkpoints import Checkpointer
from keyvault.engine.clock import Clock
from keyvault.engine.copies import Proof
from keyvault.engine.governor import CheckNodes, Governor
from keyvault.engine.observer import NoObserver, Observer
from keyvault.engine.recovery import Recovered, check_can_begin, recover
from keyvault.engine.refusals import quarantined
from keyvault.engine.sequencer import Sequencer, Waiter
from keyvault.engine.signing import SigningStage
from keyvault.hsm.base import Token
from keyvault.intents import describe
from keyvault.ledger.checkpoint import incarnated
from keyvault.store.base import Store

STANDS = "this node stands: it signs nothing until members name it (keyvault pair set)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who leads: a random id of the process, the software's version, and the node of a pair; all go into the ledger."""

    holder: str
    software: str
    node: Principal = NOBODY


class Enclave:
    """Everything that the edge may ask of one enclave."""

    def __init__(
        self,
        *,
        store: Store,
        token: Token,
        appender: Appender,
        clock: Clock,
        recovered: Recovered,
        observer: Observer,
        check_nodes: CheckNodes,
    ) -> None:
        self._origin = recovered.origin
        self._quarantine = recovered.quarantine
        self.uncovered_at_start = recovered.uncovered
        self._store = store
        self._token = token
        self._appender = appender
        self._clock = clock
        self._stage = SigningStage(token, clock)
        self._sequencer = Sequencer(
            store=store,
            index=recovered.index,
            appender=appender,
            stage=self._stage,
            clock=clock,
            observer=observer,
        )
        self._stage.start(under_way=self._sequencer.under_way, on_broken=self._sequencer.end_term)
        self._checkpointer = Checkpointer(
            appender=appender, stage=self._stage, clock=clock, origin=recovered.origin, newest=store.checkpoint()
        )
        self._anchorer = Anchorer(token=token, appender=appender)
        self._vouching: list[asyncio.Task[None]] = []
        self._governor = Governor(
            store=store,
            token=token,
            sequencer=self._sequencer,
            appender=appender,
            clock=clock,
            quarantine=recovered.quarantine,
            left=self._leave_quarantine,
            check_nodes=check_nodes,
        )
        self._governing = asyncio.create_task(self._govern_forever())
        if self._vouches:
            self._begin_to_vouch()

    @classmethod
    async def open(
        cls,
        *,
        store: Store,
        token: Token,
        clock: Clock,
        identity: Identity,
        observer: Observer | None = None,
    ) -> "Enclave":
        """Return the serving enclave.

        Raises Corrupt if the ledger is not what was written, Conflict or Broken if the term cannot be had, Unavailable
        if the token does not say what it remembers, or does not sign the first checkpoint of a new ledger.
        """
        anchor = await token.read_anchor()
        recovered = recover(store, anchor)
        seen = recovered.state.epoch if anchor is None else max(recovered.state.epoch, anchor.epoch)
        epoch = Epoch(store.acquire_term(identity.holder, above=seen))
        return await cls.lead(
            store=store,
            token=token,
            clock=clock,
            identity=identity,
            recovered=recovered,
            epoch=epoch,
            observer=observer,
        )

    @classmethod
    async def lead(  # noqa: PLR0913 (the parts of a term)
        cls,
        *,
        store: Store,
        token: Token,
        clock: Clock,
        identity: Identity,
        recovered: Recovered,
        epoch: Epoch,
        observer: Observer | None = None,
        writer: ThreadPoolExecutor | None = None,
        on_written: Callable[[float], None] | None = None,
        stands: bool = False,
        check_nodes: CheckNodes = lambda _followers: None,
    ) -> "Enclave":
        """Return the serving enclave in a term that was acquired already, on top of all that stands in the store.

        Its first append, TermStarted, is the barrier: nothing is decided before it is durable. ``writer`` and
        ``on_written``: see ``Appender``. Raises as ``open``.
        """
        state, (holder, software) = recovered.state, (identity.holder, identity.software)
        started = TermStarted(
            at=clock.now(), epoch=epoch, holder=holder, software=software, node=identity.node, stands=stands
        )
        check_can_begin(state, started)
        appender = Appender(
            store=store, state=state, tree=recovered.tree, epoch=epoch, writer=writer, on_written=on_written
        )
        await appender.append([draft(started)])
        enclave = cls(
            store=store,
            token=token,
            appender=appender,
            clock=clock,
            recovered=recovered,
            observer=observer or NoObserver(),
            check_nodes=check_nodes,
        )
        if enclave._vouches:
            await enclave._vouch_first(is_new=store.checkpoint() is None)
        return enclave

    async def _vouch_first(self, *, is_new: bool) -> None:
        """Sign a checkpoint before the first answer, so that a ledger with answers and no checkpoint is never ours.

        And let the token know of the new epoch.
        """
        try:
            if is_new:
                await self.checkpoint()
            await self._anchorer.try_write()
        except BaseException:  # nobody gets this enclave, so nobody else would close it
            await self.close()
            raise

    @property
    def origin(self) -> str:
        """The ledger's name."""
        return incarnated(self._origin, self.state.incarnation)

    @property
    def quarantine(self) -> Quarantine | None:
        """See Served."""
        return self._quarantine

    @property
    def state(self) -> State:
        """The state; for reading."""
        return self._appender.state

    def shown(self, *, lead: bool = False) -> State:  # noqa: ARG002 (see Served)
        """See Served: a term's state is what was confirmed."""
        return self.state

    @property
    def size(self) -> int:
        """Entries in the ledger."""
        return self._appender.head.size

    @property
    def stopped(self) -> asyncio.Future[Broken]:
        """Done when the term has ended by itself: the process must end."""
        return self._sequencer.stopped

    @property
    def leads(self) -> bool:
        """See Served."""
        return not self.stopped.done()

    @property
    def is_writing(self) -> bool:
        """Whether a write to the store is under way."""
        return self._appender.is_writing

    def end_term(self, reason: Broken) -> None:
        """Tell every caller that its outcome is not known, release nothing more, and take nothing new."""
        self._sequencer.end_term(reason)

    @property
    def is_open(self) -> bool:
        """Whether ``request`` may be called at once."""
        return self._sequencer.is_open

    async def opened(self) -> None:
        """Return when ``request`` may be called; raise Overloaded if too many wait."""
        await self._sequencer.opened()

    def request(self, command: RequestSignature, deadline: float) -> Waiter:
        """See Sequencer.request. Raises Refused(QUARANTINED) in quarantine, as ``simulate`` and ``quotas`` do."""
        self._check_decides()
        return self._sequencer.request(command, deadline)

    def simulate(self, command: RequestSignature, now: UnixMillis) -> tuple[Decision, tuple[Room, ...]]:
        """See Served. Raises Malformed or Overloaded, as ``request`` would."""
        self._check_decides()
        check_recordable(command)
        state, reservations = self.state, self._sequencer.reservations
        decided = decision_now(state, reservations, command, now, describe)
        return decided, room_now(state, reservations, command, now)

    def quotas(self, key: KeyId, principal: Principal, now: UnixMillis) -> tuple[Quota, ...]:
        """Return what was used of the limits about a key and a principal, what is under way included."""
        self._check_decides()
        return quotas(self.state.policy, self.state.windows, self._sequencer.reservations, key, principal, now)

    async def propose(self, command: Propose) -> Proposal:
        """Record that somebody asks for a change, and carry it out if nobody else need be asked.

        The same statement again returns the same proposal. Raises Refused, Malformed, Overloaded, Unavailable. A caller
        that goes away cancels nothing.
        """
        return await self._governor.propose(command)

    async def cast(self, command: CastBallot) -> Proposal:
        """Record what a member says to a proposal, and carry it out if that was what was missing.

        The same word again returns the same proposal. Raises Refused, NotFound, Overloaded, Unavailable. A caller that
        goes away cancels nothing.
        """
        return await self._governor.cast(command)

    async def report(self, node: Principal, proofs: Sequence[Proof]) -> None:
        """Record what a node's token proved; what is known already is nothing.

        Raises Refused unless the token has joined and each proof is one, Unavailable if this token cannot compare.
        """
        await self._governor.report(node, proofs)

    async def govern(self) -> None:
        """Carry out what has fallen due; what fails for now is tried again later. Raises Broken."""
        await self._governor.do_what_is_due()

    async def next_change(self) -> None:
        """Return after the next fact that is more than an ordinary answer, or when the term ends."""
        await self._sequencer.next_change()

    def entries(self, start: int, count: int) -> list[bytes]:
        """Return up to ``count`` entries verbatim."""
        return self._store.read(start, count)

    async def checkpoint(self) -> tuple[int, bytes]:
        """Return (size, note) of a checkpoint over everything durable now. Raises Unavailable if the token fails.

        In quarantine, and while the node stands: of the newest that there is, or NotFound.
        """
        if self._vouches:
            return await self._checkpointer.sign_head()
        if self._checkpointer.newest is None:
            raise NotFound("the ledger has no checkpoint, and nobody vouches for it now")
        return self._checkpointer.newest

    async def inclusion_proof(self, index: LedgerIndex) -> tuple[tuple[bytes, ...], bytes, bytes]:
        """Return (hashes, entry, checkpoint note) that prove the entry at ``index``.

        Under the newest checkpoint if that covers it: what members need to say no must not wait for the token.
        """
        newest = self._checkpointer.newest
        size, note = newest if newest is not None and index < newest[0] else await self.checkpoint()
        hashes, entry = proofs.inclusion(self._appender.tree, self._store.read, index, size)
        return hashes, entry, note

    async def consistency_proof(self, old_size: int) -> tuple[tuple[bytes, ...], bytes]:
        """Return (hashes, checkpoint note) that prove that the newest checkpoint extends ``old_size``."""
        size, note = await self.checkpoint()
        return proofs.consistency(self._appender.tree, self._store.read, old_size, size), note

    async def drain(self) -> None:
        """Take nothing new, finish what is in flight, and sign a last checkpoint."""
        self._governing.cancel()
        await asyncio.gather(self._governing, return_exceptions=True)
        await self._governor.close()
        await self._sequencer.close()
        for task in self._vouching:
            task.cancel()
        await asyncio.gather(*self._vouching, return_exceptions=True)
        if not self.stopped.done() and self._vouches:
            try:
                await self._checkpointer.sign_head()
                await self._anchorer.try_write()
            except Unavailable:
                pass  # the next term signs this head with its own first checkpoint
            except Broken as error:  # another leads by now, or the disk failed: whoever asks ``stopped`` is told
                self._sequencer.end_term(error)

    async def close(self) -> None:
        """Drain, and stop. The store stays open."""
        await self.drain()
        await self._stage.close()
        self._appender.close()

    @property
    def _vouches(self) -> bool:
        """Whether this term may sign checkpoints: not in quarantine, not while its node stands, not after its end."""
        return self._quarantine is None and not self.state.stands and not is_over(self.state)

    def _check_decides(self) -> None:
        if self._quarantine is not None:
            raise quarantined(self._quarantine)
        if self.state.stands:
            raise Unavailable(STANDS, retry_after_ms=1_000)
        if is_over(self.state):
            raise NotLeader

    async def _leave_quarantine(self) -> None:
        """Vouch for the new incarnation, and decide from now on. Whoever waits for the token does not hold it up."""
        try:
            with suppress(Unavailable):  # the next interval tries again
                await self._checkpointer.sign_head()
            await self._anchorer.try_write()
        except Broken as error:
            self._sequencer.end_term(error)
            return
        self._quarantine = None
        self._begin_to_vouch()

    def _begin_to_vouch(self) -> None:
        self._vouching = [
            asyncio.create_task(self._for_ever(self._checkpointer.run, "no checkpoint can be made")),
            asyncio.create_task(self._for_ever(self._anchorer.run, "the token's anchor cannot be written")),
        ]

    async def _for_ever(self, run: Callable[[], Awaitable[None]], problem: str) -> None:
        try:
            await run()
        except Exception as error:  # noqa: BLE001 (whatever it is, a ledger that nobody vouches for must not go on)
            self._sequencer.end_term(Broken(f"{problem}: {error!r}"))

    async def _govern_forever(self) -> None:
        try:
            while not self.stopped.done():
                await asyncio.sleep(limits.GOVERNANCE_INTERVAL_MS / 1000)
                await self._governor.do_what_is_due()
        except Exception as error:  # noqa: BLE001 (whatever it is, an enclave whose delays never end must not go on)
            self._sequencer.end_term(Broken(f"what falls due cannot be carried out: {error!r}"))
