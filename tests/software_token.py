"""A token in this process with real keys, whose lanes can be held or made to fail on purpose.

It stands in where a test must decide *when* a token answers; SoftHSM stands in everywhere else.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence

import coincurve
from coincurve._libsecp256k1 import ffi
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.core.limits import RSA_BITS_MIN
from keyvault.core.marks import Mark
from keyvault.core.wrap import parse_transport_key
from keyvault.hsm import proofs
from keyvault.hsm.base import ANCHOR_BEHIND, KEPT_OBJECT_IDS, LOG_KEY_OBJECT_ID, SignItem, TokenFault

_SHA1 = hashes.SHA1()  # noqa: S303  as real tokens, see keyvault.core.wrap
_OAEP = padding.OAEP(padding.MGF1(_SHA1), _SHA1, None)


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
        self._own_keys: dict[bytes, ed25519.Ed25519PrivateKey] = {}
        self._transport_key: rsa.RSAPrivateKey | None = None
        self.wrapping_key = b""
        self.signed: list[bytes] = []
        self.destroyed: list[bytes] = []
        self.anchor: Mark | None = None
        self.remembers = asyncio.Event()
        """Cleared: writing the anchor waits, as where no worker comes up."""
        self.remembers.set()
        self.away = False
        """Told to make and destroy nothing, as a token whose workers are being replaced."""

    def copy(self) -> "SoftwareToken":
        """Return another token that has the same keys, those to come included, and has seen nothing of the ledger."""
        other = SoftwareToken(lanes=len(self.lanes))
        other._log_key, other._keys = self._log_key, self._keys
        return other

    @property
    def log_public_key(self) -> bytes:
        """The key that checkpoints are signed with."""
        return self._log_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def signature(self, item: SignItem) -> Signature | TokenFault:
        """Sign one item; ECDSA nonces differ each time, as a token's do. A key that is not there is a fault."""
        if item.object_id == LOG_KEY_OBJECT_ID:
            return Signature(value=self._log_key.sign(item.input))
        if item.object_id in self._own_keys:
            return Signature(value=self._own_keys[item.object_id].sign(item.input))
        if item.object_id not in self._keys:
            return TokenFault("OBJECT_NOT_FOUND", f"the token has no key with id {item.object_id.hex()}")
        self.signed.append(item.input)
        extra = ffi.new("unsigned char[32]", len(self.signed).to_bytes(32, "big"))
        raw = self._keys[item.object_id].sign_recoverable(item.input, hasher=None, custom_nonce=(ffi.NULL, extra))
        return Signature(value=raw[:64], recovery_id=raw[64])

    async def generate(self, object_id: bytes, algorithm: KeyAlgorithm, *, plaintext_transport: bool = False) -> bytes:
        """See Token."""
        del plaintext_transport
        self._check_here()
        if algorithm is KeyAlgorithm.ED25519:
            own = self._own_keys.setdefault(object_id, ed25519.Ed25519PrivateKey.generate())
            return own.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
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

    async def prove(self, object_id: bytes, algorithm: KeyAlgorithm, public_key: bytes, challenge: bytes) -> Signature:
        """See Token. Not verified: this token does not lie."""
        self._check_here()
        signature = self.signature(proofs.possession(object_id, algorithm, public_key, challenge))
        if isinstance(signature, TokenFault):
            raise signature
        return signature

    async def key_check(self, object_id: bytes, algorithm: KeyAlgorithm) -> bytes:
        """See Token."""
        raise TokenFault("NO_KEY_CHECK", f"no {algorithm} here ({object_id.hex()})")

    async def transport_public_key(self) -> bytes:
        """See Token."""
        self._check_here()
        self._transport_key = self._transport_key or rsa.generate_private_key(65_537, RSA_BITS_MIN)
        return self._transport_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    async def create_wrapping_key(self) -> None:
        """See Token."""
        self._check_here()
        self.wrapping_key = self.wrapping_key or AESGCM.generate_key(256)

    async def wrapping_key_check(self) -> bytes:
        """See Token. Not what a real token says: two of these have it in common, that is all."""
        return hashlib.sha256(aes_key_wrap_with_padding(self._kek(), b"keyvault-check-1")).digest()

    async def export_wrapping_key(self, to_public_key_der: bytes) -> bytes:
        """See Token."""
        modulus, exponent = parse_transport_key(to_public_key_der)
        return rsa.RSAPublicNumbers(exponent, modulus).public_key().encrypt(self._kek(), _OAEP)

    async def import_wrapping_key(self, blob: bytes, check: bytes) -> None:
        """See Token."""
        self._check_here()
        if self._transport_key is None:
            raise TokenFault("OBJECT_NOT_FOUND", "no transport key was asked for")
        before, self.wrapping_key = self.wrapping_key, self._transport_key.decrypt(blob, _OAEP)
        if await self.wrapping_key_check() != check or before not in {b"", self.wrapping_key}:
            self.wrapping_key = before
            raise TokenFault("COPY_NOT_PROVEN", "it is not the other token's wrapping key")

    async def wrap(self, object_id: bytes, algorithm: KeyAlgorithm) -> bytes:
        """See Token."""
        del algorithm
        if object_id == LOG_KEY_OBJECT_ID:
            return aes_key_wrap_with_padding(self._kek(), self._log_key.private_bytes_raw())
        if object_id not in self._keys:
            raise TokenFault("OBJECT_NOT_FOUND", f"the token has no key with id {object_id.hex()}")
        return aes_key_wrap_with_padding(self._kek(), self._keys[object_id].secret)

    async def unwrap_copy(
        self,
        object_id: bytes,
        algorithm: KeyAlgorithm,
        blob: bytes,
        identity: bytes,
        *,
        plaintext_transport: bool = False,
    ) -> None:
        """See Token."""
        del algorithm, plaintext_transport
        self._check_here()
        if object_id == LOG_KEY_OBJECT_ID:
            self._log_key = ed25519.Ed25519PrivateKey.from_private_bytes(aes_key_unwrap_with_padding(self._kek(), blob))
            return
        try:
            key = coincurve.PrivateKey(aes_key_unwrap_with_padding(self._kek(), blob))
        except (InvalidUnwrap, ValueError) as error:
            raise TokenFault("UNWRAP_REFUSED", "the token cannot open the blob") from error
        if key.public_key.format(compressed=False) != identity:
            raise TokenFault("COPY_NOT_PROVEN", "it is not the key that it should be")
        if self._keys.setdefault(object_id, key) != key:
            raise TokenFault("OBJECT_EXISTS", "the token has another key with this id")

    async def wrap_import_key(self) -> bytes:
        """See Token. It imports nothing; these are bytes of the right size."""
        return aes_key_wrap_with_padding(self._kek(), bytes(1_792))

    async def unwrap_import_copy(self, blob: bytes, public_key_der: bytes) -> None:
        """See Token."""
        del public_key_der
        aes_key_unwrap_with_padding(self._kek(), blob)

    def has(self, object_id: bytes) -> bool:
        """Return whether the token has the key."""
        return object_id in self._keys

    def _kek(self) -> bytes:
        self._check_here()
        if not self.wrapping_key:
            raise TokenFault("WRAPPING_KEY_MISSING", "this token has no wrapping key")
        return self.wrapping_key

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
