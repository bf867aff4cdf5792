"""Numbers as people read them: exact decimals, and times. No floats.

An amount is an integer and a number of digits behind the point.
"""

from datetime import UTC, datetime
from typing import Final

from keyvault.core.ids import UnixMillis

_LAST_S: Final = 253_402_300_799
"""The last second of the year 9999, which is the last that can be written."""


def plain_decimal(value: int, digits: int) -> str:
    """Return ``value`` / 10**``digits`` in full, without trailing zeros: (1500, 3) is ``1.5``."""
    whole, fraction = divmod(value, 10**digits)
    text = f"{fraction:0{digits}d}".rstrip("0") if fraction else ""
    return f"{whole}.{text}" if text else str(whole)


def utc(at: UnixMillis) -> str:
    """Return the moment to the second, as 2026-01-31 23:59:59 UTC; what is later than the year 9999 as its end."""
    return datetime.fromtimestamp(min(at // 1000, _LAST_S), tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
