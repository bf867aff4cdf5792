"""The keys that a client expects: pinned by its owner, or as the server first named them.

What was first learned stays for the client's life (trust on first use): a server that names another key for the same
version later is found out. Who knows the key beforehand pins it, and then the server is never asked.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from keyvault.client.errors import SignatureMismatch, UnusableAnswer
from keyvault.client.names import KeyName
from keyvault.client.results import Key
from keyvault.client.verify import ExpectedKey, expected_of
from keyvault.core.errors import Malformed
from keyvault.core.ids import EnclaveName, UnixMillis
from keyvault.core.keys import HMAC_ALGORITHMS
from keyvault.ledger import wire
from keyvault.v1 import types_pb2


class KeyBook:
    """Expected keys by name. Bounded by the enclave's own number of keys: only names that were asked for are kept."""

    def __init__(self, enclave: EnclaveName, pinned: Mapping[str, bytes]) -> None:
        """Raises Malformed for a bad name or key. A pin without version holds for every version."""
        self._enclave = enclave
        self._pinned = {KeyName.parse(enclave, name): expected_of(key) for name, key in pinned.items()}
        self._learned: dict[KeyName, ExpectedKey] = {}
        self._fetching = asyncio.Lock()

    async def expected(self, version: KeyName, fetch: Callable[[KeyName], Awaitable[types_pb2.Key]]) -> ExpectedKey:
        """Return the key for this version, asking the server at most once."""
        known = self.known(version)
        if known is not None:
            return known
        async with self._fetching:  # many first answers at once ask once
            known = self.known(version)
            return known or self._learn(version, self.key_of(version, await fetch(version)))

    def known(self, version: KeyName) -> ExpectedKey | None:
        """Return the key for this version if nobody needs to be asked."""
        any_version = KeyName(enclave=version.enclave, key=version.key, version=None)
        return self._pinned.get(version) or self._pinned.get(any_version) or self._learned.get(version)

    def key_of(self, asked: KeyName, message: types_pb2.Key) -> Key:
        """Return the key as the server describes it.

        Raises SignatureMismatch if it is not the one that was asked for, or not the one that is expected, and
        UnusableAnswer if it makes no sense.
        """
        try:
            name = KeyName.of_resource(self._enclave, message.name)
            key = _key(name, message)
            described = described_key(key)
        except Malformed as error:
            raise UnusableAnswer(f"the server describes a key in a way that makes no sense: {error}") from None
        if not asked.covers(name):
            raise SignatureMismatch(f"asked for {asked.resource}, the server describes {message.name}")
        known = self.known(name)
        if known is not None and known != described:
            raise SignatureMismatch(f"the server describes another key for {message.name} than the one expected")
        return key

    def _learn(self, version: KeyName, key: Key) -> ExpectedKey:
        self._learned[version] = described_key(key)
        return self._learned[version]

    def learn(self, key: Key) -> None:
        """Expect this key, which ``key_of`` returned, from now on."""
        self._learned[KeyName.of_resource(self._enclave, key.name)] = described_key(key)


def described_key(key: Key) -> ExpectedKey:
    """Return what to expect of this key, or raise Malformed if its public key is not one of its algorithm."""
    if key.algorithm in HMAC_ALGORITHMS:
        if key.public_key:
            raise Malformed("key.public_key", "an HMAC key has none")
        return ExpectedKey(algorithm=key.algorithm, public_key=b"")
    expected = expected_of(key.public_key)
    if expected.algorithm is not key.algorithm:
        raise Malformed("key.public_key", f"is of {expected.algorithm}, the key is {key.algorithm}")
    return expected


def _key(name: KeyName, message: types_pb2.Key) -> Key:
    if name.version is None:
        raise Malformed("key.name", "names no version")
    return Key(
        name=message.name,
        key=name.key,
        version=name.version,
        algorithm=wire.ALGORITHMS.word("key.algorithm", message.algorithm),
        state=wire.STATES.word("key.state", message.state),
        provenance=wire.PROVENANCES.word("key.provenance", message.provenance),
        public_key=message.public_key,
        created_at=UnixMillis(message.create_time_ms),
        primary=message.primary,
        rotate_by=UnixMillis(message.rotate_by_ms) if message.rotate_by_ms else None,
        destroy_at=UnixMillis(message.destroy_at_ms) if message.destroy_at_ms else None,
        sealed=message.sealed,
        proved_by=tuple(message.proved_by),
        on_every_token=message.on_every_token,
    )
