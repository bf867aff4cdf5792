"""One rule against one effect, by the laws of ``keyvault.core.policy``.

A rule becomes a Matcher once, by the allow reading or the deny reading; then a comparison is a few set look-ups.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.policy_cel import Predicate, compile_predicate
from keyvault.core.policy_facts import DAYS, FIELDS, OF_FIELD, WORDS, Facts, Missing, Place
from keyvault.core.policy_rules import (
    ANY,
    LIST_MARK,
    NATIVE,
    PLAIN_OPERATIONS,
    Anything,
    Rule,
    Verdict,
    account_of,
    normal_destination,
)
from keyvault.core.units import plain_decimal
from keyvault.core.venue_names import NAMING_VENUES, assets_of, symbols_of

Lists: TypeAlias = Mapping[str, frozenset[str]]

_UNKNOWN_DENIES = frozenset({Missing.UNKNOWN, Missing.OPAQUE})
_CAPS = (
    (Place.AMOUNT, "amount_max"),
    (Place.FEE, "fee_max"),
    (Place.USD, "usd_max"),
    (Place.DEVIATION, "price_band_bps"),
    (Place.VALIDITY, "validity_ms_max"),
)
_FLOORS = ((Place.AMOUNT, "amount_above"), (Place.USD, "usd_above"))
_SETS = (
    # The most telling first, because the first that fails ends a comparison.
    (Place.SYMBOL, "symbols"),
    (Place.ASSET, "assets"),
    (Place.TYPE_HASH, "type_hashes"),
    (Place.DESTINATION, "destinations"),
    (Place.SELECTOR, "selectors"),
    (Place.PRIMARY_TYPE, "primary_types"),
    (Place.CONTRACT, "contracts"),
    (Place.CHAIN, "chains"),
    (Place.VENUE, "venues"),
    (Place.SIDE, "sides"),
)
_NORMALISED = frozenset({"destinations", "assets", "contracts"})
_EVERY_OPERATION: frozenset[str | int] = frozenset(Operation)
_ASKED = int(Place.ASKED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """One rule, ready to be compared: only the conditions that can fail are left, each place at most once in a list.

    ``unsaid``: the places that the rule does not mention; an effect that is asked about one of them does not match.
    ``sets``: the fact at this place must be in this set. ``bounds``: it must be between these two, inclusive.
    ``floors``: it must be more than this, or one of these. ``predicate``: what must hold besides.
    """

    rule: Rule
    unsaid: int
    sets: tuple[tuple[int, frozenset[str | int]], ...]
    bounds: tuple[tuple[int, int, int], ...]
    floors: tuple[tuple[int, int, frozenset[int]], ...]
    predicate: Predicate | None

    @property
    def operations(self) -> frozenset[str | int]:
        """The operations of effects that it can match: for all others one of ``sets`` does not hold."""
        return next((values for place, values in self.sets if place == Place.OPERATION), _EVERY_OPERATION)

    def holds(self, facts: Facts) -> bool:
        """Return whether every condition holds."""
        if self.unsaid & facts[_ASKED]:  # type: ignore[operator]  # this place holds a mask
            return False
        for place, values in self.sets:
            if facts[place] not in values:
                return False
        for place, low, high in self.bounds:
            if not low <= facts[place] <= high:  # type: ignore[operator]  # these places hold integers only
                return False
        for place, floor, others in self.floors:
            if not (facts[place] > floor or facts[place] in others):  # type: ignore[operator]  # as above
                return False
        return self.predicate is None or self.predicate.holds(facts)

    def distance(self, facts: Facts) -> int:
        """Return how many conditions do not hold."""
        return len(self.misses(facts))

    def misses(self, facts: Facts) -> list[int]:
        """Return the places whose condition does not hold, in order; the predicate's is the last."""
        unsaid = self.unsaid & facts[Place.ASKED]  # type: ignore[operator]  # this place holds a mask
        places = {int(place) for place in Place if unsaid >> place & 1}
        places |= {place for place, values in self.sets if facts[place] not in values}
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
        if not places and self.predicate is not None and not self.predicate.holds(facts):
            places.add(Place.WHEN)
        return sorted(places)

    def complaint(self, facts: Facts) -> str:
        """Return why the rule does not match, in words."""
        return ", ".join(self._miss(Place(place), facts) for place in self.misses(facts))

    def _miss(self, place: Place, facts: Facts) -> str:
        if place is Place.WHEN:  # not a fact: there is no value to tell
            return "its when does not hold"
        if place is Place.LOOK_ALIKE and facts[place] == 0:
            return "the destination does not look like a known one"
        word, value = WORDS[place], facts[place]
        if (self.unsaid & facts[Place.ASKED]) >> place & 1:  # type: ignore[operator]  # this place holds a mask
            return f"the rule does not mention the {word}"
        if value is Missing.NOT_APPLICABLE:
            return f"{facts[Place.OPERATION]} has no {word}"
        if isinstance(value, Missing):
            return f"{word} is unknown"
        return self._told(place, word, value)

    def _told(self, place: Place, word: str, value: str | int) -> str:
        floor = next((floor for at, floor, _ in self.floors if at == place), None)
        if floor is not None and isinstance(value, int) and value <= floor:
            return f"{word} {_number(place, value)} is not above {_number(place, floor)}"
        bound = next(((low, high) for at, low, high in self.bounds if at == place), None)
        if bound is None:
            return f"{word} {_time_text(value) if place is Place.HOUR else shown(value)} is not listed"
        low, high = bound
        if isinstance(value, str):
            return f"{word} {shown(value)} is not a number"
        sign, end = (">", high) if value > high else ("<", low)
        return f"{word} {_number(place, value)} {sign} {_number(place, end)}"


