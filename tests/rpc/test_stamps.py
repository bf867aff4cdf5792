"""Stamps: the service's times and nonces, over requests, terms, clocks that go back, and faults."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.client import payloads
from keyvault.core.errors import KeyvaultError
from keyvault.core.events import SignatureIssued
from keyvault.core.ids import KeyId, UnixMillis
from keyvault.core.intent import Payload, Stamp
from keyvault.core.keys import KeyAlgorithm
from keyvault.core.state import State
from keyvault.engine.sequencer import Recorded
from keyvault.engine.stamps import Stamps
from keyvault.ledger.wire_payload import fill_payload
from keyvault.rpc.signing import SigningService
from keyvault.v1 import signing_pb2
from tests.engine.world import World, folded, hold, let_go, opened_world, restart, settle
from tests.every_format import EVERYTHING
from tests.intents import hyperliquid_building as hyperliquid
from tests.worlds import BOT, NOW

KEY = KeyId("signer")
RULE = replace(EVERYTHING, keys=frozenset({KEY}))
ACTION = payloads.hyperliquid(hyperliquid.orders(hyperliquid.order()))
LATER = UnixMillis(NOW + 1_000)


def service(world: World) -> SigningService:
    """Return the edge of a process, as it is after its start; nobody knocks at its door here."""
    door: Any = None
    return SigningService(world.enclave, door, world.clock)


def asked(request_id: str, payload: Payload = ACTION, key: str = KEY) -> signing_pb2.SignRequest:
    message = signing_pb2.SignRequest(key=f"enclaves/hot/keys/{key}", request_id=request_id)
    fill_payload(message.payload, payload)
    return message


async def sign(edge: SigningService, request_id: str, payload: Payload = ACTION) -> SignatureIssued:
    recorded: Recorded = await edge.begin(asked(request_id, payload), BOT, None)
    assert isinstance(recorded.event, SignatureIssued)
    return recorded.event


def nonce(event: SignatureIssued) -> int:
    assert event.stamp is not None
    return event.stamp.nonce


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 10), st.booleans()), max_size=40))
def test_nonces_strictly_grow(story: list[tuple[int, int, bool]]) -> None:
    """Whatever the clock does, whatever the ledger has, and in a new process, too: each nonce is above all before."""
    state, stamps = State.empty(), Stamps()
    state.keys[KEY] = None  # type: ignore[assignment]  # that there is one is all that counts
    last = 0
    for now, committed, restarted in story:
        if restarted:
            stamps, state.nonces[KEY] = Stamps(), last  # what was released is in the ledger
        state.nonces[KEY] = max(state.nonces.get(KEY, 0), min(last, committed))
        made = stamps.next(state, KEY, UnixMillis(now))
        assert made.nonce > last
        assert made == Stamp(at=UnixMillis(now), nonce=max(now, last + 1))
        last = made.nonce


def test_names_that_callers_make_up_cost_nothing() -> None:
    """A key that there is not leaves nothing behind: whoever asks for a million of them fills no memory."""
    state, stamps = State.empty(), Stamps()
    for number in range(100):
        stamps.next(state, KeyId(f"k{number}"), NOW)
    assert stamps.next(state, KEY, NOW) == stamps.next(state, KEY, NOW)
    assert all(not getattr(stamps, name) for name in stamps.__slots__)


async def test_terms_and_clocks_that_go_back() -> None:
    """A process whose clock is an hour behind its predecessor's goes on above its last nonce, with its own time."""
    async with opened_world(rule=RULE) as world:
        first = [await sign(service(world), f"a{number}") for number in range(3)]
        world.clock.at -= 3_600_000
        await restart(world)
        edge = service(world)
        second = [await sign(edge, f"b{number}") for number in range(3)]
        nonces = [nonce(event) for event in (*first, *second)]
        assert nonces == sorted(set(nonces))
        assert folded(world).nonces[KEY] == nonces[-1]
        assert [event.stamp.at for event in second if event.stamp] == [NOW - 3_600_000] * 3


async def test_the_same_id_again_in_the_next_process() -> None:
    """I3: the stamp is part of the fact: minutes and a process later the answer is the same, byte for byte."""
    async with opened_world(rule=RULE) as world:
        edge = service(world)
        before = edge.answer(await edge.begin(asked("order-1"), BOT, None))
        world.clock.at += 600_000
        again = edge.answer(await edge.begin(asked("order-1"), BOT, None))
        await restart(world)
        edge = service(world)
        after = edge.answer(await edge.begin(asked("order-1"), BOT, None))
        assert isinstance(before, signing_pb2.SignResponse)
        assert before == again == after
        assert before.stamp.at_ms == NOW
        assert len(world.issued()) == 1


async def test_the_same_id_while_it_is_under_way() -> None:
    """I3: who asks again before the answer, with another time by then, waits for the first stamp's signature."""
    async with opened_world(rule=RULE) as world:
        edge = service(world)
        hold(world)
        first = edge.begin(asked("order-1"), BOT, None)
        world.clock.at += 60_000
        second = edge.begin(asked("order-1"), BOT, None)
        await settle()
        let_go(world)
        assert (await first) == (await second)
        assert [event.stamp.at for event in world.issued() if event.stamp] == [NOW]


async def test_a_nonce_whose_signature_was_never_released_is_skipped_or_new() -> None:
    """After a token that failed, the same id gets another stamp, and no nonce is ever in two facts."""
    async with opened_world(rule=RULE) as world:
        edge = service(world)
        for lane in world.token.lanes:
            lane.fault = lambda _item: True
        with pytest.raises(KeyvaultError):
            await edge.begin(asked("order-1"), BOT, None)
        for lane in world.token.lanes:
            lane.fault = lambda _item: False
        events = [await sign(edge, "order-1"), *(await asyncio.gather(*(sign(edge, f"o{n}") for n in range(50))))]
        assert len({nonce(event) for event in events}) == 51
        assert min(map(nonce, events)) > NOW


async def test_keys_count_apart_and_plain_payloads_take_none() -> None:
    """A payload without a time has no stamp in its fact or answer, and leaves the key's nonces as they are."""
    async with opened_world(rule=RULE) as world:
        edge = service(world)
        digest = await sign(edge, "d", payloads.raw_digest(bytes(32)))
        assert digest.stamp is None
        assert KEY not in world.enclave.state.nonces
        stamped = edge.answer(await edge.begin(asked("h"), BOT, None))
        plain = edge.answer(await edge.begin(asked("d", payloads.raw_digest(bytes(32))), BOT, None))
        assert isinstance(stamped, signing_pb2.SignResponse)
        assert isinstance(plain, signing_pb2.SignResponse)
        assert (stamped.HasField("stamp"), plain.HasField("stamp")) == (True, False)
        assert list(world.enclave.state.nonces) == [KEY]
        assert world.enclave.state.keys[KEY].versions[1].algorithm is KeyAlgorithm.SECP256K1
