"""When to ask again. Pure but for ``Timing``, which is where time and chance come in."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from keyvault.client.errors import KeyvaultRpcError
from keyvault.core import limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Clocks, sleep and chance; tests give their own."""

    monotonic: Callable[[], float] = time.monotonic
    """Seconds since some fixed moment."""
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    """Unix time."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    uniform: Callable[[float, float], float] = secrets.SystemRandom().uniform


def pause_s(error: KeyvaultRpcError, failures: int, uniform: Callable[[float, float], float]) -> float:
    """Return how long to wait after the ``failures``-th failure in a row: what the server asks for, and full jitter."""
    return (error.retry_after_ms + jitter_ms(failures, uniform, limits.CLIENT_RETRY_MS_MAX)) / 1000


def jitter_ms(failures: int, uniform: Callable[[float, float], float], bound_ms_max: int) -> float:
    """Return a random pause, uniform from 0 to a bound that doubles with each failure up to ``bound_ms_max``.

    AWS Architecture Blog, "Exponential Backoff And Jitter": a crowd of bots must not come back as a crowd.
    """
    doublings = min(failures - 1, 32)
    return uniform(0, min(bound_ms_max, limits.CLIENT_RETRY_MS_MIN * 2**doublings))


def pause_or_raise(error: KeyvaultRpcError, failures: int, deadline: float, timing: Timing) -> float:
    """Return the pause before the next attempt; raise ``error`` if another attempt is useless or would be too late."""
    if not error.can_retry:
        raise error
    pause = pause_s(error, failures, timing.uniform)
    if timing.monotonic() + pause >= deadline:
        raise error
    return pause
