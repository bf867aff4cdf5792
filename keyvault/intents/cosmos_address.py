"""Accounts of Cosmos chains: Bech32 text (BIP-173) of 20 bytes, or of 32 for accounts of code (ADR-028).

An account of a secp256k1 key is RIPEMD-160 of SHA-256 of the compressed key; that of a module is the beginning of the
SHA-256 of its name (cosmos-sdk, ``x/auth/types/account.go``). One spelling only: lower case.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

from Crypto.Hash import RIPEMD160

from keyvault.core import limits
from keyvault.core.errors import Malformed

_TEXT = re.compile(r"([a-z][a-z0-9]{0,19})1([02-9ac-hj-np-z]{6,})", re.ASCII)
_DIGITS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_DIGIT_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECKSUM_DIGITS = 6
_CHARS_MAX = 90
_ACCOUNT_BYTES = frozenset({20, 32})
_POINT_BYTES = 65
_UNCOMPRESSED = 0x04
_FEE_COLLECTOR = sha256(b"fee_collector").digest()[:20]
"""Module account that takes the fees of transactions (cosmos-sdk, ``x/auth/types/keys.go``)."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account as text, and what the text says: the chain's prefix, and the account's bytes."""

    text: str
    prefix: str
    identity: bytes


def read_account(text: str, field: str, prefix: str | None = None) -> Account:
    """Return the account, or raise Malformed for ``field`` unless it is well formed and has ``prefix``, if given."""
    try:
        account = _account(text)
    except ValueError as error:
        raise Malformed(field, f"{text[:_CHARS_MAX]!r} {error}") from None
    if prefix is not None and account.prefix != prefix:
        raise Malformed(field, f"is an address of another chain: it must begin with {prefix}1")
    return account


@lru_cache(maxsize=limits.ADDRESSES_REMEMBERED)
def account_of_key(public_key: bytes) -> tuple[bytes, bytes]:
    """Return the compressed form of a SEC 1 uncompressed secp256k1 point (65 bytes), and its account's bytes."""
    if len(public_key) != _POINT_BYTES or public_key[0] != _UNCOMPRESSED:
        raise Malformed("public_key", "must be an uncompressed point: 65 bytes, the first 0x04")
    compressed = bytes((2 + (public_key[-1] & 1),)) + public_key[1:33]
    return compressed, RIPEMD160.new(sha256(compressed).digest()).digest()


@lru_cache(maxsize=limits.ADDRESSES_REMEMBERED)
def fee_collector(prefix: str) -> str:
    """Return the address of the module that takes the fees, on the chain whose addresses have ``prefix``."""
    return address_text(prefix, _FEE_COLLECTOR)


def address_text(prefix: str, identity: bytes) -> str:
    """Return the Bech32 text of an account."""
    values = _regrouped(identity)
    checksum = _polymod([*_expanded(prefix), *values, *[0] * _CHECKSUM_DIGITS]) ^ 1
    values += [checksum >> 5 * (_CHECKSUM_DIGITS - 1 - place) & 31 for place in range(_CHECKSUM_DIGITS)]
    return f"{prefix}1{''.join(_DIGITS[value] for value in values)}"


@lru_cache(maxsize=limits.ADDRESSES_REMEMBERED)
def _account(text: str) -> Account:
    """Return the account, or raise ValueError with what is wrong."""
    match = _TEXT.fullmatch(text) if len(text) <= _CHARS_MAX else None
    if match is None:
        raise ValueError("is not a Bech32 address in lower case")
    prefix, digits = match.groups()
    values = [_DIGIT_VALUES[digit] for digit in digits]
    if _polymod([*_expanded(prefix), *values]) != 1:
        raise ValueError("has a wrong checksum: a letter was changed")
    bits = 0
    for value in values[:-_CHECKSUM_DIGITS]:
        bits = bits << 5 | value
    size, padding = divmod(5 * (len(values) - _CHECKSUM_DIGITS), 8)
    if size not in _ACCOUNT_BYTES:
        raise ValueError("is no account: it must have 20 or 32 bytes")
    identity = (bits >> padding).to_bytes(size, "big")
    if address_text(prefix, identity) != text:
        raise ValueError("is not the one way to write this account")
    return Account(text, prefix, identity)


def _regrouped(identity: bytes) -> list[int]:
    """Return the bytes as digits of five bits, zeros at the end."""
    count = -(-8 * len(identity) // 5)
    bits = int.from_bytes(identity, "big") << 5 * count - 8 * len(identity)
    return [bits >> 5 * (count - 1 - place) & 31 for place in range(count)]


def _expanded(prefix: str) -> list[int]:
    return [ord(letter) >> 5 for letter in prefix] + [0] + [ord(letter) & 31 for letter in prefix]


def _polymod(values: list[int]) -> int:
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for place, generator in enumerate(_GENERATORS):
            if top >> place & 1:
                checksum ^= generator
    return checksum
