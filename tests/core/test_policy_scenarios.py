"""Runs the stories in tests/scenarios/policy.

A story is a text of blocks, separated by empty lines: lines of a command, ``----``, the outcome. Lines that start
with ``#`` are for the reader. Commands:

- ``policy`` and YAML lines: from now on this policy decides; what was used stays used
- ``ask KEY KIND at=SECONDS until=SECONDS by=BOT slot=NAME``, a line for each effect, ``OPERATION field=value ...``:
  judge, and count a yes. What is escalated is told with the rules that ask and their quorums, and is not counted
- ``sees DESTINATION at=SECONDS``: it was signed for then
- ``quota KEY at=SECONDS by=BOT``: what was used of every limit that is about them

``at`` is 0 unless said: Friday, 2027-01-15, 08:00 UTC. The payload ends at ``until``, if it does. The caller is
spiffe://demo/bot/maker unless said. Prices come with the policy.
"""

from dataclasses import dataclass, field
from decimal import Decimal
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
NUMBERS = {
    "chain": "chain_id",
    "amount": "amount",
    "fee": "fee_max",
    "quantity": "quantity",
    "price": "price",
    "spend": "quote_quantity",
}
TEXTS = {
    "to": "destination",
    "selector": "selector",
    "type": "primary_type",
    "venue": "venue",
    "network": "network",
    "symbol": "symbol",
    "side": "side",
    "asset": "asset",
    "contract": "contract",
    "hash": "type_hash",
}
ATTO = frozenset({"quantity", "price", "quote_quantity"})
"""Fields in 10**-18; stories write whole numbers, or ones with a point."""


@dataclass
class World:
    """A policy in force, and what was used."""

    rules: CompiledPolicy = field(default_factory=lambda: compile_policy(Policy(version=0, rules=(), limits=())))
    windows: Windows = field(default_factory=Windows)
    familiar: Familiar = field(default_factory=Familiar)
    size: int = 0

    def run(self, command: list[str]) -> str:
        """Return the outcome of one command."""
        first, *more = command
        if first == "policy":
            return self._policy("\n".join(more))
        word, about, *options = first.split()
        said = dict(map(_pair, options[word == "ask" :]))
        times = {name: UnixMillis(NOW + int(said[name]) * 1_000) for name in ("at", "until") if name in said}
        now = times.get("at", UnixMillis(NOW))
        by = Principal(f"spiffe://demo/bot/{said.get('by', 'maker')}")
        if word == "sees":
            self._saw((Effect(operation=Operation.TRANSFER, destination=about, amount=1),), KeyId("before"), now)
            return "seen"
        if word == "quota":
            return self._quota(KeyId(about), by, now)
        assert word == "ask"
        intent = asked(PayloadKind(options[0]), tuple(map(effect, more)), times.get("until"), said.get("slot"))
        return self._ask(KeyId(about), by, intent, now)

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

    def _saw(self, effects: tuple[Effect, ...], key: KeyId, now: UnixMillis) -> None:
        self.familiar.saw(key, effects, self.size, now)
        self.size += 1

    def _ask(self, key: KeyId, by: Principal, intent: Intent, now: UnixMillis) -> str:
        moment = Moment(now=now, familiar=self.familiar, known=self.size)
        charge = self._charge(key, by, intent, now)
        try:
            permission = self.rules.evaluate(key=key, principal=by, intent=intent, moment=moment)
            check_limits(self.windows, Reservations(), charge, now)
        except Refused as refused:
            return f"{refused.reason}\n{refused}"
        rules = "\n".join((f"yes: {' '.join(permission.rules)}", *(f"shadow {each}" for each in permission.shadows)))
        if permission.quorums:
            asked = "\n".join(f"needs {quorum}" for quorum in permission.quorums)
            return f"escalated by {' '.join(permission.escalated_by)}\n{asked}\nthen {rules}"
        self.windows.charge(charge, now)
        self._saw(intent.effects, key, now)
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


def asked(kind: PayloadKind, effects: tuple[Effect, ...], until: UnixMillis | None, slot: str | None) -> Intent:
    """Return what a payload with these effects means."""
    return Intent(
        kind=kind,
        algorithms=frozenset(),
        signing_input=bytes(32),
        effects=effects,
        completeness=Completeness.OPAQUE if kind is PayloadKind.RAW_DIGEST else Completeness.PARTIAL,
        expires_at=until,
        slot=slot,
    )


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def effect(line: str) -> Effect:
    """Return the effect that a line describes; amounts may be written as 2**256-1."""
    operation, *pairs = line.split()
    fields: dict[str, int | str] = {}
    for name, value in (pair.split("=", 1) for pair in pairs):
        if NUMBERS.get(name) in ATTO:
            fields[NUMBERS[name]] = int(Decimal(value).scaleb(18))
        elif name in NUMBERS:
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
        "assets",
        "default_deny",
        "deny_wins",
        "dollars",
        "escalate",
        "escalate_permits",
        "escalate_unknown",
        "every_effect",
        "first_seen",
        "hours",
        "limits",
        "limits_in_dollars",
        "limits_per_destination",
        "limits_per_tag",
        "limits_per_venue",
        "limits_slots",
        "lists",
        "look_alike",
        "price_band",
        "raw_digest",
        "shadow",
        "validity",
        "when",
        "withdrawals",
    }
