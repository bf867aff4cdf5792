"""Disaster recovery with everything real: server processes, SoftHSM tokens, SQLite files, and copies of them."""

import asyncio
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from keyvault.client import AsyncClient, LimitExceeded, PreconditionFailed
from keyvault.core.approvals import Voice
from keyvault.core.events import IncarnationStarted, SignatureIssued
from keyvault.core.proposals import Outcome
from keyvault.core.statements import Action
from keyvault.hsm.config import find_module, package_root
from keyvault.ledger.archive import audit, read_note
from keyvault.rpc.server import SIGNING
from tests.deployment import Deployment, run_keyvault, served
from tests.e2e import desk
from tests.intents.building import dynamic_fee

SIGNED = 5


def checkpoint_file(deployment: Deployment) -> Path:
    return deployment.dir / "ledger.db.checkpoint"


def inspect(deployment: Deployment, word: str) -> str:
    """Do something to the token as somebody with the PIN does."""
    token = deployment.dir / "token"
    script = Path(__file__).parents[1] / "hsm" / "inspect_token.py"
    done = subprocess.run(
        (sys.executable, str(script), str(find_module()), "hot", str(token / "user.pin"), word),
        env={"SOFTHSM2_CONF": str(token / "softhsm2.conf"), "PYTHONPATH": package_root()},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


async def sign(client: AsyncClient, name: str) -> int:
    digest = hashlib.sha256(name.encode()).digest()
    return (await client.sign_digest("signer", digest, request_id=name)).ledger_index


async def lose(deployment: Deployment, forget: Callable[[Deployment], None]) -> Path:
    """Sign, take a copy of the ledger, sign more, and put the copy back; return the checkpoint of the lost ledger."""
    with served(deployment):
        async with desk.bot(deployment) as bot:
            await sign(bot, "kept")
    older = deployment.dir / "older.db"
    shutil.copyfile(deployment.ledger, older)
    with served(deployment):
        async with desk.bot(deployment) as bot:
            for number in range(SIGNED):
                await sign(bot, f"lost-{number}")
    kept = shutil.copyfile(checkpoint_file(deployment), deployment.dir / "kept.checkpoint")
    deployment.ledger.unlink()
    shutil.copyfile(older, deployment.ledger)
    forget(deployment)
    return kept


def nothing(_deployment: Deployment) -> None:
    """Token and file remember."""


def the_file(deployment: Deployment) -> None:
    checkpoint_file(deployment).unlink()


def the_token(deployment: Deployment) -> None:
    assert "keyvault/anchor/v1" in inspect(deployment, "forget-anchor")


def both(deployment: Deployment) -> None:
    the_file(deployment)
    the_token(deployment)


async def health(deployment: Deployment, service: str) -> int:
    """Return what grpc.health.v1 says of a service."""
    target = f"127.0.0.1:{deployment.port}"
    async with grpc.aio.secure_channel(target, desk.credentials(deployment, "bot-demo").for_channel()) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))  # type: ignore[attr-defined]  # set late
    return int(answer.status)


SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize("forget", [nothing, the_file, the_token])
async def test_a_restored_older_ledger_does_not_sign(own: Deployment, forget: Callable[[Deployment], None]) -> None:
    """Nor after a restart. The token's anchor alone is enough, and so is the file alone; health and bots are told."""
    await lose(own, forget)
    for _ in range(2):
        with served(own):
            async with desk.bot(own) as bot, desk.admin(own) as admin:
                for name in ("new", "lost-0", "kept"):
                    with pytest.raises(PreconditionFailed, match="keyvault quarantine leave") as refused:
                        await sign(bot, name)
                    assert refused.value.reason == "QUARANTINED"
                assert (await admin.get_enclave()).quarantine is not None
                assert (await admin.get_key("signer")).public_key
                assert [each.index async for each in admin.entries(0)][:2] == [0, 1]
            assert await health(own, SIGNING) == NOT_SERVING
            assert await health(own, "") == SERVING
    assert '"quarantine"' in own.log.read_text()
    facts = desk.audited(own)
    assert [each.request.request_id for each in facts if isinstance(each, SignatureIssued)] == ["kept"]


async def test_whoever_deletes_both_is_not_found_here(own: Deployment) -> None:
    """Token and file made to forget: it signs, and only a checkpoint that was kept elsewhere tells."""
    kept = await lose(own, both)
    with served(own):
        async with desk.bot(own) as bot:
            await sign(bot, "lost-0")
    assert audit(own.ledger, log_vkey=own.log_vkey).ok
    report = audit(own.ledger, log_vkey=own.log_vkey, kept=read_note(kept))
    assert ["the checkpoint that you kept" in each.sentence for each in report.problems] == [True]


async def test_members_let_it_go_on(own: Deployment) -> None:
    """Too few approvals do nothing; then it signs, limits are full, approvals void, and the audit verifies it all."""
    kept = await lose(own, nothing)
    with served(own):
        arguments = ("--deployment", str(own.dir), "--target", f"127.0.0.1:{own.port}")
        shown = run_keyvault("quarantine", "show", *arguments)
        assert "an older copy was put back" in shown.stdout, shown.stderr
        left = run_keyvault("quarantine", "leave", "--reason", "the disk is gone", "--member", "alice", *arguments)
        assert left.returncode == 0, left.stderr
        async with desk.bot(own) as bot, desk.admin(own) as admin:
            (proposal,) = await admin.list_proposals()
            assert proposal.said.action is Action.LEAVE_QUARANTINE
            approved = run_keyvault("approve", proposal.id[:12], "--yes", "--member", "bob", *arguments)
            assert approved.returncode == 0, approved.stderr
            with pytest.raises(PreconditionFailed, match="quarantine"):
                await sign(bot, "new")
            done = await admin.cast(proposal, Voice.APPROVE, desk.member(own, "carol"))
            assert done.outcome is Outcome.EXECUTED
            assert await sign(bot, "new")
            assert await sign(bot, "lost-0")
            found = await admin.get_enclave()
            assert (found.quarantine, found.incarnation) == (None, 2)
            with pytest.raises(LimitExceeded, match="counts as full: the ledger was restored"):
                await bot.sign_evm_transaction("eth", dynamic_fee(), request_id="transfer")
        async with asyncio.timeout(20):
            while await health(own, SIGNING) != SERVING:  # noqa: ASYNC110  another process sets no event of ours
                await asyncio.sleep(0.05)
    with served(own):
        async with desk.bot(own) as bot:
            await sign(bot, "later")
    assert '"1": {' not in inspect(own, "anchors")
    assert "keyvault/anchor/v1\\n2\\n" in inspect(own, "anchors")
    facts = desk.audited(own)
    assert len([each for each in facts if isinstance(each, IncarnationStarted)]) == 1
    verified = run_keyvault("audit", "verify", str(own.ledger), "--vkey-file", str(own.dir / "log.vkey"))
    assert (verified.returncode, "RESTORED" in verified.stdout) == (0, True), verified.stdout
    told = run_keyvault("audit", "verify", str(own.ledger), "--checkpoint", str(kept))
    assert (told.returncode, "is not in this history" in told.stdout) == (1, True), told.stdout
