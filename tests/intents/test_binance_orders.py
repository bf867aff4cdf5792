"""Binance's orders: what each request states, for REST and WebSocket alike."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from keyvault.core.errors import Malformed
from keyvault.core.intent import Completeness, Effect, Operation
from tests.intents.building import request
from tests.intents.venues import UNIT, parse

BIG = 123456789012345678901234567890
ONE_AT_ONE = {"quantity": UNIT, "price": UNIT}


@pytest.mark.parametrize(
    ("parameters", "facts", "completeness"),
    [
        ("type=MARKET&quantity=0.5", {"quantity": UNIT // 2}, "FULL"),
        ("type=MARKET&quoteOrderQty=10", {"quote_quantity": 10 * UNIT}, "FULL"),
        (
            "type=LIMIT_MAKER&quantity=1&price=2",
            {"quantity": UNIT, "price": 2 * UNIT, "time_in_force": "POST_ONLY"},
            "FULL",
        ),
        ("type=STOP_LOSS&quantity=1&stopPrice=2", {"quantity": UNIT, "via": "trigger 2"}, "FULL"),
        (
            "type=STOP_LOSS_LIMIT&quantity=1&stopPrice=2&price=3",
            {"quantity": UNIT, "price": 3 * UNIT, "via": "trigger 2"},
            "FULL",
        ),
        (
            "type=TAKE_PROFIT_LIMIT&quantity=1&stopPrice=2&trailingDelta=100&price=3",
            {"quantity": UNIT, "price": 3 * UNIT, "via": "trigger 2 trailingDelta 100"},
            "FULL",
        ),
        ("type=STOP_LOSS&quantity=1", {"quantity": UNIT, "via": "trigger"}, "FULL"),
        (
            "type=TRAILING_STOP_MARKET&quantity=1&activationPrice=9&callbackRate=1&isIsolated=TRUE",
            {"quantity": UNIT, "via": "isolated > trigger activationPrice 9 callbackRate 1"},
            "PARTIAL",
        ),
        ("type=LIMIT&quantity=1&price=3&pegPriceType=MARKET_PEG", {"quantity": UNIT}, "FULL"),
        ("type=LIMIT&price=3", {"price": 3 * UNIT}, "PARTIAL"),
        ("quantity=1&price=3&stopPrice=2", {"quantity": UNIT, "via": "trigger 2"}, "PARTIAL"),
        (
            "type=LIMIT&quantity=1&price=3&timeInForce=GTX",
            {"quantity": UNIT, "price": 3 * UNIT, "time_in_force": "POST_ONLY"},
            "FULL",
        ),
        ("type=LIMIT&quantity=1&price=3&isIsolated=FALSE", {"quantity": UNIT, "price": 3 * UNIT}, "PARTIAL"),
        (
            "type=LIMIT&quantity=1&price=3&isIsolated=TRUE",
            {"quantity": UNIT, "price": 3 * UNIT, "via": "isolated"},
            "PARTIAL",
        ),
        ("type=LIMIT&quantity=1&price=3&reduceOnly=false", {"quantity": UNIT, "price": 3 * UNIT}, "PARTIAL"),
        ("type=LIMIT&quantity=1&priceMatch=OPPONENT", {"quantity": UNIT}, "PARTIAL"),
        (
            "quantity=1&aboveType=LIMIT_MAKER&abovePrice=9&belowType=STOP_LOSS",
            {"quantity": UNIT, "via": "trigger legs"},
            "PARTIAL",
        ),
        (f"type=LIMIT&quantity={BIG}&price=0.000000000000000001", {"quantity": BIG * UNIT, "price": 1}, "FULL"),
    ],
)
def test_facts_of_orders(parameters: str, facts: dict[str, Any], completeness: str) -> None:
    """Each type of order states what it binds; a price is stated only where it is a limit of all that is ordered."""
    intent = parse(request(f"symbol=BTCUSDT&side=SELL&{parameters}"))
    expected = Effect(operation=Operation.ORDER, venue="binance", symbol="BTCUSDT", side="SELL", **facts)
    assert intent.effects == (expected,)
    assert intent.completeness.value == completeness


@pytest.mark.parametrize("name", ["MARKET", "STOP_LOSS", "STOP_MARKET", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"])
def test_a_price_beside_a_type_without_one_is_refused(name: str) -> None:
    """It would be read as a limit, and the venue executes at any price."""
    with pytest.raises(Malformed) as refused:
        parse(request(f"symbol=BTCUSDT&side=SELL&quantity=1&price=3&type={name}"))
    assert f"stands beside type {name}, which has no limit price" in str(refused.value)


@pytest.mark.parametrize("name", ["STOP", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"])
def test_a_price_beside_a_type_with_one_is_the_limit(name: str) -> None:
    """Orders that wait for another price first have a limit, too."""
    intent = parse(request(f"symbol=BTCUSDT&side=SELL&quantity=1&price=3&stopPrice=2&type={name}"))
    assert [(each.price, each.via) for each in intent.effects] == [(3 * UNIT, "trigger 2")]


@pytest.mark.parametrize("more", ["", "&positionSide=LONG&timeInForce=GTE_GTC&workingType=MARK_PRICE&recvWindow=4000"])
@pytest.mark.parametrize("kind", ["STOP_MARKET", "TAKE_PROFIT_MARKET"])
def test_stop_that_closes_a_position_reduces(kind: str, more: str) -> None:
    """Only futures take an order without a size, to close a whole position: REDUCE, and never FULL."""
    intent = parse(request(f"symbol=BTCUSDT&side=SELL&type={kind}&closePosition=true&stopPrice=3{more}"))
    assert [(e.operation, e.side) for e in intent.effects] == [(Operation.REDUCE, "SELL")]
    assert intent.completeness is Completeness.PARTIAL


@pytest.mark.parametrize(
    "parameters",
    [
        "orderId=7&side=BUY&quantity=5000&price=900000&reduceOnly=true",
        "side=BUY&type=MARKET&quantity=5000&reduceOnly=true",
        "side=BUY&type=STOP_MARKET&stopPrice=3&closePosition=true&quantity=5000",
        "side=BUY&type=STOP_MARKET&stopPrice=3&closePosition=true&quoteOrderQty=5000",
        "side=BUY&type=STOP_MARKET&stopPrice=3&closePosition=true&orderId=7",
        "side=BUY&type=STOP_MARKET&stopPrice=3&closePosition=false",
        "side=BUY&type=STOP&stopPrice=3&price=3&closePosition=true",
        "side=BUY&stopPrice=3&closePosition=true",
    ],
)
def test_what_another_endpoint_takes_for_an_order_is_an_order(parameters: str) -> None:
    """The path is not signed: margin orders and amendments of futures ignore what says that they reduce."""
    effects = parse(request(f"symbol=BTCUSDT&{parameters}")).effects
    assert [(e.operation, e.side) for e in effects] == [(Operation.ORDER, "BUY")]


@pytest.mark.parametrize("via", ["MARGIN_BUY", "AUTO_BORROW_REPAY"])
def test_order_that_borrows_is_a_setting_besides(via: str) -> None:
    """An order with a side effect takes a loan: SETUP beside the ORDER, which says where it is."""
    query = f"symbol=BTCUSDT&side=BUY&type=MARKET&quantity=1&isIsolated=TRUE&sideEffectType={via}"
    assert parse(request(query)).effects == (
        Effect(
            operation=Operation.ORDER,
            venue="binance",
            symbol="BTCUSDT",
            side="BUY",
            quantity=UNIT,
            via=f"isolated {via}",
        ),
        Effect(operation=Operation.SETUP, venue="binance", symbol="BTCUSDT"),
    )


def test_coin_margined_quantity_is_not_full() -> None:
    """A quantity of COIN-M is a number of contracts: such a symbol is never FULL."""
    intent = parse(request("symbol=BTCUSD_PERP&side=BUY&type=LIMIT&quantity=1&price=3"))
    assert intent.completeness is Completeness.PARTIAL


def test_replacement_cancels_and_orders() -> None:
    """CancelReplace is an order and a cancel: none hides behind the other."""
    intent = parse(request("symbol=A&side=BUY&type=MARKET&quantity=1&cancelReplaceMode=ALLOW_FAILURE&cancelOrderId=3"))
    assert [(e.operation, e.quantity) for e in intent.effects] == [(Operation.ORDER, UNIT), (Operation.CANCEL, None)]


def test_settings_are_effects_beside_the_rest() -> None:
    """Symbol and leverage fit the setting of leverage and, without it, the cancel of all orders: both are stated."""
    intent = parse(request("symbol=BTCUSDT&leverage=125"))
    assert [e.operation for e in intent.effects] == [Operation.CANCEL, Operation.SETUP]
    assert [e.operation for e in parse(request("dualSidePosition=true")).effects] == [Operation.SETUP]


def _batch(*orders: object) -> str:
    return "batchOrders=" + quote(json.dumps(orders), safe="")


def test_batch_states_all_orders() -> None:
    """Each order of a futures batch is an effect of its own, with its own facts."""
    one = {"symbol": "A", "side": "BUY", "type": "LIMIT", "quantity": "1", "price": "2", "timeInForce": "GTC"}
    two = {"symbol": "B", "side": "SELL", "type": "MARKET", "quantity": "1.5", "reduceOnly": "true"}
    intent = parse(request(_batch(one, two)))
    assert [(e.operation, e.symbol, e.side, e.quantity, e.price) for e in intent.effects] == [
        (Operation.ORDER, "A", "BUY", UNIT, 2 * UNIT),
        (Operation.REDUCE, "B", "SELL", UNIT * 3 // 2, None),
    ]
    assert intent.completeness is Completeness.PARTIAL


@pytest.mark.parametrize(
    "item",
    [
        {"symbol": "B", "orderId": "7", "reduceOnly": "true"},
        {"symbol": "B", "origClientOrderId": "x", "reduceOnly": "true"},
        {"symbol": "B", "reduceOnly": True},
        {"symbol": "B", "reduceOnly": "false"},
        {"symbol": "B", "reduceOnly": "true", "cancelOrderId": "7"},
        {"symbol": "B", "orderId": "7", "closePosition": "true"},
    ],
)
def test_item_that_could_amend_is_an_order(item: dict[str, Any]) -> None:
    """A batch changes orders as well, and ignores reduceOnly then: what names one is an ORDER."""
    effects = parse(request(_batch({"side": "SELL", "quantity": "1"} | item))).effects
    assert effects[0].operation is Operation.ORDER


@pytest.mark.parametrize(
    "query",
    [
        _batch({"symbol": "A", "side": "BUY", "hidden": "1"}),
        _batch({"symbol": "A", "side": "BUY"}, {"symbol": "A", "orderId": 1}),
        _batch({"symbol": "A", "side": "BUY"}) + "&symbol=B",
        _batch({"symbol": "A", "side": "BUY", "batchOrders": "[]"}),
    ],
)
def test_batch_that_is_not_known_is_opaque(query: str) -> None:
    """An unknown name in one order, an item that is no order, or anything beside the batch makes all of it OPAQUE."""
    assert [e.operation for e in parse(request(query)).effects] == [Operation.OPAQUE]


def test_pump_of_a_thin_pair_is_seen() -> None:
    """A34: a trade-only key that buys a thin pair far above its price states pair, size and price."""
    intent = parse(request("symbol=DMGBUSD&side=BUY&type=LIMIT&timeInForce=IOC&quantity=5000000&price=0.9"))
    assert intent.effects == (
        Effect(
            operation=Operation.ORDER,
            venue="binance",
            symbol="DMGBUSD",
            side="BUY",
            quantity=5_000_000 * UNIT,
            price=UNIT * 9 // 10,
            time_in_force="IOC",
        ),
    )


def test_batch_is_bounded() -> None:
    """More than 64 orders in one batch are refused before any of them is read."""
    with pytest.raises(Malformed, match="more than 64"):
        parse(request(_batch(*[{"side": "BUY"}] * 65)))


def test_effects_are_bounded() -> None:
    """Orders that each cancel another one are two effects: 64 of them are too many."""
    one = {"symbol": "A", "side": "BUY", "cancelOrderId": 1}
    assert len(parse(request(_batch(*[one] * 32))).effects) == 64
    with pytest.raises(Malformed, match="more than 64 effects"):
        parse(request(_batch(*[one] * 33)))


ALGORITHM = "symbol=BTCUSDT&side=SELL&algoType=CONDITIONAL&triggerPrice=2"


@pytest.mark.parametrize(
    ("parameters", "operation", "facts"),
    [
        (f"{ALGORITHM}&type=STOP&quantity=1&price=3&clientAlgoId=a", Operation.ORDER, (UNIT, 3 * UNIT, "trigger 2")),
        (f"{ALGORITHM}&type=STOP_MARKET&quantity=1&workingType=MARK_PRICE", Operation.ORDER, (UNIT, None, "trigger 2")),
        (f"{ALGORITHM}&type=TAKE_PROFIT_MARKET&closePosition=true", Operation.REDUCE, (None, None, "trigger 2")),
        (f"{ALGORITHM}&type=STOP_MARKET&quantity=1&reduceOnly=true", Operation.ORDER, (UNIT, None, "trigger 2")),
        (
            "symbol=BTCUSDT&side=SELL&algoType=CONDITIONAL&type=TRAILING_STOP_MARKET&quantity=1&callbackRate=5",
            Operation.ORDER,
            (UNIT, None, "trigger callbackRate 5"),
        ),
    ],
)
def test_conditional_orders_of_futures(
    parameters: str, operation: Operation, facts: tuple[int | None, int | None, str]
) -> None:
    """The endpoint takes what order took before: side, size, limit, and the price that it waits for; never FULL."""
    intent = parse(request(parameters))
    (effect,) = intent.effects
    assert (effect.operation, effect.side, effect.symbol) == (operation, "SELL", "BTCUSDT")
    assert (effect.quantity, effect.price, effect.via) == facts
    assert intent.completeness is Completeness.PARTIAL


@pytest.mark.parametrize("name", ["algoId=7", "clientAlgoId=a"])
def test_conditional_orders_are_cancelled_by_their_ids(name: str) -> None:
    """DELETE algoOrder needs one of them and nothing else; GET algoOrder as well."""
    assert [each.operation for each in parse(request(name)).effects] == [Operation.CANCEL]


def test_other_algorithms_are_refused() -> None:
    """The documents have one word."""
    with pytest.raises(Malformed, match="must be one of CONDITIONAL"):
        parse(request(ALGORITHM.replace("CONDITIONAL", "VP") + "&type=STOP&quantity=1"))
