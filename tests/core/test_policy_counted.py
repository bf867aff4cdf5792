"""Limits that never count anything, and limits that count less than they seem to."""

import dataclasses
from typing import Any

import pytest

from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.policy import ANY, Limit, Policy, Rule, Verdict
from keyvault.core.policy_cautions import cautions
from keyvault.core.policy_findings import Lint
from keyvault.core.policy_lint import lint
from keyvault.core.policy_rules import Per
from tests.core.test_policy_holes import PAY

BOT = "spiffe://firm.example/bot/treasurer"
WITHDRAWALS = Rule(
    id="withdrawals",
    verdict=Verdict.ALLOW,
    keys=frozenset({"binance-1"}),
    principals=frozenset({BOT}),
    kinds=frozenset({PayloadKind.BINANCE_REST}),
    operations=frozenset({Operation.WITHDRAW}),
    chains=frozenset({"binance:ETH"}),
    venues=frozenset({"binance"}),
    destinations=frozenset({"0x5290840009852788600f7030069857d2e4169ee7"}),
    assets=frozenset({"USDC"}),
    usd_max=10**12,
)
ORDERS = dataclasses.replace(
    WITHDRAWALS,
    id="orders",
    operations=frozenset({Operation.ORDER}),
    chains=None,
    destinations=None,
    assets=None,
    symbols=frozenset({"BTCUSDT"}),
)
DAY = Limit(id="day", keys=ANY, window_ms=86_400_000, usd_max=10**12)
USDC = Limit(id="usdc", keys=ANY, window_ms=86_400_000, amount_max=10**22, venue="binance", asset="USDC")


def policy(*rules: Rule, limits: tuple[Limit, ...], **more: Any) -> Policy:  # noqa: ANN401 - fields of a policy
    return Policy(version=1, rules=rules, limits=limits, **more)


@pytest.mark.parametrize(
    ("limit", "field", "why"),
    [
        (dataclasses.replace(USDC, asset="USDT"), "asset", "permits asset USDC, and the limit is about USDT"),
        (dataclasses.replace(USDC, venue="bybit"), "venue", "permits venue binance, and the limit is about bybit"),
        (
            Limit(id="wei", keys=ANY, window_ms=86_400_000, amount_max=1, chain_id=1),
            "chain_id",
            "permits chain binance:ETH, and the limit is about 1",
        ),
        (
            dataclasses.replace(DAY, chains=frozenset({1})),
            "chains",
            "permits chain binance:ETH, and the limit is about 1",
        ),
        (
            dataclasses.replace(DAY, venues=frozenset({"okx"})),
            "venues",
            "permits venue binance, and the limit is about okx",
        ),
        (
            dataclasses.replace(DAY, principals=frozenset({"spiffe://firm.example/bot/tresurer"})),
            "principals",
            f"permits principal {BOT}, and the limit is about spiffe://firm.example/bot/tresurer",
        ),
        (
            dataclasses.replace(DAY, keys=frozenset({"binance-l"})),
            "keys",
            "permits key binance-1, and the limit is about binance-l",
        ),
        (
            dataclasses.replace(DAY, operations=frozenset({Operation.TRANSFER, Operation.ORDER})),
            "operations",
            "permits operation withdraw, and the limit is about order, transfer",
        ),
        (
            dataclasses.replace(DAY, destinations=frozenset({"bc1qhome"})),
            "destinations",
            "permits destination 0x5290840009852788600f7030069857d2e4169ee7, and the limit is about bc1qhome",
        ),
    ],
)
def test_a_limit_that_never_counts_is_refused(limit: Limit, field: str, why: str) -> None:
    """It is passed by whatever it does not count; the finding says by which condition, and what the rule permits."""
    (found,) = lint(policy(WITHDRAWALS, limits=(limit,)))
    assert (found.section, found.index, found.field, found.lint) == ("limits", 0, field, Lint.NEVER_COUNTS)
    problem = f"never counts anything: rule withdrawals {why}. Correct it, or leave the limit out"
    assert found.problem == problem


def test_a_small_letter_in_an_asset_is_another_finding() -> None:
    """The venue's one name for it is said, not that nothing counts."""
    (found,) = lint(policy(WITHDRAWALS, limits=(dataclasses.replace(USDC, asset="usdc"),)))
    assert (found.lint, found.problem) == (Lint.VALUE, "usdc is never an asset at binance: write USDC")


@pytest.mark.parametrize(
    ("rule", "limit", "field", "why"),
    [
        (ORDERS, dataclasses.replace(DAY, per=Per.DESTINATION), "per", "permits order, which has no destination"),
        (ORDERS, USDC, "asset", "permits order, which has no asset there"),
        (PAY, dataclasses.replace(DAY, per=Per.VENUE), "per", "permits transfer on chains, at no venue"),
        (ORDERS, dataclasses.replace(DAY, chains=frozenset({1})), "chains", "permits order, which has no chain there"),
    ],
)
def test_a_limit_on_what_an_operation_does_not_have_is_refused(rule: Rule, limit: Limit, field: str, why: str) -> None:
    """Orders at a venue have no chain, no destination and no asset; transfers on chains no venue."""
    (found,) = lint(policy(rule, limits=(limit,)))
    assert (found.field, found.lint) == (field, Lint.NEVER_COUNTS)
    assert why in found.problem


def test_a_tag_of_other_keys_is_refused_at_the_tags() -> None:
    """The keys that a limit is about may be those of a tag."""
    limit = dataclasses.replace(DAY, tags=frozenset({"desk"}))
    (found,) = lint(policy(WITHDRAWALS, limits=(limit,), tags={"desk": frozenset({"eth-1"})}))
    assert (found.field, found.lint) == ("tags", Lint.NEVER_COUNTS)


