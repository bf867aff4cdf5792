"""Faults of our own side: no descriptors left, errors that nobody foresaw. The lane outlives them all."""

import asyncio
import os
import signal

import pytest

from keyvault.core.keys import KeyAlgorithm
from keyvault.core.limits import VERIFY_HERE_MAX
from keyvault.hsm import lane as lane_module
from keyvault.hsm.channel import open_channel
from keyvault.hsm.process import Link, WorkerProcess, WorkerSlot
from keyvault.hsm.supervisor import TokenSupervisor
from keyvault.hsm.watch import watch
from tests.hsm.test_faults import children, sign_again
from tests.hsm.test_start import run_server
from tests.hsm.world import World, codes, make_key, running

EXHAUSTED = """
import asyncio, contextlib, os, resource, signal, sys
from pathlib import Path
from keyvault.core.keys import KeyAlgorithm
from keyvault.core.limits import VERIFY_HERE_MAX
from keyvault.hsm.base import SignItem, TokenFault
from keyvault.hsm.config import TokenConfig
from keyvault.hsm.supervisor import open_token
module, label, pin_file, conf = sys.argv[1:]
taken = []

def fill():
    with contextlib.suppress(OSError):
        while True:
            taken.append(os.dup(0))

def free():
    while taken:
        os.close(taken.pop())

def children(name):
    tasks = Path(f"/proc/{os.getpid()}/task").iterdir()
    pids = [pid for task in tasks for pid in (task / "children").read_text().split()]
    return [int(pid) for pid in pids if name in Path(f"/proc/{pid}/cmdline").read_bytes()]

def codes(results):
    return {result.code if isinstance(result, TokenFault) else "signed" for result in results}

async def until(lane, item, count, code):
    while True:
        fill()
        if codes(await lane.sign([item] * count)) == {code}:
            return
        await asyncio.sleep(0)

async def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    config = TokenConfig(
        module=Path(module), label=label, pin_file=Path(pin_file), softhsm2_conf=Path(conf), workers=1
    )
    token = await open_token(config)
    (lane,) = token.lanes
    public_key = await token.generate(b"k", KeyAlgorithm.P256)
    item = SignItem(object_id=b"k", algorithm=KeyAlgorithm.P256, public_key=public_key, input=bytes(32))
    batch = [item] * (VERIFY_HERE_MAX + 1)
    print(codes(await lane.sign(batch)))
    before = len(os.listdir("/proc/self/fd"))
    (worker,), (checker,) = children(b"hsm.worker"), children(b"hsm.checker")
    fill()
    os.kill(checker, signal.SIGKILL)
    await until(lane, item, len(batch), "NOT_CHECKED")
    await until(lane, item, len(batch), "NOT_CHECKED")
    os.kill(worker, signal.SIGKILL)
    await until(lane, item, 1, "WORKER_NOT_STARTED")
    free()
    await lane.ready()
    print(codes(await lane.sign(batch)))
    print(len(os.listdir("/proc/self/fd")) - before, token.worker_starts)
    await token.close()

asyncio.run(main())
"""


def kill_worker() -> None:
    (worker,) = children()
    os.kill(worker, signal.SIGKILL)


async def until_started(token: TokenSupervisor, starts: int) -> None:
    """Return when so many workers were started."""
    while token.worker_starts < starts:  # noqa: ASYNC110 - a thread's progress is no event of ours
        await asyncio.sleep(0)


def test_a_server_without_descriptors_signs_again_when_it_has_some(world: World) -> None:
    """Worker and checker die while no descriptor is free: faults that say so, then the lane is back, nothing leaks."""
    done = run_server(world, EXHAUSTED)
    assert done.stderr.count("Traceback") == 0, done.stderr
    assert done.stdout.splitlines() == ["{'signed'}", "{'signed'}", "0 2"]


async def test_a_lane_whose_channel_cannot_be_opened_comes_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice in a row opening the channel fails in a way that nobody foresaw; the third worker signs."""
    failures = [ZeroDivisionError(), OSError("no channel today")]

    async def failing(*arguments: object) -> object:
        if failures:
            raise failures.pop()
        return await open_channel(*arguments)  # type: ignore[arg-type]  # handed on as they came

    async with running(world.config) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        monkeypatch.setattr(lane_module, "open_channel", failing)
        kill_worker()
        await until_started(token, 4)
        assert await sign_again(token, item) == ["signed"]
        assert not failures
        assert len(children()) == 1


async def test_a_lane_whose_slot_fails_comes_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slot fails before it starts anything; the lane says LANE_FAILED, waits a little and asks it again."""
    failures = [ZeroDivisionError()]
    link = WorkerSlot.link

    def failing(slot: WorkerSlot, index: int) -> Link:
        if failures:
            raise failures[0]
        return link(slot, index)

    async with running(world.config) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        monkeypatch.setattr(WorkerSlot, "link", failing)
        kill_worker()
        while codes(await token.lanes[0].sign([item])) != ["LANE_FAILED"]:  # noqa: ASYNC110 - the worker's end is no event of ours
            await asyncio.sleep(0)
        failures.clear()
        assert await sign_again(token, item) == ["signed"]


async def test_batches_are_answered_when_ending_their_worker_fails(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker dies with one batch, another one waits, and the kill raises: both are answered, the lane is back."""
    failures = [ZeroDivisionError()]
    kill = WorkerProcess.kill

    def failing(process: WorkerProcess) -> None:
        if failures:
            raise failures.pop()
        kill(process)

    async with running(world.faulty("die")) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        monkeypatch.setattr(WorkerProcess, "kill", failing)
        world.trigger.touch()
        answers = await asyncio.gather(*(token.lanes[0].sign([item] * (VERIFY_HERE_MAX + 1)) for _ in range(3)))
        assert {code for results in answers for code in codes(results)} <= {"WORKER_DIED", "WORKER_REPLACED"}
        assert await sign_again(token, item) == ["signed"]
        assert not failures


async def test_a_token_without_workers_is_told_once_and_so_is_its_return(world: World) -> None:
    """With the PIN file gone no worker starts: the watch says so once, and again once when there is a worker."""
    said: asyncio.Queue[bool] = asyncio.Queue()
    hidden = world.folder / "hidden.pin"
    async with running(world.config) as token:

        async def until_told(*, able: bool) -> None:
            assert await said.get() is able
            assert token.has_worker is able

        watching = asyncio.create_task(watch(lambda: token.has_worker, said.put, down_ms=50, look_ms=5))
        world.created.pin_file.rename(hidden)
        kill_worker()
        await until_told(able=False)
        hidden.rename(world.created.pin_file)
        await until_told(able=True)
        watching.cancel()
        assert said.empty()


async def test_a_latched_token_has_no_worker(world: World) -> None:
    """A refused PIN lets nobody wait for a lane, but nobody is told that something can be signed."""
    async with running(world.faulty("die")) as token:
        item = await make_key(token, world, KeyAlgorithm.P256)
        world.created.pin_file.write_text("12345678")
        world.trigger.touch()
        assert codes(await token.lanes[0].sign([item])) == ["WORKER_DIED"]
        assert await sign_again(token, item) == ["PIN_LATCHED"]
        assert token.lanes[0].is_up
        assert not token.has_worker
