"""Issued signatures against the public keys that the ledger names.

ECDSA over 32-byte digests with r||s and low s (BIP 146; also for P-256, so that a signature has one form), Ed25519
(RFC 8032). HMAC has no public key: nobody without the secret can check it.
"""

import coincurve
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

from keyvault.core.events import Event, KeyProved
from keyvault.core.keys import KeyAlgorithm, KeyVersion, Signature
from keyvault.core.state import State, find_key
from keyvault.core.token_changes import joined_of
from keyvault.core.tokens import possession_input
from keyvault.ledger.errors import Unproven

SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
SCALAR_BYTES = 32
SHA256_BYTES, SHA512_BYTES = 32, 64
_PREHASHED = ec.ECDSA(Prehashed(hashes.SHA256()))


def verify_signature(algorithm: KeyAlgorithm, public_key: bytes, signing_input: bytes, signature: Signature) -> bool:
    """Return True if the signature is the key's, False if that cannot be known (HMAC); raise Unproven if it is not."""
    match algorithm:
        case KeyAlgorithm.SECP256K1:
            _verify_secp256k1(public_key, signing_input, signature)
        case KeyAlgorithm.P256:
            _verify_p256(public_key, signing_input, signature)
        case KeyAlgorithm.ED25519:
            _verify_ed25519(public_key, signing_input, signature)
        case KeyAlgorithm.HMAC_SHA256:
            _check_form(signature, value_bytes=SHA256_BYTES, recoverable=False)
            return False
        case KeyAlgorithm.HMAC_SHA512:
            _check_form(signature, value_bytes=SHA512_BYTES, recoverable=False)
            return False
    return True


def verify_proof(key: KeyVersion, challenge: bytes, proof: Signature) -> bool:
    """As ``verify_signature``, of what a token signed to show that it has the key (``tokens.possession_input``)."""
    signing_input = possession_input(key.token_object_id, key.public_key, challenge)
    return verify_signature(key.algorithm, key.public_key, signing_input, proof)


def misproved(state: State, event: Event) -> str | None:
    """Return what is wrong with a proof of an event that was applied, in words, or None."""
    if not isinstance(event, KeyProved):
        return None
    try:
        verify_proof(find_key(state, event.key, event.version), joined_of(state, event.node).challenge, event.signature)
    except Unproven as error:
        return f"{event.node} did not prove key {event.key} version {event.version}: {error}"
    return None


def _verify_secp256k1(public_key: bytes, digest: bytes, signature: Signature) -> None:
    """Recover the key from the signature: this shows signature and recovery id at once."""
    _check_form(signature, value_bytes=2 * SCALAR_BYTES, recoverable=True)
    _check_scalars(digest, signature.value, SECP256K1_ORDER)
    recoverable = signature.value + bytes([signature.recovery_id or 0])
    try:
        found = coincurve.PublicKey.from_signature_and_message(recoverable, digest, hasher=None)
    except ValueError as error:
        raise Unproven("the signature belongs to no key") from error
    if found.format(compressed=False) != public_key:
        raise Unproven("the signature, or its recovery id, belongs to another key or another input")


def _verify_p256(public_key: bytes, digest: bytes, signature: Signature) -> None:
    _check_form(signature, value_bytes=2 * SCALAR_BYTES, recoverable=False)
    r, s = _check_scalars(digest, signature.value, P256_ORDER)
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public_key)
        key.verify(encode_dss_signature(r, s), digest, _PREHASHED)
    except (InvalidSignature, ValueError):
        raise Unproven("the signature does not verify under the key") from None


def _verify_ed25519(public_key: bytes, message: bytes, signature: Signature) -> None:
    _check_form(signature, value_bytes=2 * SCALAR_BYTES, recoverable=False)
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature.value, message)
    except (InvalidSignature, ValueError):
        raise Unproven("the signature does not verify under the key") from None


def _check_form(signature: Signature, *, value_bytes: int, recoverable: bool) -> None:
    if len(signature.value) != value_bytes:
        raise Unproven(f"the signature has {len(signature.value)} bytes; {value_bytes} are right for its key")
    if recoverable != (signature.recovery_id is not None):
        raise Unproven("a recovery id goes with secp256k1 and with nothing else")


def _check_scalars(digest: bytes, value: bytes, order: int) -> tuple[int, int]:
    if len(digest) != SCALAR_BYTES:
        raise Unproven(f"ECDSA signs {SCALAR_BYTES} bytes, not {len(digest)}")
    r, s = int.from_bytes(value[:SCALAR_BYTES], "big"), int.from_bytes(value[SCALAR_BYTES:], "big")
    if not 0 < r < order or not 0 < s <= order // 2:
        raise Unproven("the signature is not in its one form: r or s out of range, or s not low")
    return r, s
