"""Runs one node of a pair: has everything confirmed while it leads, keeps what it is given while it follows.

Which of the two it does stands in its own copy of the ledger (``core.pair``), and changes only there: members name a
leader. There is no election, no clock decides anything, and a node that cannot reach the others waits.

Laws:

1. A leader begins a term when every follower has exactly what it has, so that nothing is left in doubt; each append of
   the term is durable here and on every follower before anything is given out (I1, ``store.paired``).
2. A follower takes entries from the leader that its ledger names, and from nobody else. A peer that says that members
   named it shows them the entries that say so; they are folded aside first.
3. A follower that is told to stand confirms nothing more, so whoever led can give nothing out. It begins a term that
   decides nothing but who leads; from there on it follows nobody, unless its ledger is thrown away.
4. What is not known to be on every follower is not given out by a node that does not lead either.
5. A node that lacks a checkpoint which its token, the file beside its ledger, or a peer has seen is in quarantine: it
   serves reads, and members may leave it as everywhere. A follower with other entries keeps it from leading at all.
   A follower that is shown a checkpoint over other entries than it has follows and leads no more.
6. Whatever ends a term, the next one begins with (1). A leader that was replaced follows, if it has nothing besides.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from keyvault.core.errors import Broken, Corrupt, KeyvaultError, Reason, Refused, RolledBack, Unavailable
from keyvault.core.ids import NOBODY, Epoch, Principal
from keyvault.core.marks import Mark, Quarantine
from keyvault.core.pair_changes import is_over
from keyvault.engine.ability import Ability
from keyvault.engine.beats import BEAT_S, Beats, first_of
from keyvault.engine.clock import Clock
from keyvault.engine.cosigning import Cosigning
from keyvault.engine.enclave import STANDS, Enclave, Identity
from keyvault.engine.feed import Batch, Link, Look
from keyvault.engine.feeds import ACK_S, Feeds
from keyvault.engine.fold import Kept
from keyvault.engine.intake import Intake
from keyvault.engine.node import Node
from keyvault.engine.observer import Observer
from keyvault.engine.part import Part, may_stand, part_of
from keyvault.engine.replica import Replica
from keyvault.engine.standing import Reporter, Standing
from keyvault.hsm.base import Token
from keyvault.ledger.note import Verifier
from keyvault.store.flag import Flag
from keyvault.store.paired import PairedStore


class PairTerms:
    """One node's terms, one after the other. See ``Member``; the lead moves by members' word only."""

    def __init__(  # noqa: PLR0913 (the parts of a node)
        self,
        *,
        links: Sequence[Link],
        replica: Replica,
        node: Node,
        token: Token,
        clock: Clock,
        identity: Identity,
        pinned: Verifier,
        copying: Flag,
        fed: Flag,
        forked: Flag,
        address: str,
        observer: Observer,
        reporter: Reporter,
        stands_after: int = 0,
    ) -> None:
        """``pinned``: the ledger's log key, with its name. ``copying``, ``fed``, ``forked``: what outlives the process.

        ``stands_after``: stand, if this is the epoch that the node's ledger is in now; 0: never.
        """
        self._feeds = Feeds(identity.node, links, replica, self._followers)
        self._replica = replica
        self._node = node
        self._token = token
        self._clock = clock
        self._identity = identity
        self._address = address
        self._observer = observer
        self._reporter = reporter
        self._enclave: Enclave | None = None
        self._store: PairedStore | None = None
        self._forked = forked
        self._ends = asyncio.Event()
        self._cosigning = node.cosigning = Cosigning(token, clock, address, reporter.cosigns)
        self._ability = Ability(token, replica, self._cosigning)
        self._obstacle = self._ability.lacks
        self.intake = Intake(
            replica,
            node,
            own=identity.node,
            clock=clock,
            peers=[link.node for link in links],
            pinned=pinned,
            copying=copying,
            fed=fed,
            stands=lambda: self.part is Part.STANDS,
            yields=self._yield_to,
        )
        node.readable = lambda: self.intake.settled
        # Once and for all: an epoch comes by itself that somebody wrote into a unit file.
        may = may_stand(replica.state, identity.node, stands_after)
        self._will_stand = may and not self.intake.is_copying and not forked.reason()
        if forked.reason():
            node.quarantine = replica.quarantined(forked.reason())

    @property
    def part(self) -> Part:
        """What this node does, by its own copy of the ledger (2, 3)."""
        if self._node.is_out or self.intake.is_copying:
            return Part.FOLLOWS
        state, own = self._replica.state, self._identity.node
        return part_of(state, own, will_stand=self._will_stand, was_fed=self.intake.was_fed)

    async def run(self) -> None:
        """Follow and lead until ``drain``, or until something ends the node, which resolves ``node.stopped``."""
        try:
            while not self._ends.is_set() and not self._node.stopped.done():
                if await self._knows_token():
                    await (self._follow() if self.part is Part.FOLLOWS else self._lead())
        except Broken as error:
            self._stop(error)
        except Exception as error:  # noqa: BLE001 (what nobody foresaw leaves the outcome unknown: I7)
            self._stop(Broken(f"a node failed in a way that nobody foresaw: {error!r}"))
        finally:
            self._node.follow("")
            await self._feeds.close()

    async def _knows_token(self) -> bool:
        """Return whether the token said what it has seen; before that this node takes and leads nothing."""
        memory = self._ability.memory
        if memory.is_known:
            return True
        try:
            await memory.ask()
        except Unavailable as error:
            self._obstacle = str(error)
            await self._pause()
            return False
        self.intake.knows([] if memory.seen is None else [("the token", memory.seen)])
        return True

    def drain(self) -> None:
        """Let what is under way end, and lead no more; ``run`` returns."""
        self._ends.set()

    def standing(self) -> Standing:
        """See Member."""
        return Standing(
            address=self._address,
            leads=self._node.leads,
            leader=self._node.leader,
            epoch=Epoch(self._replica.state.epoch),
            position=self._node.size,
            checkpoint=self._replica.copy.checkpoint() or (0, b""),
            obstacle=self._why_not(),
            drained=False,
            quarantined=self._node.quarantine is not None,
            cosigner_vkey=self._cosigning.vkey,
            cosigned=self._cosigning.note,
            peers=self._feeds.standing() if self._node.leads else (),
        )

    async def hand_over(self) -> None:
        """See Member. Raises Refused."""
        raise Refused(Reason.STATE_MISMATCH, _BY_MEMBERS)

    async def set_drained(self, *, drained: bool) -> None:
        """See Member. Raises Refused."""
        del drained
        raise Refused(Reason.STATE_MISMATCH, _BY_MEMBERS)

    def look(self, sender: Principal) -> Look:
        """Return what this node has. Raises Fenced unless a peer asks."""
        self.intake.check_peer(sender)
        return self._seen_by_others()

    def _seen_by_others(self) -> Look:
        if self._node.stopped.done():
            raise Unavailable("this node is ending")
        copy, pair = self._replica.copy, self._replica.state.pair
        return Look(
            head=copy.head(),
            signed=copy.checkpoint(),
            obstacle="" if self._node.leads else self._ability.lacks,
            remembered=self._ability.memory.seen,
            named=None if pair is None else (pair.leader, pair.index),
            node=self._identity.node,
        )

    async def take(self, sender: Principal, batch: Batch) -> Look:
        """Take what a peer sends; return what this node has then. Raises Fenced, Unavailable, Broken."""
        return await asyncio.shield(asyncio.ensure_future(self._take(sender, batch)))  # a caller that left ends nothing

    async def _take(self, sender: Principal, batch: Batch) -> Look:
        found = self._seen_by_others()
        try:
            return replace(found, head=await self.intake.take(sender, batch))
        except RolledBack as error:  # its leader, or its log key, signs for another history than this node has
            self._node.quarantine = self._replica.quarantined(str(error))
            self._forked.raise_(str(error))
            self._reporter.quarantined(str(error))
            raise
        except Broken as error:
            self._stop(error)
            raise

    # Following ------------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Wait a beat; see to it that a new leader has what its predecessor still had."""
        leader = self.intake.leader
        self._node.follow(self._feeds.address(leader) if self.intake.is_heard else "")
        state = self._replica.state
        if state.pair is not None and state.term_node == self._identity.node:
            with suppress(KeyvaultError, TimeoutError):  # it may be there, and lead already
                async with asyncio.timeout(ACK_S):
                    await self._feeds.of(leader).bring(self.intake.settled)
        await self._look_at_token()
        await self._ability.vouch()
        await self._pause()

    async def _look_at_token(self) -> None:
        """Find out what this node lacks to lead."""
        self._obstacle = await self._ability.look()
        if self.intake.is_copying and self._replica.head.size:
            self._obstacle = self._ability.lacks = "its ledger is not whole yet"

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(BEAT_S):
                await self._ends.wait()

    # Leading --------------------------------------------------------------------------------------------------------

    async def _lead(self) -> None:
        """Begin a term if nothing is in its way, and serve until it ends."""
        part = self.part
        self._node.follow("")
        try:
            await self._look_at_token()
            # What a token lacks keeps a node from being named, not from leading: who else could disable the key?
            began = self._ability.has_worker and await self._unless_it_ends(self._prepare_and_begin(part))
        except (KeyvaultError, TimeoutError) as error:
            if isinstance(error, Corrupt) or (self._store is not None and self._store.is_broken):
                raise
            self._obstacle, began = str(error) or "a follower does not answer", False
            await self._recover()
        if began:
            await self._serve()
        else:
            await self._pause()

    async def _unless_it_ends(self, beginning: Coroutine[Any, Any, bool]) -> bool:
        """Do it, but for a node that is to end: a follower may be minutes behind, or never answer."""
        task, ends = asyncio.ensure_future(beginning), asyncio.ensure_future(self._ends.wait())
        await asyncio.wait([task, ends], return_when=asyncio.FIRST_COMPLETED)
        ends.cancel()
        if not task.done() and self._store is None:  # a term that begins is ended as every other
            task.cancel()
        with suppress(asyncio.CancelledError):
            return await task
        return False

    async def _prepare_and_begin(self, part: Part) -> bool:
        state = self._replica.state
        if part is Part.LEADS and state.pair is None and state.term_node == NOBODY:
            await self._feeds.check_begins()
        await self._feeds.ask()
        if part is Part.LEADS:
            await self._feeds.level(self.intake.settled)
        return await self._begin(part, await self._seen())

    async def _seen(self) -> list[tuple[str, Mark]]:
        """Return what token, file and peers have seen of the ledger (5)."""
        anchor, note = await self._token.read_anchor(), self._replica.copy.anchor()
        seen = self._feeds.seen() + ([] if anchor is None else [("the token", anchor)])
        return seen + ([] if note is None else [("the checkpoint in the file beside it", Kept.of(note).mark)])

    async def _begin(self, part: Part, seen: list[tuple[str, Mark]]) -> bool:
        """Begin a term on top of what is here, in quarantine if that is not all (5); return False if it has changed."""
        async with self.intake.folding:
            if self.part is not part or self._replica.copy.head() != self._replica.head:
                return False
            if part is Part.LEADS:
                self.intake.settled = self._replica.head.size
            quarantine = self._replica.lacking(seen)
            if part is Part.STANDS:
                quarantine = quarantine or self._replica.outside(self._identity.node)
            above = max(self._replica.state.epoch, *(mark.epoch for _, mark in seen), 0)
            epoch = await asyncio.to_thread(
                partial(self._replica.copy.acquire_term, self._identity.holder, above=above)
            )
            self._replica.copy_epoch = epoch
            self._enclave = enclave = await self._enclave_in(Epoch(epoch), quarantine, stands=part is Part.STANDS)
            self._will_stand = False
        if quarantine is not None:
            self._reporter.quarantined(str(quarantine))
        self._node.lead(enclave, self._address)
        self._reporter.leads(epoch)
        return True

    async def _enclave_in(self, epoch: Epoch, quarantine: Quarantine | None, *, stands: bool) -> Enclave:
        self._store = PairedStore(self._replica.copy, self._feeds.confirm, self._readable_now)
        writer = self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="keyvault-writer")
        try:
            return await Enclave.lead(
                store=self._store,
                token=self._token,
                clock=self._clock,
                identity=self._identity,
                recovered=replace(self._replica.recovered(), quarantine=quarantine),
                epoch=epoch,
                observer=self._observer,
                writer=writer,
                stands=stands,
                check_nodes=self._feeds.check,
            )
        except BaseException:
            writer.shutdown(wait=False)
            raise

    async def _serve(self) -> None:
        enclave, store = self._enclave, self._store
        if enclave is None or store is None:  # it ended already
            return
        beating = asyncio.create_task(Beats(self._feeds, self._replica, self.intake).run(enclave, store))
        try:
            while not enclave.stopped.done() and not is_over(enclave.state) and not self._ends.is_set():
                await first_of(enclave.stopped, enclave.next_change(), self._ends.wait())
        finally:
            beating.cancel()
            with suppress(asyncio.CancelledError):
                await beating
        await self._end(enclave)

    async def _end(self, enclave: Enclave) -> None:
        """End the term: at once if it was lost or another was named, after what is under way otherwise."""
        why = str(enclave.stopped.result()) if enclave.stopped.done() else "the node stops"
        if is_over(enclave.state):
            why = "members named another leader"
            enclave.end_term(Broken(why))
        self._node.follow("")
        if enclave.stopped.done():
            self._enclave = None
            self._node.changed()
            await asyncio.to_thread(self._writer.submit(self._ends.is_set).result)  # it waits for this loop, perhaps
        await enclave.close()
        self._enclave = None
        self._ability.memory.forget()  # the term told the token more
        self._reporter.ended(enclave.state.epoch, why)
        if self._store is not None and self._store.is_broken:
            raise Broken(why)
        await self._recover()

    async def _recover(self) -> None:
        """Let the state be what is durable here, whether or not it was confirmed."""
        async with self.intake.folding:
            self._store = None
            self._replica.resume()
        self._node.changed()

    def _followers(self) -> tuple[Principal, ...]:
        """Return who must have an entry before it counts, by the state that it is appended to."""
        state = self._replica.state
        return () if state.pair is None or state.stands or self._will_stand else state.pair.followers

    def _readable_now(self) -> int | None:
        """Return how many entries may be given out while the node stands; None: all that were confirmed."""
        return self.intake.settled if self._replica.state.stands else None

    # Giving up ------------------------------------------------------------------------------------------------------

    async def _yield_to(self, leader: Principal) -> None:
        """End the term that members ended elsewhere; ``intake`` was shown that they named ``leader``."""
        while self._store is not None:
            if self._enclave is not None:
                self._enclave.end_term(Broken(f"members named {leader}"))
            await self._node.next_change()

    def _why_not(self) -> str:
        if self._node.quarantine is not None:
            return str(self._node.quarantine)
        if self._node.leads:
            return STANDS if self._replica.state.stands else ""
        return self._obstacle

    def _stop(self, error: Broken) -> None:
        if not self._node.stopped.done():
            self._node.stopped.set_result(error)
        self._ends.set()


_BY_MEMBERS = "the lead of a pair moves when its members name another node: keyvault pair set"
