"""Where time comes in; everything below gets it as an argument."""

import time
from collections.abc import Callable
from typing import Protocol

from keyvault.core import limits
from keyvault.core.errors import Unavailable
from keyvault.core.ids import UnixMillis


class Clock(Protocol):
    """Wall time for facts, monotonic time for deadlines."""

    def now(self) -> UnixMillis:
        """Return Unix time in milliseconds. Raises Unavailable if it is in doubt: then nothing can be decided."""

    def monotonic(self) -> float:
        """Return seconds since some fixed moment; never goes back."""


class SystemClock:
    """The machine's clocks, as they are."""

    def now(self) -> UnixMillis:
        """Return Unix time in milliseconds."""
        return UnixMillis(_wall())

    def monotonic(self) -> float:
        """Return seconds since boot."""
        return time.monotonic()


def _wall() -> int:
    return time.time_ns() // 1_000_000


def since_boot() -> float:
    """Return seconds since boot, those included in which the machine was suspended; never goes back."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SteadyClock:
    """The machine's clocks, of which the wall clock is not believed while it is far ahead of the time since boot.

    A fact that is dated a year ahead, for one second's mistake of a time server, can never be taken back: every later
    statement must outlive it, and it lets the windows of all limits look over. What the clock says when the server
    starts is believed, for nothing here could tell; so a start says that a leap was right. Going back is no harm.
    """

    def __init__(self, wall: Callable[[], int] = _wall, boot: Callable[[], float] = since_boot) -> None:
        """``wall``: Unix milliseconds; ``boot``: seconds that never go back, also while the machine is suspended."""
        self._wall = wall
        self._boot = boot
        self._began_ms = self._apart_ms()

    def now(self) -> UnixMillis:
        """See Clock."""
        now = self._wall()
        ahead_ms = self._apart_ms() - self._began_ms
        if ahead_ms > limits.CLOCK_LEAP_MS_MAX:
            raise Unavailable(
                f"the clock of this machine leapt {ahead_ms // 1000} s ahead while the server ran: nothing is decided"
                " until it is set right, or, if it is right now, until the server is started again",
                retry_after_ms=1_000,
            )
        return UnixMillis(now)

    def monotonic(self) -> float:
        """See Clock."""
        return time.monotonic()

    def _apart_ms(self) -> int:
        return self._wall() - int(self._boot() * 1000)
