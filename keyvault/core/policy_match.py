"""One rule against one effect, by the laws of ``keyvault.core.policy``.

A rule becomes a Matcher once, by the allow reading or the deny reading; then a comparison is a few set look-ups.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, TypeAlias

from keyvault.core.ids import Principal
from keyvault.core.intent import Completeness, Effect, Intent, Operation, PayloadKind
from keyvault.core.policy_rules import (
    ANY,
    ASKED_FIELDS,
    PLAIN_OPERATIONS,
    Anything,
    Rule,
    Verdict,
    normal_destination,
)


class _Missing(IntEnum):
    """Why an effect has no value. Negative, so that no chain or amount is equal; ordered for ``bounds``."""

    NOT_APPLICABLE = -3
    OPAQUE = -2
    UNKNOWN = -1


_ABSENT_ALLOWS = frozenset({_Missing.NOT_APPLICABLE, _Missing.OPAQUE})
_UNKNOWN_DENIES = frozenset({_Missing.UNKNOWN, _Missing.OPAQUE})

# What a rule is compared with, one place each: the caller, the operation, and the fields of the effect.
_PRINCIPAL, _OPERATION, _CHAIN, _VENUE, _DESTINATION, _SELECTOR, _PRIMARY_TYPE, _AMOUNT, _FEE = range(9)
_WORDS = ("principal", "operation", "chain", "venue", "destination", "selector", "primary type", "amount", "fee")
_FIELDS = ("chains", "venues", "destinations", "selectors", "primary_types", "amount_max", "fee_max")

Facts: TypeAlias = tuple[str | int, ...]
"""What the rules are compared with, of one effect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """One rule, ready to be compared: only the conditions that can fail are left, each place at most once in a list.

    ``sets``: the fact at this place must be in this set. ``bounds``: it must be between these two, inclusive.
    ``floors``: it must be more than this, or one of these.
    """

    rule: Rule
    sets: tuple[tuple[int, frozenset[str | int]], ...]
    bounds: tuple[tuple[int, int, int], ...]
    floors: tuple[tuple[int, int, frozenset[int]], ...]

    def holds(self, facts: Facts) -> bool:
        """Return whether every condition holds."""
        for place, values in self.sets:
            if facts[place] not in values:
                return False
        for place, low, high in self.bounds:
            if not low <= facts[place] <= high:  # type: ignore[operator]  # these places hold integers only
                return False
        for place, floor, others in self.floors:  # noqa: SIM110  # all() with a generator takes twice the time
            if not (facts[place] > floor or facts[place] in others):  # type: ignore[operator]  # as above
                return False
        return True

    def distance(self, facts: Facts) -> int:
        """Return how many conditions do not hold."""
        count = 0
        for place, values in self.sets:
            if facts[place] not in values:
                count += 1
        for place, low, high in self.bounds:
            if not low <= facts[place] <= high:  # type: ignore[operator]  # these places hold integers only
                count += 1
        for place, floor, others in self.floors:
            if not (facts[place] > floor or facts[place] in others):  # type: ignore[operator]  # as above
                count += 1
        return count

    def misses(self, facts: Facts) -> list[int]:
        """Return the places whose condition does not hold, in order."""
        places = {place for place, values in self.sets if facts[place] not in values}
        places |= {
            place
            for place, low, high in self.bounds
            if not low <= facts[place] <= high  # type: ignore[operator]  # these places hold integers only
        }
        places |= {
            place
            for place, floor, others in self.floors
            if not (facts[place] > floor or facts[place] in others)  # type: ignore[operator]  # as above
        }
        return sorted(places)

    def complaint(self, facts: Facts) -> str:
        """Return why the rule does not match, in words."""
        return ", ".join(self._miss(place, facts) for place in self.misses(facts))

    def _miss(self, place: int, facts: Facts) -> str:
        word, value, above = _WORDS[place], facts[place], self.rule.amount_above if place == _AMOUNT else None
        if place >= _CHAIN and above is None and getattr(self.rule, _FIELDS[place - _CHAIN]) is None:
            return f"the rule does not mention the {word}"
        if value is _Missing.NOT_APPLICABLE:
            return f"{facts[_OPERATION]} has no {word}"
        if isinstance(value, _Missing):
            return f"{word} is unknown"
        if above is not None and isinstance(value, int) and value <= above:
            return f"{word} {value} is not above {above}"
        if place in (_AMOUNT, _FEE):
            cap = next(high for bounded, _, high in self.bounds if bounded == place)
            return f"{word} {value} > {cap}"
        return f"{word} {shown(value)} is not listed"


def scope(rule: Rule) -> tuple[frozenset[str] | Literal[Anything.ANY], frozenset[PayloadKind]]:
    """Return the keys and kinds that the rule is about: absent means none in an allow rule, all in the others."""
    if rule.verdict is Verdict.ALLOW:
        return (frozenset() if rule.keys is None else rule.keys), rule.kinds
    return (ANY if rule.keys is None else rule.keys), (rule.kinds or frozenset(PayloadKind))


