"""What is wrong with a rule by itself: see ``policy_lint``."""

from collections.abc import Callable
from typing import Final

from keyvault.core import ids, limits
from keyvault.core.errors import Malformed
from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.policy_cel import compile_predicate
from keyvault.core.policy_findings import (
    FIELD_WORDS,
    Lint,
    Problems,
    chain_problems,
    lint_id,
    listed,
    value_problems,
)
from keyvault.core.policy_kinds import KIND_OPERATIONS, SECRETS, VENUE_KINDS, asked, known, pinned
from keyvault.core.policy_rules import ANY, LIST_MARK, PLAIN_OPERATIONS, Chain, Rule, Verdict
from keyvault.core.policy_spelling import misspelt_in_rule
from keyvault.core.policy_values import (
    ADDRESS,
    AMOUNT_MAX,
    BAND_MAX,
    USD_MAX,
    check_destination,
    check_name,
    check_primary_type,
    check_selector,
    check_side,
    check_type_hash,
    check_venue,
)
from keyvault.core.policy_when import lint_when
from keyvault.core.quorum import parse_quorum, quorum_text
from keyvault.core.windows import window_text

_EFFECT_FIELDS = (
    "chains",
    "venues",
    "destinations",
    "contracts",
    "selectors",
    "primary_types",
    "type_hashes",
    "symbols",
    "sides",
    "assets",
    "amount_max",
    "usd_max",
    "fee_max",
    "price_band_bps",
    "validity_ms_max",
)
_MOST = {
    "usd_max": (USD_MAX, "10^18 dollars"),
    "usd_above": (USD_MAX, "10^18 dollars"),
    "price_band_bps": (BAND_MAX, "9999.99%"),
    "validity_ms_max": (limits.VALIDITY_MS_MAX, window_text(limits.VALIDITY_MS_MAX)),
}
"""Highest caps where they are not 2^256-1, and as people write them."""
_FLOORS = {"amount_above": "amount_max", "usd_above": "usd_max"}
_CAPS = ("amount_max", "usd_max", "fee_max", "price_band_bps", "validity_ms_max")
_EXAMPLES = {
    "chains": "chains: [1]",
    "venues": "venues: [binance]",
    "destinations": 'destinations: ["0x..."]',
    "contracts": 'contracts: ["0x..."]',
    "selectors": 'selectors: ["0xa9059cbb"]',
    "primary_types": "primary_types: [Order]",
    "type_hashes": 'type_hashes: ["0x..."]',
    "symbols": "symbols: [BTCUSDT]",
    "sides": "sides: [BUY]",
    "assets": "assets: [native]",
    "amount_max": "amount: 1 ether",
    "usd_max": "usd: 10000",
    "fee_max": "fee: 0.01 ether",
    "price_band_bps": "price_band: 1%",
    "validity_ms_max": "validity: 1h",
}
_OF_EVM_ADDRESSES = frozenset({PayloadKind.EVM_TRANSACTION, PayloadKind.EVM_AUTHORIZATION, PayloadKind.TYPED_DATA})
_OF_NETWORKS = VENUE_KINDS & SECRETS.keys()
"""Kinds whose chains are the venue's names of networks."""
_OF_ASSETS = frozenset({Operation.TRANSFER, Operation.ALLOWANCE, Operation.WITHDRAW})
_DAYS, _DAY_MINUTES = frozenset(range(7)), 24 * 60


_CHECKS: Final[dict[str, Callable[[str], str]]] = {
    "keys": ids.parse_key_id,
    "principals": ids.parse_principal,
    "venues": check_venue,
    "destinations": check_destination,
    "selectors": check_selector,
    "primary_types": check_primary_type,
    "type_hashes": check_type_hash,
    "symbols": check_name,
    "sides": check_side,
    "assets": check_destination,
    "contracts": check_destination,
}


def lint_rule(rule: Rule) -> Problems:
    """Return what is wrong with a rule by itself."""
    yield from lint_id(rule.id)
    yield from _lint_values(rule)
    yield from misspelt_in_rule(rule)
    yield from _lint_operations(rule)
    yield from _lint_quorum(rule)
    if rule.verdict is Verdict.ALLOW:
        yield from _lint_above(rule)
        yield from _lint_scope(rule)
        yield from _lint_effect_fields(rule)
        yield from _lint_pins(rule)
        return
    yield from _lint_caps_that_restrict(rule)
    yield from _lint_restriction(rule)


