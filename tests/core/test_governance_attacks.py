"""What somebody with a stolen signature, an edited database or the server itself tries, and why it is not believed.

``refuses`` is a replica that meets the fact in a ledger with a correct tree; the edited databases themselves, found by
recovery and by the audit, stand in tests/engine/test_governor_attacks.py.
"""

import hashlib
from dataclasses import replace

import pytest

from keyvault.core.approvals import EnvelopeSignature, Voice
from keyvault.core.charter import Duty, Threshold
from keyvault.core.decide import decide_ballot
from keyvault.core.errors import Malformed, NotFound, Reason, Refused
from keyvault.core.events import (
    BallotCast,
    CharterChanged,
    FreezeChanged,
    KeyDestroyed,
    PolicyPublished,
    ProposalMade,
)
from keyvault.core.ids import KeyId, UnixMillis
from keyvault.core.keys import KeyState
from keyvault.core.proposals import Outcome
from keyvault.core.quorum import parse_quorum
from keyvault.core.statements import Action, FreezeScope
from keyvault.ledger.codec_charter import encode_charter
from keyvault.ledger.codec_policy import encode_policy
from tests.core.attacking import cast_of, refused_in_ledger, two_of_admins, world_of_two
from tests.core.governed import DAY_MS, HOUR_MS, Governed, is_open
from tests.worlds import (
    Person,
    allow_digest,
    ballot,
    charter,
    key_parameters,
    people,
    policy,
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
    assert set(world.state.frozen) == {(FreezeScope.ENCLAVE, "")}


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
