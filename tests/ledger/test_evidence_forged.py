"""Whoever has the log key can write what they like, and shows nothing that members did not approve."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from keyvault.core.approvals import Voice
from keyvault.core.errors import Malformed
from keyvault.core.events import (
    BallotCast,
    CharterChanged,
    KeyCreated,
    SignatureIssued,
)
from keyvault.core.ids import KeyId, RequestId, UnixMillis
from keyvault.core.intent import Completeness, Effect, Operation
from keyvault.core.keys import KeyState, Signature
from keyvault.core.statements import Action, proposal_id_of
from keyvault.ledger.errors import Unproven
from keyvault.ledger.evidence import check_evidence
from keyvault.ledger.gather import evidence_of
from keyvault.ledger.signatures import SECP256K1_ORDER
from tests.ledger.bundles import begun, made_up
from tests.ledger.ledgers import DAY_MS, Ledger, rulers, sample, secp256k1_key
from tests.worlds import Person, key_parameters

GOOD = sample(4)


def test_whoever_has_the_log_key_cannot_put_a_member_in() -> None:
    """A charter with the attacker's own member, signed by nobody who may, is no link of the chain."""
    mallory = Person("mallory")
    for asker in (mallory, None):
        ledger = begun()
        new = rulers(ledger.alice, ledger.bob, ledger.carol, mallory, version=2)
        parameters, attached = ledger.charter_parameters(new)
        made = ledger.proposed(Action.CHARTER_CHANGE, parameters, None, **attached)
        if asker is not None:
            made = replace(made, signature=asker.say(Voice.REQUEST, made.statement))
        first = ledger.force(made)
        proposal = proposal_id_of(made.statement)
        ballot = BallotCast(
            at=made.at,
            epoch=ledger.epoch,
            proposal=proposal,
            member=mallory.member.name,
            voice=Voice.APPROVE,
            signature=mallory.say(Voice.APPROVE, made.statement),
        )
        second = ledger.force(ballot)
        third = ledger.force(
            CharterChanged(
                at=made.at,
                epoch=ledger.epoch,
                version=2,
                break_glass=False,
                proposal=proposal,
                charter_sha256=ledger.state.charter_sha256,
            )
        )
        with pytest.raises(Unproven) as refused:
            check_evidence(made_up(ledger, 0, 1, first, second, third), ledger.key)
        assert ("is not a member's in charter version 1" if asker else "needs 1 of admins") in str(refused.value)
        with pytest.raises(Unproven):
            evidence_of(ledger, index=third)


def test_a_ballot_after_the_event_does_not_count() -> None:
    """A key that was made first and approved afterwards is not shown to be approved, in whatever order."""
    ledger = begun()
    proposal = ledger.propose(Action.KEY_CREATE, key_parameters("k1"))
    early = KeyCreated(
        at=ledger.at,
        epoch=ledger.epoch,
        key=KeyId("k1"),
        version=1,
        algorithm=secp256k1_key().algorithm,
        provenance=GOOD_CREATED.provenance,
        state=KeyState.ACTIVE,
        public_key=secp256k1_key().public_key,
        token_object_id=bytes(20),
        proposal=proposal,
        charter_sha256=ledger.state.charter_sha256,
    )
    index = ledger.force(early)
    after = ledger.vote(proposal)
    for places in ((0, 1, index - 1, index), (0, 1, index - 1, index, after), (0, 1, index - 1, after, index)):
        with pytest.raises((Malformed, Unproven)):
            check_evidence(made_up(ledger, *places), ledger.key)


GOOD_CREATED = next(event for event in GOOD.events if isinstance(event, KeyCreated))


def _high(signature: Signature) -> Signature:
    """Return the other form of the same signature."""
    high = SECP256K1_ORDER - int.from_bytes(signature.value[32:], "big")
    value = signature.value[:32] + high.to_bytes(32, "big")
    return Signature(value=value, recovery_id=1 - (signature.recovery_id or 0))


