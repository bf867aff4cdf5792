"""What a long ledger costs: the same load on two deployments at once, a small one and a large one, in turns."""

import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from keyvault.bench import machine
from keyvault.bench.options import CONCURRENCY, GROWTH_BASE_EVENTS, Figure, Kind, Plan
from keyvault.bench.prefill import prefill
from keyvault.bench.processes import Desk, Served, new_desk, serving
from keyvault.bench.report import rounded
from keyvault.bench.requests import RequestIds
from keyvault.bench.rounds import Samples, Target
from keyvault.bench.setup import set_up

_KIND = Kind.P256
_SMALL, _LARGE = "small", "large"
_WARM_UP_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grown:
    """A deployment whose ledger has its size, not served yet."""

    desk: Desk
    events: int
    prefill_s: float


async def measure(plan: Plan, scratch: Path) -> dict[str, Figure]:
    """Return throughput, memory and recovery at GROWTH_BASE_EVENTS and at ``plan.events`` events."""
    grown = {
        _SMALL: await _grow(scratch / _SMALL, GROWTH_BASE_EVENTS),
        _LARGE: await _grow(scratch / _LARGE, plan.events),
    }
    samples, ids = Samples(), RequestIds()
    async with AsyncExitStack() as opened:
        served = {name: await opened.enter_async_context(serving(each.desk)) for name, each in grown.items()}
        rss_before = {name: machine.rss_mb(each.pid) for name, each in served.items()}
        targets = {name: Target(grown[name].desk, served[name], samples, ids=ids) for name in grown}
        for target in targets.values():
            opened.push_async_callback(target.close)
        await _rounds(plan, targets)
        sides = {name: _side(name, grown[name], served[name], samples, rss_before[name]) for name in grown}
        return {
            **sides,
            "large/small": {
                "unary_per_s": rounded(*(samples.median(f"{name} unary", "per_s") for name in (_LARGE, _SMALL))),
                "stream_per_s": rounded(*(samples.median(f"{name} stream", "per_s") for name in (_LARGE, _SMALL))),
                "server_rss": rounded(*(machine.rss_mb(served[name].pid) for name in (_LARGE, _SMALL))),
            },
            "errors": dict(samples.errors),
        }


async def _grow(folder: Path, events: int) -> _Grown:
    """Make a deployment with keys, a policy and one genuine signature, then fill its ledger."""
    desk = await new_desk(folder)
    async with serving(desk) as served:
        await set_up(desk, served)
        target = Target(desk, served, Samples(), ids=RequestIds())
        await target.unary("first", _KIND, concurrency=1, seconds=_WARM_UP_S / 100)
        await target.close()
    began = time.monotonic()
    prefill(desk.ledger, events)
    return _Grown(desk=desk, events=events, prefill_s=time.monotonic() - began)


async def _rounds(plan: Plan, targets: Mapping[str, Target]) -> None:
    for target in targets.values():
        await target.warm_up(_KIND, seconds=_WARM_UP_S)
    for _ in range(plan.rounds):
        for name, target in targets.items():
            await target.unary(f"{name} unary", _KIND, concurrency=CONCURRENCY, seconds=plan.seconds)
        for name, target in targets.items():
            await target.stream(f"{name} stream", _KIND, seconds=plan.seconds)


def _side(name: str, grown: _Grown, served: Served, samples: Samples, rss_before: float) -> dict[str, Figure]:
    return {
        "events_before": grown.events,
        "prefill_s": round(grown.prefill_s, 1),
        "recovery_s": served.recovery_s,
        "unary_per_s": round(samples.median(f"{name} unary", "per_s")),
        "unary_p99_us": round(samples.median(f"{name} unary", "p99_us")),
        "stream_per_s": round(samples.median(f"{name} stream", "per_s")),
        "server_rss_mb_started": rss_before,
        "server_rss_mb": machine.rss_mb(served.pid),
        "ledger_mb": round(grown.desk.ledger.stat().st_size / 1e6, 1),
    }
