"""What is wrong with a policy before it decides anything.

A policy with findings must not be published: it holds a rule that can never do what it was written for, or one that
does more. Each finding says what to change. Rules that cannot match are errors because somebody relies on them.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from keyvault.core import ids, limits
from keyvault.core.errors import Malformed
from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.policy import ANY, PLAIN_OPERATIONS, Limit, Policy, Rule, Verdict, normal_destination
from keyvault.core.policy_cel import compile_predicate
from keyvault.core.policy_kinds import KIND_OPERATIONS, VENUES, asked, known
from keyvault.core.policy_rules import LIST_MARK, Chain
from keyvault.core.quorum import parse_quorum, quorum_text
from keyvault.core.windows import window_text

AMOUNT_MAX = 2**256 - 1
"""Highest native amount that an EVM can hold."""

FIELD_WORDS = {
    "amount_max": "amount",
    "fee_max": "fee",
    "amount_above": "above",
    "usd_max": "usd",
    "validity_ms_max": "validity",
    "first_seen_ms": "first_seen",
}
"""Fields that have another word in policy files."""

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
    "price_band_bps": "price_band_bps: 100",
    "validity_ms_max": "validity: 1h",
}
_SELECTOR = re.compile(r"0x([0-9a-f]{2}){1,4}", re.ASCII)
_ADDRESS = re.compile(r"0x[0-9a-f]{40}", re.ASCII)
_PRINTABLE = re.compile(rf"[!-~]{{1,{limits.POLICY_VALUE_CHARS_MAX}}}", re.ASCII)
_TYPE_HASH = re.compile(r"0x[0-9a-f]{64}", re.ASCII)
_NETWORK = re.compile(
    r"bitcoin(-testnet|-regtest)?|solana|cosmos:[A-Za-z0-9-]{1,64}|hyperliquid:(main|test)net", re.ASCII
)
_PRIMARY_TYPE = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]{0,127}", re.ASCII)


_OF_EVM_ADDRESSES = frozenset({PayloadKind.EVM_TRANSACTION, PayloadKind.EVM_AUTHORIZATION, PayloadKind.TYPED_DATA})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong and what would be right. ``field`` is that of the Policy, Rule or Limit; ``index`` is its place."""

    section: Literal["policy", "rules", "limits"]
    index: int = 0
    field: str
    problem: str


def lint(policy: Policy) -> tuple[Finding, ...]:
    """Return everything that is wrong with the policy; nothing if it may be published."""
    findings = list(_lint_policy(policy))
    for index, rule in enumerate(policy.rules):
        findings += [Finding(section="rules", index=index, field=f, problem=p) for f, p in _lint_rule(rule)]
    for index, limit in enumerate(policy.limits):
        findings += [Finding(section="limits", index=index, field=f, problem=p) for f, p in _lint_limit(limit)]
    return tuple(findings)


def check_destination(text: str) -> str:
    """Return an address in normal form (EVM: lower case; venue: as it is), or raise Malformed."""
    if not _PRINTABLE.fullmatch(text):
        most = limits.POLICY_VALUE_CHARS_MAX
        raise Malformed("destinations", f"{text[:80]!r} is not an address: 1 to {most} characters without spaces")
    return normal_destination(text)


def check_selector(text: str) -> str:
    """Return a function selector in lower case, or raise Malformed."""
    if not _SELECTOR.fullmatch(text.lower()):
        raise Malformed("selectors", f"{text[:80]!r} is not a function selector: 0x and 8 hex digits")
    return text.lower()


def check_primary_type(text: str) -> str:
    """Return the name of an EIP-712 type, or raise Malformed."""
    if not _PRIMARY_TYPE.fullmatch(text):
        raise Malformed("primary_types", f"{text[:80]!r} is not the name of an EIP-712 type")
    return text


def check_type_hash(text: str) -> str:
    """Return an EIP-712 type hash in lower case, or raise Malformed."""
    if not _TYPE_HASH.fullmatch(text.lower()):
        raise Malformed("type_hashes", f"{text[:80]!r} is not an EIP-712 type hash: 0x and 64 hex digits")
    return text.lower()


