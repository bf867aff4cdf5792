"""JSON with one reading (RFC 8259, I-JSON and stricter).

UTF-8 without BOM; no duplicate names; no number with a fraction or an exponent; no NaN or Infinity; integers in their
one form; no lone surrogates. Depth and count of values are bounded before anything is built, in linear time.

Integers are from -(2^53 - 1) to 2^53 - 1, because many readers make binary floating point of greater ones (RFC 7493,
2.2). Where nobody but us reads the text as JSON, as with typed data, they may have 256 bits: -2^255 to 2^256 - 1.
"""

import json
import re
from collections.abc import Callable, Iterable
from typing import Final, NoReturn, TypeAlias

from keyvault.core import limits
from keyvault.core.errors import Malformed

Value: TypeAlias = "str | int | bool | list[Value] | dict[str, Value] | None"

_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
"""A string, or one that never ends: then it takes the rest, lone backslash included, so that the search is linear."""
_BRACKETS = re.compile(r"[\[\]{}]")
_SHORT_DIGITS = 15
"""So many characters are less than 2^53, whatever they are."""
_INTEGER_CHARS_MAX = 78
"""2^256 - 1 has 78 digits, -2^255 has 77 and a sign."""
_WORD_MIN, _WORD_MAX = -(2**255), 2**256 - 1
_SAFE_MAX = 2**53 - 1


def loads(data: bytes, field: str, *, words: bool = False) -> Value:
    """Return the value, or raise Malformed for ``field``. ``words``: integers may have 256 bits."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(field, f"is not UTF-8 at byte {error.start}") from None
    if text.startswith("\ufeff"):
        raise Malformed(field, "begins with a byte order mark: send UTF-8 without it")
    _check_bounds(text, field)
    try:
        value: Value = (_OF_WORDS if words else _OF_SAFE_INTEGERS).decode(text)
    except _NotStrictError as error:
        raise Malformed(field, str(error)) from None
    except ValueError as error:
        raise Malformed(field, f"is not JSON: {error}") from None
    if "\\u" in text:
        _check_surrogates(text, field)
    return value


def _check_bounds(text: str, field: str) -> None:
    """Raise Malformed for what is nested too deep or has too many values, before the parser sees it."""
    # Without a backslash, every second piece between quotation marks is a string.
    structure = _STRING.sub("", text) if "\\" in text else "".join(text.split('"')[::2])
    opened = structure.count("[") + structure.count("{")
    if opened + structure.count(",") >= limits.TYPED_DATA_NODES_MAX:
        raise Malformed(field, f"has more than {limits.TYPED_DATA_NODES_MAX} JSON values")
    if opened <= limits.TYPED_DATA_DEPTH_MAX:
        return
    depth = 0
    for mark in _BRACKETS.findall(structure):
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


def _word(digits: str) -> int:
    if digits == "-0":
        raise _NotStrictError("-0 is not an integer: write 0")
    if len(digits) <= _SHORT_DIGITS:
        return int(digits)
    if len(digits) > _INTEGER_CHARS_MAX or not _WORD_MIN <= int(digits) <= _WORD_MAX:
        raise _NotStrictError("an integer has more than 256 bits")
    return int(digits)


def _safe_integer(digits: str) -> int:
    number = _word(digits)
    if not -_SAFE_MAX <= number <= _SAFE_MAX:
        raise _NotStrictError(f"the integer {number} is beyond 2^53 - 1, where readers differ: write it as a string")
    return number


def _no_float(text: str) -> NoReturn:
    raise _NotStrictError(f"{text[:80]!r} is not an integer: fractions and exponents are refused")


def _decoder(integer: Callable[[str], int]) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=_object, parse_int=integer, parse_float=_no_float, parse_constant=_no_float
    )


_OF_WORDS: Final = _decoder(_word)
_OF_SAFE_INTEGERS: Final = _decoder(_safe_integer)
