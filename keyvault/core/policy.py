"""Policy v0: rules and limits as values, and the judgement over an intent. See keyvault.v1.Policy for the document.

The laws, in full:

1. Rules have no order. A deny rule that matches any effect refuses the intent; else every effect needs one allow rule
   that matches it; else the intent is refused. No effects, no rules, any error: refused (I8).
2. A rule matches an effect when all its conditions hold. Conditions on key, principal and kind ask about the request;
   the others about the effect.
3. A condition that is present holds for the values it lists, or up to the cap it states. ``ANY`` always holds.
4. An absent condition holds in a deny rule; in an allow rule it holds only for an effect to which it does not apply.
5. A condition that is present but does not apply to the effect (a chain, and the effect is an order) does not hold.
6. What applies but is not stated by the payload is unknown: only ``ANY`` allows it, and a deny condition on it holds.
7. An opaque effect (raw digests) states nothing: every condition of a deny rule on its operation and fields holds. An
   allow rule matches it only if it lists the kind, the operation ``opaque`` and the key by name (``keys: any`` is not
   enough), and asks nothing of the effect.
8. In an allow rule, kinds must be listed; operations may be left out, which means PLAIN_OPERATIONS.

It refuses to hold: order of rules, expressions, time of day, labels that the caller supplies.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum
from types import MappingProxyType
from typing import Literal

from keyvault.core import limits
from keyvault.core.errors import Reason, Refused
from keyvault.core.ids import KeyId, Principal
from keyvault.core.intent import Completeness, Effect, Intent, Operation, PayloadKind


class Verdict(StrEnum):
    """What a matching rule says."""

    ALLOW = "allow"
    DENY = "deny"


class Anything(Enum):
    """The condition that every value meets, said on purpose."""

    ANY = "any"


ANY: Literal[Anything.ANY] = Anything.ANY


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """All conditions that are present must hold.

    ``None`` is an absent condition. In an allow rule it never holds for an effect that has the field ("no is the
    zero value"); in a deny rule it always holds. ``ANY`` is met by every value.
    """

    id: str
    verdict: Verdict
    keys: frozenset[str] | Anything | None = None
    principals: frozenset[str] | Anything | None = None
    kinds: frozenset[PayloadKind] = frozenset()
    operations: frozenset[Operation] = frozenset()
    chains: frozenset[int] | Anything | None = None
    venues: frozenset[str] | Anything | None = None
    destinations: frozenset[str] | Anything | None = None
    selectors: frozenset[str] | Anything | None = None
    primary_types: frozenset[str] | Anything | None = None
    amount_max: int | Anything | None = None
    fee_max: int | Anything | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """At most ``count_max`` signatures, or ``amount_max`` of native value and fees, per key in any ``window_ms``."""

    id: str
    keys: frozenset[str] | Anything
    window_ms: int
    count_max: int | None = None
    amount_max: int | None = None
    chain_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One version of the rules. An empty policy refuses everything."""

    version: int
    rules: tuple[Rule, ...]
    limits: tuple[Limit, ...]


ASKED_FIELDS: Mapping[Operation, frozenset[str]] = MappingProxyType(
    {
        Operation.TRANSFER: frozenset({"chains", "destinations", "amount_max", "fee_max"}),
        Operation.CALL: frozenset({"chains", "destinations", "selectors", "amount_max", "fee_max"}),
        Operation.CREATE: frozenset({"chains", "amount_max", "fee_max"}),
        Operation.TYPED_DATA: frozenset({"chains", "destinations", "primary_types"}),
        Operation.ORDER: frozenset({"venues"}),
        Operation.CANCEL: frozenset({"venues"}),
        Operation.WITHDRAW: frozenset({"venues", "destinations"}),
        Operation.REQUEST: frozenset({"venues"}),
        Operation.OPAQUE: frozenset(),
    }
)
"""The conditions that ask something of an operation; the others do not apply to it. A field
that applies but was left out of the payload (typed data without a chain: good on every chain) is unknown (law 6).
"""

PLAIN_OPERATIONS: frozenset[Operation] = frozenset(
    {Operation.TRANSFER, Operation.CALL, Operation.TYPED_DATA, Operation.ORDER, Operation.CANCEL}
)
"""What an allow rule without ``operations`` is about.

CREATE, WITHDRAW, REQUEST (which holds every set of parameters that is not known) and OPAQUE must be named.
"""


class _Missing(IntEnum):
    """Why an effect has no value. Negative, so that no chain or amount is equal; ordered for ``_bounds``."""

    NOT_APPLICABLE = -3
    OPAQUE = -2
    UNKNOWN = -1


_ABSENT_ALLOWS = frozenset({_Missing.NOT_APPLICABLE, _Missing.OPAQUE})
_UNKNOWN_DENIES = frozenset({_Missing.UNKNOWN, _Missing.OPAQUE})

# What a rule is compared with, one place each: the caller, the operation, and the fields of the effect.
_PRINCIPAL, _OPERATION, _CHAIN, _VENUE, _DESTINATION, _SELECTOR, _PRIMARY_TYPE, _AMOUNT, _FEE = range(9)
_WORDS = ("principal", "operation", "chain", "venue", "destination", "selector", "primary type", "amount", "fee")
_FIELDS = ("chains", "venues", "destinations", "selectors", "primary_types", "amount_max", "fee_max")

_Facts = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Matcher:
    """One rule, ready to be compared: only the conditions that can fail are left.

    ``sets``: the fact at this place must be in this set. ``bounds``: it must be between these two, inclusive.
    """

    rule: Rule
    sets: tuple[tuple[int, frozenset[str | int]], ...]
    bounds: tuple[tuple[int, int, int], ...]

    def holds(self, facts: _Facts) -> bool:
        """Return whether every condition holds."""
        for place, values in self.sets:
            if facts[place] not in values:
                return False
        for place, low, high in self.bounds:  # noqa: SIM110  # all() with a generator takes twice the time
            if not low <= facts[place] <= high:  # type: ignore[operator]  # these places hold integers only
                return False
        return True

    def distance(self, facts: _Facts) -> int:
        """Return how many conditions do not hold."""
        count = 0
        for place, values in self.sets:
            if facts[place] not in values:
                count += 1
        for place, low, high in self.bounds:
            if not low <= facts[place] <= high:  # type: ignore[operator]  # as above
                count += 1
        return count

    def misses(self, facts: _Facts) -> list[int]:
        """Return the places whose condition does not hold, in order."""
        places = [place for place, values in self.sets if facts[place] not in values]
        for each, low, high in self.bounds:
            places += [each] * (not low <= facts[each] <= high)  # type: ignore[operator]  # as above
        return sorted(places)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidates:
    """Rules of one verdict by kind, and by key where they name keys: only these can match."""

    named: Mapping[tuple[PayloadKind, str], tuple[_Matcher, ...]]
    every_key: Mapping[PayloadKind, tuple[_Matcher, ...]]

    def of(self, kind: PayloadKind, key: str) -> tuple[_Matcher, ...]:
        """Return the rules that can match: those that name the key, then those for any key, each in order."""
        return self.named.get((kind, key), ()) + self.every_key.get(kind, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledPolicy:
    """A policy made ready: the cost of a decision grows with the rules for this key and kind, not with all."""

    policy: Policy
    allow: _Candidates
    deny: _Candidates

    def evaluate(self, *, key: KeyId, principal: Principal, intent: Intent) -> tuple[str, ...]:
        """Return the ids of the rules that allow the intent, one for each effect, in order; or raise Refused.

        DENIED_BY_RULE names every deny rule that matches any effect. NO_RULE_ALLOWS says which effect lacks an allow
        rule and which rule came nearest. Whatever else goes wrong is a no as well: POLICY_ERROR.
        """
        try:
            return self._evaluate(key, principal, intent)
        except Refused:
            raise
        except Exception as error:  # fail closed: an error while judging is a no (I8)
            raise Refused(
                Reason.POLICY_ERROR, f"policy version {self.policy.version} could not judge: {type(error).__name__}"
            ) from error

    def _evaluate(self, key: KeyId, principal: Principal, intent: Intent) -> tuple[str, ...]:
        if not intent.effects:
            raise Refused(Reason.NO_RULE_ALLOWS, f"the {intent.kind} has no effect that a rule could allow")
        every_facts = [_facts(principal, intent, effect) for effect in intent.effects]
        denying = self.deny.of(intent.kind, key)
        if denying:
            _refuse_denied(denying, every_facts)
        allowing = self.allow.of(intent.kind, key)
        allowed: list[str] = []
        for facts in every_facts:
            for matcher in allowing:
                if matcher.holds(facts):
                    allowed.append(matcher.rule.id)
                    break
            else:
                raise _not_allowed(allowing, every_facts, len(allowed), key, intent.kind)
        return tuple(allowed)


def evaluate(policy: Policy, *, key: KeyId, principal: Principal, intent: Intent) -> tuple[str, ...]:
    """Judge with a policy that is used once; see CompiledPolicy.evaluate."""
    return compile_policy(policy).evaluate(key=key, principal=principal, intent=intent)


def compile_policy(policy: Policy) -> CompiledPolicy:
    """Return the policy made ready for many decisions. It means exactly what the policy means."""
    return CompiledPolicy(
        policy=policy,
        allow=_candidates(tuple(rule for rule in policy.rules if rule.verdict is Verdict.ALLOW)),
        deny=_candidates(tuple(rule for rule in policy.rules if rule.verdict is not Verdict.ALLOW)),
    )


def normal_destination(text: str) -> str:
    """Return EVM addresses in lower case, so that one account has one spelling; a tag after ``?`` and others stay."""
    return text[:42].lower() + text[42:] if text[:2] in ("0x", "0X") and text[42:43] in ("", "?") else text


def _candidates(rules: tuple[Rule, ...]) -> _Candidates:
    named: dict[tuple[PayloadKind, str], list[_Matcher]] = {}
    every_key: dict[PayloadKind, list[_Matcher]] = {}
    for rule in rules:
        matcher = _allow_matcher(rule) if rule.verdict is Verdict.ALLOW else _deny_matcher(rule)
        keys, kinds = _scope(rule)
        for kind in kinds:
            if keys is ANY:
                every_key.setdefault(kind, []).append(matcher)
                continue
            for key in keys:
                named.setdefault((kind, key), []).append(matcher)
    return _Candidates(
        named={scope: tuple(matchers) for scope, matchers in named.items()},
        every_key={kind: tuple(matchers) for kind, matchers in every_key.items()},
    )


def _scope(rule: Rule) -> tuple[frozenset[str] | Literal[Anything.ANY], frozenset[PayloadKind]]:
    """Return the keys and kinds that the rule is about: absent means none in an allow rule, all in a deny rule."""
    if rule.verdict is Verdict.ALLOW:
        return (frozenset() if rule.keys is None else rule.keys), rule.kinds
    return (ANY if rule.keys is None else rule.keys), (rule.kinds or frozenset(PayloadKind))


def _allow_matcher(rule: Rule) -> _Matcher:
    operations = rule.operations or PLAIN_OPERATIONS
    if rule.keys is ANY:
        operations -= {Operation.OPAQUE}  # law 7
    sets: list[tuple[int, frozenset[str | int]]] = []
    if rule.principals is not ANY:
        sets.append((_PRINCIPAL, rule.principals or frozenset()))
    for place, values in _set_conditions(rule):
        if values is not ANY:
            sets.append((place, _ABSENT_ALLOWS if values is None else values))
    sets.append((_OPERATION, operations))
    bounds: list[tuple[int, int, int]] = []
    for place, cap in _cap_conditions(rule):
        if cap is None:
            bounds.append((place, _Missing.NOT_APPLICABLE, _Missing.OPAQUE))
        elif cap is not ANY:
            bounds.append((place, 0, cap))
    return _Matcher(rule=rule, sets=tuple(sets), bounds=tuple(bounds))


def _deny_matcher(rule: Rule) -> _Matcher:
    sets: list[tuple[int, frozenset[str | int]]] = []
    if rule.principals is not None and rule.principals is not ANY:
        sets.append((_PRINCIPAL, rule.principals))
    for place, values in _set_conditions(rule):
        if values is not None and values is not ANY:
            sets.append((place, values | _UNKNOWN_DENIES))
    if rule.operations:
        sets.append((_OPERATION, rule.operations | {Operation.OPAQUE}))
    bounds: list[tuple[int, int, int]] = []
    for place, cap in _cap_conditions(rule):
        if cap is not None and cap is not ANY:
            bounds.append((place, _Missing.OPAQUE, cap))
    return _Matcher(rule=rule, sets=tuple(sets), bounds=tuple(bounds))


def _set_conditions(rule: Rule) -> Iterator[tuple[int, frozenset[str | int] | Anything | None]]:
    """Yield the conditions on values; the most telling first, because the first that fails ends a comparison."""
    destinations = rule.destinations
    if destinations is not None and destinations is not ANY:
        destinations = frozenset(map(normal_destination, destinations))
    yield _DESTINATION, destinations
    yield _SELECTOR, rule.selectors
    yield _PRIMARY_TYPE, rule.primary_types
    yield _CHAIN, rule.chains
    yield _VENUE, rule.venues


def _cap_conditions(rule: Rule) -> Iterator[tuple[int, int | Anything | None]]:
    yield _AMOUNT, rule.amount_max
    yield _FEE, rule.fee_max


def _missing_of(operation: Operation) -> tuple[_Missing, ...]:
    if operation is Operation.OPAQUE:
        return (_Missing.OPAQUE,) * len(_FIELDS)
    asked = ASKED_FIELDS[operation]
    return tuple(_Missing.UNKNOWN if field in asked else _Missing.NOT_APPLICABLE for field in _FIELDS)


_MISSING = {operation: _missing_of(operation) for operation in Operation}


def _facts(principal: Principal, intent: Intent, effect: Effect) -> _Facts:
    """Return what the rules are compared with; the order is that of the places."""
    operation = effect.operation
    if intent.kind is PayloadKind.RAW_DIGEST or intent.completeness is Completeness.OPAQUE:
        operation = Operation.OPAQUE
    chain, venue, destination, selector, primary_type, amount, fee = _MISSING[operation]
    return (
        principal,
        operation,
        chain if effect.chain_id is None else effect.chain_id,
        venue if effect.venue is None else effect.venue,
        destination if effect.destination is None else normal_destination(effect.destination),
        selector if effect.selector is None else effect.selector,
        primary_type if effect.primary_type is None else effect.primary_type,
        amount if effect.amount is None else effect.amount,
        fee if effect.fee_max is None else effect.fee_max,
    )


def _refuse_denied(denying: tuple[_Matcher, ...], every_facts: list[_Facts]) -> None:
    rules = tuple(matcher.rule.id for matcher in denying if any(map(matcher.holds, every_facts)))
    if rules:
        raise Refused(Reason.DENIED_BY_RULE, _bounded(f"denied by rule {', '.join(rules)}"), rules)


def _not_allowed(
    allowing: tuple[_Matcher, ...], every_facts: list[_Facts], number: int, key: KeyId, kind: PayloadKind
) -> Refused:
    """Return the refusal of effect ``number`` (from 0), with the allow rule that came nearest."""
    facts = every_facts[number]
    text = f"no rule allows effect {number + 1} of {len(every_facts)} ({_shown(facts[_OPERATION])})"
    if not allowing:
        return Refused(Reason.NO_RULE_ALLOWS, _bounded(f"{text}: no allow rule is for key {key} and {kind}"))
    nearest = min(allowing, key=lambda matcher: matcher.distance(facts))
    problems = ", ".join(_miss(nearest, place, facts) for place in nearest.misses(facts))
    text += f"; rule {nearest.rule.id} would allow it but for: {problems}"
    return Refused(Reason.NO_RULE_ALLOWS, _bounded(text))


def _miss(matcher: _Matcher, place: int, facts: _Facts) -> str:
    word, value = _WORDS[place], facts[place]
    if place >= _CHAIN and getattr(matcher.rule, _FIELDS[place - _CHAIN]) is None:
        return f"the rule does not mention the {word}"
    if value is _Missing.NOT_APPLICABLE:
        return f"{facts[_OPERATION]} has no {word}"
    if isinstance(value, _Missing):
        return f"{word} is unknown"
    if place in (_AMOUNT, _FEE):
        cap = next(high for bounded, _, high in matcher.bounds if bounded == place)
        return f"{word} {value} > {cap}"
    return f"{word} {_shown(value)} is not listed"


def _shown(value: str | int) -> str:
    """Return a fact as text that cannot disturb a terminal or a log, cut to a size that an explanation can bear."""
    text = str(value)
    return (text if text.isascii() and text.isprintable() else ascii(text))[:100]


def _bounded(text: str) -> str:
    longest = limits.EXPLANATION_CHARS_MAX
    return text if len(text) <= longest else text[: longest - 3] + "..."
