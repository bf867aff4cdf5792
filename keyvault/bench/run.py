"""One run: what is started, what is measured in which turn, and what comes out."""

import asyncio
import signal
import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import uvloop

from keyvault.bench import decide, failover, governance, growth, machine
from keyvault.bench.options import CONCURRENCY, Figure, Kind, Options, Plan, plan_of
from keyvault.bench.processes import BenchFailed, Desk, RawToken, Served, echoing, new_desk, raw_token, remove, serving
from keyvault.bench.report import latency, per_kind, rounded
from keyvault.bench.requests import RequestIds
from keyvault.bench.rounds import CHECKER_MODULE, PARTS, WORKER_MODULE, Samples, Target
from keyvault.bench.setup import set_up

_ECHO_KIND = Kind.P256
"""Whose requests the echo server gets."""
_RAW_SHARE = 0.5
"""Of a measurement's time, for the bare token: nothing but one loop, so it is steady sooner."""
_WARM_UP_S = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class _World:
    """What is measured against what."""

    plan: Plan
    samples: Samples
    raw_rates: dict[Kind, list[float]]
    served: Served
    target: Target
    echo: Target
    raw: RawToken


def run(options: Options) -> dict[str, Figure]:
    """Measure and return the figures. Leaves nothing behind.

    Raises Malformed for options that cannot be, BenchFailed when a process does not do its work, NoDisk.
    """
    plan = plan_of(options)
    if plan.decide:
        return _decide(plan)
    disk = machine.find_disk(plan.folder)
    scratch = Path(tempfile.mkdtemp(prefix="keyvault-bench-", dir=disk.folder))
    try:
        return uvloop.run(_run(plan, disk, scratch))
    except asyncio.CancelledError:
        raise BenchFailed("ended by SIGTERM before there were figures") from None
    finally:
        remove(scratch)


def _decide(plan: Plan) -> dict[str, Figure]:
    began = time.monotonic()
    figures: dict[str, Figure] = {"machine": machine.describe_machine(), "decide": decide.measure(plan)}
    figures["took_s"] = round(time.monotonic() - began, 1)
    return figures


async def _run(plan: Plan, disk: machine.Disk, scratch: Path) -> dict[str, Figure]:
    _end_on_sigterm()
    began = time.monotonic()
    figures: dict[str, Figure] = {"machine": machine.describe_machine()}
    if plan.governance:
        scale = governance.QUICK if plan.quick else governance.FULL
        found = await governance.measure(plan, scratch, scale)
        figures |= {"conditions": _conditions(plan, disk), "governance": found}
    elif plan.failover:
        noticed = await failover.measure(plan, scratch)
        figures |= {"conditions": _conditions(plan, disk), "failover": noticed}
    elif plan.events:
        grown = await growth.measure(plan, scratch)
        figures |= {"conditions": _conditions(plan, disk), "growth": grown}
    else:
        figures |= await _measure(plan, disk, await new_desk(scratch / "desk"))
    figures["took_s"] = round(time.monotonic() - began, 1)
    return figures


