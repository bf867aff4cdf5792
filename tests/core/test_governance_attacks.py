"""What somebody with a stolen signature, an edited database or the server itself tries, and why it is not believed.

``refuses`` is a replica that meets the fact in a ledger with a correct tree; the edited databases themselves, found by
recovery and by the audit, stand in tests/engine/test_governor_attacks.py.
"""

import hashlib
from dataclasses import replace

import pytest

from keyvault.core.approvals import EnvelopeSignature, Voice
from keyvault.core.charter import Charter, Duty, Role, Threshold
from keyvault.core.decide import decide_ballot, decide_proposal
from keyvault.core.errors import Malformed, NotFound, Reason, Refused
from keyvault.core.events import (
    BallotCast,
    ChangeRefused,
    CharterChanged,
    FreezeChanged,
    KeyDestroyed,
    PolicyPublished,
    ProposalMade,
    SignatureEscalated,
    SignatureIssued,
)
from keyvault.core.ids import KeyId, MemberName, UnixMillis
from keyvault.core.intent import Completeness, Effect, Operation
from keyvault.core.keys import KeyState
from keyvault.core.proposals import Outcome, Proposal
from keyvault.core.quorum import parse_quorum
from keyvault.core.statements import Action, FreezeScope, decode_statement, facts_sha256, payload_sha256
from keyvault.ledger.codec_charter import encode_charter
from keyvault.ledger.codec_policy import encode_policy
from tests.core.governed import DAY_MS, HOUR_MS, Governed, is_open
from tests.worlds import (
    ADMIN,
    BOT,
    OTHER_BOT,
    Person,
    allow_digest,
    ballot,
    charter,
    escalate_digest,
    key_parameters,
    people,
    policy,
    propose,
    spki,
)

ESCALATING = policy(allow_digest(), escalate_digest("2 of admins"))


def two_of_admins(*persons: Person, version: int = 1, delay_ms: int = 0) -> Charter:
    """Return a charter in which two admins besides the asker make keys and change the charter."""
    two = parse_quorum("2 of admins")
    thresholds: dict[Duty, str | Threshold] = {
        duty: Threshold(duty=duty, quorum=two, delay_ms=delay_ms) for duty in (Duty.KEY_CREATE, Duty.CHARTER)
    }
    return charter(*persons, version=version, thresholds=thresholds)


def world_of_two(delay_ms: int = 0) -> Governed:
    persons = people("alice", "bob", "carol", "dave")
    return Governed(*persons, rulers=two_of_admins(*persons, delay_ms=delay_ms))


def world_that_asks() -> Governed:
    world = Governed(*people("alice", "bob", "carol", "dave"), rules=ESCALATING)
    world.key()
    return world


def refused_in_ledger(world: Governed, reason: Reason, subject: str, proposal: bytes) -> None:
    """Assert that the last fact tells of the refusal."""
    last = world.events[-1]
    assert isinstance(last, ChangeRefused)
    assert (last.reason, last.subject, last.proposal, last.principal) == (reason, subject, proposal, ADMIN)
    assert last.explanation


def cast_of(world: Governed, proposal: Proposal, person: Person, signature: EnvelopeSignature) -> BallotCast:
    """Return an approval with whatever signature, as a forger writes it."""
    return BallotCast(
        at=world.now,
        epoch=world.state.epoch,
        proposal=proposal.id,
        member=MemberName(person.name),
        voice=Voice.APPROVE,
        signature=signature,
    )


# Approvals that are not -------------------------------------------------------------------------------------------


def test_a_replayed_approval_counts_nobody_twice() -> None:
    """The same signature in a second fact is refused, and the first one still counts one person."""
    world = world_of_two()
    proposal = world.propose(Action.KEY_CREATE, key_parameters())
    world.cast(proposal, "bob")
    replayed = world.events[-1]
    world.refuses(replayed, Reason.ALREADY_DECIDED)
    with pytest.raises(Refused):
        world.cast(proposal, "bob")
    refused_in_ledger(world, Reason.ALREADY_DECIDED, "approve", proposal.id)
    assert is_open(proposal)
    assert proposal.approvers(world.state.rulers) == {"bob"}


