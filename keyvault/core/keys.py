"""Keys as the ledger knows them, and their life as a transition table."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from keyvault.core.ids import EnclaveName, KeyId, UnixMillis


class KeyAlgorithm(StrEnum):
    """What a private key can do; the same names as keyvault.v1.KeyAlgorithm."""

    SECP256K1 = "SECP256K1"
    P256 = "P256"
    ED25519 = "ED25519"
    HMAC_SHA256 = "HMAC_SHA256"
    HMAC_SHA512 = "HMAC_SHA512"


HMAC_ALGORITHMS = frozenset({KeyAlgorithm.HMAC_SHA256, KeyAlgorithm.HMAC_SHA512})
"""Secrets shared with a venue: imported, never generated; they have no public key."""


class KeyTransport(StrEnum):
    """By what a firm has the same keys in several tokens; one way for all keys of an enclave."""

    NONE = "none"
    """Not at all: no key can leave its token."""
    KWP = "kwp"
    """Keys leave their token wrapped by AES-KWP under a key that the firm's tokens share."""
    VENDOR_CLUSTER = "vendor-cluster"
    """The vendor's own means copy them; we prove that they are there. For us no key can leave its token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedRoots:
    """What an enclave whose keys move by AES-KWP begins with: its own two keys, under the wrapping key.

    ``wrapping_key_check`` tells tokens that they hold that wrapping key. ``log_key_plaintext``: the token cannot wrap
    Ed25519 keys, so the log key's seed passes through a worker's memory when it is made and when it is copied (I6).
    """

    wrapping_key_check: bytes
    log_key: bytes
    log_key_plaintext: bool
    import_key: bytes


class KeyState(StrEnum):
    """Whether a version of a key signs."""

    PRE_ACTIVE = "PRE_ACTIVE"
    """Made, and signs nothing before it is enabled."""
    ACTIVE = "ACTIVE"
    """Signs."""
    ROTATED = "ROTATED"
    """A newer version took its place: its signatures verify, it makes none."""
    DISABLED = "DISABLED"
    """Signs nothing until it is enabled."""
    DESTRUCTION_SCHEDULED = "DESTRUCTION_SCHEDULED"
    """Signs nothing; at its time it is destroyed, unless members keep it."""
    DESTROYED = "DESTROYED"
    """The token has it no more."""


class KeyProvenance(StrEnum):
    """Where the private part came from."""

    GENERATED = "GENERATED"
    IMPORTED = "IMPORTED"


TRANSITIONS: Mapping[KeyState, frozenset[KeyState]] = MappingProxyType(
    {
        KeyState.PRE_ACTIVE: frozenset({KeyState.ACTIVE, KeyState.DISABLED, KeyState.DESTRUCTION_SCHEDULED}),
        KeyState.ACTIVE: frozenset({KeyState.ROTATED, KeyState.DISABLED, KeyState.DESTRUCTION_SCHEDULED}),
        KeyState.ROTATED: frozenset({KeyState.DESTRUCTION_SCHEDULED}),
        KeyState.DISABLED: frozenset({KeyState.ACTIVE, KeyState.DESTRUCTION_SCHEDULED}),
        KeyState.DESTRUCTION_SCHEDULED: frozenset({KeyState.DISABLED, KeyState.DESTROYED}),
        KeyState.DESTROYED: frozenset(),
    }
)
"""The only changes of state that exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyVersion:
    """One version of a key.

    ``public_key`` is the SEC 1 uncompressed point (65 bytes), the Ed25519 key (32 bytes), or empty for HMAC.
    ``token_object_id`` is the object's CKA_ID. ``cryptoperiod_ms`` is 0 where none was set; ``propose_rotation``: a
    rotation that falls due is proposed. ``destroy_at`` and the proposal of the ``destruction`` are set while it is
    scheduled.
    """

    key: KeyId
    version: int
    algorithm: KeyAlgorithm
    state: KeyState
    provenance: KeyProvenance
    public_key: bytes
    token_object_id: bytes
    created_at: UnixMillis
    cryptoperiod_ms: int = 0
    propose_rotation: bool = False
    destroy_at: UnixMillis | None = None
    destruction: bytes = b""

    @property
    def rotate_by(self) -> UnixMillis | None:
        """When the key is due for rotation; None if no cryptoperiod was set."""
        return UnixMillis(self.created_at + self.cryptoperiod_ms) if self.cryptoperiod_ms else None


@dataclass(slots=True, kw_only=True)
class KeyLine:
    """All versions of a key. ``primary`` is the one that signs when a request names none."""

    primary: int
    versions: dict[int, KeyVersion]

    @property
    def newest(self) -> int:
        """The highest version there ever was."""
        return max(self.versions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a token gave, normalised: r||s with low s, Ed25519 or HMAC bytes; recovery id for secp256k1 only."""

    value: bytes
    recovery_id: int | None = None


def resource_name(enclave: EnclaveName, key: KeyId, version: int) -> str:
    """Return ``enclaves/{enclave}/keys/{key}/versions/{version}``."""
    return f"enclaves/{enclave}/keys/{key}/versions/{version}"
