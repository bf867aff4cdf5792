"""Whom a call asks next, without any server."""

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.client.addresses import Addresses
from keyvault.client.errors import Denied, Fault, KeyvaultRpcError, NotLeader, Unavailable, error_of
from keyvault.client.route import Route
from keyvault.core import limits
from tests.client.scripted import Time

HOSTS = tuple(f"{letter}:1" for letter in "abcde")


def unavailable(retry_after_ms: int = 0) -> KeyvaultRpcError:
    return error_of(Fault(code=grpc.StatusCode.UNAVAILABLE, message="", retry_after_ms=retry_after_ms))


def not_leader(leader: str, retry_after_ms: int = 0) -> KeyvaultRpcError:
    fault = Fault(
        code=grpc.StatusCode.UNAVAILABLE,
        message="",
        reason="NOT_LEADER",
        leader=leader,
        retry_after_ms=retry_after_ms,
    )
    return error_of(fault)


def overloaded() -> KeyvaultRpcError:
    return error_of(Fault(code=grpc.StatusCode.RESOURCE_EXHAUSTED, message="", reason="OVERLOADED", retry_after_ms=200))


def walk(route: Route, *errors: KeyvaultRpcError) -> list[tuple[int, float]]:
    """Return whom is asked after each error, and after which pause."""
    steps = []
    for error in errors:
        pause = route.next(error)
        steps.append((route.at, pause))
    return steps


def test_round_after_round() -> None:
    """Everybody is asked once without a pause, then once more after one that may be twice as long each time."""
    route = Route(Addresses(HOSTS[:3]), Time().timing)
    steps = walk(route, *[unavailable()] * 9)
    assert steps == [(1, 0), (2, 0), (0, 0.05), (1, 0), (2, 0), (0, 0.1), (1, 0), (2, 0), (0, 0.2)]


def test_named_leader_is_next() -> None:
    """Whom NOT_LEADER names is asked at once, then those whom it passed over."""
    route = Route(Addresses(HOSTS), Time().timing)
    steps = walk(route, not_leader("d:1"), unavailable(), unavailable(), unavailable())
    assert steps == [(3, 0), (4, 0), (1, 0), (2, 0)]


@pytest.mark.parametrize("leader", ["", "a:1", "elsewhere.example:1"])
def test_useless_names_change_nothing(leader: str) -> None:
    """No name, its own and one that is not ours: the next one on the list is asked."""
    route = Route(Addresses(HOSTS[:3]), Time().timing)
    assert walk(route, not_leader(leader)) == [(1, 0)]


def test_two_that_point_at_each_other() -> None:
    """They end a round: the third is asked, and then there is a pause before whom the last of them named."""
    route = Route(Addresses(HOSTS[:3]), Time().timing)
    steps = walk(route, not_leader("b:1"), not_leader("a:1"), not_leader("b:1"), not_leader("a:1"))
    assert steps == [(1, 0), (2, 0), (1, 0.05), (0, 0)]


def test_nobody_is_asked_too_soon() -> None:
    """Who asked for a second is left out until it is over; the pause is only as long as the most patient one needs."""
    time = Time()
    route = Route(Addresses(HOSTS[:2]), time.timing)
    assert walk(route, unavailable(1_000), not_leader("a:1", 100)) == [(1, 0), (1, 0.15)]
    time.now += 0.15
    assert walk(route, not_leader("a:1", 100)) == [(1, 0.2)]
    time.now += 5
    assert walk(route, not_leader("a:1", 100)) == [(0, 0)]


def test_full_queue_stays() -> None:
    """A server whose queue is full is asked again itself when it says so."""
    route = Route(Addresses(HOSTS[:2]), Time().timing)
    assert walk(route, overloaded(), unavailable()) == [(0, 0.25), (1, 0)]


def test_what_others_found_out() -> None:
    """A call goes to the address that answered another one meanwhile, and a new call begins there."""
    addresses = Addresses(HOSTS)
    first, second = Route(addresses, Time().timing), Route(addresses, Time().timing)
    walk(first, not_leader("d:1"))
    first.answered()
    assert walk(second, unavailable()) == [(3, 0)]
    assert Route(addresses, Time().timing).at == 3


def test_an_answer_begins_anew() -> None:
    """After an answer the pauses are short again, and whoever failed before may be asked at once."""
    route = Route(Addresses(HOSTS[:2]), Time().timing)
    walk(route, *[unavailable(10_000)] * 5)
    at = route.at
    route.answered()
    assert walk(route, unavailable(), unavailable()) == [(1 - at, 0), (at, 0.05)]


