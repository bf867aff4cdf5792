"""The policy document as values: rules, limits, lists, prices, and what each operation has that a rule can ask about.

What the conditions of a rule mean stands in ``keyvault.core.policy``, which gives these names on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Literal, TypeAlias

from keyvault.core.accounts import EVM_CHARS, HEX_PREFIXES
from keyvault.core.accounts import account_of as account_of
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

Chain: TypeAlias = int | str
"""EIP-155 chain id, or the network of a chain that is not an EVM chain."""

NATIVE = "native"
"""The chain's own coin, where assets are named."""

LIST_MARK = "@"
"""Before the name of a list, where destinations are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A time of the week in UTC: ``days`` (0 is Monday), from ``start`` to before ``end``, minutes of the day."""

    days: frozenset[int]
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """All conditions that are present must hold.

    ``None`` is an absent condition. In an allow rule it never holds for an effect that has the field ("no is the
    zero value"); in a deny rule it always holds. ``ANY`` is met by every value. ``quorum`` is whom an escalate rule
    asks, as ``quorum_text`` writes it; empty in all others. ``shadow``: the rule decides nothing, that it matched is
    recorded.

    In deny and escalate rules only: ``amount_above`` and ``usd_above`` (strictly above), ``first_seen_ms`` (the
    destination was signed for first less than this ago, or never), ``look_alike`` (the destination resembles a known
    one and is another). In allow rules only: ``hours``. ``when`` is a CEL expression that must hold as well.
    Amounts are in the asset's smallest unit, dollars in 10**-6, ``price_band_bps`` in 1/100 of a per cent.
    """

    id: str
    verdict: Verdict
    keys: frozenset[str] | Anything | None = None
    principals: frozenset[str] | Anything | None = None
    kinds: frozenset[PayloadKind] = frozenset()
    operations: frozenset[Operation] = frozenset()
    chains: frozenset[Chain] | Anything | None = None
    venues: frozenset[str] | Anything | None = None
    destinations: frozenset[str] | Anything | None = None
    selectors: frozenset[str] | Anything | None = None
    primary_types: frozenset[str] | Anything | None = None
    amount_max: int | Anything | None = None
    fee_max: int | Anything | None = None
    quorum: str = ""
    amount_above: int | None = None
    symbols: frozenset[str] | Anything | None = None
    sides: frozenset[str] | Anything | None = None
    assets: frozenset[str] | Anything | None = None
    """Contracts, mints, denominations, venues' codes, ``native``. Absent in an allow rule: the chain's own coin."""
    contracts: frozenset[str] | Anything | None = None
    type_hashes: frozenset[str] | Anything | None = None
    usd_max: int | Anything | None = None
    usd_above: int | None = None
    price_band_bps: int | Anything | None = None
    validity_ms_max: int | Anything | None = None
    first_seen_ms: int | None = None
    look_alike: bool = False
    hours: tuple[Interval, ...] = ()
    when: str = ""
    shadow: bool = False


