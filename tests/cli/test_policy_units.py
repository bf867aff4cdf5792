"""Dollars, per cents, times and hours as people write them: exact, or refused."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.cli import policy_units as units
from keyvault.core.errors import Malformed
from keyvault.core.policy_rules import Interval
from keyvault.core.policy_values import BAND_MAX, USD_MAX

READ: tuple[tuple[Callable[[str], object], str, object], ...] = (
    (units.parse_dollars, "0", 0),
    (units.parse_dollars, "10000", 10_000_000_000),
    (units.parse_dollars, "10,000", 10_000_000_000),
    (units.parse_dollars, "$1,234,567.89", 1_234_567_890_000),
    (units.parse_dollars, "0.000001", 1),
    (units.parse_dollars, "999999999999999999.999999", USD_MAX),
    (units.parse_band, "0%", 0),
    (units.parse_band, "1.5%", 150),
    (units.parse_band, "0.01%", 1),
    (units.parse_band, "9999.99%", BAND_MAX),
    (units.parse_span, "1500ms", 1_500),
    (units.parse_span, "30s", 30_000),
    (units.parse_span, "90d", 90 * 86_400_000),
    (units.parse_time, "1970-01-01T00:00:00Z", 0),
    (units.parse_time, "2026-11-26T12:00:00Z", 1_795_694_400_000),
    (units.parse_time, "2026-11-26T12:00:00.007Z", 1_795_694_400_007),
    (units.parse_hours, "mon 00:00-24:00", Interval(days=frozenset({0}), start=0, end=1_440)),
    (units.parse_hours, "mon-sun 08:30-08:31", Interval(days=frozenset(range(7)), start=510, end=511)),
    (units.parse_hours, "sat-sun  23:59-24:00", Interval(days=frozenset({5, 6}), start=1_439, end=1_440)),
)


@pytest.mark.parametrize(("parse", "text", "value"), READ)
def test_what_people_write_is_read_exactly(parse: Callable[[str], object], text: str, value: object) -> None:
    """To the last digit, with what people put between them."""
    assert parse(text) == value


REFUSED: tuple[tuple[Callable[[str], object], tuple[str, ...]], ...] = (
    (units.parse_dollars, ("", "-1", "1.", ".5", "1e6", "1,00", "10,00,000", "01", "1.0000001", "1 USD", "9" * 19)),
    (units.parse_band, ("", "1.5", "1.555%", "-1%", "10000%", "01%", "1 %", "%")),
    (units.parse_span, ("", "0s", "1.5h", "1w", "1H", "-1s", "1 h", "1" * 13 + "s", "24")),
    (
        units.parse_time,
        ("", "2026-11-26", "2026-11-26T12:00:00", "2026-11-26T12:00:00+01:00", "2026-13-26T12:00:00Z",
         "2026-02-29T12:00:00Z", "2026-11-26 12:00:00Z", "2026-11-26T12:00:00.1Z", "2026-1-26T12:00:00Z",
         "2026-11-26T24:00:00Z", "1795694400"),
    ),
    (
        units.parse_hours,
        ("", "mon", "08:00-18:00", "Mon 08:00-18:00", "mon-fri 8:00-18:00", "fri-mon 08:00-18:00",
         "mon 18:00-08:00", "mon 08:00-08:00", "mon 08:00-24:01", "mon 25:00-26:00", "mon 08:60-09:00",
         "mon,tue 08:00-18:00", "any 08:00-18:00", "mon 08:00-18:00 CET"),
    ),
)  # fmt: skip


@pytest.mark.parametrize(("parse", "text"), [(parse, text) for parse, texts in REFUSED for text in texts])
def test_what_is_not_exact_is_refused(parse: Callable[[str], object], text: str) -> None:
    """Nothing is rounded, guessed or taken for another unit, time zone or day."""
    with pytest.raises(Malformed):
        parse(text)


@given(st.integers(0, USD_MAX))
def test_every_amount_of_dollars_comes_back(micros: int) -> None:
    """All that a policy can hold."""
    assert units.parse_dollars(units.format_dollars(micros)) == micros


@given(st.integers(0, BAND_MAX))
def test_every_band_comes_back(bps: int) -> None:
    """All that a policy can hold."""
    assert units.parse_band(units.format_band(bps)) == bps


@given(st.integers(0, 253_402_300_799_999))
def test_every_time_comes_back(at_ms: int) -> None:
    """Until the year 9999, to the millisecond."""
    assert units.parse_time(units.format_time(at_ms)) == at_ms


@given(
    days=st.frozensets(st.integers(0, 6), min_size=1),
    time=st.tuples(st.integers(0, 1_439), st.integers(1, 1_440)).filter(lambda time: time[0] < time[1]),
)
def test_every_interval_comes_back(days: frozenset[int], time: tuple[int, int]) -> None:
    """In as many parts as its days have gaps."""
    interval = Interval(days=days, start=time[0], end=time[1])
    parts = [units.parse_hours(text) for text in units.format_hours(interval)]
    assert frozenset[int]().union(*(part.days for part in parts)) == days
    assert {(part.start, part.end) for part in parts} == {time}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1 Gwei", "unknown unit 'Gwei': did you mean gwei?"),
        ("1 ETHER", "unknown unit 'ETHER': did you mean ether?"),
        ("1 satoshi", "unknown unit 'satoshi': there is ether, gwei, wei"),
    ],
)
def test_a_unit_that_is_nearly_one_is_named(text: str, problem: str) -> None:
    """Units are written in small letters; what was probably meant is said."""
    with pytest.raises(Malformed) as raised:
        units.parse_amount(text)
    assert raised.value.problem == problem
