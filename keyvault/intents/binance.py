"""Signed REST requests to Binance, HMAC-SHA256 and Ed25519 keys.

What is signed is query || body, without a separator, method, path or host. The consequences are drawn here:

- Exactly one of query and body is non-empty. Two parts would sign a string that the venue also takes cut elsewhere, or
  whole, with other parameters: ``a=1`` and ``b=2`` sign ``a=1b=2``.
- The request is judged by its set of parameters, as the worst that it can be (``binance_parameters``).
- One encoding only: names are plain; in values A-Z a-z 0-9 - . _ ~ stand for themselves, everything else is the
  upper-case %XX of its UTF-8 (RFC 3986). ``+`` is refused: it may be a space or a plus.
- No duplicate names: the venue would take the query's, and readers differ about the rest.
- ``timestamp`` in milliseconds, 13 digits; microseconds and a fractional ``recvWindow`` are refused.
- ``signature`` is added here and refused in the input. ``apiKey`` is a parameter of the WebSocket API only, where the
  same kind of signature can open a session: refused.

What the bytes cannot prevent: their holder can cut them anew into query and body, which drops one parameter, or
shortens one value and leaves a stray name. Dropping never makes a request worse here; Binance answers stray names with
error -1101 or -1104. Quantity, price and amount are not among the facts: completeness is PARTIAL.
"""

import base64
import re
from typing import Final

from keyvault.core import limits
from keyvault.core.errors import Broken, Malformed
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Completeness, Effect, Intent, Operation, Output, Payload, Signer
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.intents import percent
from keyvault.intents.binance_parameters import DESTINATIONS, SIDES, operation_of

FIELD: Final = "exchange_request"
VENUE: Final = "binance"

_ALGORITHMS = frozenset({KeyAlgorithm.HMAC_SHA256, KeyAlgorithm.ED25519})
_NAME = r"[A-Za-z][A-Za-z0-9_]{0,63}"
_VALUE = rf"(?:[{percent.UNRESERVED}]|%[0-9A-F]{{2}})++"
_REQUEST = re.compile(rf"{_NAME}={_VALUE}(?:&{_NAME}={_VALUE})*+", re.ASCII)
_PAIR = re.compile(rf"{_NAME}={_VALUE}", re.ASCII)
_TIMESTAMP = re.compile(r"[1-9][0-9]{12}", re.ASCII)
_MICROSECONDS = re.compile(r"[0-9]{16}", re.ASCII)
_RECV_WINDOW = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_RECV_WINDOW_MS_MAX = 60_000
_ADDRESS = re.compile(r"[A-Za-z0-9._@:+-]+", re.ASCII)
_HMAC_BYTES = 32
_ED25519_BYTES = 64

_REFUSED = {
    "signature": "is added by keyvault: leave it out",
    "apiKey": "belongs to the WebSocket API, where a signature may open a session: REST takes the key as a header",
}

Parameters = dict[str, str]
"""Decoded values by name, in the order of the request."""


def parse(payload: Payload, signer: Signer) -> Intent:  # noqa: ARG001 (every decoder has the same form)
    """Return the intent of a request, or raise Malformed."""
    place, data = _signed_part(payload)
    parameters = _parameters(place, data)
    issued_at = _issued_at(parameters)
    _check_window(parameters)
    operation = operation_of(parameters)
    return Intent(
        kind=payload.kind,
        algorithms=_ALGORITHMS,
        signing_input=data,
        effects=_effects(operation, parameters),
        completeness=Completeness.OPAQUE if operation is Operation.OPAQUE else Completeness.PARTIAL,
        issued_at=issued_at,
    )


def assemble(payload: Payload, signer: Signer, signature: Signature) -> Output:  # noqa: ARG001 (as parse)
    """Return the request with ``signature`` as its last parameter: hex of an HMAC, escaped Base64 of Ed25519."""
    value = signature.value
    if len(value) not in (_HMAC_BYTES, _ED25519_BYTES):
        raise Broken("a signature for Binance must have 32 bytes (HMAC-SHA256) or 64 (Ed25519)")
    text = value.hex() if len(value) == _HMAC_BYTES else percent.encode(base64.b64encode(value))
    place, data = _signed_part(payload)
    signed = f"{data.decode('ascii')}&signature={text}"
    return Output(query=signed) if place == "query" else Output(body=signed)


def _signed_part(payload: Payload) -> tuple[str, bytes]:
    """Return ("query" or "body", its bytes): the one that is not empty."""
    query, body = payload.parts
    if query and body:
        problem = "query and body are both given: Binance signs them without a separator, so send all parameters in one"
        raise Malformed(FIELD, problem)
    if not query and not body:
        raise Malformed(FIELD, "query and body are both empty")
    return ("query", query) if query else ("body", body)


