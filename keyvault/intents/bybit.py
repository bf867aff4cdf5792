"""Signed REST requests to Bybit v5; parts are method, path, query, body and API key.

    HMAC-SHA256(timestamp || API key || recv_window || (query or body)), as hex

- Method and path are not signed: the request is judged by its set of parameters over all v5 endpoints for orders,
  positions, the account and its assets, as the worst that it can be (``bybit_parameters``).
- Query and body are judged alike but for their form: what is JSON is no query, and the other way round. Exactly the one
  of the method is given.
- The three fields before the parameters are not separated. A longer API key could swallow the beginning of recv_window
  and so extend it: an API key has exactly 18 letters and digits.
- ``recv_window`` is 5000, and the timestamp is the service's. What could overrule them (``recv_window``, ``api_key``,
  ``sign``; ``timestamp`` in a query) is refused. ``timestamp`` in the body is a parameter of withdrawals.
- Endpoints without any needed parameter (``user/delete-api``, ``account/upgrade-to-uta``, ``account/quick-repayment``,
  ``rfq/cancel-all-quotes``) fit every payload, whatever it says: they move nothing away and are not among the effects.
  A request that says nothing can be nothing but one of them, or a read: SETUP. Earn, broker and card endpoints are not
  judged, of P2P only what one parameter can do: an API key for trading must not have those rights at the venue.

A withdrawal whose ``chain`` is left out goes by one that the venue chooses: not FULL.

Nothing makes a request single but ``orderLinkId``, which the venue takes once ("always unique"): with category and
symbol it is the slot. A request without it can be sent again, and is executed again, until it expires.

Source: bybit-exchange.github.io/docs/v5/guide, "Authentication"; pybit ``_http_manager/_auth.py``.
"""

import re
from typing import Final

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Bound, Intent, Output, Payload, Signer
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.intents import bybit_orders, venue_form, venue_json, venue_request
from keyvault.intents.strict_json import Value
from keyvault.intents.venue_request import HMAC_SHA256_BYTES, completeness, one_of_query_and_body, parts, signed

FIELD: Final = "exchange_request"

_ALGORITHMS = frozenset({KeyAlgorithm.HMAC_SHA256})
_BINDS = frozenset({Bound.QUERY, Bound.BODY, Bound.ACCOUNT, Bound.EXPIRY})
_KEY = re.compile(r"[A-Za-z0-9]{18}", re.ASCII)
_EARLY_MS = 1_000
_OVERRULES = ("recv_window", "recvWindow", "api_key", "sign", "signature")


def parse(payload: Payload, signer: Signer) -> Intent:
    """Return the intent of a request, or raise Malformed."""
    _, _, query, body, _ = parts(payload, 5)
    _check_target(payload)
    parameters = _parameters(query, body)
    effects, slot = bybit_orders.effects(parameters, json=bool(body))
    key = _key(payload)
    return Intent(
        kind=payload.kind,
        algorithms=_ALGORITHMS,
        signing_input=f"{signer.stamp.at}{key}{limits.EXCHANGE_WINDOW_MS}".encode("ascii") + (query or body),
        effects=effects,
        completeness=completeness(effects, partial=bybit_orders.leaves_network_open(effects[0])),
        binds=_BINDS,
        not_before=UnixMillis(signer.stamp.at - _EARLY_MS),
        expires_at=UnixMillis(signer.stamp.at + limits.EXCHANGE_WINDOW_MS),
        slot=None if slot is None else f"{bybit_orders.VENUE}:{key}:{slot}",
        stamped=True,
        decoder_version=3,
    )


def assemble(payload: Payload, signer: Signer, signature: Signature) -> Output:
    """Return path, query, body and the headers to send."""
    _, path, query, body, _ = parts(payload, 5)
    headers = [
        ("X-BAPI-API-KEY", _key(payload)),
        ("X-BAPI-TIMESTAMP", str(signer.stamp.at)),
        ("X-BAPI-RECV-WINDOW", str(limits.EXCHANGE_WINDOW_MS)),
        ("X-BAPI-SIGN", signed(signature, HMAC_SHA256_BYTES).hex()),
        ("X-BAPI-SIGN-TYPE", "2"),
    ]
    if body:
        headers.append(("Content-Type", "application/json"))
    return Output(
        path=path.decode("ascii"), query=query.decode("ascii"), body=body.decode("utf-8"), headers=tuple(headers)
    )


def _check_target(payload: Payload) -> None:
    """Raise Malformed unless method and path are well formed, although nothing is believed of them."""
    verb, path, query, body, _ = payload.parts
    venue_request.path(path)
    one_of_query_and_body(venue_request.method(verb), query, body)


def _key(payload: Payload) -> str:
    text = payload.parts[4].decode("latin-1")
    if not _KEY.fullmatch(text):
        raise Malformed(f"{FIELD}.account", "an API key of Bybit has 18 letters and digits")
    return text


def _parameters(query: bytes, body: bytes) -> dict[str, Value]:
    """Return the parameters of query or body, without anything that overrules the service's stamp."""
    parameters: dict[str, Value] = {}
    if query:
        parameters.update(venue_form.parameters("query", query))
    elif body:
        parameters.update(venue_json.members(body))
    refused = (*_OVERRULES, "timestamp") if query else _OVERRULES
    for name in refused:
        if name in parameters:
            raise Malformed(f"{FIELD}.{name}", "is the service's: leave it out")
    return parameters
