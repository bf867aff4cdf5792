"""The leader's part in bringing keys into other tokens: seals what it makes, wraps the wrapping key, checks proofs.

Laws:

1. A key that can move is sealed before it exists for anybody: its blob stands behind its KeyCreated in one append. So
   no signature was ever made by a key that could be lost with one token, unless it was made to stay there.
2. The wrapping key goes out only as members approved it, and only if it is the one of the genesis.
3. A node's report is believed for what it proves: that its token signed its own challenge. For HMAC this token
   compares.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass

from keyvault.core.errors import Reason, Refused
from keyvault.core.events import Event
from keyvault.core.execution import KeyToMake
from keyvault.core.ids import KeyId, Principal
from keyvault.core.keys import HMAC_ALGORITHMS, KeyProvenance, Signature
from keyvault.core.state import State, find_key
from keyvault.core.token_changes import TokenToJoin, joined_of, moving, sealed
from keyvault.hsm.base import Token, TokenFault
from keyvault.ledger.errors import Unproven
from keyvault.ledger.signatures import verify_proof

_STAYS = "NOT_TRANSPORTABLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a node says of one version of a key: its token's answer to its challenge."""

    key: KeyId
    version: int
    signature: Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeKey:
    """What the token made: the public key (empty for HMAC), and its blob; None if it stays in this token."""

    public_key: bytes
    blob: bytes | None
    identity: bytes

    def events(self, plan: KeyToMake) -> tuple[Event, ...]:
        """Return the facts, which belong into one append. Raises Malformed."""
        created = plan.created(self.public_key)
        if self.blob is None:
            return (created,)
        return (created, sealed(created, self.blob, self.identity, in_clear=plan.plaintext_transport))


class Copies:
    """Works with the token of the leader. Commits nothing."""

    def __init__(self, token: Token, state: Callable[[], State]) -> None:
        self._token = token
        self._state = state

    async def make(self, plan: KeyToMake) -> MadeKey:
        """Make the key. What the token makes is named by the proposal: another attempt finds the same object.

        Raises TokenFault.
        """
        fact, public_key, identity = plan.fact, b"", b""
        moves = self._state().tokens.roots is not None
        if fact.provenance is KeyProvenance.IMPORTED:
            await self._token.unwrap(fact.token_object_id, fact.algorithm, plan.wrapped_secret)
        else:
            public_key = await self._token.generate(
                fact.token_object_id, fact.algorithm, plaintext_transport=moves and plan.plaintext_transport
            )
        blob = await self._blob(plan) if moves else None
        if blob is not None and fact.algorithm in HMAC_ALGORITHMS:
            identity = await self._token.key_check(fact.token_object_id, fact.algorithm)
        return MadeKey(public_key=public_key, blob=blob, identity=identity)

    async def _blob(self, plan: KeyToMake) -> bytes | None:
        try:
            return await self._token.wrap(plan.fact.token_object_id, plan.fact.algorithm)
        except TokenFault as fault:
            if fault.code == _STAYS:
                return None
            raise

    async def wrap_for(self, plan: TokenToJoin) -> bytes:
        """Return the wrapping key for the token that is to join. Raises TokenFault, Refused."""
        if not hmac.compare_digest(await self._token.wrapping_key_check(), moving(self._state()).wrapping_key_check):
            raise TokenFault("WRAPPING_KEY_WRONG", "this token's wrapping key is not the one of the genesis")
        return await self._token.export_wrapping_key(plan.fact.transport_public_key)

    def is_known(self, node: Principal, proof: Proof) -> bool:
        """Return whether the ledger has it already."""
        return node in self._state().tokens.proved_by(proof.key, proof.version)

    async def check(self, node: Principal, proof: Proof) -> None:
        """Raise Refused unless the node's token has joined, and signed its challenge with this version.

        Raises TokenFault if this token cannot compare.
        """
        state = self._state()
        token, key = joined_of(state, node), find_key(state, proof.key, proof.version)
        try:
            verify_proof(key, token.challenge, proof.signature)
        except Unproven as error:
            raise Refused(
                Reason.STATEMENT_MISMATCH, f"the token of {node} did not prove key {key.key}: {error}"
            ) from error
        if key.algorithm in HMAC_ALGORITHMS:
            own = await self._token.prove(key.token_object_id, key.algorithm, b"", token.challenge)
            if not hmac.compare_digest(own.value, proof.signature.value):
                raise Refused(Reason.STATEMENT_MISMATCH, f"the token of {node} holds another secret as key {key.key}")
