"""Signed requests (level 2) to Polymarket's CLOB; parts are method, path, body, API key and address.

    HMAC-SHA256(timestamp in seconds || METHOD || path || body), as URL-safe Base64

The timestamp is the service's. Method, path and body are bound; a query is not, and a path must not have one. A body
with ``'`` is refused: the venue's Python library signs it as ``"``. The header POLY_PASSPHRASE is the caller's to add:
keyvault does not have it.

An order in a body carries its own EIP-712 signature; that one, not this, binds the account on the chain. Its facts are
stated all the same: ``symbol`` is the token id, ``quantity`` in outcome tokens, ``quote_quantity`` in USDC, and
``price`` what one token costs at most, or brings at least, rounded to the side that makes it look worse.

Unknown here, hence OPAQUE: RFQ, API keys, builder endpoints.

Source: docs.polymarket.com, "CLOB Authentication"; github.com/Polymarket/py-clob-client ``signing/hmac.py``,
``headers/headers.py``, ``utilities.py``.
"""

import base64
import re
from collections.abc import Mapping
from typing import Final

from keyvault.core.errors import Malformed
from keyvault.core.intent import Bound, Effect, Intent, Operation, Output, Payload, Signer
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.intents import venue_json, venue_request
from keyvault.intents.strict_json import Value
from keyvault.intents.venue_fields import Fields
from keyvault.intents.venue_request import HMAC_SHA256_BYTES, account, bounded, completeness, opaque, parts, signed

FIELD: Final = "exchange_request"
VENUE: Final = "polymarket"

_ALGORITHMS = frozenset({KeyAlgorithm.HMAC_SHA256})
_BINDS = frozenset({Bound.METHOD, Bound.PATH, Bound.BODY})
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_ORDER_PATH = re.compile(r"/data/order/0x[0-9a-f]{64}", re.ASCII)
_AMOUNT = re.compile(r"[1-9][0-9]{0,29}", re.ASCII)
_SCALE = 10**12
"""USDC and outcome tokens have 6 decimals; facts have 18."""
_UNIT = 10**18
_SIDE: Mapping[str, str] = {"BUY": "BUY", "SELL": "SELL"}
_TYPES: Mapping[str, str] = {"GTC": "GTC", "GTD": "GTD", "FOK": "FOK", "FAK": "IOC"}
_POSTED = frozenset({"order", "owner", "orderType", "postOnly", "deferExec"})
_ORDER_NAMES = """
salt maker signer taker tokenId makerAmount takerAmount expiration nonce feeRateBps side signatureType signature
timestamp metadata builder
"""
_ORDER = frozenset(_ORDER_NAMES.split())
_READ_PATHS = """
/data/orders /data/trades /notifications /balance-allowance /balance-allowance/update /order-scoring /auth/api-keys
/auth/ban-status/closed-only
"""
_READS = frozenset(_READ_PATHS.split())
_REQUEST = (Effect(operation=Operation.REQUEST, venue=VENUE),)
_CANCEL = (Effect(operation=Operation.CANCEL, venue=VENUE),)


def parse(payload: Payload, signer: Signer) -> Intent:
    """Return the intent of a request, or raise Malformed."""
    verb, path, body, key, address = parts(payload, 5)
    method, target, owner = venue_request.method(verb), venue_request.path(path), account(key)
    _address(address)
    if b"'" in body:
        raise Malformed(f"{FIELD}.body", "has a ', which the venue's own library would sign as \"")
    effects = bounded(_effects(method, target, body, owner))
    return Intent(
        kind=payload.kind,
        algorithms=_ALGORITHMS,
        signing_input=b"%d" % _seconds(signer) + verb + path + body,
        effects=effects,
        completeness=completeness(effects),
        binds=_BINDS,
        stamped=True,
    )