def check_side(text: str) -> str:
    """Return BUY or SELL, or raise Malformed."""
    if text not in ("BUY", "SELL"):
        raise Malformed("sides", f"{text[:80]!r} is not a side: BUY or SELL")
    return text


def check_name(text: str) -> str:
    """Return a symbol as venues write it, or raise Malformed."""
    if not _PRINTABLE.fullmatch(text):
        raise Malformed("symbols", f"{text[:80]!r} is not the name of a market: printable, without spaces")
    return text


def check_chain(chain: Chain) -> Chain:
    """Return an EIP-155 chain id, or the name of another network; or raise Malformed."""
    if isinstance(chain, str):
        if not _NETWORK.fullmatch(chain):
            known = "bitcoin, solana, cosmos:dydx-mainnet-1, hyperliquid:mainnet"
            raise Malformed("chains", f"{chain[:80]!r} is no network: {known}")
    elif not 1 <= chain <= AMOUNT_MAX:
        raise Malformed("chains", "a chain id is a whole number from 1 to 2^256-1")
    return chain


def check_venue(text: str) -> str:
    """Return the venue, or raise Malformed."""
    if text not in VENUES:
        raise Malformed("venues", f"{text[:80]!r} is not a known venue: {', '.join(sorted(VENUES))}")
    return text


