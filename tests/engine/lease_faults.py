"""What can go wrong in the simulated world. A fault begins when it is called, and most end by themselves."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from keyvault.engine.lease_events import StepDown, Yields

if TYPE_CHECKING:
    from tests.engine.lease_nodes import Node
    from tests.engine.lease_servers import Server
    from tests.engine.lease_world import World

Fault = Callable[["World"], None]


def _victim(world: "World") -> "Node":
    """Return a node; more often the one that leads."""
    leaders = [node for node in world.nodes if node.term is not None]
    if leaders and world.random.random() < 0.6:
        return world.random.choice(leaders)
    return world.random.choice(world.nodes)


def pause_a_node(world: "World") -> None:
    """SIGSTOP, a stall of the event loop, or a machine that is suspended: its clock goes on."""
    node, seconds = _victim(world), world.random.choice([0.3, 0.7, 1.2, 2.0, 3.5, 5.0])
    if not node.up or node.paused:
        return
    world.count("fault: pause")
    world.say(f"node {node.number} stands still for {seconds} s")
    node.paused = True
    world.during_faults(seconds, partial(_resume, node, node.life))


def _resume(node: "Node", life: int) -> None:
    if node.life == life and node.paused:
        node.resume()


def _crash(world: "World", *, silently: bool) -> None:
    node = _victim(world)
    if not node.up:
        return
    world.say(f"node {node.number} dies, silently: {silently}")
    node.crash(silently=silently)
    world.during_faults(world.random.uniform(0.2, 5), partial(_start, node))


def _start(node: "Node") -> None:
    if not node.up:
        node.start()


def kill_a_node(world: "World") -> None:
    """SIGKILL: the kernel closes its connections."""
    world.count("fault: kill")
    _crash(world, silently=False)


def lose_a_node(world: "World") -> None:
    """Its machine is gone, or its network for good: nobody is told."""
    world.count("fault: loss of a node")
    _crash(world, silently=True)


def _links(world: "World", node: "Node") -> list[tuple[int, str, bool]]:
    """Return links of a node: to all servers or one; both ways, there, or back."""
    servers = world.cluster.servers
    some = servers if world.random.random() < 0.7 else [world.random.choice(servers)]
    ways = world.random.choice([(True, False), (True, False), (True,), (False,)])
    return [(node.number, server.name, way) for server in some for way in ways]


def cut_a_node_off(world: "World") -> None:
    """No packets between a node and servers, perhaps in one direction only."""
    world.count("fault: cut off")
    links = _links(world, _victim(world))
    world.say(f"cut: {links}")
    world.cut.update(links)
    world.during_faults(world.random.uniform(0.1, 5), partial(world.mend, links))


def slow_a_node(world: "World") -> None:
    """Requests or answers arrive late."""
    world.count("fault: slow")
    seconds = world.random.choice([0.3, 1.0, 2.5])
    links = _links(world, _victim(world))
    world.say(f"slow by up to {seconds} s: {links}")
    world.slow.update(dict.fromkeys(links, seconds))
    world.during_faults(world.random.uniform(0.5, 4), partial(_quicken, world, links))


def _quicken(world: "World", links: list[tuple[int, str, bool]]) -> None:
    for link in links:
        world.slow.pop(link, None)


def answer_late_then_cut(world: "World") -> None:
    """A leader's requests arrive, their answers come late, and then no request arrives any more."""
    world.count("fault: late, then cut")
    node = _victim(world)
    there = [(node.number, server.name, True) for server in world.cluster.servers]
    back = [(node.number, server.name, False) for server in world.cluster.servers]
    world.say(f"node {node.number} is answered late, then cut off")
    world.slow.update(dict.fromkeys(back, 1.9))
    world.during_faults(world.random.uniform(0.2, 1.5), lambda: world.cut.update(there))
    world.during_faults(world.random.uniform(4, 6), partial(world.mend, there))
    world.during_faults(4, partial(_quicken, world, back))


