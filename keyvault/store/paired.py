"""The store of a pair's leader: an entry counts when it is durable here and on every follower.

Laws:

1. First here, then there: no follower is ever ahead of the leader's own disk.
2. What was not confirmed is not there for whoever reads: neither its bytes nor that its request id is taken (I1).
3. While its node stands nothing is confirmed, and no more is read than was before.
4. An append that is durable here and was not confirmed has an unknown outcome: it may be on any of the followers.
"""

from collections.abc import Callable, Sequence

from keyvault.core.errors import KeyvaultError, OutcomeUnknown
from keyvault.core.marks import Mark
from keyvault.store.base import Entry, Head, Store

Confirm = Callable[[Head, Sequence[Entry], Head], None]
"""Return when every follower has these entries, after the first head and up to the second; raise KeyvaultError."""


class PairedStore:
    """A ``Store`` for one term. ``own`` has nothing that is not confirmed when the term begins."""

    def __init__(self, own: Store, confirm: Confirm, readable: Callable[[], int | None] = lambda: None) -> None:
        """``readable``: how many entries may be read, if that is fewer than were confirmed; None: those."""
        self.is_broken = False
        """Whether it is this machine's own disk that is in doubt."""
        self._own = own
        self._confirm = confirm
        self._readable = readable
        self._head = own.head()

    def head(self) -> Head:
        """See ``Store``: what was confirmed."""
        return self._head

    def acquire_term(self, holder: str, *, above: int = 0) -> int:
        """See ``Store``."""
        return self._own.acquire_term(holder, above=above)

    def append(self, *, epoch: int, expected: Head, entries: Sequence[Entry], new: Head) -> None:
        """See ``Store``."""
        try:
            self._own.append(epoch=epoch, expected=expected, entries=entries, new=new)
        except OutcomeUnknown:
            self.is_broken = True
            raise
        try:
            self._confirm(expected, entries, new)
        except KeyvaultError as error:
            raise OutcomeUnknown(f"a follower did not confirm: {error}") from error
        self._head = new

    def read(self, start: int, count: int) -> list[bytes]:
        """See ``Store``."""
        return self._own.read(start, self._permitted(start, count))

    def read_entries(self, start: int, count: int) -> list[Entry]:
        """See ``Store``."""
        return self._own.read_entries(start, self._permitted(start, count))

    def find(self, request_key: bytes) -> tuple[int, bytes] | None:
        """See ``Store``."""
        found = self._own.find(request_key)
        return None if found is None or not self._permitted(found[0], 1) else found

    def put_checkpoint(self, *, epoch: int, size: int, note: bytes) -> None:
        """See ``Store``. Followers get it with what comes next; it speaks of nothing that they do not have."""
        try:
            self._own.put_checkpoint(epoch=epoch, size=size, note=note)
        except OutcomeUnknown:
            self.is_broken = True
            raise

    def checkpoint(self) -> tuple[int, bytes] | None:
        """See ``Store``."""
        return self._own.checkpoint()

    def checkpoints(self) -> list[tuple[int, bytes]]:
        """See ``Store``."""
        return self._own.checkpoints()

    def anchor(self) -> bytes | None:
        """See ``Store``."""
        return self._own.anchor()

    def restored(self) -> Mark | None:
        """See ``Store``."""
        return self._own.restored()

    def _permitted(self, start: int, count: int) -> int:
        readable = self._readable()
        return max(0, min(count, (self._head.size if readable is None else readable) - start))

    def close(self) -> None:
        """Do nothing: the file outlives the term."""
