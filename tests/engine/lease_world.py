"""A seeded world in virtual time for ``engine.lease``: nodes with clocks of their own, PostgreSQL, a network, clients.

One seed is one schedule, and always the same one. ``replay(seed)`` runs it again and returns what happened, line by
line.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from keyvault.engine.lease import Leadership
from tests.engine.lease_faults import FAULTS, Fault
from tests.engine.lease_invariants import History, Violated, check_history
from tests.engine.lease_nodes import Node
from tests.engine.lease_servers import Cluster, Server, Session, Weakness

GIVE_UP_S = 4.0
"""How long TCP tries to deliver (tcp_user_timeout in store.postgres.connection)."""
FAULTS_UNTIL_S = 8.0
LEADS_WITHIN_S = 12.0
"""After the last fault: TCP gives up, a look fails, silence, and a node that abstains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusts:
    """What the nodes' shell can be made to believe, wrongly."""

    notices: bool = False
    losses: bool = False
    what_was_read: bool = False
    the_deposed: bool = False


@dataclass(eq=False, slots=True)
class Parcel:
    """What one side sent over a connection and the other may never get."""

    link: tuple[int, str, bool]
    session: Session
    deliver: Callable[[], None]
    sent_at: float
    delivered: bool = False


class World:
    """Everything there is, and its time."""

    def __init__(
        self,
        seed: int,
        *,
        kind: type[Leadership] = Leadership,
        weakness: Weakness | None = None,
        trusts: Trusts | None = None,
        transcript: list[str] | None = None,
        drift: float = 0.05,
    ) -> None:
        self.random = Random(seed)  # noqa: S311  a schedule, not a secret
        self.now = 0.0
        self.drift = drift
        self.transcript = transcript
        self.trusts = trusts or Trusts()
        self.history = History()
        self.counted: Counter[str] = Counter()
        self.cut: set[tuple[int, str, bool]] = set()
        self.apart: set[frozenset[str]] = set()
        self.slow: dict[tuple[int, str, bool], float] = {}
        self.loss = 0.0
        self.healed = False
        self._parcels: list[Parcel] = []
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._sessions = 0
        self.cluster = Cluster(self, weakness or Weakness())
        self.nodes: list[Node] = []
        for number in range(3):
            self.nodes.append(Node(self, number, kind))

    # Time -------------------------------------------------------------------------------------------------------

    def at(self, delay: float, action: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._queue, (self.now + delay, self._number, action))

    def during_faults(self, delay: float, action: Callable[[], None]) -> None:
        """As ``at``, but not any more when all faults have ended."""
        self.at(delay, lambda: None if self.healed else action())

    def run_until(self, until: float) -> None:
        queue = self._queue
        while queue and queue[0][0] <= until:
            self.now, _, action = heapq.heappop(queue)
            action()
        self.now = until

    def say(self, text: str) -> None:
        if self.transcript is not None:
            self.transcript.append(f"{self.now:8.3f} {text}")

    def count(self, what: str) -> None:
        self.counted[what] += 1
        self.say(f"    [{what}]")

    # Network ----------------------------------------------------------------------------------------------------

    def connect(self, node: Node) -> Session | None:
        """Connect to a server that says it takes writes, whichever answers."""
        found = [
            server
            for server in self.cluster.servers
            if server.up and server.is_primary and (node.number, server.name, True) not in self.cut
        ]
        if not found:
            return None
        self._sessions += 1
        session = Session(node=node.number, life=node.life, server=self.random.choice(found), number=self._sessions)
        session.server.sessions.append(session)
        return session

    def to_server(self, session: Session, deliver: Callable[[], None]) -> None:
        def arrive() -> None:
            if session.refused or not session.server.up:
                self.closed(session)
            else:
                deliver()

        self._carry((session.node, session.server.name, True), session, arrive)

    def to_node(self, session: Session, deliver: Callable[[], None]) -> None:
        mine = self.nodes[session.node].of_life(session.life, deliver)
        self._carry((session.node, session.server.name, False), session, mine)

    def closed(self, session: Session) -> None:
        """Let the node know that the server ended the connection."""
        self.to_node(session, partial(self.nodes[session.node].lost, session))

    def close(self, session: Session, *, silently: bool) -> None:
        """Let the server know that the node ended the connection; if no packet says so, by its keepalive."""
        session.open_here = False

        def gone() -> None:
            session.open_there = False

        if silently or (session.node, session.server.name, True) in self.cut:
            self.at(self.random.uniform(1, GIVE_UP_S + 1), gone)
        else:
            self.at(self._latency((session.node, session.server.name, True)), gone)

    def _carry(self, link: tuple[int, str, bool], session: Session, deliver: Callable[[], None]) -> None:
        if link not in self.cut and not (self.loss and self.random.random() < self.loss):
            self.at(self._latency(link), deliver)
            return
        self.count("held")
        parcel = Parcel(link, session, deliver, self.now, delivered=False)
        if link in self.cut:
            self._parcels.append(parcel)
        self.at(GIVE_UP_S * self.random.uniform(0.25, 1), partial(self._give_up, parcel))

    def _latency(self, link: tuple[int, str, bool]) -> float:
        slow = self.slow.get(link)
        return self.random.random() * (0.003 if slow is None else slow) + 0.0002

    def _give_up(self, parcel: Parcel) -> None:
        if parcel.delivered:
            return
        parcel.delivered = True
        session = parcel.session
        self.at(self.random.uniform(0, 2), partial(_set_gone, session))
        if session.open_here:
            node = self.nodes[session.node]
            self.at(0, node.of_life(session.life, partial(node.lost, session)))

    def mend(self, links: Sequence[tuple[int, str, bool]]) -> None:
        """End cuts; what TCP still tries to deliver arrives."""
        self.cut.difference_update(links)
        parcels, self._parcels = self._parcels, []
        for parcel in parcels:
            if parcel.link in self.cut:
                self._parcels.append(parcel)
            elif not parcel.delivered:
                parcel.delivered = True
                self.at(self._latency(parcel.link), parcel.deliver)

    def between(self, one: Server, other: Server, deliver: Callable[[], None]) -> None:
        """Deliver between two servers."""
        if frozenset((one.name, other.name)) not in self.apart:
            self.at(self.random.random() * 0.002 + 0.0002, deliver)

    # Clients ----------------------------------------------------------------------------------------------------

    def ask(self, request: str) -> None:
        """Be a client: ask one node after another with the same request id until one answers."""
        self.history.asked[request] = self.now
        for _ in range(1 if self.random.random() < 0.7 else 2):
            self._try(request, [False])

    def _try(self, request: str, answered: list[bool]) -> None:
        if answered[0]:
            return
        tried = [False]

        def answer(released: bool) -> None:  # noqa: FBT001  a callback with one argument
            if released:
                answered[0] = True
            elif not tried[0]:
                tried[0] = True
                self.at(self.random.uniform(0.05, 0.2), partial(self._try, request, answered))

        node = self.random.choice(self.nodes)
        if node.up:
            self.at(0.001, node.mine(partial(node.ask, request, answer)))
        self.at(1.0, partial(self._try_elsewhere, request, answered, tried))

    def _try_elsewhere(self, request: str, answered: list[bool], tried: list[bool]) -> None:
        if not tried[0]:
            tried[0] = True
            self._try(request, answered)

    # Faults -----------------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """End every fault that has not ended by itself."""
        self.say("all faults end")
        self.healed = True
        self.loss, self.cluster.hint_lies = 0.0, False
        self.slow.clear()
        self.apart.clear()
        self.mend(list(self.cut))
        for server in self.cluster.servers:
            self.cluster.restart(server)
            if server.is_primary and server is not self.cluster.primary:
                self.cluster.demote(server)
        self.cluster.reconnect()
        for node in self.nodes:
            node.repeats = False
            if not node.up:
                node.start()
            if node.paused:
                node.resume()
            if not node.willing:
                node.set_willing(willing=True)

    def leaders(self) -> list[Node]:
        """Return who serves, by its own clock and the primary's lease."""
        epoch = self.cluster.primary.shown.epoch
        return [
            node
            for node in self.nodes
            if node.up and node.term is not None and node.term.serves and node.leadership.leads(node.now()) == epoch
        ]

    def unanswered(self) -> set[str]:
        return self.history.asked.keys() - {release.request for release in self.history.released}


