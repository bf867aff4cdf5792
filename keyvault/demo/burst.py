"""A burst over one stream, a SIGKILL in the middle of it, and what is true afterwards."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from keyvault.client import AsyncClient, ClientError, Signed, SignedTransaction, SignStream, payloads, uuid7
from keyvault.core.events import SignatureIssued, SignatureRefused
from keyvault.demo import inputs, outside
from keyvault.demo.desk import Keys
from keyvault.demo.record import Record
from keyvault.demo.scratch import Deployment
from keyvault.ledger.codec import decode

REQUESTS = 1_000
KILL_AFTER = 400
"""Answers in the bot's hands when the server is killed."""
BURST_S = 20.0
"""Longest wait for them, and for all answers of the second round."""

Requests = Mapping[str, inputs.Transfer]
"""Request id and what is asked under it."""
Answers = dict[str, Signed]


class _ServerGone(Exception):
    """Leaves the stream without waiting for answers. ``at`` is when the server was killed, monotonic seconds."""

    def __init__(self, at: float) -> None:
        super().__init__()
        self.at = at


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The ledger's entries about signatures, by request id."""

    issued: Mapping[str, SignatureIssued]
    times: Mapping[str, int]


async def burst(made: Deployment, keys: Keys, record: Record) -> None:
    """Send the burst, kill the server, start it again, send everything again, and compare."""
    requests = {str(uuid7()): inputs.burst_transfer(number) for number in range(REQUESTS)}
    killed_term = made.started().get("epoch")
    async with _bot(made, keys) as bot:
        acknowledged, seconds = await _until_killed(made, bot, requests)
    record.figure("signatures/s in the burst, policy, fsync and mTLS on", round(len(acknowledged) / seconds))
    record.say("kill -9", f"{len(acknowledged)} of {REQUESTS} answered, the others sent or about to be")
    record.check("the server died in the middle of the burst", held=KILL_AFTER <= len(acknowledged) < REQUESTS)
    recovery = await asyncio.to_thread(made.start)
    record.figure("seconds from start to accepting calls again", round(recovery, 2))
    record.say("restart", f"{made.started().get('ledger_size')} entries replayed and compared with the checkpoint")
    async with _bot(made, keys) as bot:
        answers, seconds = await _all(bot, requests)
    record.say("again", f"all {REQUESTS} with the same request ids, {REQUESTS / seconds:,.0f} answers/s")
    _compare(acknowledged, answers, requests, keys, record)
    found = await _entries(made)
    _compare_ledger(found, answers, record)
    rescued = sum(
        found.issued[each].epoch == killed_term
        for each in requests
        if each in found.issued and each not in acknowledged
    )
    record.figure("signatures durable before the kill, answered after it", rescued)


def _bot(made: Deployment, keys: Keys) -> AsyncClient:
    return made.client("bot-demo", **{inputs.KEY_CHAIN.replace("-", "_"): keys.chain.public_key})


async def _until_killed(made: Deployment, bot: AsyncClient, requests: Requests) -> tuple[Answers, float]:
    """Return what was answered before the server was killed, and in how many seconds."""
    answers: Answers = {}
    enough = asyncio.Event()

    def answered(future: "asyncio.Future[Signed]") -> None:
        if future.cancelled() or future.exception() is not None:  # after the kill
            return
        answers[future.result().request_id] = future.result()
        if len(answers) >= KILL_AFTER:
            enough.set()

    async def send(stream: SignStream) -> None:
        for request_id, transfer in requests.items():
            payload = payloads.evm_transaction(transfer.unsigned)
            future = await stream.submit(inputs.KEY_CHAIN, payload, request_id=request_id)
            future.add_done_callback(answered)

    began = time.monotonic()
    try:
        async with asyncio.timeout(BURST_S), bot.stream() as stream:
            await _kill_when(enough, made, asyncio.create_task(send(stream)))
    except _ServerGone as gone:
        return answers, gone.at - began


async def _kill_when(enough: asyncio.Event, made: Deployment, sending: "asyncio.Task[None]") -> NoReturn:
    """Kill the server as soon as enough is answered, and leave as a bot does whose server is gone."""
    try:
        await enough.wait()
        at = time.monotonic()
        made.kill()
        raise _ServerGone(at)
    finally:
        sending.cancel()


async def _all(bot: AsyncClient, requests: Requests) -> tuple[Answers, float]:
    """Return every answer, and in how many seconds they came."""
    began = time.monotonic()
    async with asyncio.timeout(BURST_S), bot.stream() as stream:
        futures = [
            await stream.submit(inputs.KEY_CHAIN, payloads.evm_transaction(transfer.unsigned), request_id=request_id)
            for request_id, transfer in requests.items()
        ]
        outcomes: Sequence[Signed | BaseException] = await asyncio.gather(*futures, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, ClientError):
            raise outcome
    answers = {each.request_id: each for each in outcomes if isinstance(each, Signed)}
    return answers, time.monotonic() - began


def _compare(before: Answers, after: Answers, requests: Requests, keys: Keys, record: Record) -> None:
    record.check(f"all {REQUESTS} requests have a signature", held=after.keys() == requests.keys())
    kept = sum(
        (before[each].signature, before[each].ledger_index) == (after[each].signature, after[each].ledger_index)
        for each in before
        if each in after
    )
    record.check(
        f"{kept} of {len(before)} signatures that had been answered are identical, in the same place",
        held=kept == len(before),
    )
    right = sum(
        isinstance(signed, SignedTransaction)
        and outside.sender(signed.raw_transaction, requests[each].fields) == keys.address
        for each, signed in after.items()
    )
    record.check(f"{right} of {REQUESTS} raw transactions recover to the key", held=right == REQUESTS)


async def _entries(made: Deployment) -> Found:
    """Read the whole ledger from the server, as an auditor."""
    issued: dict[str, SignatureIssued] = {}
    times: Counter[str] = Counter()
    async with made.client("auditor-demo") as auditor:
        async for entry in auditor.entries():
            event = decode(entry.body)
            if isinstance(event, SignatureIssued | SignatureRefused):
                times[event.request.request_id] += 1
            if isinstance(event, SignatureIssued):
                issued[event.request.request_id] = event
    return Found(issued=issued, times=times)


def _compare_ledger(found: Found, answers: Answers, record: Record) -> None:
    once = bool(found.times) and set(found.times.values()) == {1}
    record.check("the ledger has exactly one event for each request id ever used", held=once)
    same = all(
        each in found.issued and found.issued[each].signature.value == signed.signature
        for each, signed in answers.items()
    )
    record.check("and in it the signature that the bot holds", held=same)
