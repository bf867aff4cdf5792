"""What the engine needs from a store, in words; every store passes tests/store/test_contract.py.

A store holds one enclave's ledger. It knows entries as bytes, never their meaning.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from keyvault.core.marks import Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """How long the ledger is and the RFC 6962 root over its entries."""

    size: int
    root: bytes


EMPTY_HEAD = Head(size=0, root=hashlib.sha256(b"").digest())


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry. ``request_key`` is unique in the ledger when given."""

    body: bytes
    request_key: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Who leads, as the store has it.

    ``beat`` changes with every sign of life of the leader. ``holder`` is empty after it stepped down. The first
    ``settled`` entries were acknowledged; until a take-over, those after them may vanish with the server that has them.
    ``session_gone``: the store knows that the leader's connection ended, or never had one; it may still live.
    """

    epoch: int
    beat: int
    holder: str
    address: str
    settled: int
    session_gone: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """A node of any enclave of the database, as it last said of itself.

    ``beat`` changes with every sign of life. ``eligible``: it could lead. ``leads``: the lease names this very process.
    """

    enclave: str
    place: str
    holder: str
    address: str
    beat: int
    eligible: bool
    leads: bool


class Store(Protocol):
    """One enclave's ledger on durable storage.

    Not safe for concurrent appends: one thread appends. Reads may come from any one other thread at a time.
    """

    def head(self) -> Head:
        """Return the durable head. An empty ledger has size 0 and the root SHA-256("")."""

    def acquire_term(self, holder: str, *, above: int = 0) -> int:
        """Become the leader: return a new epoch, greater than any before and than ``above``.

        Older epochs can append nothing from now on.

        Raises OutcomeUnknown as ``append`` does.
        """

    def append(self, *, epoch: int, expected: Head, entries: Sequence[Entry], new: Head) -> None:
        """Make all entries durable, in order, or none.

        After the return they survive power loss and ``head()`` is ``new``.

        Raises:
            Fenced: the epoch is not the newest, or the head is not ``expected``. Nothing was written.
            DuplicateRequest: a request key is taken. Nothing was written.
            Corrupt: the store did not take every entry. Nothing was written; end the process.
            OutcomeUnknown: an I/O error; the entries may or may not be there. Never call again: end the process.
        """

    def read(self, start: int, count: int) -> list[bytes]:
        """Return up to ``count`` bodies from index ``start``, in order; fewer only at the end of the ledger."""

    def read_entries(self, start: int, count: int) -> list[Entry]:
        """Like ``read``, with the request key that each entry is filed under."""

    def find(self, request_key: bytes) -> tuple[int, bytes] | None:
        """Return (index, body) of the entry with this request key, or None."""

    def put_checkpoint(self, *, epoch: int, size: int, note: bytes) -> None:
        """Keep the signed note for this size, durably: first among the checkpoints, then as the anchor.

        Raises:
            Fenced: the epoch is not the newest, another note stands for this or a greater size, or the ledger is
                shorter. The same note again is no error.
            OutcomeUnknown: as for ``append``.
        """

    def checkpoint(self) -> tuple[int, bytes] | None:
        """Return (size, note) of the newest checkpoint, or None."""

    def checkpoints(self) -> list[tuple[int, bytes]]:
        """Return all checkpoints by growing size."""

    def anchor(self) -> bytes | None:
        """Return the note that was last kept, from another place than the ledger; None if nothing is there.

        Never newer than ``checkpoint()`` unless the ledger was put back or changed. Raises Corrupt if unreadable.
        """

    def restored(self) -> Mark | None:
        """Return what a backup had that this was made from; None if it was made from none. Raises Corrupt."""

    def close(self) -> None:
        """Release everything. A second call does nothing."""


class SharedStore(Store, Protocol):
    """A store that several nodes reach, of which one leads at a time. Safety is the epoch's; this says who and when."""

    def lease(self) -> Lease:
        """Return who leads. Raises Unavailable."""

    def take_over(self, holder: str, address: str, seen: Lease) -> int:
        """Become the leader if the lease is still as ``seen``; return the new epoch.

        When it returns, everything that the store shows is durable. Raises Fenced if somebody was faster,
        OutcomeUnknown as ``append`` does.
        """

    def beat(self, epoch: int, settled: int) -> None:
        """Renew the lease durably without an append; ``settled`` entries were acknowledged. Raises as ``append``."""

    def step_down(self, epoch: int) -> None:
        """End the term: nothing can be appended in its epoch, anybody may take the next one. Raises as ``beat``."""

    def abandon(self) -> None:
        """Cut the connection, from any thread: a write that is under way raises OutcomeUnknown, or has returned."""

    def check_synchronous(self) -> None:
        """Raise Broken unless what is acknowledged survives the loss of a server; Unavailable if that is unknown."""


class Board(Protocol):
    """Where the nodes of all enclaves that share a database say that they are there. Advice: nothing is safe by it.

    It has nothing to do with the stores' connections, and what it knows may be gone at any moment: nodes tell it anew.
    """

    def report(self, *, place: str, holder: str, address: str, eligible: bool) -> None:
        """Say that this enclave's node is there. It may be forgotten again, with the server. Raises Unavailable."""

    def nodes(self) -> list[Presence]:
        """Return every node that ever said so and was not forgotten, of every enclave. Raises Unavailable."""

    def abandon(self) -> None:
        """Cut the connection, from any thread; whoever waits in it is told."""

    def close(self) -> None:
        """Release everything. A second call does nothing."""
