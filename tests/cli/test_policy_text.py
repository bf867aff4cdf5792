"""Amounts and windows as people write them: exact, or refused."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.cli.policy_units import format_amount, parse_amount, parse_window
from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.policy_values import AMOUNT_MAX
from keyvault.core.windows import window_text


@pytest.mark.parametrize(
    ("text", "wei"),
    [
        ("0", 0),
        ("21 wei", 21),
        ("30 gwei", 30 * 10**9),
        ("1.5 ether", 15 * 10**17),
        ("0.000000000000000001 ether", 1),
        ("1ether", 10**18),
        (str(2**256 - 1), 2**256 - 1),
        ("115792089237316195423570985008687907853269984665640564039457.584007913129639935 ether", 2**256 - 1),
    ],
)
def test_amounts_are_exact(text: str, wei: int) -> None:
    """Amounts are whole numbers of wei, to the last digit of 256 bits."""
    assert parse_amount(text) == wei


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "+1",
        "1.5",
        "1.",
        ".5 ether",
        "1e18",
        "1 eth",
        "1 Ether",
        "0x10",
        "1,5 ether",
        "01",
        "1.1 wei",
        "inf",
        "nan",
        str(2**256),
        "9" * 10000,
        "115792089237316195423570985008687907853269984665640564039457.584007913129639936 ether",
    ],
)
def test_what_is_not_an_exact_amount_is_refused(text: str) -> None:
    """No exponent, no sign, no float, nothing below one wei or above 256 bits."""
    with pytest.raises(Malformed):
        parse_amount(text)


@given(st.integers(0, AMOUNT_MAX))
def test_every_amount_comes_back(wei: int) -> None:
    """An amount that was written for people is read as the same number of wei."""
    assert parse_amount(format_amount(wei)) == wei


@given(st.integers(0, 10**9), st.integers(0, 10**18 - 1))
def test_ether_agrees_with_decimal_arithmetic(whole: int, fraction: int) -> None:
    """A decimal fraction of ether is what exact decimal arithmetic makes of it."""
    text = f"{whole}.{fraction:018d}"
    assert parse_amount(f"{text} ether") == int(Decimal(text).scaleb(18))


@given(st.integers(limits.WINDOW_MS_MIN, limits.WINDOW_MS_MAX))
def test_every_window_comes_back(window_ms: int) -> None:
    """A length of time that was written for people is read as the same number of milliseconds."""
    assert parse_window(window_text(window_ms)) == window_ms
