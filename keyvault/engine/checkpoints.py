"""Signs the head of the ledger in the token, regularly (C2SP tlog-checkpoint).

Only durable heads are signed, only growing sizes, and the note is kept before anybody sees it; so no two
checkpoints can disagree (I5).
"""

import asyncio

from keyvault.core import limits
from keyvault.core.errors import Unavailable
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.engine.appender import Appender
from keyvault.engine.clock import Clock
from keyvault.engine.signing import SigningStage, SignJob
from keyvault.hsm.base import LOG_KEY_OBJECT_ID, SignItem
from keyvault.ledger import checkpoint
from keyvault.ledger.note import verifier


class Checkpointer:
    """Makes the checkpoints of one term. ``origin`` is the ledger's first name; its incarnation is added."""

    def __init__(
        self, *, appender: Appender, stage: SigningStage, clock: Clock, origin: str, newest: tuple[int, bytes] | None
    ) -> None:
        self.newest = newest
        self.faults = 0
        self._appender = appender
        self._stage = stage
        self._clock = clock
        self._origin = origin
        self._signing = asyncio.Lock()

    async def run(self) -> None:
        """Sign whenever the ledger has grown, once an interval, for ever. Raises Broken when the term is over."""
        while True:
            await asyncio.sleep(limits.CHECKPOINT_INTERVAL_MS / 1000)
            try:
                await self.sign_head()
            except Unavailable:
                self.faults += 1  # the next interval tries again; signing goes on meanwhile

    async def sign_head(self) -> tuple[int, bytes]:
        """Return (size, note) of a checkpoint that covers everything that was durable at the call."""
        async with self._signing:
            head = self._appender.head
            if self.newest is not None and self.newest[0] == head.size:
                return self.newest
            origin = checkpoint.incarnated(self._origin, self._appender.state.incarnation)
            text = checkpoint.signing_text(origin, head.size, head.root)
            public_key = self._appender.state.log_public_key
            signature = await self._sign(text, public_key)
            note = checkpoint.assemble(text, verifier(origin, public_key), signature.value)
            await self._appender.keep_checkpoint(head.size, note)
            self.newest = (head.size, note)
            return self.newest

    async def _sign(self, text: bytes, public_key: bytes) -> Signature:
        future: asyncio.Future[Signature] = asyncio.get_running_loop().create_future()

        def done(result: Signature | Unavailable) -> None:
            if future.done():  # the caller went away
                return
            if isinstance(result, Unavailable):
                future.set_exception(result)
            else:
                future.set_result(result)

        item = SignItem(object_id=LOG_KEY_OBJECT_ID, algorithm=KeyAlgorithm.ED25519, public_key=public_key, input=text)
        deadline = self._clock.monotonic() + limits.SIGN_WAIT_MS_MAX / 1000
        self._stage.submit(SignJob(item=item, deadline=deadline, done=done))
        return await future
