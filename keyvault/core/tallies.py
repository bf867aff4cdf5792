"""The limits of the policy in force, made ready: which of them a signature is about, and what each has counted.

1. A tally is one measure (signatures, an amount, dollars) of what a limit is about, counted apart for each group: key,
   principal, venue, destination, asset, tag, or all together. Limits that are about the same share it, whatever their
   windows and caps.
2. A signature counts once in a group, however many of its parts belong to it; amounts and dollars of the parts add up.
3. A part without a value for the group does not count there: a limit per destination says nothing of orders. Amounts
   and dollars that go to an unknown destination are a group of their own, UNKNOWN.
4. What is unknown meets every condition (``charges`` law 2), so that a limit never misses what it is about.
5. Which tallies a signature touches depends on its key and its parts only; it is found out once and remembered.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias, TypeVar

from keyvault.core import limits
from keyvault.core.charges import AMOUNT, COLUMNS, FEE, USD, Blank, Charge, Part
from keyvault.core.ids import KeyId
from keyvault.core.intent import Operation
from keyvault.core.policy_rules import (
    ANY,
    LIST_MARK,
    NATIVE,
    Anything,
    Chain,
    Limit,
    Per,
    Policy,
    account_of,
    normal_destination,
)
from keyvault.core.series import Series

Shape: TypeAlias = tuple[KeyId, tuple[Part, ...]]
"""What decides which limits a signature is about."""
Group: TypeAlias = str | tuple[Chain | Blank, str] | Blank
"""The key, principal, venue, destination or tag; place and asset; EVERY: it counts in all groups."""
ALL: Final = "all"
"""The group of limits that count everything together."""


class Measure(StrEnum):
    """What a limit caps."""

    COUNT = "count"
    AMOUNT = "amount"
    USD = "usd"


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a limit counts, without lists, tags and numbers: equal ones are counted once."""

    measure: Measure
    per: Per
    keys: frozenset[str] | Anything
    """Those that the limit names, and that have one of its tags if it names tags."""
    tags: tuple[tuple[str, frozenset[str]], ...]
    """Tags and their keys, where each has a group of its own."""
    principals: frozenset[str] | None
    operations: frozenset[Operation]
    chains: frozenset[Chain] | None
    venues: frozenset[str] | None
    destinations: frozenset[str] | None
    place: Chain | None = None
    venue: str | None = None
    asset: str = ""
    """What an amount is of; in no other measure."""

    @property
    def has_place(self) -> bool:
        """Whether it says where an amount is counted; amounts of different places cannot be added."""
        return self.measure is not Measure.AMOUNT or self.place is not None or self.venue is not None

    def is_about_key(self, key: str) -> bool:
        """Return whether signatures of the key can count."""
        return self.keys is ANY or key in self.keys

    def is_about_principal(self, principal: str | Blank) -> bool:
        """Return whether what the principal asks for can count."""
        return self.principals is None or principal in self.principals or principal is Blank.EVERY

    def is_about(self, part: Part) -> bool:
        """Return whether the part meets all conditions but those on keys and destinations; see law 4."""
        return (
            (not self.operations or part.operation in self.operations or part.operation is Operation.OPAQUE)
            and (self.chains is None or _may_be_in(part.place, self.chains))
            and (self.venues is None or _may_be_in(part.venue, self.venues))
            and self.is_about_principal(part.principal)
        )

    def columns(self, part: Part) -> tuple[int, ...] | None:
        """Return which numbers of a part that this is about count; None if the part does not count at all."""
        if self.measure is Measure.COUNT:
            return ()
        if self.measure is Measure.USD:
            return (USD,)
        if not (_may_be(part.place, self.place) and _may_be(part.venue, self.venue)):
            return None
        if part.asset == self.asset or part.asset.__class__ is Blank:
            return (AMOUNT, FEE) if self.asset == NATIVE else (AMOUNT,)
        return (FEE,) if self.asset == NATIVE and self.place is not None else None

    def groups(self, key: str, part: Part) -> tuple[Group, ...]:
        """Return the groups in which a part that this is about counts."""
        match self.per:
            case Per.KEY:
                return (key,)
            case Per.ALL:
                return (ALL,)
            case Per.TAG:
                return tuple(tag for tag, keys in self.tags if key in keys)
            case Per.PRINCIPAL:
                return (part.principal,)
            case Per.ASSET:
                return self._of_asset(part)
            case Per.VENUE:
                return () if part.venue is None or part.venue is Blank.UNKNOWN else (part.venue,)
            case Per.DESTINATION:
                return self.groups_to(part.destination)

    def groups_to(self, destination: str | Blank | None) -> tuple[Group, ...]:
        """Return the groups of a limit per destination."""
        if destination is None or (destination is Blank.UNKNOWN and self.measure is Measure.COUNT):
            return ()
        return (destination,)

    def _of_asset(self, part: Part) -> tuple[Group, ...]:
        if self.measure is Measure.AMOUNT:
            return ((self.place if self.place is not None else self.venue or ALL, self.asset),)
        place = part.where
        if part.asset is Blank.EVERY:
            return (Blank.EVERY,)
        if place is None or part.asset is None or part.asset is Blank.UNKNOWN:
            return ()
        return ((place, part.asset),)


