"""Binance's WebSocket API: signed requests, and the logon."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core.errors import Broken
from keyvault.core.intent import Bound, Completeness, Effect, Operation, Payload, PayloadKind
from keyvault.core.keys import KeyAlgorithm
from tests.intents.venues import (
    AT,
    ED25519,
    NONCE,
    UNIT,
    assemble,
    b64,
    compact,
    parse,
    payload,
    refusal,
    sha256,
    signer,
)

SECRET = b"NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
"""Secret of the example in Binance's documentation."""
KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
ORDER = {
    "symbol": "BTCUSDT",
    "side": "SELL",
    "type": "LIMIT",
    "timeInForce": "GTC",
    "quantity": "0.01000000",
    "price": "52000.00",
    "recvWindow": 100,
}
WIDE = ORDER | {
    "symbol": "１２３４５６",  # noqa: RUF001 - the documentation's own symbol
    "side": "BUY",
    "quantity": "1.00000000",
    "price": "0.10000000",
    "recvWindow": 5000,
}
THEN = signer(at=1645423376532)
ED = signer(KeyAlgorithm.ED25519)


def ws(parameters: object, method: str = "order.place", key: str = KEY) -> Payload:
    """Return a request."""
    return payload(PayloadKind.BINANCE_WS, compact(parameters), method, key)


LOGON = payload(PayloadKind.BINANCE_WS_LOGON, KEY)


@pytest.mark.parametrize(
    ("parameters", "signature"),
    [
        (ORDER, "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24"),
        (WIDE, "b33892ae8e687c939f4468c6268ddd4c40ac1af18ad19a064864c47bae0752cd"),
    ],
)
def test_examples_of_binance(parameters: dict[str, object], signature: str) -> None:
    """Both HMAC examples of the documentation give their signatures and their messages."""
    request = ws(parameters)
    value = sha256(parse(request, THEN).signing_input, SECRET)
    sent = json.loads(assemble(request, value, THEN).message)
    assert sent == {
        "id": str(NONCE),
        "method": "order.place",
        "params": parameters | {"apiKey": KEY, "timestamp": 1645423376532, "signature": signature},
    }


def test_order_states_everything() -> None:
    """An order states its facts, is stamped, binds the key and its window, and no method."""
    intent = parse(ws(ORDER))
    assert intent.effects == (
        Effect(
            operation=Operation.ORDER,
            venue="binance",
            symbol="BTCUSDT",
            side="SELL",
            quantity=UNIT // 100,
            price=52_000 * UNIT,
            time_in_force="GTC",
        ),
    )
    assert intent.completeness is Completeness.FULL
    assert intent.algorithms == {KeyAlgorithm.HMAC_SHA256, KeyAlgorithm.ED25519}
    assert intent.binds == {Bound.BODY, Bound.ACCOUNT, Bound.EXPIRY}
    assert (intent.issued_at, intent.stamped) == (None, True)
    assert (intent.not_before, intent.expires_at) == (AT - 1000, AT + 100)


def test_method_changes_nothing() -> None:
    """order.test, openOrders.status and openOrders.cancelAll sign alike: the method is not believed."""
    assert parse(ws(ORDER, "order.test")) == parse(ws(ORDER))
    reading, cancelling = (parse(ws({"symbol": "A"}, f"openOrders.{name}")) for name in ("status", "cancelAll"))
    assert reading == cancelling
    assert [e.operation for e in reading.effects] == [Operation.CANCEL]


def test_logon_is_a_session() -> None:
    """A logon by an Ed25519 key is a SESSION; its message has the signature as Base64."""
    intent = parse(LOGON, ED)
    assert intent.effects == (Effect(operation=Operation.SESSION, venue="binance"),)
    assert intent.algorithms == {KeyAlgorithm.ED25519}
    assert intent.signing_input == f"apiKey={KEY}&timestamp={AT}".encode()
    assert (intent.expires_at, intent.stamped) == (AT + 5000, True)
    assert intent.binds == {Bound.ACCOUNT, Bound.EXPIRY}
    value = ED25519.sign(intent.signing_input)
    assert json.loads(assemble(LOGON, value, ED).message) == {
        "id": str(NONCE),
        "method": "session.logon",
        "params": {"apiKey": KEY, "timestamp": AT, "signature": b64(value)},
    }


@pytest.mark.parametrize("parameters", [{}, {"recvWindow": 5000}])
def test_request_that_signs_a_logon_is_a_session(parameters: dict[str, int]) -> None:
    """Without parameters a request signs what session.logon signs: by an Ed25519 key a SESSION, by HMAC a SETUP."""
    request = ws(parameters, "account.status")
    assert [e.operation for e in parse(request, ED).effects] == [Operation.SESSION]
    assert [e.operation for e in parse(request).effects] == [Operation.SETUP]
    if not parameters:
        assert parse(request, ED).signing_input == parse(LOGON, ED).signing_input


