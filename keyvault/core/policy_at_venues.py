"""Keys that rules let sign for two venues.

Binance signs ``name=value&name=value`` and nothing that says that it is for Binance; others sign texts that a caller
chooses in part. With one secret at two venues, what was judged as a request to one is a request to the other. Nothing
but the policy binds a key to a venue, so no key may sign for two with the same kind of secret.
"""

from collections.abc import Iterator

from keyvault.core.policy_findings import listed
from keyvault.core.policy_kinds import SECRETS
from keyvault.core.policy_match import can_permit, scope
from keyvault.core.policy_rules import ANY, Policy, Rule

_EVERY, _SOME = "any key", "some key"
"""Stand for the keys of a rule for any key, and for all keys of all rules. With a space: no key has such a name."""

_Permitted = dict[tuple[str, str], dict[str, str]]
"""By key and secret: the venues that the key may sign for, each with the first rule that says so."""


def at_two_venues(policy: Policy) -> Iterator[tuple[int, str]]:
    """Say which rules, by their place, let a key sign for a second venue; one key of each rule stands for all.

    What other rules deny is not looked at: whoever takes one away later does not think of this.
    """
    permitted: _Permitted = {}
    for place, rule in enumerate(policy.rules):
        if not rule.shadow and can_permit(rule):
            problem = next(_of_rule(rule, permitted), None)
            if problem is not None:
                yield place, problem


def _of_rule(rule: Rule, permitted: _Permitted) -> Iterator[str]:
    """Add to ``permitted`` what the rule permits, and say what is wrong with it."""
    keys, kinds = scope(rule)
    named = (_EVERY,) if keys is ANY else tuple(sorted(keys))
    signed = {(secret, SECRETS[kind][0]) for kind in kinds if kind in SECRETS for secret in SECRETS[kind][1]}
    for key in (*named, _SOME):
        for secret, venue in signed:
            permitted.setdefault((key, secret), {}).setdefault(venue, rule.id)
    for key in named:
        for secret in sorted({secret for secret, _ in signed}):
            at = _venues_of(key, secret, permitted)
            if len(at) > 1:
                yield _problem(rule, key, secret, at)


def _venues_of(key: str, secret: str, permitted: _Permitted) -> dict[str, str]:
    if key == _EVERY:
        return permitted[_SOME, secret]
    return permitted.get((_EVERY, secret), {}) | permitted[key, secret]


def _problem(rule: Rule, key: str, secret: str, at: dict[str, str]) -> str:
    others = {each for each in at.values() if each != rule.id}
    beside = f" (with rule {listed(others)})" if others else ""
    text = f"{key} may sign for {listed(at)}{beside}, each with {secret}: what is signed for one can be sent to another"
    return f"{text}; write a rule for each venue, with keys of its own"
