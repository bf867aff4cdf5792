"""Events as the bytes of ledger entries (keyvault.v1.Event), and back.

An entry's bytes are made once, here, and then hashed and stored verbatim. Reading is strict: every byte must mean
something to this build, else the entry is Corrupt, because a replica that passes over what it does not understand
decides something else than its leader (I2).
"""

import hashlib
import re
from typing import assert_never

from google.protobuf.message import DecodeError

from keyvault.core import limits
from keyvault.core.approvals import Member
from keyvault.core.errors import Corrupt, Malformed
from keyvault.core.events import (
    Event,
    Genesis,
    KeyCreated,
    KeyStateChanged,
    PolicyPublished,
    SignatureIssued,
    SignatureRefused,
    SignatureRequest,
    TermStarted,
)
from keyvault.core.ids import (
    Epoch,
    Principal,
    RequestId,
    UnixMillis,
    parse_enclave_name,
    parse_key_id,
    parse_member_name,
    parse_principal,
    parse_request_id,
)
from keyvault.ledger.codec_policy import decode_policy as decode_policy
from keyvault.ledger.codec_policy import encode_policy as encode_policy
from keyvault.ledger.codec_policy import policy_sha256 as policy_sha256
from keyvault.ledger.wire import (
    ALGORITHMS,
    COMPLETENESS,
    PROVENANCES,
    REASONS,
    STATES,
    checked_payload,
    effect_from_proto,
    effect_to_proto,
    envelope_from_proto,
    envelope_to_proto,
    fill_payload,
    parse_exact,
    signature_from_proto,
)
from keyvault.v1 import event_pb2

_STATEMENT_KEY_PREFIX = b"stmt\0\0\0\0"
SHA256_BYTES = 32
PRINCIPAL_PREFIX_BYTES = 8
_KEY_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}(/versions/[0-9]{1,10})?", re.ASCII)


# Keys of the request index -----------------------------------------------------------------------------------------


def request_key(principal: Principal, request_id: RequestId) -> bytes:
    """Return the store's unique key of a request: 8 bytes of SHA-256(principal), then the request id.

    Request ids of one caller stay in their order, so that UUIDv7 ids touch only the right edge of the index.
    """
    return hashlib.sha256(principal.encode()).digest()[:PRINCIPAL_PREFIX_BYTES] + request_id.encode()


def statement_key(payload: bytes) -> bytes:
    """Return the store's unique key of a statement: a statement is used once."""
    return _STATEMENT_KEY_PREFIX + hashlib.sha256(payload).digest()


def key_of(event: Event) -> bytes | None:
    """Return the key that must be unique in the ledger for this event, if it has one."""
    match event:
        case SignatureIssued() | SignatureRefused():
            return request_key(event.request.principal, event.request.request_id)
        case KeyCreated() | KeyStateChanged() | PolicyPublished():
            return statement_key(event.authorization.payload)
        case Genesis() | TermStarted():
            return None
        case _:
            assert_never(event)


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
            message.term_started.SetInParent()
        case KeyCreated():
            message.key_created.CopyFrom(_key_created(event))
        case KeyStateChanged():
            message.key_state_changed.CopyFrom(_key_state_changed(event))
        case PolicyPublished():
            message.policy_published.policy = event.document
            message.policy_published.authorization.CopyFrom(envelope_to_proto(event.authorization))
        case Genesis():
            message.genesis.CopyFrom(_genesis(event))
        case _:
            assert_never(event)
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


def _key_created(event: KeyCreated) -> event_pb2.KeyCreated:
    return event_pb2.KeyCreated(
        key=event.key,
        version=event.version,
        algorithm=ALGORITHMS.numbers[event.algorithm],
        provenance=PROVENANCES.numbers[event.provenance],
        public_key=event.public_key,
        token_object_id=event.token_object_id,
        authorization=envelope_to_proto(event.authorization),
    )


def _key_state_changed(event: KeyStateChanged) -> event_pb2.KeyStateChanged:
    return event_pb2.KeyStateChanged(
        key=event.key,
        version=event.version,
        state=STATES.numbers[event.state],
        authorization=envelope_to_proto(event.authorization),
    )