def _lint_values(rule: Rule) -> Problems:
    for field, check in _CHECKS.items():
        values = getattr(rule, field)
        if isinstance(values, frozenset):
            problems = value_problems(values, check, lists=field == "destinations")
            yield from ((Lint.VALUE, field, problem) for problem in problems)
    if isinstance(rule.chains, frozenset):
        yield from ((Lint.VALUE, "chains", problem) for problem in chain_problems(rule.chains))
        yield from _lint_networks(rule.chains, rule.kinds)
    for field in (*_CAPS, *_FLOORS):
        cap, (most, words) = getattr(rule, field), _MOST.get(field, (AMOUNT_MAX, "2^256-1"))
        if isinstance(cap, int) and not 0 <= cap <= most:
            yield Lint.BOUND, field, f"must be 0 to {words}"
    if rule.first_seen_ms is not None and not 0 < rule.first_seen_ms <= limits.FIRST_SEEN_MS_MAX:
        yield Lint.BOUND, "first_seen_ms", f"lasts at most {window_text(limits.FIRST_SEEN_MS_MAX)}, and not 0"
    yield from _lint_texts(rule)


def _lint_networks(chains: frozenset[Chain], kinds: frozenset[PayloadKind]) -> Problems:
    """Say which chains no kind of the rule knows: venues call networks by names of their own."""
    if not kinds or not kinds <= _OF_NETWORKS:
        return
    venues = {SECRETS[kind][0] for kind in kinds}
    for chain in sorted(map(str, chains)):
        if chain.partition(":")[0] not in venues:
            problem = f"{chain} is no network of {listed(venues)}: write the venue, and what it calls the network"
            yield Lint.UNREACHABLE, "chains", problem


def _lint_texts(rule: Rule) -> Problems:
    times = [(each.start, each.end) for each in rule.hours]
    if times != sorted(set(times)):
        yield Lint.TIME_OF_WEEK, "hours", "must be one interval for each time of the day, in order"
    for each in rule.hours:
        if not each.days or not each.days <= _DAYS or not 0 <= each.start < each.end <= _DAY_MINUTES:
            yield Lint.TIME_OF_WEEK, "hours", "is no time of the week: days from 0 to 6, and minutes of the day"
    if rule.when:
        try:
            compile_predicate(rule.when, unknown_holds=rule.verdict is not Verdict.ALLOW)
        except Malformed as malformed:
            yield Lint.PREDICATE, "when", malformed.problem
        else:
            yield from lint_when(rule)


def _lint_operations(rule: Rule) -> Problems:
    possible = frozenset[Operation]().union(*(KIND_OPERATIONS[kind] for kind in rule.kinds or PayloadKind))
    for operation in sorted(rule.operations - possible):
        yield (
            Lint.UNREACHABLE,
            "operations",
            f"{operation} does not occur in {listed(rule.kinds)}, which has {listed(possible)}",
        )


def _lint_quorum(rule: Rule) -> Problems:
    if rule.verdict is not Verdict.ESCALATE:
        if rule.quorum:
            yield Lint.QUORUM, "quorum", f"only an escalate rule asks a quorum: leave it out of {rule.verdict} rules"
        return
    if not rule.quorum:
        yield Lint.QUORUM, "quorum", "an escalate rule must say who approves: add quorum: 2 of risk"
        return
    try:
        canonical = quorum_text(parse_quorum(rule.quorum))
    except Malformed as malformed:
        yield Lint.QUORUM, "quorum", malformed.problem
    else:
        if rule.quorum != canonical:
            yield Lint.QUORUM, "quorum", f"must be written {canonical}"


