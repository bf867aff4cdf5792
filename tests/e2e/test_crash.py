"""SIGKILL on the path of a signature, over and over: I1, I3, I5 with everything real."""

import asyncio
import hashlib
import random
import signal
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from itertools import combinations

import grpc
import pytest

from keyvault.client import AsyncClient
from keyvault.engine.observer import Step
from keyvault.ledger.archive import open_archive
from keyvault.ledger.checkpoint import open_checkpoint
from keyvault.ledger.merkle import BLOCK_LEAVES, Tree, leaf_hash, verify_consistency
from keyvault.ledger.note import parse_vkey
from keyvault.v1 import signing_pb2
from tests.deployment import Deployment, start_server, stop_server
from tests.e2e import desk
from tests.e2e.crashing_server import command

START_S = 30
REQUESTS = 300
ROUNDS = 4
SEED = 20


async def killed(deployment: Deployment) -> None:
    """Return when the server was killed."""
    assert deployment.process is not None
    assert await asyncio.to_thread(deployment.process.wait, START_S) == -signal.SIGKILL
    deployment.process = None


async def assert_one_answer(
    deployment: Deployment, requests: Sequence[signing_pb2.SignRequest], answers: desk.Answers
) -> None:
    """Restart; I3: each request, asked again, has one answer, and it is the one that came before, if any did.

    ``burst`` compares with ``answers``. The ledger then has one fact for each request, and verifies.
    """
    desk.assert_recorded(answers, await asyncio.to_thread(desk.audited, deployment))
    await asyncio.to_thread(start_server, deployment)
    assert await desk.burst(deployment, requests, answers) == {}
    assert await asyncio.to_thread(stop_server, deployment) == 0
    events = await asyncio.to_thread(desk.audited, deployment)
    desk.assert_recorded(answers, events)
    assert set(desk.facts_by_id(events)) == set(answers) == {each.request_id for each in requests}


@pytest.mark.parametrize(
    ("step", "nth"),
    [(Step.DECIDED, 100), (Step.SIGNED, 100), (Step.APPENDING, 3), (Step.APPENDED, 3), (Step.ANSWERED, 3)],
)
async def test_killed_at_a_step(own: Deployment, step: Step, nth: int) -> None:
    """I1, I3: killed between decide and answer, what came out is in the ledger, and every request has one answer."""
    requests = desk.mixed_requests("order", REQUESTS)
    answers: desk.Answers = {}
    await asyncio.to_thread(start_server, own, command=command(step, nth))
    failed = await desk.burst(own, requests, answers)
    await killed(own)
    assert set(failed) == {grpc.StatusCode.UNAVAILABLE}
    assert len(answers) + failed.total() == REQUESTS
    await assert_one_answer(own, requests, answers)


async def test_other_bytes_after_a_crash(own: Deployment) -> None:
    """I3: after SIGKILL and restart an id stands for its bytes: signed or refused, other bytes are an error."""
    requests = desk.mixed_requests("taken", 8)
    answers: desk.Answers = {}
    await asyncio.to_thread(start_server, own)
    assert await desk.burst(own, requests, answers) == {}
    assert await asyncio.to_thread(stop_server, own, signal.SIGKILL) == -signal.SIGKILL
    await asyncio.to_thread(start_server, own)
    size = await desk.ledger_size(own)
    async with desk.bot(own) as bot:
        for asked in requests:
            other_payload, other_key = signing_pb2.SignRequest(), signing_pb2.SignRequest()
            other_payload.CopyFrom(asked)
            other_payload.payload.raw_digest = bytes(32)
            other_key.CopyFrom(asked)
            other_key.key = f"{asked.key}/versions/1"
            for other in (other_payload, other_key):
                assert await desk.ask(bot.transport.endpoints[0].signing, other) is grpc.StatusCode.ALREADY_EXISTS
    assert await desk.ledger_size(own) == size
    assert await asyncio.to_thread(stop_server, own) == 0
    await assert_one_answer(own, requests, answers)


async def test_drained_in_a_burst(own: Deployment) -> None:
    """I3: SIGTERM in a burst lets what was decided be answered, ends with 0, and the rest can be asked again."""
    requests = desk.mixed_requests("drained", REQUESTS)
    answers: desk.Answers = {}
    await asyncio.to_thread(start_server, own)
    process = own.process
    assert process is not None
    failed = await desk.burst(
        own, requests, answers, answered=lambda count: process.send_signal(signal.SIGTERM) if count == 100 else None
    )
    assert await asyncio.to_thread(process.wait, START_S) == 0
    assert set(failed) <= desk.NOT_DONE
    events = await asyncio.to_thread(desk.audited, own)
    assert set(desk.facts_by_id(events)) == set(answers)  # whatever was decided was also answered
    await assert_one_answer(own, requests, answers)


