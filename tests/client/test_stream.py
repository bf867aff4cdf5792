import asyncio
from urllib.parse import quote

import pytest

from keyvault import client as sdk
from keyvault.client import payloads
from keyvault.core import limits
from keyvault.v1 import signing_pb2
from tests.client.scripted import DENIED, OVERLOADED, UNAVAILABLE, Hang, ScriptedServer, Time
from tests.intents.building import TIME

DIGESTS = [bytes((number,)) * 32 for number in range(1, 21)]


def sent(server: ScriptedServer) -> list[str]:
    """Return the request ids in the order in which the server saw them."""
    return [signing_pb2.SignRequest.FromString(each).request_id for each in server.requests]


async def test_answers_find_their_requests(server: ScriptedServer) -> None:
    """Answers that come in reverse order reach the right callers, verified; all went over one call."""
    async with server.client() as client, client.stream() as stream:
        futures = [await stream.submit("eth", payloads.raw_digest(digest)) for digest in DIGESTS]
        signed = await asyncio.gather(*futures)
    assert [each.signing_input for each in signed] == DIGESTS
    assert server.calls == 1


async def test_what_waits_is_one_message(server: ScriptedServer) -> None:
    """Requests that were submitted while nothing could be written go together."""
    async with server.client() as client, client.stream() as stream:
        futures = [await stream.submit("eth", payloads.raw_digest(digest)) for digest in DIGESTS]
        await asyncio.gather(*futures)
    assert server.messages == [len(DIGESTS)]


async def test_leaving_waits_for_answers(server: ScriptedServer) -> None:
    """When the block is left normally, everything submitted in it is answered."""
    async with server.client() as client:
        async with client.stream() as stream:
            futures = [await stream.submit("eth", payloads.raw_digest(digest)) for digest in DIGESTS]
        assert all(future.done() and future.exception() is None for future in futures)


async def test_broken_call_is_replaced(server: ScriptedServer, time: Time) -> None:
    """After a break only what was not answered is sent again, with the same ids, and all are answered once."""
    server.break_after.append(5)
    ids = [f"order-{number}" for number in range(20)]
    async with server.client(time=time) as client, client.stream() as stream:
        futures = [
            await stream.submit("eth", payloads.raw_digest(digest), request_id=request_id)
            for digest, request_id in zip(DIGESTS, ids, strict=True)
        ]
        signed = await asyncio.gather(*futures)
    assert [each.request_id for each in signed] == ids
    assert (server.calls, sorted(sent(server))) == (2, sorted(ids))
    assert time.slept == [0.15]


async def test_silent_server(server: ScriptedServer, time: Time) -> None:
    """A call that says nothing while an answer is due is replaced after the attempt deadline, with the same bytes."""
    server.script.append(Hang())
    async with server.client(time=time, attempt_deadline_s=0.2) as client, client.stream() as stream:
        await stream.sign("eth", payloads.raw_digest(DIGESTS[0]), request_id="order-1")
    assert (server.calls, sent(server), len(set(server.requests))) == (2, ["order-1"] * 2, 1)


async def test_item_that_could_not_be_done_now(server: ScriptedServer, time: Time) -> None:
    """Only an item that the server was too busy for is sent again, after the pause that it asked for."""
    server.script.append(OVERLOADED)
    async with server.client(time=time) as client, client.stream() as stream:
        first = await stream.submit("eth", payloads.raw_digest(DIGESTS[0]), request_id="busy")
        await first
        await stream.sign("eth", payloads.raw_digest(DIGESTS[1]), request_id="free")
    assert (sent(server), server.calls, time.slept) == (["busy", "busy", "free"], 1, [1.55])


async def test_refused_item(server: ScriptedServer) -> None:
    """One refusal is one caller's error, with reason and rules; the stream goes on."""
    server.script.append(DENIED)
    async with server.client() as client, client.stream() as stream:
        with pytest.raises(sdk.Denied) as caught:
            await stream.sign("eth", payloads.raw_digest(DIGESTS[0]), request_id="no")
        await stream.sign("eth", payloads.raw_digest(DIGESTS[1]), request_id="yes")
    assert (caught.value.request_id, caught.value.reason) == ("no", "DENIED_BY_RULE")
    assert caught.value.rules == ("no", "never")
    assert sent(server) == ["no", "yes"]


async def test_lie_in_a_stream(server: ScriptedServer) -> None:
    """A wrong signature reaches nobody: SignatureMismatch, once, for its caller only."""

    def lie(honest: signing_pb2.SignResponse) -> signing_pb2.SignResponse:
        honest.signature.value = honest.signature.value[:-1] + bytes((honest.signature.value[-1] ^ 1,))
        return honest

    server.script.append(lie)
    async with server.client() as client, client.stream() as stream:
        with pytest.raises(sdk.SignatureMismatch):
            await stream.sign("eth", payloads.raw_digest(DIGESTS[0]), request_id="lie")
        await stream.sign("eth", payloads.raw_digest(DIGESTS[1]))
    assert sent(server).count("lie") == 1


