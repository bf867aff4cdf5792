"""JSON bodies of exchange requests: strict JSON, whose outermost value is an object, or a list of objects.

Numbers with a fraction or an exponent are refused (``strict_json``): a venue that reads them as binary floating point
would read another number than is stated. Quantities and prices are strings in the venues' own documents.

No text and no name in it has ``&``, ``=`` or a control character. What is signed is not parted by lengths, and other
venues sign ``name=value&name=value``: such a text would be a request there, for whoever has one secret at two venues.
No field of these venues needs them.
"""

import re

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.intents import strict_json
from keyvault.intents.strict_json import Value
from keyvault.intents.venue_request import FIELD

_UNFIT = re.compile(r"[&=\x00-\x1f\x7f-\x9f]")
_PLAIN = re.compile(rb"[^&=\\\x7f\xc2]*+")
"""Bytes in which no text can be unfit: no escapes, nothing that begins a control character."""


def loads(data: bytes, place: str = "body") -> Value:
    """Return a JSON value whose texts are all fit to be signed, or raise Malformed."""
    found = strict_json.loads(data, f"{FIELD}.{place}")
    if not _PLAIN.fullmatch(data):
        _check(found, f"{FIELD}.{place}")
    return found


def _check(value: Value, field: str) -> None:
    """Raise Malformed if a text or a name is not fit. Depth is bounded (``strict_json``)."""
    if isinstance(value, str) and _UNFIT.search(value):
        raise Malformed(field, "must be without & = and control characters: they could part it into other parameters")
    if isinstance(value, list):
        for item in value:
            _check(item, field)
    if isinstance(value, dict):
        for name, item in value.items():
            _check(name, field)
            _check(item, f"{FIELD}.{name}")


def members(data: bytes, place: str = "body") -> dict[str, Value]:
    """Return the members of an object; raise Malformed for anything else."""
    found = loads(data, place)
    if not isinstance(found, dict):
        raise Malformed(f"{FIELD}.{place}", "must be a JSON object")
    return found


def objects(items: Value, place: str) -> list[dict[str, Value]]:
    """Return a list's items, which must be objects, at least one and at most EFFECTS_MAX."""
    if not isinstance(items, list) or not items:
        raise Malformed(f"{FIELD}.{place}", "must be a JSON list that is not empty")
    if len(items) > limits.EFFECTS_MAX:
        raise Malformed(f"{FIELD}.{place}", f"has more than {limits.EFFECTS_MAX} items")
    found = [item for item in items if isinstance(item, dict)]
    if len(found) != len(items):
        raise Malformed(f"{FIELD}.{place}", "must hold JSON objects only")
    return found


def body(data: bytes) -> list[dict[str, Value]]:
    """Return the objects of a body that is one object, or a list of them: a batch."""
    found = loads(data)
    return [found] if isinstance(found, dict) else objects(found, "body")
