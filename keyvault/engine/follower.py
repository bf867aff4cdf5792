"""Keeps a replica up to date from a shared store, and says what the node lacks to lead.

Entries are read in the seat's thread, folded on the event loop, where everybody else reads the state, and written to
the copy in the thread again. One at a time folds.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from keyvault.core import limits
from keyvault.core.errors import Broken, Corrupt, Fenced, KeyvaultError, RolledBack, Unavailable
from keyvault.core.marks import Mark
from keyvault.engine.anchors import Memory
from keyvault.engine.challenge import Challenges
from keyvault.engine.clock import since_boot
from keyvault.engine.cosigning import Cosigning
from keyvault.engine.enclave import Enclave
from keyvault.engine.node import Node
from keyvault.engine.peers import Peers
from keyvault.engine.replica import Replica
from keyvault.engine.seat import Seat
from keyvault.hsm.base import Token
from keyvault.store.base import Head, Lease, SharedStore

_SILENT_S = 3 * limits.LEASE_BEAT_MS / 1000


class Follower:
    """Follows with one replica, through whatever seat there is."""

    def __init__(self, replica: Replica, node: Node, token: Token, cosigning: Cosigning, peers: Peers) -> None:
        self.folding = asyncio.Lock()
        """Held by whoever changes the replica."""
        self.settled = 0
        """How many entries the newest look said are settled."""
        self.quarantine = ""
        """What the store lacks that this node saw acknowledged, in words; then nothing more is taken."""
        self.is_busy = False
        self.doubts_server = False
        """Whether the newest look found a server whose commits would not be synchronous: it may have been replaced."""
        self._replica = replica
        self._node = node
        self._token = token
        self._memory = Memory(token)
        self._fits: Mark | None = None
        self._cosigning = cosigning
        self._peers = peers
        self._mark: tuple[int, int, str] | None = None
        self._marked_at = since_boot()
        self._challenges = Challenges()
        self._challenged_at = since_boot()

    def saw(self, lease: Lease) -> str:
        """Take a look's lease in; return where the leader is called, empty if it has been silent or its session ended.

        Whoever passes calls on to a leader that is silent would only wait with them.
        """
        self.settled = lease.settled
        mark = (lease.epoch, lease.beat, lease.holder)
        if mark != self._mark:
            self._mark, self._marked_at = mark, since_boot()
        silent = since_boot() - self._marked_at > _SILENT_S
        return "" if silent or lease.session_gone else lease.address

    async def follow(self, seat: Seat) -> str:
        """Take what is settled; return what this node lacks to lead, in words. Raises RolledBack, Corrupt."""
        if self.quarantine:
            return self.quarantine
        self.is_busy, self.doubts_server = True, False
        try:
            lacking = await self._taken(seat)
            self.doubts_server = True
            await seat.read(seat.store.check_synchronous)
            self.doubts_server = False
            if lacking is not None:
                raise lacking
            return await self._missing(seat) or await self._vouch()
        except (RolledBack, Corrupt):
            raise
        except (KeyvaultError, RuntimeError) as error:  # cannot be reached, or a commit would not be synchronous
            return str(error)
        finally:
            self.is_busy = False

    async def _taken(self, seat: Seat) -> RolledBack | None:
        """Take what is settled; return what speaks for a loss, if it is the server that is meant to have it all.

        One whose standbys follow another lacks what came after it was replaced, and nothing is lost.
        """
        try:
            await self.take(seat, lambda: self.settled)
        except RolledBack as error:
            return error
        return None

    async def _vouch(self) -> str:
        """Cosign and remember the newest checkpoint that was compared. A token that cannot now is no obstacle: ''."""
        lane = next((lane for lane in self._token.lanes if lane.is_up), None)
        if lane is not None:
            with suppress(Unavailable):
                await self._cosigning.cosign(lane, self._replica.origin, self._replica.copy.checkpoint())
            await self._memory.tell(self._replica.compared())
        return ""

    async def take(self, seat: Seat, until: Callable[[], int]) -> None:
        """Take all entries below ``until``, and the newest checkpoint. Raises as Replica, and RuntimeError as Seat."""
        async with self.folding:
            more = True
            while more:
                fetched = await seat.read(partial(self._replica.fetch, seat.store, until()))
                self._replica.take(fetched)
                await seat.read(partial(self._replica.keep, fetched))
                if fetched.entries:
                    self._node.changed()
                more = self._replica.head.size < until()

    async def take_over(self, seat: Seat, epoch: int) -> None:
        """Take everything that stands at the beginning of this term; hold it against what was seen of the ledger.

        Raises RolledBack if this node's copy or token, or another node, has seen what is not there (engine.peers);
        Corrupt, Fenced, Unavailable, OutcomeUnknown, and as Seat.
        """
        asking = asyncio.create_task(self._peers())
        head = await seat.read(lambda: head_of_term(seat.store, epoch))
        await self.take(seat, lambda: head.size)
        self._replica.check_is(head)
        if not self._memory.is_known:  # otherwise it was asked while this node followed, and told nothing else since
            await self._memory.ask()
        self._replica.check_has(self._memory.seen)
        self._memory.forget()  # the term tells the token more than this node's copy will know at once
        lacking = self._replica.lacks(await asking, self._replica.copy.read)
        if lacking is not None:
            await seat.write(lambda: seat.store.beat(epoch, head.size))  # or it may be a successor's checkpoint
            raise RolledBack(lacking.found)

    async def heed(self, enclave: Enclave) -> None:
        """End the term once another node has a checkpoint that its ledger lacks; return when it is over."""
        while True:
            await asyncio.sleep(limits.PEER_LOOK_MS / 1000)
            seen = await self._peers()
            if enclave.stopped.done():
                return
            lacking = self._replica.lacks(seen, enclave.entries)
            if lacking is not None:
                enclave.end_term(Broken(lacking.found))

    async def _missing(self, seat: Seat) -> str:
        if not self._replica.head.size:
            return "the ledger is empty"
        lane = next((lane for lane in self._token.lanes if lane.is_up), None)
        if lane is None:
            self._challenges.forget()
            self._memory.forget()
            return "its token has no worker"
        if since_boot() - self._challenged_at > limits.CHALLENGE_INTERVAL_MS / 1000:
            self._challenges.forget()
            self._challenged_at = since_boot()
        return await self._challenges.missing(lane, self._replica.state) or await self._forgotten(seat)

    async def _forgotten(self, seat: Seat) -> str:
        """Return what the token has seen of the ledger that is not there, in words: it would lead in vain.

        What is stored and not settled yet cannot be compared; whoever takes over takes it, and compares.
        """
        if not self._memory.is_known:
            await self._memory.ask()
        mark, size = self._memory.seen, self._replica.head.size
        if mark is None or mark == self._fits:
            return ""
        lacking = self._replica.lacking([("the token of this node", mark)])
        if lacking is None:
            self._fits = mark
            return ""
        if size < mark.size <= (await seat.read(seat.store.head)).size:
            return ""
        return lacking.found


def head_of_term(store: SharedStore, epoch: int) -> Head:
    """Return a head under which everything is durable: what stood when the term of this epoch was acknowledged.

    Raises Fenced if a later term began by the time it was read: its entries may be among it, and may not stay.
    """
    head = store.head()
    if store.lease().epoch != epoch:
        raise Fenced(f"epoch {epoch} is over: another node took over")
    return head
