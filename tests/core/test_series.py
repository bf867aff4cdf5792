"""A series never counts too little, and too much by one bucket at most; its memory is flat, and small at first."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.series import Series
from keyvault.core.windows import window_text

NOW = 1_800_000_000_000
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000

Charge = tuple[int, int]
"""(milliseconds from NOW, amount)."""


def charged(charges: list[Charge]) -> Series:
    series = Series()
    for at, amount in charges:
        series.charge(NOW + at, amount)
    return series


def bucket_ms(window_ms: int) -> int:
    for length, longest in ((1_000, 10 * MINUTE), (10_000, 2 * HOUR), (2 * MINUTE, DAY), (15 * MINUTE, 7 * DAY)):
        if window_ms <= longest:
            return length
    raise ValueError(window_ms)


def brute(charges: list[Charge], window_ms: int, now: int) -> int:
    return sum(amount for at, amount in charges if at > now - window_ms)


amounts = st.integers(0, 2**256 - 1)
steps = st.lists(st.tuples(st.sampled_from([0, 1, 999, 1_000, 7_000, MINUTE, HOUR, 9 * HOUR]), amounts), max_size=60)
window_lengths = st.one_of(
    st.sampled_from([1_000, 10 * MINUTE, 10 * MINUTE + 1, 2 * HOUR, DAY, 7 * DAY]),
    st.integers(limits.WINDOW_MS_MIN, limits.WINDOW_MS_MAX),
)


@given(steps=steps, lateness=st.lists(st.integers(0, 5_000), min_size=60, max_size=60), window_ms=window_lengths)
def test_used_is_between_the_exact_sum_and_the_sum_with_one_more_bucket(
    steps: list[tuple[int, int]], lateness: list[int], window_ms: int
) -> None:
    """A window holds at least the exact sum and at most what one more bucket holds, with charges that come late."""
    at, charges = 0, []
    for (step, amount), late in zip(steps, lateness, strict=False):
        at += step
        charges.append((at - late, amount))
    used = charged(charges).used(window_ms, NOW + at)
    assert brute(charges, window_ms, at) <= used <= brute(charges, window_ms + bucket_ms(window_ms), at)


@given(
    charges=st.lists(st.tuples(st.integers(-20 * DAY, 400 * DAY), st.integers(0, 9)), max_size=80),
    window_ms=window_lengths,
    now=st.integers(-20 * DAY, 400 * DAY),
)
@example(charges=[(400 * DAY, 1), (0, 2), (1, 3)], window_ms=DAY, now=2)
def test_wild_clocks_never_make_a_window_count_too_little(charges: list[Charge], window_ms: int, now: int) -> None:
    """Whatever the clock did, a window holds at least every charge after its start, future ones included."""
    used = charged(charges).used(window_ms, NOW + now)
    assert used >= brute(charges, window_ms, now)


def test_a_clock_that_stepped_back_far_counts_too_much_and_not_too_little() -> None:
    """After more buckets than are kept, a window that starts before them falls back to a coarser count."""
    charges = [(second * 1_000, 1) for second in range(2_000)]
    series = charged(charges)
    exact_now, earlier = NOW + 1_999_000, NOW + 1_000_000
    assert series.used(10 * MINUTE, exact_now) == 601
    used = series.used(10 * MINUTE, earlier)
    assert brute(charges, 10 * MINUTE, 1_000_000) <= used <= brute(charges, 10 * MINUTE + 10_000, 1_000_000)


def test_a_late_charge_stays_out_of_windows_that_start_after_it() -> None:
    """What comes late counts where it belongs, not in every window that was open."""
    series = charged([(5_000, 1), (2_000, 10), (9_000, 100), (2_500, 1_000)])
    assert series.used(1_000, NOW + 9_000) == 100
    assert series.used(4_000, NOW + 9_000) == 101
    assert series.used(7_000, NOW + 9_000) == 1_111


def test_a_bucket_that_was_dropped_is_remembered_as_unknown() -> None:
    """Neither at the edge of what is kept, nor after a very late charge, does a tier answer for what it dropped."""
    charges = [(second * 1_000, 1) for second in range(700)]
    series = charged(charges)
    series.charge(NOW - HOUR, 1)
    for second in range(700):
        used = series.used(1_000, NOW + second * 1_000)
        assert brute(charges, 1_000, second * 1_000) <= used <= brute(charges, 11_000, second * 1_000)


def test_what_was_forgotten_by_every_tier_counts_for_ever() -> None:
    """A window that starts before all that is kept counts everything ever charged."""
    fortnights = 2_000
    series = charged([(step * 15 * MINUTE, 1) for step in range(fortnights)])
    assert series.used(7 * DAY, NOW) == fortnights


def test_a_jump_of_the_clock_into_the_future_and_back_loses_nothing() -> None:
    """One charge dated years ahead counts, and the windows of today stay exact."""
    series = charged([(0, 5), (400 * DAY, 7), (2_000, 11), (3_000, 13)])
    assert series.used(2_000, NOW + 3_000) == 7 + 11 + 13
    assert series.used(DAY, NOW + 3_000) == 36


def test_memory_is_flat_however_much_is_charged() -> None:
    """No tier keeps more buckets than its window has, and the spare ones."""
    series = charged([(step * 5_000, 1) for step in range(20_000)])
    assert [len(tier.starts) for tier in series.tiers] == [665, 785, 785, 112]
    assert all(len(tier.starts) <= tier.buckets_max for tier in series.tiers)
    assert all(len(tier.starts) == len(tier.before) for tier in series.tiers)


def test_what_is_little_used_has_one_tier() -> None:
    """A single bucket has no tier, and the coarser tiers are made only when the finest one must forget."""
    assert charged([(0, 1), (999, 2)]).tiers == ()
    series = charged([(step * 1_000, 1) for step in range(665)])
    assert len(series.tiers) == 1
    series.charge(NOW + 10 * DAY, 1)
    assert [len(tier.starts) for tier in series.tiers] == [665, 68, 7, 2]


spread = st.tuples(st.sampled_from([0, 1_000, 7_000, MINUTE, HOUR, 9 * HOUR, 3 * DAY]), st.integers(1, 9))


@st.composite
def long_parts(draw: st.DrawFn) -> list[list[Charge]]:
    """Return charges of three series whose times are mixed, so many that the finest tiers forget."""
    at = 0
    parts: list[list[Charge]] = [[], [], []]
    for _ in range(draw(st.integers(0, 5))):
        step = draw(st.sampled_from([1_000, 2_500, 61_000, 16 * MINUTE]))
        shares = draw(st.sampled_from([(0,), (0, 1), (2, 1, 1), (0, 1, 2)]))
        for number in range(draw(st.integers(1, 400))):
            at += step
            parts[shares[number % len(shares)]].append((at, number % 7 + 1))
        at -= draw(st.sampled_from([0, 0, 5_000, HOUR]))
    return parts


@settings(deadline=None, max_examples=60)
@given(long_parts())
def test_the_sum_of_series_is_the_series_of_all_charges(parts: list[list[Charge]]) -> None:
    """To the last bit, in whatever order they came: publishing makes what counting along would have made."""
    series = [charged(part) for part in parts]
    in_time = charged(sorted(charge for part in parts for charge in part))
    assert Series.sum_of(series) == charged([charge for part in parts for charge in part]) == in_time


@given(
    charges=st.lists(spread, min_size=1, max_size=40),
    taken=st.integers(0, 39),
    window_ms=window_lengths,
)
def test_what_is_taken_back_counts_no_more(charges: list[Charge], taken: int, window_ms: int) -> None:
    """A charge that is taken back at its time leaves the sums as if it had not been, and is foretold so."""
    at, dated = 0, []
    for step, amount in charges:
        at += step
        dated.append((at, amount))
    gone = dated[taken % len(dated)]
    series, rest = charged(dated), charged([each for n, each in enumerate(dated) if n != taken % len(dated)])
    foretold = series.used(window_ms, NOW + at, without=gone[1], at=NOW + gone[0])
    series.charge(NOW + gone[0], -gone[1])
    assert series.used(window_ms, NOW + at) == foretold == rest.used(window_ms, NOW + at)


@pytest.mark.parametrize(
    ("window_ms", "text"), [(1_500, "1500ms"), (30_000, "30s"), (10 * MINUTE, "10m"), (DAY, "24h"), (7 * DAY, "7d")]
)
def test_windows_are_written_as_people_do(window_ms: int, text: str) -> None:
    """A length of time is written in the largest unit that is exact."""
    assert window_text(window_ms) == text
