"""Windows against a naive list of all signatures: whatever the limit, never too little, and one bucket more at most."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.charges import Blank, charge_of, is_unread
from keyvault.core.errors import Refused
from keyvault.core.ids import KeyId, UnixMillis
from keyvault.core.intent import Completeness, Effect, Intent, Operation, PayloadKind
from keyvault.core.limits_check import check_limits, quotas
from keyvault.core.policy import ANY, UNDATED, Limit, Policy
from keyvault.core.policy_rules import Per
from keyvault.core.prices import EMPTY_BOOK
from keyvault.core.tallies import NOTHING_REPLACED, Cap
from keyvault.core.windows import Reservations, Windows
from tests.core.charging import BOOK, BOT, KEY, NOW, TO, charge, transfer, watching
from tests.core.limit_oracle import OPEN, Oracle, adds, read
from tests.core.rule_strategies import ASKED, DESTINATIONS, KEYS, LIMITS, PRINCIPALS, TOKENS, Asked, policy_of

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000


@dataclass(frozen=True)
class Step:
    """One signature in a history."""

    after_ms: int
    asked: Asked
    slot: str | None


AFTER = st.sampled_from([0, 1, 999, 7_000, MINUTE, 50 * MINUTE, HOUR, -3_000])
PAYMENTS = st.builds(
    lambda operation, to, asset, amount, fee: Effect(
        operation=operation, chain_id=1, destination=to, asset=asset, amount=amount, fee_max=fee
    ),
    st.sampled_from([Operation.TRANSFER, Operation.ALLOWANCE]),
    st.sampled_from([*DESTINATIONS, None]),
    st.sampled_from([None, TOKENS[0]]),
    st.integers(0, 3),
    st.integers(0, 2),
)
PAYING = st.builds(
    lambda key, principal, effects: Asked(
        key,
        principal,
        Intent(
            kind=PayloadKind.EVM_TRANSACTION,
            algorithms=frozenset(),
            signing_input=bytes(32),
            effects=tuple(effects),
            completeness=Completeness.FULL,
        ),
        UNDATED,
    ),
    st.sampled_from(KEYS),
    st.sampled_from(PRINCIPALS),
    st.lists(PAYMENTS, min_size=1, max_size=2),
)
STEPS = st.builds(Step, after_ms=AFTER, asked=ASKED, slot=st.sampled_from([None, "a"])) | st.builds(
    Step, after_ms=AFTER, asked=PAYING, slot=st.sampled_from([None, "a", "a"])
)
COMMON = st.builds(
    Limit,
    id=st.just("common"),
    keys=st.just(ANY),
    window_ms=st.sampled_from([MINUTE, HOUR]),
    count_max=st.sampled_from([2, 3]),
    amount_max=st.sampled_from([2, 5]),
    chain_id=st.just(1),
    asset=st.sampled_from([None, TOKENS[0]]),
    usd_max=st.sampled_from([None, 4_000_000]),
    per=st.sampled_from(Per),
)
CAPPED = LIMITS | COMMON
HISTORIES = st.lists(STEPS, max_size=12)


def dated(history: list[Step]) -> Iterator[tuple[int, Step]]:
    at = NOW
    for step in history:
        at += step.after_ms
        yield at, step


def told(history: list[Step]) -> Oracle:
    oracle = Oracle()
    for at, step in dated(history):
        unread = is_unread(step.asked.intent.kind, step.asked.intent.completeness)
        one = read(
            step.asked.key,
            step.asked.principal,
            step.asked.intent.effects,
            unread=unread,
            book=BOOK.at(UnixMillis(at)),
            at=at,
        )
        oracle.add(one, step.slot, limits.WINDOW_MS_MAX)
    return oracle


def charged(history: list[Step], policy: Policy | None = None) -> Windows:
    windows = Windows()
    if policy is not None:
        windows.watch(policy)
    for at, step in dated(history):
        windows.charge(charge(step.asked, step.slot, at), UnixMillis(at))
    return windows


def used(cap: Cap, group: object, now: int) -> int:
    name = Blank.UNKNOWN if group == OPEN else group
    if isinstance(name, tuple):
        name = tuple(Blank.UNKNOWN if each == OPEN else each for each in name)
    return cap.tally.used(name, cap.limit.window_ms, now, replaced=NOTHING_REPLACED)  # type: ignore[arg-type]  # as told


def bounds(cap: Cap, oracle: Oracle, policy: Policy, now: int, bucket_ms: int) -> Iterator[tuple[object, int, int]]:
    """Return each group with the least and the most that may count in it."""
    since = now - cap.limit.window_ms
    measure = cap.tally.about.measure.value
    most = oracle.used(cap.limit, measure, policy, since - bucket_ms)
    least = oracle.used(cap.limit, measure, policy, since)
    yield from ((group, least.get(group, 0), total) for group, total in most.items())


@settings(max_examples=150, deadline=None)
@given(st.lists(CAPPED, min_size=1, max_size=4), HISTORIES, st.sampled_from([0, 500, MINUTE, HOUR]))
def test_no_limit_counts_too_little_or_a_bucket_too_much(limited: list[Limit], history: list[Step], later: int) -> None:
    """Every group of every measure is between the exact sum and that with one more bucket."""
    policy = policy_of([], limited)
    windows, oracle = charged(history, policy), told(history)
    now = NOW + sum(step.after_ms for step in history) + later
    for cap in windows.watched.caps:
        for group, least, most in bounds(cap, oracle, policy, now, SECOND):
            assert least <= used(cap, group, now) <= most


@settings(max_examples=150, deadline=None)
@given(st.lists(CAPPED, min_size=1, max_size=4), HISTORIES, STEPS)
def test_what_passes_fits_and_what_is_refused_does_not(limited: list[Limit], history: list[Step], step: Step) -> None:
    """After a signature that passes no limit that it is about is above its cap; one is after a refused one."""
    policy = policy_of([], limited)
    windows, now = charged(history, policy), NOW + sum(each.after_ms for each in history) + step.after_ms
    asked = charge(step.asked, step.slot, now)
    unknown = asked.is_opaque or bool(asked.unknown)
    try:
        check_limits(windows, Reservations(), asked, UnixMillis(now))
    except Refused:
        passed = False
    else:
        passed = True
    after = told([*history, step])
    last = after.signed[-1]
    over = {"least": False, "most": False}
    for cap in windows.watched.caps:
        asking = adds(cap.limit, cap.tally.about.measure.value, policy, last)
        for group, least, most in bounds(cap, after, policy, now, SECOND):
            if asking.get(group):
                over["least"] |= least > cap.most
                over["most"] |= most > cap.most
    assert not (passed and over["least"])
    assert passed or unknown or over["most"]


@settings(max_examples=80, deadline=None)
@given(st.lists(CAPPED, max_size=3), st.lists(CAPPED, max_size=3), HISTORIES, HISTORIES)
def test_publishing_makes_what_counting_along_would_have_made(
    old: list[Limit], new: list[Limit], first: list[Step], then: list[Step]
) -> None:
    """Windows after another policy was published are those that it would have had from the beginning."""
    later, earlier = charged([], policy_of([], old)), charged([], policy_of([], new))
    for number, (at, step) in enumerate(dated(first + then)):
        if number == len(first):
            later.watch(policy_of([], new))
        for windows in (later, earlier):
            windows.charge(charge(step.asked, step.slot, at), UnixMillis(at))
    later.watch(policy_of([], new))
    assert later == earlier


@given(st.lists(CAPPED, max_size=2), HISTORIES, ASKED)
@settings(max_examples=50, deadline=None)
def test_questions_leave_no_trace(limited: list[Limit], history: list[Step], asked: Asked) -> None:
    """Windows made of the same charges are equal, whatever was asked in between."""
    policy = policy_of([], limited)
    questioned = charged([], policy)
    for at, step in dated(history):
        questioned.charge(charge(step.asked, step.slot, at), UnixMillis(at))
        quotas(policy, questioned, Reservations(), asked.key, asked.principal, UnixMillis(at))
        with suppress(Refused):
            check_limits(questioned, Reservations(), charge(asked, "a", at), UnixMillis(at))
    assert questioned == charged(history, policy)


@settings(max_examples=80, deadline=None)
@given(
    limited=st.lists(CAPPED, min_size=1, max_size=3),
    history=HISTORIES,
    rest=st.sampled_from([0, 9 * DAY]),
    more=HISTORIES,
    room=st.tuples(st.integers(0, 4), st.integers(0, 2)),
)
def test_without_room_nothing_counts_too_little(
    limited: list[Limit], history: list[Step], rest: int, more: list[Step], room: tuple[int, int]
) -> None:
    """However few cells there are, and whatever was moved out of them, every group has at least the exact sum."""
    policy = policy_of([], limited)
    whole = history + [Step(step.after_ms + (0 if n else rest), step.asked, step.slot) for n, step in enumerate(more)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "WINDOW_CELLS_MAX", room[0])
        patch.setattr(limits, "WINDOW_CELLS_ANYWHERE_MAX", room[1])
        windows, oracle = charged(whole, policy), told(whole)
        again = charged(whole)
        again.watch(policy)
    now = NOW + sum(step.after_ms for step in whole)
    for cap in windows.watched.caps:
        for group, least, _ in bounds(cap, oracle, policy, now, 0):
            assert used(cap, group, now) >= least
    assert again == windows


# One by one ---------------------------------------------------------------------------------------------------------


def wei(cap: int = 100, per: Per = Per.KEY, window_ms: int = HOUR) -> Limit:
    return Limit(id="wei", keys=ANY, window_ms=window_ms, amount_max=cap, chain_id=1, per=per)


def used_of(windows: Windows, key: KeyId = KEY, at: int = NOW) -> list[int]:
    policy = windows.watched.policy
    return [each.used for each in quotas(policy, windows, Reservations(), key, BOT, UnixMillis(at))]


def test_a_forgotten_slot_counts_in_full_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the latest slots are remembered; what fills an older one adds to what it was charged before."""
    monkeypatch.setattr(limits, "WINDOW_SLOTS_MAX", 2)
    windows = watching(wei())
    for slot in ("a", "b", "c", "a", "c"):
        windows.charge(transfer(10, slot=slot), UnixMillis(NOW))
    assert used_of(windows) == [40]


