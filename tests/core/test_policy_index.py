"""Finding rules by kind, key and operation changes nothing: a decision is that of all rules, compared one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core.errors import Refused
from keyvault.core.ids import KeyId, Principal
from keyvault.core.intent import Completeness, Effect, Intent, Operation, PayloadKind
from keyvault.core.policy import ANY, UNDATED, Policy, Rule, Verdict, compile_policy
from keyvault.core.policy_match import allow_matcher, can_permit, deny_matcher, scope
from keyvault.core.policy_rules import verdict_of
from tests.core.rule_strategies import ASKED, RULES, Asked, policy_of


def one_by_one(policy: Policy, asked: Asked) -> object:
    """Return what the laws of ``keyvault.core.policy`` say, without any index: rules, escalations, shadows; or a no."""
    every = compile_policy(policy).facts(asked.principal, asked.intent, UNDATED)

    def about(rule: Rule, *, named: bool) -> bool:
        keys, kinds = scope(rule)
        here = keys is not ANY and asked.key in keys if named else keys is ANY
        return here and asked.intent.kind in kinds

    def restricts(rule: Rule) -> bool:
        return any(deny_matcher(rule, policy.lists).holds(facts) for facts in every)

    ordered = [rule for named in (True, False) for rule in policy.rules if about(rule, named=named)]
    live = [rule for rule in ordered if not rule.shadow]
    denied = tuple(rule.id for rule in live if verdict_of(rule) is Verdict.DENY and restricts(rule))
    if denied:
        return denied
    asking = [rule for rule in live if verdict_of(rule) is Verdict.ESCALATE and restricts(rule)]
    asking.sort(key=policy.rules.index)
    permitting = [rule for rule in live if verdict_of(rule) is Verdict.ALLOW] + [
        each for each in asking if can_permit(each)
    ]
    chosen = []
    for facts in every:
        permits = (rule.id for rule in permitting if allow_matcher(rule, policy.lists).holds(facts))
        chosen.append(next(permits, None))
    if None in chosen:
        return ()
    read = {True: allow_matcher, False: deny_matcher}
    shadows = (
        rule.id
        for rule in ordered
        if rule.shadow and any(read[rule.verdict is Verdict.ALLOW](rule, policy.lists).holds(facts) for facts in every)
    )
    return tuple(chosen), tuple(rule.id for rule in asking), tuple(shadows)


def by_index(policy: Policy, asked: Asked) -> object:
    """Return the same of a compiled policy."""
    try:
        found = compile_policy(policy).evaluate(key=asked.key, principal=asked.principal, intent=asked.intent)
    except Refused as refused:
        return refused.rules
    return found.rules, found.escalated_by, found.shadows


@given(rules=st.lists(RULES, max_size=8), asked=ASKED)
def test_an_index_decides_as_all_rules_do(rules: list[Rule], asked: Asked) -> None:
    """Permission, refusal, the rules that are named, and their order are those of a comparison with every rule."""
    policy = policy_of(rules)
    assert by_index(policy, asked) == one_by_one(policy, asked)


TRANSFER, ALLOWANCE = Operation.TRANSFER, Operation.ALLOWANCE


def rule(verdict: Verdict, rule_id: str, *operations: Operation, named: bool = True) -> Rule:
    """Return a rule about these operations that asks for nothing else."""
    allows = dict.fromkeys(("chains", "assets", "destinations", "amount_max", "fee_max", "principals"), ANY)
    return Rule(
        id=rule_id,
        verdict=verdict,
        keys=frozenset({"hot"}) if named else ANY,
        kinds=frozenset({PayloadKind.EVM_TRANSACTION}),
        operations=frozenset(operations),
        quorum="1 of risk" if verdict is Verdict.ESCALATE else "",
        **(allows if verdict is Verdict.ALLOW else {}),  # type: ignore[arg-type]  # ANY is a condition of each
    )


@pytest.mark.parametrize(
    ("rules", "answer"),
    [
        ((rule(Verdict.ALLOW, "t", TRANSFER), rule(Verdict.ALLOW, "a", ALLOWANCE)), (("t", "a", "t"), (), ())),
        ((rule(Verdict.ALLOW, "t", TRANSFER),), ()),
        ((rule(Verdict.ALLOW, "a", ALLOWANCE),), ()),
        ((rule(Verdict.ALLOW, "b", TRANSFER, ALLOWANCE), rule(Verdict.DENY, "no", ALLOWANCE)), ("no",)),
        ((rule(Verdict.ALLOW, "b", TRANSFER, ALLOWANCE), rule(Verdict.DENY, "no", TRANSFER)), ("no",)),
        (
            (
                rule(Verdict.ALLOW, "b", TRANSFER, ALLOWANCE),
                rule(Verdict.ESCALATE, "first", ALLOWANCE, named=False),
                rule(Verdict.ESCALATE, "second", ALLOWANCE),
            ),
            (("b", "b", "b"), ("first", "second"), ()),
        ),
    ],
)
def test_effects_of_several_operations_each_find_their_rules(rules: tuple[Rule, ...], answer: object) -> None:
    """A payload that changes its operation from effect to effect is compared with the rules about each of them."""
    facts = {"chain_id": 1, "destination": "0x" + "ab" * 20, "amount": 1, "fee_max": 0}
    moves = (Effect(operation=each, **facts) for each in (TRANSFER, ALLOWANCE, TRANSFER))  # type: ignore[arg-type]  # any
    intent = Intent(
        kind=PayloadKind.EVM_TRANSACTION,
        algorithms=frozenset(),
        signing_input=bytes(32),
        effects=tuple(moves),
        completeness=Completeness.FULL,
    )
    asked = Asked(KeyId("hot"), Principal("spiffe://demo/bot/maker"), intent, UNDATED)
    policy = policy_of(list(rules))
    assert by_index(policy, asked) == one_by_one(policy, asked) == answer
