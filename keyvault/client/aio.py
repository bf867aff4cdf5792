"""The SDK for programs with an event loop."""

from keyvault.client.audit import Audit
from keyvault.client.signing import Signing
from keyvault.client.stream import SignStream


class AsyncClient(Signing, Audit):
    """Everything that bots, admins and auditors ask of one enclave, over one channel. See ``Caller`` for arguments."""

    def stream(self) -> SignStream:
        """Return a new stream of signature requests, to be used in ``async with``."""
        return SignStream(self)