def _may_be(value: Chain | Blank | None, wanted: Chain | None) -> bool:
    return wanted is None or value == wanted or value.__class__ is Blank


def _may_be_in(value: Chain | Blank | None, values: frozenset[str] | frozenset[Chain]) -> bool:
    return value in values or value.__class__ is Blank


def abouts(limit: Limit, policy: Policy) -> Iterator[tuple[About, int]]:
    """Return what each measure of a limit counts, and its cap."""
    names = sorted(policy.tags if limit.tags is None else limit.tags)
    tags = tuple((name, policy.tags.get(name, frozenset())) for name in names)
    keys = limit.keys
    if limit.tags is not None or limit.per is Per.TAG:
        tagged = frozenset[str]().union(*(each for _, each in tags))
        keys = tagged if keys is ANY else keys & tagged
    place: Chain | None = limit.chain_id if limit.network is None else limit.network
    for measure, cap in (
        (Measure.COUNT, limit.count_max),
        (Measure.AMOUNT, limit.amount_max),
        (Measure.USD, limit.usd_max),
    ):
        if cap is None:
            continue
        of_amount = measure is Measure.AMOUNT
        about = About(
            measure=measure,
            per=limit.per,
            keys=keys,
            tags=tags if limit.per is Per.TAG else (),
            principals=limit.principals,
            operations=limit.operations,
            chains=limit.chains,
            venues=limit.venues,
            destinations=None if limit.destinations is None else _written_out(limit.destinations, policy),
            place=place if of_amount else None,
            venue=limit.venue if of_amount else None,
            asset=normal_destination(limit.asset or NATIVE) if of_amount else "",
        )
        yield about, cap


def _written_out(destinations: frozenset[str], policy: Policy) -> frozenset[str]:
    listed = (
        policy.lists.get(each[len(LIST_MARK) :], frozenset()) if each.startswith(LIST_MARK) else (each,)
        for each in destinations
    )
    return frozenset(account_of(each) for some in listed for each in some)


class Tally:
    """What one measure has counted, by group."""

    __slots__ = ("about", "groups")

    def __init__(self, about: About) -> None:
        self.about = about
        self.groups: dict[Group, Series] = {}

    def charge(self, group: Group, at: int, amount: int) -> None:
        """Add to a group."""
        series = self.groups.get(group)
        if series is None:
            series = self.groups[group] = Series()
        series.charge(at, amount)

    def used(self, group: Group, window_ms: int, now: int, *, replaced: "Replaced") -> int:
        """Return what the group used in the window that ends now, and what counts in every group."""
        groups, used = self.groups, 0
        for name in (group, Blank.EVERY):
            series = groups.get(name)
            if series is None:
                continue
            if replaced.amounts:
                without = replaced.amounts.get((self, name), 0)
                used += series.used(window_ms, now, without=without, at=replaced.at)
            else:
                used += series.used(window_ms, now)
        return used


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """What will be taken back when a signature is issued, and when it was charged."""

    at: int
    amounts: Mapping[tuple[Tally, Group], int]


NOTHING_REPLACED: Final = Replaced(at=0, amounts={})


