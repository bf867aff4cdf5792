"""Bybit v5: what only reduces, what could be an amendment, what borrows, and what another venue would read."""

from typing import Any

import pytest

from keyvault.core.intent import Effect, Operation
from tests.intents.test_bybit import ORDER, get, order, post
from tests.intents.venues import UNIT, compact, parse, refusal

CLOSING = {name: value for name, value in ORDER.items() if name != "orderLinkId"} | {"reduceOnly": True}


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({}, {}),
        ({"category": "inverse"}, {"via": "inverse"}),
        ({"closeOnTrigger": True, "qty": "0"}, {"quantity": None}),
        ({"positionIdx": 0}, {}),
        ({"positionIdx": 2}, {}),
        ({"positionIdx": 1, "side": "Sell"}, {"side": "SELL"}),
    ],
)
def test_closing_orders_reduce(changes: dict[str, Any], facts: dict[str, Any]) -> None:
    """A new order that can only make a position smaller, where there are positions, is REDUCE; in a batch as well."""
    body = CLOSING | changes
    reducing = order(operation=Operation.REDUCE, **facts)
    assert parse(post(body)).effects == (reducing,)
    item = {name: value for name, value in body.items() if name != "category"}
    assert parse(post({"category": body["category"], "request": [item]})).effects == (reducing,)


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"reduceOnly": False}, {}),
        ({"reduceOnly": "true"}, {}),
        ({"category": "spot"}, {"via": "spot"}),
        ({"category": ...}, {"via": None}),
        ({"category": ..., "symbol": "BTCUSDT_BTC/USDT"}, {"symbol": "BTCUSDT_BTC/USDT", "via": None}),
        ({"orderLinkId": "x1"}, {}),
        ({"orderId": "7"}, {}),
        ({"positionIdx": 1}, {}),
        ({"positionIdx": 2, "side": "Sell"}, {"side": "SELL"}),
        ({"positionIdx": 1, "side": ...}, {"side": None}),
        ({"positionIdx": 7}, {}),
    ],
)
def test_what_could_be_more_is_an_order(changes: dict[str, Any], facts: dict[str, Any]) -> None:
    """Where the venue does not obey reduceOnly, or could change another order by these bytes, it is an ORDER."""
    body = {name: value for name, value in {**CLOSING, **changes}.items() if value is not ...}
    assert parse(post(body)).effects == (order(**facts),)


def test_amendment_that_says_that_it_reduces_is_an_order() -> None:
    """An amendment takes no reduceOnly and raises size and price; neither method nor path is signed. So in a batch."""
    amendment = {"symbol": "BTCUSDT", "orderLinkId": "x1", "side": "Buy", "qty": "5000", "price": "900000"}
    expected = order(quantity=5_000 * UNIT, price=900_000 * UNIT, time_in_force=None)
    one = post({"category": "linear", "reduceOnly": True} | amendment, "/v5/order/amend")
    batch = post({"category": "linear", "request": [amendment | {"reduceOnly": True}]}, "/v5/order/amend-batch")
    assert parse(one).effects == parse(batch).effects == (expected,)


def test_order_that_borrows_is_a_setting_besides() -> None:
    """With isLeverage a spot order takes a loan: SETUP beside the ORDER, in a batch as well."""
    body = {name: value for name, value in ORDER.items() if name != "category"} | {"isLeverage": 1}
    setup = Effect(operation=Operation.SETUP, venue="bybit", symbol="BTCUSDT")
    assert parse(post(body | {"category": "spot"})).effects == (order(via="spot"), setup)
    assert parse(post({"category": "spot", "request": [body]})).effects == (order(via="spot"), setup)


@pytest.mark.parametrize(
    "body",
    [
        ORDER | {"symbol": "A&symbol=B"},
        ORDER | {"symbol": "A\n"},
        ORDER | {"a&b": "1"},
        {"category": "linear", "request": [{"symbol": "A&timestamp=1"}]},
        {"beneficiary": {"name": ["x", "a=b"]}},
    ],
)
def test_text_that_another_venue_reads_as_parameters_is_refused(body: dict[str, Any]) -> None:
    """What is signed could be name=value&name=value inside: refused in every text and name, escaped or not."""
    for text in (compact(body), compact(body).replace("&", "\\u0026").replace("=", "\\u003d")):
        assert "must be without & =" in refusal(post(text))[1]


OPAQUE = (Effect(operation=Operation.OPAQUE, venue="bybit"),)


@pytest.mark.parametrize(
    "body",
    [
        {"orderId": "1899736339155943424"},
        {"orderId": "1899736339155943424", "orderLinkId": "a"},
        {"orderId": "1899736339155943424", "symbol": "BTCUSDT"},
        {"orderId": "1899736339155943424", "category": "p2p"},
        {"orderId": "1899736339155943424", "qty": "1"},
        {"request": [{"symbol": "BTCUSDT", "orderId": "1899736339155943424"}]},
    ],
)
def test_release_of_a_sale_is_no_cancel(body: dict[str, Any]) -> None:
    """What names an order without a category releases the assets of a P2P sale: p2p/order/finish needs nothing else."""
    assert parse(post(body, "/v5/order/cancel")).effects == OPAQUE


def test_orders_are_cancelled_beside_their_category() -> None:
    """order/cancel needs a category; orders of the spread market have none, and a client's id."""
    one = parse(post({"category": "linear", "symbol": "BTCUSDT", "orderId": "7"}))
    assert one.effects == (Effect(operation=Operation.CANCEL, venue="bybit", symbol="BTCUSDT"),)
    assert [e.operation for e in parse(post({"orderLinkId": "a"})).effects] == [Operation.CANCEL]


@pytest.mark.parametrize("category", ["SPOT", "Spot", "Linear", "earn", "", 1, None, ["spot"]])
def test_other_categories_are_opaque(category: object) -> None:
    """The documents have four words, in lower case; another one could be any of them: no quantity is stated of it."""
    body = {name: value for name, value in ORDER.items() if name != "price"} | {"orderType": "Market"}
    assert parse(post(body | {"category": category})).effects == OPAQUE
    assert parse(post({"category": category, "request": [{"symbol": "A"}]})).effects == OPAQUE


@pytest.mark.parametrize(
    ("body", "query", "operations"),
    [
        ({"accountType": "CONTRACT"}, "accountType=CONTRACT", [Operation.SETUP]),
        ({"baseCoin": "BTC"}, "baseCoin=BTC", [Operation.CANCEL, Operation.SETUP]),
        ({"category": "option", "baseCoin": "BTC"}, "category=option&baseCoin=BTC", [Operation.CANCEL]),
    ],
)
def test_json_that_could_set_something_is_no_read(
    body: dict[str, Any], query: str, operations: list[Operation]
) -> None:
    """deposit-to-account needs an accountType and mmp-reset a baseCoin; reads have them in the query."""
    assert [e.operation for e in parse(post(body)).effects] == operations
    read = parse(get(query)).effects
    assert [e.operation for e in read] == [Operation.REQUEST if "accountType" in body else Operation.CANCEL]


@pytest.mark.parametrize(("said", "borrows"), [(0, False), (1, True), ("0", True), (False, True)])
def test_order_without_a_loan_is_no_setting(said: object, borrows: bool) -> None:  # noqa: FBT001 - a row of a table
    """A value of 0 in isLeverage is as good as absent; only the number of the documents counts."""
    found = parse(post(ORDER | {"category": "spot", "isLeverage": said})).effects
    assert [e.operation for e in found] == [Operation.ORDER, *[Operation.SETUP] * borrows]
