"""OKX v5: endpoints, facts, the logon."""

import json
from typing import Any

import pytest

from keyvault.core.errors import Broken
from keyvault.core.intent import Bound, Completeness, Effect, Operation, Output, Payload, PayloadKind
from keyvault.core.keys import KeyAlgorithm
from tests.intents.venues import AT, UNIT, assemble, b64, compact, parse, payload, refusal, sha256, signer

KEY = "985d5b66-57ce-40fb-b714-afc0b9787083"
SECRET = b"chNOOS4KvNXR_Xq4k4c9qsfoKWvnDecLATCRlcBwyKDYnWgO"
"""Secret of a published test vector."""
ORDER = {
    "instId": "BTC-USDT-SWAP",
    "tdMode": "cross",
    "side": "buy",
    "ordType": "limit",
    "sz": "2",
    "px": "25000.1",
    "clOrdId": "desk1",
}
PAIR = {"instId": "BTC-USDT", "tdMode": "cash", "ordType": "market", "px": ...}
AT_SPOT = {"symbol": "BTC-USDT", "price": None, "time_in_force": None, "via": "cash"}
LOGON = payload(PayloadKind.OKX_WS_LOGON, KEY)


def post(body: object, path: str = "trade/order") -> Payload:
    """Return a POST."""
    text = body if isinstance(body, str) else compact(body)
    return payload(PayloadKind.OKX_REST, "POST", f"/api/v5/{path}", "", text, KEY)


def get(path: str, query: str = "") -> Payload:
    """Return a GET."""
    return payload(PayloadKind.OKX_REST, "GET", f"/api/v5/{path}", query, "", KEY)


def order(**changes: Any) -> Effect:  # noqa: ANN401 - any fact
    """Return the effect of ORDER with some facts changed."""
    facts: dict[str, Any] = {
        "operation": Operation.ORDER,
        "venue": "okx",
        "symbol": "BTC-USDT-SWAP",
        "side": "BUY",
        "quantity": 2 * UNIT,
        "price": 25_000 * UNIT + UNIT // 10,
        "time_in_force": "GTC",
        "via": "cross",
    }
    return Effect(**{**facts, **changes})


def test_published_vector() -> None:
    """A published signature of a balance request comes out."""
    request = get("account/balance")
    then = signer(at=1_607_418_537_715)
    intent = parse(request, then)
    assert intent.signing_input == b"2020-12-08T09:08:57.715ZGET/api/v5/account/balance"
    value = sha256(intent.signing_input, SECRET)
    assert b64(value) == "PJ61e1nb2F2Qd7D8SPiaIcx2gjdELc+o0ygzre9z33k="
    assert assemble(request, value, then) == Output(
        path="/api/v5/account/balance",
        headers=(
            ("OK-ACCESS-KEY", KEY),
            ("OK-ACCESS-SIGN", b64(value)),
            ("OK-ACCESS-TIMESTAMP", "2020-12-08T09:08:57.715Z"),
        ),
    )


def test_order_states_everything() -> None:
    """An order states its facts; method, path, query and body are bound, for 30 s; no id is a slot."""
    request = post(ORDER)
    intent = parse(request)
    assert intent.effects == (order(),)
    assert intent.completeness is Completeness.FULL
    assert intent.algorithms == {KeyAlgorithm.HMAC_SHA256}
    assert intent.signing_input == b"2023-11-14T22:13:20.123ZPOST/api/v5/trade/order" + request.parts[3]
    assert intent.binds == {Bound.METHOD, Bound.PATH, Bound.QUERY, Bound.BODY, Bound.EXPIRY}
    assert (intent.not_before, intent.expires_at) == (AT - 30_000, AT + 30_000)
    assert (intent.issued_at, intent.stamped, intent.slot) == (None, True, None)
    output = assemble(request, bytes(32))
    assert (output.path, output.body) == ("/api/v5/trade/order", compact(ORDER))
    assert output.headers[-1] == ("Content-Type", "application/json")


