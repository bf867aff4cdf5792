"""One mutual-TLS channel, and unary calls with deadlines and retries.

A call has a total deadline; within it every attempt has its own, shorter one, so that one lost packet or one hung
server does not use up the whole. All attempts send the same bytes. gRPC's own retries are off: they would not know
that only our errors are safe to repeat.
"""

from types import TracebackType
from typing import Self, TypeVar

import grpc

from keyvault.client.credentials import Credentials
from keyvault.client.errors import error_of, fault_of_call
from keyvault.client.retry import Timing, pause_or_raise
from keyvault.core import limits
from keyvault.v1 import audit_pb2_grpc, governance_pb2_grpc, keys_pb2_grpc, signing_pb2_grpc

Q = TypeVar("Q")
R = TypeVar("R")

_OPTIONS: tuple[tuple[str, int | str], ...] = (
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
    # gRPC's 1 s to 120 s would outlast our own retries after a restart of the server.
    ("grpc.initial_reconnect_backoff_ms", limits.CLIENT_RETRY_MS_MIN),
    ("grpc.max_reconnect_backoff_ms", limits.CLIENT_RETRY_MS_MAX),
)


class Transport:
    """The channel of one client, from ``open`` to ``close``; in between it belongs to one event loop."""

    def __init__(
        self,
        target: str,
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
        self._target = target
        self._credentials = credentials
        self._server_name = server_name
        self._channel: grpc.aio.Channel | None = None

    async def __aenter__(self) -> Self:
        """Make the channel; it connects with the first call."""
        name = (("grpc.ssl_target_name_override", self._server_name),) if self._server_name else ()
        channel = grpc.aio.secure_channel(self._target, self._credentials.for_channel(), options=(*_OPTIONS, *name))
        self._channel = channel
        self.signing = signing_pb2_grpc.SigningServiceStub(channel)
        self.keys = keys_pb2_grpc.KeyServiceStub(channel)
        self.governance = governance_pb2_grpc.GovernanceServiceStub(channel)
        self.audit = audit_pb2_grpc.AuditServiceStub(channel)
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Close the channel; calls in flight are cancelled."""
        if self._channel is not None:
            await self._channel.close()

    async def call(self, method: grpc.aio.UnaryUnaryMultiCallable[Q, R], request: Q, *, request_id: str = "") -> R:
        """Return the answer to ``request``, asking again where that can help; raise KeyvaultRpcError."""
        deadline = self.timing.monotonic() + self.deadline_s
        failures = 0
        while True:
            left = max(0.0, deadline - self.timing.monotonic())
            try:
                return await method(request, timeout=min(left, self.attempt_deadline_s))
            except grpc.aio.AioRpcError as error:
                failures += 1
                failed = error_of(fault_of_call(error, request_id=request_id))
            await self.timing.sleep(pause_or_raise(failed, failures, deadline, self.timing))
