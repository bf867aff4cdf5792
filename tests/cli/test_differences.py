"""What a new policy changes, as those read it who must decide."""

import dataclasses
from typing import Any

import pytest

from keyvault.cli.differences import policy_changes, policy_text_changes
from keyvault.core.policy import Policy
from keyvault.core.policy_rules import Market, Prices
from tests.ledger.golden_documents import WHOLE_POLICY

NOTHING = Policy(version=1, rules=(), limits=())
PRICES = WHOLE_POLICY.prices


def changed(**change: Any) -> Policy:  # noqa: ANN401 (fields of a policy)
    return dataclasses.replace(WHOLE_POLICY, **change)


def of_rule(number: int, **change: Any) -> Policy:  # noqa: ANN401 (fields of a rule)
    rules = list(WHOLE_POLICY.rules)
    rules[number] = dataclasses.replace(rules[number], **change)
    return changed(rules=tuple(rules))


def test_everything_that_comes_and_goes_is_named() -> None:
    """Rules, limits, lists, tags, prices and markets, each by its name."""
    names = ["trade", "swap", "new", "alike", "desk-dollars", "satoshi", "coins", "list treasury", "tag desk"]
    names += ["price of ETH", "price of USDT", "market bybit ETHUSDT", "date of the prices"]
    assert policy_changes(NOTHING, WHOLE_POLICY).splitlines() == [f"  + {name}" for name in names]
    assert policy_changes(WHOLE_POLICY, NOTHING).splitlines() == [f"  - {name}" for name in names]
    assert policy_changes(WHOLE_POLICY, changed(version=9)) == "  nothing changes but the version"


@pytest.mark.parametrize(
    ("new", "lines"),
    [
        (of_rule(0, price_band_bps=200), ["  ~ trade"]),
        (of_rule(0, when=""), ["  ~ trade"]),
        (of_rule(1, shadow=False), ["  ~ swap"]),
        (of_rule(2, first_seen_ms=1_000), ["  ~ new"]),
        (changed(lists={"treasury": frozenset({"bc1qhome"})}), ["  ~ list treasury"]),
        (changed(tags={"desk": frozenset({"btc-1"})}), ["  ~ tag desk"]),
        (changed(prices=dataclasses.replace(PRICES, age_ms_max=1)), ["  ~ date of the prices"]),
        (
            changed(prices=dataclasses.replace(PRICES, assets=(dataclasses.replace(PRICES.assets[0], usd=1),))),
            ["  - price of USDT", "  ~ price of ETH"],
        ),
        (
            changed(
                prices=dataclasses.replace(
                    PRICES, markets=(Market(venue="bybit", symbol="ETHUSDT", base="USDT", quote="ETH"),)
                )
            ),
            ["  ~ market bybit ETHUSDT"],
        ),
    ],
)
def test_everything_that_changes_is_named(new: Policy, lines: list[str]) -> None:
    """A condition, a member of a list, a price, the age of the table."""
    assert policy_changes(WHOLE_POLICY, new).splitlines() == lines


@pytest.mark.parametrize(
    ("new", "minus", "plus"),
    [
        (of_rule(0, price_band_bps=200), "price_band: 1.5%", "price_band: 2%"),
        (of_rule(0, validity_ms_max=30_000), "validity: 1m", "validity: 30s"),
        (of_rule(0, usd_max=2 * 10**9), "usd: 1000", "usd: 2000"),
        (of_rule(0, when="side == 'SELL'"), "when:", "when: \"side == 'SELL'\""),
        (of_rule(2, usd_above=1), "usd_above: 1000", "usd_above: 0.000001"),
        (changed(lists={"treasury": frozenset({"bc1qhome"})}), "treasury:", "treasury: [bc1qhome]"),
        (changed(prices=dataclasses.replace(PRICES, age_ms_max=86_400_000)), "max_age: 7d", "max_age: 24h"),
        (changed(prices=Prices()), "as_of:", ""),
    ],
)
def test_the_changed_lines_are_those_of_the_file(new: Policy, minus: str, plus: str) -> None:
    """As `policy show` prints them, before and after."""
    lines = policy_text_changes(WHOLE_POLICY, new).splitlines()
    assert any(line.startswith("  -") and minus in line for line in lines)
    assert any(line.startswith("  +") and plus in line for line in lines) or not plus


def test_a_new_version_alone_changes_no_lines() -> None:
    """The version is said elsewhere: with it came all lists, as the lines around it."""
    assert policy_text_changes(WHOLE_POLICY, changed(version=9)) == ""
    lines = policy_text_changes(WHOLE_POLICY, dataclasses.replace(of_rule(2, usd_above=1), version=9)).splitlines()
    assert [line for line in lines if line.startswith(("  -", "  +")) and "version" in line] == []
