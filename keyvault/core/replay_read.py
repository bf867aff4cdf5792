"""What a statement says of the replay of a policy: the hash of its report, and how much the report is about.

It is the word of who asks: whoever doubts it makes the report again from a ledger of their own. Beside a hash stand all
four numbers or, in statements of the first build, none.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

NO_REPLAY = "none"
"""In place of the hash of a replay report, where a policy was not held against the ledger's history first."""

READ_PATTERNS: Final[dict[str, re.Pattern[str]]] = {
    "replay_entries": re.compile(r"0|[1-9][0-9]{0,14}", re.ASCII),
    "replay_requests": re.compile(r"0|[1-9][0-9]{0,14}", re.ASCII),
    "replay_since_ms": re.compile(r"0|[1-9][0-9]{0,12}", re.ASCII),
    "replay_until_ms": re.compile(r"0|[1-9][0-9]{0,12}", re.ASCII),
}
"""The parameters of a statement that say how much was read, and their forms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRead:
    """A replay report: its SHA-256 in hex, how many requests it is about, and what was read; times are Unix ms."""

    sha256: str
    requests: int
    entries: int
    since: int
    until: int

    def parameters(self) -> dict[str, str]:
        """Return the parameters of a statement that say it."""
        return {
            "replay_sha256": self.sha256,
            "replay_requests": str(self.requests),
            "replay_entries": str(self.entries),
            "replay_since_ms": str(self.since),
            "replay_until_ms": str(self.until),
        }


def says_what_it_read(parameters: Mapping[str, str]) -> bool:
    """Return whether a statement has a replay's hash, and any of the numbers that go with it."""
    hashed = parameters.get("replay_sha256", NO_REPLAY) != NO_REPLAY
    return hashed and not READ_PATTERNS.keys().isdisjoint(parameters)


def replayed(parameters: Mapping[str, str]) -> str:
    """Return in words what replay was made, so that nobody takes an empty one for a thorough one."""
    sha256 = parameters.get("replay_sha256", NO_REPLAY)
    if sha256 == NO_REPLAY:
        return "no replay of the ledger under it was made"
    if not says_what_it_read(parameters):
        return f"replay report {sha256}"
    since, until = (_second(int(parameters[name])) for name in ("replay_since_ms", "replay_until_ms"))
    requests, entries = parameters["replay_requests"], parameters["replay_entries"]
    return f"replay report {sha256} says of {requests} requests from {since} to {until}, in the first {entries} entries"


def _second(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
