"""Every format over the real server: SoftHSM signs it, and what a venue or a chain would check holds."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import coincurve
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from eth_account import Account
from eth_account.messages import encode_defunct, encode_typed_data
from solders.transaction import VersionedTransaction

from keyvault import client as sdk
from keyvault import intents
from keyvault.client import AsyncClient, Signed, SignedExchangeRequest, SignedTypedData, payloads
from keyvault.core.approvals import Voice
from keyvault.core.events import SignatureIssued, SignatureRefused
from keyvault.core.intent import Payload, PayloadKind
from keyvault.core.policy import Rule, Verdict
from keyvault.hsm.create import CreatedToken, create_token
from keyvault.ledger import archive
from keyvault.ledger.codec import decode
from tests.client.real import ADMINS, MovedClock, RealServer, real_server
from tests.every_format import ACCOUNT, ALGORITHMS, DIGEST, EVERYTHING, FORMATS, ORDER, SECRETS, authorization, psbt
from tests.intents import bitcoin_building as bitcoin
from tests.intents import cosmos_building as cosmos
from tests.intents.building import mail

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


# What a venue or a chain checks -----------------------------------------------------------------------------------


def mac(secret: str, data: str | bytes) -> bytes:
    """Return what a venue computes with its copy of the secret."""
    digest = hashlib.sha512 if secret == "hmac-512" else hashlib.sha256
    return hmac.digest(SECRETS[secret], data if isinstance(data, bytes) else data.encode(), digest)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def edwards(public_key: bytes, signature: bytes, data: bytes) -> None:
    ed25519.Ed25519PublicKey.from_public_bytes(public_key).verify(signature, data)


def recovered(digest: bytes, rsv: bytes) -> bytes:
    """Return the public key that made 65 bytes r, s, v, as a contract does; v is 27 or 28, or 0 or 1."""
    parity = rsv[64] - 27 if rsv[64] >= 27 else rsv[64]
    return coincurve.PublicKey.from_signature_and_message(rsv[:64] + bytes((parity,)), digest, hasher=None).format(
        compressed=False
    )


def check_authorization(signed: Signed, public_key: bytes) -> None:
    assert recovered(intents.keccak256(authorization()), signed.output.raw) == public_key


def check_message(signed: Signed, public_key: bytes) -> None:
    signer = Account.recover_message(encode_defunct(text="Hello, Bob!"), signature=signed.output.raw)
    assert signer == intents.ethereum_address(public_key)


def check_typed_data(signed: Signed, public_key: bytes) -> None:
    assert isinstance(signed, SignedTypedData)
    signer = Account.recover_message(encode_typed_data(full_message=mail()), signature=signed.rsv)
    assert signer == intents.ethereum_address(public_key)


def check_transaction(signed: Signed, public_key: bytes) -> None:
    assert Account.recover_transaction(signed.output.raw) == intents.ethereum_address(public_key)


def check_hyperliquid(signed: Signed, public_key: bytes) -> None:
    """What the venue does: the body's action and nonce, hashed, recover the account."""
    body = json.loads(signed.output.body)
    r, s = (int(body["signature"][name], 16).to_bytes(32, "big") for name in "rs")
    assert recovered(signed.signing_input, r + s + bytes((body["signature"]["v"],))) == public_key
    assert body["nonce"] > 1_700_000_000_000


def check_solana(signed: Signed, public_key: bytes) -> None:
    transaction = VersionedTransaction.from_bytes(signed.output.raw)
    assert transaction.verify_with_results() == [True]
    assert bytes(transaction.message.account_keys[0]) == public_key
    assert bytes(transaction.signatures[0]) == signed.output.transaction_hash


def check_bitcoin(signed: Signed, public_key: bytes) -> None:
    compressed = coincurve.PublicKey(public_key).format()
    assert coincurve.PublicKey(compressed).verify(signed.output.raw[:-1], signed.signing_input, hasher=None)
    assert signed.output.raw[-1] == 1


def check_cosmos(signed: Signed, public_key: bytes) -> None:
    """What a node does: it makes SignDoc of TxRaw, its own chain id and the account's number."""
    raw = cosmos.tx.TxRaw.FromString(signed.output.raw)
    made = cosmos.document(raw.body_bytes, raw.auth_info_bytes).parts[0]
    r, s = (int.from_bytes(raw.signatures[0][half : half + 32], "big") for half in (0, 32))
    ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), public_key).verify(
        utils.encode_dss_signature(r, s), made, ec.ECDSA(hashes.SHA256())
    )
    assert hashlib.sha256(signed.output.raw).digest() == signed.output.transaction_hash


def check_binance(signed: Signed, _: bytes) -> None:
    query, _mark, signature = signed.output.query.rpartition("&signature=")
    assert signature == mac("hmac", query).hex()


def check_binance_ed(signed: Signed, public_key: bytes) -> None:
    body, _mark, signature = signed.output.body.rpartition("&signature=")
    edwards(public_key, base64.b64decode(unquote(signature)), body.encode())


def websocket(signed: Signed) -> tuple[str, str]:
    """Return what Binance makes of a message: the sorted parameters, and the signature beside them."""
    parameters = json.loads(signed.output.message)["params"]
    signature = parameters.pop("signature")
    return "&".join(f"{name}={parameters[name]}" for name in sorted(parameters)), signature


def check_binance_ws(signed: Signed, _: bytes) -> None:
    text, signature = websocket(signed)
    assert signature == mac("hmac", text).hex()


def check_binance_ws_ed(signed: Signed, public_key: bytes) -> None:
    text, signature = websocket(signed)
    edwards(public_key, base64.b64decode(signature), text.encode())


