"""Whether a new policy only takes away: then it needs less approval than one that gives.

``is_tightening`` is a proof, part by part, and says no where a part has none:

1. Every rule of the new policy that permits is within one rule of the old policy that permits, with the same verdict
   or a laxer one (allow is laxer than escalate).
2. Every deny rule of the old policy is within a deny rule of the new one, as deny rules are read.
3. Every escalate rule of the old policy is within an escalate rule of the new one with the same quorum text, or
   within a deny rule, as deny rules are read.
4. Every count and every amount that the old policy limits is limited by the new one, over the same window, of the same
   things, for the same keys or more, to the same number or less.
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

from keyvault.core.errors import Malformed
from keyvault.core.familiar import listed_destinations
from keyvault.core.ids import GroupName
from keyvault.core.policy_match import allow_matcher, can_permit, deny_matcher
from keyvault.core.policy_rules import ANY, LIST_MARK, Limit, Per, Policy, Rule, Verdict, verdict_of
from keyvault.core.policy_within import Part, are_keys_within
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
        and all(
            _is_limited(_resolved(limit, old), [_resolved(each, new) for each in new.limits]) for limit in old.limits
        )
        and old.prices == new.prices
        and _are_look_alikes_kept(old, new)
    )


def _are_look_alikes_kept(old: Policy, new: Policy) -> bool:
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


def _resolved(limit: Limit, policy: Policy) -> tuple[Limit, tuple[frozenset[str], ...]]:
    """Return the limit with what its lists hold, and the keys of its tags."""
    tags = tuple(sorted((policy.tags.get(tag, frozenset()) for tag in limit.tags or policy.tags), key=sorted))
    if limit.destinations is not None:
        limit = replace(limit, destinations=_written_out(limit.destinations, policy))
    return limit, (tags if limit.tags is not None or limit.per is Per.TAG else ())


_Resolved = tuple[Limit, tuple[frozenset[str], ...]]


def _are_limited(limits: list[_Resolved], others: list[_Resolved]) -> bool:
    return all(_is_limited(each, others) for each in limits)


def _is_limited(resolved: _Resolved, others: list[_Resolved]) -> bool:
    """Return whether the others hold all that the limit holds."""
    limit, tags = resolved
    alike = [
        other
        for other, other_tags in others
        if _about(other) == _about(limit) and tags == other_tags and are_keys_within(limit.keys, other.keys)
    ]
    return (
        (limit.count_max is None or any(_is_at_most(other.count_max, limit.count_max) for other in alike))
        and (limit.usd_max is None or any(_is_at_most(other.usd_max, limit.usd_max) for other in alike))
        and (limit.amount_max is None or any(_is_less_of(other, limit) for other in alike))
    )


def _is_less_of(other: Limit, limit: Limit) -> bool:
    same = (other.chain_id, other.network, other.venue, other.asset) == (
        limit.chain_id,
        limit.network,
        limit.venue,
        limit.asset,
    )
    return same and limit.amount_max is not None and _is_at_most(other.amount_max, limit.amount_max)


def _about(limit: Limit) -> Limit:
    """Return what the limit is about, without its keys and its numbers; of the chain only where there is an amount."""
    return replace(
        limit, id="", keys=ANY, count_max=None, amount_max=None, usd_max=None, tags=None, chain_id=None, network=None,
        venue=None, asset=None,
    )  # fmt: skip


def _is_at_most(cap: int | None, most: int) -> bool:
    return cap is not None and cap <= most
