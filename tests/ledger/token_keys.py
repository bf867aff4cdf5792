"""Keys as a token would have them, for ledgers that tests make."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass

import coincurve
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.core.wrap import HASHES
from keyvault.ledger.signatures import P256_ORDER

Signer = Callable[[bytes], Signature]


@dataclass(frozen=True)
class TokenKey:
    """A key as a token would have it."""

    algorithm: KeyAlgorithm
    public_key: bytes
    sign: Signer


def secp256k1_key() -> TokenKey:
    """Make a secp256k1 key."""
    key = coincurve.PrivateKey()

    def sign(digest: bytes) -> Signature:
        made = key.sign_recoverable(digest, hasher=None)
        return Signature(value=made[:64], recovery_id=made[64])

    return TokenKey(KeyAlgorithm.SECP256K1, key.public_key.format(compressed=False), sign)


def p256_key() -> TokenKey:
    """Make a P-256 key."""
    key = ec.generate_private_key(ec.SECP256R1())

    def sign(digest: bytes) -> Signature:
        r, s = decode_dss_signature(key.sign(digest, ec.ECDSA(Prehashed(SHA256()))))
        s = min(s, P256_ORDER - s)
        return Signature(value=r.to_bytes(32, "big") + s.to_bytes(32, "big"))

    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return TokenKey(KeyAlgorithm.P256, point, sign)


def ed25519_key() -> TokenKey:
    """Make an Ed25519 key."""
    key = ed25519.Ed25519PrivateKey.generate()
    return TokenKey(
        KeyAlgorithm.ED25519, key.public_key().public_bytes_raw(), lambda message: Signature(value=key.sign(message))
    )


def hmac_key(algorithm: KeyAlgorithm = KeyAlgorithm.HMAC_SHA256) -> TokenKey:
    """Make an HMAC secret."""
    made = HASHES[algorithm]
    return TokenKey(algorithm, b"", lambda message: Signature(value=hmac.digest(b"secret", message, made)))
