"""Many signatures over one call: pipelined, batched by themselves, answered by request id.

The rules:

1. At most STREAM_IN_FLIGHT_MAX requests are unanswered, and at most CLIENT_STREAM_BYTES_MAX of their payloads are on
   the way: ``submit`` waits for room, nothing grows without bound.
2. Whatever was submitted while the last message was being written is the next message.
3. A call that breaks, says nothing for the attempt deadline while answers are due, or says NOT_LEADER, of itself or of
   one request, is replaced, by one to another server if there are several (``route``); what was not answered is sent
   again, with the same request ids, in the order of submission.
4. An item that the server could not do now is sent again after a pause, until its own deadline.
5. Every request ends exactly once: with a verified signature, or with the error that a unary call would have raised.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import grpc

from keyvault.client.errors import (
    SILENT,
    ClientError,
    Fault,
    KeyvaultRpcError,
    NotLeader,
    error_of,
    fault_of_call,
    fault_of_item,
    invalid,
)
from keyvault.client.results import Signed
from keyvault.client.retry import pause_or_raise
from keyvault.client.signing import Signing
from keyvault.client.verify import Asked
from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.intent import Payload
from keyvault.v1 import signing_pb2

_Call = grpc.aio.StreamStreamCall[signing_pb2.SignStreamRequest, signing_pb2.SignStreamResponse]


@dataclass(slots=True, kw_only=True)
class _Item:
    """One request until its answer."""

    asked: Asked
    message: signing_pb2.SignRequest
    size: int
    deadline: float
    future: asyncio.Future[Signed]
    expiry: asyncio.TimerHandle
    failures: int = 0
    on_the_way: bool = False
    pausing: bool = False


class SignStream:
    """One stream of signature requests; use it as an async context manager. Leaving it waits for all answers."""

    def __init__(self, signing: Signing) -> None:
        self._signing = signing
        self._transport = signing.transport
        self._items: dict[str, _Item] = {}
        self._queue: deque[_Item] = deque()
        self._bytes_on_the_way = 0
        self._room = asyncio.Semaphore(limits.STREAM_IN_FLIGHT_MAX)
        self._changed = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._silence: asyncio.Timeout | None = None
        self._write_broke = False
        self._closing = False
        self._route = self._transport.route()
        self._ended: KeyvaultRpcError | None = None
        self._pauses: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start the call."""
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Wait for all answers and end the call; after an exception, cancel what is not answered."""
        try:
            if kind is None:
                await self._empty.wait()
                self._closing = True
                self._changed.set()
                await self._finished()
        finally:
            await self._cancel()

    async def submit(self, key: str, payload: Payload, *, request_id: str | None = None) -> asyncio.Future[Signed]:
        """Send one request as soon as there is room; return the future of its verified answer.

        The future raises what a unary call would raise. Raises InvalidRequest for a payload that is not well formed
        or a request id that is on its way already, and the error that ended the stream if it has ended.
        """
        asked = self._signing.asked(key, payload, request_id)
        await self._room.acquire()
        try:
            return self._add(asked)
        except BaseException:
            self._room.release()
            raise

    async def sign(self, key: str, payload: Payload, *, request_id: str | None = None) -> Signed:
        """Submit one request and return its verified answer."""
        return await (await self.submit(key, payload, request_id=request_id))

    def _add(self, asked: Asked) -> asyncio.Future[Signed]:
        if self._task is None or self._closing:
            raise RuntimeError("a SignStream is used inside `async with`")
        if self._ended is not None:
            raise self._ended
        if asked.request_id in self._items:
            raise invalid(Malformed("request_id", f"{asked.request_id} is on its way already"))
        loop = asyncio.get_running_loop()
        deadline_s = self._transport.deadline_s
        item = _Item(
            asked=asked,
            message=asked.to_proto(),
            size=sum(map(len, asked.payload.parts)),
            deadline=self._transport.timing.monotonic() + deadline_s,
            future=loop.create_future(),
            expiry=loop.call_later(deadline_s, self._expire, asked.request_id),
        )
        self._items[asked.request_id] = item
        self._queue.append(item)
        self._empty.clear()
        self._changed.set()
        return item.future

    # One call after the other --------------------------------------------------------------------------------

    async def _run(self) -> None:
        while await self._needed():
            error = await self._one_call()
            if error is None:
                return
            if not error.can_retry:
                self._end(error)
                return
            await self._transport.pause(self._route.next(error))

    async def _needed(self) -> bool:
        """Wait until there is something to send; False when there will be nothing any more."""
        while not self._items and not self._closing:
            self._changed.clear()
            await self._changed.wait()
        return not self._closing

    async def _one_call(self) -> KeyvaultRpcError | None:
        """Serve one call until it ends; return why it broke, None if it ended because we closed it."""
        self._send_all_again()
        call = self._transport.endpoints[self._route.at].signing.SignStream()
        writer = asyncio.create_task(self._write(call))
        self._write_broke = False
        try:
            async with asyncio.timeout(None) as self._silence:
                await self._read(call)
        except TimeoutError:
            return error_of(SILENT)
        except NotLeader as error:
            return error
        except grpc.aio.AioRpcError as error:
            return self._why_broken(fault_of_call(error))
        finally:
            call.cancel()
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
        if self._closing:
            return None
        return _broken(grpc.StatusCode.UNAVAILABLE, "the server ended the stream")

    def _why_broken(self, fault: Fault) -> KeyvaultRpcError:
        # A write that fails before the server's status is read makes grpc.aio put an INTERNAL of its own in its place
        # (grpc/aio/_call.py, set_internal_error). The server's own INTERNAL always has a reason.
        if self._write_broke and fault.code is grpc.StatusCode.INTERNAL and not fault.reason:
            return _broken(grpc.StatusCode.UNAVAILABLE, "the call broke while a message was being written")
        return error_of(fault)

    def _send_all_again(self) -> None:
        for item in self._items.values():
            item.on_the_way = False
        self._bytes_on_the_way = 0
        self._queue = deque(item for item in self._items.values() if not item.pausing)

    # Writing -------------------------------------------------------------------------------------------------

    async def _write(self, call: _Call) -> None:
        """Write what waits, until closing. A call that breaks is the reader's to report."""
        try:
            while not self._closing:
                batch = self._take()
                if batch:
                    self._expect_progress(due=True)
                    await call.write(signing_pb2.SignStreamRequest(requests=batch))
                    continue
                self._changed.clear()
                await self._changed.wait()
            await call.done_writing()
        except (grpc.RpcError, asyncio.InvalidStateError):
            self._write_broke = True

    def _take(self) -> list[signing_pb2.SignRequest]:
        """Return the next message's requests: what waits and has room on the way."""
        batch: list[signing_pb2.SignRequest] = []
        while self._queue and len(batch) < limits.STREAM_BATCH_MAX:
            item = self._queue[0]
            if self._bytes_on_the_way and self._bytes_on_the_way + item.size > limits.CLIENT_STREAM_BYTES_MAX:
                break
            self._queue.popleft()
            if self._items.get(item.asked.request_id) is item:
                item.on_the_way = True
                self._bytes_on_the_way += item.size
                batch.append(item.message)
        return batch

    def _expect_progress(self, *, due: bool) -> None:
        """Let the call live on, for the attempt deadline if answers are due, otherwise for ever."""
        if self._silence is None or self._silence.expired():
            return
        when = asyncio.get_running_loop().time() + self._transport.attempt_deadline_s
        self._silence.reschedule(when if due else None)

    # Reading -------------------------------------------------------------------------------------------------

    async def _read(self, call: _Call) -> None:
        while isinstance(message := await call.read(), signing_pb2.SignStreamResponse):
            elsewhere: NotLeader | None = None
            for result in message.results:
                item = self._items.get(result.request_id)
                if item is not None:  # otherwise it came after its deadline, and its caller has been told
                    elsewhere = await self._settle(item, result) or elsewhere
            if elsewhere is not None:
                raise elsewhere
            self._expect_progress(due=self._bytes_on_the_way > 0)

    async def _settle(self, item: _Item, result: signing_pb2.SignResult) -> NotLeader | None:
        """Give the item its outcome; return the error if it has none, because this server does not lead."""
        if result.WhichOneof("outcome") != "error":
            self._got_word_of(item)
            self._answer(item, await self._verified(item.asked, result.response))
            return None
        error = error_of(fault_of_item(result.error, item.asked.request_id))
        if isinstance(error, NotLeader):
            return error
        self._got_word_of(item)
        self._fail_or_pause(item, error)
        return None

    def _got_word_of(self, item: _Item) -> None:
        self._route.answered()
        self._leave_the_way(item)

    async def _verified(self, asked: Asked, response: signing_pb2.SignResponse) -> Signed | ClientError:
        try:
            return await self._signing.verify(asked, response)
        except ClientError as error:
            return error

    def _fail_or_pause(self, item: _Item, error: KeyvaultRpcError) -> None:
        item.failures += 1
        try:
            pause = pause_or_raise(error, item.failures, item.deadline, self._transport.timing)
        except KeyvaultRpcError:
            self._answer(item, error)
            return
        item.pausing = True
        task = asyncio.create_task(self._again_after(item, pause))
        self._pauses.add(task)
        task.add_done_callback(self._pauses.discard)

    async def _again_after(self, item: _Item, pause: float) -> None:
        await self._transport.timing.sleep(pause)
        item.pausing = False
        self._queue.append(item)
        self._changed.set()

    # Ends ----------------------------------------------------------------------------------------------------

    def _leave_the_way(self, item: _Item) -> None:
        if item.on_the_way:
            item.on_the_way = False
            self._bytes_on_the_way -= item.size
            self._changed.set()

    def _answer(self, item: _Item, outcome: Signed | ClientError) -> None:
        if self._items.pop(item.asked.request_id, None) is None:
            return
        item.expiry.cancel()
        self._leave_the_way(item)
        self._room.release()
        if not self._items:
            self._empty.set()
        if item.future.done():  # its caller gave up
            return
        if isinstance(outcome, Signed):
            item.future.set_result(outcome)
        else:
            item.future.set_exception(outcome)

    def _expire(self, request_id: str) -> None:
        item = self._items[request_id]
        fault = Fault(
            code=grpc.StatusCode.DEADLINE_EXCEEDED,
            message=f"no answer for {self._transport.deadline_s} s; ask again with the same request id",
            request_id=request_id,
        )
        self._answer(item, error_of(fault))

    def _end(self, error: KeyvaultRpcError) -> None:
        """Fail everything, now and later: another call would fail in the same way."""
        self._ended = error
        for item in tuple(self._items.values()):
            self._answer(item, error_of(replace(error.fault, request_id=item.asked.request_id)))

    async def _finished(self) -> None:
        if self._task is None:
            return
        try:
            async with asyncio.timeout(self._transport.attempt_deadline_s):
                await asyncio.shield(self._task)
        except TimeoutError:
            return  # everything is answered; only the server's goodbye is missing

    async def _cancel(self) -> None:
        self._closing = True
        tasks = [*self._pauses, *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for item in tuple(self._items.values()):
            item.future.cancel()
            self._answer(item, _broken(grpc.StatusCode.CANCELLED, "the stream was left"))


def _broken(code: grpc.StatusCode, message: str) -> KeyvaultRpcError:
    return error_of(Fault(code=code, message=message))
