"""Stores with the means to break them: one world for each kind of store that the contract is held against.

A new store gets a world here and nothing else; test_contract.py then holds it to the contract.
"""

import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import apsw

from keyvault.core.ids import EnclaveName
from keyvault.demo.postgres import Cluster, Server
from keyvault.store.anchor import Anchor
from keyvault.store.base import Entry, Head, SharedStore, Store
from keyvault.store.memory import Fault as Fault
from keyvault.store.memory import MemoryMedium, MemoryStore
from keyvault.store.postgres.store import PostgresStore, create_ledger
from keyvault.store.postgres.store import open_store as open_postgres
from keyvault.store.sqlite import open_store


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """``open`` gives a store on the same medium each time; ``failing`` makes writes fail while it is entered."""

    open: Callable[[], Store]
    failing: Callable[[Fault], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedWorld:
    """``open`` gives another node's store on the same medium each time; those before stay open."""

    open: Callable[[], SharedStore]


def shared_memory_world() -> SharedWorld:
    """Return a world whose medium is an object."""
    medium = MemoryMedium()
    return SharedWorld(open=lambda: MemoryStore(medium))


def memory_world(_: Path) -> World:
    """Return a world whose medium is an object."""
    medium = MemoryMedium()

    @contextmanager
    def failing(fault: Fault) -> Iterator[None]:
        medium.fault = fault
        yield

    return World(open=lambda: MemoryStore(medium), failing=failing)


class BrokenFile(apsw.VFSFile):
    """A file that fails as a broken disk does: the write itself, or the sync after it."""

    def __init__(self, base: str, name: apsw.URIFilename | str | None, flags: list[int], disk: "Disk") -> None:
        super().__init__(base, name, flags)
        self._disk = disk

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 (SQLite's name)
        """Write, unless the disk takes no more."""
        if self._disk.fault is Fault.LOST:
            raise apsw.IOError("no write")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 (SQLite's name)
        """Sync, unless the disk cannot say whether it has what it was given."""
        if self._disk.fault is Fault.KEPT:
            raise apsw.IOError("no sync")
        super().xSync(flags)


class Disk(apsw.VFS):
    """The operating system's files, with faults at will. The default for new connections while it is registered."""

    def __init__(self) -> None:
        self.fault: Fault | None = None
        self.failed = False
        super().__init__("keyvault-test-disk", "unix", makedefault=True)

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> BrokenFile:  # noqa: N802 (SQLite's name)
        """Open a file on this disk."""
        return BrokenFile("unix", name, flags, self)


@contextmanager
def sqlite_world(folder: Path) -> Iterator[World]:
    """Give a world whose medium is a file on a disk that can fail."""
    disk = Disk()
    paths = [folder / "ledger.db"]
    opened: list[Store] = []

    def reopen() -> Store:
        if disk.failed:
            paths.append(_crash_image(paths[-1], folder / f"after-crash-{len(paths)}"))
            disk.failed = False
        for each in opened:
            each.close()
        opened.append(open_store(paths[-1], create=not paths[-1].exists()))
        return opened[-1]

    @contextmanager
    def failing(fault: Fault) -> Iterator[None]:
        disk.fault, disk.failed = fault, True
        yield
        disk.fault = None

    try:
        yield World(open=reopen, failing=failing)
    finally:
        for each in opened:
            each.close()
        disk.unregister()


@contextmanager
def postgres_world(folder: Path, cluster: Cluster) -> Iterator[World]:
    """Give a world whose medium is a ledger of its own; its sessions are ended, or their waits cancelled."""
    opened: list[PostgresStore] = []
    reopen = _opener(folder, cluster, opened)

    @contextmanager
    def failing(fault: Fault) -> Iterator[None]:
        if fault is Fault.LOST:
            cluster.primary.execute("SELECT pg_terminate_backend(%s, 10000)", opened[-1].session)
            yield
            return
        with cancelled_wait(cluster.primary, opened[-1].session):
            yield

    try:
        yield World(open=reopen, failing=failing)
    finally:
        for each in opened:
            each.close()


@contextmanager
def shared_postgres_world(folder: Path, cluster: Cluster) -> Iterator[SharedWorld]:
    """Give a world whose medium is a ledger of its own in a database."""
    opened: list[PostgresStore] = []
    try:
        yield SharedWorld(open=_opener(folder, cluster, opened))
    finally:
        for each in opened:
            each.close()


def _opener(folder: Path, cluster: Cluster, opened: list[PostgresStore]) -> Callable[[], PostgresStore]:
    enclave = EnclaveName(f"w-{secrets.token_hex(8)}")
    create_ledger(cluster.admin_conninfo(), enclave)
    cluster.admit(enclave)

    def reopen() -> PostgresStore:
        opened.append(open_postgres(cluster.conninfo(), enclave, Anchor(folder / "ledger"), synchronous=False))
        return opened[-1]

    return reopen


@contextmanager
def cancelled_wait(server: Server, session: int) -> Iterator[None]:
    """Make a session's next commit wait for a standby that never comes, and cancel that wait: the commit stands."""
    names = str(server.execute("SELECT current_setting('synchronous_standby_names')")[0][0])
    server.configure(synchronous_standby_names="nobody")

    def cancel() -> None:
        server.wait_for("SELECT wait_event = 'SyncRep' FROM pg_stat_activity WHERE pid = %s", session)
        server.execute("SELECT pg_cancel_backend(%s)", session)

    canceller = threading.Thread(target=cancel)
    canceller.start()
    try:
        yield
    finally:
        canceller.join()
        server.configure(synchronous_standby_names=names)


def _crash_image(path: Path, folder: Path) -> Path:
    """Copy what the files hold now: what a process that dies here leaves, for closing them would tidy up."""
    folder.mkdir()
    for suffix in ("", "-wal", ".checkpoint"):
        each = path.with_name(path.name + suffix)
        if each.exists():
            shutil.copyfile(each, folder / each.name)
    return folder / path.name


def entry(text: str) -> Entry:
    """Return an entry with a request key of its own."""
    return Entry(body=text.encode(), request_key=b"key:" + text.encode())


def after(head: Head, entries: Sequence[Entry]) -> Head:
    """Return a head that a ledger could have after these entries; a store takes roots as they come."""
    root = sha256(head.root + b"".join(each.body for each in entries)).digest()
    return Head(size=head.size + len(entries), root=root)


def append(store: Store, epoch: int, *texts: str, expected: Head | None = None) -> Head:
    """Append entries with these texts and return the new head."""
    expected = store.head() if expected is None else expected
    entries = [entry(text) for text in texts]
    new = after(expected, entries)
    store.append(epoch=epoch, expected=expected, entries=entries, new=new)
    return new
