"""What a change of a policy can never do, whatever the policy and whatever is asked."""

import dataclasses
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from keyvault.core.errors import Reason, Refused
from keyvault.core.policy import ANY, Permission, Policy, Rule, Verdict
from keyvault.core.policy_rules import Prices
from tests.core.rule_strategies import ALLOWS, ASKED, DENIES, DESTINATIONS, HOURS, RULES, WIDE, Asked, policy_of

MANY = st.lists(RULES, min_size=1, max_size=5)
CAPS = ("amount_max", "fee_max", "usd_max", "price_band_bps", "validity_ms_max")
SETS = ("keys", "principals", "kinds", "chains", "venues", "destinations", "selectors", "symbols", "sides", "assets")


def answer(policy: Policy, asked: Asked) -> Permission | frozenset[str]:
    """Return the permission, or the rules that a refusal names."""
    try:
        return asked.judged_by(policy)
    except Refused as refused:
        if refused.reason is Reason.POLICY_ERROR:
            raise
        return frozenset(refused.rules)


def permits(policy: Policy, asked: Asked) -> frozenset[str] | None:
    """Return the quorums that are asked, None if it is refused."""
    found = answer(policy, asked)
    return frozenset(found.quorums) if isinstance(found, Permission) else None


def takes_away(before: Policy, after: Policy, asked: Asked) -> bool:
    """Say whether the second policy refuses what the first refuses, and asks whom the first asks."""
    first, second = permits(before, asked), permits(after, asked)
    return second is None or (first is not None and first <= second)


@given(rules=MANY, asked=ASKED, data=st.data())
def test_the_order_of_rules_changes_nothing(rules: list[Rule], asked: Asked, data: st.DataObject) -> None:
    """The same answer, the same denying rules, the same quorums; only which of several allowing rules is named."""
    first, second = (answer(policy_of(each), asked) for each in (rules, data.draw(st.permutations(rules))))
    if isinstance(first, frozenset):
        assert first == second
        return
    assert isinstance(second, Permission)
    assert set(first.quorums) == set(second.quorums)
    assert sorted(first.escalated_by) == sorted(second.escalated_by)
    assert sorted(first.shadows) == sorted(second.shadows)


@given(rules=MANY, more=DENIES, asked=ASKED)
def test_a_deny_rule_more_only_takes_away(rules: list[Rule], more: Rule, asked: Asked) -> None:
    """Whatever it says."""
    assert takes_away(policy_of(rules), policy_of([*rules, more]), asked)


@given(rules=st.lists(RULES, max_size=4), rule=WIDE | ALLOWS, asked=ASKED, data=st.data())
def test_a_lower_cap_only_takes_away(rules: list[Rule], rule: Rule, asked: Asked, data: st.DataObject) -> None:
    """A cap where any was, or a lower one."""
    field = data.draw(st.sampled_from(CAPS))
    cap = getattr(rule, field)
    assume(cap is not None)
    lower = data.draw(st.integers(0, 3_000_000 if cap is ANY else cap))
    change: dict[str, Any] = {field: lower}
    tighter = dataclasses.replace(rule, **change)
    assert takes_away(policy_of([*rules, rule]), policy_of([*rules, tighter]), asked)


@given(rules=st.lists(RULES, max_size=4), rule=WIDE | ALLOWS, asked=ASKED, data=st.data())
def test_a_shorter_list_only_takes_away(rules: list[Rule], rule: Rule, asked: Asked, data: st.DataObject) -> None:
    """Of an allow rule: some of its values, or some where any was."""
    field = data.draw(st.sampled_from(SETS))
    values = getattr(rule, field)
    assume(values)
    assume(values is not ANY or field == "destinations")
    some = frozenset(DESTINATIONS) if values is ANY else values
    fewer = data.draw(st.frozensets(st.sampled_from(sorted(some, key=str))))
    change: dict[str, Any] = {field: fewer}
    tighter = dataclasses.replace(rule, **change)
    assert takes_away(policy_of([*rules, rule]), policy_of([*rules, tighter]), asked)


@given(rules=st.lists(WIDE | ALLOWS, min_size=1, max_size=4), asked=ASKED, data=st.data())
def test_a_shorter_named_list_only_takes_away(rules: list[Rule], asked: Asked, data: st.DataObject) -> None:
    """Where allow rules name it: what is left out of the list is refused wherever the list alone let it through."""
    whole = policy_of(rules)
    fewer = data.draw(st.frozensets(st.sampled_from(DESTINATIONS)))
    assert takes_away(whole, dataclasses.replace(whole, lists={"home": fewer}), asked)
    assert takes_away(whole, dataclasses.replace(whole, lists={}), asked)


@given(rules=st.lists(RULES, max_size=4), rule=WIDE | ALLOWS, asked=ASKED)
def test_one_condition_more_only_takes_away(rules: list[Rule], rule: Rule, asked: Asked) -> None:
    """Hours or a predicate on an allow rule that had none."""
    assume(not rule.when and not rule.hours)
    changes: tuple[dict[str, Any], ...] = ({"when": "amount <= 1"}, {"when": "true"}, {"hours": HOURS[0]})
    for change in changes:
        tighter = dataclasses.replace(rule, **change)
        assert takes_away(policy_of([*rules, rule]), policy_of([*rules, tighter]), asked)


@given(rules=MANY, asked=ASKED)
def test_prices_that_are_not_known_only_take_away(rules: list[Rule], asked: Asked) -> None:
    """No rule of any verdict gives more when the table of prices is too old, or gone (I8)."""
    known = policy_of(rules)
    assert takes_away(known, dataclasses.replace(known, prices=Prices()), asked)
    stale = dataclasses.replace(known.prices, age_ms_max=0)
    assert takes_away(known, dataclasses.replace(known, prices=stale), asked)


@given(rules=MANY, more=RULES, asked=ASKED)
def test_a_shadow_rule_decides_nothing(rules: list[Rule], more: Rule, asked: Asked) -> None:
    """With or without it the answer is the same; if it would have matched, the permission says so."""
    plain = [dataclasses.replace(rule, id=f"r{number}", shadow=False) for number, rule in enumerate(rules)]
    without = answer(policy_of(plain), asked)
    shadowed = dataclasses.replace(more, id="more", shadow=True)
    with_it = answer(policy_of([*plain, shadowed]), asked)
    if isinstance(without, frozenset):
        assert with_it == without
        return
    assert isinstance(with_it, Permission)
    assert dataclasses.replace(with_it, shadows=()) == without
    restricting = more.verdict is not Verdict.ALLOW
    deciding = dataclasses.replace(more, id="more", shadow=False, verdict=Verdict.DENY if restricting else more.verdict)
    if restricting:
        refused = answer(policy_of([*plain, dataclasses.replace(deciding, quorum="")]), asked)
        assert (refused == frozenset({"more"})) == (with_it.shadows == ("more",))