def can_permit(rule: Rule) -> bool:
    """Return whether the rule says for which keys and kinds it permits (laws 4 and 8)."""
    return rule.verdict is not Verdict.DENY and rule.keys is not None and bool(rule.kinds)


def allow_matcher(rule: Rule) -> Matcher:
    """Return the rule by the allow reading: what it does not mention, and what is unknown, does not hold."""
    operations = rule.operations or PLAIN_OPERATIONS
    if rule.keys is ANY:
        operations -= {Operation.OPAQUE}  # law 7
    sets: list[tuple[int, frozenset[str | int]]] = []
    if rule.principals is not ANY:
        sets.append((_PRINCIPAL, rule.principals or frozenset()))
    for place, values in _set_conditions(rule):
        if values is not ANY:
            sets.append((place, _ABSENT_ALLOWS if values is None else values))
    sets.append((_OPERATION, operations))
    bounds: list[tuple[int, int, int]] = []
    for place, cap in _cap_conditions(rule):
        if cap is None:
            bounds.append((place, _Missing.NOT_APPLICABLE, _Missing.OPAQUE))
        elif cap is not ANY:
            bounds.append((place, 0, cap))
    return Matcher(rule=rule, sets=tuple(sets), bounds=tuple(bounds), floors=_floors(rule, frozenset()))


def deny_matcher(rule: Rule) -> Matcher:
    """Return the rule by the deny reading: what it does not mention, and what is unknown, holds."""
    sets: list[tuple[int, frozenset[str | int]]] = []
    if rule.principals is not None and rule.principals is not ANY:
        sets.append((_PRINCIPAL, rule.principals))
    for place, values in _set_conditions(rule):
        if values is not None and values is not ANY:
            sets.append((place, values | _UNKNOWN_DENIES))
    if rule.operations:
        sets.append((_OPERATION, rule.operations | {Operation.OPAQUE}))
    bounds: list[tuple[int, int, int]] = []
    for place, cap in _cap_conditions(rule):
        if cap is not None and cap is not ANY:
            bounds.append((place, _Missing.OPAQUE, cap))
    return Matcher(rule=rule, sets=tuple(sets), bounds=tuple(bounds), floors=_floors(rule, _UNKNOWN_DENIES))


def _set_conditions(rule: Rule) -> Iterator[tuple[int, frozenset[str | int] | Anything | None]]:
    """Yield the conditions on values; the most telling first, because the first that fails ends a comparison."""
    destinations = rule.destinations
    if destinations is not None and destinations is not ANY:
        destinations = frozenset(map(normal_destination, destinations))
    yield _DESTINATION, destinations
    yield _SELECTOR, rule.selectors
    yield _PRIMARY_TYPE, rule.primary_types
    yield _CHAIN, rule.chains
    yield _VENUE, rule.venues


def _cap_conditions(rule: Rule) -> Iterator[tuple[int, int | Anything | None]]:
    """Yield the caps; an amount that must be above something is mentioned, and has no cap unless one stands there."""
    yield _AMOUNT, ANY if rule.amount_max is None and rule.amount_above is not None else rule.amount_max
    yield _FEE, rule.fee_max


def _floors(rule: Rule, others: frozenset[int]) -> tuple[tuple[int, int, frozenset[int]], ...]:
    return () if rule.amount_above is None else ((_AMOUNT, rule.amount_above, others),)


def _missing_of(operation: Operation) -> tuple[_Missing, ...]:
    if operation is Operation.OPAQUE:
        return (_Missing.OPAQUE,) * len(_FIELDS)
    asked = ASKED_FIELDS[operation]
    return tuple(_Missing.UNKNOWN if field in asked else _Missing.NOT_APPLICABLE for field in _FIELDS)


_MISSING = {operation: _missing_of(operation) for operation in Operation}


def facts_of(principal: Principal, intent: Intent, effect: Effect) -> Facts:
    """Return what the rules are compared with; the order is that of the places."""
    operation = effect.operation
    if intent.kind is PayloadKind.RAW_DIGEST or intent.completeness is Completeness.OPAQUE:
        operation = Operation.OPAQUE
    chain, venue, destination, selector, primary_type, amount, fee = _MISSING[operation]
    return (
        principal,
        operation,
        chain if effect.chain_id is None else effect.chain_id,
        venue if effect.venue is None else effect.venue,
        destination if effect.destination is None else normal_destination(effect.destination),
        selector if effect.selector is None else effect.selector,
        primary_type if effect.primary_type is None else effect.primary_type,
        amount if effect.amount is None else effect.amount,
        fee if effect.fee_max is None else effect.fee_max,
    )


def operation_text(facts: Facts) -> str:
    """Return the operation of the effect, for an explanation."""
    return shown(facts[_OPERATION])


def shown(value: str | int) -> str:
    """Return a fact as text that cannot disturb a terminal or a log, cut to a size that an explanation can bear."""
    text = str(value)
    return (text if text.isascii() and text.isprintable() else ascii(text))[:100]