def test_a_slot_that_may_be_forgotten_is_not_promised_to_be_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is under way may push a slot out before its second signature is a fact, so the check counts both."""
    monkeypatch.setattr(limits, "WINDOW_SLOTS_MAX", 3)
    monkeypatch.setattr(limits, "HISTORY_LAG_MAX", 1)
    windows = watching(wei())
    for slot in ("a", "b", "c"):
        windows.charge(transfer(30, slot=slot), UnixMillis(NOW))
    assert check_limits(windows, Reservations(), transfer(40, slot="c"), UnixMillis(NOW)).moved[0] == 40
    with pytest.raises(Refused, match="used 90 of 100"):
        check_limits(windows, Reservations(), transfer(11, slot="a"), UnixMillis(NOW))


def test_an_old_filling_needs_nothing() -> None:
    """A slot that was filled before every window began is filled anew."""
    windows = watching(wei(window_ms=7 * DAY))
    windows.charge(transfer(90, slot="a"), UnixMillis(NOW))
    later = NOW + 7 * DAY + SECOND
    assert check_limits(windows, Reservations(), transfer(20, slot="a"), UnixMillis(later)).moved == (20, 0, 0)


def test_a_slot_with_too_many_parts_counts_its_newest_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often one slot is filled with something else, its parts are bounded, and none counts too little."""
    monkeypatch.setattr(limits, "WINDOW_SLOT_PARTS_MAX", 3)
    windows = watching(wei(per=Per.ALL))
    for number in range(5):
        windows.charge(transfer(10, to=f"0x{number:040x}", slot="a"), UnixMillis(NOW))
    assert used_of(windows) == [50]


