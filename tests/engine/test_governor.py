"""Changes of power in a term: durable before done, done once whatever crashes, and alone."""

import asyncio
import hashlib
from contextlib import suppress
from dataclasses import replace

import pytest

from keyvault.core import limits
from keyvault.core.approvals import Voice
from keyvault.core.charter import Charter, Duty, Threshold
from keyvault.core.errors import ApprovalNeeded, Broken, NotFound, Overloaded, Reason, Refused, Unavailable
from keyvault.core.events import (
    BallotCast,
    ChangeRefused,
    CharterChanged,
    Event,
    FreezeChanged,
    KeyCreated,
    KeyDestroyed,
    ProposalMade,
    SignatureEscalated,
    SignatureIssued,
    SignatureRefused,
)
from keyvault.core.ids import KeyId, Principal
from keyvault.core.keys import KeyState
from keyvault.core.policy import ANY, Policy
from keyvault.core.proposals import Outcome, Proposal
from keyvault.core.quorum import parse_quorum
from keyvault.core.statements import Action, Statement
from keyvault.engine.enclave import Enclave
from keyvault.engine.sequencer import Recorded
from keyvault.ledger.codec_charter import encode_charter
from keyvault.ledger.codec_policy import encode_policy
from keyvault.store.memory import Fault
from tests.engine.world import SOON, World, folded, hold, let_go, opened_world, restart, settle
from tests.worlds import (
    BOT,
    Person,
    ballot,
    charter,
    digest_request,
    escalate_digest,
    key_parameters,
    people,
    propose,
    statement,
)

DAY_MS = 24 * 3_600_000
DELAY_MS = 3_600_000
EVERYTHING = {"scope": "enclave", "name": ""}


def said(
    world: World, action: Action, parameters: dict[str, str], *, by: str = "alice", nonce: str = "aa"
) -> Statement:
    """Return a statement of now."""
    return statement(
        world.enclave.state, action, parameters, requester=by, nonce=nonce, expires_at=world.clock.at + 2 * DAY_MS
    )


def key_wanted(world: World, name: str = "other", **more: str) -> Statement:
    return said(world, Action.KEY_CREATE, key_parameters(name) | more)


def facts(world: World, kind: type[Event]) -> list[int]:
    """Return the places of the facts of a kind."""
    return [place for place, event in enumerate(world.decoded()) if isinstance(event, kind)]


def delayed(*persons: Person) -> Charter:
    """Return a charter in which a rotation waits an hour."""
    slow = Threshold(duty=Duty.KEY_ROTATE, quorum=parse_quorum("1 of admins"), delay_ms=DELAY_MS)
    return charter(*persons, thresholds={Duty.KEY_ROTATE: slow})


async def asked_members(world: World, request_id: str, *, digest: bytes = b"d" * 32) -> Proposal:
    """Let the bot ask for what needs approval."""
    answer = await world.sign(request_id, digest=digest)
    assert isinstance(answer.event, SignatureEscalated)
    proposal = world.enclave.state.proposals.of_request(BOT, answer.event.request.request_id)
    assert proposal is not None
    return proposal


async def approve(world: World, proposal: Proposal, by: Person | None = None, voice: Voice = Voice.APPROVE) -> Proposal:
    return await world.enclave.cast(ballot(proposal.statement_bytes, by or world.bob, voice))


def the_same(first: Recorded, *others: Recorded) -> bool:
    """Say whether all are one and the same fact."""
    return all(other == first for other in others)


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


# Escalated signatures -----------------------------------------------------------------------------------------------


async def test_a_request_that_is_asked_twice_at_once_is_put_to_members_once() -> None:
    """Both callers get the same answer, and one SignatureEscalated stands in the ledger."""
    async with opened_world(rule=escalate_digest()) as world:
        first, second = await asyncio.gather(world.ask("r1"), world.ask("r1"))
        assert the_same(first, second)
        assert isinstance(first.event, SignatureEscalated)
        with pytest.raises(ApprovalNeeded) as needed:
            await world.sign("r1")
        assert (needed.value.reason, needed.value.quorum) == (Reason.NEEDS_APPROVAL, "1 of admins")
        (asked,) = world.enclave.state.proposals.open
        assert needed.value.proposal == f"enclaves/hot/proposals/{asked.hex()}"
        await restart(world)
        with pytest.raises(ApprovalNeeded):
            await world.sign("r1")
        assert len(facts(world, SignatureEscalated)) == 1
        assert world.token.signed == []


