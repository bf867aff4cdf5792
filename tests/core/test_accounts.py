"""One spelling for each account."""

import base64
from binascii import crc_hqx

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core.accounts import account_of

EVM = "0x52908400098527886e0f7030069857d2e4169ee7"
LONG = "0x049d36570d4e46f48e99674bd3fcc84644ddd6b96f7c741b1562b82f9e004dc7"
CASH = "qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a"
RAW = "0:ca6e321c7cce9ecedf0a8ca2492ec8592494aa5fb5ce0387dff96ef6af982a3e"
TON = "EQDKbjIcfM6ezt8KjKJJLshZJJSqX7XOA4ff-W72r5gqPrHF"
MASTER = "-1:fcb91a3a3816d0f7b8c2c76108b8a9bc5a6b7a55bd79f8ab101c52db29232260"


def friendly(raw: str, tag: int) -> str:
    """Return a raw TON address in 48 characters."""
    chain, digits = raw.split(":")
    data = bytes([tag]) + int(chain).to_bytes(1, signed=True) + bytes.fromhex(digits)
    return base64.urlsafe_b64encode(data + crc_hqx(data, 0).to_bytes(2)).decode()


@pytest.mark.parametrize(
    ("account", "spellings"),
    [
        (EVM, [EVM.upper(), "0x52908400098527886E0F7030069857D2E4169EE7", EVM[2:], EVM[2:].upper(), f"{EVM}?tag=1"]),
        (LONG, [f"0x{LONG[3:]}", LONG[2:], LONG[3:], LONG.upper(), f"{LONG[3:].upper()}?memo"]),
        (CASH, [f"bitcoincash:{CASH}", f"BITCOINCASH:{CASH.upper()}", CASH.upper(), f"ecash:{CASH}", f"bchreg:{CASH}"]),
        (TON, [RAW, RAW.upper(), friendly(RAW, 0x51), friendly(RAW, 0x91), friendly(RAW, 0xD1)]),
        (TON, ["EQDKbjIcfM6ezt8KjKJJLshZJJSqX7XOA4ff+W72r5gqPrHF", f"{TON}:memo", f"{TON}?tag=1"]),
        (friendly(MASTER, 0x11), [MASTER, friendly(MASTER, 0x51)]),
        (
            "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
            ["BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4:12"],
        ),
        ("rEb8TK3gBgk5auZkwc6sHnwrGVJH8DuaLh", ["rEb8TK3gBgk5auZkwc6sHnwrGVJH8DuaLh:77"]),
    ],
)
def test_an_account_has_one_spelling(account: str, spellings: list[str]) -> None:
    """Cases, prefixes, zeros in front, tags and forms that say the same account are one, and that one is its own."""
    assert {account_of(each) for each in (account, *spellings)} == {account}


@pytest.mark.parametrize(
    "text",
    [
        "4Nd1mYxJRzJbM1wpqXCcqFVDTVJyGUJg1jL9hXcVsXpB",
        "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
        "EQDKbjIcfM6ezt8KjKJJLshZJJSqX7XOA4ff-W72r5gqPrHG",
        "EQ" + "=" * 46,
        "EQ" + "ä" * 46,
        "account:Spot Wallet",
        "key:cold",
        "member:1:UNIFIED",
        "internal:12345678901234567890123456789012345678901",
        "ab" * 40,
        "0:" + "g" * 64,
    ],
)
def test_what_is_no_other_spelling_stays(text: str) -> None:
    """What has a wrong checksum, and what nobody knows, is itself."""
    assert account_of(text) == text


@given(st.text(max_size=80) | st.from_regex(r"(0x)?[0-9a-fA-F]{38,66}(:[a-z0-9]+)?", fullmatch=True))
def test_the_one_spelling_is_its_own(text: str) -> None:
    """Whatever comes, the spelling of the spelling is the spelling."""
    assert account_of(account_of(text)) == account_of(text)
