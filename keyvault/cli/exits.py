"""How a command ends: the exit codes, and the errors that are the command line's own.

``cli.failures`` holds the table from what went wrong to an exit code.
"""

from enum import IntEnum

from keyvault.core.errors import KeyvaultError

JSON_MODE = "keyvault.json"
"""Set in ``Context.meta`` by --json: errors are JSON too, on stderr."""
REQUEST_ID = "keyvault.request_id"
"""Set in ``Context.meta`` by a command that sends one: whoever has to ask again needs it."""


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    NOT_FOUND = 3
    UNAVAILABLE = 4
    AUTHENTICATION = 5
    UNVERIFIED = 6
    INTERNAL = 70
    INTERRUPTED = 130


MEANINGS: tuple[tuple[Exit, str], ...] = (
    (Exit.OK, "done"),
    (Exit.REFUSED, "refused by policy, a limit or the present state; or an audit found problems"),
    (Exit.USAGE, "wrong usage or malformed input: say it differently"),
    (Exit.NOT_FOUND, "no such key, entry or file"),
    (Exit.UNAVAILABLE, "not done, or nobody knows: ask again with the same --request-id"),
    (Exit.AUTHENTICATION, "one side does not accept the other's certificate"),
    (Exit.UNVERIFIED, "what came back is not what the expected keys sign: do not use it"),
    (Exit.INTERNAL, "a fault in keyvault: `keyvault --debug ...` says more"),
    (Exit.INTERRUPTED, "interrupted (Ctrl-C); what was asked for may have been done all the same"),
)
"""What the help of ``keyvault`` says."""


class UsageProblem(KeyvaultError):
    """The command cannot be carried out as it was given; the text says what to give instead."""


class AuditProblem(KeyvaultError):
    """The ledger or a proof is not what it should be."""


class AuthenticationFailed(KeyvaultError):
    """One side does not accept the other's certificate; the text says which, and why."""
