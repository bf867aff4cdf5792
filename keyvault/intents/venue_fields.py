"""Facts read from named values: of a form, whose values are texts, or of a JSON object.

A value of another type than the fact has, an empty text and null are refused, not guessed at.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.venue_names import KRAKEN, asset_at, symbol_at
from keyvault.intents import percent
from keyvault.intents.strict_json import Value
from keyvault.intents.venue_decimal import decimal, whole
from keyvault.intents.venue_request import FIELD

Word = TypeVar("Word")
_FLAGS: Mapping[str, bool] = {"true": True, "false": False}


class Fields:
    """The values of one request, or of one item of a batch; ``place`` says in errors where they stand."""

    __slots__ = ("_place", "_values")

    def __init__(self, values: Mapping[str, Value], place: str = FIELD) -> None:
        self._values = values
        self._place = place

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def names(self) -> Iterable[str]:
        """Return the names of all values."""
        return self._values.keys()

    def get(self, name: str) -> Value:
        """Return the value as it stands; None if there is none."""
        return self._values.get(name)

    def refuse(self, name: str, problem: str) -> Malformed:
        """Return the error for one value."""
        return Malformed(f"{self._place}.{name}", problem)

    def text(self, name: str) -> str | None:
        """Return a text that can stand among the facts."""
        value = self._line(name)
        if value is not None and " " in value:
            raise self.refuse(name, "has a space or a character that cannot be printed")
        return value

    def asset(self, name: str, venue: str) -> str | None:
        """Return an asset by its one name at the venue (``venue_names``)."""
        code = self.text(name)
        return None if code is None else self._named(name, code, asset_at(venue, code), venue)

    def symbol(self, name: str, venue: str) -> str | None:
        """Return a market by its one name at the venue (``venue_names``)."""
        code = self.text(name)
        return None if code is None else self._named(name, code, symbol_at(venue, code), venue)

    def _named(self, name: str, code: str, one: str, venue: str) -> str:
        """Return the one name; only Kraken is known to take others."""
        if code != one and (venue != KRAKEN or not code.isascii()):
            raise self.refuse(name, f"is {code[:80]!r}, and {venue} writes its names in capitals: write {one[:80]}")
        return one

    def _line(self, name: str) -> str | None:
        if name not in self._values:
            return None
        value = self._values[name]
        if not isinstance(value, str):
            raise self.refuse(name, "must be a string")
        if not value:
            raise self.refuse(name, "is empty: leave it out")
        if len(value) > limits.EXCHANGE_FACT_CHARS_MAX:
            raise self.refuse(name, f"is longer than {limits.EXCHANGE_FACT_CHARS_MAX} characters")
        if not value.isprintable():
            raise self.refuse(name, "has a space or a character that cannot be printed")
        return value

    def label(self, name: str) -> str | None:
        """Return a text, or a whole number as text: ids are either."""
        value = self._values.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return self.text(name)

    def network(self, name: str, venue: str) -> str | None:
        """Return the network of a withdrawal as ``{venue}:{network}``, percent-encoded: some have spaces."""
        text = self._line(name)
        if text is None:
            return None
        network = f"{venue}:{percent.encode(text.encode('utf-8'))}"
        if len(network) > limits.EXCHANGE_FACT_CHARS_MAX:
            raise self.refuse(name, f"is longer than {limits.EXCHANGE_FACT_CHARS_MAX} characters, escapes counted")
        return network

    def decimal(self, name: str) -> int | None:
        """Return a number in 10**-18."""
        value = self._values.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return whole(value, f"{self._place}.{name}")
        text = self.text(name)
        return None if text is None else decimal(text, f"{self._place}.{name}")

    def word(self, name: str, words: Mapping[str, Word]) -> Word | None:
        """Return the meaning of one of ``words``, as the venue spells them."""
        text = self.text(name)
        if text is None:
            return None
        if text not in words:
            raise self.refuse(name, f"must be one of {', '.join(words)}")
        return words[text]

    def flag(self, name: str) -> bool:
        """Return whether a boolean stands there and is true; its texts are ``true`` and ``false``."""
        value = self._values.get(name)
        if isinstance(value, bool):
            return value
        return bool(self.word(name, _FLAGS))
