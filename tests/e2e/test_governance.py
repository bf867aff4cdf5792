"""I1 and I4 for changes of power: what members approved is done once, whatever dies in between."""

import asyncio
import hashlib
import json
import os
import pty
import select
import signal
import subprocess
from collections.abc import Sequence

import pytest

from keyvault import client as sdk
from keyvault.client import AsyncClient, Proposal
from keyvault.core.approvals import Voice
from keyvault.core.events import Event, FreezeChanged, KeyCreated, PolicyPublished, ProposalMade, SignatureIssued
from keyvault.core.intent import Payload
from keyvault.core.keys import KeyAlgorithm
from keyvault.core.proposals import Outcome
from keyvault.core.statements import FreezeScope
from keyvault.engine.observer import Step
from tests.deployment import KEYVAULT, Deployment, copy_of, start_server, stop_server
from tests.e2e import desk
from tests.e2e.crashing_server import command
from tests.e2e.test_secrets import inspected

WAIT_S = 30
DIGEST = hashlib.sha256(b"asked").digest()


def made(events: Sequence[Event], kind: type[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, kind)]


async def killed(deployment: Deployment) -> None:
    """Return when the server was killed."""
    assert deployment.process is not None
    assert await asyncio.to_thread(deployment.process.wait, WAIT_S) == -signal.SIGKILL
    deployment.process = None


async def waiting_digest(bot: AsyncClient, request_id: str = "asked-1") -> str:
    """Ask for a signature that policy leaves to members; return the name of the proposal."""
    with pytest.raises(sdk.NeedsApproval) as caught:
        await bot.sign_digest("asked", DIGEST, request_id=request_id)
    return caught.value.proposal


@pytest.mark.parametrize(("step", "nth"), [(Step.APPENDING, 2), (Step.APPENDED, 2), (Step.APPENDING, 3)])
async def test_killed_between_approval_and_execution(own: Deployment, step: Step, nth: int) -> None:
    """I1: killed before or after the approval is durable, or when the key is in the token only: it is made once.

    Appends of this term after its start: the proposal, the approval, the key.
    """
    await asyncio.to_thread(start_server, own, command=command(step, nth))
    async with desk.admin(own) as admin:
        asked = await admin.create_key("once", KeyAlgorithm.P256, signer=desk.member(own))
        with pytest.raises(sdk.KeyvaultRpcError):
            await admin.cast(asked, Voice.APPROVE, desk.member(own, "bob"))
    await killed(own)
    await asyncio.to_thread(start_server, own)
    async with desk.admin(own) as admin:
        await admin.cast(asked, Voice.APPROVE, desk.member(own, "bob"))  # what was said is said, once
        desk.assert_done(await desk.ended(admin, asked))
        assert (await admin.get_key("once")).version == 1
    assert await asyncio.to_thread(stop_server, own) == 0
    events = await asyncio.to_thread(desk.audited, own)
    keys = [event for event in events if isinstance(event, KeyCreated) and event.key == "once"]
    assert len(keys) == 1
    assert len(made(events, ProposalMade)) == len(made(events, KeyCreated)) + len(made(events, PolicyPublished))
    assert len(await asyncio.to_thread(inspected, own)) == len(desk.KEYS) + 1 + 2 + 1  # hmac; log and import key; once


