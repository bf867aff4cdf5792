"""Proposals as the API shows them."""

from keyvault.core import limits
from keyvault.core.approvals import Voice
from keyvault.core.errors import Refused
from keyvault.core.familiar import slot_remarks
from keyvault.core.ids import KeyId, UnixMillis
from keyvault.core.policy_listed import listed_destinations
from keyvault.core.proposals import Ballot, Outcome, Proposal, proposal_name
from keyvault.core.state import State, split_key_name
from keyvault.ledger import wire
from keyvault.ledger.wire_payload import effect_to_proto, fill_payload
from keyvault.v1 import governance_pb2

_STATES = {
    Outcome.OPEN: governance_pb2.Proposal.STATE_OPEN,
    Outcome.EXECUTED: governance_pb2.Proposal.STATE_EXECUTED,
    Outcome.VETOED: governance_pb2.Proposal.STATE_VETOED,
    Outcome.EXPIRED: governance_pb2.Proposal.STATE_EXPIRED,
    Outcome.VOID: governance_pb2.Proposal.STATE_VOID,
}


def outcome_at(proposal: Proposal, now: UnixMillis) -> Outcome:
    """Return how it stands at this time: what nobody may approve any more has expired, though no fact says so."""
    if proposal.outcome is Outcome.OPEN and proposal.statement.expires_at <= now:
        return Outcome.EXPIRED
    return proposal.outcome


def proposal_to_proto(state: State, proposal: Proposal, now: UnixMillis, *, whole: bool) -> governance_pb2.Proposal:
    """Return the proposal; unless ``whole``, without payload, document and remarks."""
    quorum, approved_by, delay_ms = _standing(state, proposal)
    message = governance_pb2.Proposal(
        name=proposal_name(state.enclave, proposal.id),
        state=_STATES[outcome_at(proposal, now)],
        statement=proposal.statement_bytes,
        create_time_ms=proposal.made_at,
        ledger_index=proposal.index,
        quorum=quorum,
        ballots=[_ballot(ballot, counts=ballot.member in approved_by) for ballot in proposal.ballots.values()],
        approved_by=sorted(approved_by),
        vetoed_before=proposal_name(state.enclave, proposal.vetoed_before) if proposal.vetoed_before else "",
        closed_ledger_index=proposal.closed_index,
    )
    if proposal.signature is not None:
        message.signature.CopyFrom(wire.member_signature_to_proto(proposal.signature))
    if proposal.approved_at is not None:
        message.approved_time_ms = proposal.approved_at
        message.due_time_ms = proposal.approved_at + delay_ms
    if whole:
        message.document = proposal.document
        _fill_subject(message, state, proposal)
    return message


def _standing(state: State, proposal: Proposal) -> tuple[str, frozenset[str], int]:
    """Return whom it needs, who said yes and counts, and its delay; of what nobody may do any more, nothing."""
    try:
        approved_by = frozenset().union(*(proposal.approvers(who) for _, who in proposal.demands(state.rulers)))
        return proposal.quorum_text(state.rulers), approved_by, proposal.delay_ms(state.rulers)
    except Refused:
        return "", frozenset(), 0


def _ballot(ballot: Ballot, *, counts: bool) -> governance_pb2.Proposal.Ballot:
    return governance_pb2.Proposal.Ballot(
        member=ballot.member,
        voice=wire.VOICES.numbers[ballot.voice],
        signature=wire.member_signature_to_proto(ballot.signature),
        at_ms=ballot.at,
        ledger_index=ballot.index,
        counts=counts or ballot.voice is not Voice.APPROVE,
    )


def _fill_subject(message: governance_pb2.Proposal, state: State, proposal: Proposal) -> None:
    request = proposal.request
    if request is None:
        return
    subject = message.signature_subject
    subject.request_id = request.request_id
    subject.principal = request.principal
    subject.key = request.key
    fill_payload(subject.payload, request.payload)
    subject.effects.extend(map(effect_to_proto, proposal.effects))
    subject.signing_input = proposal.signing_input
    subject.completeness = wire.COMPLETENESS.numbers[proposal.completeness]
    if proposal.outcome is Outcome.OPEN:
        key, _ = split_key_name(request.key)
        familiar = state.familiar
        remarks = slot_remarks(familiar.slots, proposal.slot, proposal.effects, state.size)
        remarks += familiar.remarks(KeyId(key), proposal.effects, listed_destinations(state.policy))
        message.remarks.extend(
            governance_pb2.Proposal.Remark(effect=remark.effect, mark=remark.mark, detail=remark.detail)
            for remark in remarks[: limits.REMARKS_TOLD_MAX]
        )
