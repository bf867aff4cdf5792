"""I4: an administrator's certificate opens the door; only a member's statement changes anything."""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from keyvault import client as sdk
from keyvault.client import AsyncClient, EnclaveInfo, MemberKey, make_statement, sign_statement
from keyvault.core.approvals import PAYLOAD_TYPE, Action, Envelope
from keyvault.core.events import SignatureIssued
from keyvault.core.keys import KeyState
from keyvault.ledger import codec
from keyvault.ledger.merkle import Tree, leaf_hash
from tests.deployment import Deployment, ServerFailed, run_keyvault, served, start_server
from tests.e2e import desk

Forge = Callable[[AsyncClient, MemberKey], Awaitable[Envelope]]
PARAMETERS = {"key": "stolen", "algorithm": "P256"}
MINUTE_MS = 60_000


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def said(enclave: EnclaveInfo, signer: MemberKey, *, expires_in_ms: int = MINUTE_MS) -> Envelope:
    statement = make_statement(
        enclave, Action.KEY_CREATE, PARAMETERS, requester="admin", expires_at=now_ms() + expires_in_ms
    )
    return sign_statement(statement, signer)


async def unsigned(admin: AsyncClient, signer: MemberKey) -> Envelope:
    return replace(said(await admin.get_enclave(), signer), signatures=())


async def by_a_stranger(admin: AsyncClient, _: MemberKey) -> Envelope:
    return said(await admin.get_enclave(), MemberKey("admin", ed25519.Ed25519PrivateKey.generate()))


async def strange_signature_under_the_members_keyid(admin: AsyncClient, signer: MemberKey) -> Envelope:
    honest, forged = said(await admin.get_enclave(), signer), await by_a_stranger(admin, signer)
    return replace(honest, signatures=(replace(honest.signatures[0], sig=forged.signatures[0].sig),))


async def signature_of_another_statement(admin: AsyncClient, signer: MemberKey) -> Envelope:
    enclave = await admin.get_enclave()
    return replace(said(enclave, signer), signatures=said(enclave, signer).signatures)


async def other_enclave_id(admin: AsyncClient, signer: MemberKey) -> Envelope:
    return said(replace(await admin.get_enclave(), enclave_id=bytes(32)), signer)


async def other_enclave_name(admin: AsyncClient, signer: MemberKey) -> Envelope:
    return said(replace(await admin.get_enclave(), name="enclaves/cold"), signer)


async def other_policy_version(admin: AsyncClient, signer: MemberKey) -> Envelope:
    return said(replace(await admin.get_enclave(), policy_version=1), signer)


async def expired(admin: AsyncClient, signer: MemberKey) -> Envelope:
    return said(await admin.get_enclave(), signer, expires_in_ms=-1)


async def valid_for_a_month(admin: AsyncClient, signer: MemberKey) -> Envelope:
    return said(await admin.get_enclave(), signer, expires_in_ms=30 * 24 * 60 * MINUTE_MS)


async def other_payload_type(admin: AsyncClient, signer: MemberKey) -> Envelope:
    return replace(said(await admin.get_enclave(), signer), payload_type=PAYLOAD_TYPE + ";v=2")


@pytest.mark.parametrize(
    ("forge", "reason"),
    [
        (unsigned, "MALFORMED"),
        (by_a_stranger, "NOT_AUTHORIZED"),
        (strange_signature_under_the_members_keyid, "NOT_AUTHORIZED"),
        (signature_of_another_statement, "NOT_AUTHORIZED"),
        (other_enclave_id, "STATEMENT_MISMATCH"),
        (other_enclave_name, "STATEMENT_MISMATCH"),
        (other_policy_version, "STATEMENT_MISMATCH"),
        (expired, "STATEMENT_EXPIRED"),
        (valid_for_a_month, "STATEMENT_EXPIRED"),
        (other_payload_type, "MALFORMED"),
    ],
)
async def test_certificate_alone_changes_nothing(shared: Deployment, forge: Forge, reason: str) -> None:
    """I4: with an admin's certificate but no member's valid statement for here and now, nothing changes."""
    async with desk.admin(shared) as admin:
        before, keys = await desk.ledger_size(shared), await admin.list_keys()
        with pytest.raises(sdk.KeyvaultRpcError) as caught:
            await admin.apply_change(await forge(admin, desk.member(shared)))
        assert caught.value.reason == reason
        assert (await desk.ledger_size(shared), await admin.list_keys()) == (before, keys)


