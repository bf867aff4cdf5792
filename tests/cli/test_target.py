"""Which of the deployment's files a command needs, and whose log key it pins."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from keyvault.cli.main import cli
from keyvault.ledger.note import verifier
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


@pytest.fixture
def other_key(desk: Deployment, tmp_path: Path) -> Path:
    """A file with another key under the name of the ledger's."""
    path = tmp_path / "other.vkey"
    path.write_text(verifier(desk.log_vkey.partition("+")[0], b"k" * 32).vkey)
    return path


@pytest.mark.parametrize(
    "command",
    [
        "policy show",
        "charter show",
        "key list",
        "key versions desk",
        "freeze list",
        "proposals list",
        "audit show --live",
        "audit proof 0",
        "freeze venue binance --member alice",
    ],
)
def test_another_log_is_asked_nothing(keyvault: Run, desk: Deployment, other_key: Path, command: str) -> None:
    """Where the pinned key is not the server's, every command says which file pins it, both keys, and what to do."""
    result = keyvault(*command.split(), "--vkey-file", other_key)
    assert (result.exit_code, result.stdout) == (6, "")
    assert result.stderr.startswith("Not verified: ")
    for word in (desk.log_vkey, other_key.read_text(), f"{other_key} says which one is expected", "security team"):
        assert word in result.stderr
    assert keyvault("freeze", "list").stdout == "Nothing is frozen.\n"


@pytest.mark.parametrize("command", ["cluster status", "token list", "key list", "policy show"])
def test_whoever_asks_is_the_member_of_the_environment(
    offline: Run, desk: Deployment, tmp_path: Path, command: str
) -> None:
    """What members read they read with their own certificate, whichever command it is: also where there are several.

    A folder with certificates of two admins and nobody else: without KEYVAULT_MEMBER nobody knows who asks. A member
    without a certificate is nobody, and what is no name opens no file.
    """
    folder = tmp_path / "desk"
    shutil.copytree(desk.dir, folder, ignore=shutil.ignore_patterns("auditor-*", "approver-*", "bot-*", "*.db*"))
    arguments = (*command.split(), *at(desk), "--deployment", folder)
    assert "has 2 files" in offline(*arguments).stderr
    for member, code in (("bob", 0), ("nobody", 2), ("../bob", 2)):
        asking = CliRunner(env={"KEYVAULT_MEMBER": member, "KEYVAULT_VKEY_FILE": None})
        assert asking.invoke(cli, [str(each) for each in arguments]).exit_code == code, member


def test_what_cannot_check_the_key_does_not_take_it(keyvault: Run, other_key: Path) -> None:
    """A bot may not ask which log a server has, so what bots do has no --vkey-file."""
    for command in (("key", "show", "desk"), ("sign", "digest", "--key", "desk", "0x" + "11" * 32)):
        result = keyvault(*command, "--vkey-file", other_key)
        assert result.exit_code == 2
        assert "No such option" in result.stderr


def test_the_environment_names_the_key_for_audits_too(offline: Run, desk: Deployment, other_key: Path) -> None:
    """KEYVAULT_VKEY_FILE pins what `audit verify` reads from a file, as it does for commands that ask a server."""
    assert offline("audit", "verify", desk.ledger).exit_code == 0
    result = CliRunner(env={"KEYVAULT_VKEY_FILE": str(other_key)}).invoke(cli, ["audit", "verify", str(desk.ledger)])
    assert result.exit_code == 1
    assert other_key.read_text() in result.stdout


def test_several_servers(offline: Run, desk: Deployment) -> None:
    """The server that is there is found among several, wherever it stands in the list."""
    here = f"127.0.0.1:{desk.port}"
    for target in (f"127.0.0.1:1,{here}", f"{here}, 127.0.0.1:1,127.0.0.1:2"):
        result = offline("key", "list", "--target", target, "--enclave", "hot", *files(desk))
        assert result.exit_code == 0, result.stderr


def test_several_servers_that_are_not_there(offline: Run, desk: Deployment) -> None:
    """Who finds nobody is told what each address said last."""
    where = ("--target", "127.0.0.1:1,127.0.0.1:2", "--enclave", "hot", "--timeout", "0.2")
    result = offline("key", "list", *where, *files(desk))
    assert result.exit_code == 4
    assert "last heard: 127.0.0.1:1 UNAVAILABLE, 127.0.0.1:2 UNAVAILABLE" in result.stderr


@pytest.mark.parametrize("target", ["a:7443,a:7443", "a:7443,b", ",", "a:1,b:1,c:1,d:1,e:1,f:1,g:1,h:1,i:1"])
def test_servers_that_cannot_be(offline: Run, desk: Deployment, target: str) -> None:
    """A list that is none is refused as such, before any file is opened."""
    result = offline("key", "list", "--target", target, "--enclave", "hot", "--ca", "nowhere", *files(desk)[2:])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "target: names" in result.stderr or "is not host:port" in result.stderr
