"""Signed requests to OKX v5, and the logon of its WebSockets.

OKX_REST      parts: method, path, query, body, API key
OKX_WS_LOGON  parts: API key

    HMAC-SHA256(timestamp || method || path [|| "?" || query] || body), as Base64

The timestamp is UTC as ISO 8601 with milliseconds, the service's. Method, path, query and body are bound, so each
endpoint has its own facts (``okx_endpoints``). The logon signs seconds || ``GET/users/self/verify``.

The header OK-ACCESS-PASSPHRASE, and ``passphrase`` in the logon's message, are the caller's to add: keyvault does not
have it. The logon's message is therefore returned without it.

Nothing makes a request single: how long OKX remembers a ``clOrdId`` is not documented, so it is no slot.

Source: okx.com/docs-v5, "REST Authentication", "WebSocket: Login".
"""

import json
from typing import Final

from keyvault.core.errors import Malformed
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Bound, Completeness, Effect, Intent, Operation, Output, Payload, Signer
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.intents import venue_form, venue_json, venue_request
from keyvault.intents.okx_endpoints import GET, POST, VENUE
from keyvault.intents.venue_request import (
    HMAC_SHA256_BYTES,
    account,
    base64_text,
    completeness,
    moment,
    one_of_query_and_body,
    opaque,
    parts,
    signed,
)

FIELD: Final = "exchange_request"

_ALGORITHMS = frozenset({KeyAlgorithm.HMAC_SHA256})
_BINDS = frozenset({Bound.METHOD, Bound.PATH, Bound.QUERY, Bound.BODY, Bound.EXPIRY})
_WINDOW_MS = 30_000
"""How far a timestamp may be from the venue's clock, either way."""
_WITHDRAWAL = b"/api/v5/asset/withdrawal"
"""Without a chain it goes by one that the venue chooses."""
_LOGON = "GET/users/self/verify"
_SESSION = (Effect(operation=Operation.SESSION, venue=VENUE),)


def parse(payload: Payload, signer: Signer) -> Intent:
    """Return the intent of a request, or raise Malformed."""
    verb, path, query, body, key = parts(payload, 5)
    account(key)
    effects = _effects(venue_request.method(verb), venue_request.path(path), query, body)
    target = path + b"?" + query if query else path
    return Intent(
        kind=payload.kind,
        algorithms=_ALGORITHMS,
        signing_input=_timestamp(signer).encode("ascii") + verb + target + body,
        effects=effects,
        completeness=completeness(effects, partial=path == _WITHDRAWAL and effects[0].network is None),
        binds=_BINDS,
        not_before=UnixMillis(signer.stamp.at - _WINDOW_MS),
        expires_at=UnixMillis(signer.stamp.at + _WINDOW_MS),
        stamped=True,
        decoder_version=3,
    )


def assemble(payload: Payload, signer: Signer, signature: Signature) -> Output:
    """Return path, query, body and the headers to send, except for the passphrase."""
    _, path, query, body, key = parts(payload, 5)
    headers = [
        ("OK-ACCESS-KEY", account(key)),
        ("OK-ACCESS-SIGN", base64_text(signed(signature, HMAC_SHA256_BYTES))),
        ("OK-ACCESS-TIMESTAMP", _timestamp(signer)),
    ]
    if body:
        headers.append(("Content-Type", "application/json"))
    return Output(
        path=path.decode("ascii"), query=query.decode("ascii"), body=body.decode("utf-8"), headers=tuple(headers)
    )


def parse_logon(payload: Payload, signer: Signer) -> Intent:
    """Return the intent of a logon: a session in which requests need no signature."""
    account(parts(payload, 1)[0])
    return Intent(
        kind=payload.kind,
        algorithms=_ALGORITHMS,
        signing_input=f"{_seconds(signer)}{_LOGON}".encode("ascii"),
        effects=_SESSION,
        completeness=Completeness.FULL,
        binds=frozenset({Bound.EXPIRY}),
        not_before=UnixMillis(signer.stamp.at - _WINDOW_MS),
        expires_at=UnixMillis(signer.stamp.at + _WINDOW_MS),
        stamped=True,
    )


def assemble_logon(payload: Payload, signer: Signer, signature: Signature) -> Output:
    """Return the ``login`` message; its argument lacks ``passphrase``, which the caller adds."""
    argument = {
        "apiKey": account(parts(payload, 1)[0]),
        "timestamp": str(_seconds(signer)),
        "sign": base64_text(signed(signature, HMAC_SHA256_BYTES)),
    }
    return Output(message=json.dumps({"op": "login", "args": [argument]}, separators=(",", ":")))


def _effects(verb: str, path: str, query: bytes, body: bytes) -> tuple[Effect, ...]:
    one_of_query_and_body(verb, query, body)
    if verb == "GET":
        values = venue_form.parameters("query", query)
        return GET[path].effects(VENUE, dict(values)) if path in GET else opaque(VENUE)
    if not body:
        raise Malformed(f"{FIELD}.body", "is empty: a request without parameters has the body {}")
    items = venue_json.body(body)
    if verb != "POST" or path not in POST:
        return opaque(VENUE)
    one = POST[path]
    return one.effects_of_all(VENUE, items) if body.lstrip().startswith(b"[") else one.effects(VENUE, items[0])


def _timestamp(signer: Signer) -> str:
    """Return ``2020-12-08T09:08:57.715Z``."""
    return moment(signer.stamp.at).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seconds(signer: Signer) -> int:
    return signer.stamp.at // 1000
