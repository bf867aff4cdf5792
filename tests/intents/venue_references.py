"""Exchange requests as their documents say, built and signed with the standard library alone.

Each function returns the payload for keyvault, what must be sent, the algorithm, and how it is signed. None of them
knows what a request means: that is stated where they are used.
"""

import base64
import hashlib
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

from keyvault.core.intent import Output, Payload, PayloadKind
from keyvault.core.keys import KeyAlgorithm
from tests.intents.venues import ED25519, b64, compact, payload, sha256, sha512

Reference = tuple[Payload, Output, KeyAlgorithm, Callable[[bytes], bytes]]
"""Payload, what must come out, and how it is signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One generated order, in nobody's words; ``number`` is the seed that it is made from."""

    number: int
    symbol: str
    buys: bool
    quantity: str
    price: str | None
    client_id: str
    account: str
    at: int
    nonce: int

    @property
    def limit(self) -> str:
        """The price, or one that stands for it where an order must have one."""
        return self.price or "1.5"

    @property
    def address(self) -> str:
        """An address as chains have them."""
        return "0x" + hashlib.sha256(self.account.encode()).hexdigest()[:40]


def generated(seed: int) -> Order:
    """Return the order of a seed."""
    dice = random.Random(seed)  # noqa: S311 - repeatable, not secret
    number = [dice.choice(["0", "1", "7", "25000", str(dice.randrange(10**12))]) for _ in range(2)]
    places = [dice.choice(["", ".5", ".10", f".{dice.randrange(10**18):018d}"]) for _ in range(2)]
    at = dice.randrange(1_600_000_000_000, 1_900_000_000_000)
    return Order(
        number=seed,
        symbol="".join(dice.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", k=dice.randrange(2, 12))),
        buys=dice.random() < 0.5,
        quantity=number[0] + places[0],
        price=dice.choice([None, number[1] + places[1]]),
        client_id="".join(dice.choices("abcXYZ019_-", k=dice.randrange(1, 20))),
        account="".join(dice.choices("abcdefXYZ0189", k=18)),
        at=at,
        nonce=at + dice.randrange(1000),
    )


def form(fields: Mapping[str, object]) -> str:
    """Return a form in RFC 3986."""
    return urlencode(fields, quote_via=quote, safe="")


def binance(order: Order, fields: Mapping[str, object]) -> Reference:
    """Return a request in the body, HMAC."""
    body = form({**fields, "recvWindow": 4000})
    stamped = f"{body}&timestamp={order.at}"
    signed = f"{stamped}&signature={sha256(stamped.encode()).hex()}"
    return payload(PayloadKind.BINANCE_REST, "", body), Output(body=signed), KeyAlgorithm.HMAC_SHA256, sha256


def binance_message(order: Order, method: str, fields: Mapping[str, object]) -> Reference:
    """Return a message of the WebSocket API, Ed25519."""
    full = {**fields, "apiKey": order.account, "timestamp": order.at}
    text = "&".join(f"{name}={value}" for name, value in sorted(full.items()))
    full["signature"] = b64(ED25519.sign(text.encode()))
    message = compact({"id": str(order.nonce), "method": method, "params": full})
    request = payload(PayloadKind.BINANCE_WS, compact(fields), method, order.account)
    return request, Output(message=message), KeyAlgorithm.ED25519, ED25519.sign


def binance_logon(order: Order) -> Reference:
    """Return the logon of a WebSocket."""
    full: dict[str, object] = {"apiKey": order.account, "timestamp": order.at}
    full["signature"] = b64(ED25519.sign(f"apiKey={order.account}&timestamp={order.at}".encode()))
    message = compact({"id": str(order.nonce), "method": "session.logon", "params": full})
    request = payload(PayloadKind.BINANCE_WS_LOGON, order.account)
    return request, Output(message=message), KeyAlgorithm.ED25519, ED25519.sign


def bybit(order: Order, path: str, fields: Mapping[str, object]) -> Reference:
    """Return a POST."""
    body = json.dumps(fields)
    headers = (
        ("X-BAPI-API-KEY", order.account),
        ("X-BAPI-TIMESTAMP", str(order.at)),
        ("X-BAPI-RECV-WINDOW", "5000"),
        ("X-BAPI-SIGN", sha256(f"{order.at}{order.account}5000{body}".encode()).hex()),
        ("X-BAPI-SIGN-TYPE", "2"),
        ("Content-Type", "application/json"),
    )
    request = payload(PayloadKind.BYBIT_REST, "POST", path, "", body, order.account)
    return request, Output(path=path, body=body, headers=headers), KeyAlgorithm.HMAC_SHA256, sha256


def okx(order: Order, path: str, value: object) -> Reference:
    """Return a POST of an object or of a list."""
    body = json.dumps(value)
    then = datetime.fromtimestamp(order.at // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{order.at % 1000:03d}Z"
    headers = (
        ("OK-ACCESS-KEY", order.account),
        ("OK-ACCESS-SIGN", b64(sha256(f"{then}POST{path}{body}".encode()))),
        ("OK-ACCESS-TIMESTAMP", then),
        ("Content-Type", "application/json"),
    )
    request = payload(PayloadKind.OKX_REST, "POST", path, "", body, order.account)
    return request, Output(path=path, body=body, headers=headers), KeyAlgorithm.HMAC_SHA256, sha256


def okx_logon(order: Order) -> Reference:
    """Return the logon of a WebSocket, without its passphrase."""
    seconds = str(order.at // 1000)
    sign = b64(sha256(f"{seconds}GET/users/self/verify".encode()))
    argument = {"apiKey": order.account, "timestamp": seconds, "sign": sign}
    output = Output(message=compact({"op": "login", "args": [argument]}))
    return payload(PayloadKind.OKX_WS_LOGON, order.account), output, KeyAlgorithm.HMAC_SHA256, sha256


def kraken(order: Order, name: str, fields: Mapping[str, object]) -> Reference:
    """Return a request by its name."""
    path, text = f"/0/private/{name}", form(fields)
    body = f"nonce={order.nonce}&{text}"
    digest = hashlib.sha256(f"{order.nonce}{body}".encode()).digest()
    headers = (
        ("API-Key", order.account),
        ("API-Sign", b64(sha512(path.encode() + digest))),
        ("Content-Type", "application/x-www-form-urlencoded"),
    )
    request = payload(PayloadKind.KRAKEN_REST, path, text, order.account)
    return request, Output(path=path, body=body, headers=headers), KeyAlgorithm.HMAC_SHA512, sha512


def deribit(order: Order, name: str, fields: Mapping[str, object]) -> Reference:
    """Return a GET."""
    path, query = f"/api/v2/private/{name}", form(fields)
    value = sha256(f"{order.at}\n{order.nonce}\nGET\n{path}?{query}\n\n".encode()).hex()
    header = f"deri-hmac-sha256 id={order.account},ts={order.at},sig={value},nonce={order.nonce}"
    request = payload(PayloadKind.DERIBIT_REST, "GET", f"{path}?{query}", "", order.account)
    output = Output(path=path, query=query, headers=(("Authorization", header),))
    return request, output, KeyAlgorithm.HMAC_SHA256, sha256


def deribit_call(order: Order, name: str, fields: Mapping[str, object]) -> Reference:
    """Return a JSON-RPC call."""
    path = f"/api/v2/private/{name}"
    body = json.dumps({"jsonrpc": "2.0", "id": 7, "method": f"private/{name}", "params": fields})
    value = sha256(f"{order.at}\n{order.nonce}\nPOST\n{path}\n{body}\n".encode()).hex()
    header = f"deri-hmac-sha256 id={order.account},ts={order.at},sig={value},nonce={order.nonce}"
    request = payload(PayloadKind.DERIBIT_REST, "POST", path, body, order.account)
    headers = (("Authorization", header), ("Content-Type", "application/json"))
    return request, Output(path=path, body=body, headers=headers), KeyAlgorithm.HMAC_SHA256, sha256


def deribit_logon(order: Order) -> Reference:
    """Return ``public/auth`` by client_signature."""
    data = order.account[:8]
    parameters = {
        "grant_type": "client_signature",
        "client_id": order.account,
        "timestamp": order.at,
        "signature": sha256(f"{order.at}\n{order.nonce}\n{data}".encode()).hex(),
        "nonce": str(order.nonce),
        "data": data,
    }
    message = compact({"jsonrpc": "2.0", "id": order.nonce, "method": "public/auth", "params": parameters})
    request = payload(PayloadKind.DERIBIT_AUTH, data, order.account)
    return request, Output(message=message), KeyAlgorithm.HMAC_SHA256, sha256


def polymarket(order: Order, method: str, path: str, value: object) -> Reference:
    """Return a request with a body."""
    body, seconds = json.dumps(value), order.at // 1000
    sign = base64.urlsafe_b64encode(sha256(f"{seconds}{method}{path}{body}".encode())).decode()
    headers = (
        ("POLY_ADDRESS", order.address),
        ("POLY_SIGNATURE", sign),
        ("POLY_TIMESTAMP", str(seconds)),
        ("POLY_API_KEY", order.account),
        ("Content-Type", "application/json"),
    )
    request = payload(PayloadKind.POLYMARKET_REST, method, path, body, order.account, order.address)
    return request, Output(path=path, body=body, headers=headers), KeyAlgorithm.HMAC_SHA256, sha256
