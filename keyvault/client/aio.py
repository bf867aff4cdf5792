"""The SDK for programs with an event loop."""

import asyncio
from contextlib import aclosing

from keyvault.client.audit import Audit
from keyvault.client.cluster import Cluster
from keyvault.client.errors import NeedsApproval, invalid
from keyvault.client.psbt import inputs_to_sign, signed_psbt
from keyvault.client.request_id import uuid7
from keyvault.client.results import Signed, SignedPsbt
from keyvault.client.signing import Signing
from keyvault.client.simulation import Simulating
from keyvault.client.stream import SignStream
from keyvault.core.errors import Malformed
from keyvault.core.intent import Payload, Signer


class AsyncClient(Signing, Simulating, Audit, Cluster):
    """Everything that bots, members and auditors ask of one enclave. See ``Caller`` for arguments."""

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

    async def sign_psbt(
        self,
        key: str,
        psbt: bytes,
        *,
        network: str = "mainnet",
        request_id: str | None = None,
        wait_for_approval_s: float = 0,
    ) -> SignedPsbt:
        """Sign every input of a PSBT that waits for this key. See ``sign``.

        Each input is a request of its own, ``{request_id}.{number}``; they share a slot, so limits count them once.
        All are asked for before an error is raised: after NeedsApproval, or any other, ask again with the same
        ``request_id`` for the rest. Raises InvalidRequest if an input of this key may not be signed, or none waits.
        """
        chosen = str(uuid7()) if request_id is None else request_id
        described = await self.public_key(key)
        signer = Signer(algorithm=described.algorithm, public_key=described.public_key)
        try:
            waiting = inputs_to_sign(psbt, network, signer)
        except Malformed as error:
            raise invalid(error, request_id=chosen) from None
        asking = (
            self.sign(key, payload, request_id=f"{chosen}.{number}", wait_for_approval_s=wait_for_approval_s)
            for number, payload in waiting.items()
        )
        answers = await asyncio.gather(*asking, return_exceptions=True)
        return signed_psbt(chosen, psbt, signer, dict(zip(waiting, answers, strict=True)))

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
