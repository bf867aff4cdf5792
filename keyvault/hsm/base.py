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
NODE_KEY_OBJECT_ID = b"keyvault-node-key"
"""CKA_ID of the Ed25519 key with which a node cosigns checkpoints: its token's own, never moved."""
IMPORT_KEY_OBJECT_ID = b"keyvault-import-key"
"""CKA_ID of the RSA key for which imported secrets are wrapped."""
TRANSPORT_KEY_OBJECT_ID = b"keyvault-transport-key"
"""CKA_ID of the RSA key for which other tokens wrap their wrapping key."""
WRAPPING_KEY_OBJECT_ID = b"keyvault-wrapping-key"
"""CKA_ID of the AES key under which keys leave the token and come in."""
ROOT_OBJECT_IDS = frozenset({IMPORT_KEY_OBJECT_ID, TRANSPORT_KEY_OBJECT_ID, WRAPPING_KEY_OBJECT_ID})
"""Objects that open what was wrapped: they are not wrapped as the keys are, and no key takes their place."""
KEPT_OBJECT_IDS = ROOT_OBJECT_IDS | {LOG_KEY_OBJECT_ID, NODE_KEY_OBJECT_ID}
"""Objects that are never destroyed: checkpoints, cosignatures, imports and copies need them."""


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

    async def generate(self, object_id: bytes, algorithm: KeyAlgorithm, *, plaintext_transport: bool = False) -> bytes:
        """Return the public key of the key pair with this CKA_ID, generating it if it is not there.

        Doing it twice gives the same key: a crash between the token and the ledger leaves nothing to repair.
        With key transport by AES-KWP the key can be wrapped, if the token can wrap this algorithm; an Ed25519 key that
        it cannot wrap stays in it, unless ``plaintext_transport`` allows that its seed passes through the worker's
        memory, now and when it is copied (I6). Raises TokenFault.
        """

    async def unwrap(self, object_id: bytes, algorithm: KeyAlgorithm, wrapped: bytes) -> None:
        """Make the secret key with this CKA_ID from a blob for the import key (``keyvault.core.wrap``).

        Raises TokenFault.
        """

    async def prove(self, object_id: bytes, algorithm: KeyAlgorithm, public_key: bytes, challenge: bytes) -> Signature:
        """Return the key's signature over 32 fresh bytes, verified against its public key (empty for HMAC).

        What is signed names its purpose, the key and the challenge (``keyvault.hsm.proofs``): it is no transaction and
        no request. Two tokens that have the same HMAC secret give the same answer. Raises TokenFault.
        """

    async def key_check(self, object_id: bytes, algorithm: KeyAlgorithm) -> bytes:
        """Return what two tokens have in common when they hold the same HMAC secret under this id: 32 bytes.

        It is an HMAC over a fixed text: who knows it can try secrets, so a secret must be random, as venues' are.
        Raises TokenFault, also for an algorithm that is no HMAC.
        """

    async def transport_public_key(self) -> bytes:
        """Return the public key for which other tokens wrap their wrapping key: RSA, SubjectPublicKeyInfo (DER).

        The pair is made when first asked for; its private half unwraps, and nothing else. Raises TokenFault, as do
        all that follow, with KEY_TRANSPORT_OFF unless the enclave's strategy is AES-KWP.
        """

    async def create_wrapping_key(self) -> None:
        """Make the AES-256 key under which keys are wrapped, unless it is there. In one token of the firm only."""

    async def wrapping_key_check(self) -> bytes:
        """Return what two tokens have in common when they hold the same wrapping key: 32 bytes, nothing secret."""

    async def export_wrapping_key(self, to_public_key_der: bytes) -> bytes:
        """Return the wrapping key wrapped by RSA-OAEP for another token's transport key.

        Whoever holds that key's private half can then open every key of the enclave: whose it is, a quorum says
        before, by its fingerprint. Raises TokenFault.
        """

    async def import_wrapping_key(self, blob: bytes, check: bytes) -> None:
        """Make the wrapping key from what another token exported; done if the same one is there already.

        ``check`` is that token's ``wrapping_key_check``: a blob with another key, and a token that has another
        wrapping key, are refused, and nothing is left. Raises TokenFault.
        """

    async def wrap(self, object_id: bytes, algorithm: KeyAlgorithm) -> bytes:
        """Return the key wrapped under the wrapping key by AES-KWP (RFC 5649); the same bytes each time.

        The blob says nothing of whose key it is or what it may do. Raises TokenFault, with NOT_TRANSPORTABLE for a
        key that was made to stay in its token.
        """

    async def unwrap_copy(
        self,
        object_id: bytes,
        algorithm: KeyAlgorithm,
        blob: bytes,
        identity: bytes,
        *,
        plaintext_transport: bool = False,
    ) -> None:
        """Make the key with this CKA_ID from a blob of another token; done if it is there already.

        ``identity`` is the public key, or the ``key_check`` of an HMAC secret. Before anything is stored the key
        proves to be that one, by a signature over a fresh challenge (HMAC: by its check), and again afterwards, here.
        What it may do comes from our templates, nothing from the blob. A blob that does not open or does not prove
        leaves nothing; an id under which the token has something else is refused and stays as it is.
        ``plaintext_transport``: as in ``generate``; a blob that needs it is refused without it. Raises TokenFault.
        """

    async def wrap_import_key(self) -> bytes:
        """Return the import key wrapped under the wrapping key. Raises TokenFault, as ``wrap``."""

    async def unwrap_import_copy(self, blob: bytes, public_key_der: bytes) -> None:
        """Make the import key from a blob of another token; done if it is there already.

        It is kept once it opened a fresh secret that was wrapped for this public key (SubjectPublicKeyInfo, DER).
        Raises TokenFault, as ``unwrap_copy``.
        """

    async def destroy(self, object_id: bytes, algorithm: KeyAlgorithm) -> None:
        """Destroy every object with this CKA_ID. Doing it again, or when nothing is there, is fine.

        After it no lane signs under this id (OBJECT_NOT_FOUND), and a fresh search finds nothing with it. After a
        fault everything, a part or nothing may be gone: do it again. Raises TokenFault; for an object of another
        algorithm, and for what ``KEPT_OBJECT_IDS`` names, nothing is destroyed.
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
