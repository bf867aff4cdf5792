"""Where time comes in; everything below gets it as an argument."""

import time
from typing import Protocol

from keyvault.core.ids import UnixMillis


class Clock(Protocol):
    """Wall time for facts, monotonic time for deadlines."""

    def now(self) -> UnixMillis:
        """Return Unix time in milliseconds."""

    def monotonic(self) -> float:
        """Return seconds since some fixed moment; never goes back."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> UnixMillis:
        """Return Unix time in milliseconds."""
        return UnixMillis(time.time_ns() // 1_000_000)

    def monotonic(self) -> float:
        """Return seconds since boot."""
        return time.monotonic()


def since_boot() -> float:
    """Return seconds since boot, those included in which the machine was suspended; never goes back."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
