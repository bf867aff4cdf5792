"""Whether a limit can count what the rules permit: what findings and cautions about limits reason with.

A limit is passed by whatever it does not count, so one that names an asset, a venue or a caller in a word that no
permitted request has is no limit at all. Law: "it never counts" is said only where that is sure, from the conditions
of the rule and of the limit alone; what a rule does not mention may be anything, unless its kinds tell. Such a limit
may also be taken away by whoever may only tighten (``policy_change`` 4).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from keyvault.core.accounts import account_of
from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.policy_findings import listed
from keyvault.core.policy_kinds import CHAIN_KINDS, KIND_OPERATIONS, SECRETS, VENUE_KINDS, known
from keyvault.core.policy_match import can_permit, scope
from keyvault.core.policy_rules import (
    ANY,
    LIST_MARK,
    NATIVE,
    PLAIN_OPERATIONS,
    Anything,
    Chain,
    Per,
    Policy,
    Rule,
    normal_destination,
)
from keyvault.core.tallies import About, Measure

_Values: TypeAlias = frozenset[str] | frozenset[Chain]
_Dimension: TypeAlias = _Values | Literal[Anything.ANY] | None
"""Values that are listed, or all of them, or nobody knows which."""
_NOWHERE: Final[_Values] = frozenset()
_AT_VENUES: Final = VENUE_KINDS & SECRETS.keys()
"""Kinds whose effects are at one venue, which the kind tells."""
_WITHOUT_RECEIVER: Final = frozenset({Operation.ORDER, Operation.REDUCE, Operation.CANCEL, Operation.REQUEST})
"""At venues these say a symbol: no asset, and nobody who gets it."""
_SHOWN: Final = 3
"""Values told of a condition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Permitted:
    """What one rule permits of one operation, by what limits can be about."""

    rule: str
    operation: Operation
    keys: _Dimension
    principals: _Dimension
    chains: _Dimension
    venues: _Dimension
    assets: _Dimension
    destinations: _Dimension
    pays_fees: bool
    """Whether the chain's own coin can be paid for it, whatever asset it moves."""


def permitted(policy: Policy) -> tuple[Permitted, ...]:
    """Return what the policy permits, by rule and operation."""
    return tuple(each for rule in policy.rules for each in permitted_by(rule, policy))


def permitted_by(rule: Rule, policy: Policy) -> Iterator[Permitted]:
    """Give what one rule permits, by operation; nothing if it permits nothing."""
    if rule.shadow or not can_permit(rule):
        return
    keys, kinds = scope(rule)
    for operation in sorted(rule.operations or PLAIN_OPERATIONS):
        able = frozenset(kind for kind in kinds if operation in KIND_OPERATIONS[kind])
        if able:
            yield Permitted(
                rule=rule.id,
                operation=operation,
                keys=keys,
                principals=frozenset() if rule.principals is None else rule.principals,
                chains=_chains(rule, able),
                venues=_venues(rule, able),
                assets=_assets(rule, operation, able),
                destinations=_destinations(rule, operation, able, policy),
                pays_fees=not able <= VENUE_KINDS,
            )


def _chains(rule: Rule, kinds: frozenset[PayloadKind]) -> _Dimension:
    if rule.chains is None and kinds <= _AT_VENUES:
        return _NOWHERE
    return rule.chains


def _venues(rule: Rule, kinds: frozenset[PayloadKind]) -> _Dimension:
    if kinds <= CHAIN_KINDS:
        return _NOWHERE
    if not isinstance(rule.venues, frozenset) and kinds <= _AT_VENUES:
        return frozenset(SECRETS[kind][0] for kind in kinds)
    return rule.venues


def _assets(rule: Rule, operation: Operation, kinds: frozenset[PayloadKind]) -> _Dimension:
    if rule.assets is None and operation in _WITHOUT_RECEIVER and kinds <= _AT_VENUES:
        return _NOWHERE
    if not isinstance(rule.assets, frozenset):
        return rule.assets
    return frozenset(map(normal_destination, rule.assets))


def _destinations(rule: Rule, operation: Operation, kinds: frozenset[PayloadKind], policy: Policy) -> _Dimension:
    without = operation in _WITHOUT_RECEIVER and kinds <= _AT_VENUES
    if without or not any("destinations" in known(kind, operation) for kind in kinds):
        return _NOWHERE if operation is not Operation.OPAQUE else None
    if not isinstance(rule.destinations, frozenset):
        return rule.destinations
    lists = policy.lists
    named = (lists.get(each[len(LIST_MARK) :], ()) if each.startswith(LIST_MARK) else (each,)
             for each in rule.destinations)  # fmt: skip
    return frozenset(account_of(each) for some in named for each in some)


