"""How a token is reached, and where its module is."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import keyvault
from keyvault.core import limits
from keyvault.core.keys import KeyTransport
from keyvault.hsm.base import TokenFault

MODULE_PATHS = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"),
    Path("/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so"),
)
"""Where Debian and Ubuntu put SoftHSM2."""
WORKER_COMMAND = (sys.executable, "-P", "-s", "-m", "keyvault.hsm.worker")
"""-P, -s: neither the working directory nor the user's packages can change what the worker runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenConfig:
    """One token and the workers in front of it. Nothing in it is secret.

    ``lock_file`` is locked while objects are made; by default it lies beside the PIN file. ``environment`` is what
    a vendor's module wants to know besides SOFTHSM2_CONF. ``key_transport``: by what keys come into other tokens; it
    decides how keys are made, so it is to be the same for all tokens of an enclave, and from its beginning.
    """

    module: Path
    label: str
    pin_file: Path
    softhsm2_conf: Path | None = None
    environment: tuple[tuple[str, str], ...] = ()
    lock_file: Path | None = None
    key_transport: KeyTransport = KeyTransport.NONE
    workers: int = 2
    lanes_per_worker: int = 1
    deadline_ms: int = limits.TOKEN_DEADLINE_MS
    start_ms: int = limits.TOKEN_START_MS
    worker_command: tuple[str, ...] = field(default=WORKER_COMMAND)

    def __post_init__(self) -> None:
        """Refuse numbers out of their bounds (ValueError)."""
        if not 1 <= self.workers <= limits.TOKEN_WORKERS_MAX:
            raise ValueError(f"workers: {self.workers} is not 1 to {limits.TOKEN_WORKERS_MAX}")
        if not 1 <= self.lanes_per_worker <= limits.TOKEN_LANES_MAX:
            raise ValueError(f"lanes_per_worker: {self.lanes_per_worker} is not 1 to {limits.TOKEN_LANES_MAX}")
        if self.deadline_ms <= 0 or self.start_ms <= 0:
            raise ValueError("deadline_ms and start_ms must be positive")

    def command(self, lanes: tuple[int, ...]) -> tuple[str, ...]:
        """Return the worker's arguments for these inherited sockets."""
        lock_file = self.lock_file or self.pin_file.with_name("token.lock")
        return (
            *self.worker_command,
            *("--module", str(self.module), "--label", self.label),
            *("--pin-file", str(self.pin_file), "--lock-file", str(lock_file)),
            *("--key-transport", self.key_transport),
            *(argument for lane in lanes for argument in ("--lane", str(lane))),
        )

    def worker_environment(self) -> dict[str, str]:
        """Return the worker's whole environment: nothing of the server's own reaches it."""
        softhsm = {} if self.softhsm2_conf is None else {"SOFTHSM2_CONF": str(self.softhsm2_conf)}
        # The very package that runs here, wherever it is: both ends must be of one build.
        return {"PYTHONPATH": package_root(), "LANG": "C.UTF-8", **softhsm, **dict(self.environment)}


def package_root() -> str:
    """Return the folder that holds the ``keyvault`` package of this process."""
    return str(Path(keyvault.__path__[0]).resolve().parent)


def find_module(configured: Path | None = None) -> Path:
    """Return the configured PKCS#11 module, or SoftHSM2's if none is. Raises TokenFault if there is none."""
    candidates = MODULE_PATHS if configured is None else (configured,)
    for path in candidates:
        if path.is_file():
            return path
    looked = ", ".join(str(path) for path in candidates)
    raise TokenFault(
        "MODULE_MISSING",
        f"no PKCS#11 module at {looked}: install SoftHSM2 (sh softhsm/install.sh) or configure the path of yours",
    )
