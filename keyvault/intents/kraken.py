"""Signed REST requests to Kraken's spot API; parts are path, form body without nonce, and API key.

    HMAC-SHA512(path || SHA-256(nonce || body)), as Base64; the body begins with ``nonce=``

The nonce is the service's, higher than all before it; ``nonce`` is refused in the input. Path and body are bound, the
method is always POST, so each endpoint has its own facts (``kraken_endpoints``). The signature never expires: it is
void as soon as a request with a higher nonce arrives.

A query is not signed, and a path must not have one; whether the venue reads one that is added later is not documented.
The nonce lets a request be executed once. ``otp``, the password of a key with two factors, goes with every endpoint and
changes nothing of what it does. It stands in the ledger with the payload: let it be one that is good once.

Source: docs.kraken.com/api/docs/guides/spot-rest-auth.
"""

import hashlib
from typing import Final

from keyvault.core.errors import Malformed
from keyvault.core.intent import Bound, Intent, Output, Payload, Signer
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.intents import venue_form, venue_request
from keyvault.intents.kraken_endpoints import ENDPOINTS, VENUE
from keyvault.intents.venue_request import HMAC_SHA512_BYTES, account, base64_text, completeness, opaque, parts, signed

FIELD: Final = "exchange_request"

_ALGORITHMS = frozenset({KeyAlgorithm.HMAC_SHA512})
_BINDS = frozenset({Bound.METHOD, Bound.PATH, Bound.BODY, Bound.NONCE})
_PRIVATE = "/0/private/"


def parse(payload: Payload, signer: Signer) -> Intent:
    """Return the intent of a request, or raise Malformed."""
    path, body, key = parts(payload, 3)
    target = venue_request.path(path)
    if not target.startswith(_PRIVATE):
        raise Malformed(f"{FIELD}.path", f"must begin with {_PRIVATE}: only such requests are signed")
    account(key)
    parameters = venue_form.parameters("body", body)
    if "nonce" in parameters:
        raise Malformed(f"{FIELD}.nonce", "is the service's: leave it out")
    parameters.pop("otp", None)
    known = ENDPOINTS.get(target.removeprefix(_PRIVATE))
    effects = opaque(VENUE) if known is None else known.effects(VENUE, dict(parameters))
    digest = hashlib.sha256(b"%d" % signer.stamp.nonce + _body(body, signer)).digest()
    return Intent(
        kind=payload.kind,
        algorithms=_ALGORITHMS,
        signing_input=path + digest,
        effects=effects,
        completeness=completeness(effects),
        binds=_BINDS,
        stamped=True,
        decoder_version=3,
    )


def assemble(payload: Payload, signer: Signer, signature: Signature) -> Output:
    """Return path, body and the headers to send with POST."""
    path, body, key = parts(payload, 3)
    headers = (
        ("API-Key", account(key)),
        ("API-Sign", base64_text(signed(signature, HMAC_SHA512_BYTES))),
        ("Content-Type", "application/x-www-form-urlencoded"),
    )
    return Output(path=path.decode("ascii"), body=_body(body, signer).decode("ascii"), headers=headers)


def _body(body: bytes, signer: Signer) -> bytes:
    """Return the form with its nonce in front."""
    nonce = b"nonce=%d" % signer.stamp.nonce
    return nonce + b"&" + body if body else nonce
