"""Which of the deployment's files a command needs, and whose log key it pins."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.deployment import Deployment

Run = Callable[..., Result]


def at(desk: Deployment) -> tuple[str, ...]:
    """Return the options that keyvault.toml would give."""
    return ("--target", f"127.0.0.1:{desk.port}", "--enclave", "hot")


def files(desk: Deployment) -> tuple[object, ...]:
    """Return the options that name an admin's files."""
    certs = desk.dir / "certs"
    credential = ("--cert", certs / "admin-alice.crt", "--cert-key", certs / "admin-alice.key")
    return ("--ca", desk.dir / "ca" / "ca.crt", *credential)


@pytest.mark.parametrize("pinned", [True, False])
def test_a_member_s_folder_needs_no_configuration(
    offline: Run, desk: Deployment, tmp_path: Path, *, pinned: bool
) -> None:
    """A folder with authority, certificates and keys serves who names server and enclave; log.vkey is looked at."""
    for name in ("ca", "certs", "members"):
        shutil.copytree(desk.dir / name, tmp_path / name)
    if pinned:
        shutil.copy(desk.dir / "log.vkey", tmp_path)
    where = ("--deployment", tmp_path, *at(desk))
    for command in (("key", "list"), ("freeze", "venue", "binance", "--member", "alice"), ("proposals", "list")):
        result = offline(*command, *where)
        assert result.exit_code == 0, result.stderr
    assert offline("thaw", "venue", "binance", "--member", "alice", "--approve-with", "bob", *where).exit_code == 0


def test_a_folder_that_is_gone_stops_nothing(offline: Run, desk: Deployment, tmp_path: Path) -> None:
    """Who gives every option is not asked for what KEYVAULT_DEPLOYMENT names."""
    result = offline("key", "list", "--deployment", tmp_path / "gone", *at(desk), *files(desk))
    assert result.exit_code == 0, result.stderr
