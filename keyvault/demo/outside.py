"""What a chain or a venue does with a signature, written again from the public standards.

Shares no code with the decoders, the server or the SDK, so that an error in them does not agree with itself here:
Keccak-256 and secp256k1 come from their C libraries, RLP and EIP-712 are spelled out.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

from coincurve import PublicKey
from Crypto.Hash import keccak
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_SHORT = 55
"""Longest RLP string or list whose length stands in its first byte (Ethereum yellow paper, appendix B)."""
_SIGNED_FIELDS, _SIGNATURE_FIELDS = 9, 3

COW_DOMAIN = bytes.fromhex("c078f884a2676e1345748b1feace7b0abee5d00ecadb6e574dcdd109a63e8943")
"""``domainSeparator()`` of the settlement contract on mainnet."""
COW_ORDER_TYPE = bytes.fromhex("d5a25ba2e97094ad7d83dc28a6572da797d6b3e7fc6663bd93efb789fc17e489")
"""``GPv2Order.TYPE_HASH``."""

Item = int | bytes | Sequence["Item"]


def keccak256(data: bytes) -> bytes:
    """Return Keccak-256 as Ethereum uses it."""
    return keccak.new(digest_bits=256, data=data).digest()


def rlp(item: Item) -> bytes:
    """Return the RLP of integers, strings and lists of them."""
    if isinstance(item, int):
        return rlp(item.to_bytes((item.bit_length() + 7) // 8, "big"))
    if isinstance(item, bytes):
        return item if len(item) == 1 and item[0] < 0x80 else _prefixed(0x80, item)  # noqa: PLR2004  as in the standard
    return _prefixed(0xC0, b"".join(map(rlp, item)))


def _prefixed(offset: int, body: bytes) -> bytes:
    if len(body) <= _SHORT:
        return bytes((offset + len(body),)) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes((offset + _SHORT + len(length),)) + length + body


def sender(raw: bytes, fields: Sequence[Item]) -> str | None:
    """Return who sent the signed EIP-1559 transaction ``raw``; None if it does not hold exactly these nine fields."""
    unsigned = b"\x02" + rlp(fields)
    inner = b"".join(map(rlp, fields))
    start = raw.find(inner)
    if len(fields) != _SIGNED_FIELDS or raw[:1] != b"\x02" or start < 0:
        return None
    parity, r, s = raw[start + len(inner) :][:1], *_two_integers(raw[start + len(inner) + 1 :])
    y_parity = 0 if parity == b"\x80" else 1
    if b"\x02" + rlp((*fields, y_parity, r, s)) != raw:
        return None
    return recover(keccak256(unsigned), r, s, y_parity)


def _two_integers(data: bytes) -> tuple[int, int]:
    """Return two RLP strings of at most 55 bytes as integers."""
    first = data[0] - 0x80
    second = data[1 + first] - 0x80
    return (
        int.from_bytes(data[1 : 1 + first], "big"),
        int.from_bytes(data[2 + first : 2 + first + second], "big"),
    )


def recover(digest: bytes, r: int, s: int, y_parity: int) -> str:
    """Return the address, lower case, whose key made this signature over the digest."""
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes((y_parity,))
    point = PublicKey.from_signature_and_message(signature, digest, hasher=None).format(compressed=False)
    return address(point)


def address(point: bytes) -> str:
    """Return the address, lower case, of an uncompressed point (65 bytes)."""
    return "0x" + keccak256(point[1:])[-20:].hex()


def cow_digest(fields: Sequence[tuple[str, str]], message: Mapping[str, str | int | bool]) -> bytes:
    """Return what the settlement contract recovers an order's signer from (EIP-712)."""
    encoded = COW_ORDER_TYPE + b"".join(_word(kind, message[name]) for name, kind in fields)
    return keccak256(b"\x19\x01" + COW_DOMAIN + keccak256(encoded))


def _word(kind: str, value: str | int) -> bytes:
    if kind == "string":
        return keccak256(str(value).encode())
    number = int(value, 16) if isinstance(value, str) and value.startswith("0x") else int(value)
    return number.to_bytes(32, "big")


def hmac_accepts(secret: bytes, signed_query: str) -> bool:
    """Say whether the exchange that knows this secret would accept the query."""
    query, _, signature = signed_query.rpartition("&signature=")
    return hmac.compare_digest(hmac.digest(secret, query.encode(), hashlib.sha256).hex(), signature)


def ed25519_accepts(public_key: bytes, signed_query: str) -> bool:
    """Say whether the exchange that knows this public key would accept the query."""
    query, _, signature = signed_query.rpartition("&signature=")
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(base64.b64decode(unquote(signature)), query.encode())
    except (InvalidSignature, ValueError):
        return False
    return True
