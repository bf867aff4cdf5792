"""What has been used, over sliding windows, so that any limit can be checked at any time.

1. Windows know nothing of policy: every signature charges them, whatever the limits are, so publishing a policy forgets
   nothing. What is charged are cells: one for each key and set of parts (``charges``), each with its own ``series`` of
   signatures, amounts and dollars. A group of a limit is a sum over cells. For the limits of the policy in force these
   sums are kept as ``tallies``, made of the cells when the policy is published and charged along with them after
   that; so a check does not look at cells, and the sums are the same as if the policy had always been there.
2. Only facts charge them (``State.apply``). Equal facts in equal order give equal windows, whatever was asked between.
3. Never under-counted, and over-counted by at most one bucket; see ``series``.
4. A signature counts once, whatever it does; its amounts and dollars add up over its parts.
5. A slot counts its maximum once. A second signature for the slot takes back what was charged for it, at the time that
   it had, and charges the most of both, part by part, at its own time. So two payments to different destinations from
   one slot count both for a limit on all destinations: too much, never too little. Only slots of one version of a key
   replace each other. The latest slots are remembered; what fills a forgotten one counts in full. If the earlier charge
   is older than every window, or the parts have become too many, the new one counts in full as well.
6. Nothing is released on expiry: that a signature is worth nothing any more does not prove that it was not used.
7. The number of cells is bounded. When there is no room, new cells are counted without their destinations, which then
   count in the group of every destination; when that is full as well, in one cell of their key, which counts in every
   group of every limit about that key, whatever the asset. A cell that was not charged for longer than any window
   gives up its place; what it holds goes to the cell of its key, where a clock that steps back still finds it.
8. What was signed while it had no price counts no dollars, also when a price is published later.
9. When a restored ledger goes on, nobody knows what was signed in the part that is lost, up to the time at which it
   goes on (``lost_until``). So every window that reaches back to that time or before it is full, in every group: under
   a limit over W there is no room before ``lost_until + W``. Exact afterwards; no cell is charged for it.

What is decided but not yet a fact stands in ``Reservations``; a check adds both. They count in full, also those for a
slot that was charged before: in flight too much is counted, never too little.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, NamedTuple

from keyvault.core import limits
from keyvault.core.cells import Cell, Cells
from keyvault.core.charges import Charge, Slot
from keyvault.core.errors import Broken
from keyvault.core.ids import UnixMillis
from keyvault.core.policy_rules import Policy
from keyvault.core.series import Series
from keyvault.core.tallies import NOTHING_REPLACED, Group, Replaced, Tally, Watch

_DAY = 86_400_000
_UNITS = (("d", _DAY), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))
_NO_POLICY: Final = Policy(version=0, rules=(), limits=())


def window_text(window_ms: int) -> str:
    """Return a length of time as people write it in policies: ``7d``, ``24h``, ``10m``, ``90s``, ``1500ms``."""
    if window_ms == _DAY:
        return "24h"
    unit, length_ms = next((unit, length_ms) for unit, length_ms in _UNITS if window_ms % length_ms == 0)
    return f"{window_ms // length_ms}{unit}"


class _Filled(NamedTuple):
    """What was charged last for a slot: when, what, and to which cell as what."""

    at: UnixMillis
    charge: Charge
    cell: Cell
    fitted: Charge
    number: int
    """Of all that was charged for slots."""


class Windows:
    """All that the keys of an enclave used; a projection of the ledger."""

    __slots__ = ("_cells", "_filled", "_slots", "_watch", "lost_until")

    def __init__(self) -> None:
        self._cells = Cells()
        self._slots: OrderedDict[Slot, _Filled] = OrderedDict()
        self._filled = 0
        """How often anything was charged for a slot."""
        self._watch = Watch(_NO_POLICY)
        self.lost_until: UnixMillis | None = None
        """Up to when things were signed of which nothing is known; see law 9."""

    def __eq__(self, other: object) -> bool:
        """Say whether both have counted the same, and watch limits that are about the same."""
        if not isinstance(other, Windows):
            return NotImplemented
        return (
            self._cells == other._cells
            and self._slots == other._slots
            and self._filled == other._filled
            and self.lost_until == other.lost_until
            and self._watch.counted() == other._watch.counted()
        )

    __hash__ = None  # type: ignore[assignment]  # mutable

    @property
    def watched(self) -> Watch:
        """The limits of the policy in force. Read only."""
        return self._watch

    def watch(self, policy: Policy) -> None:
        """Count for the limits of this policy from now on, and all that was charged before."""
        watch = Watch(policy)
        found: dict[tuple[Tally, Group], list[Series]] = {}
        for cell in self._cells:
            for tally, group, places in watch.touched(*cell.shape):
                series = cell.series(places)
                if series:
                    found.setdefault((tally, group), []).extend(series)
        for (tally, group), some in found.items():
            tally.groups[group] = Series.sum_of(some)
        self._watch = watch

    def lose(self, until: UnixMillis) -> None:
        """Count every window that reaches back to this time as full."""
        self.lost_until = until if self.lost_until is None else max(until, self.lost_until)

    def has_lost(self, window_ms: int, now: UnixMillis) -> bool:
        """Return whether a window that ends now may hold what was lost."""
        return self.lost_until is not None and now < self.lost_until + window_ms

    def charge(self, charge: Charge, at: UnixMillis) -> None:
        """Count one signature at that time, and what it can move; see law 5 for one that fills a slot."""
        slot = charge.slot
        if slot is None:
            self._put(charge, at)
            return
        charge, before = self._joined(charge, at)
        if before is not None:
            self._add(before.cell, before.fitted, before.at, -1)
        cell, fitted = self._put(charge, at)
        self._filled += 1
        self._slots[slot] = _Filled(at, charge, cell, fitted, self._filled)
        self._slots.move_to_end(slot)
        if len(self._slots) > limits.WINDOW_SLOTS_MAX:
            self._slots.popitem(last=False)

    def replacing(self, charge: Charge, now: UnixMillis) -> tuple[Charge, Replaced]:
        """Return what would be charged for a signature that is issued now, and what would be taken back for it.

        What may be forgotten before the signature is a fact is not promised to be taken back.
        """
        joined, before = self._joined(charge, now)
        young = limits.WINDOW_SLOTS_MAX - limits.HISTORY_LAG_MAX
        if before is None or self._filled - before.number >= young:
            return joined, NOTHING_REPLACED
        plan = self._watch.plan(before.fitted.key, before.fitted.parts)
        amounts = {(each.tally, each.group): each.amount(before.fitted) for each in plan.touched}
        return joined, Replaced(at=before.at, amounts=amounts)

    def _joined(self, charge: Charge, at: UnixMillis) -> tuple[Charge, _Filled | None]:
        before = None if charge.slot is None else self._slots.get(charge.slot)
        if before is None or before.at <= at - limits.WINDOW_MS_MAX or not self._cells.holds(before.cell):
            return charge, None
        joined = before.charge.joined(charge)
        return (joined, before) if len(joined.parts) <= limits.WINDOW_SLOT_PARTS_MAX else (charge, None)

    def _put(self, charge: Charge, at: UnixMillis) -> tuple[Cell, Charge]:
        if not self._cells.has_room(charge) and self._cells.sweep(at):
            self.watch(self._watch.policy)
        cell, fitted = self._cells.place(charge)
        self._add(cell, fitted, at, 1)
        return cell, fitted

    def _add(self, cell: Cell, charge: Charge, at: UnixMillis, times: int) -> None:
        cell.charge(charge, at, times)
        for touched in self._watch.plan(charge.key, charge.parts).touched:
            amount = touched.amount(charge)
            if amount:
                touched.tally.charge(touched.group, at, times * amount)


class Reservations:
    """What is decided but neither a fact nor given up. Its size is that of the queues between."""

    __slots__ = ("_next", "_open", "_totals", "_watch")

    def __init__(self) -> None:
        self._open: dict[int, Charge] = {}
        self._totals: dict[tuple[Tally, Group], int] = {}
        self._watch: Watch | None = None
        self._next = 0

    def reserve(self, charge: Charge) -> int:
        """Count what ``check_limits`` returned until the ticket that is returned is released."""
        ticket = self._next
        self._next += 1
        self._open[ticket] = charge
        self._add(charge, 1)
        return ticket

    def release(self, ticket: int) -> None:
        """Forget a reservation: it is a fact now, or was given up. A second release would free another's: Broken."""
        if ticket not in self._open:
            raise Broken(f"reservation {ticket} was released before")
        self._add(self._open.pop(ticket), -1)

    def totals(self, watch: Watch) -> Mapping[tuple[Tally, Group], int]:
        """Return what is reserved in the groups of these tallies."""
        if watch is not self._watch:
            self._watch = watch
            self._totals = {}
            for charge in self._open.values():
                self._add(charge, 1)
        return self._totals

    def _add(self, charge: Charge, times: int) -> None:
        """Add to the totals; those of zero are not kept."""
        if self._watch is None:
            return
        totals = self._totals
        for touched in self._watch.plan(charge.key, charge.parts).touched:
            name = touched.tally, touched.group
            total = totals.get(name, 0) + times * touched.amount(charge)
            if total:
                totals[name] = total
            else:
                totals.pop(name, None)
