"""One measure over time, in buckets: what was charged in a window that ends now.

1. Never under-counted: a window of length W that ends now holds at least every charge with ``at > now - W``. Charges
   dated in the future count. Charges may come late, and the clock may step back.
2. Over-counted by at most one bucket: the oldest, which is partly outside, counts whole. The finest tier that still
   knows the start of the window answers: buckets of 1 s for windows up to 10 min at least, 10 s up to 2 h, 2 min up to
   24 h, 15 min up to 7 d.
3. Memory is flat: a tier keeps a fixed number of buckets that are not empty, newest first. If no tier knows the start
   of a window any more (a clock stepped back far), all that was ever charged counts: too much, never too little.
4. Memory is small for what is little used: as long as there is one bucket, there is no tier; and there is only the
   finest until it has to forget something. Then the others are made of it, which still holds everything.
5. The sum of several series is the series of all their charges, to the last bit: what a tier keeps are its newest
   buckets, and those of the sum are among those of the parts.
6. A charge may be taken back at the time that it had. Its bucket stays, even if nothing is in it.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from keyvault.core import limits

_SECOND = 1_000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR

_TIERS: Final = (
    (_SECOND, 10 * _MINUTE),
    (10 * _SECOND, 2 * _HOUR),
    (2 * _MINUTE, _DAY),
    (15 * _MINUTE, limits.WINDOW_MS_MAX),
)
"""(length of a bucket, longest window that is sure to be answered), milliseconds. The first divides all others."""


class Tier:
    """Buckets of one length: ``starts`` are their numbers (time // length), in order.

    ``before[i]`` is all that was charged to buckets before ``starts[i]``, ever. So a charge to the newest bucket
    changes nothing here, and what a window holds is one subtraction. ``forgotten`` is the highest bucket dropped.
    """

    __slots__ = ("before", "bucket_ms", "buckets_max", "forgotten", "starts")

    def __init__(self, bucket_ms: int, window_ms_max: int) -> None:
        self.bucket_ms = bucket_ms
        self.buckets_max = window_ms_max // bucket_ms + 1 + limits.WINDOW_BUCKETS_SPARE
        self.starts = array("q")
        self.before: list[int] = []
        self.forgotten = -1

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tier):
            return NotImplemented
        return (self.starts, self.before, self.forgotten) == (other.starts, other.before, other.forgotten)

    __hash__ = None  # type: ignore[assignment]  # mutable

    @classmethod
    def of(cls, number: int, buckets: dict[int, int], total: int, forgotten: int) -> "Tier":
        """Return tier ``number`` with the newest of these buckets; ``total`` is all that was ever charged."""
        tier = cls(*_TIERS[number])
        starts = sorted(buckets)
        for start in reversed(starts):
            total -= buckets[start]
            tier.before.append(total)
        tier.before.reverse()
        tier.starts = array("q", starts)
        tier.forgotten = forgotten
        surplus = len(starts) - tier.buckets_max
        if surplus > 0:
            tier.forgotten = max(forgotten, starts[surplus - 1])
            del tier.starts[:surplus], tier.before[:surplus]
        return tier

    def buckets(self, total: int) -> Iterator[tuple[int, int]]:
        """Return (number, what was charged) of each bucket."""
        befores = self.before
        if befores:
            for start, (before, after) in zip(self.starts, pairwise((*befores, total)), strict=True):
                yield start, after - before

    def charge(self, bucket: int, amount: int, total: int) -> None:
        """Add to a bucket of a tier that has some. ``total`` is all that was charged before this."""
        starts = self.starts
        if bucket > starts[-1]:
            starts.append(bucket)
            self.before.append(total)
        elif bucket < starts[-1]:
            self._charge_late(bucket, amount)

    def _charge_late(self, bucket: int, amount: int) -> None:
        place = bisect_left(self.starts, bucket)
        if self.starts[place] != bucket:
            self.starts.insert(place, bucket)
            self.before.insert(place, self.before[place])
        for later in range(place + 1, len(self.before)):
            self.before[later] += amount

    def forget(self) -> None:
        """Drop the oldest bucket."""
        self.forgotten = max(self.forgotten, self.starts.pop(0))
        self.before.pop(0)

    def used(self, start_ms: int, total: int) -> int | None:
        """Return what was charged since ``start_ms``, its whole bucket included; None if that is no longer known."""
        bucket = start_ms // self.bucket_ms
        if bucket <= self.forgotten:
            return None
        starts = self.starts
        place = bisect_left(starts, bucket)
        return total - self.before[place] if place < len(starts) else 0


class Series:
    """One measure over time, in every tier that it needs."""

    __slots__ = ("only", "tiers", "total")

    def __init__(self) -> None:
        self.total = 0
        self.only = -1
        """The finest tier's only bucket, while there is no tier; below 0: nothing was charged."""
        self.tiers: tuple[Tier, ...] = ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Series):
            return NotImplemented
        return (self.total, self.only, self.tiers) == (other.total, other.only, other.tiers)

    __hash__ = None  # type: ignore[assignment]  # mutable

    @classmethod
    def sum_of(cls, parts: Sequence["Series"]) -> "Series":
        """Return a new series that holds all charges of these."""
        made = cls()
        made.total = total = sum(part.total for part in parts)
        complete = _buckets_of(part for part in parts if len(part.tiers) <= 1)
        if len(complete) == 1 and all(not part.tiers for part in parts):
            (made.only,) = complete
        elif complete or any(part.tiers for part in parts):
            made.tiers = (_summed(0, parts, complete, total),)
            if made.tiers[0].forgotten >= 0:
                made.tiers += tuple(_summed(number, parts, complete, total) for number in range(1, len(_TIERS)))
        return made

    def charge(self, at: int, amount: int) -> None:
        """Add an amount at a time; one below zero takes back what was added at that very time."""
        total = self.total
        self.total = total + amount
        if not self.tiers:
            only, bucket = self.only, at // _SECOND
            if only < 0 or only == bucket:
                self.only = bucket
                return
            self.only = -1
            self.tiers = (Tier.of(0, {only: total}, total, -1),)
        for tier in self.tiers:
            bucket = at // tier.bucket_ms
            if bucket != tier.starts[-1]:
                tier.charge(bucket, amount, total)
                if len(tier.starts) > tier.buckets_max:
                    self._forget(tier)

    def _forget(self, tier: Tier) -> None:
        if len(self.tiers) == 1:  # it holds everything still, this charge included
            complete = dict(tier.buckets(self.total))
            coarser = (Tier.of(number, _merged(complete, number), self.total, -1) for number in range(1, len(_TIERS)))
            self.tiers = (tier, *coarser)
        tier.forget()

    def used(self, window_ms: int, now: int, *, without: int = 0, at: int = 0) -> int:
        """Return what the window that ends now holds, as if ``without`` had not been charged ``at`` its time."""
        start_ms = now - window_ms
        if not self.tiers:
            return self.total - without if self.only >= start_ms // _SECOND else 0
        for tier in self.tiers:
            used = tier.used(start_ms, self.total)
            if used is not None:
                return used - without if at // tier.bucket_ms >= start_ms // tier.bucket_ms else used
        return self.total - without