def test_an_approval_of_a_removed_member_cannot_be_replayed_when_they_come_back() -> None:
    """The old signature is genuine for ever; what it said became void when its member was removed."""
    world = world_of_two()
    everybody = list(world.people.values())
    proposal = world.propose(Action.KEY_CREATE, key_parameters(), expires_at=world.at + 7 * DAY_MS)
    world.cast(proposal, "bob")
    old = world.events[-1]
    assert isinstance(old, BallotCast)
    for version, standing in ((2, [each for each in everybody if each.name != "bob"]), (3, everybody)):
        change = world.propose_charter(two_of_admins(*standing, version=version))
        for name in ("carol", "dave"):
            world.cast(change, name)
        assert change.outcome is Outcome.EXECUTED
        if version == 2:
            world.refuses(replace(old, at=world.now), Reason.NOT_AUTHORIZED)
    assert proposal.approvers(world.state.rulers) == frozenset()
    assert "void" in world.refuses(replace(old, at=world.now), Reason.ALREADY_DECIDED)
    with pytest.raises(Refused):
        world.cast(proposal, "bob")
    refused_in_ledger(world, Reason.ALREADY_DECIDED, "approve", proposal.id)


def test_an_approval_for_another_proposal_is_none() -> None:
    """Same asker, same action, one parameter different: the signature does not verify."""
    world = world_of_two()
    wanted = world.propose(Action.KEY_CREATE, key_parameters("wanted"))
    other = world.propose(Action.KEY_CREATE, key_parameters("other"))
    bob = world.people["bob"]
    stolen = bob.say(Voice.APPROVE, other.statement_bytes)
    world.refuses(cast_of(world, wanted, bob, stolen), Reason.NOT_AUTHORIZED)
    command = replace(ballot(other.statement_bytes, bob), proposal=wanted.id)
    with pytest.raises(Refused) as refused:
        decide_ballot(world.state, command, world.now)
    assert refused.value.reason is Reason.NOT_AUTHORIZED


def test_an_approval_for_another_enclave_is_none() -> None:
    """Two enclaves of one name and the same members: what was signed for one is a stranger's statement in the other."""
    persons = people("alice", "bob", "carol", "dave")
    here, there = (
        Governed(*persons, rules=policy(allow_digest(), allow_digest("other", "more")) if n else policy())
        for n in range(2)
    )
    there.state.enclave_id = hashlib.sha256(b"another genesis").digest()
    proposal = there.propose(Action.KEY_CREATE, key_parameters())
    made, bob = there.events[-1], persons[1]
    assert isinstance(made, ProposalMade)
    assert "another enclave" in here.refuses(made, Reason.STATEMENT_MISMATCH)
    mine = here.propose(Action.KEY_CREATE, key_parameters())
    signature = bob.say(Voice.APPROVE, proposal.statement_bytes)
    here.refuses(cast_of(here, mine, bob, signature), Reason.NOT_AUTHORIZED)
    with pytest.raises(NotFound):
        here.cast(proposal, "bob")


@pytest.mark.parametrize("voice", [Voice.VETO, Voice.REJECT, Voice.REVOKE, Voice.REQUEST])
def test_no_word_is_recorded_as_another(voice: Voice) -> None:
    """An approval stored as something else, or something else stored as an approval, does not verify."""
    world = world_of_two()
    proposal = world.propose(Action.KEY_CREATE, key_parameters())
    bob = world.people["bob"]
    approval = cast_of(world, proposal, bob, bob.say(Voice.APPROVE, proposal.statement_bytes))
    other = cast_of(world, proposal, bob, bob.say(voice, proposal.statement_bytes))
    reason = Reason.STATEMENT_MISMATCH if voice is Voice.REQUEST else Reason.NOT_AUTHORIZED
    world.refuses(other, Reason.NOT_AUTHORIZED)
    if voice is Voice.REQUEST:
        with pytest.raises(Malformed):  # no ledger can even hold it
            world.add(replace(approval, voice=voice))
    else:
        world.refuses(replace(approval, voice=voice), reason)


