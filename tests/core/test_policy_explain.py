"""The outcome of every rule: the same verdict as the judgement itself, and why."""

import dataclasses
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from keyvault.core.errors import Reason, Refused
from keyvault.core.ids import KeyId, Principal
from keyvault.core.intent import Completeness, Effect, Intent, Operation, PayloadKind
from keyvault.core.policy import ANY, UNDATED, CompiledPolicy, Permission, Rule, Verdict, compile_policy
from keyvault.core.policy_explain import RuleOutcome, explain, may_use
from tests.core.rule_strategies import ASKED, EVERYTHING, RULES, Asked, policy_of

MAKER, TAKER = Principal("spiffe://demo/bot/maker"), Principal("spiffe://demo/bot/taker")
KEY = KeyId("eth-hot")


def judged(compiled: CompiledPolicy, asked: Asked) -> Permission | Refused:
    """Return what the policy itself says."""
    try:
        return compiled.evaluate(key=asked.key, principal=asked.principal, intent=asked.intent)
    except Refused as refused:
        return refused


def transfer(amount: int, *more: Effect) -> Intent:
    """Return a transfer of so much."""
    effect = Effect(operation=Operation.TRANSFER, chain_id=1, destination="0x" + "ab" * 20, amount=amount, fee_max=0)
    return Intent(
        kind=PayloadKind.EVM_TRANSACTION,
        algorithms=frozenset(),
        signing_input=bytes(32),
        effects=(effect, *more),
        completeness=Completeness.FULL,
    )


def allow(name: str, **conditions: object) -> Rule:
    """Return a rule that allows transfers with the key."""
    wide = {"keys": frozenset({KEY}), "principals": ANY, "kinds": frozenset({PayloadKind.EVM_TRANSACTION})}
    wide |= {"chains": ANY, "destinations": ANY, "amount_max": ANY, "fee_max": ANY}
    return Rule(id=name, verdict=Verdict.ALLOW, **{**wide, **conditions})  # type: ignore[arg-type]  # names of fields


@settings(max_examples=400, deadline=None)
@given(st.lists(RULES, max_size=6), ASKED)
def test_the_verdict_is_the_one_of_the_judgement(rules: list[Rule], asked: Asked) -> None:
    """Law: for every policy and request the outcomes lead to what ``evaluate`` says, and name the same rules."""
    compiled = compile_policy(policy_of(rules))
    said, told = judged(compiled, asked), explain(compiled, asked.key, asked.principal, asked.intent)
    if isinstance(said, Refused):
        assert told.verdict is Verdict.DENY
        assert set(told.denied_by) == set(said.rules)
        return
    assert told.verdict is (Verdict.ESCALATE if said.quorums else Verdict.ALLOW)
    assert set(told.escalated_by) == set(said.escalated_by)
    assert set(told.shadows) == set(said.shadows)
    for number, name in enumerate(said.rules):
        assert any(each.permits and each.effect == number and each.rule == name for each in told.outcomes)


@settings(max_examples=50, deadline=None)
@given(st.lists(RULES, max_size=6), ASKED)
def test_every_rule_has_an_outcome_for_every_effect(rules: list[Rule], asked: Asked) -> None:
    """No rule is left out: it has one outcome for each effect, or one that says why it is about none."""
    told = explain(compile_policy(policy_of(rules)), asked.key, asked.principal, asked.intent)
    effects = len(asked.intent.effects)
    apart = sum(each.effect is None for each in told.outcomes)
    assert len(told.outcomes) == apart + (len(rules) - apart) * effects
    assert all(each.matches or each.why_not for each in told.outcomes)


def test_what_keeps_a_rule_from_matching_is_said() -> None:
    """The outcome of a rule that does not match says which condition does not hold, and with which value."""
    rules = [allow("small", amount_max=5), allow("other", keys=frozenset({"eth-cold"}))]
    told = explain(compile_policy(policy_of(rules)), KEY, MAKER, transfer(7))
    assert told.verdict is Verdict.DENY
    assert told.unpermitted == (0,)
    assert told.outcomes == (
        RuleOutcome(rule="other", verdict=Verdict.ALLOW, effect=None, matches=False, why_not="is not for key eth-hot"),
        RuleOutcome(rule="small", verdict=Verdict.ALLOW, effect=0, matches=False, why_not="amount 7 > 5"),
    )


def test_each_effect_has_its_own_outcome() -> None:
    """Of two effects one may be permitted and the other not: the one without a rule is named."""
    second = Effect(
        operation=Operation.TRANSFER,
        chain_id=1,
        destination="0x" + "cd" * 20,
        asset="0x" + "cc" * 20,
        amount=9,
        fee_max=0,
    )
    told = explain(
        compile_policy(policy_of([allow("small", assets=ANY, amount_max=5)])), KEY, MAKER, transfer(1, second)
    )
    assert [(each.effect, each.permits) for each in told.outcomes] == [(0, True), (1, False)]
    assert (told.verdict, told.unpermitted) == (Verdict.DENY, (1,))