def test_unknown_parameter_is_opaque() -> None:
    """A name that nobody knows makes the request OPAQUE, whatever stands beside it."""
    intent = parse(ws(ORDER | {"Side": "BUY"}))
    assert intent.effects == (Effect(operation=Operation.OPAQUE, venue="binance"),)
    assert intent.completeness is Completeness.OPAQUE


@pytest.mark.parametrize(
    ("request_", "field", "problem"),
    [
        (ws(ORDER | {"symbol": "A&side=BUY"}), "symbol", "without & ="),
        (ws(ORDER | {"newClientOrderId": "a=b"}), "newClientOrderId", "without & ="),
        (ws(ORDER | {"newClientOrderId": "a%26"}), "newClientOrderId", "without & = % +"),
        (ws({"a&b": "1"}), "parameters", "without & ="),
        (ws({"a=b": "1"}), "parameters", "without & ="),
        (ws({"a b": "1"}), "parameters", "is not a name"),
        (ws(ORDER | {"symbols": ["A"]}), "symbols", "must be a string"),
        (ws(ORDER | {"quantity": None}), "quantity", "must be a string"),
        (ws(ORDER | {"quantity": ""}), "quantity", "not empty"),
        (ws(ORDER | {"symbol": "A\u202eB"}), "symbol", "must be printable"),
        (ws(ORDER | {"timestamp": AT}), "timestamp", "leave it out"),
        (ws(ORDER | {"apiKey": KEY}), "apiKey", "leave it out"),
        (ws(ORDER | {"signature": "00"}), "signature", "leave it out"),
        (ws(ORDER | {"recvWindow": 60001}), "recvWindow", "1 to 60000"),
        (ws(ORDER | {"recvWindow": True}), "recvWindow", "1 to 60000"),
        (ws(ORDER | {"symbol": 1}), "symbol", "must be a string"),
        (
            payload(PayloadKind.BINANCE_WS, '{"side":"BUY","side":"SELL"}', "order.place", KEY),
            "parameters",
            "stands twice",
        ),
        (
            payload(PayloadKind.BINANCE_WS, '{"side":"BUY","\\u0073ide":"SELL"}', "a.b", KEY),
            "parameters",
            "stands twice",
        ),
        (payload(PayloadKind.BINANCE_WS, '{"quantity":0.1}', "order.place", KEY), "parameters", "not an integer"),
        (payload(PayloadKind.BINANCE_WS, "[]", "order.place", KEY), "parameters", "JSON object"),
        (ws({f"a{n}": 1 for n in range(65)}), "parameters", "more than 64"),
        (ws(ORDER, "session.logon"), "method", "opens a session"),
        (ws(ORDER, "order place"), "method", "words of letters"),
        (ws(ORDER, 'a.b","x":"'), "method", "words of letters"),
        (ws(ORDER, key=""), "account", "1 to 128"),
        (ws(ORDER, key="a&b"), "account", "1 to 128"),
        (payload(PayloadKind.BINANCE_WS_LOGON, "a&timestamp"), "account", "1 to 128"),
    ],
)
def test_refused(request_: Payload, field: str, problem: str) -> None:
    """What could be read as other parameters, or would overrule the service's, is refused by name."""
    found, reason = refusal(request_, ED)
    assert found == field
    assert problem in reason


def test_unfit_signature_is_broken() -> None:
    """A signature of the wrong length never leaves; a logon takes none by HMAC."""
    for request, length in ((ws(ORDER), 20), (LOGON, 32), (LOGON, 65)):
        with pytest.raises(Broken):
            assemble(request, bytes(length), ED)


VALUES = st.one_of(st.text("abcXYZ019._-é", min_size=1), st.integers(0, 2**53 - 1), st.booleans())


@given(st.dictionaries(st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}", fullmatch=True), VALUES, max_size=8))
def test_signed_text_reads_back(parameters: dict[str, str | int]) -> None:
    """What is signed, cut at & and =, is exactly what is sent: names, values and order."""
    parameters = {k: v for k, v in parameters.items() if k not in ("timestamp", "apiKey", "signature", "recvWindow")}
    known = {"side", "type", "price", "quantity", "symbol"}
    if known & parameters.keys():
        return
    request = ws(parameters)
    pairs = [pair.split("=") for pair in parse(request).signing_input.decode().split("&")]
    sent = json.loads(assemble(request, bytes(32)).message)["params"]
    del sent["signature"]
    assert [name for name, _ in pairs] == sorted(sent)
    texts = {name: json.dumps(value) if isinstance(value, bool) else str(value) for name, value in sent.items()}
    assert {pair[0]: pair[1] for pair in pairs} == texts
