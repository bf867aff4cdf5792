"""What is wrong with a policy before it decides anything.

A policy with findings must not be published: it holds a rule that can never do what it was written for, or one that
does more. Each finding has a name and says what to change. Rules that cannot match are errors because somebody relies
on them. Names that begin with L are of holes that other products had.
"""

from collections.abc import Callable, Iterator
from typing import Literal

from keyvault.core import ids, limits
from keyvault.core.policy_at_venues import at_two_venues
from keyvault.core.policy_cel import patterns
from keyvault.core.policy_counted import Permitted, never_counted, permitted
from keyvault.core.policy_findings import Finding, Lint, Problems, chain_problems, lint_id, listed, value_problems
from keyvault.core.policy_lint_rules import lint_rule
from keyvault.core.policy_reach import unreachable
from keyvault.core.policy_rules import ANY, LIST_MARK, Limit, Per, Policy, Rule
from keyvault.core.policy_spelling import misspelt_in_limit, misspelt_in_prices
from keyvault.core.policy_values import AMOUNT_MAX, USD_MAX, check_destination, check_venue
from keyvault.core.prices import unit_problem
from keyvault.core.tallies import abouts
from keyvault.core.windows import window_text


def lint(policy: Policy) -> tuple[Finding, ...]:
    """Return everything that is wrong with the policy; nothing if it may be published."""
    findings = list(_lint_policy(policy))
    names: set[str] = set()
    sound: dict[int, Rule] = {}
    for index, rule in enumerate(policy.rules):
        found = [*lint_rule(rule), *_lint_lists(rule.destinations, policy)]
        findings += [Finding(section="rules", index=index, field=f, lint=n, problem=p) for n, f, p in found]
        if not found and rule.id not in names:
            sound[index] = rule
        names.add(rule.id)
    if len(policy.rules) > limits.POLICY_RULES_MAX:
        sound = {}  # the number alone is wrong enough
    for index, problem in unreachable(sound, policy.lists):
        findings.append(Finding(section="rules", index=index, field="id", lint=Lint.SHADOWED, problem=problem))
    for index, problem in at_two_venues(policy):
        findings.append(
            Finding(section="rules", index=index, field="keys", lint=Lint.KEY_AT_TWO_VENUES, problem=problem)
        )
    permits = permitted(policy)
    for index, limit in enumerate(policy.limits):
        found = [*_lint_limit(limit), *_lint_lists(limit.destinations, policy), *_lint_tags(limit, policy)]
        if not found and len(sound) == len(policy.rules):  # of a rule that is wrong, who knows what it permits
            found = list(_lint_counts(limit, policy, permits))
        findings += [Finding(section="limits", index=index, field=f, lint=n, problem=p) for n, f, p in found]
    return tuple(findings)


# The policy -----------------------------------------------------------------------------------------------------


def _lint_policy(policy: Policy) -> Iterator[Finding]:
    if policy.version < 1:
        yield Finding(section="policy", field="version", lint=Lint.BOUND, problem="version must be 1 or more")
    for field, bound in (
        ("rules", limits.POLICY_RULES_MAX),
        ("limits", limits.POLICY_LIMITS_MAX),
        ("lists", limits.POLICY_LISTS_MAX),
        ("tags", limits.POLICY_LISTS_MAX),
    ):
        count = len(getattr(policy, field))
        if count > bound:
            problem = f"{count} {field}, at most {bound} are permitted"
            yield Finding(section="policy", field=field, lint=Lint.BOUND, problem=problem)
    if policy.prices.age_ms_max > limits.PRICES_AGE_MS_MAX:
        problem = f"prices are good for {window_text(limits.PRICES_AGE_MS_MAX)} at most: write a shorter max_age"
        yield Finding(section="policy", field="prices", lint=Lint.BOUND, problem=problem)
    for market in policy.prices.markets:
        problem = unit_problem(market)
        if problem:
            name = f"{market.venue}/{market.symbol}"
            yield Finding(section="policy", field="prices", name=name, lint=Lint.WITHOUT_UNIT, problem=problem)
    yield from misspelt_in_prices(policy.prices)
    yield from _patterns(policy)
    yield from _duplicate_ids(policy)
    yield from _named(policy)


def _patterns(policy: Policy) -> Iterator[Finding]:
    """Say which rules have more patterns than a decision has time for."""
    count, most = 0, limits.PREDICATE_PATTERNS_MAX
    for index, rule in enumerate(policy.rules):
        here = patterns(rule.when)
        count += here
        if here and count > most:
            problem = (
                f"with it the policy has {count} patterns (matches), at most {most} are permitted: list the values"
            )
            yield Finding(section="rules", index=index, field="when", lint=Lint.BOUND, problem=problem)


def _duplicate_ids(policy: Policy) -> Iterator[Finding]:
    seen: set[str] = set()
    sections: tuple[tuple[Literal["rules", "limits"], list[str]], ...] = (
        ("rules", [rule.id for rule in policy.rules]),
        ("limits", [limit.id for limit in policy.limits]),
    )
    for section, names in sections:
        for index, name in enumerate(names):
            if name in seen:
                problem = f"id {name} is taken: answers name it"
                yield Finding(section=section, index=index, field="id", lint=Lint.ID, problem=problem)
            seen.add(name)


def _named(policy: Policy) -> Iterator[Finding]:
    """Say what is wrong with lists and tags, each by its name."""
    used = _used(policy)
    for field, check in (("lists", check_destination), ("tags", ids.parse_key_id)):
        for name, values in sorted(getattr(policy, field).items()):
            problems = [(Lint.VALUE, problem) for problem in value_problems(values, check, lists=False)]
            problems += [(Lint.ID, each) for _, _, each in lint_id(name)]
            if (field, name) not in used:
                problems.append((Lint.UNUSED, f"no rule and no limit names {name}: leave it out, or use it"))
            for found, problem in problems:
                yield Finding(section="policy", field=field, name=name, lint=found, problem=problem)


