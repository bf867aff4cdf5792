"""Attacks on signatures that policy leaves to members, on time, and on who counts; each with its exact reason."""

from dataclasses import replace

import pytest

from keyvault.core.approvals import Voice
from keyvault.core.charter import Duty, Role
from keyvault.core.decide import decide_proposal
from keyvault.core.errors import NotFound, Reason, Refused
from keyvault.core.events import (
    ProposalMade,
    SignatureEscalated,
    SignatureIssued,
    SignatureRefused,
)
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Completeness, Effect, Operation
from keyvault.core.policy import Rule, Verdict
from keyvault.core.proposals import Outcome, Proposal
from keyvault.core.statements import Action, decode_statement, facts_sha256, payload_sha256
from tests.core.attacking import ESCALATING, cast_of, refused_in_ledger, world_of_two, world_that_asks
from tests.core.governed import HOUR_MS, Governed, is_open
from tests.worlds import (
    BOT,
    NOW,
    OTHER_BOT,
    Person,
    allow_digest,
    charter,
    escalate_digest,
    key_parameters,
    people,
    policy,
    propose,
    spki,
)

MINUTE = (NOW // 60_000 + 3 * 24 * 60) % (7 * 24 * 60)
"""The minute of the week at which the worlds begin."""

# Signatures -----------------------------------------------------------------------------------------------------------


def signed_as_approved(world: Governed, request_id: str = "r1") -> tuple[Proposal, SignatureIssued]:
    """Return a proposal that bob and carol approved, and the signature that would come next."""
    asked = world.escalated(request_id)
    world.cast(asked, "bob")
    world.cast(asked, "carol")
    issued = world.decide(request_id)
    assert isinstance(issued, SignatureIssued)
    return asked, issued


def test_a_signature_without_a_proposal_where_policy_escalates_is_not_believed() -> None:
    """Neither for a request that nobody was asked about, nor beside one that waits, nor with the proposal left out."""
    world = world_that_asks()
    asked, issued = signed_as_approved(world)
    bare = replace(issued, proposal=b"", charter_sha256=b"")
    world.refuses(bare, Reason.NEEDS_APPROVAL)
    other = replace(bare, request=replace(bare.request, request_id="r9"))  # type: ignore[arg-type]  # test glue
    assert "nobody was asked" in world.refuses(other, Reason.NEEDS_APPROVAL)
    world.refuses(replace(issued, proposal=b"?" * 32), NotFound)
    world.add(issued)
    assert asked.outcome is Outcome.EXECUTED


def test_a_signature_that_nobody_approved_does_not_say_that_somebody_did() -> None:
    """Where policy asks nobody, a fact that names the charter of those who approved is not believed."""
    world = world_of_two()
    key = world.propose(Action.KEY_CREATE, key_parameters())
    world.cast(key, "bob")
    world.cast(key, "carol")
    issued = world.decide("r1")
    assert isinstance(issued, SignatureIssued)
    world.refuses(replace(issued, charter_sha256=world.state.charter_sha256), Reason.NEEDS_APPROVAL)
    world.add(issued)


def test_a_signature_that_waits_for_members_is_not_believed() -> None:
    """One approval too few, one taken back, a veto: what would have been approved is not signed."""
    world = world_that_asks()
    asked, issued = signed_as_approved(world)
    world.cast(asked, "carol", Voice.REVOKE)
    world.refuses(issued, Reason.NEEDS_APPROVAL)
    world.cast(asked, "dave", Voice.VETO)
    world.refuses(issued, Reason.VETOED)


def test_only_what_was_approved_is_signed() -> None:
    """Another payload, input, effect, key, caller or request under an approved proposal is not what members saw."""
    world = world_that_asks()
    _, issued = signed_as_approved(world)
    request = issued.request
    evil = b"e" * 32
    for forged in (
        replace(issued, request=replace(request, payload=replace(request.payload, parts=(evil,)))),
        replace(issued, request=replace(request, key="signer/versions/1")),
        replace(issued, request=replace(request, request_id="r2")),  # type: ignore[arg-type]  # test glue
        replace(issued, signing_input=evil),
        replace(issued, effects=(Effect(operation=Operation.TRANSFER, chain_id=1),)),
        replace(issued, completeness=Completeness.FULL),
        replace(issued, charter_sha256=b"x" * 32),
    ):
        world.refuses(forged, Reason.STATEMENT_MISMATCH)
    world.add(issued)
    world.refuses(issued, Reason.ALREADY_DECIDED)


def test_who_is_asked_by_the_time_of_signing_is_asked_first() -> None:
    """A rule that matches only by the time of signing asks a quorum that nobody asked: what was approved is refused."""
    later = replace(escalate_digest("2 of admins", rule_id="later"), when=f"minute_of_week >= {MINUTE + 30}")
    world = Governed(
        *people("alice", "bob", "carol", "dave"),
        rules=policy(allow_digest(), escalate_digest("1 of admins"), later),
    )
    world.key()
    asked = world.escalated("r1")
    assert asked.statement["quorum"] == "1 of admins"
    world.cast(asked, "bob")
    in_time = world.decide("r1")
    assert isinstance(in_time, SignatureIssued)
    world.at += HOUR_MS
    refused = world.decide("r1")
    assert isinstance(refused, SignatureRefused)
    assert refused.reason is Reason.STATE_MISMATCH
    assert "ask, later ask 2 of admins by now" in refused.explanation
    assert "under a new request id" in refused.explanation
    forged = replace(in_time, at=world.now)
    assert "2 of admins by now" in world.refuses(forged, Reason.STATE_MISMATCH)
    world.add(refused)
    again = world.escalated("r2")
    assert again.statement["quorum"] == "1 of admins; 2 of admins"


def test_a_signature_by_another_version_than_the_approved_one_is_not_believed() -> None:
    """After a rotation the new version would sign; members approved the old one."""
    world = world_that_asks()
    _, issued = signed_as_approved(world)
    rotation = {"key": "signer", "version": "2", "initial": "ACTIVE", "wrapped_sha256": ""}
    world.cast(world.propose(Action.KEY_ROTATE, rotation), "bob")
    world.refuses(issued, Reason.KEY_NOT_ACTIVE)
    world.refuses(replace(issued, key_version=2), Reason.STATEMENT_MISMATCH)


def test_a_question_with_an_easier_quorum_than_the_policys_is_not_believed() -> None:
    """Whom members are told to be is what the policy in force says, to the letter."""
    world = world_that_asks()
    honest = world.decide("r1")
    assert isinstance(honest, SignatureEscalated)
    said = decode_statement(honest.statement)
    for name, value in (
        ("quorum", "1 of admins"),
        ("key", "other"),
        ("request_id", "r2"),
        ("payload_sha256", "00" * 32),
    ):
        parameters = tuple((each, value if each == name else old) for each, old in said.parameters)
        forged = replace(said, parameters=parameters).encode()
        world.refuses(replace(honest, statement=forged), Reason.STATEMENT_MISMATCH)
    for other in (replace(said, requester=OTHER_BOT), replace(said, nonce="00")):
        world.refuses(replace(honest, statement=other.encode()), Reason.STATEMENT_MISMATCH)
    world.refuses(replace(honest, rules=("digests",)), Reason.STATEMENT_MISMATCH)
    world.add(honest)
    twice = replace(said, expires_at=UnixMillis(said.expires_at + 1)).encode()
    assert "escalated already" in world.refuses(replace(honest, statement=twice), Reason.STATE_MISMATCH)


def test_a_question_about_another_payload_is_not_believed() -> None:
    """Members are shown what is signed: payload and facts in the statement are those of the request."""
    world = world_that_asks()
    honest = world.decide("r1")
    assert isinstance(honest, SignatureEscalated)
    evil = replace(honest.request.payload, parts=(b"e" * 32,))
    world.refuses(replace(honest, request=replace(honest.request, payload=evil)), Reason.STATEMENT_MISMATCH)
    world.refuses(replace(honest, signing_input=b"e" * 32), Reason.STATEMENT_MISMATCH)
    assert payload_sha256(evil).encode() not in honest.statement
    assert facts_sha256(honest.effects, b"e" * 32, honest.completeness).encode() not in honest.statement


def test_a_member_does_not_approve_what_a_certificate_of_theirs_asked() -> None:
    """The linked principal is the member: their approval is refused, and counts for nobody in a quorum."""
    alice, bob, carol = people("alice", "bob", "carol")
    linked = replace(bob.member, principals=frozenset({BOT}))
    rulers = charter(members=(alice.member, linked, carol.member))
    world = Governed(alice, bob, carol, rulers=rulers, rules=ESCALATING)
    proposal = world.propose(Action.KEY_CREATE, key_parameters())
    world.cast(proposal, "carol")
    asked = world.escalated("r1")
    with pytest.raises(Refused):
        world.cast(asked, "bob")
    refused_in_ledger(world, Reason.NOT_AUTHORIZED, "approve", asked.id)
    world.cast(asked, "alice")
    assert is_open(asked)
    world.cast(asked, "carol")
    assert isinstance(world.decide("r1"), SignatureIssued)


def test_linking_a_certificate_takes_the_voice_back_at_once() -> None:
    """A charter that says whose the certificate is counts from then on, for what was approved before, too."""
    world = world_that_asks()
    asked, issued = signed_as_approved(world)
    members = [each.member for each in world.people.values()]
    members[1] = replace(members[1], principals=frozenset({BOT}))
    change = world.propose_charter(charter(members=tuple(members), version=2))
    world.cast(change, "carol")
    assert change.outcome is Outcome.EXECUTED
    assert asked.approvers(world.state.rulers) == {"carol"}
    world.refuses(issued, Reason.NEEDS_APPROVAL)


# Time and policy ------------------------------------------------------------------------------------------------------


def test_a_clock_that_was_set_back_revives_no_proposal() -> None:
    """The ledger's time does not go back: late approvals stay late, under any clock."""
    world = world_of_two()
    proposal = world.propose(Action.KEY_CREATE, key_parameters(), expires_at=world.at + HOUR_MS)
    world.cast(proposal, "bob")
    approval = cast_of(
        world, proposal, world.people["carol"], world.people["carol"].say(Voice.APPROVE, proposal.statement_bytes)
    )
    world.at += HOUR_MS
    world.sign("r1", key="nobody")  # any fact tells what time it is
    world.at -= HOUR_MS
    with pytest.raises(Refused):
        world.cast(proposal, "carol")
    refused_in_ledger(world, Reason.PROPOSAL_EXPIRED, "approve", proposal.id)
    assert "dated" in world.refuses(approval, Reason.STATE_MISMATCH)
    world.refuses(replace(approval, at=UnixMillis(world.at + HOUR_MS)), Reason.PROPOSAL_EXPIRED)


def test_what_was_approved_under_another_policy_is_not_carried_out() -> None:
    """A new policy voids it: as a fact in the ledger it is refused, whoever approved it."""
    world = world_that_asks()
    asked, issued = signed_as_approved(world)
    tighter = policy(*ESCALATING.rules, Rule(id="nobody", verdict=Verdict.DENY, keys=frozenset({"none"})), version=2)
    assert world.propose_policy(tighter).outcome is Outcome.EXECUTED
    assert asked.outcome is Outcome.VOID
    world.refuses(issued, Reason.STATE_MISMATCH)
    stamped = replace(issued, policy_version=2, policy_sha256=world.state.policy_sha256)
    world.refuses(stamped, Reason.POLICY_CHANGED)


def test_a_member_with_many_keys_is_one_voice() -> None:
    """Both keys approve, both stand in the ledger, one person counts; duplicate keys make no charter."""
    alice, bob, carol = people("alice", "bob", "carol")
    spare = Person("bob")
    member = replace(bob.member, public_keys=(spki(bob.key), spki(spare.key)))
    rulers = charter(members=(alice.member, member, carol.member), thresholds={Duty.KEY_CREATE: "2 of admins"})
    world = Governed(alice, bob, carol, rulers=rulers)
    proposal = world.propose(Action.KEY_CREATE, key_parameters())
    world.cast(proposal, bob)
    world.cast(proposal, spare)
    assert len(proposal.ballots) == 2
    assert proposal.approvers(world.state.rulers) == {"bob"}
    assert is_open(proposal)
    with pytest.raises(Refused, match="two names"):
        world.propose_charter(charter(alice, bob, carol, Person("eve", key=bob.key), version=2))
    refused_in_ledger(world, Reason.STATE_MISMATCH, "charter.change", b"")


def test_a_member_who_takes_back_under_one_key_took_back_under_all() -> None:
    """Two keys are no two minds: what was approved under the other key does not count either."""
    alice, bob, carol = people("alice", "bob", "carol")
    spare = Person("bob")
    member = replace(bob.member, public_keys=(spki(bob.key), spki(spare.key)))
    rulers = charter(members=(alice.member, member, carol.member), thresholds={Duty.KEY_CREATE: "2 of admins"})
    for takes_back in (bob, spare):
        world = Governed(alice, bob, carol, rulers=rulers)
        proposal = world.propose(Action.KEY_CREATE, key_parameters())
        world.cast(proposal, bob)
        world.cast(proposal, takes_back, Voice.REVOKE)
        world.cast(proposal, "carol")
        assert is_open(proposal)
        assert proposal.approvers(world.state.rulers) == {"carol"}
        with pytest.raises(Refused):
            world.cast(proposal, spare)
        refused_in_ledger(world, Reason.ALREADY_DECIDED, "approve", proposal.id)


def test_what_one_may_do_at_once_counts_only_the_key_that_asked_and_still_stands() -> None:
    """A freeze that a crash left undone is not carried out for a key that was taken from its member meanwhile."""
    alice, bob, carol = people("alice", "bob", "carol")
    world = Governed(alice, bob, carol)
    said = world.said(Action.FREEZE, {"scope": "enclave", "name": ""}, by="bob")
    world.add(decide_proposal(world.state, propose(said, bob), world.now))
    (freeze,) = world.state.proposals.open.values()
    newer = Person("bob")
    change = world.propose_charter(charter(alice, newer, carol, version=2))
    world.cast(change, "carol")
    assert change.outcome is Outcome.EXECUTED
    assert freeze.id not in world.state.proposals.ready
    world.look()
    assert world.state.frozen == {}


def test_an_auditor_has_no_voice() -> None:
    """Not for approving and not for a veto, in a ledger or at the door."""
    everybody = (*people("alice", "bob"), Person("erin", roles=frozenset({Role.AUDITOR})))
    world = Governed(*everybody)
    proposal = world.propose(Action.KEY_CREATE, key_parameters())
    erin = world.people["erin"]
    for voice in (Voice.APPROVE, Voice.VETO):
        signature = erin.say(voice, proposal.statement_bytes)
        world.refuses(replace(cast_of(world, proposal, erin, signature), voice=voice), Reason.NOT_AUTHORIZED)
        with pytest.raises(Refused):
            world.cast(proposal, "erin", voice)
        refused_in_ledger(world, Reason.NOT_AUTHORIZED, voice, proposal.id)


def test_no_signature_of_a_request_is_asked_for_as_a_change() -> None:
    """A member cannot propose ``sign``: only a request, judged by policy, asks for a signature."""
    world = world_that_asks()
    asked = world.escalated("r1")
    made = ProposalMade(
        at=world.now,
        epoch=world.state.epoch,
        statement=asked.statement_bytes.replace(b'"nonce":"', b'"nonce":"00'),
        signature=world.people["alice"].say(Voice.REQUEST, asked.statement_bytes),
    )
    world.refuses(made, Reason.STATE_MISMATCH)


def test_a_refusal_is_a_fact_that_gives_nobody_any_power() -> None:
    """With or without it the ledger gives the same members, keys and proposals."""
    world = world_of_two()
    proposal = world.propose(Action.KEY_CREATE, key_parameters())
    with pytest.raises(Refused):
        world.cast(proposal, Person("mallory"))
    refused_in_ledger(world, Reason.NOT_AUTHORIZED, "approve", proposal.id)
    world.events.pop()
    without = world.replayed()
    without.size = world.state.size
    assert without == world.state
