"""A model of PostgreSQL with synchronous quorum replication: a primary and two standbys, ANY 1.

What it keeps of the real thing: WAL is one order and every standby has a prefix of it; a commit that waits for its
standby is not visible and holds the lock of the lease's row; a wait that is cancelled leaves the commit visible and is
reported as a success with a notice; a restart or a promotion makes everything visible that is in the WAL; a primary
that was cut off goes on until somebody tells it. Whatever crashes keeps what it wrote.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import Protocol

from keyvault.store.base import Lease


class Kind(Enum):
    """What a write does."""

    TAKE = auto()
    BEAT = auto()
    APPEND = auto()
    STEP_DOWN = auto()


class Reply(Enum):
    """How a write came back."""

    DONE = auto()
    FENCED = auto()
    NOTICE = auto()
    LOST = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of the ledger. ``request`` is empty for the fact that a term started."""

    epoch: int
    request: str = ""
    signature: str = ""


@dataclass(eq=False, slots=True, kw_only=True)
class Session:
    """A connection of one life of a node, as each side knows it."""

    node: int
    life: int
    server: "Server"
    number: int = 0
    open_here: bool = True
    open_there: bool = True
    refused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One statement. ``seen`` for TAKE, ``expected`` (entries in the ledger) for APPEND."""

    kind: Kind
    session: Session
    holder: str
    epoch: int = 0
    seen: Lease | None = None
    entry: Entry | None = None
    expected: int = 0


Answer = Callable[[Reply, int], None]


@dataclass(eq=False, slots=True)
class Shown:
    """What the visible part of a WAL says."""

    epoch: int = 0
    beat: int = 0
    holder: str = ""
    session: Session | None = None
    entries: list[Entry] = field(default_factory=list)

    def apply(self, write: Write) -> None:
        self.beat += 1
        if write.kind is Kind.TAKE:
            self.epoch, self.holder, self.session = self.epoch + 1, write.holder, write.session
        elif write.kind is Kind.STEP_DOWN:
            self.epoch, self.holder, self.session = self.epoch + 1, "", None
        elif write.entry is not None:
            self.entries.append(write.entry)


@dataclass(eq=False, slots=True)
class Server:
    """One server: its WAL, what of it is visible, and who waits."""

    name: str
    up: bool = True
    is_primary: bool = False
    upstream: "Server | None" = None
    wal: list[Write] = field(default_factory=list)
    shown: Shown = field(default_factory=Shown)
    visible: int = 0
    waiting: tuple[Write, Answer] | None = None
    queue: deque[tuple[Write, Answer]] = field(default_factory=deque)
    sessions: list[Session] = field(default_factory=list)

    def show(self, upto: int) -> None:
        """Make what is in the WAL visible up to here."""
        for write in self.wal[self.visible : upto]:
            self.shown.apply(write)
        self.visible = max(self.visible, upto)

    def rewind(self, upto: int) -> None:
        """Forget what stands behind this."""
        del self.wal[upto:]
        self.shown, self.visible = Shown(), 0


class Surroundings(Protocol):
    """What the servers need of the world."""

    def between(self, one: Server, other: Server, deliver: Callable[[], None]) -> None:
        """Deliver between two servers, later; or never, if they are cut off from each other."""

    def closed(self, session: Session) -> None:
        """Tell the node that the server closed this session."""

    def count(self, what: str) -> None:
        """Count what happened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weakness:
    """What can be broken in the servers on purpose."""

    fence: bool = True
    take_over_waits: bool = True


