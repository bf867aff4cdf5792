import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from keyvault import client as sdk
from keyvault.client.errors import Fault, error_of, fault_of_call, fault_of_item
from keyvault.client.retry import pause_s
from keyvault.core import limits
from keyvault.core.errors import (
    KeyvaultError,
    Malformed,
    NotLeader,
    Overloaded,
    Reason,
    Refused,
    RequestIdReused,
    Unavailable,
)
from keyvault.rpc.status import Failure, failure_of, refusal
from tests.client.scripted import DENIED, LIMITED, OVERLOADED, UNAVAILABLE, Hang, ScriptedServer, Time

DIGEST = b"d" * 32


async def test_same_request_until_it_is_answered(server: ScriptedServer, time: Time) -> None:
    """After UNAVAILABLE twice the third attempt succeeds; all three carried the same bytes, request id included."""
    server.script.extend((UNAVAILABLE, UNAVAILABLE))
    async with server.client(time=time) as client:
        signed = await client.sign_digest("eth", DIGEST)
    assert len(server.requests) == 3
    assert len(set(server.requests)) == 1
    assert signed.request_id.encode() in server.requests[0]
    assert time.slept == [0.15, 0.2]


async def test_lost_reply(server: ScriptedServer, time: Time) -> None:
    """A request whose answer is lost is asked again after the attempt's own deadline, with the same bytes."""
    server.script.append(Hang())
    async with server.client(time=time, attempt_deadline_s=0.2) as client:
        await client.sign_digest("eth", DIGEST, request_id="order-1")
    assert len(server.requests) == 2
    assert len(set(server.requests)) == 1


async def test_overloaded_server_says_when(server: ScriptedServer, time: Time) -> None:
    """A full queue is asked again no sooner than it asks for."""
    server.script.append(OVERLOADED)
    async with server.client(time=time) as client:
        await client.sign_digest("eth", DIGEST)
    assert len(server.requests) == 2
    assert time.slept == [1.55]


async def test_total_deadline(server: ScriptedServer, time: Time) -> None:
    """When the next attempt would be too late, the last error is raised with the request id to ask again with."""
    server.script.extend([UNAVAILABLE] * 50)
    async with server.client(time=time, deadline_s=2.0) as client:
        with pytest.raises(sdk.Unavailable) as caught:
            await client.sign_digest("eth", DIGEST, request_id="order-1")
    assert caught.value.request_id == "order-1"
    assert 1_000 < time.now < 1_002
    assert len(server.requests) == len(time.slept) + 1


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (DENIED, sdk.Denied),
        (LIMITED, sdk.LimitExceeded),
        (refusal(Reason.KEY_NOT_ACTIVE, "disabled", ()), sdk.PreconditionFailed),
        (refusal(Reason.KEY_NOT_FOUND, "no such key", ()), sdk.NotFoundError),
        (failure_of(RequestIdReused("other bytes")), sdk.RequestIdReused),
        (failure_of(KeyvaultError("inside")), sdk.KeyvaultRpcError),
    ],
)
async def test_everything_else_is_final(
    server: ScriptedServer, time: Time, failure: object, kind: type[sdk.KeyvaultRpcError]
) -> None:
    """A no is raised at once, as its own class, with reason, rules and text as the server gave them."""
    server.script.append(failure)  # type: ignore[arg-type]  # the parameters are failures
    async with server.client(time=time) as client:
        with pytest.raises(kind) as caught:
            await client.sign_digest("eth", DIGEST)
    error, said = caught.value, server_said(failure)
    assert (type(error), error.code, error.reason, error.message, error.rules) == (kind, *said)
    assert (len(server.requests), time.slept) == (1, [])


def server_said(failure: object) -> tuple[object, ...]:
    return tuple(getattr(failure, name) for name in ("code", "reason", "message", "rules"))


async def test_malformed_payload_is_not_sent(server: ScriptedServer) -> None:
    """A payload, a key name or a request id that is not well formed is refused here, with the field."""
    async with server.client() as client:
        with pytest.raises(sdk.InvalidRequest) as caught:
            await client.sign_evm_transaction("eth", b"\x01\xc0")
        assert (caught.value.field, caught.value.reason) == ("evm_transaction", "MALFORMED")
        for key, request_id in (("eth/../other", "ok"), ("Eth", "ok"), ("eth", "a b"), ("eth", "")):
            with pytest.raises(sdk.InvalidRequest):
                await client.sign_digest(key, DIGEST, request_id=request_id)
        with pytest.raises(sdk.InvalidRequest):
            await client.sign_typed_data("eth", {"types": b"bytes are no JSON"})
    assert server.requests == []


