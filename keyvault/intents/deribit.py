"""Signed requests to Deribit, and the logon that gives an access token.

DERIBIT_REST  parts: method, uri (path, with the query of a GET), body, API key
DERIBIT_AUTH  parts: data, API key

    HMAC-SHA256(timestamp LF nonce LF METHOD LF uri LF body LF), as hex     (deri-hmac-sha256)
    HMAC-SHA256(timestamp LF nonce LF data), as hex                         (public/auth, client_signature)

Timestamp and nonce are the stamp's. The venue takes a timestamp for 60 s, and a nonce once.

**The second form contains the first**: what signs a request also signs a logon whose ``data`` is
``METHOD LF uri LF body LF``. ``public/auth`` takes any data of the user, so every signed request can open a session.
Each request therefore has a SESSION effect besides its own; ``via`` says how. The other way round, ``data`` of a logon
may only have letters and digits, so a logon never signs a request.

A POST has its parameters as JSON-RPC, whose ``method`` must be the path's; JSON numbers with a fraction are refused
(``strict_json``), so amounts with a fraction go into a GET's query, as the venue's own documents have them.

Source: docs.deribit.com, "Authentication": "Deribit signature credentials", "Client signature".
"""

import json
import re
from typing import Final

from keyvault.core.errors import Malformed
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Bound, Completeness, Effect, Intent, Operation, Output, Payload, Signer
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.intents import venue_form, venue_json, venue_request
from keyvault.intents.deribit_endpoints import ENDPOINTS, VENUE
from keyvault.intents.strict_json import Value
from keyvault.intents.venue_request import (
    HMAC_SHA256_BYTES,
    account,
    bounded,
    completeness,
    one_of_query_and_body,
    opaque,
    parts,
    signed,
)

FIELD: Final = "exchange_request"

_ALGORITHMS = frozenset({KeyAlgorithm.HMAC_SHA256})
_LOGON_BINDS = frozenset({Bound.EXPIRY, Bound.NONCE})
_BINDS = _LOGON_BINDS | {Bound.METHOD, Bound.PATH, Bound.QUERY, Bound.BODY}
_WINDOW_MS = 60_000
_PREFIX = "/api/v2/"
_DATA = re.compile(r"[A-Za-z0-9]{0,64}", re.ASCII)
_SESSION = (Effect(operation=Operation.SESSION, venue=VENUE, via="public/auth"),)
_MEMBERS = frozenset({"jsonrpc", "id", "method", "params"})
_CREDENTIALS = ("access_token", "refresh_token", "client_id", "client_secret", "signature", "nonce", "timestamp")


def parse(payload: Payload, signer: Signer) -> Intent:
    """Return the intent of a request, or raise Malformed."""
    verb, uri, body, key = parts(payload, 4)
    account(key)
    effects = bounded(_SESSION + _effects(verb, uri, body))
    return Intent(
        kind=payload.kind,
        algorithms=_ALGORITHMS,
        signing_input=_head(signer) + b"\n".join((verb, uri, body, b"")),
        effects=effects,
        completeness=completeness(effects),
        binds=_BINDS,
        expires_at=UnixMillis(signer.stamp.at + _WINDOW_MS),
        stamped=True,
        decoder_version=2,
    )


def assemble(payload: Payload, signer: Signer, signature: Signature) -> Output:
    """Return path, query, body and the headers to send."""
    _, uri, body, key = parts(payload, 4)
    path, _, query = uri.decode("ascii").partition("?")
    value = signed(signature, HMAC_SHA256_BYTES).hex()
    credentials = f"id={account(key)},ts={signer.stamp.at},sig={value},nonce={signer.stamp.nonce}"
    headers = [("Authorization", f"deri-hmac-sha256 {credentials}")]
    if body:
        headers.append(("Content-Type", "application/json"))
    return Output(path=path, query=query, body=body.decode("utf-8"), headers=tuple(headers))


def parse_auth(payload: Payload, signer: Signer) -> Intent:
    """Return the intent of a logon, or raise Malformed."""
    data, key = parts(payload, 2)
    account(key)
    return Intent(
        kind=payload.kind,
        algorithms=_ALGORITHMS,
        signing_input=_head(signer) + _data(data).encode("ascii"),
        effects=_SESSION,
        completeness=Completeness.FULL,
        binds=_LOGON_BINDS,
        expires_at=UnixMillis(signer.stamp.at + _WINDOW_MS),
        stamped=True,
    )


def assemble_auth(payload: Payload, signer: Signer, signature: Signature) -> Output:
    """Return the ``public/auth`` message to send."""
    data, key = parts(payload, 2)
    parameters = {
        "grant_type": "client_signature",
        "client_id": account(key),
        "timestamp": signer.stamp.at,
        "signature": signed(signature, HMAC_SHA256_BYTES).hex(),
        "nonce": str(signer.stamp.nonce),
        "data": _data(data),
    }
    message = {"jsonrpc": "2.0", "id": signer.stamp.nonce, "method": "public/auth", "params": parameters}
    return Output(message=json.dumps(message, separators=(",", ":")))


def _head(signer: Signer) -> bytes:
    return b"%d\n%d\n" % (signer.stamp.at, signer.stamp.nonce)


def _data(data: bytes) -> str:
    text = data.decode("latin-1")
    if not _DATA.fullmatch(text):
        raise Malformed(f"{FIELD}.data", "must be at most 64 letters and digits: with line feeds it signs a request")
    return text


def _effects(verb: bytes, uri: bytes, body: bytes) -> tuple[Effect, ...]:
    """Return what the request does besides opening a session, or raise Malformed."""
    path, mark, query = uri.partition(b"?")
    if mark and not query:
        raise Malformed(f"{FIELD}.uri", "has a ? and no query after it")
    method, target = venue_request.method(verb), venue_request.path(path)
    one_of_query_and_body(method, query, body)
    name = target.removeprefix(_PREFIX)
    values: dict[str, Value] = {}
    if method == "GET":
        values.update(venue_form.parameters("query", query))
    else:
        values = _call(name, body)
    for credential in _CREDENTIALS:
        if credential in values:
            raise Malformed(f"{FIELD}.{credential}", "is the service's, or another way to say who asks: leave it out")
    if method not in {"GET", "POST"} or not target.startswith(_PREFIX) or name not in ENDPOINTS:
        return opaque(VENUE)
    return ENDPOINTS[name].effects(VENUE, values)


def _call(name: str, body: bytes) -> dict[str, Value]:
    """Return the parameters of a JSON-RPC call, or raise Malformed unless it is one to the path's method."""
    call = venue_json.members(body)
    if not _MEMBERS.issuperset(call) or call.get("jsonrpc") != "2.0":
        raise Malformed(f"{FIELD}.body", "must be a JSON-RPC 2.0 call: jsonrpc, id, method, params")
    if call.get("method") != name:
        raise Malformed(f"{FIELD}.method", f"the call's method must be the path's, {name!r}")
    params = call.get("params", {})
    if not isinstance(params, dict):
        raise Malformed(f"{FIELD}.params", "must be a JSON object")
    return params