def lose_packets(world: "World") -> None:
    """One in ten packets is lost, and its connection with it."""
    world.count("fault: losses")
    world.loss = 0.1
    world.during_faults(world.random.uniform(0.3, 2), partial(setattr, world, "loss", 0.0))


def part_the_servers(world: "World") -> None:
    """The primary is cut off from one standby or from all; with all, nothing is acknowledged."""
    world.count("fault: servers apart")
    primary = world.cluster.primary
    standbys = [server for server in world.cluster.servers if server is not primary]
    some = standbys if world.random.random() < 0.7 else [world.random.choice(standbys)]
    pairs = {frozenset((primary.name, server.name)) for server in some}
    world.say(f"servers {primary.name} and {[server.name for server in some]} are apart")
    world.apart |= pairs
    world.during_faults(world.random.uniform(0.2, 4), partial(_join, world, pairs))


def _join(world: "World", pairs: set[frozenset[str]]) -> None:
    world.apart -= pairs
    world.cluster.reconnect()


def cancel_a_wait(world: "World") -> None:
    """Somebody cancels what waits for a standby on the primary, or ends its session."""
    world.count("fault: cancel")
    _isolate(world, 0.4)
    for server in world.cluster.servers:
        for delay in (0.02, 0.15, 0.35):
            end = world.cluster.cancel if world.random.random() < 0.6 else world.cluster.terminate
            world.during_faults(world.random.uniform(0, delay), partial(end, server))


def _isolate(world: "World", seconds: float) -> None:
    """Let nothing that the primary writes reach a standby for a while."""
    primary = world.cluster.primary.name
    pairs = {frozenset((primary, server.name)) for server in world.cluster.servers if server.name != primary}
    world.apart |= pairs
    world.during_faults(seconds, partial(_join, world, pairs))


def restart_a_server(world: "World") -> None:
    """A server crashes and comes back; a primary often with commits that no standby has."""
    world.count("fault: server restarts")
    servers = world.cluster.servers
    server = world.cluster.primary if world.random.random() < 0.7 else world.random.choice(servers)
    if world.random.random() < 0.5:
        _isolate(world, world.random.uniform(0.6, 3))
    world.during_faults(world.random.uniform(0, 0.6), partial(_crash_server, world, server))
    world.during_faults(world.random.uniform(0.7, 3), partial(world.cluster.restart, server))


def _crash_server(world: "World", server: "Server") -> None:
    world.say(f"server {server.name} crashes")
    world.cluster.crash(server)


def fail_over(world: "World") -> None:
    """The primary crashes, perhaps with commits that no standby has; a standby is promoted; it comes back later."""
    world.count("fault: failover")
    old = world.cluster.primary
    if world.random.random() < 0.5:
        _isolate(world, world.random.uniform(0.6, 2))
    world.during_faults(world.random.uniform(0, 0.6), partial(_crash_server, world, old))
    world.during_faults(world.random.uniform(0.7, 2.5), partial(_promote, world))
    world.during_faults(world.random.uniform(2.5, 5), partial(world.cluster.restart, old))


def _promote(world: "World") -> None:
    if world.cluster.promote():
        world.say(f"server {world.cluster.primary.name} is promoted")


def fail_over_beside_the_primary(world: "World") -> None:
    """The primary is cut off from its standbys, and another is promoted; nodes may reach both for a while."""
    world.count("fault: two primaries")
    old = world.cluster.primary
    pairs = {frozenset((old.name, server.name)) for server in world.cluster.servers if server is not old}
    world.apart |= pairs
    world.during_faults(world.random.uniform(0.2, 2), partial(_promote, world))
    world.during_faults(world.random.uniform(2, 5), partial(_join, world, pairs))
    world.during_faults(world.random.uniform(2.5, 6), partial(_demote, world, old))


