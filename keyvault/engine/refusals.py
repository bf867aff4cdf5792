"""How many refusals of one caller are recorded (a ledger is for ever, a bot may be owned), and one that never is."""

from keyvault.core import limits
from keyvault.core.errors import Overloaded, Reason, Refused
from keyvault.core.ids import Principal, UnixMillis
from keyvault.core.marks import Quarantine

_TOO_MANY = "too many requests of this principal were refused; this one was not recorded"


class RefusalBudget:
    """A token bucket for each principal that was refused: REFUSALS_PER_S_MAX a second, REFUSALS_BURST_MAX at once."""

    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets: dict[Principal, tuple[float, UnixMillis]] = {}

    def spend(self, principal: Principal, now: UnixMillis) -> None:
        """Count one refusal; raise Overloaded if it is one too many, which is then not recorded."""
        left, since = self._buckets.get(principal, (float(limits.REFUSALS_BURST_MAX), now))
        refill = max(0, now - since) * limits.REFUSALS_PER_S_MAX / 1000
        left = min(float(limits.REFUSALS_BURST_MAX), left + refill)
        if left < 1:
            raise Overloaded(
                "too many requests of this principal were refused; this one was not recorded", retry_after_ms=1_000
            )
        self._buckets[principal] = (left - 1, now)


def quarantined(quarantine: Quarantine) -> Refused:
    """Return the no to everything that a ledger which is not whole must not do."""
    return Refused(Reason.QUARANTINED, str(quarantine)[: limits.EXPLANATION_CHARS_MAX])