def _set_gone(session: Session) -> None:
    session.open_there = False


def somebody_leads(world: World) -> None:
    """Soon after the last fault one node serves, and every request that was ever made is answered."""
    until = world.now + LEADS_WITHIN_S
    while not world.leaders() or world.unanswered():
        if world.now >= until:
            waiting = sorted(world.unanswered())
            raise Violated("somebody_leads", f"after {LEADS_WITHIN_S} s {world.leaders()} lead and {waiting} wait")
        world.run_until(world.now + 0.25)


def run(world: World, faults: Sequence[Fault] = FAULTS) -> None:
    """Run one schedule: requests and faults, then the end of all faults. Raises Violated."""
    random = world.random
    for number in range(random.randint(8, 20)):
        world.at(random.uniform(0.2, FAULTS_UNTIL_S), partial(world.ask, f"r{number}"))
    for _ in range(random.randint(2, 7)):
        world.during_faults(random.uniform(0.5, FAULTS_UNTIL_S), partial(random.choice(faults), world))
    world.run_until(random.uniform(FAULTS_UNTIL_S - 1, FAULTS_UNTIL_S + 1))
    world.heal()
    somebody_leads(world)
    world.ask("last")
    somebody_leads(world)
    check_history(world.history, world.cluster)


def replay(seed: int) -> str:
    """Return what happens in the schedule of this seed, line by line, and which law it breaks."""
    transcript: list[str] = []
    try:
        run(World(seed, transcript=transcript))
    except Violated as error:
        transcript.append(str(error))
    return "\n".join(transcript)
