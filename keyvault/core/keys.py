"""Keys as the ledger knows them, and their life as a transition table."""

from dataclasses import dataclass
from enum import StrEnum

from keyvault.core.ids import EnclaveName, KeyId, UnixMillis


class KeyAlgorithm(StrEnum):
    """What a private key can do; the same names as keyvault.v1.KeyAlgorithm."""

    SECP256K1 = "SECP256K1"
    P256 = "P256"
    ED25519 = "ED25519"
    HMAC_SHA256 = "HMAC_SHA256"


class KeyState(StrEnum):
    """Whether a key signs."""

    ACTIVE = "ACTIVE"
    DISABLED = "DISABLED"


class KeyProvenance(StrEnum):
    """Where the private part came from."""

    GENERATED = "GENERATED"
    IMPORTED = "IMPORTED"


TRANSITIONS: frozenset[tuple[KeyState, KeyState]] = frozenset(
    {(KeyState.ACTIVE, KeyState.DISABLED), (KeyState.DISABLED, KeyState.ACTIVE)}
)
"""The only changes of state that exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyVersion:
    """One version of a key.

    ``public_key`` is the SEC 1 uncompressed point (65 bytes), the Ed25519 key (32 bytes), or empty for HMAC.
    ``token_object_id`` is the object's CKA_ID.
    """

    key: KeyId
    version: int
    algorithm: KeyAlgorithm
    state: KeyState
    provenance: KeyProvenance
    public_key: bytes
    token_object_id: bytes
    created_at: UnixMillis


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a token gave, normalised: r||s with low s, Ed25519 or HMAC bytes; recovery id for secp256k1 only."""

    value: bytes
    recovery_id: int | None = None


def resource_name(enclave: EnclaveName, key: KeyId, version: int) -> str:
    """Return ``enclaves/{enclave}/keys/{key}/versions/{version}``."""
    return f"enclaves/{enclave}/keys/{key}/versions/{version}"
