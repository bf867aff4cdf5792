"""Changes of power in a term: durable before done, done once whatever crashes, and alone."""

import asyncio
import hashlib
from contextlib import suppress
from dataclasses import replace

import pytest

from keyvault.core import limits
from keyvault.core.approvals import Voice
from keyvault.core.charter import Charter, Duty
from keyvault.core.errors import Broken, NotFound, Overloaded, Reason, Refused, Unavailable
from keyvault.core.events import (
    BallotCast,
    ChangeRefused,
    CharterChanged,
    FreezeChanged,
    KeyCreated,
    KeyDestroyed,
    ProposalMade,
    SignatureIssued,
    SignatureRefused,
)
from keyvault.core.ids import KeyId
from keyvault.core.keys import KeyState
from keyvault.core.proposals import Outcome
from keyvault.core.statements import Action
from keyvault.ledger.codec_charter import encode_charter
from keyvault.store.memory import Fault
from tests.engine.governing import (
    DAY_MS,
    DELAY_MS,
    EVERYTHING,
    approve,
    asked_members,
    delayed,
    facts,
    key_wanted,
    said,
)
from tests.engine.world import World, folded, hold, let_go, opened_world, restart, settle
from tests.worlds import (
    ballot,
    charter,
    escalate_digest,
    key_parameters,
    people,
    propose,
)

# Durable, then done -------------------------------------------------------------------------------------------------


async def test_a_proposal_is_durable_before_it_is_carried_out() -> None:
    """The ledger has the asking, the approval and the change, in this order, each alone."""
    async with opened_world() as world:
        wanted = key_wanted(world)
        proposal = await world.enclave.propose(propose(wanted, world.alice))
        assert proposal.outcome is Outcome.OPEN
        assert len(facts(world, KeyCreated)) == 1
        done = await approve(world, proposal)
        assert done.outcome is Outcome.EXECUTED
        assert facts(world, ProposalMade)[-1] < facts(world, BallotCast)[-1] < facts(world, KeyCreated)[-1]
        assert folded(world) == world.enclave.state


@pytest.mark.parametrize("fault", list(Fault))
async def test_a_proposal_in_doubt_is_not_carried_out(fault: Fault) -> None:
    """I7: when it is not known whether the asking is durable, nothing is frozen; the next term knows."""
    async with opened_world() as world:
        world.medium.fault = fault
        with pytest.raises(Unavailable):
            await world.enclave.propose(propose(said(world, Action.FREEZE, EVERYTHING, by="bob"), world.bob))
        assert isinstance(await world.enclave.stopped, Broken)
        assert facts(world, FreezeChanged) == []
        await restart(world)
        await world.enclave.govern()
        await world.enclave.govern()
        assert len(facts(world, FreezeChanged)) == (1 if fault is Fault.KEPT else 0)


@pytest.mark.parametrize("fault", list(Fault))
async def test_a_crash_between_approval_and_execution_is_made_up_for(fault: Fault) -> None:
    """Freeze: asked for durably, and then the process ends. The next term freezes, exactly once."""
    async with opened_world() as world:
        world.plug.pull(after=ProposalMade, fault=fault)
        command = propose(said(world, Action.FREEZE, EVERYTHING, by="bob"), world.bob)
        proposal = await world.enclave.propose(command)
        assert isinstance(await world.enclave.stopped, Broken)
        assert proposal.outcome is Outcome.OPEN
        await restart(world)
        await world.enclave.govern()
        await world.enclave.govern()
        again = await world.enclave.propose(command)
        assert again.outcome is Outcome.EXECUTED
        assert len(facts(world, FreezeChanged)) == 1
        assert folded(world) == world.enclave.state


@pytest.mark.parametrize("fault", list(Fault))
async def test_a_crash_between_token_and_ledger_makes_one_key(fault: Fault) -> None:
    """The token made it, the ledger may not know: the next term finds the same object and writes it down once."""
    async with opened_world() as world:
        proposal = await world.enclave.propose(propose(key_wanted(world), world.alice))
        world.plug.pull(after=BallotCast, fault=fault)
        await approve(world, proposal)
        assert isinstance(await world.enclave.stopped, Broken)
        assert len(world.token._keys) == 2
        made = dict(world.token._keys)
        await restart(world)
        await world.enclave.govern()
        await world.enclave.govern()
        assert world.token._keys == made
        created = [event for event in world.decoded() if isinstance(event, KeyCreated) and event.key == "other"]
        assert len(created) == 1
        assert created[0].public_key == made[created[0].token_object_id].public_key.format(compressed=False)


