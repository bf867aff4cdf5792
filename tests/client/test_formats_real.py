"""Every format over the real server: SoftHSM signs it, and what a venue or a chain would check holds."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from keyvault import client as sdk
from keyvault import intents
from keyvault.client import AsyncClient, SignedExchangeRequest, payloads
from keyvault.core.approvals import Voice
from keyvault.core.events import SignatureIssued, SignatureRefused
from keyvault.core.intent import Payload, PayloadKind
from keyvault.core.policy import Rule, Verdict
from keyvault.hsm.create import CreatedToken, create_token
from keyvault.ledger import archive
from keyvault.ledger.codec import decode
from tests.client.real import ADMINS, MovedClock, RealServer, real_server
from tests.client.venue_checks import CHECKS
from tests.every_format import ACCOUNT, ALGORITHMS, EVERYTHING, FORMATS, ORDER, SECRETS, psbt
from tests.intents import bitcoin_building as bitcoin

MINUTES_MS = 7 * 60_000
ASK = Rule(
    id="ask",
    verdict=Verdict.ESCALATE,
    keys=frozenset(ALGORITHMS),
    kinds=frozenset(
        {
            PayloadKind.BINANCE_WS,
            PayloadKind.KRAKEN_REST,
            PayloadKind.HYPERLIQUID_ACTION,
            PayloadKind.BITCOIN_PSBT,
            PayloadKind.BINANCE_REST,
        }
    ),
    quorum=f"1 of {ADMINS}",
)


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> CreatedToken:
    """A token to copy: its RSA key takes a while."""
    return create_token(tmp_path_factory.mktemp("token"), "hot")


@pytest.fixture
async def server(token: CreatedToken, tmp_path: Path) -> AsyncIterator[RealServer]:
    """A server that lets every bot do everything with a key of each algorithm."""
    async with real_server(token, tmp_path, rules=(EVERYTHING,)) as running:
        await make_keys(running)
        yield running


async def make_keys(server: RealServer) -> None:
    """Make or import a key of each algorithm."""
    async with server.client(server.admin) as admin:
        for name, algorithm in ALGORITHMS.items():
            if name in SECRETS:
                await admin.import_hmac_key(
                    name, SECRETS[name], algorithm=algorithm, signer=server.member, approvers=server.others
                )
            else:
                await admin.create_key(name, algorithm, signer=server.member, approvers=server.others)


async def public_keys(client: AsyncClient) -> dict[str, bytes]:
    return {name: (await client.public_key(name)).public_key for name in ALGORITHMS}


async def test_every_format_is_signed(token: CreatedToken, tmp_path: Path) -> None:
    """Each format gets its signature, which holds as its venue or chain checks it; the audit finds nothing wrong."""
    assert CHECKS.keys() == FORMATS.keys()
    async with real_server(token, tmp_path, rules=(EVERYTHING,)) as server:
        await make_keys(server)
        async with server.client(server.bot) as bot:
            keys = await public_keys(bot)
            for name, asked in FORMATS.items():
                public_key = keys[asked.key]
                signed = await bot.sign(asked.key, asked.make(public_key), request_id=name)
                CHECKS[name](signed, public_key)
                assert await bot.sign(asked.key, asked.make(public_key), request_id=name) == signed
        path = server.ledger
    assert archive.audit(path, read=intents.parse).ok


async def test_psbt_over_the_real_server(server: RealServer) -> None:
    """Three inputs of ours are signed; a wallet finalises what comes back to the same transaction."""
    async with server.client(server.bot) as bot:
        data = psbt((await bot.public_key("eth")).public_key, 3)
        signed = await bot.sign_psbt("eth", data, network="regtest", request_id="spend-1")
        assert signed.transaction == bitcoin.finalised_by_embit(signed.psbt)
        assert await bot.sign_psbt("eth", data, network="regtest", request_id="spend-1") == signed


async def test_nonces_of_one_key_only_grow(server: RealServer) -> None:
    """A burst over one key: no nonce twice, each later one higher, and every key counts for itself."""
    async with server.client(server.bot) as bot:
        nonces: list[int] = []
        for _ in range(3):
            signed = await asyncio.gather(*(kraken(bot) for _ in range(100)))
            burst = [nonce_of(each) for each in signed]
            assert len(set(burst)) == len(burst)
            assert min(burst) > max(nonces, default=0)
            nonces += burst


async def kraken(bot: AsyncClient, request_id: str | None = None) -> SignedExchangeRequest:
    return await bot.sign_exchange(
        "hmac-512", venue="kraken", path="/0/private/Balance", account=ACCOUNT, request_id=request_id
    )


def nonce_of(signed: SignedExchangeRequest) -> int:
    return int(signed.body.removeprefix("nonce="))


STUBBORN = {
    "kraken nonce": ("hmac-512", payloads.exchange("kraken", path="/0/private/A", body="nonce=1", account=ACCOUNT)),
    "binance ws": (
        "hmac",
        payloads.exchange_message("binance", method="a.b", parameters={**ORDER, "timestamp": 1}, account=ACCOUNT),
    ),
    "bybit": (
        "hmac",
        payloads.exchange("bybit", method="GET", path="/v5/a", query="timestamp=1", account=ACCOUNT),
    ),
    "deribit": (
        "hmac",
        payloads.exchange("deribit", method="GET", path="/api/v2/private/buy?nonce=1", account=ACCOUNT),
    ),
}


@pytest.mark.parametrize(("key", "payload"), STUBBORN.values(), ids=STUBBORN)
async def test_nobody_chooses_a_stamp(server: RealServer, key: str, payload: Payload) -> None:
    """Times and nonces in a payload that is stamped are refused, and nothing is recorded."""
    async with server.client(server.bot) as bot, server.client(server.admin) as admin:
        before = [entry async for entry in admin.entries()]
        with pytest.raises(sdk.InvalidRequest):
            await bot.sign(key, payload)
        assert [entry async for entry in admin.entries()] == before


async def test_no_such_key(server: RealServer) -> None:
    """Of a key that there is not nothing is decoded or stamped: each format is refused in the same way, for ever."""
    async with server.client(server.bot) as bot, server.client(server.admin) as admin:
        for name, asked in FORMATS.items():
            payload = asked.make((await bot.public_key(asked.key)).public_key)
            for _ in range(2):
                with pytest.raises(sdk.NotFoundError):
                    await bot.sign("nobody", payload, request_id=name)
        facts = [decode(entry.body) async for entry in admin.entries()]
    refused = [fact.request.request_id for fact in facts if isinstance(fact, SignatureRefused)]
    assert refused == list(FORMATS)
    assert not any(isinstance(fact, SignatureIssued) for fact in facts)


# Members ----------------------------------------------------------------------------------------------------------


async def test_an_approved_request_is_stamped_afresh(token: CreatedToken, tmp_path: Path) -> None:
    """Members approve a request that has no time; minutes later it is signed with the time of then, and is final."""
    clock = MovedClock()
    async with real_server(token, tmp_path, rules=(EVERYTHING, ASK), clock=clock) as server:
        await make_keys(server)
        for name in ("binance", "binance-ws", "kraken", "hyperliquid"):
            await approved_later(server, clock, name)
        path = server.ledger
    assert archive.audit(path, read=intents.parse).ok


async def approved_later(server: RealServer, clock: MovedClock, name: str) -> None:
    asked = FORMATS[name]
    payload = asked.make(b"")
    async with server.client(server.admin) as admin, server.client(server.bot) as bot:
        with pytest.raises(sdk.NeedsApproval) as waiting:
            await bot.sign(asked.key, payload, request_id=name)
        asked_at = clock.now()
        shown = await admin.get_proposal(waiting.value.proposal)
        await admin.cast(shown, Voice.APPROVE, server.others[0])
        clock.ahead_ms += MINUTES_MS
        signed = await bot.sign(asked.key, payload, request_id=name)
        CHECKS[name](signed, (await bot.public_key(asked.key)).public_key)
        clock.ahead_ms += MINUTES_MS
        assert await bot.sign(asked.key, payload, request_id=name) == signed
        event = decode((await admin.inclusion_proof(signed.ledger_index)).entry)
    assert isinstance(event, SignatureIssued)
    assert event.stamp is not None
    assert asked_at + MINUTES_MS <= event.stamp.at <= clock.now() - MINUTES_MS
    assert event.proposal.hex() == shown.id


async def test_a_time_of_the_caller_is_not_refreshed(token: CreatedToken, tmp_path: Path) -> None:
    """A request that has its own timestamp is too old when members have approved it, and is refused for ever."""
    clock = MovedClock()
    async with real_server(token, tmp_path, rules=(EVERYTHING, ASK), clock=clock) as server:
        await make_keys(server)
        query = "&".join(f"{name}={value}" for name, value in ORDER.items()) + f"&timestamp={clock.now()}"
        async with server.client(server.admin) as admin, server.client(server.bot) as bot:
            with pytest.raises(sdk.NeedsApproval) as waiting:
                await bot.sign_binance("hmac", query=query, request_id="order-1")
            await admin.cast(await admin.get_proposal(waiting.value.proposal), Voice.APPROVE, server.others[0])
            clock.ahead_ms += MINUTES_MS
            for _ in range(2):
                with pytest.raises(sdk.ClientError, match="TIMESTAMP_OUT_OF_RANGE"):
                    await bot.sign_binance("hmac", query=query, request_id="order-1")


async def test_psbt_whose_inputs_are_asked(token: CreatedToken, tmp_path: Path) -> None:
    """All inputs are asked for at once; when members approved them all, the same call has the transaction."""
    async with real_server(token, tmp_path, rules=(EVERYTHING, ASK)) as server:
        await make_keys(server)
        async with server.client(server.admin) as admin, server.client(server.bot) as bot:
            data = psbt((await bot.public_key("eth")).public_key, 2)
            with pytest.raises(sdk.NeedsApproval):
                await bot.sign_psbt("eth", data, network="regtest", request_id="spend-1")
            listed = await admin.list_proposals()
            assert len(listed) == 2
            await admin.cast(await admin.get_proposal(listed[0].name), Voice.APPROVE, server.others[0])
            work = asyncio.create_task(
                bot.sign_psbt("eth", data, network="regtest", request_id="spend-1", wait_for_approval_s=60)
            )
            await admin.cast(await admin.get_proposal(listed[1].name), Voice.APPROVE, server.others[0])
            signed = await work
    assert signed.transaction == bitcoin.finalised_by_embit(signed.psbt)


def test_blocking_client_has_every_method(token: CreatedToken, tmp_path: Path) -> None:
    """Code without an event loop signs a message, a PSBT, a request and a log-on."""

    async def serve_and_work() -> int:
        async with real_server(token, tmp_path, rules=(replace(EVERYTHING, id="all"),)) as server:
            await make_keys(server)
            return await asyncio.to_thread(work, server)

    def work(server: RealServer) -> int:
        with sdk.Client(f"localhost:{server.port}", server.bot, enclave="hot") as client:
            data = psbt(client.public_key("eth").public_key, 2)
            assert client.sign_psbt("eth", data, network="regtest").transaction
            client.sign_message("eth", "Hello")
            client.log_on("ed", venue="binance", protocol="websocket", account=ACCOUNT)
            signed = client.sign_exchange("hmac-512", venue="kraken", path="/0/private/Balance", account=ACCOUNT)
            return len(signed.headers)

    assert asyncio.run(serve_and_work()) == 3
