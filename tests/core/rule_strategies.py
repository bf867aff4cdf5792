"""Rules, policies and requests in a world so small that they meet often."""

import dataclasses
from collections.abc import Sequence

from hypothesis import strategies as st

from keyvault.core.familiar import Familiar
from keyvault.core.ids import KeyId, Principal, UnixMillis
from keyvault.core.intent import Completeness, Effect, Intent, Operation, PayloadKind
from keyvault.core.policy import ANY, ASKED_FIELDS, Anything, Limit, Permission, Policy, Rule, Verdict, evaluate
from keyvault.core.policy_facts import Moment
from keyvault.core.policy_rules import Asset, Interval, Market, Per, Prices

KEYS = [KeyId("eth-hot"), KeyId("eth-cold")]
PRINCIPALS = [Principal("spiffe://demo/bot/maker"), Principal("spiffe://demo/bot/taker")]
CHAINS = [1, 5]
VENUES = ["binance"]
DESTINATIONS = ["0x" + "ab" * 20, "0x" + "cd" * 20]
TWIN = "0xabab" + "00" * 16 + "abab"
"""Looks like the first of them."""
LISTS = {"home": frozenset(DESTINATIONS), "desks": frozenset(DESTINATIONS)}
"""Every policy names all destinations, so that a rule more or less changes nothing about what looks alike."""
HOURS = (
    (Interval(days=frozenset({3}), start=0, end=1),),
    (Interval(days=frozenset(range(7)), start=0, end=1_440),),
)
"""The first minute of the epoch, a Thursday; and always."""
DAY_MS = 86_400_000
SELECTORS = ["0xa9059cbb", "0x095ea7b3"]
PRIMARY_TYPES = ["Order", "Permit"]
AMOUNTS = [0, 1, 2, 3]
SYMBOLS = ["BTCUSDT", "DOGEUSDT"]
TOKENS = ["0x" + "70" * 20, "0x" + "71" * 20]
TYPE_HASHES = ["0x" + "aa" * 32]
STATED = {
    Operation.ADMIN: ("contracts",),
    Operation.ALLOWANCE: ("type_hashes", "contracts"),
    Operation.TRANSFER: ("contracts",),
}
"""What an operation may state besides what it asks."""
WHENS = ["", "", "", "amount <= 1", "destination.endsWith('cd') || chain_id == 5", "usd_micros < 3000000"]
PRICES = Prices(
    assets=(
        Asset(
            name="ETH", usd=1_000_000, decimals=0, places=frozenset({(1, "native"), ("binance", "BTC"), (1, TOKENS[0])})
        ),
        Asset(name="USD", usd=1_000_000, decimals=0, places=frozenset({("binance", "USDT")})),
    ),
    markets=(Market(venue="binance", symbol="BTCUSDT", base="ETH", quote="USD"),),
    as_of=0,
    age_ms_max=2**60,
)
QUORUMS = ["1 of risk", "2 of risk", "1 of risk and 1 of treasury"]

OPERATIONS = {
    PayloadKind.EVM_TRANSACTION: [Operation.TRANSFER, Operation.CALL, Operation.CREATE, Operation.ADMIN],
    PayloadKind.TYPED_DATA: [Operation.TYPED_DATA, Operation.ALLOWANCE],
    PayloadKind.BINANCE_REST: [Operation.ORDER, Operation.REDUCE, Operation.WITHDRAW, Operation.OPAQUE],
    PayloadKind.RAW_DIGEST: [Operation.OPAQUE],
}
KINDS = list(OPERATIONS)
ALL_OPERATIONS = sorted({each for some in OPERATIONS.values() for each in some})
FACTS: dict[str, tuple[str, Sequence[str | int]]] = {
    "chains": ("chain_id", CHAINS),
    "venues": ("venue", VENUES),
    "destinations": ("destination", [*DESTINATIONS, TWIN]),
    "selectors": ("selector", SELECTORS),
    "primary_types": ("primary_type", PRIMARY_TYPES),
    "symbols": ("symbol", SYMBOLS),
    "assets": ("asset", TOKENS),
    "contracts": ("contract", TOKENS),
    "type_hashes": ("type_hash", TYPE_HASHES),
    "amount_max": ("amount", AMOUNTS),
    "fee_max": ("fee_max", AMOUNTS),
}


def condition(values: Sequence[str | int]) -> st.SearchStrategy[frozenset[str | int] | Anything | None]:
    return st.sampled_from([None, ANY, ANY, *(frozenset({value}) for value in values), frozenset(values)])