def fix(signed: Signed) -> dict[str, str]:
    """Return the fields of a FIX message whose length and checksum are right."""
    message = signed.output.message
    body, _, checksum = message.rpartition("10=")
    assert int(checksum[:3]) == sum(body.encode()) % 256
    fields = dict(field.split("=", 1) for field in message.split("\x01")[:-1])
    assert len(body.split("\x01", 2)[2]) == int(fields["9"])
    return fields


def check_binance_fix(signed: Signed, public_key: bytes) -> None:
    fields = fix(signed)
    text = "\x01".join(fields[tag] for tag in ("35", "49", "56", "34", "52"))
    edwards(public_key, base64.b64decode(fields["96"]), text.encode())


def check_kraken_fix(signed: Signed, _: bytes) -> None:
    fields = fix(signed)
    text = "".join(f"{tag}={fields[tag]}\x01" for tag in ("35", "34", "49", "56", "553")) + fields["5025"]
    assert fields["554"] == b64(mac("hmac-512", hashlib.sha256(text.encode()).digest()))


def check_bybit(signed: Signed, _: bytes) -> None:
    headers = dict(signed.output.headers)
    text = headers["X-BAPI-TIMESTAMP"] + ACCOUNT + headers["X-BAPI-RECV-WINDOW"] + signed.output.body
    assert headers["X-BAPI-SIGN"] == mac("hmac", text).hex()


def check_okx(signed: Signed, _: bytes) -> None:
    headers = dict(signed.output.headers)
    text = headers["OK-ACCESS-TIMESTAMP"] + "POST" + signed.output.path + signed.output.body
    assert headers["OK-ACCESS-SIGN"] == b64(mac("hmac", text))


def check_okx_logon(signed: Signed, _: bytes) -> None:
    (argument,) = json.loads(signed.output.message)["args"]
    assert argument["sign"] == b64(mac("hmac", argument["timestamp"] + "GET/users/self/verify"))


def token_of(signed: Signed) -> tuple[bytes, dict[str, object], bytes]:
    """Return what is signed of a JWT, its claims, and the signature."""
    text = signed.output.message or dict(signed.output.headers)["Authorization"].removeprefix("Bearer ")
    head, claims, signature = text.split(".")
    unpacked = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in (claims, signature))
    return f"{head}.{claims}".encode(), json.loads(next(unpacked)), next(unpacked)


def check_coinbase(signed: Signed, public_key: bytes) -> None:
    text, claims, signature = token_of(signed)
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public_key).verify(
        utils.encode_dss_signature(r, s), text, ec.ECDSA(hashes.SHA256())
    )
    assert claims["sub"] == ACCOUNT


def check_coinbase_ed(signed: Signed, public_key: bytes) -> None:
    text, claims, signature = token_of(signed)
    edwards(public_key, signature, text)
    assert claims["uri"] == "POST api.coinbase.com/api/v3/brokerage/orders"


def check_kraken(signed: Signed, _: bytes) -> None:
    nonce = signed.output.body.split("&")[0].removeprefix("nonce=")
    inside = hashlib.sha256((nonce + signed.output.body).encode()).digest()
    assert dict(signed.output.headers)["API-Sign"] == b64(mac("hmac-512", signed.output.path.encode() + inside))


def check_deribit(signed: Signed, _: bytes) -> None:
    credentials = dict(signed.output.headers)["Authorization"].removeprefix("deri-hmac-sha256 ")
    said = dict(field.split("=", 1) for field in credentials.split(","))
    text = f"{said['ts']}\n{said['nonce']}\nGET\n{signed.output.path}?{signed.output.query}\n\n"
    assert said["sig"] == mac("hmac", text).hex()


def check_deribit_auth(signed: Signed, _: bytes) -> None:
    said = json.loads(signed.output.message)["params"]
    assert said["signature"] == mac("hmac", f"{said['timestamp']}\n{said['nonce']}\n{said['data']}").hex()


def check_polymarket(signed: Signed, _: bytes) -> None:
    headers = dict(signed.output.headers)
    text = f"{headers['POLY_TIMESTAMP']}POST{signed.output.path}{signed.output.body}"
    assert headers["POLY_SIGNATURE"] == base64.urlsafe_b64encode(mac("hmac", text)).decode()


def check_digest(signed: Signed, public_key: bytes) -> None:
    r, s = (int.from_bytes(half, "big") for half in (signed.signature[:32], signed.signature[32:]))
    ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public_key).verify(
        utils.encode_dss_signature(r, s), DIGEST, ec.ECDSA(utils.Prehashed(hashes.SHA256()))
    )


CHECKS: Mapping[str, Callable[[Signed, bytes], None]] = {
    "evm-transaction": check_transaction,
    "evm-authorization": check_authorization,
    "evm-message": check_message,
    "typed-data": check_typed_data,
    "hyperliquid": check_hyperliquid,
    "solana": check_solana,
    "bitcoin": check_bitcoin,
    "cosmos": check_cosmos,
    "binance": check_binance,
    "binance-ed": check_binance_ed,
    "binance-ws": check_binance_ws,
    "binance-ws-ed": check_binance_ws_ed,
    "binance-logon": check_binance_ws_ed,
    "binance-fix": check_binance_fix,
    "bybit": check_bybit,
    "okx": check_okx,
    "okx-logon": check_okx_logon,
    "coinbase": check_coinbase,
    "coinbase-ed": check_coinbase_ed,
    "coinbase-ws": check_coinbase,
    "kraken": check_kraken,
    "kraken-fix": check_kraken_fix,
    "deribit": check_deribit,
    "deribit-auth": check_deribit_auth,
    "polymarket": check_polymarket,
    "digest": check_digest,
}


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
