"""Endpoints of a venue whose signature binds method and path: what each one does with which parameters.

An endpoint that is not listed, a name that the endpoint does not have, and a batch where the endpoint takes none are
OPAQUE: venues add both.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from keyvault.core.intent import Effect, Operation
from keyvault.intents.strict_json import Value
from keyvault.intents.venue_fields import Fields
from keyvault.intents.venue_request import FIELD, bounded, opaque

Read = Callable[[Fields], tuple[Effect, ...]]
"""Effects of one set of parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """What a request does: ``read`` states it, from ``names`` and no others. ``batch``: it takes a list of them."""

    names: frozenset[str]
    read: Read
    batch: bool = False

    def effects(self, venue: str, values: Mapping[str, Value]) -> tuple[Effect, ...]:
        """Return the effects of one set of parameters."""
        return self.read(Fields(values)) if self.names.issuperset(values) else opaque(venue)

    def effects_of_all(self, venue: str, items: list[dict[str, Value]]) -> tuple[Effect, ...]:
        """Return the effects of all items of a batch."""
        if not self.batch or not all(map(self.names.issuperset, items)):
            return opaque(venue)
        found = [self.read(Fields(item, f"{FIELD}.body.{number}")) for number, item in enumerate(items)]
        return bounded(tuple(effect for effects in found for effect in effects))


def endpoint(names: str, read: Read, *, batch: bool = False) -> Endpoint:
    """Return an endpoint with these names, in one text."""
    return Endpoint(names=frozenset(names.split()), read=read, batch=batch)


def reads(venue: str, paths: str, names: str) -> dict[str, Endpoint]:
    """Return endpoints by path that change nothing, all with the same names."""
    one = endpoint(names, simple(venue, Operation.REQUEST))
    return dict.fromkeys(paths.split(), one)


def simple(venue: str, operation: Operation, symbol: str = "") -> Read:
    """Return a reader that states an operation, and a symbol if the value named ``symbol`` is there."""

    def read(fields: Fields) -> tuple[Effect, ...]:
        return (Effect(operation=operation, venue=venue, symbol=fields.symbol(symbol, venue)),)

    return read


def withdrawal(
    fields: Fields,
    *,
    venue: str,
    asset: str,
    amount: str,
    destination: str | None,
    source: str | None = None,
    network: str | None = None,
) -> tuple[Effect, ...]:
    """Return a WITHDRAW effect; ``asset`` and ``amount`` are the names of their values."""
    code, number = fields.asset(asset, venue), fields.decimal(amount)
    effect = Effect(
        operation=Operation.WITHDRAW,
        venue=venue,
        symbol=code,
        asset=code,
        amount=number,
        decimals=None if number is None else 18,
        destination=destination,
        source=source,
        network=network,
    )
    return (effect,)


def paths(texts: Iterable[tuple[str, Endpoint]]) -> dict[str, Endpoint]:
    """Return endpoints by path, where several paths may stand in one text."""
    return {path: one for text, one in texts for path in text.split()}
