"""Takes what the leader of a pair sends: verified, folded and durable before the answer says so.

Laws:

1. Only a configured peer is listened to, and of those the leader that this node's own ledger names. While it names
   nobody any peer is: its entries are verified all the same, and nobody waits for this node.
2. Another peer must bring the entries by which members named it. They are folded aside first: nothing that does not end
   with its being the leader touches the copy.
3. Entries go exactly behind what is here, or nowhere.
4. A node that stands, or leads, takes nothing.
5. A ledger that began empty here begins with the very entry that the operator pinned, and is not whole until it came up
   to a leader elsewhere once. Until then the node neither leads nor stands: what names it may not be the last word.
6. A follower confirms nothing that is dated far past its own clock: a leader's clock that leapt would bind members and
   limits for ever. What everybody confirmed before is history, and a ledger that is dated so already goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection

from keyvault.core import limits
from keyvault.core.errors import Broken, Corrupt, Fenced, Unavailable
from keyvault.core.events import Genesis
from keyvault.core.ids import NOBODY, Principal, UnixMillis
from keyvault.core.marks import Mark
from keyvault.core.state import State
from keyvault.core.units import utc
from keyvault.engine.clock import Clock, since_boot
from keyvault.engine.feed import Batch
from keyvault.engine.node import Node
from keyvault.engine.replica import Fetched, Replica
from keyvault.ledger import codec
from keyvault.ledger.checkpoint import is_same_log
from keyvault.ledger.dates import dated
from keyvault.ledger.log_key import log_key_of
from keyvault.ledger.note import Verifier
from keyvault.store.base import Entry, Head
from keyvault.store.flag import Flag

_FORESIGHT_S = 1.0
"""Seconds between two looks ahead for peers that the ledger does not name: each copies all proposals."""
_LAST_DATE = UnixMillis(253_402_300_799_000)
"""The end of the year 9999, the last that can be written."""
_SILENCE_S = limits.PAIR_SILENCE_MS / 1000


class Intake:
    """What this node was given, and by whom."""

    def __init__(  # noqa: PLR0913 (the parts of a node)
        self,
        replica: Replica,
        node: Node,
        *,
        own: Principal,
        clock: Clock,
        peers: Collection[Principal],
        pinned: Verifier,
        copying: Flag,
        fed: Flag,
        stands: Callable[[], bool],
        yields: Callable[[Principal], Awaitable[None]],
    ) -> None:
        """``pinned``: the ledger's log key, with its name. ``copying``: up while the ledger is not whole.

        ``fed``: up from the moment that another node gives it entries.
        ``stands``: whether this node does; ``yields`` ends a term of its own, since members named another.
        """
        self.folding = asyncio.Lock()
        """Held by whoever changes the replica."""
        newest = replica.copy.checkpoint()
        self.settled = 0 if newest is None else newest[0]
        """So many entries are known to be on every follower: nobody vouches for what is not."""
        self._replica = replica
        self._node = node
        self._own = own
        self._clock = clock
        self._peers = frozenset(peers)
        self._pinned = pinned
        self._copying = copying
        if not replica.head.size:
            copying.raise_("this ledger began empty, and has not been whole since")
        self.is_copying = bool(copying.reason())
        """Whether the ledger is the beginning of one, perhaps (5)."""
        self._stands = stands
        self._yields = yields
        self._heard_at = -_SILENCE_S
        self._fed = fed
        self.was_fed = bool(fed.reason())
        """Whether another node gave it entries once: then it is not the one that the ledger was begun on."""
        self._knows_token = False
        self.seen: list[tuple[str, Mark]] = []
        """What the token remembers, until the ledger has it: before that nothing is confirmed."""
        self._foreseen_at = -_FORESIGHT_S

    def knows(self, seen: list[tuple[str, Mark]]) -> None:
        """Take what the token has seen; before this nothing is taken."""
        self.seen, self._knows_token = seen, True

    @property
    def leader(self) -> Principal:
        """Who leads, by this node's ledger; NOBODY if it does not say."""
        state = self._replica.state
        return state.term_node if state.pair is None else state.pair.leader

    @property
    def is_heard(self) -> bool:
        """Whether the leader sent anything lately."""
        return since_boot() - self._heard_at < _SILENCE_S

    async def take(self, sender: Principal, batch: Batch) -> Head:
        """Return what this node has when everything in the batch is durable.

        Raises Fenced if it is not the sender's to bring, or does not follow what is here; Corrupt, RolledBack and
        OutcomeUnknown end the node.
        """
        self._check(sender, batch)
        if not self._listens_to(sender, self._replica.state):
            self._check_named(sender, batch)
            await self._yields(sender)
        async with self.folding:
            self._check(sender, batch)  # nothing moved meanwhile: what was foreseen holds
            self._check_dates(batch)
            if self._node.leads:
                raise Fenced(f"{self._own} leads")
            if batch.entries and not self.was_fed:
                self._fed.raise_(f"{sender} gave this machine its first entries")
                self.was_fed = True
            await self._keep(Fetched(entries=batch.entries, signed=batch.signed))
            head, settled = self._replica.head, self.settled
            self.settled = max(self.settled, min(batch.settled, head.size))
            self._heard_at = since_boot()
            self._look_whether_it_has_all(sender, batch.whole)
            self._look_whether_whole(batch.whole)
            if batch.entries or self.settled > settled:
                self._node.changed()
            return head

    async def _keep(self, fetched: Fetched) -> None:
        """Fold and store. Raises Broken if that does not give the same: it would be confirmed, and not be there."""
        try:
            self._replica.take(fetched)
            await asyncio.to_thread(self._replica.keep, fetched)
        except Broken:
            raise
        except Exception as error:  # whatever it is, one of them has it and the other has not
            raise Broken(f"what was given could not be stored: {error}") from error
        if self._replica.copy.head() != self._replica.head:
            raise Broken(f"{self._replica.head.size} entries were taken, and the file has others")

    def _look_whether_it_has_all(self, sender: Principal, whole: int) -> None:
        """Raise Fenced if the sender has no more, and this node's token has seen what is not in it: an older ledger."""
        if self.seen and self._replica.lacking(self.seen) is None:
            self.seen = []
        if self.seen and self._replica.head.size >= whole:
            raise Fenced(f"{sender} has an older ledger than the token of {self._own} has seen: {self.seen[0][1]}")

    def _look_whether_whole(self, whole: int) -> None:
        """Let the ledger be whole if it came up to what the sender has, and another node leads there (5)."""
        if self.is_copying and self._replica.head.size >= whole and self.leader not in (NOBODY, self._own):
            self._copying.lower()
            self.is_copying = False

    def check_peer(self, sender: Principal) -> None:
        """Raise Fenced unless the configuration names this node."""
        if sender not in self._peers:
            raise Fenced(f"{sender} is no peer of this node: its configuration does not name it")

    def _check(self, sender: Principal, batch: Batch) -> None:
        """Raise Fenced unless this node could take the batch now (1, 3, 4)."""
        self.check_peer(sender)
        if not self._knows_token:
            raise Fenced(f"the token of {self._own} has not said yet what it has seen of the ledger")
        if self._stands() or self._replica.state.stands:
            raise Fenced(f"{self._own} stands: it takes nothing any more")
        if self._node.quarantine is not None or self._replica.quarantine is not None:
            raise Fenced(f"{self._own} is in quarantine")
        head = self._replica.head
        if not head.size and batch.entries:
            self._check_first(batch.entries[0])
        if batch.expected != head:
            raise Fenced(f"{self._own} has {head.size} entries, not {batch.expected.size} with the root expected")

    def _check_dates(self, batch: Batch) -> None:
        """Raise Fenced if this node should confirm what is dated far past its own clock (6)."""
        state = self._replica.state
        if state.pair is None or self._own not in state.pair.followers:
            return  # nobody waits for it
        try:
            now = self._clock.now()
        except Unavailable:  # it is known to be ahead itself
            return
        latest = max(now + limits.PAIR_AHEAD_MS_MAX, state.latest_at)
        for index, entry in enumerate(batch.entries, batch.expected.size):
            at = dated(entry.body)
            if index < batch.settled:
                latest = max(latest, at)
            elif at > latest:
                raise Fenced(
                    f"entry {index} is dated {utc(min(at, _LAST_DATE))}, by the clock of {self._own} it is {utc(now)}:"
                    f" what is more than {limits.PAIR_AHEAD_MS_MAX // 60_000} minutes ahead is not confirmed. Set right"
                    " whichever clock is wrong; if it was the leader's, let members name a follower: nobody else has it"
                )

    def _check_first(self, entry: Entry) -> None:
        """Raise Fenced unless entry 0 begins the ledger that was pinned (5)."""
        try:
            first = codec.decode(entry.body)
        except Corrupt as error:
            raise Fenced(f"entry 0 is none: {error}") from error
        if not isinstance(first, Genesis) or not is_same_log(self._pinned, log_key_of(entry.body, first)):
            raise Fenced(f"{self._own} keeps the ledger {self._pinned.name}, and this is another")

    def _listens_to(self, sender: Principal, state: State) -> bool:
        if self._node.leads:
            return False
        return sender == state.pair.leader if state.pair is not None else state.term_node in (sender, NOBODY)

    def _check_named(self, sender: Principal, batch: Batch) -> None:
        """Raise Fenced unless these entries say that members named the sender (2)."""
        if not batch.entries or since_boot() - self._foreseen_at < _FORESIGHT_S:
            raise Fenced(f"{self._own} follows {self.leader or 'nobody'}, not {sender}")
        self._foreseen_at = since_boot()
        try:
            named = self._replica.names_leader(batch.entries, sender)
        except Corrupt as error:
            raise Fenced(f"the entries of {sender} do not follow: {error}") from error
        if not named:
            raise Fenced(
                f"{self._own} follows {self.leader or 'nobody'}: members did not name {sender} in the next entries."
                f" If it leads, start {self._own} without a ledger"
            )
