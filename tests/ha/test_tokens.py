"""Three nodes, a token each and no token a copy of another: keys come by the ledger, and one token may be lost."""

import hmac
import shutil
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from keyvault.client import PreconditionFailed
from keyvault.core.events import KeyProved, KeySealed, TokenJoined
from keyvault.core.keys import KeyAlgorithm
from keyvault.demo.nodes import Node, Nodes
from keyvault.demo.postgres import Cluster
from keyvault.ledger import codec
from keyvault.rpc.auth import PRINCIPAL_KEY
from keyvault.v1 import cluster_pb2, cluster_pb2_grpc, types_pb2
from tests.deployment import Deployment, run_keyvault
from tests.e2e import desk
from tests.ha.tokens import (
    SECRET,
    empty_nodes,
    join,
    node_id,
    offered,
    sign_with_every_key,
    standing,
    until,
    until_proved,
)
from tests.hsm.moving import flipped


async def test_the_first_token_may_be_lost(moving: Path, tmp_path: Path, spare: Cluster) -> None:
    """Keys from before and after the joins are in every token; without the first one the next leader signs with all."""
    with empty_nodes(tmp_path, moving, spare) as here:
        first, second, third = here.nodes
        assert await here.until_leading() is first
        for node in (second, third):
            await until(lambda node=node: _lacks(here, node, "has not joined"), "a token that is empty")  # type: ignore[misc]  # bound now
            assert (await standing(here, node))[0], "it has no keys and could lead"
        for node in here.nodes:
            join(here, node)
        await until_proved(here, here.nodes)
        async with here.client("admin-alice") as admin:
            for name in ("signer", "eth", "ed"):
                desk.assert_done(await admin.rotate_key(name, **_two(first)))
            desk.assert_done(await admin.rotate_key("hmac", secret=SECRET, **_two(first)))
        found = await until_proved(here, here.nodes)
        assert {name for name, key in found.items() if not key.on_every_token} == set()
        for node in (second, third):
            await until(lambda node=node: _could_lead(here, node), "a node that could lead")  # type: ignore[misc]  # bound now
        first.kill()
        shutil.rmtree(first.folder / "token")
        leader = await here.until_leading(lambda node: node is not first)
        async with here.client("bot-demo", second, third) as bot:
            await sign_with_every_key(bot, "after")
            query = desk.order()
            signed = await bot.sign_binance("hmac", query=query, request_id="mac")
            sent = signed.signing_input
            assert hmac.compare_digest(hmac.digest(SECRET, sent, "sha256"), signed.signature)
        async with here.client("admin-alice", second, third) as admin:
            desk.assert_done(await admin.import_hmac_key("late", desk.SECRET, **_two(first)))
            desk.assert_done(await admin.create_key("later", (await admin.get_key("eth")).algorithm, **_two(first)))
        assert leader in (second, third)
        events = here.audited(tmp_path)
        assert sum(isinstance(event, TokenJoined) for event in events) == 3
        assert any(isinstance(event, KeyProved) for event in events)


async def test_a_lost_token_is_replaced_from_the_ledger(moving: Path, tmp_path: Path, spare: Cluster) -> None:
    """A node gets a new, empty token; the old proofs count for nothing, and after another join it has all again."""
    with empty_nodes(tmp_path, moving, spare, count=2) as here:
        first, second = here.nodes
        await here.until_leading()
        for node in here.nodes:
            join(here, node)
        await until_proved(here, here.nodes)
        second.kill()
        shutil.rmtree(second.folder / "token")
        made = run_keyvault("token", "create", str(second.folder / "token"), "--label", "hot")
        assert made.returncode == 0, made.stderr
        second.start()
        # The ledger says still that it holds every key. It cannot lead: that takes signatures, not claims.
        await until(lambda: _lacks(here, second, "OBJECT_NOT_FOUND"), "the new token holds nothing")
        assert "keyvault-log-key" in (await standing(here, second))[0]
        first.kill()
        assert here.leader() is not second
        first.start()
        await here.until_leading(lambda node: node is first)
        await until(lambda: _serves(here, first), "the first node serves")
        join(here, second)
        await until_proved(here, here.nodes)
        await until(lambda: _could_lead(here, second), "the new token has everything")


