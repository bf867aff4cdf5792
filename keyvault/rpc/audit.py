"""AuditService: the ledger as bytes and proofs."""

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.ids import LedgerIndex
from keyvault.engine.served import Served
from keyvault.ledger import proof
from keyvault.rpc.auth import READERS, Context, Door
from keyvault.rpc.keys import check_enclave, guarded
from keyvault.v1 import audit_pb2, audit_pb2_grpc

_PAGE_DEFAULT = 100
_CHUNK = 32
"""Entries read at once: at most 2 MiB, so that the event loop is not held for long."""


class AuditService(audit_pb2_grpc.AuditServiceServicer):
    """The ledger of one enclave, for members and auditors."""

    def __init__(self, enclave: Served, door: Door) -> None:
        self._enclave = enclave
        self._door = door

    async def ListEntries(
        self, request: audit_pb2.ListEntriesRequest, context: Context
    ) -> audit_pb2.ListEntriesResponse:
        """See audit.proto."""
        await self._door.admit(context, *READERS)

        async def work() -> audit_pb2.ListEntriesResponse:
            check_enclave(self._enclave, "parent", request.parent)
            count = request.page_size or _PAGE_DEFAULT
            if not 0 < count <= limits.PAGE_ENTRIES_MAX or request.start < 0:
                raise Malformed("page_size", f"must be 1 to {limits.PAGE_ENTRIES_MAX}, and start not negative")
            entries = self._page(request.start, count)
            return audit_pb2.ListEntriesResponse(entries=entries, next_start=request.start + len(entries))

        return await guarded(context, work)

    async def GetCheckpoint(
        self, request: audit_pb2.GetCheckpointRequest, context: Context
    ) -> audit_pb2.GetCheckpointResponse:
        """See audit.proto."""
        await self._door.admit(context, *READERS)

        async def work() -> audit_pb2.GetCheckpointResponse:
            check_enclave(self._enclave, "parent", request.parent)
            _, note = await self._enclave.checkpoint()
            return audit_pb2.GetCheckpointResponse(checkpoint=note.decode())

        return await guarded(context, work)

    async def GetInclusionProof(
        self, request: audit_pb2.GetInclusionProofRequest, context: Context
    ) -> audit_pb2.GetInclusionProofResponse:
        """See audit.proto."""
        await self._door.admit(context, *READERS)

        async def work() -> audit_pb2.GetInclusionProofResponse:
            check_enclave(self._enclave, "parent", request.parent)
            hashes, entry, note = await self._enclave.inclusion_proof(LedgerIndex(request.index))
            text = proof.format_proof(request.index, hashes, note)
            return audit_pb2.GetInclusionProofResponse(proof=text.decode(), entry=entry)

        return await guarded(context, work)

    async def GetConsistencyProof(
        self, request: audit_pb2.GetConsistencyProofRequest, context: Context
    ) -> audit_pb2.GetConsistencyProofResponse:
        """See audit.proto."""
        await self._door.admit(context, *READERS)

        async def work() -> audit_pb2.GetConsistencyProofResponse:
            check_enclave(self._enclave, "parent", request.parent)
            hashes, note = await self._enclave.consistency_proof(request.old_size)
            return audit_pb2.GetConsistencyProofResponse(hashes=hashes, checkpoint=note.decode())

        return await guarded(context, work)

    def _page(self, start: int, count: int) -> list[bytes]:
        """Return up to ``count`` entries that fit into one answer, at least one; reads little more than that."""
        page: list[bytes] = []
        room = limits.PAGE_BYTES_MAX
        while len(page) < count:
            chunk = self._enclave.entries(start + len(page), min(_CHUNK, count - len(page)))
            for entry in chunk:
                room -= len(entry)
                if page and room < 0:
                    return page
                page.append(entry)
            if len(chunk) < _CHUNK:
                break
        return page
