"""Events as the bytes of ledger entries (keyvault.v1.Event), and back.

An entry's bytes are made once, here, and then hashed and stored verbatim. Reading is strict: every byte must mean
something to this build, else the entry is Corrupt, because a replica that passes over what it does not understand
decides something else than its leader (I2).
"""

import hashlib
import re

from google.protobuf.message import DecodeError

from keyvault.core import limits
from keyvault.core.errors import Corrupt, Malformed
from keyvault.core.events import (
    BallotCast,
    ChangeRefused,
    Event,
    Genesis,
    KeyDestroyed,
    KeyProved,
    KeySealed,
    ProposalMade,
    SignatureEscalated,
    SignatureIssued,
    SignatureRefused,
    SignatureRequest,
    TermStarted,
)
from keyvault.core.ids import (
    NOBODY,
    Epoch,
    Principal,
    RequestId,
    UnixMillis,
    parse_enclave_name,
    parse_principal,
    parse_request_id,
)
from keyvault.core.intent import Stamp
from keyvault.core.statements import proposal_id_of
from keyvault.ledger import codec_governance as governance
from keyvault.ledger import codec_tokens as tokens
from keyvault.ledger.codec_charter import decode_charter as decode_charter
from keyvault.ledger.codec_charter import encode_charter as encode_charter
from keyvault.ledger.codec_policy import decode_policy as decode_policy
from keyvault.ledger.codec_policy import encode_policy as encode_policy
from keyvault.ledger.codec_policy import policy_sha256 as policy_sha256
from keyvault.ledger.wire import (
    COMPLETENESS,
    REASONS,
    integer_from_wire,
    integer_to_wire,
    parse_exact,
    sha256_of,
    signature_from_proto,
)
from keyvault.ledger.wire_payload import checked_payload, effect_from_proto, effect_to_proto, fill_payload
from keyvault.v1 import event_pb2, types_pb2

_PROPOSAL_PREFIX, _BALLOT_PREFIX = b"prop\0\0\0\0", b"ball\0\0\0\0"
_EXECUTION_PREFIX, _DESTRUCTION_PREFIX = b"exec\0\0\0\0", b"dest\0\0\0\0"
_ESCALATION_PREFIX = b"escl\0\0\0\0"
PRINCIPAL_PREFIX_BYTES = 8
_KEY_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}(/versions/[0-9]{1,10})?", re.ASCII)


# Keys of the request index -----------------------------------------------------------------------------------------


def request_key(principal: Principal, request_id: RequestId) -> bytes:
    """Return the store's unique key of a request: 8 bytes of SHA-256(principal), then the request id.

    Request ids of one caller stay in their order, so that UUIDv7 ids touch only the right edge of the index.
    """
    return hashlib.sha256(principal.encode()).digest()[:PRINCIPAL_PREFIX_BYTES] + request_id.encode()


def proposal_key(proposal: bytes) -> bytes:
    """Return the store's unique key of a proposal: a statement is proposed once."""
    return _PROPOSAL_PREFIX + proposal


def ballot_key(proposal: bytes, voice: str, keyid: str) -> bytes:
    """Return the store's unique key of a word about a proposal: a key says it once."""
    return _BALLOT_PREFIX + hashlib.sha256(proposal + f"{voice}\0{keyid}".encode()).digest()


def execution_key(proposal: bytes) -> bytes:
    """Return the store's unique key of what carries out a proposal: that happens once."""
    return _EXECUTION_PREFIX + proposal


def escalation_key(principal: Principal, request_id: RequestId) -> bytes:
    """Return the store's unique key of a request that members are asked about: they are asked once."""
    return _ESCALATION_PREFIX + hashlib.sha256(request_key(principal, request_id)).digest()


def key_of(event: Event) -> bytes | None:
    """Return the key that must be unique in the ledger for this event, if it has one."""
    match event:
        case SignatureIssued() | SignatureRefused():
            return request_key(event.request.principal, event.request.request_id)
        case SignatureEscalated():
            return escalation_key(event.request.principal, event.request.request_id)
        case ProposalMade():
            return proposal_key(proposal_id_of(event.statement))
        case BallotCast():
            return ballot_key(event.proposal, event.voice, event.signature.keyid)
        case KeyDestroyed():
            return _DESTRUCTION_PREFIX + event.proposal
        case KeySealed() | KeyProved():
            return tokens.key_of(event)
        case ChangeRefused() | Genesis() | TermStarted():
            return None
        case _:
            return execution_key(event.proposal)


def request_key_of(event: Event) -> bytes | None:
    """Return the request key that this event makes known, as an answer or as a question to members."""
    match event:
        case SignatureIssued() | SignatureRefused() | SignatureEscalated():
            return request_key(event.request.principal, event.request.request_id)
        case _:
            return None


# Writing --------------------------------------------------------------------------------------------------------


