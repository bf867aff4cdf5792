"""Proposals over real mutual TLS: who may ask, say and see what."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from keyvault import client as sdk
from keyvault.core import limits
from keyvault.core.approvals import Voice
from keyvault.core.keys import KeyAlgorithm, KeyState
from keyvault.core.proposals import Outcome
from keyvault.core.statements import Action, FreezeScope
from keyvault.ledger.codec_policy import encode_policy
from keyvault.v1 import audit_pb2, audit_pb2_grpc, governance_pb2, signing_pb2, types_pb2
from tests.rpc.governed import (
    ASK,
    BOTS,
    NOBODY,
    SEND,
    STEP,
    Governed,
    escalate,
    governed,
    payload_of,
    refused,
    transfer,
)
from tests.worlds import LOOSEN_DELAY_MS, policy

DIGEST = b"d" * 32


async def test_escalated_request_names_its_proposal(tmp_path: Path) -> None:
    """What members must approve is told alike by Sign, Sign again, and a stream: proposal, quorum, plain words."""
    async with governed(tmp_path) as here, here.signing("bot") as signing:
        told = []
        for _ in range(2):
            error = await refused(signing.Sign(transfer("order-1", SEND)))
            assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
            details = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
            info = error_details_pb2.ErrorInfo()
            assert status_pb2.Status.FromString(bytes(details)).details[0].Unpack(info)
            assert (info.reason, info.domain) == ("NEEDS_APPROVAL", "keyvault")
            told.append(tuple(info.metadata[name] for name in ("proposal", "quorum", "summary")))
        stream = signing.SignStream()
        await stream.write(signing_pb2.SignStreamRequest(requests=[transfer("order-1", SEND)]))
        await stream.done_writing()
        (item,) = [result.error async for message in stream for result in message.results]
        told.append((item.proposal, item.quorum, item.summary))
        assert (item.code, item.reason) == (grpc.StatusCode.FAILED_PRECONDITION.value[0], "NEEDS_APPROVAL")
        (name,) = here.enclave.state.proposals.open
        assert set(told) == {(f"enclaves/hot/proposals/{name.hex()}", "1 of admins", told[0][2])}
        assert told[0][2].startswith("Sends ")
        assert here.token.signed == []


async def test_bot_sees_its_own_proposals_only(tmp_path: Path) -> None:
    """Another bot's proposal, by name or beginning, is told from one that does not exist by nothing."""
    async with governed(tmp_path) as here:
        name = await escalate(here)
        async with here.governance("bot") as own, here.governance("other_bot") as other:
            shown = await own.GetProposal(governance_pb2.GetProposalRequest(name=name))
            assert shown.signature_subject.request_id == "order-1"
            for asked in (name, name[:-50], NOBODY):
                request = governance_pb2.GetProposalRequest(name=asked)
                for call in (other.GetProposal(request), other.WatchProposal(request).read()):
                    error = await refused(call)
                    assert error.code() is grpc.StatusCode.NOT_FOUND
                    text = (error.details() or "").replace(asked.rpartition("/")[2], "it")
                    assert text == await not_found_text(here)


async def not_found_text(here: Governed) -> str:
    """Return what an admin hears of a proposal that does not exist, without its name."""
    async with here.governance("admin") as governance:
        error = await refused(governance.GetProposal(governance_pb2.GetProposalRequest(name=NOBODY)))
    return (error.details() or "").replace("0" * 64, "it")


async def test_bot_sees_no_change_of_power(tmp_path: Path) -> None:
    """What members ask of each other is none of a bot's business."""
    async with governed(tmp_path) as here, here.client("admin") as admin, here.client("bot") as bot:
        asked = await admin.change(Action.CEREMONY_STEP, STEP, signer=here.alice)
        with pytest.raises(sdk.NotFoundError):
            await bot.get_proposal(asked.name)


