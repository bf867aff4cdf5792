"""EVM addresses: EIP-55 text, and the strict reader that payloads and policy files share."""

import re
from functools import lru_cache

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.intents.keccak import keccak256

_ADDRESS = re.compile(r"0x[0-9A-Fa-f]{40}", re.ASCII)
_POINT_BYTES = 65
_UNCOMPRESSED = 0x04


def ethereum_address(public_key: bytes) -> str:
    """Return the EIP-55 address of a SEC 1 uncompressed secp256k1 point (65 bytes, first 0x04)."""
    if len(public_key) != _POINT_BYTES or public_key[0] != _UNCOMPRESSED:
        raise Malformed("public_key", "must be an uncompressed point: 65 bytes, the first 0x04")
    return checksum_address("0x" + keccak256(public_key[1:])[12:].hex())


def checksum_address(lower: str) -> str:
    """Return the EIP-55 form of ``0x`` and 40 lower-case hex digits."""
    digits = lower[2:]
    nibbles = keccak256(digits.encode("ascii")).hex()
    return "0x" + "".join(c.upper() if n >= "8" else c for c, n in zip(digits, nibbles, strict=False))


@lru_cache(maxsize=limits.ADDRESSES_REMEMBERED)
def parse_address(text: str) -> str:
    """Return ``0x`` and 40 lower-case digits, or raise Malformed with field ``address``.

    Digits may be all lower case or all upper case; mixed case must be the EIP-55 checksum. The prefix is ``0x``.
    """
    if not _ADDRESS.fullmatch(text):
        raise Malformed("address", f"{text[:80]!r} is not 0x and 40 hex digits")
    digits = text[2:]
    lower = "0x" + digits.lower()
    if digits not in (digits.lower(), digits.upper()) and checksum_address(lower) != text:
        raise Malformed("address", f"{text!r} has a wrong EIP-55 checksum: a letter was changed, or the case of one")
    return lower
