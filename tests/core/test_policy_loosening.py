"""Which rule or limit is why a policy is no tightening."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from keyvault.core.policy import ANY, Limit, Rule, Verdict
from keyvault.core.policy_change import is_tightening
from keyvault.core.policy_loosening import Loosening, loosenings
from keyvault.core.policy_rules import Prices
from tests.core.rule_strategies import EVERYTHING, LIMITS, PRICES, RULES, policy_of

NARROW = replace(EVERYTHING, id="narrow", chains=frozenset({1}), amount_max=5)
DENY = Rule(id="deny", verdict=Verdict.DENY, keys=frozenset({"eth-hot"}))
ASK = Rule(id="ask", verdict=Verdict.ESCALATE, quorum="1 of risk", keys=frozenset({"eth-hot"}))
FEW = Limit(id="few", keys=ANY, window_ms=60_000, count_max=3)


def named(found: tuple[Loosening, ...]) -> list[tuple[str, str]]:
    return [(each.part, each.name) for each in found]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(RULES, max_size=4), st.lists(RULES, max_size=4), st.lists(LIMITS, max_size=2), st.lists(LIMITS, max_size=2)
)
def test_something_is_named_exactly_if_it_is_no_tightening(
    before: list[Rule], after: list[Rule], old_limits: list[Limit], new_limits: list[Limit]
) -> None:
    """Law: what loosens is named whenever the proof says no, and nothing is when it says yes."""
    old, new = policy_of(before, old_limits), policy_of([*before[:2], *after], new_limits)
    assert bool(loosenings(old, new)) is not is_tightening(old, new)


def test_the_part_that_gives_more_is_named_and_no_other() -> None:
    """Of several changes only those are named that may give more."""
    old = policy_of([NARROW, DENY, ASK], [FEW])
    assert named(loosenings(old, policy_of([replace(NARROW, amount_max=4), DENY, ASK], [FEW]))) == []
    wider = replace(NARROW, id="wider", amount_max=6)
    assert named(loosenings(old, policy_of([NARROW, wider, DENY, ASK], [FEW]))) == [("rule", "wider")]
    assert named(loosenings(old, policy_of([NARROW, ASK], [FEW]))) == [("rule", "deny")]
    other = replace(ASK, quorum="1 of others")
    assert named(loosenings(policy_of([NARROW, ASK]), policy_of([NARROW, other]))) == [("rule", "ask")]
    assert named(loosenings(old, policy_of([NARROW, DENY, ASK], [replace(FEW, count_max=4)]))) == [("limit", "few")]


def test_other_prices_are_named() -> None:
    """Another table of prices cannot be shown to give no more."""
    old = replace(policy_of([NARROW]), prices=PRICES)
    assert named(loosenings(old, replace(old, prices=Prices()))) == [("prices", "")]


def test_a_list_that_grew_is_found_by_the_rule_that_uses_it() -> None:
    """A rule that names a list permits more when the list does."""
    rule = replace(NARROW, destinations=frozenset({"@desks"}))
    old = replace(policy_of([rule]), lists={"desks": frozenset({"0x" + "ab" * 20})})
    new = replace(old, lists={"desks": frozenset({"0x" + "ab" * 20, "0x" + "cd" * 20})})
    assert named(loosenings(old, new)) == [("rule", "narrow")]
    assert named(loosenings(new, old)) == []


def test_why_a_rule_is_missed_is_told_by_what_it_did() -> None:
    """A deny rule denied, an escalate rule asked members; an escalate rule that cannot ask denied."""
    old = policy_of([NARROW, DENY, replace(ASK, id="lost", quorum="of nobody"), ASK])
    assert [(each.name, each.why.split()[0]) for each in loosenings(old, policy_of([NARROW]))] == [
        ("deny", "denied"),
        ("lost", "denied"),
        ("ask", "asked"),
    ]


def test_a_list_that_shrank_is_named_for_the_look_alikes_and_nothing_else() -> None:
    """What resembled the one that is gone may not any more; a deny rule shuts one out and only takes away."""
    home, gone = "0x" + "ab" * 20, "0x" + "cd" * 20
    rule = replace(NARROW, destinations=frozenset({"@desks"}))
    alike = Rule(id="alike", verdict=Verdict.DENY, look_alike=True)
    old = replace(policy_of([rule, alike], [FEW]), lists={"desks": frozenset({home, gone})})
    new = replace(old, lists={"desks": frozenset({home})})
    (found,) = loosenings(old, new)
    assert (found.part, "look-alikes" in found.why) == ("policy", True)
    shut_out = replace(old, rules=(*old.rules, replace(DENY, id="gone", destinations=frozenset({gone}))))
    assert loosenings(old, shut_out) == ()
