"""The reference store: what a store does, without a disk. For tests and simulations; it survives nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from keyvault.core import limits
from keyvault.core.errors import DuplicateRequest, Fenced, OutcomeUnknown, Unavailable
from keyvault.core.marks import Mark
from keyvault.store.base import EMPTY_HEAD, Entry, Head, Lease, Presence


class Fault(Enum):
    """What becomes of the next append: both look the same to the caller."""

    LOST = "lost"
    KEPT = "kept"


@dataclass(slots=True, kw_only=True)
class MemoryMedium:
    """What a disk is to a real store: it outlives the stores that are opened on it."""

    bodies: list[bytes] = field(default_factory=list)
    index: dict[bytes, int] = field(default_factory=dict)
    head: Head = EMPTY_HEAD
    epoch: int = 0
    settled: int = 0
    beat: int = 0
    holder: str = ""
    address: str = ""
    leading: "MemoryStore | None" = None
    checkpoints: list[tuple[int, bytes]] = field(default_factory=list)
    anchor: bytes | None = None
    restored: Mark | None = None
    fault: Fault | None = None


class MemoryStore:
    """A store on a medium; several on one medium fence one another as processes do."""

    def __init__(self, medium: MemoryMedium) -> None:
        self._medium = medium
        self._in_doubt = False

    def head(self) -> Head:
        """See ``Store``."""
        return self._medium.head

    def acquire_term(self, holder: str, *, above: int = 0) -> int:
        """See ``Store``."""
        self._refuse_when_in_doubt()
        self._medium.epoch = max(self._medium.epoch, above)
        return self._take(holder, "")

    def lease(self) -> Lease:
        """See ``SharedStore``."""
        medium = self._medium
        return Lease(
            epoch=medium.epoch,
            beat=medium.beat,
            holder=medium.holder,
            address=medium.address,
            settled=medium.settled,
            session_gone=medium.leading is None,
        )

    def take_over(self, holder: str, address: str, seen: Lease) -> int:
        """See ``SharedStore``."""
        self._refuse_when_in_doubt()
        if (self._medium.epoch, self._medium.beat) != (seen.epoch, seen.beat):
            raise Fenced(f"the lease moved on: {self._medium.holder} leads in epoch {self._medium.epoch}")
        return self._take(holder, address)

    def _take(self, holder: str, address: str) -> int:
        self._refuse_when_in_doubt()
        medium = self._medium
        medium.epoch, medium.beat = medium.epoch + 1, medium.beat + 1
        medium.holder, medium.address, medium.leading = holder, address, self
        return medium.epoch

    def beat(self, epoch: int, settled: int) -> None:
        """See ``SharedStore``."""
        self._refuse_when_in_doubt()
        self._check_epoch(epoch)
        self._medium.beat, self._medium.settled = self._medium.beat + 1, settled

    def step_down(self, epoch: int) -> None:
        """See ``SharedStore``."""
        self.beat(epoch, self._medium.settled)
        medium = self._medium
        medium.epoch, medium.holder, medium.address, medium.leading = medium.epoch + 1, "", "", None

    def abandon(self) -> None:
        """See ``SharedStore``. Nothing here ever waits."""

    def check_synchronous(self) -> None:
        """See ``SharedStore``. What is in memory survives nothing and says so in its name."""

    def append(self, *, epoch: int, expected: Head, entries: Sequence[Entry], new: Head) -> None:
        """See ``Store``."""
        self._refuse_when_in_doubt()
        self._check_epoch(epoch)
        if self._medium.head != expected:
            raise Fenced(f"the ledger has {self._medium.head.size} entries, not {expected.size} with the root expected")
        if new.size != expected.size + len(entries):
            raise ValueError("the new head does not count the entries")
        self._check_keys(entries)
        fault, self._medium.fault = self._medium.fault, None
        if fault is not Fault.LOST:
            self._write(entries, new)
        if fault is not None:
            self._in_doubt = True
            raise OutcomeUnknown("the append was told to fail")

    def read(self, start: int, count: int) -> list[bytes]:
        """See ``Store``."""
        return self._medium.bodies[start : start + count]

    def read_entries(self, start: int, count: int) -> list[Entry]:
        """See ``Store``."""
        filed = {index: request_key for request_key, index in self._medium.index.items()}
        return [
            Entry(body=body, request_key=filed.get(index)) for index, body in enumerate(self.read(start, count), start)
        ]

    def find(self, request_key: bytes) -> tuple[int, bytes] | None:
        """See ``Store``."""
        index = self._medium.index.get(request_key)
        return None if index is None else (index, self._medium.bodies[index])

    def put_checkpoint(self, *, epoch: int, size: int, note: bytes) -> None:
        """See ``Store``."""
        self._refuse_when_in_doubt()
        self._check_epoch(epoch)
        if size > self._medium.head.size:
            raise Fenced(f"the ledger has {self._medium.head.size} entries, the checkpoint {size}")
        newest = self.checkpoint()
        if newest == (size, note):
            return
        if newest is not None and newest[0] >= size:
            raise Fenced(f"a checkpoint of size {newest[0]} stands, so none of size {size} can follow")
        self._medium.checkpoints.append((size, note))
        self._medium.anchor = note

    def checkpoint(self) -> tuple[int, bytes] | None:
        """See ``Store``."""
        return self._medium.checkpoints[-1] if self._medium.checkpoints else None

    def checkpoints(self) -> list[tuple[int, bytes]]:
        """See ``Store``."""
        return list(self._medium.checkpoints)

    def anchor(self) -> bytes | None:
        """See ``Store``."""
        return self._medium.anchor

    def restored(self) -> Mark | None:
        """See ``Store``."""
        return self._medium.restored

    def close(self) -> None:
        """See ``Store``."""
        if self._medium.leading is self:
            self._medium.leading = None

    def _refuse_when_in_doubt(self) -> None:
        if self._in_doubt:
            raise OutcomeUnknown("an earlier append is in doubt: open the store again")

    def _check_epoch(self, epoch: int) -> None:
        if epoch != self._medium.epoch:
            raise Fenced(f"epoch {epoch} is over: {self._medium.holder} leads in epoch {self._medium.epoch}")

    def _check_keys(self, entries: Sequence[Entry]) -> None:
        seen: set[bytes] = set()
        for entry in entries:
            if entry.request_key is None:
                continue
            if entry.request_key in self._medium.index or entry.request_key in seen:
                raise DuplicateRequest(entry.request_key)
            seen.add(entry.request_key)

    def _write(self, entries: Sequence[Entry], new: Head) -> None:
        for entry in entries:
            if entry.request_key is not None:
                self._medium.index[entry.request_key] = len(self._medium.bodies)
            self._medium.bodies.append(entry.body)
        self._medium.settled, self._medium.head = self._medium.head.size, new
        self._medium.beat += 1


@dataclass(slots=True, kw_only=True)
class MemoryDatabase:
    """The ledgers of several enclaves, and what their nodes said of themselves, by enclave and address."""

    media: Mapping[str, MemoryMedium]
    said: dict[tuple[str, str], Presence] = field(default_factory=dict)


class MemoryBoard:
    """A board of a database in memory, for the node of one enclave. It forgets nobody."""

    def __init__(self, database: MemoryDatabase, enclave: str) -> None:
        self._database = database
        self._enclave = enclave

    def report(self, *, place: str, holder: str, address: str, eligible: bool) -> None:
        """See ``Board``."""
        name, said = (self._enclave, address), self._database.said
        if name not in said and sum(enclave == self._enclave for enclave, _ in said) >= limits.NODES_MAX:
            raise Unavailable(f"enclave {self._enclave} has {limits.NODES_MAX} nodes already")
        beat = said[name].beat + 1 if name in said else 1
        said[name] = Presence(
            enclave=self._enclave,
            place=place,
            holder=holder,
            address=address,
            beat=beat,
            eligible=eligible,
            leads=False,
        )

    def nodes(self) -> list[Presence]:
        """See ``Board``."""
        media = self._database.media
        said = sorted(self._database.said.items(), key=lambda item: item[0])
        return [replace(each, leads=media[enclave].holder == each.holder) for (enclave, _), each in said]

    def abandon(self) -> None:
        """See ``Board``. Nothing here ever waits."""

    def close(self) -> None:
        """See ``Board``."""