@pytest.mark.parametrize("fault", list(Fault))
async def test_a_crash_between_token_and_ledger_destroys_once(fault: Fault) -> None:
    """The object is gone, the ledger may not know: the next term finds nothing left and writes that down once."""
    async with opened_world() as world:
        await world.admin(Action.KEY_DESTROY, {"key": "signer", "version": "1", "after_days": "7"})
        world.clock.at += 7 * DAY_MS
        world.medium.fault = fault
        await world.enclave.govern()
        assert isinstance(await world.enclave.stopped, Broken)
        assert len(world.token.destroyed) == 1
        await restart(world)
        await world.enclave.govern()
        await world.enclave.govern()
        assert len(world.token.destroyed) == 1
        assert len(facts(world, KeyDestroyed)) == 1
        assert world.enclave.state.keys[KeyId("signer")].versions[1].state is KeyState.DESTROYED


async def test_a_token_that_is_away_is_asked_again_at_the_next_look() -> None:
    """The approval stands, its caller sees it, and the key is made when the token is back."""
    async with opened_world() as world:
        proposal = await world.enclave.propose(propose(key_wanted(world), world.alice))
        world.token.away = True
        standing = await approve(world, proposal)
        assert standing.outcome is Outcome.OPEN
        assert standing.approved_at == world.clock.at
        await world.enclave.govern()
        assert len(facts(world, KeyCreated)) == 1
        world.token.away = False
        await world.enclave.govern()
        assert len(facts(world, KeyCreated)) == 2
        assert proposal.outcome is Outcome.EXECUTED


# Asked once, said once ----------------------------------------------------------------------------------------------


async def test_proposing_and_casting_again_change_nothing() -> None:
    """Sequentially and at once, before and after a restart: one ProposalMade, one BallotCast, the same proposal."""
    async with opened_world() as world:
        wanted = key_wanted(world)
        asking, saying = propose(wanted, world.alice), ballot(wanted, world.bob)
        first, second = await asyncio.gather(world.enclave.propose(asking), world.enclave.propose(asking))
        assert first is second
        await asyncio.gather(world.enclave.cast(saying), world.enclave.cast(saying))
        size = len(world.medium.bodies)
        assert (await world.enclave.propose(asking)).outcome is Outcome.EXECUTED
        assert (await world.enclave.cast(saying)).outcome is Outcome.EXECUTED
        assert len(world.medium.bodies) == size
        await restart(world)
        assert (await world.enclave.propose(asking)).outcome is Outcome.EXECUTED
        assert (await world.enclave.cast(saying)).outcome is Outcome.EXECUTED
        assert len(world.medium.bodies) == size + 1  # the new term
        assert len(facts(world, ProposalMade)) == len(facts(world, BallotCast)) == 2


async def test_a_word_that_stands_no_more_is_not_taken_for_one_that_does() -> None:
    """Approving again after taking it back, or after having been removed, is refused and not passed over."""
    alice, bob, carol, dave = everybody = people("alice", "bob", "carol", "dave")
    two = {Duty.KEY_ROTATE: "2 of admins"}
    async with opened_world(rulers=charter(*everybody, thresholds={**two}), persons=everybody) as world:
        rotation = {"key": "signer", "version": "2", "initial": "ACTIVE", "wrapped_sha256": ""}
        proposal = await world.enclave.propose(propose(said(world, Action.KEY_ROTATE, rotation), alice))
        await approve(world, proposal, carol)
        await approve(world, proposal, carol, Voice.REVOKE)
        await approve(world, proposal, bob)
        await _change_charter(world, charter(alice, carol, dave, version=2, thresholds={**two}))
        await _change_charter(world, charter(*everybody, version=3, thresholds={**two}))
        for person in (bob, carol):
            with pytest.raises(Refused) as refused:
                await approve(world, proposal, person)
            assert refused.value.reason is Reason.ALREADY_DECIDED
        assert [event.reason for event in world.decoded() if isinstance(event, ChangeRefused)] == [
            Reason.ALREADY_DECIDED,
            Reason.ALREADY_DECIDED,
        ]
        assert proposal.approvers(world.enclave.state.rulers) == frozenset()
        assert not world.enclave.stopped.done()


