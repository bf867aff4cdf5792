"""Measurements in turns, and the medians of the rounds."""

import asyncio
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import grpc

from keyvault.bench import load, machine
from keyvault.bench.load import Load, Stub
from keyvault.bench.options import Kind
from keyvault.bench.processes import ENCLAVE, BenchFailed, Desk, Served
from keyvault.bench.requests import RequestIds, Requests
from keyvault.core import limits
from keyvault.v1 import signing_pb2_grpc

WORKER_MODULE = "keyvault.hsm.worker"
CHECKER_MODULE = "keyvault.hsm.checker"
PARTS = ("client", "server", "workers", "checkers")
"""Whose processor time is told apart."""
_CONNECT_S = 15.0
_P50, _P99 = 0.50, 0.99
_OPTIONS = (
    ("grpc.max_receive_message_length", limits.GRPC_MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", limits.GRPC_MESSAGE_BYTES_MAX),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),  # a connection for each server, as it would be on two machines
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measurement of one round. CPU in microseconds for each right answer."""

    per_s: float
    p50_us: float
    p99_us: float
    client_us: float
    server_us: float
    workers_us: float
    checkers_us: float


@dataclass(slots=True)
class Samples:
    """All rounds of all measurements, by name, and all that went wrong."""

    by_name: defaultdict[str, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    errors: Counter[str] = field(default_factory=Counter)

    def median(self, name: str, what: str) -> float:
        """Return the median of one field of one measurement; 0 if it was not measured."""
        found: Sequence[Sample] = self.by_name.get(name, ())
        return median(getattr(sample, what) for sample in found) if found else 0.0

    def spread(self, name: str) -> tuple[float, float]:
        """Return the slowest and the fastest rate of one measurement."""
        rates = [sample.per_s for sample in self.by_name[name]]
        return min(rates), max(rates)


class Target:
    """One server under load: its connection, its requests, and the time that its processes use."""

    def __init__(self, desk: Desk, served: Served, samples: Samples, *, ids: RequestIds) -> None:
        self._samples = samples
        self._pid = served.pid
        self._workers = machine.children(served.pid, WORKER_MODULE)
        self._checkers = machine.children(served.pid, CHECKER_MODULE)
        credentials = desk.credentials("bot", "demo").for_channel()
        self._channel = grpc.aio.secure_channel(f"127.0.0.1:{served.port}", credentials, options=_OPTIONS)
        self._stub: Stub = signing_pb2_grpc.SigningServiceStub(self._channel)
        self._requests: Mapping[Kind, Requests] = {kind: Requests(ENCLAVE, kind, ids) for kind in Kind}

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def unary(self, name: str, kind: Kind, *, concurrency: int, seconds: float) -> None:
        """Measure unary calls and keep the sample under this name."""
        before = self._cpu()
        found = await load.unary(self._stub, self._requests[kind], concurrency=concurrency, seconds=seconds)
        self._keep(name, found, before)

    async def stream(self, name: str, kind: Kind, *, seconds: float) -> None:
        """Measure one stream and keep the sample under this name."""
        before = self._cpu()
        self._keep(name, await load.stream(self._stub, self._requests[kind], seconds=seconds), before)

    async def last_answer(self, kind: Kind, *, seconds: float) -> float:
        """Stream for so long, whatever comes back; return when the last signature came, as perf_counter says."""
        found = await load.stream(self._stub, self._requests[kind], seconds=seconds)
        return found.last_at

    async def warm_up(self, kind: Kind, *, seconds: float) -> None:
        """Connect and use every path once; only errors are kept. Raises BenchFailed if nobody answers there."""
        try:
            await asyncio.wait_for(self._channel.channel_ready(), _CONNECT_S)
        except TimeoutError:
            raise BenchFailed(f"the server (process {self._pid}) accepts no connection") from None
        for found in (
            await load.unary(self._stub, self._requests[kind], concurrency=4, seconds=seconds / 2),
            await load.stream(self._stub, self._requests[kind], seconds=seconds / 2),
        ):
            self._count_errors(f"warm-up {kind}", found)

    def _cpu(self) -> tuple[float, ...]:
        processes = (os.getpid(),), (self._pid,), self._workers, self._checkers
        return tuple(machine.cpu_s(*pids) for pids in processes)

    def _keep(self, name: str, found: Load, before: tuple[float, ...]) -> None:
        answers = max(1, found.answers)
        client, server, workers, checkers = (
            (after - earlier) * 1e6 / answers for after, earlier in zip(self._cpu(), before, strict=True)
        )
        self._count_errors(name, found)
        self._samples.by_name[name].append(
            Sample(
                per_s=found.per_s,
                p50_us=found.percentile_us(_P50),
                p99_us=found.percentile_us(_P99),
                client_us=client,
                server_us=server,
                workers_us=workers,
                checkers_us=checkers,
            )
        )

    def _count_errors(self, name: str, found: Load) -> None:
        self._samples.errors.update({f"{name}: {error}": count for error, count in found.errors.items()})