async def test_replayed_statement(own: Deployment) -> None:
    """I4: a statement that was used is the change that it was; sent again after another change it changes nothing."""
    await asyncio.to_thread(start_server, own)
    async with desk.admin(own) as admin:
        enclave, signer = await admin.get_enclave(), desk.member(own)
        disabling = make_statement(
            enclave,
            Action.KEY_DISABLE,
            {"key": "signer", "version": "1"},
            requester="admin",
            expires_at=now_ms() + MINUTE_MS,
        )
        envelope = sign_statement(disabling, signer)
        changed = await admin.apply_change(envelope)
        assert isinstance(changed, sdk.Key)
        assert changed.state is KeyState.DISABLED
        await admin.enable_key("signer", signer=signer)
        size = await desk.ledger_size(own)
        await admin.apply_change(envelope)
        assert (await admin.get_key("signer")).state is KeyState.ACTIVE
        assert await desk.ledger_size(own) == size


async def sign_some(deployment: Deployment) -> None:
    answers: desk.Answers = {}
    assert await desk.burst(deployment, desk.mixed_requests("before", 8), answers) == {}


def flip_one_byte(deployment: Deployment, index: int) -> None:
    """Change the last byte of an entry's body, as somebody who owns the database can."""
    with closing(sqlite3.connect(deployment.ledger)) as database:
        database.execute("DROP TRIGGER entries_are_never_changed")
        (body,) = database.execute("SELECT body FROM entries WHERE idx = ?", (index,)).fetchone()
        codec.decode(body)
        harmed = body[:-1] + bytes([body[-1] ^ 1])
        database.execute("UPDATE entries SET body = ? WHERE idx = ?", (harmed, index))
        database.commit()


def forget_checkpoints(deployment: Deployment) -> None:
    """Delete every checkpoint, as somebody who owns the database can."""
    with closing(sqlite3.connect(deployment.ledger)) as database:
        database.execute("DROP TRIGGER checkpoints_are_never_deleted")
        database.execute("DELETE FROM checkpoints")
        database.commit()


def rewrite_head(deployment: Deployment) -> None:
    """Let the head agree with the rows again, as somebody who knows how it is made can; the log key they lack."""
    with closing(sqlite3.connect(deployment.ledger)) as database:
        rows = database.execute("SELECT body FROM entries ORDER BY idx").fetchall()
        database.execute("UPDATE head SET root = ?", (Tree.of(leaf_hash(body) for (body,) in rows).root(),))
        database.commit()


@pytest.mark.parametrize("evidence", ["head", "checkpoint", "both"])
def test_edited_row(own: Deployment, evidence: str) -> None:
    """I5: one changed byte in one row: by head or checkpoint alone the audit names it, and no server starts on it."""
    with served(own):
        asyncio.run(sign_some(own))
    events = desk.audited(own)
    if evidence == "head":
        forget_checkpoints(own)
    index = next(index for index, event in enumerate(events) if isinstance(event, SignatureIssued))
    flip_one_byte(own, index)  # of the signature: the fact still follows from all before it
    if evidence == "checkpoint":
        rewrite_head(own)
    found = run_keyvault("audit", "verify", str(own.ledger))
    assert found.returncode == 1
    assert f"entry {index}" in found.stdout + found.stderr
    with pytest.raises(ServerFailed, match=r"entry|entries|rewritten|checkpoint"):
        start_server(own)
    assert own.process is not None
    assert own.process.returncode not in {0, 70}  # nothing that a supervisor should start again


async def test_edited_row_of_a_statement(own: Deployment) -> None:
    """I4, I5: a changed signature of a member under an old change is found, though the change itself still stands."""
    events = await asyncio.to_thread(desk.audited, own)
    index = next(index for index, event in enumerate(events) if hasattr(event, "authorization"))
    await asyncio.to_thread(flip_one_byte, own, index)
    found = await asyncio.to_thread(run_keyvault, "audit", "verify", str(own.ledger))
    assert found.returncode == 1
    assert f"entry {index}" in found.stdout + found.stderr
    with pytest.raises(ServerFailed):
        await asyncio.to_thread(start_server, own)
