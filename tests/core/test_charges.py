"""What a signature is charged: parts that limits can tell apart, their numbers, and what is not known of them."""

from dataclasses import replace

import pytest

from keyvault.core.charges import AMOUNT, USD, Blank, Part, charge_of, is_unread
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Completeness, Effect, Operation, PayloadKind
from keyvault.core.policy_rules import NATIVE, Asset, Market, Prices
from keyvault.core.prices import price_book
from tests.core.charging import BOT, KEY, NOW, TO, charge_for, transfer

TOKEN = "0x" + "70" * 20
BOOK = price_book(
    Prices(
        assets=(
            Asset(name="ETH", usd=2_000_000_000, decimals=18, places=frozenset({(1, "native"), ("binance", "ETH")})),
            Asset(name="USDT", usd=1_000_000, decimals=6, places=frozenset({(1, TOKEN), ("binance", "USDT")})),
        ),
        markets=(Market(venue="binance", symbol="ETHUSDT", base="ETH", quote="USDT"),),
        as_of=NOW,
        age_ms_max=1_000,
    )
)
PAY = Effect(operation=Operation.TRANSFER, chain_id=1, destination=TO, asset=TOKEN, amount=5_000_000, fee_max=10**15)
UNKNOWN = Blank.UNKNOWN


def test_amounts_dollars_and_fees_of_one_part() -> None:
    """The fee of a token's transfer is of the chain's own coin, so it stands apart; its dollars are added."""
    charge = charge_for(PAY, prices=BOOK)
    assert charge.parts == (Part(BOT, Operation.TRANSFER, 1, None, TOKEN, TO),)
    assert (charge.moved, charge.unknown, charge.usd) == ((5_000_000, 10**15, 7_000_000), frozenset(), 7_000_000)


def test_a_fee_without_a_price_leaves_the_dollars_unknown() -> None:
    """Gas on a chain whose coin is not in the table is not free: a limit in dollars has no room for it."""
    there = replace(PAY, chain_id=5, amount=0, asset=None)
    assert charge_for(there, prices=BOOK).unknown == frozenset({USD})
    assert charge_for(replace(there, fee_max=0), prices=BOOK).unknown == frozenset()


def test_the_fee_adds_to_the_coin_that_pays_it() -> None:
    """Amount and fee of the chain's own coin are one number, as large as 256 bits may be."""
    coin = Effect(operation=Operation.CALL, chain_id=1, destination=TO.upper(), amount=2**256 - 1, fee_max=3)
    charge = charge_for(coin)
    assert charge.parts == (Part(BOT, Operation.CALL, 1, None, "native", TO),)
    assert charge.moved == (2**256 + 2, 0, 0)


def test_equal_parts_are_added_and_others_stand_apart() -> None:
    """Two payments to one account are one part; the order of the others is that of the effects."""
    other = Effect(operation=Operation.TRANSFER, chain_id=1, destination="0x" + "01" * 20, amount=7, fee_max=0)
    charge = charge_for(PAY, other, PAY)
    assert [part.destination for part in charge.parts] == [TO, other.destination]
    assert charge.moved == (10_000_000, 2 * 10**15, 0, 7, 0, 0)


def test_what_is_known_counts_beside_what_is_not() -> None:
    """An amount that is not stated hides none of those that are, and the sum in dollars is not known."""
    unstated = Effect(operation=Operation.TRANSFER, chain_id=1, destination=TO, asset=TOKEN, fee_max=0)
    charge = charge_for(unstated, PAY, prices=BOOK)
    assert (charge.moved, charge.unknown, charge.usd) == (
        (5_000_000, 10**15, 7_000_000),
        frozenset({AMOUNT, USD}),
        None,
    )


def test_an_order_has_dollars_and_no_amount_or_destination() -> None:
    """An order names a market; what it moves is worth what the table says."""
    order = Effect(
        operation=Operation.ORDER, venue="binance", symbol="ETHUSDT", quantity=2 * 10**18, price=1_900 * 10**18
    )
    charge = charge_for(order, prices=BOOK)
    assert charge.parts == (Part(BOT, Operation.ORDER, None, "binance", None, None),)
    assert (charge.moved, charge.usd) == ((0, 0, 4_000_000_000), 4_000_000_000)


