"""I2: state is the fold of the ledger, of a real one that a real server wrote."""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import closing

import pytest

from keyvault import app, config
from keyvault.client import NeedsApproval
from keyvault.core.approvals import Voice
from keyvault.core.events import Event
from keyvault.core.state import State
from keyvault.core.statements import FreezeScope
from keyvault.engine.observer import Step
from keyvault.engine.recovery import recover
from keyvault.store.sqlite import open_store
from tests.deployment import Deployment
from tests.e2e import desk
from tests.intents.building import dynamic_fee


class Watcher:
    """Keeps the state that the server decides by."""

    def __init__(self) -> None:
        self.live = State.empty()
        self.facts = 0

    def step(self, step: Step, count: int) -> None:
        """See Observer."""

    def committed(self, first: int, events: Sequence[Event], state: State, duration_s: float) -> None:  # noqa: ARG002  Observer's
        """See Observer."""
        self.live = state
        self.facts += len(events)

    def token_fault(self, code: str) -> None:
        """See Observer."""


async def work(deployment: Deployment) -> None:
    """Sign, refuse, ask, approve, freeze, and change keys; at the end nothing of the state is what it was."""
    answers: desk.Answers = {}
    async with desk.admin(deployment) as admin, desk.bot(deployment) as bot:
        for _ in range(3):
            await bot.sign_evm_transaction("eth", dynamic_fee())
        await bot.sign_binance("hmac", query=desk.order())
        assert await desk.burst(deployment, desk.mixed_requests("replay", 100), answers) == {}
        for digest in (b"a" * 32, b"b" * 32):  # one is approved and signed, the other waits
            with pytest.raises(NeedsApproval) as waiting:
                await bot.sign_digest("asked", digest, request_id=f"asked-{digest[0]}")
            if digest[0] == ord("a"):
                proposal = await admin.get_proposal(waiting.value.proposal)
                await admin.cast(proposal, Voice.APPROVE, desk.member(deployment, "carol"))
                await bot.sign_digest("asked", digest, request_id=f"asked-{digest[0]}")
        desk.assert_done(await admin.rotate_key("signer", **desk.two(deployment)))
        desk.assert_done(await admin.disable_key("ed", signer=desk.member(deployment)))
        desk.assert_done(await admin.freeze(FreezeScope.KEY, "eth", signer=desk.member(deployment, "bob")))


async def test_replay_equals_live(own: Deployment) -> None:
    """I2: the state that a server ended with, windows of limits included, is what its ledger folds to."""
    watcher, port = Watcher(), asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(app.serve(config.load(own.config), on_ready=port.set_result, observer=watcher))
    own.port = await port
    try:
        await work(own)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)  # the server in this process takes it, and drains
    assert await serving == app.EXIT_OK
    assert watcher.facts > 100
    with closing(open_store(own.ledger, create=False)) as store:
        assert recover(store).state == watcher.live
    assert watcher.live != State.empty()
