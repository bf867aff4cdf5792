"""What the edge may ask of an enclave, whoever leads it."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from keyvault.core.commands import CastBallot, Propose, RequestSignature
from keyvault.core.errors import Broken
from keyvault.core.ids import KeyId, LedgerIndex, Principal, UnixMillis
from keyvault.core.limits_check import Quota, Room
from keyvault.core.marks import Quarantine
from keyvault.core.proposals import Proposal
from keyvault.core.simulation import Decision
from keyvault.core.state import State
from keyvault.engine.copies import Proof
from keyvault.engine.sequencer import Waiter


class Served(Protocol):
    """An enclave as a leader has it (``Enclave``), or as a node has it that may lead or follow (``Node``).

    A node that follows reads what it has verified, and raises NotLeader for everything that decides.
    """

    @property
    def origin(self) -> str:
        """The ledger's name."""

    @property
    def state(self) -> State:
        """The state; for reading."""

    def shown(self, *, lead: bool = False) -> State:
        """Return the state for whoever asks from outside. Raises Unavailable while its newest change may vanish.

        ``lead``: for what members must read to say who leads; that is shown on a node that stands whatever may vanish.
        """

    @property
    def size(self) -> int:
        """Entries that the state includes."""

    @property
    def stopped(self) -> asyncio.Future[Broken]:
        """Done when the process must end."""

    @property
    def leads(self) -> bool:
        """Whether it decides."""

    @property
    def quarantine(self) -> Quarantine | None:
        """Why nothing is signed although the process lives, if that is so."""

    @property
    def is_open(self) -> bool:
        """Whether ``request`` may be called at once."""

    async def opened(self) -> None:
        """Return when ``request`` may be called; raise Overloaded if too many wait."""

    def request(self, command: RequestSignature, deadline: float) -> Waiter:
        """See Sequencer.request."""

    def simulate(self, command: RequestSignature, now: UnixMillis) -> tuple[Decision, tuple[Room, ...]]:
        """Return what would be decided if the request id were new, and the room in limits. Changes nothing."""

    def quotas(self, key: KeyId, principal: Principal, now: UnixMillis) -> tuple[Quota, ...]:
        """Return what was used of the limits about a key and a principal."""

    async def propose(self, command: Propose) -> Proposal:
        """Record that somebody asks for a change, and carry it out if nobody else need be asked."""

    async def cast(self, command: CastBallot) -> Proposal:
        """Record what a member says to a proposal, and carry it out if that was what was missing."""

    async def report(self, node: Principal, proofs: Sequence[Proof]) -> None:
        """Record what a node's token proved."""

    async def next_change(self) -> None:
        """Return after the next fact that is more than an ordinary answer, or when a term ends."""

    def entries(self, start: int, count: int) -> list[bytes]:
        """Return up to ``count`` entries verbatim."""

    async def checkpoint(self) -> tuple[int, bytes]:
        """Return (size, note) of the newest checkpoint; a leader's covers everything durable now."""

    async def inclusion_proof(self, index: LedgerIndex) -> tuple[tuple[bytes, ...], bytes, bytes]:
        """Return (hashes, entry, checkpoint note) that prove the entry at ``index``."""

    async def consistency_proof(self, old_size: int) -> tuple[tuple[bytes, ...], bytes]:
        """Return (hashes, checkpoint note) that prove that the newest checkpoint extends ``old_size``."""
