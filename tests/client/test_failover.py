"""Single calls against several servers, over real mutual TLS."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keyvault import client as sdk
from keyvault.core.proposals import Outcome
from keyvault.v1 import governance_pb2
from tests.client.scripted import DENIED, OVERLOADED, UNAVAILABLE, Hang, ScriptedServer, Time, scripted
from tests.client.several import NOBODY_LEADS, Servers, client, client_of, deaf, leads, mute, refusing, three

DIGEST = b"d" * 32


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Servers]:
    """Three servers of this test's own."""
    async with three(tmp_path) as running:
        yield running


def counts(*servers: ScriptedServer) -> list[int]:
    """Return how often each was asked for a signature."""
    return [len(server.requests) for server in servers]


async def test_named_leader_is_asked_at_once(servers: Servers, time: Time) -> None:
    """A standby that names the leader costs one answer and no pause; from then on only the leader is asked."""
    first, second, third = servers
    first.standing_by = leads(third)
    async with client_of(*servers, time=time) as client:
        for _ in range(3):
            await client.sign_digest("eth", DIGEST)
    assert (counts(*servers), time.slept) == ([1, 0, 3], [])
    assert (second.requests, second.key_requests) == ([], [])


async def test_same_bytes_everywhere(servers: Servers, time: Time) -> None:
    """Two standbys that know nothing and a leader see one request id and the same bytes."""
    first, second, third = servers
    first.standing_by = second.standing_by = NOBODY_LEADS
    async with client_of(*servers, time=time) as client:
        signed = await client.sign_digest("eth", DIGEST)
    sent = {*first.requests, *second.requests, *third.requests}
    assert (counts(*servers), len(sent), time.slept) == ([1, 1, 1], 1, [])
    assert signed.request_id.encode() in sent.pop()


async def test_address_of_somebody_else_is_not_asked(servers: Servers, time: Time) -> None:
    """A standby that names a server which is not on the list sends nobody there, although it would answer."""
    first, second, stranger = servers
    first.standing_by = leads(stranger)
    async with client_of(first, second, time=time) as client:
        await client.sign_digest("eth", DIGEST)
    assert (counts(*servers), stranger.key_requests, time.slept) == ([1, 1, 0], [], [])


async def test_standby_that_names_itself(servers: Servers, time: Time) -> None:
    """It is not believed: the next one is asked."""
    first = servers[0]
    first.standing_by = leads(first)
    async with client_of(*servers, time=time) as client:
        await client.sign_digest("eth", DIGEST)
    assert (counts(*servers), time.slept) == ([1, 1, 0], [])


async def test_standbys_that_name_each_other(servers: Servers, time: Time) -> None:
    """They are asked once each between pauses that grow, until the deadline; the error says what each of them said."""
    first, second, _ = servers
    first.standing_by, second.standing_by = leads(second), leads(first)
    async with client_of(first, second, time=time, deadline_s=2.0) as client:
        with pytest.raises(sdk.NotLeader) as caught:
            await client.sign_digest("eth", DIGEST, request_id="order-1")
    assert time.slept == [0.15, 0.2, 0.3, 0.5, 0.6]
    assert counts(first, second) == [6, 6]
    assert (caught.value.request_id, caught.value.reason) == ("order-1", "NOT_LEADER")
    assert caught.value.__notes__ == [f"last heard: {first.address} NOT_LEADER, {second.address} NOT_LEADER"]


async def test_election_in_between(servers: Servers, time: Time) -> None:
    """While nobody leads the call waits; as soon as somebody does, it is done there, and nothing fails."""
    first, second, third = servers
    first.script.extend((UNAVAILABLE, leads(second), leads(second)))
    second.script.extend((NOBODY_LEADS, leads(first)))
    third.standing_by = NOBODY_LEADS
    async with client_of(*servers, time=time) as client:
        await client.sign_digest("eth", DIGEST)
    assert time.slept == [0.15, 0.2]
    assert counts(*servers) == [3, 3, 2]


async def test_no_is_final(servers: Servers, time: Time) -> None:
    """What the leader refuses is raised at once and asked of nobody else."""
    servers[0].script.append(DENIED)
    async with client_of(*servers, time=time) as client:
        with pytest.raises(sdk.Denied):
            await client.sign_digest("eth", DIGEST)
    assert (counts(*servers), time.slept) == ([1, 0, 0], [])


async def test_full_queue_is_waited_for(servers: Servers, time: Time) -> None:
    """A server whose queue is full leads: it is asked again when it says so, and nobody else."""
    servers[0].script.append(OVERLOADED)
    async with client_of(*servers, time=time) as client:
        await client.sign_digest("eth", DIGEST)
    assert (counts(*servers), time.slept) == ([2, 0, 0], [1.55])


async def test_lost_reply(servers: Servers, time: Time) -> None:
    """A server that hangs with the request is left after the attempt's deadline; the next gets the same bytes."""
    first, second, _ = servers
    first.script.append(Hang())
    async with client(first, first.address, second.address, time=time, attempt_deadline_s=2) as bot:
        await bot.sign_digest("eth", DIGEST)
    assert (first.requests, time.slept) == (second.requests, [])
    assert max(first.times_left + second.times_left) <= 2


async def test_attempts_are_short(servers: Servers) -> None:
    """Unless told otherwise, an attempt has a second where there are several servers, and three where there is one."""
    first, second, _ = servers
    for addresses in ((first.address, second.address), (first.address,)):
        async with sdk.AsyncClient(addresses, first.credentials, enclave="hot") as bot:
            await bot.sign_digest("eth", DIGEST)
    several, alone = first.times_left
    assert 0 < several <= 1 < alone <= 3


