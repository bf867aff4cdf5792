"""The path of one signature inside the engine: I1, I3, I7, and what overlaps with what."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

import pytest

from keyvault.core import limits
from keyvault.core.approvals import Action
from keyvault.core.errors import (
    Broken,
    Corrupt,
    DeadlinePassed,
    Malformed,
    Overloaded,
    Reason,
    RequestIdReused,
    Unavailable,
)
from keyvault.core.events import SignatureIssued, SignatureRefused
from keyvault.core.ids import KeyId, LedgerIndex, Principal, UnixMillis
from keyvault.core.keys import KeyState
from keyvault.core.policy import ANY, Limit, Rule
from keyvault.core.state import State, apply
from keyvault.engine.clock import SystemClock
from keyvault.engine.enclave import Enclave, Identity
from keyvault.engine.genesis import write_genesis
from keyvault.engine.recovery import recover
from keyvault.engine.sequencer import Recorded
from keyvault.ledger import codec
from keyvault.ledger.codec_policy import encode_policy
from keyvault.ledger.merkle import leaf_hash, verify_consistency, verify_inclusion
from keyvault.store.memory import Fault, MemoryMedium, MemoryStore
from tests.software_token import SoftwareToken
from tests.worlds import (
    NOW,
    OTHER_BOT,
    Person,
    allow_digest,
    allow_transfers,
    change,
    digest_request,
    genesis,
    policy,
    statement,
)

SOON = 10**9
"""A deadline that never comes, in monotonic seconds."""


class FixedClock(SystemClock):
    """Wall time stands still, monotonic time is the machine's."""

    def now(self) -> UnixMillis:
        """Return the world's moment."""
        return NOW


@dataclass
class World:
    """An enclave over a medium that outlives it."""

    medium: MemoryMedium
    token: SoftwareToken
    alice: Person
    enclave: Enclave

    def ask(self, request_id: str, **more: object) -> "asyncio.Task[Recorded]":
        """Ask for a signature in the background."""
        command = digest_request(request_id, **more)  # type: ignore[arg-type]  # test glue

        async def wait() -> Recorded:
            await self.enclave.opened()
            return await self.enclave.request(command, SOON)

        return asyncio.create_task(wait())

    async def sign(self, request_id: str, **more: object) -> Recorded:
        """Ask and wait."""
        return await self.ask(request_id, **more)

    async def admin(self, action: Action, nonce: str = "00", **parameters: str) -> Recorded:
        """Make a change as alice."""
        said = statement(self.enclave.state, action, parameters, nonce=nonce)
        return await self.enclave.change(change(said, self.alice))

    def decoded(self) -> list[object]:
        """The facts on the medium."""
        return [codec.decode(body) for body in self.medium.bodies]

    def issued(self) -> list[SignatureIssued]:
        """The signatures on the medium."""
        return [event for event in self.decoded() if isinstance(event, SignatureIssued)]


async def _settle() -> None:
    """Let everything that can run do so."""
    for _ in range(50):
        await asyncio.sleep(0)


async def _open(medium: MemoryMedium, token: SoftwareToken) -> Enclave:
    return await Enclave.open(
        store=MemoryStore(medium), token=token, clock=FixedClock(), identity=Identity(holder="h", software="test")
    )


@asynccontextmanager
async def _world(*, lanes: int = 2, limits_: tuple[Limit, ...] = (), rule: Rule | None = None) -> AsyncIterator[World]:
    medium, token, alice = MemoryMedium(), SoftwareToken(lanes=lanes), Person("alice")
    rules = policy(rule or allow_digest(), limits=limits_)
    write_genesis(MemoryStore(medium), genesis(alice, rules=rules, log_public_key=token.log_public_key))
    world = World(medium=medium, token=token, alice=alice, enclave=await _open(medium, token))
    await world.admin(Action.KEY_CREATE, key="signer", algorithm="SECP256K1")
    try:
        yield world
    finally:
        for lane in token.lanes:
            lane.gate.set()
        await world.enclave.close()


async def _restart(world: World) -> None:
    """Open the ledger again as a new process would."""
    await world.enclave.close()
    world.enclave = await _open(world.medium, world.token)


async def test_an_answer_is_in_the_ledger() -> None:
    """I1: what the caller got is the fact at the index that it was told."""
    async with _world() as world:
        answer = await world.sign("r1")
        assert codec.decode(world.medium.bodies[answer.index]) == answer.event


