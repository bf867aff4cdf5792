"""Nodes that follow: what they pass on, what they answer themselves, and how an operator moves the lead."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from keyvault.cli.pki import issue
from keyvault.client import AsyncClient, Credentials, payloads
from keyvault.core.intent import Payload
from keyvault.core.keys import KeyAlgorithm, KeyState
from keyvault.core.positions import MIN_POSITION_KEY, POSITION_KEY
from keyvault.demo.nodes import Node, Nodes
from keyvault.demo.postgres import Cluster
from keyvault.ledger.cosignature import cosigned_at, parse_cosigner
from keyvault.ledger.errors import Unproven
from keyvault.rpc.auth import PRINCIPAL_KEY
from keyvault.rpc.forward import FORWARDED
from keyvault.v1 import audit_pb2, cluster_pb2, governance_pb2, keys_pb2, signing_pb2
from tests.deployment import Deployment, run_keyvault
from tests.e2e import desk


@pytest.fixture(scope="module")
def here(prepared: Path, tmp_path_factory: pytest.TempPathFactory, spare: Cluster) -> Iterator[Nodes]:
    """Three nodes that all tests of this module share; they may move the lead, and stop none."""
    spare.create_database("nodes")
    made = Nodes(tmp_path_factory.mktemp("nodes"), prepared, spare, database="nodes")
    try:
        made.start()
        yield made
    finally:
        made.close()


async def _follower(here: Nodes) -> Node:
    leader = await here.until_leading()
    return next(node for node in here.nodes if node is not leader)


async def test_a_follower_passes_on_what_needs_the_leader(here: Nodes) -> None:
    """A bot that knows a follower only gets its signature, alone and in a stream, under its own name."""
    follower = await _follower(here)
    async with here.client("bot-demo", follower) as bot:
        signed = await bot.sign_digest("signer", b"d" * 32, request_id="through-1")
        again = await bot.sign_digest("signer", b"d" * 32, request_id="through-1")
        assert (again.signature, again.ledger_index) == (signed.signature, signed.ledger_index)
        async with bot.stream() as stream:
            streamed = [await stream.submit("signer", _digest(number)) for number in range(20)]
            indexes = [(await each).ledger_index for each in streamed]
        assert len(set(indexes)) == 20
    async with here.client("admin-alice", await here.until_leading()) as admin:
        entries = [entry async for entry in admin.entries(start=signed.ledger_index)]
        assert b"spiffe://keyvault.local/bot/demo" in entries[0].body


def _digest(number: int) -> Payload:
    return payloads.raw_digest(bytes([number]) * 32)


async def test_a_follower_refuses_as_the_leader_does(here: Nodes) -> None:
    """A refusal that is passed on has the same status and reason as one from the leader itself."""
    leader = await here.until_leading()
    follower = await _follower(here)
    seen = []
    for node in (leader, follower):
        async with here.client("bot-demo", node) as bot:
            outcome: desk.Answer | grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
            while outcome is grpc.StatusCode.UNAVAILABLE:  # on a busy machine the lead may move meanwhile
                outcome = await desk.ask(bot.transport.endpoints[0].signing, desk.digest_request("refused-1", "eth"))
            assert isinstance(outcome, desk.Answer)
            seen.append(outcome)
    assert seen[0].refusal
    assert seen[0] == seen[1]


@pytest.mark.parametrize("name", ["bot-demo", "admin-alice", "auditor-demo"])
async def test_nobody_but_a_node_says_for_whom_it_calls(here: Nodes, name: str) -> None:
    """A bot that claims to pass a call on is turned away, by leader and follower, whatever it claims."""
    for node in here.nodes:
        async with here.client(name, node) as client:
            stub = client.transport.endpoints[0].keys
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.GetEnclave(
                    keys_pb2.GetEnclaveRequest(name="enclaves/hot"),
                    metadata=((PRINCIPAL_KEY, "spiffe://keyvault.local/admin/alice"),),
                    wait_for_ready=True,  # it may have only just been started
                    timeout=30,
                )
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_only_a_configured_node_says_for_whom_it_calls(here: Nodes, tmp_path: Path) -> None:
    """Calls that nodes do pass on are turned away, too, by leader and follower, if no node of [postgres] brings them.

    The role ``node`` is not enough: a certificate of that role that no configuration names is a stranger's.
    """
    authority = here.nodes[0].folder / "ca"
    issue(authority, "node", "stranger", tmp_path)
    certificate = tmp_path / "node-stranger.crt"
    stranger = Credentials.from_files(authority / "ca.crt", certificate, certificate.with_suffix(".key"))
    for credentials in (here.credentials("bot-demo"), here.credentials("admin-alice"), stranger):
        for node in here.nodes:
            async with grpc.aio.secure_channel(node.address, credentials.for_channel()) as channel:
                for method in sorted(FORWARDED):
                    code, words = await _as_somebody_else(channel, method)
                    assert (method, code) == (method, grpc.StatusCode.UNAUTHENTICATED), words
                    assert "is for calls that one of the enclave's nodes passes on" in words


async def _as_somebody_else(channel: grpc.aio.Channel, method: str) -> tuple[grpc.StatusCode, str]:
    """Return what becomes of a call for a bot."""
    metadata = ((PRINCIPAL_KEY, "spiffe://keyvault.local/bot/demo"),)
    made: grpc.aio.UnaryUnaryCall[bytes, bytes] | grpc.aio.StreamStreamCall[bytes, bytes]
    if method.endswith("/SignStream"):
        streamed: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(method)
        made = streamed(metadata=metadata, wait_for_ready=True, timeout=30)
    else:
        single: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        made = single(b"", metadata=metadata, wait_for_ready=True, timeout=30)  # it may have only just been started
    return await made.code(), await made.details() or ""


async def test_a_node_speaks_for_others_only_in_calls_that_are_passed_on(here: Nodes) -> None:
    """A standby that lies cannot be an admin who ends the leader's term, one who reads, or a node that reports keys."""
    leader, follower = await here.until_leading(), await _follower(here)
    credentials = desk.credentials(Deployment(dir=follower.folder), f"node-{follower.name}")
    metadata = ((PRINCIPAL_KEY, "spiffe://keyvault.local/admin/alice"),)
    others = [method for method in _methods() if method not in FORWARDED]
    assert {method.rpartition("/")[2] for method in others} >= {"GetEnclave", "StepDown", "ReportKeys", "GetCheckpoint"}
    async with grpc.aio.secure_channel(leader.address, credentials.for_channel()) as channel:
        for method in others:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
            with pytest.raises(grpc.aio.AioRpcError, match="no node passes this call on") as refused:
                await call(b"", metadata=metadata)
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert await here.until_leading() == leader


