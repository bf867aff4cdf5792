"""Whether a new policy only takes away: then it needs less approval than one that gives.

``is_tightening`` is a proof, part by part, and says no where a part has none:

1. Every rule of the new policy that permits is within one rule of the old policy that permits, with the same verdict
   or a laxer one (allow is laxer than escalate).
2. Every deny rule of the old policy is within a deny rule of the new one, as deny rules are read.
3. Every escalate rule of the old policy is within an escalate rule of the new one with the same quorum text, or
   within a deny rule, as deny rules are read.
4. Every count and every amount that the old policy limits is limited by the new one, over the same window and chain,
   for the same keys or more, to the same number or less.

A new policy without any rule that permits gives nothing, whatever else it leaves out: the emergency stop.

From 1 to 3 follows: an intent that the new policy permits, the old one permits too, and every quorum that the old one
asks for it, the new one asks as well. One rule is within another if each condition of the other is implied by its own
on the same field; two rules that only together cover a third are not seen. Ids mean nothing, neither does the order.
"""

from dataclasses import dataclass, replace

from keyvault.core.errors import Malformed
from keyvault.core.ids import GroupName
from keyvault.core.policy_match import Matcher, allow_matcher, can_permit, deny_matcher, scope
from keyvault.core.policy_rules import ANY, Anything, Limit, Policy, Rule, Verdict, verdict_of
from keyvault.core.quorum import group_names, parse_quorum


def is_tightening(old: Policy, new: Policy) -> bool:
    """Return True only if, whatever is asked, ``new`` gives no more than ``old`` did and asks no quorum less.

    False when in doubt. The same rules and limits are a tightening; versions do not matter.
    """
    before, after = _Parts.of(old), _Parts.of(new)
    if not after.allow and not after.permitting_escalate:
        return True
    return (
        _are_covered(after.allow, before.allow)
        and _are_covered(after.permitting_escalate, before.allow + before.permitting_escalate)
        and _are_covered(before.deny, after.deny)
        and _are_asked(before.escalate, after)
        and all(_is_limited(limit, new.limits) for limit in old.limits)
    )


def quorum_groups(policy: Policy) -> frozenset[GroupName]:
    """Return every group that a rule of the policy asks; a quorum that cannot be read asks none."""
    return frozenset[GroupName]().union(*map(_groups_of, policy.rules))


def _groups_of(rule: Rule) -> frozenset[GroupName]:
    try:
        return group_names(parse_quorum(rule.quorum))
    except Malformed:
        return frozenset()


# Rules ----------------------------------------------------------------------------------------------------------


class _Part:
    """A rule by one of its readings, its conditions found by place."""

    __slots__ = ("_bounds", "_floors", "_sets", "keys", "kinds", "matcher", "rule")

    def __init__(self, rule: Rule, matcher: Matcher) -> None:
        self.rule = rule
        self.keys, self.kinds = scope(rule)
        self.matcher = matcher
        self._sets = dict(matcher.sets)
        self._bounds = {place: (low, high) for place, low, high in matcher.bounds}
        self._floors = {place: (floor, others) for place, floor, others in matcher.floors}

    def is_within(self, other: "_Part") -> bool:
        """Return True only if the other matches whatever this matches; False when in doubt."""
        return (
            _are_keys_within(self.keys, other.keys)
            and self.kinds <= other.kinds
            and self._sets_imply(other.matcher)
            and self._amounts_imply(other.matcher)
        )

    def _sets_imply(self, other: Matcher) -> bool:
        for place, values in other.sets:
            mine = self._sets.get(place)
            if mine is None or not mine <= values:
                return False
        return True

    def _amounts_imply(self, other: Matcher) -> bool:
        for place, low, high in other.bounds:
            bound = self._bounds.get(place)
            if bound is None or bound[0] < low or bound[1] > high:
                return False
        for place, floor, others in other.floors:
            mine = self._floors.get(place)
            if mine is None or mine[0] < floor or not mine[1] <= others:
                return False
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """The rules of a policy by what they do; escalate rules by both readings."""

    allow: tuple[_Part, ...]
    permitting_escalate: tuple[_Part, ...]
    deny: tuple[_Part, ...]
    escalate: tuple[_Part, ...]

    @classmethod
    def of(cls, policy: Policy) -> "_Parts":
        allow, deny, escalate = (
            [_nameless(rule) for rule in policy.rules if verdict_of(rule) is verdict]
            for verdict in (Verdict.ALLOW, Verdict.DENY, Verdict.ESCALATE)
        )
        return cls(
            allow=tuple(_Part(rule, allow_matcher(rule, policy.lists)) for rule in allow if can_permit(rule)),
            permitting_escalate=tuple(
                _Part(rule, allow_matcher(rule, policy.lists)) for rule in escalate if can_permit(rule)
            ),
            deny=tuple(_Part(rule, deny_matcher(rule, policy.lists)) for rule in deny),
            escalate=tuple(_Part(rule, deny_matcher(rule, policy.lists)) for rule in escalate),
        )


def _nameless(rule: Rule) -> Rule:
    return replace(rule, id="")


def _are_covered(parts: tuple[_Part, ...], others: tuple[_Part, ...]) -> bool:
    """Return whether each part is within one of the others. What stands on both sides is found without comparing."""
    same = {other.rule for other in others}
    return all(part.rule in same or any(map(part.is_within, others)) for part in parts)


def _are_asked(parts: tuple[_Part, ...], after: _Parts) -> bool:
    """Return whether each part is within a rule that asks the same quorum, or one that denies."""
    asking: dict[str, list[_Part]] = {}
    for other in after.escalate:
        asking.setdefault(other.rule.quorum, []).append(other)
    same = {other.rule for other in after.escalate}
    return all(
        part.rule in same or any(map(part.is_within, (*asking.get(part.rule.quorum, ()), *after.deny)))
        for part in parts
    )


def _are_keys_within(keys: frozenset[str] | Anything, other: frozenset[str] | Anything) -> bool:
    return other is ANY or (keys is not ANY and keys <= other)


# Limits ---------------------------------------------------------------------------------------------------------


def _is_limited(limit: Limit, others: tuple[Limit, ...]) -> bool:
    """Return whether the others hold all that the limit holds."""
    alike = [
        other for other in others if other.window_ms == limit.window_ms and _are_keys_within(limit.keys, other.keys)
    ]
    counted = limit.count_max is None or any(_is_at_most(other.count_max, limit.count_max) for other in alike)
    return counted and (
        limit.amount_max is None
        or any(other.chain_id == limit.chain_id and _is_at_most(other.amount_max, limit.amount_max) for other in alike)
    )


def _is_at_most(cap: int | None, most: int) -> bool:
    return cap is not None and cap <= most
