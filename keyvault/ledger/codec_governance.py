"""Facts about power as protobuf messages, and back: proposals, ballots, and what carries them out."""

from typing import assert_never

from keyvault.core import limits
from keyvault.core.approvals import Voice
from keyvault.core.errors import Malformed
from keyvault.core.events import (
    BallotCast,
    CeremonyStepRecorded,
    ChangeRefused,
    CharterChanged,
    FreezeChanged,
    Governance,
    IncarnationStarted,
    KeyCreated,
    KeyDestroyed,
    KeyStateChanged,
    PairSet,
    PolicyPublished,
    ProposalMade,
    TokenJoined,
    TokenLeft,
)
from keyvault.core.ids import Epoch, UnixMillis, parse_key_id, parse_member_name, parse_principal
from keyvault.core.keys import KeyState
from keyvault.core.marks import Mark
from keyvault.core.statements import Action, decode_statement
from keyvault.ledger import codec_pair as pair
from keyvault.ledger import codec_tokens as tokens
from keyvault.ledger.codec_charter import decode_charter
from keyvault.ledger.codec_policy import decode_policy
from keyvault.ledger.wire import (
    ALGORITHMS,
    FREEZE_SCOPES,
    PROVENANCES,
    REASONS,
    STATES,
    VOICES,
    member_signature_from_proto,
    member_signature_to_proto,
    sha256_of,
)
from keyvault.v1 import event_pb2


def write(message: event_pb2.Event, event: Governance) -> None:  # noqa: C901, PLR0912 - one case for each fact
    """Write the fact into an event that has its time and epoch."""
    match event:
        case ProposalMade():
            _write_proposal(message.proposal_made, event)
        case BallotCast():
            message.ballot_cast.proposal = event.proposal
            message.ballot_cast.member = event.member
            message.ballot_cast.voice = VOICES.numbers[event.voice]
            message.ballot_cast.signature.CopyFrom(member_signature_to_proto(event.signature))
        case ChangeRefused():
            message.change_refused.principal = event.principal
            message.change_refused.subject = event.subject
            message.change_refused.proposal = event.proposal
            message.change_refused.reason = REASONS.numbers[event.reason]
            message.change_refused.explanation = event.explanation
        case KeyCreated():
            _write_key_created(message.key_created, event)
        case KeyStateChanged():
            _write_key_state(message.key_state_changed, event)
        case KeyDestroyed():
            message.key_destroyed.key = event.key
            message.key_destroyed.version = event.version
            message.key_destroyed.proposal = event.proposal
            message.key_destroyed.charter_sha256 = event.charter_sha256
        case PolicyPublished():
            message.policy_published.version = event.version
            message.policy_published.proposal = event.proposal
            message.policy_published.charter_sha256 = event.charter_sha256
        case CharterChanged():
            message.charter_changed.version = event.version
            message.charter_changed.break_glass = event.break_glass
            message.charter_changed.proposal = event.proposal
            message.charter_changed.charter_sha256 = event.charter_sha256
        case FreezeChanged():
            message.freeze_changed.scope = FREEZE_SCOPES.numbers[event.scope]
            message.freeze_changed.name = event.name
            message.freeze_changed.frozen = event.frozen
            message.freeze_changed.proposal = event.proposal
            message.freeze_changed.charter_sha256 = event.charter_sha256
        case CeremonyStepRecorded():
            message.ceremony_step_recorded.proposal = event.proposal
            message.ceremony_step_recorded.charter_sha256 = event.charter_sha256
        case IncarnationStarted():
            _write_incarnation(message.incarnation_started, event)
        case TokenJoined() | TokenLeft():
            tokens.write(message, event)
        case PairSet():
            pair.write(message.pair_set, event)
        case _:
            assert_never(event)


def _write_incarnation(message: event_pb2.IncarnationStarted, event: IncarnationStarted) -> None:
    message.incarnation = event.incarnation
    message.position = event.position
    message.lost_incarnation = event.lost.incarnation
    message.lost_epoch = event.lost.epoch
    message.lost_position = event.lost.size
    message.lost_root = event.lost.root
    message.proposal = event.proposal
    message.charter_sha256 = event.charter_sha256


