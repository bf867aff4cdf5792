"""Dollars of effects: exact, rounded up, and unknown rather than 0."""

import dataclasses
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Effect, Operation
from keyvault.core.policy_findings import Lint
from keyvault.core.policy_lint import lint
from keyvault.core.policy_rules import Asset, Market, Policy, Prices
from keyvault.core.prices import ATTO, EMPTY_BOOK, PriceBook, price_book, unit_problem

TOKEN = "0x" + "7a" * 20
NOW = UnixMillis(1_800_000_000_000)
TABLE = Prices(
    assets=(
        Asset(name="ETH", usd=3_000_000_000, decimals=18, places=frozenset({(1, "native"), ("binance", "ETH")})),
        Asset(name="SOL", usd=150_000_000, decimals=9, places=frozenset({("solana", "native")})),
        Asset(name="USDC", usd=1_000_000, decimals=6, places=frozenset({(1, TOKEN), ("binance", "USDC")})),
        Asset(name="DUST", usd=1, decimals=18, places=frozenset({("binance", "DUST")})),
    ),
    markets=(
        Market(venue="binance", symbol="ETHUSDC", base="ETH", quote="USDC"),
        Market(venue="binance", symbol="LOST", base="ETH", quote="GONE"),
        Market(venue="okx", symbol="ETH-USDC-SWAP", base="ETH", quote="USDC", unit=ATTO // 10, unit_asset="ETH"),
        Market(venue="okx", symbol="ETH-USDC-990101", base="ETH", quote="USDC"),
        Market(venue="bybit", symbol="ETHUSD", base="ETH", quote="USDC", unit=100 * ATTO, unit_asset="USDC"),
    ),
    as_of=NOW,
    age_ms_max=1_000,
)
BOOK = price_book(TABLE)
TRANSFER = Effect(operation=Operation.TRANSFER, chain_id=1, destination="0x" + "ab" * 20, amount=10**18)
ORDER = Effect(operation=Operation.ORDER, venue="binance", symbol="ETHUSDC", side="BUY", quantity=ATTO)
WITHDRAW = Effect(operation=Operation.WITHDRAW, venue="binance", destination="bc1q", asset="USDC", quantity=5 * ATTO)


def usd(effect: Effect, **change: object) -> int | None:
    return BOOK.usd_of(dataclasses.replace(effect, **change))  # type: ignore[arg-type]  # names of fields


@given(amount=st.integers(0, 2**256 - 1))
def test_an_amount_is_worth_its_price_rounded_up(amount: int) -> None:
    """Exact over 256 bits; a part of a millionth of a dollar is a whole one, so that nothing is free."""
    assert usd(TRANSFER, amount=amount) == ceil(Fraction(amount * 3_000_000_000, 10**18))


def test_the_smallest_amount_is_not_free() -> None:
    """One wei is a millionth of a dollar, and so is one smallest unit of what is worth next to nothing."""
    assert usd(TRANSFER, amount=1) == 1
    assert usd(WITHDRAW, asset="DUST", quantity=1) == 1


@given(parts=st.lists(st.integers(1, 10**20), min_size=1, max_size=9))
def test_many_small_amounts_are_never_worth_less_than_one_large(parts: list[int]) -> None:
    """Splitting an amount saves nothing."""
    each = [usd(TRANSFER, amount=part) or 0 for part in parts]
    assert sum(each) >= (usd(TRANSFER, amount=sum(parts)) or 0)


@pytest.mark.parametrize(
    ("change", "worth"),
    [
        ({}, 3_000_000_000),
        ({"asset": TOKEN, "amount": 5}, 5),
        ({"asset": TOKEN.upper().replace("0X", "0x"), "amount": 5}, 5),
        ({"asset": "0x" + "7b" * 20}, None),
        ({"chain_id": 5}, None),
        ({"chain_id": None}, None),
        ({"chain_id": None, "network": "solana", "amount": 10**9}, 150_000_000),
        ({"chain_id": 1, "network": "solana", "amount": 10**9}, 150_000_000),
        ({"chain_id": None, "network": "bitcoin"}, None),
        ({"amount": None}, None),
        ({"amount": 0}, 0),
        ({"amount": 0, "chain_id": 5}, 0),
        ({"amount": 0, "asset": "0x" + "7b" * 20}, None),
        ({"chain_id": None, "venue": "binance", "asset": "USDC", "amount": 7}, 7),
    ],
)
def test_an_asset_is_found_by_its_place(change: dict[str, object], worth: int | None) -> None:
    """Chain, network or venue, and contract or coin; what is not there has no price, and none of a coin is worth 0."""
    assert usd(TRANSFER, **change) == worth


@pytest.mark.parametrize(
    ("change", "worth"),
    [
        ({}, 3_000_000_000),
        ({"price": 2_000 * ATTO}, 3_000_000_000),
        ({"price": 3_500 * ATTO}, 3_500_000_000),
        ({"price": 3_500 * ATTO + 1}, 3_500_000_001),
        ({"quantity": 1}, 1),
        ({"quantity": 1, "price": 1}, 1),
        ({"quantity": None}, None),
        ({"quantity": None, "price": 3_500 * ATTO}, None),
        ({"quantity": None, "quote_quantity": 100 * ATTO}, 100_000_000),
        ({"quote_quantity": 4_000 * ATTO}, 4_000_000_000),
        ({"symbol": "BTCUSDC"}, None),
        ({"symbol": "LOST"}, None),
        ({"symbol": None}, None),
        ({"venue": "okx"}, None),
        ({"operation": Operation.REDUCE}, 3_000_000_000),
        ({"asset": TOKEN, "amount": 9, "chain_id": 1}, 9),
    ],
)
def test_an_order_is_worth_the_most_that_it_can_move(change: dict[str, object], worth: int | None) -> None:
    """By the table's price of its quantity, its own price, or what it spends; an exchange on a chain by its asset."""
    assert usd(ORDER, **change) == worth


@pytest.mark.parametrize(
    ("change", "worth"),
    [
        ({}, 5_000_000),
        ({"asset": None, "symbol": "ETH"}, 15_000_000_000),
        ({"asset": None}, None),
        ({"asset": "DOGE"}, None),
        ({"quantity": None}, None),
        ({"quantity": None, "amount": 5}, None),
        ({"venue": "okx"}, None),
        ({"venue": None, "chain_id": 1, "asset": None, "amount": 10**18}, 3_000_000_000),
    ],
)
def test_a_withdrawal_is_worth_its_quantity(change: dict[str, object], worth: int | None) -> None:
    """By the venue's code of the asset; from a chain by its amount."""
    assert usd(WITHDRAW, **change) == worth


@pytest.mark.parametrize(
    ("change", "worth"),
    [
        ({"venue": "okx", "symbol": "ETH-USDC-SWAP", "quantity": 20 * ATTO}, 6_000_000_000),
        ({"venue": "okx", "symbol": "ETH-USDC-SWAP", "quantity": 20 * ATTO, "price": 3_500 * ATTO}, 7_000_000_000),
        ({"venue": "okx", "symbol": "ETH-USDC-SWAP", "quantity": 1}, 1),
        ({"venue": "okx", "symbol": "ETH-USDC-990101", "quantity": 1}, None),
        ({"venue": "bybit", "symbol": "ETHUSD", "quantity": 7 * ATTO}, 700_000_000),
        ({"venue": "bybit", "symbol": "ETHUSD", "quantity": 7 * ATTO, "price": 9_000 * ATTO}, 700_000_000),
    ],
)
def test_contracts_are_worth_their_size(change: dict[str, object], worth: int | None) -> None:
    """In the base asset or in the quote asset; where the size is not said nobody knows what they are worth."""
    assert usd(ORDER, **change) == worth


@pytest.mark.parametrize(
    ("venue", "symbol", "plain"),
    [
        ("okx", "BTC-USDT", True),
        ("okx", "BTC-USDT-SWAP", False),
        ("okx", "BTC-USD-260925", False),
        ("bybit", "BTCUSDT", True),
        ("bybit", "BTCUSD", False),
        ("bybit", "BTCUSDU26", False),
        ("binance", "BTCUSDT_260925", True),
        ("binance", "BTCUSD_PERP", False),
        ("deribit", "BTC_USDC", True),
        ("deribit", "BTC-PERPETUAL", False),
        ("kraken", "XBTUSD", True),
        ("binance", "1INCHUSDT", True),
        ("hyperliquid", "perp:1", True),
    ],
)
def test_what_is_counted_in_contracts_needs_a_size(venue: str, symbol: str, plain: bool) -> None:  # noqa: FBT001 - a parameter
    """Told by its symbol; a size of another asset than base and quote is none."""
    market = Market(venue=venue, symbol=symbol, base="ETH", quote="USDC")
    assert (not unit_problem(market)) is plain
    sized = dataclasses.replace(market, unit=ATTO, unit_asset="ETH")
    assert not unit_problem(sized)
    assert unit_problem(dataclasses.replace(sized, unit_asset="SOL"))
    policy = Policy(version=1, rules=(), limits=(), prices=dataclasses.replace(TABLE, markets=(market,)))
    assert [each.lint for each in lint(policy)] == ([] if plain else [Lint.WITHOUT_UNIT])


@pytest.mark.parametrize(
    ("price", "deviation"),
    [
        (3_000 * ATTO, 0),
        (3_000 * ATTO + 1, 1),
        (3_000 * ATTO - 1, 1),
        (3_030 * ATTO, 100),
        (2_970 * ATTO, 100),
        (0, 10_000),
        (None, None),
    ],
)
def test_a_limit_price_is_so_far_from_the_table(price: int | None, deviation: int | None) -> None:
    """In both directions, rounded up; without a limit there is no distance."""
    assert BOOK.deviation_bps(dataclasses.replace(ORDER, price=price)) == deviation


@pytest.mark.parametrize("change", [{"symbol": "BTCUSDC"}, {"symbol": "LOST"}, {"venue": "okx"}, {"venue": None}])
def test_a_market_that_is_not_known_has_no_distance(change: dict[str, object]) -> None:
    """Unknown is None, never 0."""
    effect = dataclasses.replace(ORDER, price=3_000 * ATTO, **change)  # type: ignore[arg-type]  # names of fields
    assert BOOK.deviation_bps(effect) is None


@pytest.mark.parametrize("via", ["trigger 3000", "linear > trigger 2000", "trigger legs", "trigger starttm +60"])
def test_an_order_that_waits_has_no_distance(via: str) -> None:
    """Its limit is near today's price, and executed in a market that nobody knows yet; its size is what it was."""
    effect = dataclasses.replace(ORDER, price=3_000 * ATTO, via=via)
    assert BOOK.deviation_bps(effect) is None
    assert BOOK.usd_of(effect) == 3_000_000_000
    assert BOOK.deviation_bps(dataclasses.replace(effect, via="linear")) == 0


def test_prices_are_stale_from_their_end_on() -> None:
    """Until then the table is the table; from then on no price is known."""
    assert BOOK.at(UnixMillis(NOW + 999)) is BOOK
    stale = BOOK.at(UnixMillis(NOW + 1_000))
    assert stale is EMPTY_BOOK
    assert [stale.usd_of(each) for each in (TRANSFER, ORDER, WITHDRAW)] == [None, None, None]
    assert stale.deviation_bps(dataclasses.replace(ORDER, price=1)) is None


def test_prices_of_the_future_are_not_known_yet() -> None:
    """A table whose date is further ahead than clocks differ knows nothing; a draft is asked about what was before."""
    earliest = UnixMillis(NOW - limits.PRICES_AHEAD_MS_MAX)
    assert BOOK.at(earliest) is BOOK
    assert BOOK.at(UnixMillis(earliest - 1)) is EMPTY_BOOK
    assert BOOK.reaching_back().at(UnixMillis(1)).usd_of(TRANSFER) == BOOK.usd_of(TRANSFER)
    assert BOOK.reaching_back().at(UnixMillis(NOW + 1_000)) is EMPTY_BOOK


@pytest.mark.parametrize(
    ("change", "worth"),
    [
        ({}, 3_000_000),
        ({"fee_max": 0}, 0),
        ({"fee_max": None}, 0),
        ({"chain_id": 5}, None),
        ({"chain_id": 5, "fee_max": 0}, 0),
        ({"chain_id": None}, None),
        ({"chain_id": None, "network": "solana", "fee_max": 10**9}, 150_000_000),
    ],
)
def test_a_fee_is_worth_the_coin_that_pays_it(change: dict[str, object], worth: int | None) -> None:
    """A fee in a coin without a price is not worth 0: nobody knows it."""
    effect = dataclasses.replace(TRANSFER, **({"fee_max": 10**15} | change))  # type: ignore[arg-type]  # names of fields
    assert BOOK.fee_usd_of(effect) == worth


def test_no_table_knows_no_price() -> None:
    """A policy without prices."""
    assert price_book(Prices()).at(UnixMillis(0)) == EMPTY_BOOK
    assert price_book(Prices()) == PriceBook(by_place={}, markets={}, since=-limits.PRICES_AHEAD_MS_MAX, until=0)


@pytest.mark.parametrize("symbol", ["1000PEPEUSDT", "1000000MOGUSDT", "1MBABYDOGEUSDT"])
def test_multiples_are_assets_of_their_own(symbol: str) -> None:
    """Quantity and price are of a thousand or a million: only an asset that is named so has the right price."""
    plain = Market(venue="binance", symbol=symbol, base="PEPE", quote="USDC")
    assert unit_problem(plain)
    assert unit_problem(dataclasses.replace(plain, unit=1_000 * ATTO, unit_asset="PEPE"))
    assert not unit_problem(dataclasses.replace(plain, base=symbol.removesuffix("USDT")))
    policy = Policy(version=1, rules=(), limits=(), prices=dataclasses.replace(TABLE, markets=(plain,)))
    (found,) = lint(policy)
    assert "counts and prices multiples" in found.problem


def test_a_withdrawal_on_a_chain_is_worth_its_amount_there() -> None:
    """DYdX states a chain beside the venue, and the amount in the smallest unit: the price is that of the chain."""
    network = "cosmos:dydx-mainnet-1"
    asset = Asset(name="USDC", usd=10**6, decimals=6, places=frozenset({(network, "asset:0")}))
    book = price_book(Prices(assets=(asset,), as_of=0, age_ms_max=1))
    effect = Effect(operation=Operation.WITHDRAW, network=network, venue="dydx", amount=99_000 * 10**6, asset="asset:0")
    assert book.usd_of(effect) == 99_000 * 10**6
    assert book.usd_of(dataclasses.replace(effect, venue="binance", network="binance:ETH")) is None
