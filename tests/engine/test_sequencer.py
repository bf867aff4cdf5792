"""The path of one signature inside the engine: I1, I3, I7, and what overlaps with what."""

import asyncio
from contextlib import suppress

import pytest

from keyvault.core.errors import (
    Broken,
    Corrupt,
    Reason,
    RequestIdReused,
    Unavailable,
)
from keyvault.core.events import ProposalMade, SignatureIssued, SignatureRefused
from keyvault.core.ids import KeyId, LedgerIndex
from keyvault.core.keys import KeyState
from keyvault.core.policy import ANY, Limit
from keyvault.core.proposals import Outcome
from keyvault.core.statements import Action
from keyvault.engine.recovery import recover
from keyvault.ledger import codec
from keyvault.ledger.merkle import leaf_hash, verify_consistency, verify_inclusion
from keyvault.store.memory import Fault, MemoryStore
from tests.engine.world import folded, hold, let_go, opened_world, restart, settle
from tests.worlds import OTHER_BOT

VERSION = {"key": "signer", "version": "1"}
ROTATION = {"key": "signer", "version": "2", "initial": "ACTIVE", "wrapped_sha256": ""}


async def test_an_answer_is_in_the_ledger() -> None:
    """I1: what the caller got is the fact at the index that it was told."""
    async with opened_world() as world:
        answer = await world.sign("r1")
        assert codec.decode(world.medium.bodies[answer.index]) == answer.event


async def test_nothing_is_answered_before_the_append() -> None:
    """I1: while the token works the caller has nothing and the ledger has nothing."""
    async with opened_world() as world:
        for lane in world.token.lanes:
            lane.gate.clear()
        task = world.ask("r1")
        await settle()
        assert not task.done()
        assert world.issued() == []
        for lane in world.token.lanes:
            lane.gate.set()
        assert (await task).event in world.issued()


async def test_the_same_request_id_gets_the_same_signature_for_ever() -> None:
    """I3: while pending, afterwards, and after a restart; the token signs once."""
    async with opened_world() as world:
        first, second = await asyncio.gather(world.sign("r1"), world.sign("r1"))
        third = await world.sign("r1")
        await restart(world)
        fourth = await world.sign("r1")
        assert first == second == third == fourth
        assert len(world.token.signed) == 1
        assert len(world.issued()) == 1


async def test_the_same_request_id_gets_the_same_refusal_for_ever() -> None:
    """I3: a no is as final as a yes, even after the reason for it is gone."""
    async with opened_world() as world:
        await world.admin(Action.KEY_DISABLE, VERSION)
        first = await world.sign("r1")
        await world.admin(Action.KEY_ENABLE, VERSION, nonce="01")
        await restart(world)
        again = await world.sign("r1")
        assert isinstance(first.event, SignatureRefused)
        assert first.event.reason is Reason.KEY_NOT_ACTIVE
        assert again == first
        assert isinstance((await world.sign("r2")).event, SignatureIssued)


async def test_the_same_request_id_with_other_bytes_is_an_error() -> None:
    """I3: pending or durable, other bytes are refused and nothing is signed for them."""
    async with opened_world() as world:
        world.token.lanes[0].gate.clear()
        world.token.lanes[1].gate.clear()
        pending = world.ask("r1")
        await settle()
        with pytest.raises(RequestIdReused):
            await world.sign("r1", digest=b"e" * 32)
        for lane in world.token.lanes:
            lane.gate.set()
        await pending
        with pytest.raises(RequestIdReused):
            await world.sign("r1", digest=b"e" * 32)
        assert world.token.signed == [b"d" * 32]


async def test_a_request_id_belongs_to_its_caller() -> None:
    """Another principal with the same id gets its own decision, not the first one's signature."""
    async with opened_world() as world:
        mine = await world.sign("r1")
        theirs = await world.sign("r1", principal=OTHER_BOT)
        assert isinstance(mine.event, SignatureIssued)
        assert isinstance(theirs.event, SignatureRefused)


async def test_a_failing_token_releases_nothing_and_frees_the_id() -> None:
    """Unavailable; the reservation is dropped; the same id succeeds later; one signature stands."""
    one = Limit(id="one", keys=ANY, window_ms=60_000, count_max=1)
    async with opened_world(limits_=(one,)) as world:
        for lane in world.token.lanes:
            lane.fault = lambda item: item.input == b"d" * 32
        with pytest.raises(Unavailable):
            await world.sign("r1")
        assert world.issued() == []
        for lane in world.token.lanes:
            lane.fault = lambda _item: False
        assert isinstance((await world.sign("r1")).event, SignatureIssued)
        second = await world.sign("r2")
        assert isinstance(second.event, SignatureRefused)
        assert second.event.reason is Reason.LIMIT_EXCEEDED


async def test_overlapping_requests_cannot_spend_a_limit_twice() -> None:
    """What is in flight is reserved: of five at once exactly three pass a limit of three."""
    three = Limit(id="three", keys=ANY, window_ms=60_000, count_max=3)
    async with opened_world(limits_=(three,)) as world:
        answers = await asyncio.gather(*(world.sign(f"r{n}") for n in range(5)))
        assert sum(isinstance(answer.event, SignatureIssued) for answer in answers) == 3


