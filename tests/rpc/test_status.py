"""The one table from errors to gRPC status."""

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from keyvault.core import errors, limits
from keyvault.core.errors import Reason
from keyvault.rpc.status import Failure, failure_of, refusal


def _details(failure: Failure) -> list[str]:
    ((_, packed),) = failure.trailing_metadata()
    return [detail.TypeName().rpartition(".")[2] for detail in status_pb2.Status.FromString(packed).details]


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_status(reason: Reason) -> None:
    """No refusal is OK, UNKNOWN or INTERNAL to its caller, and its reason travels in ErrorInfo."""
    failure = refusal(reason, "because", ("rule",))
    assert failure.code not in {grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL}
    ((_, packed),) = failure.trailing_metadata()
    info = error_details_pb2.ErrorInfo()
    assert status_pb2.Status.FromString(packed).details[0].Unpack(info)
    assert (info.reason, info.domain, info.metadata["rules"]) == (reason.value, "keyvault", "rule")


@pytest.mark.parametrize(
    ("error", "code", "details"),
    [
        (errors.Malformed("key", "is wrong"), grpc.StatusCode.INVALID_ARGUMENT, ["ErrorInfo", "BadRequest"]),
        (errors.RequestIdReused("again"), grpc.StatusCode.ALREADY_EXISTS, ["ErrorInfo"]),
        (errors.NotFound("nothing"), grpc.StatusCode.NOT_FOUND, ["ErrorInfo"]),
        (errors.Overloaded("full"), grpc.StatusCode.RESOURCE_EXHAUSTED, ["ErrorInfo", "RetryInfo"]),
        (errors.DeadlinePassed("late"), grpc.StatusCode.UNAVAILABLE, ["ErrorInfo", "RetryInfo"]),
        (errors.NotLeader("b.example:7443"), grpc.StatusCode.UNAVAILABLE, ["ErrorInfo", "RetryInfo"]),
        (errors.NotLeader(), grpc.StatusCode.UNAVAILABLE, ["ErrorInfo", "RetryInfo"]),
        (errors.Unavailable("later"), grpc.StatusCode.UNAVAILABLE, ["ErrorInfo", "RetryInfo"]),
        (
            errors.Refused(Reason.KEY_NOT_ACTIVE, "off"),
            grpc.StatusCode.FAILED_PRECONDITION,
            ["ErrorInfo", "PreconditionFailure"],
        ),
        (errors.Refused(Reason.LIMIT_EXCEEDED, "no room"), grpc.StatusCode.RESOURCE_EXHAUSTED, ["ErrorInfo"]),
    ],
)
def test_families_have_their_status(error: errors.KeyvaultError, code: grpc.StatusCode, details: list[str]) -> None:
    """Each family has one status and the details that a client acts on."""
    failure = failure_of(error)
    assert failure.code is code
    assert failure.message
    assert _details(failure) == details


@pytest.mark.parametrize("leader", ["b.example:7443", ""])
def test_who_does_not_lead_says_who_does(leader: str) -> None:
    """NOT_LEADER carries the leader's address in a status and in an item of a stream, and none where it is unknown."""
    failure = failure_of(errors.NotLeader(leader))
    ((_, packed),) = failure.trailing_metadata()
    info = error_details_pb2.ErrorInfo()
    assert status_pb2.Status.FromString(packed).details[0].Unpack(info)
    assert (info.reason, dict(info.metadata)) == ("NOT_LEADER", {"leader": leader} if leader else {})
    item = failure.to_stream()
    assert (item.reason, item.leader, item.retry_after_ms) == ("NOT_LEADER", leader, 100)


def test_what_is_broken_inside_stays_inside() -> None:
    """A Broken error's text does not reach the caller."""
    failure = failure_of(errors.Corrupt("entry 7 in some file of ours"))
    assert failure.code is grpc.StatusCode.INTERNAL
    assert "entry 7" not in failure.message


def test_what_nobody_foresaw_stays_inside() -> None:
    """An error of no family is INTERNAL, and its text does not reach the caller."""
    failure = failure_of(ValueError("a secret detail"))
    assert failure.code is grpc.StatusCode.INTERNAL
    assert "secret" not in failure.message


def test_many_rules_fit_into_the_metadata() -> None:
    """A refusal by hundreds of rules names some of them and their number: clients take 16 KB of metadata at most."""
    failure = refusal(Reason.DENIED_BY_RULE, "because", tuple(f"{n:063}" for n in range(500)))
    ((_, packed),) = failure.trailing_metadata()
    assert len(packed) < 4_096
    assert len(failure.to_stream().rules) == limits.RULES_TOLD_MAX


def test_longest_question_fits_into_the_metadata() -> None:
    """A request that many must approve, with long words beyond ASCII, stays below 8 KB of trailing metadata."""
    needed = errors.ApprovalNeeded(
        Reason.NEEDS_APPROVAL,
        "e" * 100_000,
        proposal=f"enclaves/{'h' * 63}/proposals/{'0' * 64}",
        quorum="9 of risk; and " * 1_000,
        summary="\N{EURO SIGN}" * 100_000,
    )
    failure = failure_of(needed)
    assert (failure.code, failure.proposal) == (grpc.StatusCode.FAILED_PRECONDITION, needed.proposal)
    ((name, packed),) = failure.trailing_metadata()
    on_the_wire = len(name) + len(packed) * 4 // 3 + len(failure.message)  # gRPC writes binary metadata in base64
    assert on_the_wire < 8 * 1_024
    item = failure.to_stream()
    assert (item.reason, item.proposal) == ("NEEDS_APPROVAL", needed.proposal)
    assert needed.quorum.startswith(item.quorum.removesuffix("..."))
    assert needed.summary.startswith(item.summary.removesuffix("..."))
    assert item.quorum.endswith("...")
    assert item.summary.endswith("...")
