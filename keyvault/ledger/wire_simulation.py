"""Simulations and quotas, between core values and API messages."""

from keyvault.core.errors import Malformed, Reason
from keyvault.core.ids import UnixMillis
from keyvault.core.limits_check import Quota, Room
from keyvault.core.policy_explain import RuleOutcome
from keyvault.core.simulation import Decision, Meaning, Simulation
from keyvault.core.tallies import Measure
from keyvault.ledger.wire import COMPLETENESS, PERS, VERDICTS
from keyvault.ledger.wire_payload import effect_from_proto, effect_to_proto
from keyvault.v1 import signing_pb2

_DIGITS_MAX = 160
"""Of a number: more than all amounts of all chains can add up to."""


def simulation_to_proto(found: Simulation) -> signing_pb2.SimulateResponse:
    """Return the message."""
    decision, meaning = found.decision, found.meaning
    return signing_pb2.SimulateResponse(
        verdict=VERDICTS.numbers[decision.verdict],
        reason=decision.reason or "",
        explanation=decision.explanation,
        rules=decision.rules,
        quorums=decision.quorums,
        proposal=decision.proposal,
        outcomes=map(_outcome_to_proto, found.outcomes),
        outcomes_left_out=found.left_out,
        effects=map(effect_to_proto, meaning.effects),
        completeness=COMPLETENESS.numbers[meaning.completeness],
        summary=meaning.words,
        binds=meaning.binds,
        slot=meaning.slot or "",
        not_before_ms=meaning.not_before or 0,
        expire_time_ms=meaning.expires_at or 0,
        limits=[quota_to_proto(each.quota, each) for each in found.room],
        policy_version=found.policy_version,
        decide_time_ms=found.at,
    )


def simulation_from_proto(message: signing_pb2.SimulateResponse) -> Simulation:
    """Return what the message says, or raise Malformed."""
    return Simulation(
        decision=Decision(
            verdict=VERDICTS.word("verdict", message.verdict),
            reason=_reason(message.reason),
            explanation=message.explanation,
            rules=tuple(message.rules),
            quorums=tuple(message.quorums),
            proposal=message.proposal,
        ),
        meaning=Meaning(
            effects=tuple(map(effect_from_proto, message.effects)),
            completeness=COMPLETENESS.word("completeness", message.completeness),
            words=message.summary,
            binds=tuple(message.binds),
            slot=message.slot or None,
            not_before=UnixMillis(message.not_before_ms) if message.not_before_ms else None,
            expires_at=UnixMillis(message.expire_time_ms) if message.expire_time_ms else None,
        ),
        outcomes=tuple(map(_outcome, message.outcomes)),
        left_out=message.outcomes_left_out,
        room=tuple(
            Room(quota=quota_from_proto(each), asked=_number("asked", each.asked) if each.HasField("asked") else None)
            for each in message.limits
        ),
        policy_version=message.policy_version,
        at=UnixMillis(message.decide_time_ms),
    )


def quota_to_proto(quota: Quota, room: Room | None = None) -> signing_pb2.LimitUse:
    """Return the message; with what a signature asks, if it is of one."""
    return signing_pb2.LimitUse(
        limit=quota.limit,
        per=PERS.numbers[quota.per],
        group=quota.group,
        measure=quota.measure,
        used=str(quota.used),
        cap=str(quota.cap),
        window_ms=quota.window_ms,
        asked=None if room is None or room.asked is None else str(room.asked),
    )


def quota_from_proto(message: signing_pb2.LimitUse) -> Quota:
    """Return what the message says, or raise Malformed."""
    if message.measure not in list(Measure):
        raise Malformed("measure", f"{message.measure[:40]!r} is not one that this build knows")
    return Quota(
        limit=message.limit,
        per=PERS.word("per", message.per),
        group=message.group,
        measure=Measure(message.measure),
        used=_number("used", message.used),
        cap=_number("cap", message.cap),
        window_ms=message.window_ms,
    )


def _outcome_to_proto(outcome: RuleOutcome) -> signing_pb2.RuleOutcome:
    return signing_pb2.RuleOutcome(
        rule=outcome.rule,
        verdict=VERDICTS.numbers[outcome.verdict],
        effect=outcome.effect,
        matches=outcome.matches,
        permits=outcome.permits,
        why_not=outcome.why_not,
        shadow=outcome.shadow,
    )


def _outcome(message: signing_pb2.RuleOutcome) -> RuleOutcome:
    return RuleOutcome(
        rule=message.rule,
        verdict=VERDICTS.word("verdict", message.verdict),
        effect=message.effect if message.HasField("effect") else None,
        matches=message.matches,
        permits=message.permits,
        why_not=message.why_not,
        shadow=message.shadow,
    )


def _reason(text: str) -> Reason | None:
    if not text:
        return None
    try:
        return Reason(text)
    except ValueError:
        raise Malformed("reason", f"{text[:40]!r} is not one that this build knows") from None


def _number(field: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > _DIGITS_MAX:
        raise Malformed(field, "is not a decimal integer")
    return int(text)
