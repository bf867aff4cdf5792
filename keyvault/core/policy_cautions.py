"""What a careful reader asks about a policy that may be published: which rules let much through, meant or not.

Cautions stop nobody: a firm may want what they speak of. Findings (``policy_lint``) do.

1. To anybody, of any amount: a transfer, an allowance or a withdrawal.
2. At any fee: gas can burn what an account holds.
3. Power to anybody: ownership, keys or code that whoever is named gets.
4. Never counted: each payload is capped, and no limit counts what a key moves by it over time.
5. One person's word for what nobody can read.
6. Names of assets that leave out what Kraken calls them, in what denies or asks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from keyvault.core.errors import Malformed
from keyvault.core.intent import Operation
from keyvault.core.policy_findings import listed
from keyvault.core.policy_match import scope
from keyvault.core.policy_rules import ANY, PLAIN_OPERATIONS, Policy, Rule, Verdict
from keyvault.core.policy_spelling import without_kraken_s_name
from keyvault.core.quorum import parse_quorum, persons_min
from keyvault.core.tallies import About, abouts

_PAYS: Final = frozenset({Operation.TRANSFER, Operation.ALLOWANCE, Operation.WITHDRAW})
_MOVES: Final = _PAYS | {Operation.ORDER, Operation.CALL, Operation.CREATE}
_POWERS: Final = frozenset({Operation.ADMIN, Operation.KEY_GRANT, Operation.DELEGATE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Caution:
    """What the rule with this id leaves open."""

    rule: str
    problem: str


def cautions(policy: Policy) -> tuple[Caution, ...]:
    """Return everything that a careful reader would ask about, in the order of the rules."""
    counted = tuple(about for limit in policy.limits for about, _ in abouts(limit, policy))
    return tuple(
        Caution(rule=rule.id, problem=problem)
        for rule in policy.rules
        if not rule.shadow
        for problem in _asked_about(rule, counted)
    )


def _asked_about(rule: Rule, counted: tuple[About, ...]) -> Iterator[str]:
    operations = rule.operations or PLAIN_OPERATIONS
    if rule.verdict is Verdict.ESCALATE and Operation.OPAQUE in operations and _is_one_word(rule.quorum):
        yield "one member alone approves what nobody can read"
    if rule.verdict is not Verdict.ALLOW:
        yield from (f"{name} is {theirs} at Kraken: list both" for name, theirs in without_kraken_s_name(rule))
    if rule.verdict is not Verdict.ALLOW:
        return
    paying, powers = operations & _PAYS, operations & _POWERS
    if paying and rule.destinations is ANY and not _is_capped(rule):
        yield f"{listed(paying)} to anybody, of any amount: list destinations, or write amount or usd"
    if rule.fee_max is ANY and operations & _MOVES:
        yield "any fee: gas can burn what the account holds; write a cap"
    if powers and rule.destinations is ANY:
        yield f"{listed(powers)} to anybody: list destinations"
    uncounted = sorted(operation for operation in operations & _MOVES if not _is_counted(rule, operation, counted))
    if uncounted and not _allows_nothing(rule):
        yield f"no limit counts {', '.join(uncounted)} of its keys over time"


def _is_capped(rule: Rule) -> bool:
    return isinstance(rule.amount_max, int) or isinstance(rule.usd_max, int)


def _allows_nothing(rule: Rule) -> bool:
    """Return whether it only takes allowances back."""
    return rule.amount_max == 0


def _is_counted(rule: Rule, operation: Operation, counted: tuple[About, ...]) -> bool:
    keys, _ = scope(rule)
    about = [each for each in counted if not each.operations or operation in each.operations]
    if keys is ANY:
        return any(each.keys is ANY for each in about)
    return all(any(each.is_about_key(key) for each in about) for key in keys)


def _is_one_word(quorum: str) -> bool:
    try:
        return persons_min(parse_quorum(quorum)) == 1
    except Malformed:
        return False
