"""Protocol Buffers, one encoding only: Cosmos ADR-027 (docs.cosmos.network, deterministic protobuf serialization).

Parsers of protobuf take fields in any order, several times, with padded numbers, and skip what they do not know: one
meaning has endless encodings, and two readers of one encoding can differ. Here it has one:

- fields stand in ascending order, and once unless they are repeated;
- there are no fields that the message's description does not have, and none of another wire type;
- a field without presence is left out when it has its default (0, false, empty); a message or a member of a oneof that
  is there is there, whatever it holds;
- repeated numbers are packed, and packed numbers are not empty;
- a varint is as short as possible and fits the field: 64 bits, 32 bits, a boolean is 1;
- text is UTF-8; a negative number is refused, as no described field has one.

Messages are described by hand; a description is finite, none contains itself, so it bounds the depth of the reader.
Lists have a bounded length. Groups, maps, and unpacked repeated numbers do not exist here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, cast

from keyvault.core import limits
from keyvault.core.errors import Malformed

Value: TypeAlias = "int | str | bytes | list[Value] | dict[str, Value]"
Values: TypeAlias = Mapping[str, Value]
"""Of a message, by name; what is absent has no entry."""

_CONTINUES = 0x80
_LOW_BITS = 0x7F
_GROUP_BITS = 7
_VARINT_BYTES_MAX = 10
_VARINT_MAX = 2**64 - 1
_FIXED32_BYTES = 4
_WIRE_BITS = 3


# Kinds of fields. Plain numbers: comparing members of an Enum would take a tenth of the time of reading.
_VARINT, _FIXED32, _STRING, _OCTETS, _PACKED, _MESSAGE = range(6)
_WIRE_TYPE = {_VARINT: 0, _FIXED32: 5}
_LENGTH_DELIMITED = 2


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a description; made by the functions below."""

    number: int
    name: str
    kind: int
    maximum: int = 0
    repeated: bool = False
    presence: bool = False
    message: "Message | None" = None
    key: bytes = field(init=False)

    def __post_init__(self) -> None:
        wire_type = _WIRE_TYPE.get(self.kind, _LENGTH_DELIMITED)
        object.__setattr__(self, "key", varint(self.number << _WIRE_BITS | wire_type))


@dataclass(frozen=True, slots=True)
class Message:
    """A description: the fields in ascending order, and the groups of which one member may be there."""

    name: str
    fields: tuple[Field, ...]
    oneofs: tuple[tuple[str, ...], ...] = ()
    by_key: Mapping[int, Field] = field(init=False)

    def __post_init__(self) -> None:
        by_key = {_varint(part.key, 0, len(part.key), self.name)[0]: part for part in self.fields}
        object.__setattr__(self, "by_key", by_key)


def uint64(number: int, name: str) -> Field:
    """Describe a ``uint64``."""
    return Field(number, name, _VARINT, _VARINT_MAX)


def uint32(number: int, name: str, *, presence: bool = False) -> Field:
    """Describe a ``uint32``; ``presence``: it is a member of a oneof."""
    return Field(number, name, _VARINT, 2**32 - 1, presence=presence)


def int64(number: int, name: str) -> Field:
    """Describe an ``int64`` that is never negative."""
    return Field(number, name, _VARINT, 2**63 - 1)


def int32(number: int, name: str) -> Field:
    """Describe an ``int32`` or an enum that is never negative."""
    return Field(number, name, _VARINT, 2**31 - 1)


def boolean(number: int, name: str) -> Field:
    """Describe a ``bool``."""
    return Field(number, name, _VARINT, 1)


def fixed32(number: int, name: str, *, presence: bool = False) -> Field:
    """Describe a ``fixed32``; ``presence``: it is a member of a oneof."""
    return Field(number, name, _FIXED32, presence=presence)


def string(number: int, name: str, *, repeated: bool = False) -> Field:
    """Describe a ``string``."""
    return Field(number, name, _STRING, repeated=repeated)


def octets(number: int, name: str, *, repeated: bool = False) -> Field:
    """Describe ``bytes``."""
    return Field(number, name, _OCTETS, repeated=repeated)


