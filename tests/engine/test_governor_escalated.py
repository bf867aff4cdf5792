"""Signatures that wait for members, in a running enclave; and how many may wait."""

import asyncio
from dataclasses import replace

import pytest

from keyvault.core import limits
from keyvault.core.approvals import Voice
from keyvault.core.errors import ApprovalNeeded, Overloaded, Reason, Unavailable
from keyvault.core.events import (
    SignatureEscalated,
    SignatureIssued,
    SignatureRefused,
)
from keyvault.core.ids import Principal
from keyvault.core.policy import ANY
from keyvault.core.proposals import Outcome
from keyvault.core.statements import Action
from keyvault.engine.enclave import Enclave
from keyvault.store.memory import Fault
from tests.engine.governing import (
    DAY_MS,
    EVERYTHING,
    approve,
    asked_members,
    facts,
    key_wanted,
    publish,
    said,
    the_same,
    tighter,
)
from tests.engine.world import SOON, World, folded, hold, let_go, opened_world, restart, settle
from tests.worlds import (
    BOT,
    digest_request,
    escalate_digest,
    propose,
)

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
async def test_an_approved_request_is_signed_once(restarted: bool) -> None:  # noqa: FBT001  pytest hands it over
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
    forgotten: bool,  # noqa: FBT001  as above
    restarted: bool,  # noqa: FBT001  as above
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
        await publish(world, tighter(world.enclave.state.policy))
        await _end_another(world)
        assert asked.id not in world.enclave.state.proposals.closed
        await restart(world)
        first = await world.sign("r1")
        assert isinstance(first.event, SignatureRefused)
        assert first.event.reason is Reason.POLICY_CHANGED
        await restart(world)
        assert the_same(first, await world.sign("r1"))


async def test_a_change_that_voids_more_than_is_remembered_is_still_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever publishes a policy gets its proposal back, however many others end by it."""
    monkeypatch.setattr(limits, "CLOSED_PROPOSALS_REMEMBERED", 1)
    async with opened_world(rule=escalate_digest()) as world:
        for number in range(3):
            await asked_members(world, f"r{number}", digest=bytes([number]) * 32)
        await publish(world, tighter(world.enclave.state.policy))
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