def _buckets_of(parts: Iterable[Series]) -> dict[int, int]:
    """Return the finest buckets of series that have forgotten nothing, added up."""
    buckets: dict[int, int] = {}
    for part in parts:
        if part.only >= 0:
            buckets[part.only] = buckets.get(part.only, 0) + part.total
        for tier in part.tiers:
            for start, amount in tier.buckets(part.total):
                buckets[start] = buckets.get(start, 0) + amount
    return buckets


def _summed(number: int, parts: Iterable[Series], complete: dict[int, int], total: int) -> Tier:
    """Return tier ``number`` of the sum; ``complete`` are the buckets of those parts that have no such tier."""
    buckets = _merged(complete, number)
    forgotten = -1
    for part in parts:
        if len(part.tiers) > 1:
            tier = part.tiers[number]
            forgotten = max(forgotten, tier.forgotten)
            for start, amount in tier.buckets(part.total):
                buckets[start] = buckets.get(start, 0) + amount
    return Tier.of(number, buckets, total, forgotten)


def _merged(complete: dict[int, int], number: int) -> dict[int, int]:
    """Return the finest buckets as those of tier ``number``."""
    share = _TIERS[number][0] // _SECOND
    buckets: dict[int, int] = {}
    for start, amount in complete.items():
        buckets[start // share] = buckets.get(start // share, 0) + amount
    return buckets
