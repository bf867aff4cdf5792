from pathlib import Path

import pytest

from keyvault.hsm.create import CreatedToken, create_token
from tests.hsm.world import World, copy_of


@pytest.fixture(scope="session")
def token_template(tmp_path_factory: pytest.TempPathFactory) -> CreatedToken:
    """A new token; tests get copies, because an RSA key takes its time."""
    return create_token(tmp_path_factory.mktemp("token"), "hot")


@pytest.fixture
def world(token_template: CreatedToken, tmp_path: Path) -> World:
    """A token of this test's own."""
    return copy_of(token_template, tmp_path)
