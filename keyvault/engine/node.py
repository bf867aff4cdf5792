"""One node's view of an enclave that several nodes share: the leader's when it leads, its verified copy otherwise."""

import asyncio
from collections.abc import Callable, Sequence

from keyvault.core.addresses import is_address
from keyvault.core.commands import CastBallot, Propose, RequestSignature
from keyvault.core.errors import Broken, NotFound, NotLeader, Unavailable
from keyvault.core.ids import KeyId, LedgerIndex, Principal, UnixMillis
from keyvault.core.limits_check import Quota, Room
from keyvault.core.marks import Quarantine
from keyvault.core.proposals import Proposal
from keyvault.core.simulation import Decision
from keyvault.core.state import State
from keyvault.engine import proofs as tree_proofs
from keyvault.engine.copies import Proof
from keyvault.engine.cosigning import Cosigning
from keyvault.engine.enclave import Enclave
from keyvault.engine.refusals import quarantined
from keyvault.engine.replica import Replica
from keyvault.engine.sequencer import Waiter

_UNSETTLED = "the newest change is not confirmed by every machine of the pair yet; it is shown once this one knows that"


class Node:
    """See ``Served``. Whoever runs the node says when it leads and when not."""

    def __init__(self, replica: Replica) -> None:
        self.stopped: asyncio.Future[Broken] = asyncio.get_running_loop().create_future()
        self.leader = ""
        """Where the leader is called, as far as this node knows; its own address while it leads."""
        self.may_lead: Callable[[], bool] = lambda: True
        """Whether the term goes on, by the clock; asked before every decision."""
        self._quarantine: Quarantine | None = None
        self.readable: Callable[[], int | None] = lambda: None
        """How many entries may be given out while this node does not lead, or stands; None: all that it has."""
        self.cosigning: Cosigning | None = None
        """What cosigns for this node."""
        self._replica = replica
        self._enclave: Enclave | None = None
        self._changed = asyncio.Event()

    def lead(self, enclave: Enclave, address: str) -> None:
        """Answer from this enclave from now on."""
        self._enclave, self.leader = enclave, address
        self.changed()

    def follow(self, leader: str) -> None:
        """Answer from the copy, and send those who want a decision to ``leader``; empty: nobody knows where.

        What is no address counts as that: it comes from a row that others can write, and whoever passes calls on dials
        it, shows it, and tells it to callers.
        """
        leader = leader if is_address(leader) else ""
        changed = self._enclave is not None or self.leader != leader
        self._enclave, self.leader = None, leader
        if changed:
            self.changed()

    @property
    def quarantine(self) -> Quarantine | None:
        """See Served; of a node that does not lead: why it never does."""
        return self._quarantine if self._enclave is None else self._enclave.quarantine

    @quarantine.setter
    def quarantine(self, found: Quarantine) -> None:
        self._quarantine = found

    @property
    def is_out(self) -> bool:
        """Whether this node never leads, whatever else."""
        return self._quarantine is not None

    def changed(self) -> None:
        """Wake those who wait for the next change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def ready(self) -> None:
        """Return when there is a state to read."""
        while not self.size:
            await self._changed.wait()

    @property
    def leads(self) -> bool:
        """Whether this node decides."""
        return self._enclave is not None

    @property
    def origin(self) -> str:
        """See Served."""
        return self._replica.origin

    @property
    def state(self) -> State:
        """See Served."""
        return self._replica.state

    def shown(self, *, lead: bool = False) -> State:
        """See Served. Answers that may vanish change nothing that is shown, so a busy leader's follower is readable."""
        state, readable = self.state, self.readable()
        decides, stands = self.leads and not state.stands, self.leads and state.stands
        if readable is None or decides or (stands and lead) or state.changed <= readable:
            return state
        raise Unavailable(_UNSETTLED, retry_after_ms=1_000)

    @property
    def size(self) -> int:
        """See Served."""
        return self._replica.state.size

    @property
    def is_open(self) -> bool:
        """See Served."""
        return self._enclave is None or self._enclave.is_open

    async def opened(self) -> None:
        """See Served."""
        await self._leading().opened()

    def request(self, command: RequestSignature, deadline: float) -> Waiter:
        """See Served."""
        return self._leading().request(command, deadline)

    def simulate(self, command: RequestSignature, now: UnixMillis) -> tuple[Decision, tuple[Room, ...]]:
        """See Served."""
        return self._leading().simulate(command, now)

    def quotas(self, key: KeyId, principal: Principal, now: UnixMillis) -> tuple[Quota, ...]:
        """See Served."""
        return self._leading().quotas(key, principal, now)

    async def propose(self, command: Propose) -> Proposal:
        """See Served."""
        return await self._leading().propose(command)

    async def cast(self, command: CastBallot) -> Proposal:
        """See Served."""
        return await self._leading().cast(command)

    async def report(self, node: Principal, proofs: Sequence[Proof]) -> None:
        """See Served."""
        await self._leading().report(node, proofs)

    async def next_change(self) -> None:
        """See Served."""
        if self._enclave is None:
            await self._changed.wait()
        else:
            await self._enclave.next_change()

    def entries(self, start: int, count: int) -> list[bytes]:
        """See Served."""
        if self._enclave is not None:
            return self._enclave.entries(start, count)
        readable = self.readable()
        most = count if readable is None else max(0, min(count, readable - start))
        return self._replica.copy.read(start, most)

    async def checkpoint(self) -> tuple[int, bytes]:
        """See Served."""
        if self._enclave is not None:
            return await self._enclave.checkpoint()
        newest = self._replica.copy.checkpoint()
        cosigned = None if self.cosigning is None else self.cosigning.newest
        if newest is None:
            raise NotFound("this node has no checkpoint yet")
        return cosigned if cosigned is not None and cosigned[0] == newest[0] else newest

    async def inclusion_proof(self, index: LedgerIndex) -> tuple[tuple[bytes, ...], bytes, bytes]:
        """See Served."""
        if self._enclave is not None:
            return await self._enclave.inclusion_proof(index)
        size, note = await self.checkpoint()
        hashes, entry = tree_proofs.inclusion(self._replica.tree, self._replica.copy.read, index, size)
        return hashes, entry, note

    async def consistency_proof(self, old_size: int) -> tuple[tuple[bytes, ...], bytes]:
        """See Served."""
        if self._enclave is not None:
            return await self._enclave.consistency_proof(old_size)
        size, note = await self.checkpoint()
        return tree_proofs.consistency(self._replica.tree, self._replica.copy.read, old_size, size), note

    def _leading(self) -> Enclave:
        if self._enclave is None:
            if self.quarantine is not None and not self.leader:
                raise quarantined(self.quarantine)
            raise NotLeader(self.leader)
        if not self.may_lead():
            raise NotLeader
        return self._enclave
