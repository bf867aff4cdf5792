"""The PIN file. Only the worker and the process that provisions a token read or write one."""

import os
import secrets
import stat
from pathlib import Path

from keyvault.core.limits import PIN_FILE_BYTES_MAX
from keyvault.hsm.failures import Remedy, TokenError

_OTHERS = 0o077
_PIN_BYTES = 24
"""Random bytes in a new PIN: 192 bits, 32 characters."""


def read_pin(path: Path) -> str:
    """Return the PIN in the file, without a final line end.

    Raises TokenError unless it is a regular file (no link), ours, and nobody else can read or write it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _unusable(f"PIN file {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        _check(path, os.fstat(file.fileno()))
        content = file.read(PIN_FILE_BYTES_MAX + 1)
    if not 0 < len(content) <= PIN_FILE_BYTES_MAX:
        raise _unusable(f"PIN file {path} must have 1 to {PIN_FILE_BYTES_MAX} bytes")
    try:
        return content.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError:
        raise _unusable(f"PIN file {path} is not UTF-8") from None  # the cause would hold the content


def write_new_pin(path: Path) -> str:
    """Return a new random PIN, after writing it to a new file that only we can read. Raises FileExistsError."""
    pin = secrets.token_urlsafe(_PIN_BYTES)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(pin)
        file.flush()
        os.fsync(file.fileno())
    return pin


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _unusable(f"PIN file {path} is not a regular file")
    if status.st_uid != os.geteuid():
        raise _unusable(f"PIN file {path} belongs to user {status.st_uid}, not to {os.geteuid()}")
    if status.st_mode & _OTHERS:
        mode = stat.S_IMODE(status.st_mode)
        raise _unusable(f"PIN file {path} has mode {mode:04o}; others must have no access: chmod 600 {path}")


def _unusable(explanation: str) -> TokenError:
    return TokenError("PIN_FILE_UNUSABLE", explanation, Remedy.RETIRE)