async def test_nothing_is_answered_before_the_append() -> None:
    """I1: while the token works the caller has nothing and the ledger has nothing."""
    async with _world() as world:
        for lane in world.token.lanes:
            lane.gate.clear()
        task = world.ask("r1")
        await _settle()
        assert not task.done()
        assert world.issued() == []
        for lane in world.token.lanes:
            lane.gate.set()
        assert (await task).event in world.issued()


async def test_the_same_request_id_gets_the_same_signature_for_ever() -> None:
    """I3: while pending, afterwards, and after a restart; the token signs once."""
    async with _world() as world:
        first, second = await asyncio.gather(world.sign("r1"), world.sign("r1"))
        third = await world.sign("r1")
        await _restart(world)
        fourth = await world.sign("r1")
        assert first == second == third == fourth
        assert len(world.token.signed) == 1
        assert len(world.issued()) == 1


async def test_the_same_request_id_gets_the_same_refusal_for_ever() -> None:
    """I3: a no is as final as a yes, even after the reason for it is gone."""
    async with _world() as world:
        await world.admin(Action.KEY_DISABLE, key="signer", version="1")
        first = await world.sign("r1")
        await world.admin(Action.KEY_ENABLE, nonce="01", key="signer", version="1")
        await _restart(world)
        again = await world.sign("r1")
        assert isinstance(first.event, SignatureRefused)
        assert first.event.reason is Reason.KEY_NOT_ACTIVE
        assert again == first
        assert isinstance((await world.sign("r2")).event, SignatureIssued)


async def test_the_same_request_id_with_other_bytes_is_an_error() -> None:
    """I3: pending or durable, other bytes are refused and nothing is signed for them."""
    async with _world() as world:
        world.token.lanes[0].gate.clear()
        world.token.lanes[1].gate.clear()
        pending = world.ask("r1")
        await _settle()
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
    async with _world() as world:
        mine = await world.sign("r1")
        theirs = await world.sign("r1", principal=OTHER_BOT)
        assert isinstance(mine.event, SignatureIssued)
        assert isinstance(theirs.event, SignatureRefused)


async def test_a_failing_token_releases_nothing_and_frees_the_id() -> None:
    """Unavailable; the reservation is dropped; the same id succeeds later; one signature stands."""
    one = Limit(id="one", keys=ANY, window_ms=60_000, count_max=1)
    async with _world(limits_=(one,)) as world:
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
    async with _world(limits_=(three,)) as world:
        answers = await asyncio.gather(*(world.sign(f"r{n}") for n in range(5)))
        assert sum(isinstance(answer.event, SignatureIssued) for answer in answers) == 3


@pytest.mark.parametrize("fault", list(Fault))
async def test_an_append_in_doubt_ends_the_term(fault: Fault) -> None:
    """I7: lost or kept, the caller gets Unavailable, the enclave stops, and the next term tells the truth."""
    async with _world() as world:
        world.medium.fault = fault
        with pytest.raises(Unavailable):
            await world.sign("r1")
        assert isinstance(await world.enclave.stopped, Broken)
        with pytest.raises(Unavailable):
            await world.sign("r2")
        kept = world.issued()
        assert len(kept) == (1 if fault is Fault.KEPT else 0)
        await _restart(world)
        answer = await world.sign("r1")
        assert [answer.event] == (kept or world.issued())
        assert len(world.issued()) == 1


async def test_a_deposed_leader_releases_nothing() -> None:
    """I1: once another process has the term, an append is refused and the old leader stops."""
    async with _world() as world:
        MemoryStore(world.medium).acquire_term("other")
        size = len(world.medium.bodies)
        with pytest.raises(Unavailable):
            await world.sign("r1")
        assert isinstance(await world.enclave.stopped, Broken)
        assert len(world.medium.bodies) == size


async def test_a_caller_that_goes_away_cancels_nothing() -> None:
    """The fact becomes durable all the same, and the same id finds it."""
    async with _world() as world:
        for lane in world.token.lanes:
            lane.gate.clear()
        task = world.ask("r1")
        await _settle()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        for lane in world.token.lanes:
            lane.gate.set()
        assert isinstance((await world.sign("r1")).event, SignatureIssued)
        assert len(world.token.signed) == 1


