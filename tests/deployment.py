"""A real deployment for tests: made by ``keyvault init``, served by ``keyvault serve`` in a process of its own.

``new_deployment`` makes a token and its RSA key, which takes a second or more; ``copy_of`` makes another deployment
from one that is not being served, with the same keys and ledger, in some milliseconds.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

KEYVAULT = (sys.executable, "-m", "keyvault")
START_S = 30
"""Longest start of a server on a busy machine."""
STOP_S = 20


class ServerFailed(Exception):
    """The server ended before it accepted calls; the text is its log."""


@dataclass(slots=True, kw_only=True)
class Deployment:
    """A folder of ``keyvault init``, and its server while one runs."""

    dir: Path
    process: subprocess.Popen[bytes] | None = field(default=None)
    port: int = 0

    @property
    def config(self) -> Path:
        """Its configuration; it listens on port 0."""
        return self.dir / "keyvault.toml"

    @property
    def ledger(self) -> Path:
        """The file of its ledger."""
        return self.dir / "ledger.db"

    @property
    def log(self) -> Path:
        """What its servers said, all runs one after the other."""
        return self.dir / "server.log"

    @property
    def log_vkey(self) -> str:
        """What an auditor pins."""
        return (self.dir / "log.vkey").read_text().strip()


def new_deployment(directory: Path, *options: str) -> Deployment:
    """Make a deployment in a new directory: enclave hot, trust domain keyvault.local, bot demo.

    Its members are alice and bob (admins) and carol (approver); a policy that loosens waits a second.
    """
    arguments = (*KEYVAULT, "init", str(directory), "--listen", "127.0.0.1:0", "--delay", "1s", *options)
    subprocess.run(arguments, check=True, capture_output=True, timeout=60)
    return Deployment(dir=directory)


def copy_of(original: Deployment, directory: Path) -> Deployment:
    """Make the same deployment in a new directory, its keys and ledger included. The original must not be served."""
    shutil.copytree(original.dir, directory, ignore=shutil.ignore_patterns("*.lock.*", "port", "server.log"))
    conf = directory / "token" / "softhsm2.conf"
    conf.write_text(conf.read_text().replace(str(original.dir), str(directory)))  # SoftHSM wants a full path
    return Deployment(dir=directory)


def start_server(deployment: Deployment, *, command: tuple[str, ...] = KEYVAULT) -> None:
    """Start the server and return as soon as it accepts calls; raise ServerFailed if it ends before."""
    reading, writing = os.pipe()
    arguments = ("serve", "--config", str(deployment.config), "--port-file", str(deployment.dir / "port"))
    with deployment.log.open("ab") as log:
        try:
            deployment.process = subprocess.Popen(
                (*command, *arguments, "--ready-fd", str(writing)), stdout=log, stderr=log, pass_fds=(writing,)
            )
        finally:
            os.close(writing)
    with os.fdopen(reading) as ready:
        port = ready.readline().strip()  # ends with the process at the latest
    if not port:
        deployment.process.wait(START_S)
        raise ServerFailed(deployment.log.read_text())
    deployment.port = int(port)


def stop_server(deployment: Deployment, number: signal.Signals = signal.SIGTERM) -> int:
    """Send the signal and return the exit status (negative: killed by that signal)."""
    process = deployment.process
    if process is None:
        return 0
    process.send_signal(number)
    try:
        status = process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
    deployment.process = None
    return status


@contextmanager
def deployment(directory: Path, *options: str) -> Iterator[Deployment]:
    """Give a new deployment in ``directory / "desk"`` that is being served; stop it at the end."""
    made = new_deployment(directory / "desk", *options)
    with served(made):
        yield made


@contextmanager
def served(made: Deployment) -> Iterator[Deployment]:
    """Serve a deployment for a while. Whoever stops or kills the server inside may start it again or not."""
    start_server(made)
    try:
        yield made
    finally:
        if made.process is not None:
            stop_server(made)


def run_keyvault(
    *arguments: str, stdin: str = "", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end, as a user would; nothing of KEYVAULT_* comes from our own environment."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KEYVAULT_")}
    return subprocess.run(
        (*KEYVAULT, *arguments),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=clean | (env or {}),
    )