async def _change_charter(world: World, wanted: Charter) -> None:
    document = encode_charter(wanted)
    parameters = {"charter_sha256": hashlib.sha256(document).hexdigest(), "version": str(wanted.version)}
    asked = said(world, Action.CHARTER_CHANGE, parameters)
    proposal = await world.enclave.propose(propose(asked, world.alice, charter=wanted, document=document))
    assert (await approve(world, proposal, world.people[2])).outcome is Outcome.EXECUTED
    assert isinstance(world.decoded()[-1], CharterChanged)


async def test_a_caller_that_goes_away_cancels_nothing() -> None:
    """A proposal whose caller is gone is recorded and carried out all the same."""
    async with opened_world() as world:
        hold(world)
        held = world.ask("r1")
        await settle()
        task = asyncio.create_task(
            world.enclave.propose(propose(said(world, Action.FREEZE, EVERYTHING, by="bob"), world.bob))
        )
        await settle()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        let_go(world)
        await held
        await world.enclave.close()
        assert len(facts(world, FreezeChanged)) == 1


# Refusals -----------------------------------------------------------------------------------------------------------


async def test_a_refusal_is_recorded_with_who_what_and_why() -> None:
    """What is refused changes nothing, and stands in the ledger; an unknown proposal is not named."""
    async with opened_world() as world:
        proposal = await world.enclave.propose(propose(key_wanted(world), world.alice))
        with pytest.raises(Refused):
            await approve(world, proposal, world.alice)
        with pytest.raises(NotFound):
            await world.enclave.cast(replace(ballot(b"?", world.bob), proposal=b"?" * 32))
        mine, unknown = (event for event in world.decoded() if isinstance(event, ChangeRefused))
        assert (mine.reason, mine.subject, mine.proposal) == (Reason.NOT_AUTHORIZED, "approve", proposal.id)
        assert (unknown.reason, unknown.proposal) == (Reason.STATE_MISMATCH, b"")
        assert proposal.outcome is Outcome.OPEN
        assert folded(world) == world.enclave.state


async def test_refusals_are_recorded_within_a_budget() -> None:
    """I9: whoever is refused without end cannot fill the ledger; a second later there is room again."""
    async with opened_world() as world:
        proposal = await world.enclave.propose(propose(key_wanted(world), world.alice))
        for _ in range(limits.REFUSALS_BURST_MAX):
            with pytest.raises(Refused):
                await approve(world, proposal, world.alice)
        size = len(world.medium.bodies)
        with pytest.raises(Overloaded, match="not recorded"):
            await approve(world, proposal, world.alice)
        assert len(world.medium.bodies) == size
        world.clock.at += 1_000
        with pytest.raises(Refused):
            await approve(world, proposal, world.alice)
        assert len(world.medium.bodies) == size + 1


async def test_a_refusal_stops_no_signature() -> None:
    """What is to be refused is refused at once, while the token works; nothing waits for it."""
    async with opened_world() as world:
        hold(world)
        held = world.ask("r1")
        await settle()
        with pytest.raises(Refused):
            await world.enclave.propose(propose(said(world, Action.KEY_CREATE, key_parameters()), world.alice))
        assert world.enclave.is_open
        let_go(world)
        assert isinstance((await held).event, SignatureIssued)


# Alone, and at once -------------------------------------------------------------------------------------------------


async def test_a_ballot_waits_until_nothing_is_in_flight() -> None:
    """So nobody takes an approval back while its signature is being made."""
    async with opened_world(rule=escalate_digest()) as world:
        proposal = await asked_members(world, "r1")
        await approve(world, proposal)
        hold(world)
        signing = world.ask("r1")
        await settle()
        revoking = asyncio.create_task(approve(world, proposal, voice=Voice.VETO))
        await settle()
        assert not revoking.done()
        let_go(world)
        assert isinstance((await signing).event, SignatureIssued)
        with pytest.raises(Refused) as refused:
            await revoking
        assert refused.value.reason is Reason.ALREADY_DECIDED
        assert proposal.outcome is Outcome.EXECUTED


