"""One name for each asset and market of a venue."""

import dataclasses

import pytest

from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.policy import ANY, Limit, Policy, Rule, Verdict
from keyvault.core.policy_lint import lint
from keyvault.core.policy_rules import Asset, Market, Prices
from keyvault.core.venue_names import asset_at, symbol_at

WITHDRAWALS = Rule(
    id="withdrawals",
    verdict=Verdict.ALLOW,
    keys=frozenset({"kraken"}),
    principals=ANY,
    kinds=frozenset({PayloadKind.KRAKEN_REST}),
    operations=frozenset({Operation.WITHDRAW}),
    chains=ANY,
    venues=frozenset({"kraken"}),
    destinations=frozenset({"key:cold"}),
    assets=frozenset({"XBT"}),
    usd_max=ANY,
)


@pytest.mark.parametrize(
    ("venue", "texts", "name"),
    [
        ("kraken", ["XBT", "XXBT", "xbt", "BTC", "btc"], "XBT"),
        ("kraken", ["XDG", "XXDG", "DOGE"], "XDG"),
        ("kraken", ["ETH", "XETH"], "ETH"),
        ("kraken", ["USD", "ZUSD", "zusd"], "USD"),
        ("kraken", ["XBT.M", "BTC.M"], "XBT.M"),
        ("kraken", ["XTZ"], "XTZ"),
        ("kraken", ["XION"], "XION"),
        ("kraken", ["ZETA"], "ZETA"),
        ("binance", ["USDT"], "USDT"),
        ("hyperliquid", ["kPEPE"], "kPEPE"),
    ],
)
def test_one_name_for_each_asset(venue: str, texts: list[str], name: str) -> None:
    """All names that Kraken takes for an asset are its altname; X and Z of others are their own."""
    assert {asset_at(venue, text) for text in texts} == {name}


@pytest.mark.parametrize(
    ("venue", "texts", "name"),
    [
        ("kraken", ["XBTUSD", "XXBTZUSD", "xbtusd", "XBT/USD", "BTC/USD", "BTCUSD", "btc/usd", "XBTZUSD"], "XBTUSD"),
        ("kraken", ["ETHXBT", "XETHXXBT", "ETH/BTC", "ETHBTC", "ETH/XBT"], "ETHXBT"),
        ("kraken", ["USDTUSD", "USDTZUSD", "USDT/USD"], "USDTUSD"),
        ("kraken", ["XTZUSD", "XTZ/USD", "xtzusd"], "XTZUSD"),
        ("kraken", ["XDGUSD", "DOGEUSD", "XXDGZUSD", "DOGE/USD"], "XDGUSD"),
        ("kraken", ["XBTUSDT", "BTC/USDT", "BTCUSDT"], "XBTUSDT"),
        ("kraken", ["WBTCXBT", "WBTC/BTC", "WBTCBTC"], "WBTCXBT"),
        ("kraken", ["ADAXBT", "ADA/BTC", "ADABTC"], "ADAXBT"),
        ("deribit", ["XRP_USDC-30JUN25-0d5-C"], "XRP_USDC-30JUN25-0d5-C"),
        ("deribit", ["btc-perpetual"], "BTC-PERPETUAL"),
    ],
)
def test_one_name_for_each_market(venue: str, texts: list[str], name: str) -> None:
    """A pair by its key, altname or wsname is its altname; a Z that belongs to the base stays with it."""
    assert {symbol_at(venue, text) for text in texts} == {name}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"assets": frozenset({"XXBT"})}, "XXBT is never an asset at kraken: write XBT"),
        ({"assets": frozenset({"BTC"})}, "BTC is never an asset at kraken: write XBT"),
        ({"symbols": frozenset({"XXBTZUSD"})}, "XXBTZUSD is never a market at kraken: write XBTUSD"),
    ],
)
def test_a_name_that_no_request_has_is_refused(change: dict[str, object], problem: str) -> None:
    """A rule that names an asset or market as its venue's requests never do is refused, with what to write."""
    changed = dataclasses.replace(WITHDRAWALS, **change)  # type: ignore[arg-type]  # names of fields
    assert problem in [each.problem for each in lint(Policy(version=1, rules=(changed,), limits=()))]
    assert lint(Policy(version=1, rules=(WITHDRAWALS,), limits=())) == ()


def test_a_deny_for_all_venues_may_name_what_others_call_it() -> None:
    """BTC is an asset elsewhere; XXBT is nowhere, whatever the venue."""
    deny = Rule(id="no", verdict=Verdict.DENY, assets=frozenset({"BTC", "XBT"}))
    assert lint(Policy(version=1, rules=(deny,), limits=())) == ()
    (found,) = lint(Policy(version=1, rules=(dataclasses.replace(deny, assets=frozenset({"XXBT"})),), limits=()))
    assert (found.field, found.problem) == ("assets", "XXBT is never an asset at kraken: write XBT")


def test_limits_and_prices_go_by_the_same_names() -> None:
    """A limit on another name would count nothing, and a price at one would be found by nobody."""
    limit = Limit(
        id="day", keys=frozenset({"kraken"}), window_ms=86_400_000, amount_max=10**18, venue="kraken", asset="BTC"
    )
    asset = Asset(name="BTC", usd=1, decimals=8, places=frozenset({("kraken", "XXBT")}))
    market = Market(venue="binance", symbol="btcusdt", base="BTC", quote="BTC")
    prices = Prices(assets=(asset,), markets=(market,), as_of=1, age_ms_max=1)
    found = lint(Policy(version=1, rules=(WITHDRAWALS,), limits=(limit,), prices=prices))
    assert [each.problem for each in found] == [
        "btcusdt is never a market at binance: write BTCUSDT",
        "XXBT is never an asset at kraken: write XBT",
        "BTC is never an asset at kraken: write XBT",
    ]
