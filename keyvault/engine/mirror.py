"""The store of a leader: writes go to the shared store, reads come from the node's own copy, which follows behind.

Laws:

1. A write is done when the shared store says so (I1). Then its entries are queued for the copy, in order.
2. What is not in the copy yet is found in the queue, so a read never misses what was acknowledged.
3. Reads touch no network: a database that hangs does not hold the event loop.
4. A copy that cannot be written ends the term at the next append: a node that forgets what it saw must not lead.
"""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from keyvault.core.errors import KeyvaultError, OutcomeUnknown
from keyvault.core.marks import Mark
from keyvault.store.base import Entry, Head, SharedStore, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """What was acknowledged together; or a checkpoint, and no entries."""

    entries: Sequence[Entry]
    new: Head
    note: bytes = b""


class Mirror:
    """A ``Store`` for one term. Appends from one thread; reads from any."""

    def __init__(self, *, shared: SharedStore, copy: Store, copy_epoch: int, head: Head) -> None:
        """``head``: what the copy has, which is all that the shared store has."""
        self._shared = shared
        self._copy = copy
        self._copy_epoch = copy_epoch
        self._copied = head
        self._head = head
        self._newest = copy.checkpoint()
        self._queue: deque[_Batch] = deque()
        self._bodies: dict[int, bytes] = {}
        self._by_key: dict[bytes, int] = {}
        self._lock = threading.Condition()
        self._failure: Exception | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._copy_forever, name="keyvault-mirror")
        self._thread.start()

    def head(self) -> Head:
        """See ``Store``: what was acknowledged to this leader."""
        return self._head

    def acquire_term(self, holder: str, *, above: int = 0) -> int:
        """See ``Store``."""
        return self._shared.acquire_term(holder, above=above)

    def append(self, *, epoch: int, expected: Head, entries: Sequence[Entry], new: Head) -> None:
        """See ``Store``."""
        self._check_copy()
        self._shared.append(epoch=epoch, expected=expected, entries=entries, new=new)
        with self._lock:
            self._head = new
            for index, entry in enumerate(entries, expected.size):
                self._bodies[index] = entry.body
                if entry.request_key is not None:
                    self._by_key[entry.request_key] = index
            self._queue.append(_Batch(entries=entries, new=new))
            self._lock.notify_all()

    def beat(self, epoch: int) -> None:
        """Renew the lease; see ``SharedStore``. What was acknowledged so far is settled."""
        self._shared.beat(epoch, self._head.size)

    def put_checkpoint(self, *, epoch: int, size: int, note: bytes) -> None:
        """See ``Store``."""
        self._check_copy()
        self._shared.put_checkpoint(epoch=epoch, size=size, note=note)
        with self._lock:
            if self._newest is not None and self._newest[0] >= size:
                return
            self._newest = (size, note)
            self._queue.append(_Batch(entries=(), new=Head(size=size, root=b""), note=note))
            self._lock.notify_all()

    def read(self, start: int, count: int) -> list[bytes]:
        """See ``Store``."""
        with self._lock:
            bodies = self._copy.read(start, count)
            for index in range(start + len(bodies), start + count):
                if index not in self._bodies:
                    break
                bodies.append(self._bodies[index])
            return bodies

    def read_entries(self, start: int, count: int) -> list[Entry]:
        """See ``Store``. Waits until everything is in the copy."""
        self.flush()
        return self._copy.read_entries(start, count)

    def find(self, request_key: bytes) -> tuple[int, bytes] | None:
        """See ``Store``."""
        with self._lock:
            index = self._by_key.get(request_key)
            return self._copy.find(request_key) if index is None else (index, self._bodies[index])

    def checkpoint(self) -> tuple[int, bytes] | None:
        """See ``Store``."""
        return self._newest

    def checkpoints(self) -> list[tuple[int, bytes]]:
        """See ``Store``: those that this node compared or made."""
        self.flush()
        return self._copy.checkpoints()

    def anchor(self) -> bytes | None:
        """See ``Store``."""
        return self._copy.anchor()

    def restored(self) -> Mark | None:
        """See ``Store``."""
        return self._copy.restored()

    def flush(self) -> None:
        """Return when the copy has everything. Raises OutcomeUnknown if it cannot be written."""
        with self._lock:
            self._lock.wait_for(lambda: not self._queue or self._failure is not None)
        self._check_copy()

    def close(self) -> None:
        """Bring the copy up to date if it can be, and end the thread. The stores stay open."""
        with self._lock:
            self._closing = True
            self._lock.notify_all()
        self._thread.join()

    def _check_copy(self) -> None:
        if self._failure is not None:
            raise OutcomeUnknown(f"this node's own copy of the ledger cannot be written: {self._failure}")

    def _copy_forever(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._queue or self._closing)
                batches = list(self._queue)
            if not batches:
                return
            try:
                self._write(batches)
            except (KeyvaultError, ValueError) as error:
                with self._lock:
                    self._failure = error
                    self._lock.notify_all()
                return
            with self._lock:
                for batch in batches:
                    self._queue.popleft()
                    self._forget(batch)
                self._lock.notify_all()

    def _write(self, batches: Sequence[_Batch]) -> None:
        entries = [entry for batch in batches for entry in batch.entries]
        heads = [batch.new for batch in batches if not batch.note]
        notes = [batch for batch in batches if batch.note]
        if heads:
            self._copy.append(epoch=self._copy_epoch, expected=self._copied, entries=entries, new=heads[-1])
            self._copied = heads[-1]
        for batch in notes[-1:]:  # the newest covers the others
            self._copy.put_checkpoint(epoch=self._copy_epoch, size=batch.new.size, note=batch.note)

    def _forget(self, batch: _Batch) -> None:
        for index, entry in enumerate(batch.entries, batch.new.size - len(batch.entries)):
            del self._bodies[index]
            if entry.request_key is not None:
                del self._by_key[entry.request_key]
