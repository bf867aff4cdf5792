"""Passes on to the leader, over mutual TLS between nodes, what only a leader decides.

A client that knows one address only is served by any node. The bytes go through unread. Who calls was authenticated
here, and travels as metadata that a leader believes from the nodes that its configuration names, and from nobody else.
A call is passed on once: a node that is called by a node answers itself. The positions of an answer, and those that a
call asks for (``rpc.positions``), are then the leader's: this node may be behind the very change that it passed on.

Clients that know all nodes do better to ask the leader themselves; the answer NOT_LEADER tells them where it is.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, TypeAlias

import grpc

from keyvault.core import limits
from keyvault.core.positions import MIN_POSITION_KEY, POSITION_KEY
from keyvault.engine.node import Node
from keyvault.rpc.auth import PRINCIPAL_KEY, Context, Door

FORWARDED = frozenset(
    f"/keyvault.v1.{method}"
    for method in (
        "SigningService/Sign",
        "SigningService/SignStream",
        "SigningService/Simulate",
        "SigningService/GetQuota",
        "GovernanceService/ProposeChange",
        "GovernanceService/CastBallot",
    )
)
"""What needs the leader. Everything else a node answers from its own copy."""

OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_receive_message_length", limits.GRPC_MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", limits.GRPC_MESSAGE_BYTES_MAX),
    ("grpc.max_metadata_size", limits.GRPC_METADATA_BYTES_MAX),
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", limits.CLIENT_RETRY_MS_MIN),
    ("grpc.max_reconnect_backoff_ms", limits.CLIENT_RETRY_MS_MAX),
)
"""Of channels from node to node."""


def target_of(address: str) -> str:
    """Return what gRPC is given for a ``host:port``: a name, or a number, to connect to, whatever the host is called.

    ``unix:7443`` is a host of that name for us, and a socket in the file system for gRPC.
    """
    return address if address.startswith("[") else f"dns:///{address}"


_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
_Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]]"


class Forwarder(grpc.aio.ServerInterceptor):
    """Stands before the services of a node."""

    def __init__(self, node: Node, door: Door, credentials: grpc.ChannelCredentials, address: str) -> None:
        """``address`` is this node's own, to which nothing is passed on."""
        self._node = node
        self._door = door
        self._credentials = credentials
        self._address = address
        self._leader = ""
        self._channel: grpc.aio.Channel | None = None

    async def intercept_service(
        self, continuation: _Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> _Handler:
        """Return the handler of this call: the service's own, or one that passes it on."""
        method = handler_call_details.method
        leader = self._node.leader
        came_from_a_node = any(key == PRINCIPAL_KEY for key, _ in handler_call_details.invocation_metadata or ())
        if came_from_a_node and method not in FORWARDED:
            return grpc.unary_unary_rpc_method_handler(_refuse)
        if method not in FORWARDED or self._node.leads or came_from_a_node or leader in {"", self._address}:
            return await continuation(handler_call_details)
        channel = await self._channel_to(leader)
        if method.endswith("/SignStream"):
            return grpc.stream_stream_rpc_method_handler(_stream(channel, method, self._door))
        return grpc.unary_unary_rpc_method_handler(_unary(channel, method, self._door))

    async def close(self) -> None:
        """Close the channel; calls that are being passed on are cut."""
        if self._channel is not None:
            await self._channel.close()

    async def _channel_to(self, leader: str) -> grpc.aio.Channel:
        if self._channel is None or leader != self._leader:
            old, self._leader = self._channel, leader
            self._channel = grpc.aio.secure_channel(target_of(leader), self._credentials, options=OPTIONS)
            if old is not None:
                await old.close()
        return self._channel


async def _refuse(_request: bytes, context: Context) -> bytes:
    """A node that lies may speak for others only where an honest one would: never to step down, drain or join."""
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, f"{PRINCIPAL_KEY}: no node passes this call on")


def _unary(channel: grpc.aio.Channel, method: str, door: Door) -> Callable[[bytes, Context], Awaitable[bytes]]:
    async def forwarded(request: bytes, context: Context) -> bytes:
        principal = await door.admit(context)
        passed_on: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        asked = _only(context.invocation_metadata(), MIN_POSITION_KEY)
        call = passed_on(request, timeout=context.time_remaining(), metadata=((PRINCIPAL_KEY, principal), *asked))
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            await _abort(context, error)
            raise
        context.set_trailing_metadata(_only(await call.trailing_metadata(), POSITION_KEY))
        return answer

    return forwarded


def _only(metadata: Iterable[tuple[str, str | bytes]] | None, wanted: str) -> tuple[tuple[str, str | bytes], ...]:
    return tuple((key, value) for key, value in metadata or () if key == wanted)


def _stream(
    channel: grpc.aio.Channel, method: str, door: Door
) -> Callable[[AsyncIterator[bytes], Context], AsyncIterator[bytes]]:
    async def forwarded(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        principal = await door.admit(context)
        passed_on: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(method)
        call = passed_on(timeout=context.time_remaining(), metadata=((PRINCIPAL_KEY, principal),))

        async def pump() -> None:
            async for message in requests:
                await call.write(message)
            await call.done_writing()

        pumping = asyncio.create_task(pump())
        try:
            async for answer in call:
                yield answer
        except grpc.aio.AioRpcError as error:
            await _abort(context, error)
        finally:
            pumping.cancel()
            call.cancel()
            await asyncio.gather(pumping, return_exceptions=True)

    return forwarded


async def _abort(context: Context, error: grpc.aio.AioRpcError) -> None:
    await context.abort(error.code(), error.details() or "", tuple(error.trailing_metadata() or ()))
