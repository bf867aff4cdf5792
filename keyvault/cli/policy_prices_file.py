"""The price table of a policy file."""

from collections import Counter

import yaml

from keyvault.cli.policy_units import parse_dollars, parse_span, parse_time, parse_whole
from keyvault.cli.yaml_nodes import Problems, Table, table
from keyvault.core.errors import Malformed
from keyvault.core.policy_rules import Asset, Chain, Market, Prices, normal_destination
from keyvault.core.policy_values import check_chain, check_name, check_venue

_FIELDS = ("as_of", "max_age", "assets", "markets")
_ASSET_FIELDS = ("name", "usd", "decimals", "at")
_MARKET_FIELDS = ("venue", "symbol", "base", "quote")
_DECIMALS_MAX = 36


def read_prices(node: yaml.Node | None, problems: Problems) -> Prices:
    """Return the table; an empty one if there is none, or after noting what is wrong."""
    if node is None:
        return Prices()
    fields = table("prices", node, _FIELDS, problems)
    assets = tuple(_asset(each, problems) for each in fields.items("assets", needed="assets, each with name and usd"))
    markets = tuple(_market(each, problems) for each in fields.items("markets"))
    _check(fields, assets, markets)
    return Prices(
        assets=assets,
        markets=markets,
        as_of=fields.read("as_of", parse_time, needed="as_of: 2026-11-26T12:00:00Z") or 0,
        age_ms_max=fields.read("max_age", parse_span, needed="max_age: 7d") or 0,
    )


def _asset(node: yaml.Node, problems: Problems) -> Asset:
    fields = table("an asset", node, _ASSET_FIELDS, problems)
    places = fields.words("at", _place, needed="at: [1/0x..., binance/USDC]")
    return Asset(
        name=fields.read("name", check_name, needed="name: USDC") or "",
        usd=fields.read("usd", _price, needed="usd: 1.00") or 0,
        decimals=fields.read("decimals", _decimals, needed="decimals: 6") or 0,
        places=frozenset(places),
    )


def _market(node: yaml.Node, problems: Problems) -> Market:
    fields = table("a market", node, _MARKET_FIELDS, problems)
    return Market(
        venue=fields.read("venue", check_venue, needed="venue: binance") or "",
        symbol=fields.read("symbol", check_name, needed="symbol: ETHUSDT") or "",
        base=fields.read("base", check_name, needed="base: ETH") or "",
        quote=fields.read("quote", check_name, needed="quote: USDT") or "",
    )


def _check(fields: Table, assets: tuple[Asset, ...], markets: tuple[Market, ...]) -> None:
    """Note what stands twice, and markets of assets that have no price."""
    names = [asset.name for asset in assets]
    places = [f"{place}/{name}" for asset in assets for place, name in asset.places]
    for each, count in Counter((*names, *places)).items():
        if count > 1:
            fields.problems.add(fields.start, f"prices: {each} stands twice")
    for market in markets:
        for name in (market.base, market.quote):
            if name not in names:
                fields.problems.add(fields.start, f"prices: {market.venue} {market.symbol}: {name} is no asset in here")


def _price(text: str) -> int:
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
