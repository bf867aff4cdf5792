"""What one node knows of how the enclaves of its database are spread, and what it is advised to do. Sans I/O.

It is advice, never safety: the table may be wrong, old, or written by somebody who lies. What it can cost at worst is a
hand-over for nothing now and then (5), and a free lease that is taken a little later (6).

Laws:

1. Time is the node's own monotonic clock, in seconds, and comes in with every call. Nothing of the database's clock or
   another node's is ever compared with it.
2. A node is there when its sign of life was seen to change within SPREAD_PRESENCE. One that is seen for the first time
   is not there yet: the row may be years old. A new process at the same address, or another place, is a new node.
3. The picture (engine.balance) is of nodes that are there: who leads and who could. Who has no place is not in it.
4. It is settled when it did not change for SPREAD_SETTLE, and no reading failed meanwhile. Every node that reads the
   same table has seen the last change by then; so at most one node acts, whoever it is, and then all wait again.
5. A hand-over is advised to the leader that the next move of a settled picture names, and only in a term that is older
   than the hold: SPREAD_HOLD, doubled up to SPREAD_HOLD_MAX by each advice that did not bring the lead to its aim.
6. A node yields a free lease to the heir (engine.balance), by LEASE_PREFERENCE, if the heir is another place. Without a
   picture it yields to nobody.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from keyvault.core import limits
from keyvault.engine.balance import Move, Picture, heir, next_move
from keyvault.store.base import Presence

_PRESENCE_S = limits.SPREAD_PRESENCE_MS / 1000
_SETTLE_S = limits.SPREAD_SETTLE_MS / 1000
_HOLD_S = limits.SPREAD_HOLD_MS / 1000
_HOLD_S_MAX = limits.SPREAD_HOLD_MS_MAX / 1000

NOTHING = Picture(leads={}, able=frozenset())
"""What is known before anything was read."""


@dataclass(slots=True, kw_only=True)
class _Sign:
    """What was seen of a node last, and when it was seen to change; never at first sight."""

    mark: tuple[str, str, int]
    changed_at: float = -math.inf


class Spread:
    """One node's view. ``enclave`` and ``place`` are its own."""

    def __init__(self, *, enclave: str, place: str, now: float) -> None:
        self.picture = NOTHING
        self._enclave = enclave
        self._place = place
        self._signs: dict[tuple[str, str], _Sign] = {}
        self._changed_at = now
        self._leads_since = math.inf
        self._hold_s = _HOLD_S
        self._aim = ""

    def saw(self, nodes: Sequence[Presence], *, leads: bool, now: float) -> None:
        """Take a reading in, and whether this node leads."""
        there = [each for each in nodes if self._is_there(each, now)]
        names = {(each.enclave, each.address) for each in nodes}
        self._signs = {name: sign for name, sign in self._signs.items() if name in names}
        picture = Picture(
            leads={each.enclave: each.place for each in there if each.leads},
            able=frozenset((each.enclave, each.place) for each in there if each.eligible),
        )
        if picture != self.picture:
            self.picture, self._changed_at = picture, now
        if not leads:
            self._leads_since = math.inf
        elif self._leads_since == math.inf:
            self._leads_since = now
        if self._aim and picture.leads.get(self._enclave) == self._aim:
            self._aim, self._hold_s = "", _HOLD_S

    def failed(self, now: float) -> None:
        """Take in that there was no reading."""
        self.picture, self._changed_at = NOTHING, now

    def yields(self) -> bool:
        """Return whether another place should take this node's lease first (6)."""
        return heir(self.picture, self._enclave) not in {"", self._place}

    def advice(self, now: float) -> Move | None:
        """Return the hand-over that this node should make now (5). Being asked again is an advice of its own."""
        if now - self._changed_at < _SETTLE_S or now - self._leads_since < self._hold_s:
            return None
        move = next_move(self.picture)
        if move is None or move.enclave != self._enclave or self.picture.leads[move.enclave] != self._place:
            return None
        self._leads_since = now  # what is advised is done, or waits for as long again
        if self._aim:
            self._hold_s = min(2 * self._hold_s, _HOLD_S_MAX)
        self._aim = move.to
        return move

    def _is_there(self, node: Presence, now: float) -> bool:
        name, mark = (node.enclave, node.address), (node.place, node.holder, node.beat)
        sign = self._signs.get(name)
        if sign is None:
            self._signs[name] = _Sign(mark=mark)
            return False
        if sign.mark[:2] != mark[:2]:
            sign.mark, sign.changed_at = mark, -math.inf
        elif sign.mark != mark:
            sign.mark, sign.changed_at = mark, now
        return now - sign.changed_at < _PRESENCE_S
