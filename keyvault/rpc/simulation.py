"""Simulate and GetQuota: what would be decided and what is left, for whom it concerns.

Who may ask is law here: admins and auditors about anybody; everybody else about themselves, and only about keys that a
rule lets them use. What others do shows nowhere: rules about others, and limits that count apart for each venue,
destination or asset, are not told to whoever may ask about themselves only.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator

from keyvault.core import limits
from keyvault.core.commands import RequestSignature
from keyvault.core.errors import NotFound, Overloaded, Reason, Refused
from keyvault.core.ids import KeyId, Principal, parse_principal, role_of
from keyvault.core.limits_check import Quota
from keyvault.core.policy import CompiledPolicy
from keyvault.core.policy_explain import RuleOutcome, may_use, outcomes
from keyvault.core.policy_rules import Per
from keyvault.core.simulation import Meaning, Simulation
from keyvault.core.state import moment_of, split_key_name
from keyvault.engine.clock import Clock
from keyvault.engine.served import Served
from keyvault.intents import describe
from keyvault.rpc.names import parse_key_name
from keyvault.v1 import signing_pb2

SEES_EVERYBODY = frozenset({"admin", "auditor"})
"""Roles that may ask about any principal."""
_OWN = frozenset({Per.KEY, Per.PRINCIPAL, Per.TAG, Per.ALL})
"""Limits whose groups follow from key and principal: they hold whoever asks."""
_UNNAMED = "simulated"
"""The request id of whoever gives none."""


class Simulations:
    """Answers about what is not done. Everything that can change is read at once; explaining gives way to signing."""

    def __init__(self, enclave: Served, clock: Clock) -> None:
        self._enclave = enclave
        self._clock = clock
        self._under_way: Counter[Principal] = Counter()

    def principal_of(self, caller: Principal, named: str) -> Principal:
        """Return about whom is asked; raise Refused(NOT_AUTHORIZED) if that is not the caller's business."""
        principal = parse_principal(named) if named else caller
        if principal != caller and role_of(caller) not in SEES_EVERYBODY:
            raise Refused(Reason.NOT_AUTHORIZED, f"{caller} may ask about itself only")
        return principal

    async def simulate(self, caller: Principal, command: RequestSignature) -> Simulation:
        """Return what would be decided now, and why. Raises Refused for who may not ask, Overloaded."""
        self._check_key(caller, split_key_name(command.request.key)[0])
        if self._under_way[caller] >= limits.PRINCIPAL_SIMULATIONS_MAX:
            most = limits.PRINCIPAL_SIMULATIONS_MAX
            raise Overloaded(f"{caller} has {most} simulations under way", retry_after_ms=1_000)
        self._under_way[caller] += 1
        try:
            return await self._simulated(caller, command)
        finally:
            self._under_way[caller] -= 1

    def quotas(self, caller: Principal, key_name: str, named: str) -> tuple[Quota, ...]:
        """Return what was used of the limits about a key and a principal."""
        principal = self.principal_of(caller, named)
        enclave, key, _ = parse_key_name("key", key_name)
        if enclave != self._enclave.state.enclave:
            raise NotFound(f"this server has no enclave {enclave}")
        self._check_key(caller, key)
        if key not in self._enclave.state.keys:
            raise NotFound(f"enclave {enclave} has no key {key}")
        found = self._enclave.quotas(key, principal, self._clock.now())
        return tuple(each for each in found if _may_see(caller, each))

    def _check_key(self, caller: Principal, key: KeyId) -> None:
        if role_of(caller) not in SEES_EVERYBODY and not may_use(self._enclave.state.policy, key, caller):
            raise Refused(Reason.NOT_AUTHORIZED, f"no rule lets {caller} use key {key}, so nothing is told about it")

    async def _simulated(self, caller: Principal, command: RequestSignature) -> Simulation:
        # No await before all that can change is read: the decision, the facts and the limits are of one moment.
        state, now, intent = self._enclave.state, self._clock.now(), command.intent
        request = command.request
        decision, room = self._enclave.simulate(command, now)
        rules, at = state.rules, moment_of(state, now)
        told = _Told(hidden=frozenset() if role_of(caller) in SEES_EVERYBODY else _not_about(rules, caller))
        given = outcomes(rules, split_key_name(request.key)[0], request.principal, intent, at)
        for number, outcome in enumerate(given, 1):
            told.add(outcome)
            if number % limits.OUTCOMES_AT_ONCE == 0:
                await asyncio.sleep(0)
        return Simulation(
            decision=decision,
            meaning=Meaning.of(intent, describe),
            outcomes=tuple(told.chosen()),
            left_out=told.left_out,
            room=tuple(each for each in room if _may_see(caller, each.quota)),
            policy_version=rules.policy.version,
            at=now,
        )


class _Told:
    """Outcomes within a bound: those that match are kept before those that do not."""

    def __init__(self, hidden: frozenset[str]) -> None:
        self._hidden = hidden
        self._matching: list[tuple[int, RuleOutcome]] = []
        self._others: list[tuple[int, RuleOutcome]] = []
        self._number = 0

    def add(self, outcome: RuleOutcome) -> None:
        """Keep it if there is room, and it is the caller's business."""
        if self._hidden and (outcome.effect is None or outcome.rule in self._hidden):
            return
        self._number += 1
        some = self._matching if outcome.matches else self._others
        if len(some) < limits.OUTCOMES_TOLD_MAX:
            some.append((self._number, outcome))

    @property
    def left_out(self) -> int:
        """How many there was no room for."""
        return max(0, self._number - limits.OUTCOMES_TOLD_MAX)

    def chosen(self) -> Iterator[RuleOutcome]:
        """Give those that are told, in their order."""
        kept: Iterable[tuple[int, RuleOutcome]] = self._matching + self._others
        first = list(kept)[: limits.OUTCOMES_TOLD_MAX]
        return (outcome for _, outcome in sorted(first, key=lambda each: each[0]))


def named(request: signing_pb2.SignRequest) -> signing_pb2.SignRequest:
    """Return the request with a request id, whatever it is called if it has none."""
    if not request.request_id:
        request.request_id = _UNNAMED
    return request


def _may_see(caller: Principal, quota: Quota) -> bool:
    return quota.per in _OWN or role_of(caller) in SEES_EVERYBODY


def _not_about(rules: CompiledPolicy, caller: Principal) -> frozenset[str]:
    """Return the rules that name principals and not this one, and a name that no rule has, so that it is not empty."""
    others = (
        rule.id
        for rule in rules.policy.rules
        if isinstance(rule.principals, frozenset) and caller not in rule.principals
    )
    return frozenset({"", *others})
