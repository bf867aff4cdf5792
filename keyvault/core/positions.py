"""How far in the ledger an answer was made, as metadata of a call, so that nobody reads undone what they have seen.

An answer says ``keyvault-position``: entries of the ledger that it includes, at least. A call may say
``keyvault-min-position``: a node that has fewer waits a little, and else says UNAVAILABLE; another one may have them.
"""

from keyvault.core.errors import Malformed

POSITION_KEY = "keyvault-position"
MIN_POSITION_KEY = "keyvault-min-position"
_DIGITS_MAX = 18


def parse_position(text: str | bytes) -> int:
    """Return the number of entries, or raise Malformed."""
    if not isinstance(text, str) or not text.isascii() or not text.isdigit() or len(text) > _DIGITS_MAX:
        raise Malformed(MIN_POSITION_KEY, f"must be a decimal number of at most {_DIGITS_MAX} digits")
    return int(text)
