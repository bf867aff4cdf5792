"""Numbers, amounts and windows as people write them in policies, and a policy as YAML. No floats anywhere."""

import json
import re
from collections.abc import Iterable, Iterator

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.policy import Anything, Limit, Policy, Rule
from keyvault.core.policy_lint import AMOUNT_MAX
from keyvault.core.windows import window_text

_WHOLE = re.compile(r"0|[1-9][0-9]{0,77}", re.ASCII)
_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,77})(?:\.([0-9]{1,77}))?(?: *([A-Za-z]+))?", re.ASCII)
_WINDOW = re.compile(r"([1-9][0-9]{0,11})(ms|s|m|h|d)", re.ASCII)
_PLAIN_WORD = re.compile(r"(spiffe://)?[a-z][a-z0-9./-]*", re.ASCII)
_YAML_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n", "any"})

_DECIMALS = {"ether": 18, "gwei": 9, "wei": 0}
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SHORT_DECIMALS = 6
"""Digits after the point that people can still read; beyond, a smaller unit is used."""
_LINE_CHARS_MAX = 100


def parse_whole(text: str, *, least: int, most: int) -> int:
    """Return a whole number within the bounds, or raise Malformed."""
    if not _WHOLE.fullmatch(text):
        raise Malformed("number", f"{text[:80]!r} is not a whole number: digits only, as in 1000")
    if not least <= int(text) <= most:
        raise Malformed("number", f"{text} is not from {least} to {most}")
    return int(text)


def parse_amount(text: str) -> int:
    """Return wei from ``1.5 ether``, ``30 gwei``, ``21 wei`` or a whole number of wei; exact, or Malformed."""
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise Malformed("amount", f"{text[:80]!r} is not an amount: write 1.5 ether, 30 gwei, or a whole number of wei")
    whole, fraction, unit = match.group(1), match.group(2) or "", match.group(3)
    if unit is None and fraction:
        raise Malformed("amount", f"{text[:80]} has no unit: write {text[:80]} ether, or a whole number of wei")
    decimals = _DECIMALS.get(unit or "wei")
    if decimals is None:
        raise Malformed("amount", f"unknown unit {unit[:80]!r}: there is {', '.join(_DECIMALS)}")
    if len(fraction) > decimals:
        raise Malformed(
            "amount", f"{text[:80]} is not a whole number of wei: {unit} has {decimals} digits after the point"
        )
    wei = int(whole + fraction.ljust(decimals, "0"))
    if wei > AMOUNT_MAX:
        raise Malformed("amount", f"{text[:80]} is more than 2^256-1 wei")
    return wei


def parse_window(text: str) -> int:
    """Return milliseconds from ``30s``, ``10m``, ``24h`` or ``7d``; or raise Malformed."""
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise Malformed("window", f"{text[:80]!r} is not a length of time: write 30s, 10m, 24h or 7d")
    window_ms = int(match.group(1)) * _UNIT_MS[match.group(2)]
    if not limits.WINDOW_MS_MIN <= window_ms <= limits.WINDOW_MS_MAX:
        shortest, longest = window_text(limits.WINDOW_MS_MIN), window_text(limits.WINDOW_MS_MAX)
        raise Malformed("window", f"{text} is not from {shortest} to {longest}")
    return window_ms


def format_amount(wei: int) -> str:
    """Return the amount in the largest unit that needs few digits; ``parse_amount`` gives the same number back."""
    for unit, decimals in _DECIMALS.items():
        whole, rest = divmod(wei, 10**decimals)
        fraction = f"{rest:0{decimals}d}".rstrip("0") if decimals else ""
        if len(fraction) <= _SHORT_DECIMALS and (whole or (unit == "ether" and fraction)):
            return f"{whole}.{fraction} {unit}" if fraction else f"{whole} {unit}"
    return f"{wei} wei"


def format_policy(policy: Policy) -> str:
    """Return the policy as YAML that ``parse_policy`` reads back as the same policy, if lint finds nothing in it."""
    lines = [f"version: {policy.version}"]
    for section, items in (("rules", map(_rule_lines, policy.rules)), ("limits", map(_limit_lines, policy.limits))):
        blocks = [list(each) for each in items]
        lines.append(f"{section}:" if blocks else f"{section}: []")
        for first, *rest in blocks:
            lines += [f"  - {first}", *(f"    {line}" for line in rest)]
    return "\n".join(lines) + "\n"


def _rule_lines(rule: Rule) -> Iterator[str]:
    yield f"id: {_word(rule.id)}"
    yield f"verdict: {rule.verdict}"
    if rule.quorum:
        yield f"quorum: {rule.quorum}"
    yield from _values("keys", rule.keys)
    yield from _values("principals", rule.principals)
    yield from _values("kinds", rule.kinds or None)
    yield from _values("operations", rule.operations or None)
    yield from _values("chains", rule.chains)
    yield from _values("venues", rule.venues)
    yield from _values("destinations", rule.destinations)
    yield from _values("selectors", rule.selectors)
    yield from _values("primary_types", rule.primary_types)
    yield from _cap("above", rule.amount_above)
    yield from _cap("amount", rule.amount_max)
    yield from _cap("fee", rule.fee_max)


def _limit_lines(limit: Limit) -> Iterator[str]:
    yield f"id: {_word(limit.id)}"
    yield from _values("keys", limit.keys)
    yield f"window: {window_text(limit.window_ms)}"
    if limit.count_max is not None:
        yield f"count: {limit.count_max}"
    yield from _cap("amount", limit.amount_max)
    if limit.chain_id is not None:
        yield f"chain: {limit.chain_id}"


def _values(field: str, values: Iterable[str | int] | Anything | None) -> Iterator[str]:
    if values is None:
        return
    if isinstance(values, Anything):
        yield f"{field}: {values.value}"
        return
    words = [_word(value) if isinstance(value, str) else str(value) for value in sorted(values, key=_order)]
    line = f"{field}: [{', '.join(words)}]"
    if len(line) <= _LINE_CHARS_MAX:
        yield line
        return
    yield f"{field}:"
    yield from (f"  - {word}" for word in words)


def _order(value: str | int) -> tuple[int, str]:
    return (value, "") if isinstance(value, int) else (0, value)


def _cap(field: str, cap: int | Anything | None) -> Iterator[str]:
    if cap is not None:
        yield f"{field}: {cap.value if isinstance(cap, Anything) else format_amount(cap)}"


def _word(text: str) -> str:
    """Return the text as any YAML reader takes it for text."""
    return text if _PLAIN_WORD.fullmatch(text) and text not in _YAML_WORDS else json.dumps(text)