def test_query_is_signed_behind_a_question_mark() -> None:
    """A query stands in the signed text as in the URL, and is returned apart from the path."""
    request = get("account/balance", "ccy=BTC")
    assert parse(request).signing_input.endswith(b"GET/api/v5/account/balance?ccy=BTC")
    assert parse(request).effects == (Effect(operation=Operation.REQUEST, venue="okx"),)
    output = assemble(request, bytes(32))
    assert (output.path, output.query) == ("/api/v5/account/balance", "ccy=BTC")


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"ordType": "post_only"}, {"time_in_force": "POST_ONLY"}),
        ({"ordType": "fok"}, {"time_in_force": "FOK"}),
        ({"ordType": "ioc"}, {"time_in_force": "IOC"}),
        ({"ordType": "optimal_limit_ioc", "px": ...}, {"price": None, "time_in_force": "IOC"}),
        ({"ordType": "market", "px": ...}, {"price": None, "time_in_force": None}),
        ({"pxVol": "0.5"}, {"price": None}),
        (PAIR | {"tgtCcy": "base_ccy"}, AT_SPOT),
        (PAIR | {"tgtCcy": "quote_ccy"}, AT_SPOT | {"quantity": None, "quote_quantity": 2 * UNIT}),
        (PAIR, AT_SPOT | {"quantity": None}),
        ({"tdMode": "isolated"}, {"via": "isolated"}),
        ({"ccy": "USDT"}, {"via": "cross USDT"}),
        ({"posSide": "short"}, {"operation": Operation.REDUCE}),
        ({"reduceOnly": True, "posSide": "short"}, {"operation": Operation.REDUCE}),
        ({"posSide": "long", "side": "sell"}, {"operation": Operation.REDUCE, "side": "SELL"}),
        ({"reduceOnly": True}, {}),
        ({"reduceOnly": True, "posSide": "net"}, {}),
        ({"reduceOnly": True, "posSide": "long"}, {}),
        ({"reduceOnly": True, "posSide": "short", "side": "sell"}, {"side": "SELL"}),
        ({"posSide": "short", "side": ...}, {"side": None}),
        ({"posSide": "short", "tdMode": "cash"}, {"via": "cash"}),
        ({"posSide": "short", "tdMode": ...}, {"via": None}),
        ({"posSide": "short", "instId": "BTC-USD-240628-60000-C"}, {"symbol": "BTC-USD-240628-60000-C"}),
    ],
)
def test_facts_of_orders(changes: dict[str, Any], facts: dict[str, Any]) -> None:
    """Size in its unit where that is known, price where it is one, and REDUCE only what closes in each mode."""
    body = {name: value for name, value in {**ORDER, **changes}.items() if value is not ...}
    assert parse(post(body)).effects == (order(**facts),)


@pytest.mark.parametrize("mode", ["cross", "isolated", "spot_isolated"])
def test_order_that_borrows_is_a_setting_besides(mode: str) -> None:
    """A pair in a mode of margin takes a loan: SETUP beside the ORDER, whatever it says of reducing."""
    body = {
        name: value for name, value in {**ORDER, **PAIR, "tdMode": mode, "reduceOnly": True}.items() if value is not ...
    }
    setup = Effect(operation=Operation.SETUP, venue="okx", symbol="BTC-USDT")
    assert parse(post(body | {"posSide": "short"})).effects == (
        order(**AT_SPOT | {"via": mode, "quantity": None}),
        setup,
    )


def test_batch_states_all_orders() -> None:
    """Each order of a batch is an effect; an order endpoint takes no list."""
    intent = parse(post([ORDER, ORDER | {"side": "sell", "sz": "3"}], "trade/batch-orders"))
    assert intent.effects == (order(), order(side="SELL", quantity=3 * UNIT))
    assert [e.operation for e in parse(post([ORDER])).effects] == [Operation.OPAQUE]