async def test_what_each_role_may(tmp_path: Path) -> None:
    """An approver's certificate opens the door to ballots and the ledger; an auditor's to reading alone."""
    async with governed(tmp_path) as here, here.client("admin") as admin:
        asked = await admin.change(Action.CEREMONY_STEP, STEP, signer=here.alice)
        async with here.client("approver") as approver:
            assert (await approver.list_proposals())[0].id == asked.id
            assert await approver.list_keys()
            assert [entry async for entry in approver.entries()]
            done = await approver.cast(await approver.get_proposal(asked.id), Voice.APPROVE, here.carol)
            assert (done.outcome, done.approved_by) == (Outcome.EXECUTED, ("carol",))
        async with here.client("auditor") as auditor:
            assert (await auditor.get_charter()).charter.version == 1
            assert (await auditor.list_freezes(), await auditor.list_proposals()) == ((), ())
            with pytest.raises(sdk.Denied):
                await auditor.cast(done, Voice.VETO, here.carol)
            with pytest.raises(sdk.Denied):
                await auditor.change(Action.CEREMONY_STEP, STEP, signer=here.alice)
        async with here.channel("bot") as channel:
            call = audit_pb2_grpc.AuditServiceStub(channel).GetCheckpoint(
                audit_pb2.GetCheckpointRequest(parent="enclaves/hot")
            )
            assert (await refused(call)).code() is grpc.StatusCode.PERMISSION_DENIED


async def test_asker_does_not_count(tmp_path: Path) -> None:
    """Who asks for a key cannot approve it, and no key is made; the attempt is in the ledger."""
    async with governed(tmp_path) as here, here.client("admin") as admin:
        asked = await admin.create_key("other", KeyAlgorithm.SECP256K1, signer=here.alice)
        size = here.enclave.size
        with pytest.raises(sdk.Denied) as caught:
            await admin.cast(asked, Voice.APPROVE, here.alice)
        assert caught.value.reason == "NOT_AUTHORIZED"
        assert (await admin.get_proposal(asked.name)).approved_by == ()
        assert [key.key for key in await admin.list_keys()] == ["signer"]
        assert here.enclave.size == size + 1


async def test_same_again_is_the_same(tmp_path: Path) -> None:
    """A statement, or a ballot, that is sent again after a lost answer is the same one; nothing is written twice."""
    async with governed(tmp_path, CEREMONY="2 of admins") as here, here.client("admin") as admin:
        said = admin.make_statement(await admin.get_enclave(), Action.CEREMONY_STEP, STEP, requester="alice")
        asked = [await admin.propose(said, here.alice) for _ in range(2)]
        ballots = [await admin.cast(asked[0], Voice.APPROVE, here.bob) for _ in range(2)]
        assert asked[0] == asked[1]
        assert ballots[0] == ballots[1]
        size = here.enclave.size
        done = [await admin.cast(asked[0], Voice.APPROVE, here.carol) for _ in range(2)]
        assert done[0] == done[1]
        assert (done[0].outcome, done[0].approved_by, here.enclave.size) == (
            Outcome.EXECUTED,
            ("bob", "carol"),
            size + 2,
        )


async def test_document_of_another_statement(tmp_path: Path) -> None:
    """A policy that is not the one that the statement names is refused, and the one in force stays."""
    async with governed(tmp_path) as here, here.client("admin") as admin:
        parameters = {"policy_sha256": hashlib.sha256(b"another").hexdigest(), "version": "2", "replay_sha256": "none"}
        document = encode_policy(policy(BOTS, version=2))
        with pytest.raises(sdk.PreconditionFailed) as caught:
            await admin.change(Action.POLICY_PUBLISH, parameters, signer=here.alice, document=document)
        assert caught.value.reason == "STATEMENT_MISMATCH"
        assert (await admin.get_policy()).policy.version == 1


async def test_freeze_stops_the_next_signature(tmp_path: Path) -> None:
    """One member freezes alone and at once, for every bot; lifting it takes another one."""
    async with governed(tmp_path) as here, here.client("admin") as admin, here.client("bot") as bot:
        await bot.sign_digest("signer", DIGEST)
        assert (await admin.freeze(FreezeScope.ENCLAVE, "", signer=here.bob)).outcome is Outcome.EXECUTED
        assert await admin.list_freezes() == ((FreezeScope.ENCLAVE, ""),)
        with pytest.raises(sdk.PreconditionFailed) as caught:
            await bot.sign_digest("signer", DIGEST)
        assert caught.value.reason == "FROZEN"
        thaw = await admin.thaw(FreezeScope.ENCLAVE, "", signer=here.alice)
        assert thaw.outcome is Outcome.OPEN
        with pytest.raises(sdk.PreconditionFailed):
            await bot.sign_digest("signer", DIGEST)
        assert (await admin.cast(thaw, Voice.APPROVE, here.bob)).outcome is Outcome.EXECUTED
        await bot.sign_digest("signer", DIGEST)
        assert len(here.token.signed) == 2


