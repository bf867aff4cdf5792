"""Signers, payloads and reference signatures for the tests of exchange requests."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keyvault.core.errors import Malformed
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Intent, Output, Payload, PayloadKind, Signer, Stamp
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.intents import (
    binance,
    binance_ws,
    bybit,
    coinbase,
    deribit,
    fix,
    kraken,
    okx,
    polymarket,
)

AT = UnixMillis(1_700_000_000_123)
NONCE = 1_700_000_000_456
SECRET = b"not-a-secret-of-anybody-0123456789abcdef"
ED25519 = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
UNIT = 10**18

Parse = Callable[[Payload, Signer], Intent]
Assemble = Callable[[Payload, Signer, Signature], Output]

DECODERS: dict[PayloadKind, tuple[Parse, Assemble]] = {
    PayloadKind.BINANCE_REST: (binance.parse, binance.assemble),
    PayloadKind.BINANCE_WS: (binance_ws.parse, binance_ws.assemble),
    PayloadKind.BINANCE_WS_LOGON: (binance_ws.parse_logon, binance_ws.assemble_logon),
    PayloadKind.BINANCE_FIX_LOGON: (fix.parse_binance, fix.assemble_binance),
    PayloadKind.BYBIT_REST: (bybit.parse, bybit.assemble),
    PayloadKind.OKX_REST: (okx.parse, okx.assemble),
    PayloadKind.OKX_WS_LOGON: (okx.parse_logon, okx.assemble_logon),
    PayloadKind.COINBASE_JWT: (coinbase.parse, coinbase.assemble),
    PayloadKind.KRAKEN_REST: (kraken.parse, kraken.assemble),
    PayloadKind.KRAKEN_FIX_LOGON: (fix.parse_kraken, fix.assemble_kraken),
    PayloadKind.DERIBIT_REST: (deribit.parse, deribit.assemble),
    PayloadKind.DERIBIT_AUTH: (deribit.parse_auth, deribit.assemble_auth),
    PayloadKind.POLYMARKET_REST: (polymarket.parse, polymarket.assemble),
}


def signer(algorithm: KeyAlgorithm = KeyAlgorithm.HMAC_SHA256, at: int = AT, nonce: int = NONCE) -> Signer:
    """Return who signs, with the service's stamp."""
    return Signer(algorithm=algorithm, public_key=b"", stamp=Stamp(at=UnixMillis(at), nonce=nonce))


def payload(kind: PayloadKind, *parts: str | bytes) -> Payload:
    """Return a payload; texts are UTF-8."""
    return Payload(kind=kind, parts=tuple(part.encode() if isinstance(part, str) else part for part in parts))


def parse(request: Payload, by: Signer | None = None) -> Intent:
    """Return the intent of a payload of any kind."""
    return DECODERS[request.kind][0](request, by or signer())


def assemble(request: Payload, value: bytes, by: Signer | None = None) -> Output:
    """Return what is to be sent for a payload of any kind."""
    return DECODERS[request.kind][1](request, by or signer(), Signature(value=value))


def sha256(data: bytes, secret: bytes = SECRET) -> bytes:
    """Return HMAC-SHA256."""
    return hmac.digest(secret, data, hashlib.sha256)


def sha512(data: bytes, secret: bytes = SECRET) -> bytes:
    """Return HMAC-SHA512."""
    return hmac.digest(secret, data, hashlib.sha512)


def b64(data: bytes) -> str:
    """Return standard Base64."""
    return base64.b64encode(data).decode()


def compact(value: Any) -> str:  # noqa: ANN401 - any JSON
    """Return JSON without spaces."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def refusal(request: Payload, by: Signer | None = None) -> tuple[str, str]:
    """Return field (below exchange_request) and problem of the refusal that must come."""
    with pytest.raises(Malformed) as caught:
        parse(request, by)
    return caught.value.field.removeprefix("exchange_request").removeprefix("."), caught.value.problem