async def test_a_key_that_cannot_move_is_named(moving: Path, tmp_path: Path, spare: Cluster) -> None:
    """It keeps the other node from leading, and that one says which key it is, and why; disabled it does not."""
    with empty_nodes(tmp_path, moving, spare, count=2) as here:
        first, second = here.nodes
        await here.until_leading()
        join(here, second)
        await until(lambda: _could_lead(here, second), "it has everything")
        async with here.client("admin-alice", first) as admin:
            desk.assert_done(await admin.create_key("lone", KeyAlgorithm.ED25519, **_two(first)))
            lone = "key lone version 1"
            await until(lambda: _lacks(here, second, f"does not sign with {lone}: OBJECT_NOT_FOUND"), "the key's name")
            words = f"{lone}: it cannot leave the token that made it, and while it is active only that one's node"
            await until(lambda: _lacks(here, second, words), "why")
            desk.assert_done(await admin.disable_key("lone", signer=_two(first)["signer"]))
        await until(lambda: _would_lead(here, second), "it is disabled")


async def test_a_node_is_killed_while_it_installs(moving: Path, tmp_path: Path, spare: Cluster) -> None:
    """Killed again and again in the middle, it has everything in the end, and every key once."""
    with empty_nodes(tmp_path, moving, spare, count=2) as here:
        _, second = here.nodes
        await here.until_leading()
        join(here, second)
        for _ in range(4):
            await until(lambda: _serves(here, second), "it serves")
            second.kill()
            second.start()
        await until_proved(here, [second])
        await until(lambda: _could_lead(here, second), "it has everything")


async def test_what_a_node_may_report(moving: Path, tmp_path: Path, spare: Cluster) -> None:
    """About itself, once it has joined, what its token signed: another node's proof and a made-up one are refused."""
    with empty_nodes(tmp_path, moving, spare, count=2) as here:
        first, second = here.nodes
        await here.until_leading()
        made_up = types_pb2.Signature(value=b"s" * 64)
        assert await _reported(here, second, made_up) is grpc.StatusCode.FAILED_PRECONDITION
        join(here, second)
        await until_proved(here, [second])
        proved = next(event for event in here.audited(tmp_path) if isinstance(event, KeyProved) and event.key == "ed")
        stolen = types_pb2.Signature(value=proved.signature.value)
        assert await _reported(here, first, stolen) is grpc.StatusCode.FAILED_PRECONDITION
        assert await _reported(here, second, stolen) is grpc.StatusCode.OK  # it is known already
        assert await _reported(here, second, stolen, claims=node_id(here, first)) is grpc.StatusCode.UNAUTHENTICATED
        assert await _reported(here, second, stolen, certificate="bot-demo") is grpc.StatusCode.PERMISSION_DENIED


async def test_members_join_the_key_that_they_compared(moving: Path, tmp_path: Path, spare: Cluster) -> None:
    """One approval short nothing is exported; `approve` shows the fingerprint that `offer` printed on the node."""
    with empty_nodes(tmp_path, moving, spare, count=2) as here:
        first, second = here.nodes
        await here.until_leading()
        pem = offered(second)
        options = ("--deployment", str(first.folder), "--target", first.address)
        asked = ("token", "join", node_id(here, second), "--transport-key", str(pem), "--reason", "r", *options)
        proposed = run_keyvault(*asked, "--member", "alice")
        assert proposed.returncode == 0, proposed.stderr
        assert "POWER TO OPEN EVERY KEY" in proposed.stdout
        name = proposed.stdout.split("keyvault approve ")[1].split()[0]
        async with here.client("admin-alice", first) as admin:
            assert (await admin.get_enclave()).joined_nodes == ()
        fingerprint = run_keyvault("token", "offer", "--config", str(second.config)).stdout.splitlines()[1].strip()
        approved = run_keyvault("approve", name, "--yes", *options, "--member", "bob")
        assert approved.returncode == 0, approved.stderr
        assert fingerprint in approved.stderr
        async with here.client("admin-alice", first) as admin:
            assert (await admin.get_enclave()).joined_nodes == (node_id(here, second),)
            with pytest.raises(PreconditionFailed):
                await admin.join_token(node_id(here, second), b"no key", reason="r", **_two(first))


