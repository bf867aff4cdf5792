"""The peers of a node that leads a pair: those that must confirm every entry, and those that only watch."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as LateError
from contextlib import suppress

from keyvault.core import limits
from keyvault.core.errors import Fenced, Reason, Refused, RolledBack, Unavailable
from keyvault.core.events import PairSet
from keyvault.core.ids import Principal
from keyvault.core.marks import Mark
from keyvault.engine.feed import Feed, Link
from keyvault.engine.replica import Replica
from keyvault.engine.standing import PeerStanding
from keyvault.ledger import codec
from keyvault.store.base import Entry, Head

ACK_S = limits.PAIR_ACK_MS / 1000
CATCH_UP_S = limits.PAIR_CATCH_UP_MS / 1000


class Feeds:
    """One feed for each configured peer. ``followers`` says who of them must confirm an entry, now."""

    def __init__(
        self,
        own: Principal,
        links: Sequence[Link],
        replica: Replica,
        followers: Callable[[], tuple[Principal, ...]],
    ) -> None:
        self._own = own
        self._links = tuple(links)
        self._replica = replica
        self._followers = followers
        self._by_node = {link.node: Feed(link, replica) for link in links}
        self._loop = asyncio.get_running_loop()

    @property
    def all(self) -> tuple[Feed, ...]:
        """One for each peer."""
        return tuple(self._by_node.values())

    def address(self, node: Principal) -> str:
        """Return where the peer is called; empty if the node is none."""
        return self._by_node[node].address if node in self._by_node else ""

    def of(self, node: Principal) -> Feed:
        """Return the peer's. Raises Unavailable if the configuration does not know it."""
        if node not in self._by_node:
            raise Unavailable(f"the configuration names no peer {node}, which the ledger names")
        return self._by_node[node]

    def check(self, nodes: Sequence[Principal]) -> None:
        """Raise Refused unless each other node can lead or follow: configured, up to date, the keys in its token.

        Whether a node that stands has any that is, nobody knows before it is named.
        """
        for node in nodes:
            feed = self._by_node.get(node)
            if node == self._own:
                continue
            if feed is None:
                raise Refused(Reason.STATE_MISMATCH, f"this node's configuration has no [[peer]] {node}")
            if feed.head is None and not self._replica.state.stands:
                why = feed.obstacle or "it was not asked yet"
                raise Refused(Reason.STATE_MISMATCH, f"{node} is not up to date: {why}. Nothing could be given out")
            if feed.lacks:
                raise Refused(Reason.STATE_MISMATCH, f"{node} could never lead: {feed.lacks}")

    def is_follower(self, node: Principal) -> bool:
        """Return whether this peer must confirm, now."""
        return node in self._followers()

    async def ask(self) -> None:
        """Ask every peer what it has, all at once; whoever does not answer in time has said what it said before."""

        async def ask(feed: Feed) -> None:
            with suppress(Unavailable, Fenced, TimeoutError):
                async with asyncio.timeout(ACK_S):
                    await feed.ask()

        await asyncio.gather(*map(ask, self.all))

    def seen(self) -> list[tuple[str, Mark]]:
        """Return what the peers have seen of the ledger, by all that they said so far.

        A checkpoint counts that the log key signed, whoever shows it. What a token remembers nobody signed: that counts
        from a node that members named, in this ledger.
        """
        pair, found = self._replica.state.pair, list[tuple[str, Mark]]()
        named = () if pair is None else (*pair.nodes, *pair.before)
        for feed in self.all:
            if feed.told is None:
                continue
            mark = None if feed.told.signed is None else self._replica.mark_of(feed.told.signed[1])
            found += [] if mark is None else [(feed.node, mark)]
            if feed.told.remembered is not None and feed.node in named:
                found.append((f"the token of {feed.node}", feed.told.remembered))
        return found

    async def check_begins(self) -> None:
        """Raise Unavailable unless this node alone has the whole ledger, in which no node ever led by name.

        Of two that have it each would lead; nobody but who set them up knows which is meant to.
        """
        own = self._replica.head
        for feed in self.all:
            try:
                async with asyncio.timeout(ACK_S):
                    await feed.ask()
            except (Unavailable, Fenced, TimeoutError) as error:
                why = str(error) or f"{feed.node} does not answer"
                raise Unavailable(f"{why}. A pair begins when every machine runs: start it, with no ledger") from error
            head = feed.head
            if head is None or head.size >= own.size or (head.size and self._replica.root_at(head.size) != head.root):
                raise Unavailable(
                    f"{feed.node} has a ledger, too, and one machine begins a pair: stop the other one, move its"
                    " ledger.db* away and start it again"
                )

    async def level(self, settled: int) -> None:
        """Return when every follower has exactly what this node has. Raises Unavailable, Fenced.

        One that has less than it once confirmed lost it, and may have been named elsewhere meanwhile: it is refused.
        Also those who had to have the entry that named the present ones, if nobody knows that they have it.
        """
        pair = self._replica.state.pair
        unconfirmed = pair.before if pair is not None and pair.index >= settled else ()
        for follower in dict.fromkeys((*self._followers(), *unconfirmed)):
            if follower == self._own:
                continue
            feed = self.of(follower)
            try:
                async with asyncio.timeout(CATCH_UP_S):
                    await feed.ask()
                    if feed.head is not None and feed.head.size < settled:
                        raise Unavailable(f"{follower} lost what it had confirmed: let members name somebody anew")
                    await feed.bring(settled)
            except RolledBack as error:
                raise Unavailable(f"{error}. {self._whose_turn(feed)}") from error

    def _whose_turn(self, feed: Feed) -> str:
        """Return what to do about two ledgers that differ: whoever was named last has the one that stays."""
        pair, theirs = self._replica.state.pair, None if feed.told is None else feed.told.named
        ours = None if pair is None else (pair.leader, pair.index)
        if theirs is not None and theirs[0] != self._own and (ours is None or theirs[1] > ours[1]):
            return (
                f"Members named {theirs[0]} at entry {theirs[1]} there, later than here: keyvault pair show there says"
                " whether it leads. If so, move ledger.db* away on this machine, not there, and start it again"
            )
        if ours is not None and (theirs is None or ours[1] > theirs[1]) and feed.head_size <= self._replica.head.size:
            return (
                f"Members named {ours[0]} at entry {ours[1]} here, later than there: what only {feed.node} has is given"
                f" up. Keep a copy of its ledger.db*, move them away on {feed.node}, and start it again"
            )
        return (
            f"Move no ledger away before you know which one members named last, and what each gave out: keyvault pair"
            f" show on both machines. Until then let {feed.node} and this machine wait"
        )

    def confirm(self, expected: Head, entries: Sequence[Entry], new: Head) -> None:
        """Return when every follower has the new entries; see ``store.paired``. Called in the writing thread."""
        confirming = asyncio.run_coroutine_threadsafe(self._confirmed(expected, entries, new), self._loop)
        try:
            confirming.result(2 * ACK_S)
        except (LateError, TimeoutError) as error:
            confirming.cancel()
            raise Unavailable("no answer in time") from error

    async def _confirmed(self, expected: Head, entries: Sequence[Entry], new: Head) -> None:
        followers = dict.fromkeys((*self._followers(), *_named_in(entries)))
        sending = [self.of(each).send(expected, entries, new) for each in followers if each != self._own]
        async with asyncio.timeout(ACK_S):
            await asyncio.gather(*sending)

    def standing(self) -> tuple[PeerStanding, ...]:
        """Return how far each peer is."""
        return tuple(
            PeerStanding(
                node=feed.node,
                address=feed.address,
                position=None if feed.head is None else feed.head.size,
                obstacle=feed.obstacle or feed.lacks,
            )
            for feed in self.all
        )

    async def close(self) -> None:
        """Let all of them go."""
        for link in self._links:
            await link.close()


def _named_in(entries: Sequence[Entry]) -> tuple[Principal, ...]:
    """Return whom these entries name as a pair, who must have them, too: or nobody could go on from there.

    What members named stands in an append of its own.
    """
    event = codec.decode(entries[0].body) if len(entries) == 1 else None
    return (event.leader, *event.followers) if isinstance(event, PairSet) else ()