def encode(event: Event) -> bytes:
    """Return the entry, or raise Malformed if it is longer than an entry can be or ``decode`` would not take it.

    Field by field into one message: half the time of building sub-messages and copying them in. The rare facts are
    read back before they count: one that could be written but not read would stop every replica for ever.
    """
    body = _serialize(event)
    if len(body) > limits.ENTRY_BYTES_MAX:
        raise Malformed("event", f"has {len(body)} bytes; {limits.ENTRY_BYTES_MAX} is the most")
    if not isinstance(event, SignatureIssued | SignatureRefused):
        _read_back(body, event)
    return body


def _read_back(body: bytes, event: Event) -> None:
    try:
        same = decode(body) == event
    except Corrupt as error:
        raise Malformed("event", str(error)) from error
    if not same:
        raise Malformed("event", f"{type(event).__name__} says something else after writing and reading")


def _serialize(event: Event) -> bytes:
    message = event_pb2.Event(at_ms=event.at, epoch=event.epoch)
    match event:
        case SignatureIssued():
            _write_issued(message.signature_issued, event)
        case SignatureRefused():
            _write_refused(message.signature_refused, event)
        case TermStarted():
            message.term_started.holder = event.holder
            message.term_started.software = event.software
            message.term_started.node = event.node
            message.term_started.stands = event.stands
            message.term_started.SetInParent()
        case SignatureEscalated():
            _write_escalated(message.signature_escalated, event)
        case Genesis():
            message.genesis.CopyFrom(_genesis(event))
        case KeySealed() | KeyProved():
            tokens.write(message, event)
        case _:
            governance.write(message, event)
    return message.SerializeToString(deterministic=True)


def _write_issued(message: event_pb2.SignatureIssued, event: SignatureIssued) -> None:
    _write_request(message.request, event.request)
    message.key_version = event.key_version
    message.signing_input = event.signing_input
    message.completeness = COMPLETENESS.numbers[event.completeness]
    message.policy_version = event.policy_version
    message.policy_sha256 = event.policy_sha256
    message.rules.extend(event.rules)
    message.effects.extend(map(effect_to_proto, event.effects))
    message.signature.value = event.signature.value
    if event.signature.recovery_id is not None:
        message.signature.recovery_id = event.signature.recovery_id
    message.proposal = event.proposal
    message.charter_sha256 = event.charter_sha256
    if event.stamp is not None:
        message.stamp.at_ms, message.stamp.nonce = event.stamp.at, event.stamp.nonce
    message.slot = event.slot or ""
    message.expires_at_ms = event.expires_at or 0
    message.shadows.extend(event.shadows)
    if event.usd is not None:
        message.usd = integer_to_wire(event.usd)
    message.known = event.known


def _write_escalated(message: event_pb2.SignatureEscalated, event: SignatureEscalated) -> None:
    _write_request(message.request, event.request)
    message.signing_input = event.signing_input
    message.effects.extend(map(effect_to_proto, event.effects))
    message.completeness = COMPLETENESS.numbers[event.completeness]
    message.policy_version = event.policy_version
    message.policy_sha256 = event.policy_sha256
    message.rules.extend(event.rules)
    message.statement = event.statement
    message.slot = event.slot or ""
    message.expires_at_ms = event.expires_at or 0
    message.known = event.known


def _write_refused(message: event_pb2.SignatureRefused, event: SignatureRefused) -> None:
    _write_request(message.request, event.request)
    message.reason = REASONS.numbers[event.reason]
    message.explanation = event.explanation
    message.policy_version = event.policy_version
    message.policy_sha256 = event.policy_sha256
    message.rules.extend(event.rules)


def _write_request(message: event_pb2.SignatureRequest, request: SignatureRequest) -> None:
    message.request_id = request.request_id
    message.principal = request.principal
    message.key = request.key
    fill_payload(message.payload, request.payload)


def _genesis(event: Genesis) -> event_pb2.Genesis:
    return event_pb2.Genesis(
        enclave=event.enclave,
        log_public_key=event.log_public_key,
        import_public_key=event.import_public_key,
        charter=event.charter_document,
        policy=event.policy_document,
        nonce=event.nonce,
        sealed=tokens.roots_to_proto(event.sealed),
    )


# Reading --------------------------------------------------------------------------------------------------------


def decode(body: bytes) -> Event:
    """Return the event, or raise Corrupt: not one of the facts that this build knows, whole and exact."""
    if len(body) > limits.ENTRY_BYTES_MAX:
        raise Corrupt(f"an entry of {len(body)} bytes; {limits.ENTRY_BYTES_MAX} is the most")
    try:
        return _event(_parse(body))
    except Malformed as error:
        raise Corrupt(f"not an event: {error}") from error


def _parse(body: bytes) -> event_pb2.Event:
    try:
        return parse_exact(event_pb2.Event, body)
    except Malformed:
        if _has_unknown_fact(body):
            raise Corrupt(
                "unknown fact: this build is too old, or the ledger is from before there were proposals, which was"
                " never released"
            ) from None
        raise


