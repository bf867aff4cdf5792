"""How a call through the SDK can fail, and the table from gRPC status to these errors.

Two families: ``KeyvaultRpcError``, what the server said (or the network in its place), one class for each thing that a
caller may want to do about it; and ``UnusableAnswer``, what the SDK itself refuses to hand on, with
``SignatureMismatch`` as the one that should wake somebody.
"""

from dataclasses import dataclass, replace

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from keyvault.core.errors import KeyvaultError, Malformed
from keyvault.v1 import signing_pb2

DOMAIN = "keyvault"
"""ErrorInfo.domain: reasons of other domains are not ours."""
_WAITING = frozenset({"NEEDS_APPROVAL", "DELAYED"})
_DETAILS = "grpc-status-details-bin"
_CODES = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A failed call as it came. ``reason`` is from the server's closed list, empty if it gave none."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    rules: tuple[str, ...] = ()
    field: str = ""
    retry_after_ms: int = 0
    request_id: str = ""
    proposal: str = ""
    quorum: str = ""
    summary: str = ""
    leader: str = ""


class ClientError(KeyvaultError):
    """Root of all errors of the SDK."""


class KeyvaultRpcError(ClientError):
    """The call failed. ``request_id`` is what to send again where that is of use; empty for other calls than sign."""

    can_retry = False
    """Whether the same request may succeed a little later; the SDK has done that until its deadline already."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.reason or fault.code.name}: {fault.message}")
        self.fault = fault
        self.code = fault.code
        self.reason = fault.reason
        self.message = fault.message
        self.rules = fault.rules
        self.request_id = fault.request_id
        self.retry_after_ms = fault.retry_after_ms


class Denied(KeyvaultRpcError):
    """Policy, or the door for this role, said no. ``reason`` and ``rules`` say why; final for this request id."""


class LimitExceeded(KeyvaultRpcError):
    """A limit of the policy has no room (``rules`` names it); final for this request id."""


class PreconditionFailed(KeyvaultRpcError):
    """The key, the statement or the payload's own time does not fit the present state; ``reason`` says which."""


class NeedsApproval(PreconditionFailed):
    """Members must approve first. Not final: send the same request with the same id when they have.

    ``proposal`` is the resource name, ``quorum`` whom it needs, ``summary`` what is to be signed, in plain words.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.proposal = fault.proposal
        self.quorum = fault.quorum
        self.summary = fault.summary


class InvalidRequest(KeyvaultRpcError):
    """Not well formed; ``field`` says where. Nothing was recorded."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.field = fault.field


class RequestIdReused(KeyvaultRpcError):
    """The request id was used before with other bytes."""


class NotFoundError(KeyvaultRpcError):
    """There is no such key, enclave or entry."""


class Unauthenticated(KeyvaultRpcError):
    """The certificate has no usable identity."""


class Aborted(KeyvaultRpcError):
    """Somebody else changed what the call relied on: read again, then decide again."""


class Overloaded(KeyvaultRpcError):
    """A queue or gRPC itself is full; not done."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.can_retry = fault.retry_after_ms > 0


class Unavailable(KeyvaultRpcError):
    """Not reached or not done until the deadline. Ask again with the same request id."""

    can_retry = True


class NotLeader(Unavailable):
    """No server that was asked leads the enclave. ``leader`` is ``host:port`` of the one that the last one named."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.leader = fault.leader


class DeadlineExceeded(KeyvaultRpcError):
    """No answer until the deadline; the outcome is unknown. Ask again with the same request id to learn it."""

    can_retry = True


class UnusableAnswer(ClientError):
    """The answer is not one that this SDK understands. ``request_id`` is empty for other calls than sign."""

    def __init__(self, problem: str, *, request_id: str = "") -> None:
        super().__init__(f"request {request_id}: {problem}" if request_id else problem)
        self.request_id = request_id


class SignatureMismatch(UnusableAnswer):
    """What came back is not what the expected key signs for what was sent. A security event; never retried."""


class OtherLog(SignatureMismatch):
    """The server's ledger has another log key than the one that is expected: one of the two is not the right one."""


_CLASSES: dict[grpc.StatusCode, type[KeyvaultRpcError]] = {
    grpc.StatusCode.PERMISSION_DENIED: Denied,
    grpc.StatusCode.FAILED_PRECONDITION: PreconditionFailed,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.ALREADY_EXISTS: RequestIdReused,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.ABORTED: Aborted,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    # gRPC's word for a call that reaches a server after it began to stop. Our own cancelling is asyncio's.
    grpc.StatusCode.CANCELLED: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
}


SILENT = Fault(code=grpc.StatusCode.DEADLINE_EXCEEDED, message="the server did not answer for the attempt deadline")
"""A call on which nothing came for too long."""


def error_of(fault: Fault) -> KeyvaultRpcError:
    """Return the error for this fault."""
    if fault.code is grpc.StatusCode.RESOURCE_EXHAUSTED and fault.reason == "LIMIT_EXCEEDED":
        return LimitExceeded(fault)
    if fault.code is grpc.StatusCode.FAILED_PRECONDITION and fault.reason in _WAITING and fault.proposal:
        return NeedsApproval(fault)
    if fault.code is grpc.StatusCode.UNAVAILABLE and fault.reason == "NOT_LEADER":
        return NotLeader(fault)
    return _CLASSES.get(fault.code, KeyvaultRpcError)(fault)


def invalid(error: Malformed, *, request_id: str = "") -> InvalidRequest:
    """Return the error for a request that is not even sent."""
    return InvalidRequest(
        Fault(
            code=grpc.StatusCode.INVALID_ARGUMENT,
            message=str(error),
            reason="MALFORMED",
            field=error.field,
            request_id=request_id,
        )
    )


def fault_of_call(error: grpc.aio.AioRpcError, *, request_id: str = "") -> Fault:
    """Return what a call's status and its google.rpc details say."""
    fault = Fault(code=error.code(), message=error.details() or "", request_id=request_id)
    for name, value in error.trailing_metadata() or ():
        if name == _DETAILS and isinstance(value, bytes):
            return _with_details(fault, value)
    return fault


def fault_of_item(error: signing_pb2.SignError, request_id: str) -> Fault:
    """Return what an item of a stream says."""
    return Fault(
        code=_CODES.get(error.code, grpc.StatusCode.UNKNOWN),
        message=error.message,
        reason=error.reason,
        rules=tuple(error.rules),
        retry_after_ms=max(0, error.retry_after_ms),
        request_id=request_id,
        proposal=error.proposal,
        quorum=error.quorum,
        summary=error.summary,
        leader=error.leader,
    )


def _with_details(fault: Fault, data: bytes) -> Fault:
    """Return the fault with its details; details that cannot be read leave it as it is: the code stands anyway."""
    info, retry, request = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
    try:
        for detail in status_pb2.Status.FromString(data).details:
            for message in (info, retry, request):
                detail.Unpack(message)
    except DecodeError:
        return fault
    rules = info.metadata["rules"].split(",") if "rules" in info.metadata else ()
    return replace(
        fault,
        reason=info.reason if info.domain == DOMAIN else "",
        rules=tuple(rules),
        retry_after_ms=max(0, retry.retry_delay.ToMilliseconds()),  # less than none would be a spin
        proposal=info.metadata.get("proposal", ""),
        quorum=info.metadata.get("quorum", ""),
        summary=info.metadata.get("summary", ""),
        leader=info.metadata.get("leader", ""),
        field=request.field_violations[0].field if request.field_violations else "",
    )