# One limit --------------------------------------------------------------------------------------------------------


def never_counted(about: About, some: Iterable[Permitted]) -> tuple[str, str] | None:
    """Return (field, why) if the limit counts nothing of all this: of what it misses by least. None if it may count."""
    nearest: list[tuple[str, str]] | None = None
    for each in some:
        missed = list(misses(about, each))
        if not missed:
            return None
        if nearest is None or len(missed) < len(nearest):
            nearest = missed
    return nearest[0] if nearest else None


def misses(about: About, each: Permitted) -> Iterator[tuple[str, str]]:
    """Give (field, why) for each condition of the limit by which it surely does not count this."""
    unread = each.operation is Operation.OPAQUE
    if about.operations and each.operation not in about.operations and not unread:
        yield "operations", _why(each, "operation", frozenset({each.operation}), about.operations)
    for field, what, theirs, mine in _compared(about, each):
        if unread and field not in ("keys", "principals"):
            continue
        if mine is not None and isinstance(theirs, frozenset) and theirs.isdisjoint(mine):
            yield field, _why(each, what, theirs, mine)
    if not unread:
        yield from _misses_by_group(about, each)


def _compared(about: About, each: Permitted) -> Iterator[tuple[str, str, _Dimension, _Values | None]]:
    """Give field of the limit, what it is, what the rule permits, and what the limit is about."""
    yield "keys", "key", each.keys, None if about.keys is ANY else about.keys
    yield "principals", "principal", each.principals, about.principals
    yield "chains", "chain", each.chains, about.chains
    yield "venues", "venue", each.venues, about.venues
    yield "destinations", "destination", each.destinations, about.destinations
    if about.measure is not Measure.AMOUNT:
        return
    chain = "network" if isinstance(about.place, str) else "chain_id"
    yield chain, "chain", each.chains, None if about.place is None else frozenset({about.place})
    yield "venue", "venue", each.venues, None if about.venue is None else frozenset({about.venue})
    if about.asset == NATIVE and each.pays_fees:
        return
    on_chain = each.assets is None and each.pays_fees and about.place is not None
    assets = frozenset({NATIVE}) if on_chain else each.assets  # at a venue, what leaves it out may be anything
    yield "asset", "asset", assets, frozenset({about.asset})


def _misses_by_group(about: About, each: Permitted) -> Iterator[tuple[str, str]]:
    if about.per is Per.DESTINATION and each.destinations == _NOWHERE:
        yield "per", f"rule {each.rule} permits {each.operation}, which has no destination"
    if about.per is Per.VENUE and each.venues == _NOWHERE:
        yield "per", f"rule {each.rule} permits {each.operation} on chains, at no venue"


def _why(each: Permitted, what: str, theirs: _Values, mine: _Values) -> str:
    said = f"permits {what} {_shown(theirs)}" if theirs else f"permits {each.operation}, which has no {what} there"
    return f"rule {each.rule} {said}, and the limit is about {_shown(mine)}"


def _shown(values: frozenset[str | int] | _Values) -> str:
    names = sorted(map(str, values))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{listed(name[:80] for name in names[:_SHOWN])}{more}"


# One rule ---------------------------------------------------------------------------------------------------------


def uncounted(each: Permitted, counted: Iterable[About]) -> str:
    """Return what of this no limit counts, in words: all of it, or that of some key, caller, chain, venue, asset."""
    some = [about for about in counted if not any(misses(about, each))]
    if not some:
        return each.operation
    for what, mine, theirs in (
        ("key", [None if about.keys is ANY else about.keys for about in some], each.keys),
        ("principal", [about.principals for about in some], each.principals),
        ("chain", [about.chains if about.place is None else frozenset({about.place}) for about in some], each.chains),
        ("venue", [about.venues if about.venue is None else frozenset({about.venue}) for about in some], each.venues),
        ("destination", [about.destinations for about in some], each.destinations),
        ("asset", [_asset_of(about) for about in some], each.assets),
    ):
        left = _left_out(mine, theirs)
        if left:
            return f"{each.operation} with {left.format(what)}"
    return ""


def _asset_of(about: About) -> _Values | None:
    return frozenset({about.asset}) if about.measure is Measure.AMOUNT else None


def _left_out(conditions: Sequence[_Values | None], theirs: _Dimension) -> str:
    """Return which of theirs no condition is about, with a place for what it is; nothing where nobody knows theirs."""
    if theirs is None or any(mine is None for mine in conditions):
        return ""
    listed_there = frozenset[str | int]().union(*(mine or () for mine in conditions))
    if not isinstance(theirs, frozenset):
        return f"{{}} other than {_shown(listed_there)}"
    left = frozenset[str | int](theirs) - listed_there
    return f"{{}} {_shown(left)}" if left else ""
