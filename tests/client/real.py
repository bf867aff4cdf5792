"""The real thing: SoftHSM token, enclave, ledger and gRPC edge in this process, behind mutual TLS."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from keyvault.client import AsyncClient, Credentials, MemberKey
from keyvault.core.charter import Charter, Duty, Group, Member, Role, Threshold
from keyvault.core.events import Genesis
from keyvault.core.ids import EnclaveName, Epoch, GroupName, MemberName, UnixMillis
from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.policy import ANY, Policy, Rule, Verdict
from keyvault.core.quorum import Of
from keyvault.engine.clock import Clock, SystemClock
from keyvault.engine.enclave import Enclave, Identity
from keyvault.engine.genesis import write_genesis
from keyvault.hsm.create import CreatedToken
from keyvault.ledger.codec_charter import encode_charter
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
        amount_max=5 * 10**18,
        fee_max=ANY,
    ),
    Rule(
        id="orders",
        verdict=Verdict.ALLOW,
        keys=frozenset({"ed", "hmac"}),
        principals=ANY,
        kinds=frozenset({PayloadKind.BINANCE_REST}),
        venues=ANY,
        symbols=ANY,
    ),
    Rule(
        id="mail",
        verdict=Verdict.ALLOW,
        keys=frozenset({"eth"}),
        principals=ANY,
        kinds=frozenset({PayloadKind.TYPED_DATA}),
        operations=frozenset({Operation.TYPED_DATA}),
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
    Rule(
        id="large",
        verdict=Verdict.ESCALATE,
        keys=frozenset({"eth"}),
        kinds=frozenset({PayloadKind.EVM_TRANSACTION}),
        amount_above=2 * 10**18,
        quorum="1 of admins",
    ),
)
LARGE = 3 * 10**18
"""Wei that members must approve."""
ADMINS = GroupName("admins")


@dataclass(frozen=True, slots=True, kw_only=True)
class RealServer:
    """A serving enclave named hot, and who may talk to it."""

    port: int
    bot: Credentials
    admin: Credentials
    other_bot: Credentials
    stranger: Credentials
    member: MemberKey
    others: tuple[MemberKey, ...]
    enclave: Enclave
    ledger: Path

    def client(self, credentials: Credentials, **options: object) -> AsyncClient:
        """Return a client with these credentials."""
        return AsyncClient(f"localhost:{self.port}", credentials, enclave="hot", **options)  # type: ignore[arg-type]  # options of the client


def charter(*members: MemberKey) -> Charter:
    """Return a charter in which any other admin approves everything; loosening the policy waits for a moment."""
    names = [MemberName(member.member) for member in members]
    one = Of(1, ADMINS)
    return Charter(
        version=1,
        members=tuple(
            Member(name=name, roles=frozenset({Role.ADMIN}), public_keys=(member.public_key,))
            for name, member in zip(names, members, strict=True)
        ),
        groups=(Group(name=ADMINS, members=frozenset(names)),),
        thresholds=tuple(
            Threshold(duty=duty, quorum=one, delay_ms=1 if duty is Duty.POLICY_LOOSEN else 0)
            for duty in Duty
            if duty is not Duty.BREAK_GLASS
        ),
    )


class MovedClock(SystemClock):
    """The machine's clock, and so many milliseconds more."""

    ahead_ms = 0

    def now(self) -> UnixMillis:
        """Return Unix time in milliseconds."""
        return UnixMillis(super().now() + self.ahead_ms)


def genesis(token: CreatedToken, *members: MemberKey, rules: tuple[Rule, ...] = RULES) -> Genesis:
    """Return entry 0: these admins, and these rules."""
    policy, ruling = Policy(version=1, rules=rules, limits=()), charter(*members)
    return Genesis(
        at=UnixMillis(SystemClock().now()),
        epoch=Epoch(0),
        enclave=EnclaveName("hot"),
        log_public_key=token.log_public_key,
        import_public_key=token.import_public_key,
        charter=ruling,
        charter_document=encode_charter(ruling),
        policy=policy,
        policy_document=encode_policy(policy),
        nonce=b"n" * 16,
    )


@asynccontextmanager
async def real_server(
    template: CreatedToken, folder: Path, *, rules: tuple[Rule, ...] = RULES, clock: Clock | None = None
) -> AsyncIterator[RealServer]:
    """Serve a new enclave with a copy of this token, from files in ``folder``."""
    clock = clock or SystemClock()
    (folder / "token").mkdir()
    (folder / "elsewhere").mkdir()
    world = copy_of(template, folder / "token")
    bot, admin = make_credentials(folder), make_credentials(folder, "admin", "alice")
    other_bot = make_credentials(folder, "bot", "other")
    member = MemberKey("alice", ec.generate_private_key(ec.SECP256R1()))
    others = (MemberKey("bob", ed25519.Ed25519PrivateKey.generate()),)
    ledger = folder / "ledger.db"
    store = open_store(ledger, create=True)
    write_genesis(store, genesis(world.created, member, *others, rules=rules))
    identity = Identity(holder="test", software="test")
    async with running(world.config) as token:
        enclave = await Enclave.open(store=store, token=token, clock=clock, identity=identity)
        server = Server(
            enclave=enclave,
            clock=clock,
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
            yield RealServer(
                port=server.port,
                bot=bot,
                admin=admin,
                other_bot=other_bot,
                stranger=stranger,
                member=member,
                others=others,
                enclave=enclave,
                ledger=ledger,
            )
        finally:
            await server.stop(1)
            await enclave.close()
            store.close()
