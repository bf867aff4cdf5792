"""I4: an administrator's certificate opens the door; only members' own signatures change anything."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from keyvault import client as sdk
from keyvault.client import AsyncClient, EnclaveInfo, MemberKey, say
from keyvault.core.approvals import EnvelopeSignature, Voice
from keyvault.core.events import ChangeRefused, ProposalMade, SignatureIssued
from keyvault.core.keys import KeyState
from keyvault.core.proposals import Outcome
from keyvault.core.statements import Action
from keyvault.ledger import codec, wire
from keyvault.ledger.merkle import Tree, leaf_hash
from keyvault.v1 import governance_pb2
from tests.deployment import Deployment, ServerFailed, run_keyvault, served, start_server
from tests.e2e import desk
from tests.worlds import key_parameters

MINUTE_MS = 60_000
PARAMETERS = key_parameters("stolen")


@dataclass(frozen=True, slots=True)
class Said:
    """A statement and a signature under it, which need not fit each other."""

    statement: bytes
    signature: EnvelopeSignature


Forge = Callable[[AsyncClient, MemberKey], Awaitable[Said]]


def said(admin: AsyncClient, enclave: EnclaveInfo, signer: MemberKey, *, life_ms: int = MINUTE_MS) -> Said:
    """Return what a member would say who wants a key."""
    asked = admin.make_statement(enclave, Action.KEY_CREATE, PARAMETERS, requester="alice", life_ms=life_ms).encode()
    return Said(asked, say(asked, Voice.REQUEST, signer))


async def honest(admin: AsyncClient, signer: MemberKey) -> Said:
    return said(admin, await admin.get_enclave(), signer)


async def by_a_stranger(admin: AsyncClient, _: MemberKey) -> Said:
    return await honest(admin, MemberKey("alice", ed25519.Ed25519PrivateKey.generate()))


async def strange_signature_under_the_members_keyid(admin: AsyncClient, signer: MemberKey) -> Said:
    true, forged = await honest(admin, signer), await by_a_stranger(admin, signer)
    return replace(true, signature=replace(true.signature, sig=forged.signature.sig))


async def signature_of_another_statement(admin: AsyncClient, signer: MemberKey) -> Said:
    return replace(await honest(admin, signer), signature=(await honest(admin, signer)).signature)


async def an_approval_instead_of_a_request(admin: AsyncClient, signer: MemberKey) -> Said:
    true = await honest(admin, signer)
    return replace(true, signature=say(true.statement, Voice.APPROVE, signer))


async def other_enclave_id(admin: AsyncClient, signer: MemberKey) -> Said:
    return said(admin, replace(await admin.get_enclave(), enclave_id=bytes(32)), signer)


async def other_enclave_name(admin: AsyncClient, signer: MemberKey) -> Said:
    return said(admin, replace(await admin.get_enclave(), name="enclaves/cold"), signer)


async def other_policy_version(admin: AsyncClient, signer: MemberKey) -> Said:
    return said(admin, replace(await admin.get_enclave(), policy_version=1), signer)


async def expired(admin: AsyncClient, signer: MemberKey) -> Said:
    return said(admin, await admin.get_enclave(), signer, life_ms=-1)


async def valid_for_a_month(admin: AsyncClient, signer: MemberKey) -> Said:
    return said(admin, await admin.get_enclave(), signer, life_ms=30 * 24 * 60 * MINUTE_MS)


async def not_canonical(admin: AsyncClient, signer: MemberKey) -> Said:
    statement = (await honest(admin, signer)).statement.replace(b'","', b'", "', 1)
    return Said(statement, say(statement, Voice.REQUEST, signer))


async def put(admin: AsyncClient, asked: Said) -> governance_pb2.Proposal:
    """Send it as a thief of the certificate would, past everything that the SDK checks."""
    request = governance_pb2.ProposeChangeRequest(
        parent="enclaves/hot",
        statement=asked.statement,
        signature=wire.member_signature_to_proto(asked.signature),
    )
    return await admin.transport.call(lambda at: at.governance.ProposeChange, request)


RECORDED = [
    (by_a_stranger, "NOT_AUTHORIZED"),
    (strange_signature_under_the_members_keyid, "NOT_AUTHORIZED"),
    (signature_of_another_statement, "NOT_AUTHORIZED"),
    (an_approval_instead_of_a_request, "NOT_AUTHORIZED"),
    (other_enclave_id, "STATEMENT_MISMATCH"),
    (other_enclave_name, "STATEMENT_MISMATCH"),
    (other_policy_version, "POLICY_CHANGED"),
    (expired, "STATEMENT_EXPIRED"),
    (valid_for_a_month, "STATEMENT_EXPIRED"),
]


@pytest.mark.parametrize(("forge", "reason"), [*RECORDED, (not_canonical, "MALFORMED")])
async def test_certificate_alone_changes_nothing(shared: Deployment, forge: Forge, reason: str) -> None:
    """I4: an admin's certificate without a member's valid word for here and now changes nothing, and is recorded."""
    async with desk.admin(shared) as admin, desk.client(shared, "auditor-demo") as auditor:
        before, keys, waiting = await desk.ledger_size(shared), await admin.list_keys(), await admin.list_proposals()
        with pytest.raises(sdk.KeyvaultRpcError) as caught:
            await put(admin, await forge(admin, desk.member(shared)))
        assert caught.value.reason == reason
        assert (await admin.list_keys(), await admin.list_proposals()) == (keys, waiting)
        added = [codec.decode(entry.body) async for entry in auditor.entries(before)]
    recorded = [] if reason == "MALFORMED" else [(ChangeRefused, reason)]
    assert [(type(event), getattr(event, "reason", None)) for event in added] == recorded


async def test_a_thief_with_a_certificate_and_one_member_s_key(own: Deployment) -> None:
    """I4: who has an admin's certificate and even one member's key still needs another person, whatever they try."""
    await asyncio.to_thread(start_server, own)
    async with desk.admin(own) as thief:
        alice = desk.member(own)
        asked = await thief.create_key("stolen", desk.KEYS[0][1], signer=alice)
        assert asked.outcome is Outcome.OPEN
        for voice, signer in (
            (Voice.APPROVE, alice),
            (Voice.APPROVE, MemberKey("bob", ed25519.Ed25519PrivateKey.generate())),
        ):
            with pytest.raises(sdk.Denied):
                await thief.cast(asked, voice, signer)
        charter = (await thief.get_charter()).charter
        alone = replace(charter, version=2, members=tuple(each for each in charter.members if each.name == "alice"))
        with pytest.raises(sdk.KeyvaultRpcError):
            await thief.change_charter(alone, signer=alice, approvers=(alice,))
        assert (await thief.get_charter()).charter == charter
        with pytest.raises(sdk.NotFoundError):
            await thief.get_key("stolen")
        assert (await thief.get_proposal(asked.id)).approved_by == ()


async def test_replayed_words(own: Deployment) -> None:
    """I4: a request and an approval that were used are the change that they were; sent again they change nothing."""
    await asyncio.to_thread(start_server, own)
    async with desk.admin(own) as admin:
        alice, bob = desk.member(own), desk.member(own, "bob")
        disabled = await admin.disable_key("signer", signer=alice)
        desk.assert_done(disabled)
        enabled = await admin.enable_key("signer", signer=alice, approvers=(bob,))
        desk.assert_done(enabled)
        size = await desk.ledger_size(own)
        replayed = await admin.propose(disabled.said, alice)
        assert replayed == disabled
        assert await admin.cast(enabled, Voice.APPROVE, bob) == enabled
        assert (await admin.get_key("signer")).state is KeyState.ACTIVE
        assert await desk.ledger_size(own) == size


async def sign_some(deployment: Deployment) -> None:
    answers: desk.Answers = {}
    assert await desk.burst(deployment, desk.mixed_requests("before", 8), answers) == {}


@contextmanager
def edited(deployment: Deployment) -> Iterator[sqlite3.Connection]:
    """Give the database without the triggers that stand in the way of a slip; they are there again afterwards."""
    with closing(sqlite3.connect(deployment.ledger)) as database, database:
        triggers = database.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            database.execute(f"DROP TRIGGER {name}")
        yield database
        for _, definition in triggers:
            database.execute(definition)


def flip_one_byte(deployment: Deployment, index: int) -> None:
    """Change a byte of the signature in an entry's body, as somebody who owns the database can."""
    with edited(deployment) as database:
        (body,) = database.execute("SELECT body FROM entries WHERE idx = ?", (index,)).fetchone()
        event = codec.decode(body)
        assert isinstance(event, SignatureIssued | ProposalMade)
        assert event.signature is not None
        signature = event.signature.value if isinstance(event, SignatureIssued) else event.signature.sig
        harmed = body.replace(signature, signature[:-1] + bytes([signature[-1] ^ 1]))
        database.execute("UPDATE entries SET body = ? WHERE idx = ?", (harmed, index))


def forget_checkpoints(deployment: Deployment) -> None:
    """Delete every checkpoint, as somebody who owns the database can."""
    with edited(deployment) as database:
        database.execute("DELETE FROM checkpoints")


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
    index = next(index for index, event in enumerate(events) if isinstance(event, ProposalMade))
    await asyncio.to_thread(flip_one_byte, own, index)
    found = await asyncio.to_thread(run_keyvault, "audit", "verify", str(own.ledger))
    assert found.returncode == 1
    assert f"entry {index}" in found.stdout + found.stderr
    with pytest.raises(ServerFailed):
        await asyncio.to_thread(start_server, own)
