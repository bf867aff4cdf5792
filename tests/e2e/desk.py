"""A desk that signs: a prepared deployment, requests as they stand on the wire, and what came of them.

Requests go out through the bare gRPC stub: the SDK's own retries would hide what the server said.
"""

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import grpc

from keyvault.client import AsyncClient, Credentials, MemberKey, Proposal
from keyvault.core.events import Answer as Fact
from keyvault.core.events import Event, SignatureIssued, SignatureRefused
from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.keys import KeyAlgorithm
from keyvault.core.policy import ANY, Limit, Policy, Rule, Verdict
from keyvault.core.proposals import Outcome
from keyvault.ledger import codec
from keyvault.ledger.archive import audit, open_archive
from keyvault.v1 import signing_pb2, signing_pb2_grpc, types_pb2
from tests.deployment import Deployment, new_deployment, served

SECRET = b"the exchange's API secret: must never be seen again"
"""What is imported as key ``hmac``."""
IN_FLIGHT = 64
ENDED_S = 20
"""Longest wait for a proposal that is approved: its delay of a second, and the enclave's next look."""
KEYS = (
    ("signer", KeyAlgorithm.P256),
    ("asked", KeyAlgorithm.P256),
    ("eth", KeyAlgorithm.SECP256K1),
    ("ed", KeyAlgorithm.ED25519),
)
POLICY = Policy(
    version=2,
    rules=(
        Rule(
            id="digests",
            verdict=Verdict.ALLOW,
            keys=frozenset({"signer"}),
            principals=ANY,
            kinds=frozenset({PayloadKind.RAW_DIGEST}),
            operations=frozenset({Operation.OPAQUE}),
        ),
        Rule(
            id="asked-digests",
            verdict=Verdict.ESCALATE,
            quorum="1 of everybody",
            keys=frozenset({"asked"}),
            principals=ANY,
            kinds=frozenset({PayloadKind.RAW_DIGEST}),
            operations=frozenset({Operation.OPAQUE}),
        ),
        Rule(
            id="asked-mail",
            verdict=Verdict.ESCALATE,
            quorum="1 of everybody",
            keys=frozenset({"eth"}),
            principals=ANY,
            kinds=frozenset({PayloadKind.TYPED_DATA}),
            chains=ANY,
            destinations=ANY,
            primary_types=frozenset({"Mail"}),
        ),
        Rule(
            id="transfers",
            verdict=Verdict.ALLOW,
            keys=frozenset({"eth"}),
            principals=ANY,
            kinds=frozenset({PayloadKind.EVM_TRANSACTION}),
            operations=frozenset({Operation.TRANSFER}),
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
            symbols=ANY,
        ),
    ),
    limits=(Limit(id="transfers-a-day", keys=frozenset({"eth"}), window_ms=86_400_000, count_max=100),),
)


class Both(TypedDict):
    """Who asks for a change, and who approves it at once."""

    signer: MemberKey
    approvers: tuple[MemberKey, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """A final word as it came: the bytes of the response, or of the refusal's status."""

    response: bytes = b""
    refusal: bytes = b""


NOT_DONE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})
"""What a stopping server says; the latter is gRPC's own word for calls that reach it after its last moment."""

Answers = dict[str, Answer]
"""By request id."""


def credentials(deployment: Deployment, name: str) -> Credentials:
    """Return the credentials ``certs/<name>`` of the deployment."""
    certs = deployment.dir / "certs"
    return Credentials.from_files(deployment.dir / "ca" / "ca.crt", certs / f"{name}.crt", certs / f"{name}.key")


def client(deployment: Deployment, name: str, *, deadline_s: float = 20) -> AsyncClient:
    """Return the SDK with a certificate of the deployment."""
    target = f"127.0.0.1:{deployment.port}"
    return AsyncClient(target, credentials(deployment, name), enclave="hot", deadline_s=deadline_s)


def bot(deployment: Deployment) -> AsyncClient:
    return client(deployment, "bot-demo")


def admin(deployment: Deployment) -> AsyncClient:
    return client(deployment, "admin-alice")


def member(deployment: Deployment, name: str = "alice") -> MemberKey:
    """Return the approval key of alice or bob, who are admins, or of carol, who is an approver."""
    return MemberKey.from_file(name, deployment.dir / "members" / f"{name}.key")


def two(deployment: Deployment) -> Both:
    """Return who asks and who approves, as every change takes them."""
    return {"signer": member(deployment), "approvers": (member(deployment, "bob"),)}


def make_fresh(folder: Path, *, moves: bool = False) -> Deployment:
    """Return a deployment with keys and the genesis policy, not served. ``moves``: its keys move between tokens."""
    deployment = new_deployment(folder, *(("--key-transport", "kwp") if moves else ()))

    async def make() -> None:
        async with admin(deployment) as client:
            for name, algorithm in KEYS:
                in_clear = moves and algorithm is KeyAlgorithm.ED25519
                made = await client.create_key(name, algorithm, plaintext_transport=in_clear, **two(deployment))
                assert_done(made)
            assert_done(await client.import_hmac_key("hmac", SECRET, **two(deployment)))

    with served(deployment):
        asyncio.run(make())
    return deployment


