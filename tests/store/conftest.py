"""Worlds for the contract."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.worlds import World, memory_world, sqlite_world


@pytest.fixture(params=["memory", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Give one world of each kind."""
    if request.param == "memory":
        yield memory_world(tmp_path)
        return
    with sqlite_world(tmp_path) as sqlite:
        yield sqlite