async def test_a_delay_goes_on_over_a_crash(fresh: Deployment, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A policy that waits for its delay when the server is killed is in force after the restart, once."""
    own = copy_of(fresh, tmp_path_factory.mktemp("delayed") / "desk")
    await asyncio.to_thread(start_server, own)
    async with desk.admin(own) as admin:
        asked = await admin.publish_policy(desk.POLICY, **desk.two(own))
        assert (asked.outcome, asked.approved_at is None) == (Outcome.OPEN, False)
    assert await asyncio.to_thread(stop_server, own, signal.SIGKILL) == -signal.SIGKILL
    await asyncio.to_thread(start_server, own)
    async with desk.admin(own) as admin:
        desk.assert_done(await desk.ended(admin, asked))
        assert (await admin.get_policy()).policy == desk.POLICY
    assert await asyncio.to_thread(stop_server, own) == 0
    assert len(made(await asyncio.to_thread(desk.audited, own), PolicyPublished)) == 1


@pytest.mark.parametrize("step", [Step.SIGNED, Step.APPENDING, Step.APPENDED])
async def test_an_approved_signature_over_a_crash(own: Deployment, step: Step) -> None:
    """I1, I3, I4: approved and killed while it is signed, the same request gets one signature, with its approval."""
    await asyncio.to_thread(start_server, own)
    async with desk.bot(own) as bot, desk.admin(own) as admin:
        asked = await admin.get_proposal(await waiting_digest(bot))
        await admin.cast(asked, Voice.APPROVE, desk.member(own, "carol"))
    assert await asyncio.to_thread(stop_server, own) == 0
    await asyncio.to_thread(start_server, own, command=command(step, 1))
    async with desk.client(own, "bot-demo", deadline_s=1) as bot:
        with pytest.raises(sdk.Unavailable):
            await bot.sign_digest("asked", DIGEST, request_id="asked-1")
    await killed(own)
    await asyncio.to_thread(start_server, own)
    async with desk.bot(own) as bot:
        first = await bot.sign_digest("asked", DIGEST, request_id="asked-1")
        assert await bot.sign_digest("asked", DIGEST, request_id="asked-1") == first
    assert await asyncio.to_thread(stop_server, own) == 0
    (issued,) = made(await asyncio.to_thread(desk.audited, own), SignatureIssued)
    assert isinstance(issued, SignatureIssued)
    assert (issued.proposal.hex(), issued.signature.value) == (asked.id, first.signature)


async def test_nothing_is_approved_for_other_bytes(own: Deployment) -> None:
    """I4: an approval is for exactly these bytes under this request id: any other digest asks anew."""
    await asyncio.to_thread(start_server, own)
    async with desk.bot(own) as bot, desk.admin(own) as admin:
        asked = await admin.get_proposal(await waiting_digest(bot))
        await admin.cast(asked, Voice.APPROVE, desk.member(own, "bob"))
        with pytest.raises(sdk.RequestIdReused):
            await bot.sign_digest("asked", bytes(32), request_id="asked-1")
        with pytest.raises(sdk.NeedsApproval) as other:
            await bot.sign_digest("asked", DIGEST, request_id="asked-2")
        assert other.value.proposal != asked.name
        assert (await bot.sign_digest("asked", DIGEST, request_id="asked-1")).request_id == "asked-1"


async def test_a_veto_is_final_for_the_request(own: Deployment) -> None:
    """A vetoed signature is refused for ever under its id, and says so when it is asked for under another."""
    await asyncio.to_thread(start_server, own)
    async with desk.bot(own) as bot, desk.admin(own) as admin:
        asked = await admin.get_proposal(await waiting_digest(bot))
        vetoed = await admin.cast(asked, Voice.VETO, desk.member(own, "carol"))
        assert vetoed.outcome is Outcome.VETOED
        for _ in range(2):
            with pytest.raises(sdk.KeyvaultRpcError) as caught:
                await bot.sign_digest("asked", DIGEST, request_id="asked-1")
            assert caught.value.reason == "VETOED"
        again = await admin.get_proposal(await waiting_digest(bot, "asked-2"))
        assert again.vetoed_before == asked.name


async def test_a_freeze_stops_a_burst(own: Deployment) -> None:
    """One member freezes a key in the middle of a burst: after the fact stands in the ledger, nothing is signed."""
    await asyncio.to_thread(start_server, own)
    requests = [desk.digest_request(f"burst-{number}") for number in range(600)]
    answers: desk.Answers = {}
    async with desk.admin(own) as admin:
        enough = asyncio.Event()
        asking = asyncio.create_task(
            desk.burst(own, requests, answers, answered=lambda count: enough.set() if count >= 100 else None)
        )
        await enough.wait()
        frozen = await admin.freeze(FreezeScope.KEY, "signer", signer=desk.member(own, "carol"))
        desk.assert_done(frozen)
        await asking
    assert await asyncio.to_thread(stop_server, own) == 0
    events = await asyncio.to_thread(desk.audited, own)
    place = next(index for index, event in enumerate(events) if isinstance(event, FreezeChanged))
    signed = [index for index, event in enumerate(events) if isinstance(event, SignatureIssued)]
    assert len(signed) >= 100
    assert max(signed) < place


def screen(descriptor: int, text: str) -> str:
    """Return what came on the terminal, up to this text."""
    seen = b""
    while text.encode() not in seen:
        readable, _, _ = select.select([descriptor], [], [], WAIT_S)
        assert readable, seen
        seen += os.read(descriptor, 4_096)
    return seen.decode()


HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202e\rYES, IT IS SAFE"


async def hostile_proposal(deployment: Deployment) -> Proposal:
    """Let a bot ask members for a signature over typed data that tries to play with their terminal."""
    mail = {
        "types": {
            "EIP712Domain": [{"name": "chainId", "type": "uint256"}, {"name": "verifyingContract", "type": "address"}],
            "Mail": [{"name": "contents", "type": "string"}],
        },
        "primaryType": "Mail",
        "domain": {"chainId": 1, "verifyingContract": "0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC"},
        "message": {"contents": HOSTILE},
    }
    async with desk.bot(deployment) as bot, desk.admin(deployment) as admin:
        with pytest.raises(sdk.NeedsApproval) as caught:
            await bot.sign_typed_data("eth", json.dumps(mail, ensure_ascii=False), request_id="hostile")
        return await admin.get_proposal(caught.value.proposal)


def test_an_approver_at_a_terminal(own: Deployment) -> None:
    """A person reads what a bot wants, harmless on the terminal, types its first digits, and the bot gets it."""
    start_server(own)
    asked = asyncio.run(hostile_proposal(own))
    ours, theirs = pty.openpty()
    approve = (*KEYVAULT, "approve", asked.id[:12], "--deployment", str(own.dir), "--member", "carol")
    with subprocess.Popen(approve, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = screen(ours, "digits: ")
        os.write(ours, f"{asked.id[:4]}\n".encode())
        shown += screen(ours, "as soon as the same request comes again")
        assert process.wait(WAIT_S) == 0
    os.close(ours)
    assert "Signs typed data Mail" in shown
    assert all(character in "\r\n" or character.isprintable() for character in shown)
    assert "\rYES" not in shown

    async def sign() -> sdk.Signed:
        async with desk.bot(own) as bot:
            return await bot.sign(asked_key(asked), asked_payload(asked), request_id="hostile")

    assert asyncio.run(sign()).request_id == "hostile"


def asked_key(proposal: Proposal) -> str:
    assert proposal.subject is not None
    return proposal.subject.key


def asked_payload(proposal: Proposal) -> Payload:
    assert proposal.subject is not None
    return proposal.subject.payload
