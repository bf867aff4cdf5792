"""Signs of life of a node that leads a pair, to each peer; and what the answers say of its ledger."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from keyvault.core import limits
from keyvault.core.errors import Broken, KeyvaultError
from keyvault.engine.enclave import Enclave
from keyvault.engine.feed import Feed
from keyvault.engine.feeds import ACK_S, CATCH_UP_S, Feeds
from keyvault.engine.intake import Intake
from keyvault.engine.replica import Replica
from keyvault.store.paired import PairedStore

BEAT_S = limits.PAIR_BEAT_MS / 1000


class Beats:
    """Those of one term. While the node stands it tells nobody anything, and only asks."""

    def __init__(self, feeds: Feeds, replica: Replica, intake: Intake) -> None:
        self._feeds = feeds
        self._replica = replica
        self._intake = intake

    async def run(self, enclave: Enclave, store: PairedStore) -> None:
        """Do so for ever."""
        await asyncio.gather(*(self._for_ever(enclave, store, feed) for feed in self._feeds.all))

    async def _for_ever(self, enclave: Enclave, store: PairedStore, feed: Feed) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            if enclave.state.stands:
                with suppress(KeyvaultError, TimeoutError):
                    async with asyncio.timeout(ACK_S):
                        await feed.ask()
            else:
                await self._bring(enclave, store, feed)
            self._heed(enclave)

    async def _bring(self, enclave: Enclave, store: PairedStore, feed: Feed) -> None:
        """Tell a peer how far everybody is. A follower that does not answer ends the term: nothing can come out."""
        self._intake.settled = store.head().size
        is_follower = self._feeds.is_follower(feed.node)
        try:
            async with asyncio.timeout(ACK_S if is_follower else CATCH_UP_S):
                await feed.bring(self._intake.settled)
        except (KeyvaultError, TimeoutError) as error:
            if is_follower:
                enclave.end_term(Broken(f"{feed.node} does not confirm: {str(error) or 'it does not answer'}"))

    def _heed(self, enclave: Enclave) -> None:
        """End a term whose ledger lacks what a peer has seen; the next one begins in quarantine."""
        if enclave.quarantine is None and not enclave.stopped.done():
            lacking = self._replica.lacking(self._feeds.seen())
            if lacking is not None:
                enclave.end_term(Broken(lacking.found))


async def first_of(stopped: asyncio.Future[Broken], *others: Coroutine[Any, Any, object]) -> None:
    """Return when the term has stopped, or one of the others is done."""
    waiting: list[asyncio.Future[Any]] = [asyncio.ensure_future(other) for other in others]
    try:
        await asyncio.wait([stopped, *waiting], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()
