"""The policy document as values: rules, limits, and what each operation has that a rule can ask about.

What the conditions of a rule mean stands in ``keyvault.core.policy``, which gives these names on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Literal

from keyvault.core.errors import Malformed
from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.quorum import parse_quorum


class Verdict(StrEnum):
    """What a matching rule says."""

    ALLOW = "allow"
    DENY = "deny"
    ESCALATE = "escalate"


class Anything(Enum):
    """The condition that every value meets, said on purpose."""

    ANY = "any"


ANY: Literal[Anything.ANY] = Anything.ANY


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """All conditions that are present must hold.

    ``None`` is an absent condition. In an allow rule it never holds for an effect that has the field ("no is the
    zero value"); in a deny rule it always holds. ``ANY`` is met by every value. ``amount_above`` holds for amounts
    strictly above; in deny and escalate rules only. ``quorum`` is whom an escalate rule asks, as ``quorum_text``
    writes it; empty in all others.
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
    quorum: str = ""
    amount_above: int | None = None


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


ASKED_FIELDS: Mapping[Operation, frozenset[str]] = MappingProxyType(
    {
        Operation.TRANSFER: frozenset({"chains", "destinations", "amount_max", "fee_max"}),
        Operation.CALL: frozenset({"chains", "destinations", "selectors", "amount_max", "fee_max"}),
        Operation.CREATE: frozenset({"chains", "amount_max", "fee_max"}),
        Operation.TYPED_DATA: frozenset({"chains", "destinations", "primary_types"}),
        Operation.ORDER: frozenset({"venues"}),
        Operation.CANCEL: frozenset({"venues"}),
        Operation.WITHDRAW: frozenset({"venues", "destinations"}),
        Operation.REQUEST: frozenset({"venues"}),
        Operation.OPAQUE: frozenset(),
    }
)
"""The conditions that ask something of an operation; the others do not apply to it. A field
that applies but was left out of the payload (typed data without a chain: good on every chain) is unknown (law 6).
``amount_above`` asks where ``amount_max`` does.
"""

PLAIN_OPERATIONS: frozenset[Operation] = frozenset(
    {Operation.TRANSFER, Operation.CALL, Operation.TYPED_DATA, Operation.ORDER, Operation.CANCEL}
)
"""What an allow rule without ``operations`` is about.

CREATE, WITHDRAW, REQUEST (which holds every set of parameters that is not known) and OPAQUE must be named.
"""


def verdict_of(rule: Rule) -> Verdict:
    """Return the verdict; an escalate rule whose quorum cannot be read asks nobody, so it denies (law 10)."""
    if rule.verdict is Verdict.ESCALATE:
        try:
            parse_quorum(rule.quorum)
        except Malformed:
            return Verdict.DENY
    return rule.verdict


def normal_destination(text: str) -> str:
    """Return EVM addresses in lower case, so that one account has one spelling; a tag after ``?`` and others stay."""
    return text[:42].lower() + text[42:] if text[:2] in ("0x", "0X") and text[42:43] in ("", "?") else text
