"""What limits refuse and how they say it; reservations; quotas."""

import dataclasses

import pytest

from keyvault.core import limits
from keyvault.core.charges import Charge
from keyvault.core.errors import Broken, Reason, Refused
from keyvault.core.ids import Principal, UnixMillis
from keyvault.core.intent import Effect, Operation
from keyvault.core.limits_check import Quota, check_limits, quotas
from keyvault.core.policy import ANY, Limit, Policy
from keyvault.core.policy_rules import Asset, Per, Prices
from keyvault.core.prices import price_book
from keyvault.core.tallies import Measure
from keyvault.core.windows import Reservations, Windows
from tests.core.charging import BOT, KEY, NOW, TO, charge_for, transfer, watching
from tests.core.rule_strategies import KEYS

OTHER = KEYS[1]
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
ETH = 10**18
COUNT = Limit(id="few", keys=ANY, window_ms=MINUTE, count_max=3)
AMOUNT = Limit(id="day", keys=frozenset({KEY}), window_ms=DAY, amount_max=100, chain_id=1)
CANCEL = charge_for(Effect(operation=Operation.CANCEL, venue="binance"))


def charged(windows: Windows, *charges: Charge) -> Windows:
    for charge in charges:
        windows.charge(charge, UnixMillis(NOW))
    return windows


def check(windows: Windows, charge: Charge, reservations: Reservations | None = None) -> None:
    check_limits(windows, reservations or Reservations(), charge, UnixMillis(NOW))


def refusal(windows: Windows, charge: Charge, reservations: Reservations | None = None) -> Refused:
    with pytest.raises(Refused) as caught:
        check(windows, charge, reservations)
    return caught.value


def test_a_full_window_refuses_and_says_what_is_left() -> None:
    """The last signature that fits is let through; the next is refused with used, cap and what is left."""
    windows, reservations = charged(watching(COUNT), CANCEL, CANCEL), Reservations()
    check(windows, CANCEL, reservations)
    reservations.reserve(CANCEL)
    refused = refusal(windows, CANCEL, reservations)
    assert (refused.reason, refused.rules) == (Reason.LIMIT_EXCEEDED, ("few",))
    assert str(refused) == "limit few: key eth-hot used 3 of 3 signatures in 1m; 0 left, this asks for 1"


def test_an_amount_counts_to_the_last_wei() -> None:
    """Amounts fit up to the cap exactly, reservations included; one wei more is refused."""
    windows, reservations = charged(watching(AMOUNT), transfer(60)), Reservations()
    reservations.reserve(transfer(10))
    check(windows, transfer(30), reservations)
    refused = refusal(windows, transfer(31), reservations)
    assert str(refused) == "limit day: key eth-hot used 70 of 100 wei on chain 1 in 24h; 30 left, this asks for 31"


def test_a_limit_is_about_its_keys_and_its_chain_only() -> None:
    """Other keys and other chains do not meet the limit, nor does what moves nothing."""
    windows = charged(watching(AMOUNT), transfer(100))
    for charge in (transfer(99, key=OTHER), transfer(99, chain_id=2), transfer(0), CANCEL):
        check(windows, charge)
    refusal(windows, transfer(1))


def test_an_amount_without_a_chain_refuses() -> None:
    """A limit that cannot be judged is a no to everything with its keys."""
    windows = watching(dataclasses.replace(AMOUNT, chain_id=None))
    assert refusal(windows, CANCEL).reason is Reason.POLICY_ERROR
    check(windows, transfer(1, key=OTHER))


def test_the_first_limit_of_the_policy_is_named() -> None:
    """If several have no room, the order of the policy says which is told."""
    full = [dataclasses.replace(COUNT, id=name, count_max=0) for name in ("b", "a")]
    assert refusal(watching(*full), CANCEL).rules == ("b",)


UNREAD = charge_for(Effect(operation=Operation.OPAQUE, venue="kraken"))


