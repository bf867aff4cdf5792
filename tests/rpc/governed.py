"""A server whose enclave has three members and a rule that asks them, on a clock that only the test moves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from keyvault.client import AsyncClient, Credentials, MemberKey, NeedsApproval, Timing
from keyvault.core.charter import Duty, Role
from keyvault.core.intent import Payload, PayloadKind
from keyvault.core.keys import KeyAlgorithm
from keyvault.core.policy import ANY, Rule, Verdict
from keyvault.core.proposals import Outcome
from keyvault.engine.enclave import Enclave, Identity
from keyvault.engine.genesis import write_genesis
from keyvault.rpc.server import Identity as ServerIdentity
from keyvault.rpc.server import Server
from keyvault.store.memory import MemoryMedium, MemoryStore
from keyvault.v1 import governance_pb2_grpc, signing_pb2, signing_pb2_grpc, types_pb2
from tests.client.scripted import make_credentials
from tests.engine.world import FixedClock
from tests.intents.building import dynamic_fee
from tests.software_token import SoftwareToken
from tests.worlds import Person, allow_digest, charter, genesis, policy

BOTS = Rule(
    id="bots",
    verdict=Verdict.ALLOW,
    keys=frozenset({"signer"}),
    principals=ANY,
    kinds=allow_digest().kinds,
    operations=allow_digest().operations,
)
"""Digests are signed for everybody."""
ASK = Rule(
    id="ask",
    verdict=Verdict.ESCALATE,
    keys=frozenset({"signer"}),
    principals=ANY,
    kinds=frozenset({PayloadKind.EVM_TRANSACTION}),
    chains=ANY,
    destinations=ANY,
    amount_max=ANY,
    fee_max=ANY,
    quorum="1 of admins",
)
"""Transactions of this key are left to members."""
SEND = dynamic_fee()
"""A transfer."""
STEP = {"ceremony": "backup", "step": "1", "record_sha256": "ab" * 32}
"""The parameters of a change that touches nothing else."""
NOBODY = f"enclaves/hot/proposals/{'0' * 64}"
"""The name of no proposal."""
CALLERS = {
    "bot": ("bot", "maker"),
    "other_bot": ("bot", "taker"),
    "admin": ("admin", "alice"),
    "approver": ("approver", "carol"),
    "auditor": ("auditor", "dave"),
}


@dataclass(kw_only=True)
class Governed:
    """The server, and who may call."""

    enclave: Enclave
    token: SoftwareToken
    medium: MemoryMedium
    clock: FixedClock
    server: Server
    callers: dict[str, Credentials]
    alice: MemberKey
    bob: MemberKey
    carol: MemberKey

    def client(self, who: str) -> AsyncClient:
        """Return a client of this caller, on the world's clock."""
        timing = Timing(now_ms=lambda: self.clock.at)
        return AsyncClient(f"localhost:{self.server.port}", self.callers[who], enclave="hot", timing=timing)

    @asynccontextmanager
    async def governance(self, who: str) -> AsyncIterator["governance_pb2_grpc.GovernanceServiceAsyncStub"]:
        """Give the bare service to this caller."""
        async with self.channel(who) as channel:
            yield governance_pb2_grpc.GovernanceServiceStub(channel)

    @asynccontextmanager
    async def signing(self, who: str) -> AsyncIterator["signing_pb2_grpc.SigningServiceAsyncStub"]:
        """Give the bare service to this caller."""
        async with self.channel(who) as channel:
            yield signing_pb2_grpc.SigningServiceStub(channel)

    def channel(self, who: str) -> grpc.aio.Channel:
        """Return a channel of this caller."""
        caller = self.callers[who]
        tls = grpc.ssl_channel_credentials(caller.ca, caller.private_key, caller.certificate)
        return grpc.aio.secure_channel(f"localhost:{self.server.port}", tls)


def transfer(request_id: str, unsigned: bytes) -> signing_pb2.SignRequest:
    """Return a request that members are asked about."""
    payload = types_pb2.Payload(evm_transaction=unsigned)
    return signing_pb2.SignRequest(key="enclaves/hot/keys/signer", request_id=request_id, payload=payload)


def payload_of(unsigned: bytes) -> Payload:
    """Return the same for the SDK."""
    return Payload(kind=PayloadKind.EVM_TRANSACTION, parts=(unsigned,))


async def escalate(here: Governed, request_id: str = "order-1", payload: bytes = SEND) -> str:
    """Let the bot ask for what members must approve; return the proposal's name."""
    async with here.client("bot") as bot:
        try:
            await bot.sign("signer", payload_of(payload), request_id=request_id)
        except NeedsApproval as waiting:
            return waiting.proposal
    raise AssertionError("it was signed")


async def refused(call: object) -> grpc.aio.AioRpcError:
    """Return how the call ended, which must not be well."""
    try:
        await call  # type: ignore[misc]  # any gRPC call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("the call was answered")


@asynccontextmanager
async def governed(folder: Path, **thresholds: str) -> AsyncIterator[Governed]:
    """Serve an enclave with one key, signer; alice and bob are admins, carol is an approver."""
    token, medium, clock = SoftwareToken(), MemoryMedium(), FixedClock()
    alice, bob, carol = Person("alice"), Person("bob"), Person("carol", roles=frozenset({Role.APPROVER}))
    ruling = charter(alice, bob, carol, thresholds={Duty[name]: quorum for name, quorum in thresholds.items()})
    first = genesis(rules=policy(BOTS, ASK), rulers=ruling, log_public_key=token.log_public_key)
    write_genesis(MemoryStore(medium), first)
    callers = {name: make_credentials(folder, *who) for name, who in CALLERS.items()}
    enclave = await Enclave.open(
        store=MemoryStore(medium), token=token, clock=clock, identity=Identity(holder="h", software="test")
    )
    identity = ServerIdentity(
        certificate_chain=(folder / "server-local.crt").read_bytes(),
        private_key=(folder / "server-local.key").read_bytes(),
        client_ca=callers["bot"].ca,
    )
    server = Server(enclave=enclave, clock=clock, identity=identity, listen="localhost:0", trust_domain="test.local")
    await server.start()
    world = Governed(
        enclave=enclave,
        token=token,
        medium=medium,
        clock=clock,
        server=server,
        callers=callers,
        alice=MemberKey("alice", alice.key),
        bob=MemberKey("bob", bob.key),
        carol=MemberKey("carol", carol.key),
    )
    try:
        async with world.client("admin") as client:
            approvers = (world.bob, world.carol)
            made = await client.create_key("signer", KeyAlgorithm.SECP256K1, signer=world.alice, approvers=approvers)
            assert made.outcome is Outcome.EXECUTED
        yield world
    finally:
        await server.stop(1)
        await enclave.close()
