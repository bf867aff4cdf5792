"""Signatures that members approve, over the real server: SoftHSM, SQLite, policy, mutual TLS."""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keyvault import client as sdk
from keyvault.client import payloads
from keyvault.core.approvals import Voice
from keyvault.core.events import SignatureEscalated, SignatureIssued
from keyvault.core.keys import KeyAlgorithm, KeyState
from keyvault.core.proposals import Outcome
from keyvault.core.statements import FreezeScope
from keyvault.hsm.create import CreatedToken, create_token
from keyvault.intents import rlp
from keyvault.ledger.codec import decode
from tests.client.real import LARGE, RealServer, real_server
from tests.intents.building import dynamic_fee

MUCH = dynamic_fee(value=rlp.integer(LARGE))
MORE = dynamic_fee(value=rlp.integer(LARGE + 1))
QUERY = "symbol=BTCUSDT&side=BUY&type=MARKET&quantity=1&timestamp={}"


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> CreatedToken:
    """A token to copy: its RSA key takes a while."""
    return create_token(tmp_path_factory.mktemp("token"), "hot")


@pytest.fixture
async def server(token: CreatedToken, tmp_path: Path) -> AsyncIterator[RealServer]:
    """A server of this test's own, with the key eth."""
    async with real_server(token, tmp_path) as running:
        async with running.client(running.admin) as admin:
            made = await admin.create_key(
                "eth", KeyAlgorithm.SECP256K1, signer=running.member, approvers=running.others
            )
            assert made.outcome is Outcome.EXECUTED
        yield running


async def test_members_approve_the_exact_bytes(server: RealServer) -> None:
    """A large transfer waits for a member; the same request then gets its one signature, other bytes nothing."""
    async with server.client(server.admin) as admin, server.client(server.bot) as bot:
        with pytest.raises(sdk.NeedsApproval) as waiting:
            await bot.sign_evm_transaction("eth", MUCH, request_id="order-1")
        asked = waiting.value
        assert (asked.reason, asked.quorum, asked.request_id) == ("NEEDS_APPROVAL", "1 of admins", "order-1")
        eth = (await bot.public_key("eth")).ethereum_address
        assert asked.summary.startswith(f"Sends 3 native coin from {eth} to 0x{'35' * 20} on chain 1")
        with pytest.raises(sdk.RequestIdReused):
            await bot.sign_evm_transaction("eth", MORE, request_id="order-1")
        watch = bot.watch_proposal(asked.proposal)
        assert (await anext(watch)).approved_at is None
        shown = await admin.get_proposal(asked.proposal)
        assert shown.subject is not None
        assert (shown.subject.words, shown.subject.payload) == (asked.summary, payloads.evm_transaction(MUCH))
        await admin.cast(shown, Voice.APPROVE, server.others[0])
        assert (await anext(watch)).approved_by == ("bob",)
        with pytest.raises(sdk.RequestIdReused):
            await bot.sign_evm_transaction("eth", MORE, request_id="order-1")
        signed = await bot.sign_evm_transaction("eth", MUCH, request_id="order-1")
        assert [seen.outcome async for seen in watch] == [Outcome.EXECUTED]
        assert await bot.sign_evm_transaction("eth", MUCH, request_id="order-1") == signed
        with pytest.raises(sdk.RequestIdReused):
            await bot.sign_evm_transaction("eth", MORE, request_id="order-1")
        facts = [decode(entry.body) async for entry in admin.entries()]
    issued = [fact for fact in facts if isinstance(fact, SignatureIssued)]
    assert [fact.proposal.hex() for fact in issued] == [shown.id]
    assert sum(isinstance(fact, SignatureEscalated) for fact in facts) == 1


async def test_bot_waits_inside_its_call(server: RealServer) -> None:
    """A bot that waits for approval gets its signature from one call; a veto ends the wait with its reason."""
    async with server.client(server.admin) as admin, server.client(server.bot) as bot:
        for voice in (Voice.APPROVE, Voice.VETO):
            payload = payloads.evm_transaction(MUCH)
            work = asyncio.create_task(bot.sign("eth", payload, request_id=voice, wait_for_approval_s=60))
            while not (listed := await admin.list_proposals()):
                pass
            await admin.cast(listed[0], voice, server.others[0])
            if voice is Voice.APPROVE:
                assert (await work).request_id == voice
                continue
            with pytest.raises(sdk.PreconditionFailed) as caught:
                await work
            assert caught.value.reason == "VETOED"


async def test_wait_has_an_end(server: RealServer) -> None:
    """Who waits in vain is told what the request still needs, and can ask again with the same id."""
    async with server.client(server.bot) as bot:
        with pytest.raises(sdk.NeedsApproval) as caught:
            await bot.sign("eth", payloads.evm_transaction(MUCH), request_id="order-1", wait_for_approval_s=0.05)
        assert (caught.value.request_id, caught.value.quorum) == ("order-1", "1 of admins")


async def test_item_of_a_stream(server: RealServer) -> None:
    """In a stream one item's future says that it needs approval; the others are signed."""
    async with server.client(server.bot) as bot, bot.stream() as stream:
        waiting = await stream.submit("eth", payloads.evm_transaction(MUCH), request_id="large")
        await stream.sign("eth", payloads.evm_transaction(dynamic_fee()))
        with pytest.raises(sdk.NeedsApproval) as caught:
            await waiting
    assert (caught.value.request_id, caught.value.quorum) == ("large", "1 of admins")
    assert caught.value.proposal.startswith("enclaves/hot/proposals/")


