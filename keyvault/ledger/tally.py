"""What an audit counts of the facts that changed power, or asked for it."""

from collections import Counter
from dataclasses import dataclass

from keyvault.core import limits
from keyvault.core.events import (
    BallotCast,
    CharterChanged,
    Event,
    FreezeChanged,
    ProposalMade,
    SignatureEscalated,
    SignatureIssued,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """Counts. ``proposals`` is what members were asked, escalated signatures included.

    ``envelopes_verified`` are the members' signatures on proposals and ballots, ``approved_signatures`` those of keys
    that members approved. ``break_glass`` names the first entries that broke the glass, PROBLEMS_MAX at most.
    """

    proposals: int
    ballots: int
    envelopes_verified: int
    approved_signatures: int
    charter_changes: int
    break_glass_uses: int
    break_glass: tuple[int, ...]
    freezes: int
    thaws: int


class Tally:
    """Counts under way; only facts that were applied come in."""

    def __init__(self) -> None:
        self.facts: Counter[str] = Counter()
        self._envelopes = self._approved = self._freezes = self._uses = 0
        self._glass: list[int] = []

    def note(self, index: int, event: Event) -> None:
        """Count the fact."""
        self.facts[type(event).__name__] += 1
        match event:
            case ProposalMade() | BallotCast() if event.signature is not None:
                self._envelopes += 1  # apply has checked the member's signature
            case SignatureIssued() if event.proposal:
                self._approved += 1
            case FreezeChanged() if event.frozen:
                self._freezes += 1
            case CharterChanged() if event.break_glass:
                self._uses += 1
                if len(self._glass) < limits.PROBLEMS_MAX:
                    self._glass.append(index)
            case _:
                pass

    def power(self) -> Power:
        """Return the counts."""
        return Power(
            proposals=self.facts[ProposalMade.__name__] + self.facts[SignatureEscalated.__name__],
            ballots=self.facts[BallotCast.__name__],
            envelopes_verified=self._envelopes,
            approved_signatures=self._approved,
            charter_changes=self.facts[CharterChanged.__name__],
            break_glass_uses=self._uses,
            break_glass=tuple(self._glass),
            freezes=self._freezes,
            thaws=self.facts[FreezeChanged.__name__] - self._freezes,
        )
