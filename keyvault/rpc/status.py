"""The one table from error families to gRPC status, with google.rpc details."""

from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from keyvault.core import limits
from keyvault.core.errors import (
    ApprovalNeeded,
    Broken,
    Conflict,
    DeadlinePassed,
    KeyvaultError,
    Malformed,
    NotFound,
    NotLeader,
    Overloaded,
    Reason,
    Refused,
    RequestIdReused,
    Unavailable,
)
from keyvault.v1 import signing_pb2

DOMAIN = "keyvault"
log = structlog.get_logger("keyvault.rpc")

_BY_REASON = {
    Reason.NO_RULE_ALLOWS: grpc.StatusCode.PERMISSION_DENIED,
    Reason.DENIED_BY_RULE: grpc.StatusCode.PERMISSION_DENIED,
    Reason.POLICY_ERROR: grpc.StatusCode.PERMISSION_DENIED,
    Reason.NOT_AUTHORIZED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.LIMIT_EXCEEDED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.KEY_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.KEY_NOT_ACTIVE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.ALGORITHM_MISMATCH: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.TIMESTAMP_OUT_OF_RANGE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.STATEMENT_EXPIRED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.STATEMENT_MISMATCH: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.STATE_MISMATCH: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.FROZEN: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.NEEDS_APPROVAL: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.DELAYED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.VETOED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.PROPOSAL_EXPIRED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.POLICY_CHANGED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.ALREADY_DECIDED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.QUARANTINED: grpc.StatusCode.FAILED_PRECONDITION,
}

_BY_FAMILY: tuple[tuple[type[KeyvaultError], grpc.StatusCode, str], ...] = (
    # Most special first: the first match counts.
    (Malformed, grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED"),
    (RequestIdReused, grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED"),
    (Conflict, grpc.StatusCode.ABORTED, "CONFLICT"),
    (NotFound, grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
    (Overloaded, grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"),
    # Not DEADLINE_EXCEEDED, which means that nobody knows: here it is known that nothing was signed.
    (DeadlinePassed, grpc.StatusCode.UNAVAILABLE, "DEADLINE_PASSED"),
    (NotLeader, grpc.StatusCode.UNAVAILABLE, "NOT_LEADER"),
    (Unavailable, grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
    (KeyvaultError, grpc.StatusCode.INTERNAL, "INTERNAL"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error as the caller will see it. ``reason`` is from the closed list; ``retry_after_ms`` 0: useless.

    ``proposal`` (a resource name), ``quorum`` and ``summary`` stand where members must approve first, ``leader``
    (``host:port``) where another instance is to be asked and is known.
    """

    code: grpc.StatusCode
    reason: str
    message: str
    retry_after_ms: int = 0
    rules: tuple[str, ...] = ()
    field: str = ""
    proposal: str = ""
    quorum: str = ""
    summary: str = ""
    leader: str = ""

    def to_stream(self) -> signing_pb2.SignError:
        """Return it as an item of a stream."""
        return signing_pb2.SignError(
            code=self.code.value[0],
            message=self.message,
            reason=self.reason,
            retry_after_ms=self.retry_after_ms,
            rules=self.rules[: limits.RULES_TOLD_MAX],
            proposal=self.proposal,
            quorum=self.quorum,
            summary=self.summary,
            leader=self.leader,
        )

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        """Return the google.rpc.Status of a unary call."""
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        details = error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN)
        if self.rules:
            details.metadata["rules"] = ",".join(self.rules[: limits.RULES_TOLD_MAX])
            details.metadata["rule_count"] = str(len(self.rules))
        if self.proposal:
            details.metadata["proposal"] = self.proposal
            details.metadata["quorum"] = self.quorum
            details.metadata["summary"] = self.summary
        if self.leader:
            details.metadata["leader"] = self.leader
        status.details.add().Pack(details)
        if self.retry_after_ms:
            delay = Duration()
            delay.FromMilliseconds(self.retry_after_ms)
            status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        if self.field:
            violation = error_details_pb2.BadRequest.FieldViolation(field=self.field, description=self.message)
            status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
        if self.code is grpc.StatusCode.FAILED_PRECONDITION:
            violated = error_details_pb2.PreconditionFailure.Violation(type=self.reason, description=self.message)
            status.details.add().Pack(error_details_pb2.PreconditionFailure(violations=[violated]))
        return (("grpc-status-details-bin", status.SerializeToString()),)


def failure_of(error: Exception) -> Failure:
    """Return what the caller sees of this error. Broken, and what nobody foresaw, say nothing about the inside."""
    if not isinstance(error, KeyvaultError):
        log.error("unforeseen", error=repr(error), exc_info=error)
        return failure_of(Broken("unforeseen"))
    if isinstance(error, ApprovalNeeded):
        return approval_needed(error)
    if isinstance(error, Refused):
        return refusal(error.reason, error.explanation, error.rules)
    code, reason = next((code, reason) for family, code, reason in _BY_FAMILY if isinstance(error, family))
    if code is grpc.StatusCode.INTERNAL:
        return Failure(code=code, reason=reason, message="internal error; the operator's log has the details")
    return Failure(
        code=code,
        reason=reason,
        message=str(error),
        retry_after_ms=error.retry_after_ms if isinstance(error, Unavailable) else 0,
        field=error.field if isinstance(error, Malformed) else "",
        leader=error.leader if isinstance(error, NotLeader) else "",
    )


def approval_needed(error: ApprovalNeeded) -> Failure:
    """Return what the caller sees when members must approve first. Texts are cut so that gRPC carries them."""
    return Failure(
        code=_BY_REASON[error.reason],
        reason=error.reason.value,
        message=cut(error.explanation, limits.EXPLANATION_CHARS_MAX),
        proposal=error.proposal,
        quorum=cut(error.quorum, limits.APPROVAL_QUORUM_BYTES_MAX),
        summary=cut(error.summary, limits.APPROVAL_SUMMARY_BYTES_MAX),
    )


def refusal(reason: Reason, explanation: str, rules: tuple[str, ...]) -> Failure:
    """Return what the caller sees of a refusal."""
    return Failure(code=_BY_REASON[reason], reason=reason.value, message=explanation, rules=rules)


def cut(text: str, size: int) -> str:
    """Return the text, or its beginning and three dots, in at most so many bytes of UTF-8."""
    data = text.encode()
    if len(data) <= size:
        return text
    return data[: size - 3].decode(errors="ignore") + "..."


async def abort(context: "grpc.aio.ServicerContext[Any, Any]", failure: Failure) -> None:
    """End the call with this failure; does not return."""
    await context.abort(failure.code, failure.message, failure.trailing_metadata())
