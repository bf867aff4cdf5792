"""What a member's signature says (I4): DSSE over a statement, where the payload type is what the member says to it.

The same statement is signed by everybody, under the payload type of what they mean: asking, approving, rejecting,
vetoing, revoking. DSSE (github.com/secure-systems-lab/dsse, protocol v1) binds the type into what is signed, so no
signature can be passed off as one that means something else. Signatures go into the ledger as they are: anybody can
check them again, for ever, against the members that the ledger had at that point.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keyvault.core import limits
from keyvault.core.errors import Malformed, Reason, Refused


class Voice(StrEnum):
    """What a member says to a statement."""

    REQUEST = "request"
    """I ask for this."""
    APPROVE = "approve"
    """I want this to be done."""
    REJECT = "reject"
    """I will not approve this; others may."""
    VETO = "veto"
    """This is not to be done, whoever approves."""
    REVOKE = "revoke"
    """I approved, and take it back."""


def payload_type(voice: Voice) -> str:
    """Return the DSSE payload type under which a statement is signed to say this."""
    return f"application/vnd.keyvault.{voice.value}+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeSignature:
    """One member's signature. ``keyid`` is the hex SHA-256 of the member's SubjectPublicKeyInfo (DER)."""

    keyid: str
    sig: bytes


def keyid_of(public_key: bytes) -> str:
    """Return the DSSE keyid of a SubjectPublicKeyInfo (DER)."""
    return hashlib.sha256(public_key).hexdigest()


def pre_authentication_encoding(kind: str, payload: bytes) -> bytes:
    """Return the bytes that a DSSE signature covers (PAE, DSSE protocol v1)."""
    encoded = kind.encode()
    return b"DSSEv1 %d %s %d %s" % (len(encoded), encoded, len(payload), payload)


def signed_bytes(voice: Voice, statement: bytes) -> bytes:
    """Return the bytes that a member signs to say this about a statement."""
    return pre_authentication_encoding(payload_type(voice), statement)


def verify_voice(public_key: bytes, voice: Voice, statement: bytes, signature: EnvelopeSignature) -> None:
    """Raise Refused(NOT_AUTHORIZED) unless the key signed the statement to say this.

    ``public_key`` is SubjectPublicKeyInfo (DER); Ed25519 (64 bytes), or ECDSA P-256 with SHA-256 (ASN.1 DER).
    """
    if keyid_of(public_key) != signature.keyid or len(signature.sig) > limits.MEMBER_SIGNATURE_BYTES_MAX:
        raise _not_valid(signature.keyid, voice)
    key = _loaded(public_key)
    signed = signed_bytes(voice, statement)
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature.sig, signed)
        else:
            key.verify(signature.sig, signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise _not_valid(signature.keyid, voice) from None


def check_member_key(public_key: bytes) -> None:
    """Raise Malformed unless this is SubjectPublicKeyInfo (DER) of an Ed25519 or P-256 key."""
    _loaded(public_key)


@lru_cache(maxsize=limits.MEMBERS_MAX)
def _loaded(public_key: bytes) -> ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey:
    try:
        key = load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm):
        raise Malformed("member.public_keys", "not SubjectPublicKeyInfo (DER)") from None
    if isinstance(key, ed25519.Ed25519PublicKey) or (
        isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    ):
        return key
    raise Malformed("member.public_keys", "must be Ed25519 or P-256")


def _not_valid(keyid: str, voice: Voice) -> Refused:
    return Refused(Reason.NOT_AUTHORIZED, f"the signature of key {keyid[:16]} does not say {voice} to this statement")
