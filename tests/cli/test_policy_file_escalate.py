"""Escalate rules as YAML: what is read, what is wrong and where, and back to text."""

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.cli.policy_file import PolicyFileError, format_policy, parse_policy
from keyvault.core import limits
from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.policy import ANY, Policy, Rule, Verdict
from keyvault.core.policy_lint import lint
from keyvault.core.policy_values import AMOUNT_MAX

EXAMPLE = """\
version: 1
rules:
  - id: large
    verdict: escalate
    quorum: 2 of risk and (1 of treasury or 3 of owners)
    keys: [eth-hot]
    kinds: [evm-transaction]
    above: 2 ether
    fee: any
  - id: huge
    verdict: deny
    above: 100 ether
limits: []
"""
MOST = limits.MEMBERS_MAX
PARSED = Policy(
    version=1,
    rules=(
        Rule(
            id="large",
            verdict=Verdict.ESCALATE,
            quorum="2 of risk and (1 of treasury or 3 of owners)",
            keys=frozenset({"eth-hot"}),
            kinds=frozenset({PayloadKind.EVM_TRANSACTION}),
            amount_above=2 * 10**18,
            fee_max=ANY,
        ),
        Rule(id="huge", verdict=Verdict.DENY, amount_above=100 * 10**18),
    ),
    limits=(),
)


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(PolicyFileError) as caught:
        parse_policy(textwrap.dedent(text), name="p.yaml")
    return caught.value.problems


def test_an_escalate_rule_is_read_and_shown() -> None:
    """Quorum and `above` arrive in the rule, and the rule is written as the same text."""
    assert parse_policy(EXAMPLE, name="p.yaml") == PARSED
    assert format_policy(PARSED) == EXAMPLE


@pytest.mark.parametrize(
    "quorum",
    [
        "(2 of risk) and ((1 of treasury) or 3 of owners)",
        '"2  of risk and (1 of treasury or 3 of owners)"',
        "2 of risk\n      and (1 of treasury or 3 of owners)",
        ">-\n      2 of risk and\n      (1 of treasury or 3 of owners)",
    ],
)
def test_a_quorum_may_be_written_with_room(quorum: str) -> None:
    """Spaces, lines and parentheses that change nothing do not reach the document."""
    text = EXAMPLE.replace("2 of risk and (1 of treasury or 3 of owners)", quorum)
    assert text != EXAMPLE
    assert parse_policy(text, name="p.yaml") == PARSED


def test_every_problem_of_an_escalate_rule_is_told_with_its_place() -> None:
    """The place in the file and the character in the quorum are told; the rule is named by its line if it has none."""
    assert problems(
        """\
        version: 1
        rules:
          - id: a
            verdict: escalate
            quorum: 2 of risk and 1 of treasury or 1 of owners
          - id: b
            verdict: escalat
            quorum: [2 of risk]
            above: any
          - id: c
            verdict: escalate
            above: 2 ether
          - id: d
            verdict: deny
            quorum: 1 of risk
          - id: e
            verdict: escalate
            quorum: 0 of risk
            above: 1.5
          - id: f
            verdict: escalate
            quorum: 1 of risk
            kinds: [binance-rest]
            above: 1 gwei
            fee: 1 gwei
        """
    ) == (
        "p.yaml:5:13: quorum: character 29: and, or stand side by side: write (... and ...) or ..., or ... and (...)",
        "p.yaml:7:14: verdict: unknown verdict 'escalat': did you mean escalate?",
        "p.yaml:8:13: quorum must be a single value, not a list or a table",
        "p.yaml:9:12: above: 'any' is not an amount: write 1.5 ether, 30 gwei, or a whole number of wei",
        "p.yaml:10:5: quorum: an escalate rule must say who approves: add quorum: 2 of risk [quorum]",
        "p.yaml:15:13: quorum: only an escalate rule asks a quorum: leave it out of deny rules [quorum]",
        f"p.yaml:18:13: quorum: character 1: '0' is not a number of persons: 1 to {MOST}, without leading zeros",
        "p.yaml:19:12: above: 1.5 has no unit: write 1.5 ether, or a whole number of wei",
        (
            "p.yaml:24:12: above: cancel, key-grant, order, reduce, request, setup, withdraw has no amount, so the"
            " rule never escalates it: leave above out [L11-unreachable]"
        ),
        (
            "p.yaml:25:10: fee: an escalate rule with fee would escalate what is small: write fee: any"
            " [restricts-small-only]"
        ),
        (
            "p.yaml:25:10: fee: cancel, key-grant, order, reduce, request, setup, withdraw has no fee, so the rule"
            " never escalates it: leave fee out [L11-unreachable]"
        ),
    )


names = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True).filter(lambda name: name != "any")
leaves = st.builds("{} of {}".format, st.integers(1, 64), names)
quorums = leaves | st.builds("{} and {}".format, leaves, leaves) | st.builds("{} or ({} and {})".format, *[leaves] * 3)
asking = st.builds(
    Rule,
    id=names,
    verdict=st.just(Verdict.ESCALATE),
    quorum=quorums,
    keys=st.none() | st.just(ANY) | st.frozensets(names, min_size=1, max_size=3),
    operations=st.just(frozenset({Operation.TRANSFER})),
    amount_above=st.none() | st.integers(0, AMOUNT_MAX),
    amount_max=st.sampled_from([None, ANY]),
    fee_max=st.sampled_from([None, ANY]),
)
denying = st.builds(Rule, id=names, verdict=st.just(Verdict.DENY), amount_above=st.integers(0, AMOUNT_MAX))


@given(rules=st.lists(asking | denying, max_size=3, unique_by=lambda rule: rule.id))
def test_every_escalating_policy_comes_back_from_its_text(rules: list[Rule]) -> None:
    """What `policy show` prints is read as the same policy."""
    policy = Policy(version=1, rules=tuple(rules), limits=())
    assert lint(policy) == ()
    assert parse_policy(format_policy(policy), name="shown") == policy
