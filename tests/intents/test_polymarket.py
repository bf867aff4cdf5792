"""Polymarket's CLOB, level 2."""

import base64
from typing import Any

import pytest

from keyvault.core.errors import Broken
from keyvault.core.intent import Bound, Completeness, Effect, Operation, Output, Payload, PayloadKind
from keyvault.core.keys import KeyAlgorithm
from tests.intents.venues import AT, UNIT, assemble, compact, parse, payload, refusal, sha256, signer

KEY = "0c1d7e2f-aaaa-bbbb-cccc-000000000000"
ADDRESS = "0x" + "aB" * 20
SIGNED = {
    "salt": 7,
    "maker": ADDRESS,
    "signer": ADDRESS,
    "taker": "0x" + "0" * 40,
    "tokenId": "123456789",
    "makerAmount": "60000000",
    "takerAmount": "100000000",
    "expiration": "0",
    "nonce": "0",
    "feeRateBps": "0",
    "side": "BUY",
    "signatureType": 0,
    "signature": "0x" + "11" * 65,
}
POSTED = {"order": SIGNED, "owner": KEY, "orderType": "GTC", "postOnly": False}


def call(method: str, path: str, body: object = "") -> Payload:
    """Return a request."""
    text = body if isinstance(body, str) else compact(body)
    return payload(PayloadKind.POLYMARKET_REST, method, path, text, KEY, ADDRESS)


def posted(signed: dict[str, object] | None = None, **changes: object) -> dict[str, object]:
    """Return the body of an order with members of the order and of its envelope changed."""
    return {**POSTED, "order": {**SIGNED, **(signed or {})}, **changes}


def order(**changes: Any) -> Effect:  # noqa: ANN401 - any fact
    """Return the effect of POSTED with some facts changed."""
    facts: dict[str, Any] = {
        "operation": Operation.ORDER,
        "venue": "polymarket",
        "symbol": "123456789",
        "side": "BUY",
        "quantity": 100 * UNIT,
        "quote_quantity": 60 * UNIT,
        "price": UNIT * 6 // 10,
        "time_in_force": "GTC",
    }
    return Effect(**{**facts, **changes})


def test_vector_of_the_venues_library() -> None:
    """The library's vector comes out of what is signed: seconds, method, path and body, joined."""
    signed = parse(call("DELETE", "/orders", '["0x1"]'), signer(at=1_000_000_999)).signing_input
    assert signed == b'1000000DELETE/orders["0x1"]'
    vector = signed.replace(b"DELETE", b"test-sign").replace(b'["0x1"]', b'{"hash": "0x123"}')
    secret = base64.urlsafe_b64decode("A" * 43 + "=")
    assert base64.urlsafe_b64encode(sha256(vector, secret)) == b"ZwAdJKvoYRlEKDkNMwd5BuwNNtg93kNaR_oU2HrfVvc="