CAPS = st.sampled_from([None, ANY, ANY, 1, 2])
ABOVE = st.sampled_from([None, None, 0, 1, 2])
CONDITIONS = {
    "keys": condition(KEYS),
    "principals": condition(PRINCIPALS),
    "kinds": st.frozensets(st.sampled_from(KINDS), max_size=3),
    "operations": st.sampled_from([frozenset[Operation](), frozenset(Operation)])
    | st.frozensets(st.sampled_from(ALL_OPERATIONS), max_size=3),
    "chains": condition(CHAINS),
    "venues": condition(VENUES),
    "destinations": condition([*DESTINATIONS, "@home"]),
    "selectors": condition(SELECTORS),
    "primary_types": condition(PRIMARY_TYPES),
    "symbols": condition(SYMBOLS),
    "assets": condition([*TOKENS, "native"]),
    "contracts": condition(TOKENS),
    "type_hashes": condition(TYPE_HASHES),
    "usd_max": st.sampled_from([None, ANY, ANY, 1_000_000, 2_000_000]),
    "validity_ms_max": st.sampled_from([None, ANY, ANY, 5]),
    "when": st.sampled_from(WHENS),
    "sides": condition(["BUY", "SELL"]),
    "price_band_bps": st.sampled_from([None, None, ANY, 0, 100]),
    "first_seen_ms": st.sampled_from([None, None, None, DAY_MS]),
    "look_alike": st.sampled_from([False, False, False, True]),
    "hours": st.sampled_from([(), (), *HOURS]),
    "shadow": st.sampled_from([False, False, False, True]),
    "amount_max": CAPS,
    "fee_max": CAPS,
}
NARROW = sorted(CONDITIONS.keys() - {"first_seen_ms", "look_alike"})
"""What an allow rule can say and still hold."""
IDS = st.sampled_from("abcdefgh")

ALLOWS: st.SearchStrategy[Rule] = st.builds(Rule, id=IDS, verdict=st.just(Verdict.ALLOW), **CONDITIONS)
DENIES: st.SearchStrategy[Rule] = st.builds(
    Rule, id=IDS, verdict=st.just(Verdict.DENY), amount_above=ABOVE, **CONDITIONS
)
ESCALATES: st.SearchStrategy[Rule] = st.builds(
    Rule,
    id=IDS,
    verdict=st.just(Verdict.ESCALATE),
    quorum=st.sampled_from(QUORUMS),
    amount_above=ABOVE,
    **CONDITIONS,
)

EVERYTHING = Rule(
    id="everything",
    verdict=Verdict.ALLOW,
    keys=ANY,
    principals=ANY,
    kinds=frozenset(PayloadKind),
    operations=frozenset(Operation),
    chains=ANY,
    venues=ANY,
    destinations=ANY,
    selectors=ANY,
    primary_types=ANY,
    symbols=ANY,
    assets=ANY,
    contracts=ANY,
    type_hashes=ANY,
    usd_max=ANY,
    validity_ms_max=ANY,
    amount_max=ANY,
    fee_max=ANY,
)


@st.composite
def wide(draw: st.DrawFn) -> Rule:
    """Return an allow rule that holds often: at most two conditions are narrow."""
    narrow = draw(st.lists(st.sampled_from(NARROW), max_size=2, unique=True))
    return dataclasses.replace(EVERYTHING, **{field: draw(CONDITIONS[field]) for field in narrow})  # type: ignore[arg-type]  # names of fields


WIDE = wide()
WIDE_ESCALATES: st.SearchStrategy[Rule] = st.builds(
    lambda rule, quorum, above: dataclasses.replace(
        rule, verdict=Verdict.ESCALATE, quorum=quorum, amount_above=above, id="wide"
    ),
    WIDE,
    st.sampled_from(QUORUMS),
    ABOVE,
)
RULES = st.one_of(WIDE, WIDE, WIDE_ESCALATES, ALLOWS, DENIES, ESCALATES)

TAGS = {"hot": frozenset(KEYS[:1]), "makers": frozenset(KEYS), "none": frozenset[str]()}
_ABSENT = st.none()
PLACES: st.SearchStrategy[dict[str, int | str | None]] = st.sampled_from(
    [
        *({"chain_id": chain, "asset": asset} for chain in CHAINS for asset in (None, TOKENS[0])),
        {"venue": "binance", "asset": "BTCUSDT"},
        {"network": "bitcoin", "asset": "native"},
    ]
)


