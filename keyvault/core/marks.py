"""What was seen of a ledger outside of it: by the token's anchor, a checkpoint in a file, or another node.

A ledger that was put back from an older copy does not know what it has forgotten; a mark does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from keyvault.core.ids import Epoch, UnixMillis


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The ledger had ``size`` entries under ``root``, in this incarnation, and had reached ``epoch`` (0: not known)."""

    incarnation: int
    epoch: Epoch
    size: int
    root: bytes

    def __str__(self) -> str:
        epoch = f", epoch {self.epoch}" if self.epoch else ""
        return f"{self.size} entries (incarnation {self.incarnation}{epoch}, root {self.root.hex()[:16]})"

    def grows_to(self, later: "Mark") -> bool:
        """Return whether ``later`` can come after this: nothing gets smaller but the size in a new incarnation."""
        if later.epoch < self.epoch or later.incarnation < self.incarnation:
            return False
        if later.incarnation > self.incarnation or later.size > self.size:
            return True
        return later.size == self.size and later.root == self.root


def newest_of(*marks: Mark) -> Mark:
    """Return the mark that has seen most, with the highest epoch that any of them has seen."""
    most = max(marks, key=lambda mark: (mark.incarnation, mark.size, mark.epoch))
    epoch = Epoch(max(mark.epoch for mark in marks))
    return Mark(incarnation=most.incarnation, epoch=epoch, size=most.size, root=most.root)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incarnation:
    """A new beginning of the same ledger, which entry ``index`` records.

    ``position``: entries that were kept; ``lost``: what had been seen of the history that was given up.
    """

    number: int
    index: int
    at: UnixMillis
    position: int
    lost: Mark
    reason: str


def incarnation_at(incarnations: Sequence[Incarnation], size: int) -> int:
    """Return in which incarnation the ledger of the first ``size`` entries is."""
    return max((each.number for each in incarnations if each.index < size), default=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """Why nothing is signed: ``lost`` was seen elsewhere, and the ledger has not got it. ``found``: that in words.

    ``position``: entries up to the last that decided anything; what came after, if anything did, is not here.
    ``of_node``: it is this node alone that leads no more, and ``lost`` is what it has; members cannot give that up.
    """

    position: int
    lost: Mark
    found: str
    of_node: bool = False

    def __str__(self) -> str:
        if self.of_node:
            return (
                "this node is in quarantine and leads no more; no statement changes that: stop all nodes, and serve"
                f" what has everything (helm/README.md, nodes in quarantine). {self.found}"
            )
        return (
            "the enclave is in quarantine, nothing is signed: serve the newest ledger; if it is gone, members give up"
            f" what is lost (keyvault quarantine leave). {self.found}"
        )
