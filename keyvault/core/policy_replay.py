"""A draft held against history: what it would have said to every request that the ledger has answers to. Pure.

1. One request is one decision, taken where the ledger took it: where it was signed, refused, or left to members. What
   members said later is not decided again.
2. What a policy does not decide stays as it was: a key that is not there or not active, a freeze, a clock.
3. Limits are counted in order. What was signed before the period is charged as it was. In the period what the draft
   allows is charged; of what it leaves to members, what was signed: they are taken to have approved that, and nothing
   else. What the draft refuses is not charged.
4. Destinations are as familiar as they were: the draft's own history is not made up.
5. Equal ledgers, periods and drafts give equal decisions, on any machine at any time.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from keyvault.core.charges import Charge, charge_of, is_unread
from keyvault.core.errors import Malformed, Reason, Refused
from keyvault.core.events import (
    Event,
    IncarnationStarted,
    SignatureEscalated,
    SignatureIssued,
    SignatureRefused,
    SignatureRequest,
)
from keyvault.core.ids import KeyId, Principal, UnixMillis
from keyvault.core.intent import Intent
from keyvault.core.limits_check import check_limits
from keyvault.core.policy import CompiledPolicy, Policy, compile_policy
from keyvault.core.policy_facts import Moment
from keyvault.core.policy_rules import Verdict
from keyvault.core.state import State, find_key, split_key_name
from keyvault.core.windows import Reservations, Windows

POLICY_REASONS = frozenset({Reason.NO_RULE_ALLOWS, Reason.DENIED_BY_RULE, Reason.POLICY_ERROR, Reason.LIMIT_EXCEEDED})
"""Refusals that are the policy's; another policy could say something else."""
_ANSWERED_BY_MEMBERS = frozenset({Reason.VETOED, Reason.PROPOSAL_EXPIRED, Reason.POLICY_CHANGED})
_NOTHING_UNDER_WAY = Reservations()


