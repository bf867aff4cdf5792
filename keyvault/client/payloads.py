"""What a bot has in its hands, as the payload that it asks to be signed.

Nothing is decoded here, only put in its place: what is wrong with the bytes the decoders say, here and at the server.
Every function raises Malformed for what has no place in the format.
"""

import json
from collections.abc import Mapping, Sequence

from keyvault.core.errors import Malformed
from keyvault.core.intent import Payload, PayloadKind
from keyvault.ledger.wire_payload import part_names

REQUESTS: Mapping[str, PayloadKind] = {
    "binance": PayloadKind.BINANCE_REST,
    "bybit": PayloadKind.BYBIT_REST,
    "okx": PayloadKind.OKX_REST,
    "coinbase": PayloadKind.COINBASE_JWT,
    "kraken": PayloadKind.KRAKEN_REST,
    "deribit": PayloadKind.DERIBIT_REST,
    "polymarket": PayloadKind.POLYMARKET_REST,
}
"""Venues whose requests are signed."""

MESSAGES: Mapping[str, PayloadKind] = {"binance": PayloadKind.BINANCE_WS}
"""Venues whose WebSocket messages are signed one by one."""

LOGONS: Mapping[tuple[str, str], PayloadKind] = {
    ("binance", "websocket"): PayloadKind.BINANCE_WS_LOGON,
    ("binance", "fix"): PayloadKind.BINANCE_FIX_LOGON,
    ("okx", "websocket"): PayloadKind.OKX_WS_LOGON,
    ("kraken", "fix"): PayloadKind.KRAKEN_FIX_LOGON,
    ("deribit", "oauth"): PayloadKind.DERIBIT_AUTH,
}
"""Venues and protocols whose log-ons are signed. A Coinbase WebSocket takes a token: a request without path."""


def evm_transaction(unsigned: bytes) -> Payload:
    """Return the payload of an unsigned transaction: RLP of 9 items (EIP-155), or type byte and RLP (EIP-2718)."""
    return Payload(kind=PayloadKind.EVM_TRANSACTION, parts=(bytes(unsigned),))


def evm_authorization(unsigned: bytes) -> Payload:
    """Return the payload of an EIP-7702 authorization: 0x05 and RLP of chain id, address and nonce."""
    return Payload(kind=PayloadKind.EVM_AUTHORIZATION, parts=(bytes(unsigned),))


def evm_message(message: bytes | str) -> Payload:
    """Return the payload of a personal message (EIP-191), without the prefix; a str is meant as UTF-8."""
    return Payload(kind=PayloadKind.EVM_MESSAGE, parts=(_text(message),))


def typed_data(document: Mapping[str, object] | str | bytes) -> Payload:
    """Return the payload of EIP-712 typed data: {types, primaryType, domain, message}, as object or JSON text.

    Values that JSON has not must be written so that it has: bytes as 0x-hex.
    """
    return Payload(kind=PayloadKind.TYPED_DATA, parts=(_json("typed_data", document),))


def hyperliquid(
    action: Mapping[str, object] | str | bytes,
    *,
    vault_address: str = "",
    expires_after_ms: int = 0,
    testnet: bool = False,
) -> Payload:
    """Return the payload of an action, as object (its order is kept, and signed) or JSON text; 0: it never expires."""
    expires = str(expires_after_ms) if expires_after_ms else ""
    parts = (
        _json("hyperliquid_action", action),
        _encoded("hyperliquid_action.vault_address", vault_address),
        expires.encode(),
        b"testnet" if testnet else b"mainnet",
    )
    return Payload(kind=PayloadKind.HYPERLIQUID_ACTION, parts=parts)


def solana(message: bytes) -> Payload:
    """Return the payload of a serialised message, legacy or version 0, without signatures."""
    return Payload(kind=PayloadKind.SOLANA_MESSAGE, parts=(bytes(message),))


def bitcoin_input(psbt: bytes, number: int, *, network: str = "mainnet") -> Payload:
    """Return the payload of input ``number``, from 0, of a PSBT; ``network`` is mainnet, testnet or regtest."""
    parts = (bytes(psbt), str(number).encode(), _encoded("bitcoin_psbt.network", network))
    return Payload(kind=PayloadKind.BITCOIN_PSBT, parts=parts)


