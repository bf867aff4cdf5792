from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.client.scripted import ScriptedServer, Time, scripted


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ScriptedServer]:
    """A server of this test's own."""
    async with scripted(tmp_path) as running:
        yield running


@pytest.fixture
def time() -> Time:
    """A clock of this test's own."""
    return Time()
