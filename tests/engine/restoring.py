"""An enclave whose ledger was put back to an older copy, and what its members do about it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from keyvault.core.approvals import Voice
from keyvault.core.charter import Duty
from keyvault.core.marks import Quarantine
from keyvault.core.policy import Limit
from keyvault.core.proposals import Outcome, Proposal
from keyvault.core.statements import Action
from keyvault.store.memory import MemoryMedium
from tests.engine.world import World, open_enclave, opened_world
from tests.worlds import Person, ballot, charter, people, propose, statement

HOUR_MS = 3_600_000


def copy_of(medium: MemoryMedium) -> MemoryMedium:
    """Return what a backup of the ledger has: without the file beside it."""
    return MemoryMedium(
        bodies=list(medium.bodies),
        index=dict(medium.index),
        head=medium.head,
        epoch=medium.epoch,
        checkpoints=list(medium.checkpoints),
    )


class Restored:
    """An enclave whose ledger was put back by five signatures."""

    def __init__(self, world: World, lost: MemoryMedium) -> None:
        self.world = world
        self.lost = lost

    @property
    def quarantine(self) -> Quarantine:
        """Why nothing is signed."""
        found = self.world.enclave.quarantine
        assert found is not None
        return found

    def person(self, name: str) -> Person:
        return next(each for each in self.world.people if each.name == name)

    async def ask_to_leave(self, *, by: str = "alice", **other: str) -> Proposal:
        """Let a member propose to leave the quarantine."""
        lost, state = self.quarantine.lost, self.world.enclave.state
        wanted = {
            "incarnation": str(max(state.incarnation, lost.incarnation) + 1),
            "position": str(self.quarantine.position),
            "lost_incarnation": str(lost.incarnation),
            "lost_epoch": str(lost.epoch),
            "lost_position": str(lost.size),
            "lost_root": lost.root.hex(),
            "reason": "the disk is gone",
        }
        said = statement(
            state, Action.LEAVE_QUARANTINE, wanted | other, requester=by, expires_at=self.world.clock.at + HOUR_MS
        )
        return await self.world.enclave.propose(propose(said, self.person(by)))

    async def say(self, proposal: Proposal, by: str, voice: Voice = Voice.APPROVE) -> Proposal:
        return await self.world.enclave.cast(ballot(proposal.statement_bytes, self.person(by), voice))

    async def leave(self) -> None:
        """Let alice ask, bob and carol approve."""
        proposal = await self.ask_to_leave()
        await self.say(proposal, "bob")
        assert (await self.say(proposal, "carol")).outcome is Outcome.EXECUTED


def nothing_else(_world: World, _lost: MemoryMedium) -> None:
    """The token and the file remember."""


def token_only(world: World, _lost: MemoryMedium) -> None:
    world.medium.anchor = None


def file_only(world: World, lost: MemoryMedium) -> None:
    world.token.anchor = None
    assert world.medium.anchor == lost.anchor


def everything(world: World, _lost: MemoryMedium) -> None:
    world.token.anchor = world.medium.anchor = None


@asynccontextmanager
async def restored(
    limits_: tuple[Limit, ...] = (), forget: Callable[[World, MemoryMedium], None] = nothing_else
) -> AsyncIterator[Restored]:
    """Serve a ledger that was put back to before the last five signatures; the file beside it stayed, and the token."""
    persons = people("alice", "bob", "carol")
    rulers = charter(*persons, thresholds={Duty.CHARTER: "2 of admins"})
    async with opened_world(limits_=limits_, persons=persons, rulers=rulers) as world:
        await world.sign("kept")
        await world.enclave.checkpoint()
        backup = copy_of(world.medium)
        for number in range(5):
            await world.sign(f"lost-{number}")
        await world.enclave.close()
        lost = world.medium
        backup.anchor = lost.anchor
        world.medium = backup
        world.plug._medium = backup
        forget(world, lost)
        world.enclave = await open_enclave(world.medium, world.token, world.clock, world.plug)
        yield Restored(world, lost)
