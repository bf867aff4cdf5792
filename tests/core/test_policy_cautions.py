"""What a careful reader would ask about a policy: rules that may be published and let much through."""

import dataclasses

import pytest

from keyvault.cli.policy_examples import EXAMPLES, example
from keyvault.cli.policy_file import parse_policy
from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.policy import ANY, Limit, Policy, Rule, Verdict
from keyvault.core.policy_cautions import cautions
from keyvault.core.policy_findings import Lint
from keyvault.core.policy_lint import lint
from tests.core.test_policy_holes import HOME, PAY

DAY = Limit(id="day", keys=frozenset({"eth-hot"}), window_ms=86_400_000, count_max=5)
OPAQUE = Rule(
    id="blind",
    verdict=Verdict.ESCALATE,
    quorum="1 of everybody",
    keys=frozenset({"eth-hot"}),
    kinds=frozenset({PayloadKind.RAW_DIGEST}),
    operations=frozenset({Operation.OPAQUE}),
)


def asked_about(rule: Rule, *limits: Limit) -> list[str]:
    policy = Policy(version=1, rules=(rule,), limits=limits)
    assert {each.lint for each in lint(policy)} <= {Lint.NEVER_COUNTS}
    found = cautions(policy)
    assert all(each.name == rule.id for each in found if each.section == "rule")
    return [each.problem for each in found if each.section == "rule"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"destinations": ANY, "amount_max": ANY}, "transfer to anybody, of any amount"),
        ({"destinations": ANY, "amount_max": ANY, "usd_max": ANY}, "transfer to anybody, of any amount"),
        ({"fee_max": ANY}, "any fee"),
        (
            {"operations": frozenset({Operation.DELEGATE}), "destinations": ANY, "amount_max": None},
            "delegate to anybody",
        ),
    ],
)
def test_a_rule_that_lets_much_through_is_asked_about(change: dict[str, object], problem: str) -> None:
    """Payments without receiver and cap, fees without cap, power for whoever is named."""
    changed = dataclasses.replace(PAY, **change)  # type: ignore[arg-type]  # names of fields
    (found,) = asked_about(changed, DAY)
    assert problem in found


@pytest.mark.parametrize(
    "change", [{}, {"destinations": ANY}, {"amount_max": ANY}, {"destinations": ANY, "amount_max": ANY, "usd_max": 5}]
)
def test_one_bound_is_an_answer(change: dict[str, object]) -> None:
    """Who receives is listed, or how much is capped."""
    assert asked_about(dataclasses.replace(PAY, **change), DAY) == []  # type: ignore[arg-type]  # names of fields


def test_what_no_limit_counts_is_asked_about() -> None:
    """A limit counts if it is about every key of the rule and about the operation; what only takes back needs none."""
    other = dataclasses.replace(DAY, keys=frozenset({"other"}))
    orders = dataclasses.replace(DAY, operations=frozenset({Operation.ORDER}))
    uncounted = ["no limit counts transfer of its keys over time"]
    assert asked_about(PAY) == asked_about(PAY, other) == asked_about(PAY, orders) == uncounted
    every = dataclasses.replace(PAY, keys=ANY)
    assert asked_about(every, DAY) == ["no limit counts transfer with key other than eth-hot of its keys over time"]
    assert asked_about(every, dataclasses.replace(DAY, keys=ANY)) == []
    two = dataclasses.replace(PAY, keys=frozenset({"eth-hot", "other"}))
    assert asked_about(two, DAY) == ["no limit counts transfer with key other of its keys over time"]
    assert asked_about(two, DAY, dataclasses.replace(other, id="others")) == []
    back = dataclasses.replace(PAY, operations=frozenset({Operation.ALLOWANCE}), assets=frozenset({HOME}), amount_max=0)
    assert asked_about(back) == []


def test_one_persons_word_for_what_nobody_can_read_is_asked_about() -> None:
    """Two persons are not asked about, and neither is a rule in the shadow."""
    assert asked_about(OPAQUE) == ["one member alone approves what nobody can read"]
    assert asked_about(dataclasses.replace(OPAQUE, quorum="2 of everybody")) == []
    assert asked_about(dataclasses.replace(PAY, fee_max=ANY, shadow=True)) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_leave_nothing_to_ask(name: str) -> None:
    """What firms start from has no rule that lets much through."""
    assert cautions(parse_policy(example(name), name=name)) == ()
