"""Rules that decide nothing, because another rule takes all that they match."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace

from keyvault.core.policy_match import Lists, allow_matcher, deny_matcher
from keyvault.core.policy_rules import Rule, Verdict
from keyvault.core.policy_within import Part

_SWITCHES = frozenset(
    {"id", "verdict", "keys", "principals", "kinds", "operations", "chains", "venues", "quorum", "shadow"}
)
"""What a deny rule has that stops a key, a caller or a place as a whole. Stops are meant to leave the rules below them
without effect, and one must never be harder to publish than what it stops."""
_NO_SWITCH = tuple(field for field in fields(Rule) if field.name not in _SWITCHES)


def unreachable(rules: Mapping[int, Rule], lists: Lists) -> Iterator[tuple[int, str]]:
    """Say which rules, by their place, decide nothing. The rules must be sound by themselves; shadow rules decide none.

    A deny or escalate rule that says the same as another; an allow rule all of which another allow rule allows, or a
    deny rule denies. Two that only together take all are not seen.
    """
    deciding = {place: rule for place, rule in rules.items() if not rule.shadow}
    yield from _repeated({place: rule for place, rule in deciding.items() if rule.verdict is not Verdict.ALLOW})
    allow = {
        place: Part(rule, allow_matcher(rule, lists))
        for place, rule in deciding.items()
        if rule.verdict is Verdict.ALLOW
    }
    deny = [
        Part(rule, deny_matcher(rule, lists))
        for rule in deciding.values()
        if rule.verdict is Verdict.DENY and not _is_switch(rule)
    ]
    for place, part in allow.items():
        denying = next((each for each in deny if part.is_within(each)), None)
        if denying is not None:
            yield place, f"rule {denying.rule.id} denies all that it allows: leave one of them out"
            continue
        wider = next((other for at, other in allow.items() if at != place and _covers(at, other, place, part)), None)
        if wider is not None:
            yield place, f"rule {wider.rule.id} allows all that it allows: leave it out, or narrow {wider.rule.id}"


def _covers(at: int, other: Part, place: int, part: Part) -> bool:
    """Return whether the other takes all of it; of two that take the same, the first does."""
    return part.is_within(other) and (at < place or not other.is_within(part))


def _repeated(rules: Mapping[int, Rule]) -> Iterator[tuple[int, str]]:
    seen: dict[Rule, str] = {}
    for place, rule in rules.items():
        nameless = replace(rule, id="")
        if nameless in seen:
            yield place, f"says the same as rule {seen[nameless]}: leave it out"
        seen.setdefault(nameless, rule.id)


def _is_switch(rule: Rule) -> bool:
    return all(getattr(rule, field.name) == field.default for field in _NO_SWITCH)
