"""Every way in which keyvault says no.

Four families cross package borders, each with one meaning for the caller:

- ``Refused``      the rules say no; asking again is useless
- ``Conflict``     you were late; somebody else changed what you relied on
- ``Unavailable``  not done; ask again with the same request id
- ``Broken``       an invariant or a device failed; the process must stop

``Malformed`` is the edge's own: the input is not a well-formed request, so nothing was decided.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Closed list of reasons for a refusal; the same names as keyvault.v1.Reason."""

    NO_RULE_ALLOWS = "NO_RULE_ALLOWS"
    DENIED_BY_RULE = "DENIED_BY_RULE"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    KEY_NOT_FOUND = "KEY_NOT_FOUND"
    KEY_NOT_ACTIVE = "KEY_NOT_ACTIVE"
    ALGORITHM_MISMATCH = "ALGORITHM_MISMATCH"
    TIMESTAMP_OUT_OF_RANGE = "TIMESTAMP_OUT_OF_RANGE"
    POLICY_ERROR = "POLICY_ERROR"
    NOT_AUTHORIZED = "NOT_AUTHORIZED"
    STATEMENT_EXPIRED = "STATEMENT_EXPIRED"
    STATEMENT_MISMATCH = "STATEMENT_MISMATCH"
    STATE_MISMATCH = "STATE_MISMATCH"
    FROZEN = "FROZEN"
    NEEDS_APPROVAL = "NEEDS_APPROVAL"
    DELAYED = "DELAYED"
    VETOED = "VETOED"
    PROPOSAL_EXPIRED = "PROPOSAL_EXPIRED"
    POLICY_CHANGED = "POLICY_CHANGED"
    ALREADY_DECIDED = "ALREADY_DECIDED"
    QUARANTINED = "QUARANTINED"


class KeyvaultError(Exception):
    """Root of all errors that keyvault raises on purpose."""


class Malformed(KeyvaultError):
    """The input cannot be parsed. ``field`` says where, ``problem`` what is wrong and what would be right."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class Refused(KeyvaultError):
    """The rules say no."""

    def __init__(self, reason: Reason, explanation: str, rules: tuple[str, ...] = ()) -> None:
        super().__init__(explanation)
        self.reason = reason
        self.explanation = explanation
        self.rules = rules


class ApprovalNeeded(Refused):
    """Members must approve first; nothing was signed, and the same request may come again.

    ``proposal`` is its resource name, ``quorum`` whom it needs, ``summary`` what is to be signed, both in words.
    """

    def __init__(self, reason: Reason, explanation: str, *, proposal: str, quorum: str, summary: str) -> None:
        super().__init__(reason, explanation)
        self.proposal = proposal
        self.quorum = quorum
        self.summary = summary


class Conflict(KeyvaultError):
    """The ledger moved on, or the request id is taken: the caller relied on something that is no longer so."""


class RequestIdReused(Conflict):
    """The request id was used before with other bytes."""


class Fenced(Conflict):
    """Another process leads the enclave, or the ledger is longer than expected. Nothing was appended."""


class DuplicateRequest(Conflict):
    """A request key that was to be appended is in the ledger already. Nothing was appended."""

    def __init__(self, request_key: bytes) -> None:
        super().__init__(f"request key {request_key.hex()} is taken")
        self.request_key = request_key


class NotFound(KeyvaultError):
    """A read named something that does not exist."""


class Unavailable(KeyvaultError):
    """Not done, nothing released. The same request may be sent again after ``retry_after_ms``."""

    def __init__(self, explanation: str, *, retry_after_ms: int = 100) -> None:
        super().__init__(explanation)
        self.retry_after_ms = retry_after_ms


class NotLeader(Unavailable):
    """Another instance leads the enclave; nothing was done here. ``leader`` is its ``host:port``, empty if unknown."""

    def __init__(self, leader: str = "", *, retry_after_ms: int = 100) -> None:
        where = f"ask {leader}" if leader else "nobody here knows which one does"
        super().__init__(f"this instance does not lead the enclave; {where}", retry_after_ms=retry_after_ms)
        self.leader = leader


class Overloaded(Unavailable):
    """A bounded queue is full."""


class DeadlinePassed(Unavailable):
    """The caller's deadline passed before anything was done for it."""


class Broken(KeyvaultError):
    """An invariant or a device failed in a way that must end the term: stop, restart, recover from the ledger."""


class OutcomeUnknown(Broken):
    """A durable write may or may not have happened (I7). Never retried: the process ends and reloads."""


class RolledBack(Broken):
    """The store lacks what this node saw acknowledged: an older copy was put back, or a stale server promoted."""


class Corrupt(Broken):
    """Stored data is not what was written. ``index`` is the first entry that is wrong, if known."""

    def __init__(self, explanation: str, *, index: int | None = None) -> None:
        super().__init__(explanation)
        self.index = index
