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
    its own, and asked again when it is signed: a quorum that nobody was asked for by then refuses it for good. An
    escalate rule whose quorum cannot be read asks nobody, so it denies.
11. An asset that a rule does not name is the chain's own coin in an allow rule, and any asset in the others.
12. A price, a market, the end of a signature that is not known satisfies no cap (law 6). Prices come from the table in
    the policy; when it is too old, no price is known.
13. First seen and look-alike only restrict: an allow rule that asks for them never matches. Known are destinations
    that were signed for, those that a rule which permits names, itself or by a list. Hours only permit. ``when`` is
    one more condition (``policy_cel``).
14. Amounts and dollars are those of the whole signature: amounts of the same operation, asset and place; dollars of
    all that it moves or lets somebody move, and of orders by side. A batch of small payments is as large as their sum.
15. A shadow rule decides nothing: that it would have matched, as its verdict is read, is recorded.

It refuses to hold: order of rules, labels that the caller supplies.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Generic, Protocol, TypeVar

from keyvault.core import limits
from keyvault.core.errors import Reason, Refused
from keyvault.core.familiar import Familiar, Listed
from keyvault.core.ids import KeyId, Principal, UnixMillis
from keyvault.core.intent import Intent, PayloadKind
from keyvault.core.policy_cel import named_places
from keyvault.core.policy_facts import Aids, Facts, Moment, Place, Wanted, facts_of
from keyvault.core.policy_listed import listed_destinations
from keyvault.core.policy_match import (
    Matcher,
    allow_matcher,
    can_permit,
    deny_matcher,
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
from keyvault.core.prices import PriceBook, price_book


class _Ready(Protocol):
    """A rule that can be compared with the facts of an effect."""

    @property
    def holds(self) -> Callable[[Facts], bool]: ...

    @property
    def operations(self) -> frozenset[str | int]: ...


M = TypeVar("M", bound=_Ready)


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """What the policy says to an intent that it does not refuse.

    ``rules``: the rule that permits each effect, in order of the effects. ``quorums``: whom to ask first, as
    ``quorum_text``, each once; all must be met. Empty: nobody. ``escalated_by``: the rules that ask, in their order.
    ``shadows``: the shadow rules that matched.
    """

    rules: tuple[str, ...]
    quorums: tuple[str, ...] = ()
    escalated_by: tuple[str, ...] = ()
    shadows: tuple[str, ...] = ()


@lru_cache(maxsize=limits.PERMISSIONS_REMEMBERED)
def _unescalated(rules: tuple[str, ...], shadows: tuple[str, ...]) -> Permission:
    return Permission(rules=rules, shadows=shadows)


UNDATED = Moment(now=UnixMillis(0), familiar=Familiar(), known=0)
"""The first moment of an enclave that has signed nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Escalation:
    """An escalate rule: where it stands, when it restricts, and what it permits, if anything."""

    place: int
    rule: Rule
    restricts: Matcher
    permits: Matcher | None

    @property
    def holds(self) -> Callable[[Facts], bool]:
        """Whether it restricts an effect."""
        return self.restricts.holds

    @property
    def operations(self) -> frozenset[str | int]:
        """The operations of effects that it can restrict."""
        return self.restricts.operations


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group(Generic[M]):
    """Rules about one kind of payloads and one key, or any; and of these, those that each operation can match."""

    rules: tuple[M, ...] = ()
    by_operation: Mapping[str | int, tuple[M, ...]] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidates(Generic[M]):
    """Rules of one verdict by kind, and by key where they name keys: only these can match."""

    named: Mapping[tuple[PayloadKind, str], _Group[M]]
    every_key: Mapping[PayloadKind, _Group[M]]

    def of(self, kind: PayloadKind, key: str) -> tuple[M, ...]:
        """Return the rules that can match: those that name the key, then those for any key, each in order."""
        return self.named.get((kind, key), _NO_RULES).rules + self.every_key.get(kind, _NO_RULES).rules

    def of_operation(self, kind: PayloadKind, key: str, operation: str | int) -> tuple[M, ...]:
        """Return those of them that can match an effect of this operation, in the same order."""
        named = self.named.get((kind, key), _NO_RULES).by_operation.get(operation, ())
        return named + self.every_key.get(kind, _NO_RULES).by_operation.get(operation, ())

    def matching(self, kind: PayloadKind, key: str, every_facts: list[Facts]) -> tuple[M, ...]:
        """Return the rules that hold for any effect, in the order of ``of``; nearly always there are none."""
        ready: tuple[M, ...] = ()
        operation: str | int | None = None
        for facts in every_facts:
            if facts[_OPERATION] is not operation:
                operation = facts[_OPERATION]
                ready = self.of_operation(kind, key, operation)
            for each in ready:
                if each.holds(facts):
                    return tuple(one for one in self.of(kind, key) if any(map(one.holds, every_facts)))
        return ()


_NO_RULES: Final[_Group[Any]] = _Group()
_OPERATION: Final = int(Place.OPERATION)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledPolicy:
    """A policy made ready: the cost of a decision grows with the rules for this key and kind, not with all."""

    policy: Policy
    allow: _Candidates[Matcher]
    deny: _Candidates[Matcher]
    escalate: _Candidates[_Escalation] | None
    """None if no rule escalates: most policies, and every decision asks."""
    shadow: _Candidates[Matcher] | None
    prices: PriceBook
    listed: Listed
    wanted: Mapping[PayloadKind, Wanted]

    def evaluate(
        self,
        *,
        key: KeyId,
        principal: Principal,
        intent: Intent,
        moment: Moment = UNDATED,
    ) -> Permission:
        """Return which rules permit the intent, and which quorums must be met first; or raise Refused.

        ``moment`` is when, and what was signed for before.

        DENIED_BY_RULE names every deny rule that matches any effect. NO_RULE_ALLOWS says which effect no rule
        permits and which rule came nearest. Whatever else goes wrong is a no as well: POLICY_ERROR.
        """
        try:
            return self._evaluate(key, principal, intent, moment)
        except Refused:
            raise
        except Exception as error:  # fail closed: an error while judging is a no (I8)
            raise Refused(
                Reason.POLICY_ERROR, f"policy version {self.policy.version} could not judge: {type(error).__name__}"
            ) from error

    def facts(self, principal: Principal, intent: Intent, moment: Moment) -> list[Facts]:
        """Return what the rules are compared with, for each effect."""
        wanted = self.wanted.get(intent.kind, _NOTHING_WANTED)
        aids = Aids(prices=self.prices.at(moment.now), listed=self.listed, wanted=wanted)
        return facts_of(principal, intent, moment, aids)

    def _evaluate(self, key: KeyId, principal: Principal, intent: Intent, moment: Moment) -> Permission:
        if not intent.effects:
            raise Refused(Reason.NO_RULE_ALLOWS, f"the {intent.kind} has no effect that a rule could allow")
        every_facts = self.facts(principal, intent, moment)
        kind = intent.kind
        denying = self.deny.matching(kind, key, every_facts)
        if denying:
            raise _denied(denying)
        escalating = () if self.escalate is None else self.escalate.matching(kind, key, every_facts)
        if len(escalating) > 1:
            escalating = tuple(sorted(escalating, key=lambda each: each.place))
        rules: list[str] = []
        allowing: tuple[Matcher, ...] = ()
        operation: str | int | None = None
        for facts in every_facts:
            if facts[_OPERATION] is not operation:
                operation = facts[_OPERATION]
                allowing = self.allow.of_operation(kind, key, operation)
            for matcher in allowing:
                if matcher.holds(facts):
                    rules.append(matcher.rule.id)
                    break
            else:
                rules.append(self._escalation_that_permits(escalating, every_facts, len(rules), key, kind))
        shadows = () if self.shadow is None else _ids(self.shadow.matching(kind, key, every_facts))
        if not escalating:
            return _unescalated(tuple(rules), shadows)
        return Permission(
            rules=tuple(rules),
            quorums=tuple(dict.fromkeys(each.rule.quorum for each in escalating)),
            escalated_by=tuple(each.rule.id for each in escalating),
            shadows=shadows,
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


def evaluate(
    policy: Policy,
    *,
    key: KeyId,
    principal: Principal,
    intent: Intent,
    moment: Moment = UNDATED,
) -> Permission:
    """Judge with a policy that is used once; see CompiledPolicy.evaluate."""
    return compile_policy(policy).evaluate(key=key, principal=principal, intent=intent, moment=moment)


def compile_policy(policy: Policy) -> CompiledPolicy:
    """Return the policy made ready for many decisions. It means exactly what the policy means."""
    by_verdict: dict[Verdict, list[tuple[int, Rule]]] = {verdict: [] for verdict in Verdict}
    shadow: list[tuple[Rule, Matcher]] = []
    for place, rule in enumerate(policy.rules):
        if rule.shadow:
            shadow.append((rule, _shadow_matcher(rule, policy)))
        else:
            by_verdict[verdict_of(rule)].append((place, rule))
    escalate = [(rule, _escalation(place, rule, policy)) for place, rule in by_verdict[Verdict.ESCALATE]]
    return CompiledPolicy(
        policy=policy,
        allow=_candidates((rule, allow_matcher(rule, policy.lists)) for _, rule in by_verdict[Verdict.ALLOW]),
        deny=_candidates((rule, deny_matcher(rule, policy.lists)) for _, rule in by_verdict[Verdict.DENY]),
        escalate=_candidates(escalate) if escalate else None,
        shadow=_candidates(shadow) if shadow else None,
        prices=price_book(policy.prices),
        listed=Listed.of(listed_destinations(policy)),
        wanted=_wanted(policy),
    )


def _wanted(policy: Policy) -> Mapping[PayloadKind, Wanted]:
    """Return which costly facts the rules about each kind ask for."""
    by_kind: dict[PayloadKind, list[Rule]] = {}
    for rule in policy.rules:
        for kind in scope(rule)[1]:
            by_kind.setdefault(kind, []).append(rule)
    return {kind: _wanted_by(rules) for kind, rules in by_kind.items()}


def _wanted_by(rules: list[Rule]) -> Wanted:
    named = frozenset(place for rule in rules if rule.when for place in named_places(rule.when))
    return Wanted(
        usd=Place.USD in named or any(rule.usd_max is not None or rule.usd_above is not None for rule in rules),
        deviation=Place.DEVIATION in named or any(rule.price_band_bps is not None for rule in rules),
        history=any(rule.first_seen_ms is not None or rule.look_alike for rule in rules),
        slots=Place.REPLACES in named,
    )


_NOTHING_WANTED: Final = Wanted(usd=False, deviation=False, history=False, slots=False)


def _shadow_matcher(rule: Rule, policy: Policy) -> Matcher:
    read = allow_matcher if rule.verdict is Verdict.ALLOW else deny_matcher
    return read(rule, policy.lists)


def _escalation(place: int, rule: Rule, policy: Policy) -> _Escalation:
    return _Escalation(
        place=place,
        rule=rule,
        restricts=deny_matcher(rule, policy.lists),
        permits=allow_matcher(rule, policy.lists) if can_permit(rule) else None,
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
        named={about: _group(some) for about, some in named.items()},
        every_key={kind: _group(some) for kind, some in every_key.items()},
    )


def _group(rules: list[M]) -> _Group[M]:
    by_operation: dict[str | int, list[M]] = {}
    for ready in rules:
        for operation in ready.operations:
            by_operation.setdefault(operation, []).append(ready)
    return _Group(rules=tuple(rules), by_operation={name: tuple(some) for name, some in by_operation.items()})


def _ids(matching: tuple[Matcher, ...]) -> tuple[str, ...]:
    return tuple(matcher.rule.id for matcher in matching)


def _denied(denying: tuple[Matcher, ...]) -> Refused:
    rules = _ids(denying)
    return Refused(Reason.DENIED_BY_RULE, _bounded(f"denied by rule {', '.join(rules)}"), rules)


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
