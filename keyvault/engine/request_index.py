"""Which request ids are new for certain, so that asking for the first time costs no look-up.

The ledger's unique index is the truth about request ids, for ever (I3). This is only a bound on it: for each caller
the greatest id that was ever seen. Ids that grow (UUIDv7, as the SDK makes them) are greater than all before and need
no look-up; any other id is looked up. Memory: one id per caller.
"""

from keyvault.ledger.codec import PRINCIPAL_PREFIX_BYTES


class RequestIndex:
    """The greatest request key of each caller."""

    __slots__ = ("_greatest",)

    def __init__(self) -> None:
        self._greatest: dict[bytes, bytes] = {}

    def saw(self, request_key: bytes) -> None:
        """Remember a key that stands, or may come to stand, in the ledger."""
        caller = request_key[:PRINCIPAL_PREFIX_BYTES]
        if request_key > self._greatest.get(caller, b""):
            self._greatest[caller] = request_key

    def is_new(self, request_key: bytes) -> bool:
        """Whether the key is certainly not in the ledger. False says nothing."""
        return request_key > self._greatest.get(request_key[:PRINCIPAL_PREFIX_BYTES], b"")