def test_an_escalate_rule_that_only_asks_says_why_it_does_not_permit() -> None:
    """An escalate rule that leaves out a condition restricts; the outcome says what it would have to mention."""
    asking = Rule(id="ask", verdict=Verdict.ESCALATE, quorum="1 of risk", keys=frozenset({KEY}))
    told = explain(compile_policy(policy_of([asking, allow("all")])), KEY, MAKER, transfer(1))
    assert told.verdict is Verdict.ESCALATE
    first = told.outcomes[0]
    assert (first.rule, first.matches, first.permits) == ("ask", True, False)
    assert first.why_not == "asks, and permits nothing: it names no kinds"


def test_an_escalate_rule_about_a_history_says_that_it_only_restricts() -> None:
    """It names keys and kinds, and permits nothing all the same."""
    asking = dataclasses.replace(allow("new"), verdict=Verdict.ESCALATE, quorum="1 of risk", first_seen_ms=86_400_000)
    told = explain(compile_policy(policy_of([asking, allow("all")])), KEY, MAKER, transfer(1))
    assert "a rule about a destination's history only restricts" in told.outcomes[0].why_not


def test_a_shadow_rule_is_told_and_decides_nothing() -> None:
    """The outcome of a shadow rule stands beside the others and does not change the verdict."""
    shadow = Rule(id="ghost", verdict=Verdict.DENY, keys=frozenset({KEY}), shadow=True)
    told = explain(compile_policy(policy_of([shadow, allow("all")])), KEY, MAKER, transfer(1))
    assert (told.verdict, told.shadows, told.denied_by) == (Verdict.ALLOW, ("ghost",), ())


def test_no_effects_is_no() -> None:
    """An intent without effects is refused, even by a policy that allows everything (I8)."""
    told = explain(compile_policy(policy_of([EVERYTHING])), KEY, MAKER, Intent(
        kind=PayloadKind.EVM_TRANSACTION, algorithms=frozenset(), signing_input=b"", effects=(),
        completeness=Completeness.FULL,
    ))  # fmt: skip
    assert told.verdict is Verdict.DENY


def test_whoever_no_rule_permits_anything_may_not_ask() -> None:
    """A principal may use a key if a live rule names both; deny and shadow rules give nobody anything."""
    mine = allow("mine", principals=frozenset({MAKER}))
    ghost = allow("ghost", principals=frozenset({TAKER}), shadow=True)
    deny = Rule(id="deny", verdict=Verdict.DENY, keys=frozenset({KEY}), principals=frozenset({TAKER}))
    rules = policy_of([mine, ghost, deny])
    assert may_use(rules, KEY, MAKER)
    assert not may_use(rules, KEY, TAKER)
    assert not may_use(rules, KeyId("eth-cold"), MAKER)
    assert may_use(policy_of([EVERYTHING]), KeyId("eth-cold"), TAKER)


def test_what_only_restricts_gives_nobody_a_key() -> None:
    """Neither a deny rule that states everything, nor a question by history or about nobody by name."""
    asking = replace(allow("ask"), verdict=Verdict.ESCALATE, quorum="1 of risk")
    assert may_use(policy_of([asking]), KEY, MAKER)
    changes: list[dict[str, object]] = [
        {"verdict": Verdict.DENY, "quorum": ""},
        {"first_seen_ms": 5},
        {"look_alike": True},
        {"principals": None},
        {"keys": None},
        {"kinds": frozenset()},
    ]
    for change in changes:
        assert not may_use(policy_of([replace(asking, **change)]), KEY, MAKER)  # type: ignore[arg-type]  # fields


def test_a_predicate_that_does_not_hold_is_said() -> None:
    """Where only ``when`` fails, the refusal and the outcome say so."""
    compiled = compile_policy(policy_of([allow("small", when="amount <= 1")]))
    said = judged(compiled, Asked(key=KEY, principal=MAKER, intent=transfer(2), moment=UNDATED))
    assert isinstance(said, Refused)
    assert said.reason is Reason.NO_RULE_ALLOWS
    assert "its when does not hold" in said.explanation
    assert explain(compiled, KEY, MAKER, transfer(2)).outcomes[0].why_not == "its when does not hold"


def test_a_destination_that_resembles_none_is_said() -> None:
    """In words, not as the number of a fact."""
    deny = Rule(id="alike", verdict=Verdict.DENY, look_alike=True)
    outcome = explain(compile_policy(policy_of([allow("mine"), deny])), KEY, MAKER, transfer(2)).outcomes[1]
    assert outcome.why_not == "the destination does not look like a known one"