@pytest.mark.parametrize("restarted", [False, True])
async def test_an_approved_request_is_signed_once(restarted: bool) -> None:  # noqa: FBT001
    """Two repeats at once get one signature, and so does everybody after them, whoever leads."""
    async with opened_world(rule=escalate_digest()) as world:
        await approve(world, await asked_members(world, "r1"))
        if restarted:
            await restart(world)
        first, second = await asyncio.gather(world.ask("r1"), world.ask("r1"))
        third = await world.sign("r1")
        await restart(world)
        assert the_same(first, second, third, await world.sign("r1"))
        assert isinstance(first.event, SignatureIssued)
        assert len(world.token.signed) == len(world.issued()) == 1


@pytest.mark.parametrize("fault", list(Fault))
async def test_a_crash_while_an_approved_request_is_signed_gives_one_signature(fault: Fault) -> None:
    """Lost or kept: the same request gets the signature that the ledger has, or a new one; never two."""
    async with opened_world(rule=escalate_digest()) as world:
        await approve(world, await asked_members(world, "r1"))
        world.medium.fault = fault
        with pytest.raises(Unavailable):
            await world.sign("r1")
        await restart(world)
        answer = await world.sign("r1")
        assert [answer.event] == world.issued()


async def test_what_was_approved_in_time_is_signed_though_its_time_is_over_meanwhile() -> None:
    """Other requests that come while the token works do not end it under its hands; the ledger replays."""
    async with opened_world(rule=escalate_digest()) as world:
        proposal = await asked_members(world, "r1")
        await approve(world, proposal)
        hold(world)
        signing = world.ask("r1")
        await settle()
        world.clock.at += limits.PROPOSAL_LIFE_MS
        await asked_members(world, "r2", digest=b"e" * 32)
        let_go(world)
        assert isinstance((await signing).event, SignatureIssued)
        assert not world.enclave.stopped.done()
        await restart(world)
        assert folded(world) == world.enclave.state


@pytest.mark.parametrize("forgotten", [False, True])
@pytest.mark.parametrize("restarted", [False, True])
async def test_a_request_that_was_vetoed_or_expired_has_one_answer_for_ever(
    monkeypatch: pytest.MonkeyPatch,
    forgotten: bool,  # noqa: FBT001
    restarted: bool,  # noqa: FBT001
) -> None:
    """I3: the identical refusal, before and after a restart, and when the list of closed proposals forgot it."""
    if forgotten:
        monkeypatch.setattr(limits, "CLOSED_PROPOSALS_REMEMBERED", 1)
    async with opened_world(rule=escalate_digest()) as world:
        vetoed = await asked_members(world, "vetoed")
        await asked_members(world, "expired", digest=b"e" * 32)
        await approve(world, vetoed, voice=Voice.VETO)
        await _end_another(world)
        if restarted:
            await restart(world)
        assert (vetoed.id in world.enclave.state.proposals.closed) is not forgotten
        first = await world.sign("vetoed")
        world.clock.at += limits.PROPOSAL_LIFE_MS
        await _end_another(world)  # what is past its time ends with it
        if restarted:
            await restart(world)
        second = await world.sign("expired", digest=b"e" * 32)
        assert isinstance(first.event, SignatureRefused)
        assert isinstance(second.event, SignatureRefused)
        assert (first.event.reason, second.event.reason) == (Reason.VETOED, Reason.PROPOSAL_EXPIRED)
        world.clock.at += DAY_MS
        await restart(world)
        assert the_same(first, await world.sign("vetoed"))
        assert the_same(second, await world.sign("expired", digest=b"e" * 32))
        assert world.token.signed == []
        assert len(facts(world, SignatureEscalated)) == 2


async def _end_another(world: World) -> None:
    """Make a proposal that is vetoed at once."""
    asked = await world.enclave.propose(propose(key_wanted(world), world.alice))
    await approve(world, asked, voice=Voice.VETO)