def _used(policy: Policy) -> set[tuple[str, str]]:
    """Return the lists and tags that something speaks of."""
    users: tuple[Rule | Limit, ...] = (*policy.rules, *policy.limits)
    destinations = [each for user in users if isinstance(user.destinations, frozenset) for each in user.destinations]
    used = {("lists", each[len(LIST_MARK) :]) for each in destinations if each.startswith(LIST_MARK)}
    for limit in policy.limits:
        if limit.tags is not None or limit.per is Per.TAG:
            used |= {("tags", tag) for tag in limit.tags or policy.tags}
    return used


def _lint_lists(destinations: object, policy: Policy) -> Problems:
    if isinstance(destinations, frozenset):
        for each in sorted(destinations):
            if each.startswith(LIST_MARK) and each[len(LIST_MARK) :] not in policy.lists:
                there = f": there is {listed(policy.lists)}" if policy.lists else ""
                yield Lint.UNKNOWN_NAME, "destinations", f"{each[:80]} is no list of this policy{there}"


def _lint_tags(limit: Limit, policy: Policy) -> Problems:
    for tag in sorted(limit.tags or ()):
        if tag not in policy.tags:
            there = f": there is {listed(policy.tags)}" if policy.tags else ""
            yield Lint.UNKNOWN_NAME, "tags", f"{tag[:80]} is no tag of this policy{there}"
    if limit.per is Per.TAG and limit.tags is None and not policy.tags:
        yield Lint.WITHOUT_MEASURE, "per", "the policy has no tags, so the limit counts nothing: add tags"


# Limits ---------------------------------------------------------------------------------------------------------

_LIMIT_CHECKS: dict[str, Callable[[str], str]] = {
    "keys": ids.parse_key_id,
    "principals": ids.parse_principal,
    "venues": check_venue,
    "destinations": check_destination,
    "tags": ids.parse_key_id,
}


def _lint_limit(limit: Limit) -> Problems:
    yield from lint_id(limit.id)
    for field, check in _LIMIT_CHECKS.items():
        values = getattr(limit, field)
        if isinstance(values, frozenset):
            problems = value_problems(values, check, lists=field == "destinations")
            yield from ((Lint.VALUE, field, problem) for problem in problems)
    if limit.chains is not None:
        yield from ((Lint.VALUE, "chains", problem) for problem in chain_problems(limit.chains))
    if not limits.WINDOW_MS_MIN <= limit.window_ms <= limits.WINDOW_MS_MAX:
        shortest, longest = window_text(limits.WINDOW_MS_MIN), window_text(limits.WINDOW_MS_MAX)
        yield Lint.WINDOW, "window_ms", f"a window lasts from {shortest} to {longest}"
    yield from misspelt_in_limit(limit)
    yield from _lint_measures(limit)


def _lint_counts(limit: Limit, policy: Policy, permits: tuple[Permitted, ...]) -> Problems:
    """Say which measures can never count anything that the rules permit."""
    problems = dict.fromkeys(never_counted(about, permits) for about, _ in abouts(limit, policy))
    for each in problems:
        if each is not None:
            field, why = each
            if field == "keys" and limit.keys is ANY:
                field = "tags"
            yield Lint.NEVER_COUNTS, field, f"never counts anything: {why}. Correct it, or leave the limit out"


def _lint_measures(limit: Limit) -> Problems:
    if limit.count_max is None and limit.amount_max is None and limit.usd_max is None:
        yield Lint.WITHOUT_MEASURE, "id", "the limit limits nothing: add count, usd, or amount and chain"
    places = sum(place is not None for place in (limit.chain_id, limit.network, limit.venue))
    if (limit.amount_max is None) != (places == 0) or places > 1:
        problem = "amount and chain go together: amounts of different chains cannot be added"
        yield Lint.WITHOUT_UNIT, "amount_max", problem
    if limit.asset is not None and limit.amount_max is None:
        yield Lint.WITHOUT_UNIT, "asset", "is of an amount, and the limit has none: add amount, or leave asset out"
    if limit.venue is not None and limit.amount_max is not None and limit.asset is None:
        yield Lint.WITHOUT_UNIT, "amount_max", "a venue has no coin of its own: add asset: USDT"
    yield from _lint_bounds(limit)


_BOUNDS = (
    ("count_max", 0, 2**63 - 1, "must be 0 to 2^63-1"),
    ("amount_max", 0, AMOUNT_MAX, "must be 0 to 2^256-1 wei"),
    ("usd_max", 0, USD_MAX, "must be 0 to 10^18 dollars"),
    ("chain_id", 1, AMOUNT_MAX, "a chain id is a whole number from 1 to 2^256-1"),
)
"""(field of a limit, least, most, what is right)."""


def _lint_bounds(limit: Limit) -> Problems:
    for field, least, most, problem in _BOUNDS:
        value = getattr(limit, field)
        if value is not None and not least <= value <= most:
            yield Lint.BOUND, field, problem
    if limit.network is not None:
        yield from ((Lint.VALUE, "network", problem) for problem in chain_problems(frozenset({limit.network})))
    for field, check in (("venue", check_venue), ("asset", check_destination)):
        value = getattr(limit, field)
        if value is not None:
            problems = value_problems(frozenset({value}), check, lists=False)
            yield from ((Lint.VALUE, field, problem) for problem in problems)