@pytest.mark.parametrize(
    "limit",
    [
        DAY,
        USDC,
        dataclasses.replace(DAY, per=Per.DESTINATION),
        dataclasses.replace(DAY, chains=frozenset({1, "binance:ETH"}), venues=frozenset({"binance", "okx"})),
        dataclasses.replace(DAY, destinations=frozenset({"5290840009852788600F7030069857D2E4169EE7"})),
        dataclasses.replace(DAY, operations=frozenset({Operation.WITHDRAW, Operation.ORDER})),
    ],
)
def test_a_limit_that_may_count_is_not_refused(limit: Limit) -> None:
    """One rule is enough that permits something of what it is about, whatever the spelling of the account."""
    assert lint(policy(ORDERS, WITHDRAWALS, limits=(limit,))) == ()


def test_fees_count_whatever_they_are_paid_for() -> None:
    """A limit on the chain's own coin counts the fee of a token's transfer."""
    token = dataclasses.replace(PAY, assets=frozenset({"0x" + "70" * 20}))
    wei = Limit(id="wei", keys=ANY, window_ms=86_400_000, amount_max=1, chain_id=1)
    assert lint(policy(token, limits=(wei,))) == ()


def test_without_a_rule_that_permits_nothing_has_to_be_counted() -> None:
    """A policy that refuses everything may keep its limits, and so may one whose rule is in the shadow."""
    assert lint(policy(limits=(USDC,))) == ()
    assert lint(policy(dataclasses.replace(WITHDRAWALS, shadow=True), limits=(USDC,))) == ()


def told(*rules: Rule, limits: tuple[Limit, ...]) -> list[str]:
    asked = policy(*rules, limits=limits)
    assert lint(asked) == ()
    return [f"{each.section} {each.name}: {each.problem}" for each in cautions(asked)]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"assets": frozenset({"USDC", "USDT"})}, "withdraw with asset USDT"),
        ({"assets": ANY}, "withdraw with asset other than USDC"),
        ({"principals": ANY}, "withdraw with principal other than " + BOT),
        ({"chains": frozenset({"binance:ETH", "binance:TRX"})}, "withdraw with chain binance:TRX"),
        ({"destinations": frozenset({"0x" + "52" * 20})}, "withdraw"),
    ],
)
def test_what_a_limit_leaves_out_is_asked_about(change: dict[str, Any], what: str) -> None:
    """All conditions are compared: a limit on one asset counts nothing of another."""
    limit = dataclasses.replace(
        USDC,
        principals=frozenset({BOT}),
        chains=frozenset({"binance:ETH"}),
        destinations=WITHDRAWALS.destinations,  # type: ignore[arg-type]  # listed there
    )
    assert told(WITHDRAWALS, limits=(limit,)) == []
    wider = dataclasses.replace(WITHDRAWALS, **change)
    found = told(wider, dataclasses.replace(WITHDRAWALS, id="narrow", usd_max=10**13), limits=(limit,))
    assert found == [f"rule withdrawals: no limit counts {what} of its keys over time"]


def test_names_in_limits_that_no_rule_knows_are_asked_about() -> None:
    """Of two keys one is misspelt: the limit counts one of them only."""
    limit = dataclasses.replace(DAY, keys=frozenset({"binance-1", "binance-l"}), principals=frozenset({BOT, f"{BOT}s"}))
    assert told(WITHDRAWALS, limits=(limit,)) == [
        f"limit day: no rule permits anything to principal {BOT}s: is it misspelt?",
        "limit day: no rule permits anything to key binance-l: is it misspelt?",
    ]
    every = dataclasses.replace(DAY, id="every")
    assert told(dataclasses.replace(WITHDRAWALS, keys=ANY, principals=ANY), limits=(limit, every)) == []


def test_amounts_at_venues_are_asked_about_if_whole_units_were_meant() -> None:
    """At venues everything is counted in 10**-18: 5 is nothing. 0 is meant."""
    five = dataclasses.replace(USDC, amount_max=5)
    assert told(WITHDRAWALS, limits=(five,)) == [
        "limit usdc: amounts at binance are in 10^-18, so 5 is next to nothing: 5000000000000000000 is 5 USDC"
    ]
    assert told(WITHDRAWALS, limits=(dataclasses.replace(five, amount_max=0),)) == []


def test_a_list_of_whom_not_to_pay_is_no_promise() -> None:
    """Where a venue may pay anybody, it may be given the same account in a spelling that is not known here."""
    anybody = dataclasses.replace(WITHDRAWALS, destinations=ANY)
    thief = Rule(id="thief", verdict=Verdict.DENY, destinations=frozenset({"rEb8TK3gBgk5auZkwc6sHnwrGVJH8DuaLh"}))
    each = dataclasses.replace(DAY, per=Per.DESTINATION)
    open_rule = (
        "rule withdrawals permits withdrawals to anybody, and venues take spellings of an account not known here"
    )
    assert told(anybody, thief, limits=(each,)) == [
        f"rule thief: its list is no promise: {open_rule}; list there who may be paid",
        f"limit day: one account may have several windows: {open_rule}; count per key, too",
    ]
    assert told(WITHDRAWALS, thief, limits=(each,)) == []
    orders = dataclasses.replace(thief, operations=frozenset({Operation.TRANSFER}))
    assert told(anybody, orders, limits=(DAY,)) == []
