"""The processes around the load: the server, the echo server, and the one that only asks the token."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from keyvault import app, config
from keyvault.bench.options import Kind
from keyvault.client import Credentials
from keyvault.client.statements import MemberKey
from keyvault.core.errors import KeyvaultError
from keyvault.hsm.config import package_root

ENCLAVE = "bench"
_START_S = 3_600
"""A ledger of 10^8 entries is folded in about that time."""
_STOP_S = 20
_SETUP_S = 120
_LOOK_S = 0.02
"""Between two looks for the port."""
_SAID_CHARS_MAX = 1_000


class BenchFailed(KeyvaultError):
    """A process that is needed did not do its work; the text is what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A deployment made by ``keyvault init``."""

    folder: Path

    @property
    def config_file(self) -> Path:
        """Its configuration; it listens on any free port."""
        return self.folder / "keyvault.toml"

    @property
    def ledger(self) -> Path:
        """The database of its ledger."""
        return self.folder / "ledger.db"

    def credentials(self, role: str, name: str) -> Credentials:
        """Return the certificate of one of its identities."""
        certificate = self.folder / "certs" / f"{role}-{name}.crt"
        return Credentials.from_files(self.folder / "ca" / "ca.crt", certificate, certificate.with_suffix(".key"))

    def members(self) -> tuple[MemberKey, ...]:
        """Return the approval keys of two admins: who asks, and who approves."""
        return tuple(MemberKey.from_file(name, self.folder / "members" / f"{name}.key") for name in ("alice", "bob"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server that accepts calls. ``recovery_s`` is how long it folded its ledger; 0 for the echo server."""

    port: int
    pid: int
    recovery_s: float = 0.0


async def new_desk(folder: Path) -> Desk:
    """Make a deployment in a new folder, by the program that everybody uses."""
    options = ("--enclave", ENCLAVE, "--listen", "127.0.0.1:0", "--delay", "1s", "--json")
    program = await _start("keyvault", "init", str(folder), *options)
    _, said = await asyncio.wait_for(program.communicate(), _SETUP_S)
    if program.returncode:
        raise BenchFailed(f"keyvault init: {said.decode(errors='replace').strip()}")
    return Desk(folder=folder)


@asynccontextmanager
async def serving(desk: Desk) -> AsyncIterator[Served]:
    """Serve the deployment for a while, in a process of its own."""
    port_file, log = desk.folder / "port", desk.folder / "server.log"
    port_file.unlink(missing_ok=True)  # that of a server which was killed would be taken for this one's
    with log.open("wb") as sink:
        program = await _start(
            *("keyvault", "serve", "--config", str(desk.config_file), "--port-file", str(port_file)), stderr=sink
        )
    try:
        port = await _port_of(program, port_file, log)
        yield Served(port=port, pid=program.pid, recovery_s=_recovery_s(log))
    finally:
        await _stop(program)


@asynccontextmanager
async def echoing(desk: Desk) -> AsyncIterator[Served]:
    """Serve the echo server for a while, with the identity of the deployment."""
    program = await _start("keyvault.bench.echo", "--config", str(desk.config_file))
    try:
        yield Served(port=int(await _line(program)), pid=program.pid)
    finally:
        await _stop(program)


class RawToken:
    """A process that only signs, when it is asked to."""

    def __init__(self, program: asyncio.subprocess.Process) -> None:
        self._program = program

    async def per_s(self, kind: Kind, seconds: float) -> float:
        """Return the signatures per second of one thread with one session, measured now."""
        if self._program.stdin is None:
            raise BenchFailed("keyvault.bench.raw has no input")
        self._program.stdin.write(f"{kind} {seconds}\n".encode())
        await self._program.stdin.drain()
        return float(await _line(self._program))


@asynccontextmanager
async def raw_token(desk: Desk, objects: Mapping[Kind, bytes]) -> AsyncIterator[RawToken]:
    """Give the process that only asks the token; ``objects`` are the CKA_ID of the keys."""
    token = app.token_config(config.load(desk.config_file))
    keys = [part for kind, object_id in objects.items() for part in ("--key", kind.value, object_id.hex())]
    lock_file = token.pin_file.with_name("token.lock")
    program = await _start(
        "keyvault.bench.raw",
        *("--module", str(token.module), "--label", token.label),
        *("--pin-file", str(token.pin_file), "--lock-file", str(lock_file), *keys),
        env=token.worker_environment(),
    )
    try:
        yield RawToken(program)
    finally:
        await _stop(program)


def remove(folder: Path) -> None:
    """Remove the scratch folder."""
    shutil.rmtree(folder, ignore_errors=True)


async def _start(
    module: str, *arguments: str, env: Mapping[str, str] | None = None, stderr: object = asyncio.subprocess.PIPE
) -> asyncio.subprocess.Process:
    environment = {**os.environ, "PYTHONPATH": package_root()} if env is None else dict(env)
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,  # type: ignore[arg-type]  # a file or PIPE; the stub's union has no name
        env=environment,
    )


async def _port_of(program: asyncio.subprocess.Process, port_file: Path, log: Path) -> int:
    """Return the port as soon as calls are accepted; recovery of a large ledger takes its time."""
    ended = asyncio.create_task(program.wait())
    deadline = asyncio.get_running_loop().time() + _START_S
    while (port := _port_in(port_file)) is None:
        await asyncio.wait({ended}, timeout=_LOOK_S)
        if ended.done() or asyncio.get_running_loop().time() > deadline:
            raise BenchFailed(f"keyvault serve did not start: {_text(log).strip()[-_SAID_CHARS_MAX:]}")
    ended.cancel()
    return port


def _port_in(port_file: Path) -> int | None:
    try:
        return int(port_file.read_text())
    except FileNotFoundError:
        return None


def _text(log: Path) -> str:
    return log.read_text(errors="replace")


async def _line(program: asyncio.subprocess.Process) -> str:
    """Return the next line that the process prints; raise what it said instead when it ended."""
    if program.stdout is None or program.stderr is None:
        raise BenchFailed("a process without output")
    line = await program.stdout.readline()
    if not line:
        said = (await program.stderr.read()).decode(errors="replace").strip()
        raise BenchFailed(f"a process ended early: {said[-_SAID_CHARS_MAX:]}")
    return line.decode().strip()


async def _stop(program: asyncio.subprocess.Process) -> None:
    """End a process: its input ends, it gets SIGTERM, and SIGKILL when that is not enough."""
    if program.stdin is not None:
        program.stdin.close()
    if program.returncode is None:
        program.terminate()
        try:
            await asyncio.wait_for(program.wait(), _STOP_S)
        except TimeoutError:
            program.kill()
            await program.wait()


def _recovery_s(log: Path) -> float:
    """Return what the server's log says about its own recovery."""
    for line in _text(log).splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if "recovery_s" in said:
            return float(said["recovery_s"])
    return 0.0