async def test_a_freeze_does_not_wait_for_what_is_queued() -> None:
    """What the token has in hand ends; what is queued is given back; the next decision is FROZEN."""
    async with opened_world(lanes=1) as world:
        hold(world)
        first = world.ask("in-hand")
        await settle()
        queued = [world.ask(f"queued-{n}") for n in range(20)]
        await settle()
        freezing = asyncio.create_task(
            world.enclave.propose(propose(said(world, Action.FREEZE, EVERYTHING, by="bob"), world.bob))
        )
        await settle()
        assert all(task.done() for task in queued)
        for task in queued:
            with pytest.raises(Unavailable):
                await task
        late = world.ask("late")
        await settle()
        assert not freezing.done()
        assert not late.done()
        let_go(world)
        assert (await freezing).outcome is Outcome.EXECUTED
        assert isinstance((await first).event, SignatureIssued)
        for answer in (await late, await world.sign("queued-0")):
            assert isinstance(answer.event, SignatureRefused)
            assert answer.event.reason is Reason.FROZEN
        assert len(world.token.signed) == len(world.issued()) == 1
        assert facts(world, SignatureIssued)[0] < facts(world, FreezeChanged)[0] < facts(world, SignatureRefused)[0]


# What falls due -----------------------------------------------------------------------------------------------------


async def test_a_delay_ends_when_the_clock_has_passed_it() -> None:
    """Nothing before, one change after, however often the enclave looks; a clock set back hides nothing."""
    alice, bob = people("alice", "bob")
    async with opened_world(rulers=delayed(alice, bob), persons=(alice, bob)) as world:
        rotation = {"key": "signer", "version": "2", "initial": "ACTIVE", "wrapped_sha256": ""}
        proposal = await world.admin(Action.KEY_ROTATE, rotation)
        assert proposal.outcome is Outcome.OPEN
        world.clock.at += DELAY_MS - 1
        await world.enclave.govern()
        await restart(world)
        await world.enclave.govern()
        assert len(facts(world, KeyCreated)) == 1
        world.clock.at += 1
        await world.enclave.govern()
        world.clock.at -= DELAY_MS
        await world.enclave.govern()
        assert len(facts(world, KeyCreated)) == 2
        assert world.enclave.state.proposals.find(proposal.id).outcome is Outcome.EXECUTED
        assert len(world.token._keys) == 2


async def test_a_due_key_is_destroyed_and_not_before() -> None:
    """The object is gone from the token; the fact names the proposal that asked for it."""
    async with opened_world() as world:
        asked = await world.admin(Action.KEY_DESTROY, {"key": "signer", "version": "1", "after_days": "7"})
        world.clock.at += 7 * DAY_MS - 1
        await world.enclave.govern()
        assert world.token.destroyed == []
        world.clock.at += 1
        await world.enclave.govern()
        gone = world.decoded()[-1]
        assert isinstance(gone, KeyDestroyed)
        assert gone.proposal == asked.id
        assert world.token.destroyed == [world.enclave.state.keys[KeyId("signer")].versions[1].token_object_id]


async def test_a_due_rotation_is_proposed_once() -> None:
    """However often the enclave looks and whoever leads, one proposal waits; after it has expired there is another."""
    async with opened_world() as world:
        wanted = key_wanted(world, cryptoperiod_days="90", rotation="propose")
        await approve(world, await world.enclave.propose(propose(wanted, world.alice)))
        before = len(facts(world, ProposalMade))
        world.clock.at += 76 * DAY_MS
        for _ in range(3):
            await world.enclave.govern()
        await restart(world)
        await world.enclave.govern()
        assert len(facts(world, ProposalMade)) == before + 1
        (proposal,) = world.enclave.state.proposals.open.values()
        assert (proposal.signature, proposal.statement["key"]) == (None, "other")
        world.clock.at += limits.PROPOSAL_LIFE_MS_MAX
        await world.enclave.govern()
        await world.enclave.govern()
        assert len(facts(world, ProposalMade)) == before + 2
        assert folded(world) == world.enclave.state