async def test_veto_is_final(tmp_path: Path) -> None:
    """A vetoed request stays refused under its id; asked anew, members see that it was vetoed before."""
    async with governed(tmp_path) as here, here.client("admin") as admin, here.client("bot") as bot:
        name = await escalate(here)
        assert (await admin.cast(await admin.get_proposal(name), Voice.VETO, here.carol)).outcome is Outcome.VETOED
        with pytest.raises(sdk.PreconditionFailed) as caught:
            await bot.sign("signer", payload_of(SEND), request_id="order-1")
        assert caught.value.reason == "VETOED"
        with pytest.raises(sdk.PreconditionFailed) as caught:
            await admin.cast(await admin.get_proposal(name), Voice.APPROVE, here.bob)
        assert caught.value.reason == "VETOED"
        again = await admin.get_proposal(await escalate(here, "order-2"))
        assert (again.vetoed_before, here.token.signed) == (name, [])


async def test_loosening_waits(tmp_path: Path) -> None:
    """A policy that allows more is carried out when its delay is over, not when the last approval comes."""
    looser = replace(BOTS, id="more", keys=frozenset({"signer", "other"}))
    async with governed(tmp_path) as here, here.client("admin") as admin:
        wanted = policy(ASK, looser, version=2)
        asked = await admin.publish_policy(wanted, signer=here.alice, approvers=[here.bob])
        assert asked.outcome is Outcome.OPEN
        assert asked.approved_at is not None
        assert asked.due_at == asked.approved_at + LOOSEN_DELAY_MS
        assert asked.said.expires_at == here.clock.at + limits.PROPOSAL_LIFE_MS + LOOSEN_DELAY_MS
        assert asked.document == encode_policy(wanted)
        here.clock.at += LOOSEN_DELAY_MS - 1
        await here.enclave.govern()
        assert (await admin.get_policy()).policy.version == 1
        here.clock.at += 1
        await here.enclave.govern()
        assert (await admin.get_policy()).policy == wanted
        done = await admin.get_proposal(asked.name)
        assert (done.outcome, done.document) == (Outcome.EXECUTED, b"")


async def test_no_needs_no_token(tmp_path: Path) -> None:
    """While no worker signs a checkpoint of what came last, members veto and tighten; a yes is proven all the same."""
    looser = policy(ASK, replace(BOTS, id="more", keys=frozenset({"signer", "other"})), version=2)
    async with governed(tmp_path) as here, here.client("bot") as bot:
        async with here.client("admin") as admin:
            waits = await admin.publish_policy(looser, signer=here.alice)
        for lane in here.token.lanes:
            lane.up.clear()
        with pytest.raises(sdk.NotFoundError):
            await bot.sign_digest("other", DIGEST)
        async with here.client("approver") as admin:
            assert (await admin.cast(waits, Voice.APPROVE, here.bob)).approved_by == ("bob",)
            assert (await admin.cast(waits, Voice.VETO, here.carol)).outcome is Outcome.VETOED
            tighter = await admin.publish_policy(policy(ASK, version=2), signer=here.bob)
            assert tighter.outcome is Outcome.EXECUTED
            proof = await admin.inclusion_proof(0)
            assert proof.checkpoint.size < here.enclave.size
        for lane in here.token.lanes:
            lane.up.set()


async def test_versions_of_a_key(tmp_path: Path) -> None:
    """A rotated key has two versions, listed apart and in pages; the newest is the primary."""
    async with governed(tmp_path) as here, here.client("admin") as admin:
        for _ in range(2):
            await admin.rotate_key("signer", signer=here.alice, approvers=[here.bob])
        versions = await admin.list_keys("signer")
        assert [(key.version, key.state, key.primary) for key in versions] == [
            (1, KeyState.ROTATED, False),
            (2, KeyState.ROTATED, False),
            (3, KeyState.ACTIVE, True),
        ]
        assert [key.version for key in await admin.list_keys()] == [3]
        with pytest.raises(sdk.NotFoundError):
            await admin.list_keys("nobody")
        destroyed = await admin.destroy_key("signer", version=1, signer=here.alice, approvers=[here.bob])
        assert destroyed.outcome is Outcome.EXECUTED
        key = await admin.get_key("signer/versions/1")
        assert key.state is KeyState.DESTRUCTION_SCHEDULED
        assert key.destroy_at == here.clock.at + limits.DESTRUCTION_DAYS * 24 * 3_600_000


