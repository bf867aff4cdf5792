"""The disk is full: I7 and I1 with a real file that may not grow."""

import asyncio
import sys
from pathlib import Path

from keyvault.v1 import signing_pb2
from tests.deployment import KEYVAULT, Deployment, start_server, stop_server
from tests.e2e import desk

START_S = 30
ROOM_BYTES = 400_000
"""What the ledger's write-ahead log may grow to: some hundred signatures."""
LIMITED = "import os, resource, sys; n = int(sys.argv[1]); resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)); "
LIMITED += "os.execv(sys.argv[2], sys.argv[2:])"


def limited(bytes_max: int) -> tuple[str, ...]:
    """Return how to start a server that can make no file longer; Python gets an error instead of SIGXFSZ."""
    return (sys.executable, "-c", LIMITED, str(bytes_max), *KEYVAULT)


async def exit_status(deployment: Deployment) -> int:
    """Return the status with which the server ended by itself."""
    assert deployment.process is not None
    status = await asyncio.to_thread(deployment.process.wait, START_S)
    deployment.process = None
    return status


async def test_disk_full_in_a_burst(own: Deployment) -> None:
    """I7: the term ends with 70 and says why; nothing that was answered is lost; restarted, each id has one answer."""
    requests = desk.mixed_requests("full", 600)
    answers: desk.Answers = {}
    bytes_max = max(own.ledger.stat().st_size, ROOM_BYTES)
    await asyncio.to_thread(start_server, own, command=limited(bytes_max))
    failed = await desk.burst(own, requests, answers)
    assert await exit_status(own) == 70
    assert 0 < len(answers) < len(requests)
    assert set(failed) <= desk.NOT_DONE
    assert_said(own.log, "the term ended", "writing to the ledger failed")
    desk.assert_recorded(answers, await asyncio.to_thread(desk.audited, own))
    await assert_goes_on(own, requests, answers)


async def assert_goes_on(
    deployment: Deployment, requests: list[signing_pb2.SignRequest], answers: desk.Answers
) -> None:
    """I3: with room again the same ids have the same answers, and one fact each."""
    await asyncio.to_thread(start_server, deployment)
    assert await desk.burst(deployment, requests, answers) == {}
    assert await asyncio.to_thread(stop_server, deployment) == 0
    events = await asyncio.to_thread(desk.audited, deployment)
    desk.assert_recorded(answers, events)
    assert set(desk.facts_by_id(events)) == {each.request_id for each in requests}


def assert_said(log: Path, *texts: str) -> None:
    """The log has a line with all these texts, and no traceback."""
    lines = log.read_text().splitlines()
    assert [line for line in lines if all(text in line for text in texts)], lines
    assert "Traceback" not in log.read_text()