def assemble(payload: Payload, signer: Signer, signature: Signature) -> Output:
    """Return path, body and the headers to send, except for the passphrase."""
    _, path, body, key, address = parts(payload, 5)
    headers = [
        ("POLY_ADDRESS", _address(address)),
        ("POLY_SIGNATURE", base64.urlsafe_b64encode(signed(signature, HMAC_SHA256_BYTES)).decode("ascii")),
        ("POLY_TIMESTAMP", str(_seconds(signer))),
        ("POLY_API_KEY", account(key)),
    ]
    if body:
        headers.append(("Content-Type", "application/json"))
    return Output(path=path.decode("ascii"), body=body.decode("utf-8"), headers=tuple(headers))


def _seconds(signer: Signer) -> int:
    return signer.stamp.at // 1000


def _address(data: bytes) -> str:
    text = data.decode("latin-1")
    if not _ADDRESS.fullmatch(text):
        raise Malformed(f"{FIELD}.address", "must be 0x and 40 hex digits")
    return text


def _effects(method: str, path: str, body: bytes, owner: str) -> tuple[Effect, ...]:
    if method == "GET" or not body:
        if method == "GET" and body:
            raise Malformed(f"{FIELD}.body", "a GET has no body")
        reads = method == "GET" and (path in _READS or _ORDER_PATH.fullmatch(path))
        cancels = (method, path) == ("DELETE", "/cancel-all")
        return _REQUEST if reads else _CANCEL if cancels else opaque(VENUE)
    value = venue_json.loads(body)
    match method, path:
        case "POST", "/order":
            return _posted(venue_json.members(body), FIELD, owner)
        case "POST", "/orders":
            items = venue_json.objects(value, "body")
            found = [_posted(item, f"{FIELD}.body.{number}", owner) for number, item in enumerate(items)]
            return tuple(effect for effects in found for effect in effects)
        case ("DELETE", "/orders") | ("POST", "/orders-scoring"):
            known = isinstance(value, list) and all(isinstance(item, str) for item in value)
            return opaque(VENUE) if not known else _CANCEL if method == "DELETE" else _REQUEST
        case "DELETE", "/order":
            return _named(value, {"orderID"}, _CANCEL)
        case "DELETE", "/cancel-market-orders":
            return _named(value, {"market", "asset_id"}, _CANCEL)
        case "POST", "/v1/heartbeats":
            return _named(value, {"heartbeat_id"}, _REQUEST)
        case _:
            return opaque(VENUE)


def _named(value: Value, names: set[str], effects: tuple[Effect, ...]) -> tuple[Effect, ...]:
    return effects if isinstance(value, dict) and names.issuperset(value) else opaque(VENUE)


def _posted(posted: Mapping[str, Value], place: str, owner: str) -> tuple[Effect, ...]:
    """Return the effect of one order with its envelope."""
    order = posted.get("order")
    if not _POSTED.issuperset(posted) or not isinstance(order, dict) or not _ORDER.issuperset(order):
        return opaque(VENUE)
    envelope, fields = Fields(posted, place), Fields(order, f"{place}.order")
    if envelope.text("owner") != owner:
        raise envelope.refuse("owner", "must be the API key that signs")
    side = fields.word("side", _SIDE)
    if side is None:
        raise fields.refuse("side", "is missing: BUY or SELL")
    given, wanted = _amount(fields, "makerAmount"), _amount(fields, "takerAmount")
    tokens, dollars = (wanted, given) if side == "BUY" else (given, wanted)
    price = -(-dollars * _UNIT // tokens) if side == "BUY" else dollars * _UNIT // tokens
    effect = Effect(
        operation=Operation.ORDER,
        venue=VENUE,
        symbol=fields.text("tokenId"),
        side=side,
        quantity=tokens * _SCALE,
        quote_quantity=dollars * _SCALE,
        price=price,
        time_in_force="POST_ONLY" if envelope.flag("postOnly") else envelope.word("orderType", _TYPES),
    )
    return (effect,)


def _amount(fields: Fields, name: str) -> int:
    """Return an amount in the token's smallest unit, as a positive whole number."""
    text = fields.text(name)
    if text is None or not _AMOUNT.fullmatch(text):
        raise fields.refuse(name, "must be a positive whole number as text")
    return int(text)