def test_order_states_everything() -> None:
    """An order states token, side, size, what it costs at most and its price; method, path and body are bound."""
    request = call("POST", "/order", POSTED)
    intent = parse(request)
    assert intent.effects == (order(),)
    assert intent.completeness is Completeness.FULL
    assert intent.algorithms == {KeyAlgorithm.HMAC_SHA256}
    assert intent.binds == {Bound.METHOD, Bound.PATH, Bound.BODY}
    assert (intent.expires_at, intent.stamped, intent.slot, intent.issued_at) == (None, True, None, None)
    value = sha256(intent.signing_input)
    assert assemble(request, value) == Output(
        path="/order",
        body=compact(POSTED),
        headers=(
            ("POLY_ADDRESS", ADDRESS),
            ("POLY_SIGNATURE", base64.urlsafe_b64encode(value).decode()),
            ("POLY_TIMESTAMP", str(AT // 1000)),
            ("POLY_API_KEY", KEY),
            ("Content-Type", "application/json"),
        ),
    )


@pytest.mark.parametrize(
    ("body", "facts"),
    [
        (posted(orderType="FAK"), {"time_in_force": "IOC"}),
        (posted(postOnly=True), {"time_in_force": "POST_ONLY"}),
        (
            posted({"makerAmount": "1", "takerAmount": "3"}),
            {"quantity": 3 * 10**12, "quote_quantity": 10**12, "price": UNIT // 3 + 1},
        ),
        (
            posted({"side": "SELL", "makerAmount": "3", "takerAmount": "1"}),
            {"side": "SELL", "quantity": 3 * 10**12, "quote_quantity": 10**12, "price": UNIT // 3},
        ),
        (posted({"timestamp": "1", "metadata": "0x", "builder": "0x"}), {}),
    ],
)
def test_facts_of_orders(body: dict[str, object], facts: dict[str, Any]) -> None:
    """A price that is no decimal is rounded to the worse side: up for a buyer, down for a seller."""
    assert parse(call("POST", "/order", body)).effects == (order(**facts),)


def test_batch_states_all_orders() -> None:
    """Each posted order is an effect."""
    intent = parse(call("POST", "/orders", [POSTED, posted({"tokenId": "9"})]))
    assert intent.effects == (order(), order(symbol="9"))


REQUEST = Effect(operation=Operation.REQUEST, venue="polymarket")
CANCEL = Effect(operation=Operation.CANCEL, venue="polymarket")
OPAQUE = Effect(operation=Operation.OPAQUE, venue="polymarket")


@pytest.mark.parametrize(
    ("request_", "effect"),
    [
        (call("GET", "/data/orders"), REQUEST),
        (call("GET", "/data/order/0x" + "a" * 64), REQUEST),
        (call("GET", "/auth/api-keys"), REQUEST),
        (call("POST", "/orders-scoring", ["0x1"]), REQUEST),
        (call("POST", "/v1/heartbeats", {"heartbeat_id": "1"}), REQUEST),
        (call("DELETE", "/order", {"orderID": "0x1"}), CANCEL),
        (call("DELETE", "/orders", ["0x1", "0x2"]), CANCEL),
        (call("DELETE", "/cancel-all"), CANCEL),
        (call("DELETE", "/cancel-market-orders", {"market": "1", "asset_id": "2"}), CANCEL),
        (call("GET", "/data/Orders"), OPAQUE),
        (call("GET", "/data/order/0x1"), OPAQUE),
        (call("POST", "/auth/api-key"), OPAQUE),
        (call("DELETE", "/auth/api-key"), OPAQUE),
        (call("POST", "/auth/readonly-api-key"), OPAQUE),
        (call("DELETE", "/order", {"orderID": "0x1", "hidden": "1"}), OPAQUE),
        (call("DELETE", "/orders", [1]), OPAQUE),
        (call("DELETE", "/orders", {"a": 1}), OPAQUE),
        (call("POST", "/rfq/request", {"a": "1"}), OPAQUE),
        (call("PUT", "/order", POSTED), OPAQUE),
        (call("POST", "/order", posted(hidden=1)), OPAQUE),
        (call("POST", "/order", posted({"hidden": 1})), OPAQUE),
        (call("POST", "/order", {"order": []}), OPAQUE),
    ],
)
def test_operation_of_each_endpoint(request_: Payload, effect: Effect) -> None:
    """Each known endpoint states its operation; unknown paths and names are OPAQUE."""
    assert parse(request_).effects == (effect,)


@pytest.mark.parametrize(
    ("request_", "field", "problem"),
    [
        (call("POST", "/order", posted(owner="another")), "owner", "the API key that signs"),
        (call("POST", "/order", posted({"side": "buy"})), "order.side", "BUY, SELL"),
        (call("POST", "/order", posted({"side": 0})), "order.side", "must be a string"),
        (call("POST", "/order", posted({"makerAmount": "0"})), "order.makerAmount", "positive whole number"),
        (call("POST", "/order", posted({"makerAmount": 1})), "order.makerAmount", "must be a string"),
        (call("POST", "/order", posted({"takerAmount": "1.5"})), "order.takerAmount", "positive whole number"),
        (call("POST", "/order", posted(orderType="gtc")), "orderType", "must be one of"),
        (call("POST", "/orders", [POSTED, posted({"side": 0})]), "body.1.order.side", "must be a string"),
        (call("POST", "/orders", []), "body", "not empty"),
        (call("POST", "/order", [POSTED]), "body", "JSON object"),
        (call("POST", "/order", '{"a":"it\'s"}'), "body", "has a '"),
        (call("POST", "/order", '{"owner":"a","owner":"b"}'), "body", "stands twice"),
        (call("GET", "/data/orders?market=1"), "path", "without escapes"),
        (call("GET", "/data/orders", "{}"), "body", "has no body"),
        (payload(PayloadKind.POLYMARKET_REST, "GET", "/data/orders", "", KEY, "0x1"), "address", "40 hex digits"),
        (payload(PayloadKind.POLYMARKET_REST, "GET", "/data/orders", "", "k\n", ADDRESS), "account", "1 to 128"),
    ],
)
def test_refused(request_: Payload, field: str, problem: str) -> None:
    """What has two readings or another type is refused by name."""
    found, reason = refusal(request_)
    assert found == field
    assert problem in reason


def test_order_without_a_side_is_refused() -> None:
    """Without a side nobody knows which amount is the price."""
    signed = {name: value for name, value in SIGNED.items() if name != "side"}
    assert refusal(call("POST", "/order", {**POSTED, "order": signed}))[0] == "order.side"


def test_unfit_signature_is_broken() -> None:
    """A signature of another length never leaves."""
    with pytest.raises(Broken):
        assemble(call("GET", "/data/orders"), bytes(64))
