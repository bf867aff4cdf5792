"""Facts read from named values: of what a venue's JSON holds, only what can stand among facts."""

import pytest

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.intents.venue_fields import Fields

MOST = limits.EXCHANGE_FACT_CHARS_MAX


@pytest.mark.parametrize("text", ["\0", "a\nb", "a\u202eb", "a\u00a0b", "a\x7f"])
def test_a_fact_is_printable(text: str) -> None:
    """What a terminal would not show, or would show elsewhere, stands neither in a text nor in a network's name."""
    fields = Fields({"name": text})
    for read in (fields.text, fields.label, fields.decimal, lambda name: fields.network(name, "okx")):
        with pytest.raises(Malformed, match="a character that cannot be printed"):
            read("name")


def test_only_names_of_networks_have_spaces() -> None:
    """A space in a text is refused, in the name of a network it is escaped."""
    fields = Fields({"name": "Bitcoin Cash"})
    assert fields.network("name", "kraken") == "kraken:Bitcoin%20Cash"
    with pytest.raises(Malformed, match="has a space"):
        fields.text("name")


def test_facts_are_as_long_as_the_ledger_takes() -> None:
    """The longest text is read; a network's name is measured with its venue and its escapes."""
    assert Fields({"name": "a" * MOST}).text("name") == "a" * MOST
    room = MOST - len("okx:")
    for name in ("a" * room, "a" * (room - 3) + " "):
        assert len(Fields({"name": name}).network("name", "okx") or "") == MOST
    for name in ("a" * (room + 1), "a" * (room - 2) + " "):
        with pytest.raises(Malformed, match="escapes counted"):
            Fields({"name": name}).network("name", "okx")
    with pytest.raises(Malformed, match="is longer than"):
        Fields({"name": "a" * (MOST + 1)}).text("name")


def test_a_truth_is_no_number() -> None:
    """JSON's true is neither the id 1 nor the quantity 1, though Python would say so."""
    fields = Fields({"id": True, "count": 7})
    assert (fields.label("count"), fields.decimal("count")) == ("7", 7 * 10**18)
    for read in (fields.label, fields.decimal, fields.text):
        with pytest.raises(Malformed, match="must be a string"):
            read("id")
