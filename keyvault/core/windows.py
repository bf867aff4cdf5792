"""What each key has used, over sliding windows; and the check that a limit still has room.

1. Windows know nothing of policy: they are charged by every signature, so publishing a policy forgets nothing.
2. Only facts charge them (``State.apply``). Equal facts in equal order give equal windows, whatever was asked between.
3. Never under-counted: a window of length W that ends now holds at least every charge with ``at > now - W``. Charges
   dated in the future count. Charges may come late, and the clock may step back.
4. Over-counted by at most one bucket: the oldest, which is partly outside, counts whole. The finest tier that still
   knows the start of the window answers: buckets of 1 s for windows up to 10 min at least, 10 s up to 2 h, 2 min up to
   24 h, 15 min up to 7 d.
5. Memory is flat: a tier keeps a fixed number of buckets that are not empty, newest first. If no tier knows the start
   of a window any more (a clock stepped back far), all that was ever charged counts: too much, never too little.

What is decided but not yet a fact stands in ``Reservations``; a check adds both.
"""

from array import array
from bisect import bisect_left
from collections.abc import Hashable, Iterable
from typing import TypeVar

from keyvault.core import limits
from keyvault.core.errors import Broken, Reason, Refused
from keyvault.core.ids import KeyId, UnixMillis
from keyvault.core.intent import Effect
from keyvault.core.policy import ANY, Limit

Outflow = tuple[tuple[int, int], ...]
"""(chain id, native amount and highest fee) of one intent; each chain once, no zero amounts."""

_Name = TypeVar("_Name", bound=Hashable)

_SECOND = 1_000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR

_TIERS = ((_SECOND, 10 * _MINUTE), (10 * _SECOND, 2 * _HOUR), (2 * _MINUTE, _DAY), (15 * _MINUTE, limits.WINDOW_MS_MAX))
"""(length of a bucket, longest window that is sure to be answered), milliseconds, finest first."""


_UNITS = (("d", _DAY), ("h", _HOUR), ("m", _MINUTE), ("s", _SECOND), ("ms", 1))


def window_text(window_ms: int) -> str:
    """Return a length of time as people write it in policies: ``7d``, ``24h``, ``10m``, ``90s``, ``1500ms``."""
    if window_ms == _DAY:
        return "24h"
    unit, length_ms = next((unit, length_ms) for unit, length_ms in _UNITS if window_ms % length_ms == 0)
    return f"{window_ms // length_ms}{unit}"


def outflow(effects: Iterable[Effect]) -> Outflow:
    """Return how much native value, fees included, the effects can move at most: by chain, in chain order.

    Effects without a chain or without amounts (orders, typed data, opaque ones) move nothing that can be counted here.
    """
    totals: dict[int, int] = {}
    for effect in effects:
        if effect.chain_id is not None:
            amount = (effect.amount or 0) + (effect.fee_max or 0)
            if amount:
                totals[effect.chain_id] = totals.get(effect.chain_id, 0) + amount
    return tuple(sorted(totals.items()))


class _Tier:
    """Buckets of one length: ``starts`` are their numbers (time // length), in order, none empty.

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
        if not isinstance(other, _Tier):
            return NotImplemented
        return (self.starts, self.before, self.forgotten) == (other.starts, other.before, other.forgotten)

    __hash__ = None  # type: ignore[assignment]  # mutable

    def charge(self, bucket: int, amount: int, total: int) -> None:
        """Add to a bucket. ``total`` is all that was charged before this."""
        starts = self.starts
        if not starts or bucket > starts[-1]:
            starts.append(bucket)
            self.before.append(total)
        elif bucket < starts[-1]:
            self._charge_late(bucket, amount)
        if len(starts) > self.buckets_max:
            self.forgotten = max(self.forgotten, starts.pop(0))
            self.before.pop(0)

    def _charge_late(self, bucket: int, amount: int) -> None:
        place = bisect_left(self.starts, bucket)
        if self.starts[place] != bucket:
            self.starts.insert(place, bucket)
            self.before.insert(place, self.before[place])
        for later in range(place + 1, len(self.before)):
            self.before[later] += amount

    def used(self, start_ms: int, total: int) -> int | None:
        """Return what was charged since ``start_ms``, its whole bucket included; None if that is no longer known."""
        bucket = start_ms // self.bucket_ms
        if bucket <= self.forgotten:
            return None
        starts = self.starts
        place = bisect_left(starts, bucket)
        return total - self.before[place] if place < len(starts) else 0


class _Series:
    """One measure over time, in every tier."""

    __slots__ = ("tiers", "total")

    def __init__(self) -> None:
        self.total = 0
        self.tiers = tuple(_Tier(bucket_ms, window_ms_max) for bucket_ms, window_ms_max in _TIERS)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Series):
            return NotImplemented
        return self.total == other.total and self.tiers == other.tiers

    __hash__ = None  # type: ignore[assignment]  # mutable

    def charge(self, at: int, amount: int) -> None:
        total = self.total
        for tier in self.tiers:
            bucket = at // tier.bucket_ms
            if not tier.starts or bucket != tier.starts[-1]:
                tier.charge(bucket, amount, total)
        self.total = total + amount

    def used(self, window_ms: int, now: int) -> int:
        for tier in self.tiers:
            used = tier.used(now - window_ms, self.total)
            if used is not None:
                return used
        return self.total


class _KeyUse:
    """What one key used: signatures, and native value by chain."""

    __slots__ = ("amounts", "other_chains", "signatures")

    def __init__(self) -> None:
        self.signatures = _Series()
        self.amounts: dict[int, _Series] = {}
        self.other_chains = _Series()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _KeyUse):
            return NotImplemented
        mine = (self.signatures, self.amounts, self.other_chains)
        return mine == (other.signatures, other.amounts, other.other_chains)

    __hash__ = None  # type: ignore[assignment]  # mutable

    def charge(self, at: int, flow: Outflow) -> None:
        self.signatures.charge(at, 1)
        for chain_id, amount in flow:
            self._amounts_to_charge(chain_id).charge(at, amount)

    def _amounts_to_charge(self, chain_id: int) -> _Series:
        series = self.amounts.get(chain_id)
        if series is not None:
            return series
        if len(self.amounts) == limits.WINDOW_CHAINS_MAX:
            return self.other_chains
        return self.amounts.setdefault(chain_id, _Series())

    def amounts_of(self, chain_id: int) -> _Series:
        """Return the chain's own series, or the one that all chains beyond WINDOW_CHAINS_MAX share."""
        return self.amounts.get(chain_id, self.other_chains)


