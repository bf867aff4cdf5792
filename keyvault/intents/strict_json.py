"""JSON with one reading (RFC 8259, I-JSON and stricter).

UTF-8 without BOM; no duplicate names; no number with a fraction or an exponent; no NaN or Infinity; integers in their
one form and of at most 256 bits; no lone surrogates. Depth and count of values are bounded before anything is built.
"""

import json
import re
from collections.abc import Iterable
from typing import NoReturn, TypeAlias

from keyvault.core import limits
from keyvault.core.errors import Malformed

Value: TypeAlias = "str | int | bool | list[Value] | dict[str, Value] | None"

_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\Z)', re.DOTALL)
"""A string, or one that never ends: then it takes the rest, so that the search stays linear."""
_NOT_STRUCTURE = re.compile(r"[^\[\]{},]++")
_INTEGER_DIGITS_MAX = 79
"""2^256 has 78 digits, and a sign."""


def loads(data: bytes, field: str) -> Value:
    """Return the value, or raise Malformed for ``field``."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(field, f"is not UTF-8 at byte {error.start}") from None
    if text.startswith("\ufeff"):
        raise Malformed(field, "begins with a byte order mark: send UTF-8 without it")
    _check_bounds(text, field)
    try:
        value: Value = _DECODER.decode(text)
    except _NotStrictError as error:
        raise Malformed(field, str(error)) from None
    except ValueError as error:
        raise Malformed(field, f"is not JSON: {error}") from None
    if "\\u" in text:
        _check_surrogates(text, field)
    return value


def _check_bounds(text: str, field: str) -> None:
    """Raise Malformed for what is nested too deep or has too many values, before the parser sees it."""
    structure = _NOT_STRUCTURE.sub("", _STRING.sub("", text))
    if structure.count(",") + structure.count("[") + structure.count("{") >= limits.TYPED_DATA_NODES_MAX:
        raise Malformed(field, f"has more than {limits.TYPED_DATA_NODES_MAX} JSON values")
    depth = 0
    for mark in structure.replace(",", ""):
        depth += 1 if mark in "[{" else -1
        if depth > limits.TYPED_DATA_DEPTH_MAX:
            raise Malformed(field, f"is nested deeper than {limits.TYPED_DATA_DEPTH_MAX}")


_LOW_SURROGATE = r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPE = re.compile(rf"\\u[dD][89abAB][0-9a-fA-F]{{2}}(?:{_LOW_SURROGATE})?|{_LOW_SURROGATE}|\\.", re.DOTALL)


def _check_surrogates(text: str, field: str) -> None:
    """Raise Malformed if an escape leaves half of a surrogate pair: such a text has no UTF-8."""
    for escape in _ESCAPE.finditer(text):
        if len(escape[0]) == len(r"\ud800"):
            raise Malformed(field, f"{escape[0]} is half of a surrogate pair")


class _NotStrictError(Exception):
    """Well-formed JSON that has more than one reading."""


def _object(pairs: Iterable[tuple[str, Value]]) -> dict[str, Value]:
    members: dict[str, Value] = {}
    for name, value in pairs:
        if name in members:
            raise _NotStrictError(f"the name {name[:80]!r} stands twice in one object")
        members[name] = value
    return members


def _integer(digits: str) -> int:
    if len(digits) > _INTEGER_DIGITS_MAX:
        raise _NotStrictError("an integer has more than 256 bits")
    if digits == "-0":
        raise _NotStrictError("-0 is not an integer: write 0")
    return int(digits)


def _no_float(text: str) -> NoReturn:
    raise _NotStrictError(f"{text[:80]!r} is not an integer: fractions and exponents are refused")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_no_float, parse_constant=_no_float
)
