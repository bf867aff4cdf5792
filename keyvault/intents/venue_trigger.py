"""What an order at a venue waits for, in ``via``: last, after ``>`` if something else stands there.

``trigger 90000``: until that price is reached. ``trigger callbackRate 1``: what the venue calls so. ``trigger``: for
something that is not said. Whether an order waits decides what its limit price is worth (``core.intent.waits``).
"""

from collections.abc import Iterable

from keyvault.core.intent import TRIGGER
from keyvault.intents.venue_fields import Fields


def trigger(fields: Fields, price: str, others: Iterable[str] = (), *, waits: bool = False) -> str | None:
    """Return the trigger that the values of these names are; None if there are none and it does not wait anyway."""
    words = [TRIGGER]
    if price in fields:
        words.append(fields.label(price) or "")
    for name in others:
        if name in fields:
            words += (name, fields.label(name) or "")
    return " ".join(words) if waits or len(words) > 1 else None


def joined(*parts: str | None) -> str | None:
    """Return ``via`` from its parts, outermost first; None if there are none."""
    return " > ".join(filter(None, parts)) or None
