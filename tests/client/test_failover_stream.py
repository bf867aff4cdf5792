"""Streams against several servers, over real mutual TLS."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from keyvault import client as sdk
from keyvault.client import SignStream, payloads
from keyvault.v1 import signing_pb2
from tests.client.scripted import DENIED, UNAVAILABLE, Hang, ScriptedServer, Time
from tests.client.several import NOBODY_LEADS, Servers, client, client_of, deaf, leads, mute, refusing, three

DIGESTS = [bytes((number,)) * 32 for number in range(1, 21)]
IDS = [f"order-{number:02}" for number in range(1, 21)]


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Servers]:
    """Three servers of this test's own."""
    async with three(tmp_path) as running:
        yield running


def sent(server: ScriptedServer) -> list[str]:
    """Return the request ids in the order in which the server looked at them: each message backwards."""
    return [signing_pb2.SignRequest.FromString(each).request_id for each in server.requests]


async def submit_all(stream: SignStream) -> list[asyncio.Future[sdk.Signed]]:
    """Submit all digests; return their futures."""
    return [
        await stream.submit("eth", payloads.raw_digest(digest), request_id=request_id)
        for digest, request_id in zip(DIGESTS, IDS, strict=True)
    ]


async def test_broken_call_goes_on_elsewhere(servers: Servers, time: Time) -> None:
    """After a break the next server gets what was not answered, at once, in order, with the same bytes."""
    first, second, third = servers
    first.break_after.append(5)
    async with client_of(*servers, time=time) as client, client.stream() as stream:
        signed = await asyncio.gather(*await submit_all(stream))
    assert [(each.request_id, each.signing_input) for each in signed] == list(zip(IDS, DIGESTS, strict=True))
    assert sent(first) == IDS[:-6:-1]
    assert sent(second) == IDS[-6::-1]
    assert (third.calls, time.slept) == (0, [])


async def test_standby_sends_the_stream_on(servers: Servers, time: Time) -> None:
    """A stream that a standby does not take is opened at the leader that it names, without a pause."""
    first, second, third = servers
    first.standing_by = leads(third)
    async with client_of(*servers, time=time) as client, client.stream() as stream:
        await asyncio.gather(*await submit_all(stream))
    assert ([first.calls, second.calls, third.calls], time.slept) == ([1, 0, 1], [])
    assert (sent(first), sorted(sent(third))) == ([], IDS)


async def test_leader_steps_down_within_a_stream(servers: Servers, time: Time) -> None:
    """When one item says NOT_LEADER the stream moves, and what has no answer goes to the new leader, as it was."""
    first, second, third = servers
    first.script.extend([lambda honest: honest] * 3 + [leads(third)] * 17)
    async with client_of(*servers, time=time) as client, client.stream() as stream:
        signed = await asyncio.gather(*await submit_all(stream))
    assert [each.request_id for each in signed] == IDS
    assert sent(third) == IDS[-4::-1]
    assert len({*first.requests, *third.requests}) == len(IDS)
    assert (second.calls, time.slept) == (0, [])


async def test_mute_server(servers: Servers, time: Time) -> None:
    """A server that stops answering is left after the attempt deadline; the next one gets the same bytes."""
    first, second, _ = servers
    first.script.append(Hang())
    async with (
        client(first, first.address, second.address, time=time, attempt_deadline_s=2) as bot,
        bot.stream() as stream,
    ):
        await stream.sign("eth", payloads.raw_digest(DIGESTS[0]), request_id="order-1")
    assert (first.requests, time.slept) == (second.requests, [])


async def test_black_holes(servers: Servers, time: Time) -> None:
    """Nobody, a mute host and one that takes no connection stand before the leader: everything is signed there."""
    async with mute() as silent:
        with deaf() as closed:
            addresses = (refusing(), silent, closed, servers[1].address)
            async with (
                client(servers[0], *addresses, time=time, attempt_deadline_s=2) as bot,
                bot.stream() as stream,
            ):
                await asyncio.gather(*await submit_all(stream))
    assert (sorted(sent(servers[1])), time.slept) == (IDS, [])


@dataclass
class Election(Time):
    """A clock by which one server begins to lead after the third pause."""

    winner: ScriptedServer | None = None

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        if self.winner is not None and len(self.slept) == 3:
            self.winner.standing_by = None


async def test_standbys_that_name_each_other(servers: Servers) -> None:
    """A stream between them waits after each round, longer each time, and goes on as soon as one of them leads."""
    first, second, _ = servers
    first.standing_by, second.standing_by = leads(second), leads(first)
    time = Election(winner=first)
    async with client_of(first, second, time=time) as client, client.stream() as stream:
        await asyncio.gather(*await submit_all(stream))
    assert (sorted(sent(first)), sent(second)) == (IDS, [])
    assert (first.calls, second.calls, time.slept) == (4, 3, [0.15, 0.2, 0.3])


async def test_final_error_of_the_leader(servers: Servers, time: Time) -> None:
    """A refused item is its caller's; it moves nothing."""
    first, second, _ = servers
    first.script.append(DENIED)
    async with client_of(first, second, time=time) as client, client.stream() as stream:
        with pytest.raises(sdk.Denied):
            await stream.sign("eth", payloads.raw_digest(DIGESTS[0]))
        await stream.sign("eth", payloads.raw_digest(DIGESTS[1]))
    assert (first.calls, second.calls) == (1, 0)


async def test_deadline_of_an_item(servers: Servers) -> None:
    """While nobody leads, each item ends at its own deadline, with its id, and the stream can be left."""
    first, second, third = servers
    first.standing_by = second.standing_by = third.standing_by = NOBODY_LEADS
    addresses = [each.address for each in servers]
    bot = sdk.AsyncClient(addresses, first.credentials, enclave="hot", deadline_s=0.4)
    async with bot, bot.stream() as stream:
        with pytest.raises(sdk.DeadlineExceeded) as caught:
            await stream.sign("eth", payloads.raw_digest(DIGESTS[0]), request_id="order-1")
    assert caught.value.request_id == "order-1"
    assert first.calls + second.calls + third.calls < 30


async def test_many_moves(servers: Servers, time: Time) -> None:
    """However often leaders change, each request is signed for its caller, and no call is sent what was answered."""
    first, second, third = servers
    first.break_after.extend((3, 0, 1))
    second.break_after.extend((0, 2, 2))
    third.break_after.extend((1, 0, 4))
    second.script.append(UNAVAILABLE)
    async with client_of(*servers, time=time, deadline_s=100) as client, client.stream() as stream:
        signed = await asyncio.gather(*await submit_all(stream))
    assert [each.signing_input for each in signed] == DIGESTS
    assert sorted([*sent(first), *sent(second), *sent(third)]) in (sorted([*IDS, again]) for again in IDS)


async def test_server_goes_away(servers: Servers, time: Time) -> None:
    """A server that ends with everything unanswered: the next one answers all of it, and new requests go there."""
    first, second, third = servers
    second.standing_by = leads(first)
    first.script.extend([Hang()] * 20)
    async with client_of(*servers, time=time) as client, client.stream() as stream:
        futures = await submit_all(stream)
        for _ in futures:
            await first.arrived.acquire()
        second.standing_by = leads(third)
        await first.stop()
        await asyncio.gather(*futures)
        await client.sign_digest("eth", DIGESTS[0])
        await stream.sign("eth", payloads.raw_digest(DIGESTS[1]))
    assert set(third.requests) >= set(first.requests)
    assert (len(third.requests), third.calls, second.requests) == (22, 1, [])
