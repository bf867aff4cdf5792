"""Parameters of a query or a form body, in one encoding.

- Names are plain: a letter, then letters, digits and ``_``.
- In values A-Z a-z 0-9 - . _ ~ stand for themselves, everything else is the upper-case %XX of its UTF-8 (RFC 3986).
- ``+`` is refused: it may be a space or a plus.
- No name stands twice: venues and their readers differ about which one counts.
- No empty values, no characters that cannot be printed, and no value that is longer than a fact can be, unless its
  name is of those that hold a list.
"""

import re

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.intents import percent
from keyvault.intents.venue_request import FIELD

_NAME = r"[A-Za-z][A-Za-z0-9_]{0,63}"
_VALUE = rf"(?:[{percent.UNRESERVED}]|%[0-9A-F]{{2}})++"
_REQUEST = re.compile(rf"{_NAME}={_VALUE}(?:&{_NAME}={_VALUE})*+", re.ASCII)
_PAIR = re.compile(rf"{_NAME}={_VALUE}", re.ASCII)


def parameters(place: str, data: bytes, lists: frozenset[str] = frozenset()) -> dict[str, str]:
    """Return decoded values by name, in order; no bytes are no parameters. Encoding them again gives ``data``.

    ``place`` says in errors where the bytes stand: ``query`` or ``body``. ``lists``: names whose values may be long.
    """
    if not data:
        return {}
    if not data.isascii():
        raise Malformed(f"{FIELD}.{place}", "has a byte that is not ASCII: percent-encode it")
    text = data.decode("ascii")
    pairs = text.split("&", limits.EXCHANGE_PARAMETERS_MAX)
    if len(pairs) > limits.EXCHANGE_PARAMETERS_MAX:
        raise Malformed(f"{FIELD}.{place}", f"has more than {limits.EXCHANGE_PARAMETERS_MAX} parameters")
    if not _REQUEST.fullmatch(text):
        raise _misspelt(place, pairs)
    values: dict[str, str] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if name in values:
            raise Malformed(f"{FIELD}.{name}", "stands twice: the venue and its readers may take either")
        if len(value) > limits.EXCHANGE_VALUE_CHARS_MAX and name not in lists:
            raise Malformed(f"{FIELD}.{name}", f"is longer than {limits.EXCHANGE_FACT_CHARS_MAX} characters")
        values[name] = _decoded(name, value) if "%" in value else value
    return values


def _decoded(name: str, value: str) -> str:
    """Return the text of a value with escapes, or raise Malformed unless ``value`` is the one way to write it."""
    try:
        text = percent.decode(value).decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed(f"{FIELD}.{name}", "its escapes are not UTF-8") from None
    if percent.encode(text.encode("utf-8")) != value:
        raise Malformed(f"{FIELD}.{name}", "escapes what needs no escape: A-Z a-z 0-9 - . _ ~ stand for themselves")
    if not text.isprintable():
        raise Malformed(f"{FIELD}.{name}", "has a character that cannot be printed")
    return text


def _misspelt(place: str, pairs: list[str]) -> Malformed:
    """Return the error that explains the first pair that is not well formed."""
    pair = next(pair for pair in pairs if not _PAIR.fullmatch(pair))
    name, equals, value = pair.partition("=")
    field = f"{FIELD}.{place}"
    if not pair:
        return Malformed(field, "has an empty parameter: an & too many, or nothing before or after one")
    if not equals or not re.fullmatch(_NAME, name, re.ASCII):
        return Malformed(field, f"{pair[:80]!r} is not name=value with a name of letters, digits and _")
    if not value:
        return Malformed(f"{FIELD}.{name}", "has no value: leave the parameter out")
    if "+" in value:
        return Malformed(f"{FIELD}.{name}", "has a +, which may mean a space: write %20 for a space, %2B for a plus")
    return Malformed(f"{FIELD}.{name}", "write all but A-Z a-z 0-9 - . _ ~ as % and two upper-case hex digits")
