"""Numbers and texts in Hyperliquid's actions: each range from both of its ends."""

import pytest

from keyvault.core.errors import Malformed
from keyvault.core.intent import Operation
from tests.intents.hyperliquid_building import VAULT, Action, order, orders, read, there

CANCELLED = {"type": "twapCancel", "a": 1, "t": 5}
MARGIN = {"type": "updateIsolatedMargin", "asset": 1, "isBuy": True, "ntli": 0}
SENT = {"type": "subAccountSpotTransfer", "subAccountUser": VAULT, "isDeposit": True, "token": "A", "amount": "1"}


@pytest.mark.parametrize(
    ("first", "last", "market"),
    [
        (0, 9_999, "perp"),
        (10_000, 99_999, "spot"),
        (100_000, 99_999_999, "perp"),
        (100_000_000, 2**32 - 1, "outcome"),
    ],
)
def test_an_asset_belongs_to_the_market_of_its_range(first: int, last: int, market: str) -> None:
    """The first and the last index of a range are of its market."""
    for asset in (first, last):
        action = {**CANCELLED, "a": asset}
        assert read(action).effects == (there(Operation.CANCEL, symbol=f"{market}:{asset}"),)


@pytest.mark.parametrize("asset", [10_000, 99_999, 100_000_000])
def test_only_positions_are_reduced(asset: int) -> None:
    """Reduce-only says nothing of what is no perpetual: such an order is one like any other."""
    assert read(orders(order(a=asset, r=True))).effects[0].operation is Operation.ORDER
    assert read(orders(order(a=9_999, r=True), order(a=100_000, r=True))).effects[1].operation is Operation.REDUCE


@pytest.mark.parametrize(
    ("fitting", "beyond"),
    [
        ({**CANCELLED, "t": 2**53 - 1}, {**CANCELLED, "t": 2**53}),
        ({**CANCELLED, "t": 0}, {**CANCELLED, "t": -1}),
        ({**CANCELLED, "a": 2**32 - 1}, {**CANCELLED, "a": 2**32}),
        ({**MARGIN, "ntli": 2**53 - 1}, {**MARGIN, "ntli": 2**53}),
        ({**MARGIN, "ntli": 1 - 2**53}, {**MARGIN, "ntli": -(2**53)}),
        ({**SENT, "token": "A" * 80}, {**SENT, "token": "A" * 81}),
        (orders(order(), builder={"b": VAULT, "f": 1_000}), orders(order(), builder={"b": VAULT, "f": 1_001})),
        (orders(order(), grouping={"p": 10**8}), orders(order(), grouping={"p": 10**8 + 1})),
    ],
)
def test_the_last_that_fits_is_read(fitting: Action, beyond: Action) -> None:
    """What is at the end of its range is read, what is one beyond is refused."""
    assert read(fitting).effects[0].operation is not Operation.OPAQUE
    with pytest.raises(Malformed):
        read(beyond)


def test_no_margin_is_added_rather_than_removed() -> None:
    """Nothing is a margin added of nothing; what is less than nothing is removed."""
    for amount, via in ((0, "margin added"), (1, "margin added"), (-1, "margin removed")):
        assert read({**MARGIN, "ntli": amount}).effects[0].via == via
