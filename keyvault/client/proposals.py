"""What a member must know before they say yes, checked before anybody reads it. Pure.

Nothing that the server says about a proposal is believed where it can be recomputed here:

1. its name is the hash of the statement, which is canonical and about the enclave that was asked for;
2. the policy, charter or transport key that comes with it has the hash that the statement names;
3. the payload to be signed decodes here, with the decoders that the server has, to the facts and plain words whose
   hashes the statement names; so whoever reads those words reads what the signature will be for.

Who approved, and what is remarked, is the server's word: the ledger proves it (``keyvault audit verify``).
"""

import hashlib

from keyvault import intents
from keyvault.client.errors import SignatureMismatch, UnusableAnswer
from keyvault.client.results import Ballot, Proposal, Remark, SignatureSubject
from keyvault.core.approvals import EnvelopeSignature
from keyvault.core.errors import Malformed
from keyvault.core.ids import EnclaveName, UnixMillis
from keyvault.core.proposals import Outcome, proposal_name
from keyvault.core.statements import (
    Action,
    Statement,
    decode_statement,
    facts_sha256,
    payload_sha256,
    proposal_id_of,
    signer_named,
    words_sha256,
)
from keyvault.ledger import wire
from keyvault.ledger.wire_payload import payload_from_proto
from keyvault.v1 import governance_pb2, types_pb2

_OUTCOMES = {
    governance_pb2.Proposal.STATE_OPEN: Outcome.OPEN,
    governance_pb2.Proposal.STATE_EXECUTED: Outcome.EXECUTED,
    governance_pb2.Proposal.STATE_VETOED: Outcome.VETOED,
    governance_pb2.Proposal.STATE_EXPIRED: Outcome.EXPIRED,
    governance_pb2.Proposal.STATE_VOID: Outcome.VOID,
}
_DOCUMENT_HASHES = {
    Action.POLICY_PUBLISH: "policy_sha256",
    Action.CHARTER_CHANGE: "charter_sha256",
    Action.BREAK_GLASS: "charter_sha256",
    Action.TOKEN_JOIN: "transport_key_sha256",
}


def proposal_of(
    enclave: EnclaveName, enclave_id: bytes | None, message: governance_pb2.Proposal, *, whole: bool = True
) -> Proposal:
    """Return the proposal once everything above holds. Unless ``whole``, it may come without what it is about.

    Raises SignatureMismatch if it does not, UnusableAnswer for what makes no sense.
    """
    name = proposal_id_of(message.statement)
    if message.name != proposal_name(enclave, name):
        raise SignatureMismatch(f"{message.name[:200]!r} is not the name of the statement that came with it")
    try:
        said = decode_statement(message.statement)
    except Malformed as error:
        raise SignatureMismatch(f"what members would sign is no statement: {error}") from None
    try:
        _check_enclave(said, enclave, enclave_id)
        if whole:
            _check_complete(said, message)
        _check_document(said, message.document)
        return Proposal(
            name=message.name,
            id=name.hex(),
            statement=message.statement,
            said=said,
            outcome=_OUTCOMES[message.state],
            signature=_signature(message.signature) if message.HasField("signature") else None,
            created_at=UnixMillis(message.create_time_ms),
            ledger_index=message.ledger_index,
            quorum=message.quorum,
            ballots=tuple(map(_ballot, message.ballots)),
            approved_by=tuple(message.approved_by),
            approved_at=UnixMillis(message.approved_time_ms) if message.approved_time_ms else None,
            due_at=UnixMillis(message.due_time_ms) if message.due_time_ms else None,
            vetoed_before=message.vetoed_before,
            subject=_subject(said, message.signature_subject) if message.HasField("signature_subject") else None,
            document=message.document,
            remarks=tuple(Remark(effect=each.effect, mark=each.mark, detail=each.detail) for each in message.remarks),
            closed_index=message.closed_ledger_index if message.HasField("closed_ledger_index") else None,
        )
    except (Malformed, KeyError) as error:
        raise UnusableAnswer(f"the proposal cannot be read: {error}") from None


def _check_enclave(said: Statement, enclave: EnclaveName, enclave_id: bytes | None) -> None:
    if said.enclave != enclave or (enclave_id is not None and said.enclave_id != enclave_id.hex()):
        raise SignatureMismatch(f"the statement is for another enclave than {enclave}")


def _check_complete(said: Statement, message: governance_pb2.Proposal) -> None:
    """Raise SignatureMismatch if that is held back without which nobody can know what they approve."""
    is_open = message.state == governance_pb2.Proposal.STATE_OPEN
    if said.action is Action.SIGN and not message.HasField("signature_subject"):
        raise SignatureMismatch("the payload that is to be signed did not come")
    if is_open and said.action in _DOCUMENT_HASHES and not message.document:
        raise SignatureMismatch("the document that is proposed did not come")


def _check_document(said: Statement, document: bytes) -> None:
    name = _DOCUMENT_HASHES.get(said.action)
    if document and (name is None or hashlib.sha256(document).hexdigest() != said[name]):
        raise SignatureMismatch("the document that came is not the one that the statement names")


def _subject(said: Statement, message: governance_pb2.SignatureSubject) -> SignatureSubject:
    """Return what is to be signed, decoded here; raise SignatureMismatch if the statement is about something else."""
    if said.action is not Action.SIGN:
        raise SignatureMismatch("a payload came with a statement that asks for no signature")
    try:
        payload = payload_from_proto(message.payload)
        intent = intents.parse(payload, signer_named(said))
    except Malformed as error:
        raise SignatureMismatch(f"what is to be signed does not decode, so no statement is about it: {error}") from None
    found = {
        "facts_sha256": facts_sha256(intent.effects, intent.approved_input, intent.completeness),
        "key": message.key.partition("/")[0],
        "kind": intent.kind.value,
        "payload_sha256": payload_sha256(payload),
        "request_id": message.request_id,
        "words_sha256": words_sha256(intents.describe(intent)),
    }
    wrong = sorted(name for name, value in found.items() if said[name] != value)
    if wrong or said.requester != message.principal:
        raise SignatureMismatch(f"what is to be signed is not what the statement names ({', '.join(wrong)})")
    return SignatureSubject(
        request_id=message.request_id,
        principal=message.principal,
        key=message.key,
        payload=payload,
        effects=intent.effects,
        signing_input=intent.signing_input,
        completeness=intent.completeness,
        words=intents.describe(intent),
    )


def _ballot(message: governance_pb2.Proposal.Ballot) -> Ballot:
    return Ballot(
        member=message.member,
        voice=wire.VOICES.word("ballot.voice", message.voice),
        signature=_signature(message.signature),
        at=UnixMillis(message.at_ms),
        ledger_index=message.ledger_index,
        counts=message.counts,
    )


def _signature(message: types_pb2.MemberSignature) -> EnvelopeSignature:
    return wire.member_signature_from_proto(message)
