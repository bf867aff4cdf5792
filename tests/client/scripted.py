"""A real gRPC server over mutual TLS that signs with keys of its own, and lies or fails as its script says."""

import asyncio
import hashlib
import hmac
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import coincurve
import grpc
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyvault import intents
from keyvault.cli import pki
from keyvault.client import AsyncClient, Credentials, Timing
from keyvault.core.ids import EnclaveName, UnixMillis
from keyvault.core.intent import Payload, PayloadKind, Signer, Stamp
from keyvault.core.keys import KeyAlgorithm, KeyProvenance, KeyState, Signature
from keyvault.core.proposals import proposal_name
from keyvault.core.statements import Action, Statement, facts_sha256, payload_sha256, proposal_id_of, words_sha256
from keyvault.ledger import wire, wire_payload
from keyvault.ledger.wire_output import fill_output, fill_stamp
from keyvault.rpc.status import Failure, abort
from keyvault.v1 import governance_pb2, governance_pb2_grpc, signing_pb2, signing_pb2_grpc, types_pb2

Context = grpc.aio.ServicerContext[object, object]
Step = Callable[[signing_pb2.SignResponse], signing_pb2.SignResponse]
"""What becomes of an honest answer."""

BOT = "spiffe://test.local/bot/maker"
P256_ORDER = 0xFFFFFFFF_00000000_FFFFFFFF_FFFFFFFF_BCE6FAAD_A7179E84_F3B9CAC2_FC632551
SECP256K1_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
UNAVAILABLE = Failure(code=grpc.StatusCode.UNAVAILABLE, reason="UNAVAILABLE", message="not now", retry_after_ms=100)
OVERLOADED = Failure(code=grpc.StatusCode.RESOURCE_EXHAUSTED, reason="OVERLOADED", message="full", retry_after_ms=1_500)
DENIED = Failure(
    code=grpc.StatusCode.PERMISSION_DENIED, reason="DENIED_BY_RULE", message="denied by rule no", rules=("no", "never")
)
LIMITED = Failure(
    code=grpc.StatusCode.RESOURCE_EXHAUSTED, reason="LIMIT_EXCEEDED", message="no room", rules=("hourly",)
)


class Hang(Exception):
    """Told to say nothing: the request arrived, its answer is lost."""


@dataclass
class Time:
    """A clock that only sleeping moves; it never waits."""

    now: float = 1_000.0
    slept: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    @property
    def timing(self) -> Timing:
        """The longest jitter each time, so that pauses are known."""
        return Timing(monotonic=lambda: self.now, sleep=self.sleep, uniform=lambda _low, high: high)


