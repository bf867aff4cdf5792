"""C2SP checkpoints (c2sp.org/tlog-checkpoint v1.0.0): what the log key says about the ledger at one size.

Three lines: origin, size, root in base64. No extension lines: auditors cannot check them, and some cosignatures do
not cover them. The origin is also the name of the log key.

A restored ledger that members let go on is another log from there: its origin ends in the number of the incarnation.
So no two checkpoints of one origin disagree (I5), and the log key stays the same.
"""

import base64
import re
from dataclasses import dataclass

from keyvault.core.errors import Malformed
from keyvault.core.ids import EnclaveName, parse_enclave_name
from keyvault.ledger.errors import Unproven
from keyvault.ledger.merkle import HASH_BYTES
from keyvault.ledger.note import (
    SIGNATURE_BYTES,
    NoteSignature,
    Verifier,
    decode_base64,
    format_note,
    open_note,
    parse_note,
    verifier,
)

SIZE_DIGITS_MAX = 19
_ORIGIN_HASH_CHARS = 16
_LINES = 3
_ORIGIN = re.compile(r"(keyvault/[^/]+/[0-9a-f]{16})(?:/([1-9][0-9]{0,8}))?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The ledger called ``origin`` has ``size`` entries under ``root``."""

    origin: str
    size: int
    root: bytes


def origin(enclave: EnclaveName, genesis_hash: bytes) -> str:
    """Return the ledger's name, ``keyvault/<enclave>/<16 hex digits of the leaf hash of entry 0>``."""
    if len(genesis_hash) != HASH_BYTES:
        raise Malformed("genesis hash", f"{len(genesis_hash)} bytes; {HASH_BYTES} are needed")
    return f"keyvault/{parse_enclave_name(enclave)}/{genesis_hash.hex()[:_ORIGIN_HASH_CHARS]}"


def incarnated(origin: str, incarnation: int) -> str:
    """Return the ledger's name in this incarnation: the origin itself in the first, ``<origin>/<number>`` later."""
    return origin if incarnation == 1 else f"{origin}/{incarnation}"


def split_origin(name: str) -> tuple[str, int]:
    """Return the ledger's first name, and the incarnation; a name of another form is its own, in the first."""
    match = _ORIGIN.fullmatch(name)
    return (match[1], int(match[2] or 1)) if match else (name, 1)


def in_incarnation(key: Verifier, note: bytes) -> Verifier:
    """Return the log's key under the name that the note gives to this ledger; the key itself if it gives it none."""
    ledger, _ = split_origin(key.name)
    names = (each.name for each in parse_note(note).signatures)
    return next((verifier(name, key.public_key) for name in names if split_origin(name)[0] == ledger), key)


def is_same_log(key: Verifier, other: Verifier) -> bool:
    """Return whether both are one ledger's log key, in whatever incarnations."""
    return key.public_key == other.public_key and split_origin(key.name)[0] == split_origin(other.name)[0]


def signing_text(origin: str, size: int, root: bytes) -> bytes:
    """Return the text that the log key signs, or raise Malformed."""
    if len(root) != HASH_BYTES or size < 0:
        raise Malformed("checkpoint", "needs a size of 0 or more and a root of 32 bytes")
    verifier(origin, bytes(HASH_BYTES))
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n".encode()


def assemble(text: bytes, key: Verifier, signature: bytes) -> bytes:
    """Return the note of a checkpoint text and its signature, which was made elsewhere.

    The note is opened again first: a checkpoint that would not verify does not leave (Unproven, Malformed).
    """
    if len(signature) != SIGNATURE_BYTES:
        raise Malformed("signature", f"{len(signature)} bytes; Ed25519 has {SIGNATURE_BYTES}")
    note = format_note(text, [NoteSignature(name=key.name, key_id=key.key_id, signature=signature)])
    open_checkpoint(note, key)
    return note


def open_checkpoint(note: bytes, key: Verifier) -> Checkpoint:
    """Return what the note says if this key signed it and its origin is the key's name; else Unproven or Malformed."""
    found = parse_checkpoint(open_note(note, key))
    if found.origin != key.name:
        raise Malformed("checkpoint", f"origin {found.origin!r} is not the name of its key {key.name!r}")
    return found


def open_in_any(note: bytes, key: Verifier) -> Checkpoint:
    """Like ``open_checkpoint``, of the ledger in whatever incarnation; which one it is, the origin says."""
    return open_checkpoint(note, in_incarnation(key, note))


def parse_checkpoint(text: bytes) -> Checkpoint:
    """Return what a checkpoint text says, or raise Malformed. Nothing is verified."""
    try:
        lines = text.decode().split("\n")
    except UnicodeDecodeError:
        raise Malformed("checkpoint", "not UTF-8") from None
    if len(lines) != _LINES + 1 or lines[_LINES]:
        raise Malformed("checkpoint", "must be three lines: origin, size, root")
    name, size, root = lines[:_LINES]
    found = Checkpoint(origin=name, size=parse_decimal("checkpoint", size), root=decode_base64("checkpoint", root))
    if signing_text(found.origin, found.size, found.root) != text:
        raise Malformed("checkpoint", "not in its only form")
    return found


def parse_decimal(field: str, text: str) -> int:
    """Return the number, or raise Malformed unless it is decimal without leading zeros and fits 63 bits."""
    if not text.isascii() or not text.isdigit() or len(text) > SIZE_DIGITS_MAX or str(int(text)) != text:
        raise Malformed(field, f"{text[:40]!r} is not a decimal number")
    if int(text) >= 1 << 63:
        raise Malformed(field, f"{text} does not fit 63 bits")
    return int(text)


def same_key_other_name(own: Verifier, note: bytes) -> Verifier | None:
    """Return the key under the name that the note uses, if it signed the note."""
    try:
        named = verifier(parse_note(note).signatures[0].name, own.public_key)
        open_checkpoint(note, named)
    except (Malformed, Unproven):
        return None
    return named
