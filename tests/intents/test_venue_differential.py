"""Exchange requests against small signers written after the venues' documents, on generated requests.

Each reference builds the whole request from its fields with the standard library alone and signs it; beside it stands
what the request does, with numbers as fractions. What keyvault assembles and states must be exactly the same.
"""

import base64
import json
import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from keyvault.core.intent import Effect, Operation, PayloadKind
from keyvault.core.keys import KeyAlgorithm
from tests.intents import venue_references as reference
from tests.intents.venue_references import Order, Reference, generated
from tests.intents.venues import ED25519, SECRET, UNIT, assemble, parse, payload, signer

ROUNDS = 10_000
"""Requests of each kind."""

Made = tuple[Reference, tuple[Effect, ...]]
"""A request, and all that it does."""


def exact(number: str | None) -> int | None:
    """Return a number in 10**-18."""
    return None if number is None else int(Fraction(number) * UNIT)


def side(order: Order) -> str:
    """Return what the facts call the side."""
    return "BUY" if order.buys else "SELL"


def effect(order: Order, venue: str, operation: Operation = Operation.ORDER, **facts: Any) -> Effect:  # noqa: ANN401 - any fact
    """Return an order with its side, size and price, or something else of its symbol alone."""
    if operation in (Operation.ORDER, Operation.REDUCE):
        sized = {"side": side(order), "quantity": exact(order.quantity), "price": exact(order.price)}
        facts = sized | facts
    return Effect(operation=operation, venue=venue, **{"symbol": order.symbol} | facts)


def withdrawal(order: Order, venue: str, **facts: Any) -> Effect:  # noqa: ANN401 - any fact
    """Return a withdrawal of the order's quantity to its address."""
    amount = exact(order.quantity)
    every = {"destination": order.address, "asset": order.symbol, "amount": amount, "decimals": 18} | facts
    return Effect(operation=Operation.WITHDRAW, venue=venue, symbol=order.symbol, **every)


# Binance ----------------------------------------------------------------------------------------------------------


def _binance_order(order: Order) -> dict[str, object]:
    fields: dict[str, object] = {"symbol": order.symbol, "side": side(order), "quantity": order.quantity}
    return fields | ({"type": "MARKET"} if order.price is None else {"type": "LIMIT", "price": order.price})


def binance_rest(order: Order, action: int) -> Made:
    """Return a new order, a cancel, an amendment of futures, a withdrawal, a batch or cancel-and-replace."""
    fields, one = _binance_order(order), effect(order, "binance")
    cancel = effect(order, "binance", Operation.CANCEL)
    match action:
        case 0:
            return reference.binance(order, fields | {"newClientOrderId": order.client_id}), (one,)
        case 1:
            return reference.binance(order, {"symbol": order.symbol, "origClientOrderId": order.client_id}), (cancel,)
        case 2:
            fields = fields | {"price": order.limit, "orderId": order.nonce, "reduceOnly": "true"}
            del fields["type"]
            return reference.binance(order, fields), (effect(order, "binance", price=exact(order.limit)),)
        case 3:
            sent = {"coin": order.symbol, "network": "ETH", "address": order.address, "amount": order.quantity}
            return reference.binance(order, sent), (withdrawal(order, "binance", network="binance:ETH"),)
        case 4:
            items = json.dumps([fields, fields | {"reduceOnly": "true"}])
            effects = (one, effect(order, "binance", Operation.REDUCE))
            return reference.binance(order, {"batchOrders": items}), effects
        case _:
            more = {"cancelReplaceMode": "STOP_ON_FAILURE", "cancelOrderId": order.nonce}
            return reference.binance(order, fields | more), (one, cancel)


