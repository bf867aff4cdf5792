"""Policy documents: ``core.policy.Policy`` as the bytes of a keyvault.v1.Policy, and back.

A document comes from outside, so reading it checks every bound. What the members signed is the document's
SHA-256; the ledger holds the document as it came.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.policy import ANY, Anything, Limit, Policy, Rule, Verdict
from keyvault.core.policy_rules import Chain, Interval, Per, Prices
from keyvault.core.quorum import parse_quorum, quorum_text
from keyvault.ledger.codec_prices import prices_from_wire, prices_to_wire
from keyvault.ledger.wire import KINDS, OPERATIONS, PERS, VERDICTS, integer_from_wire, integer_to_wire, parse_exact
from keyvault.v1 import policy_pb2

T = TypeVar("T")

_WEEK_DAYS = 7
_DAY_MINUTES = 24 * 60
_ID = re.compile(r"[a-z][a-z0-9-]{0,62}", re.ASCII)


def policy_sha256(document: bytes) -> bytes:
    """Return what statements and decisions call this document by, 32 bytes."""
    return hashlib.sha256(document).digest()


# Reading --------------------------------------------------------------------------------------------------------


def decode_policy(document: bytes) -> Policy:
    """Return what the document says, or raise Malformed with the field that is wrong."""
    if len(document) > limits.POLICY_BYTES_MAX:
        raise Malformed("policy", f"longer than {limits.POLICY_BYTES_MAX} bytes")
    message = parse_exact(policy_pb2.Policy, document)
    if message.version < 1:
        raise Malformed("policy.version", "must be 1 or greater")
    _at_most("policy.rules", message.rules, limits.POLICY_RULES_MAX)
    _at_most("policy.limits", message.limits, limits.POLICY_LIMITS_MAX)
    _check_ids([each.id for each in message.rules] + [each.id for each in message.limits])
    return Policy(
        version=message.version,
        rules=tuple(map(_rule, message.rules)),
        limits=tuple(map(_limit, message.limits)),
        lists=_named("lists", message.lists),
        tags=_named("tags", message.tags),
        prices=prices_from_wire(message.prices) if message.HasField("prices") else Prices(),
    )


def _named(field: str, messages: Sequence[policy_pb2.NamedList]) -> Mapping[str, frozenset[str]]:
    _at_most(f"policy.{field}", messages, limits.POLICY_LISTS_MAX)
    _check_ids([each.name for each in messages])
    found = {each.name: _values(f"{field}[{each.name}]", each.values) for each in messages}
    return MappingProxyType(found)


def _check_ids(ids: list[str]) -> None:
    seen: set[str] = set()
    for each in ids:
        if not _ID.fullmatch(each):
            raise Malformed(
                "policy.id", f"{each[:80]!r} must be 1 to 63 characters of a-z 0-9 - and start with a letter"
            )
        if each in seen:
            raise Malformed("policy.id", f"{each!r} stands twice; rules and limits share one set of ids")
        seen.add(each)


_SETS = ("principals", "venues", "destinations", "selectors", "primary_types", "symbols", "sides", "assets")
_MORE_SETS = ("contracts", "type_hashes", "keys")
_AMOUNTS = (
    ("amount", "amount_max"),
    ("fee", "fee_max"),
    ("usd", "usd_max"),
    ("price_band_bps", "price_band_bps"),
    ("validity_ms", "validity_ms_max"),
)
"""(field of the message, field of the rule)."""


def _rule(message: policy_pb2.Rule) -> Rule:
    at = f"rules[{message.id}]"
    kinds = [KINDS.word(f"{at}.kinds", number) for number in message.kinds]
    operations = [OPERATIONS.word(f"{at}.operations", number) for number in message.operations]
    verdict = VERDICTS.word(f"{at}.verdict", message.verdict)
    sets = {field: _strings(message, at, field, getattr(message, field)) for field in (*_SETS, *_MORE_SETS)}
    caps = {field: _amount(message, at, name, getattr(message, name)) for name, field in _AMOUNTS}
    return Rule(
        id=message.id,
        verdict=verdict,
        kinds=_distinct(f"{at}.kinds", kinds),
        operations=_distinct(f"{at}.operations", operations),
        chains=chains_from_wire(f"{at}.chains", message.chains) if message.HasField("chains") else None,
        quorum=_quorum(f"{at}.quorum", verdict, message.quorum),
        amount_above=_above(at, "amount_above", verdict, message),
        usd_above=_above(at, "usd_above", verdict, message),
        first_seen_ms=_first_seen(at, message),
        look_alike=message.look_alike,
        hours=tuple(_interval(f"{at}.hours", each) for each in message.hours),
        when=_bounded(f"{at}.when", message.when, limits.PREDICATE_CHARS_MAX),
        shadow=message.shadow,
        **sets,  # type: ignore[arg-type]  # each field stands in the list of its type
        **caps,  # type: ignore[arg-type]  # as above
    )


def _first_seen(at: str, message: policy_pb2.Rule) -> int | None:
    if not message.HasField("first_seen_ms"):
        return None
    if not 0 < message.first_seen_ms <= limits.FIRST_SEEN_MS_MAX:
        raise Malformed(f"{at}.first_seen_ms", f"must be from 1 to {limits.FIRST_SEEN_MS_MAX}")
    return message.first_seen_ms


def _interval(field: str, message: policy_pb2.Interval) -> Interval:
    days = _distinct(field, message.days)
    if not days or max(days) >= _WEEK_DAYS or not message.start < message.end <= _DAY_MINUTES:
        raise Malformed(field, "needs days from 0 to 6, and minutes of the day, the first before the second")
    return Interval(days=days, start=message.start, end=message.end)


def _bounded(field: str, text: str, most: int) -> str:
    if len(text) > most:
        raise Malformed(field, f"is longer than {most} characters")
    return text


def _limit(message: policy_pb2.Limit) -> Limit:
    at = f"limits[{message.id}]"
    if not message.HasField("keys"):
        raise Malformed(f"{at}.keys", "is needed: names of keys, or any")
    if not limits.WINDOW_MS_MIN <= message.window_ms <= limits.WINDOW_MS_MAX:
        raise Malformed(f"{at}.window_ms", f"must be from {limits.WINDOW_MS_MIN} to {limits.WINDOW_MS_MAX}")
    places = message.HasField("chain_id") + bool(message.network) + bool(message.venue)
    if places != message.HasField("max_amount"):
        raise Malformed(
            f"{at}.max_amount", "goes with chain_id, network or venue: amounts of different ones do not add up"
        )
    if not (places or message.HasField("max_count") or message.HasField("max_usd")):
        raise Malformed(at, "needs max_count, max_amount or max_usd")
    operations = [OPERATIONS.word(f"{at}.operations", number) for number in message.operations]
    return Limit(
        id=message.id,
        keys=_names(f"{at}.keys", message.keys),
        window_ms=message.window_ms,
        count_max=message.max_count if message.HasField("max_count") else None,
        amount_max=_integer(f"{at}.max_amount", message.HasField("max_amount"), message.max_amount),
        chain_id=_integer(f"{at}.chain_id", message.HasField("chain_id"), message.chain_id),
        per=PERS.word(f"{at}.per", message.per or policy_pb2.PER_KEY),
        network=message.network or None,
        venue=message.venue or None,
        asset=message.asset or None,
        usd_max=_integer(f"{at}.max_usd", message.HasField("max_usd"), message.max_usd),
        principals=_optional(f"{at}.principals", message.principals),
        operations=_distinct(f"{at}.operations", operations),
        chains=_chains_of_limit(f"{at}.chains", message),
        venues=_optional(f"{at}.venues", message.venues),
        destinations=_optional(f"{at}.destinations", message.destinations),
        tags=_optional(f"{at}.tags", message.tags),
    )


def _chains_of_limit(field: str, message: policy_pb2.Limit) -> frozenset[Chain] | None:
    if not message.HasField("chains"):
        return None
    found = chains_from_wire(field, message.chains)
    return None if isinstance(found, Anything) else found


def _integer(field: str, given: bool, data: bytes) -> int | None:  # noqa: FBT001 (a field's presence)
    return integer_from_wire(field, data) if given else None


def _optional(field: str, values: Sequence[str]) -> frozenset[str] | None:
    return _values(field, values) if values else None


def _strings(
    rule: policy_pb2.Rule, at: str, field: str, condition: policy_pb2.StringCondition
) -> frozenset[str] | Anything | None:
    return _names(f"{at}.{field}", condition) if rule.HasField(field) else None  # type: ignore[arg-type]  # a field's name


def _names(field: str, condition: policy_pb2.StringCondition) -> frozenset[str] | Anything:
    return ANY if _says_any(field, condition.any, condition.values) else _values(field, condition.values)


def _values(field: str, values: Sequence[str]) -> frozenset[str]:
    _at_most(field, values, limits.POLICY_VALUES_MAX)
    for value in values:
        if not 0 < len(value) <= limits.POLICY_VALUE_CHARS_MAX:
            raise Malformed(field, f"a value must have 1 to {limits.POLICY_VALUE_CHARS_MAX} characters")
    return _distinct(field, values)


def chains_from_wire(field: str, condition: policy_pb2.ChainCondition) -> frozenset[Chain] | Anything:
    """Return the chains, or ANY; raise Malformed."""
    numbers: list[Chain] = [integer_from_wire(field, value) for value in condition.values]
    if _says_any(field, condition.any, (*numbers, *condition.networks)):
        return ANY
    return _distinct(field, numbers) | _values(field, condition.networks)


def _amount(rule: policy_pb2.Rule, at: str, field: str, condition: policy_pb2.AmountCondition) -> int | Anything | None:
    if not rule.HasField(field):  # type: ignore[arg-type]  # a field's name
        return None
    if condition.any == condition.HasField("max"):
        raise Malformed(f"{at}.{field}", "needs either any or max")
    return ANY if condition.any else integer_from_wire(f"{at}.{field}", condition.max)


def _quorum(field: str, verdict: Verdict, text: str) -> str:
    if (verdict is Verdict.ESCALATE) != bool(text):
        raise Malformed(field, "is needed in escalate rules, and permitted in no other")
    if not text:
        return ""
    try:
        canonical = quorum_text(parse_quorum(text))
    except Malformed as malformed:
        raise Malformed(field, malformed.problem) from None
    if text != canonical:
        raise Malformed(field, f"must be written {canonical}")
    return text


def _above(at: str, field: str, verdict: Verdict, message: policy_pb2.Rule) -> int | None:
    if not message.HasField(field):  # type: ignore[arg-type]  # a field's name
        return None
    if verdict is Verdict.ALLOW:
        raise Malformed(f"{at}.{field}", "is permitted in escalate and deny rules only")
    return integer_from_wire(f"{at}.{field}", getattr(message, field))


def _says_any(field: str, any_value: bool, values: Sequence[object]) -> bool:  # noqa: FBT001 (a field's value)
    if any_value == bool(values):
        raise Malformed(field, "needs either any or values")
    _at_most(field, values, limits.POLICY_VALUES_MAX)
    return any_value


def _distinct(field: str, values: Collection[T]) -> frozenset[T]:
    found = frozenset(values)
    if len(found) != len(values):
        raise Malformed(field, "a value stands twice")
    return found


def _at_most(field: str, values: Sequence[object], bound: int) -> None:
    if len(values) > bound:
        raise Malformed(field, f"has {len(values)} elements; {bound} is the most")


# Writing --------------------------------------------------------------------------------------------------------


def encode_policy(policy: Policy) -> bytes:
    """Return the document; the same policy always gives the same bytes. Bounds are checked when it is read."""
    message = policy_pb2.Policy(
        version=policy.version,
        rules=map(_rule_to_proto, policy.rules),
        limits=map(_limit_to_proto, policy.limits),
        lists=_named_to_proto(policy.lists),
        tags=_named_to_proto(policy.tags),
        prices=None if policy.prices == Prices() else prices_to_wire(policy.prices),
    )
    return message.SerializeToString(deterministic=True)


def _rule_to_proto(rule: Rule) -> policy_pb2.Rule:
    message = policy_pb2.Rule(
        id=rule.id,
        verdict=VERDICTS.numbers[rule.verdict],
        kinds=sorted(KINDS.numbers[kind] for kind in rule.kinds),
        operations=sorted(OPERATIONS.numbers[operation] for operation in rule.operations),
        chains=_chains_to_proto(rule.chains),
        quorum=rule.quorum,
        amount_above=None if rule.amount_above is None else integer_to_wire(rule.amount_above),
        usd_above=None if rule.usd_above is None else integer_to_wire(rule.usd_above),
        first_seen_ms=rule.first_seen_ms,
        look_alike=rule.look_alike,
        hours=[policy_pb2.Interval(days=sorted(each.days), start=each.start, end=each.end) for each in rule.hours],
        when=rule.when,
        shadow=rule.shadow,
    )
    for field in (*_SETS, *_MORE_SETS):
        condition = _strings_to_proto(getattr(rule, field))
        if condition is not None:
            getattr(message, field).CopyFrom(condition)
    for name, field in _AMOUNTS:
        amount = _amount_to_proto(getattr(rule, field))
        if amount is not None:
            getattr(message, name).CopyFrom(amount)
    return message


def _limit_to_proto(limit: Limit) -> policy_pb2.Limit:
    return policy_pb2.Limit(
        id=limit.id,
        keys=_strings_to_proto(limit.keys),
        window_ms=limit.window_ms,
        max_count=limit.count_max,
        max_amount=None if limit.amount_max is None else integer_to_wire(limit.amount_max),
        chain_id=None if limit.chain_id is None else integer_to_wire(limit.chain_id),
        per=policy_pb2.PER_UNSPECIFIED if limit.per is Per.KEY else PERS.numbers[limit.per],
        network=limit.network or "",
        venue=limit.venue or "",
        asset=limit.asset or "",
        max_usd=None if limit.usd_max is None else integer_to_wire(limit.usd_max),
        principals=sorted(limit.principals or ()),
        operations=sorted(OPERATIONS.numbers[operation] for operation in limit.operations),
        chains=_chains_to_proto(limit.chains),
        venues=sorted(limit.venues or ()),
        destinations=sorted(limit.destinations or ()),
        tags=sorted(limit.tags or ()),
    )


def _named_to_proto(lists: Mapping[str, frozenset[str]]) -> list[policy_pb2.NamedList]:
    return [policy_pb2.NamedList(name=name, values=sorted(lists[name])) for name in sorted(lists)]


def _strings_to_proto(values: Iterable[str] | Anything | None) -> policy_pb2.StringCondition | None:
    match values:
        case None:
            return None
        case Anything():
            return policy_pb2.StringCondition(any=True)
        case _:
            return policy_pb2.StringCondition(values=sorted(values))


def _chains_to_proto(values: Iterable[Chain] | Anything | None) -> policy_pb2.ChainCondition | None:
    match values:
        case None:
            return None
        case Anything():
            return policy_pb2.ChainCondition(any=True)
        case _:
            chains = tuple(values)
            return policy_pb2.ChainCondition(
                values=map(integer_to_wire, sorted(each for each in chains if isinstance(each, int))),
                networks=sorted(each for each in chains if isinstance(each, str)),
            )


def _amount_to_proto(value: int | Anything | None) -> policy_pb2.AmountCondition | None:
    match value:
        case None:
            return None
        case Anything():
            return policy_pb2.AmountCondition(any=True)
        case _:
            return policy_pb2.AmountCondition(max=integer_to_wire(value))
