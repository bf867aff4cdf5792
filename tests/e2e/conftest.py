"""Deployments to copy from: made once in each test process, never served themselves once they are made."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployment import Deployment, copy_of, start_server, stop_server
from tests.e2e import desk


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """Keys signer and asked (P-256), eth (secp256k1), ed (Ed25519), hmac; the genesis policy."""
    return desk.make_fresh(tmp_path_factory.mktemp("e2e") / "fresh")


@pytest.fixture(scope="session")
def prepared(fresh: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """The same with desk.POLICY in force."""
    made = copy_of(fresh, tmp_path_factory.mktemp("e2e") / "prepared")
    desk.publish(made)
    return made


@pytest.fixture
def own(prepared: Deployment, tmp_path: Path) -> Iterator[Deployment]:
    """A prepared deployment of the test's own, not served yet; whatever serves it at the end is killed."""
    made = copy_of(prepared, tmp_path / "desk")
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait()


@pytest.fixture(scope="module")
def shared(prepared: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A prepared deployment that is served for all tests of a module, none of which may change it for good."""
    made = copy_of(prepared, tmp_path_factory.mktemp("e2e") / "shared")
    start_server(made)
    yield made
    stop_server(made)