@st.composite
def limits(draw: st.DrawFn) -> Limit:
    """Return a limit with one measure or more; conditions are mostly absent."""
    counted, amount, usd = draw(
        st.tuples(
            st.sampled_from([None, 0, 2, 3]), st.sampled_from([None, 0, 5, 6]), st.sampled_from([None, 2_000_000])
        )
    )
    return Limit(
        id=draw(IDS),
        keys=draw(st.just(ANY) | st.sampled_from([frozenset[str](KEYS), frozenset[str](KEYS[:1])])),
        window_ms=draw(st.sampled_from([60_000, 3_600_000])),
        count_max=2 if counted is None and amount is None and usd is None else counted,
        amount_max=amount,
        usd_max=usd,
        per=draw(st.sampled_from(Per)),
        principals=draw(_ABSENT | _ABSENT | st.just(frozenset(PRINCIPALS[:1]))),
        operations=draw(
            st.just(frozenset[Operation]()) | st.frozensets(st.sampled_from(ALL_OPERATIONS), min_size=1, max_size=4)
        ),
        chains=draw(_ABSENT | _ABSENT | st.sampled_from([frozenset(CHAINS), frozenset(CHAINS[:1])])),
        venues=draw(_ABSENT | _ABSENT | st.just(frozenset(VENUES))),
        destinations=draw(_ABSENT | _ABSENT | st.sampled_from([frozenset({"@desks"}), frozenset(DESTINATIONS[:1])])),
        tags=draw(_ABSENT | _ABSENT | st.sampled_from([frozenset(TAGS), frozenset({"hot"}), frozenset({"none"})])),
        **(draw(PLACES) if amount is not None else {}),  # type: ignore[arg-type]  # names of fields
    )


LIMITS = limits()


def policy_of(rules: list[Rule], limited: list[Limit] | None = None) -> Policy:
    return Policy(version=1, rules=tuple(rules), limits=tuple(limited or ()), prices=PRICES, lists=LISTS, tags=TAGS)


@st.composite
def effects(draw: st.DrawFn, kind: PayloadKind) -> Effect:
    """Return an effect of the kind whose fields are stated, or now and then left out."""
    operation = draw(st.sampled_from(OPERATIONS[kind]))
    stated = {
        FACTS[field][0]: draw(st.none() | st.sampled_from(FACTS[field][1]))
        for field in sorted({*ASKED_FIELDS[operation], *STATED.get(operation, ())} & FACTS.keys())
    }
    if operation in (Operation.ORDER, Operation.REDUCE):
        stated["quantity"] = draw(st.none() | st.sampled_from([10**18, 2 * 10**18]))
        stated["price"] = draw(st.none() | st.sampled_from([10**18, 101 * 10**16, 102 * 10**16]))
        stated["side"] = draw(st.none() | st.sampled_from(["BUY", "SELL"]))
    if kind is PayloadKind.BINANCE_REST:  # no chain, and so nothing of what only chains have
        stated.update(dict.fromkeys(("chain_id", "fee_max", "asset"), None))
    else:
        stated["venue"] = None
    return Effect(operation=operation, **stated)  # type: ignore[arg-type]  # names of fields


@st.composite
def intents(draw: st.DrawFn) -> Intent:
    kind = draw(st.sampled_from(KINDS))
    return Intent(
        kind=kind,
        algorithms=frozenset(),
        signing_input=bytes(32),
        effects=tuple(draw(st.lists(effects(kind), min_size=1, max_size=2))),
        completeness=draw(st.sampled_from([Completeness.FULL, Completeness.PARTIAL, Completeness.OPAQUE])),
        expires_at=draw(st.none() | st.sampled_from([UnixMillis(4), UnixMillis(6)])),
    )


@dataclasses.dataclass(frozen=True)
class Asked:
    """One request."""

    key: KeyId
    principal: Principal
    intent: Intent
    moment: Moment

    def judged_by(self, policy: Policy) -> Permission:
        """Return the permission, or raise Refused."""
        return evaluate(policy, key=self.key, principal=self.principal, intent=self.intent, moment=self.moment)


@st.composite
def moments(draw: st.DrawFn) -> Moment:
    """Return a time, and what was signed for before; not all of it need be known."""
    familiar = Familiar()
    for index, destination in enumerate(draw(st.lists(st.sampled_from([*DESTINATIONS, TWIN]), max_size=2))):
        seen = Effect(operation=Operation.TRANSFER, destination=destination)
        familiar.saw(KEYS[0], [seen], index, UnixMillis(0))
    now = draw(st.sampled_from([0, 3, 60_000, DAY_MS]))
    return Moment(now=UnixMillis(now), familiar=familiar, known=draw(st.integers(0, 2)))


ASKED = st.builds(Asked, st.sampled_from(KEYS), st.sampled_from(PRINCIPALS), intents(), moments())
