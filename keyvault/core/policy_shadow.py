"""What shadow rules would have done: each on its own, as if it alone were live. Pure.

Rules only: what limits would then have had room for is a question for ``policy_replay``, with the rule live in a draft.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from keyvault.core.errors import Refused
from keyvault.core.policy import CompiledPolicy, compile_policy
from keyvault.core.policy_explain import concluded, outcomes
from keyvault.core.policy_replay import Request
from keyvault.core.policy_rules import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadowed:
    """A shadow rule that matches a request, and what the rules would say with it live. ``verdict`` is the rule's."""

    rule: str
    verdict: Verdict
    now: Verdict


class Shadows:
    """The shadow rules of one policy, each compiled as if it were live."""

    def __init__(self, rules: CompiledPolicy) -> None:
        self.rules = rules
        every = rules.policy.rules
        self._live = {
            rule.id: compile_policy(
                replace(rules.policy, rules=(*every[:place], replace(rule, shadow=False), *every[place + 1 :]))
            )
            for place, rule in enumerate(every)
            if rule.shadow
        }

    def matching(self, request: Request) -> Iterator[Shadowed]:
        """Give each shadow rule that matches, with what would have been said."""
        if not self._live:
            return
        given = outcomes(self.rules, request.key, request.principal, request.intent, request.moment)
        verdicts = {rule.id: rule.verdict for rule in self.rules.policy.rules}
        for name in concluded(request.intent, given).shadows:
            yield Shadowed(rule=name, verdict=verdicts[name], now=_said(self._live[name], request))


def _said(rules: CompiledPolicy, request: Request) -> Verdict:
    try:
        permission = rules.evaluate(
            key=request.key, principal=request.principal, intent=request.intent, moment=request.moment
        )
    except Refused:
        return Verdict.DENY
    return Verdict.ESCALATE if permission.quorums else Verdict.ALLOW
