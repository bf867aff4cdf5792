"""Keys and values of PSBT maps: exactly the sizes of their types, whoever's input they stand in."""

import pytest

from keyvault.intents import psbt_keys
from tests.intents.bitcoin_building import (
    OTHER,
    OTHER_SECRET,
    OWN,
    STRANGER,
    Coin,
    p2wpkh,
    parse,
    point,
    refusal,
    version_0,
    version_2,
)

ME = p2wpkh(OWN)
PAY = [(60_000, STRANGER)]


def holding(scope: str, key: bytes, value: bytes) -> bytes:
    """Return a payment of ours with one more pair, in the map of somebody else's input if it is one of an input."""
    pairs = {scope: [(key, value)]}
    coins = [Coin(ME), Coin(STRANGER, salt=2, pairs=pairs.get("inputs[1]", ()))]
    return version_0(coins, PAY, top=pairs.get("global", ()), out=pairs.get("outputs[0]", ()))


@pytest.mark.parametrize(
    ("scope", "name", "key", "fitting", "others"),
    [
        ("global", "xpub", b"\x01" + bytes(78), [4], [0, 3, 5, 8]),
        ("inputs[1]", "partial_sig", b"\x02" + OTHER, [9, 73], [8, 74]),
        ("inputs[1]", "bip32_derivation", b"\x06" + OTHER, [4, 8], [0, 3, 5]),
        ("inputs[1]", "tap_key_sig", b"\x13", [64, 65], [63, 66]),
        ("inputs[1]", "tap_script_sig", b"\x14" + bytes(64), [64, 65], [63, 66]),
        ("inputs[1]", "tap_leaf_script", b"\x15" + bytes(33), [1], [0]),
        ("inputs[1]", "tap_bip32_derivation", b"\x16" + bytes(32), [1], [0]),
        ("inputs[1]", "tap_internal_key", b"\x17", [32], [31, 33]),
        ("inputs[1]", "tap_merkle_root", b"\x18", [32], [31, 33]),
        ("outputs[0]", "bip32_derivation", b"\x02" + OTHER, [4, 8], [0, 3, 5]),
        ("outputs[0]", "tap_internal_key", b"\x05", [32], [31, 33]),
        ("outputs[0]", "tap_tree", b"\x06", [1], [0]),
        ("outputs[0]", "tap_bip32_derivation", b"\x07" + bytes(32), [1], [0]),
    ],
)
def test_values_have_a_size_of_their_type(
    scope: str, name: str, key: bytes, fitting: list[int], others: list[int]
) -> None:
    """A value of a size that its type has is passed through, one byte more or less spoils the PSBT."""
    for size in fitting:
        assert parse(holding(scope, key, bytes(size))).effects[0].amount == 60_000
    for size in others:
        assert refusal(holding(scope, key, bytes(size)))[0] == f"{scope}.{name}"


@pytest.mark.parametrize(
    ("scope", "name", "kind", "value", "fitting", "others"),
    [
        ("global", "xpub", 0x01, bytes(4), [78], [77, 79]),
        ("inputs[1]", "ripemd160", 0x0A, b"", [20], [19, 21]),
        ("inputs[1]", "sha256", 0x0B, b"", [32], [31, 33]),
        ("inputs[1]", "hash160", 0x0C, b"", [20], [19, 21]),
        ("inputs[1]", "hash256", 0x0D, b"", [32], [31, 33]),
        ("inputs[1]", "tap_script_sig", 0x14, bytes(64), [64], [63, 65]),
        ("inputs[1]", "tap_leaf_script", 0x15, b"\xc0", [33, 65, 33 + 128 * 32], [1, 32, 34, 33 + 129 * 32]),
        ("inputs[1]", "tap_bip32_derivation", 0x16, b"\0", [32], [31, 33]),
        ("outputs[0]", "tap_bip32_derivation", 0x07, b"\0", [32], [31, 33]),
    ],
)
def test_keys_have_a_size_of_their_type(
    scope: str, name: str, kind: int, value: bytes, fitting: list[int], others: list[int]
) -> None:
    """What follows the type in a key has its size to the byte."""
    for size in fitting:
        assert parse(holding(scope, bytes((kind, *bytes(size))), value)).effects[0].amount == 60_000
    for size in others:
        assert refusal(holding(scope, bytes((kind, *bytes(size))), value))[0] == f"{scope}.{name}"


def test_public_keys_are_33_or_65_bytes() -> None:
    """A compressed key begins with 2 or 3, an uncompressed one with 4; nothing else is a key."""
    whole = point(OTHER_SECRET, compressed=False)
    for key in (b"\2" + OTHER[1:], b"\3" + OTHER[1:], whole):
        assert psbt_keys.public_key(key)
    for key in (b"", OTHER[:-1], OTHER + b"\0", whole[:-1], whole + b"\0", b"\1" + OTHER[1:], b"\4" + OTHER[1:]):
        assert not psbt_keys.public_key(key)
    for first in (b"\2", b"\3", b"\5"):
        assert not psbt_keys.public_key(first + whole[1:])


