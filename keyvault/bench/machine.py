"""What the figures were measured on, from /proc and the libraries themselves."""

import os
import platform
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from keyvault.bench.options import Figure
from keyvault.core.errors import KeyvaultError

_MEMORY_FILESYSTEMS = frozenset({"tmpfs", "ramfs"})
_SYNC_ROUNDS = 200
_SYNC_BYTES = 4_096


class NoDisk(KeyvaultError):
    """There is no folder on a real disk for the ledger; a figure without a disk would be no figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """Where the ledger is. ``sync_us`` is the median of an appended 4 KiB page and its fdatasync."""

    folder: Path
    filesystem: str
    sync_us: float


def find_disk(wanted: Path | None) -> Disk:
    """Return a folder that is on a disk: the wanted one, or the first of the usual ones. Raises NoDisk."""
    candidates = [wanted] if wanted else [Path(tempfile.gettempdir()), Path("/var/tmp"), Path.cwd()]  # noqa: S108  a new folder of mode 0700 is made in it
    for folder in candidates:
        filesystem = _filesystem(folder)
        if folder.is_dir() and filesystem not in _MEMORY_FILESYSTEMS:
            return Disk(folder=folder, filesystem=filesystem, sync_us=_sync_us(folder))
    raise NoDisk(f"no disk at {', '.join(map(str, candidates))}: set TMPDIR to a folder on one")


def describe_machine() -> dict[str, Figure]:
    """Return processor, load and versions."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load_1m": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "grpc": version("grpcio"),
        "protobuf": version("protobuf"),
        "uvloop": version("uvloop"),
        "python_pkcs11": version("python-pkcs11"),
    }


def rss_mb(pid: int) -> float:
    """Return the resident memory of a process in MB (10^6 bytes)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def cpu_s(*pids: int) -> float:
    """Return the processor time that the processes' threads of now have used, in seconds.

    From the scheduler's own nanoseconds: utime and stime count ticks, and miss threads that only run between two.
    """
    return sum(_thread_ns(task) for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9


def children(pid: int, module: str) -> tuple[int, ...]:
    """Return the processes that the threads of a process started to run this module (``python -m``)."""
    started = (
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    )
    return tuple(child for child in started if module.encode() in _arguments(child))


def _arguments(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return []  # it ended meanwhile


def _thread_ns(task: Path) -> int:
    try:
        return int((task / "schedstat").read_text().split()[0])
    except (FileNotFoundError, ProcessLookupError):
        return 0  # the thread ended meanwhile


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _filesystem(folder: Path) -> str:
    """Return the kind of filesystem that the folder is on: that of the longest mount point above it."""
    inside = folder.resolve()
    found = [(len(point.parts), kind) for point, kind in _mounts() if inside.is_relative_to(point)]
    return max(found, default=(0, "unknown"))[1]


def _mounts() -> Iterator[tuple[Path, str]]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        yield Path(before.split()[4].encode().decode("unicode_escape")), after.split()[0]


def _sync_us(folder: Path) -> float:
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(_SYNC_ROUNDS):
            began = time.perf_counter_ns()
            os.write(file.fileno(), bytes(_SYNC_BYTES))
            os.fdatasync(file.fileno())
            took.append(time.perf_counter_ns() - began)
    return sorted(took)[len(took) // 2] / 1000
