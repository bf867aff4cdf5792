"""install-postgres.sh where it can install nothing. What it installs where it can is what other tests run."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "keyvault/demo/install-postgres.sh"
TOOLS = ("basename", "dirname", "env", "sh", "true")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """Return a copy of the script in a checkout where nothing is unpacked, on a machine that has hardly a program."""
    copy = tmp_path / "keyvault/demo" / SCRIPT.name
    copy.parent.mkdir(parents=True)
    shutil.copyfile(SCRIPT, copy)
    programs = tmp_path / "bin"
    programs.mkdir()
    for tool in TOOLS:
        (programs / tool).symlink_to(str(shutil.which(tool)))
    return copy


def _run(script: Path, folders: Path) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": str(script.parents[2] / "bin"), "KEYVAULT_POSTGRES_FOLDERS": str(folders)}
    return subprocess.run(("sh", str(script)), env=environment, capture_output=True, text=True, check=False, timeout=30)


def _postgres(folder: Path, version: str) -> Path:
    programs = folder / version / "bin"
    programs.mkdir(parents=True)
    for name in ("initdb", "postgres"):
        (programs / name).symlink_to("/bin/true")
    return programs


@pytest.mark.parametrize("version", ["", "14"])
def test_without_postgresql_it_says_the_command(script: Path, tmp_path: Path, version: str) -> None:
    """No server, or too old a one, and no apt: exit 1 and what to run."""
    folders = _postgres(tmp_path, version) if version else tmp_path / "nothing"
    done = _run(script, folders)
    assert done.returncode == 1
    assert "there is no apt-get" in done.stderr
    assert "sudo apt-get install -y" in done.stderr


def test_without_etcd_it_says_what_does_not_work(script: Path, tmp_path: Path) -> None:
    """PostgreSQL is there, etcd is not, and no apt: exit 0, and that Patroni is not used."""
    done = _run(script, _postgres(tmp_path, "15"))
    assert (done.returncode, done.stdout) == (0, f"PostgreSQL is installed: {tmp_path}/15/bin\n")
    assert "without Patroni" in done.stderr
    assert not (tmp_path / ".etcd").exists()


def test_without_etcd_the_demo_knows_why(tmp_path: Path) -> None:
    """A checkout in which etcd was never unpacked: what demo and bench tell says what to run."""
    for name in ("keyvault", "helm"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    asked = "from keyvault.demo.patroni_programs import missing; print(missing())"
    environment = {"PATH": str(tmp_path), "PYTHONPATH": str(tmp_path)}
    command = (sys.executable, "-c", asked)
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "etcd is not installed; run: sh keyvault/demo/install-postgres.sh\n"