def _lint_above(rule: Rule) -> Problems:
    """Say which conditions an allow rule cannot have: they would allow what is large, or new."""
    for field, instead in (("amount_above", "amount"), ("usd_above", "usd")):
        if getattr(rule, field) is not None:
            word = FIELD_WORDS.get(field, field)
            problem = f"an allow rule with {word} would allow only what is large: use {instead}, or escalate"
            yield Lint.LARGE_ONLY, field, problem
    if rule.first_seen_ms is not None:
        problem = "an allow rule cannot ask whether a destination is new: write an escalate or deny rule"
        yield Lint.LARGE_ONLY, "first_seen_ms", problem
    if rule.look_alike:
        yield Lint.LARGE_ONLY, "look_alike", "an allow rule cannot ask for look-alikes: write a deny rule"


def _lint_caps_that_restrict(rule: Rule) -> Problems:
    """Say which caps restrict what is small. An escalate rule permits too, so ``any`` says something there."""
    for field in _CAPS:
        cap = getattr(rule, field)
        if cap is None or (cap is ANY and rule.verdict is Verdict.ESCALATE):
            continue
        word = FIELD_WORDS.get(field, field)
        if rule.verdict is Verdict.DENY:
            problem = f"a deny rule with {word} would deny what is small: put the cap into the allow rules instead"
        elif field in _FLOORS.values():
            floor = next(each for each, asking in _FLOORS.items() if asking == field)
            instead = FIELD_WORDS.get(floor, floor)
            problem = f"an escalate rule with {word} would escalate what is small: use {instead}"
        else:
            problem = f"an escalate rule with {word} would escalate what is small: write {word}: any"
        yield Lint.SMALL_ONLY, field, problem
    if rule.hours:
        problem = "a rule that restricts only at times restricts nothing at others: put hours into allow rules"
        yield Lint.RESTRICTION_BY_TIME, "hours", problem


def _lint_restriction(rule: Rule) -> Problems:
    """Say which conditions never hold for what the rule is about, so that it does not restrict it."""
    if rule.verdict is Verdict.ESCALATE and rule.kinds:
        yield from _lint_destinations(rule)
    kinds = rule.kinds or frozenset(PayloadKind)
    about = {op for kind in kinds for op in (rule.operations or KIND_OPERATIONS[kind]) & KIND_OPERATIONS[kind]}
    stated = about - {Operation.OPAQUE}
    possible = frozenset[str]().union(*(known(kind, op) for kind in kinds for op in stated & KIND_OPERATIONS[kind]))
    verb = "denies" if rule.verdict is Verdict.DENY else "escalates"
    for field in (*_EFFECT_FIELDS, *_FLOORS, "first_seen_ms", "look_alike"):
        if getattr(rule, field) in (None, ANY, False):
            continue
        asking = _FLOORS.get(field, field)
        if stated and asking not in possible:
            word, shown = FIELD_WORDS.get(field, field), FIELD_WORDS.get(asking, asking)
            problem = f"{listed(stated)} has no {shown}, so the rule never {verb} it: leave {word} out"
            yield Lint.UNREACHABLE, field, problem


def _lint_scope(rule: Rule) -> Problems:
    if not rule.kinds:
        yield Lint.ABSENT, "kinds", "an allow rule must say for which kinds it is: add kinds: [evm-transaction]"
    if rule.keys is None:
        yield Lint.ABSENT, "keys", "an allow rule without keys never matches: add keys: [name], or keys: any"
    if rule.principals is None:
        example = "principals: [spiffe://domain/bot/name]"
        problem = f"an allow rule without principals never matches: add {example}, or any"
        yield Lint.ABSENT, "principals", problem
    if PayloadKind.RAW_DIGEST in rule.kinds and Operation.OPAQUE not in rule.operations:
        problem = "raw digests can be anything: if that is meant, add operations: [opaque]"
        yield Lint.OPAQUE, "operations", problem
    if Operation.OPAQUE in rule.operations and rule.keys is ANY:
        yield Lint.OPAQUE, "keys", "what is opaque can be anything: name the keys, any is not enough"


