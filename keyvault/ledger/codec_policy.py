"""Policy documents: ``core.policy.Policy`` as the bytes of a keyvault.v1.Policy, and back.

A document comes from outside, so reading it checks every bound. What the members signed is the document's
SHA-256; the ledger holds the document as it came.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Sequence
from typing import TypeVar

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.policy import ANY, Anything, Limit, Policy, Rule, Verdict
from keyvault.core.quorum import parse_quorum, quorum_text
from keyvault.ledger.wire import KINDS, OPERATIONS, VERDICTS, integer_from_wire, integer_to_wire, parse_exact
from keyvault.v1 import policy_pb2

T = TypeVar("T")

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
    )


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


def _rule(message: policy_pb2.Rule) -> Rule:
    at = f"rules[{message.id}]"
    kinds = [KINDS.word(f"{at}.kinds", number) for number in message.kinds]
    operations = [OPERATIONS.word(f"{at}.operations", number) for number in message.operations]
    verdict = VERDICTS.word(f"{at}.verdict", message.verdict)
    return Rule(
        id=message.id,
        verdict=verdict,
        kinds=_distinct(f"{at}.kinds", kinds),
        operations=_distinct(f"{at}.operations", operations),
        keys=_strings(message, at, "keys", message.keys),
        principals=_strings(message, at, "principals", message.principals),
        chains=_integers(message, at, message.chains),
        venues=_strings(message, at, "venues", message.venues),
        destinations=_strings(message, at, "destinations", message.destinations),
        selectors=_strings(message, at, "selectors", message.selectors),
        primary_types=_strings(message, at, "primary_types", message.primary_types),
        amount_max=_amount(message, at, "amount", message.amount),
        fee_max=_amount(message, at, "fee", message.fee),
        quorum=_quorum(f"{at}.quorum", verdict, message.quorum),
        amount_above=_amount_above(f"{at}.amount_above", verdict, message),
    )


def _limit(message: policy_pb2.Limit) -> Limit:
    at = f"limits[{message.id}]"
    if not message.HasField("keys"):
        raise Malformed(f"{at}.keys", "is needed: names of keys, or any")
    if not limits.WINDOW_MS_MIN <= message.window_ms <= limits.WINDOW_MS_MAX:
        raise Malformed(f"{at}.window_ms", f"must be from {limits.WINDOW_MS_MIN} to {limits.WINDOW_MS_MAX}")
    has_amount = message.HasField("max_amount")
    if has_amount != message.HasField("chain_id"):
        raise Malformed(f"{at}.max_amount", "goes with chain_id: amounts of different chains do not add up")
    if not has_amount and not message.HasField("max_count"):
        raise Malformed(at, "needs max_count or max_amount")
    return Limit(
        id=message.id,
        keys=_names(f"{at}.keys", message.keys),
        window_ms=message.window_ms,
        count_max=message.max_count if message.HasField("max_count") else None,
        amount_max=integer_from_wire(f"{at}.max_amount", message.max_amount) if has_amount else None,
        chain_id=integer_from_wire(f"{at}.chain_id", message.chain_id) if has_amount else None,
    )


def _strings(
    rule: policy_pb2.Rule, at: str, field: str, condition: policy_pb2.StringCondition
) -> frozenset[str] | Anything | None:
    return _names(f"{at}.{field}", condition) if rule.HasField(field) else None  # type: ignore[arg-type]  # a field's name


def _names(field: str, condition: policy_pb2.StringCondition) -> frozenset[str] | Anything:
    if _says_any(field, condition.any, condition.values):
        return ANY
    for value in condition.values:
        if not 0 < len(value) <= limits.POLICY_VALUE_CHARS_MAX:
            raise Malformed(field, f"a value must have 1 to {limits.POLICY_VALUE_CHARS_MAX} characters")
    return _distinct(field, condition.values)


def _integers(
    rule: policy_pb2.Rule, at: str, condition: policy_pb2.IntegerCondition
) -> frozenset[int] | Anything | None:
    field = f"{at}.chains"
    if not rule.HasField("chains"):
        return None
    if _says_any(field, condition.any, condition.values):
        return ANY
    return _distinct(field, [integer_from_wire(field, value) for value in condition.values])


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


def _amount_above(field: str, verdict: Verdict, message: policy_pb2.Rule) -> int | None:
    if not message.HasField("amount_above"):
        return None
    if verdict is Verdict.ALLOW:
        raise Malformed(field, "is permitted in escalate and deny rules only")
    return integer_from_wire(field, message.amount_above)


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
    )
    return message.SerializeToString(deterministic=True)


def _rule_to_proto(rule: Rule) -> policy_pb2.Rule:
    return policy_pb2.Rule(
        id=rule.id,
        verdict=VERDICTS.numbers[rule.verdict],
        kinds=sorted(KINDS.numbers[kind] for kind in rule.kinds),
        operations=sorted(OPERATIONS.numbers[operation] for operation in rule.operations),
        keys=_strings_to_proto(rule.keys),
        principals=_strings_to_proto(rule.principals),
        chains=_integers_to_proto(rule.chains),
        venues=_strings_to_proto(rule.venues),
        destinations=_strings_to_proto(rule.destinations),
        selectors=_strings_to_proto(rule.selectors),
        primary_types=_strings_to_proto(rule.primary_types),
        amount=_amount_to_proto(rule.amount_max),
        fee=_amount_to_proto(rule.fee_max),
        quorum=rule.quorum,
        amount_above=None if rule.amount_above is None else integer_to_wire(rule.amount_above),
    )


def _limit_to_proto(limit: Limit) -> policy_pb2.Limit:
    return policy_pb2.Limit(
        id=limit.id,
        keys=_strings_to_proto(limit.keys),
        window_ms=limit.window_ms,
        max_count=limit.count_max,
        max_amount=None if limit.amount_max is None else integer_to_wire(limit.amount_max),
        chain_id=None if limit.chain_id is None else integer_to_wire(limit.chain_id),
    )


def _strings_to_proto(values: Iterable[str] | Anything | None) -> policy_pb2.StringCondition | None:
    match values:
        case None:
            return None
        case Anything():
            return policy_pb2.StringCondition(any=True)
        case _:
            return policy_pb2.StringCondition(values=sorted(values))


def _integers_to_proto(values: Iterable[int] | Anything | None) -> policy_pb2.IntegerCondition | None:
    match values:
        case None:
            return None
        case Anything():
            return policy_pb2.IntegerCondition(any=True)
        case _:
            return policy_pb2.IntegerCondition(values=map(integer_to_wire, sorted(values)))


def _amount_to_proto(value: int | Anything | None) -> policy_pb2.AmountCondition | None:
    match value:
        case None:
            return None
        case Anything():
            return policy_pb2.AmountCondition(any=True)
        case _:
            return policy_pb2.AmountCondition(max=integer_to_wire(value))
