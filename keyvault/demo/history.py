"""What must hold of any history of an enclave, whatever broke: each law by name, in time linear in the history.

A history is what bots were given (``Load``), and what stands in the ledger at the end. Every acknowledgement names its
index, so nothing has to be searched for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from keyvault.core.errors import KeyvaultError
from keyvault.core.events import Event, SignatureIssued, TermStarted


class HistoryBroken(KeyvaultError):
    """A law does not hold; the text says which, and where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """One acknowledged request: what came back, and when it was asked and answered (monotonic seconds)."""

    request_id: str
    asked_at: float
    answered_at: float
    index: int
    signature: bytes


@dataclass(slots=True)
class Load:
    """What bots had signed, and what went wrong."""

    signings: list[Signing] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def longest_gap_s(self, since: float, until: float = float("inf")) -> float:
        """Return the longest time without an answer between two moments; infinity if there was no answer."""
        moments = [since, *sorted(each.answered_at for each in self.signings if since < each.answered_at <= until)]
        return max((after - before for before, after in pairwise(moments)), default=float("inf"))


def check_history(load: Load, events: Sequence[Event]) -> None:
    """Raise HistoryBroken unless all named laws hold."""
    acknowledged_stands_once(load, events)
    epochs_are_monotone(events)
    real_time_order(load)


def acknowledged_stands_once(load: Load, events: Sequence[Event]) -> None:
    """Each acknowledged request is in the ledger once, at its index, with the very bytes that were released."""
    lost, repeated = count_lost(load, events), count_repeated(events)
    if lost or repeated:
        raise HistoryBroken(
            f"{lost} acknowledged signatures are not in the ledger, {repeated} request ids are repeated"
        )


def count_lost(load: Load, events: Sequence[Event]) -> int:
    """Return how many acknowledged signatures do not stand at their index."""
    return sum(not _stands(each, events) for each in load.signings)


def _stands(signing: Signing, events: Sequence[Event]) -> bool:
    event = events[signing.index] if signing.index < len(events) else None
    return (
        isinstance(event, SignatureIssued)
        and event.request.request_id == signing.request_id
        and event.signature.value == signing.signature
    )


def count_repeated(events: Sequence[Event]) -> int:
    """Return how many signatures were made for a request id that had one."""
    ids = [each.request.request_id for each in events if isinstance(each, SignatureIssued)]
    return len(ids) - len(set(ids))


def epochs_are_monotone(events: Sequence[Event]) -> None:
    """Epochs never fall, and change with a TermStarted only."""
    epoch = 0
    for index, each in enumerate(events):
        if isinstance(each, TermStarted):
            if each.epoch <= epoch:
                raise HistoryBroken(f"entry {index} begins epoch {each.epoch} after epoch {epoch}")
            epoch = each.epoch
        elif index and each.epoch != epoch:
            raise HistoryBroken(f"entry {index} is of epoch {each.epoch}, in the term of epoch {epoch}")


def real_time_order(load: Load) -> None:
    """What was answered before something else was asked for stands before it."""
    earliest_answer_after = float("inf")
    for each in sorted(load.signings, key=lambda each: each.index, reverse=True):
        if each.asked_at >= earliest_answer_after:
            raise HistoryBroken(f"{each.request_id} stands before what was answered before it was asked for")
        earliest_answer_after = min(earliest_answer_after, each.answered_at)
