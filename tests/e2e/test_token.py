"""Workers of the token that die, hang or find no token, under a server that must not care."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from keyvault.client import AsyncClient
from keyvault.v1 import signing_pb2
from tests.deployment import Deployment, start_server, stop_server
from tests.e2e import desk
from tests.e2e.processes import signal_all, until, workers

DEADLINE_MS = 1_000
SERVING = health_pb2.HealthCheckResponse.SERVING


def short_deadline(deployment: Deployment) -> None:
    """Let a hung worker be noticed soon."""
    text = deployment.config.read_text()
    changed = text.replace("deadline_ms = 3000", f"deadline_ms = {DEADLINE_MS}")
    assert changed != text
    deployment.config.write_text(changed)


async def until_answered(deployment: Deployment, requests: list[signing_pb2.SignRequest]) -> desk.Answers:
    """Ask for what has no final word until all have one."""
    answers: desk.Answers = {}
    async with asyncio.timeout(30):
        while len(answers) < len(requests):
            left = [each for each in requests if each.request_id not in answers]
            failed = await desk.burst(deployment, left, answers)
            assert set(failed) <= {grpc.StatusCode.UNAVAILABLE}
    return answers


async def test_worker_killed_in_a_burst(own: Deployment) -> None:
    """Only what the killed worker had in its hands is UNAVAILABLE; asked again it succeeds; the worker is replaced."""
    await asyncio.to_thread(start_server, own)
    before = workers(own)
    assert len(before) == 2
    victim = min(before)
    requests = desk.mixed_requests("killed", 400)
    answers: desk.Answers = {}
    failed = await desk.burst(
        own, requests, answers, answered=lambda count: signal_all({victim}, signal.SIGKILL) if count == 100 else None
    )
    assert set(failed) <= {grpc.StatusCode.UNAVAILABLE}
    assert failed.total() <= 32  # one batch
    again = await until_answered(own, requests)
    assert again.items() >= answers.items()
    await until(lambda: len(workers(own)) == 2 and victim not in workers(own))
    await assert_well_afterwards(own, again)


async def test_hung_worker(own: Deployment) -> None:
    """One worker hangs: what it has fails at its deadline, the other one signs meanwhile, and it is replaced."""
    short_deadline(own)
    await asyncio.to_thread(start_server, own)
    victim = min(workers(own))
    signal_all({victim}, signal.SIGSTOP)
    requests = [desk.digest_request(f"hung-{number}") for number in range(200)]
    order: list[object] = []
    async with desk.bot(own) as bot:

        async def one(asked: signing_pb2.SignRequest) -> None:
            outcome = await desk.ask(bot.transport.endpoints[0].signing, asked)
            order.append(outcome if isinstance(outcome, grpc.StatusCode) else "signed")

        await asyncio.gather(*(one(each) for each in requests))
    failed = order.count(grpc.StatusCode.UNAVAILABLE)
    assert 0 < failed <= 32  # one batch
    assert order.count("signed") == len(requests) - failed
    assert order.index(grpc.StatusCode.UNAVAILABLE) > 100  # the others did not wait for it
    await until(lambda: len(workers(own)) == 2 and victim not in workers(own))
    await assert_well_afterwards(own, await until_answered(own, requests))


async def test_token_gone_and_back(own: Deployment) -> None:
    """Without a worker the server lives on, signs nothing and health says so; with the token back it does by itself."""
    await asyncio.to_thread(start_server, own)
    tokens = own.dir / "token" / "tokens"
    away = own.dir / "token" / "away"
    async with desk.bot(own) as bot, desk.admin(own) as admin, health_of(own) as health:
        assert await anext(health) == SERVING
        public_key = (await admin.get_key("signer")).public_key
        size = await desk.ledger_size(own)
        tokens.rename(away)
        signal_all(workers(own), signal.SIGKILL)
        asked = [desk.digest_request(f"gone-{number}") for number in range(20)]
        outcomes = await asyncio.gather(*(desk.ask(bot.transport.endpoints[0].signing, each, 1) for each in asked))
        assert set(outcomes) <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
        await assert_lives(bot, public_key)
        assert await anext(health) == health_pb2.HealthCheckResponse.NOT_SERVING
        assert await desk.ledger_size(own) == size
        away.rename(tokens)
        assert await anext(health) == SERVING
        await until(lambda: len(workers(own)) == 2)
        answers: desk.Answers = {}
        assert await desk.burst(own, asked, answers) == Counter()
        await assert_well_afterwards(own, answers)


@asynccontextmanager
async def health_of(deployment: Deployment) -> AsyncIterator[AsyncIterator[int]]:
    """The statuses of SigningService as the standard health service tells them: now, and with each change."""
    target = f"127.0.0.1:{deployment.port}"
    asked = health_pb2.HealthCheckRequest(service="keyvault.v1.SigningService")
    async with grpc.aio.secure_channel(target, desk.credentials(deployment, "bot-demo").for_channel()) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        call = stub.Watch(asked, timeout=60)  # type: ignore[attr-defined]  # the stub sets it in its constructor
        yield (answer.status async for answer in call)
        call.cancel()


async def assert_lives(bot: AsyncClient, public_key: bytes) -> None:
    """The server answers and knows its keys."""
    asked = signing_pb2.GetPublicKeyRequest(name="enclaves/hot/keys/signer")
    assert (await bot.transport.endpoints[0].signing.GetPublicKey(asked, timeout=20)).public_key == public_key


async def assert_well_afterwards(deployment: Deployment, answers: desk.Answers) -> None:
    """The same server process is still there, ends with 0, and its ledger holds exactly these answers."""
    assert deployment.process is not None
    assert deployment.process.poll() is None
    assert await asyncio.to_thread(stop_server, deployment) == 0
    events = await asyncio.to_thread(desk.audited, deployment)
    desk.assert_recorded(answers, events)
    assert set(desk.facts_by_id(events)) == set(answers)
