"""Windows never count too little, and too much by one bucket at most; reservations; limits."""

import dataclasses

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.errors import Broken, Reason, Refused
from keyvault.core.ids import KeyId, UnixMillis
from keyvault.core.intent import Effect, Operation
from keyvault.core.policy import ANY, Limit
from keyvault.core.windows import Reservations, Windows, check_limits, outflow, window_text

KEY = KeyId("eth-hot")
OTHER = KeyId("eth-cold")
NOW = 1_800_000_000_000
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000

Charge = tuple[int, int]
"""(milliseconds from NOW, amount)."""


def charged(charges: list[Charge], chain_id: int = 1) -> Windows:
    windows = Windows()
    for at, amount in charges:
        windows.charge(KEY, UnixMillis(NOW + at), ((chain_id, amount),))
    return windows


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
    used = charged(charges).used_amount(KEY, 1, window_ms, UnixMillis(NOW + at))
    assert brute(charges, window_ms, at) <= used <= brute(charges, window_ms + bucket_ms(window_ms), at)


@given(
    charges=st.lists(st.tuples(st.integers(-20 * DAY, 400 * DAY), st.integers(0, 9)), max_size=80),
    window_ms=window_lengths,
    now=st.integers(-20 * DAY, 400 * DAY),
)
@example(charges=[(400 * DAY, 1), (0, 2), (1, 3)], window_ms=DAY, now=2)
def test_wild_clocks_never_make_a_window_count_too_little(charges: list[Charge], window_ms: int, now: int) -> None:
    """Whatever the clock did, a window holds at least every charge after its start, future ones included."""
    used = charged(charges).used_amount(KEY, 1, window_ms, UnixMillis(NOW + now))
    assert used >= brute(charges, window_ms, now)


def test_a_clock_that_stepped_back_far_counts_too_much_and_not_too_little() -> None:
    """After more buckets than are kept, a window that starts before them falls back to a coarser count."""
    charges = [(second * 1_000, 1) for second in range(2_000)]
    windows = charged(charges)
    exact_now, earlier = UnixMillis(NOW + 1_999_000), UnixMillis(NOW + 1_000_000)
    assert windows.used_count(KEY, 10 * MINUTE, exact_now) == 601
    used = windows.used_count(KEY, 10 * MINUTE, earlier)
    assert brute(charges, 10 * MINUTE, 1_000_000) <= used <= brute(charges, 10 * MINUTE + 10_000, 1_000_000)


def test_a_late_charge_stays_out_of_windows_that_start_after_it() -> None:
    """What comes late counts where it belongs, not in every window that was open."""
    windows = charged([(5_000, 1), (2_000, 10), (9_000, 100), (2_500, 1_000)])
    assert windows.used_amount(KEY, 1, 1_000, UnixMillis(NOW + 9_000)) == 100
    assert windows.used_amount(KEY, 1, 4_000, UnixMillis(NOW + 9_000)) == 101
    assert windows.used_amount(KEY, 1, 7_000, UnixMillis(NOW + 9_000)) == 1_111


def test_a_bucket_that_was_dropped_is_remembered_as_unknown() -> None:
    """Neither at the edge of what is kept, nor after a very late charge, does a tier answer for what it dropped."""
    charges = [(second * 1_000, 1) for second in range(700)]
    windows = charged(charges)
    windows.charge(KEY, UnixMillis(NOW - HOUR), ((1, 1),))
    for second in range(700):
        used = windows.used_amount(KEY, 1, 1_000, UnixMillis(NOW + second * 1_000))
        assert brute(charges, 1_000, second * 1_000) <= used <= brute(charges, 11_000, second * 1_000)


def test_what_was_forgotten_by_every_tier_counts_for_ever() -> None:
    """A window that starts before all that is kept counts everything ever charged."""
    fortnights = 2_000
    windows = charged([(step * 15 * MINUTE, 1) for step in range(fortnights)])
    assert windows.used_count(KEY, 7 * DAY, UnixMillis(NOW)) == fortnights


