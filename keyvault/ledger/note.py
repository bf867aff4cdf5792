"""C2SP signed notes with Ed25519 keys (c2sp.org/signed-note v1.0.0, signature type 0x01).

A note is text that ends in a newline, an empty line, and one line for each signature::

    — <key name> base64(key id (4 bytes) || signature)

The text may hold empty lines, so the signatures stand after the last one. Lines of unknown keys are passed over;
a line of a known key that does not verify makes the whole note worthless.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.ledger.errors import Unproven

ED25519 = b"\x01"
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64
KEY_ID_BYTES = 4

_VKEY = re.compile(r"([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)", re.ASCII)
_CONTROL = re.compile(rb"[\x00-\x09\x0b-\x1f]")
_PREFIX = "— "


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    """A key that notes are checked against: its name and its Ed25519 public key, 32 bytes."""

    name: str
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """Return what names the key in a signature line: SHA-256(name || 0x0A || 0x01 || key)[:4]."""
        return hashlib.sha256(self.name.encode() + b"\n" + ED25519 + self.public_key).digest()[:KEY_ID_BYTES]

    @property
    def vkey(self) -> str:
        """Return the key as text: ``<name>+<key id>+base64(0x01 || key)``."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(ED25519 + self.public_key).decode()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSignature:
    """One signature line. ``signature`` is what follows the key id; its meaning is the key's."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A parsed note; no signature has been checked. ``text`` ends in a newline."""

    text: bytes
    signatures: tuple[NoteSignature, ...]


def verifier(name: str, public_key: bytes) -> Verifier:
    """Return the key under this name, or raise Malformed."""
    check_name(name)
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise Malformed("vkey", f"an Ed25519 key has {PUBLIC_KEY_BYTES} bytes, not {len(public_key)}")
    return Verifier(name=name, public_key=public_key)


def parse_vkey(text: str) -> Verifier:
    """Return the key that the text holds, or raise Malformed: also for a key id that is not the key's."""
    match = _VKEY.fullmatch(text)
    if not match:
        raise Malformed("vkey", "must be <name>+<8 hex digits>+<base64>")
    data = decode_base64("vkey", match[3])
    if data[:1] != ED25519:
        raise Malformed("vkey", "only Ed25519 keys (type 0x01) are known")
    found = verifier(match[1], data[1:])
    if found.key_id.hex() != match[2]:
        raise Malformed("vkey", f"key id {match[2]} does not belong to the key, whose id is {found.key_id.hex()}")
    return found


def check_name(name: str) -> None:
    """Raise Malformed unless the text can be a key name: not empty, no white space, no plus sign."""
    if not name or "+" in name or any(char.isspace() or not char.isprintable() for char in name):
        raise Malformed(
            "key name", f"{name[:80]!r} must not be empty or contain white space, control characters or '+'"
        )


def format_note(text: bytes, signatures: Sequence[NoteSignature]) -> bytes:
    """Return the note with these signature lines."""
    lines = [f"{_PREFIX}{each.name} {base64.b64encode(each.key_id + each.signature).decode()}\n" for each in signatures]
    return text + b"\n" + "".join(lines).encode()


def parse_note(note: bytes) -> Note:
    """Return text and signature lines, or raise Malformed."""
    if len(note) > limits.NOTE_BYTES_MAX:
        raise Malformed("note", f"longer than {limits.NOTE_BYTES_MAX} bytes")
    if _CONTROL.search(note):
        raise Malformed("note", "holds a control character")
    text, separator, lines = note.rpartition(b"\n\n")
    if not separator or not lines.endswith(b"\n"):
        raise Malformed("note", "needs text, an empty line, and signature lines that end in a newline")
    try:
        text.decode()
        decoded = lines.decode()
    except UnicodeDecodeError:
        raise Malformed("note", "not UTF-8") from None
    signatures = decoded.removesuffix("\n").split("\n")
    if len(signatures) > limits.NOTE_SIGNATURES_MAX:
        raise Malformed("note", f"more than {limits.NOTE_SIGNATURES_MAX} signatures")
    return Note(text=text + b"\n", signatures=tuple(map(_parse_signature, signatures)))


def _parse_signature(line: str) -> NoteSignature:
    name, space, text = line.removeprefix(_PREFIX).partition(" ")
    if not line.startswith(_PREFIX) or not space:
        raise Malformed("note", "a signature line is '— <key name> <base64>'")
    check_name(name)
    data = decode_base64("note", text)
    if len(data) <= KEY_ID_BYTES:
        raise Malformed("note", "a signature line without a signature")
    return NoteSignature(name=name, key_id=data[:KEY_ID_BYTES], signature=data[KEY_ID_BYTES:])


def open_note(note: bytes, key: Verifier) -> bytes:
    """Return the text if this key signed it.

    Raises Malformed if it is no note, Unproven if the key's signature is missing or one of them does not verify.
    """
    parsed = parse_note(note)
    mine = [each for each in parsed.signatures if (each.name, each.key_id) == (key.name, key.key_id)]
    if not mine:
        raise Unproven(f"the note has no signature of {key.name}+{key.key_id.hex()}")
    for each in mine:
        _verify(parsed.text, each.signature, key)
    return parsed.text


def _verify(text: bytes, signature: bytes, key: Verifier) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(key.public_key).verify(signature, text)
    except (InvalidSignature, ValueError):
        raise Unproven(f"the signature of {key.name} on the note does not verify") from None


def decode_base64(field: str, text: str) -> bytes:
    """Return the bytes; only the one standard form with padding is taken."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed(field, "not base64") from None
    if base64.b64encode(data).decode() != text:
        raise Malformed(field, "not the standard form of base64")
    return data
