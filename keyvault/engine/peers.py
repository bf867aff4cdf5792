"""What the other nodes have seen of the ledger: each one's newest checkpoint, which the log key signed.

A database can be put back to an older state while nobody looks. Who saw more goes into quarantine by its own copy; a
node whose copy is as old as the database knows nothing of it, and would lead. So it asks. Laws:

1. Whoever took over asks all others before it serves. If one of them has a checkpoint that the ledger lacks, larger or
   over other entries, and the lease is still its own after that answer, it never leads (quarantine). A lease that is
   not its own any more may mean a successor, whose checkpoints are no sign of anything lost.
2. It asks again and again while it leads: a node that was away comes back. What it learns then ends the term, and no
   more: the next take-over decides by law 1.
3. Who does not answer in time says nothing. A node must be able to lead while others are dead; its token's anchor is
   the other guard. So a database that was put back is led on as long as nobody who knows better can be asked.
4. What the log key did not sign is nothing: a node that lies cannot stop another without what stands against itself.
   It can keep silent.
"""

from collections.abc import Sequence
from typing import Protocol


class Peers(Protocol):
    """The other nodes."""

    async def __call__(self) -> Sequence[tuple[str, bytes]]:
        """Return who has which newest checkpoint, of those that answer in time. Never raises.

        Each is a note that nobody verified.
        """
