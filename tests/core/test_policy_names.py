"""Lists and tags of a policy: none that is missing, none that nobody uses. And the names of findings."""

import dataclasses
import re

from keyvault.core.errors import Refused
from keyvault.core.ids import KeyId
from keyvault.core.intent import Completeness, Intent, PayloadKind
from keyvault.core.policy import ANY, Limit, Policy, Rule, evaluate
from keyvault.core.policy_findings import Lint
from keyvault.core.policy_rules import Per
from tests.core.test_policy_holes import BOT, DENY, HOME, PAY, TRANSFER, found


def test_a_list_or_tag_that_nobody_made_is_found() -> None:
    """In a rule and in a limit; a limit per tag without tags counts nothing."""
    rule = dataclasses.replace(PAY, destinations=frozenset({"@treasury"}))
    day = Limit(id="day", keys=ANY, window_ms=86_400_000, count_max=5)
    assert found(rule) == [("pay", "destinations", Lint.UNKNOWN_NAME)]
    assert found(limits=(dataclasses.replace(day, destinations=frozenset({"@treasury"})),)) == [
        ("day", "destinations", Lint.UNKNOWN_NAME)
    ]
    assert found(limits=(dataclasses.replace(day, tags=frozenset({"desk"})),)) == [("day", "tags", Lint.UNKNOWN_NAME)]
    assert found(limits=(dataclasses.replace(day, per=Per.TAG),)) == [("day", "per", Lint.WITHOUT_MEASURE)]
    assert found(rule, lists={"treasury": frozenset({HOME})}) == []


def test_a_list_or_tag_that_nobody_uses_is_found() -> None:
    """It is the rest of something, or somebody believes that it does something; a limit per tag uses all."""
    lists, tags = {"treasury": frozenset({HOME})}, {"desk": frozenset({"eth-hot"})}
    per_tag = Limit(id="day", keys=ANY, window_ms=86_400_000, count_max=5, per=Per.TAG)
    assert found(PAY, lists=lists, tags=tags) == [("treasury", "lists", Lint.UNUSED), ("desk", "tags", Lint.UNUSED)]
    assert found(PAY, limits=(per_tag,), tags=tags) == []


def test_lists_are_of_destinations_and_hold_no_lists() -> None:
    """A mark where none is read would be an address that nobody has; a deny rule on it would deny nothing."""
    lists = {"a": frozenset({HOME}), "b": frozenset({"@a"})}
    rule = dataclasses.replace(DENY, contracts=frozenset({"@a"}), destinations=frozenset({"@a", "@b"}))
    assert found(rule, lists=lists) == [("b", "lists", Lint.VALUE), ("deny", "contracts", Lint.VALUE)]


def test_a_list_is_of_accounts_and_not_of_spellings() -> None:
    """As where destinations stand in the rule itself, for what allows and for what denies; a missing list is empty."""
    upper = {"home": frozenset({"0x" + "AB" * 20})}
    asked = Intent(
        kind=PayloadKind.EVM_TRANSACTION,
        algorithms=frozenset(),
        signing_input=b"",
        effects=(TRANSFER,),
        completeness=Completeness.FULL,
    )

    def passes(*rules: Rule, lists: dict[str, frozenset[str]]) -> bool:
        policy = Policy(version=1, rules=rules, limits=(), lists=lists)
        try:
            evaluate(policy, key=KeyId("eth-hot"), principal=BOT, intent=asked)
        except Refused:
            return False
        return True

    by_list = frozenset({"@home"})
    allow, deny = dataclasses.replace(PAY, destinations=by_list), dataclasses.replace(DENY, destinations=by_list)
    assert passes(allow, lists=upper)
    assert not passes(allow, lists={})
    assert not passes(PAY, deny, lists=upper)
    assert passes(PAY, deny, lists={})


def test_every_finding_has_a_name_of_its_own() -> None:
    """Names are words with dashes; those of known holes begin with their number."""
    assert all(re.fullmatch(r"(L(3|4|5|7|8|11|12|13|14)-)?[a-z-]+", name) for name in Lint)
