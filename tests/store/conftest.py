"""Worlds for the contract."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from keyvault.demo.postgres import Cluster, cluster
from keyvault.demo.postgres_programs import memory
from keyvault.store.postgres.migrate import migrate
from tests.store.worlds import (
    SharedWorld,
    World,
    memory_world,
    postgres_world,
    shared_memory_world,
    shared_postgres_world,
    sqlite_world,
)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """Give one PostgreSQL server with our schema, for all tests of this process."""
    with cluster(standbys=0, parent=memory()) as made:
        migrate(made.admin_conninfo())
        made.create_roles()
        yield made


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Give one world of each kind."""
    if request.param == "memory":
        yield memory_world(tmp_path)
        return
    if request.param == "postgres":
        with postgres_world(tmp_path, request.getfixturevalue("postgres")) as postgres:
            yield postgres
        return
    with sqlite_world(tmp_path) as sqlite:
        yield sqlite


@pytest.fixture(params=["memory", "postgres"])
def shared_world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SharedWorld]:
    """Give one world of each kind that nodes can share."""
    if request.param == "memory":
        yield shared_memory_world()
        return
    with shared_postgres_world(tmp_path, request.getfixturevalue("postgres")) as postgres:
        yield postgres
