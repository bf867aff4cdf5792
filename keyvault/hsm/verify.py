"""The check that every signature passes before it may be used, outside the worker that made it.

A worker, a module or a device that gives anything but a signature of the right input under the key that the ledger
names is found out here. HMAC has no public key: the token verifies it (C_Verify), here only its length is checked.
"""

import functools

from coincurve import PublicKey
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils

from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.core.limits import KEYS_MAX
from keyvault.hsm.base import SignItem

SECP256K1_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
"""SEC 2 version 2, section 2.4.1."""
P256_ORDER = 0xFFFFFFFF_00000000_FFFFFFFF_FFFFFFFF_BCE6FAAD_A7179E84_F3B9CAC2_FC632551
"""NIST SP 800-186, section 3.2.1.3."""
SIGNATURE_BYTES = {
    KeyAlgorithm.SECP256K1: 64,
    KeyAlgorithm.P256: 64,
    KeyAlgorithm.ED25519: 64,
    KeyAlgorithm.HMAC_SHA256: 32,
    KeyAlgorithm.HMAC_SHA512: 64,
}
PUBLIC_KEY_BYTES = {
    KeyAlgorithm.SECP256K1: 65,
    KeyAlgorithm.P256: 65,
    KeyAlgorithm.ED25519: 32,
    KeyAlgorithm.HMAC_SHA256: 0,
    KeyAlgorithm.HMAC_SHA512: 0,
}
_RECOVERY_IDS = (0, 1)
"""2 and 3 mean that R.x was above the group order: one signature in 2^127. Refused rather than explained."""
_PREHASHED = ec.ECDSA(utils.Prehashed(hashes.SHA256()))


class WrongSignature(Exception):
    """Not a signature of this input under this key."""


def verified(item: SignItem, raw: bytes) -> Signature:
    """Return the token's signature, normalised (low s, recovery id), or raise WrongSignature."""
    if len(raw) != SIGNATURE_BYTES[item.algorithm]:
        raise WrongSignature(f"{len(raw)} bytes are no {item.algorithm} signature")
    try:
        match item.algorithm:
            case KeyAlgorithm.SECP256K1:
                return _secp256k1(item, raw)
            case KeyAlgorithm.P256:
                return _p256(item, raw)
            case KeyAlgorithm.ED25519:
                return _ed25519(item, raw)
            case KeyAlgorithm.HMAC_SHA256 | KeyAlgorithm.HMAC_SHA512:
                return Signature(value=raw)
    except (InvalidSignature, ValueError) as error:
        raise WrongSignature(f"does not verify under the {item.algorithm} key") from error


def _secp256k1(item: SignItem, raw: bytes) -> Signature:
    value = _low_s(raw, SECP256K1_ORDER)
    for recovery_id in _RECOVERY_IDS:
        if _recovered(value, recovery_id, item.input) == item.public_key:
            return Signature(value=value, recovery_id=recovery_id)
    raise WrongSignature("recovers another key")


def _recovered(value: bytes, recovery_id: int, digest: bytes) -> bytes | None:
    try:
        key = PublicKey.from_signature_and_message(value + bytes((recovery_id,)), digest, hasher=None)
    except ValueError:  # no point on the curve has this R.x: half of all recovery ids of forged signatures
        return None
    return key.format(compressed=False)


def _p256(item: SignItem, raw: bytes) -> Signature:
    value = _low_s(raw, P256_ORDER)
    r, s = _integers(value)
    _p256_key(item.public_key).verify(utils.encode_dss_signature(r, s), item.input, _PREHASHED)
    return Signature(value=value)


def _ed25519(item: SignItem, raw: bytes) -> Signature:
    _ed25519_key(item.public_key).verify(raw, item.input)
    return Signature(value=raw)


def _low_s(raw: bytes, order: int) -> bytes:
    r, s = _integers(raw)
    if not (0 < r < order and 0 < s < order):
        raise WrongSignature("r or s is outside the group")
    return raw if s <= order // 2 else raw[:32] + (order - s).to_bytes(32, "big")


def _integers(raw: bytes) -> tuple[int, int]:
    return int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")


@functools.lru_cache(maxsize=KEYS_MAX)
def _p256_key(public_key: bytes) -> ec.EllipticCurvePublicKey:
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public_key)


@functools.lru_cache(maxsize=KEYS_MAX)
def _ed25519_key(public_key: bytes) -> ed25519.Ed25519PublicKey:
    return ed25519.Ed25519PublicKey.from_public_bytes(public_key)
