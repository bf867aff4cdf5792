"""Pairs as processes over mutual TLS: a machine dies under load, and members let the other one go on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from keyvault.cli.pki import issue
from keyvault.client import KeyvaultRpcError
from keyvault.core.events import PairSet, SignatureIssued
from keyvault.demo.bot import signed_more, signing, until
from keyvault.demo.history import Load, check_history
from keyvault.v1 import pair_pb2, pair_pb2_grpc
from tests.ha.pairs import Servers


@pytest.fixture
async def servers(tmp_path: Path, prepared: Path) -> AsyncIterator[Servers]:
    """Give two servers that run; the first leads, and the second must confirm."""
    made = Servers(tmp_path, prepared)
    try:
        await made.start()
        await made.pair_up()
        yield made
    finally:
        made.close()


async def test_a_killed_leader_is_replaced_by_members_word_and_nothing_is_lost(servers: Servers) -> None:
    """Kill -9 under load: the bot waits while members name the follower, and then has all its answers, each once."""
    first, second = servers.first, servers.second
    load = Load()
    async with servers.client() as client, signing(client, "signer", load, "bot", in_flight=4):
        await signed_more(load, 50)
        first.kill()
        assert second.stop() == 0
        await servers.stand(second)
        before = len(load.signings)
        await servers.name(second, second)
        await signed_more(load, 50)
    assert load.errors == []
    assert len(load.signings) > before
    assert second.stop() == 0
    events = servers.audited(second)
    check_history(load, events)
    assert [event.leader for event in events if isinstance(event, PairSet)] == [first.principal, second.principal]


async def test_the_old_leader_comes_back_as_a_follower(servers: Servers) -> None:
    """It leads nothing, takes what it missed, and confirms again once members named it."""
    first, second = servers.first, servers.second
    async with servers.client() as client:
        await client.sign_digest("signer", bytes(32), request_id="before")
    assert first.stop() == 0
    assert second.stop() == 0
    await servers.stand(second)
    await servers.name(second, second)
    led = len(first.said("leading"))
    first.start()
    async with servers.client("bot-demo", second) as client:
        await client.sign_digest("signer", bytes(32), request_id="after")
    await servers.name(second, second, first)
    async with servers.client("bot-demo", first) as client:  # passed on to the leader
        again = await client.sign_digest("signer", bytes(32), request_id="after")
    assert again.signature
    assert len(first.said("leading")) == led
    assert first.stop() == 0
    ids = [event.request.request_id for event in servers.audited(first) if isinstance(event, SignatureIssued)]
    assert ids == ["before", "after"]


async def test_without_its_follower_a_leader_gives_nothing_out(servers: Servers) -> None:
    """The follower hangs, or is gone: no signature comes, until it is back."""
    first, second = servers.first, servers.second
    second.pause()
    async with servers.client("bot-demo", first, deadline_s=4) as client:
        with pytest.raises(KeyvaultRpcError):
            await client.sign_digest("signer", bytes(32), request_id="waits")
    second.resume()
    async with servers.client("bot-demo", first) as client:
        signed = await client.sign_digest("signer", bytes(32), request_id="waits")
    first.stop()
    second.stop()
    for node in (first, second):
        found = [event for event in servers.audited(node) if isinstance(event, SignatureIssued)]
        assert [event.signature.value for event in found] == [signed.signature]


async def test_members_move_the_lead_under_load_and_no_call_fails(servers: Servers) -> None:
    """For maintenance: the follower leads, the leader follows, and the SDK does not notice."""
    first, second = servers.first, servers.second
    load = Load()
    async with servers.client() as client, signing(client, "signer", load, "bot", in_flight=4):
        await signed_more(load, 50)
        await servers.name(first, second, first)
        await until(lambda: bool(second.said("leading")))
        await signed_more(load, 50)
    assert load.errors == []
    second.stop()
    check_history(load, servers.audited(second))


async def test_a_stranger_speaks_to_no_node_of_a_pair(servers: Servers) -> None:
    """A bot, an admin, a node that the configuration does not name, and one that speaks for another get nowhere."""
    first, second = servers.first, servers.second
    issue(first.folder / "ca", "node", "kv-x", first.folder / "certs")
    look = pair_pb2.LookRequest(parent="enclaves/hot")
    for name, said in (
        ("bot-demo", "needs role node"),
        ("admin-alice", "needs role node"),
        ("node-kv-x", "is no peer of this node"),
    ):
        async with peer_stub(servers, name) as stub:
            with pytest.raises(grpc.aio.AioRpcError, match=said):
                await stub.Look(look)
    async with peer_stub(servers, "node-kv-b", folder=second.folder) as stub:
        assert (await stub.Look(look)).head.size == await servers.position(first)
        with pytest.raises(grpc.aio.AioRpcError, match="keyvault-principal"):
            await stub.Look(look, metadata=(("keyvault-principal", second.principal),))
        with pytest.raises(grpc.aio.AioRpcError, match="this node is of enclave hot"):
            await stub.Look(pair_pb2.LookRequest(parent="enclaves/cold"))
        pushed = pair_pb2.PushRequest(parent="enclaves/hot", expected=pair_pb2.LedgerHead(size=1, root=bytes(32)))
        assert "has" in (await stub.Push(pushed)).refusal
        pushed.entries.extend([pair_pb2.LedgerEntry(body=b"x")] * 257)
        with pytest.raises(grpc.aio.AioRpcError, match="at most 256"):
            await stub.Push(pushed)


@asynccontextmanager
async def peer_stub(
    servers: Servers, name: str, *, folder: Path | None = None
) -> AsyncIterator["pair_pb2_grpc.PairServiceAsyncStub"]:
    """Give the first server's service for its peers, called with this certificate."""
    certs = (folder or servers.first.folder) / "certs"
    credentials = grpc.ssl_channel_credentials(
        root_certificates=(servers.first.folder / "ca" / "ca.crt").read_bytes(),
        private_key=(certs / f"{name}.key").read_bytes(),
        certificate_chain=(certs / f"{name}.crt").read_bytes(),
    )
    async with grpc.aio.secure_channel(servers.first.address, credentials) as channel:
        yield pair_pb2_grpc.PairServiceStub(channel)