def _parameters(place: str, data: bytes) -> Parameters:
    """Return the decoded parameters. Encoding them again gives ``data``: see ``_decoded``."""
    if not data.isascii():
        raise Malformed(f"{FIELD}.{place}", "has a byte that is not ASCII: percent-encode it")
    text = data.decode("ascii")
    pairs = text.split("&")
    if len(pairs) > limits.EXCHANGE_PARAMETERS_MAX:
        raise Malformed(f"{FIELD}.{place}", f"has more than {limits.EXCHANGE_PARAMETERS_MAX} parameters")
    if not _REQUEST.fullmatch(text):
        raise _misspelt(place, pairs)
    parameters: Parameters = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if name in parameters:
            raise Malformed(f"{FIELD}.{name}", "stands twice: the venue and its readers may take either")
        parameters[name] = _decoded(name, value) if "%" in value else value
    for name, problem in _REFUSED.items():
        if name in parameters:
            raise Malformed(f"{FIELD}.{name}", problem)
    return parameters


def _decoded(name: str, value: str) -> str:
    """Return the text of a value with escapes, or raise Malformed unless ``value`` is the one way to write it."""
    try:
        text = percent.decode(value).decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed(f"{FIELD}.{name}", "its escapes are not UTF-8") from None
    if percent.encode(text.encode("utf-8")) != value:
        raise Malformed(f"{FIELD}.{name}", "escapes what needs no escape: A-Z a-z 0-9 - . _ ~ stand for themselves")
    if not text.isprintable():
        raise Malformed(f"{FIELD}.{name}", "has a character that cannot be printed")
    return text


def _misspelt(place: str, pairs: list[str]) -> Malformed:
    """Return the error that explains the first pair that is not well formed."""
    pair = next(pair for pair in pairs if not _PAIR.fullmatch(pair))
    name, equals, value = pair.partition("=")
    field = f"{FIELD}.{place}"
    if not pair:
        return Malformed(field, "has an empty parameter: an & too many, or nothing before or after one")
    if not equals or not re.fullmatch(_NAME, name, re.ASCII):
        return Malformed(field, f"{pair[:80]!r} is not name=value with a name of letters, digits and _")
    if not value:
        return Malformed(f"{FIELD}.{name}", "has no value: leave the parameter out")
    if "+" in value:
        return Malformed(f"{FIELD}.{name}", "has a +, which may mean a space: write %20 for a space, %2B for a plus")
    return Malformed(f"{FIELD}.{name}", "write all but A-Z a-z 0-9 - . _ ~ as % and two upper-case hex digits")


def _issued_at(parameters: Parameters) -> UnixMillis:
    text = parameters.get("timestamp")
    if text is None:
        raise Malformed(f"{FIELD}.timestamp", "is missing: Unix time in milliseconds")
    if not _TIMESTAMP.fullmatch(text):
        hint = ": microseconds are not supported" if _MICROSECONDS.fullmatch(text) else ""
        raise Malformed(f"{FIELD}.timestamp", f"must be Unix time in milliseconds, 13 digits{hint}")
    return UnixMillis(int(text))


def _check_window(parameters: Parameters) -> None:
    text = parameters.get("recvWindow")
    if text is not None and (not _RECV_WINDOW.fullmatch(text) or int(text) > _RECV_WINDOW_MS_MAX):
        raise Malformed(f"{FIELD}.recvWindow", f"must be a whole number of milliseconds, 1 to {_RECV_WINDOW_MS_MAX}")


FACTS = ("symbol", "coin", "asset", "addressTag", *DESTINATIONS)
"""Parameters that become facts: they are written into the ledger once more for each effect."""


def _effects(operation: Operation, parameters: Parameters) -> tuple[Effect, ...]:
    """Return one effect; for orders, one for each leg that has a side."""
    for name in FACTS:
        if len(parameters.get(name, "")) > limits.EXCHANGE_FACT_CHARS_MAX:
            raise Malformed(f"{FIELD}.{name}", f"is longer than {limits.EXCHANGE_FACT_CHARS_MAX} characters")
    symbol = parameters.get("symbol")
    if operation is Operation.ORDER:
        sides = tuple(_side(name, parameters[name]) for name in SIDES if name in parameters)
        return tuple(Effect(operation=operation, venue=VENUE, symbol=symbol, side=side) for side in sides or (None,))
    if operation is Operation.WITHDRAW:
        asset = symbol or parameters.get("coin") or parameters.get("asset")
        return (Effect(operation=operation, venue=VENUE, symbol=asset, destination=_destination(parameters)),)
    if operation is Operation.OPAQUE:
        return (Effect(operation=operation, venue=VENUE),)
    return (Effect(operation=operation, venue=VENUE, symbol=symbol),)


def _side(name: str, value: str) -> str:
    if value not in ("BUY", "SELL"):
        raise Malformed(f"{FIELD}.{name}", "must be BUY or SELL")
    return value


def _destination(parameters: Parameters) -> str | None:
    """Return where the assets go, None when the parameters do not say.

    An address with a tag (memo) is ``{address}?addressTag={tag}``: at an exchange the tag decides whose account it
    is, so permission for the address alone must not cover it.
    """
    named = [name for name in DESTINATIONS if name in parameters]
    if not named:
        return None
    if len(named) > 1:
        raise Malformed(f"{FIELD}.{named[1]}", f"stands beside {named[0]}: there must be one destination")
    address = parameters[named[0]]
    if not _ADDRESS.fullmatch(address):
        raise Malformed(f"{FIELD}.{named[0]}", "may only have A-Z a-z 0-9 . _ @ : + -")
    tag = parameters.get("addressTag")
    return address if tag is None else f"{address}?addressTag={tag}"