def odd_field(request: governance_pb2.ProposeChangeRequest) -> None:
    request.MergeFromString(b"\xfa\x01\x01x")


def long_statement(request: governance_pb2.ProposeChangeRequest) -> None:
    request.statement = b" " * (limits.STATEMENT_BYTES_MAX + 1)


def altered_statement(request: governance_pb2.ProposeChangeRequest) -> None:
    request.statement = request.statement.replace(b"backup", b"Backup")


def long_document(request: governance_pb2.ProposeChangeRequest) -> None:
    request.document = b"d" * (limits.CHARTER_BYTES_MAX + 1)


def long_secret(request: governance_pb2.ProposeChangeRequest) -> None:
    request.wrapped_secret = b"s" * (limits.WRAPPED_SECRET_BYTES_MAX + 1)


def no_signature(request: governance_pb2.ProposeChangeRequest) -> None:
    request.ClearField("signature")


@pytest.mark.parametrize(
    "change", [odd_field, long_statement, altered_statement, long_document, long_secret, no_signature]
)
async def test_what_is_malformed_is_not_recorded(
    tmp_path: Path, change: Callable[[governance_pb2.ProposeChangeRequest], object]
) -> None:
    """A proposal with a field of a later build, a part that is too long or that is missing leaves no trace."""
    async with governed(tmp_path) as here, here.client("admin") as admin, here.governance("admin") as governance:
        said = admin.make_statement(await admin.get_enclave(), Action.CEREMONY_STEP, STEP, requester="alice").encode()
        request = governance_pb2.ProposeChangeRequest(
            parent="enclaves/hot", statement=said, signature=signature(said, Voice.REQUEST, here.alice)
        )
        change(request)
        size = here.enclave.size
        assert (await refused(governance.ProposeChange(request))).code() is grpc.StatusCode.INVALID_ARGUMENT
        assert here.enclave.size == size


def signature(statement: bytes, voice: Voice, signer: sdk.MemberKey) -> types_pb2.MemberSignature:
    """Return what a member says to it."""
    said = sdk.say(statement, voice, signer)
    return types_pb2.MemberSignature(keyid=said.keyid, sig=said.sig)


@pytest.mark.parametrize("voice", [types_pb2.VOICE_UNSPECIFIED, types_pb2.VOICE_REQUEST, 99])
async def test_ballot_says_something(tmp_path: Path, voice: "types_pb2.Voice.ValueType") -> None:
    """A ballot that asks, or says nothing that this build knows, is malformed and not recorded."""
    async with governed(tmp_path) as here, here.client("admin") as admin, here.governance("admin") as governance:
        asked = await admin.change(Action.CEREMONY_STEP, STEP, signer=here.alice)
        size = here.enclave.size
        said = signature(asked.statement, Voice.REQUEST, here.bob)
        call = governance.CastBallot(governance_pb2.CastBallotRequest(name=asked.name, voice=voice, signature=said))
        assert (await refused(call)).code() is grpc.StatusCode.INVALID_ARGUMENT
        assert (await admin.get_proposal(asked.name), here.enclave.size) == (asked, size)


async def test_signature_of_another_voice(tmp_path: Path) -> None:
    """A member's rejection cannot be passed off as their approval."""
    async with governed(tmp_path) as here, here.client("admin") as admin, here.governance("admin") as governance:
        asked = await admin.change(Action.CEREMONY_STEP, STEP, signer=here.alice)
        said = signature(asked.statement, Voice.REJECT, here.bob)
        request = governance_pb2.CastBallotRequest(name=asked.name, voice=types_pb2.VOICE_APPROVE, signature=said)
        assert (await refused(governance.CastBallot(request))).code() is grpc.StatusCode.PERMISSION_DENIED
        assert (await admin.get_proposal(asked.name)).approved_by == ()