async def test_a_blob_that_was_edited_in_the_database_is_found(moving: Path, tmp_path: Path, spare: Cluster) -> None:
    """A node that reads the edited entry for the first time takes nothing more, and never leads."""
    with empty_nodes(tmp_path, moving, spare, count=2) as here:
        first, second = here.nodes
        await here.until_leading()
        second.kill()
        for file in second.folder.glob("ledger.db*"):
            file.unlink()
        _edit_a_blob(here)
        second.start()
        await until(lambda: _refuses(second), "the edited entry is found")
        async with here.client("bot-demo", first) as bot:
            await sign_with_every_key(bot, "goes-on")


def _edit_a_blob(here: Nodes) -> None:
    """Put another blob into the first entry that seals a key, as only an administrator of the database can."""
    primary = here.postgres.primary
    rows = primary.execute("SELECT idx, body FROM keyvault.entry ORDER BY idx", database=here.database)
    bodies = ((index, bytes(body)) for index, body in rows if isinstance(body, bytes))
    found = ((index, codec.decode(body)) for index, body in bodies)
    index, event = next((index, event) for index, event in found if isinstance(event, KeySealed))
    edited = codec.encode(replace(event, blob=flipped(event.blob, 0)))
    primary.execute("ALTER TABLE keyvault.entry DISABLE TRIGGER USER", database=here.database)
    primary.execute("UPDATE keyvault.entry SET body = %s WHERE idx = %s", edited, index, database=here.database)
    primary.execute("ALTER TABLE keyvault.entry ENABLE TRIGGER USER", database=here.database)


def _two(node: Node) -> desk.Both:
    """Return who asks and who approves."""
    return desk.two(Deployment(dir=node.folder))


async def _refuses(node: Node) -> bool:
    return not node.running or "in quarantine" in node.log.read_text()


async def _lacks(here: Nodes, node: Node, words: str) -> bool:
    try:
        return any(words in each for each in await standing(here, node))
    except Exception:  # noqa: BLE001  it does not serve yet
        return False


async def _serves(here: Nodes, node: Node) -> bool:
    return await _lacks(here, node, "")


async def _could_lead(here: Nodes, node: Node) -> bool:
    try:
        return await standing(here, node) == ("", "")
    except Exception:  # noqa: BLE001  as above
        return False


async def _would_lead(here: Nodes, node: Node) -> bool:
    return not (await standing(here, node))[0]


async def _reported(
    here: Nodes, node: Node, proof: types_pb2.Signature, *, claims: str = "", certificate: str = ""
) -> grpc.StatusCode:
    """Return what the leader says to a report about key ed by this node."""
    leader = await here.until_leading()
    credentials = desk.credentials(Deployment(dir=node.folder), certificate or f"node-{node.name}")
    request = cluster_pb2.ReportKeysRequest(
        parent="enclaves/hot",
        proofs=[cluster_pb2.KeyProof(name="enclaves/hot/keys/ed/versions/1", signature=proof)],
    )
    async with grpc.aio.secure_channel(leader.address, credentials.for_channel()) as channel:
        stub: cluster_pb2_grpc.ClusterServiceAsyncStub = cluster_pb2_grpc.ClusterServiceStub(channel)
        try:
            await stub.ReportKeys(request, metadata=((PRINCIPAL_KEY, claims),) if claims else ())
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK
