"""Lets the token remember how far the ledger is: a ledger that is put back from an older copy finds it there.

Only durable heads are told, never on the path of a signature, and never a smaller one: the worker refuses that. A token
that does not answer costs nothing but memory; one that remembers more than this ledger has ends the term.
"""

import asyncio

from keyvault.core import limits
from keyvault.core.errors import RolledBack, Unavailable
from keyvault.core.marks import Mark
from keyvault.engine.appender import Appender
from keyvault.engine.clock import since_boot
from keyvault.hsm.base import ANCHOR_BEHIND, Token, TokenFault


class Anchorer:
    """Writes the anchor of one term."""

    def __init__(self, *, token: Token, appender: Appender) -> None:
        self.faults = 0
        self._token = token
        self._appender = appender
        self._written: Mark | None = None

    async def run(self) -> None:
        """Write when the ledger has grown, once an interval, for ever. Raises RolledBack."""
        while True:
            await asyncio.sleep(limits.ANCHOR_INTERVAL_MS / 1000)
            await self.try_write()

    async def try_write(self) -> None:
        """Write the durable head; a token that cannot now is asked again at the next interval. Raises RolledBack."""
        head, appender = self._appender.head, self._appender
        mark = Mark(incarnation=appender.state.incarnation, epoch=appender.epoch, size=head.size, root=head.root)
        if mark == self._written:
            return
        try:
            async with asyncio.timeout(limits.ANCHOR_WAIT_MS / 1000):  # a token may have no worker for hours
                await self._token.write_anchor(mark)
        except TokenFault as fault:
            if fault.code == ANCHOR_BEHIND:
                raise RolledBack(f"{fault}: this ledger is older than one that was served with this token") from fault
            self.faults += 1
        except (Unavailable, TimeoutError):
            self.faults += 1
        else:
            self._written = mark


class Memory:
    """What the token of a node that follows remembers: of a ledger that is put back everywhere no other token may know.

    It is told of the checkpoints that the node compared with its copy, never of a smaller one.
    """

    def __init__(self, token: Token) -> None:
        self.seen: Mark | None = None
        """What it remembered when it was last asked, or told."""
        self.is_known = False
        """Whether it was asked; before that nobody knows what it has seen."""
        self._token = token
        self._told_at = -limits.ANCHOR_INTERVAL_MS / 1000

    async def ask(self) -> None:
        """Find out what the token remembers. Raises Unavailable, TokenFault."""
        try:
            async with asyncio.timeout(limits.ANCHOR_WAIT_MS / 1000):
                self.seen = await self._token.read_anchor()
        except TimeoutError as error:
            raise Unavailable("the token does not say what it has seen of the ledger") from error
        self.is_known = True

    def forget(self) -> None:
        """Ask anew before it counts: the token may be another one, or a term of this node's own has told it more."""
        self.is_known = False

    async def tell(self, mark: Mark | None) -> None:
        """Let the token remember this, once an interval; one that cannot now is told of a later one."""
        if not self.is_known or mark is None or since_boot() - self._told_at < limits.ANCHOR_INTERVAL_MS / 1000:
            return
        if self.seen is not None and not self.seen.grows_to(mark):
            return  # whether the ledger lacks what it has seen is asked elsewhere
        self._told_at = since_boot()
        try:
            async with asyncio.timeout(limits.ANCHOR_WAIT_MS / 1000):
                await self._token.write_anchor(mark)
        except (TokenFault, Unavailable, TimeoutError):
            self.forget()
        else:
            self.seen = mark
