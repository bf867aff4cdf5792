"""Thirteen holes that policy languages of others had, and why this one has none of them."""

import dataclasses
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.cli.policy_file import PolicyFileError, parse_policy
from keyvault.core.errors import Malformed, Reason, Refused
from keyvault.core.ids import KeyId, Principal
from keyvault.core.intent import Completeness, Effect, Intent, Operation, PayloadKind
from keyvault.core.policy import ANY, Limit, Policy, Rule, Verdict, evaluate
from keyvault.core.policy_cel import VARIABLES
from keyvault.core.policy_findings import Lint
from keyvault.core.policy_lint import lint
from keyvault.core.policy_rules import Interval
from tests.core.whole_policies import allows, whole_policies

HOME, AWAY, TOKEN = "0x" + "ab" * 20, "0x" + "cd" * 20, "0x" + "7a" * 20
BOT = Principal("spiffe://demo/bot/maker")
TRANSFER = Effect(operation=Operation.TRANSFER, chain_id=1, destination=HOME, amount=5, fee_max=1)
PAY = Rule(
    id="pay",
    verdict=Verdict.ALLOW,
    keys=frozenset({"eth-hot"}),
    principals=ANY,
    kinds=frozenset({PayloadKind.EVM_TRANSACTION}),
    operations=frozenset({Operation.TRANSFER}),
    chains=frozenset({1}),
    destinations=frozenset({HOME, AWAY}),
    amount_max=100,
    fee_max=10,
)
CALL = dataclasses.replace(
    PAY, id="call", operations=frozenset({Operation.CALL}), selectors=frozenset({"0xa9059cbb"}), amount_max=0
)
PERMIT = Rule(
    id="permit",
    verdict=Verdict.ALLOW,
    keys=ANY,
    principals=ANY,
    kinds=frozenset({PayloadKind.TYPED_DATA}),
    operations=frozenset({Operation.ALLOWANCE}),
    chains=frozenset({1}),
    contracts=frozenset({TOKEN}),
    type_hashes=frozenset({"0x" + "aa" * 32}),
    destinations=frozenset({HOME}),
    assets=frozenset({TOKEN}),
    amount_max=100,
    validity_ms_max=3_600_000,
)
MAIL = Rule(
    id="mail",
    verdict=Verdict.ALLOW,
    keys=ANY,
    principals=ANY,
    kinds=frozenset({PayloadKind.TYPED_DATA}),
    operations=frozenset({Operation.TYPED_DATA}),
    chains=frozenset({1}),
    destinations=frozenset({HOME}),
    primary_types=frozenset({"Mail"}),
)
DENY = Rule(id="deny", verdict=Verdict.DENY)


def found(
    *rules: Rule,
    limits: tuple[Limit, ...] = (),
    lists: dict[str, frozenset[str]] | None = None,
    tags: dict[str, frozenset[str]] | None = None,
) -> list[tuple[str, str, str]]:
    """Return (id, field, name of the finding) of all findings."""
    policy = Policy(version=1, rules=rules, limits=limits, lists=lists or {}, tags=tags or {})
    ids = {"rules": [rule.id for rule in rules], "limits": [limit.id for limit in limits]}
    return [
        (ids[each.section][each.index] if each.section in ids else each.name, each.field, str(each.lint))
        for each in lint(policy)
    ]


def refusal(*rules: Rule, effects: tuple[Effect, ...], kind: PayloadKind = PayloadKind.EVM_TRANSACTION) -> Reason:
    asked = Intent(
        kind=kind, algorithms=frozenset(), signing_input=b"", effects=effects, completeness=Completeness.FULL
    )
    with pytest.raises(Refused) as refused:
        evaluate(Policy(version=1, rules=rules, limits=()), key=KeyId("eth-hot"), principal=BOT, intent=asked)
    return refused.value.reason


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(PolicyFileError) as refused:
        parse_policy(text, name="p")
    return refused.value.problems


def test_l1_what_has_no_effects_is_not_allowed_vacuously() -> None:
    """All of no effects are allowed by every rule, and the intent is refused."""
    assert refusal(PAY, effects=()) is Reason.NO_RULE_ALLOWS