def _demote(world: "World", old: "Server") -> None:
    if old is not world.cluster.primary and old.is_primary and old.up:
        world.say(f"server {old.name} is told that it was replaced")
        world.cluster.demote(old)


def cancel_beside_the_primary(world: "World") -> None:
    """As before, and somebody cancels what waits on the old primary."""
    old = world.cluster.primary
    fail_over_beside_the_primary(world)
    for _ in range(6):
        world.during_faults(world.random.uniform(0.1, 4), partial(world.cluster.cancel, old))


def ask_to_step_down(world: "World") -> None:
    """An operator asks a node to hand over."""
    world.count("fault: step-down")
    node = _victim(world)
    if node.up:
        node.mine(lambda: node.tell(StepDown(now=node.now())))()


def make_a_node_unwilling(world: "World") -> None:
    """A node drains, or its token fails; later it is well again."""
    world.count("fault: not eligible")
    node = _victim(world)
    node.set_willing(willing=False)
    world.during_faults(world.random.uniform(0.5, 6), lambda: node.set_willing(willing=True))


def set_a_clock_forward(world: "World") -> None:
    """A node's clock jumps."""
    world.count("fault: clock jumps")
    node = _victim(world)
    seconds = world.random.choice([0.4, 1.5, 4.0, 60.0])
    world.say(f"the clock of node {node.number} jumps by {seconds} s")
    node.jump(seconds)


def advise_nonsense(world: "World") -> None:
    """Nodes are told to yield to places that nobody is at, and to hand over for nothing; it lasts."""
    world.count("fault: nonsense")
    for node in world.nodes:
        yields, hands_over = world.random.random() < 0.7, world.random.random() < 0.5
        if node.up:
            node.mine(partial(node.tell, Yields(yields=yields, now=node.now())))()
        if node.up and hands_over:
            node.mine(partial(node.tell, StepDown(now=node.now(), briefly=True)))()


def lie_about_sessions(world: "World") -> None:
    """The servers say that the leader's session is gone, though it lives."""
    world.count("fault: wrong hint")
    world.cluster.hint_lies = True
    world.during_faults(world.random.uniform(0.1, 1.5), partial(_tell_the_truth, world))


def _tell_the_truth(world: "World") -> None:
    world.cluster.hint_lies = False


def _tell_once(node: "Node") -> None:
    node.repeats = False


def steal_from_one_another(world: "World") -> None:
    """Every node is told that the leader's session is gone, statements arrive late, and some waits are cancelled."""
    world.count("fault: theft")
    lie_about_sessions(world)
    links = [(node.number, server.name, True) for node in world.nodes for server in world.cluster.servers]
    world.slow.update(dict.fromkeys(links, 0.4))
    world.during_faults(2, partial(_quicken, world, links))
    for _ in range(3):
        world.during_faults(world.random.uniform(0.2, 1.6), partial(_cancel_soon, world))


def _cancel_soon(world: "World") -> None:
    _isolate(world, 0.2)
    world.during_faults(0.19, partial(world.cluster.cancel, world.cluster.primary))


def tell_twice(world: "World") -> None:
    """What a node's shell tells the machine comes again, later."""
    world.count("fault: repeats")
    node = _victim(world)
    node.repeats = True
    world.during_faults(world.random.uniform(0.5, 3), partial(_tell_once, node))


FAULTS: tuple[Fault, ...] = (
    pause_a_node,
    pause_a_node,
    kill_a_node,
    lose_a_node,
    cut_a_node_off,
    cut_a_node_off,
    slow_a_node,
    answer_late_then_cut,
    lose_packets,
    part_the_servers,
    cancel_a_wait,
    cancel_a_wait,
    restart_a_server,
    fail_over,
    fail_over_beside_the_primary,
    cancel_beside_the_primary,
    ask_to_step_down,
    make_a_node_unwilling,
    set_a_clock_forward,
    advise_nonsense,
    lie_about_sessions,
    steal_from_one_another,
    tell_twice,
)