async def test_in_flight_is_bounded(server: ScriptedServer) -> None:
    """While the server answers nothing, submit waits at the bound, and goes on when answers come."""
    server.hold.clear()
    digests = [number.to_bytes(32, "big") for number in range(limits.STREAM_IN_FLIGHT_MAX + 50)]
    async with server.client() as client, client.stream() as stream:
        for digest in digests[: limits.STREAM_IN_FLIGHT_MAX]:
            await stream.submit("eth", payloads.raw_digest(digest))
        more = [
            asyncio.create_task(stream.submit("eth", payloads.raw_digest(digest)))
            for digest in digests[limits.STREAM_IN_FLIGHT_MAX :]
        ]
        await client.public_key("eth")  # a whole call later they still wait
        assert not any(task.done() for task in more)
        server.hold.set()
        await asyncio.gather(*more)
    assert len(server.requests) == limits.STREAM_IN_FLIGHT_MAX + 50


async def test_bytes_on_the_way_are_bounded(server: ScriptedServer) -> None:
    """Large payloads are held back, so that neither a message nor the answers to it grow too large for gRPC."""
    server.hold.clear()
    orders = ",".join(['{"symbol":"X","side":"BUY","type":"MARKET","quantity":"1"}'] * 64)
    large = payloads.binance(query=f"{TIME}&batchOrders=" + quote(f"[{orders}]", safe=""))
    fitting = limits.CLIENT_STREAM_BYTES_MAX // sum(map(len, large.parts))
    async with server.client() as client, client.stream() as stream:
        for _ in range(fitting + 20):
            await stream.submit("hmac", large)
        while not server.messages:
            await client.public_key("eth")
        assert sum(server.messages) <= fitting
        server.hold.set()
    assert sum(server.messages) == fitting + 20


async def test_deadline_of_an_item(server: ScriptedServer, time: Time) -> None:
    """An item without an answer ends with DeadlineExceeded and its request id, not with the stream."""
    server.hold.clear()
    async with server.client(time=time, deadline_s=0.2) as client, client.stream() as stream:
        with pytest.raises(sdk.DeadlineExceeded) as caught:
            await stream.sign("eth", payloads.raw_digest(DIGESTS[0]), request_id="order-1")
        assert caught.value.request_id == "order-1"
        server.hold.set()


async def test_same_id_twice(server: ScriptedServer) -> None:
    """A request id that is on its way cannot be submitted again: there would be two callers for one answer."""
    server.hold.clear()
    async with server.client() as client, client.stream() as stream:
        first = await stream.submit("eth", payloads.raw_digest(DIGESTS[0]), request_id="order-1")
        with pytest.raises(sdk.InvalidRequest):
            await stream.submit("eth", payloads.raw_digest(DIGESTS[1]), request_id="order-1")
        server.hold.set()
        await first
    assert sent(server) == ["order-1"]


async def test_leaving_with_an_exception(server: ScriptedServer) -> None:
    """When the block fails, what is not answered is cancelled, and its futures say so."""
    server.hold.clear()
    async with server.client() as client:
        stream = client.stream()
        await stream.__aenter__()
        future = await stream.submit("eth", payloads.raw_digest(DIGESTS[0]))
        await stream.__aexit__(KeyError, KeyError(), None)
        assert future.cancelled()
        with pytest.raises(RuntimeError):
            await stream.submit("eth", payloads.raw_digest(DIGESTS[1]))


async def test_stream_that_may_not_be_opened(server: ScriptedServer) -> None:
    """When the server will never take the stream, all requests, also later ones, end with that error."""
    server.refuse_streams = True
    async with server.client() as client, client.stream() as stream:
        with pytest.raises(sdk.Denied) as caught:
            await stream.sign("eth", payloads.raw_digest(DIGESTS[0]), request_id="order-1")
        assert caught.value.request_id == "order-1"
        with pytest.raises(sdk.Denied):
            await stream.submit("eth", payloads.raw_digest(DIGESTS[1]))
    assert server.requests == []


async def test_many_breaks(server: ScriptedServer, time: Time) -> None:
    """However often the call breaks, each request is signed for its caller, and no call is sent what was answered."""
    server.break_after.extend((3, 0, 1, 0, 4))
    server.script.extend((OVERLOADED, UNAVAILABLE))
    async with server.client(time=time, deadline_s=100) as client, client.stream() as stream:
        futures = [await stream.submit("p256", payloads.raw_digest(digest)) for digest in DIGESTS]
        signed = await asyncio.gather(*futures)
    assert [each.signing_input for each in signed] == DIGESTS
    assert len(server.requests) == len(DIGESTS) + 2
