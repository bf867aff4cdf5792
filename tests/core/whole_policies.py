"""Policies that say everything there is to say, each rule made for what it is about."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.policy import ANY, Limit, Policy, Rule, Verdict
from keyvault.core.policy_kinds import KIND_OPERATIONS, VENUES, asked, known, pinned
from keyvault.core.policy_rules import Asset, Interval, Market, Per, Prices
from keyvault.core.policy_values import AMOUNT_MAX, BAND_MAX, USD_MAX
from keyvault.core.prices import unit_problem

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True).filter(lambda name: name != "any")
PRINCIPALS = NAMES.map(lambda name: f"spiffe://demo/bot/{name}")
ADDRESSES = st.integers(0, 2**160 - 1).map(lambda number: f"0x{number:040x}")
TEXTS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40).filter(
    lambda text: text != "any" and text[:2].lower() != "0x" and text[0] != "@"
)
CODES = TEXTS.map(str.upper)
"""Assets and markets as venues name them."""
CHAINS = st.integers(1, AMOUNT_MAX) | st.sampled_from(["bitcoin", "solana", "cosmos:dydx-mainnet-1"])
PLACES = st.sampled_from(sorted(VENUES))
TYPE_HASHES = st.integers(0, 2**256 - 1).map(lambda number: f"0x{number:064x}")
LISTS, TAGS = ("treasury", "null"), ("desk", "y")
"""Names that YAML has ideas about are names as well."""
WHENS = ("amount <= 5", "symbol in ['a', \"b\"] &&\n\t!(side == 'SELL')", "usd_micros < 7 || validity_ms > 3")
SPAN = st.integers(1, limits.VALIDITY_MS_MAX)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "chains": CHAINS,
    "venues": PLACES,
    "destinations": ADDRESSES | TEXTS | st.sampled_from([f"@{name}" for name in LISTS]),
    "contracts": ADDRESSES,
    "selectors": st.integers(0, 2**32 - 1).map(lambda number: f"0x{number:08x}"),
    "primary_types": st.from_regex(r"[A-Za-z_$][A-Za-z0-9_$]{0,20}", fullmatch=True).filter(lambda name: name != "any"),
    "type_hashes": TYPE_HASHES,
    "symbols": CODES,
    "sides": st.sampled_from(["BUY", "SELL"]),
    "assets": ADDRESSES | st.just("native") | CODES,
}
CAPS = {
    "amount_max": st.integers(0, AMOUNT_MAX),
    "fee_max": st.integers(0, AMOUNT_MAX),
    "usd_max": st.integers(0, USD_MAX),
    "price_band_bps": st.integers(0, BAND_MAX),
    "validity_ms_max": SPAN,
}
HOURS = st.dictionaries(
    st.tuples(st.integers(0, 1_439), st.integers(1, 1_440)).filter(lambda time: time[0] < time[1]),
    st.frozensets(st.integers(0, 6), min_size=1),
    max_size=2,
).map(lambda days: tuple(Interval(days=days[time], start=time[0], end=time[1]) for time in sorted(days)))
SCOPE = {"keys": NAMES, "principals": PRINCIPALS}
EVM = frozenset({PayloadKind.EVM_TRANSACTION, PayloadKind.EVM_AUTHORIZATION, PayloadKind.TYPED_DATA})


def some(values: st.SearchStrategy[Any]) -> st.SearchStrategy[frozenset[Any]]:
    return st.frozensets(values, min_size=1, max_size=3)


def said(field: str, kind: PayloadKind) -> st.SearchStrategy[Any]:
    """Return what a condition on this field can say, without any."""
    if field in CAPS:
        return CAPS[field]
    if field == "destinations" and kind in EVM:
        return some(ADDRESSES | st.just("@treasury"))
    return some(VALUES[field])


@st.composite
def allows(draw: st.DrawFn) -> Rule:
    """Return an allow rule that says for one operation all that it must, and now and then more."""
    kind = draw(st.sampled_from(PayloadKind))
    operation = draw(st.sampled_from(sorted(KIND_OPERATIONS[kind])))
    stated: dict[str, Any] = {}
    for field in sorted((VALUES.keys() | CAPS.keys()) & known(kind, operation)):
        needed = field in asked(kind, operation)
        choices = [said(field, kind)] + ([] if field in pinned(kind, operation) else [st.just(ANY)])
        stated[field] = draw(st.one_of(*choices, *([] if needed else [st.none()])))
    if stated.get("assets") is ANY and stated.get("amount_max") is not None:
        stated["amount_max"] = ANY
    opaque = operation is Operation.OPAQUE
    return Rule(
        id=draw(NAMES),
        verdict=Verdict.ALLOW,
        keys=draw(some(NAMES) if opaque else some(NAMES) | st.just(ANY)),
        principals=draw(some(PRINCIPALS) | st.just(ANY)),
        kinds=frozenset({kind}),
        operations=frozenset({operation}),
        hours=draw(HOURS),
        when=draw(st.sampled_from(["", "", *WHENS])),
        shadow=draw(st.booleans()),
        **stated,
    )


@st.composite
def restricts(draw: st.DrawFn) -> Rule:
    """Return a deny or escalate rule."""
    verdict = draw(st.sampled_from([Verdict.DENY, Verdict.ESCALATE]))
    fields = draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=3, unique=True))
    stated: dict[str, Any] = {field: draw(some(VALUES[field]) | st.just(ANY)) for field in fields}
    if verdict is Verdict.ESCALATE:
        caps = draw(st.lists(st.sampled_from(sorted(CAPS)), max_size=2, unique=True))
        stated |= dict.fromkeys(caps, ANY)
    return Rule(
        id=draw(NAMES),
        verdict=verdict,
        quorum="" if verdict is Verdict.DENY else draw(st.sampled_from(["1 of risk", "2 of a and (1 of b or 3 of c)"])),
        keys=draw(st.none() | st.just(ANY) | some(NAMES)),
        principals=draw(st.none() | st.just(ANY) | some(PRINCIPALS)),
        amount_above=draw(st.none() | st.integers(0, AMOUNT_MAX)),
        usd_above=draw(st.none() | st.integers(0, USD_MAX)),
        first_seen_ms=draw(st.none() | st.integers(1, limits.FIRST_SEEN_MS_MAX)),
        look_alike=draw(st.booleans()),
        when=draw(st.sampled_from(["", *WHENS])),
        shadow=draw(st.booleans()),
        **stated,
    )


@st.composite
def limited(draw: st.DrawFn) -> Limit:
    """Return a limit that counts something."""
    place = draw(st.sampled_from(["", "chain_id", "network", "venue"]))
    measures: dict[str, Any] = {
        "amount_max": draw(st.integers(0, AMOUNT_MAX)) if place else None,
        "count_max": draw(st.none() | st.integers(0, 2**63 - 1)),
        "usd_max": draw(st.none() | st.integers(0, USD_MAX)),
    }
    if not place and measures["count_max"] is None and measures["usd_max"] is None:
        measures["count_max"] = 1
    where: dict[str, Any] = {}
    if place:
        where[place] = {"chain_id": draw(st.integers(1, AMOUNT_MAX)), "network": "solana", "venue": "okx"}[place]
        where["asset"] = draw(CODES if place == "venue" else st.none() | ADDRESSES)
    return Limit(
        id=draw(NAMES),
        keys=draw(some(NAMES) | st.just(ANY)),
        window_ms=draw(st.integers(limits.WINDOW_MS_MIN, limits.WINDOW_MS_MAX)),
        per=draw(st.sampled_from(Per)),
        principals=draw(st.none() | some(PRINCIPALS)),
        operations=draw(st.frozensets(st.sampled_from(Operation), max_size=2)),
        chains=draw(st.none() | some(CHAINS)),
        venues=draw(st.none() | some(PLACES)),
        destinations=draw(st.none() | some(ADDRESSES | st.just("@null"))),
        tags=draw(st.none() | some(st.sampled_from(TAGS))),
        **where,
        **measures,
    )


def unread(counting: tuple[Limit, ...], tags: dict[str, frozenset[str]]) -> Rule:
    """Return a rule that permits what can be anything, so that each of the limits counts something."""
    named = [limit.keys for limit in counting if isinstance(limit.keys, frozenset)]
    return Rule(
        id="unread",
        verdict=Verdict.ALLOW,
        keys=frozenset({"unread"}).union(*named, *tags.values()),
        principals=ANY,
        kinds=frozenset({PayloadKind.RAW_DIGEST}),
        operations=frozenset({Operation.OPAQUE}),
    )


@st.composite
def traded(draw: st.DrawFn, venue: str, symbol: str, names: list[str]) -> Market:
    """Return a market, with the size of a contract or without."""
    base, quote = draw(st.sampled_from(names)), draw(st.sampled_from(names))
    market = Market(venue=venue, symbol=symbol, base=base, quote=quote)
    if not unit_problem(market) and draw(st.booleans()):
        return market
    return replace(market, unit=draw(st.integers(1, 10**36 - 1)), unit_asset=draw(st.sampled_from((base, quote))))


@st.composite
def prices(draw: st.DrawFn) -> Prices:
    """Return a table of prices, or none."""
    names = draw(st.lists(TEXTS, max_size=3, unique=True))
    if not names:
        return Prices()
    keys = st.tuples(CHAINS, ADDRESSES | TEXTS | st.just("native")) | st.tuples(PLACES, CODES)
    places = draw(st.lists(keys, min_size=len(names), max_size=6, unique_by=str))
    assets = tuple(
        Asset(
            name=name,
            usd=draw(st.integers(1, 10**15)),
            decimals=draw(st.integers(0, 36)),
            places=frozenset(places[number :: len(names)]),
        )
        for number, name in enumerate(names)
    )
    markets = draw(st.lists(st.tuples(PLACES, CODES), max_size=3, unique=True))
    return Prices(
        assets=assets,
        markets=tuple(draw(traded(venue, symbol, names)) for venue, symbol in markets),
        as_of=draw(st.integers(1, 253_402_300_799_999)),
        age_ms_max=draw(st.integers(1, limits.PRICES_AGE_MS_MAX)),
    )


@st.composite
def whole_policies(draw: st.DrawFn) -> Policy:
    """Return a policy; most have no findings. Its lists and tags are those that something names."""
    rules = draw(st.lists(allows() | restricts(), max_size=4, unique_by=lambda rule: rule.id))
    taken = {rule.id for rule in rules}
    limits_ = draw(st.lists(limited(), max_size=3, unique_by=lambda limit: limit.id))
    kept = tuple(limit for limit in limits_ if limit.id not in taken)
    users = [rule.destinations for rule in rules] + [limit.destinations for limit in kept]
    named = {each for user in users if isinstance(user, frozenset) for each in user}
    all_tags = any(limit.per is Per.TAG and limit.tags is None for limit in kept)
    tagged = {tag for limit in kept for tag in limit.tags or (TAGS if all_tags else ())}
    tags = {tag: draw(some(NAMES)) for tag in TAGS if tag in tagged}
    if kept and "unread" not in taken and draw(st.booleans()):
        rules.append(unread(kept, tags))
    return Policy(
        version=draw(st.integers(1, 2**32 - 1)),
        rules=tuple(rules),
        limits=kept,
        lists={name: draw(some(ADDRESSES | TEXTS)) for name in LISTS if f"@{name}" in named},
        tags=tags,
        prices=draw(prices()),
    )
