"""Brings the keys of the ledger into this node's token, and destroys what the ledger says is destroyed.

Laws:

1. It works from the ledger alone: the wrapping key as members approved it for this node, then the enclave's own two
   keys, then every sealed version that is not destroyed. The token believes none of it: each proves what it is.
2. Everything may be done again, also after a crash in the middle: the token finds what it has.
3. A fault costs a pause and stands in ``obstacle``; it never ends the node, and one key does not hold up the others.
4. What it reports is what the token signed for its own challenge. Whether the node may lead is not its to say.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress

from keyvault.core import limits
from keyvault.core.errors import KeyvaultError, Unavailable
from keyvault.core.ids import Principal
from keyvault.core.keys import KeyAlgorithm, KeyState, KeyVersion, SealedRoots
from keyvault.core.state import State
from keyvault.core.tokens import Joined, SealedKey, Version
from keyvault.engine.copies import Proof
from keyvault.engine.served import Served
from keyvault.hsm.base import LOG_KEY_OBJECT_ID, Token, TokenFault

_MISSING = "WRAPPING_KEY_MISSING"
_NOT_THERE = "OBJECT_NOT_FOUND"
_STAYS = "it cannot leave the token that made it, and while it is active only that one's node can lead"


class Installer:
    """One node's; runs beside whatever the node does."""

    def __init__(
        self, *, served: Served, token: Token, own: Principal, report: Callable[[Sequence[Proof]], Awaitable[None]]
    ) -> None:
        """``own`` is the node's principal; ``report`` tells the leader, and raises KeyvaultError if it cannot."""
        self.obstacle = ""
        """What this token lacks of the ledger's keys, and why, in words; empty if nothing."""
        self._served = served
        self._token = token
        self._own = own
        self._report = report
        self._has_roots = False
        self._held: set[Version] = set()
        self._gone: set[Version] = set()
        self._told: set[tuple[bytes, Version]] = set()
        self._trouble: list[str] = []

    async def run(self) -> None:
        """Look after every change, and after a pause where something failed. For ever."""
        pause_ms = limits.INSTALL_PAUSE_MS_MIN
        while True:
            change = asyncio.create_task(self._served.next_change())
            await asyncio.sleep(0)  # now it waits: no change between the look and the wait is missed
            await self.look()
            pause_ms = min(2 * pause_ms, limits.INSTALL_PAUSE_MS_MAX) if self.obstacle else limits.INSTALL_PAUSE_MS_MIN
            wait_ms = pause_ms if self.obstacle else limits.INSTALL_PAUSE_MS_MAX
            await asyncio.wait({change}, timeout=wait_ms / 1000)
            change.cancel()
            with suppress(asyncio.CancelledError, KeyvaultError):
                await change
            if self.obstacle:
                await asyncio.sleep(limits.INSTALL_PAUSE_MS_MIN / 1000)  # a busy ledger is no reason to hurry

    async def look(self) -> None:
        """Do what is to be done now; what fails is told in ``obstacle`` and left to the next look."""
        self._trouble = []
        try:
            await self._look()
        except KeyvaultError as error:
            self._trouble.append(str(error))
        except Exception as error:  # noqa: BLE001 (whatever it is, the node goes on following)
            self._trouble.append(repr(error))
        self.obstacle = "; ".join(self._trouble)[: limits.EXPLANATION_CHARS_MAX]

    async def _look(self) -> None:
        state = self._served.state
        roots, joined = state.tokens.roots, state.tokens.joined.get(self._own)
        if roots is None:
            raise Unavailable('its configuration says key_transport = "kwp", and the ledger that keys do not move')
        if not self._has_roots:
            await self._install_roots(state, roots, joined)
        for key in _versions(state):
            await self._bring_up_to_date(state, key)
        await self._prove(state, joined)

    async def _install_roots(self, state: State, roots: SealedRoots, joined: Joined | None) -> None:
        if not await self._has_wrapping_key(roots):
            if joined is None:
                raise Unavailable(f"its token has not joined: no TokenJoined for {self._own} stands in the ledger")
            await self._token.import_wrapping_key(joined.wrapped_key, roots.wrapping_key_check)
        await self._token.unwrap_copy(
            LOG_KEY_OBJECT_ID,
            KeyAlgorithm.ED25519,
            roots.log_key,
            state.log_public_key,
            plaintext_transport=roots.log_key_plaintext,
        )
        await self._token.unwrap_import_copy(roots.import_key, state.import_public_key)
        self._has_roots = True

    async def _has_wrapping_key(self, roots: SealedRoots) -> bool:
        try:
            check = await self._token.wrapping_key_check()
        except TokenFault as fault:
            if fault.code == _MISSING:
                return False
            raise
        if not hmac.compare_digest(check, roots.wrapping_key_check):
            raise TokenFault("WRAPPING_KEY_WRONG", "its token has another wrapping key than the ledger's")
        return True

    async def _bring_up_to_date(self, state: State, key: KeyVersion) -> None:
        """Install or destroy one version, once in the life of the process."""
        version = (key.key, key.version)
        try:
            if key.state is KeyState.DESTROYED:
                if version not in self._gone:
                    await self._token.destroy(key.token_object_id, key.algorithm)
                    self._gone.add(version)
                self._held.discard(version)
            elif version not in self._held:
                await self._install(key, state.tokens.sealed.get(version))
                self._held.add(version)
        except TokenFault as fault:
            self._trouble.append(f"key {key.key} version {key.version}: {fault.code}")

    async def _install(self, key: KeyVersion, sealed: SealedKey | None) -> None:
        if sealed is None:
            await self._look_for(key)
            return
        await self._token.unwrap_copy(
            key.token_object_id,
            key.algorithm,
            sealed.blob,
            sealed.identity or key.public_key,
            plaintext_transport=sealed.plaintext,
        )

    async def _look_for(self, key: KeyVersion) -> None:
        """Raise TokenFault unless the token has a version that was never sealed: only the one that made it can."""
        try:
            await self._token.prove(key.token_object_id, key.algorithm, key.public_key, bytes(limits.CHALLENGE_BYTES))
        except TokenFault as fault:
            if fault.code == _NOT_THERE:
                raise TokenFault(_STAYS, str(fault)) from fault
            raise

    async def _prove(self, state: State, joined: Joined | None) -> None:
        """Report what the token holds and the ledger does not know of yet."""
        if joined is None:
            return  # the first token, before it is named as the others are
        new: list[Proof] = []
        for key in _versions(state):
            version = (key.key, key.version)
            told = (joined.proposal, version) in self._told or self._own in state.tokens.proved_by(*version)
            if version not in self._held or told:
                continue
            signature = await self._token.prove(key.token_object_id, key.algorithm, key.public_key, joined.challenge)
            new.append(Proof(key=key.key, version=key.version, signature=signature))
        for start in range(0, len(new), limits.REPORTED_KEYS_MAX):
            part = new[start : start + limits.REPORTED_KEYS_MAX]
            await self._report(part)
            self._told.update((joined.proposal, (proof.key, proof.version)) for proof in part)


def _versions(state: State) -> Iterator[KeyVersion]:
    for line in tuple(state.keys.values()):
        yield from tuple(line.versions.values())
