"""Contract ABI, canonical form only (Solidity's "Contract ABI Specification", version 2).

The decoder accepts exactly the bytes that the encoder produces: padding is zero, sign bits are extended, every offset
points to where the encoder puts the value, nothing lies between, after or twice. So no input is read twice, and the
work is linear in its length. What was decoded is encoded again and compared all the same.

Values: ``address`` is ``0x`` and 40 lower-case hex digits, ``uintN`` and ``intN`` are int, ``bool`` is bool, ``bytesN``
and ``bytes`` are bytes, ``string`` is str, arrays and tuples are tuples. ``fixed``, ``function`` and arrays of length
zero do not exist here. Type texts come from this package, never from a payload.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from keyvault.core import limits
from keyvault.core.errors import Broken, Malformed
from keyvault.intents.keccak import keccak256

FIELD: Final = "calldata"
SELECTOR_BYTES: Final = 4

Value: TypeAlias = Any
"""One of the Python values above; which one, the type says."""

_WORD = 32
_ZEROS = bytes(_WORD)
_ADDRESS_PADDING = bytes(12)
_WORD_BITS = 256
_NUMBER = re.compile(r"(u?int)([0-9]+)", re.ASCII)
_FIXED_BYTES = re.compile(r"bytes([0-9]+)", re.ASCII)
_ARRAY = re.compile(r"(.+)\[([0-9]*)\]", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Type:
    """One ABI type. ``head`` is how many bytes it takes where it stands: for a dynamic type, those of its offset.

    ``decode`` takes the data and where the value begins, and returns the value and where it ends.
    """

    head: int
    dynamic: bool
    decode: "Callable[[bytes, int], tuple[Value, int]]"
    encode: "Callable[[Value], bytes]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The arguments of one function, in canonical encoding."""

    selector: bytes
    sequence: Type

    def decode(self, data: bytes) -> tuple[Value, ...]:
        """Return the arguments in calldata that begins with this function's selector, or raise Malformed."""
        if len(data) > limits.PAYLOAD_BYTES_MAX:
            raise Malformed(FIELD, f"has more than {limits.PAYLOAD_BYTES_MAX} bytes")
        values: tuple[Value, ...]
        values, end = self.sequence.decode(data, SELECTOR_BYTES)
        if end != len(data):
            raise Malformed(FIELD, f"{len(data) - end} bytes follow the arguments")
        if self.encode(values) != data:
            raise Malformed(FIELD, "is not the canonical encoding of what it says")
        return values

    def encode(self, values: Sequence[Value]) -> bytes:
        """Return the calldata: selector and arguments. The values must be of the types."""
        return self.selector + self.sequence.encode(values)


def function(signature: str) -> Arguments:
    """Return the arguments of ``name(type,...)``, whose Keccak-256 begins with the selector."""
    opening = signature.index("(")
    if not signature.endswith(")"):
        raise Broken(f"{signature!r} is no function signature")
    selector = keccak256(signature.encode("ascii"))[:SELECTOR_BYTES]
    return Arguments(selector=selector, sequence=type_of(signature[opening:]))


def split(types: str) -> list[str]:
    """Return the types in ``type,type,...``, cut at the commas outside of brackets; none for the empty text."""
    parts, depth, start = [], 0, 0
    for place, character in enumerate(types):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append(types[start:place])
            start = place + 1
    return [*parts, types[start:]] if types else []


def type_of(text: str, depth: int = 0) -> Type:
    """Return the type that ``text`` names; raise Broken for what is not a type, or nested too deep."""
    if depth > limits.ABI_DEPTH_MAX:
        raise Broken(f"an ABI type is nested deeper than {limits.ABI_DEPTH_MAX}")
    if array := _ARRAY.fullmatch(text):
        return _array(type_of(array[1], depth + 1), array[2])
    if text.startswith("(") and text.endswith(")"):
        return _tuple(tuple(type_of(part, depth + 1) for part in split(text[1:-1])))
    if text in _NAMED:
        return _NAMED[text]
    if number := _NUMBER.fullmatch(text):
        return _integer(int(number[2]), signed=number[1] == "int")
    if fixed := _FIXED_BYTES.fullmatch(text):
        return _fixed_bytes(int(fixed[1]))
    raise Broken(f"{text!r} is no ABI type")


def _decode_sequence(types: Sequence[Type], heads: int, data: bytes, start: int) -> tuple[tuple[Value, ...], int]:
    """Return the values of a tuple at ``start`` whose heads take so many bytes, and where its last byte ends."""
    head, tail = start, start + heads
    if tail > len(data):
        raise Malformed(FIELD, f"is cut off: the arguments need {tail} bytes, there are {len(data)}")
    values = []
    for each in types:
        if not each.dynamic:
            value, head = each.decode(data, head)
        elif int.from_bytes(data[head : head + _WORD], "big") != tail - start:
            raise Malformed(FIELD, f"the offset at byte {head} does not point to the next value")
        else:
            value, tail = each.decode(data, tail)
            head += _WORD
        values.append(value)
    return tuple(values), tail


def _encode_sequence(types: Sequence[Type], offset: int, values: Sequence[Value]) -> bytes:
    """Return the values of a tuple whose heads take ``offset`` bytes."""
    heads, tails = [], []
    for each, value in zip(types, values, strict=True):
        encoded = each.encode(value)
        if each.dynamic:
            heads.append(offset.to_bytes(_WORD, "big"))
            tails.append(encoded)
            offset += len(encoded)
        else:
            heads.append(encoded)
    return b"".join(heads + tails)


