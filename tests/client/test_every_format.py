"""A server that lies about a signature of any format is found out; an honest one is believed."""

import base64
from collections.abc import Callable

import pytest

from keyvault import client as sdk
from keyvault.core.intent import Payload, PayloadKind
from keyvault.ledger import wire
from keyvault.v1 import signing_pb2
from tests.client.scripted import STAMP, Keys, ScriptedServer, Step
from tests.every_format import ACCOUNT, ALGORITHMS, FORMATS, ORDER, psbt
from tests.intents import bitcoin_building as bitcoin

Response = signing_pb2.SignResponse
UNSTAMPED = frozenset(
    {
        PayloadKind.EVM_TRANSACTION,
        PayloadKind.EVM_AUTHORIZATION,
        PayloadKind.EVM_MESSAGE,
        PayloadKind.TYPED_DATA,
        PayloadKind.SOLANA_MESSAGE,
        PayloadKind.BITCOIN_PSBT,
        PayloadKind.COSMOS_SIGN_DOC,
        PayloadKind.RAW_DIGEST,
    }
)
STAMPED = [name for name, each in FORMATS.items() if each.kind not in UNSTAMPED]
REQUESTS = [name for name in STAMPED if FORMATS[name].kind.endswith(("rest", "jwt")) and name != "coinbase-ws"]
HEADED = [name for name in REQUESTS if not name.startswith("binance")]
SESSIONS = [name for name in STAMPED if name not in (*REQUESTS, "hyperliquid")]
BYTES = ["evm-authorization", "evm-message", "solana", "bitcoin", "cosmos"]


def changed(change: Callable[[Response], object]) -> Step:
    """Return a step that changes an honest answer in place."""

    def step(honest: Response) -> Response:
        change(honest)
        return honest

    return step


def later(response: Response) -> None:
    response.stamp.at_ms += 60_000
    response.stamp.nonce += 60_000


def no_stamp(response: Response) -> None:
    response.ClearField("stamp")


def before_the_epoch(response: Response) -> None:
    response.stamp.at_ms = -1


def a_stamp(response: Response) -> None:
    response.stamp.at_ms, response.stamp.nonce = STAMP.at, STAMP.nonce


def other_header(response: Response) -> None:
    response.exchange_request.headers[-1].value += "0"


def more_headers(response: Response) -> None:
    response.exchange_request.headers.add(name="X-Forwarded-For", value="somebody")


def no_header(response: Response) -> None:
    del response.exchange_request.headers[-1]


def other_path(response: Response) -> None:
    response.exchange_request.path += "/"


def other_query(response: Response) -> None:
    response.exchange_request.query += "&a=b"


def other_body(response: Response) -> None:
    response.exchange_request.body += " "


def other_message(response: Response) -> None:
    response.exchange_request.message = response.exchange_request.message[:-1] + "9"


def other_raw(response: Response) -> None:
    response.signed_bytes.raw += b"\0"


def other_name(response: Response) -> None:
    response.signed_bytes.transaction_hash = b"\1" * 32


def other_input(response: Response) -> None:
    response.signing_input = response.signing_input[:-1] + bytes((response.signing_input[-1] ^ 1,))


def other_signature(response: Response) -> None:
    """Of an HMAC it is found out because it is not the one in the request."""
    response.signature.value = response.signature.value[:-1] + bytes((response.signature.value[-1] ^ 1,))


def somebody_signed(response: Response) -> None:
    """The same bytes, honestly signed by another key of that kind."""
    key = response.key_version.split("/")[3]
    response.signature.CopyFrom(wire.signature_to_proto(Keys().sign(key, response.signing_input)))


LIES = [
    *((name, lie) for name in FORMATS for lie in (other_input, other_signature)),
    *((name, somebody_signed) for name, each in FORMATS.items() if not each.key.startswith("hmac")),
    *((name, lie) for name in STAMPED for lie in (later, no_stamp, before_the_epoch, other_path, other_query)),
    *((name, lie) for name in STAMPED for lie in (other_body, more_headers)),
    *((name, a_stamp) for name, each in FORMATS.items() if each.kind in UNSTAMPED),
    *((name, lie) for name in HEADED for lie in (other_header, no_header)),
    *((name, other_message) for name in SESSIONS),
    *((name, lie) for name in BYTES for lie in (other_raw, other_name)),
]


