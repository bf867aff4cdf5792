"""Signed REST requests to Binance, HMAC-SHA256 and Ed25519 keys; parts are query and body.

What is signed is query || body, without a separator, method, path or host. The consequences are drawn here:

- At most one of query and body is non-empty. Two parts would sign a string that the venue also takes cut elsewhere, or
  whole, with other parameters: ``a=1`` and ``b=2`` sign ``a=1b=2``.
- The request is judged by its set of parameters, as the worst that it can be (``binance_parameters``).
- One encoding only (``venue_form``).
- ``timestamp`` is left out: then the service stamps it, as the last parameter. A caller's own is bound as it is, in
  milliseconds, 13 digits; microseconds and a fractional ``recvWindow`` are refused.
- ``signature`` is added here and refused in the input. ``apiKey`` is a parameter of the WebSocket API only, where the
  same kind of signature can open a session: refused.

What the bytes cannot prevent: their holder can cut them anew into query and body, which drops one parameter, or
shortens one value and leaves a stray name. Dropping never gives a worse operation here; Binance answers stray names
with error -1101 or -1104, if it reads both parts as parameters, as it must where the second part has the timestamp.
Completeness is FULL therefore only where the timestamp stands last; for spot's single orders, cancels and reads. What
an order must keep in every cut to be a REDUCE stands in ``binance_orders``; futures are never FULL. An API key should
be enabled for one product at the venue: spot, margin or futures take each other's parameters.

Nothing makes a request single: until it expires it can be sent again, and is executed again where no order with its
``newClientOrderId`` is open.

Source: github.com/binance/binance-spot-api-docs rest-api.md, "SIGNED endpoint security".
"""

import base64
import re
from typing import Final

from keyvault.core.errors import Broken, Malformed
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Bound, Completeness, Intent, Output, Payload, Signer
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.intents import binance_orders, percent, venue_form
from keyvault.intents.binance_parameters import LONG
from keyvault.intents.venue_request import ED25519_BYTES, HMAC_SHA256_BYTES, parts

FIELD: Final = "exchange_request"

_ALGORITHMS = frozenset({KeyAlgorithm.HMAC_SHA256, KeyAlgorithm.ED25519})
_BINDS = frozenset({Bound.QUERY, Bound.BODY, Bound.EXPIRY})
_TIMESTAMP = re.compile(r"[1-9][0-9]{12}", re.ASCII)
_MICROSECONDS = re.compile(r"[0-9]{16}", re.ASCII)
_RECV_WINDOW = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_RECV_WINDOW_MS = 5_000
"""What the venue assumes where ``recvWindow`` is left out."""
_RECV_WINDOW_MS_MAX = 60_000
EARLY_MS: Final = 1_000
"""How far ahead of the venue's clock a timestamp may be."""

_REFUSED = {
    "signature": "is added by keyvault: leave it out",
    "apiKey": "belongs to the WebSocket API, where a signature may open a session: REST takes the key as a header",
}


def parse(payload: Payload, signer: Signer) -> Intent:
    """Return the intent of a request, or raise Malformed."""
    place, data = _signed_part(payload)
    parameters = venue_form.parameters(place, data, LONG)
    for name, problem in _REFUSED.items():
        if name in parameters:
            raise Malformed(f"{FIELD}.{name}", problem)
    issued_at = _issued_at(parameters)
    window = recv_window(parameters.get("recvWindow"))
    effects, completeness = binance_orders.effects(parameters)
    if completeness is Completeness.FULL and issued_at is not None and list(parameters)[-1] != "timestamp":
        completeness = Completeness.PARTIAL
    at = signer.stamp.at if issued_at is None else issued_at
    return Intent(
        kind=payload.kind,
        algorithms=_ALGORITHMS,
        signing_input=_stamped(data, signer) if issued_at is None else data,
        effects=effects,
        completeness=completeness,
        issued_at=issued_at,
        binds=_BINDS,
        not_before=UnixMillis(at - EARLY_MS),
        expires_at=UnixMillis(at + window),
        stamped=issued_at is None,
        decoder_version=4,
    )


def assemble(payload: Payload, signer: Signer, signature: Signature) -> Output:
    """Return the request with ``signature`` as its last parameter: hex of an HMAC, escaped Base64 of Ed25519."""
    place, data = _signed_part(payload)
    if "timestamp" not in venue_form.parameters(place, data, LONG):
        data = _stamped(data, signer)
    signed = f"{data.decode('ascii')}&signature={percent.encode(signature_text(signature).encode('ascii'))}"
    return Output(query=signed) if place == "query" else Output(body=signed)


def signature_text(signature: Signature) -> str:
    """Return hex of an HMAC, Base64 of an Ed25519 signature; raise Broken for anything else."""
    value = signature.value
    if len(value) not in (HMAC_SHA256_BYTES, ED25519_BYTES):
        raise Broken("a signature for Binance must have 32 bytes (HMAC-SHA256) or 64 (Ed25519)")
    return value.hex() if len(value) == HMAC_SHA256_BYTES else base64.b64encode(value).decode("ascii")


def recv_window(text: str | None) -> int:
    """Return the window in milliseconds, or raise Malformed."""
    if text is None:
        return _RECV_WINDOW_MS
    if not _RECV_WINDOW.fullmatch(text) or int(text) > _RECV_WINDOW_MS_MAX:
        raise Malformed(f"{FIELD}.recvWindow", f"must be a whole number of milliseconds, 1 to {_RECV_WINDOW_MS_MAX}")
    return int(text)


def _signed_part(payload: Payload) -> tuple[str, bytes]:
    """Return ("query" or "body", its bytes): the one that is not empty; the query if both are."""
    query, body = parts(payload, 2)
    if query and body:
        problem = "query and body are both given: Binance signs them without a separator, so send all parameters in one"
        raise Malformed(FIELD, problem)
    return ("body", body) if body else ("query", query)


def _stamped(data: bytes, signer: Signer) -> bytes:
    stamp = b"timestamp=%d" % signer.stamp.at
    return data + b"&" + stamp if data else stamp


def _issued_at(parameters: dict[str, str]) -> UnixMillis | None:
    """Return the caller's own timestamp; None if the service has to stamp."""
    text = parameters.get("timestamp")
    if text is None:
        return None
    if not _TIMESTAMP.fullmatch(text):
        hint = ": microseconds are not supported" if _MICROSECONDS.fullmatch(text) else ""
        raise Malformed(f"{FIELD}.timestamp", f"must be Unix time in milliseconds, 13 digits{hint}")
    return UnixMillis(int(text))