def packed32(number: int, name: str) -> Field:
    """Describe a ``repeated uint32``."""
    return Field(number, name, _PACKED, 2**32 - 1)


def packed64(number: int, name: str) -> Field:
    """Describe a ``repeated uint64``."""
    return Field(number, name, _PACKED, _VARINT_MAX)


def nested(number: int, name: str, message: Message, *, repeated: bool = False) -> Field:
    """Describe a message in a message."""
    return Field(number, name, _MESSAGE, repeated=repeated, presence=True, message=message)


def decode(message: Message, data: bytes, where: str) -> Values:
    """Return the values of ``data``, or raise Malformed below ``where`` unless it is their one encoding."""
    values = _read(message, data, 0, len(data), where)
    if encode(message, values) != data:
        raise Malformed(where, "is not the canonical encoding of what it says")
    return values


def encode(message: Message, values: Values) -> bytes:
    """Return the one encoding of ``values``."""
    parts: list[bytes] = []
    for described in message.fields:
        value = values.get(described.name)
        if value is None:
            continue
        for one in cast("list[Value]", value) if described.repeated else (value,):
            if isinstance(one, int):
                parts.append(described.key)
                parts.append(one.to_bytes(_FIXED32_BYTES, "little") if described.kind == _FIXED32 else varint(one))
                continue
            content = one if isinstance(one, bytes) else _encoded(described, one)
            size = len(content)
            parts += (described.key, _SHORT[size] if size < _CONTINUES else varint(size), content)
    return b"".join(parts)


def varint(value: int) -> bytes:
    """Return a number in groups of seven bits, lowest first."""
    if value < _CONTINUES:
        return _SHORT[value]
    groups = bytearray()
    while value >= _CONTINUES:
        groups.append(value & _LOW_BITS | _CONTINUES)
        value >>= _GROUP_BITS
    groups.append(value)
    return bytes(groups)


def number_of(values: Values, name: str) -> int:
    """Return a number or a boolean; 0 where it is absent."""
    return cast("int", values.get(name, 0))


def text_of(values: Values, name: str) -> str:
    """Return text; empty where it is absent."""
    return cast("str", values.get(name, ""))


def octets_of(values: Values, name: str) -> bytes:
    """Return bytes; none where they are absent."""
    return cast("bytes", values.get(name, b""))


def message_of(values: Values, name: str, where: str) -> Values:
    """Return a message in a message, or raise Malformed where it is absent."""
    value = values.get(name)
    if value is None:
        raise Malformed(f"{where}.{name}", "is missing")
    return cast("Values", value)


def messages_of(values: Values, name: str) -> list[Values]:
    """Return the messages of a repeated field."""
    return cast("list[Values]", values.get(name, []))


def numbers_of(values: Values, name: str) -> list[int]:
    """Return the numbers of a packed field."""
    return cast("list[int]", values.get(name, []))


_SHORT = tuple(bytes((value,)) for value in range(_CONTINUES))


def _read(message: Message, data: bytes, start: int, end: int, where: str) -> dict[str, Value]:
    """Return the values in ``data[start:end]``. It calls itself once per level of the description."""
    values: dict[str, Value] = {}
    last = 0
    while start < end:
        key, start = (data[start], start + 1) if data[start] < _CONTINUES else _varint(data, start, end, where)
        described = message.by_key.get(key)
        if described is None:
            raise _unexpected(message, key, where)
        if described.number <= last:
            _check_order(described, last, where)
        last = described.number
        value, start = _value(described, data, start, end, where)
        if not (value or described.presence or described.repeated):
            raise Malformed(f"{where}.{described.name}", "stands there with its default: leave it out (ADR-027)")
        if described.repeated:
            elements = cast("list[Value]", values.setdefault(described.name, []))
            elements.append(value)
            _check_length(elements, described, where)
        else:
            values[described.name] = value
    for group in message.oneofs:
        if sum(name in values for name in group) > 1:
            raise Malformed(where, f"has more than one of {', '.join(group)}")
    return values


