"""The edge over real mutual TLS, with an enclave in memory behind it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from keyvault.client import AsyncClient, Credentials, MemberKey
from keyvault.core import limits
from keyvault.core.keys import KeyAlgorithm
from keyvault.core.policy import ANY, Rule, Verdict
from keyvault.engine.clock import SystemClock
from keyvault.engine.enclave import Enclave, Identity
from keyvault.engine.genesis import write_genesis
from keyvault.ledger.note import parse_vkey
from keyvault.ledger.proof import verify_proof
from keyvault.rpc.server import SERVICES, Server
from keyvault.rpc.server import Identity as ServerIdentity
from keyvault.store.memory import MemoryMedium, MemoryStore
from keyvault.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    governance_pb2,
    governance_pb2_grpc,
    keys_pb2,
    keys_pb2_grpc,
    signing_pb2,
    signing_pb2_grpc,
    types_pb2,
)
from tests.client.scripted import make_credentials
from tests.software_token import SoftwareToken
from tests.worlds import Person, allow_digest, genesis, policy


@dataclass
class World:
    """A server, its enclave, and who may call."""

    enclave: Enclave
    token: SoftwareToken
    medium: MemoryMedium
    server: Server
    port: int
    bot: Credentials
    admin: Credentials
    member: MemberKey
    others: tuple[MemberKey, ...]

    def channel(self, who: Credentials) -> grpc.aio.Channel:
        """Return a channel of this caller."""
        credentials = grpc.ssl_channel_credentials(who.ca, who.private_key, who.certificate)
        return grpc.aio.secure_channel(f"localhost:{self.port}", credentials)


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """Serve an enclave with one key, signer, that any bot may use for digests."""
    alice, bob, token, medium = Person("alice"), Person("bob"), SoftwareToken(), MemoryMedium()
    rule = allow_digest()
    rules = policy(
        Rule(
            id=rule.id,
            verdict=Verdict.ALLOW,
            keys=rule.keys,
            principals=ANY,
            kinds=rule.kinds,
            operations=rule.operations,
        )
    )
    write_genesis(MemoryStore(medium), genesis(alice, bob, rules=rules, log_public_key=token.log_public_key))
    bot, admin = make_credentials(folder), make_credentials(folder, "admin", "alice")
    clock = SystemClock()
    enclave = await Enclave.open(
        store=MemoryStore(medium), token=token, clock=clock, identity=Identity(holder="h", software="test")
    )
    identity = ServerIdentity(
        certificate_chain=(folder / "server-local.crt").read_bytes(),
        private_key=(folder / "server-local.key").read_bytes(),
        client_ca=bot.ca,
    )
    server = Server(enclave=enclave, clock=clock, identity=identity, listen="localhost:0", trust_domain="test.local")
    await server.start()
    member, others = MemberKey("alice", alice.key), (MemberKey("bob", bob.key),)
    made = World(
        enclave=enclave,
        token=token,
        medium=medium,
        server=server,
        port=server.port,
        bot=bot,
        admin=admin,
        member=member,
        others=others,
    )
    try:
        async with AsyncClient(f"localhost:{server.port}", admin, enclave="hot") as client:
            await client.create_key("signer", KeyAlgorithm.SECP256K1, signer=member, approvers=others)
        yield made
    finally:
        for lane in token.lanes:
            lane.gate.set()
        await server.stop(1)
        await enclave.close()


def _ask(
    request_id: str, *, key: str = "enclaves/hot/keys/signer", digest: bytes = b"d" * 32
) -> signing_pb2.SignRequest:
    return signing_pb2.SignRequest(key=key, request_id=request_id, payload=types_pb2.Payload(raw_digest=digest))


async def _next(stream: Any) -> signing_pb2.SignStreamResponse:  # noqa: ANN401  any stream
    message: signing_pb2.SignStreamResponse = await stream.read()
    return message


async def _code(call: object) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call  # type: ignore[misc]  # any gRPC call
    return error.value.code()


async def test_health_and_reflection_speak_for_every_service(tmp_path: Path) -> None:
    """Standard health says SERVING for each service, and reflection lists them all."""
    async with world(tmp_path) as here, here.channel(here.bot) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # its stubs know nothing of grpc.aio
        for name in ("", *SERVICES):
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub
        call = reflection(channel).ServerReflectionInfo(iter([ask]))
        listed = await call.read()
        assert set(SERVICES) <= {service.name for service in listed.list_services_response.service}


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (_ask("r", key="enclaves/hot/keys/nobody"), grpc.StatusCode.NOT_FOUND),
        (_ask("r", key="enclaves/cold/keys/signer"), grpc.StatusCode.NOT_FOUND),
        (_ask("r", key="signer"), grpc.StatusCode.INVALID_ARGUMENT),
        (_ask("r", key="enclaves/hot/keys/signer/versions/0"), grpc.StatusCode.INVALID_ARGUMENT),
        (_ask("r", key="enclaves/hot/keys/signer/versions/2"), grpc.StatusCode.NOT_FOUND),
        (_ask(""), grpc.StatusCode.INVALID_ARGUMENT),
        (_ask("r" * 65), grpc.StatusCode.INVALID_ARGUMENT),
        (_ask("r", digest=b"short"), grpc.StatusCode.INVALID_ARGUMENT),
        (signing_pb2.SignRequest(key="enclaves/hot/keys/signer", request_id="r"), grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_a_bad_request_is_answered_with_its_status(
    tmp_path: Path, request_: signing_pb2.SignRequest, code: grpc.StatusCode
) -> None:
    """Each malformed or unanswerable request has its status, and the server goes on signing."""
    async with world(tmp_path) as here, here.channel(here.bot) as channel:
        stub = signing_pb2_grpc.SigningServiceStub(channel)
        assert await _code(stub.Sign(request_)) is code
        assert (await stub.Sign(_ask("next"))).signature.value


async def test_a_stream_answers_everything_by_request_id(tmp_path: Path) -> None:
    """Good, refused, malformed and repeated requests of one stream are each answered once, in any order."""
    async with world(tmp_path) as here, here.channel(here.bot) as channel:
        requests = [_ask(f"r{n}") for n in range(limits.STREAM_IN_FLIGHT_MAX + 50)]
        odd = [
            _ask("bad", digest=b""),
            _ask("r0"),
            _ask("r1", digest=b"e" * 32),
            _ask("x", key="enclaves/hot/keys/nobody"),
        ]
        stream = signing_pb2_grpc.SigningServiceStub(channel).SignStream()
        for start in range(0, len(requests), 100):
            await stream.write(signing_pb2.SignStreamRequest(requests=requests[start : start + 100]))
        await stream.write(signing_pb2.SignStreamRequest(requests=odd))
        await stream.done_writing()
        results = [result async for message in stream for result in message.results]
        assert len(results) == len(requests) + len(odd)
        good = {result.request_id: result.response for result in results if result.WhichOneof("outcome") == "response"}
        assert set(good) == {request.request_id for request in requests}
        errors = {(result.request_id, result.error.reason) for result in results if result.HasField("error")}
        assert errors == {("bad", "MALFORMED"), ("r1", "REQUEST_ID_REUSED"), ("x", "KEY_NOT_FOUND")}


@pytest.mark.parametrize("count", [0, limits.STREAM_BATCH_MAX + 1])
async def test_a_stream_message_has_a_bound(tmp_path: Path, count: int) -> None:
    """I9: an empty message or one with too many requests ends the stream with INVALID_ARGUMENT."""
    async with world(tmp_path) as here, here.channel(here.bot) as channel:
        stream = signing_pb2_grpc.SigningServiceStub(channel).SignStream()
        await stream.write(signing_pb2.SignStreamRequest(requests=[_ask(f"r{n}") for n in range(count)]))
        assert await _code(stream.read()) is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_stream_that_is_cut_leaves_facts_and_no_trouble(tmp_path: Path) -> None:
    """A caller that vanishes mid-stream cancels nothing that was decided; the same ids find their answers."""
    async with world(tmp_path) as here, here.channel(here.bot) as channel:
        for lane in here.token.lanes:
            lane.gate.clear()
        stub = signing_pb2_grpc.SigningServiceStub(channel)
        stream = stub.SignStream()
        await stream.write(signing_pb2.SignStreamRequest(requests=[_ask("r1"), _ask("r2")]))
        while sum(sum(lane.batches) for lane in here.token.lanes) < 2:  # noqa: ASYNC110  lanes count, they do not tell
            await asyncio.sleep(0)
        stream.cancel()
        for lane in here.token.lanes:
            lane.gate.set()
        first, second = await asyncio.gather(stub.Sign(_ask("r1")), stub.Sign(_ask("r2")))
        assert {first.request_id, second.request_id} == {"r1", "r2"}
        assert len(here.token.signed) == 2


async def test_an_idle_stream_does_not_hold_up_a_stop(tmp_path: Path) -> None:
    """A stop ends a stream that waits for its bot with UNAVAILABLE, after everything that was read is answered."""
    async with world(tmp_path) as here, here.channel(here.bot) as channel:
        stream = signing_pb2_grpc.SigningServiceStub(channel).SignStream()
        await stream.write(signing_pb2.SignStreamRequest(requests=[_ask("r1")]))
        assert (await _next(stream)).results[0].request_id == "r1"
        async with asyncio.timeout(limits.DRAIN_MS_MAX / 2_000):
            await here.server.stop(limits.DRAIN_MS_MAX / 1_000)
        assert await _code(stream.read()) is grpc.StatusCode.UNAVAILABLE


async def test_a_bot_has_so_many_streams_at_most(tmp_path: Path) -> None:
    """I9: one stream more than a principal may have is RESOURCE_EXHAUSTED; when one ends there is room again."""
    async with world(tmp_path) as here, here.channel(here.bot) as channel:
        stub = signing_pb2_grpc.SigningServiceStub(channel)
        streams = [stub.SignStream() for _ in range(limits.PRINCIPAL_STREAMS_MAX)]
        for number, stream in enumerate(streams):
            await stream.write(signing_pb2.SignStreamRequest(requests=[_ask(f"s{number}")]))
            assert (await _next(stream)).results[0].request_id == f"s{number}"
        assert await _code(stub.SignStream().read()) is grpc.StatusCode.RESOURCE_EXHAUSTED
        await streams[0].done_writing()
        assert await streams[0].read() is grpc.aio.EOF
        again = stub.SignStream()
        await again.write(signing_pb2.SignStreamRequest(requests=[_ask("again")]))
        assert (await _next(again)).results[0].request_id == "again"


@pytest.mark.parametrize("version", ["abc", "", "0", "01", "9" * 5_000, "\u0661"])
async def test_a_statement_with_a_strange_version_is_malformed(tmp_path: Path, version: str) -> None:
    """A statement that names no version is INVALID_ARGUMENT before anything else, and the server goes on."""
    async with world(tmp_path) as here, here.channel(here.admin) as channel:
        statement = (
            b'{"action":"key.disable","enclave":"hot","enclave_id":"%s","expires_at_ms":"1","nonce":"00","parameters":'
            b'{"key":"signer","version":%s},"policy_version":"1","requester":"alice","summary":"","type":"keyvault/'
            b'statement/v2"}' % (here.enclave.state.enclave_id.hex().encode(), json.dumps(version).encode())
        )
        stub = governance_pb2_grpc.GovernanceServiceStub(channel)
        request = governance_pb2.ProposeChangeRequest(
            parent="enclaves/hot",
            statement=statement,
            signature=types_pb2.MemberSignature(keyid="0" * 64, sig=b"s"),
        )
        assert await _code(stub.ProposeChange(request)) is grpc.StatusCode.INVALID_ARGUMENT
        assert (await signing_pb2_grpc.SigningServiceStub(channel).Sign(_ask("next"))).signature.value


async def test_bots_may_sign_and_nothing_else(tmp_path: Path) -> None:
    """Key, policy and ledger calls need the role; a bot's certificate is PERMISSION_DENIED."""
    async with world(tmp_path) as here, here.channel(here.bot) as channel:
        keys, audit = keys_pb2_grpc.KeyServiceStub(channel), audit_pb2_grpc.AuditServiceStub(channel)
        governance = governance_pb2_grpc.GovernanceServiceStub(channel)
        calls = [
            governance.ProposeChange(governance_pb2.ProposeChangeRequest(parent="enclaves/hot")),
            governance.CastBallot(governance_pb2.CastBallotRequest(name="enclaves/hot/proposals/00000000")),
            governance.ListProposals(governance_pb2.ListProposalsRequest(parent="enclaves/hot")),
            governance.GetPolicy(governance_pb2.GetPolicyRequest(parent="enclaves/hot")),
            governance.GetCharter(governance_pb2.GetCharterRequest(parent="enclaves/hot")),
            governance.ListFreezes(governance_pb2.ListFreezesRequest(parent="enclaves/hot")),
            keys.ListKeys(keys_pb2.ListKeysRequest(parent="enclaves/hot")),
            keys.GetKey(keys_pb2.GetKeyRequest(name="enclaves/hot/keys/signer")),
            keys.GetEnclave(keys_pb2.GetEnclaveRequest(name="enclaves/hot")),
            audit.ListEntries(audit_pb2.ListEntriesRequest(parent="enclaves/hot")),
            audit.GetCheckpoint(audit_pb2.GetCheckpointRequest(parent="enclaves/hot")),
            audit.GetInclusionProof(audit_pb2.GetInclusionProofRequest(parent="enclaves/hot")),
            audit.GetConsistencyProof(audit_pb2.GetConsistencyProofRequest(parent="enclaves/hot")),
        ]
        for call in calls:
            assert await _code(call) is grpc.StatusCode.PERMISSION_DENIED


