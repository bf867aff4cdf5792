"""What may happen once has one key in the ledger."""

import hashlib
from dataclasses import replace

from hypothesis import given

from keyvault.core.approvals import Voice
from keyvault.core.events import (
    BallotCast,
    Event,
    Governance,
    KeyDestroyed,
    KeyProved,
    KeySealed,
    ProposalMade,
)
from keyvault.core.ids import Principal, RequestId, UnixMillis
from keyvault.core.statements import proposal_id_of
from keyvault.ledger.codec import key_of, request_key, request_key_of
from tests.ledger.event_strategies import GOVERNANCE
from tests.ledger.golden import EVENTS, SIGNED
from tests.ledger.golden_signatures import BOT_REQUEST_ID, PROPOSAL


def test_keys_of_the_request_index() -> None:
    """Each thing that may happen once has a key: an answer, a question, a proposal, a word, its end, a destruction."""
    principal = Principal("spiffe://firm.example/bot/maker-1")
    prefix = hashlib.sha256(principal.encode()).digest()[:8]
    assert request_key(principal, RequestId("abc")) == prefix + b"abc"
    assert request_key(principal, RequestId("abc")) < request_key(principal, RequestId("abd"))
    request = prefix + BOT_REQUEST_ID.encode()
    for name, event in EVENTS.items():
        assert key_of(event) == _expected_key(name, event, request), name
        assert request_key_of(event) == (request if name.startswith("signature") else None)


def _expected_key(name: str, event: Event, request: bytes) -> bytes | None:
    if name == "signature-escalated":
        return b"escl\0\0\0\0" + hashlib.sha256(request).digest()
    if name.startswith("signature"):
        return request
    if isinstance(event, ProposalMade):
        return b"prop\0\0\0\0" + hashlib.sha256(event.statement).digest()
    if isinstance(event, BallotCast):
        said = event.proposal + f"{event.voice.value}\0{event.signature.keyid}".encode()
        return b"ball\0\0\0\0" + hashlib.sha256(said).digest()
    if isinstance(event, KeySealed):
        return b"seal\0\0\0\0" + hashlib.sha256(f"{event.key}\0{event.version}".encode()).digest()
    if isinstance(event, KeyProved):
        return b"prvd\0\0\0\0" + hashlib.sha256(event.token + f"{event.key}\0{event.version}".encode()).digest()
    if name == "key-destroyed":
        return b"dest\0\0\0\0" + PROPOSAL
    return None if name.startswith(("genesis", "term", "change-refused")) else b"exec\0\0\0\0" + PROPOSAL


@given(GOVERNANCE, GOVERNANCE)
def test_a_key_is_that_of_one_thing(one: Governance, other: Governance) -> None:
    """Two facts have the same key only if they are about the same proposal, in the same role."""
    if key_of(one) is None or key_of(one) != key_of(other):
        return
    about = [proposal_id_of(e.statement) if isinstance(e, ProposalMade) else e.proposal for e in (one, other)]
    assert about[0] == about[1]
    assert isinstance(one, KeyDestroyed) == isinstance(other, KeyDestroyed)
    assert isinstance(one, BallotCast) == isinstance(other, BallotCast)


def test_a_key_says_each_word_once() -> None:
    """The same member key may approve and revoke one proposal, but neither twice; another key has its own word."""
    cast = EVENTS["ballot-cast"]
    assert isinstance(cast, BallotCast)
    again = replace(cast, signature=replace(cast.signature, sig=b"another"), at=UnixMillis(1))
    others = [
        replace(cast, voice=Voice.REVOKE),
        replace(cast, signature=SIGNED),
        replace(cast, proposal=b"r" * 32),
    ]
    assert key_of(again) == key_of(cast)
    assert len({key_of(each) for each in (cast, *others)}) == 4
