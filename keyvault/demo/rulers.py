"""What takes more than one: keys and policy by two people, a large transfer, a veto, a freeze, and the proof of it."""

import asyncio
import json
import time
from pathlib import Path

from keyvault.client import (
    AsyncClient,
    MemberKey,
    NeedsApproval,
    PreconditionFailed,
    SignedTransaction,
    payloads,
    uuid7,
)
from keyvault.core.approvals import Voice
from keyvault.core.proposals import Outcome
from keyvault.core.statements import FreezeScope
from keyvault.demo import inputs
from keyvault.demo.record import Record
from keyvault.demo.scratch import DemoFailed, Deployment, command

_IN_FLIGHT = 32
_LOAD_S = 0.3
"""Load before the freeze is sent."""


def member(made: Deployment, name: str) -> MemberKey:
    """Return a member's approval key; in earnest it is where only they can use it."""
    return MemberKey.from_file(name, made.folder / "members" / f"{name}.key")


async def large_transfer(made: Deployment, bot: AsyncClient, record: Record) -> SignedTransaction:
    """Ask for more than the bot may send alone; let a member approve it; return the signature."""
    request_id = str(uuid7())
    waiting = await _waiting(bot, request_id)
    if waiting is None:
        raise DemoFailed("a large transfer was signed without asking anybody")
    record.say("asked", "5 ether to the cold wallet; the policy wants somebody to look at it")
    record.say("answered", f"{waiting.reason}: needs {waiting.quorum}")
    record.say("to be read", waiting.summary)
    record.check("above 2 ether the bot is told whom to wait for", held=waiting.reason == "NEEDS_APPROVAL")
    async with made.client("approver-carol") as carol:
        seen = await carol.get_proposal(waiting.proposal)
        words = "" if seen.subject is None else seen.subject.words
        record.check("carol decodes the same words from the raw bytes", held=words == waiting.summary)
        await carol.cast(seen, Voice.APPROVE, member(made, "carol"))
    signed = await bot.sign_evm_transaction(inputs.KEY_CHAIN, inputs.LARGE.unsigned, request_id=request_id)
    record.check("the same request id gets its signature now", held=signed.request_id == request_id)
    return signed


async def veto(made: Deployment, bot: AsyncClient, record: Record) -> None:
    """Ask for another large transfer, and let a member veto it."""
    request_id = str(uuid7())
    waiting = await _waiting(bot, request_id, inputs.VETOED)
    if waiting is None:
        record.fail("a large transfer was signed without asking anybody")
        return
    async with made.client("admin-bob") as bob:
        ended = await bob.cast(await bob.get_proposal(waiting.proposal), Voice.VETO, member(made, "bob"))
    refused = ""
    try:
        await bot.sign_evm_transaction(inputs.KEY_CHAIN, inputs.VETOED.unsigned, request_id=request_id)
    except PreconditionFailed as error:
        refused = error.reason
    record.check("one veto ends it for good", held=(ended.outcome, refused) == (Outcome.VETOED, "VETOED"))


async def freeze(made: Deployment, bot: AsyncClient, record: Record) -> None:
    """Stop everything under load by one signature; measure how long that takes; lift it by two people."""
    last = [0.0]
    stopping = asyncio.Event()
    load = [asyncio.create_task(_ask_until(bot, number, last, stopping)) for number in range(_IN_FLIGHT)]
    await asyncio.sleep(_LOAD_S)
    async with made.client("admin-alice") as alice:
        began = time.perf_counter()
        await alice.freeze(FreezeScope.ENCLAVE, "", signer=member(made, "alice"))
        frozen = time.perf_counter()
        await asyncio.sleep(_LOAD_S)
        stopping.set()
        await asyncio.gather(*load)
        record.say("freeze", "alice alone, while 32 requests are in flight")
        record.check("nothing is signed after the freeze is answered", held=last[0] <= frozen + 0.05)
        record.figure("milliseconds from the freeze to the last signature", round(max(0.0, last[0] - began) * 1e3, 1))
        thawed = await alice.thaw(
            FreezeScope.ENCLAVE, "", signer=member(made, "alice"), approvers=[member(made, "bob")]
        )
    record.check("lifting it takes two", held=thawed.outcome is Outcome.EXECUTED)


def prove_approval(made: Deployment, signed: SignedTransaction, record: Record) -> None:
    """Write one file that proves the large transfer and its approval, and check it with nothing else."""
    bundle = made.folder / "evidence.json"
    command(
        *("keyvault", "audit", "evidence", str(signed.ledger_index), str(made.ledger), "--out", str(bundle)), "--json"
    )
    done = command("keyvault.ledger", "evidence", str(bundle), "--log-vkey", made.log_vkey)
    record.say("evidence", f"{_size(bundle)} kB: the transfer, carol's approval, the charter, and their proofs")
    record.check("it verifies with the log's key and nothing else", held="carol" in done.stdout)


def _size(path: Path) -> int:
    json.loads(path.read_bytes())
    return path.stat().st_size // 1024


async def _waiting(bot: AsyncClient, request_id: str, transfer: inputs.Transfer = inputs.LARGE) -> NeedsApproval | None:
    try:
        await bot.sign_evm_transaction(inputs.KEY_CHAIN, transfer.unsigned, request_id=request_id)
    except NeedsApproval as waiting:
        return waiting
    return None


async def _ask_until(bot: AsyncClient, number: int, last: list[float], stopping: asyncio.Event) -> None:
    count = 0
    while not stopping.is_set():
        count += 1
        try:
            await bot.sign(inputs.KEY_ED25519, payloads.binance(query=inputs.binance_order(f"freeze-{number}-{count}")))
        except PreconditionFailed:
            return
        last[0] = max(last[0], time.perf_counter())
