"""The shortcut past the look-up must never hide an answer that stands (I3)."""

from hypothesis import given
from hypothesis import strategies as st

from keyvault.core.ids import Principal, RequestId
from keyvault.engine.request_index import RequestIndex
from keyvault.ledger.codec import request_key

CALLERS = st.sampled_from([Principal("spiffe://d/bot/a"), Principal("spiffe://d/bot/b")])
IDS = st.text("abcXYZ019._:-", min_size=1, max_size=4).map(RequestId)


@given(st.lists(st.tuples(CALLERS, IDS), max_size=30), CALLERS, IDS)
def test_what_was_seen_is_never_new(
    seen: list[tuple[Principal, RequestId]], caller: Principal, asked: RequestId
) -> None:
    """Whatever ids came in whatever order, one that was seen is not called new."""
    index = RequestIndex()
    for who, request_id in seen:
        index.saw(request_key(who, request_id))
    assert not (index.is_new(request_key(caller, asked)) and (caller, asked) in seen)


def test_growing_ids_are_new_without_a_look_up() -> None:
    """An id greater than all before by its caller is new, whatever others used."""
    index = RequestIndex()
    mine, other = Principal("spiffe://d/bot/a"), Principal("spiffe://d/bot/b")
    index.saw(request_key(mine, RequestId("0001")))
    index.saw(request_key(other, RequestId("9999")))
    assert index.is_new(request_key(mine, RequestId("0002")))
    assert not index.is_new(request_key(mine, RequestId("0000")))