def test_the_askers_own_approval_never_counts() -> None:
    """Not under the asker's key, not written for somebody else with it, not as the request itself."""
    world = world_of_two()
    proposal = world.propose(Action.KEY_CREATE, key_parameters())
    alice = world.people["alice"]
    signature = alice.say(Voice.APPROVE, proposal.statement_bytes)
    world.refuses(cast_of(world, proposal, alice, signature), Reason.NOT_AUTHORIZED)
    world.refuses(cast_of(world, proposal, world.people["bob"], signature), Reason.NOT_AUTHORIZED)
    assert proposal.signature is not None
    world.refuses(cast_of(world, proposal, alice, proposal.signature), Reason.NOT_AUTHORIZED)
    with pytest.raises(Refused):
        world.cast(proposal, "alice")
    refused_in_ledger(world, Reason.NOT_AUTHORIZED, "approve", proposal.id)


def test_a_stranger_and_a_name_that_is_not_the_keys_are_refused() -> None:
    """A valid signature of nobody, and bob's written down as carol's."""
    world = world_of_two()
    proposal = world.propose(Action.KEY_CREATE, key_parameters())
    mallory, bob = Person("bob"), world.people["bob"]
    for signer, claimed in ((mallory, bob), (bob, world.people["carol"])):
        signature = signer.say(Voice.APPROVE, proposal.statement_bytes)
        world.refuses(cast_of(world, proposal, claimed, signature), Reason.NOT_AUTHORIZED)


# What was asked, changed afterwards -----------------------------------------------------------------------------------


def test_a_proposal_whose_statement_or_asker_was_changed_is_not_believed() -> None:
    """Another statement under the old signature, another asker, no signature, a stranger's: refused."""
    world = world_of_two()
    said = world.said(Action.KEY_CREATE, key_parameters())
    world.ask_for(said)
    made = world.events.pop()
    world.state = world.replayed()
    assert isinstance(made, ProposalMade)
    assert made.signature is not None
    other = replace(said, parameters=tuple(sorted(key_parameters("mine").items()))).encode()
    as_bob = replace(said, requester="bob").encode()
    mallory = Person("alice")
    for forged in (
        replace(made, statement=other),
        replace(made, statement=as_bob),
        replace(made, signature=None),
        replace(made, signature=mallory.say(Voice.REQUEST, made.statement)),
        replace(made, signature=world.people["bob"].say(Voice.REQUEST, made.statement)),
        replace(made, signature=world.people["alice"].say(Voice.APPROVE, made.statement)),
        replace(made, signature=EnvelopeSignature(keyid=made.signature.keyid, sig=bytes(64))),
    ):
        world.refuses(forged, Reason.NOT_AUTHORIZED)
    world.refuses(replace(made, statement=made.statement + b" "), Malformed)
    world.add(made)


def test_a_swapped_document_or_secret_is_not_believed() -> None:
    """The statement names the hash of what is attached: another policy, charter or secret does not fit."""
    world = world_of_two()
    persons = tuple(world.people.values())
    coup = two_of_admins(*persons, Person("mallory"), version=2)
    loose = policy(allow_digest(), allow_digest("other", "more"), version=2)
    charter_change = world.propose_charter(two_of_admins(*persons, version=2))
    policy_change = world.propose_policy(policy(allow_digest("other"), version=2))
    for proposal, swapped in (
        (charter_change, {"charter": coup, "document": encode_charter(coup)}),
        (policy_change, {"policy": loose, "document": encode_policy(loose)}),
        (policy_change, {"document": b""}),
        (policy_change, {"wrapped_secret": b"w" * 424}),
    ):
        made = world.events[proposal.index]
        assert isinstance(made, ProposalMade)
        fresh = Governed(*persons, rulers=two_of_admins(*persons))
        fresh.refuses(replace(made, **swapped), Reason.STATEMENT_MISMATCH)


