"""The load: unary calls with a fixed number at once, and one pipelined stream. Raw stubs, nothing is verified.

Every answer is still looked at: an error, or an answer to another request, is counted and never taken for a signature.
"""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TypeAlias

import grpc

from keyvault.bench.requests import Requests
from keyvault.core import limits
from keyvault.v1 import signing_pb2, signing_pb2_grpc

_TIMEOUT_S = 30.0
_ERRORS_MAX = 1_000
"""Errors after which a measurement gives up: it would only count how fast a server can say no."""

Stub: TypeAlias = "signing_pb2_grpc.SigningServiceAsyncStub"  # a class of the stub file only


@dataclass(slots=True, kw_only=True)
class Load:
    """What came back. ``latencies_ns`` only of unary calls."""

    answers: int = 0
    seconds: float = 0.0
    latencies_ns: list[int] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    last_at: float = 0.0
    """When the last right answer of a stream came, as perf_counter says."""

    @property
    def per_s(self) -> float:
        """Right answers in one second."""
        return self.answers / self.seconds if self.seconds else 0.0

    def percentile_us(self, share: float) -> float:
        """Return the nearest-rank percentile in microseconds; 0 when nothing came back."""
        if not self.latencies_ns:
            return 0.0
        ranked = sorted(self.latencies_ns)
        return ranked[min(len(ranked) - 1, int(share * len(ranked)))] / 1000


async def unary(stub: Stub, requests: Requests, *, concurrency: int, seconds: float) -> Load:
    """Return what ``concurrency`` callers got, each asking again as soon as it was answered."""
    load = Load()
    began = time.perf_counter()
    end_ns = time.perf_counter_ns() + int(seconds * 1e9)
    await asyncio.gather(*(_caller(stub, requests, end_ns, load) for _ in range(concurrency)))
    load.seconds = time.perf_counter() - began
    load.answers = len(load.latencies_ns)
    return load


async def _caller(stub: Stub, requests: Requests, end_ns: int, load: Load) -> None:
    while (began := time.perf_counter_ns()) < end_ns and load.errors.total() < _ERRORS_MAX:
        request = requests.next()
        try:
            answer = await stub.Sign(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            load.errors[error.code().name] += 1
            continue
        if answer.request_id != request.request_id:
            load.errors["OTHER_REQUEST_ID"] += 1
            continue
        load.latencies_ns.append(time.perf_counter_ns() - began)


async def stream(stub: Stub, requests: Requests, *, seconds: float) -> Load:
    """Return what one stream got that always has STREAM_IN_FLIGHT_MAX requests on the way.

    Whatever was answered while the last message was written is asked anew in the next message.
    """
    flow = _Flow(stub, requests, seconds)
    await flow.run()
    return flow.load


class _Flow:
    """One SignStream call."""

    def __init__(self, stub: Stub, requests: Requests, seconds: float) -> None:
        self.load = Load()
        self._call = stub.SignStream(timeout=seconds + _TIMEOUT_S)
        self._requests = requests
        self._seconds = seconds
        self._asked: set[str] = set()
        self._answered = asyncio.Event()

    async def run(self) -> None:
        began = time.perf_counter()
        writer = asyncio.create_task(self._write(began + self._seconds))
        try:
            while isinstance(message := await self._call.read(), signing_pb2.SignStreamResponse):
                for result in message.results:
                    self._take(result)
                self._answered.set()
        except grpc.aio.AioRpcError as error:
            self.load.errors[error.code().name] += 1
        finally:
            self._answered.set()
            await writer
        self.load.seconds = time.perf_counter() - began
        self.load.errors["UNANSWERED"] += len(self._asked)
        self.load.errors = +self.load.errors

    async def _write(self, end: float) -> None:
        try:
            while time.perf_counter() < end and not self._call.done() and self.load.errors.total() < _ERRORS_MAX:
                room = limits.STREAM_IN_FLIGHT_MAX - len(self._asked)
                if not room:
                    self._answered.clear()
                    await self._answered.wait()
                    continue
                batch = [self._requests.next() for _ in range(room)]
                self._asked.update(request.request_id for request in batch)
                await self._call.write(signing_pb2.SignStreamRequest(requests=batch))
            await self._call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return  # the reading side says why

    def _take(self, result: signing_pb2.SignResult) -> None:
        if result.request_id not in self._asked:
            self.load.errors["OTHER_REQUEST_ID"] += 1
            return
        self._asked.discard(result.request_id)
        if result.HasField("response"):
            self.load.answers += 1
            self.load.last_at = time.perf_counter()
        else:
            self.load.errors[result.error.reason or str(result.error.code)] += 1
