"""One name for each asset and market of a venue."""

import dataclasses

import pytest

from keyvault.core.errors import Refused
from keyvault.core.ids import KeyId, Principal
from keyvault.core.intent import Completeness, Effect, Intent, Operation, PayloadKind
from keyvault.core.policy import ANY, Limit, Policy, Rule, Verdict, evaluate
from keyvault.core.policy_facts import Place
from keyvault.core.policy_lint import lint
from keyvault.core.policy_match import allow_matcher, deny_matcher
from keyvault.core.policy_rules import Asset, Market, Prices
from keyvault.core.venue_names import asset_at, symbol_at

BOT = Principal("spiffe://demo/bot/maker")
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


ORDERS = Rule(
    id="orders",
    verdict=Verdict.ALLOW,
    keys=frozenset({"kraken"}),
    principals=ANY,
    kinds=frozenset({PayloadKind.KRAKEN_REST}),
    operations=frozenset({Operation.ORDER}),
    venues=ANY,
    symbols=ANY,
)


def stops(symbol: str, **deny: object) -> bool:
    """Return whether a deny rule stops an order at Kraken for the market that its requests call so."""
    rule = Rule(id="no", verdict=Verdict.DENY, **deny)  # type: ignore[arg-type]  # names of fields
    order = Effect(operation=Operation.ORDER, venue="kraken", symbol=symbol_at("kraken", symbol), side="BUY")
    intent = Intent(
        kind=PayloadKind.KRAKEN_REST,
        algorithms=frozenset(),
        signing_input=b"",
        effects=(order,),
        completeness=Completeness.FULL,
    )
    try:
        evaluate(Policy(version=1, rules=(ORDERS, rule), limits=()), key=KeyId("kraken"), principal=BOT, intent=intent)
    except Refused:
        return True
    return False


@pytest.mark.parametrize("name", ["DOGEUSD", "XDGUSD", "XXDGZUSD", "DOGE/USD"])
@pytest.mark.parametrize("venues", [None, ANY, frozenset({"kraken"}), frozenset({"binance", "kraken"})])
def test_what_restricts_is_about_a_market_by_whatever_name(name: str, venues: frozenset[str] | None) -> None:
    """A rule that has one name stops them all, and nothing else; also one from before names were folded."""
    assert stops("DOGEUSD", symbols=frozenset({name}), venues=venues)
    assert not stops("ADAUSD", symbols=frozenset({name}), venues=venues)
    assert not stops("DOGEUSD", symbols=frozenset({name}), venues=frozenset({"binance"}))


def test_an_allow_rule_is_about_the_one_name_only() -> None:
    """Of two names of a market it permits what it says."""
    narrow = dataclasses.replace(ORDERS, symbols=frozenset({"DOGEUSD"}))
    assert allow_matcher(narrow, {}).sets != deny_matcher(narrow, {}).sets
    assert (Place.SYMBOL, frozenset({"DOGEUSD"})) in allow_matcher(narrow, {}).sets


@pytest.mark.parametrize(
    ("when", "problem"),
    [
        ('symbol == "DOGEUSD"', "at character 11: at kraken DOGEUSD is XDGUSD: ask whether symbol is that as well"),
        ('symbol in ["ADAUSD", "BTCUSD"]', "at character 22: at kraken BTCUSD is XBTUSD"),
        (
            'venue == "kraken" && symbol.startsWith("DOGE")',
            "DOGE is XDG: ask whether symbol.startsWith is",
        ),
        ('symbol.startsWith("DO")', "at kraken DO is XDG"),
        ('symbol.startsWith("XXBT")', "at kraken XXBT is XBT"),
        ('symbol.endsWith("BTC")', "at kraken BTC is XBT"),
        ('asset.contains("BTC")', "at kraken BTC is XBT"),
        ('asset == "BTC"', "at kraken BTC is XBT"),
        ('symbol.matches("^(DOGE|ADA)")', "is XDG: ask whether symbol.matches"),
    ],
)
def test_a_predicate_that_restricts_has_krakens_name_too(when: str, problem: str) -> None:
    """Its texts are not folded, so one that leaves Kraken's name out would pass there: refused, with what to write."""
    deny = Rule(id="no", verdict=Verdict.DENY, operations=frozenset({Operation.ORDER, Operation.WITHDRAW}), when=when)

    def found(rule: Rule) -> list[str]:
        return [each.problem for each in lint(Policy(version=1, rules=(rule,), limits=())) if each.field == "when"]

    (told,) = found(deny)
    assert problem in told
    assert found(dataclasses.replace(deny, venues=frozenset({"binance"}))) == []


@pytest.mark.parametrize(
    "when",
    [
        'symbol in ["DOGEUSD", "XDGUSD"]',
        'symbol == "ADAUSD" || symbol.startsWith("ETH") || asset == "kPEPE"',
        'symbol.startsWith("DOGE") || symbol.startsWith("XDG")',
        'symbol.startsWith("BTCUSD") || symbol.startsWith("XBT")',
        'symbol.matches("^(DOGE|XDG)")',
    ],
)
def test_a_predicate_with_both_names_is_as_it_should_be(when: str) -> None:
    """Both names, or one that is the same everywhere."""
    deny = Rule(id="no", verdict=Verdict.DENY, operations=frozenset({Operation.ORDER, Operation.WITHDRAW}), when=when)
    assert lint(Policy(version=1, rules=(deny,), limits=())) == ()
