"""What counts as a member's word: DSSE signatures that say one thing about one statement."""

from itertools import permutations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core.approvals import (
    EnvelopeSignature,
    Voice,
    check_member_key,
    keyid_of,
    payload_type,
    pre_authentication_encoding,
    signed_bytes,
    verify_voice,
)
from keyvault.core.errors import Malformed, Reason, Refused
from tests.worlds import Person, spki

ALICE = Person("alice")
PAT = Person("pat", key=ec.generate_private_key(ec.SECP256R1()))
STATEMENT = b'{"action":"key.create"}'


def refused(person: Person, voice: Voice, statement: bytes, signature: EnvelopeSignature) -> None:
    with pytest.raises(Refused) as caught:
        verify_voice(spki(person.key), voice, statement, signature)
    assert caught.value.reason is Reason.NOT_AUTHORIZED


def test_the_signed_bytes_are_those_of_dsse() -> None:
    """The pre-authentication encoding of the DSSE protocol's own example, and the payload type of each voice."""
    assert pre_authentication_encoding("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert signed_bytes(Voice.APPROVE, b"{}") == b"DSSEv1 37 application/vnd.keyvault.approve+json 2 {}"
    assert len({payload_type(voice) for voice in Voice}) == len(Voice)


@pytest.mark.parametrize("person", [ALICE, PAT], ids=["ed25519", "p256"])
@pytest.mark.parametrize("voice", Voice)
def test_a_members_word_is_taken(person: Person, voice: Voice) -> None:
    """Ed25519 and P-256 members can say everything."""
    verify_voice(spki(person.key), voice, STATEMENT, person.say(voice, STATEMENT))


@pytest.mark.parametrize(("said", "claimed"), list(permutations(Voice, 2)))
def test_one_word_is_never_passed_off_as_another(said: Voice, claimed: Voice) -> None:
    """An approval is no veto, a request is no approval: whatever was signed says what it says."""
    for person in (ALICE, PAT):
        refused(person, claimed, STATEMENT, person.say(said, STATEMENT))


def test_a_word_is_about_one_statement() -> None:
    """The same signature under another statement is nothing."""
    refused(ALICE, Voice.APPROVE, STATEMENT + b" ", ALICE.say(Voice.APPROVE, STATEMENT))


def test_a_signature_under_another_key_or_keyid_is_nothing() -> None:
    """A stranger's signature under a member's keyid, and a member's under a stranger's."""
    mine, other = ALICE.say(Voice.APPROVE, STATEMENT), Person("mallory").say(Voice.APPROVE, STATEMENT)
    refused(ALICE, Voice.APPROVE, STATEMENT, EnvelopeSignature(keyid=mine.keyid, sig=other.sig))
    refused(ALICE, Voice.APPROVE, STATEMENT, EnvelopeSignature(keyid=other.keyid, sig=mine.sig))
    refused(PAT, Voice.APPROVE, STATEMENT, EnvelopeSignature(keyid=keyid_of(spki(PAT.key)), sig=mine.sig))


@given(st.binary(max_size=100))
def test_no_bytes_are_a_signature(sig: bytes) -> None:
    """Whatever stands in place of a signature is refused, and nothing crashes."""
    for person in (ALICE, PAT):
        refused(person, Voice.APPROVE, STATEMENT, EnvelopeSignature(keyid=keyid_of(spki(person.key)), sig=sig))


@given(st.data())
def test_a_changed_bit_spoils_the_signature(data: st.DataObject) -> None:
    """In the signature or in the statement."""
    good = ALICE.say(Voice.APPROVE, STATEMENT)
    sig = bytearray(good.sig)
    sig[data.draw(st.integers(0, len(sig) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    refused(ALICE, Voice.APPROVE, STATEMENT, EnvelopeSignature(keyid=good.keyid, sig=bytes(sig)))


def test_a_key_that_is_not_one_is_malformed() -> None:
    """Bytes that are no SubjectPublicKeyInfo, or of another curve."""
    check_member_key(spki(PAT.key))
    for wrong in (b"", b"x" * 44, spki(Person("x", key=ec.generate_private_key(ec.SECP384R1())).key)):
        with pytest.raises(Malformed, match=r"member\.public_keys"):
            check_member_key(wrong)
