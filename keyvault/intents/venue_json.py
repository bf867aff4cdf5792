"""JSON bodies of exchange requests: strict JSON, whose outermost value is an object, or a list of objects.

Numbers with a fraction or an exponent are refused (``strict_json``): a venue that reads them as binary floating point
would read another number than is stated. Quantities and prices are strings in the venues' own documents.
"""

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.intents import strict_json
from keyvault.intents.strict_json import Value
from keyvault.intents.venue_request import FIELD


def members(data: bytes, place: str = "body") -> dict[str, Value]:
    """Return the members of an object; raise Malformed for anything else."""
    value = strict_json.loads(data, f"{FIELD}.{place}")
    if not isinstance(value, dict):
        raise Malformed(f"{FIELD}.{place}", "must be a JSON object")
    return value


def objects(value: Value, place: str) -> list[dict[str, Value]]:
    """Return a list's items, which must be objects, at least one and at most EFFECTS_MAX."""
    if not isinstance(value, list) or not value:
        raise Malformed(f"{FIELD}.{place}", "must be a JSON list that is not empty")
    if len(value) > limits.EFFECTS_MAX:
        raise Malformed(f"{FIELD}.{place}", f"has more than {limits.EFFECTS_MAX} items")
    found = [item for item in value if isinstance(item, dict)]
    if len(found) != len(value):
        raise Malformed(f"{FIELD}.{place}", "must hold JSON objects only")
    return found


def body(data: bytes) -> list[dict[str, Value]]:
    """Return the objects of a body that is one object, or a list of them: a batch."""
    value = strict_json.loads(data, f"{FIELD}.body")
    return [value] if isinstance(value, dict) else objects(value, "body")
