"""What the engine needs from a token, in words.

A token is served by worker processes; each worker has lanes, each lane is one PKCS#11 session used by one
thread. A lane takes one batch at a time. Every signature that leaves a lane was verified, outside that worker,
against the public key that the ledger names; a worker cannot make us release garbage.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from keyvault.core.errors import Unavailable
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.core.marks import Mark

LOG_KEY_OBJECT_ID = b"keyvault-log-key"
"""CKA_ID of the Ed25519 key that signs checkpoints."""
IMPORT_KEY_OBJECT_ID = b"keyvault-import-key"
"""CKA_ID of the RSA key for which imported secrets are wrapped."""
KEPT_OBJECT_IDS = frozenset({LOG_KEY_OBJECT_ID, IMPORT_KEY_OBJECT_ID})
"""Objects that are never destroyed: without them the enclave has no checkpoints or no imports."""


ANCHOR_BEHIND = "ANCHOR_BEHIND"
"""Code of the fault when the token remembers more of the ledger than it is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignItem:
    """One signature to make. ``public_key`` is what the ledger says (empty for HMAC)."""

    object_id: bytes
    algorithm: KeyAlgorithm
    public_key: bytes
    input: bytes


class TokenFault(Unavailable):
    """The token or its worker failed; nothing was released. ``code`` is short and safe to show."""

    def __init__(self, code: str, explanation: str) -> None:
        super().__init__(explanation)
        self.code = code


class Lane(Protocol):
    """One session of one worker."""

    @property
    def is_up(self) -> bool:
        """Whether the lane can take a batch now."""

    async def ready(self) -> None:
        """Return when the lane can take a batch; a lane whose worker is being replaced waits here."""

    async def sign(self, items: Sequence[SignItem]) -> list[Signature | TokenFault]:
        """Return one result per item, in order, within the token deadline. Never raises for a failing token.

        ECDSA: low s; recovery id for secp256k1. A worker that is too slow, dies, or gives a signature that does not
        verify is killed and replaced, and the items concerned are faults.
        """


class Token(Protocol):
    """One enclave's token."""

    @property
    def lanes(self) -> Sequence[Lane]:
        """All lanes of all workers; fixed for the token's life."""

    async def generate(self, object_id: bytes, algorithm: KeyAlgorithm) -> bytes:
        """Return the public key of the key pair with this CKA_ID, generating it if it is not there.

        Doing it twice gives the same key: a crash between the token and the ledger leaves nothing to repair.
        Raises TokenFault.
        """

    async def unwrap(self, object_id: bytes, algorithm: KeyAlgorithm, wrapped: bytes) -> None:
        """Make the secret key with this CKA_ID from a blob for the import key (``keyvault.core.wrap``).

        Raises TokenFault.
        """

    async def destroy(self, object_id: bytes, algorithm: KeyAlgorithm) -> None:
        """Destroy every object with this CKA_ID. Doing it again, or when nothing is there, is fine.

        After it no lane signs under this id (OBJECT_NOT_FOUND), and a fresh search finds nothing with it. After a
        fault everything, a part or nothing may be gone: do it again. Raises TokenFault; for an object of another
        algorithm, and for the log key and the import key, nothing is destroyed.
        """

    @property
    def keeps_anchor(self) -> bool:
        """Whether the token can remember anything of the ledger."""

    async def read_anchor(self) -> Mark | None:
        """Return what the token remembers of the ledger; None if it remembers nothing, or cannot. Raises TokenFault."""

    async def write_anchor(self, mark: Mark) -> None:
        """Let the token remember this of the ledger; nothing is done if it cannot remember.

        Raises TokenFault, with the code ANCHOR_BEHIND if it remembers what this cannot come after (``Mark.grows_to``).
        """

    async def close(self) -> None:
        """End all workers."""