def _asked(ledger: Ledger) -> SignatureIssued:
    """Let members be asked about a signature and approve it; return it."""
    ledger.create_key("vault", secp256k1_key())
    escalation = ledger.escalated()
    ledger.add(escalation)
    for person in (ledger.bob, ledger.carol):
        ledger.vote(proposal_id_of(escalation.statement), person)
    return ledger.approved_signature(escalation)


LIES: dict[str, tuple[Callable[[SignatureIssued], SignatureIssued], str]] = {
    "by another rule": (lambda signed: replace(signed, rules=("another",)), "the entry says by another"),
    "of another request": (
        lambda signed: replace(signed, request=replace(signed.request, request_id=RequestId("another"))),
        "not the one that members approved",
    ),
    "of another input": (lambda signed: replace(signed, signing_input=bytes(32)), "not the one that members approved"),
    "less complete": (
        lambda signed: replace(signed, completeness=Completeness.PARTIAL),
        "not the one that members approved",
    ),
    "that does not verify": (
        lambda signed: replace(signed, signature=Signature(value=b"\1" * 64, recovery_id=0)),
        "the signature",
    ),
    "in its other form": (lambda signed: replace(signed, signature=_high(signed.signature)), "s not low"),
    "by another charter": (lambda signed: replace(signed, charter_sha256=bytes(32)), "not the one that members"),
    "by another policy": (lambda signed: replace(signed, policy_sha256=bytes(32)), "in force"),
    "before its quorum": (lambda signed: replace(signed, at=UnixMillis(signed.at - 2)), "is carried out at"),
    "after its end": (lambda signed: replace(signed, at=UnixMillis(signed.at + 2 * DAY_MS)), "expired at"),
    "of no proposal": (lambda signed: replace(signed, proposal=b""), "is about nothing that members decide"),
    "of an unknown proposal": (lambda signed: replace(signed, proposal=bytes(32)), "there is no open proposal"),
}


@pytest.mark.parametrize(("change", "words"), LIES.values(), ids=LIES.keys())
def test_a_signature_other_than_the_approved_one_is_refused(
    change: Callable[[SignatureIssued], SignatureIssued], words: str
) -> None:
    """A log that signs for another request, input, key, time or policy than members approved shows nothing."""
    ledger = begun()
    index = ledger.force(change(_asked(ledger)))
    with pytest.raises(Unproven) as refused:
        check_evidence(made_up(ledger, *range(index + 1)), ledger.key)
    assert words in str(refused.value)


def test_a_request_other_than_the_stated_one_is_refused() -> None:
    """Members are shown hashes of payload and facts: an entry with other facts than the statement's does not follow."""
    changes: tuple[dict[str, object], ...] = (
        {"signing_input": bytes(32)},
        {"effects": (Effect(operation=Operation.OPAQUE, venue="binance"),)},
        {"completeness": Completeness.FULL},
        {"rules": ()},
        {"request": GOOD.refused().request},
    )
    for change in changes:
        ledger = begun()
        ledger.create_key("vault", secp256k1_key())
        index = ledger.force(replace(ledger.escalated(), **change))  # type: ignore[arg-type]  # by name
        with pytest.raises(Unproven, match="entry 5"):
            check_evidence(made_up(ledger, 0, 1, 2, 3, 4, index), ledger.key)


def test_the_asker_s_own_yes_is_not_enough() -> None:
    """The asker's ballot is refused, whoever wrote it into the log."""
    ledger = begun()
    proposal = ledger.propose(Action.KEY_CREATE, key_parameters("k1"))
    statement = ledger.state.proposals.find(proposal).statement_bytes
    own = BallotCast(
        at=ledger.at,
        epoch=ledger.epoch,
        proposal=proposal,
        member=ledger.alice.member.name,
        voice=Voice.APPROVE,
        signature=ledger.alice.say(Voice.APPROVE, statement),
    )
    index = ledger.force(own)
    with pytest.raises(Unproven, match="asked for this"):
        check_evidence(made_up(ledger, 0, 1, index - 1, index), ledger.key)
