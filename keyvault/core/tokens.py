"""The tokens of an enclave whose keys move by AES-KWP, and what each is known to hold; a projection of the ledger.

Laws:

1. The genesis says whether keys move, and under which wrapping key (its check). That is for ever.
2. A token joins by a quorum, which names its node and the fingerprint of its transport key. Whoever holds that key's
   private half can then open every key of the enclave, and nothing takes that back; leaving is book-keeping.
3. A node whose token joins again has a new token: what the old one proved does not count for it.
4. A version of a key is sealed once, in the same append that creates it, or never.
5. That a token proved a version says that it held it then. Whether a node may lead is found out by a challenge, now.
"""

import hashlib
from dataclasses import dataclass

from keyvault.core.ids import KeyId, Principal
from keyvault.core.keys import SealedRoots

_CHALLENGE = b"keyvault/joined-token/v1\0"
_POSSESSION = b"keyvault/proof-of-possession/v2\0"
Version = tuple[KeyId, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A token that was given the wrapping key. ``proposal`` joined it, and names it.

    ``transport_public_key`` is SubjectPublicKeyInfo (DER); ``wrapped_key`` the wrapping key for it.
    """

    node: Principal
    transport_public_key: bytes
    wrapped_key: bytes
    proposal: bytes

    @property
    def challenge(self) -> bytes:
        """What this token signs with each key to show that it has it: another token's answer is worth nothing here."""
        return hashlib.sha256(_CHALLENGE + self.proposal).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedKey:
    """A version of a key under the wrapping key. ``identity`` is the key check of an HMAC secret, otherwise empty.

    ``plaintext``: the blob is a seed, which passes through a worker's memory when it is copied (I6).
    """

    blob: bytes
    identity: bytes
    plaintext: bool


class Tokens:
    """What the ledger says of tokens. Only ``core.apply_tokens`` writes it."""

    __slots__ = ("in_clear", "joined", "proved", "roots", "sealed")

    def __init__(self) -> None:
        self.roots: SealedRoots | None = None
        """What the genesis says; None where keys do not move."""
        self.joined: dict[Principal, Joined] = {}
        self.sealed: dict[Version, SealedKey] = {}
        self.proved: dict[Version, frozenset[Principal]] = {}
        self.in_clear: set[KeyId] = set()
        """Ed25519 keys whose seeds members allowed to pass through workers' memory."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tokens):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]  # mutable

    def proved_by(self, key: KeyId, version: int) -> tuple[Principal, ...]:
        """Return the nodes whose joined tokens proved this version, sorted."""
        return tuple(sorted(self.proved.get((key, version), frozenset())))

    def has_spare(self, key: KeyId, version: int) -> bool:
        """Return whether every joined token proved this version, and there are two or more: one may be lost."""
        return len(self.joined) > 1 and self.proved.get((key, version), frozenset()) >= self.joined.keys()


def possession_input(object_id: bytes, public_key: bytes, challenge: bytes) -> bytes:
    """Return what a key signs to show that a token has it now: a SHA-256 that is no transaction and no request.

    Over a label, then object id, public key (empty for HMAC) and challenge, each with its length.
    """
    sized = (len(part).to_bytes(2, "big") + part for part in (object_id, public_key, challenge))
    return hashlib.sha256(_POSSESSION + b"".join(sized)).digest()
