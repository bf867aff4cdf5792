"""A pair: one machine that leads, and one or two that have everything before anybody is answered; from the ledger.

Laws:

1. The ledger says who leads and who follows. Members name them by their quorum (I4), and nobody else does.
2. A term begins on the node that the ledger names. Another node may begin one without being named if it says so: it
   stands. Nothing is decided in a term that stands but who leads, and only the node that stands can be named in it.
3. Once members name another leader nothing can be said in the present term any more.
4. What members approve, they approve for one epoch, and for one place in the ledger if a node stands: an approval is
   worth nothing on another machine, or later.
5. A node of the pair has all that the pair gave out. Any other that stood and was named may have an older ledger: it
   signs nothing before members gave up what it lacks, as with a ledger from a backup.

A ledger whose members named nobody has none of this.
"""

from dataclasses import dataclass

from keyvault.core.ids import Principal


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Who leads, and who must have an entry before what it says is given out; without followers nobody else."""

    leader: Principal
    followers: tuple[Principal, ...]
    index: int = 0
    """Which entry says so."""
    before: tuple[Principal, ...] = ()
    """Who had to have that entry, as followers of the pair before; nobody where the leader stood."""
    unproven: bool = False
    """Whether the leader, when it stood, was none of the pair before: nobody had waited for it (5)."""

    @property
    def nodes(self) -> tuple[Principal, ...]:
        """All of them."""
        return (self.leader, *self.followers)
