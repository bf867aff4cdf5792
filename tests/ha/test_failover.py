"""Real nodes over real PostgreSQL, under load, and one of them breaks: no signature lost, none repeated."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.deployment import Deployment
from tests.ha.nodes import Load, Nodes, check_history, nodes, sign_forever

AFTER = 300
"""Signatures that must come after the fault."""


async def _kill(here: Nodes, leader: Deployment) -> None:
    await asyncio.to_thread(here.kill, leader)


async def _stop(here: Nodes, leader: Deployment) -> None:
    assert await asyncio.to_thread(here.stop, leader) == 0


async def _pause(here: Nodes, leader: Deployment) -> None:
    here.signal(leader, signal.SIGSTOP)


@pytest.mark.parametrize("fault", [_kill, _stop, _pause])
async def test_another_takes_over(
    prepared: Deployment, tmp_path: Path, fault: Callable[[Nodes, Deployment], Awaitable[None]]
) -> None:
    """The leader is killed, stopped, or hangs: the bot sees no failed call, and the history is one history."""
    with nodes(tmp_path, prepared) as here:
        leader = await here.until_leading()
        load, done = Load(), asyncio.Event()
        async with here.client() as bot:
            working = asyncio.create_task(sign_forever(bot, load, "r", done))
            await _until(lambda: len(load.signings) >= 100)
            broke_at = time.monotonic()
            await fault(here, leader)
            before = len(load.signings)
            await _until(lambda: len(load.signings) >= before + AFTER)
            done.set()
            await working
        assert load.errors == []
        assert load.longest_gap_s(broke_at) > 0
        if fault is _pause:
            here.signal(leader, signal.SIGCONT)
        check_history(load, await asyncio.to_thread(here.audited, tmp_path))


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  the condition is about what other tasks count
            await asyncio.sleep(0.01)
