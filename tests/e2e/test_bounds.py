"""I9: everything has a bound, and whoever meets it is told which."""

import asyncio
import signal

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from keyvault.core import limits
from keyvault.v1 import signing_pb2, signing_pb2_grpc, types_pb2
from tests.deployment import Deployment, start_server, stop_server
from tests.e2e import desk
from tests.e2e.processes import signal_all, workers

TOO_MANY = limits.CALLS_MAX - 100
"""Requests at once, more than the queue and two hung workers can hold, and more than gRPC looks at by default."""


def transaction(size: int) -> signing_pb2.SignRequest:
    return desk.request("big", types_pb2.Payload(evm_transaction=bytes(size)), "eth")


@pytest.mark.parametrize(
    ("size", "code"),
    [
        (limits.PAYLOAD_BYTES_MAX + 1, grpc.StatusCode.INVALID_ARGUMENT),
        (limits.GRPC_MESSAGE_BYTES_MAX, grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
)
async def test_too_long(shared: Deployment, size: int, code: grpc.StatusCode) -> None:
    """I9: a payload that no entry could hold is INVALID_ARGUMENT, a message beyond gRPC's bound RESOURCE_EXHAUSTED."""
    before = await desk.ledger_size(shared)
    own = desk.credentials(shared, "bot-demo").for_channel()
    async with grpc.aio.secure_channel(f"127.0.0.1:{shared.port}", own) as channel:  # the SDK has a bound of its own
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await signing_pb2_grpc.SigningServiceStub(channel).Sign(transaction(size), timeout=20)
        assert caught.value.code() is code
        if code is grpc.StatusCode.INVALID_ARGUMENT:
            assert str(limits.PAYLOAD_BYTES_MAX) in (caught.value.details() or "")
    assert await desk.ledger_size(shared) == before


@pytest.mark.parametrize("count", [0, limits.STREAM_BATCH_MAX + 1])
async def test_too_many_in_one_message(shared: Deployment, count: int) -> None:
    """I9: a stream message with no request or more than STREAM_BATCH_MAX ends the stream; none of it is looked at."""
    before = await desk.ledger_size(shared)
    async with desk.bot(shared) as bot:
        call = bot.transport.endpoints[0].signing.SignStream(timeout=20)
        requests = [desk.digest_request(f"many-{number}") for number in range(count)]
        await call.write(signing_pb2.SignStreamRequest(requests=requests))
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert await desk.ledger_size(shared) == before


async def test_queue_is_bounded(own: Deployment) -> None:
    """I9: with the token held, requests beyond the queue are refused at once with RetryInfo; the others are served."""
    text = own.config.read_text()
    own.config.write_text(text.replace("deadline_ms = 3000", "deadline_ms = 30000"))  # nobody is replaced here
    await asyncio.to_thread(start_server, own)
    held = workers(own)
    signal_all(held, signal.SIGSTOP)
    requests = [desk.digest_request(f"queue-{number}") for number in range(TOO_MANY)]
    refused: list[grpc.aio.AioRpcError] = []
    signed: list[signing_pb2.SignResponse] = []
    async with desk.bot(own) as bot:

        async def one(asked: signing_pb2.SignRequest) -> None:
            try:
                signed.append(await bot.transport.endpoints[0].signing.Sign(asked, timeout=60))
            except grpc.aio.AioRpcError as error:
                refused.append(error)
                if len(refused) >= TOO_MANY - limits.TOKEN_QUEUE_MAX - 2 * limits.TOKEN_BATCH_MAX:
                    signal_all(held, signal.SIGCONT)

        await asyncio.gather(*(one(each) for each in requests))
    for error in refused:
        assert_overloaded(error)
    assert len(signed) >= limits.PRINCIPAL_IN_FLIGHT_MAX
    assert len(signed) + len(refused) == TOO_MANY
    assert await asyncio.to_thread(stop_server, own) == 0
    facts = desk.facts_by_id(await asyncio.to_thread(desk.audited, own))
    assert set(facts) == {response.request_id for response in signed}  # who was refused left no trace


def assert_overloaded(error: grpc.aio.AioRpcError) -> None:
    """The status names the reason and when to come back."""
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    data = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    assert isinstance(data, bytes)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status_pb2.Status.FromString(data).details:
        detail.Unpack(info)
        detail.Unpack(retry)
    assert info.reason == "OVERLOADED"
    assert retry.retry_delay.ToMilliseconds() > 0
