"""A deployment to make nodes from."""

import pytest

from tests.deployment import Deployment
from tests.e2e import desk


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """Keys and desk.POLICY; not served."""
    made = desk.make_fresh(tmp_path_factory.mktemp("ha") / "prepared")
    desk.publish(made)
    return made


@pytest.fixture(scope="session")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """The same with keys that move between tokens."""
    made = desk.make_fresh(tmp_path_factory.mktemp("ha-moving") / "moving", moves=True)
    desk.publish(made)
    return made
