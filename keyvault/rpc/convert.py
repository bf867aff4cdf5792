"""Core values as API messages."""

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyvault import intents
from keyvault.core.keys import KeyAlgorithm, KeyVersion, resource_name
from keyvault.core.state import State
from keyvault.ledger import wire
from keyvault.v1 import types_pb2


def key_to_proto(state: State, key: KeyVersion) -> types_pb2.Key:
    """Return the key as the API shows it."""
    return types_pb2.Key(
        name=resource_name(state.enclave, key.key, key.version),
        algorithm=wire.ALGORITHMS.numbers[key.algorithm],
        state=wire.STATES.numbers[key.state],
        provenance=wire.PROVENANCES.numbers[key.provenance],
        public_key=key.public_key,
        public_key_pem=public_key_pem(key.algorithm, key.public_key),
        ethereum_address=intents.ethereum_address(key.public_key) if key.algorithm is KeyAlgorithm.SECP256K1 else "",
        create_time_ms=key.created_at,
        primary=state.keys[key.key].primary == key.version,
        rotate_by_ms=key.rotate_by or 0,
        destroy_at_ms=key.destroy_at or 0,
        sealed=(key.key, key.version) in state.tokens.sealed,
        proved_by=state.tokens.proved_by(key.key, key.version),
        on_every_token=state.tokens.has_spare(key.key, key.version),
    )


def public_key_pem(algorithm: KeyAlgorithm, public_key: bytes) -> str:
    """Return SubjectPublicKeyInfo (RFC 5280) as PEM; empty for HMAC."""
    loaded: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
    match algorithm:
        case KeyAlgorithm.SECP256K1:
            loaded = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), public_key)
        case KeyAlgorithm.P256:
            loaded = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public_key)
        case KeyAlgorithm.ED25519:
            loaded = ed25519.Ed25519PublicKey.from_public_bytes(public_key)
        case KeyAlgorithm.HMAC_SHA256 | KeyAlgorithm.HMAC_SHA512:
            return ""
    return loaded.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")
