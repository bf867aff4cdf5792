"""State is the fold of the ledger (I2). ``apply`` is the only function that changes it.

Laws:

1. Recovery, following, verification and normal running all come through ``apply``.
2. Entry 0 is Genesis, entry 1 and every change of epoch is TermStarted, epochs only grow.
3. A change of power is believed only if an open proposal asks for exactly it, and members approved that proposal by
   their own signatures, enough of them under the charter in force, after its delay and before its end (I4).
4. A signature stands only for an active key that is not frozen, under the policy in force; if it names a proposal, then
   as approved. It charges the windows.
5. A fact that does not follow from the state is Corrupt: the ledger was tampered with, or this build is wrong.
   Either way the replica stops.
6. For proposals time never goes back: what has expired stays so, whatever the clock of a later leader says.
7. Who may lead, and what may be said while a node only stands, is as ``pair`` says.
8. A new incarnation ends every other proposal, and fills every window up to its own time.
"""

import hashlib
from dataclasses import replace
from typing import assert_never

from keyvault.core import limits
from keyvault.core.apply_keys import PUBLIC_KEY_BYTES, apply_key_created, apply_key_state, check_public_key, put_key
from keyvault.core.apply_tokens import apply_copied, apply_roots, apply_token, forget_key, note_in_clear
from keyvault.core.approvals import Voice
from keyvault.core.charges import Charge, charge_of, is_unread
from keyvault.core.charter import Rulers, check_charter
from keyvault.core.due import destroyed
from keyvault.core.errors import Corrupt, Malformed, NotFound, Reason, Refused
from keyvault.core.escalation import check_approved, check_unescalated, proposal_of
from keyvault.core.events import (
    BallotCast,
    CeremonyStepRecorded,
    Change,
    ChangeRefused,
    CharterChanged,
    Event,
    FreezeChanged,
    Genesis,
    IncarnationStarted,
    KeyCreated,
    KeyDestroyed,
    KeyProved,
    KeySealed,
    KeyStateChanged,
    PairSet,
    PolicyPublished,
    ProposalMade,
    SignatureEscalated,
    SignatureIssued,
    SignatureRefused,
    TermStarted,
    TokenJoined,
    is_ordinary,
)
from keyvault.core.execution import KeyToMake, carry_out, check_policy_quorums
from keyvault.core.governance import check_ballot, check_proposal
from keyvault.core.ids import UnixMillis
from keyvault.core.keys import KeyAlgorithm, KeyState
from keyvault.core.limits_check import check_lost
from keyvault.core.marks import Incarnation
from keyvault.core.pair_changes import apply_pair, check_permitted, check_term
from keyvault.core.policy import Policy, compile_policy
from keyvault.core.proposals import Ballot, Outcome, Proposal
from keyvault.core.state import State, check_not_frozen, check_signs, find_key, split_key_name
from keyvault.core.token_changes import TokenToJoin

NONCE_BYTES = 16
_DECIDES_NOTHING = (TermStarted, ProposalMade, BallotCast, ChangeRefused, PairSet)


def apply(state: State, index: int, event: Event) -> None:
    """Make ``state`` include the event at ``index``; raise Corrupt if it does not follow, leaving no half change."""
    try:
        _apply(state, index, event)
    except (Refused, Malformed, NotFound) as error:
        raise Corrupt(f"entry {index} ({type(event).__name__}) does not follow: {error}", index=index) from error
    state.latest_at = max(state.latest_at, event.at)
    state.whole = state.whole and index == state.size
    state.size = index + 1
    if not isinstance(event, _DECIDES_NOTHING):
        state.decided, state.decided_at = index + 1, event.at
    if not is_ordinary(event) and not isinstance(event, TermStarted | ChangeRefused):
        state.changed = index + 1


def suppose(state: State, policy: Policy) -> None:
    """Let a policy be in force that no ledger has published: for a state that answers questions and nothing else."""
    _set_policy(state, policy, b"")


def _apply(state: State, index: int, event: Event) -> None:
    _check_place(state, index, event)
    match event:
        case SignatureIssued():
            _apply_issued(state, index, event)
        case SignatureRefused():
            _apply_refused(state, index, event)
        case SignatureEscalated():
            _apply_escalated(state, index, event)
        case ProposalMade() | BallotCast() | ChangeRefused():
            _apply_voice(state, index, event)
        case TermStarted():
            check_term(state, event)
            state.epoch, state.term_node, state.stands = event.epoch, event.node, event.stands
        case Genesis():
            _apply_genesis(state, event)
        case KeySealed() | KeyProved():
            _check_time(state, event.at)
            apply_copied(state, event)
        case _:
            _apply_change(state, index, event)