def _length(data: bytes, at: int) -> tuple[int, int]:
    """Return the length at ``at`` and where it ends; the length is at most that of the data."""
    end = at + _WORD
    if end > len(data):
        raise Malformed(FIELD, f"is cut off: a length is missing at byte {at}")
    length = int.from_bytes(data[at:end], "big")
    if length > len(data):
        raise Malformed(FIELD, f"the length at byte {at} is more than there is")
    return length, end


def _array(item: Type, size: str) -> Type:
    """Return ``item[size]``, or the array of any length if ``size`` is empty."""
    if not size:
        return Type(head=_WORD, dynamic=True, decode=_list_decoder(item), encode=_list_encoder(item))
    if not 0 < int(size) <= limits.ABI_ITEMS_MAX:
        raise Broken(f"an array of {size} items")
    return _tuple((item,) * int(size))


def _list_decoder(item: Type) -> Callable[[bytes, int], tuple[Value, int]]:
    def decode(data: bytes, at: int) -> tuple[Value, int]:
        count, start = _length(data, at)
        if count > limits.ABI_ITEMS_MAX:
            raise Malformed(FIELD, f"the array at byte {at} has more than {limits.ABI_ITEMS_MAX} items")
        return _decode_sequence((item,) * count, item.head * count, data, start)

    return decode


def _list_encoder(item: Type) -> Callable[[Value], bytes]:
    def encode(values: Value) -> bytes:
        count: int = len(values)
        return count.to_bytes(_WORD, "big") + _encode_sequence((item,) * count, item.head * count, values)

    return encode


def _tuple(types: tuple[Type, ...]) -> Type:
    dynamic = any(each.dynamic for each in types)
    heads = sum(each.head for each in types)
    return Type(
        head=_WORD if dynamic else heads,
        dynamic=dynamic,
        decode=lambda data, at: _decode_sequence(types, heads, data, at),
        encode=lambda values: _encode_sequence(types, heads, values),
    )


def _integer(bits: int, *, signed: bool) -> Type:
    if bits % 8 or not 0 < bits <= _WORD_BITS:
        raise Broken(f"an integer of {bits} bits")
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)

    def decode(data: bytes, at: int) -> tuple[int, int]:
        end = at + _WORD
        value = int.from_bytes(data[at:end], "big", signed=signed)
        if not low <= value < high:
            raise Malformed(FIELD, f"the integer at byte {at} has more than {bits} bits")
        return value, end

    return Type(
        head=_WORD, dynamic=False, decode=decode, encode=lambda value: value.to_bytes(_WORD, "big", signed=signed)
    )


def _fixed_bytes(size: int) -> Type:
    if not 0 < size <= _WORD:
        raise Broken(f"bytes{size} is no ABI type")
    padding = bytes(_WORD - size)

    def decode(data: bytes, at: int) -> tuple[bytes, int]:
        end = at + _WORD
        if data[at + size : end] != padding:
            raise Malformed(FIELD, f"the bytes{size} at byte {at} are not padded with zeros")
        return data[at : at + size], end

    return Type(head=_WORD, dynamic=False, decode=decode, encode=lambda value: value + padding)


def _decode_address(data: bytes, at: int) -> tuple[str, int]:
    start, end = at + len(_ADDRESS_PADDING), at + _WORD
    if data[at:start] != _ADDRESS_PADDING:
        raise Malformed(FIELD, f"the address at byte {at} has more than 20 bytes")
    return "0x" + data[start:end].hex(), end


def _decode_bool(data: bytes, at: int) -> tuple[bool, int]:
    end = at + _WORD
    value = int.from_bytes(data[at:end], "big")
    if value > 1:
        raise Malformed(FIELD, f"the bool at byte {at} is neither 0 nor 1")
    return value == 1, end


def _decode_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    length, start = _length(data, at)
    stop = start + length
    end = stop + -length % _WORD
    if end > len(data):
        raise Malformed(FIELD, f"the bytes at byte {at} are cut off")
    if data[stop:end] != _ZEROS[: end - stop]:
        raise Malformed(FIELD, f"the bytes at byte {at} are not padded with zeros")
    return data[start:stop], end


def _encode_bytes(value: bytes) -> bytes:
    return len(value).to_bytes(_WORD, "big") + value + bytes(-len(value) % _WORD)


def _decode_string(data: bytes, at: int) -> tuple[str, int]:
    content, end = _decode_bytes(data, at)
    try:
        return content.decode("utf-8"), end
    except UnicodeDecodeError:
        raise Malformed(FIELD, f"the string at byte {at} is not UTF-8") from None


_NAMED: Final = {
    "address": Type(
        head=_WORD,
        dynamic=False,
        decode=_decode_address,
        encode=lambda value: _ADDRESS_PADDING + bytes.fromhex(value[2:]),
    ),
    "bool": Type(
        head=_WORD, dynamic=False, decode=_decode_bool, encode=lambda value: int(value).to_bytes(_WORD, "big")
    ),
    "bytes": Type(head=_WORD, dynamic=True, decode=_decode_bytes, encode=_encode_bytes),
    "string": Type(
        head=_WORD, dynamic=True, decode=_decode_string, encode=lambda value: _encode_bytes(value.encode("utf-8"))
    ),
}
