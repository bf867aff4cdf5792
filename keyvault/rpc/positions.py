"""Answers say how far in the ledger they were made, and a call may ask for an answer from a certain position on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc

from keyvault.core import limits
from keyvault.core.errors import Malformed, Unavailable
from keyvault.core.positions import MIN_POSITION_KEY, POSITION_KEY, parse_position
from keyvault.engine.served import Served
from keyvault.rpc.auth import Context
from keyvault.rpc.status import abort, failure_of

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
_Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]]"

_SIGNING = "/keyvault.v1.SigningService/Sign"
"""Its answer has the very index; and nobody waits before a signature."""


class Positions(grpc.aio.ServerInterceptor):
    """Stands before the unary calls of a node."""

    def __init__(self, enclave: Served) -> None:
        self._enclave = enclave

    async def intercept_service(
        self, continuation: _Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> _Handler:
        """Return the handler, with a look at positions before and after."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or handler.unary_unary is None or method == _SIGNING:
            return handler
        if not method.startswith("/keyvault.v1."):
            return handler
        inner: Callable[[object, Context], Awaitable[object]] = handler.unary_unary  # type: ignore[assignment]  # the stubs know functions of the blocking server only

        async def positioned(request: object, context: Context) -> object:
            try:
                await self._reached(context)
            except (Malformed, Unavailable) as error:
                await abort(context, failure_of(error))
            answer = await inner(request, context)
            context.set_trailing_metadata(((POSITION_KEY, str(self._enclave.size)),))
            return answer

        return grpc.unary_unary_rpc_method_handler(
            positioned,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    async def _reached(self, context: Context) -> None:
        """Return when the ledger is as long here as the call asks for. Raises Malformed, Unavailable."""
        asked = [value for key, value in context.invocation_metadata() or () if key == MIN_POSITION_KEY]
        if not asked:
            return
        least = parse_position(asked[-1])
        try:
            async with asyncio.timeout(limits.POSITION_WAIT_MS / 1000):
                while self._enclave.size < least:
                    await self._enclave.next_change()
        except TimeoutError:
            raise Unavailable(
                f"this node has {self._enclave.size} entries of the ledger, and {least} are asked for: ask another one"
            ) from None
