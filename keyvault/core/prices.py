"""What things are worth, by the table that stands in the policy. Exact integers; unknown is None, never 0.

A price source is whatever can make a ``PriceBook``; today that is the policy's own signed table.

Dollars are rounded up, so that many small amounts are never free.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from keyvault.core import limits
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Effect, Operation, waits
from keyvault.core.policy_kinds import NETWORK_VENUES
from keyvault.core.policy_rules import NATIVE, Asset, Chain, Market, Prices, normal_destination

ATTO = 10**18
_BPS = 10_000
_ORDERS = frozenset({Operation.ORDER, Operation.REDUCE})

WITHOUT_VALUE = frozenset({Operation.CANCEL, Operation.REQUEST, Operation.MESSAGE, Operation.SETUP, Operation.SESSION})
"""Operations that move no value by themselves, so that none has to be known."""


class Pair(NamedTuple):
    """What a market exchanges. It counts ``unit`` (in 10**-18) of the base asset as one, or of the quote asset."""

    base: Asset
    quote: Asset
    unit: int = ATTO
    of_quote: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceBook:
    """Prices by what payloads call things, from ``since`` to before ``until``; ``at`` gives an empty book otherwise."""

    by_place: Mapping[tuple[Chain, str], Asset]
    markets: Mapping[tuple[str, str], Pair]
    since: int
    until: int

    def at(self, now: UnixMillis) -> "PriceBook":
        """Return the book if its prices are neither stale nor of the future."""
        return self if self.since <= now < self.until else EMPTY_BOOK

    def reaching_back(self) -> "PriceBook":
        """Return it without a beginning, to ask what a draft would have said before it was written."""
        return replace(self, since=0)

    def usd_of(self, effect: Effect) -> int | None:
        """Return what the effect can move at most, in 10**-6 dollars; None if that is not known."""
        if effect.operation in _ORDERS and effect.asset is None:
            return self._of_order(effect)
        if effect.operation is Operation.WITHDRAW and effect.venue is not None:
            return self._of_withdrawal(effect)
        return self._of_amount(effect)

    def fee_usd_of(self, effect: Effect) -> int | None:
        """Return the effect's highest fee in 10**-6 dollars; None if the price of the chain's own coin is not known."""
        if not effect.fee_max:
            return 0
        chain = effect.chain_id if effect.network is None else effect.network
        coin = None if chain is None else self.by_place.get((chain, NATIVE))
        return None if coin is None else _up(effect.fee_max * coin.usd, 10**coin.decimals)

    def deviation_bps(self, effect: Effect) -> int | None:
        """Return how far the limit price is from the table's, in 1/100 of a per cent of it; None if one is unknown.

        An exchange on a chain has no symbol: its price is what must come back for what is given. The price of an
        order that waits is one in another market than the table's: unknown.
        """
        if effect.symbol is None and effect.received_asset is not None:
            return self._of_exchange(effect)
        pair = self._pair(effect)
        if pair is None or effect.price is None or waits(effect):
            return None
        base, quote, _, _ = pair
        if not base.usd or not quote.usd:
            return None
        offered, fair = effect.price * quote.usd, base.usd * ATTO
        return _up(abs(offered - fair) * _BPS, fair)

    def _pair(self, effect: Effect) -> Pair | None:
        if effect.venue is None or effect.symbol is None:
            return None
        return self.markets.get((effect.venue, effect.symbol))

    def _of_exchange(self, effect: Effect) -> int | None:
        given, received = self._at(effect, effect.asset), self._at(effect, effect.received_asset)
        if given is None or received is None or not effect.amount or effect.received_min is None:
            return None
        fair = effect.amount * given.usd * 10**received.decimals
        offered = effect.received_min * received.usd * 10**given.decimals
        return _up(abs(offered - fair) * _BPS, fair) if fair else None

    def _at(self, effect: Effect, name: str | None) -> Asset | None:
        """Return the asset of this name where the effect is."""
        place = _place(effect)
        return (
            None if place is None else self.by_place.get((place, NATIVE if name is None else normal_destination(name)))
        )

    def _of_order(self, effect: Effect) -> int | None:
        pair = self._pair(effect)
        if pair is None:
            return None
        base, quote, unit, of_quote = pair
        values = []
        if effect.quantity is not None:
            counted = effect.quantity * unit
            values.append(_up(counted * (quote if of_quote else base).usd, ATTO * ATTO))
            if effect.price is not None and not of_quote:
                values.append(_up(counted * effect.price * quote.usd, ATTO**3))
        if effect.quote_quantity is not None:
            values.append(_up(effect.quote_quantity * quote.usd, ATTO))
        return max(values, default=None)

    def _of_withdrawal(self, effect: Effect) -> int | None:
        name = effect.asset or effect.symbol
        asset = None if name is None or effect.venue is None else self.by_place.get((effect.venue, name))
        if effect.decimals is None and effect.quantity is None and _is_on_chain(effect):
            return self._of_amount(effect)  # in the smallest units there, as dYdX states it
        if asset is None:
            return None
        if effect.amount is not None and effect.decimals is not None:
            return _up(effect.amount * asset.usd, 10**effect.decimals)
        return None if effect.quantity is None else _up(effect.quantity * asset.usd, ATTO)

    def _of_amount(self, effect: Effect) -> int | None:
        if effect.amount is None:
            return None
        asset = self._at(effect, effect.asset)
        if asset is None:
            return 0 if effect.amount == 0 and effect.asset is None and _place(effect) is not None else None
        return _up(effect.amount * asset.usd, 10**asset.decimals)


EMPTY_BOOK = PriceBook(by_place={}, markets={}, since=0, until=0)
"""Knows no price."""


def price_book(prices: Prices) -> PriceBook:
    """Return the policy's table, ready to be asked."""
    by_name = {asset.name: asset for asset in prices.assets}
    by_place = {(place, normal_destination(name)): asset for asset in prices.assets for place, name in asset.places}
    known = (
        each for each in prices.markets if each.base in by_name and each.quote in by_name and not unit_problem(each)
    )
    markets = {
        (each.venue, each.symbol): Pair(
            by_name[each.base], by_name[each.quote], each.unit or ATTO, each.unit_asset == each.quote != each.base
        )
        for each in known
    }
    since = prices.as_of - limits.PRICES_AHEAD_MS_MAX
    return PriceBook(by_place=by_place, markets=markets, since=since, until=prices.as_of + prices.age_ms_max)


