"""Which changes of power follow from the ledger (I4). Pure: reads the state, changes nothing.

The same functions decide when a change is asked for, or a word said about it, and check the facts when they are folded.
What an approved proposal comes to is ``execution``'s to say.
"""

import hashlib

from keyvault.core import limits
from keyvault.core.approvals import Voice, verify_voice
from keyvault.core.charter import AT_ONCE, Duty, Member, Role, Rulers
from keyvault.core.due import due_rotations
from keyvault.core.errors import Reason, Refused
from keyvault.core.events import (
    BallotCast,
    ProposalMade,
)
from keyvault.core.execution import plan
from keyvault.core.ids import KeyId, MemberName, UnixMillis
from keyvault.core.pair_changes import check_asked
from keyvault.core.policy import Policy
from keyvault.core.policy_change import is_tightening
from keyvault.core.proposals import Proposal, check_open, check_voice
from keyvault.core.state import State
from keyvault.core.statements import (
    DUTIES,
    ROTATION_SERVICE,
    Action,
    Statement,
    decode_statement,
    proposal_id_of,
)

_DAY_MS = 86_400_000

# Asking ---------------------------------------------------------------------------------------------------------


def check_proposal(state: State, event: ProposalMade, index: int) -> Proposal:
    """Return the proposal if it is asked for by somebody who may, here and now, and can be done at all.

    Raises Refused or Malformed.
    """
    statement = decode_statement(event.statement)
    check_here_and_now(state, statement, event.at)
    if statement.action is Action.SIGN:
        raise _mismatch("signatures are asked for by signing requests")
    check_asked(state, statement.action)
    duty = _duty(state, statement, event.policy)
    asker = _check_asker(state, statement, event, duty)
    _check_attachments(statement, event)
    proposal = Proposal(
        id=proposal_id_of(event.statement),
        statement=statement,
        statement_bytes=event.statement,
        signature=event.signature,
        made_at=event.at,
        index=index,
        duty=duty,
        document=event.document,
        policy=event.policy,
        charter=event.charter,
        wrapped_secret=event.wrapped_secret,
    )
    state.rulers.threshold(duty)
    if asker is not None and duty in AT_ONCE and not proposal.is_approved(state.rulers):
        raise Refused(
            Reason.NOT_AUTHORIZED, f"{duty} is for {proposal.quorum_text(state.rulers)}, and {asker.name} is not"
        )
    plan(state, proposal, event.at)  # what cannot be done at all is not put to anybody
    return proposal


def check_here_and_now(state: State, statement: Statement, at: UnixMillis) -> None:
    """Raise Refused unless the statement is for this enclave, under the policy in force, and of a permitted life."""
    if statement.enclave != state.enclave or statement.enclave_id != state.enclave_id.hex():
        raise Refused(Reason.STATEMENT_MISMATCH, f"the statement is for another enclave than {state.enclave}")
    if statement.policy_version != state.policy.version:
        raise Refused(
            Reason.POLICY_CHANGED,
            f"the statement was made under policy version {statement.policy_version}, now it is {state.policy.version}",
        )
    if not at < statement.expires_at <= at + limits.PROPOSAL_LIFE_MS_MAX:
        raise Refused(
            Reason.STATEMENT_EXPIRED,
            f"the statement expires at {statement.expires_at} ms; it must be later than {at} ms and within"
            f" {limits.PROPOSAL_LIFE_MS_MAX // _DAY_MS} days",
        )


def _duty(state: State, statement: Statement, policy: Policy | None) -> Duty:
    if statement.action is not Action.POLICY_PUBLISH:
        return DUTIES[statement.action]
    if policy is None:
        raise Refused(Reason.STATEMENT_MISMATCH, "policy.publish needs the policy document")
    return Duty.POLICY_TIGHTEN if is_tightening(state.policy, policy) else Duty.POLICY_LOOSEN


def stops_at_once(state: State, event: ProposalMade | BallotCast) -> bool:
    """Return whether the fact asks for what one member may do at once."""
    if isinstance(event, BallotCast):
        return False
    statement = decode_statement(event.statement)
    return statement.action is not Action.SIGN and _duty(state, statement, event.policy) in AT_ONCE