def binance_ws(order: Order, action: int) -> Made:
    """Return a new order, a cancel, an amendment, or cancel-and-replace."""
    fields, one = _binance_order(order), effect(order, "binance")
    cancel = effect(order, "binance", Operation.CANCEL)
    match action % 4:
        case 0:
            more = {"newClientOrderId": order.client_id}
            return reference.binance_message(order, "order.place", fields | more), (one,)
        case 1:
            sent: dict[str, object] = {"symbol": order.symbol, "origClientOrderId": order.client_id}
            return reference.binance_message(order, "order.cancel", sent), (cancel,)
        case 2:
            sent = {"symbol": order.symbol, "orderId": order.nonce, "newQty": order.quantity}
            amended = effect(order, "binance", side=None, price=None)
            return reference.binance_message(order, "order.amend.keepPriority", sent), (amended,)
        case _:
            more = {"cancelReplaceMode": "ALLOW_FAILURE", "cancelOrigClientOrderId": order.client_id}
            return reference.binance_message(order, "order.cancelReplace", fields | more), (one, cancel)


# Others -----------------------------------------------------------------------------------------------------------


def bybit(order: Order, action: int) -> Made:
    """Return a new order, a cancel, an amendment, a withdrawal, a batch, or an order that closes."""
    fields: dict[str, object] = {"symbol": order.symbol, "side": "Buy" if order.buys else "Sell", "qty": order.quantity}
    fields |= {"orderType": "Market"} if order.price is None else {"orderType": "Limit", "price": order.price}
    size: dict[str, Any] = {"via": "linear", "quantity": exact(order.quantity) or None}  # 0 is the whole position
    one = effect(order, "bybit", **size)
    category: dict[str, object] = {"category": "linear"}
    match action:
        case 0:
            sent = category | fields | {"orderLinkId": order.client_id}
            return reference.bybit(order, "/v5/order/create", sent), (one,)
        case 1:
            sent = category | {"symbol": order.symbol, "orderLinkId": order.client_id}
            return reference.bybit(order, "/v5/order/cancel", sent), (effect(order, "bybit", Operation.CANCEL),)
        case 2:
            sent = category | {"symbol": order.symbol, "orderId": order.client_id, "reduceOnly": True}
            sent |= {"qty": order.quantity, "price": order.limit}
            amended = effect(order, "bybit", **size | {"side": None, "price": exact(order.limit)})
            return reference.bybit(order, "/v5/order/amend", sent), (amended,)
        case 3:
            sent = {"coin": order.symbol, "chain": "ARBI", "address": order.address, "amount": order.quantity}
            taken = withdrawal(order, "bybit", network="bybit:ARBI")
            return reference.bybit(order, "/v5/asset/withdraw/create", sent | {"timestamp": order.at}), (taken,)
        case 4:
            sent = category | {"request": [fields, fields | {"reduceOnly": True, "orderLinkId": order.client_id}]}
            return reference.bybit(order, "/v5/order/create-batch", sent), (one, one)
        case _:
            closing = effect(order, "bybit", Operation.REDUCE, **size)
            return reference.bybit(order, "/v5/order/create", category | fields | {"reduceOnly": True}), (closing,)


def okx(order: Order, action: int) -> Made:
    """Return a new order, a cancel, an amendment, a withdrawal, a batch, or an order that closes."""
    name = f"{order.symbol}-USDT-SWAP"
    fields = {"instId": name, "tdMode": "cross", "side": "buy" if order.buys else "sell", "sz": order.quantity}
    fields |= {"ordType": "market"} if order.price is None else {"ordType": "limit", "px": order.price}
    facts: dict[str, Any] = {"symbol": name, "via": "cross", "time_in_force": None if order.price is None else "GTC"}
    one, which = effect(order, "okx", **facts), {"instId": name, "clOrdId": order.client_id}
    match action:
        case 0:
            return reference.okx(order, "/api/v5/trade/order", fields | {"clOrdId": order.client_id}), (one,)
        case 1:
            cancel = effect(order, "okx", Operation.CANCEL, symbol=name)
            return reference.okx(order, "/api/v5/trade/cancel-batch-orders", [which, which]), (cancel, cancel)
        case 2:
            sent = which | {"newSz": order.quantity, "newPx": order.limit}
            amended = effect(order, "okx", symbol=name, side=None, price=exact(order.limit))
            return reference.okx(order, "/api/v5/trade/amend-batch-orders", [sent]), (amended,)
        case 3:
            chain = f"{order.symbol}-Arbitrum One"
            sent = {"ccy": order.symbol, "amt": order.quantity, "dest": "4", "toAddr": order.address, "chain": chain}
            taken = withdrawal(order, "okx", network=f"okx:{order.symbol}-Arbitrum%20One")
            return reference.okx(order, "/api/v5/asset/withdrawal", sent), (taken,)
        case 4:
            return reference.okx(order, "/api/v5/trade/batch-orders", [fields, fields, fields]), (one, one, one)
        case _:
            closing = effect(order, "okx", Operation.REDUCE, **facts)
            sent = fields | {"posSide": "short" if order.buys else "long"}
            return reference.okx(order, "/api/v5/trade/order", sent), (closing,)


