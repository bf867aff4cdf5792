"""Numbers, amounts, dollars and times as people write them in policies. No floats anywhere."""

import re
from datetime import UTC, datetime

from keyvault.cli.yaml_nodes import meant
from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.policy_facts import DAYS
from keyvault.core.policy_rules import Interval
from keyvault.core.policy_values import AMOUNT_MAX, check_name
from keyvault.core.units import plain_decimal
from keyvault.core.windows import window_text

_WHOLE = re.compile(r"0|[1-9][0-9]{0,77}", re.ASCII)
_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,77})(?:\.([0-9]{1,77}))?(?: *([A-Za-z]+))?", re.ASCII)
_DOLLARS = re.compile(r"\$?(0|[1-9][0-9]{0,3}(?:,[0-9]{3})*|[1-9][0-9]{0,17})(?:\.([0-9]{1,6}))?", re.ASCII)
_UNIT = re.compile(r"(0|[1-9][0-9]{0,17})(?:\.([0-9]{1,18}))? (\S+)", re.ASCII)
_UNIT_DIGITS = 18
_WINDOW = re.compile(r"([1-9][0-9]{0,11})(ms|s|m|h|d)", re.ASCII)
_PERCENT = re.compile(r"(0|[1-9][0-9]{0,3})(?:\.([0-9]{1,2}))?%", re.ASCII)
_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{3}))?Z", re.ASCII)
_HOURS = re.compile(r"([a-z]{3})(?:-([a-z]{3}))? +([0-2][0-9]):([0-5][0-9])-([0-2][0-9]):([0-5][0-9])", re.ASCII)
_DAY_MINUTES = 24 * 60
_HOUR_MINUTES = 60

DOLLAR_DIGITS = 6
"""Digits behind the point of a dollar that are counted."""
AMOUNT_UNITS = {"ether": 18, "gwei": 9, "wei": 0}
"""Units of amounts, and their digits."""
SPAN_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
"""Units of lengths of time, in milliseconds."""
_SHORT_DECIMALS = 6
"""Digits after the point that people can still read; beyond, a smaller unit is used."""


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
    decimals = AMOUNT_UNITS.get(unit or "wei")
    if decimals is None:
        raise Malformed("amount", f"unknown unit {unit[:80]!r}{meant(unit.lower(), tuple(AMOUNT_UNITS))}")
    if len(fraction) > decimals:
        raise Malformed(
            "amount", f"{text[:80]} is not a whole number of wei: {unit} has {decimals} digits after the point"
        )
    wei = int(whole + fraction.ljust(decimals, "0"))
    if wei > AMOUNT_MAX:
        raise Malformed("amount", f"{text[:80]} is more than 2^256-1 wei")
    return wei


def parse_dollars(text: str) -> int:
    """Return 10**-6 dollars from ``10000``, ``10,000`` or ``0.25``; exact, or Malformed."""
    match = _DOLLARS.fullmatch(text)
    if match is None:
        raise Malformed("usd", f"{text[:80]!r} is not an amount of dollars: write 10000 or 0.25, at most 6 decimals")
    return int(match.group(1).replace(",", "") + (match.group(2) or "").ljust(DOLLAR_DIGITS, "0"))


def format_dollars(micros: int) -> str:
    """Return an amount of dollars as ``parse_dollars`` reads it."""
    return plain_decimal(micros, DOLLAR_DIGITS)


def parse_unit(text: str) -> tuple[int, str]:
    """Return size, in 10**-18, and asset of ``1000 DOGE``, or raise Malformed."""
    match = _UNIT.fullmatch(text)
    size = 0 if match is None else int(match.group(1) + (match.group(2) or "").ljust(_UNIT_DIGITS, "0"))
    if match is None or size == 0:
        raise Malformed("unit", f"{text[:80]!r} is no size of a contract: write 1000 DOGE")
    return size, check_name(match.group(3))


def format_unit(size: int, asset: str) -> str:
    """Return the size of a contract as ``parse_unit`` reads it."""
    return f"{plain_decimal(size, _UNIT_DIGITS)} {asset}"


def parse_band(text: str) -> int:
    """Return 1/100 of a per cent from ``1.5%``, or raise Malformed."""
    match = _PERCENT.fullmatch(text)
    if match is None:
        raise Malformed("price_band", f"{text[:80]!r} is not a per cent with at most 2 decimals: write 1.5%")
    return int(match.group(1) + (match.group(2) or "").ljust(2, "0"))