def _value(described: Field, data: bytes, start: int, end: int, where: str) -> tuple[Value, int]:
    """Return the value of a field whose key ends at ``start``, and where what follows it begins."""
    kind = described.kind
    if kind == _FIXED32:
        return _fixed32(described, data, start, end, where)
    # A number, or the length of what follows. Most have one byte.
    short = start < end and data[start] < _CONTINUES
    number, start = (data[start], start + 1) if short else _varint(data, start, end, where)
    if kind == _VARINT:
        return _bounded(described, number, where), start
    stop = start + number
    if stop > end:
        raise Malformed(f"{where}.{described.name}", "is longer than what holds it")
    if kind == _OCTETS:
        return data[start:stop], stop
    if kind == _STRING:
        try:
            return data[start:stop].decode("utf-8"), stop
        except UnicodeDecodeError:
            raise Malformed(f"{where}.{described.name}", "is not UTF-8") from None
    if described.message is not None:
        return _read(described.message, data, start, stop, f"{where}.{described.name}"), stop
    return _packed(described, data, start, stop, where), stop


def _packed(described: Field, data: bytes, start: int, stop: int, where: str) -> Value:
    numbers: list[Value] = []
    while start < stop:
        number, start = _varint(data, start, stop, f"{where}.{described.name}")
        if number > described.maximum:
            raise Malformed(f"{where}.{described.name}", f"has a number higher than {described.maximum}")
        numbers.append(number)
        _check_length(numbers, described, where)
    return numbers


def _bounded(described: Field, number: int, where: str) -> int:
    if number > described.maximum:
        raise Malformed(f"{where}.{described.name}", f"is higher than {described.maximum}")
    return number


def _fixed32(described: Field, data: bytes, start: int, end: int, where: str) -> tuple[int, int]:
    stop = start + _FIXED32_BYTES
    if stop > end:
        raise Malformed(f"{where}.{described.name}", "is cut off")
    return int.from_bytes(data[start:stop], "little"), stop


def _varint(data: bytes, start: int, end: int, where: str) -> tuple[int, int]:
    """Return the number at ``start``, and where what follows it begins."""
    if start >= end:
        raise Malformed(where, f"is cut off at byte {start}")
    byte = data[start]
    if byte < _CONTINUES:
        return byte, start + 1
    value = byte & _LOW_BITS
    shift = _GROUP_BITS
    for position in range(start + 1, min(start + _VARINT_BYTES_MAX, end)):
        byte = data[position]
        value |= (byte & _LOW_BITS) << shift
        if byte < _CONTINUES:
            if not byte:
                raise Malformed(where, f"the number at byte {start} is not in its shortest form")
            if value > _VARINT_MAX:
                raise Malformed(where, f"the number at byte {start} has more than 64 bits")
            return value, position + 1
        shift += _GROUP_BITS
    raise Malformed(where, f"the number at byte {start} is cut off, or has more than 64 bits")


def _check_length(elements: list[Value], described: Field, where: str) -> None:
    if len(elements) > limits.PROTOBUF_ELEMENTS_MAX:
        raise Malformed(f"{where}.{described.name}", f"has more than {limits.PROTOBUF_ELEMENTS_MAX} elements")


def _check_order(described: Field, last: int, where: str) -> None:
    if described.number < last:
        raise Malformed(f"{where}.{described.name}", f"stands after field {last}: fields must ascend (ADR-027)")
    if not described.repeated:
        raise Malformed(f"{where}.{described.name}", "stands twice")


def _unexpected(message: Message, key: int, where: str) -> Malformed:
    number = key >> _WIRE_BITS
    for described in message.fields:
        if described.number == number:
            return Malformed(
                f"{where}.{described.name}", f"has wire type {key & 7}, which {message.name} does not have"
            )
    return Malformed(where, f"has field {number}, which {message.name} does not have")


def _encoded(described: Field, value: "str | list[Value] | dict[str, Value]") -> bytes:
    """Return the content of a field that has a length."""
    if isinstance(value, str):
        return value.encode("utf-8")
    if isinstance(value, dict):
        return encode(cast("Message", described.message), value)
    return b"".join([varint(cast("int", number)) for number in value])
