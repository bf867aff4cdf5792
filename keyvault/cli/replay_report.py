"""What a replay found, as a report: canonical JSON, whose SHA-256 a proposal can carry. Pure.

Equal ledgers, periods and drafts give equal bytes: whoever is asked to approve a policy makes the report again from
their own copy of the ledger, and compares the hash. Dollars are integers of 10**-6, as text; where something moved has
no price in the draft it is counted in ``unpriced`` instead.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from keyvault.cli.exits import UsageProblem
from keyvault.cli.output import JsonValue, printable, time_text
from keyvault.cli.policy_units import format_dollars
from keyvault.core import limits
from keyvault.core.ids import UnixMillis
from keyvault.core.policy import Policy
from keyvault.core.policy_replay import Change, Redecided
from keyvault.core.replay_read import ReplayRead
from keyvault.ledger.codec_policy import encode_policy

REPORT_TYPE = "keyvault/replay/v1"


@dataclass(slots=True)
class Sum:
    """How many decisions, and what they move."""

    count: int = 0
    usd: int = 0
    unpriced: int = 0

    def add(self, usd: int | None) -> None:
        """Count one."""
        self.count += 1
        self.usd += usd or 0
        self.unpriced += usd is None

    def document(self) -> dict[str, JsonValue]:
        """Return it for JSON."""
        return {"count": self.count, "usd_micros": str(self.usd), "unpriced": self.unpriced}


@dataclass(slots=True)
class Findings:
    """Sums of a replay, by change; for each key, and for each rule or limit that says something else than before."""

    changes: dict[Change, Sum] = field(default_factory=dict)
    keys: dict[str, dict[Change, Sum]] = field(default_factory=dict)
    rules: dict[str, dict[Change, Sum]] = field(default_factory=dict)
    changed: list[Redecided] = field(default_factory=list)
    left_out: int = 0

    def add(self, each: Redecided) -> None:
        """Count one decision; the first REPLAY_CHANGES_MAX that differ are kept whole."""
        change = each.change
        self.changes.setdefault(change, Sum()).add(each.usd)
        self.keys.setdefault(each.key, {}).setdefault(change, Sum()).add(each.usd)
        for rule in dict.fromkeys(each.rules) if change is not Change.SAME else ():
            self.rules.setdefault(rule, {}).setdefault(change, Sum()).add(each.usd)
        if change is not Change.SAME:
            if len(self.changed) < limits.REPLAY_CHANGES_MAX:
                self.changed.append(each)
            else:
                self.left_out += 1

    def count(self, change: Change) -> int:
        """Return how many decisions differ in this way."""
        return self.changes[change].count if change in self.changes else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What was read: the first ``entries`` of a ledger, which have this root, and the period looked at."""

    enclave: str
    entries: int
    root: bytes
    since: UnixMillis
    until: UnixMillis
    policy_version: int
    """In force after the last entry."""


def rules_sha256(policy: Policy) -> str:
    """Return the hash of what a policy says, whatever its version: a draft is numbered when it is proposed."""
    return hashlib.sha256(encode_policy(replace(policy, version=1))).hexdigest()


def report_of(read: Read, draft: Policy, found: Findings) -> dict[str, JsonValue]:
    """Return the report as a document."""
    return {
        "type": REPORT_TYPE,
        "enclave": read.enclave,
        "entries": read.entries,
        "root": read.root.hex(),
        "since_ms": str(read.since),
        "until_ms": str(read.until),
        "policy_version": read.policy_version,
        "draft_sha256": rules_sha256(draft),
        "decisions": sum(each.count for each in found.changes.values()),
        "changes": _sums(found.changes),
        "keys": {key: _sums(changes) for key, changes in found.keys.items()},
        "rules": {rule: _sums(changes) for rule, changes in found.rules.items()},
        "changed": [_row(each) for each in found.changed],
        "changed_left_out": found.left_out,
    }