def cosmos(sign_doc: bytes) -> Payload:
    """Return the payload of a serialised SignDoc (SIGN_MODE_DIRECT)."""
    return Payload(kind=PayloadKind.COSMOS_SIGN_DOC, parts=(bytes(sign_doc),))


def binance(*, query: str = "", body: str = "") -> Payload:
    """Return the payload of a Binance REST request; exactly one of both parts has the parameters."""
    return exchange("binance", query=query, body=body)


def exchange(
    venue: str,
    *,
    method: str = "",
    path: str = "",
    query: str = "",
    body: str = "",
    account: str = "",
    address: str = "",
) -> Payload:
    """Return the payload of a request to a venue, exactly as it will be sent; what its scheme does not take is empty.

    ``account`` is the id of the API key, ``address`` Polymarket's. Deribit's ``path`` has the query.
    """
    kind = _kind("exchange_request", REQUESTS, venue)
    given = {
        "method": method,
        "path": path,
        "query": query,
        "body": body,
        "account": account,
        "address": address,
    }
    return _of_names("exchange_request", kind, given)


def exchange_message(
    venue: str, *, method: str, parameters: Mapping[str, object] | str | bytes = "{}", account: str
) -> Payload:
    """Return the payload of a WebSocket message that is signed by itself; parameters as object or JSON text."""
    kind = _kind("exchange_message", MESSAGES, venue)
    parts = (
        _json("exchange_message.parameters", parameters),
        _encoded("exchange_message.method", method),
        _encoded("exchange_message.account", account),
    )
    return Payload(kind=kind, parts=parts)


def logon(
    venue: str,
    *,
    protocol: str,
    account: str,
    sender_comp_id: str = "",
    target_comp_id: str = "",
    sequence_number: int = 0,
    data: str = "",
) -> Payload:
    """Return the payload of what opens a session: ``protocol`` is websocket, fix or oauth.

    The CompIDs and the number are FIX's, ``data`` is Deribit's.
    """
    kind = LOGONS.get((venue, protocol))
    if kind is None:
        known = ", ".join(f"{name} {spoken}" for name, spoken in LOGONS)
        raise Malformed("exchange_logon", f"{venue} has no log-on by {protocol} here: there are {known}")
    given = {
        "account": account,
        "sender_comp_id": sender_comp_id,
        "target_comp_id": target_comp_id,
        "sequence_number": str(sequence_number) if sequence_number else "",
        "data": data,
    }
    return _of_names("exchange_logon", kind, given)


def raw_digest(digest: bytes) -> Payload:
    """Return the payload of 32 bytes that nobody can look into; the policy must name the key for it."""
    return Payload(kind=PayloadKind.RAW_DIGEST, parts=(bytes(digest),))


def _kind(field: str, known: Mapping[str, PayloadKind], venue: str) -> PayloadKind:
    try:
        return known[venue]
    except KeyError:
        raise Malformed(f"{field}.venue", f"{venue!r} is not known: there are {', '.join(known)}") from None


def _of_names(field: str, kind: PayloadKind, given: Mapping[str, str]) -> Payload:
    """Return the payload whose parts stand under their names; raise Malformed for text that none of them takes."""
    names = part_names(kind)
    _check_taken(field, kind, [name for name, text in given.items() if text and name not in names])
    return Payload(kind=kind, parts=tuple(_encoded(f"{field}.{name}", given[name]) for name in names))


def _check_taken(field: str, kind: PayloadKind, stray: Sequence[str]) -> None:
    if stray:
        raise Malformed(f"{field}.{stray[0]}", f"is not part of what {kind} signs: leave it out")


def _encoded(field: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Malformed(field, "cannot be written as UTF-8") from None


def _text(message: bytes | str) -> bytes:
    return _encoded("evm_message", message) if isinstance(message, str) else bytes(message)


def _json(field: str, document: Mapping[str, object] | str | bytes) -> bytes:
    if isinstance(document, bytes):
        return document
    if isinstance(document, str):
        return _encoded(field, document)
    try:
        return json.dumps(dict(document), separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise Malformed(field, f"cannot be written as JSON: {error}") from None
