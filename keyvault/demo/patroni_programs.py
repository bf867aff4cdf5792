"""Patroni, its etcd, and the configuration that we ship: where they are, and what is missing."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from keyvault.core.errors import KeyvaultError
from keyvault.demo.postgres_programs import START_S, NoPostgres, as_postgres, programs

_ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = _ROOT / "helm" / "patroni.yaml"
"""What operators are given. Nothing else is run here."""
_UNPACKED = _ROOT / ".etcd"
"""Where install-postgres.sh puts the distribution's etcd and Patroni's client of it."""
_CLIENT = _UNPACKED / "usr/lib/python3/dist-packages"
_POSTGRES = ("postgres", "initdb", "pg_basebackup", "pg_controldata", "pg_ctl", "pg_isready", "pg_rewind")
_CAPABILITIES = ("", "dac_read_search", "dac_override")
"""What root can lend the user postgres, the least first: an interpreter may stand in root's own home."""
_INSTALL = "run: sh keyvault/demo/install-postgres.sh"


class NoPatroni(KeyvaultError):
    """Patroni or etcd is not here, or cannot be run; the text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """What was found. ``capability``: what the user postgres needs to read Patroni's own files."""

    etcd: Path
    capability: str

    @property
    def versions(self) -> str:
        """What people are told."""
        said = subprocess.run((self.etcd, "--version"), capture_output=True, text=True, check=True)  # noqa: S603  etcd's own program
        return f"Patroni {version('patroni')}, etcd {said.stdout.splitlines()[0].rpartition(' ')[2]}"

    def patroni(self, config: Path) -> list[str]:
        """Return how Patroni is run as the user postgres."""
        return as_postgres([sys.executable, "-m", "patroni", str(config)], capability=self.capability)

    def write_folder(self, folder: Path) -> Path:
        """Return the folder of PostgreSQL's programs for Patroni; where there is a capability, they drop it."""
        if not self.capability:
            return programs()
        folder.mkdir()
        for name in _POSTGRES:
            script = folder / name
            script.write_text(
                f'#!/bin/sh\nexec setpriv --inh-caps=-all --ambient-caps=-all "{programs() / name}" "$@"\n'
            )
            script.chmod(0o755)
        return folder


@cache
def patroni_programs() -> Programs:
    """Return what is needed to run Patroni. Raises NoPatroni."""
    if find_spec("patroni") is None:
        raise NoPatroni("Patroni is not installed; run: make setup")
    if not EXAMPLE.is_file():
        raise NoPatroni(f"{EXAMPLE} is not there: Patroni runs from a checkout only")
    etcd = shutil.which("etcd") or shutil.which("etcd", path=str(_UNPACKED / "usr/bin"))
    if etcd is None:
        raise NoPatroni(f"etcd is not installed; {_INSTALL}")
    if find_spec("etcd") is None and not (_CLIENT / "etcd").is_dir():
        raise NoPatroni(f"Patroni's client of etcd is not installed; {_INSTALL}")
    programs()
    failed = ""
    for capability in _CAPABILITIES if os.geteuid() == 0 else ("",):
        failed = _trial(capability)
        if not failed:
            return Programs(etcd=Path(etcd), capability=capability)
    raise NoPatroni(f"the user who runs PostgreSQL cannot run Patroni: {failed}")


def _trial(capability: str) -> str:
    """Return why Patroni cannot be run; nothing if it can. It starts Python again by itself, so the trial does, too."""
    again = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', sys.argv[1]]))"
    command = [sys.executable, "-c", again, "import patroni.__main__, patroni.dcs.etcd3, psycopg"]
    try:
        done = subprocess.run(  # noqa: S603  Python, with our own words
            as_postgres(command, capability=capability),
            env=environment(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stderr.strip().rpartition("\n")[2] or "no reason given" if done.returncode else ""


def environment() -> dict[str, str]:
    """Return what Patroni sees of ours: none of the caller's PATRONI_ variables counts."""
    return {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(_CLIENT), "LC_ALL": "C.UTF-8"}


def missing() -> str:
    """Return why Patroni cannot be run here; nothing if it can."""
    try:
        patroni_programs()
    except (NoPatroni, NoPostgres) as error:
        return str(error)
    return ""
