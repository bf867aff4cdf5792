"""Runs the stories in tests/scenarios/policy.

A story is a text of blocks, separated by empty lines: lines of a command, ``----``, the outcome. Lines that start
with ``#`` are for the reader. Commands:

- ``policy`` and YAML lines: from now on this policy decides; what was used stays used
- ``ask KEY KIND at=SECONDS`` and one line for each effect, ``OPERATION field=value ...``: judge, and count a yes.
  What is escalated is told with the rules that ask and their quorums, and is not counted

``at`` is 0 unless said. The caller is always spiffe://demo/bot/maker.
"""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from keyvault.cli.policy_file import PolicyFileError, parse_policy
from keyvault.core.errors import Refused
from keyvault.core.ids import KeyId, Principal, UnixMillis
from keyvault.core.intent import Completeness, Effect, Intent, Operation, PayloadKind
from keyvault.core.policy import CompiledPolicy, Policy, compile_policy
from keyvault.core.windows import Reservations, Windows, check_limits, outflow

STORIES = Path(__file__).parent.parent / "scenarios" / "policy"
NOW = 1_800_000_000_000
NUMBERS = {"chain": "chain_id", "amount": "amount", "fee": "fee_max"}
TEXTS = {"to": "destination", "selector": "selector", "type": "primary_type", "venue": "venue"}


@dataclass
class World:
    """A policy in force, and what was used."""

    rules: CompiledPolicy = field(default_factory=lambda: compile_policy(Policy(version=0, rules=(), limits=())))
    windows: Windows = field(default_factory=Windows)

    def run(self, command: list[str]) -> str:
        """Return the outcome of one command."""
        first, *more = command
        if first == "policy":
            return self._policy("\n".join(more))
        word, key, kind, *options = first.split()
        assert word == "ask"
        at = int(options[0].removeprefix("at=")) if options else 0
        return self._ask(KeyId(key), PayloadKind(kind), tuple(map(effect, more)), UnixMillis(NOW + at * 1_000))

    def _policy(self, text: str) -> str:
        try:
            self.rules = compile_policy(parse_policy(text, name="policy"))
        except PolicyFileError as error:
            return str(error)
        return "in force"

    def _ask(self, key: KeyId, kind: PayloadKind, effects: tuple[Effect, ...], now: UnixMillis) -> str:
        intent = Intent(
            kind=kind,
            algorithms=frozenset(),
            signing_input=bytes(32),
            effects=effects,
            completeness=Completeness.OPAQUE if kind is PayloadKind.RAW_DIGEST else Completeness.PARTIAL,
        )
        flow = outflow(effects)
        try:
            permission = self.rules.evaluate(key=key, principal=Principal("spiffe://demo/bot/maker"), intent=intent)
            check_limits(self.rules.policy.limits, self.windows, Reservations(), key=key, outflow=flow, now=now)
        except Refused as refused:
            return f"{refused.reason}\n{refused}"
        rules = f"yes: {' '.join(permission.rules)}"
        if permission.quorums:
            asked = "\n".join(f"needs {quorum}" for quorum in permission.quorums)
            return f"escalated by {' '.join(permission.escalated_by)}\n{asked}\nthen {rules}"
        self.windows.charge(key, now, flow)
        return rules


def effect(line: str) -> Effect:
    """Return the effect that a line describes; amounts may be written as 2**256-1."""
    operation, *pairs = line.split()
    fields: dict[str, int | str] = {}
    for name, value in (pair.split("=", 1) for pair in pairs):
        if name in NUMBERS:
            power, _, minus = value.partition("-")
            fields[NUMBERS[name]] = (2**256 if power == "2**256" else int(power)) - int(minus or 0)
        else:
            fields[TEXTS[name]] = value
    return Effect(operation=Operation(operation), **fields)  # type: ignore[arg-type]  # names of fields


def blocks(text: str) -> list[tuple[list[str], str]]:
    """Return (lines of the command, outcome) of every block."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    parts = [block.strip("\n") for block in lines.split("\n\n") if block.strip("\n")]
    return [(command.splitlines(), outcome) for command, outcome in (part.split("\n----\n") for part in parts)]


@pytest.mark.parametrize("story", sorted(STORIES.glob("*.txt")), ids=lambda path: path.stem)
def test_the_story_goes_as_it_is_told(story: Path) -> None:
    """Every command of the story has the outcome that stands under it, to the letter."""
    world = World()
    told = blocks(story.read_text(encoding="utf-8"))
    assert told
    assert [(command, world.run(command)) for command, _ in told] == told


def test_there_is_a_story_for_every_law() -> None:
    """The stories that auditors are promised exist."""
    assert {path.stem for path in STORIES.glob("*.txt")} == {
        "absent_condition",
        "amounts_are_exact",
        "default_deny",
        "deny_wins",
        "escalate",
        "escalate_permits",
        "escalate_unknown",
        "every_effect",
        "limits",
        "raw_digest",
        "withdrawals",
    }