def _write_proposal(message: event_pb2.ProposalMade, event: ProposalMade) -> None:
    message.statement = event.statement
    message.document = event.document
    message.wrapped_secret = event.wrapped_secret
    if event.signature is not None:
        message.signature.CopyFrom(member_signature_to_proto(event.signature))


def _write_key_created(message: event_pb2.KeyCreated, event: KeyCreated) -> None:
    message.key = event.key
    message.version = event.version
    message.algorithm = ALGORITHMS.numbers[event.algorithm]
    message.provenance = PROVENANCES.numbers[event.provenance]
    message.public_key = event.public_key
    message.token_object_id = event.token_object_id
    message.state = STATES.numbers[event.state]
    message.proposal = event.proposal
    message.charter_sha256 = event.charter_sha256


def _write_key_state(message: event_pb2.KeyStateChanged, event: KeyStateChanged) -> None:
    message.key = event.key
    message.version = event.version
    message.state = STATES.numbers[event.state]
    if event.destroy_at is not None:
        message.destroy_at_ms = event.destroy_at
    message.proposal = event.proposal
    message.charter_sha256 = event.charter_sha256


def read(at: UnixMillis, epoch: Epoch, message: event_pb2.Event) -> Governance:
    """Return the fact, or raise Malformed."""
    match message.WhichOneof("fact"):
        case "proposal_made":
            return _read_proposal(at, epoch, message.proposal_made)
        case "ballot_cast":
            return _read_ballot(at, epoch, message.ballot_cast)
        case "change_refused":
            return _read_change_refused(at, epoch, message.change_refused)
        case "key_created":
            return _read_key_created(at, epoch, message.key_created)
        case "key_state_changed":
            return _read_key_state(at, epoch, message.key_state_changed)
        case "incarnation_started":
            return _read_incarnation(at, epoch, message.incarnation_started)
        case "token_joined" | "token_left":
            return tokens.read_token(at, epoch, message)
        case "pair_set":
            return pair.read(at, epoch, message.pair_set)
        case _:
            return _read_done(at, epoch, message)


def _read_done(at: UnixMillis, epoch: Epoch, message: event_pb2.Event) -> Governance:
    done: (
        event_pb2.KeyDestroyed
        | event_pb2.PolicyPublished
        | event_pb2.CharterChanged
        | event_pb2.FreezeChanged
        | event_pb2.CeremonyStepRecorded
    )
    match message.WhichOneof("fact"):
        case "key_destroyed":
            done = message.key_destroyed
            return KeyDestroyed(
                at=at,
                epoch=epoch,
                key=parse_key_id(done.key),
                version=done.version,
                proposal=sha256_of("proposal", done.proposal),
                charter_sha256=sha256_of("charter_sha256", done.charter_sha256),
            )
        case "policy_published":
            done = message.policy_published
            return PolicyPublished(
                at=at,
                epoch=epoch,
                version=done.version,
                proposal=sha256_of("proposal", done.proposal),
                charter_sha256=sha256_of("charter_sha256", done.charter_sha256),
            )
        case "charter_changed":
            done = message.charter_changed
            return CharterChanged(
                at=at,
                epoch=epoch,
                version=done.version,
                break_glass=done.break_glass,
                proposal=sha256_of("proposal", done.proposal),
                charter_sha256=sha256_of("charter_sha256", done.charter_sha256),
            )
        case "freeze_changed":
            done = message.freeze_changed
            return FreezeChanged(
                at=at,
                epoch=epoch,
                scope=FREEZE_SCOPES.word("scope", done.scope),
                name=done.name,
                frozen=done.frozen,
                proposal=sha256_of("proposal", done.proposal),
                charter_sha256=sha256_of("charter_sha256", done.charter_sha256),
            )
        case "ceremony_step_recorded":
            done = message.ceremony_step_recorded
            return CeremonyStepRecorded(
                at=at,
                epoch=epoch,
                proposal=sha256_of("proposal", done.proposal),
                charter_sha256=sha256_of("charter_sha256", done.charter_sha256),
            )
        case other:
            raise Malformed("event", f"{other} is no fact about power")