def test_l2_one_good_effect_carries_no_other() -> None:
    """No rule allows an intent because of any of its effects: each needs its own, and each is asked by deny rules."""
    bad = dataclasses.replace(TRANSFER, amount=101)
    for effects in ((TRANSFER, bad), (bad, TRANSFER), (TRANSFER, Effect(operation=Operation.OPAQUE))):
        assert refusal(PAY, effects=effects) is Reason.NO_RULE_ALLOWS
    thief = dataclasses.replace(DENY, destinations=frozenset({AWAY}))
    away = dataclasses.replace(TRANSFER, destination=AWAY)
    assert refusal(PAY, thief, effects=(TRANSFER, away)) is Reason.DENIED_BY_RULE


@pytest.mark.parametrize(
    "field", ["chains", "contracts", "type_hashes", "destinations", "amount_max", "validity_ms_max"]
)
def test_l3_typed_data_is_pinned_and_capped(field: str) -> None:
    """A permit is good for whoever holds it: any for its chain, contract, type, spender, amount or end is a hole."""
    for operation in (Operation.ALLOWANCE, Operation.TRANSFER):
        rule = dataclasses.replace(PERMIT, operations=frozenset({operation}))
        assert found(rule) == []
        change: dict[str, Any] = {field: ANY}
        assert found(dataclasses.replace(rule, **change)) == [("permit", field, Lint.TYPED_DATA_UNPINNED)]
        asks = dataclasses.replace(rule, verdict=Verdict.ESCALATE, quorum="1 of risk", amount_max=None)
        assert found(dataclasses.replace(asks, **{"validity_ms_max": ANY} | change)) == []


@pytest.mark.parametrize("field", ["chains", "destinations", "primary_types"])
def test_l3_typed_data_that_is_not_read_is_pinned(field: str) -> None:
    """Neither on any chain, nor for any contract, nor of any type; a type hash says as much as a name."""
    change: dict[str, Any] = {field: ANY}
    assert found(MAIL) == []
    assert found(dataclasses.replace(MAIL, **change)) == [("mail", field, Lint.TYPED_DATA_UNPINNED)]
    hashed = dataclasses.replace(MAIL, type_hashes=PERMIT.type_hashes)
    assert found(dataclasses.replace(hashed, primary_types=ANY)) == []
    assert found(dataclasses.replace(hashed, primary_types=None)) == []
    assert found(dataclasses.replace(MAIL, type_hashes=ANY)) == []


def test_l3_a_cap_in_dollars_is_a_cap() -> None:
    """Any amount up to so many dollars."""
    assert found(dataclasses.replace(PERMIT, amount_max=ANY, usd_max=10**9)) == []
    assert found(dataclasses.replace(PERMIT, amount_max=ANY, usd_max=ANY)) == [
        ("permit", "amount_max", Lint.TYPED_DATA_UNPINNED)
    ]


def test_l4_a_call_lists_what_is_called() -> None:
    """Any selector is any power over the contract; without a cap, any amount goes with it."""
    assert found(CALL) == []
    assert found(dataclasses.replace(CALL, selectors=ANY)) == [("call", "selectors", Lint.CONTRACT_WITHOUT_SELECTOR)]
    assert found(dataclasses.replace(CALL, amount_max=ANY)) == [("call", "amount_max", Lint.CONTRACT_WITHOUT_CAP)]
    assert found(dataclasses.replace(CALL, amount_max=ANY, usd_max=10**9)) == []
    asks = dataclasses.replace(CALL, verdict=Verdict.ESCALATE, quorum="1 of risk", selectors=ANY, amount_max=ANY)
    assert found(dataclasses.replace(asks, fee_max=ANY)) == []
    silent = [
        each.problem for each in lint(Policy(version=1, rules=(dataclasses.replace(CALL, selectors=None),), limits=()))
    ]
    assert silent == ['without selectors it never matches call: add selectors: ["0xa9059cbb"]']