def kraken(order: Order, action: int) -> Made:
    """Return a new order, a cancel, an amendment, or a withdrawal."""
    match action % 4:
        case 0:
            fields = {"pair": order.symbol, "type": "buy" if order.buys else "sell", "volume": order.quantity}
            fields |= {"ordertype": "market"} if order.price is None else {"ordertype": "limit", "price": order.price}
            one = effect(order, "kraken", quantity=exact(order.quantity) or None)  # 0 is the whole position
            return reference.kraken(order, "AddOrder", fields | {"cl_ord_id": order.client_id}), (one,)
        case 1:
            cancel = Effect(operation=Operation.CANCEL, venue="kraken")
            return reference.kraken(order, "CancelOrder", {"cl_ord_id": order.client_id}), (cancel,)
        case 2:
            fields = {"txid": order.client_id, "order_qty": order.quantity, "limit_price": order.limit}
            amended = effect(order, "kraken", symbol=None, side=None, price=exact(order.limit))
            return reference.kraken(order, "AmendOrder", fields), (amended,)
        case _:
            fields = {"asset": order.symbol, "key": order.client_id, "address": order.address, "amount": order.quantity}
            taken = withdrawal(order, "kraken", network=f"kraken:{order.client_id}")
            return reference.kraken(order, "Withdraw", fields), (taken,)


def deribit(order: Order, action: int) -> Made:
    """Return a new order, a cancel as a call, an amendment, a withdrawal, or what closes; each is a logon, too."""
    session = Effect(operation=Operation.SESSION, venue="deribit", via="public/auth")
    name = f"{order.symbol}-PERPETUAL"
    fields = {"instrument_name": name, "amount": order.quantity, "label": order.client_id}
    fields |= {"type": "market"} if order.price is None else {"type": "limit", "price": order.price}
    method = "buy" if order.buys else "sell"
    match action % 5:
        case 0:
            return reference.deribit(order, method, fields), (session, effect(order, "deribit", symbol=name))
        case 1:
            cancel = Effect(operation=Operation.CANCEL, venue="deribit")
            return reference.deribit_call(order, "cancel", {"order_id": order.client_id}), (session, cancel)
        case 2:
            sent = {"order_id": order.client_id, "amount": order.quantity, "price": order.limit, "reduce_only": "true"}
            amended = effect(order, "deribit", symbol=None, side=None, price=exact(order.limit))
            return reference.deribit(order, "edit", sent), (session, amended)
        case 3:
            sent = {"currency": order.symbol, "address": order.address, "amount": order.quantity}
            return reference.deribit(order, "withdraw", sent), (session, withdrawal(order, "deribit"))
        case _:
            closing = effect(order, "deribit", Operation.REDUCE, symbol=name)
            return reference.deribit(order, method, fields | {"reduce_only": "true"}), (session, closing)


def _session(venue: str, build: Callable[[Order], Reference]) -> Callable[[Order, int], Made]:
    """Return logons to a venue."""
    via = "public/auth" if venue == "deribit" else None
    return lambda order, _: (build(order), (Effect(operation=Operation.SESSION, venue=venue, via=via),))


