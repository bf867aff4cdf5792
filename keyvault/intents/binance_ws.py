"""Binance's WebSocket API: requests that are signed one by one, and the logon of a session.

BINANCE_WS        parts: parameters as a JSON object, method, API key
BINANCE_WS_LOGON  parts: API key; Ed25519 only

What is signed is all ``params`` but the signature, sorted by name, as ``name=value`` joined by ``&``, without escapes.
A value with ``&`` or ``=`` in it could be read as further parameters, and is refused.
``apiKey`` and ``timestamp`` are added by the service and refused in the input.

``method`` is not signed: the request is judged by its set of parameters, as at REST (``binance_parameters``). A request
by an Ed25519 key without parameters signs what ``session.logon`` signs: it is a SESSION.

Source: github.com/binance/binance-spot-api-docs web-socket-api.md, "SIGNED request security", ``session.logon``.
"""

import json
import re
from typing import Final

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Bound, Completeness, Effect, Intent, Operation, Output, Payload, Signer
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.intents import binance_orders, venue_json
from keyvault.intents.binance import EARLY_MS, recv_window, signature_text
from keyvault.intents.venue_request import ED25519_BYTES, account, parts, signed

FIELD: Final = "exchange_request"

_ALGORITHMS = frozenset({KeyAlgorithm.HMAC_SHA256, KeyAlgorithm.ED25519})
_LOGON_ALGORITHMS = frozenset({KeyAlgorithm.ED25519})
_BINDS = frozenset({Bound.BODY, Bound.ACCOUNT, Bound.EXPIRY})
_LOGON_BINDS = frozenset({Bound.ACCOUNT, Bound.EXPIRY})
_METHOD = re.compile(r"[a-zA-Z][a-zA-Z0-9]*(?:\.[a-zA-Z0-9]+)+", re.ASCII)
_LOGON = "session.logon"
_METHOD_CHARS_MAX = 64
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}", re.ASCII)
_BETWEEN = frozenset("&=%+")
"""Characters that part parameters or escape them, here or where the same text could be sent as a query."""
_SERVICE = ("apiKey", "timestamp", "signature")
_SESSION = (Effect(operation=Operation.SESSION, venue=binance_orders.VENUE),)

Parameters = dict[str, str | int]


def parse(payload: Payload, signer: Signer) -> Intent:
    """Return the intent of a request, or raise Malformed."""
    parameters, _, key = _request(payload)
    window = recv_window(str(parameters["recvWindow"]) if "recvWindow" in parameters else None)
    effects, completeness = binance_orders.effects(parameters)
    if not parameters.keys() - {"recvWindow"} and signer.algorithm is KeyAlgorithm.ED25519:
        effects = _SESSION
    return Intent(
        kind=payload.kind,
        algorithms=_ALGORITHMS,
        signing_input=_signing_input(parameters, key, signer),
        effects=effects,
        completeness=completeness,
        binds=_BINDS,
        not_before=UnixMillis(signer.stamp.at - EARLY_MS),
        expires_at=UnixMillis(signer.stamp.at + window),
        stamped=True,
        decoder_version=3,
    )


def assemble(payload: Payload, signer: Signer, signature: Signature) -> Output:
    """Return the message to send, with its signature."""
    parameters, method, key = _request(payload)
    return _message(method, parameters, key, signer, signature_text(signature))


def parse_logon(payload: Payload, signer: Signer) -> Intent:
    """Return the intent of a logon: a session in which requests need no signature."""
    (data,) = parts(payload, 1)
    return Intent(
        kind=payload.kind,
        algorithms=_LOGON_ALGORITHMS,
        signing_input=_signing_input({}, account(data), signer),
        effects=_SESSION,
        completeness=Completeness.FULL,
        binds=_LOGON_BINDS,
        not_before=UnixMillis(signer.stamp.at - EARLY_MS),
        expires_at=UnixMillis(signer.stamp.at + limits.EXCHANGE_WINDOW_MS),
        stamped=True,
    )


def assemble_logon(payload: Payload, signer: Signer, signature: Signature) -> Output:
    """Return the ``session.logon`` message to send."""
    signed(signature, ED25519_BYTES)
    (data,) = parts(payload, 1)
    return _message(_LOGON, {}, account(data), signer, signature_text(signature))


def _request(payload: Payload) -> tuple[Parameters, str, str]:
    """Return parameters, method and API key, or raise Malformed."""
    data, verb, key = parts(payload, 3)
    method = verb.decode("latin-1")
    if len(method) > _METHOD_CHARS_MAX or not _METHOD.fullmatch(method):
        raise Malformed(f"{FIELD}.method", "must be words of letters and digits with dots between, as order.place")
    if method == _LOGON:
        raise Malformed(f"{FIELD}.method", "opens a session: send it as a logon")
    return _parameters(data), method, account(key)


def _parameters(data: bytes) -> Parameters:
    found: Parameters = {}
    members = venue_json.members(data, "parameters")
    if len(members) > limits.EXCHANGE_PARAMETERS_MAX:
        raise Malformed(f"{FIELD}.parameters", f"has more than {limits.EXCHANGE_PARAMETERS_MAX} parameters")
    for name, value in members.items():
        if name in _SERVICE:
            raise Malformed(f"{FIELD}.{name}", "is added by keyvault: leave it out")
        if not _NAME.fullmatch(name):
            raise Malformed(f"{FIELD}.parameters", f"{name[:80]!r} is not a name of letters, digits and _")
        if not isinstance(value, str | int):
            raise Malformed(f"{FIELD}.{name}", "must be a string, an integer, true or false")
        if isinstance(value, str) and (not value or not value.isprintable() or not _BETWEEN.isdisjoint(value)):
            raise Malformed(f"{FIELD}.{name}", "must be printable, not empty, and without & = % +")
        found[name] = value
    return found


def _signing_input(parameters: Parameters, key: str, signer: Signer) -> bytes:
    everything = {**parameters, "apiKey": key, "timestamp": signer.stamp.at}
    return "&".join(f"{name}={_text(everything[name])}" for name in sorted(everything)).encode("utf-8")


def _text(value: str | int) -> str:
    """Return a value as the venue writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _message(method: str, parameters: Parameters, key: str, signer: Signer, signature: str) -> Output:
    """Return the JSON message; its id is the stamp's nonce, which no other message of the key has."""
    everything = {**parameters, "apiKey": key, "timestamp": signer.stamp.at, "signature": signature}
    message = {"id": str(signer.stamp.nonce), "method": method, "params": everything}
    return Output(message=json.dumps(message, ensure_ascii=False, separators=(",", ":")))
