"""A node's own word for checkpoints: it cosigns what it compared with the root over its own copy (I5).

The key is made by the node's token when it is first asked for, is the node's alone, and signs nothing else.
"""

from collections.abc import Callable

from keyvault.core.errors import Unavailable
from keyvault.core.keys import KeyAlgorithm
from keyvault.engine.clock import Clock
from keyvault.hsm.base import NODE_KEY_OBJECT_ID, Lane, SignItem, Token, TokenFault
from keyvault.ledger.checkpoint import split_origin
from keyvault.ledger.cosignature import Cosigner, cosigned, cosigner, message
from keyvault.ledger.note import parse_note


class Cosigning:
    """Cosigns for one node."""

    def __init__(self, token: Token, clock: Clock, address: str, tell: Callable[[str], None]) -> None:
        """``tell`` is told the key, once it is known."""
        self.newest: tuple[int, bytes] | None = None
        """(size, note) of the newest checkpoint that was cosigned."""
        self._token = token
        self._clock = clock
        self._address = address
        self._tell = tell
        self._key: Cosigner | None = None

    @property
    def vkey(self) -> str:
        """The key that auditors check cosignatures against; empty until it is known."""
        return "" if self._key is None else self._key.vkey

    @property
    def note(self) -> bytes:
        """The newest checkpoint that was cosigned; empty if none."""
        return b"" if self.newest is None else self.newest[1]

    async def cosign(self, lane: Lane, origin: str, checkpoint: tuple[int, bytes] | None) -> None:
        """Cosign a checkpoint that was compared, once. Raises Unavailable if the token fails."""
        if checkpoint is None or (self.newest is not None and self.newest[0] >= checkpoint[0]):
            return
        size, note = checkpoint
        if self._key is None:
            public_key = await self._token.generate(NODE_KEY_OBJECT_ID, KeyAlgorithm.ED25519)
            ledger, _ = split_origin(origin)  # not of one incarnation: what an auditor pinned stays right
            self._key = cosigner(f"{ledger}/node/{self._address}", public_key)
            self._tell(self._key.vkey)
        at_s = self._clock.now() // 1000
        item = SignItem(
            object_id=NODE_KEY_OBJECT_ID,
            algorithm=KeyAlgorithm.ED25519,
            public_key=self._key.public_key,
            input=message(parse_note(note).text, at_s),
        )
        (result,) = await lane.sign([item])
        if isinstance(result, TokenFault):
            raise Unavailable(f"the token does not sign with the node's key: {result.code}")
        self.newest = size, cosigned(note, self._key, at_s, result.value)
