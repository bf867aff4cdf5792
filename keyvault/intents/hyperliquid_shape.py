"""Strict reading of the JSON objects in Hyperliquid's actions.

The venue reads an action into its own types and hashes their MessagePack, members in its own order. So members that are
known must stand in that order, or the signature would be somebody else's. A member that is not known here makes the
whole action unknown: it could change what the others mean.
"""

import re
from typing import Final

from keyvault.core.errors import Malformed
from keyvault.intents.address import parse_address
from keyvault.intents.strict_json import Value

FIELD: Final = "hyperliquid_action"
ASSET_MAX: Final = 2**32 - 1

_INTEGER_MAX = 2**64 - 1
_TEXT = re.compile(r"[A-Za-z0-9_.:@-]{1,80}", re.ASCII)


class UnknownActionError(Exception):
    """The action has a part that is not known here."""


class Shape:
    """One object of an action, with its place in it."""

    __slots__ = ("_members", "place")

    def __init__(self, value: Value, place: str, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
        """Take ``value`` if it has all of ``required``, then those of ``optional`` that it likes."""
        self.place = place
        if not isinstance(value, dict):
            raise Malformed(place, f"must be an object with {', '.join(required)}")
        self._members = value
        if tuple(value) == required:
            return
        known = required + optional
        for name in value:
            if name not in known:
                raise UnknownActionError
        for name in required:
            if name not in value:
                raise Malformed(f"{place}.{name}", "is missing")
        if tuple(value) != tuple(name for name in known if name in value):
            raise Malformed(place, f"its members must stand in this order, which is hashed: {', '.join(known)}")

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def value(self, name: str) -> Value:
        """Return the member as it is."""
        return self._members[name]

    def field(self, name: str) -> str:
        """Return the member's place."""
        return f"{self.place}.{name}"

    def flag(self, name: str) -> bool:
        """Return true or false."""
        value = self._members[name]
        if isinstance(value, bool):
            return value
        raise Malformed(self.field(name), "must be true or false")

    def integer(self, name: str, lowest: int = 0, highest: int = _INTEGER_MAX) -> int:
        """Return an integer in a range."""
        value = self._members[name]
        if isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest:
            return value
        raise Malformed(self.field(name), f"must be an integer from {lowest} to {highest}")

    def address(self, name: str) -> str:
        """Return an address; the venue hashes its lower-case text."""
        value = self._members[name]
        if not isinstance(value, str):
            raise Malformed(self.field(name), "must be an address")
        return lower_address(value, self.field(name))

    def text(self, name: str) -> str:
        """Return a name of the venue: letters, digits and a few marks."""
        value = self._members[name]
        if isinstance(value, str) and _TEXT.fullmatch(value):
            return value
        raise Malformed(self.field(name), "must be a text of A-Z a-z 0-9 _ . : @ -, 1 to 80 of them")

    def items(self, name: str) -> list[tuple[str, Value]]:
        """Return places and values of an array that is not empty."""
        value = self._members[name]
        if not isinstance(value, list) or not value:
            raise Malformed(self.field(name), "must be an array with at least one element")
        return [(f"{self.place}.{name}.{index}", item) for index, item in enumerate(value)]


def lower_address(text: str, field: str) -> str:
    """Return ``text`` if it is an address in lower case."""
    try:
        lower = parse_address(text)
    except Malformed as error:
        raise Malformed(field, error.problem) from None
    if lower != text:
        raise Malformed(field, "must be in lower case: the venue hashes it so")
    return lower
