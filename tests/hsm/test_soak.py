"""Many at once, for a while: two workers with two lanes each, all algorithms, and keys being made meanwhile."""

import asyncio
import os
import time
from dataclasses import replace

import pytest

from keyvault.core import limits
from keyvault.core.keys import KeyAlgorithm
from keyvault.hsm.base import SignItem
from keyvault.hsm.lane import WorkerLane
from keyvault.hsm.supervisor import TokenSupervisor
from tests.hsm.world import World, codes, make_key, running

SECONDS = float(os.environ.get("KEYVAULT_SOAK_SECONDS", "60"))
LOOKS_MAX = 10
"""A key that was just made is found by every process after a few looks; what asks again then finds it."""
MADE_MAX = 60
"""Keys made during the soak: SoftHSM searches all objects, so a token full of them measures something else."""


async def sign_until(end: float, lane: WorkerLane, items: list[SignItem]) -> int:
    """Sign on one lane until the end; return how many. Fails at the first fault."""
    count = 0
    while time.monotonic() < end:
        results = await lane.sign(items)
        assert codes(results) == ["signed"] * len(items)
        count += len(items)
    return count


async def sign_soon(lane: WorkerLane, item: SignItem) -> None:
    """Sign with a key that was made a moment ago. SoftHSM may miss at first what another process just wrote."""
    answer = codes(await lane.sign([item]))
    for _ in range(LOOKS_MAX):
        if answer != ["OBJECT_NOT_FOUND"]:
            break
        await asyncio.sleep(0.05)
        answer = codes(await lane.sign([item]))
    assert answer == ["signed"]


async def make_until(end: float, token: TokenSupervisor, world: World) -> int:
    """Make keys of all kinds, evenly over the time; each new one signs on every lane."""
    pause = (end - time.monotonic()) / MADE_MAX
    for number in range(MADE_MAX):
        algorithm = tuple(KeyAlgorithm)[number % len(KeyAlgorithm)]
        item = await make_key(token, world, algorithm, b"made-%d" % number)
        await asyncio.gather(*(sign_soon(lane, item) for lane in token.lanes))
        await asyncio.sleep(min(pause, max(0.0, end - time.monotonic())))
        if time.monotonic() >= end:
            return number + 1
    return MADE_MAX


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 60)
async def test_two_lanes_and_two_workers_sign_without_an_error(world: World) -> None:
    """Two threads in each of two workers sign for a minute while keys are made: no fault, no worker replaced."""
    async with running(replace(world.config, workers=2, lanes_per_worker=2)) as token:
        items = [await make_key(token, world, algorithm) for algorithm in KeyAlgorithm]
        batch = (items * limits.TOKEN_BATCH_MAX)[: limits.TOKEN_BATCH_MAX]
        end = time.monotonic() + SECONDS
        made, *signed = await asyncio.gather(
            make_until(end, token, world),
            *(sign_until(end, lane, batch if index % 2 else items) for index, lane in enumerate(token.lanes)),
        )
        assert made > 0
        assert all(count > 0 for count in signed)
        assert token.worker_starts == 2
