"""What a bot has in its hands, as the payload that it asks to be signed."""

import json
from collections.abc import Mapping

from keyvault.core.errors import Malformed
from keyvault.core.intent import Payload, PayloadKind


def evm_transaction(unsigned: bytes) -> Payload:
    """Return the payload of an unsigned transaction: RLP of 9 items (EIP-155), or 0x02 and RLP (EIP-1559)."""
    return Payload(kind=PayloadKind.EVM_TRANSACTION, parts=(bytes(unsigned),))


def typed_data(document: Mapping[str, object] | str | bytes) -> Payload:
    """Return the payload of EIP-712 typed data: {types, primaryType, domain, message}, as object or JSON text.

    Raises Malformed if an object has values that JSON has not: write bytes as 0x-hex.
    """
    return Payload(kind=PayloadKind.TYPED_DATA, parts=(_json(document),))


def binance(*, query: str = "", body: str = "") -> Payload:
    """Return the payload of a Binance REST request; exactly one of both parts has the parameters."""
    return Payload(kind=PayloadKind.BINANCE_REST, parts=(query.encode(), body.encode()))


def raw_digest(digest: bytes) -> Payload:
    """Return the payload of 32 bytes that nobody can look into; the policy must name the key for it."""
    return Payload(kind=PayloadKind.RAW_DIGEST, parts=(bytes(digest),))


def _json(document: Mapping[str, object] | str | bytes) -> bytes:
    if isinstance(document, bytes):
        return document
    if isinstance(document, str):
        return document.encode()
    try:
        return json.dumps(dict(document), separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise Malformed("typed_data", f"cannot be written as JSON: {error}") from None