def scope(rule: Rule) -> tuple[frozenset[str] | Literal[Anything.ANY], frozenset[PayloadKind]]:
    """Return the keys and kinds that the rule is about: absent means none in an allow rule, all in the others."""
    if rule.verdict is Verdict.ALLOW:
        return (frozenset() if rule.keys is None else rule.keys), rule.kinds
    return (ANY if rule.keys is None else rule.keys), (rule.kinds or frozenset(PayloadKind))


def can_permit(rule: Rule) -> bool:
    """Return whether the rule says for which keys and kinds it permits (laws 4 and 8).

    What only restricts by a history (first seen, look-alike) never permits.
    """
    if rule.verdict is Verdict.DENY or rule.first_seen_ms is not None or rule.look_alike:
        return False
    return rule.keys is not None and bool(rule.kinds)


def allow_matcher(rule: Rule, lists: Lists) -> Matcher:
    """Return the rule by the allow reading: what it does not mention, and what is unknown, does not hold."""
    operations = rule.operations or PLAIN_OPERATIONS
    if rule.keys is ANY:
        operations -= {Operation.OPAQUE}  # law 7
    if rule.first_seen_ms is not None or rule.look_alike:
        operations = frozenset()  # law 13: it would permit what the rule is meant to keep out
    sets: list[tuple[int, frozenset[str | int]]] = []
    if rule.principals is not ANY:
        sets.append((Place.PRINCIPAL, rule.principals or frozenset()))
    sets += [(place, values) for place, values in _set_conditions(rule, lists) if not isinstance(values, Anything)]
    sets.append((Place.OPERATION, operations))
    bounds = [(place, 0, cap) for place, cap in _caps(rule) if not isinstance(cap, Anything)]
    if rule.hours:
        sets.append((Place.HOUR, _minutes(rule)))
    return Matcher(
        rule=rule,
        unsaid=_unsaid(rule),
        sets=tuple(sets),
        bounds=tuple(bounds),
        floors=tuple((place, above, frozenset()) for place, above in _floors(rule)),
        predicate=compile_predicate(rule.when, unknown_holds=False) if rule.when else None,
    )


def deny_matcher(rule: Rule, lists: Lists) -> Matcher:
    """Return the rule by the deny reading: what it does not mention, and what is unknown, holds."""
    sets: list[tuple[int, frozenset[str | int]]] = []
    if rule.principals is not None and rule.principals is not ANY:
        sets.append((Place.PRINCIPAL, rule.principals))
    for place, values in _set_conditions(rule, lists):
        if isinstance(values, Anything):
            continue
        if place == Place.DESTINATION:  # no tag and no other spelling of an account passes by it
            accounts = frozenset(account_of(each) for each in values if isinstance(each, str))
            sets.append((Place.ACCOUNT, accounts | _UNKNOWN_DENIES))
        elif place in _NAMED:  # nor another name of an asset or a market
            sets.append((place, values | _named_at(_NAMED[place], values, rule) | _UNKNOWN_DENIES))
        else:
            sets.append((place, values | _UNKNOWN_DENIES))
    if rule.operations:
        sets.append((Place.OPERATION, rule.operations | {Operation.OPAQUE}))
    if rule.look_alike:
        sets.append((Place.LOOK_ALIKE, frozenset({1, *_UNKNOWN_DENIES})))
    bounds = [(place, int(Missing.OPAQUE), cap) for place, cap in _caps(rule) if not isinstance(cap, Anything)]
    if rule.first_seen_ms is not None:
        bounds.append((Place.AGE, int(Missing.OPAQUE), max(0, rule.first_seen_ms - 1)))
    return Matcher(
        rule=rule,
        unsaid=0,
        sets=tuple(sets),
        bounds=tuple(bounds),
        floors=tuple((place, above, _UNKNOWN_DENIES) for place, above in _floors(rule)),
        predicate=compile_predicate(rule.when, unknown_holds=True) if rule.when else None,
    )


