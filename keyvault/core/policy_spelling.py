"""Names of assets and markets in a policy that no request ever has, because its venue has another for the same thing.

A rule that names one decides nothing of it; a limit counts nothing, a price is never found. See ``venue_names``.
"""

from collections.abc import Callable, Iterator
from typing import TypeAlias

from keyvault.core.policy_findings import Finding, Lint, Problems, listed
from keyvault.core.policy_kinds import SECRETS, VENUE_KINDS
from keyvault.core.policy_rules import Limit, Prices, Rule
from keyvault.core.venue_names import KRAKEN, asset_at, is_kraken_s_alone, symbol_at

_OneName: TypeAlias = Callable[[str, str], str]
_FIELDS: tuple[tuple[str, str, _OneName], ...] = (
    ("assets", "an asset", asset_at),
    ("symbols", "a market", symbol_at),
)


def misspelt_in_rule(rule: Rule) -> Problems:
    """Say which assets and symbols nothing that the rule is about is called."""
    venues = venues_of(rule)
    for field, what, one_name in _FIELDS:
        values = getattr(rule, field)
        for text in sorted(values) if isinstance(values, frozenset) else ():
            names = {one_name(venue, text) for venue in venues}
            if not venues and is_kraken_s_alone(text):
                yield Lint.VALUE, field, _problem(text, what, {KRAKEN}, {one_name(KRAKEN, text)})
            elif names and text not in names:
                yield Lint.VALUE, field, _problem(text, what, venues, names)


def misspelt_in_limit(limit: Limit) -> Problems:
    """Say whether the asset of a limit is one that its venue never names."""
    if limit.venue is None or limit.asset is None:
        return
    name = asset_at(limit.venue, limit.asset)
    if name != limit.asset:
        yield Lint.VALUE, "asset", _problem(limit.asset, "an asset", {limit.venue}, {name})


def misspelt_in_prices(prices: Prices) -> Iterator[Finding]:
    """Say which prices nothing is ever looked up by."""
    named: list[tuple[str, str, str, _OneName]] = [
        (market.venue, market.symbol, "a market", symbol_at) for market in prices.markets
    ]
    named += [(str(place), name, "an asset", asset_at) for asset in prices.assets for place, name in asset.places]
    for venue, text, what, one_name in sorted(named, key=lambda each: each[:2]):
        name = one_name(venue, text)
        if name != text:
            problem = _problem(text, what, {venue}, {name})
            yield Finding(section="policy", field="prices", name=f"{venue}/{text}", lint=Lint.VALUE, problem=problem)


def venues_of(rule: Rule) -> frozenset[str]:
    """Return the venues to which everything goes that the rule is about; none if it may be about a chain."""
    if isinstance(rule.venues, frozenset):
        return rule.venues
    if rule.kinds and rule.kinds <= VENUE_KINDS & SECRETS.keys():
        return frozenset(SECRETS[kind][0] for kind in rule.kinds)
    return frozenset()


def _problem(text: str, what: str, venues: set[str] | frozenset[str], names: set[str]) -> str:
    return f"{text[:80]} is never {what} at {listed(venues)}: write {listed(names)[:80]}"
