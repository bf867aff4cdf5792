"""Real nodes over real PostgreSQL, under load, and one of the nodes breaks: no signature lost, none repeated."""

import asyncio
from collections.abc import Callable

import pytest

from keyvault.demo.nodes import Node
from tests.ha.world import ENDED, Shared


def _stop(node: Node) -> None:
    assert node.stop() == 0


@pytest.mark.parametrize("fault", [Node.kill, _stop])
async def test_another_takes_over(shared: Shared, fault: Callable[[Node], None]) -> None:
    """The leader is killed or stopped: the bot sees no failed call, and the history is one history."""
    async with shared.trial() as trial:
        await asyncio.to_thread(fault, trial.leader)
        await trial.other_leads()
        await trial.signed_more()
        trial.leader.start()


async def test_a_leader_that_hangs_writes_nothing_when_it_wakes(shared: Shared) -> None:
    """SIGSTOP: another leads within seconds. SIGCONT: the old leader ends its term, and nothing of it is written."""
    async with shared.trial() as trial:
        before = len(trial.leader.said(ENDED))
        trial.leader.pause()
        await trial.other_leads()
        await trial.signed_more()
        trial.leader.resume()
        await trial.until_term_ended(before)
        await trial.signed_more()
        for node in trial.here.nodes:  # to follow is no fault of the token
            assert "the token has had no worker" not in node.log.read_text()