async def test_nobody_there(servers: Servers, time: Time) -> None:
    """A refused connection costs nothing but the attempt, wherever it stands in the list."""
    async with client(servers[0], refusing(), refusing(), servers[1].address, time=time) as bot:
        await bot.sign_digest("eth", DIGEST)
    assert (counts(*servers), time.slept) == ([0, 1, 0], [])


async def test_black_holes(servers: Servers, time: Time) -> None:
    """A host that takes the connection and is mute, and one that does not even take it, cost one attempt each, once."""
    async with mute() as silent:
        with deaf() as closed:
            async with client(servers[0], silent, closed, servers[1].address, time=time, attempt_deadline_s=2) as bot:
                begun = asyncio.get_running_loop().time()
                await bot.sign_digest("eth", DIGEST)
                first = asyncio.get_running_loop().time() - begun
                for _ in range(10):
                    await bot.sign_digest("eth", DIGEST)
                rest = asyncio.get_running_loop().time() - begun - first
    assert (counts(*servers), time.slept) == ([0, 11, 0], [])
    assert first >= 1
    assert rest < 10  # nobody asked a black hole again


async def test_certificate_of_another_authority(servers: Servers, tmp_path: Path, time: Time) -> None:
    """A server that is not who it should be gets no request; it counts as one that is not there."""
    (tmp_path / "elsewhere").mkdir()
    async with scripted(tmp_path / "elsewhere") as stranger:
        async with client(servers[0], stranger.address, servers[1].address, time=time) as bot:
            await bot.sign_digest("eth", DIGEST)
        assert (stranger.requests, counts(*servers), time.slept) == ([], [0, 1, 0], [])


async def test_leader_goes_away_in_a_burst(servers: Servers, time: Time) -> None:
    """Calls under way at a server that ends are done by the one that leads then; no caller sees a failure."""
    first, second, third = servers
    second.standing_by = third.standing_by = leads(first)
    first.script.extend([Hang()] * 50)
    async with client_of(*servers, time=time, deadline_s=1_000) as client:
        asking = [asyncio.create_task(client.sign_digest("eth", bytes((each,)) * 32)) for each in range(1, 51)]
        for _ in asking:
            await first.arrived.acquire()
        third.standing_by = None
        await first.stop()
        signed = await asyncio.gather(*asking)
    assert [each.signing_input for each in signed] == [bytes((each,)) * 32 for each in range(1, 51)]
    assert set(third.requests) == set(first.requests)
    assert len(third.requests) == 50


async def test_total_deadline(servers: Servers, time: Time) -> None:
    """However many servers there are, the call ends at its deadline, with the request id to ask again with."""
    first, second, third = servers
    first.standing_by, second.standing_by, third.standing_by = UNAVAILABLE, NOBODY_LEADS, UNAVAILABLE
    async with client_of(*servers, time=time, deadline_s=2.0) as client:
        with pytest.raises(sdk.Unavailable) as caught:
            await client.sign_digest("eth", DIGEST, request_id="order-1")
    assert caught.value.request_id == "order-1"
    assert 1_000 < time.now < 1_002
    assert sum(counts(*servers)) == 3 * (len(time.slept) + 1)


async def test_deadline_without_pauses(servers: Servers) -> None:
    """Black holes use up the deadline, not more: the last attempt is as short as what is left."""
    loop = asyncio.get_running_loop()
    timing = sdk.Timing(monotonic=loop.time)
    async with mute() as one, mute() as other:
        bot = sdk.AsyncClient(
            (one, other),
            servers[0].credentials,
            enclave="hot",
            deadline_s=0.5,
            attempt_deadline_s=0.2,
            timing=timing,
        )
        async with bot:
            begun = loop.time()
            with pytest.raises(sdk.DeadlineExceeded):
                await bot.sign_digest("eth", DIGEST)
    assert 0.35 < loop.time() - begun < 5


async def test_watch_goes_on_elsewhere(servers: Servers, time: Time) -> None:
    """A watch that breaks, hears nothing or is sent away goes on at the next server, and shows no state twice."""
    first, second, third = servers
    name = first.governance.proposal.name
    first.governance.script.extend((lambda _: None, UNAVAILABLE))

    def done(shown: governance_pb2.Proposal) -> None:
        shown.state = governance_pb2.Proposal.STATE_EXPIRED

    second.governance.script.extend((Hang(), lambda _: None, done))
    third.governance.script.extend((lambda _: None, leads(second)))
    async with mute() as silent:
        addresses = (first.address, silent, second.address, third.address)
        async with client(first, *addresses, time=time, attempt_deadline_s=2) as member:
            await member.get_proposal(name)
            seen = [each.outcome async for each in member.watch_proposal(name)]
    assert seen == [Outcome.OPEN, Outcome.EXPIRED]
    assert time.slept == []


def test_blocking_client(tmp_path: Path) -> None:
    """Blocking code takes several addresses, too, as a sequence or as text, and notices nothing of a failover."""

    async def serve_and_work() -> list[int]:
        async with three(tmp_path) as servers:
            servers[0].standing_by = leads(servers[2])
            await asyncio.to_thread(work, servers)
            return counts(*servers)

    def work(servers: Servers) -> None:
        addresses = [each.address for each in servers]
        for target in (addresses, ",".join(addresses)):
            with sdk.Client(target, servers[0].credentials, enclave="hot") as client:
                client.sign_digest("eth", DIGEST)

    assert asyncio.run(serve_and_work()) == [2, 0, 2]
