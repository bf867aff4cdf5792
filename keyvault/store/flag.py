"""A word about a ledger in a file beside it, which outlives the process: there or not, with a reason."""

import os
from pathlib import Path

from keyvault.core.errors import OutcomeUnknown
from keyvault.store.anchor import sync_directory

_BYTES_MAX = 4_096


class Flag:
    """One file. ``name`` is what is added to the ledger's name."""

    def __init__(self, ledger: Path, name: str) -> None:
        self._path = ledger.with_name(f"{ledger.name}.{name}")

    def reason(self) -> str:
        """Return what stands there; empty if the flag is down."""
        try:
            with self._path.open("rb") as file:
                return file.read(_BYTES_MAX).decode(errors="replace") or "no reason was given"
        except FileNotFoundError:
            return ""

    def raise_(self, reason: str) -> None:
        """Put the flag up, durably. Raises OutcomeUnknown if it cannot be."""
        try:
            with self._path.open("wb") as file:
                file.write(reason.encode()[:_BYTES_MAX])
                file.flush()
                os.fsync(file.fileno())
            sync_directory(self._path.parent)
        except OSError as error:
            raise OutcomeUnknown(f"{self._path} cannot be written: {error.strerror}") from error

    def lower(self) -> None:
        """Take it down, durably."""
        self._path.unlink(missing_ok=True)
        sync_directory(self._path.parent)
