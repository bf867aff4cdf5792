"""Nodes of a pair in one process, each with a file and a token of its own; between them a network that can be cut."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from keyvault.core.errors import Broken, KeyvaultError, Unavailable
from keyvault.core.events import Event, PairSet, SignatureIssued
from keyvault.core.ids import Principal
from keyvault.core.keys import Signature
from keyvault.core.proposals import Outcome, Proposal
from keyvault.core.state import State
from keyvault.core.statements import Action
from keyvault.engine.enclave import Enclave, Identity
from keyvault.engine.feed import Batch, Look
from keyvault.engine.genesis import write_genesis
from keyvault.engine.node import Node
from keyvault.engine.observer import NoObserver
from keyvault.engine.pair import PairTerms
from keyvault.engine.replica import Replica
from keyvault.ledger import codec
from keyvault.ledger.log_key import log_key_of
from keyvault.ledger.note import Verifier
from keyvault.store.flag import Flag
from keyvault.store.sqlite import SqliteStore, open_store
from tests.engine.world import SOON, FixedClock
from tests.software_token import SoftwareToken
from tests.worlds import (
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

WAIT_S = 15.0
_POLL_S = 0.01


def node_name(name: str) -> Principal:
    """Return what the ledger calls a machine."""
    return Principal(f"spiffe://test.local/node/kv-{name}")


async def until(holds: Callable[[], object]) -> None:
    """Return when it holds; fail if it does not come to hold."""
    async with asyncio.timeout(WAIT_S):
        while not holds():  # noqa: ASYNC110  what is waited for has no event
            await asyncio.sleep(_POLL_S)


class Quiet:
    """A Reporter for nobody; remembers."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        self.quarantines: list[str] = []

    def leads(self, epoch: int) -> None:
        """See Reporter."""

    def ended(self, epoch: int, why: str) -> None:
        """See Reporter."""
        self.ends.append(f"{epoch}: {why}")

    def cosigns(self, vkey: str) -> None:
        """See Reporter."""

    def evens_out(self, place: str) -> None:
        """See Reporter."""

    def quarantined(self, why: str) -> None:
        """See Reporter."""
        self.quarantines.append(why)


@dataclass
class Wire:
    """A Link without a network."""

    world: "PairWorld"
    sender: Principal
    node: Principal
    address: str
    goes_to: str = ""
    """Whose machine is there, if not the peer's."""

    async def look(self) -> Look:
        """See Link."""
        other = self._other()
        return other.terms.look(self.sender)

    async def push(self, batch: Batch) -> Look:
        """See Link."""
        loses = None if self.node in self.world.spares else self.world.loses
        if loses is not None and any(loses(codec.decode(each.body)) for each in batch.entries):
            raise Unavailable("the message is lost")
        found = await self._other().terms.take(self.sender, batch)
        if (self.sender, self.node) in self.world.lose_answers:
            raise Unavailable("the answer is lost")
        return found

    async def close(self) -> None:
        """See Link."""

    def _other(self) -> "Machine":
        machine = self.world.machines.get(self.goes_to or self.node.rpartition("-")[2])
        if machine is None or not machine.up or {self.sender, self.node} & self.world.cut:
            raise Unavailable(f"{self.node} does not answer")
        return machine


