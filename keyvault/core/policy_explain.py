"""Why a policy says what it says to an intent: the outcome of every rule, not only of those that decide.

Pure, and in steps: ``outcomes`` gives one outcome after the other, at most EFFECTS_MAX x POLICY_RULES_MAX, so that a
server can look at something else in between. What decides is ``CompiledPolicy.evaluate``; the law here is that the
verdict that follows from the outcomes is always the same.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from keyvault.core.ids import KeyId, Principal
from keyvault.core.intent import Intent
from keyvault.core.policy import UNDATED, CompiledPolicy
from keyvault.core.policy_facts import Facts, Moment
from keyvault.core.policy_match import Matcher, can_permit, scope
from keyvault.core.policy_rules import ANY, Policy, Rule, Verdict, verdict_of


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleOutcome:
    """What one rule says to one effect.

    ``effect`` counts from 0; None: the rule is not about this key and kind, so about no effect. ``matches``: its
    conditions hold, as its verdict is read (an escalate rule as it restricts). ``permits``: this effect needs no other
    rule. ``why_not``: what keeps it from matching; of an escalate rule that matches, what keeps it from permitting.
    """

    rule: str
    verdict: Verdict
    effect: int | None
    matches: bool
    permits: bool = False
    why_not: str = ""
    shadow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The verdict, and the outcome of every rule for every effect, effect by effect, in the order of the policy.

    ``denied_by`` and ``escalated_by``: the rules that match. ``unpermitted``: the effects that no rule permits.
    """

    verdict: Verdict
    denied_by: tuple[str, ...]
    escalated_by: tuple[str, ...]
    shadows: tuple[str, ...]
    unpermitted: tuple[int, ...]
    outcomes: tuple[RuleOutcome, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """A rule that is about this key and kind, made ready."""

    matches: Matcher
    permits: Matcher | None


def explain(
    compiled: CompiledPolicy, key: KeyId, principal: Principal, intent: Intent, moment: Moment = UNDATED
) -> Explanation:
    """Return the outcome of every rule for every effect, and what follows."""
    return concluded(intent, outcomes(compiled, key, principal, intent, moment))


def outcomes(
    compiled: CompiledPolicy, key: KeyId, principal: Principal, intent: Intent, moment: Moment
) -> Iterator[RuleOutcome]:
    """Give the outcomes one by one: first the rules that are not about this key and kind, then effect by effect.

    The facts are read when the first one is asked for; after that nothing is read that can change.
    """
    readings = _readings(compiled, key, intent)
    every_facts = compiled.facts(principal, intent, moment)
    for rule in compiled.policy.rules:
        if id(rule) not in readings:
            yield _apart(rule, key, intent)
    for number, facts in enumerate(every_facts):
        for rule in compiled.policy.rules:
            reading = readings.get(id(rule))
            if reading is not None:
                yield _outcome(rule, reading, number, facts)


def concluded(intent: Intent, given: Iterable[RuleOutcome]) -> Explanation:
    """Return what follows from the outcomes of all rules: DENY > ESCALATE > ALLOW > nothing, which is DENY."""
    every = tuple(given)
    live = [each for each in every if each.effect is not None and not each.shadow]
    denied = _named(each for each in live if each.matches and each.verdict is Verdict.DENY)
    escalated = _named(each for each in live if each.matches and each.verdict is Verdict.ESCALATE)
    permitted = {each.effect for each in live if each.permits}
    unpermitted = tuple(number for number in range(len(intent.effects)) if number not in permitted)
    verdict = Verdict.ESCALATE if escalated else Verdict.ALLOW
    if denied or unpermitted or not intent.effects:
        verdict = Verdict.DENY
    return Explanation(
        verdict=verdict,
        denied_by=denied,
        escalated_by=escalated,
        shadows=_named(each for each in every if each.shadow and each.matches),
        unpermitted=unpermitted,
        outcomes=every,
    )


def may_use(policy: Policy, key: KeyId, principal: Principal) -> bool:
    """Return whether any rule could permit this principal anything with this key."""
    return any(
        not rule.shadow
        and can_permit(rule)
        and (rule.keys is ANY or (isinstance(rule.keys, frozenset) and key in rule.keys))
        and (rule.principals is ANY or (isinstance(rule.principals, frozenset) and principal in rule.principals))
        for rule in policy.rules
    )


def _readings(compiled: CompiledPolicy, key: KeyId, intent: Intent) -> Mapping[int, _Reading]:
    """Return the rules that can match, by their identity: two rules of a policy may be equal."""
    kind = intent.kind
    found = {id(each.rule): _Reading(matches=each, permits=each) for each in compiled.allow.of(kind, key)}
    found |= {id(each.rule): _Reading(matches=each, permits=None) for each in compiled.deny.of(kind, key)}
    if compiled.escalate is not None:
        found |= {
            id(each.rule): _Reading(matches=each.restricts, permits=each.permits)
            for each in compiled.escalate.of(kind, key)
        }
    if compiled.shadow is not None:
        found |= {id(each.rule): _Reading(matches=each, permits=None) for each in compiled.shadow.of(kind, key)}
    return found


def _outcome(rule: Rule, reading: _Reading, number: int, facts: Facts) -> RuleOutcome:
    matches = reading.matches.holds(facts)
    permits = matches and reading.permits is not None and reading.permits.holds(facts)
    why_not = ""
    if not matches:
        why_not = reading.matches.complaint(facts)
    elif not permits and verdict_of(rule) is Verdict.ESCALATE and not rule.shadow:
        why = _why_never(rule) if reading.permits is None else reading.permits.complaint(facts)
        why_not = f"asks, and permits nothing: {why}"
    return RuleOutcome(
        rule=rule.id,
        verdict=verdict_of(rule),
        effect=number,
        matches=matches,
        permits=permits,
        why_not=why_not,
        shadow=rule.shadow,
    )


def _why_never(rule: Rule) -> str:
    """Return why an escalate rule permits nothing of anything."""
    if rule.first_seen_ms is not None or rule.look_alike:
        return "a rule about a destination's history only restricts"
    missing = [word for word, absent in (("keys", rule.keys is None), ("kinds", not rule.kinds)) if absent]
    return f"it names no {' and no '.join(missing)}" if missing else "it only restricts"


def _apart(rule: Rule, key: KeyId, intent: Intent) -> RuleOutcome:
    """Return the outcome of a rule that is not about this key and kind."""
    keys, kinds = scope(rule)
    if keys is not ANY and key not in keys:
        why_not = f"is not for key {key}" if keys else "names no key"
    else:
        why_not = f"is not for {intent.kind}" if kinds else "names no kind"
    return RuleOutcome(
        rule=rule.id, verdict=verdict_of(rule), effect=None, matches=False, why_not=why_not, shadow=rule.shadow
    )


def _named(given: Iterable[RuleOutcome]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each.rule for each in given))
