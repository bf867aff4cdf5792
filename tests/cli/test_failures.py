import json

import click
import grpc
import pytest

from keyvault.cli.exits import JSON_MODE, REQUEST_ID, AuditProblem, AuthenticationFailed, Exit, UsageProblem
from keyvault.cli.failures import exit_of, report
from keyvault.client.errors import Fault, OtherLog, SignatureMismatch, UnusableAnswer, error_of
from keyvault.config import ConfigError
from keyvault.core.errors import (
    Conflict,
    Corrupt,
    Malformed,
    NotFound,
    OutcomeUnknown,
    Reason,
    Refused,
    RequestIdReused,
    Unavailable,
)


def _rpc(code: grpc.StatusCode, message: str = "no", reason: str = "") -> Exception:
    return error_of(Fault(code=code, message=message, reason=reason, request_id="r-1"))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageProblem("x"), Exit.USAGE),
        (AuditProblem("x"), Exit.REFUSED),
        (AuthenticationFailed("x"), Exit.AUTHENTICATION),
        (ConfigError("x"), Exit.USAGE),
        (Malformed("field", "x"), Exit.USAGE),
        (Refused(Reason.NO_RULE_ALLOWS, "x"), Exit.REFUSED),
        (Refused(Reason.KEY_NOT_FOUND, "x"), Exit.NOT_FOUND),
        (Conflict("x"), Exit.REFUSED),
        (RequestIdReused("x"), Exit.REFUSED),
        (NotFound("x"), Exit.NOT_FOUND),
        (Unavailable("x"), Exit.UNAVAILABLE),
        (Corrupt("x"), Exit.REFUSED),
        (OutcomeUnknown("x"), Exit.INTERNAL),
        (FileNotFoundError(2, "No such file", "f"), Exit.NOT_FOUND),
        (PermissionError(13, "denied", "f"), Exit.USAGE),
        (OSError(5, "I/O error"), Exit.INTERNAL),
        (ValueError("x"), Exit.INTERNAL),
        (_rpc(grpc.StatusCode.PERMISSION_DENIED), Exit.REFUSED),
        (_rpc(grpc.StatusCode.FAILED_PRECONDITION), Exit.REFUSED),
        (_rpc(grpc.StatusCode.RESOURCE_EXHAUSTED, reason="LIMIT_EXCEEDED"), Exit.REFUSED),
        (_rpc(grpc.StatusCode.RESOURCE_EXHAUSTED, reason="OVERLOADED"), Exit.UNAVAILABLE),
        (_rpc(grpc.StatusCode.INVALID_ARGUMENT), Exit.USAGE),
        (_rpc(grpc.StatusCode.ALREADY_EXISTS), Exit.USAGE),
        (_rpc(grpc.StatusCode.NOT_FOUND), Exit.NOT_FOUND),
        (_rpc(grpc.StatusCode.UNAVAILABLE, "connection refused"), Exit.UNAVAILABLE),
        (_rpc(grpc.StatusCode.UNAVAILABLE, "Tls handshake failed"), Exit.AUTHENTICATION),
        (_rpc(grpc.StatusCode.DEADLINE_EXCEEDED), Exit.UNAVAILABLE),
        (_rpc(grpc.StatusCode.UNAUTHENTICATED), Exit.AUTHENTICATION),
        (_rpc(grpc.StatusCode.INTERNAL), Exit.INTERNAL),
        (SignatureMismatch("x"), Exit.UNVERIFIED),
        (OtherLog("x"), Exit.UNVERIFIED),
        (UnusableAnswer("x"), Exit.INTERNAL),
    ],
    ids=repr,
)
def test_every_kind_of_error_has_its_exit_code(error: Exception, code: Exit) -> None:
    """The table of exit codes holds for what the core, the client and the operating system raise."""
    assert exit_of(error) is code


def test_an_outage_names_the_request_id_to_ask_again_with(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever does not know the outcome is told the id under which the answer is the same for ever."""
    context = click.Context(click.Command("sign"))
    context.meta[REQUEST_ID] = "r-1"
    code = report(_rpc(grpc.StatusCode.DEADLINE_EXCEEDED, "too late"), context, debug=False)
    assert code is Exit.UNAVAILABLE
    assert capsys.readouterr().err.splitlines() == [
        "Unavailable: too late",
        "Ask again with the same request id: --request-id r-1",
    ]


def test_json_errors_are_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json an error is one JSON object on stderr, and stdout stays empty."""
    context = click.Context(click.Command("sign"))
    context.meta[JSON_MODE] = True
    report(Refused(Reason.DENIED_BY_RULE, "denied by rule a", ("a",)), context, debug=False)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err) == {
        "error": {
            "exit_code": 1,
            "kind": "REFUSED",
            "message": "denied by rule a",
            "reason": "DENIED_BY_RULE",
            "rules": ["a"],
        }
    }


WAITING = Fault(
    code=grpc.StatusCode.FAILED_PRECONDITION,
    message="members must approve it",
    reason="NEEDS_APPROVAL",
    request_id="r-1",
    proposal=f"enclaves/hot/proposals/{'3f2a91bc77e0':0<64}",
    quorum="2 of risk",
    summary="Sends 3 native coin to X.\nAnd \x1b[2Jmore.",
)


def test_a_signature_that_waits_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Who needs approval is told the proposal, whom it needs, what it would do, and the two commands that follow."""
    code = report(error_of(WAITING), click.Context(click.Command("sign")), debug=False)
    assert code is Exit.REFUSED
    assert capsys.readouterr().err.splitlines() == [
        "Refused (NEEDS_APPROVAL): members must approve it",
        "proposal  3f2a 91bc 77e0",
        "needs     2 of risk",
        "would     Sends 3 native coin to X. And \\x1b[2Jmore.",
        "",
        "Next, as a member:  keyvault approve 3f2a91bc77e0",
        "Then the same command again, with --request-id r-1; or let it --wait SECONDS",
    ]


def test_a_signature_that_waits_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json the error carries proposal, quorum and summary as the server gave them."""
    context = click.Context(click.Command("sign"))
    context.meta[JSON_MODE] = True
    report(error_of(WAITING), context, debug=False)
    error = json.loads(capsys.readouterr().err)["error"]
    assert (error["exit_code"], error["reason"], error["request_id"]) == (1, "NEEDS_APPROVAL", "r-1")
    assert (error["proposal"], error["quorum"], error["summary"]) == (
        WAITING.proposal,
        WAITING.quorum,
        WAITING.summary,
    )


def test_what_a_server_says_cannot_disturb_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A message that quotes what somebody sent is escaped before it is printed."""
    report(_rpc(grpc.StatusCode.PERMISSION_DENIED, "no \x1b[2J\u202e"), click.Context(click.Command("x")), debug=False)
    assert capsys.readouterr().err == "Refused: no \\x1b[2J\\u202e\n"


def test_the_text_of_an_unexpected_error_stays_inside(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody knows what an unexpected error quotes: only its kind is shown, and the traceback only with --debug."""
    context = click.Context(click.Command("sign"))
    with pytest.raises(ValueError, match="1234") as caught:
        int("the PIN is 1234")
    assert report(caught.value, context, debug=False) is Exit.INTERNAL
    quiet = capsys.readouterr().err
    report(caught.value, context, debug=True)
    assert quiet == (
        "Internal error: unexpected ValueError; run `keyvault --debug ...` for the traceback and report it\n"
    )
    assert "Traceback" in capsys.readouterr().err