def test_a_jump_of_the_clock_into_the_future_and_back_loses_nothing() -> None:
    """One charge dated years ahead counts, and the windows of today stay exact."""
    windows = charged([(0, 5), (400 * DAY, 7), (2_000, 11), (3_000, 13)])
    assert windows.used_amount(KEY, 1, 2_000, UnixMillis(NOW + 3_000)) == 7 + 11 + 13
    assert windows.used_amount(KEY, 1, DAY, UnixMillis(NOW + 3_000)) == 36


def test_memory_is_flat_however_much_is_charged() -> None:
    """No tier keeps more buckets than its window has, and the spare ones."""
    windows = charged([(step * 5_000, 1) for step in range(20_000)])
    series = windows._keys[KEY].amounts[1]
    assert [len(tier.starts) for tier in series.tiers] == [665, 785, 785, 112]
    assert all(len(tier.starts) <= tier.buckets_max for tier in series.tiers)
    assert all(len(tier.starts) == len(tier.before) for tier in series.tiers)


def test_chains_beyond_the_bound_share_a_window() -> None:
    """The first chains of a key are exact; the others count together, so never too little, and take no memory."""
    windows = Windows()
    for chain_id in range(1, limits.WINDOW_CHAINS_MAX + 101):
        windows.charge(KEY, UnixMillis(NOW), ((chain_id, 1),))
    assert windows.used_amount(KEY, 1, DAY, UnixMillis(NOW)) == 1
    assert windows.used_amount(KEY, limits.WINDOW_CHAINS_MAX + 1, DAY, UnixMillis(NOW)) == 100
    assert len(windows._keys[KEY].amounts) == limits.WINDOW_CHAINS_MAX


@given(charges=st.lists(st.tuples(st.integers(0, DAY), st.integers(0, 9)), max_size=30))
def test_questions_leave_no_trace(charges: list[Charge]) -> None:
    """Windows made of the same charges are equal, whatever was asked in between."""
    asked = Windows()
    for at, amount in charges:
        asked.charge(KEY, UnixMillis(NOW + at), ((1, amount),))
        asked.used_amount(KEY, 1, HOUR, UnixMillis(NOW + at))
        asked.used_count(OTHER, 7 * DAY, UnixMillis(NOW + 9 * DAY))
    assert asked == charged(charges)


def test_windows_differ_when_one_charge_differs() -> None:
    """Equality sees amounts, times and keys."""
    base = charged([(0, 1), (5_000, 2)])
    assert base != charged([(0, 1), (5_000, 3)])
    assert base != charged([(0, 1), (6_000, 2)])
    assert base != charged([(0, 1), (5_000, 2)], chain_id=2)
    assert base != Windows()


def test_keys_and_chains_have_windows_of_their_own() -> None:
    """What one key uses on one chain is nobody else's."""
    windows = charged([(0, 5)])
    now = UnixMillis(NOW)
    assert (windows.used_count(KEY, DAY, now), windows.used_count(OTHER, DAY, now)) == (1, 0)
    assert (windows.used_amount(KEY, 1, DAY, now), windows.used_amount(KEY, 2, DAY, now)) == (5, 0)


def test_outflow_adds_amounts_and_fees_by_chain() -> None:
    """Outflow is amount and highest fee, by chain; orders and typed data have none."""
    effects = (
        Effect(operation=Operation.TRANSFER, chain_id=10, amount=2**256 - 1, fee_max=3),
        Effect(operation=Operation.CALL, chain_id=1, amount=0, fee_max=7),
        Effect(operation=Operation.CALL, chain_id=1, amount=5, fee_max=None),
        Effect(operation=Operation.TYPED_DATA, chain_id=5),
        Effect(operation=Operation.ORDER, venue="binance"),
    )
    assert outflow(effects) == ((1, 12), (10, 2**256 + 2))


