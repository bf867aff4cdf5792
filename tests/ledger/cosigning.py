"""Cosigners for tests, and notes of a sample ledger that they cosigned."""

from dataclasses import dataclass
from functools import cached_property

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keyvault.ledger import checkpoint
from keyvault.ledger.cosignature import Cosigner, cosigned, cosigner, message
from keyvault.ledger.merkle import Tree, leaf_hash
from keyvault.ledger.note import NoteSignature, format_note, parse_note
from tests.ledger.ledgers import Ledger

AT_S = 1_790_000_000


@dataclass
class Witness:
    """Somebody who cosigns whatever note is given, which no node does."""

    name: str

    @cached_property
    def private_key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.name.encode().ljust(32, b"."))

    @property
    def key(self) -> Cosigner:
        return cosigner(self.name, self.private_key.public_key().public_bytes_raw())

    def cosign(self, note: bytes, at_s: int = AT_S) -> bytes:
        """Return the note with this witness's line."""
        return cosigned(note, self.key, at_s, self.private_key.sign(message(parse_note(note).text, at_s)))


def signed(ledger: Ledger, size: int) -> bytes:
    """Return what the log key says of the first ``size`` entries."""
    return signed_root(ledger, size, Tree.of([leaf_hash(body) for body in ledger.entries[:size]]).root())


def signed_root(ledger: Ledger, size: int, root: bytes) -> bytes:
    """Return what the log key says when it lies about them."""
    text = checkpoint.signing_text(ledger.key.name, size, root)
    return checkpoint.assemble(text, ledger.key, ledger.log_key.sign(text))


def spoiled(note: bytes, by: Cosigner) -> bytes:
    """Return the note with a line of this cosigner that is not from it."""
    parsed = parse_note(note)
    line = NoteSignature(name=by.name, key_id=by.key_id, signature=AT_S.to_bytes(8, "big") + bytes(64))
    return format_note(parsed.text, (*parsed.signatures, line))
