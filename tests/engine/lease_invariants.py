"""What must hold in every schedule, each law under its name; checked at the step that breaks it, or at the end."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.engine.lease_servers import Cluster, Entry, Kind, Server, Write


class Violated(AssertionError):
    """A law is broken."""

    def __init__(self, law: str, text: str) -> None:
        super().__init__(f"{law}: {text}")
        self.law = law


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A signature that left a node."""

    request: str
    signature: str
    index: int
    at: float


@dataclass(eq=False, slots=True)
class History:
    """What clients asked and nodes gave out, in true time."""

    asked: dict[str, float] = field(default_factory=dict)
    released: list[Release] = field(default_factory=list)


# At the step ------------------------------------------------------------------------------------------------------


def barrier_before_trust(cluster: Cluster, server: Server, entries: int) -> None:
    """A leader decides nothing, and answers nothing, upon entries that could vanish."""
    if not cluster.on_a_quorum(server, entries):
        raise Violated("barrier_before_trust", f"{entries} entries of server {server.name} are not on two servers")


def a_deposed_leader_releases_nothing(*, ended: bool, epoch: int, entry_epoch: int) -> None:
    """I1, I7: after its term ended a node releases nothing, and in a term it releases only what was appended in it."""
    if ended or epoch != entry_epoch:
        raise Violated(
            "a_deposed_leader_releases_nothing", f"a release in epoch {epoch} of an entry of epoch {entry_epoch}"
        )


def terms_do_not_overlap(epoch: int, others: Sequence[tuple[int, int]]) -> None:
    """When a silent lease was taken, nobody else says by its own clock that it leads."""
    if others:
        raise Violated("terms_do_not_overlap", f"epoch {epoch} began while (node, epoch) {others} led")


def one_term_at_a_time(*, epoch: int, leads: int | None) -> None:
    """A node that is told to lead, or that its term ended, is in no other term."""
    if leads is not None and leads != epoch:
        raise Violated("one_term_at_a_time", f"epoch {epoch} begins or ends while the node is in epoch {leads}")


# At the end -------------------------------------------------------------------------------------------------------


def acknowledged_is_kept(history: History, ledger: Sequence[Entry]) -> None:
    """What was released is in the ledger, exactly once, at the index that was told, with the same bytes."""
    counts = Counter(entry.request for entry in ledger)
    for release in history.released:
        found = ledger[release.index] if release.index < len(ledger) else None
        if found is None or (found.request, found.signature) != (release.request, release.signature):
            raise Violated("acknowledged_is_kept", f"{release} is not in the ledger, there is {found}")
        if counts[release.request] != 1:
            raise Violated("acknowledged_is_kept", f"{release} is in the ledger {counts[release.request]} times")


def one_signature_per_request(history: History, ledger: Sequence[Entry]) -> None:
    """A request id has one signature, whoever gave it out, and one entry."""
    given: dict[str, str] = {}
    for release in history.released:
        if given.setdefault(release.request, release.signature) != release.signature:
            raise Violated("one_signature_per_request", f"{release.request} has {given[release.request]} and {release}")
    for request, count in Counter(entry.request for entry in ledger if entry.request).items():
        if count > 1:
            raise Violated("one_signature_per_request", f"{request} has {count} entries")


def epochs_are_monotone(ledger: Sequence[Entry]) -> None:
    """Along the ledger no epoch follows a greater one."""
    for before, after in pairwise(ledger):
        if after.epoch < before.epoch:
            raise Violated("epochs_are_monotone", f"{after} follows {before}")


def no_append_by_the_deposed(wal: Sequence[Write]) -> None:
    """Whatever was written was written in the newest epoch that there was."""
    epoch = 0
    for place, write in enumerate(wal):
        if write.kind is not Kind.TAKE and write.epoch != epoch:
            raise Violated(
                "no_append_by_the_deposed", f"write {place} of epoch {write.epoch} in epoch {epoch}: {write}"
            )
        epoch += write.kind in {Kind.TAKE, Kind.STEP_DOWN}


def real_time_order(history: History) -> None:
    """Who asked after another had its answer stands behind it in the ledger."""
    first: dict[str, Release] = {}
    for release in history.released:
        first.setdefault(release.request, release)
    waiting = sorted(first.values(), key=lambda release: history.asked[release.request])
    done = sorted(first.values(), key=lambda release: release.at)
    highest, place = -1, 0
    for release in waiting:
        while place < len(done) and done[place].at < history.asked[release.request]:
            highest, place = max(highest, done[place].index), place + 1
        if release.index <= highest:
            raise Violated("real_time_order", f"{release} was asked for after entry {highest} was released")


def check_history(history: History, cluster: Cluster) -> None:
    """Hold every law about the whole history against what the primary has in the end."""
    ledger = [write.entry for write in cluster.primary.wal if write.entry is not None]
    acknowledged_is_kept(history, ledger)
    one_signature_per_request(history, ledger)
    epochs_are_monotone(ledger)
    no_append_by_the_deposed(cluster.primary.wal)
    real_time_order(history)


SAFETY = frozenset(
    law.__name__
    for law in (
        acknowledged_is_kept,
        one_signature_per_request,
        epochs_are_monotone,
        no_append_by_the_deposed,
        a_deposed_leader_releases_nothing,
        barrier_before_trust,
        real_time_order,
    )
)
"""The laws that hold whatever the clocks do."""