class Machine:
    """One machine: its file, its token, and the node that runs on it."""

    def __init__(self, world: "PairWorld", name: str, folder: Path, token: SoftwareToken) -> None:
        self.world = world
        self.name = name
        self.node_name = node_name(name)
        self.file = folder / f"{name}.db"
        self.token = token
        self.pinned: Verifier | None = None
        """What it is configured for, if not the world's ledger."""
        self.up = False
        self.told = Quiet()

    def start(self, *, stands_after: int = 0) -> None:
        """Run the node."""
        self.store: SqliteStore = open_store(self.file, create=not self.file.exists())
        copying = Flag(self.file, "copying")
        self.replica = Replica(self.store, secrets.token_hex(8), is_whole=not copying.reason())
        self.node = Node(self.replica)
        self.wires = [
            Wire(self.world, self.node_name, other.node_name, f"{other.name}.test:7443")
            for other in self.world.machines.values()
            if other is not self
        ]
        self.terms = PairTerms(
            links=self.wires,
            replica=self.replica,
            node=self.node,
            token=self.token,
            clock=self.world.clock,
            identity=Identity(holder="h", software="test", node=self.node_name),
            pinned=self.world.pinned if self.pinned is None else self.pinned,
            copying=copying,
            fed=Flag(self.file, "fed"),
            forked=Flag(self.file, "forked"),
            address=f"{self.name}.test:7443",
            observer=NoObserver(),
            reporter=self.told,
            stands_after=stands_after,
        )
        self.up = True
        self.running = asyncio.create_task(self.terms.run())

    async def stop(self) -> None:
        """End the node as SIGTERM does."""
        self.terms.drain()
        await self.running
        await self._gone()

    async def crash(self) -> None:
        """End the node without a word to anybody: callers are not told, nothing is handed on, only its file stays."""
        self.up = False
        enclave = self.terms._enclave
        if enclave is not None:
            enclave.end_term(Broken("the machine is gone"))
        await self.stop()

    def throw_away(self) -> None:
        """Delete its ledger."""
        for path in self.file.parent.glob(f"{self.file.name}*"):
            path.unlink()

    def put_back(self, ledger: bytes) -> None:
        """Let its ledger be an older copy, and its token have seen nothing."""
        self.throw_away()
        self.file.write_bytes(ledger)
        self.token.anchor = None

    async def _gone(self) -> None:
        self.up = False
        async with self.terms.intake.folding:  # what a thread is writing
            self.store.close()

    @property
    def leads(self) -> bool:
        """Whether it leads, with nothing to wait for."""
        enclave = self.terms._enclave
        return self.up and enclave is not None and enclave.leads and self.node.leads and not self.state.stands

    @property
    def state(self) -> State:
        return self.replica.state

    def events(self) -> list[Event]:
        """All facts in its file."""
        return [codec.decode(body) for body in self.store.read(0, 10_000)]


