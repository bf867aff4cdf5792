"""Recursive Length Prefix against pyrlp."""

from typing import Any

import rlp as pyrlp
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core.errors import Malformed
from keyvault.intents import rlp

ITEMS: st.SearchStrategy[Any] = st.recursive(
    st.binary(max_size=70), lambda inner: st.lists(inner, max_size=4), max_leaves=9
)


@given(st.lists(ITEMS, max_size=4))
def test_rlp_agrees_with_pyrlp(items: list[Any]) -> None:
    """Lists encode as in pyrlp, and decode to themselves unless they are too deep."""
    data = rlp.encode(items)
    assert data == pyrlp.encode(items)
    try:
        decoded = rlp.decode_list(data, "x")
    except Malformed as error:
        assert "nested deeper" in error.problem  # noqa: PT017 - the only reason to refuse
        return
    assert rlp.encode(decoded) == data


@given(st.binary(max_size=12))
def test_rlp_accepts_what_pyrlp_accepts(content: bytes) -> None:
    """Of arbitrary bytes, exactly those lists are accepted that strict pyrlp accepts, apart from depth."""
    data = bytes((0xC0 + len(content),)) + content
    try:
        accepted = rlp.encode(rlp.decode_list(data, "x")) == data
    except Malformed as error:
        accepted = "nested deeper" in error.problem  # pyrlp has no bound
    try:
        expected = pyrlp.encode(pyrlp.decode(data, strict=True)) == data
    except pyrlp.exceptions.DecodingError:
        expected = False
    assert accepted == expected
