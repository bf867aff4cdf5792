"""Predicates that compile and are no promise, and what to write instead."""

import dataclasses

import pytest

from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.policy import ANY, Policy, Rule, Verdict
from keyvault.core.policy_lint import lint

BYBIT = frozenset({PayloadKind.BYBIT_REST})
ORDERS = frozenset({Operation.ORDER})
PAID = "rEb8TK3gBgk5auZkwc6sHnwrGVJH8DuaLh"
WITHDRAWALS = Rule(
    id="withdrawals",
    verdict=Verdict.ALLOW,
    keys=frozenset({"binance"}),
    principals=ANY,
    kinds=frozenset({PayloadKind.BINANCE_REST}),
    operations=frozenset({Operation.WITHDRAW}),
    venues=frozenset({"binance"}),
    chains=ANY,
    assets=frozenset({"XRP"}),
    destinations=ANY,
    usd_max=ANY,
)


def told(rule: Rule) -> list[str]:
    return [each.problem for each in lint(Policy(version=1, rules=(rule,), limits=()))]


def denying(when: str, **more: object) -> Rule:
    return Rule(id="no", verdict=Verdict.DENY, when=when, **more)  # type: ignore[arg-type]  # names of fields


def permitting(when: str, verdict: Verdict = Verdict.ALLOW) -> Rule:
    quorum = "2 of risk" if verdict is Verdict.ESCALATE else ""
    return dataclasses.replace(WITHDRAWALS, when=when, verdict=verdict, quorum=quorum)


@pytest.mark.parametrize("when", ["via == 'spot'", "'spot' == via", "via != 'linear'", "via in ['spot', 'option']"])
def test_the_whole_of_via_stops_no_order(when: str) -> None:
    """With a trigger it is another text, so a deny rule on the whole of it would be passed by one."""
    for rule in (denying(when, kinds=BYBIT), denying(when, operations=ORDERS), denying(when)):
        (problem,) = told(rule)
        assert "write via.startsWith(...) or via.contains(...)" in problem


@pytest.mark.parametrize(
    "rule",
    [
        denying("via.startsWith('spot')", kinds=BYBIT, operations=ORDERS),
        denying("via != ''", kinds=frozenset({PayloadKind.EVM_TRANSACTION})),
        denying("via == 'durable nonce'", operations=frozenset({Operation.SETUP})),
    ],
)
def test_a_part_of_via_and_via_of_others_may_be_compared(rule: Rule) -> None:
    """Where it begins a trigger changes nothing; and what is no order has none."""
    assert told(rule) == []


@pytest.mark.parametrize("verdict", [Verdict.ALLOW, Verdict.ESCALATE])
@pytest.mark.parametrize(
    "when",
    [
        f"destination != '{PAID}'",
        f"'{PAID}' != destination",
        f"!(destination == '{PAID}')",
        f"!destination.startsWith('{PAID}')",
        f"destination.startsWith('{PAID}') == false",
        f"destination.startsWith('{PAID}') == asset.startsWith('ETH')",
        f"(destination == '{PAID}') != true",
        f"(destination in ['{PAID}']) == false",
        f"destination == '{PAID}' ? false : true",
        f"asset == 'XRP' && destination != '{PAID}'",
    ],
)
def test_what_permits_does_not_say_who_is_not_paid(when: str, verdict: Verdict) -> None:
    """There a destination is what the payload says: with a tag, or spelt otherwise, it is not that text."""
    (problem,) = told(permitting(when, verdict))
    assert "is no promise in what permits" in problem
    assert "write a deny rule" in problem


@pytest.mark.parametrize(
    "when",
    [
        f"destination == '{PAID}?addressTag=6' && asset != 'XRP'",
        f"destination in ['{PAID}'] || destination.startsWith('r')",
        "destination.size() <= 42",
        "!(asset == 'XRP')",
    ],
)
def test_what_permits_may_say_who_is_paid(when: str) -> None:
    """Exactly as the payload says it; what is not about a destination may say no."""
    assert told(permitting(when)) == []
    assert told(denying(f"destination != '{PAID}'", operations=frozenset({Operation.WITHDRAW}))) == []