def test_slots_of_other_versions_of_a_key_are_others() -> None:
    """Another version signs for another account, so its nonce is another one."""
    first = transfer(10, slot="a")
    second = charge_of(
        KEY,
        BOT,
        (Effect(operation=Operation.TRANSFER, chain_id=1, destination=TO, amount=10, fee_max=0),),
        unread=False,
        slot=(2, "a"),
        prices=EMPTY_BOOK,
        at=UnixMillis(NOW),
    )
    windows = watching(wei())
    windows.charge(first, UnixMillis(NOW))
    windows.charge(second, UnixMillis(NOW))
    assert used_of(windows) == [20]


def test_without_room_destinations_count_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """New destinations share a cell that counts in the group of every destination, and other assets are not in it."""
    monkeypatch.setattr(limits, "WINDOW_CELLS_MAX", 1)
    windows = watching(wei(per=Per.DESTINATION))
    windows.charge(transfer(10), UnixMillis(NOW))
    windows.charge(transfer(20, to="0x" + "01" * 20), UnixMillis(NOW))
    windows.charge(transfer(1), UnixMillis(NOW))
    with pytest.raises(Refused, match=f"destination {TO} used 31 of 100"):
        check_limits(windows, Reservations(), transfer(70), UnixMillis(NOW))
    with pytest.raises(Refused, match="used 20 of 100"):
        check_limits(windows, Reservations(), transfer(81, to="0x" + "02" * 20), UnixMillis(NOW))


