"""C2SP cosignatures with Ed25519 (c2sp.org/tlog-cosignature v1.0.1, signature type 0x04).

A cosigner says: as of this time, the largest consistent tree of this origin that I have seen has this root. Its line in
the checkpoint's note is key id (4 bytes) || time (uint64, big-endian, POSIX seconds) || Ed25519 signature over::

    cosignature/v1
    time <decimal>
    <the checkpoint's text, to its last newline>

A node cosigns what it recomputed from its own copy, with a key that its token made and that never leaves it.
"""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from keyvault.core.errors import Malformed
from keyvault.ledger.errors import Unproven
from keyvault.ledger.note import (
    KEY_ID_BYTES,
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    NoteSignature,
    check_name,
    decode_base64,
    format_note,
    parse_note,
)

COSIGNATURE = b"\x04"
_TIME_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosigner:
    """A cosigner's name and its Ed25519 public key, 32 bytes."""

    name: str
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """Return what names the key in a line: SHA-256(name || 0x0A || 0x04 || key)[:4]."""
        data = self.name.encode() + b"\n" + COSIGNATURE + self.public_key
        return hashlib.sha256(data).digest()[:KEY_ID_BYTES]

    @property
    def vkey(self) -> str:
        """Return the key as text: ``<name>+<key id>+base64(0x04 || key)``."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(COSIGNATURE + self.public_key).decode()}"


def cosigner(name: str, public_key: bytes) -> Cosigner:
    """Return the key under this name, or raise Malformed."""
    check_name(name)
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise Malformed("vkey", f"an Ed25519 key has {PUBLIC_KEY_BYTES} bytes, not {len(public_key)}")
    return Cosigner(name=name, public_key=public_key)


def parse_cosigner(text: str) -> Cosigner:
    """Return the key that the text holds, or raise Malformed: also for a key id that is not the key's."""
    name, plus, rest = text.partition("+")
    key_id, more, encoded = rest.partition("+")
    if not plus or not more:
        raise Malformed("vkey", "must be <name>+<8 hex digits>+<base64>")
    data = decode_base64("vkey", encoded)
    if data[:1] != COSIGNATURE:
        raise Malformed("vkey", "a cosigner's key has type 0x04; this is another kind of key")
    found = cosigner(name, data[1:])
    if found.key_id.hex() != key_id:
        raise Malformed("vkey", f"key id {key_id[:20]!r} does not belong to the key, whose id is {found.key_id.hex()}")
    return found


def message(text: bytes, at_s: int) -> bytes:
    """Return what a cosigner signs of a checkpoint's text at this time."""
    return b"cosignature/v1\ntime %d\n" % at_s + text


def cosigned(note: bytes, by: Cosigner, at_s: int, signature: bytes) -> bytes:
    """Return the note with one line more. It is verified first: a wrong one does not leave (Unproven, Malformed)."""
    parsed = parse_note(note)
    line = NoteSignature(name=by.name, key_id=by.key_id, signature=at_s.to_bytes(_TIME_BYTES, "big") + signature)
    _verify(parsed.text, line.signature, by)
    return format_note(parsed.text, (*parsed.signatures, line))


def cosigned_at(note: bytes, by: Cosigner) -> int:
    """Return when this cosigner cosigned the note, in POSIX seconds.

    Raises Malformed if it is no note, Unproven if the cosigner's line is missing or one of them does not verify.
    """
    parsed = parse_note(note)
    mine = [each for each in parsed.signatures if (each.name, each.key_id) == (by.name, by.key_id)]
    if not mine:
        raise Unproven(f"the note has no cosignature of {by.name}+{by.key_id.hex()}")
    return max(_verify(parsed.text, each.signature, by) for each in mine)


def cosignatures(note: bytes, known: Iterable[Cosigner]) -> dict[Cosigner, NoteSignature]:
    """Return which of these cosigners cosigned the note, and the newest line of each; other lines are passed over.

    Raises Malformed if it is no note, Unproven if the line of one of them does not verify.
    """
    parsed, by_name = parse_note(note), {(each.name, each.key_id): each for each in known}
    found: dict[Cosigner, NoteSignature] = {}
    for line in sorted(parsed.signatures, key=lambda line: line.signature[:_TIME_BYTES]):
        by = by_name.get((line.name, line.key_id))
        if by is not None:
            _verify(parsed.text, line.signature, by)
            found[by] = line
    return found


def said_at(line: NoteSignature) -> int:
    """Return when a cosigner made this line, as it says, in POSIX seconds."""
    return int.from_bytes(line.signature[:_TIME_BYTES], "big")


def _verify(text: bytes, timed: bytes, by: Cosigner) -> int:
    at_s, signature = int.from_bytes(timed[:_TIME_BYTES], "big"), timed[_TIME_BYTES:]
    if len(signature) != SIGNATURE_BYTES or at_s >= 1 << 63:
        raise Unproven(f"the cosignature of {by.name} is not one: a time and {SIGNATURE_BYTES} bytes are needed")
    try:
        Ed25519PublicKey.from_public_bytes(by.public_key).verify(signature, message(text, at_s))
    except (InvalidSignature, ValueError):
        raise Unproven(f"the cosignature of {by.name} on the note does not verify") from None
    return at_s
