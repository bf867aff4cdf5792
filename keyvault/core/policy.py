"""Policy v1: rules and limits as values, and the judgement over an intent. See keyvault.v1.Policy for the document.

The laws, in full:

1. Rules have no order, and all are asked. A deny rule that matches any effect refuses the intent; else every effect
   needs one rule that permits it; else the intent is refused. No effects, no rules, any error: refused (I8).
2. A rule matches an effect when all its conditions hold. Conditions on key, principal and kind ask about the request;
   the others about the effect.
3. A condition that is present holds for the values it lists, up to the cap it states, or strictly above the amount it
   states. ``ANY`` always holds.
4. An absent condition holds in a deny rule; in an allow rule it holds only for an effect to which it does not apply.
   ``amount_above`` is a condition on the amount: with it, the amount is not absent.
5. A condition that is present but does not apply to the effect (a chain, and the effect is an order) does not hold.
6. What applies but is not stated by the payload is unknown: only ``ANY`` allows it, and a deny condition on it holds.
7. An opaque effect (raw digests) states nothing: every condition of a deny rule on its operation and fields holds. An
   allow rule matches it only if it lists the kind, the operation ``opaque`` and the key by name (``keys: any`` is not
   enough), and asks nothing of the effect.
8. In an allow rule, kinds must be listed; operations may be left out, which means PLAIN_OPERATIONS.
9. An escalate rule is read twice. As a deny rule is read, it restricts: if it matches any effect, the intent needs its
   quorum. As an allow rule is read, it permits: with all its conditions given it needs no allow rule beside it; with
   one left out that applies, it only restricts. Whatever it permits it restricts, so never without its quorum.
10. DENY > ESCALATE > ALLOW > nothing, which is DENY. All quorums of all escalate rules that match must be met, each on
    its own. An escalate rule whose quorum cannot be read asks nobody, so it denies.

It refuses to hold: order of rules, expressions, time of day, labels that the caller supplies.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

from keyvault.core import limits
from keyvault.core.errors import Reason, Refused
from keyvault.core.ids import KeyId, Principal
from keyvault.core.intent import Intent, PayloadKind
from keyvault.core.policy_match import (
    Facts,
    Matcher,
    allow_matcher,
    can_permit,
    deny_matcher,
    facts_of,
    operation_text,
    scope,
)
from keyvault.core.policy_rules import ANY as ANY
from keyvault.core.policy_rules import ASKED_FIELDS as ASKED_FIELDS
from keyvault.core.policy_rules import PLAIN_OPERATIONS as PLAIN_OPERATIONS
from keyvault.core.policy_rules import Anything as Anything
from keyvault.core.policy_rules import Limit as Limit
from keyvault.core.policy_rules import Policy as Policy
from keyvault.core.policy_rules import Rule as Rule
from keyvault.core.policy_rules import Verdict as Verdict
from keyvault.core.policy_rules import normal_destination as normal_destination
from keyvault.core.policy_rules import verdict_of

M = TypeVar("M")


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """What the policy says to an intent that it does not refuse.

    ``rules``: the rule that permits each effect, in order of the effects. ``quorums``: whom to ask first, as
    ``quorum_text``, each once; all must be met. Empty: nobody. ``escalated_by``: the rules that ask, in their order.
    """

    rules: tuple[str, ...]
    quorums: tuple[str, ...] = ()
    escalated_by: tuple[str, ...] = ()


@lru_cache(maxsize=limits.PERMISSIONS_REMEMBERED)
def _unescalated(rules: tuple[str, ...]) -> Permission:
    return Permission(rules=rules)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Escalation:
    """An escalate rule: where it stands, when it restricts, and what it permits, if anything."""

    place: int
    rule: Rule
    restricts: Matcher
    permits: Matcher | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidates(Generic[M]):
    """Rules of one verdict by kind, and by key where they name keys: only these can match."""

    named: Mapping[tuple[PayloadKind, str], tuple[M, ...]]
    every_key: Mapping[PayloadKind, tuple[M, ...]]

    def of(self, kind: PayloadKind, key: str) -> tuple[M, ...]:
        """Return the rules that can match: those that name the key, then those for any key, each in order."""
        return self.named.get((kind, key), ()) + self.every_key.get(kind, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledPolicy:
    """A policy made ready: the cost of a decision grows with the rules for this key and kind, not with all."""

    policy: Policy
    allow: _Candidates[Matcher]
    deny: _Candidates[Matcher]
    escalate: _Candidates[_Escalation] | None
    """None if no rule escalates: most policies, and every decision asks."""

    def evaluate(self, *, key: KeyId, principal: Principal, intent: Intent) -> Permission:
        """Return which rules permit the intent, and which quorums must be met first; or raise Refused.

        DENIED_BY_RULE names every deny rule that matches any effect. NO_RULE_ALLOWS says which effect no rule
        permits and which rule came nearest. Whatever else goes wrong is a no as well: POLICY_ERROR.
        """
        try:
            return self._evaluate(key, principal, intent)
        except Refused:
            raise
        except Exception as error:  # fail closed: an error while judging is a no (I8)
            raise Refused(
                Reason.POLICY_ERROR, f"policy version {self.policy.version} could not judge: {type(error).__name__}"
            ) from error

    def _evaluate(self, key: KeyId, principal: Principal, intent: Intent) -> Permission:
        if not intent.effects:
            raise Refused(Reason.NO_RULE_ALLOWS, f"the {intent.kind} has no effect that a rule could allow")
        every_facts = [facts_of(principal, intent, effect) for effect in intent.effects]
        denying = self.deny.of(intent.kind, key)
        if denying:
            _refuse_denied(denying, every_facts)
        escalating = () if self.escalate is None else _matching(self.escalate.of(intent.kind, key), every_facts)
        allowing = self.allow.of(intent.kind, key)
        rules: list[str] = []
        for facts in every_facts:
            for matcher in allowing:
                if matcher.holds(facts):
                    rules.append(matcher.rule.id)
                    break
            else:
                rules.append(self._escalation_that_permits(escalating, every_facts, len(rules), key, intent.kind))
        if not escalating:
            return _unescalated(tuple(rules))
        return Permission(
            rules=tuple(rules),
            quorums=tuple(dict.fromkeys(each.rule.quorum for each in escalating)),
            escalated_by=tuple(each.rule.id for each in escalating),
        )

    def _escalation_that_permits(
        self,
        escalating: tuple[_Escalation, ...],
        every_facts: list[Facts],
        number: int,
        key: KeyId,
        kind: PayloadKind,
    ) -> str:
        """Return the first escalate rule that permits effect ``number`` (from 0), or raise Refused.

        What permits restricts too (law 9), so only those that match can.
        """
        for each in escalating:
            if each.permits is not None and each.permits.holds(every_facts[number]):
                return each.rule.id
        permitting = self.allow.of(kind, key)
        if self.escalate is not None:
            permitting += tuple(each.permits for each in self.escalate.of(kind, key) if each.permits is not None)
        raise _not_allowed(permitting, every_facts, number, key, kind)


def evaluate(policy: Policy, *, key: KeyId, principal: Principal, intent: Intent) -> Permission:
    """Judge with a policy that is used once; see CompiledPolicy.evaluate."""
    return compile_policy(policy).evaluate(key=key, principal=principal, intent=intent)


def compile_policy(policy: Policy) -> CompiledPolicy:
    """Return the policy made ready for many decisions. It means exactly what the policy means."""
    by_verdict: dict[Verdict, list[tuple[int, Rule]]] = {verdict: [] for verdict in Verdict}
    for place, rule in enumerate(policy.rules):
        by_verdict[verdict_of(rule)].append((place, rule))
    escalate = [(rule, _escalation(place, rule)) for place, rule in by_verdict[Verdict.ESCALATE]]
    return CompiledPolicy(
        policy=policy,
        allow=_candidates((rule, allow_matcher(rule)) for _, rule in by_verdict[Verdict.ALLOW]),
        deny=_candidates((rule, deny_matcher(rule)) for _, rule in by_verdict[Verdict.DENY]),
        escalate=_candidates(escalate) if escalate else None,
    )


def _escalation(place: int, rule: Rule) -> _Escalation:
    return _Escalation(
        place=place,
        rule=rule,
        restricts=deny_matcher(rule),
        permits=allow_matcher(rule) if can_permit(rule) else None,
    )


def _candidates(rules: Iterable[tuple[Rule, M]]) -> _Candidates[M]:
    named: dict[tuple[PayloadKind, str], list[M]] = {}
    every_key: dict[PayloadKind, list[M]] = {}
    for rule, ready in rules:
        keys, kinds = scope(rule)
        for kind in kinds:
            if keys is ANY:
                every_key.setdefault(kind, []).append(ready)
                continue
            for key in keys:
                named.setdefault((kind, key), []).append(ready)
    return _Candidates(
        named={about: tuple(some) for about, some in named.items()},
        every_key={kind: tuple(some) for kind, some in every_key.items()},
    )


def _refuse_denied(denying: tuple[Matcher, ...], every_facts: list[Facts]) -> None:
    rules = tuple(matcher.rule.id for matcher in denying if any(map(matcher.holds, every_facts)))
    if rules:
        raise Refused(Reason.DENIED_BY_RULE, _bounded(f"denied by rule {', '.join(rules)}"), rules)


def _matching(candidates: tuple[_Escalation, ...], every_facts: list[Facts]) -> tuple[_Escalation, ...]:
    """Return the escalations that restrict any effect, in the order of the policy."""
    matching = [each for each in candidates if any(map(each.restricts.holds, every_facts))]
    return tuple(sorted(matching, key=lambda each: each.place))


def _not_allowed(
    permitting: tuple[Matcher, ...], every_facts: list[Facts], number: int, key: KeyId, kind: PayloadKind
) -> Refused:
    """Return the refusal of effect ``number`` (from 0), with the permitting rule that came nearest."""
    facts = every_facts[number]
    text = f"no rule allows effect {number + 1} of {len(every_facts)} ({operation_text(facts)})"
    if not permitting:
        return Refused(Reason.NO_RULE_ALLOWS, _bounded(f"{text}: no allow rule is for key {key} and {kind}"))
    nearest = min(permitting, key=lambda matcher: matcher.distance(facts))
    text += f"; rule {nearest.rule.id} would {nearest.rule.verdict} it but for: {nearest.complaint(facts)}"
    return Refused(Reason.NO_RULE_ALLOWS, _bounded(text))


def _bounded(text: str) -> str:
    longest = limits.EXPLANATION_CHARS_MAX
    return text if len(text) <= longest else text[: longest - 3] + "..."
