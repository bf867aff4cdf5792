"""Rules that escalate: what they restrict, what they permit, and whom they ask."""

import dataclasses
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core.errors import Reason, Refused
from keyvault.core.ids import KeyId, Principal
from keyvault.core.intent import Completeness, Effect, Intent, Operation, PayloadKind
from keyvault.core.policy import ANY, Permission, Policy, Rule, Verdict, evaluate
from tests.core.rule_strategies import ALLOWS, ASKED, DENIES, ESCALATES, EVERYTHING, RULES, Asked, policy_of

KEY = KeyId("eth-hot")
BOT = Principal("spiffe://demo/bot/maker")
HOME = "0x" + "ab" * 20
AWAY = "0x" + "cd" * 20
TRANSFER = Effect(operation=Operation.TRANSFER, chain_id=1, destination=HOME, amount=100, fee_max=10)
ORDER = Effect(operation=Operation.ORDER, venue="binance", symbol="BTCUSDT")
OPAQUE = Effect(operation=Operation.OPAQUE)

ANYTHING = dataclasses.replace(EVERYTHING, keys=frozenset({KEY}))
LARGE = Rule(id="large", verdict=Verdict.ESCALATE, quorum="2 of risk", amount_above=99)
AWAY_FROM_HOME = Rule(
    id="away", verdict=Verdict.ESCALATE, quorum="1 of treasury", destinations=frozenset({AWAY})
)  # fmt: skip
PAY_LARGE = dataclasses.replace(
    LARGE,
    id="pay-large",
    keys=frozenset({KEY}),
    principals=ANY,
    kinds=frozenset({PayloadKind.EVM_TRANSACTION}),
    operations=frozenset({Operation.TRANSFER}),
    chains=frozenset({1}),
    destinations=frozenset({HOME}),
    fee_max=ANY,
)
NEVER = Rule(id="never", verdict=Verdict.DENY)


def judge(
    rules: tuple[Rule, ...], *effects: Effect, kind: PayloadKind = PayloadKind.EVM_TRANSACTION
) -> Permission:  # fmt: skip
    intent = Intent(
        kind=kind,
        algorithms=frozenset(),
        signing_input=bytes(32),
        effects=effects,
        completeness=Completeness.OPAQUE if kind is PayloadKind.RAW_DIGEST else Completeness.FULL,
    )
    return evaluate(Policy(version=1, rules=rules, limits=()), key=KEY, principal=BOT, intent=intent)


def escalated(rules: tuple[Rule, ...], *effects: Effect, kind: PayloadKind = PayloadKind.EVM_TRANSACTION) -> bool:
    """Say whether the rules escalate, beside one that allows everything."""
    return judge((ANYTHING, *rules), *effects, kind=kind).escalated_by != ()


def refusal(rules: tuple[Rule, ...], *effects: Effect) -> Refused:
    with pytest.raises(Refused) as caught:
        judge(rules, *effects)
    return caught.value


def test_what_no_rule_escalates_asks_nobody() -> None:
    """A permission without escalation names the allowing rule and no quorum."""
    small = dataclasses.replace(TRANSFER, amount=99)
    assert judge((ANYTHING, LARGE), small) == Permission(rules=("everything",), quorums=(), escalated_by=())


def test_an_escalate_rule_asks_its_quorum() -> None:
    """What an escalate rule matches is permitted by the allow rule, and its quorum is to be asked."""
    assert judge((LARGE, ANYTHING), TRANSFER) == Permission(
        rules=("everything",), quorums=("2 of risk",), escalated_by=("large",)
    )


def test_every_matching_rule_asks() -> None:
    """Rules stand in the order of the policy, whatever effect they match; a quorum that two rules ask stands once."""
    again = dataclasses.replace(AWAY_FROM_HOME, id="again", keys=frozenset({KEY}), quorum="2 of risk")
    small = dataclasses.replace(TRANSFER, destination=AWAY, amount=1)
    assert judge((LARGE, AWAY_FROM_HOME, ANYTHING, again), TRANSFER, small) == Permission(
        rules=("everything", "everything"),
        quorums=("2 of risk", "1 of treasury"),
        escalated_by=("large", "away", "again"),
    )


def test_deny_wins_over_escalation() -> None:
    """No quorum can let through what a deny rule matches."""
    for rules in permutations((ANYTHING, LARGE, NEVER)):
        refused = refusal(rules, TRANSFER)
        assert (refused.reason, refused.rules) == (Reason.DENIED_BY_RULE, ("never",))


