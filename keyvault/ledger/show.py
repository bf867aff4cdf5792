"""Events as plain values for people and scripts: numbers, text, and bytes as hex."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from enum import Enum

from keyvault.core.events import Event


def describe(event: Event) -> dict[str, object]:
    """Return the event's fields with its kind. Integers beyond 53 bits are text, for JSON readers' sake."""
    return {"fact": type(event).__name__, **{field.name: _plain(getattr(event, field.name)) for field in fields(event)}}


def _plain(value: object) -> object:
    match value:
        case Enum():
            return value.value
        case bool() | None | str():
            return value
        case int():
            return value if abs(value) < 1 << 53 else str(value)
        case bytes():
            return value.hex()
        case AbstractSet():
            return sorted((_plain(each) for each in value), key=str)
        case Mapping():
            return {str(name): _plain(each) for name, each in value.items()}
        case tuple():
            return [_plain(each) for each in value]
        case _ if is_dataclass(value):
            return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        case _:
            raise TypeError(f"{type(value).__name__} is not a value of an event")