@pytest.mark.parametrize(
    ("pair", "not_before"),
    [((b"\x11", 500_000_000), 500_000_000_000), ((b"\x12", 499_999_999), None), ((b"\x12", 1), None)],
)
def test_our_input_may_require_a_lock_time(pair: tuple[bytes, int], not_before: int | None) -> None:
    """A required lock time from 500,000,000 on is a time, a height below; our input may have either."""
    required = [(pair[0], pair[1].to_bytes(4, "little"))]
    intent = parse(version_2([Coin(ME, pairs=required, sequence=0)], PAY))
    assert (intent.not_before, intent.effects[0].amount) == (not_before, 60_000)


def test_counts_of_version_2_have_one_to_nine_bytes() -> None:
    """A count without bytes has no form; one of nine has, and is more than is read."""
    for key, name in ((b"\x04", "input_count"), (b"\x05", "output_count")):
        for size in (0, 10):
            field, problem = refusal(version_2([Coin(ME)], PAY, top={key: bytes(size)}))
            assert (field, problem.rpartition(" ")[2]) == (f"global.{name}", "type")
        assert "at most 256 are read" in refusal(version_2([Coin(ME)], PAY, top={key: b"\xff" * 9}))[1]


@pytest.mark.parametrize(
    ("scope", "kinds"),
    [("inputs[1]", b"\x00\x01\x03\x04\x05\x07\x08\x09\x13\x17\x18"), ("outputs[0]", b"\x00\x01\x05\x06")],
)
def test_types_without_data_in_their_keys_have_none(scope: str, kinds: bytes) -> None:
    """Where a map has one value of a type, its key is the type alone."""
    for kind in kinds:
        field, problem = refusal(holding(scope, bytes((kind, 0)), b""))
        assert field.startswith(f"{scope}.")
        assert problem == "its key does not have the form of its type"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"\x07", b""),
        (b"\x08", b"\0"),
        (b"\x09", b""),
        (b"\x0a" + bytes(20), b""),
        (b"\x0b" + bytes(32), b""),
        (b"\x0c" + bytes(20), b""),
        (b"\x0d" + bytes(32), b""),
        (b"\x13", bytes(64)),
        (b"\x14" + bytes(64), bytes(64)),
        (b"\x15" + bytes(33), b"\xc0"),
        (b"\x16" + bytes(32), b"\0"),
        (b"\x17", bytes(32)),
        (b"\x18", bytes(32)),
    ],
)
def test_our_input_has_nothing_that_it_does_not_need(key: bytes, value: bytes) -> None:
    """What may stand in an input of somebody else's script is refused in the one that is to be signed."""
    psbt = version_0([Coin(ME, pairs=[(key, value)]), Coin(STRANGER, salt=2, pairs=[(key, value)])], PAY)
    assert refusal(psbt)[0].startswith("inputs[0]")
    assert parse(holding("inputs[1]", key, value)).effects[0].amount == 60_000


@pytest.mark.parametrize("kind", range(0x13, 0x1D))
def test_taproot_is_refused_by_its_name(kind: int) -> None:
    """Of all types of BIP-371 and BIP-373 it is said that a token cannot sign what they are for."""
    entries = {0x13: (b"", 64), 0x14: (bytes(64), 64), 0x15: (bytes(33), 1), 0x16: (bytes(32), 1)}
    data, size = entries.get(kind, (b"", 32))
    psbt = version_0([Coin(ME, pairs=[(bytes((kind, *data)), bytes(size))])], PAY)
    assert refusal(psbt) == ("inputs[0]", "has taproot fields: a token has no Schnorr signatures (BIP-340)")


def test_what_comes_after_taproot_is_unknown() -> None:
    """A type that is not of taproot any more is refused as what it is."""
    assert "unknown type 0x1d" in refusal(version_0([Coin(ME, pairs=[(b"\x1d", b"")])], PAY))[1]


def test_a_map_has_256_keys_at_most() -> None:
    """As many are read, and one more is refused."""
    for further, fits in ((255, True), (256, False)):
        pairs = [(bytes((0x7F, number)), b"") for number in range(further)]
        psbt = version_0([Coin(ME), Coin(STRANGER, salt=2, pairs=pairs)], PAY)
        if fits:
            assert parse(psbt).effects[0].amount == 60_000
        else:
            assert refusal(psbt) == ("", "a map has more than 256 keys")


@pytest.mark.parametrize("count", [252, 253, 254])
def test_sizes_of_one_and_of_three_bytes_are_read(count: int) -> None:
    """From 253 on a size has three bytes, be it of outputs or of a script."""
    psbt = version_0([Coin(ME)], [(10, ME)] * (count - 1) + [(20, bytes(count))])
    (effect,) = parse(psbt).effects
    assert (effect.amount, effect.fee_max) == (20, 100_000 - 10 * (count - 1) - 20)
