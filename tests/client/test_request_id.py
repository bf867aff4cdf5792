import uuid
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from keyvault.client import uuid7
from keyvault.client.request_id import UuidSequence
from keyvault.core.ids import parse_request_id


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**73 - 1))
def test_layout_is_that_of_rfc_9562(millis: int, random: int) -> None:
    """The time stands in the first 48 bits, version 7 and variant 10 where RFC 9562 wants them, chance in the rest."""
    made = UuidSequence(lambda: millis, lambda _bits: random).next()
    assert (made.int >> 80, made.version, made.variant) == (millis, 7, uuid.RFC_4122)
    assert ((made.int >> 64) & 0xFFF) << 62 | made.int & (2**62 - 1) == random


def test_vector_of_rfc_9562() -> None:
    """The example of RFC 9562, A.6 comes out as printed there."""
    random = 0xCC3 << 62 | 0x18C4DC0C0C07398F
    made = UuidSequence(lambda: 0x017F22E279B0, lambda _bits: random).next()
    assert str(made) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@given(st.lists(st.integers(0, 2**48 - 2), min_size=2, max_size=30), st.integers(0, 2**74 - 1))
def test_ids_only_grow(clock: list[int], random: int) -> None:
    """Each id is greater than all before, even if the clock stands still or steps back, whatever chance gives."""
    times = iter(clock)
    sequence = UuidSequence(lambda: next(times), lambda bits: random & ((1 << bits) - 1))
    made = [sequence.next() for _ in clock]
    assert made == sorted(set(made))


def test_ids_differ_between_threads() -> None:
    """Threads never get the same id, and each is a request id that the service takes."""
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: str(uuid7()), range(2_000)))
    assert len(set(made)) == len(made)
    assert [parse_request_id(each) for each in made] == made
