"""One mutual-TLS channel to each server, and unary calls with deadlines, retries and failover.

A call has a total deadline; within it every attempt has its own, shorter one, so that one lost packet or one hung
server does not use up the whole. All attempts send the same bytes, whichever server they go to (``route`` says which).
gRPC's own retries are off: they would not know that only our errors are safe to repeat.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeVar

import grpc

from keyvault.client.addresses import Addresses
from keyvault.client.credentials import Credentials
from keyvault.client.errors import error_of, fault_of_call
from keyvault.client.retry import Timing
from keyvault.client.route import Route
from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.positions import MIN_POSITION_KEY, POSITION_KEY, parse_position
from keyvault.v1 import audit_pb2_grpc, cluster_pb2_grpc, governance_pb2_grpc, keys_pb2_grpc, signing_pb2_grpc

Q = TypeVar("Q")
R = TypeVar("R")
Option = tuple[str, int | str]

_OPTIONS: tuple[Option, ...] = (
    ("grpc.max_receive_message_length", limits.GRPC_MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", limits.GRPC_MESSAGE_BYTES_MAX),
    ("grpc.max_metadata_size", limits.GRPC_METADATA_BYTES_MAX),
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),  # no instructions from DNS
    ("grpc.enable_http_proxy", 0),  # no detour because of an environment variable
    ("grpc.use_local_subchannel_pool", 1),  # one connection of our own
    ("grpc.keepalive_time_ms", limits.CLIENT_KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", limits.CLIENT_KEEPALIVE_ANSWER_MS),
    ("grpc.http2.max_pings_without_data", 0),
)
# gRPC's 1 s to 120 s would outlast our own retries after a restart of the server.
_ALONE: tuple[Option, ...] = (
    ("grpc.initial_reconnect_backoff_ms", limits.CLIENT_RETRY_MS_MIN),
    ("grpc.max_reconnect_backoff_ms", limits.CLIENT_RETRY_MS_MAX),
)
_ONE_OF_SEVERAL: tuple[Option, ...] = (
    ("grpc.initial_reconnect_backoff_ms", limits.CLIENT_RETRY_MS_MIN),
    ("grpc.max_reconnect_backoff_ms", limits.CLIENT_FAILOVER_PAUSE_MS_MAX),
    ("grpc.min_reconnect_backoff_ms", limits.CLIENT_CONNECT_MS),  # its name for the longest time to connect
)


class Endpoint:
    """One server: its channel, which connects with the first call, and the services behind it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.signing = signing_pb2_grpc.SigningServiceStub(channel)
        self.keys = keys_pb2_grpc.KeyServiceStub(channel)
        self.governance = governance_pb2_grpc.GovernanceServiceStub(channel)
        self.audit = audit_pb2_grpc.AuditServiceStub(channel)
        self.cluster = cluster_pb2_grpc.ClusterServiceStub(channel)


class Transport:
    """The channels of one client, from ``open`` to ``close``; in between they belong to one event loop."""

    def __init__(
        self,
        addresses: tuple[str, ...],
        credentials: Credentials,
        *,
        deadline_s: float,
        attempt_deadline_s: float,
        server_name: str | None,
        timing: Timing,
    ) -> None:
        if not 0 < attempt_deadline_s <= deadline_s:
            raise ValueError(f"attempt deadline {attempt_deadline_s} s must be positive and at most {deadline_s} s")
        self.deadline_s = deadline_s
        self.attempt_deadline_s = attempt_deadline_s
        self.timing = timing
        self.endpoints: tuple[Endpoint, ...] = ()
        """One for each address, in their order."""
        self._position = 0
        self._addresses = Addresses(addresses)
        self._credentials = credentials
        self._server_name = server_name

    async def __aenter__(self) -> Self:
        """Make the channels; each connects with its first call."""
        credentials = self._credentials.for_channel()
        name = (("grpc.ssl_target_name_override", self._server_name),) if self._server_name else ()
        options = (*_OPTIONS, *(_ONE_OF_SEVERAL if self.has_several else _ALONE), *name)
        self.endpoints = tuple(
            Endpoint(grpc.aio.secure_channel(address, credentials, options=options)) for address in self._addresses.all
        )
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Close the channels; calls in flight are cancelled."""
        for endpoint in self.endpoints:
            await endpoint.channel.close()

    @property
    def has_several(self) -> bool:
        """Whether there is another server to go to."""
        return len(self._addresses.all) > 1

    def route(self) -> Route:
        """Return the way of a new call through the addresses."""
        return Route(self._addresses, self.timing)

    async def call(
        self,
        method: Callable[[Endpoint], grpc.aio.UnaryUnaryMultiCallable[Q, R]],
        request: Q,
        *,
        request_id: str = "",
    ) -> R:
        """Return the answer to ``request``, asking again, and elsewhere, where that helps; raise KeyvaultRpcError."""
        deadline = self.timing.monotonic() + self.deadline_s
        route = self.route()
        while True:
            left = max(0.0, deadline - self.timing.monotonic())
            call = method(self.endpoints[route.at])(
                request, timeout=min(left, self.attempt_deadline_s), metadata=self._seen()
            )
            try:
                answer = await call
            except grpc.aio.AioRpcError as error:
                failed = error_of(fault_of_call(error, request_id=request_id))
            else:
                route.answered()
                await self._look_at(call)
                return answer
            await self.pause(route.next_or_raise(failed, deadline))

    def ask_first(self, address: str) -> None:
        """Begin the next call at this address of the list. Raises ValueError if it is not on it."""
        self._addresses.last = self._addresses.all.index(address)

    def saw(self, position: int) -> None:
        """Read nothing from now on from a server that has fewer entries of the ledger.

        Also with one address: a node that passes calls on to the leader is itself behind for a moment.
        """
        self._position = max(self._position, position)

    def _seen(self) -> tuple[tuple[str, str], ...]:
        return ((MIN_POSITION_KEY, str(self._position)),) if self._position else ()

    async def _look_at(self, call: grpc.aio.UnaryUnaryCall[Q, R]) -> None:
        """Remember how far in the ledger the answer was made; what cannot be read says nothing."""
        for key, value in await call.trailing_metadata() or ():
            if key == POSITION_KEY:
                with suppress(Malformed):
                    self.saw(parse_position(value))

    async def first(self, call: grpc.aio.UnaryStreamCall[Q, R]) -> object:
        """Return what a call says first. Raises TimeoutError if another server is to be asked because this one is mute.

        Servers say something at once. With one address we wait as long as the connection lives.
        """
        async with asyncio.timeout(self.attempt_deadline_s if self.has_several else None):
            return await call.read()

    async def pause(self, seconds: float) -> None:
        """Wait so long; 0: not even for other tasks."""
        if seconds:
            await self.timing.sleep(seconds)
