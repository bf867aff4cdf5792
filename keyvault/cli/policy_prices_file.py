"""The price table of a policy file."""

import re
from collections.abc import Sequence

import yaml

from keyvault.cli.policy_units import parse_dollars, parse_span, parse_time, parse_unit, parse_whole
from keyvault.cli.yaml_nodes import Problems, table
from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.policy_rules import Asset, Chain, Market, Prices, normal_destination
from keyvault.core.policy_values import check_chain, check_name, check_venue

PRICES_FIELDS = ("as_of", "max_age", "assets", "markets")
ASSET_FIELDS = ("name", "usd", "decimals", "at")
MARKET_FIELDS = ("venue", "symbol", "base", "quote", "unit")
_DECIMALS_MAX = 36
_TINY = re.compile(r"\$?[0-9]+\.[0-9]{7,}", re.ASCII)
_MULTIPLE = (
    "round it, or price a thousand or a million of them; on a chain with 3 or 6 more in decimals, at a venue where it"
    " trades such a multiple itself (name: 1000PEPE)"
)


def read_prices(node: yaml.Node | None, problems: Problems) -> Prices:
    """Return the table; an empty one if there is none, or after noting what is wrong."""
    if node is None:
        return Prices()
    fields = table("prices", node, PRICES_FIELDS, problems)
    priced = [
        (each, _asset(each, problems)) for each in fields.items("assets", needed="assets, each with name and usd")
    ]
    traded = [(each, _market(each, problems)) for each in fields.items("markets")]
    _check(priced, traded, problems)
    assets, markets = tuple(asset for _, asset in priced), tuple(market for _, market in traded)
    return Prices(
        assets=assets,
        markets=markets,
        as_of=fields.read("as_of", parse_time, needed="as_of: 2026-11-26T12:00:00Z") or 0,
        age_ms_max=fields.read("max_age", parse_span, needed="max_age: 7d") or 0,
    )


def _asset(node: yaml.Node, problems: Problems) -> Asset:
    fields = table("an asset", node, ASSET_FIELDS, problems)
    places = fields.words("at", _place, needed="at: [1/0x..., binance/USDC]")
    return Asset(
        name=fields.read("name", check_name, needed="name: USDC") or "",
        usd=fields.read("usd", _price, needed="usd: 1.00") or 0,
        decimals=fields.read("decimals", _decimals, needed="decimals: 6") or 0,
        places=frozenset(places),
    )


def _market(node: yaml.Node, problems: Problems) -> Market:
    fields = table("a market", node, MARKET_FIELDS, problems)
    unit, unit_asset = fields.read("unit", parse_unit) or (0, "")
    return Market(
        unit=unit,
        unit_asset=unit_asset,
        venue=fields.read("venue", check_venue, needed="venue: binance") or "",
        symbol=fields.read("symbol", check_name, needed="symbol: ETHUSDT") or "",
        base=fields.read("base", check_name, needed="base: ETH") or "",
        quote=fields.read("quote", check_name, needed="quote: USDT") or "",
    )


def _check(assets: list[tuple[yaml.Node, Asset]], markets: list[tuple[yaml.Node, Market]], problems: Problems) -> None:
    """Note what stands twice, at the second, markets of assets that have no price, and too many of either."""
    seen: set[tuple[str, str]] = set()
    for node, asset in assets:
        places = [("place", f"{place}/{name}") for place, name in sorted(asset.places, key=str)]
        for each in (("asset", asset.name), *places):
            if each in seen and each[1]:
                problems.add(node.start_mark, f"prices: {each[1]} stands twice")
            seen.add(each)
    names = {asset.name for _, asset in assets}
    for node, market in markets:
        traded = f"{market.venue} {market.symbol}"
        if ("market", traded) in seen:
            problems.add(node.start_mark, f"prices: {traded} stands twice")
        seen.add(("market", traded))
        for name in sorted({market.base, market.quote} - names - {""}):
            problems.add(node.start_mark, f"prices: {traded}: {name} is no asset in here")
    _check_count("assets", assets, limits.POLICY_ASSETS_MAX, problems)
    _check_count("markets", markets, limits.POLICY_MARKETS_MAX, problems)


def _check_count(what: str, items: Sequence[tuple[yaml.Node, object]], most: int, problems: Problems) -> None:
    if len(items) > most:
        problems.add(items[most][0].start_mark, f"prices: {len(items)} {what}, at most {most} are permitted")


def _price(text: str) -> int:
    if _TINY.fullmatch(text):
        raise Malformed("usd", f"{text[:80]} has more than 6 decimals: {_MULTIPLE}")
    usd = parse_dollars(text)
    if usd == 0:
        raise Malformed("usd", "is 0: leave an asset out whose price is not known")
    return usd


def _decimals(text: str) -> int:
    return parse_whole(text, least=0, most=_DECIMALS_MAX)


def _place(text: str) -> tuple[Chain, str]:
    """Return chain or venue and asset of ``1/0x...``, ``solana/EPj...``, ``1/native`` or ``binance/USDC``."""
    place, slash, name = text.partition("/")
    if not slash:
        raise Malformed("at", f"{text[:80]!r} is not chain/contract or venue/code: write 1/native, or binance/USDC")
    asset = normal_destination(check_name(name))
    if place.isdigit():
        return check_chain(parse_whole(place, least=1, most=2**256 - 1)), asset
    try:
        return check_chain(place), asset
    except Malformed:
        return check_venue(place), asset
