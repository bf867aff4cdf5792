"""Every attack and every legitimate payload of the corpus, against the policy that a careful firm would have.

The cases are data: ``{policy}/{place}.yaml``, in the form of ``keyvault policy test``. The policy is the example of
that name, or ``policy.yaml`` beside the cases. README.md says what stops what.
"""

from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from keyvault.cli.policy_cases import Case, parse_cases
from keyvault.cli.policy_examples import EXAMPLES, example
from keyvault.cli.policy_file import parse_policy
from keyvault.cli.policy_test import run_case
from keyvault.cli.policy_trial import Word
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import PayloadKind
from keyvault.core.policy import CompiledPolicy, compile_policy
from keyvault.core.policy_lint import lint

CORPUS = Path(__file__).parent
OWN_POLICY = "policy.yaml"
SOME_TIME = UnixMillis(1_790_000_000_000)
ATTACKS_MIN = 120
LEGITIMATE_MIN = 80


@lru_cache
def rules_of(policy: str) -> CompiledPolicy:
    own = CORPUS / policy / OWN_POLICY
    text = example(policy) if policy in EXAMPLES else own.read_text(encoding="utf-8")
    return compile_policy(parse_policy(text, name=policy))


def corpus() -> Iterator[tuple[str, str, Case]]:
    """Yield policy, file and case of the whole corpus."""
    for path in sorted(set(CORPUS.glob("*/*.yaml")) - set(CORPUS.glob(f"*/{OWN_POLICY}"))):
        policy = path.parent.name
        for case in parse_cases(path.read_text(encoding="utf-8"), name=str(path), folder=path.parent, at=SOME_TIME):
            yield policy, f"{policy}/{path.name}", case


CASES = tuple(corpus())


@pytest.mark.parametrize(
    ("policy", "case"), [pytest.param(policy, case, id=f"{file}: {case.name}") for policy, file, case in CASES]
)
def test_the_policy_says_what_was_meant(policy: str, case: Case) -> None:
    """The bytes mean exactly what the case states, and the policy says to them what it must."""
    result = run_case(rules_of(policy), case)
    assert result.differences == (), result.outcome.explanation


def test_no_attack_is_allowed() -> None:
    """No attack is expected to pass without people, and each states all that its bytes do if they can be read."""
    attacks = [case for _, _, case in CASES if case.attack]
    assert [case.name for case in attacks if case.expected.word is Word.ALLOW] == []
    unread = (Word.MALFORMED,)
    assert [case.name for case in attacks if case.expected.word not in unread and case.expected.facts is None] == []


def test_the_corpus_is_large_enough() -> None:
    """There are many attacks and many legitimate payloads, of every example and of every kind that can be allowed."""
    attacks = [policy for policy, _, case in CASES if case.attack]
    legitimate = [policy for policy, _, case in CASES if not case.attack]
    assert len(attacks) >= ATTACKS_MIN
    assert len(legitimate) >= LEGITIMATE_MIN
    assert set(attacks) == set(legitimate) == {*EXAMPLES, "desk"}
    for attack in (True, False):
        kinds = {case.request.payload.kind for _, _, case in CASES if bool(case.attack) is attack}
        assert set(PayloadKind) - kinds == (set() if attack else {PayloadKind.RAW_DIGEST})


def test_policies_of_the_corpus_could_be_published() -> None:
    """What a firm could not publish stops nothing."""
    for path in CORPUS.glob(f"*/{OWN_POLICY}"):
        assert lint(parse_policy(path.read_text(encoding="utf-8"), name=str(path))) == ()


def test_the_table_says_what_stops_what() -> None:
    """README.md has one row for each attack: how many cases there are, and all that stops them."""
    table = (CORPUS / "README.md").read_text(encoding="utf-8")
    missing = [row for row in rows() if row not in table]
    assert missing == []


def rows() -> Iterator[str]:
    """Yield the end of each row of the table: number of cases, and what stops them."""
    stopped: dict[str, list[str]] = defaultdict(list)
    for policy, _, case in CASES:
        if case.attack:
            stopped[case.attack].append(stopper(policy, case))
    for attack in sorted(stopped):
        by = ", ".join(sorted(set(stopped[attack])))
        yield f"| {attack} | {len(stopped[attack])} | {by} |"


def stopper(policy: str, case: Case) -> str:
    """Return what stops one case: the decoder, a rule that denies or asks, a limit, or that nothing allows it."""
    if case.expected.word is Word.MALFORMED:
        return "the decoder"
    by = sorted(case.expected.rules or ())
    if not by:
        return "nothing allows it" if case.expected.reason == "NO_RULE_ALLOWS" else "the clock"
    return f"{policy}: {' + '.join(by)}"