async def test_a_request_that_a_new_policy_voided_has_one_answer_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """I3: POLICY_CHANGED, also when the proposal is forgotten and the policy asks nobody any more."""
    monkeypatch.setattr(limits, "CLOSED_PROPOSALS_REMEMBERED", 1)
    async with opened_world(rule=escalate_digest()) as world:
        asked = await asked_members(world, "r1")
        await _tighten(world)
        await _end_another(world)
        assert asked.id not in world.enclave.state.proposals.closed
        await restart(world)
        first = await world.sign("r1")
        assert isinstance(first.event, SignatureRefused)
        assert first.event.reason is Reason.POLICY_CHANGED
        await restart(world)
        assert the_same(first, await world.sign("r1"))


async def _tighten(world: World) -> None:
    """Publish the same policy again."""
    await publish(world, replace(world.enclave.state.policy, version=2))


async def publish(world: World, wanted: Policy) -> None:
    """Let alice publish a policy that takes away, or nothing."""
    parameters = {"policy_sha256": hashlib.sha256(encode_policy(wanted)).hexdigest(), "version": str(wanted.version)}
    asked = said(world, Action.POLICY_PUBLISH, parameters)
    done = await world.enclave.propose(propose(asked, world.alice, policy=wanted, document=encode_policy(wanted)))
    assert done.outcome is Outcome.EXECUTED


async def test_a_change_that_voids_more_than_is_remembered_is_still_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever publishes a policy gets its proposal back, however many others end by it."""
    monkeypatch.setattr(limits, "CLOSED_PROPOSALS_REMEMBERED", 1)
    async with opened_world(rule=escalate_digest()) as world:
        for number in range(3):
            await asked_members(world, f"r{number}", digest=bytes([number]) * 32)
        await _tighten(world)
        assert [each.outcome for each in world.enclave.state.proposals.closed.values()] == [Outcome.EXECUTED]
        assert folded(world) == world.enclave.state


# Bounds -------------------------------------------------------------------------------------------------------------


async def _fill(world: World, principal: Principal, count: int) -> None:
    for number in range(count):
        command = digest_request(f"{principal[-1]}{number}", digest=bytes([number]) * 32, principal=principal)
        await world.enclave.request(command, SOON)


async def test_one_caller_cannot_make_members_look_at_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """I9: beyond PRINCIPAL_PROPOSALS_MAX a caller is pushed back, others are not; expired proposals do not count."""
    monkeypatch.setattr(limits, "PRINCIPAL_PROPOSALS_MAX", 3)
    rule = replace(escalate_digest(), principals=ANY)
    async with opened_world(rule=rule) as world:
        await _fill(world, BOT, 3)
        size = len(world.medium.bodies)
        with pytest.raises(Overloaded, match="3 proposals of"):
            await world.sign("more")
        assert len(world.medium.bodies) == size
        await _fill(world, Principal("spiffe://test.local/bot/other"), 1)
        world.clock.at += limits.PROPOSAL_LIFE_MS
        await asked_members(world, "more")


async def test_proposals_have_a_bound_that_stops_no_freeze(monkeypatch: pytest.MonkeyPatch) -> None:
    """I9: beyond OPEN_PROPOSALS_MAX nobody can ask members anything; what stops things needs no room."""
    monkeypatch.setattr(limits, "OPEN_PROPOSALS_MAX", 3)
    async with opened_world(rule=escalate_digest()) as world:
        await _fill(world, BOT, 3)
        size = len(world.medium.bodies)
        with pytest.raises(Overloaded, match="3 proposals wait"):
            await world.sign("more")
        with pytest.raises(Overloaded):
            await world.enclave.propose(propose(key_wanted(world), world.alice))
        assert len(world.medium.bodies) == size
        frozen = await world.enclave.propose(propose(said(world, Action.FREEZE, EVERYTHING, by="bob"), world.bob))
        assert frozen.outcome is Outcome.EXECUTED
        world.clock.at += limits.PROPOSAL_LIFE_MS
        asked = await world.enclave.propose(propose(key_wanted(world), world.alice))
        assert list(world.enclave.state.proposals.open) == [asked.id]


async def test_a_stopping_enclave_takes_no_proposal() -> None:
    """Unavailable, and nothing is recorded."""
    async with opened_world() as world:
        enclave: Enclave = world.enclave
        wanted = propose(key_wanted(world), world.alice)
        await enclave.close()
        size = len(world.medium.bodies)
        with pytest.raises(Unavailable):
            await enclave.propose(wanted)
        assert len(world.medium.bodies) == size
