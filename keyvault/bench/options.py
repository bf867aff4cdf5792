"""What is to be measured, and for how long."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from keyvault.core.errors import Malformed
from keyvault.core.keys import KeyAlgorithm

Figure = str | int | float | bool | None | Sequence["Figure"] | Mapping[str, "Figure"]
"""What the result is made of: JSON."""

CONCURRENCY = 32
"""Unary calls at once, as the aims of the project count them."""
GROWTH_EVENTS = 1_000_000
GROWTH_BASE_EVENTS = 1_000
_PREFILL_EVENTS_MAX = 100_000_000


class Kind(StrEnum):
    """One key algorithm, with the payload that is typical for it."""

    P256 = "p256"
    SECP256K1 = "secp256k1"
    ED25519 = "ed25519"
    HMAC = "hmac"


ALGORITHMS: Mapping[Kind, KeyAlgorithm] = {
    Kind.P256: KeyAlgorithm.P256,
    Kind.SECP256K1: KeyAlgorithm.SECP256K1,
    Kind.ED25519: KeyAlgorithm.ED25519,
    Kind.HMAC: KeyAlgorithm.HMAC_SHA256,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the caller asks for; what is left out follows from ``quick``.

    ``governance`` measures what proposals and members cost, and only that. ``events`` (0: not) or ``growth`` (with
    GROWTH_EVENTS) measures a ledger of that many events against a small one, and only that. ``only`` names kinds.
    ``folder`` is where the scratch folder is made; None finds a disk.
    """

    quick: bool = False
    growth: bool = False
    governance: bool = False
    events: int = 0
    seconds: float | None = None
    only: tuple[str, ...] = ()
    folder: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The options, checked and filled in. ``events`` 0: no growth."""

    kinds: tuple[Kind, ...]
    rounds: int
    seconds: float
    events: int
    folder: Path | None
    governance: bool
    quick: bool


def plan_of(options: Options) -> Plan:
    """Return the plan. Raises Malformed for options that cannot be carried out."""
    try:
        kinds = tuple(Kind(name) for name in options.only) or tuple(Kind)
    except ValueError:
        raise Malformed("only", f"must be among {', '.join(Kind)}") from None
    if not 0 <= options.events <= _PREFILL_EVENTS_MAX:
        raise Malformed("events", f"must be 0 to {_PREFILL_EVENTS_MAX}")
    return Plan(
        kinds=kinds,
        rounds=1 if options.quick else 5,
        seconds=options.seconds or (0.25 if options.quick else 1.0),
        events=options.events or (GROWTH_EVENTS if options.growth else 0),
        folder=options.folder,
        governance=options.governance,
        quick=options.quick,
    )
