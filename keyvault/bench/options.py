"""What is to be measured, and for how long."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from keyvault.bench.decide_payloads import CASES
from keyvault.core.errors import Malformed
from keyvault.core.keys import KeyAlgorithm

Figure = str | int | float | bool | None | Sequence["Figure"] | Mapping[str, "Figure"]
"""What the result is made of: JSON."""

CONCURRENCY = 32
"""Unary calls at once, as the aims of the project count them."""
GROWTH_EVENTS = 1_000_000
GROWTH_BASE_EVENTS = 1_000
ROUNDS_MAX = 1_000
_PREFILL_EVENTS_MAX = 100_000_000


class Kind(StrEnum):
    """One key algorithm, with the payload that is typical for it."""

    P256 = "p256"
    SECP256K1 = "secp256k1"
    ED25519 = "ed25519"
    HMAC = "hmac"


class Fault(StrEnum):
    """What is broken where failover is measured."""

    STEP_DOWN = "step-down"
    KILL = "kill"
    PAUSE = "pause"
    PRIMARY = "primary"


ALGORITHMS: Mapping[Kind, KeyAlgorithm] = {
    Kind.P256: KeyAlgorithm.P256,
    Kind.SECP256K1: KeyAlgorithm.SECP256K1,
    Kind.ED25519: KeyAlgorithm.ED25519,
    Kind.HMAC: KeyAlgorithm.HMAC_SHA256,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the caller asks for; what is left out follows from ``quick``.

    ``decide`` measures what decisions cost without token and ledger, and only that; ``governance`` what proposals and
    members cost, and only that; ``failover`` what a bot notices when servers die, ``rounds`` times each, and only that
    (``without_patroni``: the bench itself replaces the primary, even where Patroni is installed).
    ``events`` (0: not) or ``growth`` (with GROWTH_EVENTS) measures a ledger of that many events against a small one,
    and only that. ``only`` names kinds, payloads where decisions are measured, or faults where failover is.
    ``folder`` is where the scratch folder is made; None finds a disk.
    """

    quick: bool = False
    growth: bool = False
    governance: bool = False
    decide: bool = False
    failover: bool = False
    without_patroni: bool = False
    rounds: int | None = None
    events: int = 0
    seconds: float | None = None
    only: tuple[str, ...] = ()
    folder: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The options, checked and filled in. ``events`` 0: no growth. ``cases``: payloads whose decisions are measured."""

    kinds: tuple[Kind, ...]
    cases: tuple[str, ...]
    faults: tuple[Fault, ...]
    rounds: int
    seconds: float
    events: int
    folder: Path | None
    governance: bool
    decide: bool
    failover: bool
    without_patroni: bool
    quick: bool


def plan_of(options: Options) -> Plan:
    """Return the plan. Raises Malformed for options that cannot be carried out."""
    if options.without_patroni and not options.failover:
        raise Malformed("without_patroni", "goes with failover")
    names = _names(options)
    chosen = options.only or names
    if not set(chosen) <= set(names):
        raise Malformed("only", f"must be among {', '.join(names)}")
    if options.rounds is not None and not 1 <= options.rounds <= ROUNDS_MAX:
        raise Malformed("rounds", f"must be 1 to {ROUNDS_MAX}")
    if not 0 <= options.events <= _PREFILL_EVENTS_MAX:
        raise Malformed("events", f"must be 0 to {_PREFILL_EVENTS_MAX}")
    return Plan(
        kinds=() if options.decide or options.failover else tuple(map(Kind, chosen)),
        cases=chosen if options.decide else (),
        faults=tuple(map(Fault, chosen)) if options.failover else (),
        rounds=_rounds(options),
        seconds=options.seconds or (0.25 if options.quick else 1.0),
        events=options.events or (GROWTH_EVENTS if options.growth else 0),
        folder=options.folder,
        governance=options.governance,
        decide=options.decide,
        failover=options.failover,
        without_patroni=options.without_patroni,
        quick=options.quick,
    )


def _names(options: Options) -> tuple[str, ...]:
    """Return what ``only`` can choose from."""
    if options.decide:
        return tuple(CASES)
    return tuple(Fault) if options.failover else tuple(Kind)


def _rounds(options: Options) -> int:
    if options.rounds is not None:
        return options.rounds
    if options.failover:
        return 2 if options.quick else 20
    return 1 if options.quick else 5
