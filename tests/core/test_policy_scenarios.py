"""Runs the stories in tests/scenarios/policy.

A story is a text of blocks, separated by empty lines: lines of a command, ``----``, the outcome. Lines that start
with ``#`` are for the reader. Commands:

- ``policy`` and YAML lines: from now on this policy decides; what was used stays used
- ``ask KEY KIND at=SECONDS by=BOT slot=NAME`` and one line for each effect, ``OPERATION field=value ...``: judge, and
  count a yes. What is escalated is told with the rules that ask and their quorums, and is not counted
- ``quota KEY at=SECONDS by=BOT``: what was used of every limit that is about them

``at`` is 0 unless said, and 1800000000 seconds after 1970. The caller is spiffe://demo/bot/maker unless said.
"""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from keyvault.cli.policy_file import PolicyFileError, parse_policy
from keyvault.core.charges import Charge, charge_of, is_unread
from keyvault.core.errors import Refused
from keyvault.core.familiar import Familiar
from keyvault.core.ids import KeyId, Principal, UnixMillis
from keyvault.core.intent import Completeness, Effect, Intent, Operation, PayloadKind
from keyvault.core.limits_check import check_limits, quotas
from keyvault.core.policy import CompiledPolicy, Policy, compile_policy
from keyvault.core.policy_facts import Moment
from keyvault.core.policy_rules import Per
from keyvault.core.windows import Reservations, Windows

STORIES = Path(__file__).parent.parent / "scenarios" / "policy"
NOW = 1_800_000_000_000
NUMBERS = {"chain": "chain_id", "amount": "amount", "fee": "fee_max"}
ATTOS = ("quantity", "price")
"""Fields in 10**-18, told in whole units."""
TEXTS = {
    "to": "destination", "selector": "selector", "type": "primary_type", "venue": "venue", "asset": "asset",
    "symbol": "symbol", "side": "side", "network": "network",
}  # fmt: skip


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
        word, key, *options = first.split()
        said = {name: value for name, _, value in (option.partition("=") for option in options) if value}
        now = UnixMillis(NOW + int(said.get("at", "0")) * 1_000)
        by = Principal(f"spiffe://demo/bot/{said.get('by', 'maker')}")
        if word == "quota":
            return self._quota(KeyId(key), by, now)
        assert word == "ask"
        return self._ask(KeyId(key), by, PayloadKind(options[0]), tuple(map(effect, more)), now, said.get("slot"))

    def _policy(self, text: str) -> str:
        try:
            self.rules = compile_policy(parse_policy(text, name="policy"))
        except PolicyFileError as error:
            return str(error)
        self.windows.watch(self.rules.policy)
        return "in force"

    def _quota(self, key: KeyId, by: Principal, now: UnixMillis) -> str:
        found = quotas(self.rules.policy, self.windows, Reservations(), key, by, now)
        lines = [
            f"{each.limit}: {each.per if each.per is Per.ALL else f'{each.per} {each.group}'} used {each.used}"
            f" of {each.cap} ({each.measure})"
            for each in found
        ]
        return "\n".join(lines) or "no limit"

    def _ask(
        self,
        key: KeyId,
        by: Principal,
        kind: PayloadKind,
        effects: tuple[Effect, ...],
        now: UnixMillis,
        slot: str | None,
    ) -> str:
        intent = Intent(
            kind=kind,
            algorithms=frozenset(),
            signing_input=bytes(32),
            effects=effects,
            completeness=Completeness.OPAQUE if kind is PayloadKind.RAW_DIGEST else Completeness.PARTIAL,
            slot=slot,
        )
        charge = self._charge(key, by, intent, now)
        try:
            moment = Moment(now=now, familiar=Familiar(), known=0)
            permission = self.rules.evaluate(key=key, principal=by, intent=intent, moment=moment)
            check_limits(self.windows, Reservations(), charge, now)
        except Refused as refused:
            return f"{refused.reason}\n{refused}"
        rules = f"yes: {' '.join(permission.rules)}"
        if permission.quorums:
            asked = "\n".join(f"needs {quorum}" for quorum in permission.quorums)
            return f"escalated by {' '.join(permission.escalated_by)}\n{asked}\nthen {rules}"
        self.windows.charge(charge, now)
        return rules

    def _charge(self, key: KeyId, by: Principal, intent: Intent, now: UnixMillis) -> Charge:
        return charge_of(
            key,
            by,
            intent.effects,
            unread=is_unread(intent.kind, intent.completeness),
            slot=None if intent.slot is None else (1, intent.slot),
            prices=self.rules.prices,
            at=now,
        )


def effect(line: str) -> Effect:
    """Return the effect that a line describes; amounts may be written as 2**256-1."""
    operation, *pairs = line.split()
    fields: dict[str, int | str] = {}
    for name, value in (pair.split("=", 1) for pair in pairs):
        if name in NUMBERS:
            power, _, minus = value.partition("-")
            fields[NUMBERS[name]] = (2**256 if power == "2**256" else int(power)) - int(minus or 0)
        elif name in ATTOS:
            fields[name] = int(value) * 10**18
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
        "limits_in_dollars",
        "limits_per_destination",
        "limits_per_tag",
        "limits_per_venue",
        "limits_slots",
        "raw_digest",
        "withdrawals",
    }