def format_band(bps: int) -> str:
    """Return a band as ``parse_band`` reads it."""
    return f"{plain_decimal(bps, 2)}%"


def parse_span(text: str) -> int:
    """Return milliseconds from ``30s``, ``10m``, ``24h`` or ``7d``; or raise Malformed."""
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise Malformed("time", f"{text[:80]!r} is not a length of time: write 30s, 10m, 24h or 7d")
    return int(match.group(1)) * SPAN_UNITS[match.group(2)]


def parse_window(text: str) -> int:
    """Return the milliseconds of a limit's window; or raise Malformed."""
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise Malformed("window", f"{text[:80]!r} is not a length of time: write 30s, 10m, 24h or 7d")
    window_ms = int(match.group(1)) * SPAN_UNITS[match.group(2)]
    if not limits.WINDOW_MS_MIN <= window_ms <= limits.WINDOW_MS_MAX:
        shortest, longest = window_text(limits.WINDOW_MS_MIN), window_text(limits.WINDOW_MS_MAX)
        raise Malformed("window", f"{text} is not from {shortest} to {longest}")
    return window_ms


def parse_time(text: str) -> int:
    """Return Unix milliseconds from ``2026-11-26T12:00:00Z`` or ``2026-11-26T12:00:00.250Z``, or raise Malformed."""
    match = _TIME.fullmatch(text)
    problem = f"{text[:80]!r} is not a time in UTC: write 2026-11-26T12:00:00Z"
    if match is None:
        raise Malformed("time", problem)
    try:
        found = datetime.strptime(match.group(1), "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        raise Malformed("time", problem) from None
    return int(found.timestamp()) * 1_000 + int(match.group(2) or 0)


def format_time(at_ms: int) -> str:
    """Return a time as ``parse_time`` reads it."""
    seconds, rest = divmod(at_ms, 1_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:03}Z" if rest else f"{text}Z"


def parse_hours(text: str) -> Interval:
    """Return a time of the week from ``mon-fri 08:00-18:00`` (UTC; 24:00 ends a day), or raise Malformed."""
    match = _HOURS.fullmatch(text)
    problem = f"{text[:80]!r} is not a time of the week: write mon-fri 08:00-18:00, in UTC"
    if match is None or match.group(1) not in DAYS or (match.group(2) or "mon") not in DAYS:
        raise Malformed("hours", problem)
    first, last = DAYS.index(match.group(1)), DAYS.index(match.group(2) or match.group(1))
    start, end = (int(match.group(at)) * _HOUR_MINUTES + int(match.group(at + 1)) for at in (3, 5))
    if last < first or not start < end <= _DAY_MINUTES:
        raise Malformed("hours", f"{problem}; what goes over a week's end or midnight is two")
    return Interval(days=frozenset(range(first, last + 1)), start=start, end=end)


def format_hours(interval: Interval) -> tuple[str, ...]:
    """Return an interval as ``parse_hours`` reads it; days with gaps between them are several."""
    minutes = (interval.start, interval.end)
    start, end = (f"{minute // _HOUR_MINUTES:02}:{minute % _HOUR_MINUTES:02}" for minute in minutes)
    return tuple(f"{days} {start}-{end}" for days in _runs(sorted(interval.days)))


def _runs(days: list[int]) -> list[str]:
    runs: list[list[int]] = []
    for day in days:
        if runs and runs[-1][-1] == day - 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    return [DAYS[run[0]] if len(run) == 1 else f"{DAYS[run[0]]}-{DAYS[run[-1]]}" for run in runs]


def format_amount(wei: int) -> str:
    """Return the amount in the largest unit that needs few digits; ``parse_amount`` gives the same number back."""
    for unit, decimals in AMOUNT_UNITS.items():
        whole, rest = divmod(wei, 10**decimals)
        fraction = f"{rest:0{decimals}d}".rstrip("0") if decimals else ""
        if len(fraction) <= _SHORT_DECIMALS and (whole or (unit == "ether" and fraction)):
            return f"{whole}.{fraction} {unit}" if fraction else f"{whole} {unit}"
    return f"{wei} wei"