MAKERS = {
    **{make.__name__: make for make in (binance_rest, binance_ws, bybit, okx, kraken, deribit)},
    "binance_logon": _session("binance", reference.binance_logon),
    "okx_logon": _session("okx", reference.okx_logon),
    "deribit_logon": _session("deribit", reference.deribit_logon),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_requests_agree(make: Callable[[Order, int], Made]) -> None:
    """For generated requests of all sorts what is assembled and stated is exactly what the reference has."""
    for seed in range(ROUNDS):
        order = generated(seed)
        (request, expected, algorithm, sign), effects = make(order, seed % 6)
        by = signer(algorithm, at=order.at, nonce=order.nonce)
        intent = parse(request, by)
        assert assemble(request, sign(intent.signing_input), by) == expected
        assert intent.effects == effects


def test_polymarket_agrees() -> None:
    """For generated orders, batches and cancels the request is the reference's; no price looks better than it is."""
    for seed in range(ROUNDS):
        order = generated(seed)
        dice = random.Random(seed)  # noqa: S311 - repeatable, not secret
        given, wanted = dice.randrange(1, 10**9), dice.randrange(1, 10**9)
        signed = {"tokenId": str(seed), "side": side(order), "makerAmount": str(given), "takerAmount": str(wanted)}
        posted = {"order": signed, "owner": order.account, "orderType": "GTC"}
        method, path, body = (
            ("POST", "/order", posted),
            ("POST", "/orders", [posted, posted]),
            ("DELETE", "/orders", [order.client_id]),
            ("DELETE", "/order", {"orderID": order.client_id}),
        )[seed % 4]
        request, expected, algorithm, sign = reference.polymarket(order, method, path, body)
        by = signer(algorithm, at=order.at)
        intent = parse(request, by)
        assert assemble(request, sign(intent.signing_input), by) == expected
        if method == "DELETE":
            assert intent.effects == (Effect(operation=Operation.CANCEL, venue="polymarket"),)
            continue
        assert len(intent.effects) == (2 if path == "/orders" else 1)
        tokens, dollars = (wanted, given) if order.buys else (given, wanted)
        for one in intent.effects:
            assert (one.operation, one.symbol, one.side) == (Operation.ORDER, str(seed), side(order))
            assert (one.quantity, one.quote_quantity) == (tokens * 10**12, dollars * 10**12)
            assert one.price is not None
            error = one.price * tokens - dollars * UNIT
            assert 0 <= (error if order.buys else -error) < tokens


def test_coinbase_agrees() -> None:
    """For generated paths the token has the reference's claims and verifies."""
    for seed in range(ROUNDS):
        order = generated(seed)
        path, method = f"/api/v3/brokerage/{order.symbol}", "POST" if order.buys else "GET"
        request = payload(PayloadKind.COINBASE_JWT, method, path, "", "", order.account)
        by = signer(KeyAlgorithm.ED25519, at=order.at, nonce=order.nonce)
        intent = parse(request, by)
        value = ED25519.sign(intent.signing_input)
        header, claims, signature = dict(assemble(request, value, by).headers)["Authorization"][7:].split(".")
        ED25519.public_key().verify(base64.urlsafe_b64decode(signature + "=="), f"{header}.{claims}".encode())
        seconds, uri = order.at // 1000, f"{method} api.coinbase.com{path}"
        assert json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))) == {
            "sub": order.account,
            "iss": "cdp",
            "nbf": seconds,
            "exp": seconds + 120,
            "uri": uri,
        }
        operation = Operation.SESSION if order.buys else Operation.REQUEST
        assert intent.effects == (Effect(operation=operation, venue="coinbase", via=uri),)


def test_secret_is_of_the_tests() -> None:
    """The reference signers use a secret that nobody has."""
    assert SECRET.startswith(b"not-a-secret")
