"""A deployment in a folder, its commands and its server, as processes of their own: as an operator runs them."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keyvault.client import AsyncClient, Credentials
from keyvault.core.errors import KeyvaultError

COMMAND_S = 60.0
"""Longest run of one command."""
START_S = 30.0
"""From exec until the server accepts calls."""
STOP_S = 15.0
"""From SIGTERM until the server has drained."""
CALL_S = 20.0
"""One call through the SDK, retries included."""
ENCLAVE = "hot"


class DemoFailed(KeyvaultError):
    """A part of the demo did not do what it was asked, so that the story cannot go on."""


class Deployment:
    """A folder of ``keyvault init`` and the server on it, if one runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def ledger(self) -> Path:
        """The database file of the ledger."""
        return self.folder / "ledger.db"

    @property
    def log_vkey(self) -> str:
        """What an auditor pins: the key of the checkpoints, as ``keyvault init`` wrote it."""
        return (self.folder / "log.vkey").read_text().strip()

    def start(self) -> float:
        """Start the server; return after how many seconds it accepted calls."""
        began = time.monotonic()
        ours, theirs = os.pipe()
        served = ("--config", str(self.folder / "keyvault.toml"), "--port-file", str(self.folder / "port"))
        with os.fdopen(ours) as ready, self._log.open("ab") as log:
            try:
                self._server = subprocess.Popen(  # noqa: S603  our own program, our own arguments
                    (*_PYTHON, "keyvault", "serve", *served, "--ready-fd", str(theirs)),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(theirs,),
                    start_new_session=True,  # Ctrl-C is for the demo, which ends its server itself
                )
            finally:
                os.close(theirs)
            readable, _, _ = select.select([ready], [], [], START_S)
            line = ready.readline() if readable else ""
        if not line:
            raise DemoFailed(f"the server did not start:\n{self.last_words()}")
        self.port = int(line)
        return time.monotonic() - began

    def kill(self) -> None:
        """SIGKILL the server: it gets no chance to tidy up."""
        if self._server is not None:
            self._server.kill()
            self._server.wait(STOP_S)
            self._server = None

    def stop(self) -> int:
        """SIGTERM the server, let it drain, and return its exit status."""
        if self._server is None:
            raise DemoFailed("no server runs")
        self._server.terminate()
        try:
            status = self._server.wait(STOP_S)
        except subprocess.TimeoutExpired:
            raise DemoFailed(f"the server did not drain within {STOP_S:.0f} s:\n{self.last_words()}") from None
        self._server = None
        return status

    def client(self, identity: str, **expected: bytes) -> AsyncClient:
        """Return a client with the certificate of ``bot-demo`` or the like, which expects these public keys."""
        certs = self.folder / "certs"
        credentials = Credentials.from_files(
            self.folder / "ca" / "ca.crt", certs / f"{identity}.crt", certs / f"{identity}.key"
        )
        return AsyncClient(
            f"127.0.0.1:{self.port}",
            credentials,
            enclave=ENCLAVE,
            deadline_s=CALL_S,
            expected_keys={name.replace("_", "-"): key for name, key in expected.items()},
            expected_log_vkey=self.log_vkey,
        )

    def last_words(self) -> str:
        """Return the end of the server's log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-5:]) if self._log.exists() else ""

    def started(self) -> dict[str, object]:
        """Return the server's own words on its newest start: epoch, size of the ledger, seconds of recovery."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        return next((line for line in reversed(lines) if line.get("event") == "leading"), {})

    @property
    def _log(self) -> Path:
        return self.folder / "server.log"


_PYTHON = (sys.executable, "-m")


def command(*arguments: str, expected: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
    """Run ``python -m`` with these arguments to its end; raise DemoFailed for an exit status that is not expected."""
    try:
        done = subprocess.run(  # noqa: S603  our own programs, our own arguments
            (*_PYTHON, *arguments), capture_output=True, text=True, timeout=COMMAND_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise DemoFailed(f"{' '.join(arguments[:3])} did not end within {COMMAND_S:.0f} s") from None
    if done.returncode not in expected:
        raise DemoFailed(f"{' '.join(arguments[:3])} ended with {done.returncode}:\n{done.stderr.strip()}")
    return done


@contextmanager
def deployment(folder: Path) -> Iterator[Deployment]:
    """Give the deployment in this folder, which ``keyvault init`` makes; no server of it outlives the block."""
    made = Deployment(folder)
    try:
        command("keyvault", "init", str(folder), "--enclave", ENCLAVE, "--listen", "127.0.0.1:0", "--delay", "1s")
        yield made
    finally:
        made.kill()
