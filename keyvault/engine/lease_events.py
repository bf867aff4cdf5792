"""What ``engine.lease`` is told, and what it wants done. Moments are seconds on the node's own monotonic clock."""

from dataclasses import dataclass
from enum import StrEnum

from keyvault.store.base import Lease


class Ending(StrEnum):
    """Why a term ended."""

    SILENT = "SILENT"
    """No write was acknowledged in time."""
    FENCED = "FENCED"
    """The store refused a write: somebody else leads."""
    IN_DOUBT = "IN_DOUBT"
    """It is not known whether a write happened."""
    STALLED = "STALLED"
    """The node stood still."""
    TOO_LONG = "TOO_LONG"
    """Handing over took too long."""
    STEPPED_DOWN = "STEPPED_DOWN"
    """The lease was given back."""


# Events: what happened, and when by this node's clock ---------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Woke:
    """The clock shows ``now``."""

    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Saw:
    """A look returned. ``through`` numbers the stores that the node opened one after another."""

    lease: Lease
    through: int
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LookFailed:
    """A look did not return a lease."""

    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TookOver:
    """The store acknowledged a take-over."""

    epoch: int
    sent_at: float
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeOverFailed:
    """Somebody was faster; or, if ``unknown``, nobody knows."""

    unknown: bool
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """A write of the term is durable. ``sent_at`` is not later than its sending."""

    epoch: int
    sent_at: float
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteFailed:
    """A write of the term was refused; or, if ``unknown``, nobody knows, or the connection is lost."""

    epoch: int
    unknown: bool
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Eligible:
    """Whether this node could lead: store, token and keys are well, its state is the ledger's, it does not drain."""

    is_eligible: bool
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDown:
    """An operator asks this node to hand over. If it does not lead, nothing happens.

    ``briefly``: nobody asks, it only evens out how enclaves are spread, so the node soon competes again.
    """

    now: float
    briefly: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Yields:
    """Whether another place should take a free lease before this node; until it says otherwise."""

    yields: bool
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SteppedDown:
    """The store acknowledged that the lease was given back."""

    epoch: int
    now: float


Event = (
    Woke
    | Saw
    | LookFailed
    | TookOver
    | TakeOverFailed
    | Acknowledged
    | WriteFailed
    | Eligible
    | StepDown
    | SteppedDown
    | Yields
)


# Effects: what the shell must do, see above -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Read the lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeOver:
    """Try to become the leader, through the store in which ``seen`` was seen."""

    seen: Lease
    through: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LetGo:
    """Wait no longer for the take-over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """The term began: recover, then serve."""

    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """Renew the lease."""

    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDownNow:
    """Finish what is under way and give the lease back."""

    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EndTerm:
    """The term is over."""

    epoch: int
    ending: Ending


Effect = Look | TakeOver | LetGo | Lead | Beat | StepDownNow | EndTerm
