"""What a store that several nodes reach promises besides (SharedStore in keyvault/store/base.py)."""

import pytest

from keyvault.core.errors import Fenced
from keyvault.store.base import SharedStore
from tests.store.worlds import SharedWorld, append


def test_nobody_leads_a_new_ledger(shared_world: SharedWorld) -> None:
    """A new ledger has epoch 0, no holder, and no session that could have ended."""
    lease = shared_world.open().lease()
    assert (lease.epoch, lease.holder, lease.address, lease.settled) == (0, "", "", 0)
    assert lease.session_gone


def test_a_candidate_takes_what_it_saw(shared_world: SharedWorld) -> None:
    """A take-over gives a greater epoch, and says who leads and where."""
    ours, theirs = shared_world.open(), shared_world.open()
    epoch = ours.take_over("one", "host-1:7443", ours.lease())
    lease = theirs.lease()
    assert (lease.epoch, lease.holder, lease.address) == (epoch, "one", "host-1:7443")
    assert not lease.session_gone


def test_of_two_candidates_one_is_late(shared_world: SharedWorld) -> None:
    """Who looked before another took over gets nothing, and the other goes on."""
    one, two = shared_world.open(), shared_world.open()
    seen = two.lease()
    epoch = one.take_over("one", "", one.lease())
    with pytest.raises(Fenced, match="one"):
        two.take_over("two", "", seen)
    assert append(one, epoch, "a").size == 1


@pytest.mark.parametrize("sign", ["beat", "append"])
def test_a_sign_of_life_keeps_a_candidate_away(shared_world: SharedWorld, sign: str) -> None:
    """A beat and an append both change what a candidate must have seen."""
    one, two = shared_world.open(), shared_world.open()
    epoch = one.take_over("one", "", one.lease())
    seen = two.lease()
    if sign == "beat":
        one.beat(epoch, 0)
    else:
        append(one, epoch, "a")
    with pytest.raises(Fenced):
        two.take_over("two", "", seen)
    assert two.lease().epoch == epoch
    assert two.lease().beat != seen.beat


def test_a_leader_that_was_overtaken_writes_nothing(shared_world: SharedWorld) -> None:
    """After a take-over neither append, beat, checkpoint nor step-down of the old term does anything."""
    one, two = shared_world.open(), shared_world.open()
    old = one.take_over("one", "", one.lease())
    append(one, old, "a")
    new = two.take_over("two", "", two.lease())
    before = two.lease()
    for write in (
        lambda: append(one, old, "b"),
        lambda: one.beat(old, 1),
        lambda: one.step_down(old),
        lambda: one.put_checkpoint(epoch=old, size=1, note=b"note"),
    ):
        with pytest.raises(Fenced):
            write()
    assert two.lease() == before
    assert append(two, new, "b").size == 2


def test_what_is_settled_lags_by_one_write(shared_world: SharedWorld) -> None:
    """A writer says with each write what it has the acknowledgement of: followers take no more before a take-over."""
    one, two = shared_world.open(), shared_world.open()
    epoch = one.take_over("one", "", one.lease())
    append(one, epoch, "a", "b")
    assert two.lease().settled == 0
    append(one, epoch, "c")
    assert two.lease().settled == 2
    one.beat(epoch, 3)
    assert two.lease().settled == 3


def test_who_steps_down_writes_nothing_more(shared_world: SharedWorld) -> None:
    """After a step-down its own epoch is over, nobody leads, and the next take-over needs no waiting."""
    store = shared_world.open()
    epoch = store.take_over("one", "host-1:7443", store.lease())
    append(store, epoch, "a")
    store.step_down(epoch)
    lease = store.lease()
    assert (lease.holder, lease.address, lease.session_gone) == ("", "", True)
    with pytest.raises(Fenced):
        append(store, epoch, "b")
    assert append(store, store.take_over("two", "", lease), "b").size == 2


def test_a_session_that_ended_shows_at_once(shared_world: SharedWorld) -> None:
    """When the leader's connection ends, others see it without waiting for its beat to stop."""
    one, two = shared_world.open(), shared_world.open()
    one.take_over("one", "", one.lease())
    assert not two.lease().session_gone
    one.close()
    _until_gone(two)
    two.take_over("two", "", two.lease())
    assert not two.lease().session_gone


def _until_gone(store: SharedStore) -> None:
    while not store.lease().session_gone:  # the server needs a moment to notice; pytest's timeout ends a wait in vain
        pass