# Facts that nobody decided --------------------------------------------------------------------------------------------


def forged_charter_change(world: Governed, proposal: bytes) -> CharterChanged:
    return CharterChanged(
        at=world.now,
        epoch=world.state.epoch,
        version=2,
        break_glass=False,
        proposal=proposal,
        charter_sha256=world.state.charter_sha256,
    )


def test_a_forged_change_of_members_is_not_believed() -> None:
    """CharterChanged without a proposal, without approvals, with one too few, or only the new members': refused."""
    world = world_of_two()
    mallory, trudy = Person("mallory"), Person("trudy")
    coup = charter(world.people["alice"], mallory, trudy, version=2)
    world.refuses(forged_charter_change(world, b"?" * 32), NotFound)
    proposal = world.propose_charter(coup)
    world.refuses(forged_charter_change(world, proposal.id), Reason.NEEDS_APPROVAL)
    world.cast(proposal, mallory)
    world.cast(proposal, trudy)
    assert is_open(proposal)
    other = world.propose_charter(charter(*world.people.values(), mallory, version=2))
    with pytest.raises(Refused):  # who does not rule yet stops nothing
        world.cast(other, mallory, Voice.VETO)
    refused_in_ledger(world, Reason.NOT_AUTHORIZED, "veto", other.id)
    world.refuses(forged_charter_change(world, proposal.id), Reason.NEEDS_APPROVAL)
    world.cast(proposal, "bob")
    world.refuses(forged_charter_change(world, proposal.id), Reason.NEEDS_APPROVAL)
    assert world.state.rulers.charter.version == 1


def test_the_old_members_alone_cannot_appoint_who_does_not_want_it() -> None:
    """The new set must meet its own threshold as well: a charter that locks everybody out never comes about."""
    world = world_of_two()
    strangers = people("x", "y", "z")
    lock_out = charter(*strangers, version=2, thresholds={Duty.CHARTER: "2 of admins"})
    proposal = world.propose_charter(lock_out)
    for name in ("bob", "carol", "dave"):
        world.cast(proposal, name)
    assert is_open(proposal)
    world.refuses(forged_charter_change(world, proposal.id), Reason.NEEDS_APPROVAL)


def test_a_change_that_is_called_break_glass_or_not_must_be_what_was_asked() -> None:
    """The loud fact cannot be written quietly, nor the quiet one loudly."""
    persons = people("alice", "bob", "carol", "dave")
    glass = Threshold(duty=Duty.BREAK_GLASS, quorum=parse_quorum("2 of admins"), delay_ms=DAY_MS)
    rulers = charter(*persons, thresholds={Duty.BREAK_GLASS: glass})
    world = Governed(*persons, rulers=rulers)
    proposal = world.propose_charter(
        replace(rulers, version=2), action=Action.BREAK_GLASS, expires_at=world.at + 3 * DAY_MS
    )
    world.cast(proposal, "bob")
    world.cast(proposal, "carol")
    world.refuses(replace(forged_charter_change(world, proposal.id), break_glass=True), Reason.DELAYED)
    world.at += DAY_MS
    world.refuses(forged_charter_change(world, proposal.id), Reason.STATE_MISMATCH)
    world.look()
    loud = world.events[-1]
    assert isinstance(loud, CharterChanged)
    assert loud.break_glass


def test_a_leader_that_executes_early_is_not_believed() -> None:
    """Before the delay is over, or by a date that lies about it: no replica follows."""
    world = world_of_two(delay_ms=HOUR_MS)
    proposal = world.propose(Action.KEY_CREATE, key_parameters())
    world.cast(proposal, "bob")
    world.cast(proposal, "carol")
    assert is_open(proposal)
    with pytest.raises(Refused) as refused:
        world.carry_out(proposal)
    assert refused.value.reason is Reason.DELAYED
    world.at += HOUR_MS
    honest = world.carry_out(proposal)
    early = replace(honest, at=UnixMillis(honest.at - 1))
    world.refuses(early, Reason.DELAYED)
    world.add(honest)
    assert world.replayed() == world.state


