"""WatchProposal: what is sent when, and when it ends."""

import asyncio
from pathlib import Path

import grpc
import pytest

from keyvault.core import limits
from keyvault.core.approvals import Voice
from keyvault.core.statements import Action
from keyvault.v1 import governance_pb2
from tests.rpc.governed import SEND, STEP, escalate, governed, payload_of, refused

Shown = governance_pb2.Proposal
Watch = grpc.aio.UnaryStreamCall[governance_pb2.GetProposalRequest, Shown]


async def shown(watch: Watch) -> Shown:
    """Return what the watch says next."""
    message = await watch.read()
    assert isinstance(message, Shown)
    return message


async def test_every_change_is_told(tmp_path: Path) -> None:
    """A watch says how it stands, then each ballot, then how it ended, and ends; other proposals do not show."""
    async with (
        governed(tmp_path, CEREMONY="2 of admins") as here,
        here.client("admin") as admin,
        here.governance("admin") as governance,
    ):
        asked = await admin.change(Action.CEREMONY_STEP, STEP, signer=here.alice)
        watch = governance.WatchProposal(governance_pb2.GetProposalRequest(name=asked.name[:-40]))
        assert list((await shown(watch)).approved_by) == []
        await admin.change(Action.CEREMONY_STEP, {**STEP, "step": "2"}, signer=here.alice)
        await admin.cast(asked, Voice.APPROVE, here.bob)
        first = await shown(watch)
        assert (list(first.approved_by), first.state) == (["bob"], Shown.STATE_OPEN)
        await admin.cast(asked, Voice.REVOKE, here.bob)
        assert list((await shown(watch)).approved_by) == []
        await admin.cast(asked, Voice.VETO, here.carol)
        assert (await shown(watch)).state == Shown.STATE_VETOED
        assert await watch.read() is grpc.aio.EOF


async def test_bot_waits_for_members(tmp_path: Path) -> None:
    """A bot's watch tells when its request is approved, and ends when the same request got its signature."""
    async with (
        governed(tmp_path) as here,
        here.client("admin") as admin,
        here.client("bot") as bot,
        here.governance("bot") as governance,
    ):
        name = await escalate(here)
        watch = governance.WatchProposal(governance_pb2.GetProposalRequest(name=name))
        assert not (await shown(watch)).approved_time_ms
        await admin.cast(await admin.get_proposal(name), Voice.APPROVE, here.bob)
        assert (await shown(watch)).approved_time_ms == here.clock.at
        await bot.sign("signer", payload_of(SEND), request_id="order-1")
        assert (await shown(watch)).state == Shown.STATE_EXECUTED
        assert await watch.read() is grpc.aio.EOF


async def test_watch_of_what_has_ended(tmp_path: Path) -> None:
    """A watch of a proposal that has ended says so once and ends."""
    async with (
        governed(tmp_path) as here,
        here.client("admin") as admin,
        here.governance("admin") as governance,
    ):
        asked = await admin.change(Action.CEREMONY_STEP, STEP, signer=here.alice, approvers=[here.bob])
        watch = governance.WatchProposal(governance_pb2.GetProposalRequest(name=asked.name))
        assert [message.state async for message in watch] == [Shown.STATE_EXECUTED]


async def test_time_ends_a_watch(tmp_path: Path) -> None:
    """When nobody says anything a watch ends with the proposal's time, though no fact says so."""
    async with (
        governed(tmp_path) as here,
        here.client("admin") as admin,
        here.governance("admin") as governance,
    ):
        asked = await admin.change(Action.CEREMONY_STEP, STEP, signer=here.alice)
        here.clock.at = asked.said.expires_at - 10
        watch = governance.WatchProposal(governance_pb2.GetProposalRequest(name=asked.name))
        assert (await shown(watch)).state == Shown.STATE_OPEN
        size = here.enclave.size
        here.clock.at += 10
        assert (await shown(watch)).state == Shown.STATE_EXPIRED
        assert (await watch.read() is grpc.aio.EOF, here.enclave.size) == (True, size)


async def test_stop_ends_watches(tmp_path: Path) -> None:
    """A server that stops ends every watch at once with UNAVAILABLE."""
    async with (
        governed(tmp_path) as here,
        here.client("admin") as admin,
        here.governance("admin") as governance,
    ):
        asked = await admin.change(Action.CEREMONY_STEP, STEP, signer=here.alice)
        watch = governance.WatchProposal(governance_pb2.GetProposalRequest(name=asked.name))
        await shown(watch)
        async with asyncio.timeout(limits.DRAIN_MS_MAX / 2_000):
            await here.server.stop(limits.DRAIN_MS_MAX / 1_000)
        assert (await refused(watch.read())).code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("bound", ["PRINCIPAL_WATCHERS_MAX", "WATCHERS_MAX"])
async def test_watches_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    """I9: one watch too many is RESOURCE_EXHAUSTED; when one ends there is room again; other callers have their own."""
    monkeypatch.setattr(limits, bound, 2)
    async with (
        governed(tmp_path) as here,
        here.client("admin") as admin,
        here.governance("admin") as governance,
        here.governance("auditor") as auditor,
    ):
        asked = await admin.change(Action.CEREMONY_STEP, STEP, signer=here.alice)
        request = governance_pb2.GetProposalRequest(name=asked.name)
        watches = [governance.WatchProposal(request) for _ in range(2)]
        for watch in watches:
            await shown(watch)
        third = await refused(governance.WatchProposal(request).read())
        assert third.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        if bound == "WATCHERS_MAX":
            assert (await refused(auditor.WatchProposal(request).read())).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        else:
            await shown(auditor.WatchProposal(request))
        await admin.cast(asked, Voice.VETO, here.bob)
        for watch in watches:
            assert (await shown(watch)).state == Shown.STATE_VETOED
            assert await watch.read() is grpc.aio.EOF
        assert (await shown(governance.WatchProposal(request))).state == Shown.STATE_VETOED


async def test_watcher_that_goes_away_leaves_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled watch is no watch any more."""
    monkeypatch.setattr(limits, "PRINCIPAL_WATCHERS_MAX", 1)
    async with (
        governed(tmp_path) as here,
        here.client("admin") as admin,
        here.governance("admin") as governance,
    ):
        asked = await admin.change(Action.CEREMONY_STEP, STEP, signer=here.alice)
        request = governance_pb2.GetProposalRequest(name=asked.name)
        watch = governance.WatchProposal(request)
        await shown(watch)
        watch.cancel()
        found: set[object] = set()
        while Shown.STATE_OPEN not in found:  # the server hears of it when it does
            found.add(await outcome(governance.WatchProposal(request)))
        assert found <= {Shown.STATE_OPEN, grpc.StatusCode.RESOURCE_EXHAUSTED}


async def outcome(watch: Watch) -> object:
    """Return the first state that a watch tells, or how it failed."""
    try:
        return (await shown(watch)).state
    except grpc.aio.AioRpcError as error:
        return error.code()
