"""Files that hold a secret: how they are made, checked and read.

A PIN or a private key is in a file that only our own user can open, or nowhere. Nothing here overwrites, follows a
link, or accepts a file that others can read.
"""

import os
import stat
from pathlib import Path

from keyvault.core import limits
from keyvault.core.errors import KeyvaultError


class UnsafeFile(KeyvaultError):
    """The file cannot be used for a secret, or is there already; the text says what, where, and what to do."""


def check_secret_file(path: Path) -> None:
    """Raise UnsafeFile unless the path is a regular file, no symbolic link, that only our own user can open."""
    try:
        status = path.lstat()
    except OSError as error:
        raise UnsafeFile(f"{path}: cannot be read ({error.strerror}); it must hold a secret") from error
    _check_secret_status(path, status)


def read_secret_file(path: Path) -> bytes:
    """Return the contents, checked as ``check_secret_file`` does on the very file that is read; or raise UnsafeFile."""
    try:
        with open(path, "rb", opener=_open_itself) as file:
            _check_secret_status(path, os.fstat(file.fileno()))
            data = file.read(limits.SECRET_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise UnsafeFile(f"{path}: cannot be read ({error.strerror}); it must hold a secret") from error
    if len(data) > limits.SECRET_FILE_BYTES_MAX:
        raise UnsafeFile(f"{path}: is longer than {limits.SECRET_FILE_BYTES_MAX} bytes; it must hold one secret")
    return data


def write_secret_file(path: Path, data: bytes) -> None:
    """Make a new file with mode 0600 and these contents, durably; raise UnsafeFile if anything is there already."""
    write_new_file(path, data, mode=0o600)


def write_new_file(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Make a new file with exactly this mode, durably; raise UnsafeFile if anything is there already."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    except FileExistsError as error:
        raise UnsafeFile(f"{path}: is there already and is never overwritten; move it away first") from error
    except OSError as error:
        raise UnsafeFile(f"{path}: cannot be written ({error.strerror})") from error
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), mode)  # whatever the umask says
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _open_itself(path: str, flags: int) -> int:
    # Not what a link points to; and without waiting for the other end of a pipe.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _check_secret_status(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnsafeFile(f"{path}: is not a regular file; put the secret itself there, not a link to it")
    if status.st_uid != os.geteuid():
        raise UnsafeFile(f"{path}: belongs to user {status.st_uid}, not to us ({os.geteuid()}); chown it")
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise UnsafeFile(f"{path}: mode {mode:04o} lets others read or write a secret; run: chmod 600 {path}")