_NAMED: Final = {int(Place.SYMBOL): symbols_of, int(Place.ASSET): assets_of}


def _named_at(
    names_of: Callable[[str, Iterable[str]], frozenset[str]], values: frozenset[str | int], rule: Rule
) -> frozenset[str]:
    """Return all names of these at the venues that the rule is about."""
    venues = NAMING_VENUES & rule.venues if isinstance(rule.venues, frozenset) else NAMING_VENUES
    return frozenset[str]().union(*(names_of(each, venues) for each in values if isinstance(each, str)))


def _unsaid(rule: Rule) -> int:
    """Return the places that an allow rule leaves out; an amount that must be above something is mentioned."""
    mask = 0
    for field in FIELDS:
        if getattr(rule, field) is None:
            mask |= 1 << OF_FIELD[field]
    if rule.amount_above is not None:
        mask &= ~(1 << Place.AMOUNT)
    if rule.usd_above is not None:
        mask &= ~(1 << Place.USD)
    if rule.type_hashes is not None:  # it says more than the name of the type
        mask &= ~(1 << Place.PRIMARY_TYPE)
    return mask


def _set_conditions(rule: Rule, lists: Lists) -> Iterator[tuple[int, frozenset[str | int] | Anything]]:
    """Yield the conditions on values, each by what the facts can be."""
    for place, field in _SETS:
        values = getattr(rule, field)
        if values is None:
            continue
        if isinstance(values, Anything):
            yield place, values
        else:
            yield place, frozenset(_members(field, values, lists))


def _members(field: str, values: frozenset[str | int], lists: Lists) -> Iterator[str | int]:
    for value in values:
        if field == "assets" and value == NATIVE:
            yield Missing.NOT_APPLICABLE
        elif field == "destinations" and isinstance(value, str) and value.startswith(LIST_MARK):
            yield from map(normal_destination, lists.get(value[len(LIST_MARK) :], ()))
        elif field in _NORMALISED and isinstance(value, str):
            yield normal_destination(value)
        else:
            yield value


def _caps(rule: Rule) -> Iterator[tuple[int, int | Anything]]:
    for place, field in _CAPS:
        cap = getattr(rule, field)
        if cap is not None:
            yield place, cap


def _floors(rule: Rule) -> Iterator[tuple[int, int]]:
    for place, field in _FLOORS:
        above = getattr(rule, field)
        if above is not None:
            yield place, above


def _minutes(rule: Rule) -> frozenset[str | int]:
    """Return the minutes of the week, from Monday 00:00 UTC, in which the rule permits."""
    day_minutes = 24 * 60
    return frozenset(
        day * day_minutes + minute
        for interval in rule.hours
        for day in interval.days
        for minute in range(interval.start, interval.end)
    )


def _time_text(minute: str | int) -> str:
    """Return a minute of the week as policies write it."""
    day, rest = divmod(int(minute), 24 * 60)
    return f"{DAYS[day]} {rest // 60:02}:{rest % 60:02}"


_DECIMALS = {Place.USD: (6, ""), Place.DEVIATION: (2, "%"), Place.VALIDITY: (0, " ms")}
"""Decimals, and what follows, of facts that people know in another unit."""


def _number(place: Place, value: int) -> str:
    decimals, unit = _DECIMALS.get(place, (0, ""))
    return plain_decimal(value, decimals) + unit


def operation_text(facts: Facts) -> str:
    """Return the operation of the effect, for an explanation."""
    return shown(facts[Place.OPERATION])


def shown(value: str | int) -> str:
    """Return a fact as text that cannot disturb a terminal or a log, cut to a size that an explanation can bear."""
    text = str(value)
    return (text if text.isascii() and text.isprintable() else ascii(text))[:100]
