"""Policy v0: rules and limits as values. See keyvault.v1.Policy for the document."""

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Literal

from keyvault.core.intent import Operation, PayloadKind


class Verdict(StrEnum):
    """What a matching rule says."""

    ALLOW = "allow"
    DENY = "deny"


class Anything(Enum):
    """The condition that every value meets, said on purpose."""

    ANY = "any"


ANY: Literal[Anything.ANY] = Anything.ANY


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """All conditions that are present must hold.

    ``None`` is an absent condition. In an allow rule it never holds for an effect that has the field ("no is the
    zero value"); in a deny rule it always holds. ``ANY`` is met by every value.
    """

    id: str
    verdict: Verdict
    keys: frozenset[str] | Anything | None = None
    principals: frozenset[str] | Anything | None = None
    kinds: frozenset[PayloadKind] = frozenset()
    operations: frozenset[Operation] = frozenset()
    chains: frozenset[int] | Anything | None = None
    venues: frozenset[str] | Anything | None = None
    destinations: frozenset[str] | Anything | None = None
    selectors: frozenset[str] | Anything | None = None
    primary_types: frozenset[str] | Anything | None = None
    amount_max: int | Anything | None = None
    fee_max: int | Anything | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """At most ``count_max`` signatures, or ``amount_max`` of native value and fees, per key in any ``window_ms``."""

    id: str
    keys: frozenset[str] | Anything
    window_ms: int
    count_max: int | None = None
    amount_max: int | None = None
    chain_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One version of the rules. An empty policy refuses everything."""

    version: int
    rules: tuple[Rule, ...]
    limits: tuple[Limit, ...]
