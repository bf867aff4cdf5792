"""A policy as YAML, as ``policy_file`` reads it back."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping

from keyvault.cli.policy_units import format_amount, format_band, format_dollars, format_hours, format_time, format_unit
from keyvault.core.policy import Anything, Limit, Policy, Rule
from keyvault.core.policy_rules import Asset, Per, Prices
from keyvault.core.windows import window_text

_PLAIN_WORD = re.compile(r"(spiffe://)?[a-z][a-z0-9./-]*", re.ASCII)
_YAML_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n", "any"})
_LINE_CHARS_MAX = 100


def format_policy(policy: Policy) -> str:
    """Return the policy as YAML that ``parse_policy`` reads back as the same policy, if lint finds nothing in it."""
    lines = [f"version: {policy.version}"]
    lines += _named("lists", policy.lists)
    lines += _named("tags", policy.tags)
    lines += _prices(policy.prices)
    for section, items in (("rules", map(_rule_lines, policy.rules)), ("limits", map(_limit_lines, policy.limits))):
        blocks = [list(each) for each in items]
        lines.append(f"{section}:" if blocks else f"{section}: []")
        lines += _blocks(blocks, "  ")
    return "\n".join(lines) + "\n"


def _blocks(blocks: Iterable[list[str]], indent: str) -> Iterator[str]:
    for first, *rest in blocks:
        yield f"{indent}- {first}"
        yield from (f"{indent}  {line}" for line in rest)


def _named(field: str, lists: Mapping[str, frozenset[str]]) -> Iterator[str]:
    if lists:
        yield f"{field}:"
        for name in sorted(lists):
            yield from (f"  {line}" for line in _values(name, lists[name]))


def _prices(prices: Prices) -> Iterator[str]:
    if prices == Prices():
        return
    yield "prices:"
    yield f"  as_of: {format_time(prices.as_of)}"
    yield f"  max_age: {window_text(prices.age_ms_max)}"
    yield "  assets:" if prices.assets else "  assets: []"
    yield from _blocks(map(_asset_lines, prices.assets), "    ")
    yield "  markets:" if prices.markets else "  markets: []"
    for market in prices.markets:
        words = [f"{name}: {_word(getattr(market, name))}" for name in ("venue", "symbol", "base", "quote")]
        if market.unit:
            words.append(f"unit: {_word(format_unit(market.unit, market.unit_asset))}")
        yield f"    - {{{', '.join(words)}}}"


def _asset_lines(asset: Asset) -> list[str]:
    places = (f"{place}/{name}" for place, name in asset.places)
    return [
        f"name: {_word(asset.name)}",
        f"usd: {format_dollars(asset.usd)}",
        f"decimals: {asset.decimals}",
        *_values("at", frozenset(places)),
    ]


def _rule_lines(rule: Rule) -> Iterator[str]:
    yield f"id: {_word(rule.id)}"
    yield f"verdict: {rule.verdict}"
    if rule.quorum:
        yield f"quorum: {rule.quorum}"
    if rule.shadow:
        yield "shadow: true"
    yield from _values("keys", rule.keys)
    yield from _values("principals", rule.principals)
    yield from _values("kinds", rule.kinds or None)
    yield from _values("operations", rule.operations or None)
    for field in ("chains", "venues", "destinations", "contracts", "selectors", "primary_types", "type_hashes"):
        yield from _values(field, getattr(rule, field))
    for field in ("symbols", "sides", "assets"):
        yield from _values(field, getattr(rule, field))
    yield from _amounts(rule)
    yield from _times(rule)
    if rule.look_alike:
        yield "look_alike: true"
    if rule.when:
        yield f"when: {json.dumps(rule.when)}"


def _amounts(rule: Rule) -> Iterator[str]:
    yield from _cap("above", rule.amount_above)
    yield from _cap("amount", rule.amount_max)
    yield from _cap("fee", rule.fee_max)
    if rule.usd_above is not None:
        yield f"usd_above: {format_dollars(rule.usd_above)}"
    if rule.usd_max is not None:
        yield f"usd: {rule.usd_max.value if isinstance(rule.usd_max, Anything) else format_dollars(rule.usd_max)}"
    band = rule.price_band_bps
    if band is not None:
        yield f"price_band: {band.value if isinstance(band, Anything) else format_band(band)}"


def _times(rule: Rule) -> Iterator[str]:
    if rule.validity_ms_max is not None:
        most = rule.validity_ms_max
        yield f"validity: {most.value if isinstance(most, Anything) else window_text(most)}"
    if rule.first_seen_ms is not None:
        yield f"first_seen: {window_text(rule.first_seen_ms)}"
    if rule.hours:
        yield f"hours: [{', '.join(text for each in rule.hours for text in format_hours(each))}]"


def _limit_lines(limit: Limit) -> Iterator[str]:
    yield f"id: {_word(limit.id)}"
    yield from _values("keys", limit.keys)
    if limit.per is not Per.KEY:
        yield f"per: {limit.per}"
    for field in ("principals", "chains", "venues", "destinations", "tags"):
        yield from _values(field, getattr(limit, field))
    yield from _values("operations", limit.operations or None)
    yield f"window: {window_text(limit.window_ms)}"
    if limit.count_max is not None:
        yield f"count: {limit.count_max}"
    if limit.usd_max is not None:
        yield f"usd: {format_dollars(limit.usd_max)}"
    if limit.amount_max is not None:
        wei = limit.chain_id is not None and limit.asset is None
        yield f"amount: {format_amount(limit.amount_max) if wei else limit.amount_max}"
    if limit.chain_id is not None:
        yield f"chain: {limit.chain_id}"
    if limit.network is not None:
        yield f"chain: {_word(limit.network)}"
    if limit.venue is not None:
        yield f"venue: {_word(limit.venue)}"
    if limit.asset is not None:
        yield f"asset: {_word(limit.asset)}"


def _values(field: str, values: Iterable[str | int] | Anything | None) -> Iterator[str]:
    if values is None:
        return
    if isinstance(values, Anything):
        yield f"{field}: {values.value}"
        return
    words = [_word(value) if isinstance(value, str) else str(value) for value in sorted(values, key=_order)]
    line = f"{field}: [{', '.join(words)}]"
    if len(line) <= _LINE_CHARS_MAX:
        yield line
        return
    yield f"{field}:"
    yield from (f"  - {word}" for word in words)


def _order(value: str | int) -> tuple[int, int, str]:
    return (0, value, "") if isinstance(value, int) else (1, 0, value)


def _cap(field: str, cap: int | Anything | None) -> Iterator[str]:
    if cap is not None:
        yield f"{field}: {cap.value if isinstance(cap, Anything) else format_amount(cap)}"


def _word(text: str) -> str:
    """Return the text as any YAML reader takes it for text."""
    return text if _PLAIN_WORD.fullmatch(text) and text not in _YAML_WORDS else json.dumps(text)
