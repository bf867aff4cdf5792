"""The ledger from outside: entries as bytes, and what proves them. For roles admin and auditor.

Checkpoints and proofs are verified under the log's key: the one that was expected, or the one that the enclave named
first. Whether the entries themselves are right is for the auditor's program (``keyvault.ledger``) to say.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TypeVar

from keyvault.client.changes import Changes
from keyvault.client.errors import SignatureMismatch, UnusableAnswer
from keyvault.core.errors import Malformed
from keyvault.ledger import checkpoint, note, proof
from keyvault.ledger.checkpoint import Checkpoint
from keyvault.ledger.errors import Unproven
from keyvault.ledger.merkle import verify_consistency
from keyvault.v1 import audit_pb2

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One entry verbatim."""

    index: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCheckpoint:
    """A checkpoint that verified, and the note that says it."""

    checkpoint: Checkpoint
    note: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class InclusionProof:
    """An entry, shown to be in ``checkpoint``; ``text`` is the C2SP tlog-proof that shows it to anybody."""

    index: int
    entry: bytes
    checkpoint: Checkpoint
    text: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsistencyProof:
    """The hashes that show that ``checkpoint`` extends the ledger of ``old_size`` entries."""

    old_size: int
    hashes: tuple[bytes, ...]
    checkpoint: Checkpoint
    note: bytes


class Audit(Changes):
    """Reads and verifies the ledger."""

    async def entries(self, start: int = 0) -> AsyncIterator[LedgerEntry]:
        """Yield all entries from index ``start``, in order, up to the end that the ledger then has."""
        index = start
        while True:
            request = audit_pb2.ListEntriesRequest(parent=self._parent, start=index)
            page = await self.transport.call(lambda at: at.audit.ListEntries, request)
            if not page.entries:
                return
            for body in page.entries:
                yield LedgerEntry(index=index, body=body)
                index += 1

    async def checkpoint(self) -> SignedCheckpoint:
        """Return the newest checkpoint. Raises SignatureMismatch if the log's key did not sign it."""
        key = await self._log_key()
        request = audit_pb2.GetCheckpointRequest(parent=self._parent)
        message = await self.transport.call(lambda at: at.audit.GetCheckpoint, request)
        text = message.checkpoint.encode()
        return SignedCheckpoint(checkpoint=_proven(lambda: checkpoint.open_in_any(text, key)), note=text)

    async def inclusion_proof(self, index: int) -> InclusionProof:
        """Return the entry and what proves its place; raise SignatureMismatch if that does not prove it."""
        key = await self._log_key()
        request = audit_pb2.GetInclusionProofRequest(parent=self._parent, index=index)
        message = await self.transport.call(lambda at: at.audit.GetInclusionProof, request)
        text = message.proof.encode()
        proven, covering = _proven(lambda: proof.verify_proof(text, message.entry, key))
        if proven != index:
            raise SignatureMismatch(f"asked for entry {index}, the proof is about entry {proven}")
        return InclusionProof(index=index, entry=message.entry, checkpoint=covering, text=text)

    async def consistency_proof(self, old_size: int, *, old_root: bytes | None = None) -> ConsistencyProof:
        """Return the proof that the newest checkpoint extends the ledger of ``old_size`` entries.

        With ``old_root``, which the caller kept from an earlier checkpoint, the proof is verified: SignatureMismatch
        says that history was rewritten. Without it only the checkpoint is.
        """
        key = await self._log_key()
        request = audit_pb2.GetConsistencyProofRequest(parent=self._parent, old_size=old_size)
        message = await self.transport.call(lambda at: at.audit.GetConsistencyProof, request)
        text, hashes = message.checkpoint.encode(), tuple(message.hashes)
        newest = _proven(lambda: checkpoint.open_in_any(text, key))
        if old_root is not None:
            _proven(
                lambda: verify_consistency(
                    old_size=old_size, old_root=old_root, size=newest.size, root=newest.root, proof=hashes
                )
            )
        return ConsistencyProof(old_size=old_size, hashes=hashes, checkpoint=newest, note=text)

    async def _log_key(self) -> note.Verifier:
        vkey = self._log_vkey or (await self.get_enclave()).log_vkey
        try:
            return note.parse_vkey(vkey)
        except Malformed as error:
            raise UnusableAnswer(f"the log's key cannot be read: {error}") from None


def _proven(check: Callable[[], T]) -> T:
    """Return what the check returns; what it cannot prove or read is a SignatureMismatch."""
    try:
        return check()
    except (Unproven, Malformed) as error:
        raise SignatureMismatch(f"the ledger's evidence does not hold: {error}") from None
