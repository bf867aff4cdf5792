"""Whom one call asks next. Pure but for ``Timing``.

The laws:

1. A call begins at the address that answered last, whichever call that was.
2. In one round every address is asked once at most. So servers that point at each other, or at themselves, end a
   round and nothing more.
3. Within a round the next one is asked at once, in this order: whom NOT_LEADER names, who answered another call
   meanwhile, the next one on the list.
4. After a round is a pause: until the first server that asked for time may be asked again, and full jitter on top,
   with a bound that doubles with each round (``retry``).
5. No server is asked sooner than it asked for.
6. A server with a full queue is there, and leads: it ends the round, and the next one begins with it.
7. An address that is not on the list is never asked, whoever names it.

With one address every failure is a round.
"""

from collections.abc import Iterable

from keyvault.client.addresses import Addresses
from keyvault.client.errors import KeyvaultRpcError, NotLeader, Overloaded
from keyvault.client.retry import Timing, jitter_ms
from keyvault.core import limits


class Route:
    """The way of one call, or of one stream, through the addresses of its client."""

    def __init__(self, addresses: Addresses, timing: Timing) -> None:
        self._addresses = addresses
        self._timing = timing
        self.at = addresses.last
        """Index of the address to be asked now."""
        self._rounds = 0
        self._asked: set[int] = set()
        self._named: int | None = None
        self._free_at: dict[int, float] = {}
        self._codes: dict[int, str] = {}

    def answered(self) -> None:
        """The server that was asked did its work: the next call begins with it, and what failed before is forgotten."""
        self._addresses.last = self.at
        self._rounds, self._named = 0, None
        self._asked.clear()
        self._free_at.clear()
        self._codes.clear()

    def next_or_raise(self, error: KeyvaultRpcError, deadline: float) -> float:
        """Do as ``next``; raise ``error`` if another attempt is useless or would begin after ``deadline``."""
        if not error.can_retry:
            self.answered()
            raise error
        pause = self.next(error)
        if self._timing.monotonic() + pause >= deadline:
            raise self._told(error)
        return pause

    def next(self, error: KeyvaultRpcError) -> float:
        """Turn to whom to ask after this failure; return the pause before that in seconds, 0 for none."""
        now = self._timing.monotonic()
        self._asked.add(self.at)
        self._codes[self.at] = error.reason if isinstance(error, NotLeader) else error.code.name
        self._free_at[self.at] = now + error.retry_after_ms / 1000
        if isinstance(error, Overloaded):
            return self._new_round(now, error, (self.at,))
        if isinstance(error, NotLeader):
            self._named = self._addresses.index_of(error.leader)
        for index in self._order():
            if index not in self._asked and self._free_at.get(index, now) <= now:
                self.at = index
                return 0.0
        return self._new_round(now, error, self._order())

    def _new_round(self, now: float, error: KeyvaultRpcError, order: Iterable[int]) -> float:
        self._rounds += 1
        self._asked.clear()
        several = len(self._addresses.all) > 1
        bound_ms = limits.CLIENT_FAILOVER_PAUSE_MS_MAX if several else limits.CLIENT_RETRY_MS_MAX
        chance_ms = jitter_ms(self._rounds, self._timing.uniform, bound_ms)
        waits_ms = {index: self._wait_ms(index, now, error) for index in order}
        pause_ms = min(waits_ms.values()) + chance_ms
        self.at = next(index for index, wait_ms in waits_ms.items() if wait_ms <= pause_ms)
        return pause_ms / 1000

    def _wait_ms(self, index: int, now: float, error: KeyvaultRpcError) -> float:
        if index == self.at:  # who failed just now; in whole milliseconds, as it said it
            return error.retry_after_ms
        return max(0.0, self._free_at.get(index, now) - now) * 1000

    def _order(self) -> Iterable[int]:
        count = len(self._addresses.all)
        first = (self._addresses.last,) if self._named is None else (self._named, self._addresses.last)
        return dict.fromkeys((*first, *((self.at + step) % count for step in range(1, count + 1))))

    def _told(self, error: KeyvaultRpcError) -> KeyvaultRpcError:
        """Return the error, with a word on each server if there are several: the last one alone would mislead."""
        if len(self._addresses.all) > 1:
            words = (f"{self._addresses.all[index]} {code}" for index, code in sorted(self._codes.items()))
            error.add_note(f"last heard: {', '.join(words)}")
        return error
