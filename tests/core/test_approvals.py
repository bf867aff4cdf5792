"""Statements and envelopes: what counts as a member's word."""

from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core.approvals import Action, Envelope, EnvelopeSignature, decode_statement, signers
from keyvault.core.errors import Malformed, Refused
from keyvault.core.state import State, apply
from tests.worlds import Person, genesis, signed, statement


def _state(*people: Person) -> State:
    state = State.empty()
    apply(state, 0, genesis(*people))
    return state


def test_a_statement_survives_writing_and_reading() -> None:
    """Decoding the canonical JSON of a statement gives the statement."""
    said = statement(_state(Person("alice")), Action.KEY_CREATE, {"key": "k", "algorithm": "P256"})
    assert decode_statement(said.encode()) == said


@given(st.data())
def test_a_changed_byte_never_decodes_to_the_same_statement(data: st.DataObject) -> None:
    """Any other bytes are refused, or are another statement."""
    said = statement(_state(Person("alice")), Action.KEY_CREATE, {"key": "k", "algorithm": "P256"})
    payload = bytearray(said.encode())
    index = data.draw(st.integers(0, len(payload) - 1))
    payload[index] ^= data.draw(st.integers(1, 255))
    with suppress(Malformed):
        assert decode_statement(bytes(payload)) != said


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'{"action"', b'{ "action"'),
        (b'"summary":"Create', b'"summary":"Kreate'),
        (b'"policy_version":"1"', b'"policy_version":1'),
        (b'"nonce":"00"', b'"nonce":"00","nonce":"00"'),
        (b'"policy_version":"1"', b'"policy_version":"01"'),
        (b'"key":"k"', b'"extra":"1","key":"k"'),
    ],
)
def test_bytes_that_are_not_canonical_are_refused(old: bytes, new: bytes) -> None:
    """Spaces, other words, numbers, duplicates and leading zeros are not the statement's canonical form."""
    said = statement(_state(Person("alice")), Action.KEY_CREATE, {"key": "k", "algorithm": "P256"}).encode()
    changed = said.replace(old, new)
    assert changed != said
    if b"extra" in new:
        assert dict(decode_statement(changed).parameters)["extra"] == "1"  # canonical, but another statement
    else:
        with pytest.raises(Malformed):
            decode_statement(changed)


def test_ed25519_and_p256_members_count_once_each() -> None:
    """Two members with different kinds of key are two; the same member twice is one."""
    alice, bob = Person("alice"), Person("bob", key=ec.generate_private_key(ec.SECP256R1()))
    state = _state(alice, bob)
    said = statement(state, Action.KEY_CREATE, {"key": "k", "algorithm": "P256"})
    assert signers(signed(said, alice, bob), state.members.values()) == {"alice", "bob"}
    assert signers(signed(said, alice, alice), state.members.values()) == {"alice"}


def test_an_unknown_key_does_not_count() -> None:
    """A stranger's valid signature adds nobody."""
    alice, mallory = Person("alice"), Person("mallory")
    state = _state(alice)
    said = statement(state, Action.KEY_CREATE, {"key": "k", "algorithm": "P256"})
    assert signers(signed(said, mallory), state.members.values()) == set()


def test_a_known_key_with_a_wrong_signature_spoils_the_envelope() -> None:
    """A signature that does not verify under a member's key refuses the whole envelope."""
    alice = Person("alice")
    state = _state(alice)
    said = statement(state, Action.KEY_CREATE, {"key": "k", "algorithm": "P256"})
    good = signed(said, alice)
    bad = Envelope(
        payload=good.payload,
        payload_type=good.payload_type,
        signatures=(EnvelopeSignature(keyid=good.signatures[0].keyid, sig=bytes(64)),),
    )
    with pytest.raises(Refused, match="does not verify"):
        signers(bad, state.members.values())


def test_the_payload_type_is_part_of_the_signature() -> None:
    """An envelope of another type is refused before any signature is looked at."""
    alice = Person("alice")
    state = _state(alice)
    good = signed(statement(state, Action.KEY_CREATE, {"key": "k", "algorithm": "P256"}), alice)
    other = Envelope(payload=good.payload, payload_type="text/plain", signatures=good.signatures)
    with pytest.raises(Malformed, match="payload_type"):
        signers(other, state.members.values())
