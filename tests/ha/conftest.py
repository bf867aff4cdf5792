"""A deployment to make nodes from, and what runs for many tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from keyvault.demo.postgres import Cluster, cluster
from keyvault.demo.postgres_programs import memory
from tests.e2e import desk
from tests.ha.world import Shared


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a deployment with keys and desk.POLICY; not served."""
    made = desk.make_fresh(tmp_path_factory.mktemp("ha") / "prepared")
    desk.publish(made)
    return made.dir


@pytest.fixture(scope="session")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the same with keys that move between tokens."""
    made = desk.make_fresh(tmp_path_factory.mktemp("ha-moving") / "moving", moves=True)
    desk.publish(made)
    return made.dir


@pytest.fixture(scope="session")
def shared(prepared: Path) -> Iterator[Shared]:
    """Lend one world, to be given back as it was."""
    made = Shared(prepared)
    yield made
    made.close()


@pytest.fixture(scope="session")
def spare() -> Iterator[Cluster]:
    """Give three servers on which each test has a database of its own, and may lose what stands in the others."""
    with cluster(standbys=2, parent=memory()) as made:
        yield made