def test_a_withdrawal_has_the_quantity_that_it_states() -> None:
    """A venue's code is its asset, wherever the decoder put it."""
    withdrawal = Effect(operation=Operation.WITHDRAW, venue="binance", symbol="ETH", destination=TO, quantity=10**18)
    charge = charge_for(withdrawal, prices=BOOK)
    assert charge.parts == (Part(BOT, Operation.WITHDRAW, None, "binance", "ETH", TO),)
    assert charge.moved == (10**18, 0, 2_000_000_000)


WITHDRAWAL = Effect(
    operation=Operation.WITHDRAW, venue="binance", symbol="ETH", destination=TO, amount=15 * 10**17, decimals=18
)


def test_a_withdrawal_has_the_amount_that_it_states() -> None:
    """As most decoders state it; its dollars are those of the amount."""
    charge = charge_for(WITHDRAWAL, prices=BOOK)
    assert charge.parts == (Part(BOT, Operation.WITHDRAW, None, "binance", "ETH", TO),)
    assert (charge.moved, charge.usd) == ((15 * 10**17, 0, 3_000_000_000), 3_000_000_000)


@pytest.mark.parametrize("network", [None, "binance:ETH", "binance:BSC"])
def test_a_withdrawal_is_at_its_venue_by_whatever_network(network: str | None) -> None:
    """Its amount, unit, asset and dollars are those of the venue, and it replaces no other one."""
    withdrawal = replace(WITHDRAWAL, network=network)
    charge = charge_for(withdrawal, prices=BOOK, slot="id")
    assert charge.parts == (Part(BOT, Operation.WITHDRAW, network, "binance", "ETH", TO),)
    assert charge.parts[0].where == "binance"
    assert (charge.moved, charge.usd, charge.slot) == ((15 * 10**17, 0, 3_000_000_000), 3_000_000_000, None)
    assert AMOUNT in charge_for(replace(withdrawal, decimals=None)).unknown


@pytest.mark.parametrize(
    ("amount", "decimals", "counted"),
    [(15, 1, 15 * 10**17), (1_500_000, 6, 15 * 10**17), (3, 0, 3 * 10**18), (11, 19, 2), (0, None, 0)],
)
def test_amounts_at_a_venue_have_one_unit(amount: int, decimals: int | None, counted: int) -> None:
    """However many decimals a payload has, 1.5 is 1.5; what is too fine is rounded up."""
    charge = charge_for(replace(WITHDRAWAL, amount=amount, decimals=decimals))
    assert charge.moved[AMOUNT] == counted
    assert AMOUNT not in charge.unknown


def test_an_amount_of_nobody_knows_what_is_unknown() -> None:
    """At a venue alone a number without decimals can be anything; on a chain it is of the smallest unit."""
    assert AMOUNT in charge_for(replace(WITHDRAWAL, decimals=None)).unknown
    at_both = replace(WITHDRAWAL, decimals=None, venue="dydx", network="cosmos:dydx-mainnet-1")
    assert charge_for(at_both).moved[AMOUNT] == 15 * 10**17
    assert charge_for(replace(PAY, decimals=2)).moved[AMOUNT] == PAY.amount


def test_what_a_permit_leaves_open_is_unknown() -> None:
    """Without a chain it is good on each; without a destination it may be for anybody."""
    permit = Effect(operation=Operation.ALLOWANCE, asset=TOKEN, amount=5)
    charge = charge_for(permit)
    assert charge.parts == (Part(BOT, Operation.ALLOWANCE, UNKNOWN, None, TOKEN, UNKNOWN),)
    assert charge.moved == (5, 0, 0)


def test_an_opaque_payload_can_be_anything() -> None:
    """Whatever its effects say; only the venue that it addresses is known."""
    stated = Effect(operation=Operation.OPAQUE, venue="binance", amount=5)
    anything = Part(BOT, Operation.OPAQUE, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)
    charge = charge_of(KEY, BOT, (PAY, stated), unread=True, slot=(1, "a"), prices=BOOK, at=UnixMillis(NOW))
    assert charge.parts == (anything, anything._replace(venue="binance"))
    assert (charge.moved, charge.usd, charge.slot, charge.is_opaque) == ((0,) * 6, None, None, True)


