"""MessagePack of JSON values, in the shortest form of each (github.com/msgpack/msgpack, spec.md).

That is what msgpack-python and rmp-serde write, and so what a venue hashes: nil, booleans, integers of 64 bits,
strings, arrays, and maps with text keys in the order that they have. There are no floats, no binaries and no extensions
here.
"""

from keyvault.core.errors import Malformed
from keyvault.intents.strict_json import Value

_BYTE = tuple(bytes((number,)) for number in range(256))
_FIXSTR_MAX = 31
_FIXINT_MAX = 127
_FIXED_MAX = 15
"""Most elements of a short array or map."""
_UNSIGNED = ((2**8, 1, b"\xcc"), (2**16, 2, b"\xcd"), (2**32, 4, b"\xce"), (2**64, 8, b"\xcf"))
_SIGNED = (
    (-(2**5), 1, b""),
    (-(2**7), 1, b"\xd0"),
    (-(2**15), 2, b"\xd1"),
    (-(2**31), 4, b"\xd2"),
    (-(2**63), 8, b"\xd3"),
)
"""Bound, bytes, prefix: the first row whose bound holds is the shortest."""
_STRING = ((2**8, 1, b"\xd9"), (2**16, 2, b"\xda"), (2**32, 4, b"\xdb"))
_ARRAY = ((2**16, 2, b"\xdc"), (2**32, 4, b"\xdd"))
_MAP = ((2**16, 2, b"\xde"), (2**32, 4, b"\xdf"))


def encode(value: Value, field: str) -> bytes:
    """Return the bytes of ``value``; raise Malformed for ``field`` if an integer does not fit into 64 bits.

    Recursion is as deep as the value, which ``strict_json`` bounds.
    """
    if isinstance(value, str):
        return _text(value)
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return _integer(value, field)
    size = len(value)
    if isinstance(value, list):
        head = _BYTE[0x90 | size] if size <= _FIXED_MAX else _size(size, _ARRAY)
        return head + b"".join([encode(item, field) for item in value])
    head = _BYTE[0x80 | size] if size <= _FIXED_MAX else _size(size, _MAP)
    return head + b"".join([_text(name) + encode(item, field) for name, item in value.items()])


def _text(value: str) -> bytes:
    content = value.encode("utf-8")
    size = len(content)
    return (_BYTE[0xA0 | size] if size <= _FIXSTR_MAX else _size(size, _STRING)) + content


def _integer(value: int, field: str) -> bytes:
    if 0 <= value <= _FIXINT_MAX:
        return _BYTE[value]
    for bound, size, prefix in _UNSIGNED if value >= 0 else _SIGNED:
        if value < bound if value >= 0 else value >= bound:
            return prefix + value.to_bytes(size, "big", signed=value < 0)
    raise Malformed(field, f"{value} does not fit into 64 bits")


def _size(count: int, forms: tuple[tuple[int, int, bytes], ...]) -> bytes:
    """Return the prefix of a long string, array or map; none is as large as the last form's bound."""
    size, prefix = next((size, prefix) for bound, size, prefix in forms if count < bound)
    return prefix + count.to_bytes(size, "big")
