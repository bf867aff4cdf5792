"""Decimal numbers of venues as exact integers of 10**-18.

One form: digits, and a fraction after a dot if there is one. Refused is what venues or their languages read apart:
signs, exponents, leading zeros, a dot without digits before or after it, thousands separators, more than 18 fractional
digits, spaces, digits of other scripts. ``1.50`` and ``1.5`` are the same number for everybody.
"""

import re
from typing import Final

from keyvault.core.errors import Malformed

DIGITS: Final = 18
"""Fractional digits of the unit in which quantities and prices are stated."""
UNIT: Final = 10**DIGITS

_INTEGER_DIGITS_MAX = 30
_DECIMAL = re.compile(rf"(0|[1-9][0-9]{{0,{_INTEGER_DIGITS_MAX - 1}}})(?:\.([0-9]+))?", re.ASCII)


def decimal(text: str, field: str) -> int:
    """Return the number in 10**-18, or raise Malformed for ``field``."""
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise Malformed(field, f"{text[:80]!r} must be digits with at most one dot between them, no sign, no exponent")
    fraction = match[2] or ""
    if len(fraction) > DIGITS:
        raise Malformed(field, f"has more than {DIGITS} fractional digits")
    return int(match[1]) * UNIT + int(fraction.ljust(DIGITS, "0"))


def whole(number: int, field: str) -> int:
    """Return a JSON integer in 10**-18, or raise Malformed for ``field``."""
    if number < 0 or number >= 10**_INTEGER_DIGITS_MAX:
        raise Malformed(field, f"must be from 0 to less than 10^{_INTEGER_DIGITS_MAX}")
    return number * UNIT
