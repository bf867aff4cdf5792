"""Stores with the means to break them: one world for each kind of store that the contract is held against.

A new store gets a world here and nothing else; test_contract.py then holds it to the contract.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import apsw

from keyvault.store.base import EMPTY_HEAD, Entry, Head, Store
from keyvault.store.memory import Fault, MemoryMedium, MemoryStore
from keyvault.store.sqlite import open_store


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """``open`` gives a store on the same medium each time; ``failing`` makes writes fail while it is entered."""

    open: Callable[[], Store]
    failing: Callable[[Fault], AbstractContextManager[None]]


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


__all__ = ["EMPTY_HEAD", "Fault", "World", "after", "append", "entry", "memory_world", "sqlite_world"]