def test_l5_addresses_are_bytes_not_spellings() -> None:
    """Upper-case digits are the same account, for what allows and for what denies; a document holds one spelling."""
    upper = frozenset({"0x" + "AB" * 20})
    assert refusal(
        PAY, dataclasses.replace(DENY, destinations=upper), effects=(TRANSFER,)
    ) is Reason.DENIED_BY_RULE  # fmt: skip
    assert refusal(
        PAY, dataclasses.replace(DENY, destinations=frozenset({HOME})),
        effects=(dataclasses.replace(TRANSFER, destination="0x" + "AB" * 20),),
    ) is Reason.DENIED_BY_RULE  # fmt: skip
    for wrong in (upper, frozenset({"0x12"})):
        assert set(found(dataclasses.replace(PAY, destinations=wrong))) == {("pay", "destinations", Lint.VALUE)}


@pytest.mark.parametrize(
    "change",
    [
        {"chains": frozenset({5})},
        {"destinations": frozenset({AWAY})},
        {"amount_above": 10**18},
        {"usd_above": 10**18},
        {"when": "amount > 1000000"},
        {"first_seen_ms": 1},
    ],
)
def test_l6_a_deny_rule_that_cannot_see_denies(change: dict[str, Any]) -> None:
    """A fact that is missing where a deny rule looks is a no, not a rule that is passed over."""
    blank = Effect(operation=Operation.TRANSFER)
    everything = dataclasses.replace(PAY, chains=ANY, destinations=ANY, amount_max=ANY, fee_max=ANY)
    if "first_seen_ms" in change:
        blank = dataclasses.replace(blank, destination=HOME)
    assert refusal(everything, dataclasses.replace(DENY, **change), effects=(blank,)) is Reason.DENIED_BY_RULE


def test_l7_nothing_restricts_at_times_only() -> None:
    """Hours are for rules that allow: in one that denies or escalates they are a finding, and do not weaken it."""
    hours = (Interval(days=frozenset({0}), start=0, end=60),)
    sunday_only = dataclasses.replace(DENY, hours=hours)
    assert found(sunday_only) == [("deny", "hours", Lint.RESTRICTION_BY_TIME)]
    assert found(dataclasses.replace(sunday_only, verdict=Verdict.ESCALATE, quorum="1 of risk")) == [
        ("deny", "hours", Lint.RESTRICTION_BY_TIME)
    ]
    assert refusal(PAY, sunday_only, effects=(TRANSFER,)) is Reason.DENIED_BY_RULE
    assert found(dataclasses.replace(PAY, hours=hours)) == []


def test_l8_the_week_ends_on_sunday_at_midnight() -> None:
    """The first and the last minute of the week may be named, as may the whole day."""
    for start, end in ((0, 1_440), (1_439, 1_440), (0, 1)):
        assert found(dataclasses.replace(PAY, hours=(Interval(days=frozenset({0, 6}), start=start, end=end),))) == []


@pytest.mark.parametrize(
    "hours",
    [
        (Interval(days=frozenset(), start=0, end=60),),
        (Interval(days=frozenset({1}), start=-1, end=60),),
        (Interval(days=frozenset({7}), start=0, end=60),),
        (Interval(days=frozenset({1}), start=60, end=60),),
        (Interval(days=frozenset({1}), start=0, end=1_441),),
        (Interval(days=frozenset({1}), start=60, end=61), Interval(days=frozenset({1}), start=0, end=60)),
        (Interval(days=frozenset({1}), start=0, end=60), Interval(days=frozenset({2}), start=0, end=60)),
    ],
)
def test_l8_times_are_of_the_week(hours: tuple[Interval, ...]) -> None:
    """No other calendar, nothing over midnight, one interval for each time of the day."""
    assert {each[1:] for each in found(dataclasses.replace(PAY, hours=hours))} == {("hours", Lint.TIME_OF_WEEK)}


@pytest.mark.parametrize(
    "text", ["* 8-18 * * 1-5", "0 8 1 * *", "mon,tue 08:00-18:00", "2026-11-26", "1-5 08:00-18:00"]
)
def test_l8_there_is_no_cron(text: str) -> None:
    """What other calendars say cannot be written."""
    assert (
        "is not a time of the week"
        in problems(f'version: 1\nrules:\n  - {{id: a, verdict: allow, hours: ["{text}"]}}\n')[0]
    )