class Per(StrEnum):
    """Whose windows a limit counts apart; values are the words of policies."""

    KEY = "key"
    PRINCIPAL = "principal"
    VENUE = "venue"
    DESTINATION = "destination"
    ASSET = "asset"
    TAG = "tag"
    ALL = "all"
    """Everything that the limit is about, together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """At most so much in any ``window_ms``, counted apart for each ``per``, of what the conditions are about.

    ``count_max`` signatures; ``amount_max`` of one asset (``asset`` on ``chain_id`` or ``network`` or at ``venue``;
    None is the chain's own coin, of which fees count as well); ``usd_max`` in 10**-6 dollars, of everything that has a
    price (what has none has no room). Absent conditions (None, empty) are about everything.
    """

    id: str
    keys: frozenset[str] | Anything
    window_ms: int
    count_max: int | None = None
    amount_max: int | None = None
    chain_id: int | None = None
    per: Per = Per.KEY
    network: str | None = None
    venue: str | None = None
    asset: str | None = None
    usd_max: int | None = None
    principals: frozenset[str] | None = None
    operations: frozenset[Operation] = frozenset()
    chains: frozenset[Chain] | None = None
    venues: frozenset[str] | None = None
    destinations: frozenset[str] | None = None
    tags: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """What one thing is worth: ``usd`` in 10**-6 dollars for a whole unit of 10**``decimals`` smallest units.

    ``places`` are the (chain, network or venue; contract, mint, code or ``native``) under which payloads name it.
    """

    name: str
    usd: int
    decimals: int
    places: frozenset[tuple[Chain, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """Which assets, by their names in the policy, a symbol at a venue exchanges.

    ``unit`` is what the venue counts as one, in 10**-18 of ``unit_asset``, which is base or quote: the size of a
    contract. 0: it counts the base asset itself.
    """

    venue: str
    symbol: str
    base: str
    quote: str
    unit: int = 0
    unit_asset: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """A static table of prices, signed by whoever publishes the policy. Older than ``age_ms_max``: none is known."""

    assets: tuple[Asset, ...] = ()
    markets: tuple[Market, ...] = ()
    as_of: int = 0
    """Unix time in milliseconds."""
    age_ms_max: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One version of the rules. An empty policy refuses everything.

    ``lists`` are destinations by name (``@name`` in rules and limits); ``tags`` are keys by name, for limits that many
    keys share.
    """

    version: int
    rules: tuple[Rule, ...]
    limits: tuple[Limit, ...]
    lists: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    tags: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    prices: Prices = Prices()


ASKED_FIELDS: Mapping[Operation, frozenset[str]] = MappingProxyType(
    {
        Operation.TRANSFER: frozenset({"chains", "assets", "destinations", "amount_max", "fee_max"}),
        Operation.ALLOWANCE: frozenset({"chains", "assets", "destinations", "amount_max", "fee_max"}),
        Operation.CALL: frozenset({"chains", "destinations", "selectors", "amount_max", "fee_max"}),
        Operation.CREATE: frozenset({"chains", "amount_max", "fee_max"}),
        Operation.DELEGATE: frozenset({"chains", "destinations", "fee_max"}),
        Operation.KEY_GRANT: frozenset({"chains", "venues", "destinations", "fee_max"}),
        Operation.ADMIN: frozenset({"chains", "venues", "contracts", "destinations", "selectors", "fee_max"}),
        Operation.SETUP: frozenset({"chains", "venues", "fee_max"}),
        Operation.MESSAGE: frozenset(),
        Operation.TYPED_DATA: frozenset({"chains", "destinations", "primary_types"}),
        Operation.ORDER: frozenset({"chains", "venues", "symbols", "assets", "amount_max"}),
        Operation.REDUCE: frozenset({"chains", "venues", "symbols"}),
        Operation.CANCEL: frozenset({"chains", "venues"}),
        Operation.WITHDRAW: frozenset({"chains", "venues", "destinations", "assets", "usd_max"}),
        Operation.SESSION: frozenset({"venues"}),
        Operation.REQUEST: frozenset({"venues"}),
        Operation.OPAQUE: frozenset(),
    }
)
"""The conditions that ask something of an operation; the others do not apply to it. A field
that applies but was left out of the payload (typed data without a chain: good on every chain) is unknown (law 6).
``amount_above`` asks where ``amount_max`` does, ``usd_above`` where ``usd_max`` does.

Of a place, either ask: an effect at a venue has no chain unless it states one, and the other way round; but a WITHDRAW
goes by a network even where it does not say which: then that is unknown. Assets, the
selector of an ADMIN and an order's symbol ask only where the effect has one. A fee that is paid asks ``fee_max``
whatever the operation is. An effect of typed data that is known
asks ``contracts`` and ``type_hashes`` as well, and ALLOWANCE then ``validity_ms_max``.
"""

PLAIN_OPERATIONS: frozenset[Operation] = frozenset(
    {
        Operation.TRANSFER,
        Operation.CALL,
        Operation.TYPED_DATA,
        Operation.ORDER,
        Operation.REDUCE,
        Operation.CANCEL,
    }
)
"""What an allow rule without ``operations`` is about.

All others must be named: what gives power away, WITHDRAW, REQUEST (which holds every set of parameters that is not
known) and OPAQUE.
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
    if text[:2] not in HEX_PREFIXES:
        return text
    if len(text) <= EVM_CHARS:
        return text.lower()
    return text[:EVM_CHARS].lower() + text[EVM_CHARS:] if text[EVM_CHARS] == "?" else text
