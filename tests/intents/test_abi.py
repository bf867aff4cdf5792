"""The ABI codec against eth-abi, and against everything that is not canonical."""

import random
from typing import Any

import pytest
from eth_abi.abi import decode, encode
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.errors import Broken, Malformed
from keyvault.intents import abi
from tests.intents.building_evm import mutations

GENERATED = 4_000
WORDS = ("uint8", "uint48", "uint160", "uint256", "int8", "int128", "int256", "address", "bool", "bytes4", "bytes32")


def some_type(rng: random.Random, depth: int = 0) -> str:
    """Return a type text, nested up to three levels."""
    kind = rng.randrange(8 if depth < 3 else 5)
    if kind < 4:
        return rng.choice(WORDS)
    if kind == 4:
        return rng.choice(("bytes", "string"))
    if kind == 5:
        return "(" + ",".join(some_type(rng, depth + 1) for _ in range(rng.randint(1, 3))) + ")"
    return some_type(rng, depth + 1) + rng.choice(("[]", "[2]"))


def some_value(rng: random.Random, text: str) -> Any:  # noqa: ANN401 - any ABI value
    """Return a value of the type, often at its edges."""
    if text.endswith("]"):
        inner, _, size = text[:-1].rpartition("[")
        return tuple(some_value(rng, inner) for _ in range(int(size) if size else rng.randint(0, 3)))
    if text.startswith("("):
        return tuple(some_value(rng, part) for part in abi.split(text[1:-1]))
    if text.startswith("uint"):
        return rng.choice((0, 1, 2 ** int(text[4:]) - 1, rng.randrange(2 ** int(text[4:]))))
    if text.startswith("int"):
        half = 2 ** (int(text[3:]) - 1)
        return rng.choice((0, -1, half - 1, -half, rng.randrange(-half, half)))
    if text == "address":
        return "0x" + rng.randbytes(20).hex()
    if text == "bool":
        return rng.random() < 0.5
    if text == "string":
        return "".join(rng.choice("aé漢😀 ") for _ in range(rng.randint(0, 40)))
    return rng.randbytes(rng.choice((0, 1, 31, 32, 33, 70)) if text == "bytes" else int(text[5:]))


def test_codec_agrees_with_eth_abi() -> None:
    """Thousands of random types and values have eth-abi's encoding, and are read back from it."""
    rng = random.Random(20250221)  # noqa: S311 - a fixed seed for a test
    for _ in range(GENERATED):
        types = [some_type(rng) for _ in range(rng.randint(0, 4))]
        values = tuple(some_value(rng, text) for text in types)
        arguments = abi.function(f"f({','.join(types)})")
        encoded = arguments.encode(values)
        assert encoded[4:] == encode(types, values), types
        assert arguments.decode(encoded) == values
        assert decode(types, encoded[4:]) == values


NESTED = "f(address,(uint8,bytes)[],bool,string,int16[2])"
NESTED_VALUES = ("0x" + "0a" * 20, ((1, b"ab"), (255, b"")), True, "ä", (-1, 7))


def test_whatever_is_decoded_is_canonical() -> None:
    """Every small change of a valid call is refused, or is the canonical encoding of other values."""
    arguments = abi.function(NESTED)
    encoded = arguments.encode(NESTED_VALUES)
    accepted = 0
    for changed in mutations(encoded):
        try:
            values = arguments.decode(changed)
        except Malformed:
            continue
        accepted += 1
        assert arguments.encode(values) == changed
        assert decode(["address", "(uint8,bytes)[]", "bool", "string", "int16[2]"], changed[4:]) == values
    assert accepted > 20


def word(value: int) -> bytes:
    return value.to_bytes(32, "big")


REFUSED: list[tuple[str, str, bytes, str]] = [
    ("nothing", "uint256", b"", "is cut off"),
    ("cut off", "uint256", bytes(31), "is cut off"),
    ("trailing byte", "uint256", bytes(33), "1 bytes follow"),
    ("trailing word", "uint256", bytes(64), "32 bytes follow"),
    ("argument too many", "", bytes(32), "32 bytes follow"),
    ("dirty address", "address", b"\1" + bytes(31), "more than 20 bytes"),
    ("dirty uint8", "uint8", word(256), "more than 8 bits"),
    ("dirty uint160", "uint160", word(2**160), "more than 160 bits"),
    ("int8 without sign bits", "int8", word(0x80), "more than 8 bits"),
    ("bool 2", "bool", word(2), "neither 0 nor 1"),
    ("dirty bytes4", "bytes4", b"abcde" + bytes(27), "not padded"),
    ("dirty bytes", "bytes", word(32) + word(1) + b"ab" + bytes(30), "not padded"),
    ("bytes without padding", "bytes", word(32) + word(1) + b"a", "cut off"),
    ("bytes longer than data", "bytes", word(32) + word(2**255), "more than there is"),
    ("offset too low", "bytes", word(0), "does not point to the next value"),
    ("offset too high", "bytes", word(64) + word(0) + word(0), "does not point to the next value"),
    ("offset beyond 2^64", "bytes", word(2**64 + 32) + word(0), "does not point to the next value"),
    ("no length", "bytes", word(32), "a length is missing"),
    ("one tail twice", "bytes,bytes", word(64) + word(64) + word(0), "does not point to the next value"),
    ("tails swapped", "bytes,bytes", word(96) + word(64) + word(0) + word(0), "does not point to the next value"),
    ("array longer than data", "uint256[]", word(32) + word(3) + bytes(64), "is cut off"),
    ("array of 257", "()[]", word(32) + word(257) + bytes(320), "more than 256 items"),
    ("not UTF-8", "string", word(32) + word(1) + b"\xff" + bytes(31), "not UTF-8"),
    ("too long", "uint256", bytes(limits.PAYLOAD_BYTES_MAX), "more than 24576 bytes"),
]


@pytest.mark.parametrize(("types", "data", "problem"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(types: str, data: bytes, problem: str) -> None:
    """Dirty padding, other offsets, cut off and superfluous bytes are Malformed with the reason."""
    arguments = abi.function(f"f({types})")
    with pytest.raises(Malformed) as caught:
        arguments.decode(arguments.selector + data)
    assert caught.value.field == "calldata"
    assert problem in caught.value.problem


def test_arrays_are_bounded() -> None:
    """As many items as the limit are read."""
    arguments = abi.function("f(bool[])")
    values = ((True,) * limits.ABI_ITEMS_MAX,)
    assert arguments.decode(arguments.encode(values)) == values


@pytest.mark.parametrize(
    "text",
    ["uint", "uint7", "uint264", "bytes0", "bytes33", "fixed", "function", "bool[0]", "", "(bool", "bool" + "[]" * 9],
)
def test_unknown_types_are_broken(text: str) -> None:
    """What is not a type, or is nested too deep, is our own mistake and stops at import."""
    with pytest.raises(Broken):
        abi.type_of(text)


def test_functions_need_an_argument_list() -> None:
    """A signature without its closing bracket is refused."""
    with pytest.raises(Broken):
        abi.function("f(bool")


@given(st.binary(max_size=300))
def test_noise_never_crashes(data: bytes) -> None:
    """Arbitrary bytes are refused as Malformed, or are canonical."""
    arguments = abi.function("f((bytes,address[])[],string)")
    for noise in (data, arguments.selector + word(64) + data):
        try:
            values = arguments.decode(noise)
        except Malformed:
            continue
        assert arguments.encode(values) == noise