def test_reservations_count_until_they_are_released() -> None:
    """A reservation counts for its key and chain until it is released, and leaves nothing behind."""
    reservations = Reservations()
    first = reservations.reserve(KEY, ((1, 5), (2, 6)))
    second = reservations.reserve(KEY, ((1, 7),))
    assert (reservations.count(KEY), reservations.amount(KEY, 1), reservations.amount(KEY, 2)) == (2, 12, 6)
    assert (reservations.count(OTHER), reservations.amount(OTHER, 1)) == (0, 0)
    reservations.release(first)
    assert (reservations.count(KEY), reservations.amount(KEY, 1), reservations.amount(KEY, 2)) == (1, 7, 0)
    reservations.release(second)
    assert (reservations._open, reservations._counts, reservations._amounts) == ({}, {}, {})


def test_a_second_release_is_broken() -> None:
    """Releasing twice would free another's reservation, so it ends the term."""
    reservations = Reservations()
    ticket = reservations.reserve(KEY, ())
    reservations.release(ticket)
    with pytest.raises(Broken):
        reservations.release(ticket)


COUNT = Limit(id="few", keys=ANY, window_ms=MINUTE, count_max=3)
AMOUNT = Limit(id="day", keys=frozenset({KEY}), window_ms=DAY, amount_max=100, chain_id=1)


def refusal(limit: Limit, windows: Windows, reservations: Reservations, flow: tuple[tuple[int, int], ...]) -> Refused:
    with pytest.raises(Refused) as caught:
        check_limits((limit,), windows, reservations, key=KEY, outflow=flow, now=UnixMillis(NOW))
    return caught.value


def test_a_full_window_refuses_and_says_what_is_left() -> None:
    """The last signature that fits is let through; the next is refused with used, cap and what is left."""
    windows, reservations = charged([(0, 0), (0, 0)]), Reservations()
    check_limits((COUNT,), windows, reservations, key=KEY, outflow=(), now=UnixMillis(NOW))
    reservations.reserve(KEY, ())
    refused = refusal(COUNT, windows, reservations, ())
    assert (refused.reason, refused.rules) == (Reason.LIMIT_EXCEEDED, ("few",))
    assert str(refused) == "limit few: key eth-hot used 3 of 3 signatures in 1m; 0 left, this asks for 1"


def test_an_amount_counts_to_the_last_wei() -> None:
    """Amounts fit up to the cap exactly, reservations included; one wei more is refused."""
    windows, reservations = charged([(0, 60)]), Reservations()
    reservations.reserve(KEY, ((1, 10),))
    check_limits((AMOUNT,), windows, reservations, key=KEY, outflow=((1, 30),), now=UnixMillis(NOW))
    refused = refusal(AMOUNT, windows, reservations, ((1, 31),))
    assert str(refused) == "limit day: key eth-hot used 70 of 100 wei on chain 1 in 24h; 30 left, this asks for 31"


def test_a_limit_is_about_its_keys_and_its_chain_only() -> None:
    """Other keys and other chains do not meet the limit."""
    windows, reservations = charged([(0, 100)]), Reservations()
    check_limits((AMOUNT,), windows, reservations, key=OTHER, outflow=((1, 99),), now=UnixMillis(NOW))
    check_limits((AMOUNT,), windows, reservations, key=KEY, outflow=((2, 99),), now=UnixMillis(NOW))
    check_limits((AMOUNT,), windows, reservations, key=KEY, outflow=(), now=UnixMillis(NOW))
    refusal(AMOUNT, windows, reservations, ((1, 1),))


def test_an_amount_without_a_chain_refuses() -> None:
    """A limit that cannot be judged is a no."""
    refused = refusal(dataclasses.replace(AMOUNT, chain_id=None), Windows(), Reservations(), ())
    assert refused.reason is Reason.POLICY_ERROR


@pytest.mark.parametrize(
    ("window_ms", "text"), [(1_500, "1500ms"), (30_000, "30s"), (10 * MINUTE, "10m"), (DAY, "24h"), (7 * DAY, "7d")]
)
def test_windows_are_written_as_people_do(window_ms: int, text: str) -> None:
    """A length of time is written in the largest unit that is exact."""
    assert window_text(window_ms) == text
