"""What the appender and the sequencer of a simulated node remember."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.engine.lease_servers import Entry, Kind, Server, Session

Answer = Callable[[bool], None]


@dataclass(eq=False, slots=True)
class Call:
    """A statement under way. ``lost`` runs if its connection ends first."""

    session: Session
    lost: Callable[[], None]
    done: bool = False


@dataclass(eq=False, slots=True, kw_only=True)
class Term:
    """What the appender and the sequencer have in one term."""

    epoch: int
    server: Server | None = None
    size: int = 0
    known: dict[str, tuple[int, Entry]] = field(default_factory=dict)
    waiting: dict[str, list[Answer]] = field(default_factory=dict)
    queue: deque[tuple[Kind, Entry | None]] = field(default_factory=deque)
    busy: bool = False
    serves: bool = False
    leaving: bool = False
    ended: bool = False
