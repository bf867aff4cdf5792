"""Wrapping of HMAC secrets for a token's import key: what the owner of a secret runs on its own machine.

The secret leaves that machine only as an RSA-OAEP blob that the token alone can open. Wrapping says nothing about
who wrapped: the statement that imports the blob is signed by a member.
"""

import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keyvault.core.errors import Malformed
from keyvault.core.limits import HMAC_SECRET_BYTES_MAX, HMAC_SECRET_BYTES_MIN

_RSA_BITS_MIN = 3072
"""128 bits of security (NIST SP 800-57 part 1, table 2)."""


def wrap_secret(import_public_key_der: bytes, secret: bytes) -> bytes:
    """Return the RSA-OAEP blob of an HMAC-SHA256 secret for the import key (SubjectPublicKeyInfo, DER).

    The blob is new each time. Raises Malformed for a key that is not RSA of at least 3072 bits, or an empty secret.
    """
    key = _import_key(import_public_key_der)
    return key.encrypt(hmac_key(secret), _oaep())


def hmac_key(secret: bytes) -> bytes:
    """Return 32 to 64 bytes that give the same HMAC-SHA256 as ``secret`` for every message (RFC 2104, section 2).

    HMAC itself pads a short key with zeros to the block of 64 bytes, and hashes one that is longer.
    Raises Malformed for an empty secret.
    """
    if not secret:
        raise Malformed("secret", "is empty; an HMAC secret needs at least one byte")
    if len(secret) > HMAC_SECRET_BYTES_MAX:
        return hashlib.sha256(secret).digest()
    return secret.ljust(HMAC_SECRET_BYTES_MIN, b"\0")


def _import_key(der: bytes) -> rsa.RSAPublicKey:
    try:
        key = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Malformed("import_public_key", "is not a SubjectPublicKeyInfo in DER") from error
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < _RSA_BITS_MIN:
        raise Malformed("import_public_key", f"must be an RSA key of at least {_RSA_BITS_MIN} bits")
    return key


def _oaep() -> padding.OAEP:
    # SoftHSM 2.6.1 and many HSMs know OAEP with SHA-1 only. OAEP does not need collision resistance from its hash
    # (RFC 8017, section 7.1 and appendix B.1), so this is the portable choice and not a weak one.
    sha1 = hashes.SHA1()  # noqa: S303 - see above
    return padding.OAEP(mgf=padding.MGF1(algorithm=sha1), algorithm=sha1, label=None)