@pytest.mark.parametrize(
    ("limit", "word"),
    [
        (AMOUNT, "amounts"),
        (Limit(id="day", keys=ANY, window_ms=DAY, usd_max=10**12, per=Per.ALL), "dollars"),
        (dataclasses.replace(AMOUNT, operations=frozenset({Operation.ORDER})), "amounts"),
    ],
)
def test_what_is_opaque_has_no_room_where_amounts_are_counted(limit: Limit, word: str) -> None:
    """Whatever else the limit asks for: it can be that. A limit on another key or of another bot is not asked."""
    refused = refusal(watching(limit), UNREAD)
    assert str(refused) == f"limit day counts {word}, and what this payload moves is unknown"
    check(watching(dataclasses.replace(limit, keys=frozenset({OTHER}))), UNREAD)
    check(watching(dataclasses.replace(limit, principals=frozenset({"spiffe://demo/bot/taker"}))), UNREAD)


USDC = Asset(name="USDC", usd=10**6, decimals=6, places=frozenset({("binance", "USDC")}))
BOOK = price_book(Prices(assets=(USDC,), as_of=NOW, age_ms_max=DAY))


def withdrawn(network: str) -> Charge:
    """Return what a withdrawal of one USDC by this network uses."""
    effect = Effect(
        operation=Operation.WITHDRAW,
        venue="binance",
        network=network,
        destination="Bob",
        asset="USDC",
        amount=10**18,
        decimals=18,
    )
    return charge_for(effect, prices=BOOK)


@pytest.mark.parametrize(
    "limit",
    [
        Limit(id="l", keys=ANY, window_ms=HOUR, amount_max=2 * 10**18, venue="binance", asset="USDC"),
        Limit(id="l", keys=ANY, window_ms=HOUR, usd_max=2_000_000, per=Per.ASSET),
        Limit(id="l", keys=ANY, window_ms=HOUR, usd_max=2_000_000, per=Per.VENUE),
        Limit(id="l", keys=ANY, window_ms=HOUR, count_max=2, venues=frozenset({"binance"})),
    ],
)
def test_networks_of_a_venue_share_its_limits(limit: Limit) -> None:
    """What a venue may send in an hour is not as much again by each network; a limit on one counts that one."""
    both = withdrawn("binance:ETH"), withdrawn("binance:BSC")
    check(charged(watching(limit), both[0]), both[1])
    refusal(charged(watching(limit), *both), both[0])
    by_bsc = dataclasses.replace(limit, chains=frozenset({"binance:BSC"}))
    check(charged(watching(by_bsc), *both), both[1])
    refusal(charged(watching(by_bsc), *both, both[1]), both[1])


def test_groups_are_named_in_words() -> None:
    """Every kind of group says what it is; an asset says where, and dollars are told as people do."""
    token = "0x" + "70" * 20
    transfers = Effect(operation=Operation.TRANSFER, network="solana", destination="Bob", asset=token, amount=5)
    nobody = dataclasses.replace(transfers, destination=None)
    base = Limit(id="l", keys=ANY, window_ms=HOUR, amount_max=4, network="solana", asset=token)
    venue = Limit(id="l", keys=ANY, window_ms=HOUR, amount_max=4 * ETH, venue="binance", asset="ETH", per=Per.VENUE)
    withdrawal = Effect(operation=Operation.WITHDRAW, venue="binance", asset="ETH", destination="Bob", quantity=5 * ETH)
    coin = Limit(id="l", keys=ANY, window_ms=HOUR, amount_max=4, network="bitcoin", per=Per.ALL)
    satoshi = Effect(operation=Operation.TRANSFER, network="bitcoin", destination="Bob", amount=5)
    told = [
        (dataclasses.replace(base, per=Per.PRINCIPAL), transfers, f"principal {BOT} used 0 of 4 of {token} on solana"),
        (
            dataclasses.replace(base, per=Per.DESTINATION),
            transfers,
            f"destination Bob used 0 of 4 of {token} on solana",
        ),
        (
            dataclasses.replace(base, per=Per.DESTINATION),
            nobody,
            f"unknown destinations used 0 of 4 of {token} on solana",
        ),
        (
            dataclasses.replace(base, per=Per.ASSET),
            transfers,
            f"asset {token} at solana used 0 of 4 of {token} on solana",
        ),
        (venue, withdrawal, "venue binance used 0 of 4 ETH at binance"),
        (coin, satoshi, "all together used 0 of 4 smallest units on bitcoin"),
    ]
    for limit, effect, text in told:
        assert str(refusal(watching(limit), charge_for(effect))) == f"limit l: {text} in 1h; 4 left, this asks for 5"