class PairWorld:
    """Machines a, b and c, of which the first begins with a ledger that names nobody."""

    def __init__(self, folder: Path, names: str) -> None:
        """``names``: one letter for each machine."""
        self.folder = folder
        self.clock = FixedClock()
        self.alice, self.bob = Person("alice"), Person("bob")
        self.cut: set[Principal] = set()
        self.loses: Callable[[Event], bool] | None = None
        """Which facts never arrive, but at those that are spared."""
        self.spares: set[Principal] = set()
        self.lose_answers: set[tuple[Principal, Principal]] = set()
        """What these send to those arrives, and the sender does not learn of it."""
        token = SoftwareToken()
        self.machines: dict[str, Machine] = {}
        for name in names:
            self.machines[name] = Machine(self, name, folder, token.copy() if self.machines else token)
        rules = policy(allow_digest())
        first = genesis(self.alice, self.bob, rules=rules, log_public_key=token.log_public_key)
        store = open_store(folder / "a.db", create=True)
        write_genesis(store, first)
        self.pinned = log_key_of(store.read(0, 1)[0], first)
        store.close()

    async def led_before_there_were_pairs(self) -> None:
        """Let machine a's ledger be one that a server without [pair] led, and signed in."""
        store = open_store(self["a"].file, create=False)
        identity = Identity(holder="h", software="test")
        enclave = await Enclave.open(store=store, token=self["a"].token, clock=self.clock, identity=identity)
        said = statement(
            enclave.state, Action.KEY_CREATE, key_parameters(), nonce="aa", expires_at=self.clock.at + 3_600_000
        )
        await enclave.propose(propose(said, self.alice))
        await enclave.cast(ballot(said, self.bob))
        for number in range(3):
            await enclave.request(digest_request(f"old-{number}"), SOON)
        await enclave.close()
        store.close()

    def __getitem__(self, name: str) -> Machine:
        return self.machines[name]

    async def govern(self, at: str, action: Action, parameters: dict[str, str], nonce: str = "00") -> Proposal:
        """Let alice ask for a change on this machine, and bob approve it there."""
        machine = self[at]
        expires_at = self.clock.at + 3_600_000
        said = statement(machine.state, action, parameters, nonce=nonce, expires_at=expires_at)
        proposal = await machine.node.propose(propose(said, self.alice))
        if proposal.outcome is Outcome.OPEN:
            proposal = await machine.node.cast(ballot(said, self.bob))
        return proposal

    def pair_parameters(self, at: str, leader: str, names: str = "", **other: str) -> dict[str, str]:
        """Return the words that are true on this machine; ``names`` are followers."""
        state = self[at].state
        return {
            "leader": node_name(leader),
            "followers": " ".join(map(node_name, names)) or "none",
            "epoch": str(state.epoch),
            "stands": "yes" if state.stands else "no",
            "position": str(state.decided if state.stands else 0),
            "decided_at_ms": str(state.decided_at if state.stands else 0),
            "reason": "a test",
        } | other

    async def name(self, at: str, leader: str, followers: str = "") -> None:
        """Let members name who leads, on this machine, once those who are to follow are up to date."""
        wanted = {node_name(name) for name in followers}
        if not self[at].state.stands:
            feeds = [feed for feed in self[at].terms._feeds.all if feed.node in wanted]
            await until(lambda: all(feed.head and not feed.lacks for feed in feeds))
        nonce = f"{self[at].state.size:08x}"
        proposal = await self.govern(at, Action.PAIR_SET, self.pair_parameters(at, leader, followers), nonce)
        assert proposal.outcome is Outcome.EXECUTED

    async def sign(self, at: str, request_id: str) -> Signature:
        """Return a signature from this machine."""
        await self[at].node.opened()
        recorded = await self[at].node.request(digest_request(request_id), SOON)
        assert isinstance(recorded.event, SignatureIssued)
        return recorded.event.signature

    async def stand(self, name: str) -> None:
        """Start a machine that is down, to stand."""
        self[name].start()
        epoch = self[name].state.epoch
        await self[name].stop()
        self[name].start(stands_after=epoch)
        await until(lambda: self[name].node.leads)

    def signatures(self, at: str) -> dict[str, list[bytes]]:
        """All signatures in a machine's ledger, by request id."""
        found: dict[str, list[bytes]] = {}
        for event in self[at].events():
            if isinstance(event, SignatureIssued):
                found.setdefault(event.request.request_id, []).append(event.signature.value)
        return found

    def named(self, at: str) -> list[PairSet]:
        """What members named, in a machine's ledger."""
        return [event for event in self[at].events() if isinstance(event, PairSet)]

    async def close(self) -> None:
        """End every node."""
        for machine in self.machines.values():
            if machine.up:
                with suppress(KeyvaultError):
                    await machine.stop()


@asynccontextmanager
async def lone(folder: Path, names: str = "ab") -> AsyncIterator[PairWorld]:
    """Machine a leads alone, with a key; the others run and watch."""
    world = PairWorld(folder, names)
    try:
        for name in names:
            world[name].start()
        await until(lambda: world["a"].leads)
        made = await world.govern("a", Action.KEY_CREATE, key_parameters())
        assert made.outcome is Outcome.EXECUTED
        yield world
    finally:
        await world.close()


@asynccontextmanager
async def paired(folder: Path, names: str = "ab") -> AsyncIterator[PairWorld]:
    """Machine a leads, the others follow and confirm."""
    async with lone(folder, names) as world:
        await world.name("a", "a", names[1:])
        await until(lambda: all(world[name].state.pair == world["a"].state.pair for name in names))
        yield world
