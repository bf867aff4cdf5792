"""MessagePack against the msgpack package."""

import random
from typing import Any

import msgpack as oracle  # type: ignore[import-untyped] # no types are published
import pytest

from keyvault.core.errors import Malformed
from keyvault.intents import msgpack

EDGES = [2**power + step for power in (0, 5, 7, 8, 15, 16, 31, 32, 63) for step in (-1, 0, 1)] + [2**64 - 1]


def _value(chance: random.Random, depth: int) -> Any:  # noqa: ANN401 - any JSON
    kind = chance.randrange(8 if depth else 5)
    if kind < 2:
        return chance.choice([*EDGES, chance.randrange(-(2**63), 2**64), -chance.choice(EDGES[:20])])
    if kind < 4:
        return chance.choice(["", "é漢\U0001f42e", "a" * chance.randrange(70)])
    if kind == 4:
        return chance.choice([None, True, False])
    size = chance.choice([0, 1, 3, 15, 16, 17])
    if kind == 5:
        return [_value(chance, depth - 1) for _ in range(size)]
    return {f"{chance.randrange(100)}{'n' * n}": _value(chance, depth - 1) for n in range(size)}


def test_bytes_are_those_of_msgpack() -> None:
    """2,000 random values, nested three deep, have the bytes that msgpack-python writes."""
    chance = random.Random(5)  # noqa: S311 - test data
    for _ in range(2_000):
        value = _value(chance, 3)
        assert msgpack.encode(value, "x") == oracle.packb(value)


@pytest.mark.parametrize("size", [0, 15, 16, 31, 32, 255, 256, 65_535, 65_536])
def test_sizes(size: int) -> None:
    """Strings, arrays and maps change their prefixes where the format says."""
    for value in ("a" * size, [None] * size, {str(n): n for n in range(size)}):
        assert msgpack.encode(value, "x") == oracle.packb(value)  # type: ignore[arg-type] # lists and dicts of one type


@pytest.mark.parametrize("number", [*EDGES, *(-edge for edge in EDGES if edge <= 2**63)])
def test_integers(number: int) -> None:
    """Integers take the shortest form at every bound."""
    assert msgpack.encode(number, "x") == oracle.packb(number)


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 2**255])
def test_integers_that_do_not_fit(number: int) -> None:
    """An integer of more than 64 bits is refused, wherever it stands."""
    with pytest.raises(Malformed) as caught:
        msgpack.encode({"a": [number]}, "place")
    assert (caught.value.field, caught.value.problem) == ("place", f"{number} does not fit into 64 bits")
