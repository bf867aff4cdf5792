"""Signed notes, checkpoints and proofs against published vectors and against tampering."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core.errors import Malformed
from keyvault.core.ids import EnclaveName
from keyvault.ledger import checkpoint
from keyvault.ledger.checkpoint import Checkpoint, assemble, open_checkpoint, parse_checkpoint, signing_text
from keyvault.ledger.errors import Unproven
from keyvault.ledger.merkle import Tree, leaf_hash
from keyvault.ledger.note import (
    NoteSignature,
    Verifier,
    format_note,
    open_note,
    parse_note,
    parse_vkey,
    verifier,
)
from keyvault.ledger.proof import format_proof, parse_proof, verify_proof

SPEC_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
).encode()
PRIVATE_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ORIGIN = checkpoint.origin(EnclaveName("hot"), leaf_hash(b"genesis"))
KEY = verifier(ORIGIN, PRIVATE_KEY.public_key().public_bytes_raw())


def _signed(text: bytes, *extra: NoteSignature) -> bytes:
    mine = NoteSignature(name=KEY.name, key_id=KEY.key_id, signature=PRIVATE_KEY.sign(text))
    return format_note(text, [mine, *extra])


@pytest.mark.parametrize("vkey", [SPEC_VKEY, GO_VKEY])
def test_published_keys_are_read_and_written(vkey: str) -> None:
    """Verification keys of the specification and of Go's tests come back as they were, with the key id recomputed."""
    assert parse_vkey(vkey).vkey == vkey


def test_a_note_of_another_program_is_opened() -> None:
    """The note in Go's documentation verifies under its key."""
    text, _, _ = GO_NOTE.rpartition(b"\n\n")
    assert open_note(GO_NOTE, parse_vkey(GO_VKEY)) == text + b"\n"


@given(st.data())
def test_a_changed_note_does_not_open(data: st.DataObject) -> None:
    """Whichever bit of a note is flipped, it does not open."""
    place = data.draw(st.integers(0, len(GO_NOTE) - 1))
    note = bytearray(GO_NOTE)
    note[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((Malformed, Unproven)):
        open_note(bytes(note), parse_vkey(GO_VKEY))


@given(st.text(st.characters(blacklist_categories=["Cs", "Cc"]) | st.just("\n"), max_size=200))
def test_any_text_is_signed_and_opened(text: str) -> None:
    """Text with empty lines or signature-like lines comes back exactly."""
    signed = text.encode() + b"\n"
    assert open_note(_signed(signed), KEY) == signed


def test_unknown_signatures_are_passed_over() -> None:
    """Lines of unknown names, unknown key ids and other lengths do not disturb the one that is known."""
    others = [
        NoteSignature(name="witness.example", key_id=b"abcd", signature=bytes(72)),
        NoteSignature(name=KEY.name, key_id=b"abcd", signature=b"x"),
    ]
    assert open_note(_signed(b"text\n", *others), KEY) == b"text\n"


def test_one_bad_signature_of_a_known_key_spoils_the_note() -> None:
    """A second line of the same key that does not verify makes the note worthless."""
    bad = NoteSignature(name=KEY.name, key_id=KEY.key_id, signature=bytes(64))
    with pytest.raises(Unproven, match="does not verify"):
        open_note(_signed(b"text\n", bad), KEY)


def test_a_note_that_the_key_did_not_sign_does_not_open() -> None:
    """The key's own line must be there."""
    with pytest.raises(Unproven, match=r"no signature of example\.com/foo"):
        open_note(_signed(b"text\n"), parse_vkey(SPEC_VKEY))


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"text\n",
        b"text\n\n",
        b"text\n\nno dash AAAAAAAA\n",
        "text\n\n— name AAAAAAAA".encode(),
        "text\n\n— name AAAAAA==\n".encode(),
        "text\n\n— name AAAAAAB=\n".encode(),
        "text\n\n— na+me AAAAAAAA\n".encode(),
        "text\n\n—  AAAAAAAA\n".encode(),
        "te\rxt\n\n— name AAAAAAAA\n".encode(),
        b"te\xffxt\n\n\xe2\x80\x94 name AAAAAAAA\n",
        b"text\n\n" + "— name AAAAAAAA\n".encode() * 101,
        b"x" * 70_000 + "\n\n— name AAAAAAAA\n".encode(),
    ],
)
def test_what_is_no_note_is_refused(note: bytes) -> None:
    """Missing parts, other base64 forms, control characters, bad UTF-8 and too much of anything are Malformed."""
    with pytest.raises(Malformed):
        parse_note(note)


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "name",
        SPEC_VKEY.replace("530d903a", "530d903b"),
        SPEC_VKEY.replace("foo", "fou"),
        SPEC_VKEY.replace("530d903a", "530D903A"),
        SPEC_VKEY + "A",
        "a b+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "name+00000000+" + base64.b64encode(b"\x02" + bytes(32)).decode(),
        "name+00000000+" + base64.b64encode(b"\x01" + bytes(31)).decode(),
    ],
)
def test_what_is_no_key_is_refused(vkey: str) -> None:
    """A key id that is not the key's, another type, another length, or a bad name is Malformed."""
    with pytest.raises(Malformed):
        parse_vkey(vkey)


