"""JSON with one reading: which integers there are, and bounds that hold before anything is built."""

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.intents import strict_json

SAFE = 2**53 - 1
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-SAFE, SAFE) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=12,
)


def refusal(text: str, *, words: bool = False) -> str:
    """Return the problem of the refusal that must come."""
    with pytest.raises(Malformed) as caught:
        strict_json.loads(text.encode(), "x", words=words)
    assert caught.value.field == "x"
    return caught.value.problem


@given(VALUES, st.booleans())
def test_what_json_writes_is_read(value: Any, escaped: bool) -> None:  # noqa: ANN401, FBT001 - any JSON; drawn
    """Every value within the bounds is read as the standard library reads it, with escapes and without."""
    data = json.dumps(value, ensure_ascii=escaped).encode()
    assert strict_json.loads(data, "x") == strict_json.loads(data, "x", words=True) == value


@pytest.mark.parametrize("number", [SAFE, -SAFE, 0, -1, 10**14, 10**15, -(10**15)])
def test_integers_that_every_reader_reads_alike(number: int) -> None:
    """Integers up to 2^53 - 1 either way are exact in every reader."""
    assert strict_json.loads(f"[{number}]".encode(), "x") == [number]


@pytest.mark.parametrize("number", [SAFE + 1, -SAFE - 1, 10**18, 2**64, 2**256 - 1, -(2**255)])
def test_integers_that_readers_round_are_refused(number: int) -> None:
    """From 2^53 on a reader may take another number: refused, unless nobody else reads the text."""
    assert refusal(f"[{number}]") == (
        f"the integer {number} is beyond 2^53 - 1, where readers differ: write it as a string"
    )
    assert strict_json.loads(f"[{number}]".encode(), "x", words=True) == [number]


@pytest.mark.parametrize("text", [str(2**256), str(-(2**255) - 1), "9" * 78, "-1" + "0" * 77, "1" + "0" * 5_000])
def test_words_have_256_bits(text: str) -> None:
    """More than 256 bits are refused everywhere, to the exact number, and before a long one is converted."""
    for words in (False, True):
        assert refusal(text, words=words) == "an integer has more than 256 bits"


def test_the_bounds_are_of_what_stands_outside_of_strings() -> None:
    """Brackets and commas in strings do not count; those outside do, to the exact number."""
    for quiet in ("[" * 2_000, "{,}" * 2_000, '\\"[' * 1_000, "\\\\"):
        text = f'["{quiet}"]'
        assert strict_json.loads(text.encode(), "x") == json.loads(text)
    deep = limits.TYPED_DATA_DEPTH_MAX
    for inside in ("", '"[\\"["'):
        assert strict_json.loads(("[" * deep + inside + "]" * deep).encode(), "x") is not None
        assert refusal("[" * (deep + 1) + inside + "]" * (deep + 1)) == f"is nested deeper than {deep}"
        many = limits.TYPED_DATA_NODES_MAX
        first = inside or "0"
        assert strict_json.loads(f"[{first}{',0' * (many - 2)}]".encode(), "x") is not None
        assert refusal(f"[{first}{',0' * (many - 1)}]") == f"has more than {many} JSON values"


@pytest.mark.parametrize(
    "text", ['"' + '\\"' * 12_000 + "\\", '"' * 24_000 + "\\", '"\\' * 12_000, '["' + "\\" * 24_001]
)
def test_a_string_that_never_ends_costs_linear_time(text: str) -> None:
    """A payload of the greatest size whose last string ends in a lone backslash takes no more than a simple one."""
    simple = '"' + "a" * len(text) + '"'
    assert took(text) < 1_000 * took(simple)  # 50 times; 50,000 times if each quotation mark is tried anew


def took(text: str) -> float:
    """Return the processor time that some readings of a text take, well formed or not, in seconds."""
    began = time.process_time()
    for _ in range(20):
        with contextlib.suppress(Malformed):
            strict_json.loads(text.encode(), "x")
    return time.process_time() - began
