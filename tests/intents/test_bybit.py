"""Bybit v5: the worst meaning of unbound requests, and facts of orders."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core.errors import Broken, Malformed
from keyvault.core.intent import Bound, Completeness, Effect, Operation, Output, Payload, PayloadKind
from keyvault.core.keys import KeyAlgorithm
from keyvault.intents.bybit_parameters import MEANINGS, PARAMETERS
from tests.intents.venues import AT, UNIT, assemble, compact, parse, payload, refusal, sha256

KEY = "A1b2C3d4E5f6G7h8J9"
ORDER = {
    "category": "linear",
    "symbol": "BTCUSDT",
    "side": "Buy",
    "orderType": "Limit",
    "qty": "0.5",
    "price": "25000.1",
    "timeInForce": "PostOnly",
    "orderLinkId": "desk-1",
}


def post(body: object, path: str = "/v5/order/create", key: str = KEY) -> Payload:
    """Return a POST."""
    text = body if isinstance(body, str) else compact(body)
    return payload(PayloadKind.BYBIT_REST, "POST", path, "", text, key)


def get(query: str, path: str = "/v5/order/realtime") -> Payload:
    """Return a GET."""
    return payload(PayloadKind.BYBIT_REST, "GET", path, query, "", KEY)


def order(**changes: Any) -> Effect:  # noqa: ANN401 - any fact
    """Return the effect of ORDER with some facts changed."""
    facts: dict[str, Any] = {
        "operation": Operation.ORDER,
        "venue": "bybit",
        "symbol": "BTCUSDT",
        "side": "BUY",
        "quantity": UNIT // 2,
        "price": 25_000 * UNIT + UNIT // 10,
        "time_in_force": "POST_ONLY",
        "via": "linear",
    }
    return Effect(**{**facts, **changes})


def test_order_states_everything() -> None:
    """An order states its facts, is stamped, binds key and window, and fills the slot of its client's id."""
    request = post(ORDER)
    intent = parse(request)
    assert intent.effects == (order(),)
    assert intent.completeness is Completeness.FULL
    assert intent.algorithms == {KeyAlgorithm.HMAC_SHA256}
    assert intent.signing_input == f"{AT}{KEY}5000".encode() + request.parts[3]
    assert intent.binds == {Bound.QUERY, Bound.BODY, Bound.ACCOUNT, Bound.EXPIRY}
    assert (intent.not_before, intent.expires_at) == (AT - 1000, AT + 5000)
    assert (intent.issued_at, intent.stamped) == (None, True)
    assert intent.slot == f"bybit:{KEY}:linear:BTCUSDT:desk-1"


@pytest.mark.parametrize(
    "changes",
    [{"orderLinkId": ...}, {"orderId": "7"}, {"category": ...}, {"side": ...}, {"orderLinkId": "a:b"}],
)
def test_only_a_new_order_with_an_id_has_a_slot(changes: dict[str, Any]) -> None:
    """What could amend another order, or has no id that the venue takes once, fills no slot."""
    body = {name: value for name, value in {**ORDER, **changes}.items() if value is not ...}
    assert parse(post(body)).slot is None


def test_output_has_headers() -> None:
    """Path, parameters and all headers are returned as they are to be sent."""
    value = sha256(b"x")
    headers = (
        ("X-BAPI-API-KEY", KEY),
        ("X-BAPI-TIMESTAMP", str(AT)),
        ("X-BAPI-RECV-WINDOW", "5000"),
        ("X-BAPI-SIGN", value.hex()),
        ("X-BAPI-SIGN-TYPE", "2"),
    )
    assert assemble(get("symbol=A"), value) == Output(path="/v5/order/realtime", query="symbol=A", headers=headers)
    assert assemble(post(ORDER), value) == Output(
        path="/v5/order/create", body=compact(ORDER), headers=(*headers, ("Content-Type", "application/json"))
    )


