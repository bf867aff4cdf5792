"""Runs the stories in tests/scenarios/governance.

A story is a text of blocks, separated by empty lines: a command, ``----``, its outcome: what the caller was told, and
after ``ledger:`` what came into the ledger besides proposals and ballots. Lines that start with ``#`` are for readers.

- ``enclave`` and the lines of charter and policy found the enclave. ``NAME: ROLE ...`` is a member; ``keys=a,b`` names
  its keys, ``of=NAME`` takes them from somebody else, ``asks-as=BOT`` links a certificate. ``group NAME: ...``,
  ``DUTY: QUORUM after DELAY``. ``sign KEY: allow``, or ``escalate QUORUM``: what the policy says to digests of maker.
- ``NAME proposes ACTION name=value ... as p1`` (``for 3d``: its life; ``in enclave E``: meant for another); a new
  charter or policy stands below it. ``NAME approves|rejects|vetoes|revokes p1`` (``with b``: another of their keys).
- ``BOT asks REQUEST with KEY`` (``for bb``: other bytes). What members are asked is called like the request.
- ``wait 24h`` and ``clock back 2h`` move the clock and let the enclave look at what fell due; ``restart`` is a new
  process that reads the ledger. ``show p1``, ``keys`` and ``the enclave's own proposal is p1`` only look. ``T+24h`` is
  a time after the enclave was founded.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.core.governance_stories import Story, replayed

STORIES = Path(__file__).parent.parent / "scenarios" / "governance"


def blocks(path: Path) -> list[tuple[list[str], str]]:
    """Return (lines of the command, outcome) of every block."""
    text = path.read_text(encoding="utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    parts = [block.strip("\n") for block in lines.split("\n\n") if block.strip("\n")]
    return [(command.splitlines(), outcome) for command, outcome in (part.split("\n----\n") for part in parts)]


@asynccontextmanager
async def told_story() -> AsyncIterator[Story]:
    """Yield a story that begins, and close its enclave when it has ended."""
    story = Story()
    try:
        yield story
    finally:
        if story.enclave is not None:
            await story.enclave.close()


@pytest.mark.parametrize("path", sorted(STORIES.glob("*.txt")), ids=lambda path: path.stem)
async def test_the_story_goes_as_it_is_told(path: Path) -> None:
    """Every command has the outcome that stands under it, to the letter, and the ledger replays to the state."""
    told = blocks(path)
    assert told
    async with told_story() as story:
        assert [(command, await story.run(command)) for command, _ in told] == told
        assert replayed(story.medium) == story.state


def test_there_is_a_story_for_every_rule() -> None:
    """The stories that auditors are promised exist."""
    assert {path.stem for path in STORIES.glob("*.txt")} == {
        "another_enclave",
        "at_once",
        "break_glass",
        "break_glass_bounds",
        "ceremony",
        "charter_change",
        "charter_shortens_delay",
        "clock_set_back",
        "cryptoperiod",
        "delay",
        "destruction",
        "escalated",
        "escalated_and_policy",
        "expiry",
        "freeze",
        "key_life",
        "members",
        "policy_change",
        "policy_version",
        "quorum",
        "reject_revoke",
        "removed_member",
        "requester",
        "veto",
    }
