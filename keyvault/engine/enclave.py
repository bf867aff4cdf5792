"""One enclave in one term: recovered, leading, serving.

Opening is the ordinary path: fold the ledger, compare it with head and checkpoint, become the leader, append
TermStarted. Only then is anything decided.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from keyvault.core.approvals import Action
from keyvault.core.commands import ChangeEnclave, RequestSignature
from keyvault.core.decide import KeyToMake, decide_change
from keyvault.core.errors import Broken, NotFound, Unavailable
from keyvault.core.events import Change, Event, TermStarted
from keyvault.core.ids import Epoch, LedgerIndex
from keyvault.core.state import State
from keyvault.engine.appender import Appender, draft
from keyvault.engine.checkpoints import Checkpointer
from keyvault.engine.clock import Clock
from keyvault.engine.observer import NoObserver, Observer
from keyvault.engine.recovery import Recovered, recover
from keyvault.engine.sequencer import Recorded, Sequencer, Waiter
from keyvault.engine.signing import SigningStage
from keyvault.hsm.base import Token
from keyvault.ledger import codec
from keyvault.ledger.merkle import leaf_hash
from keyvault.store.base import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who leads: a random id of the process, and the software's version; both go into the ledger."""

    holder: str
    software: str


class Enclave:
    """Everything that the edge may ask of one enclave."""

    def __init__(
        self, *, store: Store, token: Token, appender: Appender, clock: Clock, recovered: Recovered, observer: Observer
    ) -> None:
        self.origin = recovered.origin
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
        self._checkpointing = asyncio.create_task(self._checkpoint_forever())
        self._changing = asyncio.Lock()
        self._changes: set[asyncio.Task[Recorded]] = set()

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
        if the token does not sign the first checkpoint of a new ledger.
        """
        recovered = recover(store)
        epoch = Epoch(store.acquire_term(identity.holder))
        appender = Appender(store=store, state=recovered.state, tree=recovered.tree, epoch=epoch)
        started = TermStarted(at=clock.now(), epoch=epoch, holder=identity.holder, software=identity.software)
        await appender.append([draft(started)])
        enclave = cls(
            store=store,
            token=token,
            appender=appender,
            clock=clock,
            recovered=recovered,
            observer=observer or NoObserver(),
        )
        if store.checkpoint() is None:
            await enclave._checkpoint_first()
        return enclave

    async def _checkpoint_first(self) -> None:
        """Sign a checkpoint before the first answer, so that a ledger with answers and no checkpoint is never ours."""
        try:
            await self.checkpoint()
        except BaseException:  # nobody gets this enclave, so nobody else would close it
            await self.close()
            raise

    @property
    def state(self) -> State:
        """The state; for reading."""
        return self._appender.state

    @property
    def size(self) -> int:
        """Entries in the ledger."""
        return self._appender.head.size

    @property
    def stopped(self) -> asyncio.Future[Broken]:
        """Done when the term has ended by itself: the process must end."""
        return self._sequencer.stopped

    @property
    def is_open(self) -> bool:
        """Whether ``request`` may be called at once."""
        return self._sequencer.is_open

    async def opened(self) -> None:
        """Return when ``request`` may be called; raise Overloaded if too many wait."""
        await self._sequencer.opened()

    def request(self, command: RequestSignature, deadline: float) -> Waiter:
        """See Sequencer.request."""
        return self._sequencer.request(command, deadline)

    async def change(self, command: ChangeEnclave) -> Recorded:
        """Make an authorized change durable; the same statement again returns the same fact.

        Raises Refused, Malformed, Unavailable. A caller that goes away cancels nothing.
        """
        task = asyncio.create_task(self._change(command))
        self._changes.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    def _forget(self, task: asyncio.Task[Recorded]) -> None:
        self._changes.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may be gone; then nobody else would look at it

    async def _change(self, command: ChangeEnclave) -> Recorded:
        async with self._changing:
            earlier = self._store.find(codec.statement_key(command.authorization.payload))
            if earlier is not None:
                return Recorded(event=codec.decode(earlier[1]), index=earlier[0])
            return await self._sequencer.commit_alone(await self._prepare(command))

    async def _prepare(self, command: ChangeEnclave) -> Callable[[], Event]:
        plan = decide_change(self.state, command, self._clock.now())
        if not isinstance(plan, KeyToMake):
            return lambda: _fact(decide_change(self.state, command, self._clock.now()))
        # The token works before anything waits for it. What it makes is named by the statement: if this change
        # goes no further, the same statement finds the same object later.
        if command.statement.action is Action.KEY_IMPORT:
            await self._token.unwrap(plan.object_id, plan.algorithm, command.wrapped_secret)
            public_key = b""
        else:
            public_key = await self._token.generate(plan.object_id, plan.algorithm)

        def created() -> Event:
            decided = decide_change(self.state, command, self._clock.now())
            if not isinstance(decided, KeyToMake):
                raise Broken("a statement that makes a key was decided as something else")
            return decided.created(self.state, public_key)

        return created

    def entries(self, start: int, count: int) -> list[bytes]:
        """Return up to ``count`` entries verbatim."""
        return self._store.read(start, count)

    async def checkpoint(self) -> tuple[int, bytes]:
        """Return (size, note) of a checkpoint over everything durable now. Raises Unavailable if the token fails."""
        return await self._checkpointer.sign_head()

    async def inclusion_proof(self, index: LedgerIndex) -> tuple[tuple[bytes, ...], bytes, bytes]:
        """Return (hashes, entry, checkpoint note) that prove the entry at ``index``."""
        size, note = await self.checkpoint()
        if not 0 <= index < size:
            raise NotFound(f"the ledger has no entry {index}; its size is {size}")
        hashes = self._appender.tree.inclusion_proof(index, size, self._block_hashes)
        return tuple(hashes), self._store.read(index, 1)[0], note

    async def consistency_proof(self, old_size: int) -> tuple[tuple[bytes, ...], bytes]:
        """Return (hashes, checkpoint note) that prove that the newest checkpoint extends ``old_size``."""
        size, note = await self.checkpoint()
        if not 0 < old_size <= size:
            raise NotFound(f"the ledger never had size {old_size}; its size is {size}")
        return tuple(self._appender.tree.consistency_proof(old_size, size, self._block_hashes)), note

    def _block_hashes(self, block: int) -> list[bytes]:
        return [leaf_hash(body) for body in self._store.read(block * 256, 256)]

    async def close(self) -> None:
        """Finish what is in flight, sign a last checkpoint, and stop. The store stays open."""
        await asyncio.gather(*self._changes, return_exceptions=True)
        await self._sequencer.close()
        self._checkpointing.cancel()
        await asyncio.gather(self._checkpointing, return_exceptions=True)
        if not self.stopped.done():
            with suppress(Unavailable):  # the next term signs this head with its own first checkpoint
                await self._checkpointer.sign_head()
        await self._stage.close()
        self._appender.close()

    async def _checkpoint_forever(self) -> None:
        try:
            await self._checkpointer.run()
        except Exception as error:  # noqa: BLE001 (whatever it is, a ledger without checkpoints must not go on)
            self._sequencer.end_term(Broken(f"no checkpoint can be made: {error!r}"))


def _fact(plan: "Change | KeyToMake") -> Change:
    if isinstance(plan, KeyToMake):
        raise Broken("a statement that changes no key was decided as one that makes a key")
    return plan