async def test_a_change_is_alone() -> None:
    """A disable waits for what is in flight, and what comes later is decided after it: the fold agrees."""
    async with _world() as world:
        for lane in world.token.lanes:
            lane.gate.clear()
        before = world.ask("before")
        await _settle()
        disabling = asyncio.create_task(world.admin(Action.KEY_DISABLE, key="signer", version="1"))
        await _settle()
        after = world.ask("after")
        await _settle()
        assert not disabling.done()
        assert not after.done()
        for lane in world.token.lanes:
            lane.gate.set()
        assert isinstance((await before).event, SignatureIssued)
        assert isinstance((await after).event, SignatureRefused)
        assert (await before).index < (await disabling).index < (await after).index
        again = State.empty()
        for index, body in enumerate(world.medium.bodies):
            apply(again, index, codec.decode(body))
        assert again == world.enclave.state
        assert again.keys[KeyId("signer")].state is KeyState.DISABLED


async def test_the_same_statement_is_executed_once() -> None:
    """A replayed statement returns the first fact; a cancelled caller does not undo it."""
    async with _world() as world:
        first = await world.admin(Action.KEY_DISABLE, key="signer", version="1")
        await world.admin(Action.KEY_ENABLE, nonce="01", key="signer", version="1")
        assert await world.admin(Action.KEY_DISABLE, key="signer", version="1") == first
        assert world.enclave.state.keys[KeyId("signer")].state is KeyState.ACTIVE


async def test_a_change_that_does_not_fit_into_an_entry_is_malformed() -> None:
    """Its caller learns what is wrong, nothing was appended, and the enclave goes on."""
    async with _world() as world:
        size = len(world.medium.bodies)
        places = [frozenset(f"0x{n:040x}" for n in range(start, start + 900)) for start in (0, 900)]
        rules = [replace(allow_transfers(), id=f"r{n}", destinations=place) for n, place in enumerate(places)]
        huge = policy(*rules, version=2)
        document = encode_policy(huge)
        parameters = {"policy_sha256": hashlib.sha256(document).hexdigest(), "version": "2"}
        said = statement(world.enclave.state, Action.POLICY_PUBLISH, parameters)
        with pytest.raises(Malformed):
            await world.enclave.change(change(said, world.alice, policy=huge, document=document))
        assert len(world.medium.bodies) == size
        assert isinstance((await world.sign("r1")).event, SignatureIssued)


async def test_full_queues_push_back() -> None:
    """I9: with the token held the queue fills, the next request is refused at once, and the rest is still served."""
    bots = [Principal(f"spiffe://test.local/bot/b{n}") for n in range(4)]
    async with _world(lanes=1, rule=replace(allow_digest(), principals=ANY)) as world:
        world.token.lanes[0].gate.clear()
        held = world.ask("held")
        await _settle()
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
    async with _world(lanes=1, rule=replace(allow_digest(), principals=ANY)) as world:
        world.token.lanes[0].gate.clear()
        waiters = [world.enclave.request(digest_request(f"r{n}"), SOON) for n in range(limits.PRINCIPAL_IN_FLIGHT_MAX)]
        with pytest.raises(Overloaded, match="this principal"):
            world.enclave.request(digest_request("one-more"), SOON)
        served = world.enclave.request(digest_request("mine", principal=other), SOON)
        world.token.lanes[0].gate.set()
        await asyncio.gather(served, *waiters)


async def test_refusals_of_one_principal_are_recorded_up_to_a_bound() -> None:
    """I9: a bot that is only refused cannot fill the ledger; what is not recorded leaves its id free."""
    async with _world() as world:
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
    async with _world(lanes=1) as world:
        lane = world.token.lanes[0]
        lane.gate.clear()
        first = world.ask("first")
        await _settle()
        late = world.enclave.request(digest_request("late"), 0.0)
        world.enclave.expire()
        with pytest.raises(DeadlinePassed):
            await late
        lane.gate.set()
        assert isinstance((await first).event, SignatureIssued)
        assert isinstance((await world.sign("late")).event, SignatureIssued)


async def test_a_lane_that_is_down_gets_no_jobs() -> None:
    """With one of two lanes down every request is signed by the other; none fails because of it."""
    async with _world() as world:
        world.token.lanes[0].up.clear()
        world.token.lanes[0].fault = lambda _item: True
        answers = await asyncio.gather(*(world.sign(f"r{n}") for n in range(20)))
        assert all(isinstance(answer.event, SignatureIssued) for answer in answers)


async def test_checkpoints_and_proofs_verify() -> None:
    """I5: every checkpoint extends the one before, and every entry is provably in it."""
    async with _world() as world:
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
    async with _world() as world:
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
    async with _world() as world:
        await asyncio.gather(*(world.sign(f"r{n}") for n in range(20)))
        live = world.enclave.state
        recovered = recover(MemoryStore(world.medium)).state
        assert recovered == live
