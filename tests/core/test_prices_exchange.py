"""The price of an exchange on a chain: what must come back for what is given."""

from typing import Any

import pytest

from keyvault.core.intent import Effect, Operation
from keyvault.core.policy_rules import Asset, Prices
from keyvault.core.prices import price_book

USDC, WETH, UNKNOWN = ("0x" + digits * 20 for digits in ("c1", "c2", "c3"))
ETHER = 10**18
BOOK = price_book(
    Prices(
        assets=(
            Asset(name="USDC", usd=10**6, decimals=6, places=frozenset({(1, USDC)})),
            Asset(name="ETH", usd=3_000 * 10**6, decimals=18, places=frozenset({(1, WETH), (1, "native")})),
        ),
        as_of=0,
        age_ms_max=1,
    )
)


def exchange(**changes: Any) -> Effect:  # noqa: ANN401 any field
    """Return an order that gives 3,000 USDC for at least one WETH."""
    facts = {"asset": USDC, "amount": 3_000 * 10**6, "received_asset": WETH, "received_min": ETHER, "chain_id": 1}
    return Effect(operation=Operation.ORDER, **{**facts, **changes})


@pytest.mark.parametrize(
    ("changes", "bps"),
    [
        ({}, 0),
        ({"received_min": ETHER * 98 // 100}, 200),
        ({"received_min": ETHER * 98 // 100 - 1}, 201),
        ({"received_min": ETHER * 102 // 100}, 200),
        ({"received_min": 1}, 10_000),
        ({"received_min": 0}, 10_000),
        ({"asset": WETH, "amount": ETHER, "received_asset": USDC, "received_min": 2_970 * 10**6}, 100),
        ({"asset": None, "amount": ETHER, "received_asset": USDC, "received_min": 3_000 * 10**6}, 0),
        ({"received_asset": UNKNOWN}, None),
        ({"asset": UNKNOWN}, None),
        ({"received_min": None}, None),
        ({"amount": None}, None),
        ({"amount": 0}, None),
        ({"chain_id": 5}, None),
        ({"chain_id": None}, None),
    ],
)
def test_distance_of_an_exchange_from_the_table(changes: dict[str, Any], bps: int | None) -> None:
    """It is exact and rounded up; where an asset, an amount or the chain is not known there is none: no band holds."""
    assert BOOK.deviation_bps(exchange(**changes)) == bps