class Windows:
    """All that the keys of an enclave used; a projection of the ledger."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: dict[KeyId, _KeyUse] = {}

    def __eq__(self, other: object) -> bool:
        return self._keys == other._keys if isinstance(other, Windows) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # mutable

    def charge(self, key: KeyId, at: UnixMillis, flow: Outflow) -> None:
        """Count one signature of the key at that time, and what it can move."""
        use = self._keys.get(key)
        if use is None:
            use = self._keys[key] = _KeyUse()
        use.charge(at, flow)

    def used_count(self, key: KeyId, window_ms: int, now: UnixMillis) -> int:
        """Return the signatures of the key in the window that ends now."""
        use = self._keys.get(key)
        return 0 if use is None else use.signatures.used(window_ms, now)

    def used_amount(self, key: KeyId, chain_id: int, window_ms: int, now: UnixMillis) -> int:
        """Return what the key could move on the chain in the window that ends now, fees included (wei).

        The first WINDOW_CHAINS_MAX chains of a key are counted apart; all others together, hence never too little.
        """
        use = self._keys.get(key)
        return 0 if use is None else use.amounts_of(chain_id).used(window_ms, now)


class Reservations:
    """What is decided but neither a fact nor given up. Its size is that of the queues between."""

    __slots__ = ("_amounts", "_counts", "_next", "_open")

    def __init__(self) -> None:
        self._open: dict[int, tuple[KeyId, Outflow]] = {}
        self._counts: dict[KeyId, int] = {}
        self._amounts: dict[tuple[KeyId, int], int] = {}
        self._next = 0

    def reserve(self, key: KeyId, flow: Outflow) -> int:
        """Count a signature of the key and what it can move until the ticket that is returned is released."""
        ticket = self._next
        self._next += 1
        self._open[ticket] = key, flow
        _add(self._counts, key, 1)
        for chain_id, amount in flow:
            _add(self._amounts, (key, chain_id), amount)
        return ticket

    def release(self, ticket: int) -> None:
        """Forget a reservation: it is a fact now, or was given up. A second release would free another's: Broken."""
        if ticket not in self._open:
            raise Broken(f"reservation {ticket} was released before")
        key, flow = self._open.pop(ticket)
        _add(self._counts, key, -1)
        for chain_id, amount in flow:
            _add(self._amounts, (key, chain_id), -amount)

    def count(self, key: KeyId) -> int:
        """Return the signatures reserved for the key."""
        return self._counts.get(key, 0)

    def amount(self, key: KeyId, chain_id: int) -> int:
        """Return the native value reserved for the key on the chain."""
        return self._amounts.get((key, chain_id), 0)


def check_limits(
    checked: tuple[Limit, ...],
    windows: Windows,
    reservations: Reservations,
    *,
    key: KeyId,
    outflow: Outflow,
    now: UnixMillis,
) -> None:
    """Raise Refused(LIMIT_EXCEEDED), naming the first limit that has no room for one more signature with this outflow.

    A limit applies to each key that it names (``ANY``: to every key) on its own. A chain that the outflow does not
    touch is not checked.
    """
    for limit in checked:
        if limit.keys is not ANY and key not in limit.keys:
            continue
        if limit.count_max is not None:
            used = windows.used_count(key, limit.window_ms, now) + reservations.count(key)
            if used + 1 > limit.count_max:
                raise _exceeded(limit, key, "signatures", (used, limit.count_max, 1))
        if limit.amount_max is not None:
            _check_amount(limit, windows, reservations, key, outflow, now)


def _check_amount(
    limit: Limit, windows: Windows, reservations: Reservations, key: KeyId, flow: Outflow, now: UnixMillis
) -> None:
    cap, limited = limit.amount_max, limit.chain_id
    if cap is None or limited is None:
        raise Refused(Reason.POLICY_ERROR, f"limit {limit.id} has an amount but no chain", (limit.id,))
    for chain_id, amount in flow:
        if chain_id == limited:
            used = windows.used_amount(key, chain_id, limit.window_ms, now) + reservations.amount(key, chain_id)
            if used + amount > cap:
                raise _exceeded(limit, key, f"wei on chain {chain_id}", (used, cap, amount))


def _exceeded(limit: Limit, key: KeyId, unit: str, numbers: tuple[int, int, int]) -> Refused:
    used, cap, asked = numbers
    text = (
        f"limit {limit.id}: key {key} used {used} of {cap} {unit} in {window_text(limit.window_ms)};"
        f" {max(0, cap - used)} left, this asks for {asked}"
    )
    return Refused(Reason.LIMIT_EXCEEDED, text[: limits.EXPLANATION_CHARS_MAX], (limit.id,))


def _add(totals: dict[_Name, int], name: _Name, amount: int) -> None:
    """Add to one total; totals of zero are not kept."""
    total = totals.get(name, 0) + amount
    if total:
        totals[name] = total
    else:
        totals.pop(name, None)