def _check_place(state: State, index: int, event: Event) -> None:
    if (index == 0) != isinstance(event, Genesis):
        raise _mismatch("entry 0 and no other is the genesis")
    if isinstance(event, TermStarted):
        if event.epoch <= state.epoch:
            raise _mismatch(f"epoch {event.epoch} does not follow epoch {state.epoch}")
    elif event.epoch != state.epoch:
        raise _mismatch(f"epoch is {event.epoch}, but the term is {state.epoch}")
    elif index == 1:
        raise _mismatch("entry 1 must start the first term")
    else:
        check_permitted(state, event)


def _apply_genesis(state: State, event: Genesis) -> None:
    check_charter(event.charter)
    if (
        event.policy.version != 1
        or event.charter.version != 1
        or len(event.nonce) != NONCE_BYTES
        or len(event.log_public_key) != PUBLIC_KEY_BYTES[KeyAlgorithm.ED25519]
    ):
        raise _mismatch("genesis needs policy and charter version 1, a nonce of 16 bytes and an Ed25519 log key")
    rulers = Rulers(event.charter)
    check_policy_quorums(event.policy, rulers)
    state.enclave = event.enclave
    state.enclave_id = enclave_id_of(event)
    state.log_public_key = event.log_public_key
    state.import_public_key = event.import_public_key
    apply_roots(state, event.sealed)
    _set_charter(state, rulers, event.charter_document)
    _set_policy(state, event.policy, event.policy_document)


def enclave_id_of(genesis: Genesis) -> bytes:
    """Return what statements call this enclave: SHA-256 over nonce, log key and name.

    Whoever wants the same id for another enclave needs the log's private key to give it checkpoints.
    """
    return hashlib.sha256(
        b"keyvault/enclave/v1\0" + genesis.nonce + genesis.log_public_key + genesis.enclave.encode()
    ).digest()


# Proposals --------------------------------------------------------------------------------------------------------


def _apply_voice(state: State, index: int, event: ProposalMade | BallotCast | ChangeRefused) -> None:
    match event:
        case ProposalMade():
            _check_time(state, event.at)
            proposal = check_proposal(state, event, index)
            _check_new(state, proposal)
            state.proposals.expire(event.at, index, alone=True)
            state.proposals.add(proposal)
            state.proposals.weigh(proposal, state.rulers, event.at)
        case BallotCast():
            _apply_ballot(state, index, event)
        case ChangeRefused():
            pass  # evidence only; it waits for nothing, so it may be dated before facts that came first
        case _:
            assert_never(event)


def _apply_ballot(state: State, index: int, event: BallotCast) -> None:
    _check_time(state, event.at)
    proposal = check_ballot(state, event)
    state.proposals.expire(event.at, index, alone=True)
    proposal.ballots[event.signature.keyid] = Ballot(
        member=event.member, voice=event.voice, at=event.at, index=index, signature=event.signature
    )
    if event.voice is Voice.VETO:
        state.proposals.close(proposal, Outcome.VETOED, index)
    else:
        state.proposals.weigh(proposal, state.rulers, event.at)


def _apply_change(state: State, index: int, event: Change) -> None:
    _check_time(state, event.at)
    if isinstance(event, KeyDestroyed):
        if event != destroyed(state, event.key, event.version, event.at):
            raise _mismatch("it is not the destruction that was approved")
        put_key(state, replace(find_key(state, event.key, event.version), state=KeyState.DESTROYED, destroy_at=None))
        forget_key(state, event.key, event.version)
        return
    proposal = state.proposals.find(event.proposal)
    expected = carry_out(state, event.proposal, event.at)
    if isinstance(expected, KeyToMake) and isinstance(event, KeyCreated):
        expected = expected.created(event.public_key)
    if isinstance(expected, TokenToJoin) and isinstance(event, TokenJoined):
        expected = expected.joined(event.wrapped_key)
    if event != expected:
        raise _mismatch("it is not what the members approved")
    _carry(state, index, event, proposal)


def _carry(state: State, index: int, event: Change, proposal: Proposal) -> None:
    document, policy, charter = proposal.document, proposal.policy, proposal.charter
    if isinstance(event, KeyCreated):
        check_public_key(event)
    # What it voids ends before it does: so many may be voided that only the last ones to end are remembered.
    _void_others(state, index, event, proposal)
    state.proposals.close(proposal, Outcome.EXECUTED, index)
    match event:
        case KeyCreated():
            apply_key_created(state, event, proposal)
            note_in_clear(state, event.key, proposal)
        case KeyStateChanged():
            apply_key_state(state, event)
        case PolicyPublished() if policy is not None:
            _set_policy(state, policy, document)
        case CharterChanged() if charter is not None:
            _set_charter(state, Rulers(charter), document)
            state.proposals.recount(state.rulers, event.at)
        case FreezeChanged():
            _apply_freeze(state, event, proposal)
        case CeremonyStepRecorded():
            pass
        case IncarnationStarted():
            _apply_incarnation(state, index, event, proposal)
        case PairSet():
            apply_pair(state, index, event)
        case _:
            apply_token(state, event)


