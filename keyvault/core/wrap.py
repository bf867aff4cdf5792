"""Wrapping of HMAC secrets for a token's import key: what the owner of a secret runs on its own machine.

The blob is that of CKM_RSA_AES_KEY_WRAP (PKCS#11 2.40 mechanisms, "RSA AES KEY WRAP"), which cloud KMS take, too::

    RSA-OAEP(import key, AES-256 key made for this blob) || AES-KWP(that AES key, secret)      RFC 8017, RFC 5649

The secret leaves that machine only in it, and only the token can open it. Wrapping says nothing about who wrapped:
the statement that imports the blob is signed by a member.
"""

import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keyvault.core.errors import Malformed
from keyvault.core.keys import HMAC_ALGORITHMS, KeyAlgorithm
from keyvault.core.limits import RSA_BITS_MAX, RSA_BITS_MIN, RSA_EXPONENT_MIN

_AES_BITS = 256
_KWP_BLOCK_BYTES = 8
"""AES-KWP pads to a multiple of 8 bytes and puts 8 before (RFC 5649, section 4.1)."""
HASHES = {KeyAlgorithm.HMAC_SHA256: hashlib.sha256, KeyAlgorithm.HMAC_SHA512: hashlib.sha512}
"""What each HMAC is made with."""


def wrap_secret(import_public_key_der: bytes, secret: bytes, algorithm: KeyAlgorithm) -> bytes:
    """Return the blob of an HMAC secret for the import key (SubjectPublicKeyInfo, DER).

    AES key and blob are new each time. Raises Malformed for a key that is not RSA of at least 3072 bits, an empty
    secret, or an algorithm that is no HMAC.
    """
    import_key = _rsa_key("import_public_key", import_public_key_der)
    padded = hmac_key(secret, algorithm)
    # The library's random generator, as in the padding below: what one key wraps is one secret, whatever the caller.
    aes_key = AESGCM.generate_key(_AES_BITS)
    return import_key.encrypt(aes_key, _oaep()) + aes_key_wrap_with_padding(aes_key, padded)


def split_blob(wrapped: bytes, modulus_bytes: int, algorithm: KeyAlgorithm) -> tuple[bytes, bytes]:
    """Return the two parts of a blob for an RSA key of this size. Raises Malformed unless both have their length.

    So a secret that was hashed or padded for the shorter HMAC is not taken for one of the longer, whose HMACs it would
    not give.
    """
    for_aes_key, for_secret = wrapped[:modulus_bytes], wrapped[modulus_bytes:]
    shortest, longest = (size + _KWP_BLOCK_BYTES for size in secret_bounds(algorithm))
    if not shortest <= len(for_secret) <= longest or len(for_secret) % _KWP_BLOCK_BYTES:
        raise Malformed(
            "wrapped_secret",
            f"has {len(wrapped)} bytes; expected: {modulus_bytes} of RSA-OAEP for this import key, then {shortest} to "
            f"{longest} of AES-KWP (a multiple of {_KWP_BLOCK_BYTES}), as an {algorithm} secret has",
        )
    return for_aes_key, for_secret


def hmac_key(secret: bytes, algorithm: KeyAlgorithm) -> bytes:
    """Return what gives the same HMAC as ``secret`` for every message (RFC 2104, section 2), within ``secret_bounds``.

    HMAC itself pads a short key with zeros to the hash's block, and hashes one that is longer.
    Raises Malformed for an empty secret, or an algorithm that is no HMAC.
    """
    shortest, longest = secret_bounds(algorithm)
    if not secret:
        raise Malformed("secret", "is empty; an HMAC secret needs at least one byte")
    if len(secret) > longest:
        return HASHES[algorithm](secret).digest()
    return secret.ljust(shortest, b"\0")


def secret_bounds(algorithm: KeyAlgorithm) -> tuple[int, int]:
    """Return the fewest and most bytes of a secret in a token: the hash's length, and its block.

    32 and 64 for SHA-256, 64 and 128 for SHA-512: SoftHSM refuses a key that is shorter than the hash, and of one above
    the block HMAC takes the hash. Raises Malformed for an algorithm that is no HMAC.
    """
    if algorithm not in HMAC_ALGORITHMS:
        raise Malformed("algorithm", f"{algorithm} keys are generated; only HMAC secrets are wrapped")
    made = HASHES[algorithm]()
    return made.digest_size, made.block_size


def parse_transport_key(der: bytes) -> tuple[int, int]:
    """Return modulus and public exponent of another token's transport key (SubjectPublicKeyInfo, DER).

    Raises Malformed unless it is an RSA key of 3072 to 4096 bits with an exponent of 65537 or more.
    """
    numbers = _rsa_key("transport_public_key", der).public_numbers()
    if numbers.n.bit_length() > RSA_BITS_MAX:
        raise Malformed("transport_public_key", f"must be an RSA key of at most {RSA_BITS_MAX} bits")
    if numbers.e < RSA_EXPONENT_MIN:
        raise Malformed("transport_public_key", f"must have a public exponent of {RSA_EXPONENT_MIN} or more")
    return numbers.n, numbers.e


def _rsa_key(field: str, der: bytes) -> rsa.RSAPublicKey:
    try:
        key = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Malformed(field, "is not a SubjectPublicKeyInfo in DER") from error
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < RSA_BITS_MIN:
        raise Malformed(field, f"must be an RSA key of at least {RSA_BITS_MIN} bits")
    return key


def _oaep() -> padding.OAEP:
    # SoftHSM 2.6.1 and many HSMs know OAEP with SHA-1 only. OAEP does not need collision resistance from its hash
    # (RFC 8017, section 7.1 and appendix B.1), so this is the portable choice and not a weak one.
    sha1 = hashes.SHA1()  # noqa: S303 - see above
    return padding.OAEP(mgf=padding.MGF1(algorithm=sha1), algorithm=sha1, label=None)
