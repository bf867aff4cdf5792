"""Rules that are taken away, with the limits that counted what they permitted, by those who may only tighten."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyvault.cli.policy_examples import EXAMPLES, example
from keyvault.cli.policy_file import parse_policy
from keyvault.core.ids import UnixMillis
from keyvault.core.limits_check import room_for
from keyvault.core.policy import Limit, Policy, Rule, Verdict
from keyvault.core.policy_change import is_tightening
from keyvault.core.policy_lint import lint
from keyvault.core.policy_loosening import loosenings
from keyvault.core.windows import Reservations, Windows
from tests.core.charging import NOW, charge
from tests.core.rule_strategies import ASKED, LIMITS, RULES, Asked, policy_of
from tests.core.test_policy_change import DENY, LARGE, OLD, PAY, PAY_LARGE, RAW, answer, has_room


@settings(max_examples=60, deadline=None)
@given(
    rules=st.lists(RULES, min_size=1, max_size=3),
    limited=st.lists(LIMITS, min_size=1, max_size=3),
    asked=st.lists(ASKED, min_size=1, max_size=5),
)
def test_a_limit_that_need_not_stay_counts_nothing_that_is_permitted(
    rules: list[Rule], limited: list[Limit], asked: list[Asked]
) -> None:
    """Law: where the limits may go and nothing else changes, no permitted request would have been counted by them."""
    kept, gone = policy_of(rules, limited), policy_of(rules)
    for each in asked if is_tightening(kept, gone) else ():
        if answer(gone, each) is not None:
            windows = Windows()
            windows.watch(kept)
            used = charge(each, None, NOW)
            assert room_for(windows, Reservations(), used, UnixMillis(NOW)) == ()
            assert has_room(windows, used)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_allow_rule_can_go_at_once(name: str) -> None:
    """Without a rule of an example, and the limits and lists that only it used, it may be published and tightens."""
    old = parse_policy(example(name), name=name)
    for rule in old.rules:
        if rule.verdict is not Verdict.ALLOW:
            continue
        new = without_findings(dataclasses.replace(old, rules=tuple(each for each in old.rules if each is not rule)))
        assert lint(new) == ()
        told = [each.why.partition(":")[0] for each in loosenings(old, new)]
        assert told in ([], ["names other destinations, and look-alikes are told by these"]), rule.id


def without_findings(policy: Policy) -> Policy:
    """Return the policy without the limits and lists that must not stay."""
    found = lint(policy)
    gone = {each.index for each in found if each.section == "limits"}
    unused = {each.name for each in found if each.field == "lists"}
    return dataclasses.replace(
        policy,
        limits=tuple(limit for index, limit in enumerate(policy.limits) if index not in gone),
        lists={name: values for name, values in policy.lists.items() if name not in unused},
    )


def test_a_limit_that_counts_what_stays_must_stay() -> None:
    """A limit goes only with all rules of which it counts something: an escalate rule permits, too."""
    without_it = (RAW, LARGE, DENY)
    assert is_tightening(
        dataclasses.replace(OLD, rules=(PAY, *without_it)), dataclasses.replace(OLD, rules=without_it, limits=())
    )
    for rules in ((PAY, PAY_LARGE, LARGE, DENY), (RAW, PAY_LARGE, LARGE, DENY)):
        assert not is_tightening(OLD, dataclasses.replace(OLD, rules=rules, limits=()))