def publish(deployment: Deployment) -> None:
    """Put POLICY in force; leaves the deployment not served."""

    async def make() -> None:
        async with admin(deployment) as client:
            proposal = await client.publish_policy(POLICY, **two(deployment))
            assert_done(await ended(client, proposal))

    with served(deployment):
        asyncio.run(make())


async def ended(client: AsyncClient, proposal: Proposal) -> Proposal:
    """Return the proposal once it has ended; the enclave carries it out after its delay."""
    async with asyncio.timeout(ENDED_S):
        seen = [each async for each in client.watch_proposal(proposal.name)]
    return seen[-1]


def assert_done(proposal: Proposal) -> None:
    """The change was carried out."""
    assert proposal.outcome is Outcome.EXECUTED, proposal


# Requests ---------------------------------------------------------------------------------------------------


def request(request_id: str, payload: types_pb2.Payload, key: str = "signer") -> signing_pb2.SignRequest:
    return signing_pb2.SignRequest(key=f"enclaves/hot/keys/{key}", request_id=request_id, payload=payload)


def digest_request(request_id: str, key: str = "signer") -> signing_pb2.SignRequest:
    """Return a request for a signature over a digest that depends on the id."""
    return request(request_id, types_pb2.Payload(raw_digest=hashlib.sha256(request_id.encode()).digest()), key)


def order() -> str:
    """Return the query of an exchange order of this moment."""
    return f"symbol=BTCUSDT&side=BUY&type=MARKET&quantity=1&timestamp={time.time_ns() // 1_000_000}"


def mixed_requests(name: str, count: int) -> list[signing_pb2.SignRequest]:
    """Return requests of which every fourth is refused by policy."""
    return [digest_request(f"{name}-{each}", "eth" if each % 4 == 3 else "signer") for each in range(count)]


async def ask(
    stub: "signing_pb2_grpc.SigningServiceAsyncStub", asked: signing_pb2.SignRequest, timeout_s: float = 20
) -> Answer | grpc.StatusCode:
    """Return the final word, or the status of a call that had none."""
    try:
        response = await stub.Sign(asked, timeout=timeout_s)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.PERMISSION_DENIED:
            return error.code()
        details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
        return Answer(refusal=bytes(details))
    return Answer(response=response.SerializeToString(deterministic=True))


async def burst(
    deployment: Deployment,
    requests: Sequence[signing_pb2.SignRequest],
    answers: Answers,
    *,
    answered: Callable[[int], None] = lambda _count: None,
) -> Counter[grpc.StatusCode]:
    """Ask for all, IN_FLIGHT at once; add the final words to ``answers``; return the statuses of the others.

    ``answered`` is told the number of answers so far with each one.
    """
    room = asyncio.Semaphore(IN_FLIGHT)
    failed: Counter[grpc.StatusCode] = Counter()

    async with bot(deployment) as client:

        async def one(asked: signing_pb2.SignRequest) -> None:
            async with room:
                outcome = await ask(client.transport.endpoints[0].signing, asked)
            if isinstance(outcome, Answer):
                assert answers.setdefault(asked.request_id, outcome) == outcome
                answered(len(answers))
            else:
                failed[outcome] += 1

        await asyncio.gather(*(one(each) for each in requests))
    return failed


# The ledger -------------------------------------------------------------------------------------------------


def audited(deployment: Deployment) -> list[Event]:
    """Return the facts of the deployment's ledger after an offline audit that found nothing wrong."""
    report = audit(deployment.ledger, log_vkey=deployment.log_vkey)
    assert report.ok, report.problems
    with closing(open_archive(deployment.ledger)) as archive:
        return [codec.decode(row.body) for row in archive.rows()]


def facts_by_id(events: Sequence[Event]) -> dict[str, tuple[int, Fact]]:
    """Return index and fact of every request; there is exactly one for each id."""
    facts: dict[str, tuple[int, Fact]] = {}
    for index, event in enumerate(events):
        if isinstance(event, SignatureIssued | SignatureRefused):
            assert event.request.request_id not in facts
            facts[event.request.request_id] = index, event
    return facts


def assert_recorded(answers: Answers, events: Sequence[Event]) -> None:
    """I1: every answer that came is a fact of the ledger, byte for byte, at the index that it names."""
    facts = facts_by_id(events)
    for request_id, answer in answers.items():
        index, fact = facts[request_id]
        if isinstance(fact, SignatureRefused):
            assert fact.explanation.encode() in answer.refusal
            assert fact.reason.value.encode() in answer.refusal
            continue
        response = signing_pb2.SignResponse.FromString(answer.response)
        assert (response.ledger_index, response.signing_input) == (index, fact.signing_input)
        assert response.signature.value == fact.signature.value


async def ledger_size(deployment: Deployment) -> int:
    """Return the number of entries that the server has."""
    async with admin(deployment) as client:
        return (await client.get_enclave()).ledger_size