def _genesis(event: Genesis) -> event_pb2.Genesis:
    return event_pb2.Genesis(
        enclave=event.enclave,
        log_public_key=event.log_public_key,
        import_public_key=event.import_public_key,
        members=[
            event_pb2.Member(name=each.name, roles=sorted(each.roles), public_keys=each.public_keys)
            for each in event.members
        ],
        admin_threshold=event.admin_threshold,
        policy=event.policy_document,
        nonce=event.nonce,
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
            raise Corrupt("unknown fact: this build is too old") from None
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
            fact = message.term_started
            return TermStarted(at=at, epoch=epoch, holder=fact.holder, software=fact.software)
        case "key_created":
            return _read_key_created(at, epoch, message.key_created)
        case "key_state_changed":
            return _read_key_state_changed(at, epoch, message.key_state_changed)
        case "policy_published":
            return _read_policy_published(at, epoch, message.policy_published)
        case "genesis":
            return _read_genesis(at, epoch, message.genesis)
        case None:
            raise Malformed("event", "has no fact")


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
        policy_sha256=_sha256("policy_sha256", message.policy_sha256),
        rules=tuple(message.rules),
        signature=signature_from_proto(message.signature),
    )


def _read_refused(at: UnixMillis, epoch: Epoch, message: event_pb2.SignatureRefused) -> SignatureRefused:
    return SignatureRefused(
        at=at,
        epoch=epoch,
        request=_read_request(message.request),
        reason=REASONS.word("reason", message.reason),
        explanation=message.explanation,
        policy_version=message.policy_version,
        policy_sha256=_sha256("policy_sha256", message.policy_sha256),
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


def _read_key_created(at: UnixMillis, epoch: Epoch, message: event_pb2.KeyCreated) -> KeyCreated:
    return KeyCreated(
        at=at,
        epoch=epoch,
        key=parse_key_id(message.key),
        version=message.version,
        algorithm=ALGORITHMS.word("algorithm", message.algorithm),
        provenance=PROVENANCES.word("provenance", message.provenance),
        public_key=message.public_key,
        token_object_id=message.token_object_id,
        authorization=envelope_from_proto(message.authorization),
    )


def _read_key_state_changed(at: UnixMillis, epoch: Epoch, message: event_pb2.KeyStateChanged) -> KeyStateChanged:
    return KeyStateChanged(
        at=at,
        epoch=epoch,
        key=parse_key_id(message.key),
        version=message.version,
        state=STATES.word("state", message.state),
        authorization=envelope_from_proto(message.authorization),
    )


def _read_policy_published(at: UnixMillis, epoch: Epoch, message: event_pb2.PolicyPublished) -> PolicyPublished:
    return PolicyPublished(
        at=at,
        epoch=epoch,
        policy=decode_policy(message.policy),
        document=message.policy,
        authorization=envelope_from_proto(message.authorization),
    )


def _read_genesis(at: UnixMillis, epoch: Epoch, message: event_pb2.Genesis) -> Genesis:
    if len(message.members) > limits.MEMBERS_MAX:
        raise Malformed("members", f"more than {limits.MEMBERS_MAX}")
    return Genesis(
        at=at,
        epoch=epoch,
        enclave=parse_enclave_name(message.enclave),
        log_public_key=message.log_public_key,
        import_public_key=message.import_public_key,
        members=tuple(map(_read_member, message.members)),
        admin_threshold=message.admin_threshold,
        policy=decode_policy(message.policy),
        policy_document=message.policy,
        nonce=message.nonce,
    )


def _read_member(message: event_pb2.Member) -> Member:
    if len(message.public_keys) > limits.MEMBER_KEYS_MAX:
        raise Malformed("member.public_keys", f"more than {limits.MEMBER_KEYS_MAX}")
    if len(set(message.roles)) != len(message.roles):
        raise Malformed("member.roles", "a role stands twice")
    return Member(
        name=parse_member_name(message.name),
        roles=frozenset(message.roles),
        public_keys=tuple(message.public_keys),
    )


def _sha256(field: str, data: bytes) -> bytes:
    if len(data) != SHA256_BYTES:
        raise Malformed(field, f"{len(data)} bytes; {SHA256_BYTES} are needed")
    return data