def _has_unknown_fact(body: bytes) -> bool:
    """Say whether the bytes are a protobuf message whose only flaw is a fact of a later build."""
    try:
        return event_pb2.Event.FromString(body).WhichOneof("fact") is None
    except DecodeError:
        return False


def _event(message: event_pb2.Event) -> Event:
    if message.at_ms < 0 or message.epoch < 0:
        raise Malformed("event", "time or epoch is negative")
    at, epoch = UnixMillis(message.at_ms), Epoch(message.epoch)
    match message.WhichOneof("fact"):
        case "signature_issued":
            return _read_issued(at, epoch, message.signature_issued)
        case "signature_refused":
            return _read_refused(at, epoch, message.signature_refused)
        case "term_started":
            return _read_term(at, epoch, message.term_started)
        case "signature_escalated":
            return _read_escalated(at, epoch, message.signature_escalated)
        case "genesis":
            return _read_genesis(at, epoch, message.genesis)
        case "key_sealed" | "key_proved":
            return tokens.read_copied(at, epoch, message)
        case None:
            raise Malformed("event", "has no fact")
        case _:
            return governance.read(at, epoch, message)


def _read_term(at: UnixMillis, epoch: Epoch, message: event_pb2.TermStarted) -> TermStarted:
    return TermStarted(
        at=at,
        epoch=epoch,
        holder=message.holder,
        software=message.software,
        node=parse_principal(message.node) if message.node else NOBODY,
        stands=message.stands,
    )


def _read_issued(at: UnixMillis, epoch: Epoch, message: event_pb2.SignatureIssued) -> SignatureIssued:
    return SignatureIssued(
        at=at,
        epoch=epoch,
        request=_read_request(message.request),
        key_version=message.key_version,
        signing_input=message.signing_input,
        effects=tuple(map(effect_from_proto, message.effects)),
        completeness=COMPLETENESS.word("completeness", message.completeness),
        policy_version=message.policy_version,
        policy_sha256=sha256_of("policy_sha256", message.policy_sha256),
        rules=tuple(message.rules),
        signature=signature_from_proto(message.signature),
        proposal=sha256_of("proposal", message.proposal) if message.proposal else b"",
        charter_sha256=sha256_of("charter_sha256", message.charter_sha256) if message.charter_sha256 else b"",
        stamp=_read_stamp(message.stamp) if message.HasField("stamp") else None,
        slot=message.slot or None,
        expires_at=UnixMillis(message.expires_at_ms) if message.expires_at_ms else None,
        shadows=tuple(message.shadows),
        usd=integer_from_wire("usd", message.usd) if message.HasField("usd") else None,
        known=message.known,
    )


def _read_stamp(message: types_pb2.Stamp) -> Stamp:
    if message.at_ms < 0:
        raise Malformed("stamp.at_ms", "is negative")
    return Stamp(at=UnixMillis(message.at_ms), nonce=message.nonce)


def _read_escalated(at: UnixMillis, epoch: Epoch, message: event_pb2.SignatureEscalated) -> SignatureEscalated:
    return SignatureEscalated(
        at=at,
        epoch=epoch,
        request=_read_request(message.request),
        signing_input=message.signing_input,
        effects=tuple(map(effect_from_proto, message.effects)),
        completeness=COMPLETENESS.word("completeness", message.completeness),
        policy_version=message.policy_version,
        policy_sha256=sha256_of("policy_sha256", message.policy_sha256),
        rules=tuple(message.rules),
        statement=message.statement,
        slot=message.slot or None,
        expires_at=UnixMillis(message.expires_at_ms) if message.expires_at_ms else None,
        known=message.known,
    )


def _read_refused(at: UnixMillis, epoch: Epoch, message: event_pb2.SignatureRefused) -> SignatureRefused:
    return SignatureRefused(
        at=at,
        epoch=epoch,
        request=_read_request(message.request),
        reason=REASONS.word("reason", message.reason),
        explanation=message.explanation,
        policy_version=message.policy_version,
        policy_sha256=sha256_of("policy_sha256", message.policy_sha256),
        rules=tuple(message.rules),
    )


def _read_request(message: event_pb2.SignatureRequest) -> SignatureRequest:
    if not _KEY_NAME.fullmatch(message.key):
        raise Malformed("request.key", f"{message.key[:80]!r} is neither {{key}} nor {{key}}/versions/{{version}}")
    return SignatureRequest(
        request_id=parse_request_id(message.request_id),
        principal=parse_principal(message.principal),
        key=message.key,
        payload=checked_payload(message.payload),
    )


def _read_genesis(at: UnixMillis, epoch: Epoch, message: event_pb2.Genesis) -> Genesis:
    return Genesis(
        at=at,
        epoch=epoch,
        enclave=parse_enclave_name(message.enclave),
        log_public_key=message.log_public_key,
        import_public_key=message.import_public_key,
        charter=decode_charter(message.charter),
        charter_document=message.charter,
        policy=decode_policy(message.policy),
        policy_document=message.policy,
        nonce=message.nonce,
        sealed=tokens.roots_from_proto(message),
    )