def _methods() -> list[str]:
    """Return every method that we serve, as it is called."""
    files = (audit_pb2, cluster_pb2, governance_pb2, keys_pb2, signing_pb2)
    services = [service for file in files for service in file.DESCRIPTOR.services_by_name.values()]
    return [f"/{service.full_name}/{method.name}" for service in services for method in service.methods]


async def test_a_follower_answers_reads_from_its_copy(here: Nodes) -> None:
    """Keys, policy and proofs come from the follower, and verify under the log's key."""
    follower = await _follower(here)
    async with here.client("admin-alice", follower) as admin:
        assert (await admin.get_node()).leads is False
        assert len(await admin.list_keys()) == 5
        proof = await admin.inclusion_proof(1)
        assert proof.index == 1
        assert (await admin.get_enclave()).ledger_size > 1


async def test_a_follower_cosigns_what_it_compared(here: Nodes) -> None:
    """A follower's checkpoint has its cosignature beside the log's, under the key that it names; no leader's has."""
    follower = await _follower(here)
    async with here.client("admin-alice", follower) as admin:
        vkey = await _cosigner(admin)
        note = (await admin.checkpoint()).note
        assert abs(cosigned_at(note, parse_cosigner(vkey)) - time.time()) < 3_600
    async with here.client("admin-alice", await here.until_leading()) as admin:
        with pytest.raises(Unproven):
            cosigned_at((await admin.checkpoint()).note, parse_cosigner(vkey))


async def _cosigner(admin: AsyncClient) -> str:
    async with asyncio.timeout(30):
        while True:
            vkey = (await admin.get_node()).cosigner_vkey
            if vkey:
                return vkey
            await asyncio.sleep(0.05)


async def test_what_a_client_has_seen_is_there_to_read(here: Nodes) -> None:
    """After a signature its entry is read at once, from whichever node: one that is behind waits until it has it."""
    leader, follower = await here.until_leading(), await _follower(here)
    async with here.client("admin-alice", leader, follower) as admin, here.client("bot-demo", leader) as bot:
        for number in range(5):
            signed = await bot.sign_digest("signer", bytes([number]) * 32, request_id=f"seen-{number}")
            admin.transport.saw(signed.ledger_index + 1)
            admin.transport.ask_first(follower.address)
            assert (await admin.get_enclave()).ledger_size > signed.ledger_index


async def test_a_change_through_a_follower_is_there_to_read_at_once(
    prepared: Path, tmp_path: Path, spare: Cluster
) -> None:
    """Who creates or rotates a key through a follower, and knows no other address, reads it there the next moment.

    The answer of a call that is passed on says how far the leader was, and the follower may be behind that: three keys,
    because a follower that happens to be fast hides it. Nodes of their own: the keys are in the leader's token only.
    """
    spare.create_database("changes")
    two = Nodes(tmp_path, prepared, spare, count=2, database="changes")
    try:
        two.start()
        follower = await _follower(two)
        both = desk.two(Deployment(dir=follower.folder))
        async with two.client("admin-alice", follower) as admin:
            for number in range(3):
                key = f"through-{number}"
                desk.assert_done(await admin.create_key(key, KeyAlgorithm.P256, **both))
                assert (await admin.get_key(f"{key}/versions/1")).state is KeyState.ACTIVE
                desk.assert_done(await admin.rotate_key(key, **both))
                assert (await admin.get_key(f"{key}/versions/2")).state is KeyState.ACTIVE
    finally:
        two.close()


