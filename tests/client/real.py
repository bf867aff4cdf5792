"""The real thing: SoftHSM token, enclave, ledger and gRPC edge in this process, behind mutual TLS."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from keyvault.client import AsyncClient, Credentials, MemberKey
from keyvault.core.approvals import Member
from keyvault.core.events import Genesis
from keyvault.core.ids import EnclaveName, Epoch, MemberName, UnixMillis
from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.policy import ANY, Policy, Rule, Verdict
from keyvault.engine.clock import SystemClock
from keyvault.engine.enclave import Enclave, Identity
from keyvault.engine.genesis import write_genesis
from keyvault.hsm.create import CreatedToken
from keyvault.ledger.codec_policy import encode_policy
from keyvault.rpc.server import Identity as ServerIdentity
from keyvault.rpc.server import Server
from keyvault.store.sqlite import open_store
from tests.client.scripted import make_credentials
from tests.hsm.world import copy_of, running

RULES = (
    Rule(
        id="transfers",
        verdict=Verdict.ALLOW,
        keys=frozenset({"eth"}),
        principals=ANY,
        kinds=frozenset({PayloadKind.EVM_TRANSACTION}),
        chains=ANY,
        destinations=ANY,
        amount_max=10**18,
        fee_max=ANY,
    ),
    Rule(
        id="orders",
        verdict=Verdict.ALLOW,
        keys=frozenset({"ed", "hmac"}),
        principals=ANY,
        kinds=frozenset({PayloadKind.BINANCE_REST}),
        venues=ANY,
    ),
    Rule(
        id="mail",
        verdict=Verdict.ALLOW,
        keys=frozenset({"eth"}),
        principals=ANY,
        kinds=frozenset({PayloadKind.TYPED_DATA}),
        chains=ANY,
        destinations=ANY,
        primary_types=ANY,
    ),
    Rule(
        id="digests",
        verdict=Verdict.ALLOW,
        keys=frozenset({"p256"}),
        principals=ANY,
        kinds=frozenset({PayloadKind.RAW_DIGEST}),
        operations=frozenset({Operation.OPAQUE}),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RealServer:
    """A serving enclave named hot, and who may talk to it."""

    port: int
    bot: Credentials
    admin: Credentials
    stranger: Credentials
    member: MemberKey

    def client(self, credentials: Credentials, **options: object) -> AsyncClient:
        """Return a client with these credentials."""
        return AsyncClient(f"localhost:{self.port}", credentials, enclave="hot", **options)  # type: ignore[arg-type]  # options of the client


def genesis(token: CreatedToken, member: MemberKey) -> Genesis:
    """Return entry 0: one admin, and the rules above."""
    policy = Policy(version=1, rules=RULES, limits=())
    return Genesis(
        at=UnixMillis(SystemClock().now()),
        epoch=Epoch(0),
        enclave=EnclaveName("hot"),
        log_public_key=token.log_public_key,
        import_public_key=token.import_public_key,
        members=(Member(name=MemberName(member.member), roles=frozenset({"admin"}), public_keys=(member.public_key,)),),
        admin_threshold=1,
        policy=policy,
        policy_document=encode_policy(policy),
        nonce=b"n" * 16,
    )


@asynccontextmanager
async def real_server(template: CreatedToken, folder: Path) -> AsyncIterator[RealServer]:
    """Serve a new enclave with a copy of this token, from files in ``folder``."""
    (folder / "token").mkdir()
    (folder / "elsewhere").mkdir()
    world = copy_of(template, folder / "token")
    bot, admin = make_credentials(folder), make_credentials(folder, "admin", "alice")
    member = MemberKey("alice", ec.generate_private_key(ec.SECP256R1()))
    store = open_store(folder / "ledger.db", create=True)
    write_genesis(store, genesis(world.created, member))
    identity = Identity(holder="test", software="test")
    async with running(world.config) as token:
        enclave = await Enclave.open(store=store, token=token, clock=SystemClock(), identity=identity)
        server = Server(
            enclave=enclave,
            clock=SystemClock(),
            identity=ServerIdentity(
                certificate_chain=(folder / "server-local.crt").read_bytes(),
                private_key=(folder / "server-local.key").read_bytes(),
                client_ca=bot.ca,
            ),
            listen="localhost:0",
            trust_domain="test.local",
        )
        await server.start()
        try:
            stranger = replace(make_credentials(folder / "elsewhere"), ca=bot.ca)
            yield RealServer(port=server.port, bot=bot, admin=admin, stranger=stranger, member=member)
        finally:
            await server.stop(1)
            await enclave.close()
            store.close()