def test_a_checkpoint_is_three_lines_and_its_signature() -> None:
    """The text is origin, size and root; the note opens to the same values under the key of that name."""
    root = Tree.of([leaf_hash(b"a")]).root()
    text = signing_text(ORIGIN, 1, root)
    assert text.decode() == f"{ORIGIN}\n1\n{base64.b64encode(root).decode()}\n"
    note = assemble(text, KEY, PRIVATE_KEY.sign(text))
    assert open_checkpoint(note, KEY) == Checkpoint(origin=ORIGIN, size=1, root=root)


def test_a_checkpoint_that_would_not_verify_does_not_leave() -> None:
    """A signature over something else, or for another key's name, is noticed before anybody sees the note."""
    text = signing_text(ORIGIN, 1, bytes(32))
    with pytest.raises(Unproven):
        assemble(text, KEY, PRIVATE_KEY.sign(text + b"\n"))
    with pytest.raises(Malformed):
        assemble(text, KEY, b"short")
    other = Verifier(name="keyvault/other/0", public_key=KEY.public_key)
    with pytest.raises(Malformed, match="not the name"):
        assemble(text, other, PRIVATE_KEY.sign(text))


@pytest.mark.parametrize(
    "text",
    [
        b"o\n1\n",
        b"o\n1\nAAAA\n",
        b"o\n01\n" + base64.b64encode(bytes(32)) + b"\n",
        b"o\n-1\n" + base64.b64encode(bytes(32)) + b"\n",
        "o\n\u0661\n".encode() + base64.b64encode(bytes(32)) + b"\n",
        b"o\n9223372036854775808\n" + base64.b64encode(bytes(32)) + b"\n",
        b"o\n1\n" + base64.b64encode(bytes(32)) + b"\nextension\n",
        b"o p\n1\n" + base64.b64encode(bytes(32)) + b"\n",
        b"\n1\n" + base64.b64encode(bytes(32)) + b"\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: bytes) -> None:
    """Other numbers of lines, other forms of numbers, short roots, extension lines and bad names are Malformed."""
    with pytest.raises(Malformed):
        parse_checkpoint(text)


def test_the_origin_names_enclave_and_genesis() -> None:
    """The origin is keyvault/<enclave>/<16 hex digits of the genesis hash>, and nothing else makes one."""
    assert checkpoint.origin(EnclaveName("hot-1"), bytes.fromhex("0123456789abcdef") * 4) == (
        "keyvault/hot-1/0123456789abcdef"
    )
    with pytest.raises(Malformed):
        checkpoint.origin(EnclaveName("Hot 1"), bytes(32))
    with pytest.raises(Malformed):
        checkpoint.origin(EnclaveName("hot"), bytes(31))


def _proof(count: int, index: int) -> tuple[list[bytes], bytes]:
    entries = [f"entry {i}".encode() for i in range(count)]
    hashes = [leaf_hash(each) for each in entries]
    tree = Tree.of(hashes)
    text = signing_text(ORIGIN, count, tree.root())
    note = assemble(text, KEY, PRIVATE_KEY.sign(text))
    path = tree.inclusion_proof(index, count, lambda block: hashes[block * 256 : block * 256 + 256])
    return entries, format_proof(index, path, note)


@given(st.data())
def test_a_proof_shows_one_entry(data: st.DataObject) -> None:
    """The text of a proof shows its entry under its checkpoint, and no other entry."""
    count = data.draw(st.integers(2, 40))
    index = data.draw(st.integers(0, count - 1))
    entries, text = _proof(count, index)
    assert verify_proof(text, entries[index], KEY)[0] == index
    with pytest.raises(Unproven):
        verify_proof(text, entries[index - 1], KEY)


@given(st.data())
def test_a_changed_proof_text_proves_nothing(data: st.DataObject) -> None:
    """Whichever bit is flipped, the proof does not verify for its entry."""
    entries, text = _proof(7, 3)
    place = data.draw(st.integers(0, len(text) - 1))
    changed = bytearray(text)
    changed[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((Malformed, Unproven)):
        verify_proof(bytes(changed), entries[3], KEY)


def test_extra_data_is_given_back() -> None:
    """The optional extra line is returned and changes nothing else."""
    _, text = _proof(3, 1)
    with_extra = text.replace(b"index ", b"extra AAEC\nindex ", 1)
    assert parse_proof(with_extra).extra == b"\0\1\2"
    assert parse_proof(with_extra).hashes == parse_proof(text).hashes
    assert parse_proof(text).extra is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"c2sp.org/tlog-proof@v2\nindex 0\n\nnote",
        b"c2sp.org/tlog-proof@v1\n\nnote",
        b"c2sp.org/tlog-proof@v1\nindex 00\n\nnote",
        b"c2sp.org/tlog-proof@v1\nindex 0\nAAAA\n\nnote",
        b"c2sp.org/tlog-proof@v1\nindex 0\n" + (base64.b64encode(bytes(32)) + b"\n") * 64 + b"\nnote",
        b"c2sp.org/tlog-proof@v1\nindex 0\n\xff\n\nnote",
        b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + b"x" * 140_000,
    ],
)
def test_what_is_no_proof_is_refused(text: bytes) -> None:
    """Another version, a missing index, a short hash and too many hashes are Malformed."""
    with pytest.raises(Malformed):
        parse_proof(text)
