"""Recursive Length Prefix, canonical form only (Ethereum Yellow Paper, appendix B).

The decoder accepts exactly the bytes that the encoder produces: shortest lengths, a single byte below 0x80 stands
for itself, nothing after the item. Depth is bounded, so no input can exhaust the stack.
"""

from collections.abc import Sequence
from typing import TypeAlias

from keyvault.core import limits
from keyvault.core.errors import Malformed

Item: TypeAlias = "bytes | tuple[Item, ...]"

_STRING = 0x80
_LIST = 0xC0
_SHORT_MAX = 55
"""Longest content whose length fits into the prefix byte."""


def decode_list(data: bytes, field: str) -> tuple[Item, ...]:
    """Return the items of the one list that ``data`` is, or raise Malformed for ``field``."""
    if not data or data[0] < _LIST:
        raise Malformed(field, "is not an RLP list")
    start, stop = _extent(data, 0, len(data), _LIST, field)
    if stop != len(data):
        raise Malformed(field, f"{len(data) - stop} bytes follow the RLP list")
    return _items(data, start, stop, 1, field)


def _items(data: bytes, start: int, end: int, depth: int, field: str) -> tuple[Item, ...]:
    """Return the items in ``data[start:end]``, which lie inside ``depth`` lists."""
    if depth > limits.RLP_DEPTH_MAX:
        raise Malformed(field, f"lists are nested deeper than {limits.RLP_DEPTH_MAX}")
    items: list[Item] = []
    while start < end:
        prefix = data[start]
        if prefix < _STRING:
            items.append(data[start : start + 1])
            start += 1
            continue
        base = _STRING if prefix < _LIST else _LIST
        first, stop = _extent(data, start, end, base, field)
        items.append(data[first:stop] if base == _STRING else _items(data, first, stop, depth + 1, field))
        start = stop
    return tuple(items)


def _extent(data: bytes, start: int, end: int, base: int, field: str) -> tuple[int, int]:
    """Return where the content of the string or list at ``start`` begins and ends."""
    length = data[start] - base
    first = start + 1
    if length > _SHORT_MAX:
        size = length - _SHORT_MAX
        length = int.from_bytes(data[first : first + size], "big")
        if first + size > end:
            raise Malformed(field, f"the RLP length at byte {start} is cut off")
        if length <= _SHORT_MAX or data[first] == 0:
            raise Malformed(field, f"the RLP length at byte {start} is not in its shortest form")
        first += size
    stop = first + length
    if stop > end:
        raise Malformed(field, f"the RLP item at byte {start} is longer than what holds it")
    if length == 1 and base == _STRING and data[first] < _STRING:
        raise Malformed(field, f"the RLP byte at {start} is not in its shortest form")
    return first, stop


def encode(item: "bytes | Sequence[Item]") -> bytes:
    """Return the canonical bytes of a string or list."""
    if isinstance(item, bytes):
        length = len(item)
        if length == 1 and item[0] < _STRING:
            return item
        return (_SHORT_PREFIX[length] if length <= _SHORT_MAX else _prefix(length, _STRING)) + item
    content = b"".join(map(encode, item))
    return _prefix(len(content), _LIST) + content


def integer(value: int) -> bytes:
    """Return a non-negative integer as an RLP string: big-endian, no leading zeros, zero is empty."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


_SHORT_PREFIX = tuple(bytes((_STRING + length,)) for length in range(_SHORT_MAX + 1))


def _prefix(length: int, base: int) -> bytes:
    if length <= _SHORT_MAX:
        return bytes((base + length,))
    size = integer(length)
    return bytes((base + _SHORT_MAX + len(size),)) + size
