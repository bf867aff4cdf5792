"""C2SP inclusion proofs as text (c2sp.org/tlog-proof@v1): one entry shown to be in a signed checkpoint.

Header, optional ``extra`` (application data that nothing protects), ``index``, the audit path from the leaf up,
an empty line, and the checkpoint note verbatim.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.ledger.checkpoint import Checkpoint, open_in_any, parse_decimal
from keyvault.ledger.merkle import HASH_BYTES, leaf_hash, verify_inclusion
from keyvault.ledger.note import Verifier, decode_base64

HEADER = "c2sp.org/tlog-proof@v1"
_EXTRA = "extra "
_INDEX = "index "


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A parsed proof; nothing has been verified. ``hashes`` go from the leaf's sibling up."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None


def format_proof(index: int, hashes: Sequence[bytes], checkpoint: bytes) -> bytes:
    """Return the text of a proof with the checkpoint's note inside."""
    lines = [HEADER, f"{_INDEX}{index}", *(base64.b64encode(each).decode() for each in hashes)]
    return "".join(f"{line}\n" for line in lines).encode() + b"\n" + checkpoint


def parse_proof(text: bytes) -> Proof:
    """Return the proof, or raise Malformed."""
    if len(text) > 2 * limits.NOTE_BYTES_MAX:
        raise Malformed("proof", f"longer than {2 * limits.NOTE_BYTES_MAX} bytes")
    head, separator, note = text.partition(b"\n\n")
    if not separator:
        raise Malformed("proof", "has no empty line before the checkpoint")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise Malformed("proof", "not ASCII before the checkpoint") from None
    return _parse_lines(lines, note)


def _parse_lines(lines: list[str], note: bytes) -> Proof:
    if lines.pop(0) != HEADER:
        raise Malformed("proof", f"does not begin with {HEADER}")
    extra = None
    if lines and lines[0].startswith(_EXTRA):
        extra = decode_base64("proof", lines.pop(0).removeprefix(_EXTRA))
    if not lines or not lines[0].startswith(_INDEX):
        raise Malformed("proof", "has no index line")
    index = parse_decimal("proof", lines.pop(0).removeprefix(_INDEX))
    if len(lines) > limits.PROOF_HASHES_MAX:
        raise Malformed("proof", f"more than {limits.PROOF_HASHES_MAX} hashes")
    hashes = tuple(decode_base64("proof", line) for line in lines)
    if any(len(each) != HASH_BYTES for each in hashes):
        raise Malformed("proof", f"a hash does not have {HASH_BYTES} bytes")
    return Proof(index=index, hashes=hashes, checkpoint=note, extra=extra)


def verify_proof(text: bytes, entry: bytes, key: Verifier) -> tuple[int, Checkpoint]:
    """Return the entry's index and the checkpoint that covers it, or raise Malformed or Unproven.

    The checkpoint may be of any incarnation of the ledger whose log key this is.
    """
    proof = parse_proof(text)
    found = open_in_any(proof.checkpoint, key)
    verify_inclusion(index=proof.index, size=found.size, leaf=leaf_hash(entry), proof=proof.hashes, root=found.root)
    return proof.index, found