class Change(StrEnum):
    """How a decision differs."""

    SAME = "same"
    NEWLY_ALLOWED = "newly-allowed"
    NEWLY_ESCALATED = "newly-escalated"
    NEWLY_REFUSED = "newly-refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What rules and limits say. ``moved`` is what a signature counts as; ``rules`` as in ``simulation.Decision``."""

    verdict: Verdict
    rules: tuple[str, ...]
    moved: Charge
    reason: Reason | None = None
    explanation: str = ""
    quorums: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Redecided:
    """One request of the history: what was said to it, and what the draft says. ``usd`` is in 10**-6 dollars."""

    index: int
    at: UnixMillis
    key: KeyId
    principal: Principal
    kind: str
    was: Verdict
    now: Verdict
    rules: tuple[str, ...]
    reason: Reason | None
    explanation: str
    usd: int | None

    @property
    def change(self) -> Change:
        """How it differs."""
        if self.was is self.now:
            return Change.SAME
        return {
            Verdict.ALLOW: Change.NEWLY_ALLOWED,
            Verdict.ESCALATE: Change.NEWLY_ESCALATED,
            Verdict.DENY: Change.NEWLY_REFUSED,
        }[self.now]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it is judged: with the key version that would sign."""

    key: KeyId
    version: int
    principal: Principal
    intent: Intent
    moment: Moment


def judged(rules: CompiledPolicy, windows: Windows, request: Request) -> Judgement:
    """Return what the rules, and the limits that the windows watch, say to a request. Changes nothing."""
    charge = charge_for(rules, request)
    try:
        permission = rules.evaluate(
            key=request.key, principal=request.principal, intent=request.intent, moment=request.moment
        )
        check_limits(windows, _NOTHING_UNDER_WAY, charge, request.moment.now)
    except Refused as refused:
        return Judgement(
            verdict=Verdict.DENY,
            rules=refused.rules,
            moved=charge,
            reason=refused.reason,
            explanation=refused.explanation,
        )
    if permission.quorums:
        return Judgement(
            verdict=Verdict.ESCALATE, rules=permission.escalated_by, moved=charge, quorums=permission.quorums
        )
    return Judgement(verdict=Verdict.ALLOW, rules=permission.rules, moved=charge)


def charge_for(rules: CompiledPolicy, request: Request) -> Charge:
    """Return what a signature counts as, at the prices of these rules."""
    intent = request.intent
    return charge_of(
        request.key,
        request.principal,
        intent.effects,
        unread=is_unread(intent.kind, intent.completeness),
        slot=None if intent.slot is None else (request.version, intent.slot),
        prices=rules.prices,
        at=request.moment.now,
    )


class Replay:
    """Decides a ledger's history again under a draft. Fold the ledger, and show every entry before it is applied."""

    def __init__(self, draft: Policy, *, since: UnixMillis) -> None:
        rules = compile_policy(draft)
        self.rules = replace(rules, prices=rules.prices.reaching_back())
        self.windows = Windows()
        self.windows.watch(draft)
        self._since = since
        self._asked: dict[tuple[str, str], Verdict] = {}
        """What the draft said to requests that members were asked about."""

    def redecide(self, state: State, index: int, event: Event, intent: Intent | None) -> Redecided | None:
        """Return what the draft says to the request of an entry, and charge its windows; None for other entries.

        ``state`` is that before the entry. ``intent`` is what the payload of a refusal means, None if nobody knows.
        """
        match event:
            case SignatureIssued():
                return self._issued(state, index, event)
            case SignatureEscalated():
                return self._escalated(state, index, event)
            case SignatureRefused():
                return self._refused(state, index, event, intent)
            case IncarnationStarted():
                self.windows.lose(event.at)
                return None
            case _:
                return None

    def _issued(self, state: State, index: int, event: SignatureIssued) -> Redecided | None:
        request = _request(state, event.request, event.key_version, intent_of(event), event.at, event.known)
        if event.proposal:
            said = self._asked.pop((event.request.principal, event.request.request_id), None)
            if said in (None, Verdict.ESCALATE):  # asked before the period: signed, as it was
                self.windows.charge(charge_for(self.rules, request), event.at)
            return None
        if event.at < self._since:
            self.windows.charge(charge_for(self.rules, request), event.at)
            return None
        found = judged(self.rules, self.windows, request)
        if found.verdict is not Verdict.DENY:
            self.windows.charge(found.moved, event.at)
        return _redecided(index, event.at, event.request, Verdict.ALLOW, request, found)

    def _escalated(self, state: State, index: int, event: SignatureEscalated) -> Redecided | None:
        if event.at < self._since:
            return None
        request = _request(state, event.request, None, intent_of(event), event.at, event.known)
        found = judged(self.rules, self.windows, request)
        self._asked[event.request.principal, event.request.request_id] = found.verdict
        if found.verdict is Verdict.ALLOW:
            self.windows.charge(found.moved, event.at)
        return _redecided(index, event.at, event.request, Verdict.ESCALATE, request, found)

    def _refused(self, state: State, index: int, event: SignatureRefused, intent: Intent | None) -> Redecided | None:
        before = self._asked.pop((event.request.principal, event.request.request_id), None)
        if before is not None or event.reason in _ANSWERED_BY_MEMBERS or event.at < self._since:
            return None
        if intent is None or event.reason not in POLICY_REASONS:
            return _unchanged(index, event)
        try:
            request = _request(state, event.request, None, intent, event.at, index)
        except (Refused, Malformed):
            return _unchanged(index, event)
        found = judged(self.rules, self.windows, request)
        if found.verdict is Verdict.ALLOW:
            self.windows.charge(found.moved, event.at)
        return _redecided(index, event.at, event.request, Verdict.DENY, request, found)


def intent_of(event: SignatureIssued | SignatureEscalated) -> Intent:
    """Return the meaning that a fact states, without decoding its payload."""
    return Intent(
        kind=event.request.payload.kind,
        algorithms=frozenset(),
        signing_input=event.signing_input,
        effects=event.effects,
        completeness=event.completeness,
        expires_at=event.expires_at,
        slot=event.slot,
    )


def _request(
    state: State, asked: SignatureRequest, version: int | None, intent: Intent, at: UnixMillis, known: int
) -> Request:
    key, named = split_key_name(asked.key)
    return Request(
        key=key,
        version=find_key(state, key, named).version if version is None else version,
        principal=asked.principal,
        intent=intent,
        moment=Moment(now=at, familiar=state.familiar, known=known),
    )


def _redecided(
    index: int, at: UnixMillis, asked: SignatureRequest, was: Verdict, request: Request, found: Judgement
) -> Redecided:
    return Redecided(
        index=index,
        at=at,
        key=request.key,
        principal=asked.principal,
        kind=asked.payload.kind.value,
        was=was,
        now=found.verdict,
        rules=found.rules,
        reason=found.reason,
        explanation=found.explanation,
        usd=found.moved.usd,
    )


def _unchanged(index: int, event: SignatureRefused) -> Redecided:
    """Return a refusal that no policy decides, or that nobody can read any more."""
    return Redecided(
        index=index,
        at=event.at,
        key=split_key_name(event.request.key)[0],
        principal=event.request.principal,
        kind=event.request.payload.kind.value,
        was=Verdict.DENY,
        now=Verdict.DENY,
        rules=event.rules,
        reason=event.reason,
        explanation=event.explanation,
        usd=None,
    )