def unit_problem(market: Market) -> str:
    """Return why it is not known what the venue counts, base asset or contract; empty if it is.

    ``1000PEPEUSDT`` counts, and prices, thousands: its base must be an asset of that name, with a price of its own.
    """
    multiple = _MULTIPLE.match(market.symbol)
    if multiple is not None and not market.base.startswith(multiple.group()):
        return f"{market.symbol} counts and prices multiples: name an asset so, with the price of as many"
    if market.unit:
        known = market.unit_asset in (market.base, market.quote)
        return "" if known else f"unit: {market.unit_asset} is neither base nor quote"
    if counts_contracts(market.venue, market.symbol):
        return f"{market.venue} counts {market.symbol} in contracts: add unit: 0.01 {market.base}, the size of one"
    return ""


def counts_contracts(venue: str, symbol: str) -> bool:
    """Return whether the quantity of this symbol's orders is one of contracts or dollars, not of the base asset."""
    pattern = _CONTRACTS.get(venue)
    return pattern is not None and pattern.search(symbol) is not None


_MULTIPLE: Final = re.compile(r"(1000+|1M)(?=[A-Z])", re.ASCII)
_CONTRACTS: Final = {
    "binance": re.compile(r"USD_", re.ASCII),
    "bybit": re.compile(r"USD([FGHJKMNQUVXZ][0-9]{2})?$", re.ASCII),
    "deribit": re.compile(r"-", re.ASCII),
    "okx": re.compile(r"-.*-", re.ASCII),
}
"""Symbols that are counted in contracts, or in dollars: COIN-M futures, inverse contracts, all but spot pairs."""


def _place(effect: Effect) -> Chain | None:
    chain = effect.chain_id if effect.network is None else effect.network
    return effect.venue if chain is None else chain


def _is_on_chain(effect: Effect) -> bool:
    """Return whether it is on a chain besides its venue; a venue's name for a network is none."""
    return (effect.chain_id is not None or effect.network is not None) and effect.venue not in NETWORK_VENUES


def _up(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
