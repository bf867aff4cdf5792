"""The destinations that a policy names as ones to be sent to: they are familiar, and others are compared with them."""

from keyvault.core.policy_match import can_permit
from keyvault.core.policy_rules import LIST_MARK, Policy, Verdict, account_of, verdict_of


def listed_destinations(policy: Policy) -> frozenset[str]:
    """Return the accounts that a rule which permits something names, itself or by a list.

    No others: a list of known poison that a deny rule names must not make it familiar, and a rule that only restricts,
    or is a shadow, must take nothing away from what another rule refuses.
    """
    return frozenset(
        account_of(destination)
        for rule in policy.rules
        if not rule.shadow and verdict_of(rule) is not Verdict.DENY and can_permit(rule)
        if isinstance(rule.destinations, frozenset)
        for each in rule.destinations
        for destination in _members(policy, each)
    )


def _members(policy: Policy, destination: str) -> frozenset[str]:
    if destination.startswith(LIST_MARK):
        return policy.lists.get(destination[len(LIST_MARK) :], frozenset())
    return frozenset({destination})
