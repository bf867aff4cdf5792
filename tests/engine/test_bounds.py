"""What one caller can take from the enclave, and what happens beyond that (I9)."""

import asyncio
import hashlib
from dataclasses import replace

import pytest

from keyvault.core import limits
from keyvault.core.errors import (
    DeadlinePassed,
    Malformed,
    Overloaded,
)
from keyvault.core.events import SignatureIssued
from keyvault.core.ids import Principal
from keyvault.core.policy import ANY
from keyvault.core.statements import Action
from keyvault.ledger.codec_policy import encode_policy
from tests.engine.world import SOON, opened_world, settle
from tests.worlds import (
    OTHER_BOT,
    allow_digest,
    allow_transfers,
    digest_request,
    policy,
    propose,
    statement,
)


async def test_a_change_that_does_not_fit_into_an_entry_is_malformed() -> None:
    """Its caller learns what is wrong, nothing was appended, and the enclave goes on."""
    async with opened_world() as world:
        size = len(world.medium.bodies)
        places = [frozenset(f"0x{n:040x}" for n in range(start, start + 900)) for start in (0, 900)]
        rules = [replace(allow_transfers(), id=f"r{n}", destinations=place) for n, place in enumerate(places)]
        huge = policy(*rules, version=2)
        document = encode_policy(huge)
        parameters = {"policy_sha256": hashlib.sha256(document).hexdigest(), "version": "2", "replay_sha256": "none"}
        said = statement(world.enclave.state, Action.POLICY_PUBLISH, parameters)
        with pytest.raises(Malformed):
            await world.enclave.propose(propose(said, world.alice, policy=huge, document=document))
        assert len(world.medium.bodies) == size
        assert isinstance((await world.sign("r1")).event, SignatureIssued)


async def test_full_queues_push_back() -> None:
    """I9: with the token held the queue fills, the next request is refused at once, and the rest is still served."""
    bots = [Principal(f"spiffe://test.local/bot/b{n}") for n in range(4)]
    async with opened_world(lanes=1, rule=replace(allow_digest(), principals=ANY)) as world:
        world.token.lanes[0].gate.clear()
        held = world.ask("held")
        await settle()
        waiters = [
            world.enclave.request(digest_request(f"r{n}", principal=bots[n % 4]), SOON)
            for n in range(limits.TOKEN_QUEUE_MAX)
        ]
        with pytest.raises(Overloaded):
            world.enclave.request(digest_request("one-more"), SOON)
        world.token.lanes[0].gate.set()
        await asyncio.gather(held, *waiters)
        assert len(world.issued()) == limits.TOKEN_QUEUE_MAX + 1
        assert max(world.token.lanes[0].batches) <= limits.TOKEN_BATCH_MAX


async def test_one_principal_cannot_fill_the_queue() -> None:
    """I9: a bot that floods is pushed back at its own bound, and another bot is still served."""
    other = Principal("spiffe://test.local/bot/other")
    async with opened_world(lanes=1, rule=replace(allow_digest(), principals=ANY)) as world:
        world.token.lanes[0].gate.clear()
        waiters = [world.enclave.request(digest_request(f"r{n}"), SOON) for n in range(limits.PRINCIPAL_IN_FLIGHT_MAX)]
        with pytest.raises(Overloaded, match="this principal"):
            world.enclave.request(digest_request("one-more"), SOON)
        served = world.enclave.request(digest_request("mine", principal=other), SOON)
        world.token.lanes[0].gate.set()
        await asyncio.gather(served, *waiters)


async def test_refusals_of_one_principal_are_recorded_up_to_a_bound() -> None:
    """I9: a bot that is only refused cannot fill the ledger; what is not recorded leaves its id free."""
    async with opened_world() as world:
        count = limits.REFUSALS_BURST_MAX
        asked = [digest_request(f"r{n}", principal=OTHER_BOT) for n in range(count)]
        for start in range(0, count, 500):
            await asyncio.gather(*(world.enclave.request(one, SOON) for one in asked[start : start + 500]))
        size = len(world.medium.bodies)
        with pytest.raises(Overloaded, match="not recorded"):
            world.enclave.request(digest_request("one-more", principal=OTHER_BOT), SOON)
        assert len(world.medium.bodies) == size
        assert isinstance((await world.sign("mine")).event, SignatureIssued)


async def test_a_deadline_ends_the_wait_for_the_token() -> None:
    """With every lane busy a request ends when its deadline passes; nothing was signed and the id is free."""
    async with opened_world(lanes=1) as world:
        lane = world.token.lanes[0]
        lane.gate.clear()
        first = world.ask("first")
        await settle()
        late = world.enclave.request(digest_request("late"), 0.0)
        with pytest.raises(DeadlinePassed):
            await late
        lane.gate.set()
        assert isinstance((await first).event, SignatureIssued)
        assert isinstance((await world.sign("late")).event, SignatureIssued)


async def test_with_every_lane_down_waiting_ends_by_itself() -> None:
    """I9: while a checkpoint waits for the token too, a late request ends at its deadline, and a stop can follow."""
    async with opened_world(lanes=1) as world:
        world.token.lanes[0].up.clear()
        checkpoint = asyncio.create_task(world.enclave.checkpoint())
        late = world.enclave.request(digest_request("late"), 0.0)
        with pytest.raises(DeadlinePassed):
            await late
        assert world.issued() == []
        checkpoint.cancel()