def test_an_amount_is_of_one_asset_at_one_place() -> None:
    """Neither another venue's coin nor another token counts, nor the fee that the chain's own coin pays for it."""
    token, other = "0x" + "70" * 20, "0x" + "71" * 20
    of_token = Limit(id="l", keys=ANY, window_ms=HOUR, amount_max=4, chain_id=1, asset=token)
    at_venue = Limit(id="l", keys=ANY, window_ms=HOUR, amount_max=4, venue="binance", asset="ETH")
    moved = Effect(operation=Operation.TRANSFER, chain_id=1, destination="Bob", asset=other, amount=5, fee_max=5)
    check(watching(of_token), charge_for(moved))
    refusal(watching(of_token), charge_for(dataclasses.replace(moved, asset=token)))
    away = Effect(operation=Operation.WITHDRAW, venue="okx", asset="ETH", destination="Bob", quantity=5)
    check(watching(at_venue), charge_for(away))
    refusal(watching(at_venue), charge_for(dataclasses.replace(away, venue="binance")))


def test_what_is_at_no_known_venue_is_in_no_group_of_a_venue() -> None:
    """A limit per venue counts where something is at a venue; a raw digest says of none."""
    per_venue = Limit(id="l", keys=ANY, window_ms=HOUR, count_max=0, per=Per.VENUE)
    check(watching(per_venue), charge_for(Effect(operation=Operation.OPAQUE)))
    refusal(watching(per_venue), UNREAD)


def test_an_amount_of_nobody_knows_what_counts_for_each_asset() -> None:
    """A permit that is good on every chain may be of the asset that a limit is about, also counted per asset."""
    anywhere = charge_for(Effect(operation=Operation.TRANSFER, destination="Bob", amount=5))
    for per in (Per.KEY, Per.ASSET):
        limit = Limit(id="l", keys=ANY, window_ms=HOUR, amount_max=9, chain_id=1, per=per)
        assert "used 5 of 9" in str(refusal(charged(watching(limit), anywhere), transfer(5)))


def test_what_is_of_no_known_asset_is_in_no_group_of_an_asset() -> None:
    """A limit per asset counts where the asset is known: not what names none at a venue, nor what has no place."""
    per_asset = Limit(id="l", keys=ANY, window_ms=HOUR, count_max=0, per=Per.ASSET)
    check(watching(per_asset), charge_for(Effect(operation=Operation.WITHDRAW, venue="binance", quantity=5)))
    check(watching(per_asset), charge_for(Effect(operation=Operation.MESSAGE, asset="ETH")))
    refusal(watching(per_asset), transfer(5))


def test_without_any_room_a_signature_counts_for_each_asset(monkeypatch: pytest.MonkeyPatch) -> None:
    """What only its key is known of is in the group of every asset, at every place."""
    monkeypatch.setattr(limits, "WINDOW_CELLS_MAX", 0)
    monkeypatch.setattr(limits, "WINDOW_CELLS_ANYWHERE_MAX", 0)
    per_asset = Limit(id="l", keys=ANY, window_ms=HOUR, count_max=1, per=Per.ASSET)
    windows = charged(watching(per_asset), transfer(5))
    for asked in (transfer(5), transfer(5, chain_id=10)):
        assert "used 1 of 1" in str(refusal(windows, asked))


def test_plans_are_bounded_and_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many shapes there are, few are remembered, and a forgotten one counts as before."""
    monkeypatch.setattr(limits, "WINDOW_PLANS_MAX", 2)
    windows = watching(AMOUNT)
    for number in range(5):
        charged(windows, transfer(10, to=f"0x{number:040x}"))
        assert len(windows.watched._plans) <= 2
    assert "used 50 of 100" in str(refusal(windows, transfer(51, to="0x" + "00" * 20)))


# Reservations -----------------------------------------------------------------------------------------------------


def test_reservations_count_until_they_are_released() -> None:
    """A reservation counts for its groups until it is released, and leaves nothing behind."""
    windows, reservations = watching(AMOUNT), Reservations()
    first, second = reservations.reserve(transfer(40)), reservations.reserve(transfer(50))
    assert "used 90 of 100" in str(refusal(windows, transfer(11), reservations))
    reservations.release(first)
    check(windows, transfer(50), reservations)
    reservations.release(second)
    assert (reservations._open, reservations._totals) == ({}, {})


def test_a_second_release_is_broken() -> None:
    """Releasing twice would free another's reservation, so it ends the term."""
    reservations = Reservations()
    ticket = reservations.reserve(CANCEL)
    reservations.release(ticket)
    with pytest.raises(Broken):
        reservations.release(ticket)