def report_bytes(report: Mapping[str, JsonValue]) -> bytes:
    """Return the canonical JSON: this is what is hashed."""
    return json.dumps(report, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def report_sha256(data: bytes) -> str:
    """Return what a proposal carries."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A report in a file: what it says that it read, of which enclave, and the root of the tree over those entries."""

    read: ReplayRead
    enclave: str
    root: bytes


def read_report(path: Path, policy: Policy) -> Report:
    """Return the report in a file, if it is about this policy; raise UsageProblem."""
    with path.open("rb") as file:
        data = file.read(limits.REPLAY_REPORT_BYTES_MAX + 1)
    document = _parsed(data)
    report = None if document is None else _read(document, data)
    if document is None or report is None:
        raise UsageProblem(f"{path}: is no report of `keyvault policy replay --out`, byte for byte")
    if document.get("draft_sha256") != rules_sha256(policy):
        raise UsageProblem(f"{path}: is about another policy; make the report again with `keyvault policy replay`")
    return report


def _read(document: Mapping[str, JsonValue], data: bytes) -> Report | None:
    """Return what the document says that it read; None if it says that in no form of ours."""
    try:
        read = ReplayRead(
            sha256=report_sha256(data),
            requests=int(str(document["decisions"])),
            entries=int(str(document["entries"])),
            since=int(str(document["since_ms"])),
            until=int(str(document["until_ms"])),
        )
        return Report(read=read, enclave=str(document["enclave"]), root=bytes.fromhex(str(document["root"])))
    except (KeyError, ValueError):
        return None


def read_text(read: ReplayRead) -> str:
    """Return how much a report is about, for people."""
    period = f"from {time_text(read.since)} to {time_text(read.until)}"
    return f"{read.requests} requests {period}, in the first {read.entries} entries"


def _parsed(data: bytes) -> dict[str, JsonValue] | None:
    """Return the report, or None if these bytes are not exactly one."""
    if len(data) > limits.REPLAY_REPORT_BYTES_MAX:
        return None
    try:
        report = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(report, dict) or report.get("type") != REPORT_TYPE or report_bytes(report) != data:
        return None
    return report


# For people -------------------------------------------------------------------------------------------------------

_WORDS = {
    Change.NEWLY_ALLOWED: "newly allowed",
    Change.NEWLY_ESCALATED: "newly asks members",
    Change.NEWLY_REFUSED: "newly refused",
    Change.SAME: "same as before",
}
_ROWS_SHOWN = 50


def report_text(read: Read, found: Findings) -> str:
    """Return the report for people; what it changes first."""
    total = sum(each.count for each in found.changes.values())
    period = f"from {time_text(read.since)} to {time_text(read.until)}"
    lines = [f"{total} requests {period} ({read.entries} entries of {printable(read.enclave)}), under the draft:"]
    lines += [f"  {_WORDS[change]:<19} {_sum_text(found.changes.get(change, Sum()))}" for change in _WORDS]
    if not total:
        lines.append("  It says NOTHING of the draft: no request was made in this period. Give a longer --since.")
    for title, table in (("key", found.keys), ("rule or limit", found.rules)):
        for name, changes in sorted(table.items()):
            differ = [f"{changes[each].count} {_WORDS[each]}" for each in _WORDS if each in changes and each is not
                      Change.SAME]  # fmt: skip
            if differ:
                lines.append(f"  {title} {printable(name)}: {', '.join(differ)}")
    lines += [_row_text(each) for each in found.changed[:_ROWS_SHOWN]]
    if len(found.changed) + found.left_out > _ROWS_SHOWN:
        lines.append(f"  ... and {len(found.changed) + found.left_out - _ROWS_SHOWN} more that change")
    return "\n".join(lines)


def _sum_text(each: Sum) -> str:
    unpriced = f", {each.unpriced} of them without a price" if each.unpriced else ""
    return f"{each.count:>8}  {format_dollars(each.usd)} USD{unpriced}"


def _row_text(each: Redecided) -> str:
    why = printable(each.explanation or ", ".join(dict.fromkeys(each.rules)))
    who = each.principal.split("/", 3)[-1]
    return f"  entry {each.index}: {each.key} {each.kind} for {printable(who)}: {_WORDS[each.change]}: {why}"


def _sums(changes: Mapping[Change, Sum]) -> dict[str, JsonValue]:
    return {change.value: each.document() for change, each in changes.items()}


def _row(each: Redecided) -> dict[str, JsonValue]:
    return {
        "index": each.index,
        "at_ms": str(each.at),
        "key": each.key,
        "principal": each.principal,
        "kind": each.kind,
        "was": each.was.value,
        "now": each.now.value,
        "change": each.change.value,
        "rules": list(each.rules),
        "reason": None if each.reason is None else each.reason.value,
        "explanation": each.explanation,
        "usd_micros": None if each.usd is None else str(each.usd),
    }