_CHECKS: dict[str, Callable[[str], str]] = {
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


def _lint_policy(policy: Policy) -> Iterator[Finding]:
    if policy.version < 1:
        yield Finding(section="policy", field="version", problem="version must be 1 or more")
    if len(policy.rules) > limits.POLICY_RULES_MAX:
        problem = f"{len(policy.rules)} rules, at most {limits.POLICY_RULES_MAX} are permitted"
        yield Finding(section="policy", field="rules", problem=problem)
    if len(policy.limits) > limits.POLICY_LIMITS_MAX:
        problem = f"{len(policy.limits)} limits, at most {limits.POLICY_LIMITS_MAX} are permitted"
        yield Finding(section="policy", field="limits", problem=problem)
    yield from _duplicate_ids(policy)


def _duplicate_ids(policy: Policy) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, rule in enumerate(policy.rules):
        if rule.id in seen:
            yield Finding(section="rules", index=index, field="id", problem=f"id {rule.id} is taken: answers name it")
        seen.add(rule.id)
    for index, limit in enumerate(policy.limits):
        if limit.id in seen:
            yield Finding(section="limits", index=index, field="id", problem=f"id {limit.id} is taken: answers name it")
        seen.add(limit.id)


_Problems = Iterator[tuple[str, str]]
"""(field, problem)."""


def _lint_rule(rule: Rule) -> _Problems:
    yield from _lint_id(rule.id)
    yield from _lint_values(rule)
    yield from _lint_operations(rule)
    yield from _lint_quorum(rule)
    if rule.verdict is Verdict.ALLOW:
        yield from _lint_above(rule)
        yield from _lint_scope(rule)
        yield from _lint_effect_fields(rule)
        return
    yield from _lint_caps_that_restrict(rule)
    yield from _lint_restriction(rule)


def _lint_id(text: str) -> _Problems:
    try:
        ids.parse_key_id(text)
    except Malformed as malformed:
        yield "id", malformed.problem


def _lint_values(rule: Rule) -> _Problems:
    for field, check in _CHECKS.items():
        values = getattr(rule, field)
        if isinstance(values, frozenset):
            yield from ((field, problem) for problem in _value_problems(values, check))
    if isinstance(rule.chains, frozenset):
        yield from (("chains", problem) for problem in _chain_problems(rule.chains))
    for field in (*_CAPS, *_FLOORS, "first_seen_ms"):
        cap = getattr(rule, field)
        if isinstance(cap, int) and not 0 <= cap <= AMOUNT_MAX:
            yield field, "must be 0 to 2^256-1"
    if rule.when:
        try:
            compile_predicate(rule.when, unknown_holds=rule.verdict is not Verdict.ALLOW)
        except Malformed as malformed:
            yield "when", malformed.problem


def _value_problems(values: frozenset[str], check: Callable[[str], str]) -> Iterator[str]:
    if not values:
        yield "is empty, so it never holds: list what is meant, or write any"
    if len(values) > limits.POLICY_VALUES_MAX:
        yield f"{len(values)} values, at most {limits.POLICY_VALUES_MAX} are permitted"
    for value in sorted(values):
        try:
            normal = check(value)
        except Malformed as malformed:
            yield malformed.problem
        else:
            if normal != value:
                yield f"{value} must be written {normal}"


def _chain_problems(chains: frozenset[Chain]) -> Iterator[str]:
    if not chains:
        yield "is empty, so it never holds: list what is meant, or write any"
    if len(chains) > limits.POLICY_VALUES_MAX:
        yield f"{len(chains)} values, at most {limits.POLICY_VALUES_MAX} are permitted"
    for chain in chains:
        try:
            check_chain(chain)
        except Malformed as malformed:
            yield malformed.problem


def _lint_operations(rule: Rule) -> _Problems:
    possible = frozenset[Operation]().union(*(KIND_OPERATIONS[kind] for kind in rule.kinds or PayloadKind))
    for operation in sorted(rule.operations - possible):
        yield "operations", f"{operation} does not occur in {_listed(rule.kinds)}, which has {_listed(possible)}"


def _lint_quorum(rule: Rule) -> _Problems:
    if rule.verdict is not Verdict.ESCALATE:
        if rule.quorum:
            yield "quorum", f"only an escalate rule asks a quorum: leave it out of {rule.verdict} rules"
        return
    if not rule.quorum:
        yield "quorum", "an escalate rule must say who approves: add quorum: 2 of risk"
        return
    try:
        canonical = quorum_text(parse_quorum(rule.quorum))
    except Malformed as malformed:
        yield "quorum", malformed.problem
    else:
        if rule.quorum != canonical:
            yield "quorum", f"must be written {canonical}"


def _lint_above(rule: Rule) -> _Problems:
    if rule.amount_above is not None:
        yield "amount_above", "an allow rule with above would allow only what is large: use amount, or escalate"
    if rule.usd_above is not None:
        yield "usd_above", "an allow rule with usd_above would allow only what is large: use usd, or escalate"
    if rule.first_seen_ms is not None:
        yield "first_seen_ms", "an allow rule cannot ask whether a destination is new: write an escalate or deny rule"
    if rule.look_alike:
        yield "look_alike", "an allow rule cannot ask for look-alikes: write a deny rule"


def _lint_caps_that_restrict(rule: Rule) -> _Problems:
    """Say which caps restrict what is small. An escalate rule permits too, so ``any`` says something there."""
    for field in _CAPS:
        cap = getattr(rule, field)
        if cap is None or (cap is ANY and rule.verdict is Verdict.ESCALATE):
            continue
        word = FIELD_WORDS.get(field, field)
        if rule.verdict is Verdict.DENY:
            yield field, f"a deny rule with {word} would deny what is small: put the cap into the allow rules instead"
        elif field in _FLOORS.values():
            floor = next(each for each, asking in _FLOORS.items() if asking == field)
            instead = FIELD_WORDS.get(floor, floor)
            yield field, f"an escalate rule with {word} would escalate what is small: use {instead}"
        else:
            yield field, f"an escalate rule with {word} would escalate what is small: write {word}: any"
    if rule.hours:
        yield "hours", "a rule that restricts only at times restricts nothing at others: put hours into allow rules"


def _lint_restriction(rule: Rule) -> _Problems:
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
            yield field, f"{_listed(stated)} has no {shown}, so the rule never {verb} it: leave {word} out"


def _lint_scope(rule: Rule) -> _Problems:
    if not rule.kinds:
        yield "kinds", "an allow rule must say for which kinds it is: add kinds: [evm-transaction]"
    if rule.keys is None:
        yield "keys", "an allow rule without keys never matches: add keys: [name], or keys: any"
    if rule.principals is None:
        yield (
            "principals",
            ("an allow rule without principals never matches: add principals: [spiffe://domain/bot/name], or any"),
        )
    if PayloadKind.RAW_DIGEST in rule.kinds and Operation.OPAQUE not in rule.operations:
        yield "operations", "raw digests can be anything: if that is meant, add operations: [opaque]"
    if Operation.OPAQUE in rule.operations and rule.keys is ANY:
        yield "keys", "what is opaque can be anything: name the keys, any is not enough"


def _lint_effect_fields(rule: Rule) -> _Problems:
    """Say which conditions keep the rule from ever matching an operation that it is about."""
    about = {kind: (rule.operations or PLAIN_OPERATIONS) & KIND_OPERATIONS[kind] for kind in rule.kinds}
    absent = [field for field in _EFFECT_FIELDS if getattr(rule, field) is None]
    for field in absent:
        asking = [op for kind, ops in about.items() for op in sorted(ops) if field in asked(kind, op)]
        if asking and not (field == "primary_types" and rule.type_hashes is not None):
            word = FIELD_WORDS.get(field, field)
            yield (
                field,
                f"without {word} it never matches {_listed(set(asking))}: add {_EXAMPLES[field]}, or {word}: any",
            )
    for kind, operations in about.items():
        yield from _fields_that_exclude(rule, kind, operations)
    yield from _lint_destinations(rule)


def _fields_that_exclude(rule: Rule, kind: PayloadKind, operations: frozenset[Operation]) -> _Problems:
    if rule.operations and not operations:
        yield (
            "kinds",
            f"the rule has no operation of {kind}: leave the kind out, or add one of {_listed(KIND_OPERATIONS[kind])}",
        )
    present = [field for field in _EFFECT_FIELDS if getattr(rule, field) not in (None, ANY)]
    excluded = {op: [field for field in present if field not in known(kind, op)] for op in sorted(operations)}
    if not rule.operations and not all(excluded.values()):
        return  # one of the operations that nobody named can match
    for operation, fields in excluded.items():
        for field in fields:
            word = FIELD_WORDS.get(field, field)
            yield field, f"{operation} has no {word}, so it never matches: write a rule of its own for {operation}"


def _lint_destinations(rule: Rule) -> _Problems:
    if not isinstance(rule.destinations, frozenset) or not rule.kinds <= _OF_EVM_ADDRESSES:
        return
    for text in sorted(rule.destinations):
        if not _ADDRESS.fullmatch(text) and not text.startswith(LIST_MARK):
            yield "destinations", f"{text[:80]} is not an EVM address: 0x and 40 hex digits"


def _lint_limit(limit: Limit) -> _Problems:
    yield from _lint_id(limit.id)
    if isinstance(limit.keys, frozenset):
        yield from (("keys", problem) for problem in _value_problems(limit.keys, ids.parse_key_id))
    if not limits.WINDOW_MS_MIN <= limit.window_ms <= limits.WINDOW_MS_MAX:
        shortest, longest = window_text(limits.WINDOW_MS_MIN), window_text(limits.WINDOW_MS_MAX)
        yield "window_ms", f"a window lasts from {shortest} to {longest}"
    if limit.count_max is None and limit.amount_max is None and limit.usd_max is None:
        yield "id", "the limit limits nothing: add count, usd, or amount and chain"
    places = sum(place is not None for place in (limit.chain_id, limit.network, limit.venue))
    if (limit.amount_max is None) != (places == 0) or places > 1:
        yield "amount_max", "amount and chain go together: amounts of different chains cannot be added"
    if limit.count_max is not None and not 0 <= limit.count_max < 2**63:
        yield "count_max", "must be 0 to 2^63-1"
    if limit.amount_max is not None and not 0 <= limit.amount_max <= AMOUNT_MAX:
        yield "amount_max", "must be 0 to 2^256-1 wei"
    if limit.chain_id is not None and not 1 <= limit.chain_id <= AMOUNT_MAX:
        yield "chain_id", "a chain id is a whole number from 1 to 2^256-1"


def _listed(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))