def _end_on_sigterm() -> None:
    """Let SIGTERM end this task, so that servers and folders do not stay behind."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


async def _measure(plan: Plan, disk: machine.Disk, desk: Desk) -> dict[str, Figure]:
    async with AsyncExitStack() as opened:
        served = await opened.enter_async_context(serving(desk))
        objects = await set_up(desk, served)
        echo = await opened.enter_async_context(echoing(desk))
        raw = await opened.enter_async_context(raw_token(desk, objects))
        samples, ids = Samples(), RequestIds()
        world = _World(
            plan=plan,
            samples=samples,
            raw_rates={kind: [] for kind in plan.kinds},
            served=served,
            target=Target(desk, served, samples, ids=ids),
            echo=Target(desk, echo, samples, ids=ids),
            raw=raw,
        )
        opened.push_async_callback(world.target.close)
        opened.push_async_callback(world.echo.close)
        await _rounds(world)
        return _figures(world, disk, desk)


async def _rounds(world: _World) -> None:
    """Measure everything in turns: each signature between two echoes, each stream beside the bare token."""
    seconds = world.plan.seconds
    await world.echo.unary("warm-up", _ECHO_KIND, concurrency=4, seconds=_WARM_UP_S / 2)
    for kind in world.plan.kinds:
        await world.target.warm_up(kind, seconds=_WARM_UP_S)
        await world.raw.per_s(kind, _WARM_UP_S / 4)
    for _ in range(world.plan.rounds):
        for kind in world.plan.kinds:
            await world.echo.unary(f"echo@{CONCURRENCY}", _ECHO_KIND, concurrency=CONCURRENCY, seconds=seconds)
            await world.target.unary(f"{kind}@{CONCURRENCY}", kind, concurrency=CONCURRENCY, seconds=seconds)
            await world.echo.unary("echo@1", _ECHO_KIND, concurrency=1, seconds=seconds / 2)
            await world.target.unary(f"{kind}@1", kind, concurrency=1, seconds=seconds / 2)
            world.raw_rates[kind].append(await world.raw.per_s(kind, seconds * _RAW_SHARE))
            await world.target.stream(f"{kind} stream", kind, seconds=seconds)


# Figures ----------------------------------------------------------------------------------------------------


def _figures(world: _World, disk: machine.Disk, desk: Desk) -> dict[str, Figure]:
    samples, kinds = world.samples, world.plan.kinds
    workers = machine.children(world.served.pid, WORKER_MODULE)
    checkers = machine.children(world.served.pid, CHECKER_MODULE)
    echo = samples.median(f"echo@{CONCURRENCY}", "per_s")
    raw = {kind: median(world.raw_rates[kind]) for kind in kinds}
    return {
        "conditions": _conditions(world.plan, disk),
        "echo_unary_per_s": round(echo),
        "sign_unary_per_s": per_kind(kinds, lambda kind: round(samples.median(f"{kind}@{CONCURRENCY}", "per_s"))),
        "sign_stream_per_s": per_kind(kinds, lambda kind: round(samples.median(f"{kind} stream", "per_s"))),
        "token_raw_per_s": per_kind(kinds, lambda kind: round(raw[kind])),
        "ratios": _ratios(samples, echo, raw, len(workers)),
        "latency_us": {str(concurrency): latency(samples, kinds, concurrency) for concurrency in (1, CONCURRENCY)},
        "cpu_us_per_signature": _cpu(samples),
        "per_s_min_max": {
            name: [round(rate) for rate in samples.spread(name)] for name in samples.by_name if name != "warm-up"
        },
        "server_rss_mb": machine.rss_mb(world.served.pid),
        "worker_rss_mb": [machine.rss_mb(pid) for pid in workers],
        "checker_rss_mb": [machine.rss_mb(pid) for pid in checkers],
        "workers": len(workers),
        "ledger_mb": round(desk.ledger.stat().st_size / 1e6, 1),
        "errors": dict(samples.errors),
    }


def _ratios(samples: Samples, echo: float, raw: Mapping[Kind, float], workers: int) -> dict[str, Figure]:
    kinds = tuple(raw)
    slow_echo = samples.median(f"echo@{CONCURRENCY}", "p99_us")

    def stream(kind: Kind) -> float:
        return samples.median(f"{kind} stream", "per_s")

    return {
        "unary/echo": per_kind(kinds, lambda kind: rounded(samples.median(f"{kind}@{CONCURRENCY}", "per_s"), echo)),
        "stream/raw": per_kind(kinds, lambda kind: rounded(stream(kind), raw[kind])),
        "stream/(raw*workers)": per_kind(kinds, lambda kind: rounded(stream(kind), raw[kind] * workers)),
        "p99_sign_32/p99_echo_32": per_kind(
            kinds, lambda kind: rounded(samples.median(f"{kind}@{CONCURRENCY}", "p99_us"), slow_echo)
        ),
    }


def _cpu(samples: Samples) -> dict[str, Figure]:
    """Return who used the processor, in microseconds for each answer; the rest of a core's time was waiting."""
    return {
        name: {part: round(samples.median(name, f"{part}_us"), 1) for part in PARTS}
        for name in samples.by_name
        if name != "warm-up"
    }


def _conditions(plan: Plan, disk: machine.Disk) -> dict[str, Figure]:
    return {
        "client": "raw stubs, no verification",
        "transport": "gRPC over mutual TLS, loopback, one connection",
        "concurrency": CONCURRENCY,
        "policy": "3 rules; 2 count windows on every key, 1 amount window on secp256k1",
        "payloads": {
            Kind.P256.value: "raw digest",
            Kind.SECP256K1.value: "EIP-1559 transfer",
            Kind.ED25519.value: "Binance order",
            Kind.HMAC.value: "Binance order",
        },
        "commit": "SQLite WAL, synchronous=FULL",
        "ledger_folder": str(disk.folder),
        "ledger_filesystem": disk.filesystem,
        "disk_sync_us": round(disk.sync_us),
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "figures": "medians of the rounds",
    }