def _read_incarnation(at: UnixMillis, epoch: Epoch, message: event_pb2.IncarnationStarted) -> IncarnationStarted:
    return IncarnationStarted(
        at=at,
        epoch=epoch,
        incarnation=message.incarnation,
        position=_not_negative("position", message.position),
        lost=Mark(
            incarnation=message.lost_incarnation,
            epoch=Epoch(_not_negative("lost_epoch", message.lost_epoch)),
            size=_not_negative("lost_position", message.lost_position),
            root=sha256_of("lost_root", message.lost_root),
        ),
        proposal=sha256_of("proposal", message.proposal),
        charter_sha256=sha256_of("charter_sha256", message.charter_sha256),
    )


def _not_negative(field: str, number: int) -> int:
    if number < 0:
        raise Malformed(field, "is negative")
    return number


def _read_proposal(at: UnixMillis, epoch: Epoch, message: event_pb2.ProposalMade) -> ProposalMade:
    if len(message.wrapped_secret) > limits.WRAPPED_SECRET_BYTES_MAX:
        raise Malformed("wrapped_secret", f"longer than {limits.WRAPPED_SECRET_BYTES_MAX} bytes")
    action = decode_statement(message.statement).action
    charter = message.document if action in (Action.CHARTER_CHANGE, Action.BREAK_GLASS) else b""
    policy = message.document if action is Action.POLICY_PUBLISH else b""
    return ProposalMade(
        at=at,
        epoch=epoch,
        statement=message.statement,
        signature=member_signature_from_proto(message.signature) if message.HasField("signature") else None,
        document=message.document,
        policy=decode_policy(policy) if policy else None,
        charter=decode_charter(charter) if charter else None,
        wrapped_secret=message.wrapped_secret,
    )


def _read_ballot(at: UnixMillis, epoch: Epoch, message: event_pb2.BallotCast) -> BallotCast:
    voice = VOICES.word("voice", message.voice)
    if voice is Voice.REQUEST:
        raise Malformed("voice", "a ballot approves, rejects, vetoes or revokes")
    return BallotCast(
        at=at,
        epoch=epoch,
        proposal=sha256_of("proposal", message.proposal),
        member=parse_member_name(message.member),
        voice=voice,
        signature=member_signature_from_proto(message.signature),
    )


def _read_change_refused(at: UnixMillis, epoch: Epoch, message: event_pb2.ChangeRefused) -> ChangeRefused:
    return ChangeRefused(
        at=at,
        epoch=epoch,
        principal=parse_principal(message.principal),
        subject=message.subject,
        proposal=sha256_of("proposal", message.proposal) if message.proposal else b"",
        reason=REASONS.word("reason", message.reason),
        explanation=message.explanation,
    )


def _read_key_created(at: UnixMillis, epoch: Epoch, message: event_pb2.KeyCreated) -> KeyCreated:
    return KeyCreated(
        at=at,
        epoch=epoch,
        key=parse_key_id(message.key),
        version=message.version,
        algorithm=ALGORITHMS.word("algorithm", message.algorithm),
        provenance=PROVENANCES.word("provenance", message.provenance),
        state=_initial(STATES.word("state", message.state)),
        public_key=message.public_key,
        token_object_id=message.token_object_id,
        proposal=sha256_of("proposal", message.proposal),
        charter_sha256=sha256_of("charter_sha256", message.charter_sha256),
    )


def _initial(state: KeyState) -> KeyState:
    if state not in (KeyState.ACTIVE, KeyState.PRE_ACTIVE):
        raise Malformed("state", f"a key does not begin as {state}")
    return state


def _read_key_state(at: UnixMillis, epoch: Epoch, message: event_pb2.KeyStateChanged) -> KeyStateChanged:
    return KeyStateChanged(
        at=at,
        epoch=epoch,
        key=parse_key_id(message.key),
        version=message.version,
        state=STATES.word("state", message.state),
        destroy_at=UnixMillis(message.destroy_at_ms) if message.HasField("destroy_at_ms") else None,
        proposal=sha256_of("proposal", message.proposal),
        charter_sha256=sha256_of("charter_sha256", message.charter_sha256),
    )
