"""The price table of a policy document, as protobuf messages and back. Every bound is checked when it is read."""

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.policy_rules import Asset, Chain, Market, Prices
from keyvault.ledger.wire import integer_from_wire, integer_to_wire
from keyvault.v1 import policy_pb2

_DECIMALS_MAX = 36


def prices_from_wire(message: policy_pb2.Prices) -> Prices:
    """Return the table, or raise Malformed."""
    if len(message.assets) > limits.POLICY_ASSETS_MAX or len(message.markets) > limits.POLICY_MARKETS_MAX:
        most = f"{limits.POLICY_ASSETS_MAX} assets and {limits.POLICY_MARKETS_MAX} markets"
        raise Malformed("prices", f"has more than {most}")
    if message.as_of_ms <= 0 or message.age_max_ms <= 0:
        raise Malformed("prices", "needs as_of_ms and age_max_ms: prices have a date, and an end")
    assets = tuple(map(_asset, message.assets))
    names = {asset.name for asset in assets}
    places = [place for asset in assets for place in asset.places]
    if len(names) != len(assets) or len(set(places)) != len(places):
        raise Malformed("prices.assets", "a name, or a place, stands twice")
    markets = tuple(map(_market, message.markets))
    _check_markets(markets, names)
    return Prices(assets=assets, markets=markets, as_of=message.as_of_ms, age_ms_max=message.age_max_ms)


def _asset(message: policy_pb2.Asset) -> Asset:
    at = f"prices.assets[{message.name[:80]}]"
    if not 0 < len(message.name) <= limits.POLICY_VALUE_CHARS_MAX:
        raise Malformed(at, f"a name must have 1 to {limits.POLICY_VALUE_CHARS_MAX} characters")
    if message.usd == 0:
        raise Malformed(f"{at}.usd", "is 0: leave an asset out whose price is not known")
    if message.decimals > _DECIMALS_MAX:
        raise Malformed(f"{at}.decimals", f"is more than {_DECIMALS_MAX}")
    if not 0 < len(message.places) <= limits.POLICY_VALUES_MAX:
        raise Malformed(f"{at}.places", f"1 to {limits.POLICY_VALUES_MAX} places are right")
    places = [(_place(f"{at}.places", each), _name(f"{at}.places", each.asset)) for each in message.places]
    if len(set(places)) != len(places):
        raise Malformed(f"{at}.places", "a place stands twice")
    return Asset(name=message.name, usd=message.usd, decimals=message.decimals, places=frozenset(places))


def _place(field: str, message: policy_pb2.AssetPlace) -> Chain:
    match message.WhichOneof("place"):
        case "chain_id":
            return integer_from_wire(field, message.chain_id)
        case "name":
            return _name(field, message.name)
        case None:
            raise Malformed(field, "needs a chain, a network or a venue")


def _name(field: str, text: str) -> str:
    if not 0 < len(text) <= limits.POLICY_VALUE_CHARS_MAX:
        raise Malformed(field, f"a name must have 1 to {limits.POLICY_VALUE_CHARS_MAX} characters")
    return text


def _market(message: policy_pb2.Market) -> Market:
    at = f"prices.markets[{message.venue[:80]}/{message.symbol[:80]}].unit"
    unit = integer_from_wire(at, message.unit) if message.unit else 0
    if bool(unit) != bool(message.unit_asset) or message.unit_asset not in ("", message.base, message.quote):
        raise Malformed(at, "is a number and an asset, base or quote, or neither")
    return Market(
        venue=message.venue,
        symbol=message.symbol,
        base=message.base,
        quote=message.quote,
        unit=unit,
        unit_asset=message.unit_asset,
    )


def _check_markets(markets: tuple[Market, ...], names: set[str]) -> None:
    seen: set[tuple[str, str]] = set()
    for market in markets:
        at = f"prices.markets[{market.venue[:80]}/{market.symbol[:80]}]"
        if not {market.base, market.quote} <= names:
            raise Malformed(at, "base and quote must be names of assets")
        _name(at, market.venue)
        _name(at, market.symbol)
        if (market.venue, market.symbol) in seen:
            raise Malformed(at, "stands twice")
        seen.add((market.venue, market.symbol))


def prices_to_wire(prices: Prices) -> policy_pb2.Prices:
    """Return the message; the same table always gives the same bytes."""
    return policy_pb2.Prices(
        assets=map(_asset_to_wire, prices.assets),
        markets=[
            policy_pb2.Market(
                venue=each.venue,
                symbol=each.symbol,
                base=each.base,
                quote=each.quote,
                unit=integer_to_wire(each.unit) if each.unit else b"",
                unit_asset=each.unit_asset,
            )
            for each in prices.markets
        ],
        as_of_ms=prices.as_of,
        age_max_ms=prices.age_ms_max,
    )


def _asset_to_wire(asset: Asset) -> policy_pb2.Asset:
    places = sorted(asset.places, key=lambda each: (str(each[0]), each[1]))
    return policy_pb2.Asset(
        name=asset.name,
        usd=asset.usd,
        decimals=asset.decimals,
        places=[
            policy_pb2.AssetPlace(chain_id=integer_to_wire(place), asset=name)
            if isinstance(place, int)
            else policy_pb2.AssetPlace(name=place, asset=name)
            for place, name in places
        ],
    )