def test_an_escalate_rule_that_leaves_conditions_out_permits_nothing() -> None:
    """Without an allow rule beside it, what it matches is refused."""
    assert refusal((LARGE,), TRANSFER).reason is Reason.NO_RULE_ALLOWS
    refused = refusal((dataclasses.replace(PAY_LARGE, destinations=None),), TRANSFER)
    assert str(refused) == (
        "no rule allows effect 1 of 1 (transfer); rule pay-large would escalate it but for:"
        " the rule does not mention the destination"
    )


def test_an_escalate_rule_with_all_conditions_permits() -> None:
    """It needs no allow rule beside it; `above` is its condition on the amount."""
    expected = Permission(rules=("pay-large",), quorums=("2 of risk",), escalated_by=("pay-large",))
    assert judge((PAY_LARGE,), TRANSFER) == expected
    assert judge((dataclasses.replace(PAY_LARGE, amount_max=ANY),), TRANSFER) == expected


def test_what_an_allow_rule_permits_is_named_by_it() -> None:
    """Where both permit an effect, the allow rule is named; what only the escalate rule permits names that."""
    pay = dataclasses.replace(PAY_LARGE, id="pay", verdict=Verdict.ALLOW, quorum="", amount_above=None, amount_max=100)
    more = dataclasses.replace(TRANSFER, amount=101, asset="0x" + "cc" * 20)
    any_asset = dataclasses.replace(PAY_LARGE, assets=ANY)
    assert judge((any_asset, pay), TRANSFER, more).rules == ("pay", "pay-large")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"amount": 99}, "amount 99 is not above 99"),
        ({"amount": None}, "amount is unknown"),
        ({"destination": AWAY}, f"destination {AWAY} is not listed"),
        ({"chain_id": None}, "chain is unknown"),
    ],
)
def test_what_an_escalate_rule_does_not_permit_is_told(change: dict[str, object], complaint: str) -> None:
    """The refusal says how the nearest escalate rule fell short."""
    refused = refusal((PAY_LARGE,), dataclasses.replace(TRANSFER, **change))  # type: ignore[arg-type]  # fields
    assert str(refused) == (
        f"no rule allows effect 1 of 1 (transfer); rule pay-large would escalate it but for: {complaint}"
    )


def test_above_is_strictly_more_and_unknown_is_above() -> None:
    """An amount equal to `above` is not above it; one that nobody can read is; what has no amount is not."""
    assert not escalated((LARGE,), dataclasses.replace(TRANSFER, amount=99))
    assert escalated((LARGE,), dataclasses.replace(TRANSFER, amount=100))
    assert escalated((LARGE,), dataclasses.replace(TRANSFER, amount=None))
    assert escalated((LARGE,), OPAQUE, kind=PayloadKind.RAW_DIGEST)
    assert not escalated((LARGE,), ORDER, kind=PayloadKind.BINANCE_REST)


def test_a_deny_rule_may_deny_what_is_above() -> None:
    """`above` in a deny rule denies the large and the unknown, and nothing else."""
    deny = dataclasses.replace(NEVER, amount_above=99)
    assert judge((ANYTHING, deny), dataclasses.replace(TRANSFER, amount=99)).rules == ("everything",)
    for amount in (100, None):
        assert refusal((ANYTHING, deny), dataclasses.replace(TRANSFER, amount=amount)).rules == ("never",)


@pytest.mark.parametrize(
    "change",
    [
        {"chains": frozenset({5})},
        {"destinations": frozenset({AWAY})},
        {"selectors": frozenset({"0xa9059cbb"})},
        {"operations": frozenset({Operation.CREATE})},
    ],
)
def test_what_nobody_can_read_is_escalated(change: dict[str, object]) -> None:
    """An opaque effect could be anything, so every condition of an escalate rule on it holds."""
    rule = dataclasses.replace(LARGE, amount_above=None, **change)  # type: ignore[arg-type]  # names of fields
    assert escalated((rule,), OPAQUE, kind=PayloadKind.RAW_DIGEST)
    assert not escalated((rule,), TRANSFER)


def test_an_escalate_rule_is_about_its_keys_principals_and_kinds() -> None:
    """An escalate rule for others asks nobody here."""
    for change in (
        {"keys": frozenset({"eth-cold"})},
        {"principals": frozenset({"spiffe://demo/bot/other"})},
        {"kinds": frozenset({PayloadKind.TYPED_DATA})},
    ):
        assert not escalated((dataclasses.replace(LARGE, **change),), TRANSFER)