class Touched(NamedTuple):
    """A group of a tally that a signature counts in. ``places``: which numbers of the charge add up to it."""

    tally: Tally
    group: Group
    places: tuple[int, ...]

    def amount(self, charge: Charge) -> int:
        """Return how much the signature adds."""
        places, moved = self.places, charge.moved
        if len(places) == 1:
            return moved[places[0]]
        return sum([moved[place] for place in places]) if places else 1

    def is_unknown(self, charge: Charge) -> bool:
        """Return whether it is not known how much more it adds."""
        return not charge.unknown.isdisjoint(self.places)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """One measure of one limit."""

    limit: Limit
    most: int
    tally: Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a signature of one shape touches; ``checks`` in the order of the policy."""

    touched: tuple[Touched, ...]
    checks: tuple[tuple[Cap, Touched], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A tally that a part counts in if its destination is right; ``groups`` is None if that decides them as well."""

    tally: Tally
    columns: tuple[int, ...]
    groups: tuple[Group, ...] | None

    def groups_to(self, destination: str | Blank | None) -> tuple[Group, ...]:
        """Return the groups in which a part with this destination counts."""
        about = self.tally.about
        if about.destinations is not None and not _may_be_in(destination, about.destinations):
            return ()
        return about.groups_to(destination) if self.groups is None else self.groups


class Watch:
    """The limits of one policy. Its tallies are charged by ``Windows``."""

    __slots__ = ("_candidates", "_plans", "caps", "policy", "tallies", "unjudgeable")

    def __init__(self, policy: Policy) -> None:
        found: dict[About, Tally] = {}
        caps: list[Cap] = []
        for limit in policy.limits:
            for about, most in abouts(limit, policy):
                tally = found.setdefault(about, Tally(about))
                caps.append(Cap(limit=limit, most=most, tally=tally))
        self.policy = policy
        self.unjudgeable = tuple(cap for cap in caps if not cap.tally.about.has_place)
        """Caps on amounts of nobody knows what, which nothing may pass."""
        self.caps = tuple(caps)
        self.tallies = tuple(found.values())
        self._plans: dict[Shape, Plan] = {}
        self._candidates: dict[tuple[KeyId, tuple[object, ...]], tuple[_Candidate, ...]] = {}

    def counted(self) -> dict[About, dict[Group, Series]]:
        """Return what the tallies hold, by what they are about."""
        return {tally.about: tally.groups for tally in self.tallies}

    def plan(self, key: KeyId, parts: tuple[Part, ...]) -> Plan:
        """Return what signatures of this shape touch."""
        plan = self._plans.get((key, parts))
        if plan is None:
            touched = self.touched(key, parts)
            by_tally: dict[Tally, list[Touched]] = {}
            for each in touched:
                by_tally.setdefault(each.tally, []).append(each)
            caps = [cap for cap in self.caps if cap.tally in by_tally]
            checks = tuple((cap, each) for cap in caps for each in by_tally[cap.tally])
            plan = _remember(self._plans, (key, parts), Plan(touched=touched, checks=checks))
        return plan

    def touched(self, key: KeyId, parts: tuple[Part, ...]) -> tuple[Touched, ...]:
        """Return the groups of tallies that signatures of this shape count in."""
        if len(parts) == 1:  # as most have
            return tuple(
                [
                    Touched(each.tally, group, each.columns)
                    for each in self._candidates_of(key, parts[0])
                    for group in each.groups_to(parts[0].destination)
                ]
            )
        places: dict[tuple[Tally, Group], list[int]] = {}
        for number, part in enumerate(parts):
            first = COLUMNS * number
            for each in self._candidates_of(key, part):
                for group in each.groups_to(part.destination):
                    places.setdefault((each.tally, group), []).extend([first + column for column in each.columns])
        return tuple([Touched(tally, group, tuple(some)) for (tally, group), some in places.items()])

    def _candidates_of(self, key: KeyId, part: Part) -> tuple[_Candidate, ...]:
        """Return the tallies that a part counts in, whatever its destination."""
        name = key, part[: Part._fields.index("destination")]
        found = self._candidates.get(name)
        if found is None:
            found = _remember(self._candidates, name, tuple(_candidates(self.tallies, key, part)))
        return found


def _candidates(tallies: Iterable[Tally], key: KeyId, part: Part) -> Iterator[_Candidate]:
    for tally in tallies:
        about = tally.about
        columns = about.columns(part) if about.is_about_key(key) and about.is_about(part) else None
        if columns is not None:
            groups = None if about.per is Per.DESTINATION else about.groups(key, part)
            yield _Candidate(tally=tally, columns=columns, groups=groups)


_N = TypeVar("_N")
_V = TypeVar("_V")


def _remember(known: dict[_N, _V], name: _N, value: _V) -> _V:
    """Keep the value under the name; when there are too many, forget all others."""
    if len(known) >= limits.WINDOW_PLANS_MAX:
        known.clear()
    known[name] = value
    return value