def _lint_effect_fields(rule: Rule) -> Problems:
    """Say which conditions keep the rule from ever matching an operation that it is about."""
    about = {kind: (rule.operations or PLAIN_OPERATIONS) & KIND_OPERATIONS[kind] for kind in rule.kinds}
    absent = [field for field in _EFFECT_FIELDS if getattr(rule, field) is None]
    for field in absent:
        asking = [(kind, op) for kind, ops in about.items() for op in sorted(ops) if field in asked(kind, op)]
        if asking and not (field == "primary_types" and rule.type_hashes is not None):
            word = FIELD_WORDS.get(field, field)
            instead = "" if any(field in pinned(kind, op) for kind, op in asking) else f", or {word}: any"
            matched = listed({op for _, op in asking})
            venues = field == "chains" and all(kind in _OF_NETWORKS for kind, _ in asking)
            example = f'chains: ["{SECRETS[asking[0][0]][0]}:ETH"]' if venues else _EXAMPLES[field]
            yield Lint.ABSENT, field, f"without {word} it never matches {matched}: add {example}{instead}"
    for kind, operations in about.items():
        yield from _fields_that_exclude(rule, kind, operations)
    yield from _lint_destinations(rule)


def _fields_that_exclude(rule: Rule, kind: PayloadKind, operations: frozenset[Operation]) -> Problems:
    if rule.operations and not operations:
        others = listed(KIND_OPERATIONS[kind])
        problem = f"the rule has no operation of {kind}: leave the kind out, or add one of {others}"
        yield Lint.UNREACHABLE, "kinds", problem
    present = [field for field in _EFFECT_FIELDS if getattr(rule, field) not in (None, ANY)]
    excluded = {op: [field for field in present if field not in known(kind, op)] for op in sorted(operations)}
    if not rule.operations and not all(excluded.values()):
        return  # one of the operations that nobody named can match
    for operation, fields in excluded.items():
        for field in fields:
            word = FIELD_WORDS.get(field, field)
            problem = f"{operation} has no {word}, so it never matches: write a rule of its own for {operation}"
            yield Lint.UNREACHABLE, field, problem


def _lint_pins(rule: Rule) -> Problems:
    """Say where ``any`` would let through what nobody can judge: whatever a contract does, and for whom."""
    operations = {kind: (rule.operations or PLAIN_OPERATIONS) & KIND_OPERATIONS[kind] for kind in sorted(rule.kinds)}
    about = [(kind, op) for kind, ops in operations.items() for op in sorted(ops)]
    for field in _EFFECT_FIELDS:
        if getattr(rule, field) is not ANY or (field == "amount_max" and isinstance(rule.usd_max, int)):
            continue
        open_to = [(kind, op) for kind, op in about if field in pinned(kind, op) and not _is_told(rule, field, op)]
        if open_to and all(kind is PayloadKind.BITCOIN_PSBT for kind, _ in open_to):
            yield Lint.CLAIMED, field, "a PSBT binds no network, so any believes what the caller says: list it"
        elif open_to:
            instead = f"write {_EXAMPLES[field]}" if field in _CAPS else "list what is meant"
            problem = f"any leaves {listed({op for _, op in open_to})} open to whatever its contract makes of it"
            yield _pin_name(open_to, field), field, f"{problem}: {instead}, or escalate it"
    if rule.assets is ANY and isinstance(rule.amount_max, int) and any(op in _OF_ASSETS for _, op in about):
        problem = "one amount is a cap on no two assets: list the assets that have the same decimals, or use usd"
        yield Lint.WITHOUT_UNIT, "amount_max", problem


def _is_told(rule: Rule, field: str, operation: Operation) -> bool:
    """Return whether another condition names the type: of what is not read, one of the two is enough."""
    if field == "primary_types":
        return isinstance(rule.type_hashes, frozenset)
    return field == "type_hashes" and operation is Operation.TYPED_DATA and isinstance(rule.primary_types, frozenset)


def _pin_name(open_to: list[tuple[PayloadKind, Operation]], field: str) -> Lint:
    if any(op is not Operation.CALL for _, op in open_to):
        return Lint.TYPED_DATA_UNPINNED
    return Lint.CONTRACT_WITHOUT_CAP if field == "amount_max" else Lint.CONTRACT_WITHOUT_SELECTOR


def _lint_destinations(rule: Rule) -> Problems:
    if not isinstance(rule.destinations, frozenset) or not rule.kinds <= _OF_EVM_ADDRESSES:
        return
    for text in sorted(rule.destinations):
        if not ADDRESS.fullmatch(text) and not text.startswith(LIST_MARK):
            yield Lint.VALUE, "destinations", f"{text[:80]} is not an EVM address: 0x and 40 hex digits"
