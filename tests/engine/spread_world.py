"""Several enclaves over three places, in virtual time: worlds of ``engine.lease``, and ``engine.spread`` over them.

There is a world for each enclave, with the same places in each, and one table in which all nodes report. A place is a
machine: node ``n`` of every enclave runs in place ``n``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from keyvault.core import limits
from keyvault.engine.lease_events import StepDown, Yields
from keyvault.engine.spread import Spread
from keyvault.store.base import Presence
from tests.engine.lease_invariants import check_history
from tests.engine.lease_nodes import Node
from tests.engine.lease_world import World

STEP_S = 0.05
"""Between two looks at who has to report."""
_REPORT_S = limits.SPREAD_REPORT_MS / 1000


@dataclass(slots=True, kw_only=True)
class Reporter:
    """A node's shell of ``engine.spread``, for one life of it."""

    life: int
    spread: Spread
    due_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOver:
    """A hand-over that was advised, in true time."""

    at: float
    enclave: str
    source: str
    to: str


class Places:
    """Everything there is."""

    def __init__(self, seed: int, *, enclaves: int = 4) -> None:
        self.now = 0.0
        self.handed_over: list[HandOver] = []
        self.lies: Callable[[list[Presence]], list[Presence]] = lambda rows: rows
        """What somebody makes of a reading."""
        self.random = Random(seed)  # noqa: S311  a schedule, not a secret
        self.worlds = {f"e{number}": World(1000 * seed + number) for number in range(enclaves)}
        self.table: dict[tuple[str, str], Presence] = {}
        self._reporters: dict[tuple[str, int], Reporter] = {}
        self._requests = 0

    # Time -----------------------------------------------------------------------------------------------------------

    def run(self, seconds: float, *, asks: bool = True) -> None:
        """Let this much time go by, if it ``asks`` with a request to each enclave every two seconds or so."""
        until = self.now + seconds
        while self.now < until:
            self.now += STEP_S
            for enclave, world in self.worlds.items():
                if asks and self.random.random() < STEP_S / 2:
                    self._requests += 1
                    world.ask(f"{enclave}-{self._requests}")
                world.run_until(self.now)
                for node in world.nodes:
                    if node.up and not node.paused:
                        self._go_on(enclave, node)

    def _go_on(self, enclave: str, node: Node) -> None:
        reporter = self._reporters.get((enclave, node.number))
        if reporter is None or reporter.life != node.life:
            spread = Spread(enclave=enclave, place=_place(node), now=node.now())
            due_at = self.now + self.random.uniform(0, _REPORT_S)
            reporter = self._reporters[enclave, node.number] = Reporter(life=node.life, spread=spread, due_at=due_at)
        if self.now >= reporter.due_at:
            reporter.due_at = self.now + _REPORT_S * self.random.uniform(0.9, 1.1)
            self._report(enclave, node)
            self._follow(enclave, node, reporter.spread)

    def _report(self, enclave: str, node: Node) -> None:
        address = f"{_place(node)}:{enclave}"
        before = self.table.get((enclave, address))
        self.table[enclave, address] = Presence(
            enclave=enclave,
            place=_place(node),
            holder=f"{node.number}.{node.life}",
            address=address,
            beat=1 if before is None else before.beat + 1,
            eligible=node.willing,
            leads=False,
        )

    def _follow(self, enclave: str, node: Node, spread: Spread) -> None:
        rows = [
            Presence(
                enclave=each.enclave,
                place=each.place,
                holder=each.holder,
                address=each.address,
                beat=each.beat,
                eligible=each.eligible,
                leads=self.worlds[each.enclave].cluster.primary.shown.holder == each.holder,
            )
            for each in self.table.values()
        ]
        leads = node.term is not None and node.term.serves
        spread.saw(self.lies(rows), leads=leads, now=node.now())
        node.tell(Yields(yields=spread.yields(), now=node.now()))
        move = spread.advice(node.now())
        if move is not None:
            self.handed_over.append(HandOver(at=self.now, enclave=enclave, source=_place(node), to=move.to))
            node.tell(StepDown(now=node.now(), briefly=True))

    # Faults ---------------------------------------------------------------------------------------------------------

    def crash(self, number: int, *, silently: bool = False) -> None:
        """The place's machine is gone."""
        for node in self._nodes_at(number):
            if node.up:
                node.crash(silently=silently)

    def start(self, number: int) -> None:
        """The place's machine is there again."""
        for node in self._nodes_at(number):
            if not node.up:
                node.start()

    def set_willing(self, number: int, *, willing: bool) -> None:
        """Drain the place, or let it come back."""
        for node in self._nodes_at(number):
            node.set_willing(willing=willing)

    def kill_one(self) -> None:
        """One process dies, and its supervisor starts it again."""
        world = self.random.choice([*self.worlds.values()])
        node = self.random.choice(world.nodes)
        if node.up:
            node.crash(silently=False)
            world.at(0.5, lambda: None if node.up else node.start())

    def _nodes_at(self, number: int) -> list[Node]:
        return [world.nodes[number] for world in self.worlds.values()]

    # What a checker asks --------------------------------------------------------------------------------------------

    def led(self) -> dict[str, str]:
        """Return where each enclave that serves is led."""
        return {enclave: _place(world.leaders()[0]) for enclave, world in self.worlds.items() if world.leaders()}

    def loads(self, *numbers: int) -> list[int]:
        """Return how many enclaves these places lead."""
        led = list(self.led().values())
        return [led.count(f"p{number}") for number in numbers]

    def epochs(self) -> list[int]:
        return [world.cluster.primary.shown.epoch for world in self.worlds.values()]

    def check(self) -> None:
        """Every request of every enclave is answered once, by the laws of engine.lease. Raises Violated."""
        for world in self.worlds.values():
            assert world.unanswered() == set()
            check_history(world.history, world.cluster)


def _place(node: Node) -> str:
    return f"p{node.number}"