def test_l9_an_empty_policy_denies() -> None:
    """And so does one whose rules all are about something else."""
    assert refusal(effects=(TRANSFER,)) is Reason.NO_RULE_ALLOWS
    assert refusal(MAIL, dataclasses.replace(PAY, shadow=True), effects=(TRANSFER,)) is Reason.NO_RULE_ALLOWS


@given(policy=whole_policies(), principal=st.sampled_from(["admin/root", "approver/alice", "server/main", "node/one"]))
def test_l10_nobody_passes_beside_the_policy(policy: Policy, principal: str) -> None:
    """No caller, whatever it is called, gets what no rule permits it."""
    named = [rule.principals for rule in policy.rules if rule.verdict is not Verdict.DENY]
    caller = Principal(f"spiffe://demo/{principal}")
    if any(each is ANY or (each is not None and caller in each) for each in named):
        return
    asked = Intent(
        kind=PayloadKind.EVM_TRANSACTION,
        algorithms=frozenset(),
        signing_input=b"",
        effects=(TRANSFER,),
        completeness=Completeness.FULL,
    )
    with pytest.raises(Refused):
        evaluate(policy, key=KeyId("eth-hot"), principal=caller, intent=asked)


def test_l11_what_is_denied_whole_is_not_allowed_in_vain() -> None:
    """An allow rule all of which a deny rule denies is found; a stop of a key or a place is meant to do just that."""
    thief = dataclasses.replace(DENY, destinations=frozenset({HOME, AWAY, TOKEN}))
    assert found(PAY, thief) == [("pay", "id", Lint.SHADOWED)]
    assert found(thief, PAY) == [("pay", "id", Lint.SHADOWED)]
    assert found(PAY, dataclasses.replace(thief, destinations=frozenset({AWAY}))) == []
    assert found(PAY, dataclasses.replace(thief, amount_above=5)) == []
    assert found(PAY, dataclasses.replace(thief, shadow=True)) == []
    for stop in ({}, {"keys": frozenset({"eth-hot"})}, {"chains": frozenset({1})}, {"operations": PAY.operations}):
        change: dict[str, Any] = stop
        assert found(PAY, dataclasses.replace(DENY, **change)) == []


def test_l11_what_another_rule_allows_whole_is_shadowed() -> None:
    """The narrower rule limits nothing; the later of two that are the same is the one too many."""
    narrow = dataclasses.replace(PAY, id="narrow", amount_max=5)
    assert found(narrow, PAY) == [("narrow", "id", Lint.SHADOWED)]
    assert found(PAY, narrow) == [("narrow", "id", Lint.SHADOWED)]
    assert found(PAY, dataclasses.replace(PAY, id="again")) == [("again", "id", Lint.SHADOWED)]
    assert found(PAY, dataclasses.replace(narrow, shadow=True)) == []
    assert found(PAY, dataclasses.replace(narrow, destinations=frozenset({TOKEN}))) == []
    assert found(DENY, dataclasses.replace(DENY, id="again")) == [("again", "id", Lint.SHADOWED)]
    by_list = dataclasses.replace(PAY, id="by-list", destinations=frozenset({"@home"}))
    assert found(PAY, by_list, lists={"home": frozenset({HOME})}) == [("by-list", "id", Lint.SHADOWED)]
    assert found(PAY, by_list, lists={"home": frozenset({HOME, TOKEN})}) == []


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        (dataclasses.replace(PAY, kinds=frozenset({PayloadKind.OKX_REST})), "operations"),
        (dataclasses.replace(PAY, kinds=PAY.kinds | {PayloadKind.OKX_REST}), "kinds"),
        (dataclasses.replace(PAY, symbols=frozenset({"BTCUSDT"})), "symbols"),
        (dataclasses.replace(PAY, price_band_bps=5), "price_band_bps"),
        (dataclasses.replace(DENY, kinds=frozenset({PayloadKind.OKX_REST}), chains=frozenset({1})), "chains"),
        (dataclasses.replace(DENY, kinds=frozenset({PayloadKind.OKX_REST}), chains=frozenset({"bybit:ETH"})), "chains"),
    ],
)
def test_l11_conditions_that_contradict_each_other_are_found(rule: Rule, field: str) -> None:
    """Operations that a kind does not have, and conditions on what an operation does not have."""
    assert (rule.id, field, Lint.UNREACHABLE) in found(rule)