def test_two_for_one_slot_in_flight_count_both() -> None:
    """Neither is a fact, so nothing was charged that the second could take back."""
    windows, reservations = watching(AMOUNT), Reservations()
    reservations.reserve(check_limits(windows, reservations, transfer(60, slot="a"), UnixMillis(NOW)))
    assert "used 60 of 100" in str(refusal(windows, transfer(41, slot="a"), reservations))


def test_what_is_reserved_for_a_slot_is_what_it_will_be_charged() -> None:
    """A smaller signature moves the larger one to its own time, so the larger one is what must fit, and stay."""
    windows, reservations = watching(dataclasses.replace(AMOUNT, window_ms=MINUTE)), Reservations()
    windows.charge(transfer(90, slot="a"), UnixMillis(NOW - HOUR))
    reserved = check_limits(windows, reservations, transfer(1, slot="a"), UnixMillis(NOW))
    assert reserved.moved[0] == 90
    reservations.reserve(reserved)
    assert "used 90 of 100" in str(refusal(windows, transfer(11), reservations))


# Quotas -----------------------------------------------------------------------------------------------------------


def test_quotas_say_what_is_used_and_under_way() -> None:
    """One line for each measure of each limit that is about the key and the principal, in their order."""
    both = dataclasses.replace(AMOUNT, count_max=7)
    others = dataclasses.replace(COUNT, id="others", principals=frozenset({"spiffe://demo/bot/taker"}))
    cold = dataclasses.replace(COUNT, id="cold", keys=frozenset({OTHER}))
    windows, reservations = charged(watching(COUNT, others, cold, both), transfer(5), CANCEL), Reservations()
    reservations.reserve(transfer(6))
    policy = windows.watched.policy
    assert quotas(policy, windows, reservations, KEY, BOT, UnixMillis(NOW)) == (
        Quota(limit="few", per=Per.KEY, group=KEY, measure=Measure.COUNT, used=3, cap=3, window_ms=MINUTE),
        Quota(limit="day", per=Per.KEY, group=KEY, measure=Measure.COUNT, used=3, cap=7, window_ms=DAY),
        Quota(limit="day", per=Per.KEY, group=KEY, measure=Measure.AMOUNT, used=11, cap=100, window_ms=DAY),
    )


def test_quotas_of_many_groups_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that used most are told first, and what is full before its window ends is not told after it."""
    monkeypatch.setattr(limits, "QUOTA_GROUPS_MAX", 2)
    windows = watching(dataclasses.replace(AMOUNT, per=Per.DESTINATION, window_ms=HOUR))
    charged(windows, *(transfer(number, to=f"0x{number:040x}") for number in (2, 3, 1)))
    policy = windows.watched.policy
    found = quotas(policy, windows, Reservations(), KEY, BOT, UnixMillis(NOW))
    assert [(each.group[-1], each.used) for each in found] == [("3", 3), ("2", 2)]
    assert quotas(policy, windows, Reservations(), KEY, BOT, UnixMillis(NOW + 2 * HOUR)) == ()


def test_quotas_of_another_policy_are_a_mistake() -> None:
    """The windows count for the limits of the policy in force only."""
    with pytest.raises(Broken):
        quotas(
            Policy(version=9, rules=(), limits=()),
            watching(COUNT),
            Reservations(),
            KEY,
            Principal("spiffe://demo/bot/maker"),
            UnixMillis(NOW),
        )


@pytest.mark.parametrize("spelling", [TO + "?memo=1", TO.upper(), TO.removeprefix("0x"), TO + "?addressTag=2"])
def test_a_destination_is_an_account_whatever_its_tag(spelling: str) -> None:
    """A tag or another spelling is no other group of a limit per destination, and no way out of a limit on one."""
    each = dataclasses.replace(AMOUNT, per=Per.DESTINATION)
    only = dataclasses.replace(AMOUNT, destinations=frozenset({TO}))
    tagged = dataclasses.replace(AMOUNT, destinations=frozenset({TO + "?memo=9"}))
    for limit in (each, only, tagged):
        windows = charged(watching(limit), transfer(60))
        check(windows, transfer(40, to=spelling))
        refusal(windows, transfer(41, to=spelling))
