"""Proof that a token has the keys that the ledger names: each signs a challenge.

The signatures are verified as every other, and go nowhere. What is signed is the hash of a text that begins with its
purpose, and of random bytes, so it is the digest of nothing else.
"""

import hashlib
import secrets
from collections.abc import Iterable

from keyvault.core.keys import KeyAlgorithm, KeyState, KeyVersion
from keyvault.core.state import State
from keyvault.hsm.base import LOG_KEY_OBJECT_ID, Lane, SignItem, TokenFault

_PURPOSE = b"keyvault: this token has the key\0"


class Challenges:
    """Which keys of a token are proved; each is challenged once, and again after ``forget``."""

    def __init__(self) -> None:
        self._proved: set[bytes] = set()

    def forget(self) -> None:
        """Let every key be challenged again: the token was opened anew, or a while has passed."""
        self._proved.clear()

    async def missing(self, lane: Lane, state: State) -> str:
        """Challenge what is not proved; return which key failed, and why, in words. Empty: the token has all."""
        items = [item for item in _items(state) if item.object_id not in self._proved]
        if not items:
            return ""
        for item, result in zip(items, await lane.sign(items), strict=True):
            if isinstance(result, TokenFault):
                return f"the token does not sign with {_name(item.object_id, state)}: {result.code}"
            self._proved.add(item.object_id)
        return ""


def _items(state: State) -> Iterable[SignItem]:
    yield SignItem(
        object_id=LOG_KEY_OBJECT_ID,
        algorithm=KeyAlgorithm.ED25519,
        public_key=state.log_public_key,
        input=_challenge(),
    )
    for key in _active(state):
        yield SignItem(
            object_id=key.token_object_id, algorithm=key.algorithm, public_key=key.public_key, input=_challenge()
        )


def _active(state: State) -> Iterable[KeyVersion]:
    return (
        version
        for line in state.keys.values()
        for version in line.versions.values()
        if version.state is KeyState.ACTIVE
    )


def _name(object_id: bytes, state: State) -> str:
    """Return what people call the key: the token's own name for it says nothing to them."""
    found = (version for version in _active(state) if version.token_object_id == object_id)
    return next((f"key {each.key} version {each.version}" for each in found), object_id.decode("ascii", "replace"))


def _challenge() -> bytes:
    return hashlib.sha256(_PURPOSE + secrets.token_bytes(32)).digest()