@given(first=allows(), second=allows())
def test_l11_a_shadowed_rule_allows_nothing_of_its_own(first: Rule, second: Rule) -> None:
    """Whatever is called shadowed by another rule says on each field no more than that one."""
    second = dataclasses.replace(second, id=first.id + "-2")
    for name, field, finding in found(first, second):
        if finding == Lint.SHADOWED and field == "id":
            shadowed, other = (first, second) if name == first.id else (second, first)
            assert shadowed.kinds <= other.kinds
            assert other.keys is ANY or (isinstance(shadowed.keys, frozenset) and shadowed.keys <= other.keys)  # type: ignore[operator]  # a set, as it is not any


@pytest.mark.parametrize(
    ("change", "field", "name"),
    [
        ({"window_ms": 0}, "window_ms", Lint.WINDOW),
        ({"count_max": None}, "id", Lint.WITHOUT_MEASURE),
        ({"amount_max": 5}, "amount_max", Lint.WITHOUT_UNIT),
        ({"chain_id": 1}, "amount_max", Lint.WITHOUT_UNIT),
        ({"chain_id": 1, "network": "solana", "amount_max": 5}, "amount_max", Lint.WITHOUT_UNIT),
        ({"venue": "okx", "amount_max": 5}, "amount_max", Lint.WITHOUT_UNIT),
        ({"asset": TOKEN}, "asset", Lint.WITHOUT_UNIT),
    ],
)
def test_l12_a_limit_has_a_window_and_a_unit(change: dict[str, Any], field: str, name: Lint) -> None:
    """A number of nothing, of two things, or without a time says nothing."""
    day = Limit(id="day", keys=ANY, window_ms=86_400_000, count_max=5)
    assert found(limits=(day,)) == []
    assert found(limits=(dataclasses.replace(day, **change),)) == [("day", field, name)]


def test_l12_a_cap_has_an_asset() -> None:
    """One amount for any asset is a cap on none: a million is a dollar of USDC, and ten thousand of WBTC."""
    tokens = dataclasses.replace(PAY, assets=ANY)
    assert found(tokens) == [("pay", "amount_max", Lint.WITHOUT_UNIT)]
    assert found(dataclasses.replace(tokens, amount_max=ANY)) == []
    assert found(dataclasses.replace(tokens, amount_max=ANY, usd_max=10**9)) == []
    assert found(dataclasses.replace(tokens, assets=frozenset({TOKEN}))) == []


def test_l13_nothing_that_the_caller_says_of_itself_counts() -> None:
    """No field of a rule or limit and no name of a predicate holds what a caller can choose beside the signed bytes."""
    chosen = re.compile("label|request|reason|comment|note|metadata|tag_of|memo")
    names = [each.name for each in (*dataclasses.fields(Rule), *dataclasses.fields(Limit))] + list(VARIABLES)
    assert [name for name in names if chosen.search(name)] == []
    with pytest.raises(Malformed):
        evaluate(
            Policy(version=1, rules=(dataclasses.replace(PAY, when="labels == 'x'"),), limits=()),
            key=KeyId("eth-hot"),
            principal=BOT,
            intent=Intent(
                kind=PayloadKind.EVM_TRANSACTION,
                algorithms=frozenset(),
                signing_input=b"",
                effects=(TRANSFER,),
                completeness=Completeness.FULL,
            ),
        )


def test_l13_the_network_of_a_psbt_is_the_callers_word() -> None:
    """So a rule must list it: with any, a payment on the main network could be called one on a test network."""
    pay = dataclasses.replace(PAY, kinds=frozenset({PayloadKind.BITCOIN_PSBT}), destinations=ANY)
    assert found(dataclasses.replace(pay, chains=ANY)) == [("pay", "chains", Lint.CLAIMED)]
    assert found(dataclasses.replace(pay, chains=frozenset({"bitcoin"}))) == []
