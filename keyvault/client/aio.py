"""The SDK for programs with an event loop."""

import asyncio
from contextlib import aclosing

from keyvault.client.audit import Audit
from keyvault.client.errors import NeedsApproval
from keyvault.client.results import Signed
from keyvault.client.signing import Signing
from keyvault.client.simulation import Simulating
from keyvault.client.stream import SignStream
from keyvault.core.intent import Payload


class AsyncClient(Signing, Simulating, Audit):
    """Everything that bots, members and auditors ask of one enclave, over one channel. See ``Caller`` for arguments."""

    async def sign(
        self, key: str, payload: Payload, *, request_id: str | None = None, wait_for_approval_s: float = 0
    ) -> Signed:
        """Return the verified signature of ``{key}`` or ``{key}/versions/{version}`` over a payload.

        ``wait_for_approval_s``: where policy leaves the request to members, wait for them so long, and ask again.

        Raises KeyvaultRpcError for what the server says, NeedsApproval among it, and SignatureMismatch for an answer
        that is not what the expected key signs for exactly these bytes.
        """
        asked = self.asked(key, payload, request_id)
        try:
            return await super().sign(key, payload, request_id=asked.request_id)
        except NeedsApproval as waiting:
            if not wait_for_approval_s:
                raise
            await self._wait(waiting, wait_for_approval_s)
        return await super().sign(key, payload, request_id=asked.request_id)

    async def _wait(self, waiting: NeedsApproval, seconds: float) -> None:
        """Return when the proposal is approved or has ended; after so many seconds, raise what was said last."""
        try:
            async with asyncio.timeout(seconds), aclosing(self.watch_proposal(waiting.proposal)) as watch:
                async for proposal in watch:
                    if proposal.approved_at is not None:
                        return
        except TimeoutError:
            raise waiting from None

    def stream(self) -> SignStream:
        """Return a new stream of signature requests, to be used in ``async with``."""
        return SignStream(self)
