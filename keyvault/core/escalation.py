"""Signatures that policy leaves to members: what they are asked, and when it is enough.

The statement binds the exact bytes: hashes of the payload, of the decoded facts, and of the plain words that an
approver reads, the version of the key, the policy. Any other byte is another request.
"""

import hashlib
from collections.abc import Callable

from keyvault.core import limits
from keyvault.core.errors import Malformed, Reason, Refused
from keyvault.core.events import SignatureEscalated, SignatureIssued, SignatureRequest
from keyvault.core.governance import check_here_and_now
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Intent
from keyvault.core.keys import KeyVersion
from keyvault.core.policy import Permission
from keyvault.core.policy_facts import Moment
from keyvault.core.proposals import Proposal, check_executable
from keyvault.core.quorum import parse_quorum
from keyvault.core.state import State, find_key, split_key_name
from keyvault.core.statements import (
    Action,
    Statement,
    decode_statement,
    facts_sha256,
    payload_sha256,
    proposal_id_of,
    public_key_text,
    words_sha256,
)

QUORUM_SEPARATOR = "; "
"""Between the quorums of several rules; no quorum's text holds it."""

Words = Callable[[Intent], str]
"""Says in plain words what an intent does (keyvault.intents.describe)."""


def escalated(
    state: State,
    request: SignatureRequest,
    intent: Intent,
    key: KeyVersion,
    permission: Permission,
    words: Words,
    at: UnixMillis,
) -> SignatureEscalated:
    """Return the fact that members are asked; raise Malformed if there is too much to ask."""
    statement = Statement(
        action=Action.SIGN,
        enclave=state.enclave,
        enclave_id=state.enclave_id.hex(),
        policy_version=state.policy.version,
        requester=request.principal,
        parameters=(
            ("algorithm", key.algorithm.value),
            ("facts_sha256", facts_sha256(intent.effects, intent.approved_input, intent.completeness)),
            ("key", key.key),
            ("key_version", str(key.version)),
            ("kind", intent.kind.value),
            ("payload_sha256", payload_sha256(request.payload)),
            ("public_key", public_key_text(key)),
            ("quorum", QUORUM_SEPARATOR.join(permission.quorums)),
            ("request_id", request.request_id),
            ("words_sha256", words_sha256(words(intent))),
        ),
        nonce=_nonce(request),
        expires_at=UnixMillis(at + limits.PROPOSAL_LIFE_MS),
    )
    payload = statement.encode()
    if len(payload) > limits.STATEMENT_BYTES_MAX:
        raise Malformed("payload", "so many rules escalate it that the members cannot be asked in one statement")
    return SignatureEscalated(
        at=at,
        epoch=state.epoch,
        request=request,
        signing_input=intent.approved_input,
        effects=intent.effects,
        completeness=intent.completeness,
        policy_version=state.policy.version,
        policy_sha256=state.policy_sha256,
        rules=permission.escalated_by,
        statement=payload,
        slot=intent.slot,
        expires_at=intent.expires_at,
        known=state.size,
    )


def proposal_of(state: State, event: SignatureEscalated, index: int) -> Proposal:
    """Return the proposal that the fact makes; raise Refused or Malformed if its statement says something else."""
    statement = decode_statement(event.statement)
    check_here_and_now(state, statement, event.at)
    said = dict(statement.parameters)
    key, version = split_key_name(event.request.key)
    permission = _permission(state, event)
    asked = find_key(state, key, int(said["key_version"]) if version is None else version)
    expected = {
        "algorithm": asked.algorithm.value,
        "public_key": public_key_text(asked),
        "key_version": str(asked.version),
        "facts_sha256": facts_sha256(event.effects, event.signing_input, event.completeness),
        "key": key,
        "kind": event.request.payload.kind.value,
        "payload_sha256": payload_sha256(event.request.payload),
        "quorum": QUORUM_SEPARATOR.join(permission.quorums),
        "request_id": event.request.request_id,
    }
    if (
        statement.action is not Action.SIGN
        or statement.requester != event.request.principal
        or statement.nonce != _nonce(event.request)
        or event.rules != permission.escalated_by
        or any(said[name] != value for name, value in expected.items())
    ):
        raise Refused(Reason.STATEMENT_MISMATCH, "the statement is not about the request")
    return Proposal(
        id=proposal_id_of(event.statement),
        statement=statement,
        statement_bytes=event.statement,
        signature=None,
        made_at=event.at,
        index=index,
        duty=None,
        quorums=tuple(parse_quorum(text) for text in said["quorum"].split(QUORUM_SEPARATOR)),
        request=event.request,
        signing_input=event.signing_input,
        effects=event.effects,
        completeness=event.completeness,
        slot=event.slot,
    )


def check_unescalated(state: State, event: SignatureIssued) -> None:
    """Raise Refused unless policy lets this be signed without asking members."""
    key = split_key_name(event.request.key)[0]
    if event.charter_sha256 or state.proposals.of_request(event.request.principal, event.request.request_id):
        raise Refused(Reason.NEEDS_APPROVAL, "the request waits for members")
    kind = event.request.payload.kind
    if state.rules.escalate is not None and state.rules.escalate.of(kind, key):
        permission = _permission(state, event)
        if permission.quorums:
            raise Refused(
                Reason.NEEDS_APPROVAL, f"rule {permission.escalated_by[0]} escalates it, and nobody was asked"
            )


def check_approved(state: State, event: SignatureIssued) -> Proposal:
    """Return the proposal of a signature if members approved exactly this one; raise Refused or NotFound."""
    proposal = state.proposals.find(event.proposal)
    check_executable(proposal, state.rulers, state.policy.version, event.at)
    same = (
        proposal.request == event.request
        and proposal.signing_input == event.approved_input
        and proposal.effects == event.effects
        and proposal.completeness == event.completeness
        and proposal.statement["key_version"] == str(event.key_version)
        and event.charter_sha256 == state.charter_sha256
    )
    if not same:
        raise Refused(Reason.STATEMENT_MISMATCH, "the signature is not the one that members approved")
    check_all_asked(_permission(state, event), proposal)
    return proposal


def check_all_asked(permission: Permission, proposal: Proposal) -> None:
    """Raise Refused if a rule asks a quorum now that was not asked when the request was made.

    Meanwhile another content may have been signed for its slot, a price grown old, a weekend begun.
    """
    asked = proposal.statement["quorum"].split(QUORUM_SEPARATOR)
    for quorum in permission.quorums:
        if quorum not in asked:
            raise Refused(
                Reason.STATE_MISMATCH,
                f"{', '.join(permission.escalated_by)} ask {quorum} by now, and members were asked for "
                f"{' and '.join(asked)} only: send it again under a new request id",
            )


def _permission(state: State, event: SignatureEscalated | SignatureIssued) -> Permission:
    """Return what the policy in force says to the effects that the fact states."""
    intent = Intent(
        kind=event.request.payload.kind,
        algorithms=frozenset(),
        signing_input=event.signing_input,
        effects=event.effects,
        completeness=event.completeness,
        expires_at=event.expires_at,
        slot=event.slot,
    )
    key = split_key_name(event.request.key)[0]
    return state.rules.evaluate(
        key=key,
        principal=event.request.principal,
        intent=intent,
        moment=Moment(now=event.at, familiar=state.familiar, known=event.known),
    )


def _nonce(request: SignatureRequest) -> str:
    """Return a nonce that no other request has: request ids are used once."""
    return hashlib.sha256(f"{request.principal}\0{request.request_id}".encode()).hexdigest()[:32]