def test_a_leader_cannot_freeze_thaw_or_publish_by_itself() -> None:
    """Each change of power names a proposal; an executed one carries out nothing more, another one nothing else."""
    world = world_of_two()
    freeze = world.propose(Action.FREEZE, {"scope": "enclave", "name": ""})
    frozen = world.events[-1]
    assert isinstance(frozen, FreezeChanged)
    world.refuses(replace(frozen, scope=FreezeScope.KEY, name="x"), Reason.ALREADY_DECIDED)
    thaw = world.propose(Action.THAW, {"scope": "enclave", "name": ""})
    world.refuses(replace(frozen, frozen=False, proposal=thaw.id), Reason.NEEDS_APPROVAL)
    world.refuses(replace(frozen, frozen=False, proposal=freeze.id), Reason.ALREADY_DECIDED)
    published = PolicyPublished(
        at=world.now,
        epoch=world.state.epoch,
        version=2,
        proposal=thaw.id,
        charter_sha256=world.state.charter_sha256,
    )
    world.refuses(published, Reason.NEEDS_APPROVAL)
    assert world.state.frozen == {(FreezeScope.ENCLAVE, "")}


def test_a_leader_cannot_destroy_a_key_early_or_one_that_was_kept() -> None:
    """KeyDestroyed follows only from a destruction that was approved, is due, and was not taken back."""
    world = Governed(*people("alice", "bob"))
    world.key()
    forged = KeyDestroyed(
        at=world.now,
        epoch=world.state.epoch,
        key=KeyId("signer"),
        version=1,
        proposal=b"?" * 32,
        charter_sha256=world.state.charter_sha256,
    )
    world.refuses(forged, Reason.STATE_MISMATCH)
    asked = world.propose(Action.KEY_DESTROY, {"key": "signer", "version": "1", "after_days": "7"})
    world.cast(asked, "bob")
    world.at += 7 * DAY_MS
    due = replace(forged, at=world.now, proposal=asked.id)
    world.refuses(replace(due, at=UnixMillis(world.at - 1)), Reason.STATE_MISMATCH)
    world.refuses(replace(due, proposal=b"?" * 32), Reason.STATE_MISMATCH)
    world.at -= DAY_MS
    kept = world.propose(Action.KEY_KEEP, {"key": "signer", "version": "1"})
    world.cast(kept, "bob")
    world.at += DAY_MS
    world.refuses(due, Reason.STATE_MISMATCH)
    world.look()
    assert world.state.keys[KeyId("signer")].versions[1].state is KeyState.DISABLED


def test_a_leader_cannot_propose_a_rotation_that_is_not_due() -> None:
    """What nobody signs is believed only where the ledger itself says that it is due, and only once."""
    world = Governed(*people("alice", "bob"))
    world.key("signer", cryptoperiod_days="90", rotation="propose")
    parameters = {"key": "signer", "version": "2", "initial": "ACTIVE", "wrapped_sha256": ""}

    def forged(**changed: str) -> ProposalMade:
        said = world.said(Action.KEY_ROTATE, parameters | changed, by="service:rotation")
        return ProposalMade(at=world.now, epoch=world.state.epoch, statement=said.encode(), signature=None)

    world.refuses(forged(), Reason.STATE_MISMATCH)
    world.at += 76 * DAY_MS
    world.refuses(forged(key="other"), Reason.STATE_MISMATCH)
    world.refuses(forged(version="3"), Reason.STATE_MISMATCH)
    signed = forged()
    stolen = world.people["alice"].say(Voice.REQUEST, signed.statement)
    world.refuses(replace(signed, signature=stolen), Reason.NOT_AUTHORIZED)
    world.add(signed)
    world.at += 1
    world.refuses(forged(), Reason.STATE_MISMATCH)


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
    tighter = policy(*ESCALATING.rules, version=2)
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
    assert world.state.frozen == set()


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
    assert world.replayed() == world.state