def test_final_errors_are_raised() -> None:
    """A no is nobody else's to revise; its server is there, and is asked first by the next call."""
    addresses = Addresses(HOSTS)
    route = Route(addresses, Time().timing)
    walk(route, not_leader("c:1"))
    error = error_of(Fault(code=grpc.StatusCode.PERMISSION_DENIED, message="no", reason="NO_RULE_ALLOWS"))
    with pytest.raises(Denied):
        route.next_or_raise(error, deadline=2_000)
    assert addresses.last == 2


def test_last_error_tells_of_everybody() -> None:
    """What is raised at the deadline says what each address said last, in words of our own only."""
    time = Time()
    route = Route(Addresses(HOSTS[:3]), time.timing)
    route.next(error_of(Fault(code=grpc.StatusCode.DEADLINE_EXCEEDED, message="\x1b[2J")))
    route.next(not_leader("a:1"))
    time.now += 10
    with pytest.raises(Unavailable) as caught:
        route.next_or_raise(unavailable(), deadline=1_010)
    assert caught.value.__notes__ == ["last heard: a:1 DEADLINE_EXCEEDED, b:1 NOT_LEADER, c:1 UNAVAILABLE"]


def test_one_address_is_as_ever() -> None:
    """With one address each failure is followed by what it asks for and a chance; the bound is that of one server."""
    route = Route(Addresses(("a:1",)), Time().timing)
    steps = walk(route, unavailable(100), not_leader("a:1"), not_leader("b:1", 7), *[unavailable()] * 6)
    assert steps == [(0, pause) for pause in (0.15, 0.1, 0.207, 0.4, 0.8, 1.6, 2, 2, 2)]
    assert not hasattr(route._told(unavailable()), "__notes__")


errors = st.one_of(
    st.builds(unavailable, st.integers(0, 2_000)),
    st.builds(not_leader, st.sampled_from((*HOSTS, "", "elsewhere.example:1")), st.integers(0, 2_000)),
    st.builds(overloaded),
)


@given(
    count=st.integers(1, len(HOSTS)),
    said=st.lists(errors, min_size=1, max_size=120),
    took=st.lists(st.sampled_from((0.0, 0.001, 1.0)), min_size=120, max_size=120),
    chance=st.floats(0, 1),
)
def test_laws_of_a_route(count: int, said: list[KeyvaultRpcError], took: list[float], chance: float) -> None:
    """Whatever is said: nobody is asked twice without a pause in between, nor sooner than asked for, nor left out."""
    time = Time()
    timing = time.timing
    timing = type(timing)(monotonic=timing.monotonic, uniform=lambda low, high: low + chance * (high - low))
    route = Route(Addresses(HOSTS[:count]), timing)
    asked: list[int] = []
    free_at = dict.fromkeys(range(count), 0.0)
    for error, seconds in zip(said, took, strict=False):
        assert 0 <= route.at < count
        assert route.at not in asked
        assert time.now >= free_at[route.at] - 1e-6
        asked.append(route.at)
        time.now += seconds
        free_at[route.at] = time.now + error.retry_after_ms / 1000
        before = route.at
        rounds = route._rounds
        pause = route.next(error)
        bound_ms = limits.CLIENT_FAILOVER_PAUSE_MS_MAX if count > 1 else limits.CLIENT_RETRY_MS_MAX
        assert 0 <= pause <= (error.retry_after_ms + bound_ms) / 1000 + 1e-6
        if route._rounds > rounds:
            if error.code is grpc.StatusCode.UNAVAILABLE:
                assert all(each in asked or free_at[each] > time.now for each in range(count))
            else:
                assert route.at == before
            asked.clear()
        else:
            assert pause == 0
        time.now += pause


@given(st.integers(2, len(HOSTS)), st.data())
def test_leader_is_found_in_one_round(count: int, data: st.DataObject) -> None:
    """Wherever the call begins and whatever the others say, who leads is asked before anybody waits."""
    addresses = Addresses(HOSTS[:count])
    addresses.last = data.draw(st.integers(0, count - 1))
    leader = data.draw(st.integers(0, count - 1))
    route = Route(addresses, Time().timing)
    for _ in range(count):
        if route.at == leader:
            return
        error = data.draw(errors.filter(lambda each: isinstance(each, Unavailable | NotLeader)))
        assert route.next(error) == 0
    raise AssertionError("the leader was not asked")
