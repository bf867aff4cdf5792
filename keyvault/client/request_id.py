"""Request ids: UUIDv7 (RFC 9562, 5.7), in order within one process."""

import secrets
import threading
import time
import uuid
from collections.abc import Callable

_RANDOM_BITS = 74
"""rand_a (12) and rand_b (62)."""
_SEED_BITS = 73
"""One bit of room at the top: a millisecond never runs out of larger values (RFC 9562, 6.2)."""
_STEP_BITS = 32
_RAND_B_BITS = 62
_MILLIS_MAX = (1 << 48) - 1


class UuidSequence:
    """UUIDv7s that only grow: monotonic random, RFC 9562, 6.2, method 2. Safe for use from several threads."""

    def __init__(self, now_ms: Callable[[], int], random_bits: Callable[[int], int]) -> None:
        self._now_ms = now_ms
        self._random_bits = random_bits
        self._lock = threading.Lock()
        self._millis = -1
        self._random = 0

    def next(self) -> uuid.UUID:
        """Return a UUID greater than every one before, also when the clock steps back."""
        with self._lock:
            self._advance(self._now_ms() & _MILLIS_MAX)
            millis, random = self._millis, self._random
        rand_a, rand_b = random >> _RAND_B_BITS, random & ((1 << _RAND_B_BITS) - 1)
        return uuid.UUID(int=millis << 80 | 0x7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b)

    def _advance(self, millis: int) -> None:
        if millis <= self._millis:
            self._random += 1 + self._random_bits(_STEP_BITS)
            if self._random < 1 << _RANDOM_BITS:
                return
            millis = self._millis + 1
        self._millis, self._random = millis, self._random_bits(_SEED_BITS)


_SEQUENCE = UuidSequence(lambda: time.time_ns() // 1_000_000, secrets.randbits)


def uuid7() -> uuid.UUID:
    """Return a UUIDv7 greater than every one that this process had before."""
    return _SEQUENCE.next()