def _void_others(state: State, index: int, event: Change, proposal: Proposal) -> None:
    match event:
        case PolicyPublished():
            state.proposals.void(event.version, index, besides=proposal)
        case CharterChanged():
            state.proposals.void_charters(index, besides=proposal)
        case IncarnationStarted():
            state.proposals.void_all(index, besides=proposal)
        case _:
            pass


def _check_time(state: State, at: UnixMillis) -> None:
    if at < state.latest_at:
        raise _mismatch(f"it is dated {at} ms, after a fact of {state.latest_at} ms")


def _check_new(state: State, proposal: Proposal) -> None:
    if proposal.id in state.proposals.open or proposal.id in state.proposals.closed:
        raise _mismatch("the proposal was made before")


# Policy, charter, freezes, incarnations -------------------------------------------------------------------------------


def _apply_freeze(state: State, event: FreezeChanged, proposal: Proposal) -> None:
    if event.frozen:
        state.frozen[event.scope, event.name] = proposal.statement.requester
    else:
        del state.frozen[event.scope, event.name]


def _apply_incarnation(state: State, index: int, event: IncarnationStarted, proposal: Proposal) -> None:
    begun = Incarnation(
        number=event.incarnation,
        index=index,
        at=event.at,
        position=event.position,
        lost=event.lost,
        reason=proposal.statement["reason"],
    )
    state.incarnations += (begun,)
    state.windows.lose(event.at)


def _set_policy(state: State, policy: Policy, document: bytes) -> None:
    state.rules = compile_policy(policy)
    state.policy = policy
    state.windows.watch(policy)
    state.policy_document = document
    state.policy_sha256 = hashlib.sha256(document).digest()


def _set_charter(state: State, rulers: Rulers, document: bytes) -> None:
    state.rulers = rulers
    state.charter_document = document
    state.charter_sha256 = hashlib.sha256(document).digest()


# Signatures -------------------------------------------------------------------------------------------------------


def _apply_escalated(state: State, index: int, event: SignatureEscalated) -> None:
    _check_policy(state, event.policy_version, event.policy_sha256)
    _check_known(index, event.known)
    proposal = proposal_of(state, event, index)
    _check_new(state, proposal)
    if proposal.asked_by in state.proposals.by_request:
        raise _mismatch("this request is escalated already")
    state.proposals.expire(event.at, index, alone=False)
    state.proposals.add(proposal)


def _apply_issued(state: State, index: int, event: SignatureIssued) -> None:
    key_id, _ = split_key_name(event.request.key)
    key = find_key(state, key_id, event.key_version)
    check_signs(key)
    check_not_frozen(state, key_id, event.request.principal, event.effects)
    _check_policy(state, event.policy_version, event.policy_sha256)
    _check_known(index, event.known)
    charge = _charge_of(state, event)
    check_lost(state.windows, charge, event.at)
    if event.proposal:
        state.proposals.close(check_approved(state, event), Outcome.EXECUTED, index)
    else:
        check_unescalated(state, event)
    state.windows.charge(charge, event.at)
    state.familiar.saw(key_id, event.effects, index, event.at)
    state.familiar.slots.fill(event.slot, event.effects, index)
    if event.stamp is not None:
        state.nonces[key_id] = max(event.stamp.nonce, state.nonces.get(key_id, 0))


def _charge_of(state: State, event: SignatureIssued) -> Charge:
    """Return what the signature uses, or raise Refused if it is not worth what the fact says."""
    charge = charge_of(
        split_key_name(event.request.key)[0],
        event.request.principal,
        event.effects,
        unread=is_unread(event.request.payload.kind, event.completeness),
        slot=None if event.slot is None else (event.key_version, event.slot),
        prices=state.rules.prices,
        at=event.at,
    )
    if charge.usd != event.usd:
        raise _mismatch(f"it says that it moves {event.usd} millionths of a dollar; by the policy it is {charge.usd}")
    return charge


def _apply_refused(state: State, index: int, event: SignatureRefused) -> None:
    _check_policy(state, event.policy_version, event.policy_sha256)
    asked = state.proposals.of_request(event.request.principal, event.request.request_id)
    if asked is not None:  # its request has an answer: there is nothing left to approve
        expired = event.reason is Reason.PROPOSAL_EXPIRED
        state.proposals.close(asked, Outcome.EXPIRED if expired else Outcome.VOID, index)


def _check_known(index: int, known: int) -> None:
    """Raise Refused if the decision says that it knew less of the ledger than what was under way can explain."""
    if not 0 <= index - known <= limits.HISTORY_LAG_MAX:
        raise _mismatch(f"it was decided with {known} entries known, too far from its own place")


def _check_policy(state: State, version: int, sha256: bytes) -> None:
    if version != state.policy.version or sha256 != state.policy_sha256:
        raise _mismatch(f"decided under policy version {version}, but version {state.policy.version} is in force")


def _mismatch(explanation: str) -> Refused:
    return Refused(Reason.STATE_MISMATCH, explanation)