@dataclass
class Keys:
    """Private keys by name: one of each algorithm."""

    secp256k1: coincurve.PrivateKey = field(default_factory=coincurve.PrivateKey)
    p256: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    edwards: ed25519.Ed25519PrivateKey = field(default_factory=ed25519.Ed25519PrivateKey.generate)
    secret: bytes = b"an exchange's API secret"

    def public(self, key: str) -> bytes:
        match key:
            case "eth":
                return self.secp256k1.public_key.format(compressed=False)
            case "p256":
                return self.p256.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            case "ed":
                return self.edwards.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            case _:
                return b""

    def signer(self, key: str) -> Signer:
        """Return the key as signer, with the stamp of this server."""
        return Signer(algorithm=ALGORITHMS[key], public_key=self.public(key), stamp=STAMP)

    def sign(self, key: str, data: bytes) -> Signature:
        match key:
            case "eth":
                raw = self.secp256k1.sign_recoverable(data, hasher=None)
                return Signature(value=raw[:64], recovery_id=raw[64])
            case "p256":
                der = self.p256.sign(data, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
                r, s = utils.decode_dss_signature(der)
                return Signature(value=r.to_bytes(32, "big") + min(s, P256_ORDER - s).to_bytes(32, "big"))
            case "ed":
                return Signature(value=self.edwards.sign(data))
            case "hmac-512":
                return Signature(value=hmac.digest(self.secret, data, hashlib.sha512))
            case _:
                return Signature(value=hmac.digest(self.secret, data, hashlib.sha256))


ALGORITHMS = {
    "eth": KeyAlgorithm.SECP256K1,
    "p256": KeyAlgorithm.P256,
    "ed": KeyAlgorithm.ED25519,
    "hmac": KeyAlgorithm.HMAC_SHA256,
    "hmac-512": KeyAlgorithm.HMAC_SHA512,
}
STAMP = Stamp(at=UnixMillis(1_790_000_000_000), nonce=1_790_000_000_001)
"""What this server adds to payloads that take a time."""


def answer(keys: Keys, request: signing_pb2.SignRequest) -> signing_pb2.SignResponse:
    """Return what an honest server says."""
    key = request.key.split("/")[3]
    payload = wire_payload.payload_from_proto(request.payload)
    signer = keys.signer(key)
    intent = intents.parse(payload, signer)
    signature = keys.sign(key, intent.signing_input)
    response = signing_pb2.SignResponse(
        request_id=request.request_id,
        key_version=f"enclaves/hot/keys/{key}/versions/1",
        ledger_index=7,
        signing_input=intent.signing_input,
        signature=wire.signature_to_proto(signature),
    )
    fill_stamp(response, STAMP if intent.stamped else None)
    fill_output(response, payload.kind, intents.assemble(payload, signer, signature))
    return response


class ScriptedGovernance(governance_pb2_grpc.GovernanceServiceServicer):
    """Shows one proposal, changed as its script says, and honest when the script is over."""

    def __init__(self, proposal: governance_pb2.Proposal) -> None:
        self.proposal = proposal
        self.script: deque[Callable[[governance_pb2.Proposal], object] | Failure | Hang] = deque()
        self.requests: list[str] = []

    async def GetProposal(  # noqa: N802 - gRPC's name
        self, request: governance_pb2.GetProposalRequest, context: Context
    ) -> governance_pb2.Proposal:
        return await self._next(request.name, context)

    async def CastBallot(self, request: governance_pb2.CastBallotRequest, context: Context) -> governance_pb2.Proposal:  # noqa: N802 - gRPC's name
        return await self._next(request.name, context)

    async def WatchProposal(  # noqa: N802 - gRPC's name
        self, request: governance_pb2.GetProposalRequest, context: Context
    ) -> AsyncIterator[governance_pb2.Proposal]:
        """Show it once for each step of the script; end the call after the first failure."""
        while self.script:
            yield await self._next(request.name, context)

    async def ListProposals(  # noqa: N802 - gRPC's name
        self, request: governance_pb2.ListProposalsRequest, context: Context
    ) -> governance_pb2.ListProposalsResponse:
        return governance_pb2.ListProposalsResponse(proposals=[await self._next(request.parent, context)])

    async def _next(self, name: str, context: Context) -> governance_pb2.Proposal:
        self.requests.append(name)
        shown = governance_pb2.Proposal()
        shown.CopyFrom(self.proposal)
        step = self.script.popleft() if self.script else None
        if isinstance(step, Failure):
            await abort(context, step)
        elif isinstance(step, Hang):
            await asyncio.Event().wait()
        elif step is not None:
            step(shown)
        return shown


def escalated(payload: Payload, *, key: str = "eth", request_id: str = "order-1") -> governance_pb2.Proposal:
    """Return how an honest server shows a request that waits for members."""
    intent = intents.parse(payload, intents.ANYBODY)
    statement = Statement(
        action=Action.SIGN,
        enclave=EnclaveName("hot"),
        enclave_id="ab" * 32,
        policy_version=1,
        requester=BOT,
        parameters=(
            ("algorithm", "SECP256K1"),
            ("facts_sha256", facts_sha256(intent.effects, intent.signing_input, intent.completeness)),
            ("key", key),
            ("key_version", "1"),
            ("kind", payload.kind.value),
            ("payload_sha256", payload_sha256(payload)),
            ("public_key", intents.ANYBODY.public_key.hex()),
            ("quorum", "1 of admins"),
            ("request_id", request_id),
            ("words_sha256", words_sha256(intents.describe(intent))),
        ),
        nonce="00",
        expires_at=UnixMillis(1_790_000_000_000),
    )
    message = shown_as(statement)
    subject = message.signature_subject
    subject.request_id, subject.principal, subject.key = request_id, BOT, key
    wire_payload.fill_payload(subject.payload, payload)
    subject.effects.extend(map(wire_payload.effect_to_proto, intent.effects))
    subject.signing_input = intent.signing_input
    subject.completeness = wire.COMPLETENESS.numbers[intent.completeness]
    return message


def shown_as(statement: Statement, document: bytes = b"") -> governance_pb2.Proposal:
    """Return how an honest server shows an open proposal."""
    return governance_pb2.Proposal(
        name=proposal_name(statement.enclave, proposal_id_of(statement.encode())),
        state=governance_pb2.Proposal.STATE_OPEN,
        statement=statement.encode(),
        create_time_ms=1_780_000_000_000,
        ledger_index=9,
        quorum="1 of admins",
        document=document,
    )


class ScriptedServer(signing_pb2_grpc.SigningServiceServicer):
    """Takes one step of its script for each request, and is honest when the script is over."""

    def __init__(self, credentials: Credentials) -> None:
        self.credentials = credentials
        waiting = escalated(Payload(kind=PayloadKind.RAW_DIGEST, parts=(b"d" * 32,)))
        self.governance = ScriptedGovernance(waiting)  # type: ignore[abstract]  # nobody calls the others
        self.keys = Keys()
        self.script: deque[Step | Failure | Hang] = deque()
        self.requests: list[bytes] = []
        self.messages: list[int] = []
        self.key_requests: list[str] = []
        self.arrived = asyncio.Semaphore(0)
        self.times_left: list[float] = []
        self.calls = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self.break_after: deque[int] = deque()
        self.refuse_streams = False
        self.standing_by: Failure | None = None
        self.port = 0
        self.server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"localhost:{self.port}"

    async def stop(self) -> None:
        """End all calls and listen no more."""
        if self.server is not None:
            await self.server.stop(None)

    async def Sign(self, request: signing_pb2.SignRequest, context: Context) -> signing_pb2.SignResponse:  # noqa: N802 - gRPC's name
        self._note(request)
        self.times_left.append(context.time_remaining())
        result = self._result(request)
        if isinstance(result, Hang):
            await asyncio.Event().wait()
            raise TypeError
        if isinstance(result, Failure):
            await abort(context, result)
            raise TypeError
        return result

    async def Simulate(self, _: signing_pb2.SimulateRequest, context: Context) -> signing_pb2.SimulateResponse:  # noqa: N802  gRPC's name
        await context.abort(grpc.StatusCode.UNIMPLEMENTED)

    async def GetQuota(self, _: signing_pb2.GetQuotaRequest, context: Context) -> signing_pb2.GetQuotaResponse:  # noqa: N802  as above
        await context.abort(grpc.StatusCode.UNIMPLEMENTED)

    async def GetPublicKey(self, request: signing_pb2.GetPublicKeyRequest, _: Context) -> types_pb2.Key:  # noqa: N802 - gRPC's name
        self.key_requests.append(request.name)
        key = request.name.split("/")[3]
        return types_pb2.Key(
            name=f"enclaves/hot/keys/{key}/versions/1",
            algorithm=wire.ALGORITHMS.numbers[ALGORITHMS[key]],
            state=wire.STATES.numbers[KeyState.ACTIVE],
            provenance=wire.PROVENANCES.numbers[KeyProvenance.GENERATED],
            public_key=self.keys.public(key),
        )

    async def SignStream(self, _: object, context: Context) -> None:  # type: ignore[override]  # noqa: N802 - gRPC's name; a coroutine is served too
        """Answer each message in reverse order; after ``break_after`` answers of a call, break it."""
        self.calls += 1
        if self.refuse_streams:
            await abort(context, DENIED)
        if self.standing_by is not None:
            await abort(context, self.standing_by)
        left = self.break_after.popleft() if self.break_after else None
        while isinstance(message := await context.read(), signing_pb2.SignStreamRequest):
            self.messages.append(len(message.requests))
            await self.hold.wait()
            for request in reversed(message.requests):
                if left == 0:
                    await abort(context, UNAVAILABLE)
                left = None if left is None else left - 1
                await self._answer_item(request, context)

    async def _answer_item(self, request: signing_pb2.SignRequest, context: Context) -> None:
        self._note(request)
        result = self._result(request)
        if isinstance(result, Hang):
            return
        item = signing_pb2.SignResult(request_id=request.request_id)
        if isinstance(result, Failure):
            item.error.CopyFrom(result.to_stream())
        else:
            item.response.CopyFrom(result)
        await context.write(signing_pb2.SignStreamResponse(results=[item]))

    def _note(self, request: signing_pb2.SignRequest) -> None:
        self.requests.append(request.SerializeToString(deterministic=True))
        self.arrived.release()

    def _result(self, request: signing_pb2.SignRequest) -> signing_pb2.SignResponse | Failure | Hang:
        if self.standing_by is not None:
            return self.standing_by
        step: Step | Failure | Hang = self.script.popleft() if self.script else lambda honest: honest
        if isinstance(step, Failure | Hang):
            return step
        return step(answer(self.keys, request))

    def client(
        self,
        *,
        time: Time | None = None,
        deadline_s: float = 40.0,
        attempt_deadline_s: float = 20.0,
        expected_keys: dict[str, bytes] | None = None,
        expected_enclave_id: bytes | None = None,
    ) -> AsyncClient:
        """Return a client of this server, on this clock."""
        return AsyncClient(
            self.address,
            self.credentials,
            enclave="hot",
            deadline_s=deadline_s,
            attempt_deadline_s=attempt_deadline_s,
            expected_keys=expected_keys,
            expected_enclave_id=expected_enclave_id,
            timing=(time or Time()).timing,
        )


def make_credentials(folder: Path, role: str = "bot", name: str = "maker") -> Credentials:
    """Return credentials from the authority in ``folder``, which is made when missing."""
    authority = folder / "ca"
    if not authority.exists():
        pki.create_authority(authority, "test.local")
        pki.issue(authority, "server", "local", folder)
    leaf = pki.issue(authority, role, name, folder)
    return Credentials.from_files(authority / pki.AUTHORITY_CERTIFICATE, leaf.certificate, leaf.private_key)


@asynccontextmanager
async def scripted(folder: Path, beside: ScriptedServer | None = None) -> AsyncIterator[ScriptedServer]:
    """Serve with a new authority in ``folder``; or the enclave of another server, with its authority and keys."""
    servicer = ScriptedServer(make_credentials(folder) if beside is None else beside.credentials)
    if beside is not None:
        servicer.keys = beside.keys
    server = servicer.server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    signing_pb2_grpc.add_SigningServiceServicer_to_server(servicer, server)
    governance_pb2_grpc.add_GovernanceServiceServicer_to_server(servicer.governance, server)
    tls = grpc.ssl_server_credentials(
        [((folder / "server-local.key").read_bytes(), (folder / "server-local.crt").read_bytes())],
        root_certificates=servicer.credentials.ca,
        require_client_auth=True,
    )
    servicer.port = server.add_secure_port("localhost:0", tls)
    await server.start()
    try:
        yield servicer
    finally:
        await server.stop(None)
