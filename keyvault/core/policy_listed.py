"""The destinations that a policy names as ones to be sent to: they are familiar, and others are compared with them."""

from keyvault.core.intent import Operation
from keyvault.core.policy_match import can_permit
from keyvault.core.policy_rules import (
    LIST_MARK,
    PLAIN_OPERATIONS,
    Policy,
    Rule,
    Verdict,
    account_of,
)

_TO_NOBODY = frozenset(
    {
        Operation.CANCEL,
        Operation.REDUCE,
        Operation.CREATE,
        Operation.MESSAGE,
        Operation.REQUEST,
        Operation.OPAQUE,
    }
)
"""Operations without a destination."""


def listed_destinations(policy: Policy) -> frozenset[str]:
    """Return the accounts that an allow rule names, itself or by a list, for what has a destination.

    No others: a list of known poison that a deny rule names must not make it familiar, and neither must a rule that
    asks members about it; and a shadow rule takes nothing away from what another rule refuses.
    """
    return frozenset(
        account_of(destination)
        for rule in policy.rules
        if _lets_send(rule) and isinstance(rule.destinations, frozenset)
        for each in rule.destinations
        for destination in _members(policy, each)
    )


def _lets_send(rule: Rule) -> bool:
    if rule.verdict is not Verdict.ALLOW or rule.shadow or not can_permit(rule):
        return False
    return not (rule.operations or PLAIN_OPERATIONS) <= _TO_NOBODY


def _members(policy: Policy, destination: str) -> frozenset[str]:
    if destination.startswith(LIST_MARK):
        return policy.lists.get(destination[len(LIST_MARK) :], frozenset())
    return frozenset({destination})