@pytest.mark.parametrize("fault", list(Fault))
async def test_an_append_in_doubt_ends_the_term(fault: Fault) -> None:
    """I7: lost or kept, the caller gets Unavailable, the enclave stops, and the next term tells the truth."""
    async with opened_world() as world:
        world.medium.fault = fault
        with pytest.raises(Unavailable):
            await world.sign("r1")
        assert isinstance(await world.enclave.stopped, Broken)
        with pytest.raises(Unavailable):
            await world.sign("r2")
        kept = world.issued()
        assert len(kept) == (1 if fault is Fault.KEPT else 0)
        await restart(world)
        answer = await world.sign("r1")
        assert [answer.event] == (kept or world.issued())
        assert len(world.issued()) == 1


async def test_a_deposed_leader_releases_nothing() -> None:
    """I1: once another process has the term, an append is refused and the old leader stops."""
    async with opened_world() as world:
        MemoryStore(world.medium).acquire_term("other")
        size = len(world.medium.bodies)
        with pytest.raises(Unavailable):
            await world.sign("r1")
        assert isinstance(await world.enclave.stopped, Broken)
        assert len(world.medium.bodies) == size


async def test_a_caller_that_goes_away_cancels_nothing() -> None:
    """The fact becomes durable all the same, and the same id finds it."""
    async with opened_world() as world:
        for lane in world.token.lanes:
            lane.gate.clear()
        task = world.ask("r1")
        await settle()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        for lane in world.token.lanes:
            lane.gate.set()
        assert isinstance((await world.sign("r1")).event, SignatureIssued)
        assert len(world.token.signed) == 1


async def test_a_change_is_alone() -> None:
    """A proposal waits for what is in flight, and what comes later is decided after it: the fold agrees."""
    async with opened_world() as world:
        hold(world)
        before = world.ask("before")
        await settle()
        rotating = asyncio.create_task(world.admin(Action.KEY_ROTATE, ROTATION))
        await settle()
        after = world.ask("after")
        await settle()
        assert not rotating.done()
        assert not after.done()
        let_go(world)
        first, second = await before, await after
        assert isinstance(first.event, SignatureIssued)
        assert isinstance(second.event, SignatureIssued)
        await rotating
        made = next(n for n, event in enumerate(world.decoded()) if isinstance(event, ProposalMade) and n > first.index)
        assert first.index < made < second.index
        assert folded(world) == world.enclave.state
        assert folded(world).keys[KeyId("signer")].primary == 2


async def test_the_same_statement_is_executed_once() -> None:
    """A replayed statement returns the proposal as it ended; it is not carried out again."""
    async with opened_world() as world:
        first = await world.admin(Action.KEY_DISABLE, VERSION)
        await world.admin(Action.KEY_ENABLE, VERSION, nonce="01")
        size = len(world.medium.bodies)
        again = await world.admin(Action.KEY_DISABLE, VERSION)
        assert (again.id, again.closed_index, again.outcome) == (first.id, first.closed_index, Outcome.EXECUTED)
        assert world.enclave.state.keys[KeyId("signer")].versions[1].state is KeyState.ACTIVE
        assert len(world.medium.bodies) == size


async def test_a_lane_that_is_down_gets_no_jobs() -> None:
    """With one of two lanes down every request is signed by the other; none fails because of it."""
    async with opened_world() as world:
        world.token.lanes[0].up.clear()
        world.token.lanes[0].fault = lambda _item: True
        answers = await asyncio.gather(*(world.sign(f"r{n}") for n in range(20)))
        assert all(isinstance(answer.event, SignatureIssued) for answer in answers)


async def test_checkpoints_and_proofs_verify() -> None:
    """I5: every checkpoint extends the one before, and every entry is provably in it."""
    async with opened_world() as world:
        old_size, _ = await world.enclave.checkpoint()
        old_root = world.medium.head.root
        await asyncio.gather(*(world.sign(f"r{n}") for n in range(40)))
        hashes, _note = await world.enclave.consistency_proof(old_size)
        head = world.medium.head
        verify_consistency(old_size=old_size, old_root=old_root, size=head.size, root=head.root, proof=hashes)
        for index in range(head.size):
            path, entry, _ = await world.enclave.inclusion_proof(LedgerIndex(index))
            verify_inclusion(index=index, size=head.size, leaf=leaf_hash(entry), proof=path, root=head.root)


async def test_a_rewritten_ledger_is_not_opened() -> None:
    """I5: an entry changed, removed or cut off below the newest checkpoint: the enclave refuses to lead."""
    async with opened_world() as world:
        await asyncio.gather(*(world.sign(f"r{n}") for n in range(4)))
        await world.enclave.close()
        good = list(world.medium.bodies)
        world.medium.bodies[-1] = good[-1][:-1] + bytes([good[-1][-1] ^ 1])
        with pytest.raises(Corrupt):
            recover(MemoryStore(world.medium))
        world.medium.bodies = good[:-1]
        with pytest.raises(Corrupt):
            recover(MemoryStore(world.medium))
        world.medium.bodies = good
        assert recover(MemoryStore(world.medium)).tree.size == len(good)


async def test_recovery_is_the_same_fold() -> None:
    """I2: the state after a restart equals the state that decided, but for the epoch."""
    async with opened_world() as world:
        await asyncio.gather(*(world.sign(f"r{n}") for n in range(20)))
        live = world.enclave.state
        recovered = recover(MemoryStore(world.medium)).state
        assert recovered == live