class Cluster:
    """Three servers, one of which is the primary; another may believe that it still is."""

    def __init__(self, world: Surroundings, weakness: Weakness) -> None:
        self._world = world
        self._weakness = weakness
        self.servers = [Server("a"), Server("b"), Server("c")]
        self.primary = self.servers[0]
        self.primary.is_primary = True
        self.hint_lies = False
        for standby in self.servers[1:]:
            standby.upstream = self.primary

    # What nodes ask ---------------------------------------------------------------------------------------------

    def lease(self, server: Server) -> Lease:
        shown = server.shown
        gone = shown.session is None or shown.session.server is not server or not shown.session.open_there
        return Lease(
            epoch=shown.epoch,
            beat=shown.beat,
            holder=shown.holder,
            address="",
            settled=len(shown.entries),
            session_gone=gone or self.hint_lies,
        )

    def write(self, write: Write, answer: Answer) -> None:
        """Run the statement when the row's lock is free; what waits for it goes on if its caller is gone."""
        server = write.session.server
        server.queue.append((write, answer))
        self._go_on(server)

    def _go_on(self, server: Server) -> None:
        while server.waiting is None and server.queue:
            write, answer = server.queue.popleft()
            if not self._may(server.shown, write):
                self._world.count("fenced")
                answer(Reply.FENCED, 0)
                continue
            server.wal.append(write)
            if write.kind is Kind.TAKE and not self._weakness.take_over_waits:
                server.show(len(server.wal))
                answer(Reply.DONE, server.shown.epoch)
            else:
                server.waiting = (write, answer)
            self._stream(server)

    def _may(self, shown: Shown, write: Write) -> bool:
        if write.kind is Kind.TAKE:
            return write.seen is not None and (write.seen.epoch, write.seen.beat) == (shown.epoch, shown.beat)
        if write.kind is Kind.APPEND and write.expected != len(shown.entries):
            return False
        return write.epoch == shown.epoch or not self._weakness.fence

    # Replication ------------------------------------------------------------------------------------------------

    def _stream(self, server: Server) -> None:
        upto = len(server.wal)
        for standby in self.servers:
            if standby.upstream is server:
                self._world.between(server, standby, partial(self._receive, server, standby, upto))

    def _receive(self, server: Server, standby: Server, upto: int) -> None:
        if standby.upstream is not server or not standby.up:
            return
        standby.wal.extend(server.wal[len(standby.wal) : upto])
        self._world.between(standby, server, partial(self._acknowledge, server, len(standby.wal)))

    def _acknowledge(self, server: Server, upto: int) -> None:
        if server.waiting is None or upto < len(server.wal) or not server.up or not server.is_primary:
            return
        self._end_wait(server, Reply.DONE)

    def _end_wait(self, server: Server, reply: Reply) -> None:
        assert server.waiting is not None
        (write, answer), server.waiting = server.waiting, None
        server.show(len(server.wal))
        if reply is not Reply.LOST:
            answer(reply, server.shown.epoch if write.kind is Kind.TAKE else write.epoch)
        self._go_on(server)

    def reconnect(self) -> None:
        """Let every standby that can be reached catch up."""
        for server in self.servers:
            if server.up and server.is_primary:
                self._stream(server)

    # Faults -----------------------------------------------------------------------------------------------------

    def cancel(self, server: Server) -> None:
        """Cancel the wait for the standbys: the commit is there, and its caller is told so, with a notice."""
        if server.up and server.waiting is not None:
            self._world.count("cancelled")
            self._end_wait(server, Reply.NOTICE)

    def terminate(self, server: Server) -> None:
        """End the session that waits for the standbys: the commit is there, and its caller is told nothing."""
        if server.up and server.waiting is not None:
            self._world.count("terminated")
            session = server.waiting[0].session
            server.sessions.remove(session)
            session.open_there, session.refused = False, True
            self._end_wait(server, Reply.LOST)
            self._world.closed(session)

    def crash(self, server: Server) -> None:
        server.up = False
        self._drop(server)

    def _drop(self, server: Server) -> None:
        server.waiting = None
        server.queue.clear()
        for session in server.sessions:
            session.open_there, session.refused = False, True
            self._world.closed(session)
        server.sessions.clear()

    def restart(self, server: Server) -> None:
        """Start again: a primary shows all that it has, acknowledged or not. A server that was replaced follows."""
        if server.up:
            return
        server.up = True
        if server is self.primary:
            self._world.count("shown after a restart" if server.visible < len(server.wal) else "restarted")
            server.show(len(server.wal))
        elif server.is_primary:
            self.demote(server)
        self.reconnect()

    def promote(self) -> bool:
        """Make the standby with the longest WAL the primary. Both must be up: so it has all that was acknowledged."""
        standbys = [server for server in self.servers if server is not self.primary]
        if not all(server.up and server.upstream is self.primary for server in standbys):
            return False
        new = max(standbys, key=lambda server: len(server.wal))
        self._world.count("promoted beside a living primary" if self.primary.up else "promoted")
        for server in standbys:
            server.upstream = None if server is new else new
        new.is_primary, self.primary = True, new
        new.show(len(new.wal))
        self.reconnect()
        return True

    def demote(self, server: Server) -> None:
        """Tell a primary that was replaced: what nobody else has is thrown away, and it follows."""
        self._drop(server)
        same = 0
        for ours, theirs in zip(server.wal, self.primary.wal, strict=False):
            if ours is not theirs:
                break
            same += 1
        if same < len(server.wal):
            self._world.count("thrown away")
        server.rewind(same)
        server.is_primary, server.upstream = False, self.primary
        self.reconnect()

    # What a checker asks ----------------------------------------------------------------------------------------

    def on_a_quorum(self, server: Server, entries: int) -> bool:
        """Return whether the first ``entries`` entries that the server shows stand in the WAL of two servers."""
        if entries == 0:
            return True
        places = [place for place, write in enumerate(server.wal) if write.kind is Kind.APPEND]
        if len(places) < entries:
            return False
        place = places[entries - 1]
        last = server.wal[place]
        return sum(len(each.wal) > place and each.wal[place] is last for each in self.servers) >= 2
