"""An enclave over a medium that outlives it, with a token whose lanes can be held; for the engine's tests."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from keyvault.core.apply import apply
from keyvault.core.charter import Charter
from keyvault.core.events import Event, SignatureIssued
from keyvault.core.ids import UnixMillis
from keyvault.core.keys import KeyAlgorithm, SealedRoots
from keyvault.core.policy import Limit, Rule
from keyvault.core.proposals import Outcome, Proposal
from keyvault.core.state import State
from keyvault.core.statements import Action
from keyvault.engine.clock import SystemClock
from keyvault.engine.enclave import Enclave, Identity
from keyvault.engine.genesis import write_genesis
from keyvault.engine.observer import NoObserver, Observer
from keyvault.engine.sequencer import Recorded
from keyvault.hsm.base import LOG_KEY_OBJECT_ID
from keyvault.ledger import codec
from keyvault.store.memory import Fault, MemoryMedium, MemoryStore
from tests.software_token import SoftwareToken
from tests.worlds import (
    NOW,
    Person,
    allow_digest,
    ballot,
    digest_request,
    genesis,
    key_parameters,
    policy,
    propose,
    statement,
)

SOON = 10**9
"""A deadline that never comes, in monotonic seconds."""


class FixedClock(SystemClock):
    """Wall time stands still until a test moves it, monotonic time is the machine's."""

    def __init__(self) -> None:
        self.at = int(NOW)

    def now(self) -> UnixMillis:
        """Return the world's moment."""
        return UnixMillis(self.at)


@dataclass
class World:
    """An enclave over a medium that outlives it."""

    medium: MemoryMedium
    token: SoftwareToken
    alice: Person
    bob: Person
    clock: FixedClock
    enclave: Enclave
    plug: "Plug"
    people: tuple[Person, ...] = ()

    def ask(self, request_id: str, **more: object) -> "asyncio.Task[Recorded]":
        """Ask for a signature in the background."""
        command = digest_request(request_id, **more)  # type: ignore[arg-type]  # test glue

        async def wait() -> Recorded:
            await self.enclave.opened()
            return await self.enclave.request(command, SOON)

        return asyncio.create_task(wait())

    async def sign(self, request_id: str, **more: object) -> Recorded:
        """Ask and wait."""
        return await self.ask(request_id, **more)

    async def admin(
        self, action: Action, parameters: dict[str, str], nonce: str = "00", **attached: object
    ) -> Proposal:
        """Let alice ask for a change and bob approve it; return the proposal."""
        said = statement(self.enclave.state, action, parameters, nonce=nonce, expires_at=self.clock.at + 24 * 3_600_000)
        proposal = await self.enclave.propose(propose(said, self.alice, **attached))
        if proposal.outcome is Outcome.OPEN:
            proposal = await self.enclave.cast(ballot(said, self.bob))
        return proposal

    def decoded(self) -> list[object]:
        """The facts on the medium."""
        return [codec.decode(body) for body in self.medium.bodies]

    def issued(self) -> list[SignatureIssued]:
        """The signatures on the medium."""
        return [event for event in self.decoded() if isinstance(event, SignatureIssued)]


def hold(world: World) -> None:
    """Let the token answer nobody from now on."""
    for lane in world.token.lanes:
        lane.gate.clear()


def let_go(world: World) -> None:
    """Let the token answer."""
    for lane in world.token.lanes:
        lane.gate.set()


def folded(world: World) -> State:
    """Return what a replica makes of the medium."""
    state = State.empty()
    for index, body in enumerate(world.medium.bodies):
        apply(state, index, codec.decode(body))
    return state


async def settle() -> None:
    """Let everything that can run do so."""
    for _ in range(50):
        await asyncio.sleep(0)


class Plug(NoObserver):
    """Pulls the plug: the append after the first of ``after`` fails, and the fact is lost or kept."""

    def __init__(self, medium: MemoryMedium) -> None:
        self._medium = medium
        self._after: type[Event] | None = None
        self._fault = Fault.LOST

    def pull(self, *, after: type[Event], fault: Fault) -> None:
        """Be ready."""
        self._after, self._fault = after, fault

    def committed(self, first: int, events: Sequence[Event], state: State, duration_s: float) -> None:
        """See Observer."""
        del first, state, duration_s
        if self._after is not None and any(isinstance(event, self._after) for event in events):
            self._medium.fault, self._after = self._fault, None


async def open_enclave(
    medium: MemoryMedium,
    token: SoftwareToken,
    clock: FixedClock | None = None,
    observer: Observer | None = None,
) -> Enclave:
    return await Enclave.open(
        store=MemoryStore(medium),
        token=token,
        clock=clock or FixedClock(),
        identity=Identity(holder="h", software="test"),
        observer=observer,
    )


@asynccontextmanager
async def opened_world(
    *,
    lanes: int = 2,
    limits_: tuple[Limit, ...] = (),
    rule: Rule | None = None,
    rulers: Charter | None = None,
    persons: tuple[Person, ...] | None = None,
    moves: bool = False,
) -> AsyncIterator[World]:
    """``moves``: keys move between tokens."""
    medium, token, clock = MemoryMedium(), SoftwareToken(lanes=lanes), FixedClock()
    alice, bob, *others = persons or (Person("alice"), Person("bob"))
    rules = policy(rule or allow_digest(), limits=limits_)
    first = genesis(alice, bob, *others, rules=rules, rulers=rulers, log_public_key=token.log_public_key)
    write_genesis(MemoryStore(medium), replace(first, sealed=await _sealed(token)) if moves else first)
    plug = Plug(medium)
    enclave = await open_enclave(medium, token, clock, plug)
    world = World(medium=medium, token=token, alice=alice, bob=bob, clock=clock, enclave=enclave, plug=plug)
    world.people = (alice, bob, *others)
    made = await world.admin(Action.KEY_CREATE, key_parameters())
    assert made.outcome is Outcome.EXECUTED
    try:
        yield world
    finally:
        for lane in token.lanes:
            lane.gate.set()
        await world.enclave.close()


async def _sealed(token: SoftwareToken) -> SealedRoots:
    await token.create_wrapping_key()
    return SealedRoots(
        wrapping_key_check=await token.wrapping_key_check(),
        log_key=await token.wrap(LOG_KEY_OBJECT_ID, KeyAlgorithm.ED25519),
        log_key_plaintext=True,
        import_key=await token.wrap_import_key(),
    )


async def restart(world: World) -> None:
    """Open the ledger again as a new process would."""
    await world.enclave.close()
    world.enclave = await open_enclave(world.medium, world.token, world.clock, world.plug)
