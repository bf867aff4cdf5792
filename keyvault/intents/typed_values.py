"""EIP-712 atomic values: strict readers from JSON to the 32-byte words that are hashed, and to facts.

integers   JSON integer, decimal text ("-12", "0"), or for non-negative ones lower-case-x hex text ("0x1f"); no plus
           sign, no leading zeros, no blanks; within the range of the type
bool       true or false
address    0x and 40 hex digits, EIP-55 if the case is mixed
bytesN     0x and exactly 2N hex digits
bytes      0x and an even number of hex digits
string     text in Unicode normal form C

Nothing is coerced, padded or cut. Word and fact come from one reading, so no fact can differ from what is hashed. Every
reader raises Malformed with an empty field; the caller knows the place.
"""

import re
import unicodedata
from collections.abc import Callable
from typing import TypeAlias

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.intents.address import parse_address
from keyvault.intents.keccak import keccak256, keccak256_of_recurring
from keyvault.intents.strict_json import Value

Fact: TypeAlias = "int | str | bytes | tuple[Fact, ...] | dict[str, Fact]"
"""What was read: numbers and booleans; text, and addresses as 0x and 40 lower-case digits; bytes; arrays; structs."""
Reader: TypeAlias = Callable[[Value], tuple[bytes, Fact]]
"""Returns the 32-byte word of a JSON value (encodeData of one member) and what it says, or raises Malformed."""

_INTEGER_TYPE = re.compile(r"(u?)int([1-9][0-9]{0,2})", re.ASCII)
_BYTES_TYPE = re.compile(r"bytes([1-9][0-9]?)", re.ASCII)
_RESERVED = re.compile(r"(?:u?int|bytes|u?fixed)[0-9]*(?:x[0-9]+)?|byte|bool|address|string|function", re.ASCII)
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,77}", re.ASCII)
_HEX_INTEGER = re.compile(r"0x(?:0|[1-9a-fA-F][0-9a-fA-F]{0,63})", re.ASCII)
_HEX = re.compile(r"0x(?:[0-9a-fA-F]{2})*", re.ASCII)
_BITS_MAX = 256
_BYTES_MAX = 32


def is_reserved(name: str) -> bool:
    """Return whether a struct of that name could be taken for an atomic type of Solidity."""
    return _RESERVED.fullmatch(name) is not None


def atomic_reader(type_name: str) -> Reader | None:
    """Return the reader of an atomic or dynamic type of EIP-712, or None when there is no such type."""
    if type_name in _NAMED:
        return _NAMED[type_name]
    if (match := _INTEGER_TYPE.fullmatch(type_name)) is not None:
        bits = int(match[2])
        return None if bits % 8 or bits > _BITS_MAX else _integer_reader(bits, signed=not match[1])
    if (match := _BYTES_TYPE.fullmatch(type_name)) is not None:
        size = int(match[1])
        return None if size > _BYTES_MAX else _fixed_bytes_reader(size)
    return None


def _integer_reader(bits: int, *, signed: bool) -> Reader:
    low = -(1 << (bits - 1)) if signed else 0
    high = (1 << (bits - 1 if signed else bits)) - 1
    name = f"{'int' if signed else 'uint'}{bits}"

    def read(value: Value) -> tuple[bytes, Fact]:
        number = _integer(value)
        if not low <= number <= high:
            raise Malformed("", f"is out of the range of {name}")
        return number.to_bytes(32, "big", signed=signed), number

    return read


def _integer(value: Value) -> int:
    # bool is a subclass of int: compare the class itself.
    if type(value) is int:
        return value
    if isinstance(value, str):
        if _INTEGER.fullmatch(value):
            return int(value)
        if _HEX_INTEGER.fullmatch(value):
            return int(value, 16)
    raise Malformed("", 'must be an integer: 12, "12" or "0xc", without plus sign, leading zeros or blanks')


def _fixed_bytes_reader(size: int) -> Reader:
    def read(value: Value) -> tuple[bytes, Fact]:
        content = _bytes(value)
        if len(content) != size:
            raise Malformed("", f"has {len(content)} bytes, bytes{size} must have exactly {size}")
        return content.ljust(32, b"\0"), content

    return read


def _bytes(value: Value) -> bytes:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise Malformed("", "must be 0x and an even number of hex digits")
    return bytes.fromhex(value[2:])


def _dynamic_bytes(value: Value) -> tuple[bytes, Fact]:
    content = _bytes(value)
    return keccak256(content), content


def _string(value: Value) -> tuple[bytes, Fact]:
    if not isinstance(value, str):
        raise Malformed("", "must be a string")
    if not value.isascii() and not unicodedata.is_normalized("NFC", value):
        raise Malformed("", "must be in Unicode normal form C: other forms look the same and hash differently")
    data = value.encode("utf-8")
    return (keccak256_of_recurring if len(value) <= limits.HASHED_TEXT_CHARS_MAX else keccak256)(data), value


def _bool(value: Value) -> tuple[bytes, Fact]:
    if value is True:
        return _TRUE, True
    if value is False:
        return _FALSE, False
    raise Malformed("", "must be true or false")


def _address(value: Value) -> tuple[bytes, Fact]:
    if not isinstance(value, str):
        raise Malformed("", "must be an address as text: 0x and 40 hex digits")
    try:
        lower = parse_address(value)
    except Malformed as error:
        raise Malformed("", error.problem) from None
    return bytes.fromhex(lower[2:]).rjust(32, b"\0"), lower


_FALSE = bytes(32)
_TRUE = bytes(31) + b"\1"
_NAMED: dict[str, Reader] = {"address": _address, "bool": _bool, "bytes": _dynamic_bytes, "string": _string}
