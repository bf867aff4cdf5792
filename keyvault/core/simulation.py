"""What would be decided now, and why. Pure: nothing is recorded, charged or reserved.

The decision is ``decide_signature``'s own, of the same state and the same reservations; what stands beside it explains.
"""

from dataclasses import dataclass

from keyvault.core.charges import charge_of, is_unread
from keyvault.core.commands import RequestSignature
from keyvault.core.decide import Authorised, Waiting, decide_signature
from keyvault.core.errors import Reason, Refused
from keyvault.core.escalation import QUORUM_SEPARATOR, Words
from keyvault.core.events import SignatureEscalated, SignatureRefused
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Completeness, Effect, Intent
from keyvault.core.limits_check import Room, room_for
from keyvault.core.policy_explain import RuleOutcome
from keyvault.core.policy_rules import Verdict
from keyvault.core.proposals import proposal_name
from keyvault.core.state import State, find_key, split_key_name
from keyvault.core.statements import decode_statement
from keyvault.core.windows import Reservations


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The decision as whoever asks would hear it.

    ``rules``: of an ALLOW the rule that permits each effect, of a DENY what refuses, else what asks. ``reason`` is None
    for an ALLOW and for members who have not been asked yet. ``proposal``: its name, once they have been.
    """

    verdict: Verdict
    reason: Reason | None
    explanation: str
    rules: tuple[str, ...]
    quorums: tuple[str, ...] = ()
    proposal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What signing the payload means, as decoders say; ``words`` one line for each effect, ``binds`` sorted."""

    effects: tuple[Effect, ...]
    completeness: Completeness
    words: str
    binds: tuple[str, ...] = ()
    slot: str | None = None
    not_before: UnixMillis | None = None
    expires_at: UnixMillis | None = None

    @classmethod
    def of(cls, intent: Intent, words: Words) -> "Meaning":
        """Return the meaning of an intent."""
        return cls(
            effects=intent.effects,
            completeness=intent.completeness,
            words=words(intent),
            binds=tuple(sorted(intent.binds)),
            slot=intent.slot,
            not_before=intent.not_before,
            expires_at=intent.expires_at,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """Everything that can be said of one request. ``left_out`` counts outcomes that were too many to be told."""

    decision: Decision
    meaning: Meaning
    outcomes: tuple[RuleOutcome, ...]
    left_out: int
    room: tuple[Room, ...]
    policy_version: int
    at: UnixMillis


def decision_now(
    state: State, reservations: Reservations, command: RequestSignature, now: UnixMillis, words: Words
) -> Decision:
    """Return what would be decided. Raises Malformed or Overloaded if members cannot be asked."""
    match decide_signature(state, reservations, command, now, words):
        case Authorised() as decided:
            return Decision(verdict=Verdict.ALLOW, reason=None, explanation="", rules=decided.rules)
        case SignatureRefused() as decided:
            return Decision(
                verdict=Verdict.DENY,
                reason=decided.reason,
                explanation=decided.explanation,
                rules=decided.rules,
            )
        case SignatureEscalated() as decided:
            quorums = tuple(decode_statement(decided.statement)["quorum"].split(QUORUM_SEPARATOR))
            return Decision(
                verdict=Verdict.ESCALATE,
                reason=None,
                explanation="members are asked first",
                rules=decided.rules,
                quorums=quorums,
            )
        case Waiting() as decided:
            return Decision(
                verdict=Verdict.ESCALATE,
                reason=decided.reason,
                explanation=decided.explanation,
                rules=(),
                quorums=(decided.proposal.quorum_text(state.rulers),),
                proposal=proposal_name(state.enclave, decided.proposal.id),
            )


def room_now(state: State, reservations: Reservations, command: RequestSignature, now: UnixMillis) -> tuple[Room, ...]:
    """Return the quotas that the signature would count in; none if there is no such key."""
    request, intent = command.request, command.intent
    key_id, version = split_key_name(request.key)
    try:
        key = find_key(state, key_id, version)
    except Refused:
        return ()
    charge = charge_of(
        key_id,
        request.principal,
        intent.effects,
        unread=is_unread(intent.kind, intent.completeness),
        slot=None if intent.slot is None else (key.version, intent.slot),
        prices=state.rules.prices,
        at=now,
    )
    return room_for(state.windows, reservations, charge, now)
