"""Base58 as Solana writes addresses."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from keyvault.core.errors import Malformed
from keyvault.intents import base58


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"Hello World!", "2NEpo7TZRRrLZSi2U"),
        (
            b"The quick brown fox jumps over the lazy dog.",
            "USm3fpXnKG5EUBx2ndxBDMPVciP5hGey2Jh4NDv6gmeo1LkMeiKrLJUUBk6Z",
        ),
        (bytes.fromhex("0000287fb4cd"), "11233QC4"),
        (bytes(32), "1" * 32),
    ],
)
def test_published_vectors(data: bytes, text: str) -> None:
    """The vectors of draft-msporny-base58-03 hold, and zero bytes are ones."""
    assert base58.encode(data) == text
    if data:
        assert base58.decode(text, len(data)) == data


def test_addresses_are_those_of_solders() -> None:
    """Ten thousand keys, some with leading zeros, are written and read as by solders."""
    source = random.Random(58)  # noqa: S311 - test data
    for _ in range(10_000):
        zeros = source.choice((0, 0, 0, 1, 2, 31, 32))
        data = bytes(zeros) + source.randbytes(32 - zeros)
        text = str(Pubkey(data))
        assert base58.encode(data) == text
        assert base58.decode(text, 32) == data


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1" * 31,
        "1" * 33,
        "1" * 65,
        " " + "1" * 32,
        "0" * 32,
        "O" * 32,
        "I" * 32,
        "l" * 32,
        "é" * 32,
        "Tokenkeg",
        "1TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA",
        "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
        "z" * 100_000,
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """Wrong length, wrong alphabet, too great a number: all are refused, however long."""
    with pytest.raises(Malformed) as caught:
        base58.decode(text, 32)
    assert caught.value.field == "base58"


@given(st.text(alphabet="123456789ABCzyx0l ", max_size=50))
def test_whatever_is_read_is_written_the_same(text: str) -> None:
    """No second text means the same bytes."""
    for size in range(1, 40):
        try:
            data = base58.decode(text, size)
        except Malformed:
            continue
        assert len(data) == size
        assert base58.encode(data) == text