def _check_asker(state: State, statement: Statement, event: ProposalMade, duty: Duty) -> Member | None:
    """Return the member who asks; None for the enclave itself."""
    if statement.requester == ROTATION_SERVICE:
        if event.signature is not None:
            raise Refused(Reason.NOT_AUTHORIZED, "nobody signs what the enclave proposes by itself")
        if KeyId(statement["key"]) not in due_rotations(state, event.at):
            raise _mismatch(f"key {statement['key']} is not due to be proposed for rotation")
        return None
    if event.signature is None:
        raise Refused(Reason.NOT_AUTHORIZED, "the asker's own signature is missing")
    member, key = _key_of(event.signature.keyid, state.rulers)
    if member.name != statement.requester:
        raise Refused(Reason.NOT_AUTHORIZED, f"the statement names {statement.requester}, {member.name} signed it")
    if not member.has_voice or (duty not in AT_ONCE and Role.ADMIN not in member.roles):
        raise Refused(Reason.NOT_AUTHORIZED, f"member {member.name} has no role that may ask for {duty}")
    verify_voice(key, Voice.REQUEST, event.statement, event.signature)
    return member


def _check_attachments(statement: Statement, event: ProposalMade) -> None:
    digest = hashlib.sha256(event.document).hexdigest()
    wrapped = hashlib.sha256(event.wrapped_secret).hexdigest() if event.wrapped_secret else ""
    match statement.action:
        case Action.POLICY_PUBLISH:
            fits = statement["policy_sha256"] == digest and event.policy is not None and event.charter is None
        case Action.CHARTER_CHANGE | Action.BREAK_GLASS:
            fits = statement["charter_sha256"] == digest and event.charter is not None and event.policy is None
        case Action.TOKEN_JOIN:
            fits = statement["transport_key_sha256"] == digest and event.policy is None and event.charter is None
        case _:
            fits = not event.document and event.policy is None and event.charter is None
    wanted = dict(statement.parameters).get("wrapped_sha256", "")
    if not fits or wrapped != wanted:
        raise Refused(Reason.STATEMENT_MISMATCH, "what is attached is not what the statement names")


# Saying yes or no -------------------------------------------------------------------------------------------------


def check_ballot(state: State, event: BallotCast) -> Proposal:
    """Return the proposal if this member may say this to it now, and signed it. Raises Refused or NotFound."""
    if event.voice is Voice.REQUEST:
        raise Refused(Reason.STATEMENT_MISMATCH, "asking is no word about a proposal")
    proposal = state.proposals.find(event.proposal)
    check_open(proposal, event.at)
    check_asked(state, proposal.statement.action)
    member, key = _voter(state, proposal, event)
    if member.name != event.member:
        raise Refused(Reason.NOT_AUTHORIZED, f"the key is that of {member.name}, not of {event.member}")
    if not member.has_voice:
        raise Refused(Reason.NOT_AUTHORIZED, f"member {member.name} is neither admin nor approver")
    verify_voice(key, event.voice, proposal.statement_bytes, event.signature)
    check_voice(proposal, member.name, event.signature.keyid, event.voice, state.rulers)
    return proposal


def member_of(state: State, proposal: Proposal, keyid: str) -> MemberName:
    """Return whose key this is, in the charter in force or the one that is proposed; raise Refused."""
    rulers = state.rulers
    if keyid not in rulers.by_keyid and proposal.charter is not None:
        rulers = Rulers(proposal.charter)
    return _key_of(keyid, rulers)[0].name


def _voter(state: State, proposal: Proposal, event: BallotCast) -> tuple[Member, bytes]:
    """Return who speaks. Members of a proposed charter may approve it; only those in force may veto."""
    keyid = event.signature.keyid
    if keyid in state.rulers.by_keyid or proposal.charter is None or event.voice is Voice.VETO:
        return _key_of(keyid, state.rulers)
    return _key_of(keyid, Rulers(proposal.charter))


def _key_of(keyid: str, rulers: Rulers) -> tuple[Member, bytes]:
    found = rulers.by_keyid.get(keyid)
    if found is None:
        raise Refused(
            Reason.NOT_AUTHORIZED, f"key {keyid[:16]} is not a member's in charter version {rulers.charter.version}"
        )
    return found


def _mismatch(explanation: str) -> Refused:
    return Refused(Reason.STATE_MISMATCH, explanation)