@pytest.mark.parametrize(("name", "lie"), LIES, ids=lambda value: value if isinstance(value, str) else value.__name__)
async def test_lies_are_found(server: ScriptedServer, name: str, lie: Callable[[Response], object]) -> None:
    """Stamp, headers, message, path, bytes: whatever is changed, SignatureMismatch is raised and nothing retried."""
    asked = FORMATS[name]
    server.script.append(changed(lie))
    async with server.client() as client:
        with pytest.raises(sdk.SignatureMismatch) as caught:
            await client.sign(asked.key, asked.make(server.keys.public(asked.key)), request_id="order-1")
    assert (caught.value.request_id, len(server.requests)) == ("order-1", 1)


@pytest.mark.parametrize("name", FORMATS)
async def test_honest_answers_pass(server: ScriptedServer, name: str) -> None:
    """What an honest server signs is returned, and stays out of logs."""
    asked = FORMATS[name]
    async with server.client() as client:
        signed = await client.sign(asked.key, asked.make(server.keys.public(asked.key)))
    assert "signature=" not in repr(signed)
    assert "output" not in repr(signed)


def test_every_kind_is_among_them() -> None:
    """A kind that is added gets its sample here."""
    assert {each.kind for each in FORMATS.values()} == set(PayloadKind)
    assert {each.key for each in FORMATS.values()} == set(ALGORITHMS)


@pytest.mark.parametrize(
    "payload",
    [
        Payload(kind=PayloadKind.BYBIT_REST, parts=(b"GET",)),
        Payload(kind=PayloadKind.OKX_WS_LOGON, parts=(b"\xff",)),
        Payload(kind=PayloadKind.HYPERLIQUID_ACTION, parts=(b"{}", b"", b"0", b"mainnet")),
        Payload(kind=PayloadKind.HYPERLIQUID_ACTION, parts=(b"{}", b"", b"", b"devnet")),
        Payload(kind=PayloadKind.HYPERLIQUID_ACTION, parts=(b"{}", b"", b"-1", b"mainnet")),
        Payload(kind=PayloadKind.BITCOIN_PSBT, parts=(b"psbt", b"01", b"mainnet")),
        Payload(kind=PayloadKind.BITCOIN_PSBT, parts=(b"psbt", b"-1", b"mainnet")),
        Payload(kind=PayloadKind.BINANCE_FIX_LOGON, parts=(b"DESK", b"SPOT", b"001", b"k")),
        Payload(kind=PayloadKind.BINANCE_FIX_LOGON, parts=(b"DESK", b"SPOT", b"99999999999999999999", b"k")),
    ],
)
async def test_what_would_be_sent_as_something_else_is_not_sent(server: ScriptedServer, payload: Payload) -> None:
    """A payload whose parts the message cannot hold as they are is InvalidRequest, here."""
    async with server.client() as client:
        with pytest.raises(sdk.InvalidRequest):
            await client.sign("hmac", payload)
    assert server.requests == []


STRAY = {
    "unknown venue": lambda client: client.sign_exchange("hmac", venue="bitmex", path="/"),
    "method at binance": lambda client: client.sign_exchange("hmac", venue="binance", method="POST", query="a=b"),
    "query at kraken": lambda client: client.sign_exchange(
        "hmac-512", venue="kraken", path="/0/private/A", query="a=b"
    ),
    "address at okx": lambda client: client.sign_exchange("hmac", venue="okx", path="/", address="0x00"),
    "messages of okx": lambda client: client.sign_exchange_message("hmac", venue="okx", method="a.b", account="k"),
    "fix at okx": lambda client: client.log_on("hmac", venue="okx", protocol="fix", account="k"),
    "data at kraken": lambda client: client.log_on("hmac-512", venue="kraken", protocol="fix", account="k", data="a"),
    "floats": lambda client: client.sign_hyperliquid("eth", {"type": "order", "p": float("nan")}),
    "surrogates": lambda client: client.sign_message("eth", "\ud800"),
}


@pytest.mark.parametrize("ask", STRAY.values(), ids=STRAY)
async def test_what_has_no_place_is_not_sent(server: ScriptedServer, ask: Callable[[sdk.AsyncClient], object]) -> None:
    """Fields that a venue's scheme does not take, and words that nobody knows, are InvalidRequest, here."""
    async with server.client() as client:
        with pytest.raises(sdk.InvalidRequest):
            await ask(client)  # type: ignore[misc]  # every one is a coroutine
    assert server.requests == []