def test_cells_at_rest_give_up_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not charged for more than eight days makes room, and a clock that steps back finds it still."""
    monkeypatch.setattr(limits, "WINDOW_CELLS_MAX", 4)
    windows = watching(wei(per=Per.DESTINATION, cap=1_000))
    for number in range(4):
        windows.charge(transfer(10, to=f"0x{number:040x}"), UnixMillis(NOW))
    late = NOW + 8 * DAY + 1
    windows.charge(transfer(5), UnixMillis(late))
    assert used_of(windows, at=late) == [5]
    with pytest.raises(Refused, match="used 45 of 1000"):
        check_limits(windows, Reservations(), transfer(1_000), UnixMillis(NOW + 1))
    assert len(list(windows._cells)) == 2


def test_a_slot_whose_cell_is_gone_takes_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was moved to the cell of the key cannot be told apart there, so it stays, also in sums made again."""
    monkeypatch.setattr(limits, "WINDOW_CELLS_MAX", 1)
    windows = watching(wei(cap=1_000))
    windows.charge(transfer(10, slot="a"), UnixMillis(NOW))
    windows.charge(transfer(20, to="0x" + "01" * 20), UnixMillis(NOW + 9 * DAY))
    windows.charge(transfer(30, to="0x" + "01" * 20, slot="a"), UnixMillis(NOW + 1))
    assert used_of(windows, at=NOW + 1) == [60]
    windows.watch(windows.watched.policy)
    assert used_of(windows, at=NOW + 1) == [60]


def test_reservations_survive_that_the_tallies_are_made_again() -> None:
    """Whatever policy is published meanwhile, what is under way counts for its limits."""
    windows, reservations = watching(wei()), Reservations()
    ticket = reservations.reserve(transfer(60))
    check_limits(windows, reservations, transfer(40), UnixMillis(NOW))
    windows.watch(Policy(version=2, rules=(), limits=(wei(cap=99, per=Per.ALL),)))
    with pytest.raises(Refused, match="used 60 of 99"):
        check_limits(windows, reservations, transfer(40), UnixMillis(NOW))
    reservations.release(ticket)
    check_limits(windows, reservations, transfer(40), UnixMillis(NOW))
