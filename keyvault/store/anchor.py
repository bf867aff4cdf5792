"""The newest signed checkpoint in a file of its own beside the database: ``<database>.checkpoint``.

It remembers what the database may forget. A database that was put back from an older copy, or whose newest
checkpoints were deleted, does not agree with it any more. It is no defence against whoever writes both files.

C2SP tlog-checkpoint text: an auditor may take it away and hold the ledger against it.
"""

import os
from pathlib import Path

from keyvault.core import limits
from keyvault.core.errors import Corrupt

SUFFIX = ".checkpoint"
_NEW = ".new"
"""The next note, while it is written; what a crash leaves of it is overwritten."""


class Anchor:
    """One note in a file of mode 0600, replaced as a whole or not at all."""

    __slots__ = ("path",)

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + SUFFIX)

    def read(self) -> bytes | None:
        """Return the note, or None if there is no file. Raises Corrupt if it cannot be read or is too long."""
        try:
            with open(self.path, "rb", opener=_open_itself) as file:
                note = file.read(limits.NOTE_BYTES_MAX + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Corrupt(f"{self.path} cannot be read: {error.strerror}") from error
        if len(note) > limits.NOTE_BYTES_MAX:
            raise Corrupt(f"{self.path} is longer than a checkpoint, {limits.NOTE_BYTES_MAX} bytes")
        return note

    def write(self, note: bytes) -> None:
        """Replace the note durably. Raises OSError; then the old note stands, or the new one, whole."""
        new = self.path.with_name(self.path.name + _NEW)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(new, flags, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(note)
            file.flush()
            os.fsync(file.fileno())
        new.rename(self.path)
        sync_directory(self.path.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_itself(path: str, flags: int) -> int:
    # Not what a link points to; and without waiting for the other end of a pipe.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