OPERATIONS: list[tuple[str, object, Effect, Completeness]] = [
    (
        "trade/amend-order",
        {"instId": "A-B", "ordId": "1", "newSz": "1", "newPx": "2"},
        Effect(operation=Operation.ORDER, venue="okx", symbol="A-B", quantity=UNIT, price=2 * UNIT),
        Completeness.PARTIAL,
    ),
    (
        "trade/cancel-order",
        {"instId": "A-B", "ordId": "1"},
        Effect(operation=Operation.CANCEL, venue="okx", symbol="A-B"),
        Completeness.FULL,
    ),
    ("trade/cancel-all-after", {"timeOut": "0"}, Effect(operation=Operation.CANCEL, venue="okx"), Completeness.FULL),
    (
        "trade/close-position",
        {"instId": "A-B-SWAP", "mgnMode": "cross"},
        Effect(operation=Operation.REDUCE, venue="okx", symbol="A-B-SWAP"),
        Completeness.PARTIAL,
    ),
    (
        "account/set-leverage",
        {"instId": "A-B", "lever": "5", "mgnMode": "cross"},
        Effect(operation=Operation.SETUP, venue="okx", symbol="A-B"),
        Completeness.FULL,
    ),
    (
        "asset/withdrawal",
        {"ccy": "USDT", "amt": "1.5", "dest": "4", "toAddr": "0xAb", "chain": "USDT-ERC20"},
        Effect(
            operation=Operation.WITHDRAW,
            venue="okx",
            symbol="USDT",
            asset="USDT",
            amount=UNIT * 3 // 2,
            decimals=18,
            destination="0xAb",
            network="okx:USDT-ERC20",
        ),
        Completeness.FULL,
    ),
    (
        "asset/withdrawal",
        {"ccy": "USDT", "amt": "1", "dest": "3", "toAddr": "a@b.c", "toAddrType": "1"},
        Effect(
            operation=Operation.WITHDRAW,
            venue="okx",
            symbol="USDT",
            asset="USDT",
            amount=UNIT,
            decimals=18,
            destination="internal:login:a@b.c",
        ),
        Completeness.PARTIAL,
    ),
    (
        "asset/withdrawal",
        {"ccy": "USDT", "amt": "1", "dest": "3", "toAddr": "12345678", "toAddrType": "2"},
        Effect(
            operation=Operation.WITHDRAW,
            venue="okx",
            symbol="USDT",
            asset="USDT",
            amount=UNIT,
            decimals=18,
            destination="internal:uid:12345678",
        ),
        Completeness.PARTIAL,
    ),
    (
        "asset/transfer",
        {"ccy": "USDT", "amt": "1", "from": "6", "to": "18"},
        Effect(
            operation=Operation.WITHDRAW,
            venue="okx",
            symbol="USDT",
            asset="USDT",
            amount=UNIT,
            decimals=18,
            destination="account:18",
            source="account:6",
        ),
        Completeness.FULL,
    ),
    (
        "asset/transfer",
        {"ccy": "USDT", "amt": "1", "from": "6", "to": "18", "type": "1", "subAcct": "x"},
        Effect(
            operation=Operation.WITHDRAW,
            venue="okx",
            symbol="USDT",
            asset="USDT",
            amount=UNIT,
            decimals=18,
            source="account:6",
        ),
        Completeness.PARTIAL,
    ),
    (
        "asset/subaccount/transfer",
        {"ccy": "USDT", "amt": "1", "from": "6", "to": "6", "fromSubAccount": "a", "toSubAccount": "b"},
        Effect(
            operation=Operation.WITHDRAW,
            venue="okx",
            symbol="USDT",
            asset="USDT",
            amount=UNIT,
            decimals=18,
            destination="subaccount:b:6",
            source="subaccount:a:6",
        ),
        Completeness.FULL,
    ),
]


@pytest.mark.parametrize(("path", "body", "effect", "completeness"), OPERATIONS)
def test_operation_of_each_endpoint(path: str, body: object, effect: Effect, completeness: Completeness) -> None:
    """Each known endpoint states its whole effect."""
    intent = parse(post(body, path))
    assert (intent.effects, intent.completeness) == ((effect,), completeness)


@pytest.mark.parametrize(
    "request_",
    [
        post(ORDER | {"attachAlgoOrds": [{"slOrdPx": "-1"}]}),
        post(ORDER | {"slOrdPx": "-1"}),
        post(ORDER | {"Side": "sell"}),
        post(ORDER, "Trade/order"),
        post(ORDER, "trade/order-algo"),
        post({}, "asset/convert/trade"),
        post({"ccy": "A", "amt": "1", "dest": "3", "toAddr": "1", "areaCode": "44"}, "asset/withdrawal"),
        post([{"instId": "A-B", "hidden": "1"}], "trade/cancel-batch-orders"),
        post([{"instId": "A-B"}, {"instId": "A-B", "hidden": "1"}], "trade/cancel-batch-orders"),
        get("trade/orders-pendinG"),
        get("trade/orders-pending", "hidden=1"),
        payload(PayloadKind.OKX_REST, "DELETE", "/api/v5/trade/order", "", "{}", KEY),
        payload(PayloadKind.OKX_REST, "GET", "/users/self/verify", "", "", KEY),
    ],
)
def test_unknown_is_opaque(request_: Payload) -> None:
    """An unknown path, another case of it, an unknown name in any item: OPAQUE."""
    intent = parse(request_)
    assert intent.effects == (Effect(operation=Operation.OPAQUE, venue="okx"),)
    assert intent.completeness is Completeness.OPAQUE


