"""Findings about policies, their names, and what is said of single conditions."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

from keyvault.core import ids, limits
from keyvault.core.errors import Malformed
from keyvault.core.policy_rules import ANY, LIST_MARK, Chain
from keyvault.core.policy_values import check_chain


class Lint(StrEnum):
    """Names of findings."""

    TYPED_DATA_UNPINNED = "L3-typed-data-unpinned"
    CONTRACT_WITHOUT_SELECTOR = "L4-contract-without-selector"
    CONTRACT_WITHOUT_CAP = "L4-contract-without-cap"
    VALUE = "L5-value"
    RESTRICTION_BY_TIME = "L7-restriction-by-time"
    TIME_OF_WEEK = "L8-time-of-week"
    UNREACHABLE = "L11-unreachable"
    SHADOWED = "L11-shadowed"
    WITHOUT_MEASURE = "L12-without-measure"
    WITHOUT_UNIT = "L12-without-unit"
    NEVER_COUNTS = "L12-never-counts"
    WINDOW = "L12-window"
    CLAIMED = "L13-claimed"
    KEY_AT_TWO_VENUES = "L14-key-at-two-venues"
    ABSENT = "absent-condition"
    BOUND = "bound"
    ID = "id"
    LARGE_ONLY = "allows-large-only"
    OPAQUE = "opaque-unnamed"
    PREDICATE = "predicate"
    QUORUM = "quorum"
    SMALL_ONLY = "restricts-small-only"
    UNKNOWN_NAME = "unknown-name"
    UNUSED = "unused"


FIELD_WORDS = {
    "amount_max": "amount",
    "fee_max": "fee",
    "amount_above": "above",
    "usd_max": "usd",
    "price_band_bps": "price_band",
    "validity_ms_max": "validity",
    "first_seen_ms": "first_seen",
}
"""Fields that have another word in policy files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong and what would be right.

    ``field`` is that of the Policy, Rule or Limit; ``index`` is its place; ``name`` is that of a list or tag.
    """

    section: Literal["policy", "rules", "limits"]
    index: int = 0
    field: str
    name: str = ""
    lint: Lint
    problem: str


Problems: TypeAlias = Iterator[tuple[Lint, str, str]]
"""(name, field, problem)."""


def lint_id(text: str) -> Problems:
    """Say what is wrong with the name of a rule, limit, list or tag."""
    try:
        ids.parse_key_id(text)
    except Malformed as malformed:
        yield Lint.ID, "id", malformed.problem


def value_problems(values: frozenset[str], check: Callable[[str], str], *, lists: bool) -> Iterator[str]:
    """Say what is wrong with the values of a condition; ``lists``: they may name lists."""
    if not values:
        yield "is empty, so it never holds: list what is meant, or write any"
    if len(values) > limits.POLICY_VALUES_MAX:
        yield f"{len(values)} values, at most {limits.POLICY_VALUES_MAX} are permitted"
    for value in sorted(values):
        if value == ANY.value:
            yield "any is no name: write any without brackets"
            continue
        if value.startswith(LIST_MARK) and not lists:
            yield f"{value[:80]}: only destinations can name a list"
            continue
        try:
            normal = check(value)
        except Malformed as malformed:
            yield malformed.problem
        else:
            if normal != value:
                yield f"{value} must be written {normal}"


def chain_problems(chains: frozenset[Chain]) -> Iterator[str]:
    """Say what is wrong with a condition on chains."""
    if not chains:
        yield "is empty, so it never holds: list what is meant, or write any"
    if len(chains) > limits.POLICY_VALUES_MAX:
        yield f"{len(chains)} values, at most {limits.POLICY_VALUES_MAX} are permitted"
    for chain in chains:
        try:
            check_chain(chain)
        except Malformed as malformed:
            yield malformed.problem


def listed(words: Iterable[str]) -> str:
    """Return words for a sentence, in order."""
    return ", ".join(sorted(words))
