"""Decimal numbers as venues write them, exact: integers of 10**-18.

No sign, no exponent, no leading zeros, no point without digits on both sides. ``canonical`` refuses zeros at the end of
a fraction too, for venues that write a number in one way only and hash what they write.
"""

import re
from typing import Final

from keyvault.core.errors import Malformed

PLACES: Final = 18
"""Fractional digits that facts have."""

_PLAIN = re.compile(r"(0|[1-9][0-9]{0,39})(?:\.([0-9]{1,18}))?", re.ASCII)


def plain(text: object, field: str) -> int:
    """Return ``text`` in 10**-18, or raise Malformed for ``field``."""
    match = _PLAIN.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise Malformed(
            field, 'must be a decimal text such as "12.5": no sign or exponent, at most 18 fractional digits'
        )
    whole, fraction = match.groups("")
    return int(whole + fraction.ljust(PLACES, "0"))


def canonical(text: object, field: str) -> int:
    """Return ``text`` in 10**-18, or raise Malformed for ``field`` unless it is the shortest text of the number."""
    number = plain(text, field)
    if isinstance(text, str) and "." in text and text.endswith("0"):
        raise Malformed(field, 'has zeros at its end: the venue hashes the shortest text, "12.5" and not "12.50"')
    return number
