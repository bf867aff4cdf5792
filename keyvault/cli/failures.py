"""From what went wrong to a line on stderr and an exit code; imported only when something did.

An error that keyvault, the client or the operating system raises on purpose is one or two lines: what, where, what to
do. A traceback is shown for none of them, and for what nobody expected only on ``keyvault --debug``.
"""

import json
import re
import sys
import traceback
from collections.abc import Mapping

import click
import grpc

from keyvault.cli.exits import JSON_MODE, REQUEST_ID, AuditProblem, AuthenticationFailed, Exit
from keyvault.cli.output import printable_lines
from keyvault.cli.policy_file import PolicyFileError
from keyvault.cli.told import approval_needed
from keyvault.client import errors as client
from keyvault.core.errors import Broken, Conflict, Corrupt, KeyvaultError, NotFound, Reason, Refused, Unavailable
from keyvault.ledger.errors import Unproven

_TLS = re.compile(r"ssl|tls|handshake|certificate", re.IGNORECASE)
"""gRPC reports a failed handshake as UNAVAILABLE and says why in words only."""

_BY_STATUS: Mapping[grpc.StatusCode, Exit] = {
    grpc.StatusCode.PERMISSION_DENIED: Exit.REFUSED,
    grpc.StatusCode.FAILED_PRECONDITION: Exit.REFUSED,
    grpc.StatusCode.ABORTED: Exit.REFUSED,
    grpc.StatusCode.INVALID_ARGUMENT: Exit.USAGE,
    grpc.StatusCode.ALREADY_EXISTS: Exit.USAGE,
    grpc.StatusCode.NOT_FOUND: Exit.NOT_FOUND,
    grpc.StatusCode.UNAVAILABLE: Exit.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: Exit.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Exit.UNAVAILABLE,
    grpc.StatusCode.UNAUTHENTICATED: Exit.AUTHENTICATION,
}

_BY_FAMILY: tuple[tuple[type[Exception], Exit], ...] = (
    # Most special first: the first match counts.
    (client.LimitExceeded, Exit.REFUSED),
    (client.SignatureMismatch, Exit.UNVERIFIED),
    (client.UnusableAnswer, Exit.INTERNAL),
    (NotFound, Exit.NOT_FOUND),
    (Unavailable, Exit.UNAVAILABLE),
    (AuthenticationFailed, Exit.AUTHENTICATION),
    (AuditProblem, Exit.REFUSED),
    (Unproven, Exit.REFUSED),
    (Refused, Exit.REFUSED),
    (Conflict, Exit.REFUSED),
    (Corrupt, Exit.REFUSED),  # found while reading a ledger: what an audit is for
    (Broken, Exit.INTERNAL),
    (KeyvaultError, Exit.USAGE),  # Malformed, ConfigError, UnsafeFile, PkiError: they say what to change
    (FileNotFoundError, Exit.NOT_FOUND),
    (OSError, Exit.USAGE),
)


def report(error: Exception, context: click.Context, *, debug: bool) -> Exit:
    """Say on stderr what went wrong; return the exit code. Never a traceback, unless ``debug``."""
    code = exit_of(error)
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    request_id = str(context.meta.get(REQUEST_ID) or getattr(error, "request_id", ""))
    if context.meta.get(JSON_MODE):
        click.echo(json.dumps({"error": _document(error, code, request_id)}), err=True)
        return code
    click.echo(f"{_word(error, code)}: {_text(error, code)}", err=True)
    if isinstance(error, client.NeedsApproval):
        click.echo(_how_to_go_on(error, request_id), err=True)
    if code is Exit.UNAVAILABLE and request_id:
        click.echo(f"Ask again with the same request id: --request-id {request_id}", err=True)
    return code


def exit_of(error: Exception) -> Exit:
    """Return the code that a command with this error ends with."""
    if isinstance(error, OSError) and error.filename is None:
        return Exit.INTERNAL  # not about a file that the caller named
    if isinstance(error, Refused) and error.reason is Reason.KEY_NOT_FOUND:
        return Exit.NOT_FOUND
    if isinstance(error, client.KeyvaultRpcError) and not isinstance(error, client.LimitExceeded):
        if error.code is grpc.StatusCode.UNAVAILABLE and not error.reason and _TLS.search(error.message):
            return Exit.AUTHENTICATION
        return _BY_STATUS.get(error.code, Exit.INTERNAL)
    return next((code for family, code in _BY_FAMILY if isinstance(error, family)), Exit.INTERNAL)


def _how_to_go_on(error: client.NeedsApproval, request_id: str) -> str:
    """Return what a signature waits for, and how its asker gets it afterwards."""
    details = {"proposal": error.proposal, "quorum": error.quorum, "summary": error.summary}
    again = f"Then the same command again, with --request-id {request_id}; or let it --wait SECONDS"
    return f"{approval_needed(details)}\n{again}"


def _document(error: Exception, code: Exit, request_id: str) -> dict[str, object]:
    document: dict[str, object] = {
        "exit_code": int(code),
        "kind": code.name,
        "message": _text(error, code),
        "reason": _reason(error),
    }
    if isinstance(error, Refused | client.KeyvaultRpcError):
        document["rules"] = list(error.rules)
    if isinstance(error, Unavailable | client.KeyvaultRpcError):
        document["retry_after_ms"] = error.retry_after_ms
    if isinstance(error, client.NeedsApproval):
        document |= {"proposal": error.proposal, "quorum": error.quorum, "summary": error.summary}
    if isinstance(error, PolicyFileError):
        document["problems"] = [each._asdict() for each in error.found]
    if request_id:
        document["request_id"] = request_id
    return document


def _reason(error: Exception) -> str:
    """Return the name in the closed list of reasons, or nothing."""
    if isinstance(error, Refused | client.KeyvaultRpcError):
        return str(error.reason)
    return ""


def _word(error: Exception, code: Exit) -> str:
    word = {
        Exit.UNAVAILABLE: "Unavailable",
        Exit.AUTHENTICATION: "Not authenticated",
        Exit.UNVERIFIED: "Not verified",
        Exit.INTERNAL: "Internal error",
    }.get(code, "Error")
    if code is Exit.REFUSED and not isinstance(error, AuditProblem | Unproven | Corrupt):
        word = "Refused"
    return f"{word} ({_reason(error)})" if _reason(error) else word


def _text(error: Exception, code: Exit) -> str:
    return "\n".join((_sentence(error, code), *getattr(error, "__notes__", ())))


def _harmless(text: str) -> str:
    """Return what a server said so that it can do nothing to a terminal: it may quote what others sent."""
    return text if text.isprintable() else printable_lines(text)


def _sentence(error: Exception, code: Exit) -> str:
    if isinstance(error, client.OtherLog):
        return _harmless(str(error))  # its note says what to do about it
    if isinstance(error, client.SignatureMismatch):
        return f"{_harmless(str(error))}; do not use the answer, tell your security team"
    if isinstance(error, client.Unavailable) and not error.reason:
        return f"{_harmless(error.message)}; does `keyvault serve` run there, with certificates of the same authority?"
    if isinstance(error, client.KeyvaultRpcError):
        return _harmless(error.message)
    if isinstance(error, KeyvaultError):
        return str(error)
    if isinstance(error, OSError) and code is not Exit.INTERNAL:
        return f"{error.filename}: {error.strerror}"
    # Not its own text: nobody knows what an unexpected error quotes.
    return f"unexpected {type(error).__name__}; run `keyvault --debug ...` for the traceback and report it"
