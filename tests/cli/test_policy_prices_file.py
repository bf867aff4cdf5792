"""The price table of a policy file: every problem at its place."""

import textwrap

import pytest

from keyvault.cli.policy_file import PolicyFileError, parse_policy
from keyvault.core import limits
from keyvault.core.policy_rules import Prices

GOOD = """\
version: 1
prices:
  as_of: 2026-11-26T12:00:00Z
  max_age: 7d
  assets:
    - {name: ETH, usd: 3000, decimals: 18, at: [1/native, binance/ETH]}
  markets: []
"""


def problems(text: str) -> list[str]:
    with pytest.raises(PolicyFileError) as caught:
        parse_policy(textwrap.dedent(text), name="p")
    return [line.removeprefix("p:") for line in caught.value.problems]


def test_all_problems_of_a_table_are_told_at_once() -> None:
    """Line and column of each value, of what stands twice, and of what has no price."""
    assert problems(
        """\
        version: 1
        prices:
          as_of: yesterday
          max_age: forever
          colour: red
          assets:
            - {name: ETH, usd: 0, decimals: 37, at: [1/native]}
            - {name: ETH, usd: 1e3, decimals: 6, at: [1/native, moon/ETH, nowhere]}
            - {name: USDC, usd: 1, decimals: 6, at: []}
            - {usd: 1, decimals: 6}
          markets:
            - {venue: binance, symbol: ETHUSDC, base: ETH, quote: USD}
            - {venue: binance, symbol: ETHUSDC, base: ETH, quote: USDC}
            - {venue: mtgox, symbol: A B}
        """
    ) == [
        "3:10: as_of: 'yesterday' is not a time in UTC: write 2026-11-26T12:00:00Z",
        "4:12: max_age: 'forever' is not a length of time: write 30s, 10m, 24h or 7d",
        "5:3: unknown field 'colour' in prices: there is as_of, max_age, assets, markets",
        "7:24: usd: is 0: leave an asset out whose price is not known",
        "7:37: decimals: 37 is not from 0 to 36",
        "8:7: prices: 1/native stands twice",
        "8:7: prices: ETH stands twice",
        "8:24: usd: '1e3' is not an amount of dollars: write 10000 or 0.25, at most 6 decimals",
        (
            "8:57: at: 'moon' is not a known venue: binance, bybit, coinbase, cow, deribit, dydx, hyperliquid, kraken,"
            " okx, polymarket"
        ),
        "8:67: at: 'nowhere' is not chain/contract or venue/code: write 1/native, or binance/USDC",
        "9:45: at is empty: add at: [1/0x..., binance/USDC]",
        "10:7: at is missing: add at: [1/0x..., binance/USDC]",
        "10:7: name is missing: add name: USDC",
        "12:7: prices: binance ETHUSDC: USD is no asset in here",
        "13:7: prices: binance ETHUSDC stands twice",
        "14:7: base is missing: add base: ETH",
        "14:7: quote is missing: add quote: USDT",
        (
            "14:15: venue: 'mtgox' is not a known venue: binance, bybit, coinbase, cow, deribit, dydx, hyperliquid,"
            " kraken, okx, polymarket"
        ),
        "14:30: symbol: 'A B' is not the name of a market: printable, without spaces",
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("prices:\n", "prices: []\nx:\n", "2:9: prices must be a table of as_of, max_age, assets, markets"),
        ("  as_of: 2026-11-26T12:00:00Z\n", "", "3:3: as_of is missing: add as_of: 2026-11-26T12:00:00Z"),
        ("  max_age: 7d\n", "", "3:3: max_age is missing: add max_age: 7d"),
        ("  markets: []", "  markets: none", "7:12: markets must be a list like [a, b]"),
        ("    - {", "    - [", "6:"),
        ("1/native", "0/native", "6:49: at: 0 is not from 1 to"),
        ("1/native", "1/", "6:49: at: '' is not the name of a market"),
    ],
)
def test_a_table_has_a_date_an_end_and_assets(old: str, new: str, problem: str) -> None:
    """What is missing or of another form is told where it should stand."""
    assert old in GOOD
    assert any(line.startswith(problem) for line in problems(GOOD.replace(old, new)))


@pytest.mark.parametrize(
    ("market", "problem"),
    [
        ("symbol: ETH-ETH-SWAP, base: ETH, quote: ETH", "okx counts ETH-ETH-SWAP in contracts: add unit: 0.01 ETH"),
        ("symbol: A-B, base: ETH, quote: ETH, unit: 10 SOL", "unit: SOL is neither base nor quote"),
        ("symbol: A-B, base: ETH, quote: ETH, unit: 0 ETH", "unit: '0 ETH' is no size of a contract: write 1000 DOGE"),
        ("symbol: A-B, base: ETH, quote: ETH, unit: 10", "unit: '10' is no size of a contract"),
        ("symbol: A-B, base: ETH, quote: ETH, unit: 1e3 ETH", "unit: '1e3 ETH' is no size of a contract"),
    ],
)
def test_a_contract_has_a_size(market: str, problem: str) -> None:
    """Where a venue counts contracts the market must say how much one is, of its base or its quote."""
    text = GOOD.replace("  markets: []", f"  markets:\n    - {{venue: okx, {market}}}")
    (told,) = problems(text)
    assert problem in told


def test_the_size_of_a_contract_is_exact() -> None:
    """As people write it, in 10**-18."""
    text = GOOD.replace(
        "  markets: []",
        "  markets:\n    - {venue: okx, symbol: ETH-ETH-SWAP, base: ETH, quote: ETH, unit: 0.000000000000000001 ETH}",
    )
    (market,) = parse_policy(text, name="p").prices.markets
    assert (market.unit, market.unit_asset) == (1, "ETH")


def test_a_table_has_a_bound() -> None:
    """I9: POLICY_ASSETS_MAX; the first that is too many is named by its line."""
    assets = "".join(f"    - {{name: A{n}, usd: 1, decimals: 6, at: [binance/A{n}]}}\n" for n in range(1_001))
    text = GOOD[: GOOD.index("    - {")] + assets
    assert limits.POLICY_ASSETS_MAX == 1_000
    assert problems(text) == ["1006:7: prices: 1001 assets, at most 1000 are permitted"]


def test_a_policy_without_prices_knows_none() -> None:
    """And says so by nothing."""
    assert parse_policy("version: 1\n", name="p").prices == Prices()
    assert parse_policy(GOOD, name="p").prices.age_ms_max == 7 * 86_400_000


def test_a_price_that_is_too_small_says_how_to_write_it() -> None:
    """Dollars have six decimals; what is worth less is priced by the thousand."""
    (problem,) = problems(GOOD.replace("usd: 3000", "usd: 0.0000005"))
    assert "usd: 0.0000005 has more than 6 decimals: round it, or price a thousand or a million of them" in problem
    assert "(name: 1000PEPE)" in problem