async def test_results_have_what_is_sent(server: ScriptedServer) -> None:
    """Each method returns the type that has the fields of its format."""
    async with server.client() as client:
        message = await client.sign_message("eth", "Hello")
        request = await client.sign_exchange(
            "hmac", venue="bybit", method="GET", path="/v5/order/realtime", query="category=spot", account=ACCOUNT
        )
        sent = await client.sign_exchange_message("hmac", method="order.place", parameters=ORDER, account=ACCOUNT)
        session = await client.log_on("hmac", venue="okx", protocol="websocket", account=ACCOUNT)
    assert (len(message.raw), message.transaction_hash) == (65, b"")
    assert (request.path, request.query, request.body) == ("/v5/order/realtime", "category=spot", "")
    headers = dict(request.headers)
    assert headers["X-BAPI-SIGN"] == request.signature.hex()
    assert headers["X-BAPI-TIMESTAMP"] == str(STAMP.at)
    assert f'"signature":"{sent.signature.hex()}"' in sent.message
    assert base64.b64encode(session.signature).decode() in session.message


async def test_psbt_of_several_inputs(server: ScriptedServer) -> None:
    """Each input that is ours is asked for with an id of its own; what comes back is what a wallet finalises."""
    data = psbt(server.keys.public("eth"), 3)
    async with server.client() as client:
        signed = await client.sign_psbt("eth", data, network="regtest", request_id="spend-1")
    assert sorted(ids(server)) == ["spend-1.0", "spend-1.1", "spend-1.2"]
    assert [each.request_id for each in signed.signatures.values()] == ["spend-1.0", "spend-1.1", "spend-1.2"]
    assert signed.transaction == bitcoin.finalised_by_embit(signed.psbt)
    assert "psbt" not in repr(signed).removeprefix("SignedPsbt")


async def test_psbt_that_others_sign_too(server: ScriptedServer) -> None:
    """Inputs of others stay as they are, and there is no transaction until they are complete."""
    others = (bitcoin.Coin(bitcoin.STRANGER, salt=77),)
    data = psbt(server.keys.public("eth"), 1, more=others)
    async with server.client() as client:
        signed = await client.sign_psbt("eth", data, request_id="spend-1")
        assert (ids(server), list(signed.signatures), signed.transaction) == (["spend-1.0"], [0], b"")
        with pytest.raises(sdk.InvalidRequest, match="no input waits"):
            await client.sign_psbt("eth", signed.psbt)
        with pytest.raises(sdk.InvalidRequest, match="no input waits"):
            await client.sign_psbt("eth", bitcoin.version_0(others, [(99_000, bitcoin.STRANGER)]))
    assert len(server.requests) == 1


async def test_psbt_with_an_input_that_may_not_be_signed(server: ScriptedServer) -> None:
    """If one of our inputs asks for another hash type, nothing is signed at all."""
    own = bitcoin.p2wpkh(server.keys.secp256k1.public_key.format())
    single = (bitcoin.Coin(own, salt=77, pairs=[(b"\x03", b"\x03\0\0\0")]),)
    async with server.client() as client:
        with pytest.raises(sdk.InvalidRequest, match="SIGHASH_ALL"):
            await client.sign_psbt("eth", psbt(server.keys.public("eth"), 2, more=single))
        with pytest.raises(sdk.InvalidRequest):
            await client.sign_psbt("ed", psbt(server.keys.public("eth")))
        with pytest.raises(sdk.InvalidRequest):
            await client.sign_psbt("eth", b"psbt\xff")
        with pytest.raises(sdk.InvalidRequest, match="request_id"):
            await client.sign_psbt("eth", psbt(server.keys.public("eth")), network="regtest", request_id="x" * 64)
    assert server.requests == []


async def test_psbt_with_a_lie_among_its_answers(server: ScriptedServer) -> None:
    """One answer that is not what was asked for, and there is no result."""
    server.script.append(changed(other_raw))
    async with server.client() as client:
        with pytest.raises(sdk.SignatureMismatch):
            await client.sign_psbt("eth", psbt(server.keys.public("eth"), 2), network="regtest")


def ids(server: ScriptedServer) -> list[str]:
    return [signing_pb2.SignRequest.FromString(each).request_id for each in server.requests]