async def test_sdk_lives_through_a_drain(own: Deployment) -> None:
    """A bot with the SDK sees nothing of a restart in its burst: every call is answered, none is said to be final."""
    await asyncio.to_thread(start_server, own)
    own.config.write_text(own.config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{own.port}"))
    process, begun = own.process, asyncio.Event()
    assert process is not None

    async def sign(bot: AsyncClient, number: int) -> int:
        signed = await bot.sign_digest("signer", hashlib.sha256(number.to_bytes(2, "big")).digest())
        begun.set()
        return signed.ledger_index

    async with desk.bot(own) as bot:
        working = [asyncio.create_task(sign(bot, number)) for number in range(REQUESTS)]
        await begun.wait()
        assert await asyncio.to_thread(stop_server, own) == 0
        await asyncio.to_thread(start_server, own)
        assert len(set(await asyncio.gather(*working))) == REQUESTS


async def test_nothing_leaves_before_it_is_durable(own: Deployment) -> None:
    """I1: while the disk does not take the append nothing is answered; killed then, nothing had left the process."""
    requests = desk.mixed_requests("held", desk.IN_FLIGHT)
    answers: desk.Answers = {}
    await asyncio.to_thread(start_server, own, command=command(Step.APPENDING, 1, pause_ms=300))
    with closing(sqlite3.connect(own.ledger, isolation_level=None)) as disk:
        disk.execute("BEGIN IMMEDIATE")  # the server's own transaction waits for ours
        failed = await desk.burst(own, requests, answers)
        await killed(own)
    assert answers == {}
    assert failed == {grpc.StatusCode.UNAVAILABLE: len(requests)}
    await assert_one_answer(own, requests, answers)


async def test_killed_at_any_time(own: Deployment) -> None:
    """I1, I3, I5: over several kills in bursts no answer is lost or repeated, and all checkpoints agree in pairs."""
    # Reproducible on purpose: the seed says after how many answers each server is killed.
    chance = random.Random(SEED)  # noqa: S311  no secret depends on it
    requests: list[signing_pb2.SignRequest] = []
    answers: desk.Answers = {}
    for number in range(ROUNDS):
        requests += desk.mixed_requests(f"round-{number}", REQUESTS)
        await asyncio.to_thread(start_server, own)
        await kill_in_burst(own, requests[-REQUESTS:], answers, len(answers) + chance.randrange(1, REQUESTS // 2))
    await assert_one_answer(own, requests, answers)
    assert_one_history(own, kept_at_least=ROUNDS)


async def kill_in_burst(
    deployment: Deployment, requests: Sequence[signing_pb2.SignRequest], answers: desk.Answers, limit: int
) -> None:
    """Ask for all, have a checkpoint signed meanwhile, and kill the server as soon as there are ``limit`` answers."""
    process = deployment.process
    assert process is not None
    signed = asyncio.Event()

    def answered(count: int) -> None:
        if count >= limit and signed.is_set():
            process.kill()

    async with desk.admin(deployment) as admin:
        working = asyncio.create_task(desk.burst(deployment, requests, answers, answered=answered))
        await admin.checkpoint()
        signed.set()
        failed = await working
    assert set(failed) <= {grpc.StatusCode.UNAVAILABLE}
    process.kill()
    await killed(deployment)


def assert_one_history(deployment: Deployment, *, kept_at_least: int) -> None:
    """I5: every kept checkpoint is signed by the log key over the entries, and every pair of them is consistent."""
    with closing(open_archive(deployment.ledger)) as archive:
        leaves = [leaf_hash(row.body) for row in archive.rows()]
        key = parse_vkey(deployment.log_vkey)
        kept = [open_checkpoint(note, key) for _, note in archive.checkpoints]
    assert len(kept) >= kept_at_least
    tree = Tree.of(leaves)

    def block(number: int) -> Sequence[bytes]:
        return leaves[number * BLOCK_LEAVES : (number + 1) * BLOCK_LEAVES]

    for old, new in combinations(kept, 2):
        proof = tree.consistency_proof(old.size, new.size, block)
        verify_consistency(old_size=old.size, old_root=old.root, size=new.size, root=new.root, proof=proof)
