"""What a bot notices when servers die, and what standbys cost while nothing does: ``keyvault bench --failover``.

Three PostgreSQL servers (a primary, and two synchronous standbys of which any one is enough), three nodes, and a bot
under load through the SDK. A round breaks one thing and takes the longest time without an answer from that moment on.
Then what broke comes back, while the bot rests: a node that starts folds the whole ledger. At the end the ledger is
audited, and compared with everything that the bot was given.

The primary is killed as a host is lost. Where Patroni and etcd are installed they replace it, as operators are given
them (``helm/patroni.yaml``); otherwise, or if asked to, this program does, at once. The figures say which.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from keyvault.bench.options import Fault, Figure, Kind, Plan
from keyvault.bench.processes import ENCLAVE, Desk, Served, new_desk, serving
from keyvault.bench.report import rounded
from keyvault.bench.requests import RequestIds, key_of
from keyvault.bench.rounds import Samples, Target
from keyvault.bench.setup import set_up
from keyvault.core.events import TermStarted
from keyvault.demo.bot import signed_more, signing, until
from keyvault.demo.history import Load, count_lost, count_repeated, epochs_are_monotone, real_time_order
from keyvault.demo.hosts import Hosts
from keyvault.demo.nodes import Node, Nodes
from keyvault.demo.patroni import replicated
from keyvault.demo.patroni_programs import missing
from keyvault.demo.postgres import cluster

ENDED = "the term ended, following"
IN_FLIGHT = 4
AFTER = 50
"""Signatures after a fault until the round is over."""
_BEFORE = 50
_KIND = Kind.P256
_STEADY_ROUNDS = 5


@dataclass(slots=True, kw_only=True)
class _Fault:
    """One kind of fault. ``aim_s``: what the project wants the p99 to stay under."""

    name: str
    aim_s: float
    breaks: Callable[["_World", Node], Coroutine[None, None, None]]
    mends: Callable[["_World", Node], Coroutine[None, None, None]]
    gaps_s: list[float] = field(default_factory=list)
    failed_calls: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _World:
    nodes: Nodes
    postgres: Hosts
    load: Load


async def measure(plan: Plan, scratch: Path) -> Mapping[str, Figure]:
    """Return gaps, and what became of the ledger. Raises BenchFailed, NoPostgres if PostgreSQL is not installed."""
    desk = await new_desk(scratch / "desk")
    async with serving(desk) as served:
        await set_up(desk, served)
    steady = await _steady(plan, desk, scratch)
    without = "asked to" if plan.without_patroni else missing()
    with replicated(by_patroni=not without, parent=_reachable(scratch)) as postgres:
        nodes = await asyncio.to_thread(Nodes, scratch / "nodes", desk.folder, postgres, enclave=ENCLAVE)
        try:
            return {**await _failover(plan, nodes, postgres, scratch), "without_patroni": without, "steady": steady}
        finally:
            await asyncio.to_thread(nodes.close)


def _reachable(scratch: Path) -> Path:
    """Let the user postgres reach its own folder in it."""
    scratch.chmod(0o711)
    return scratch


# Faults --------------------------------------------------------------------------------------------------------------


async def _step_down(_world: _World, leader: Node) -> None:
    await asyncio.to_thread(leader.stop)


async def _kill(_world: _World, leader: Node) -> None:
    await asyncio.to_thread(leader.kill)


async def _pause(_world: _World, leader: Node) -> None:
    leader.pause()


async def _kill_primary(world: _World, _leader: Node) -> None:
    await asyncio.to_thread(world.postgres.primary.kill)
    await asyncio.to_thread(world.postgres.fail_over)


async def _start_again(_world: _World, node: Node) -> None:
    served = len(node.said("serving"))
    node.start()
    await until(lambda: len(node.said("serving")) > served)


async def _resume(_world: _World, node: Node) -> None:
    ended = len(node.said(ENDED))
    node.resume()
    await until(lambda: len(node.said(ENDED)) > ended)


async def _rejoin(world: _World, _node: Node) -> None:
    dead = [server for server in world.postgres.servers if not server.running]
    await asyncio.to_thread(world.postgres.rejoin, *dead)


def _faults(plan: Plan) -> list[_Fault]:
    every = {
        Fault.STEP_DOWN: _Fault(
            name="step-down: SIGTERM of the leader", aim_s=0.5, breaks=_step_down, mends=_start_again
        ),
        Fault.KILL: _Fault(name="kill -9 of the leader", aim_s=1.0, breaks=_kill, mends=_start_again),
        Fault.PAUSE: _Fault(name="SIGSTOP of the leader", aim_s=5.0, breaks=_pause, mends=_resume),
        Fault.PRIMARY: _Fault(name="kill -9 of PostgreSQL's primary", aim_s=25.0, breaks=_kill_primary, mends=_rejoin),
    }
    return [every[each] for each in plan.faults]


async def _failover(plan: Plan, nodes: Nodes, postgres: Hosts, scratch: Path) -> dict[str, Figure]:
    world, faults = _World(nodes=nodes, postgres=postgres, load=Load()), _faults(plan)
    nodes.start()
    await nodes.until_leading()
    await nodes.until_all_can_lead()
    for number in range(plan.rounds):
        for place, fault in enumerate(faults):
            await _round(world, fault, f"bench-{number}-{place}")
    return {
        "rounds": plan.rounds,
        "postgres": "1 primary, 2 synchronous standbys (ANY 1), one machine",
        "promotion": postgres.promotion,
        "load": f"{IN_FLIGHT} calls at once through the SDK, total deadline 60 s",
        "faults": {fault.name: _figures(fault) for fault in faults},
        "ledger": await asyncio.to_thread(_ledger, world, scratch),
    }


async def _round(world: _World, fault: _Fault, name: str) -> None:
    leader, failed = await world.nodes.until_leading(), len(world.load.errors)
    async with world.nodes.client() as client, signing(client, key_of(_KIND), world.load, name, in_flight=IN_FLIGHT):
        await signed_more(world.load, _BEFORE)
        broke_at = time.monotonic()
        breaking = asyncio.create_task(fault.breaks(world, leader))
        await _answered_after(world.load, broke_at)
        await breaking
        await signed_more(world.load, AFTER)
        fault.gaps_s.append(world.load.longest_gap_s(broke_at, time.monotonic()))
    fault.failed_calls += len(world.load.errors) - failed
    await fault.mends(world, leader)
    await world.nodes.until_all_can_lead()


async def _answered_after(load: Load, moment: float) -> None:
    """Return when something was answered that was asked for after that moment."""
    await until(lambda: any(each.asked_at > moment for each in load.signings[-IN_FLIGHT:]))


def _figures(fault: _Fault) -> dict[str, Figure]:
    ranked = sorted(fault.gaps_s)
    p50, p99 = (ranked[min(len(ranked) - 1, int(share * len(ranked)))] for share in (0.50, 0.99))
    return {
        "gap_p50_s": round(p50, 3),
        "gap_p99_s": round(p99, 3),
        "gap_max_s": round(ranked[-1], 3),
        "aim_s": fault.aim_s,
        "failed_calls": fault.failed_calls,
        "gaps_s": [round(gap, 3) for gap in fault.gaps_s],
    }


def _ledger(world: _World, scratch: Path) -> dict[str, Figure]:
    """Audit what stands at the end. Raises HistoryBroken if it is not one history."""
    events = world.nodes.audited(scratch)
    epochs_are_monotone(events)
    real_time_order(world.load)
    return {
        "signatures": len(world.load.signings),
        "lost": count_lost(world.load, events),
        "repeated": count_repeated(events),
        "entries": len(events),
        "epochs": sum(isinstance(event, TermStarted) for event in events),
        "audit": "ok",
    }


# Steady state --------------------------------------------------------------------------------------------------------


async def _steady(plan: Plan, desk: Desk, scratch: Path) -> dict[str, Figure]:
    """Stream to a server on SQLite and to a node with one synchronous standby, in turns."""
    samples, ids = Samples(), RequestIds()
    async with AsyncExitStack() as opened:
        postgres = opened.enter_context(cluster(standbys=1, parent=_reachable(scratch)))
        node = await opened.enter_async_context(_one_node(desk, postgres, scratch))
        alone = Target(desk, await opened.enter_async_context(serving(desk)), samples, ids=ids)
        shared = Target(desk, Served(port=node.port, pid=node.pid), samples, ids=ids)
        for target in (alone, shared):
            opened.push_async_callback(target.close)
            await target.warm_up(_KIND, seconds=plan.seconds)
        for _ in range(_STEADY_ROUNDS):
            await alone.stream("sqlite", _KIND, seconds=plan.seconds)
            await shared.stream("postgres", _KIND, seconds=plan.seconds)
    on_file, on_servers = samples.median("sqlite", "per_s"), samples.median("postgres", "per_s")
    return {
        "stream_sqlite_per_s": round(on_file),
        "stream_postgres_per_s": round(on_servers),
        "postgres/sqlite": rounded(on_servers, on_file),
        "aim": 0.8,
        "min_max_per_s": {name: [round(rate) for rate in samples.spread(name)] for name in ("sqlite", "postgres")},
        "cpu_us_per_signature": {
            name: {part: round(samples.median(name, f"{part}_us"), 1) for part in ("client", "server", "workers")}
            for name in ("sqlite", "postgres")
        },
        "errors": dict(samples.errors),
    }


@asynccontextmanager
async def _one_node(desk: Desk, postgres: Hosts, scratch: Path) -> AsyncIterator[Node]:
    nodes = await asyncio.to_thread(lambda: Nodes(scratch / "steady", desk.folder, postgres, count=1, enclave=ENCLAVE))
    try:
        nodes.start()
        yield await nodes.until_leading()
    finally:
        await asyncio.to_thread(nodes.close)
