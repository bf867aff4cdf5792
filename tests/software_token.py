"""A token in this process with real keys, whose lanes can be held or made to fail on purpose.

It stands in where a test must decide *when* a token answers; SoftHSM stands in everywhere else.
"""

import asyncio
from collections.abc import Callable, Sequence

import coincurve
from coincurve._libsecp256k1 import ffi
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.core.marks import Mark
from keyvault.hsm.base import ANCHOR_BEHIND, KEPT_OBJECT_IDS, LOG_KEY_OBJECT_ID, SignItem, TokenFault


class SoftwareLane:
    """One lane; ``gate`` closed holds batches, ``down`` never becomes ready, ``fault`` says which items fail."""

    def __init__(self, token: "SoftwareToken") -> None:
        self._token = token
        self.gate = asyncio.Event()
        self.gate.set()
        self.up = asyncio.Event()
        self.up.set()
        self.fault: Callable[[SignItem], bool] = lambda _item: False
        self.batches: list[int] = []

    @property
    def is_up(self) -> bool:
        """See Lane."""
        return self.up.is_set()

    async def ready(self) -> None:
        """See Lane."""
        await self.up.wait()

    async def sign(self, items: Sequence[SignItem]) -> list[Signature | TokenFault]:
        """See Lane."""
        self.batches.append(len(items))
        await self.gate.wait()
        return [
            TokenFault("TEST", "told to fail") if self.fault(item) else self._token.signature(item) for item in items
        ]


class SoftwareToken:
    """secp256k1 and Ed25519 keys in a dictionary."""

    def __init__(self, *, lanes: int = 2) -> None:
        self.lanes = tuple(SoftwareLane(self) for _ in range(lanes))
        self._log_key = ed25519.Ed25519PrivateKey.generate()
        self._keys: dict[bytes, coincurve.PrivateKey] = {}
        self.signed: list[bytes] = []
        self.destroyed: list[bytes] = []
        self.anchor: Mark | None = None
        self.remembers = asyncio.Event()
        """Cleared: writing the anchor waits, as where no worker comes up."""
        self.remembers.set()
        self.away = False
        """Told to make and destroy nothing, as a token whose workers are being replaced."""

    @property
    def log_public_key(self) -> bytes:
        """The key that checkpoints are signed with."""
        return self._log_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def signature(self, item: SignItem) -> Signature | TokenFault:
        """Sign one item; ECDSA nonces differ each time, as a token's do. A key that is not there is a fault."""
        if item.object_id == LOG_KEY_OBJECT_ID:
            return Signature(value=self._log_key.sign(item.input))
        if item.object_id not in self._keys:
            return TokenFault("OBJECT_NOT_FOUND", f"the token has no key with id {item.object_id.hex()}")
        self.signed.append(item.input)
        extra = ffi.new("unsigned char[32]", len(self.signed).to_bytes(32, "big"))
        raw = self._keys[item.object_id].sign_recoverable(item.input, hasher=None, custom_nonce=(ffi.NULL, extra))
        return Signature(value=raw[:64], recovery_id=raw[64])

    async def generate(self, object_id: bytes, algorithm: KeyAlgorithm) -> bytes:
        """See Token."""
        del algorithm
        self._check_here()
        key = self._keys.setdefault(object_id, coincurve.PrivateKey())
        return key.public_key.format(compressed=False)

    async def unwrap(self, object_id: bytes, algorithm: KeyAlgorithm, wrapped: bytes) -> None:
        """See Token."""
        raise TokenFault("UNSUPPORTED", f"no {algorithm} here ({object_id.hex()}, {len(wrapped)} bytes)")

    async def destroy(self, object_id: bytes, algorithm: KeyAlgorithm) -> None:
        """See Token. ``destroyed`` has each object that was there, once."""
        del algorithm
        if object_id in KEPT_OBJECT_IDS:
            raise TokenFault("OBJECT_KEPT", f"{object_id.decode()} is never destroyed")
        self._check_here()
        if self._keys.pop(object_id, None) is not None:
            self.destroyed.append(object_id)

    def _check_here(self) -> None:
        if self.away:
            raise TokenFault("TEST", "told to be away")

    @property
    def keeps_anchor(self) -> bool:
        """See Token."""
        return True

    async def read_anchor(self) -> Mark | None:
        """See Token."""
        return self.anchor

    async def write_anchor(self, mark: Mark) -> None:
        """See Token."""
        self._check_here()
        await self.remembers.wait()
        if self.anchor is not None and not self.anchor.grows_to(mark):
            raise TokenFault(ANCHOR_BEHIND, f"the token's anchor saw {self.anchor}, which {mark} does not follow")
        self.anchor = mark

    async def close(self) -> None:
        """See Token."""