def test_one_opaque_effect_is_charged_as_one_of_several() -> None:
    """A raw digest moves nothing that is known, and its amount and its dollars are not known."""
    for venue in (None, "binance"):
        digest = Effect(operation=Operation.OPAQUE, venue=venue)
        one, two = (
            charge_of(KEY, BOT, (digest,) * times, unread=True, slot=None, prices=BOOK, at=UnixMillis(NOW))
            for times in (1, 2)
        )
        assert (one.parts, one.moved, one.unknown) == (two.parts, (0, 0, 0), frozenset({AMOUNT, USD}))
        assert one == charge_for(digest, prices=BOOK)


def test_what_cannot_be_read_is_unread() -> None:
    """A raw digest whatever is stated of it, and every payload whose meaning is not known."""
    assert is_unread(PayloadKind.RAW_DIGEST, Completeness.FULL)
    assert is_unread(PayloadKind.TYPED_DATA, Completeness.OPAQUE)
    assert not is_unread(PayloadKind.TYPED_DATA, Completeness.PARTIAL)


def test_a_quantity_is_of_venues_only() -> None:
    """What leaves a venue for a chain moves the quantity that it states; on a chain alone a quantity is no amount."""
    away = Effect(operation=Operation.WITHDRAW, network="cosmos:dydx-mainnet-1", destination=TO, quantity=5)
    assert (charge_for(away).moved[AMOUNT], AMOUNT in charge_for(away).unknown) == (0, True)
    assert charge_for(replace(away, venue="dydx")).moved[AMOUNT] == 5


def test_an_amount_without_a_unit_is_unknown_though_its_dollars_are_not() -> None:
    """At a venue an amount needs its decimals; what the table makes of it counts in dollars all the same."""
    moved = Effect(operation=Operation.TRANSFER, venue="binance", asset="USDT", amount=5)
    charge = charge_for(moved, prices=BOOK)
    assert (charge.moved, charge.unknown) == ((0, 0, 5), frozenset({AMOUNT}))


def test_whatever_states_an_amount_moves_the_coin_of_its_chain() -> None:
    """Also an operation that never has one at other times; without an amount it moves nothing."""
    setup = Effect(operation=Operation.SETUP, chain_id=1, amount=5)
    charge = charge_for(setup)
    assert (charge.parts[0].asset, charge.moved[AMOUNT]) == (NATIVE, 5)
    assert charge_for(replace(setup, amount=None)).parts[0].asset is None


def test_dollars_are_known_while_prices_are() -> None:
    """Old prices are none; what moves no value is worth nothing; a policy without prices says nothing of dollars."""
    cancel = Effect(operation=Operation.CANCEL, venue="binance")
    late = charge_of(KEY, BOT, (PAY,), unread=False, slot=None, prices=BOOK, at=UnixMillis(NOW + 1_000))
    assert (late.moved[USD], late.unknown, late.usd) == (0, frozenset({USD}), None)
    assert charge_of(KEY, BOT, (cancel,), unread=False, slot=None, prices=BOOK, at=UnixMillis(NOW + 1_000)).usd == 0
    assert charge_for(cancel).usd is None


def test_only_on_chains_slots_replace_each_other() -> None:
    """One effect at a venue alone, and the signature counts beside every other."""
    order = Effect(operation=Operation.ORDER, venue="binance", symbol="ETHUSDT")
    at_both = Effect(operation=Operation.ORDER, venue="dydx", network="cosmos:dydx-mainnet-1", symbol="ETH-USD")
    assert charge_for(PAY, slot="nonce").slot == (KEY, 1, "nonce")
    assert charge_for(at_both, slot="order").slot == (KEY, 1, "order")
    assert charge_for(order, slot="order").slot is None
    assert charge_for(PAY, order, slot="nonce").slot is None


def test_joined_charges_have_the_most_of_both() -> None:
    """Part by part; what is unknown of the earlier one was counted as it was, and asks for nothing more."""
    unstated = Effect(operation=Operation.TRANSFER, chain_id=1, destination=TO, amount=None, fee_max=9)
    joined = charge_for(unstated, PAY).joined(transfer(5, slot="a"))
    assert [part.asset for part in joined.parts] == ["native", TOKEN]
    assert (joined.moved, joined.unknown, joined.slot) == (
        (9, 0, 0, 5_000_000, 10**15, 0),
        frozenset({USD}),
        (KEY, 1, "a"),
    )
