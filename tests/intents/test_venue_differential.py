"""Exchange requests against small signers written after the venues' documents, on generated orders.

Each reference builds the whole request from the order's fields with the standard library alone, signs it, and states
the facts as fractions. What keyvault assembles and states must be the same.
"""

import base64
import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from urllib.parse import quote, urlencode

import pytest

from keyvault.core.intent import Effect, Operation, Output, Payload, PayloadKind
from keyvault.core.keys import KeyAlgorithm
from tests.intents.venues import ED25519, SECRET, UNIT, assemble, b64, compact, parse, payload, sha256, sha512, signer

ROUNDS = 1_400
"""Orders for each of the eight kinds: more than 10,000 in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One generated order, in nobody's words."""

    symbol: str
    buys: bool
    quantity: str
    price: str | None
    client_id: str
    account: str
    at: int
    nonce: int


Reference = tuple[Payload, Output, KeyAlgorithm, Callable[[bytes], bytes]]
"""Payload, what must come out, and how it is signed."""


def generated(seed: int) -> Order:
    """Return the order of a seed."""
    dice = random.Random(seed)  # noqa: S311 - repeatable, not secret
    number = [dice.choice(["0", "1", "7", "25000", str(dice.randrange(10**12))]) for _ in range(2)]
    places = [dice.choice(["", ".5", ".10", f".{dice.randrange(10**18):018d}"]) for _ in range(2)]
    at = dice.randrange(1_600_000_000_000, 1_900_000_000_000)
    return Order(
        symbol="".join(dice.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", k=dice.randrange(2, 12))),
        buys=dice.random() < 0.5,
        quantity=number[0] + places[0],
        price=dice.choice([None, number[1] + places[1]]),
        client_id="".join(dice.choices("abcXYZ019_-", k=dice.randrange(1, 20))),
        account="".join(dice.choices("abcdefXYZ0189", k=18)),
        at=at,
        nonce=at + dice.randrange(1000),
    )


def binance_rest(order: Order) -> Reference:
    """Spot order, HMAC, in the body."""
    fields = {"symbol": order.symbol, "side": "BUY" if order.buys else "SELL", "quantity": order.quantity}
    fields |= {"type": "MARKET"} if order.price is None else {"type": "LIMIT", "price": order.price}
    body = urlencode({**fields, "newClientOrderId": order.client_id, "recvWindow": 4000}, quote_via=quote)
    stamped = f"{body}&timestamp={order.at}"
    signed = f"{stamped}&signature={sha256(stamped.encode()).hex()}"
    return payload(PayloadKind.BINANCE_REST, "", body), Output(body=signed), KeyAlgorithm.HMAC_SHA256, sha256


def binance_ws(order: Order) -> Reference:
    """Spot order, Ed25519."""
    fields: dict[str, object] = {"side": "BUY" if order.buys else "SELL", "symbol": order.symbol}
    fields |= {"type": "MARKET"} if order.price is None else {"type": "LIMIT", "price": order.price}
    fields |= {"quantity": order.quantity, "newClientOrderId": order.client_id}
    full = {**fields, "apiKey": order.account, "timestamp": order.at}
    text = "&".join(f"{name}={value}" for name, value in sorted(full.items()))
    full["signature"] = b64(ED25519.sign(text.encode()))
    message = compact({"id": str(order.nonce), "method": "order.place", "params": full})
    request = payload(PayloadKind.BINANCE_WS, compact(fields), "order.place", order.account)
    return request, Output(message=message), KeyAlgorithm.ED25519, ED25519.sign


def bybit(order: Order) -> Reference:
    """Linear order."""
    fields = {"category": "linear", "symbol": order.symbol, "side": "Buy" if order.buys else "Sell"}
    fields |= {"orderType": "Market"} if order.price is None else {"orderType": "Limit", "price": order.price}
    body = json.dumps({**fields, "qty": order.quantity, "orderLinkId": order.client_id})
    headers = (
        ("X-BAPI-API-KEY", order.account),
        ("X-BAPI-TIMESTAMP", str(order.at)),
        ("X-BAPI-RECV-WINDOW", "5000"),
        ("X-BAPI-SIGN", sha256(f"{order.at}{order.account}5000{body}".encode()).hex()),
        ("X-BAPI-SIGN-TYPE", "2"),
        ("Content-Type", "application/json"),
    )
    request = payload(PayloadKind.BYBIT_REST, "POST", "/v5/order/create", "", body, order.account)
    output = Output(path="/v5/order/create", body=body, headers=headers)
    return request, output, KeyAlgorithm.HMAC_SHA256, sha256


def okx(order: Order) -> Reference:
    """Order for a swap."""
    fields = {"instId": f"{order.symbol}-USDT-SWAP", "tdMode": "cross", "side": "buy" if order.buys else "sell"}
    fields |= {"ordType": "market"} if order.price is None else {"ordType": "limit", "px": order.price}
    body = json.dumps({**fields, "sz": order.quantity, "clOrdId": order.client_id})
    path = "/api/v5/trade/order"
    then = datetime.fromtimestamp(order.at // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{order.at % 1000:03d}Z"
    headers = (
        ("OK-ACCESS-KEY", order.account),
        ("OK-ACCESS-SIGN", b64(sha256(f"{then}POST{path}{body}".encode()))),
        ("OK-ACCESS-TIMESTAMP", then),
        ("Content-Type", "application/json"),
    )
    request = payload(PayloadKind.OKX_REST, "POST", path, "", body, order.account)
    return request, Output(path=path, body=body, headers=headers), KeyAlgorithm.HMAC_SHA256, sha256


def kraken(order: Order) -> Reference:
    """Spot order."""
    path = "/0/private/AddOrder"
    fields = {"pair": order.symbol, "type": "buy" if order.buys else "sell", "volume": order.quantity}
    fields |= {"ordertype": "market"} if order.price is None else {"ordertype": "limit", "price": order.price}
    form = urlencode({**fields, "cl_ord_id": order.client_id}, quote_via=quote)
    body = f"nonce={order.nonce}&{form}"
    digest = hashlib.sha256(f"{order.nonce}{body}".encode()).digest()
    headers = (
        ("API-Key", order.account),
        ("API-Sign", b64(sha512(path.encode() + digest))),
        ("Content-Type", "application/x-www-form-urlencoded"),
    )
    request = payload(PayloadKind.KRAKEN_REST, path, form, order.account)
    return request, Output(path=path, body=body, headers=headers), KeyAlgorithm.HMAC_SHA512, sha512


def deribit(order: Order) -> Reference:
    """Order for a perpetual, as a GET."""
    fields = {"instrument_name": f"{order.symbol}-PERPETUAL", "amount": order.quantity, "label": order.client_id}
    fields |= {"type": "market"} if order.price is None else {"type": "limit", "price": order.price}
    path, query = f"/api/v2/private/{'buy' if order.buys else 'sell'}", urlencode(fields, quote_via=quote)
    text = f"{order.at}\n{order.nonce}\nGET\n{path}?{query}\n\n"
    value = sha256(text.encode()).hex()
    header = f"deri-hmac-sha256 id={order.account},ts={order.at},sig={value},nonce={order.nonce}"
    request = payload(PayloadKind.DERIBIT_REST, "GET", f"{path}?{query}", "", order.account)
    output = Output(path=path, query=query, headers=(("Authorization", header),))
    return request, output, KeyAlgorithm.HMAC_SHA256, sha256


VENUES = [binance_rest, binance_ws, bybit, okx, kraken, deribit]
SUFFIX = {PayloadKind.OKX_REST: "-USDT-SWAP", PayloadKind.DERIBIT_REST: "-PERPETUAL"}


@pytest.mark.parametrize("build", VENUES, ids=lambda build: build.__name__)
def test_orders_agree(build: Callable[[Order], Reference]) -> None:
    """For generated orders the assembled request and the stated facts are those of the reference."""
    for seed in range(ROUNDS):
        order = generated(seed)
        request, expected, algorithm, sign = build(order)
        by = signer(algorithm, at=order.at, nonce=order.nonce)
        intent = parse(request, by)
        assert assemble(request, sign(intent.signing_input), by) == expected
        effect = intent.effects[-1]
        zero_means_all = request.kind in {PayloadKind.BYBIT_REST, PayloadKind.KRAKEN_REST}
        quantity = int(Fraction(order.quantity) * UNIT)
        facts = (effect.operation, effect.symbol, effect.side, effect.quantity, effect.price)
        assert facts == (
            Operation.ORDER,
            order.symbol + SUFFIX.get(request.kind, ""),
            "BUY" if order.buys else "SELL",
            None if quantity == 0 and zero_means_all else quantity,
            None if order.price is None else int(Fraction(order.price) * UNIT),
        )


def test_polymarket_agrees() -> None:
    """For generated orders the request is the reference's, and the price never looks better than it is."""
    for seed in range(ROUNDS):
        order = generated(seed)
        dice = random.Random(seed)  # noqa: S311 - repeatable, not secret
        given, wanted = dice.randrange(1, 10**9), dice.randrange(1, 10**9)
        signed = {"tokenId": str(seed), "side": "BUY" if order.buys else "SELL"}
        amounts = {"makerAmount": str(given), "takerAmount": str(wanted)}
        body = json.dumps({"order": signed | amounts, "owner": order.account, "orderType": "GTC"})
        address = "0x" + "12" * 20
        request = payload(PayloadKind.POLYMARKET_REST, "POST", "/order", body, order.account, address)
        seconds = order.at // 1000
        value = base64.urlsafe_b64encode(sha256(f"{seconds}POST/order{body}".encode())).decode()
        by = signer(at=order.at)
        intent = parse(request, by)
        output = assemble(request, sha256(intent.signing_input), by)
        assert dict(output.headers)["POLY_SIGNATURE"] == value
        effect = intent.effects[0]
        tokens, dollars = (wanted, given) if order.buys else (given, wanted)
        assert (effect.quantity, effect.quote_quantity) == (tokens * 10**12, dollars * 10**12)
        assert effect.price is not None
        error = effect.price * tokens - dollars * UNIT
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