async def test_positions_go_through_a_follower_both_ways(here: Nodes) -> None:
    """An answer through a follower has one position, and a position that is asked for through it is not forgotten."""
    leader, follower = await here.until_leading(), await _follower(here)
    async with here.client("bot-demo", follower) as bot:
        request = signing_pb2.GetQuotaRequest(key="enclaves/hot/keys/signer")
        stub = bot.transport.endpoints[0].signing
        call = stub.GetQuota(request, wait_for_ready=True, timeout=30)
        await call
        said = [value for key, value in await call.trailing_metadata() or () if key == POSITION_KEY]
        with pytest.raises(grpc.aio.AioRpcError, match="999999999 are asked for") as refused:
            await stub.GetQuota(request, metadata=((MIN_POSITION_KEY, "999999999"),), timeout=30)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    async with here.client("admin-alice", leader) as admin:
        assert len(said) == 1
        assert int(said[0]) <= (await admin.get_enclave()).ledger_size


async def test_a_position_that_is_not_reached_is_unavailable(here: Nodes) -> None:
    """A node that does not have so many entries says so after a while; what is no number is refused at once."""
    follower = await _follower(here)
    async with here.client("admin-alice", follower) as admin:
        stub = admin.transport.endpoints[0].keys
        for position, code in (("999999999", grpc.StatusCode.UNAVAILABLE), ("-1", grpc.StatusCode.INVALID_ARGUMENT)):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.GetEnclave(
                    keys_pb2.GetEnclaveRequest(name="enclaves/hot"),
                    metadata=((MIN_POSITION_KEY, position),),
                    wait_for_ready=True,
                    timeout=30,
                )
            assert refused.value.code() is code


async def test_the_lead_moves_when_an_operator_says_so(here: Nodes) -> None:
    """step-down moves the lead to another node; drain keeps one away until it is let back."""
    leader = await here.until_leading()
    assert _cluster(here, "step-down", here.nodes)["stepped_down"] == leader.address
    other = await here.until_leading(lambda node: node is not leader)
    drained = _cluster(here, "drain", [other])
    assert (drained["drained"], drained["leads"], drained["obstacle"]) == (True, False, "it is drained")
    await here.until_leading(lambda node: node is not other)
    status = _cluster(here, "status", here.nodes)["nodes"]
    assert sorted(each["leads"] for each in status) == [False, False, True]
    assert not _cluster(here, "drain", [other], "--off")["drained"]
    async with here.client() as bot:
        await _sign(bot, "after-moves")


async def _sign(bot: AsyncClient, request_id: str) -> None:
    await bot.sign_digest("signer", b"e" * 32, request_id=request_id)


def _cluster(here: Nodes, verb: str, asked: list[Node], *options: str) -> dict[str, Any]:
    target = ",".join(node.address for node in asked)
    desk_of_alice = ("--deployment", str(here.nodes[0].folder), "--as", "admin/alice")
    done = run_keyvault("cluster", verb, *options, *desk_of_alice, "--target", target, "--json")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


async def test_whoever_moves_the_lead_is_named(here: Nodes) -> None:
    """The log of the node says whose certificate it was, and from where; so does the status while it stays away."""
    leader = await here.until_leading()
    said = {line: len(leader.said(line)) for line in ("asked to step down", "asked to drain", "asked to lead again")}
    _cluster(here, "step-down", [leader])
    await here.until_leading(lambda node: node is not leader)
    assert _cluster(here, "drain", [leader])["drained_by"] == "spiffe://keyvault.local/admin/alice"
    desk_of_alice = ("--deployment", str(here.nodes[0].folder), "--as", "admin/alice", "--target", leader.address)
    shown = run_keyvault("cluster", "status", *desk_of_alice)
    assert "it is drained; drained by spiffe://keyvault.local/admin/alice" in shown.stdout
    assert _cluster(here, "drain", [leader], "--off")["drained_by"] == ""
    for line, before in said.items():
        lines = leader.said(line)[before:]
        assert [each["by"] for each in lines] == ["spiffe://keyvault.local/admin/alice"], line
        assert "127.0.0.1" in str(lines[0]["peer"])


async def test_a_node_that_is_alone_hands_over_to_nobody(prepared: Path, tmp_path: Path, spare: Cluster) -> None:
    """A drained node without others says so at once, signs nothing, and leads again when it is let back."""
    spare.create_database("alone")
    alone = Nodes(tmp_path, prepared, spare, count=1, database="alone")
    try:
        alone.start()
        await alone.until_leading()
        async with alone.client("admin-alice", deadline_s=20) as admin, alone.client("bot-demo", deadline_s=30) as bot:
            drained = await admin.set_drained(drained=True)
            assert (drained.leads, drained.obstacle) == (False, "it is drained")
            await admin.set_drained(drained=False)
            await _sign(bot, "alone-again")
    finally:
        alone.close()