async def test_pages_of_keys_and_entries(tmp_path: Path) -> None:
    """Lists come in pages that together are everything, in order."""
    async with world(tmp_path) as here, here.channel(here.admin) as channel:
        async with AsyncClient(f"localhost:{here.port}", here.admin, enclave="hot") as client:
            for name in ("a", "b", "c", "d"):
                await client.create_key(name, KeyAlgorithm.SECP256K1, signer=here.member, approvers=here.others)
        keys, token = keys_pb2_grpc.KeyServiceStub(channel), ""
        names: list[str] = []
        while True:
            page = await keys.ListKeys(keys_pb2.ListKeysRequest(parent="enclaves/hot", page_size=2, page_token=token))
            names += [key.name.split("/")[3] for key in page.keys]
            token = page.next_page_token
            if not token:
                break
        assert names == ["a", "b", "c", "d", "signer"]
        audit = audit_pb2_grpc.AuditServiceStub(channel)
        entries: list[bytes] = []
        while len(entries) < here.enclave.size:
            answer = await audit.ListEntries(
                audit_pb2.ListEntriesRequest(parent="enclaves/hot", start=len(entries), page_size=3)
            )
            entries += list(answer.entries)
            assert answer.next_start == len(entries)
        assert entries == here.medium.bodies


async def test_an_inclusion_proof_verifies_elsewhere(tmp_path: Path) -> None:
    """The proof that the edge gives verifies with the pinned log key alone; a wrong index is NOT_FOUND."""
    async with world(tmp_path) as here, here.channel(here.admin) as channel:
        audit, keys = audit_pb2_grpc.AuditServiceStub(channel), keys_pb2_grpc.KeyServiceStub(channel)
        vkey = (await keys.GetEnclave(keys_pb2.GetEnclaveRequest(name="enclaves/hot"))).log_vkey
        answer = await audit.GetInclusionProof(audit_pb2.GetInclusionProofRequest(parent="enclaves/hot", index=2))
        index, checkpoint = verify_proof(answer.proof.encode(), answer.entry, parse_vkey(vkey))
        assert (index, checkpoint.size) == (2, here.enclave.size)
        missing = audit_pb2.GetInclusionProofRequest(parent="enclaves/hot", index=99)
        assert await _code(audit.GetInclusionProof(missing)) is grpc.StatusCode.NOT_FOUND
