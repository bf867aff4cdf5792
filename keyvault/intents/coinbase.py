"""Tokens for Coinbase Advanced Trade: JWTs that live 120 s; parts are method, path, query, body and API key.

    header   {"alg": "ES256" | "EdDSA", "kid": API key, "nonce": hex, "typ": "JWT"}
    claims   {"sub": API key, "iss": "cdp", "nbf": s, "exp": nbf + 120, "uri": "METHOD api.coinbase.com/path"}

A token binds method, host and path, but neither query nor body: whoever holds one for ``POST .../orders`` can place any
orders with it until it expires. So every method but GET is a SESSION, whose ``via`` is the uri; a GET is a REQUEST,
because it changes nothing whatever its query. No condition of a rule but ``when`` asks for ``via``: a rule that leaves
it out is for every uri, one with ``via == "POST api.coinbase.com/api/v3/brokerage/orders"`` for this one alone. Method
and path are both empty for a WebSocket's token: a SESSION without ``via``, because it has no uri; in an allow rule no
``when`` that asks for one holds for it.

Everything in the token but key and uri is the service's: algorithm by the key, times and nonce by the stamp.

Sources: docs.cdp.coinbase.com, "Advanced API authentication"; github.com/coinbase/coinbase-advanced-py
``jwt_generator.py``; RFC 7515, 7518, 8037.
"""

import base64
import hashlib
import json
import re
from typing import Final

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Bound, Completeness, Effect, Intent, Operation, Output, Payload, Signer
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.intents import venue_request
from keyvault.intents.venue_request import P256_BYTES, account, one_of_query_and_body, parts, signed

FIELD: Final = "exchange_request"
VENUE: Final = "coinbase"

_HOST = "api.coinbase.com"
_ALGORITHMS = frozenset({KeyAlgorithm.P256, KeyAlgorithm.ED25519})
_SOCKET_BINDS = frozenset({Bound.ACCOUNT, Bound.EXPIRY})
_BINDS = _SOCKET_BINDS | {Bound.METHOD, Bound.HOST, Bound.PATH}
_NONCE_BYTES = 16
_QUERY = re.compile(r"[!$-;=?-Z_a-z~]*+", re.ASCII)


def parse(payload: Payload, signer: Signer) -> Intent:
    """Return the intent of a token, or raise Malformed."""
    uri = _uri(payload)
    token = _token(uri, _account(payload), signer)
    reads = uri is not None and uri.startswith("GET ")
    effect = Effect(operation=Operation.REQUEST if reads else Operation.SESSION, venue=VENUE, via=uri)
    seconds = _seconds(signer)
    return Intent(
        kind=payload.kind,
        algorithms=_ALGORITHMS,
        signing_input=hashlib.sha256(token).digest() if signer.algorithm is KeyAlgorithm.P256 else token,
        effects=(effect,),
        completeness=Completeness.FULL,
        binds=_SOCKET_BINDS if uri is None else _BINDS,
        not_before=UnixMillis(seconds * 1000),
        expires_at=UnixMillis((seconds + limits.EXCHANGE_TOKEN_S) * 1000),
        stamped=True,
    )


def assemble(payload: Payload, signer: Signer, signature: Signature) -> Output:
    """Return the request with its token as a header, or a WebSocket's token as ``message``."""
    uri = _uri(payload)
    value = signed(signature, P256_BYTES)  # an Ed25519 signature has the same length
    token = f"{_token(uri, _account(payload), signer).decode('ascii')}.{_base64url(value)}"
    if uri is None:
        return Output(message=token)
    _, path, query, body, _ = payload.parts
    headers = [("Authorization", f"Bearer {token}")]
    if body:
        headers.append(("Content-Type", "application/json"))
    return Output(
        path=path.decode("ascii"), query=query.decode("ascii"), body=body.decode("utf-8"), headers=tuple(headers)
    )


def _account(payload: Payload) -> str:
    return account(payload.parts[4])


def _uri(payload: Payload) -> str | None:
    """Return ``METHOD host/path``, None for a WebSocket's token; raise Malformed unless everything is well formed."""
    verb, path, query, body, _ = parts(payload, 5)
    if not verb and not path:
        if query or body:
            raise Malformed(FIELD, "a WebSocket's token has neither query nor body")
        return None
    method = venue_request.method(verb)
    one_of_query_and_body(method, query, body)
    _check_unbound(query, body)
    return f"{method} {_HOST}{venue_request.path(path)}"


def _check_unbound(query: bytes, body: bytes) -> None:
    """Raise Malformed unless query and body are texts: what they say is not signed, so nothing is believed of it."""
    if not _QUERY.fullmatch(query.decode("latin-1")):
        raise Malformed(f"{FIELD}.query", "has a character that a query cannot have: percent-encode it")
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"{FIELD}.body", f"is not UTF-8 at byte {error.start}") from None


def _token(uri: str | None, key: str, signer: Signer) -> bytes:
    """Return header and claims as they are signed."""
    nonce = hashlib.sha256(f"{signer.stamp.nonce}:{key}".encode("ascii")).hexdigest()[: 2 * _NONCE_BYTES]
    algorithm = "ES256" if signer.algorithm is KeyAlgorithm.P256 else "EdDSA"
    header = {"alg": algorithm, "kid": key, "nonce": nonce, "typ": "JWT"}
    seconds = _seconds(signer)
    claims: dict[str, str | int] = {
        "sub": key,
        "iss": "cdp",
        "nbf": seconds,
        "exp": seconds + limits.EXCHANGE_TOKEN_S,
    }
    if uri is not None:
        claims["uri"] = uri
    return f"{_json(header)}.{_json(claims)}".encode("ascii")


def _seconds(signer: Signer) -> int:
    return signer.stamp.at // 1000


def _json(value: dict[str, str] | dict[str, str | int]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode("ascii"))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
