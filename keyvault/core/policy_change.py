"""Whether a new policy only takes away: then it needs less approval than one that gives.

``is_tightening`` is a proof, part by part, and says no where a part has none:

1. Every rule of the new policy that permits is within one rule of the old policy that permits, with the same verdict
   or a laxer one (allow is laxer than escalate).
2. Every deny rule of the old policy is within a deny rule of the new one, as deny rules are read.
3. Every escalate rule of the old policy is within an escalate rule of the new one with the same quorum text, or
   within a deny rule, as deny rules are read.
4. Every count, amount and sum of dollars that the old policy limits is limited by the new one, over the same window and
   to the same number or less, counted of the same things or more: each condition is implied by the old one, or left
   out. Groups are the same, or all together; of tags, each has its keys in one tag. Of one asset amounts can be
   compared; of two they cannot. What can count nothing that the new policy permits (``never_counted``) need not stay:
   who takes a rule away takes its limits along, since a limit that never counts cannot be published.
5. The prices are the same: another price can be a yes where there was a no.
6. If the old policy looks for look-alikes, both name the same destinations: what is named is known, and what
   resembles it is looked for.

``when`` implies only itself. Shadow rules decide nothing and are not looked at.

A new policy without any rule that permits gives nothing, whatever else it leaves out: the emergency stop.

From 1 to 3 follows: an intent that the new policy permits, the old one permits too, and every quorum that the old one
asks for it, the new one asks as well. One rule is within another if each condition of the other is implied by its own
on the same field; two rules that only together cover a third are not seen. Ids mean nothing, neither does the order.
"""

from dataclasses import dataclass, replace
from typing import TypeVar

from keyvault.core.errors import Malformed
from keyvault.core.ids import GroupName
from keyvault.core.policy_counted import never_counted, permitted
from keyvault.core.policy_listed import listed_destinations
from keyvault.core.policy_match import allow_matcher, can_permit, deny_matcher
from keyvault.core.policy_rules import ANY, LIST_MARK, Chain, Per, Policy, Rule, Verdict, verdict_of
from keyvault.core.policy_within import Part, are_keys_within
from keyvault.core.quorum import group_names, parse_quorum
from keyvault.core.tallies import About, abouts

_V = TypeVar("_V", str, Chain)


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
        and _are_limited(_needed(_held(old), new), _held(new))
        and old.prices == new.prices
        and are_look_alikes_kept(old, new)
    )


def are_look_alikes_kept(old: Policy, new: Policy) -> bool:
    """Return whether what looks like a destination that the old policy names still does, and nothing is known anew."""
    if not any(rule.look_alike and not rule.shadow for rule in old.rules):
        return True
    return listed_destinations(old) == listed_destinations(new)


def quorum_groups(policy: Policy) -> frozenset[GroupName]:
    """Return every group that a rule of the policy asks; a quorum that cannot be read asks none."""
    return frozenset[GroupName]().union(*map(_groups_of, policy.rules))


def _groups_of(rule: Rule) -> frozenset[GroupName]:
    try:
        return group_names(parse_quorum(rule.quorum))
    except Malformed:
        return frozenset()


# Rules ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """The rules of a policy by what they do; escalate rules by both readings."""

    allow: tuple[Part, ...]
    permitting_escalate: tuple[Part, ...]
    deny: tuple[Part, ...]
    escalate: tuple[Part, ...]

    @classmethod
    def of(cls, policy: Policy) -> "_Parts":
        allow, deny, escalate = (
            [_nameless(rule, policy) for rule in policy.rules if verdict_of(rule) is verdict and not rule.shadow]
            for verdict in (Verdict.ALLOW, Verdict.DENY, Verdict.ESCALATE)
        )
        return cls(
            allow=tuple(Part(rule, allow_matcher(rule, policy.lists)) for rule in allow if can_permit(rule)),
            permitting_escalate=tuple(
                Part(rule, allow_matcher(rule, policy.lists)) for rule in escalate if can_permit(rule)
            ),
            deny=tuple(Part(rule, deny_matcher(rule, policy.lists)) for rule in deny),
            escalate=tuple(Part(rule, deny_matcher(rule, policy.lists)) for rule in escalate),
        )


def _nameless(rule: Rule, policy: Policy) -> Rule:
    """Return the rule without its name, and with what its lists hold: two policies can mean other lists by one name."""
    if not isinstance(rule.destinations, frozenset):
        return replace(rule, id="")
    return replace(rule, id="", destinations=_written_out(rule.destinations, policy))


def _written_out(values: frozenset[str], policy: Policy) -> frozenset[str]:
    listed = (policy.lists.get(each[1:], frozenset()) if each.startswith(LIST_MARK) else {each} for each in values)
    return frozenset[str]().union(*listed)


def _are_covered(parts: tuple[Part, ...], others: tuple[Part, ...]) -> bool:
    """Return whether each part is within one of the others. What stands on both sides is found without comparing."""
    same = {other.rule for other in others}
    return all(part.rule in same or any(map(part.is_within, others)) for part in parts)


def _are_asked(parts: tuple[Part, ...], after: _Parts) -> bool:
    """Return whether each part is within a rule that asks the same quorum, or one that denies."""
    asking: dict[str, list[Part]] = {}
    for other in after.escalate:
        asking.setdefault(other.rule.quorum, []).append(other)
    same = {other.rule for other in after.escalate}
    return all(
        part.rule in same or any(map(part.is_within, (*asking.get(part.rule.quorum, ()), *after.deny)))
        for part in parts
    )


# Limits ---------------------------------------------------------------------------------------------------------


_Held = tuple[About, int, int]
"""What a measure of a limit counts, its window and its cap, without names: lists and tags are written out."""


def _held(policy: Policy) -> tuple[_Held, ...]:
    return tuple((about, limit.window_ms, cap) for limit in policy.limits for about, cap in abouts(limit, policy))


def _needed(held: tuple[_Held, ...], new: Policy) -> tuple[_Held, ...]:
    """Return those that may count something that the new policy permits, or that nothing may pass."""
    permits = permitted(new)
    return tuple(each for each in held if not (each[0].has_place and never_counted(each[0], permits)))


def _are_limited(before: tuple[_Held, ...], after: tuple[_Held, ...]) -> bool:
    return all(
        any(span == window_ms and most <= cap and _counts_as_much(other, about) for other, span, most in after)
        for about, window_ms, cap in before
    )


def _counts_as_much(other: About, about: About) -> bool:
    """Return True only if some group of ``other`` holds all that a group of ``about`` holds; False when in doubt."""
    return (
        (other.measure, other.place, other.venue, other.asset) == (about.measure, about.place, about.venue, about.asset)
        and (other.per is Per.ALL or (other.per is about.per and _are_tags_within(about, other)))
        and are_keys_within(about.keys, other.keys)
        and (not other.operations or (bool(about.operations) and about.operations <= other.operations))
        and _is_within(about.principals, other.principals)
        and _is_within(about.chains, other.chains)
        and _is_within(about.venues, other.venues)
        and _is_within(about.destinations, other.destinations)
    )


def _are_tags_within(about: About, other: About) -> bool:
    """Return whether the keys of each tag have a tag together; what they are called does not matter."""
    groups = (keys if about.keys is ANY else keys & about.keys for _, keys in about.tags)
    return all(any(keys <= others for _, others in other.tags) for keys in groups if keys)


def _is_within(values: frozenset[_V] | None, other: frozenset[_V] | None) -> bool:
    """Return whether a condition of a limit is implied; an absent one is about everything."""
    return other is None or (values is not None and values <= other)
