"""Which parts of a new policy may give more than the old one did: why ``is_tightening`` says no. Pure.

Each part is asked about alone, by the same proof: the others are put so that they cannot be the reason. So whatever
the proof learns holds here, too. Something is named whenever it is no tightening, and nothing when it is one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from keyvault.core.policy_change import are_look_alikes_kept, is_tightening
from keyvault.core.policy_match import can_permit
from keyvault.core.policy_rules import LIST_MARK, Policy, Rule, Verdict, verdict_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Loosening:
    """Why it cannot be shown that a policy only takes away. ``name`` is the id of a rule or limit."""

    part: str
    name: str
    why: str


def loosenings(old: Policy, new: Policy) -> tuple[Loosening, ...]:
    """Return everything that may give more than before; nothing if ``new`` is a tightening."""
    if is_tightening(old, new):
        return ()
    before, after = _written_out(old), _written_out(new)
    found = (
        *_of_rules(before, after),
        *_of_limits(before, after),
        *_of_prices(before, after),
        *_of_look_alikes(old, new),
    )
    whole = Loosening(part="policy", name="", why="cannot be shown as a whole to give no more")
    return found or (whole,)


def _of_rules(old: Policy, new: Policy) -> Iterator[Loosening]:
    permitting = tuple(rule for rule in new.rules if not rule.shadow and can_permit(rule))
    restricting = tuple(rule for rule in old.rules if not rule.shadow and verdict_of(rule) is not Verdict.ALLOW)
    kept = {_nameless(rule) for rule in old.rules}
    plain = tuple(rule for rule in restricting if not rule.look_alike)  # see _of_look_alikes
    for rule in permitting:
        if _nameless(rule) in kept:
            continue
        if not is_tightening(replace(old, rules=_without_look_alikes(old)), replace(old, rules=(*plain, rule))):
            if rule.verdict is Verdict.ALLOW:
                why = "allows what no single allow rule allowed before"
            else:
                why = "lets members permit what no single rule permitted before"
            yield Loosening(part="rule", name=rule.id, why=why)
    kept = {_nameless(rule) for rule in new.rules}
    for rule in restricting:
        if _nameless(rule) in kept:
            continue
        if not is_tightening(replace(new, rules=(*permitting, rule)), replace(new, rules=new.rules)):
            if verdict_of(rule) is Verdict.DENY:
                why = "denied what no single deny rule denies now"
            else:
                why = "asked members where no single rule asks the same ones now"
            yield Loosening(part="rule", name=rule.id, why=why)


def _of_limits(old: Policy, new: Policy) -> Iterator[Loosening]:
    plain = replace(new, rules=_without_look_alikes(new))
    for limit in old.limits:
        if not is_tightening(replace(plain, limits=(limit,), lists=old.lists, tags=old.tags), plain):
            yield Loosening(part="limit", name=limit.id, why="held what no single limit holds as tightly now")


def _of_look_alikes(old: Policy, new: Policy) -> Iterator[Loosening]:
    if not are_look_alikes_kept(old, new):
        why = "names other destinations, and look-alikes are told by these: deny one by a rule to shut it out at once"
        yield Loosening(part="policy", name="", why=why)


def _without_look_alikes(policy: Policy) -> tuple[Rule, ...]:
    return tuple(rule for rule in policy.rules if not rule.look_alike)


def _of_prices(old: Policy, new: Policy) -> Iterator[Loosening]:
    if old.prices != new.prices:
        why = "are others: another price can be a yes where there was a no"
        yield Loosening(part="prices", name="", why=why)


def _written_out(policy: Policy) -> Policy:
    """Return the policy with what its lists hold in its rules: two policies can mean other lists by one name."""
    return replace(policy, rules=tuple(_resolved(rule, policy) for rule in policy.rules))


def _resolved(rule: Rule, policy: Policy) -> Rule:
    if not isinstance(rule.destinations, frozenset):
        return rule
    listed = (
        policy.lists.get(each[len(LIST_MARK) :], frozenset()) if each.startswith(LIST_MARK) else frozenset({each})
        for each in rule.destinations
    )
    return replace(rule, destinations=frozenset[str]().union(*listed))


def _nameless(rule: Rule) -> Rule:
    return replace(rule, id="")