async def test_other_bots_see_nothing(server: RealServer) -> None:
    """What one bot asks for does not exist for another one."""
    async with server.client(server.bot) as bot, server.client(server.other_bot) as other:
        with pytest.raises(sdk.NeedsApproval) as caught:
            await bot.sign("eth", payloads.evm_transaction(MUCH))
        assert (await bot.get_proposal(caught.value.proposal)).subject is not None
        with pytest.raises(sdk.NotFoundError):
            await other.get_proposal(caught.value.proposal)
        with pytest.raises(sdk.NotFoundError):
            await anext(other.watch_proposal(caught.value.proposal))
        with pytest.raises(sdk.Denied):
            await bot.list_proposals()


async def test_frozen_principal(server: RealServer) -> None:
    """A frozen bot signs nothing from its next request on, with another member's approval or without; others do."""
    async with (
        server.client(server.admin) as admin,
        server.client(server.bot) as bot,
        server.client(server.other_bot) as other,
    ):
        with pytest.raises(sdk.NeedsApproval) as caught:
            await bot.sign("eth", payloads.evm_transaction(MUCH), request_id="large")
        await admin.cast(await admin.get_proposal(caught.value.proposal), Voice.APPROVE, server.others[0])
        await admin.freeze(FreezeScope.PRINCIPAL, "spiffe://test.local/bot/maker", signer=server.member)
        for payload, request_id in ((MUCH, "large"), (dynamic_fee(), "small")):
            with pytest.raises(sdk.PreconditionFailed) as refused:
                await bot.sign("eth", payloads.evm_transaction(payload), request_id=request_id)
            assert refused.value.reason == "FROZEN"
        await other.sign_evm_transaction("eth", dynamic_fee())


async def test_imported_secret_is_rotated(server: RealServer) -> None:
    """The next version of an imported key is another secret, wrapped here; the old version signs nothing any more."""
    secret = b"the exchange's next API secret"
    async with server.client(server.admin) as admin, server.client(server.bot) as bot:
        say = {"signer": server.member, "approvers": server.others}
        await admin.import_hmac_key("hmac", b"an API secret", **say)  # type: ignore[arg-type]  # mixed values
        done = await admin.rotate_key("hmac", secret=secret, **say)  # type: ignore[arg-type]  # mixed values
        assert done.outcome is Outcome.EXECUTED
        query = QUERY.format(done.created_at)
        signed = await bot.sign_binance("hmac", query=query)
        assert signed.signature == hmac.digest(secret, query.encode(), hashlib.sha256)
        assert [key.state for key in await admin.list_keys("hmac")] == [KeyState.ROTATED, KeyState.ACTIVE]
        with pytest.raises(sdk.PreconditionFailed):
            await bot.sign_binance("hmac/versions/1", query=query)


async def test_secret_for_hmac_sha512(server: RealServer) -> None:
    """Import and rotation wrap for the key's own HMAC; such a key signs nothing that is for the other one."""
    async with server.client(server.admin) as admin, server.client(server.bot) as bot:
        say = {"signer": server.member, "approvers": server.others}
        made = await admin.import_hmac_key("hmac", bytes(range(100)), algorithm=KeyAlgorithm.HMAC_SHA512, **say)  # type: ignore[arg-type]  # mixed values
        done = await admin.rotate_key("hmac", secret=bytes(range(200)), **say)  # type: ignore[arg-type]  # mixed values
        assert (made.outcome, done.outcome) == (Outcome.EXECUTED, Outcome.EXECUTED)
        keys = await admin.list_keys("hmac")
        assert [(key.algorithm, key.state, key.public_key, key.public_key_pem) for key in keys] == [
            (KeyAlgorithm.HMAC_SHA512, KeyState.ROTATED, b"", ""),
            (KeyAlgorithm.HMAC_SHA512, KeyState.ACTIVE, b"", ""),
        ]
        with pytest.raises(sdk.PreconditionFailed) as refused:
            await bot.sign_binance("hmac", query=QUERY.format(done.created_at))
        assert refused.value.reason == "ALGORITHM_MISMATCH"


async def test_only_secrets_are_imported(server: RealServer) -> None:
    """A key that is generated is neither imported nor rotated to a secret: it is refused before anything is sent."""
    async with server.client(server.admin) as admin:
        say = {"signer": server.member, "approvers": server.others}
        with pytest.raises(sdk.InvalidRequest):
            await admin.import_hmac_key("k", b"s", algorithm=KeyAlgorithm.P256, **say)  # type: ignore[arg-type]  # mixed values
        with pytest.raises(sdk.InvalidRequest):
            await admin.rotate_key("eth", secret=b"s", **say)  # type: ignore[arg-type]  # mixed values


def test_blocking_client(token: CreatedToken, tmp_path: Path) -> None:
    """Code without an event loop asks, watches, approves, and waits for its signature."""

    async def serve_and_work() -> list[Outcome]:
        async with real_server(token, tmp_path) as server:
            return await asyncio.to_thread(work, server)

    def work(server: RealServer) -> list[Outcome]:
        target = f"localhost:{server.port}"
        with sdk.Client(target, server.admin, enclave="hot") as client:
            client.create_key("eth", KeyAlgorithm.SECP256K1, signer=server.member, approvers=server.others)
            with pytest.raises(sdk.NeedsApproval) as caught:
                client.sign("eth", payloads.evm_transaction(MUCH), request_id="order-1")
            watch = client.watch_proposal(caught.value.proposal)
            first = next(watch).outcome
            client.cast(client.get_proposal(caught.value.proposal), Voice.APPROVE, server.others[0])
            client.sign("eth", payloads.evm_transaction(MUCH), request_id="order-1", wait_for_approval_s=30)
            return [first, [seen.outcome for seen in watch][-1]]

    assert asyncio.run(serve_and_work()) == [Outcome.OPEN, Outcome.EXECUTED]