INSIDE = {"ccy": "USDT", "amt": "1", "dest": "3", "toAddr": "12345678"}


def test_logon_is_a_session() -> None:
    """A logon is a SESSION; its message lacks the passphrase, which the caller adds."""
    intent = parse(LOGON)
    assert intent.effects == (Effect(operation=Operation.SESSION, venue="okx"),)
    assert intent.signing_input == b"1700000000GET/users/self/verify"
    assert (intent.stamped, intent.not_before, intent.expires_at) == (True, AT - 30_000, AT + 30_000)
    assert intent.binds == {Bound.EXPIRY}
    value = sha256(intent.signing_input)
    argument = {"apiKey": KEY, "timestamp": "1700000000", "sign": b64(value)}
    assert json.loads(assemble(LOGON, value).message) == {"op": "login", "args": [argument]}


@pytest.mark.parametrize(
    ("request_", "field", "problem"),
    [
        (post(INSIDE, "asset/withdrawal"), "toAddrType", "must be 1"),
        (post(INSIDE | {"toAddrType": "3"}, "asset/withdrawal"), "toAddrType", "one of 1, 2"),
        (post(INSIDE | {"dest": "4", "toAddrType": "2"}, "asset/withdrawal"), "toAddrType", "which dest 3 has"),
        (post(INSIDE | {"dest": "4", "toAddr": "internal:uid:1"}, "asset/withdrawal"), "toAddr", "no address"),
        (post(ORDER | {"ordType": "market"}), "px", "no limit price"),
        (post(ORDER | {"tgtCcy": "base_ccy"}), "tgtCcy", "at spot only"),
        (post(ORDER | {"ordType": "Limit"}), "ordType", "must be one of"),
        (post(ORDER | {"side": "BUY"}), "side", "buy, sell"),
        (post(ORDER | {"sz": "1e3"}), "sz", "no exponent"),
        (post(ORDER | {"sz": " 1"}), "sz", "has a space"),
        (post(ORDER | {"sz": ["1"]}), "sz", "must be a string"),
        (post([ORDER, ORDER | {"sz": "x"}], "trade/batch-orders"), "body.1.sz", "must be digits"),
        (post([ORDER] * 65, "trade/batch-orders"), "body", "more than 64"),
        (post([], "trade/batch-orders"), "body", "not empty"),
        (post([1], "trade/batch-orders"), "body", "objects only"),
        (post("", "account/activate-option"), "body", "has the body {}"),
        (post('{"sz":"1","sz":"2"}'), "body", "stands twice"),
        (post("[" * 500), "body", "nested deeper"),
        (post("[" * 2000), "body", "more than 1024"),
        (post('{"ordId":' + "9" * 100 + "}"), "body", "256 bits"),
        (get("account/balance", "ccy=A&ccy=B"), "ccy", "stands twice"),
        (get("account/balance?ccy=A"), "path", "without escapes"),
        (get("account//balance"), "path", "without escapes"),
        (get("account/./balance"), "path", "without escapes"),
        (get("account/balance/"), "path", "without escapes"),
        (payload(PayloadKind.OKX_REST, "POST", "/api/v5/trade/order", "a=1", "{}", KEY), "query", "in the body"),
        (payload(PayloadKind.OKX_REST, "GET", "/api/v5/trade/order", "", "{}", KEY), "body", "has no body"),
        (payload(PayloadKind.OKX_REST, "PATCH", "/api/v5/trade/order", "", "{}", KEY), "method", "upper case"),
        (payload(PayloadKind.OKX_REST, "GET", "/api/v5/trade/order", "", "", "k\r\nX: y"), "account", "1 to 128"),
        (payload(PayloadKind.OKX_REST, "GET", "/" + "a" * 256, "", "", KEY), "path", "more than 256"),
    ],
)
def test_refused(request_: Payload, field: str, problem: str) -> None:
    """What has two readings or another type is refused by name."""
    found, reason = refusal(request_)
    assert found == field
    assert problem in reason


def test_unfit_signature_is_broken() -> None:
    """A signature of another length never leaves."""
    for request in (post(ORDER), LOGON):
        with pytest.raises(Broken):
            assemble(request, bytes(64))