def test_method_and_path_change_nothing() -> None:
    """An order sent to the pre-check, and a read that fits cancel-all, are judged by their parameters alone."""
    assert parse(post(ORDER, "/v5/order/pre-check")) == parse(post(ORDER))
    reading = parse(get("category=linear&symbol=BTCUSDT"))
    assert reading.effects == (Effect(operation=Operation.CANCEL, venue="bybit", symbol="BTCUSDT"),)
    body = parse(post({"category": "linear", "symbol": "BTCUSDT"}, "/v5/order/cancel-all"))
    assert body.effects == reading.effects


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"orderType": "Market", "price": ...}, {"price": None}),
        (
            {"category": "spot", "orderType": "Market", "price": ...},
            {"price": None, "quantity": None, "quote_quantity": UNIT // 2, "via": "spot"},
        ),
        (
            {"category": "spot", "orderType": "Market", "price": ..., "marketUnit": "baseCoin"},
            {"price": None, "via": "spot"},
        ),
        (
            {"category": "spot", "orderType": "Market", "price": ..., "side": "Sell"},
            {"price": None, "side": "SELL", "via": "spot"},
        ),
        ({"orderIv": "0.6"}, {"price": None}),
        ({"bboSideType": "Queue"}, {"price": None}),
        ({"qty": 2}, {"quantity": 2 * UNIT}),
        ({"side": ...}, {"side": None}),
        ({"triggerPrice": "1"}, {"via": "linear > trigger 1"}),
        ({"triggerPrice": "1", "category": ...}, {"via": "trigger 1"}),
        ({"triggerPrice": 1, "triggerDirection": 2}, {"via": "linear > trigger 1 triggerDirection 2"}),
        ({"triggerBy": "LastPrice"}, {"via": "linear > trigger triggerBy LastPrice"}),
        ({"category": "spot", "orderFilter": "tpslOrder"}, {"via": "spot > trigger"}),
        ({"category": "spot", "orderFilter": "Order"}, {"via": "spot"}),
    ],
)
def test_facts_of_orders(changes: dict[str, Any], facts: dict[str, Any]) -> None:
    """Quantity in its coin, price where it is a limit, and the category that says what the symbol is."""
    body = {name: value for name, value in {**ORDER, **changes}.items() if value is not ...}
    assert parse(post(body)).effects == (order(**facts),)


def test_batch_states_all_items() -> None:
    """Each item of a batch is an effect; a batch has no slot."""
    items = [
        {k: v for k, v in ORDER.items() if k != "category"},
        {"symbol": "X", "orderId": "7"},
        {"symbol": "Y", "orderId": "8", "qty": "1"},
    ]
    intent = parse(post({"category": "linear", "request": items}, "/v5/order/create-batch"))
    assert intent.effects == (
        order(),
        Effect(operation=Operation.CANCEL, venue="bybit", symbol="X"),
        Effect(operation=Operation.ORDER, venue="bybit", symbol="Y", quantity=UNIT, via="linear"),
    )
    assert (intent.completeness, intent.slot) == (Completeness.PARTIAL, None)


@pytest.mark.parametrize(
    "body",
    [
        ORDER | {"takeProfit": "1"},
        ORDER | {"stopLoss": "1"},
        ORDER | {"Side": "Sell"},
        ORDER | {"coin": "BTC"},
        {"fromUid": "1", "toUid": "2", "list": []},
        {"permissions": {"Wallet": ["AccountTransfer"]}, "readOnly": 0},
        {"quoteTxId": "1"},
        {"category": "linear", "request": [{"symbol": "X", "hidden": "1"}]},
        {"category": "linear", "request": [{"coin": "X", "amount": "1"}]},
        {"category": "linear", "request": [{"symbol": "X", "category": "spot"}]},
        {"category": "linear", "request": [{"symbol": "X"}], "symbol": "Y"},
    ],
)
def test_unknown_is_opaque(body: dict[str, Any]) -> None:
    """What is not known, in any item, makes all of it OPAQUE."""
    intent = parse(post(body))
    assert intent.effects == (Effect(operation=Operation.OPAQUE, venue="bybit"),)
    assert intent.completeness is Completeness.OPAQUE


