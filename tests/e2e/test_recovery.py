"""Disaster recovery with everything real: server processes, SoftHSM tokens, SQLite files, and copies of them."""

import asyncio
import hashlib
import json
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
from keyvault.ledger.archive import audit, read_notes
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
    report = audit(own.ledger, log_vkey=own.log_vkey, kept=read_notes(kept))
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


# Backup -------------------------------------------------------------------------------------------------------------


async def test_a_backup_while_it_signs(own: Deployment, tmp_path: Path) -> None:
    """Under load each run is whole and audited; the last one restores to what was signed up to then, in quarantine."""
    folder, config = tmp_path / "backup", str(own.config)
    with served(own):
        async with desk.bot(own) as bot:
            done = asyncio.Event()

            async def load() -> int:
                number = 0
                while not done.is_set():
                    await sign(bot, f"r-{number}")
                    number += 1
                return number

            working = asyncio.create_task(load())
            sizes = []
            for _ in range(3):
                ran = await asyncio.to_thread(
                    run_keyvault, "backup", "--config", config, "--out", str(folder), "--json"
                )
                assert ran.returncode == 0, ran.stderr
                sizes.append(json.loads(ran.stdout)["entries"])
            done.set()
            assert await working > 10
    assert sizes == sorted(set(sizes))
    drilled = run_keyvault("backup", "drill", "--from", str(folder), "--vkey-file", str(own.dir / "log.vkey"), "--json")
    assert (drilled.returncode, json.loads(drilled.stdout)["entries"]) == (0, sizes[-1]), drilled.stderr
    refused = run_keyvault("restore", "--from", str(folder), "--database", str(own.ledger))
    assert (refused.returncode, "exists; nothing was changed" in refused.stderr) == (1, True)
    own.ledger.unlink()
    both(own)  # what a machine is like whose token never led
    restored = run_keyvault("restore", "--from", str(folder), "--database", str(own.ledger))
    assert restored.returncode == 0, restored.stderr
    assert "in quarantine" in restored.stdout
    refused = run_keyvault("database", "load", "--conninfo", "host=nowhere", "--config", str(_as_a_node(own)))
    assert (refused.returncode, "it was restored from a backup" in refused.stderr) == (70, True), refused.stderr
    with served(own):
        async with desk.bot(own) as bot:
            with pytest.raises(PreconditionFailed, match=f"restored from a backup of {sizes[-1]} entries"):
                await sign(bot, "new")


def _as_a_node(own: Deployment) -> Path:
    """Return the configuration of a node of this enclave, of a database that is nowhere."""
    config = own.dir / "node.toml"
    more = '[postgres]\nconninfo = "host=nowhere dbname=keyvault sslmode=verify-full"\naddress = "localhost:1"\n'
    config.write_text(own.config.read_text() + more)
    return config


def test_a_damaged_backup_fails_its_drill(own: Deployment, tmp_path: Path) -> None:
    """A flipped byte ends the drill with 1 and names the file; nothing is left of what it restored."""
    folder = tmp_path / "backup"
    made = run_keyvault("backup", "--config", str(own.config), "--out", str(folder))
    assert made.returncode == 0, made.stderr
    segment = next((folder / "segments").iterdir())
    segment.write_bytes(segment.read_bytes()[:-1] + b"?")
    drilled = run_keyvault("backup", "drill", "--from", str(folder))
    assert drilled.returncode == 1
    assert f"segments/{segment.name} is not the file that the manifest names" in drilled.stderr
    assert run_keyvault("restore", "--from", str(folder), "--database", str(tmp_path / "new.db")).returncode == 1
    assert not [*tmp_path.glob("new.db*")]


def test_keys_are_not_in_a_backup(own: Deployment, tmp_path: Path) -> None:
    """No file of it holds the imported secret, a PIN, or anything of the token's objects."""
    made = run_keyvault("backup", "--config", str(own.config), "--out", str(tmp_path / "backup"))
    assert made.returncode == 0, made.stderr
    secrets = [desk.SECRET, (own.dir / "token" / "user.pin").read_bytes().strip()]
    for path in (tmp_path / "backup").rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert [secret for secret in secrets if secret in data] == []