@pytest.mark.parametrize("quorum", ["", "risk", "0 of risk", "1 of a and 1 of b or 1 of c"])
def test_a_quorum_that_cannot_be_read_denies(quorum: str) -> None:
    """A rule that would ask nobody refuses; it is not skipped."""
    assert refusal((ANYTHING, dataclasses.replace(LARGE, quorum=quorum)), TRANSFER).rules == ("large",)


def test_an_error_in_an_escalate_rule_is_a_no() -> None:
    """An amount that cannot be compared refuses with POLICY_ERROR."""
    broken = dataclasses.replace(TRANSFER, amount="much")  # type: ignore[arg-type]  # what must never happen
    assert refusal((ANYTHING, LARGE), broken).reason is Reason.POLICY_ERROR


# Laws -----------------------------------------------------------------------------------------------------------


def asked_of(rules: list[Rule], asked: Asked) -> Permission | None:
    """Return the permission, None if refused."""
    try:
        return asked.judged_by(policy_of(rules))
    except Refused as refused:
        if refused.reason is Reason.POLICY_ERROR:
            raise
        return None


@given(rules=st.lists(RULES, max_size=5), more=ESCALATES, asked=ASKED)
def test_adding_an_escalate_rule_never_takes_a_quorum_away(rules: list[Rule], more: Rule, asked: Asked) -> None:
    """What was permitted stays so, asking all that it asked; what was not needs the new rule's quorum at least."""
    before, after = asked_of(rules, asked), asked_of([*rules, more], asked)
    if before is not None:
        assert after is not None
        assert set(before.quorums) <= set(after.quorums)
    elif after is not None:
        assert more.quorum in after.quorums


@given(rules=st.lists(RULES, max_size=5), more=DENIES | ALLOWS, asked=ASKED)
def test_deny_and_allow_rules_change_no_quorum(rules: list[Rule], more: Rule, asked: Asked) -> None:
    """Beside escalate rules, a deny rule only takes away, an allow rule only adds, and neither changes who is asked."""
    before, after = asked_of(rules, asked), asked_of([*rules, more], asked)
    if more.verdict is Verdict.DENY:
        assert before is not None or after is None
    else:
        assert before is None or after is not None
    if before is not None and after is not None:
        assert before.quorums == after.quorums


@given(rules=st.lists(RULES, max_size=5), asked=ASKED)
def test_what_only_an_escalate_rule_permits_is_escalated_by_it(rules: list[Rule], asked: Asked) -> None:
    """No escalate rule permits without its quorum (law 9): a rule that permits is an allow rule or asks."""
    numbered = [dataclasses.replace(rule, id=f"r{number}") for number, rule in enumerate(rules)]
    permission = asked_of(numbered, asked)
    if permission is None:
        return
    verdicts = {rule.id: rule.verdict for rule in numbered}
    for permitting in permission.rules:
        assert verdicts[permitting] is Verdict.ALLOW or permitting in permission.escalated_by
    assert [verdicts[each] for each in permission.escalated_by] == [Verdict.ESCALATE] * len(permission.escalated_by)
    assert list(permission.escalated_by) == sorted(permission.escalated_by)
    assert list(permission.quorums) == list(
        dict.fromkeys(rule.quorum for rule in numbered if rule.id in permission.escalated_by)
    )


@given(rules=st.lists(RULES, max_size=5), more=ESCALATES, asked=ASKED)
def test_an_escalate_rule_matches_what_the_same_deny_rule_matches(rules: list[Rule], more: Rule, asked: Asked) -> None:
    """It restricts exactly what it would deny."""
    escalating = asked_of([*rules, dataclasses.replace(more, id="more")], asked)
    denying = asked_of([*rules, dataclasses.replace(more, verdict=Verdict.DENY, quorum="")], asked)
    if escalating is not None:
        assert ("more" in escalating.escalated_by) == (denying is None)


@given(rules=st.lists(RULES, max_size=5), more=ESCALATES, asked=ASKED)
def test_an_escalate_rule_permits_what_the_same_allow_rule_allows(rules: list[Rule], more: Rule, asked: Asked) -> None:
    """It permits exactly what it would allow."""
    escalating, allowing = asked_of([*rules, more], asked), asked_of([*rules, _allow(more)], asked)
    assert (escalating is None) == (allowing is None)


def _allow(rule: Rule) -> Rule:
    return dataclasses.replace(rule, verdict=Verdict.ALLOW, quorum="")