@pytest.mark.parametrize(
    ("body", "facts"),
    [
        (
            {"coin": "USDT", "chain": "ETH", "address": "0xAb", "amount": "1.5", "timestamp": 1, "accountType": "FUND"},
            {"destination": "0xAb", "network": "bybit:ETH"},
        ),
        (
            {"coin": "USDT", "chain": "Some Chain/2", "address": "0xAb", "amount": "1.5"},
            {"destination": "0xAb", "network": "bybit:Some%20Chain%2F2"},
        ),
        ({"coin": "USDT", "address": "rX", "tag": "7", "amount": "1.5"}, {"destination": "rX?tag=7"}),
        (
            {"transferId": "u", "coin": "USDT", "amount": "1.5", "fromAccountType": "UNIFIED", "toAccountType": "FUND"},
            {"destination": "account:FUND"},
        ),
        (
            {
                "transferId": "u",
                "coin": "USDT",
                "amount": "1.5",
                "fromMemberId": 1,
                "toMemberId": 2,
                "fromAccountType": "UNIFIED",
                "toAccountType": "FUND",
            },
            {"destination": "member:2:FUND", "source": "1"},
        ),
        ({"coin": "USDT", "amount": "1.5"}, {}),
        ({"coin": "USDT", "address": "123", "forceChain": 2, "amount": "1.5"}, {"destination": "uid:123"}),
        ({"coin": "USDT", "chain": "E", "address": "1", "forceChain": 2, "amount": "1.5"}, {"destination": "uid:1"}),
        (
            {"coin": "USDT", "chain": "ETH", "address": "123", "forceChain": 1, "amount": "1.5"},
            {"destination": "123", "network": "bybit:ETH"},
        ),
    ],
)
def test_withdrawals_state_everything(body: dict[str, Any], facts: dict[str, Any]) -> None:
    """A withdrawal or transfer states coin, amount, network and whom it reaches; not FULL if the venue chooses one."""
    expected = {"symbol": "USDT", "asset": "USDT", "amount": UNIT * 3 // 2, "decimals": 18, **facts}
    intent = parse(post(body, "/v5/asset/withdraw/create"))
    assert intent.effects == (Effect(operation=Operation.WITHDRAW, venue="bybit", **expected),)
    full = "toAccountType" in body or "chain" in body or body.get("forceChain") == 2
    assert intent.completeness is (Completeness.FULL if full else Completeness.PARTIAL)


def test_settings_are_effects_beside_the_rest() -> None:
    """set-leverage fits cancel-all, too: both are stated."""
    body = {"category": "linear", "symbol": "BTCUSDT", "buyLeverage": "50", "sellLeverage": "50"}
    assert [e.operation for e in parse(post(body)).effects] == [Operation.CANCEL, Operation.SETUP]


@pytest.mark.parametrize(
    ("request_", "field", "problem"),
    [
        (post(ORDER | {"recv_window": 9}), "recv_window", "is the service's"),
        (post(ORDER | {"api_key": "x"}), "api_key", "is the service's"),
        (post(ORDER | {"sign": "x"}), "sign", "is the service's"),
        (get(f"timestamp={AT}&symbol=A"), "timestamp", "is the service's"),
        (post(ORDER, key="A" * 19), "account", "18 letters"),
        (post(ORDER, key=KEY[:-1]), "account", "18 letters"),
        (post(ORDER, key="A" * 17 + "="), "account", "18 letters"),
        (post('{"qty":"1","qty":"2"}'), "body", "stands twice"),
        (post('{"qty":"1","q\\u0074y":"2"}'), "body", "stands twice"),
        (post('{"qty":0.1}'), "body", "not an integer"),
        (post("[]"), "body", "JSON object"),
        (post("qty=1"), "body", "not JSON"),
        (post(ORDER | {"price": "+5"}), "price", "no sign"),
        (post(ORDER | {"price": 5.5e300}), "body", "not an integer"),
        (post(ORDER | {"orderType": "Market"}), "price", "no limit price"),
        (post(ORDER | {"side": "BUY"}), "side", "Buy, Sell"),
        (post(ORDER | {"side": True}), "side", "must be a string"),
        (post(ORDER | {"qty": ""}), "qty", "is empty"),
        (post(ORDER | {"qty": None}), "qty", "must be a string"),
        (post(ORDER | {"qty": -1}), "qty", "from 0"),
        (post(ORDER | {"qty": True}), "qty", "must be a string"),
        (post(ORDER | {"marketUnit": "quoteCoin"}), "marketUnit", "at spot only"),
        (post(ORDER | {"symbol": "BTCUSDT_BTC/USDT"}), "category", "leave it out"),
        (post(ORDER | {"reduceOnly": 1}), "reduceOnly", "must be a string"),
        (post({"category": "spot", "request": []}), "request", "not empty"),
        (post({"category": "spot", "request": [1]}), "request", "objects only"),
        (post({"category": "spot", "request": [{"symbol": "A"}] * 65}), "request", "more than 64"),
        (post({"category": "spot", "request": [{"symbol": "A", "side": "x"}]}), "request.0.side", "Buy, Sell"),
        (post({"coin": "A", "address": "x?1", "amount": "1"}), "address", "has a ?"),
        (post({"coin": "A", "address": "x", "chain": "/" * 50, "amount": "1"}), "chain", "is longer than 128"),
        (post({"coin": "A", "address": "x", "chain": "", "amount": "1"}), "chain", "is empty"),
        (post({"coin": "A", "address": "x", "toAccountType": "FUND"}), "address", "another destination"),
        (post({"coin": "A", "address": "uid:1", "amount": "1"}), "address", "begins as what is no address"),
        (post({"coin": "A", "address": "0xAb", "forceChain": 2}), "address", "number of a user"),
        (post({"coin": "A", "address": "1", "tag": "2", "forceChain": 2}), "address", "without a tag"),
        (post({"coin": "A", "address": "1", "forceChain": 3}), "forceChain", "0, 1 or 2"),
        (payload(PayloadKind.BYBIT_REST, "POST", "/v5/a", "a=1", "", KEY), "query", "in the body"),
        (payload(PayloadKind.BYBIT_REST, "GET", "/v5/a", "a=1", "{}", KEY), "body", "has no body"),
        (payload(PayloadKind.BYBIT_REST, "get", "/v5/a", "a=1", "", KEY), "method", "upper case"),
        (payload(PayloadKind.BYBIT_REST, "GET", "/v5/a?b=1", "a=1", "", KEY), "path", "without escapes"),
        (payload(PayloadKind.BYBIT_REST, "GET", "/v5/../a", "a=1", "", KEY), "path", "without escapes"),
        (payload(PayloadKind.BYBIT_REST, "GET", "/v5/%61", "a=1", "", KEY), "path", "without escapes"),
        (payload(PayloadKind.BYBIT_REST, "GET", "//v5", "a=1", "", KEY), "path", "without escapes"),
    ],
)
def test_refused(request_: Payload, field: str, problem: str) -> None:
    """What overrules the stamp, has two readings or another type is refused by name."""
    found, reason = refusal(request_)
    assert found == field
    assert problem in reason


def test_longer_key_cannot_widen_the_window() -> None:
    """A key that swallows the first digit of another recv_window would sign a window of 15000 ms: it is refused."""
    signed = f"{AT}{KEY}15000".encode()
    with pytest.raises(Malformed):
        parse(payload(PayloadKind.BYBIT_REST, "GET", "/v5/a", "symbol=A", "", KEY + "1"))
    assert not parse(get("symbol=A")).signing_input.startswith(signed)


ENDPOINTS = {
    # bybit-exchange.github.io/docs/v5: what each request needs at least.
    "GET order/realtime": (Operation.REQUEST, "openOnly"),
    "GET account/wallet-balance": (Operation.REQUEST, "accountType"),
    "GET account/transaction-log": (Operation.REQUEST, "currency"),
    "GET account/info, and whatever needs nothing": (Operation.SETUP, ""),
    "POST order/cancel": (Operation.CANCEL, "category symbol orderLinkId"),
    "POST order/cancel-all": (Operation.CANCEL, "category"),
    "POST order/cancel-all, by coin": (Operation.CANCEL, "settleCoin"),
    "POST order/disconnected-cancel-all": (Operation.CANCEL, "timeWindow"),
    "POST spread/order/cancel": (Operation.CANCEL, "orderLinkId"),
    "POST asset/withdraw/cancel": (Operation.CANCEL, "id"),
    "POST order/create": (Operation.ORDER, "category symbol side orderType qty"),
    "POST order/create-batch": (Operation.ORDER, "category request"),
    "POST order/amend": (Operation.ORDER, "category symbol orderId price"),
    "POST spread/order/create": (Operation.ORDER, "symbol side orderType qty price orderLinkId timeInForce"),
    "POST position/set-leverage": (Operation.SETUP, "category symbol buyLeverage sellLeverage"),
    "POST position/switch-isolated": (Operation.SETUP, "category symbol tradeMode buyLeverage sellLeverage"),
    "POST position/switch-mode": (Operation.SETUP, "category symbol mode"),
    "POST position/set-risk-limit": (Operation.SETUP, "category symbol riskId"),
    "POST account/set-margin-mode": (Operation.SETUP, "setMarginMode"),
    "POST account/set-hedging-mode": (Operation.SETUP, "setHedgingMode"),
    "POST account/set-collateral-switch": (Operation.SETUP, "coin collateralSwitch"),
    "POST account/mmp-modify": (Operation.SETUP, "baseCoin window frozenPeriod qtyLimit deltaLimit"),
    "POST spot-margin-trade/switch-mode": (Operation.SETUP, "spotMarginMode"),
    "POST spot-margin-trade/set-leverage": (Operation.SETUP, "leverage"),
    "POST asset/withdraw/create": (Operation.WITHDRAW, "coin chain address amount timestamp accountType"),
    "POST asset/transfer/inter-transfer": (Operation.WITHDRAW, "transferId coin amount fromAccountType toAccountType"),
    "POST asset/transfer/universal-transfer": (Operation.WITHDRAW, "coin amount fromMemberId toMemberId toAccountType"),
    "POST account/borrow": (Operation.WITHDRAW, "coin amount"),
    "POST account/quick-repayment": (Operation.WITHDRAW, "coin"),
}


@pytest.mark.parametrize(("operation", "needed"), ENDPOINTS.values(), ids=ENDPOINTS.keys())
def test_operation_of_each_endpoint(operation: Operation, needed: str) -> None:
    """What an endpoint needs is judged as what the endpoint does, and what else fits it stands beside."""
    assert operation in MEANINGS.of(needed.split())


@given(st.sets(st.sampled_from([*PARAMETERS, "hidden"]), min_size=1), st.data())
def test_leaving_out_never_adds(names: set[str], data: st.DataObject) -> None:
    """A set without one of its names has no operation that is worse than what the whole set has."""
    severity = [Operation.REQUEST, Operation.CANCEL, Operation.ORDER, Operation.WITHDRAW, Operation.OPAQUE]
    fewer = MEANINGS.of(names - {data.draw(st.sampled_from(sorted(names)))})
    whole = MEANINGS.of(names)
    if whole == (Operation.OPAQUE,) or len(names) == 1:  # what says nothing is SETUP
        return
    assert Operation.SETUP in whole or Operation.SETUP not in fewer
    ranks = [max([0, *(severity.index(each) for each in found if each in severity)]) for found in (fewer, whole)]
    assert ranks[0] <= ranks[1]


def test_unfit_signature_is_broken() -> None:
    """A signature of another length never leaves."""
    with pytest.raises(Broken):
        assemble(post(ORDER), bytes(64))
