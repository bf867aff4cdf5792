"""What a careful reader asks about a policy that may be published: which rules let much through, meant or not.

Cautions stop nobody: a firm may want what they speak of. Findings (``policy_lint``) do.

1. To anybody, of any amount: a transfer, an allowance or a withdrawal.
2. At any fee: gas can burn what an account holds.
3. Power to anybody: ownership, keys or code that whoever is named gets.
4. Never counted: each payload is capped, and no limit counts all that a key moves by it over time.
5. One person's word for what nobody can read.
6. A list of whom not to pay, or a limit for each who is paid, where a venue may be told to pay anybody: it takes
   spellings of one account that nobody folds (``accounts``).
7. Limits on keys or callers of whom no rule permits anything: a misspelt name counts nothing.
8. Limits on amounts at a venue so small that whole units were meant: they are counted in 10**-18 there.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from keyvault.core.errors import Malformed
from keyvault.core.intent import Operation
from keyvault.core.policy_counted import Permitted, permitted, permitted_by, uncounted
from keyvault.core.policy_findings import listed
from keyvault.core.policy_rules import ANY, PLAIN_OPERATIONS, Limit, Per, Policy, Rule, Verdict
from keyvault.core.quorum import parse_quorum, persons_min
from keyvault.core.tallies import About, abouts

_PAYS: Final = frozenset({Operation.TRANSFER, Operation.ALLOWANCE, Operation.WITHDRAW})
_MOVES: Final = _PAYS | {Operation.ORDER, Operation.CALL, Operation.CREATE}
_POWERS: Final = frozenset({Operation.ADMIN, Operation.KEY_GRANT, Operation.DELEGATE})
_ATTO_SMALL: Final = 10**9
"""Less of anything, in 10**-18, is worth nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caution:
    """What the rule, or the limit, with this id leaves open."""

    section: str
    """``rule`` or ``limit``."""
    name: str
    problem: str


def cautions(policy: Policy) -> tuple[Caution, ...]:
    """Return everything that a careful reader would ask about, in the order of the rules, then of the limits."""
    counted = tuple(about for limit in policy.limits for about, _ in abouts(limit, policy))
    permits = permitted(policy)
    found = [
        Caution(section="rule", name=rule.id, problem=problem)
        for rule in policy.rules
        if not rule.shadow
        for problem in _asked_about(rule, policy, counted, permits)
    ]
    found += [
        Caution(section="limit", name=limit.id, problem=problem)
        for limit in policy.limits
        for problem in _asked_about_limit(limit, policy, permits)
    ]
    return tuple(found)


def _asked_about(
    rule: Rule, policy: Policy, counted: tuple[About, ...], permits: tuple[Permitted, ...]
) -> Iterator[str]:
    operations = rule.operations or PLAIN_OPERATIONS
    if rule.verdict is Verdict.ESCALATE and Operation.OPAQUE in operations and _is_one_word(rule.quorum):
        yield "one member alone approves what nobody can read"
    if rule.verdict is not Verdict.ALLOW:
        yield from _asked_about_restriction(rule, permits)
        return
    paying, powers = operations & _PAYS, operations & _POWERS
    if paying and rule.destinations is ANY and not _is_capped(rule):
        yield f"{listed(paying)} to anybody, of any amount: list destinations, or write amount or usd"
    if rule.fee_max is ANY and operations & _MOVES:
        yield "any fee: gas can burn what the account holds; write a cap"
    if powers and rule.destinations is ANY:
        yield f"{listed(powers)} to anybody: list destinations"
    moving = [each for each in permitted_by(rule, policy) if each.operation in _MOVES]
    left = [what for each in moving if (what := uncounted(each, counted))]
    if left and not _allows_nothing(rule):
        yield f"no limit counts {listed(left)} of its keys over time"


def _asked_about_restriction(rule: Rule, permits: Iterable[Permitted]) -> Iterator[str]:
    about = rule.operations or {Operation.WITHDRAW}
    open_rules = _pay_anybody(permits)
    if isinstance(rule.destinations, frozenset) and Operation.WITHDRAW in about and open_rules:
        yield f"its list is no promise: {_open(open_rules)}; list there who may be paid"


def _asked_about_limit(limit: Limit, policy: Policy, permits: tuple[Permitted, ...]) -> Iterator[str]:
    open_rules = _pay_anybody(permits)
    if limit.per is Per.DESTINATION and open_rules and Operation.WITHDRAW in (limit.operations or {Operation.WITHDRAW}):
        yield f"one account may have several windows: {_open(open_rules)}; count per key, too"
    yield from _named_by_no_rule("principal", limit.principals, {each.principals for each in permits})
    keys = limit.keys if isinstance(limit.keys, frozenset) else frozenset()
    tagged = frozenset[str]().union(*(policy.tags.get(tag, frozenset()) for tag in limit.tags or ()))
    yield from _named_by_no_rule("key", keys | tagged, {each.keys for each in permits})
    if limit.venue is not None and limit.amount_max is not None and 0 < limit.amount_max < _ATTO_SMALL:
        whole = f"{limit.amount_max * 10**18} is {limit.amount_max} {limit.asset}"
        yield f"amounts at {limit.venue} are in 10^-18, so {limit.amount_max} is next to nothing: {whole}"


def _named_by_no_rule(what: str, names: frozenset[str] | None, permitted_names: set[object]) -> Iterator[str]:
    """Say which of the names no rule permits anything."""
    known = {each for some in permitted_names if isinstance(some, frozenset) for each in some}
    if ANY not in permitted_names and known:
        for name in sorted((names or frozenset()) - known):
            yield f"no rule permits anything to {what} {name}: is it misspelt?"


def _pay_anybody(permits: Iterable[Permitted]) -> list[str]:
    """Return the rules that permit a venue to pay whoever is named."""
    found = (each.rule for each in permits if each.operation is Operation.WITHDRAW and each.destinations is ANY)
    return list(dict.fromkeys(found))


def _open(rules: list[str]) -> str:
    return (
        f"rule {listed(rules)} permits withdrawals to anybody, and venues take spellings of an account not known here"
    )


def _is_capped(rule: Rule) -> bool:
    return isinstance(rule.amount_max, int) or isinstance(rule.usd_max, int)


def _allows_nothing(rule: Rule) -> bool:
    """Return whether it only takes allowances back."""
    return rule.amount_max == 0


def _is_one_word(quorum: str) -> bool:
    try:
        return persons_min(parse_quorum(quorum)) == 1
    except Malformed:
        return False
