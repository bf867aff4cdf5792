"""Values that the ledger and the API share, between core types and protobuf messages.

Reading is strict: an enum value that is unspecified or unknown, a missing sub-message, an integer with leading
zeros, or a field outside its bounds is Malformed. Nothing is guessed, nothing is dropped.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from google.protobuf.message import DecodeError, Message

from keyvault.core import limits
from keyvault.core.approvals import EnvelopeSignature, Voice
from keyvault.core.errors import Malformed, Reason
from keyvault.core.intent import Completeness, Operation, PayloadKind
from keyvault.core.keys import KeyAlgorithm, KeyProvenance, KeyState, Signature
from keyvault.core.policy import Verdict
from keyvault.core.policy_rules import Per
from keyvault.core.statements import FreezeScope
from keyvault.v1 import policy_pb2, types_pb2

E = TypeVar("E", bound=StrEnum)
M = TypeVar("M", bound=Message)
V = TypeVar("V", bound=int)
V_co = TypeVar("V_co", covariant=True, bound=int)

KEYID_CHARS = 64
SHA256_BYTES = 32
SIGNATURE_BYTES = (32, 64)


class Numbers(Protocol[V_co]):
    """A generated enum."""

    def Value(self, name: str) -> V_co:  # noqa: N802 (protobuf's name)
        """Return the number of a name."""


class EnumTable(Generic[E, V]):
    """Words of a core enum and the numbers of the proto enum with the same names."""

    __slots__ = ("_words", "numbers")

    def __init__(self, words: type[E], numbers: Numbers[V], prefix: str) -> None:
        self.numbers: Mapping[E, V] = {word: numbers.Value(prefix + word.name) for word in words}
        self._words: Mapping[int, E] = {number: word for word, number in self.numbers.items()}

    def word(self, field: str, number: int) -> E:
        """Return the word, or raise Malformed for a number that is unspecified or unknown."""
        try:
            return self._words[number]
        except KeyError:
            raise Malformed(field, f"{number} is not a value that this build knows") from None


ALGORITHMS = EnumTable(KeyAlgorithm, types_pb2.KeyAlgorithm, "KEY_ALGORITHM_")
STATES = EnumTable(KeyState, types_pb2.KeyState, "KEY_STATE_")
PROVENANCES = EnumTable(KeyProvenance, types_pb2.KeyProvenance, "KEY_PROVENANCE_")
KINDS = EnumTable(PayloadKind, types_pb2.PayloadKind, "PAYLOAD_KIND_")
OPERATIONS = EnumTable(Operation, types_pb2.Operation, "OPERATION_")
COMPLETENESS = EnumTable(Completeness, types_pb2.Completeness, "COMPLETENESS_")
REASONS = EnumTable(Reason, types_pb2.Reason, "REASON_")
VOICES = EnumTable(Voice, types_pb2.Voice, "VOICE_")
FREEZE_SCOPES = EnumTable(FreezeScope, types_pb2.FreezeScope, "FREEZE_SCOPE_")
VERDICTS = EnumTable(Verdict, policy_pb2.Verdict, "VERDICT_")
PERS = EnumTable(Per, policy_pb2.Per, "PER_")


def parse_exact(kind: type[M], body: bytes) -> M:
    """Return the message if every byte of ``body`` means something to this build, or raise Malformed.

    Fields that this build does not know, and longer forms than needed (a singular field twice, a default value
    written out, a padded varint), show in the size that the parsed message has without them.
    """
    try:
        message = kind.FromString(body)
    except DecodeError:
        raise Malformed(kind.DESCRIPTOR.name, "not a protobuf message of this kind") from None
    refuse_unknown_fields(message)
    if message.ByteSize() != len(body):
        raise Malformed(kind.DESCRIPTOR.name, "not in the shortest form: a field stands twice or says nothing")
    return message


def refuse_unknown_fields(message: Message) -> None:
    """Raise Malformed if the message, or one in it, has a field that this build does not know; they are then gone."""
    size = message.ByteSize()
    message.DiscardUnknownFields()
    if message.ByteSize() != size:
        raise Malformed(message.DESCRIPTOR.name, "has a field that this build does not know")


def sha256_of(field: str, data: bytes) -> bytes:
    """Return the hash, or raise Malformed unless it has 32 bytes."""
    if len(data) != SHA256_BYTES:
        raise Malformed(field, f"{len(data)} bytes; {SHA256_BYTES} are needed")
    return data


# Integers -----------------------------------------------------------------------------------------------------


def integer_to_wire(value: int) -> bytes:
    """Return the integer big-endian without leading zeros; zero is empty."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def integer_from_wire(field: str, data: bytes) -> int:
    """Return the integer, or raise Malformed for leading zeros or too many bytes."""
    if len(data) > limits.INTEGER_BYTES_MAX:
        raise Malformed(field, f"an integer of more than {limits.INTEGER_BYTES_MAX} bytes")
    if data[:1] == b"\0":
        raise Malformed(field, "an integer with leading zeros")
    return int.from_bytes(data, "big")


# Signatures ------------------------------------------------------------------------------------------------------


def signature_from_proto(message: types_pb2.Signature) -> Signature:
    """Return the signature, or raise Malformed unless it has 32 or 64 bytes and a recovery id of 0, 1 or none."""
    if len(message.value) not in SIGNATURE_BYTES:
        raise Malformed("signature.value", f"{len(message.value)} bytes")
    if not message.HasField("recovery_id"):
        return Signature(value=message.value)
    if message.recovery_id not in (0, 1):
        raise Malformed("signature.recovery_id", f"{message.recovery_id} is neither 0 nor 1")
    return Signature(value=message.value, recovery_id=message.recovery_id)


def signature_to_proto(signature: Signature) -> types_pb2.Signature:
    """Return the message."""
    return types_pb2.Signature(value=signature.value, recovery_id=signature.recovery_id)


# What members say -------------------------------------------------------------------------------------------------


def member_signature_from_proto(message: types_pb2.MemberSignature) -> EnvelopeSignature:
    """Return the signature within its bounds, or raise Malformed. Whose it is, and of what, is not looked at."""
    refuse_unknown_fields(message)
    if len(message.keyid) != KEYID_CHARS or not set(message.keyid) <= set("0123456789abcdef"):
        raise Malformed("signature.keyid", "must be the lower-case hex SHA-256 of a public key")
    if not 0 < len(message.sig) <= limits.MEMBER_SIGNATURE_BYTES_MAX:
        raise Malformed(
            "signature.sig", f"{len(message.sig)} bytes; 1 to {limits.MEMBER_SIGNATURE_BYTES_MAX} are right"
        )
    return EnvelopeSignature(keyid=message.keyid, sig=message.sig)


def member_signature_to_proto(signature: EnvelopeSignature) -> types_pb2.MemberSignature:
    """Return the message."""
    return types_pb2.MemberSignature(keyid=signature.keyid, sig=signature.sig)