async def test_unreachable_server(server: ScriptedServer, time: Time) -> None:
    """A server that is not there is asked until the deadline, then Unavailable is raised."""
    server.port = 1
    async with server.client(time=time) as client:
        with pytest.raises(sdk.Unavailable):
            await client.sign_digest("eth", DIGEST)
    assert time.slept


@given(st.integers(1, 10_000), st.integers(0, 100_000), st.floats(0, 1))
def test_pauses_are_bounded(failures: int, retry_after_ms: int, chance: float) -> None:
    """A pause is never shorter than what the server asks for, and never longer than that plus the bound."""
    fault = Fault(code=grpc.StatusCode.UNAVAILABLE, message="", retry_after_ms=retry_after_ms)
    pause = pause_s(error_of(fault), failures, lambda low, high: low + chance * (high - low))
    assert retry_after_ms / 1000 <= pause <= (retry_after_ms + limits.CLIENT_RETRY_MS_MAX) / 1000


@pytest.mark.parametrize(
    ("error", "kind", "can_retry"),
    [
        (Malformed("payload", "bad"), sdk.InvalidRequest, False),
        (Refused(Reason.LIMIT_EXCEEDED, "no room", ("hourly",)), sdk.LimitExceeded, False),
        (Overloaded("full", retry_after_ms=50), sdk.Overloaded, True),
        (Unavailable("later"), sdk.Unavailable, True),
        (NotLeader("b.example:7443"), sdk.NotLeader, True),
    ],
)
def test_every_detail_is_read(error: KeyvaultError, kind: type[sdk.KeyvaultRpcError], *, can_retry: bool) -> None:
    """What the server writes into a status, the client reads out of it again."""
    failure = failure_of(error)
    metadata = grpc.aio.Metadata(*failure.trailing_metadata())
    read = error_of(fault_of_call(grpc.aio.AioRpcError(failure.code, trailing_metadata=metadata, details="x")))
    assert (type(read), read.can_retry) == (kind, can_retry)
    assert (read.reason, read.rules, read.fault.field) == (failure.reason, failure.rules, failure.field)
    assert (read.retry_after_ms, read.fault.leader) == (failure.retry_after_ms, failure.leader)
    item = error_of(fault_of_item(failure.to_stream(), "order-1"))
    assert (type(item), item.reason, item.fault.leader) == (kind, failure.reason, failure.leader)


def test_only_what_can_be_repeated_leads_elsewhere() -> None:
    """A refusal stays one, whatever reason and leader its server writes into it."""
    code = grpc.StatusCode.PERMISSION_DENIED
    error = error_of(Fault(code=code, message="", reason="NOT_LEADER", leader="b.example:7443"))
    assert (type(error), error.can_retry) == (sdk.Denied, False)


def test_pauses_are_not_negative() -> None:
    """A server that asks for less than no time does not make its clients spin."""
    failure = Failure(code=grpc.StatusCode.UNAVAILABLE, reason="UNAVAILABLE", message="", retry_after_ms=-60_000)
    metadata = grpc.aio.Metadata(*failure.trailing_metadata())
    call = fault_of_call(grpc.aio.AioRpcError(failure.code, trailing_metadata=metadata, details="x"))
    assert (call.reason, call.retry_after_ms) == ("UNAVAILABLE", 0)
    assert fault_of_item(failure.to_stream(), "order-1").retry_after_ms == 0


def test_details_that_cannot_be_read() -> None:
    """With garbage or another domain's reason in the details the code stands alone; without RetryInfo no retry."""
    foreign = status_pb2.Status()
    foreign.details.add().Pack(error_details_pb2.ErrorInfo(reason="LIMIT_EXCEEDED", domain="elsewhere.example"))
    for details in (b"\xff\xff garbage", foreign.SerializeToString()):
        metadata = grpc.aio.Metadata(("grpc-status-details-bin", details))
        code = grpc.StatusCode.RESOURCE_EXHAUSTED
        read = error_of(fault_of_call(grpc.aio.AioRpcError(code, trailing_metadata=metadata, details="too many")))
        assert (type(read), read.reason, read.can_retry) == (sdk.Overloaded, "", False)
