"""Facts about tokens and copies of keys as protobuf messages, and back."""

import hashlib

from keyvault.core.errors import Malformed
from keyvault.core.events import Copied, KeyProved, KeySealed, TokenJoined, TokenLeft
from keyvault.core.ids import Epoch, UnixMillis, parse_key_id, parse_principal
from keyvault.core.keys import SealedRoots
from keyvault.ledger.wire import sha256_of, signature_from_proto, signature_to_proto
from keyvault.v1 import event_pb2

_SEALED_PREFIX, _PROVED_PREFIX = b"seal\0\0\0\0", b"prvd\0\0\0\0"


def key_of(event: Copied) -> bytes:
    """Return the store's unique key: a version is sealed once, and proved once by each token that joined."""
    version = f"{event.key}\0{event.version}".encode()
    if isinstance(event, KeySealed):
        return _SEALED_PREFIX + hashlib.sha256(version).digest()
    return _PROVED_PREFIX + hashlib.sha256(event.token + version).digest()


def write(message: event_pb2.Event, event: TokenJoined | TokenLeft | Copied) -> None:
    """Write the fact into an event that has its time and epoch."""
    match event:
        case TokenJoined():
            message.token_joined.node = event.node
            message.token_joined.transport_public_key = event.transport_public_key
            message.token_joined.wrapped_key = event.wrapped_key
            message.token_joined.wrapping_key_check = event.wrapping_key_check
            message.token_joined.proposal = event.proposal
            message.token_joined.charter_sha256 = event.charter_sha256
        case TokenLeft():
            message.token_left.node = event.node
            message.token_left.proposal = event.proposal
            message.token_left.charter_sha256 = event.charter_sha256
        case KeySealed():
            message.key_sealed.key = event.key
            message.key_sealed.version = event.version
            message.key_sealed.blob = event.blob
            message.key_sealed.identity = event.identity
            message.key_sealed.plaintext = event.plaintext
        case KeyProved():
            message.key_proved.token = event.token
            message.key_proved.node = event.node
            message.key_proved.key = event.key
            message.key_proved.version = event.version
            message.key_proved.signature.CopyFrom(signature_to_proto(event.signature))


def read_token(at: UnixMillis, epoch: Epoch, message: event_pb2.Event) -> TokenJoined | TokenLeft:
    """Return what carries out a proposal about a token, or raise Malformed."""
    if message.WhichOneof("fact") == "token_left":
        left = message.token_left
        return TokenLeft(
            at=at,
            epoch=epoch,
            node=parse_principal(left.node),
            proposal=sha256_of("proposal", left.proposal),
            charter_sha256=sha256_of("charter_sha256", left.charter_sha256),
        )
    joined = message.token_joined
    return TokenJoined(
        at=at,
        epoch=epoch,
        node=parse_principal(joined.node),
        transport_public_key=joined.transport_public_key,
        wrapped_key=joined.wrapped_key,
        wrapping_key_check=sha256_of("wrapping_key_check", joined.wrapping_key_check),
        proposal=sha256_of("proposal", joined.proposal),
        charter_sha256=sha256_of("charter_sha256", joined.charter_sha256),
    )


def read_copied(at: UnixMillis, epoch: Epoch, message: event_pb2.Event) -> Copied:
    """Return what is said of a copy, or raise Malformed."""
    if message.WhichOneof("fact") == "key_sealed":
        sealed = message.key_sealed
        return KeySealed(
            at=at,
            epoch=epoch,
            key=parse_key_id(sealed.key),
            version=sealed.version,
            blob=sealed.blob,
            identity=sealed.identity,
            plaintext=sealed.plaintext,
        )
    proved = message.key_proved
    if not proved.HasField("signature"):
        raise Malformed("signature", "is missing")
    return KeyProved(
        at=at,
        epoch=epoch,
        token=sha256_of("token", proved.token),
        node=parse_principal(proved.node),
        key=parse_key_id(proved.key),
        version=proved.version,
        signature=signature_from_proto(proved.signature),
    )


def roots_to_proto(roots: SealedRoots | None) -> event_pb2.SealedRoots | None:
    """Return the message; None where keys do not move."""
    if roots is None:
        return None
    return event_pb2.SealedRoots(
        wrapping_key_check=roots.wrapping_key_check,
        log_key=roots.log_key,
        log_key_plaintext=roots.log_key_plaintext,
        import_key=roots.import_key,
    )


def roots_from_proto(message: event_pb2.Genesis) -> SealedRoots | None:
    """Return what the genesis says, or None where keys do not move. Raises Malformed."""
    if not message.HasField("sealed"):
        return None
    return SealedRoots(
        wrapping_key_check=sha256_of("wrapping_key_check", message.sealed.wrapping_key_check),
        log_key=message.sealed.log_key,
        log_key_plaintext=message.sealed.log_key_plaintext,
        import_key=message.sealed.import_key,
    )
