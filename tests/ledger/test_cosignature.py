"""Cosignatures: their bytes, and what is no cosignature."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keyvault.core.errors import Malformed
from keyvault.ledger import checkpoint
from keyvault.ledger.cosignature import cosigned, cosigned_at, cosigner, message, parse_cosigner
from keyvault.ledger.errors import Unproven
from keyvault.ledger.note import parse_note, verifier

ORIGIN = "keyvault/hot/0123456789abcdef"
LOG, NODE = Ed25519PrivateKey.from_private_bytes(b"L" * 32), Ed25519PrivateKey.from_private_bytes(b"N" * 32)
LOG_KEY = verifier(ORIGIN, LOG.public_key().public_bytes_raw())
NODE_KEY = cosigner(f"{ORIGIN}/node/kv-1:7443", NODE.public_key().public_bytes_raw())
TEXT = checkpoint.signing_text(ORIGIN, 7, b"r" * 32)
NOTE = checkpoint.assemble(TEXT, LOG_KEY, LOG.sign(TEXT))
AT_S = 1_790_000_000


def _cosigned(at_s: int = AT_S) -> bytes:
    return cosigned(NOTE, NODE_KEY, at_s, NODE.sign(message(TEXT, at_s)))


def test_a_cosignature_is_a_line_more() -> None:
    """The note stays a checkpoint of its log; the line holds the time, and says it when it is asked for."""
    note = _cosigned()
    assert checkpoint.open_checkpoint(note, LOG_KEY) == checkpoint.open_checkpoint(NOTE, LOG_KEY)
    assert cosigned_at(note, NODE_KEY) == AT_S
    line = parse_note(note).signatures[-1]
    assert line.signature[:8] == AT_S.to_bytes(8, "big")
    assert len(line.signature) == 72


def test_what_is_signed_is_the_specifications() -> None:
    """The message is that of tlog-cosignature, byte for byte."""
    assert message(TEXT, 5) == b"cosignature/v1\ntime 5\n" + TEXT


def test_keys_are_read_as_they_are_written() -> None:
    """A vkey of type 0x04; another type, key id or form is none."""
    assert parse_cosigner(NODE_KEY.vkey) == NODE_KEY
    name, key_id, encoded = NODE_KEY.vkey.split("+", 2)
    for wrong in (LOG_KEY.vkey, f"{name}+00000000+{encoded}", name, f"{name}+{key_id}", f"+{key_id}+{encoded}"):
        with pytest.raises(Malformed):
            parse_cosigner(wrong)
    with pytest.raises(Malformed):
        cosigner("two words", NODE_KEY.public_key)


def test_what_is_no_cosignature_is_not_believed() -> None:
    """Another time, another text, another key, the log's own line, a short line: each is refused."""
    with pytest.raises(Unproven, match="no cosignature"):
        cosigned_at(NOTE, NODE_KEY)
    with pytest.raises(Unproven):
        cosigned(NOTE, NODE_KEY, AT_S + 1, NODE.sign(message(TEXT, AT_S)))
    with pytest.raises(Unproven):
        cosigned(NOTE, NODE_KEY, AT_S, NODE.sign(TEXT))
    with pytest.raises(Unproven):
        cosigned(NOTE, NODE_KEY, AT_S, LOG.sign(message(TEXT, AT_S)))
    with pytest.raises(Unproven):
        cosigned(NOTE, NODE_KEY, AT_S, b"short")
    other = _cosigned().replace(b"\n7\n", b"\n8\n", 1)
    with pytest.raises(Unproven):
        cosigned_at(other, NODE_KEY)
