"""What an audit found."""

from dataclasses import dataclass

from keyvault.core.marks import Incarnation
from keyvault.ledger.cosigners import Cosigned
from keyvault.ledger.tally import Power


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, in a sentence.

    ``index`` is the entry concerned; with ``last``, the first of a range. None: no entry in particular.
    """

    index: int | None
    last: int | None = None
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of an audit. ``problems`` stand in the order of their discovery; the first is exact.

    ``folded`` counts the entries that were replayed: fewer than ``entries`` after an entry that does not follow.
    ``covered`` is the size of the newest checkpoint that agrees with the entries; later ones rest on nothing yet.
    ``cosigned``: how far cosignatures reach, None if nobody asked.
    ``unverifiable`` counts HMAC signatures: nobody without the secret can check them. ``payloads_decoded``: whether
    what signatures do was decoded again; else it is the server's word. ``power`` is what members decided,
    ``incarnations`` how often a restored ledger went on.
    """

    origin: str
    log_vkey: str
    entries: int
    folded: int
    root: bytes
    covered: int
    cosigned: Cosigned | None
    facts: tuple[tuple[str, int], ...]
    signatures_verified: int
    unverifiable: int
    payloads_decoded: bool
    refusals: int
    power: Power
    checkpoints_verified: int
    incarnations: tuple[Incarnation, ...]
    problems: tuple[Problem, ...]
    problems_left_out: int

    @property
    def ok(self) -> bool:
        """Say whether nothing is wrong."""
        return not self.problems


def as_json(report: Report) -> dict[str, object]:
    """Return the report as plain values."""
    return {
        "ok": report.ok,
        "origin": report.origin,
        "log_vkey": report.log_vkey,
        "entries": report.entries,
        "replayed": report.folded,
        "root": report.root.hex(),
        "covered": report.covered,
        "cosigned": _cosigned(report),
        "facts": dict(report.facts),
        "signatures_verified": report.signatures_verified,
        "signatures_unverifiable": report.unverifiable,
        "payloads_decoded": report.payloads_decoded,
        "refusals": report.refusals,
        "proposals": report.power.proposals,
        "ballots": report.power.ballots,
        "member_signatures_verified": report.power.envelopes_verified,
        "approved_signatures": report.power.approved_signatures,
        "charter_changes": report.power.charter_changes,
        "break_glass_uses": report.power.break_glass_uses,
        "break_glass_entries": list(report.power.break_glass),
        "freezes": report.power.freezes,
        "thaws": report.power.thaws,
        "checkpoints_verified": report.checkpoints_verified,
        "incarnations": [_incarnation(each) for each in report.incarnations],
        "problems": [_problem(each) for each in report.problems],
        "problems_left_out": report.problems_left_out,
    }


def _cosigned(report: Report) -> dict[str, object] | None:
    found = report.cosigned
    if found is None:
        return None
    return {
        "asked": found.asked,
        "entries": found.size,
        "entries_after": report.entries - found.size,
        "entries_after_by_none": report.entries - found.furthest,
        "cosigners": [{"vkey": vkey, "entries": size} for vkey, size in found.reached],
    }


def _problem(problem: Problem) -> dict[str, object]:
    return {"index": problem.index, "last": problem.last, "sentence": problem.sentence}


def _incarnation(begun: Incarnation) -> dict[str, object]:
    return {
        "incarnation": begun.number,
        "index": begun.index,
        "at_ms": begun.at,
        "position": begun.position,
        "lost_incarnation": begun.lost.incarnation,
        "lost_epoch": begun.lost.epoch,
        "lost_position": begun.lost.size,
        "lost_root": begun.lost.root.hex(),
        "reason": begun.reason,
    }


def _cosigned_lines(report: Report) -> list[str]:
    found = report.cosigned
    if found is None:
        return []
    reach = f"up to entry {found.size - 1}" if found.size else "no entry"
    after = f"{report.entries - found.size} after that are not, {report.entries - found.furthest} of them by nobody"
    return [f"cosigned      {reach} by {found.asked}; {after} ({found.each()})"]


def summary(report: Report) -> str:
    """Return the report for people."""
    coverage = f"the newest covers {report.covered} entries, {report.entries - report.covered} are not covered yet"
    decoded = (
        "decoded again, to hold what every signature is said to do against it"
        if report.payloads_decoded
        else "not decoded: what signatures do is the server's word (`keyvault audit verify` decodes them)"
    )
    lines = [
        f"ledger        {report.origin or 'unknown'}",
        f"log key       {report.log_vkey or 'unknown'}",
        f"entries       {report.entries} ({report.folded} replayed), root {report.root.hex()}",
        f"checkpoints   {report.checkpoints_verified} verified; {coverage}",
        *_cosigned_lines(report),
        f"signatures    {report.signatures_verified} verified, {report.unverifiable} HMAC (need the secret to check)",
        f"payloads      {decoded}",
        f"refusals      {report.refusals}",
        f"proposals     {report.power.proposals}, {report.power.ballots} ballots",
        f"members       {report.power.envelopes_verified} signatures on proposals and ballots, every one verified",
        f"approved      {report.power.approved_signatures} signatures by keys",
        f"charters      {report.power.charter_changes} changes",
        f"freezes       {report.power.freezes}, {report.power.thaws} lifted",
    ]
    if report.power.break_glass_uses:
        places = ", ".join(map(str, report.power.break_glass))
        rest = ", ..." if report.power.break_glass_uses > len(report.power.break_glass) else ""
        lines.append(f"BREAK GLASS   USED {report.power.break_glass_uses} TIMES, in entries {places}{rest}: ask why")
    lines += [
        f"RESTORED      incarnation {each.number} since entry {each.index}: {each.position} entries were kept, given"
        f" up: {each.lost}. Reason: {each.reason}"
        for each in report.incarnations
    ]
    if report.ok:
        return "\n".join([*lines, "nothing is wrong"])
    problems = [f"WRONG: {each.sentence}" for each in report.problems]
    more = [f"and {report.problems_left_out} more"] if report.problems_left_out else []
    return "\n".join([*lines, *problems, *more])
