"""What a node that follows says of itself: what its token has seen counts before it leads, and it lets it see."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from keyvault.core import limits
from keyvault.core.errors import Fenced, NotLeader, RolledBack, Unavailable
from keyvault.core.marks import Mark
from keyvault.engine.follower import Follower
from keyvault.engine.node import Node
from keyvault.engine.replica import Replica
from keyvault.engine.seat import Seat
from keyvault.store.memory import MemoryStore
from keyvault.store.sqlite import open_store
from tests.engine.follower_world import Here, following
from tests.engine.world import SOON
from tests.software_token import SoftwareToken
from tests.worlds import digest_request


async def nobody() -> Sequence[tuple[str, bytes]]:
    return []


@asynccontextmanager
async def seated(here: Here) -> AsyncIterator[Seat]:
    seat = Seat(here.store, 0)
    try:
        yield seat
    finally:
        seat.reader.shutdown()
        seat.writer.shutdown()


async def follow(here: Here, token: SoftwareToken, seat: Seat, follower: Follower | None = None) -> str:
    """Look at the whole ledger once; return what the node lacks to lead."""
    follower = follower or here.follower(nobody, token)
    follower.settled = here.world.medium.head.size
    return await follower.follow(seat)


async def test_the_token_of_a_node_that_follows_remembers_what_was_compared(tmp_path: Path) -> None:
    """The newest checkpoint, once an interval, though it never led: its machine may be the only one that is left."""
    async with following(tmp_path) as here, seated(here) as seat:
        token = here.world.token.copy()
        size, _ = await here.world.enclave.checkpoint()
        follower = here.follower(nobody, token)
        assert await follow(here, token, seat, follower) == ""
        mark = token.anchor
        assert mark is not None
        assert (mark.size, mark.root) == (size, here.replica.root_at(size))
        await here.world.sign("r-later")
        await here.world.enclave.checkpoint()
        assert await follow(here, token, seat, follower) == ""
        assert token.anchor == mark  # the interval is not over
        follower._memory._told_at -= limits.ANCHOR_INTERVAL_MS / 1000
        assert await follow(here, token, seat, follower) == ""
        assert token.anchor == here.replica.compared() != mark


async def test_a_token_that_has_seen_more_keeps_its_node_from_leading(tmp_path: Path) -> None:
    """The database was put back, and this node's copy is gone: it says so while it follows, not when it is needed."""
    async with following(tmp_path) as here, seated(here) as seat:
        token, size = here.world.token.copy(), here.size
        for seen, words in (
            (Mark(incarnation=1, epoch=here.replica.state.epoch, size=size + 20, root=bytes(32)), "an older copy"),
            (Mark(incarnation=1, epoch=here.replica.state.epoch, size=size, root=bytes(32)), "other entries"),
            (Mark(incarnation=2, epoch=here.replica.state.epoch, size=1, root=bytes(32)), "is in incarnation 1"),
        ):
            token.anchor = seen
            obstacle = await follow(here, token, seat)
            assert f"the token of this node has seen {seen}" in obstacle
            assert words in obstacle
            assert token.anchor == seen
            epoch = here.store.take_over("follower", "kv-1:7443", here.store.lease())
            with pytest.raises(RolledBack, match=words):
                await here.follower(nobody, token).take_over(seat, epoch)


async def test_what_is_stored_and_not_settled_is_no_loss(tmp_path: Path) -> None:
    """A leader's own token has seen the last entries before they are known to be settled; or nobody could lead."""
    async with following(tmp_path) as here, seated(here) as seat:
        token = here.world.token.copy()
        head = here.world.medium.head
        token.anchor = Mark(incarnation=1, epoch=here.replica.state.epoch, size=head.size, root=head.root)
        replica = Replica(open_store(tmp_path / "another.db", create=True), "another")
        behind = replace(here, replica=replica)
        follower = behind.follower(nobody, token)
        follower.settled = head.size - 1
        assert await follower.follow(seat) == ""
        assert await follow(here, token, seat, follower) == ""
        replica.copy.close()


async def test_a_token_that_does_not_say_what_it_has_seen_keeps_its_node_from_leading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it was asked nobody knows."""

    async def never(_: SoftwareToken) -> Mark | None:
        raise TimeoutError

    async with following(tmp_path) as here, seated(here) as seat:
        monkeypatch.setattr(SoftwareToken, "read_anchor", never)
        assert "does not say what it has seen" in await follow(here, here.world.token.copy(), seat)


async def test_only_what_is_settled_is_taken_while_another_leads(tmp_path: Path) -> None:
    """What nobody was told of yet may vanish with its server."""
    async with following(tmp_path) as here, seated(here) as seat:
        await here.world.sign("r-later")
        before, head = here.size, here.world.medium.head.size
        follower = here.follower(nobody)
        follower.settled = before
        assert (await follower.follow(seat), here.size) == ("", before)
        follower.settled = head
        assert (await follower.follow(seat), here.size) == ("", head)


async def test_a_server_whose_commits_would_not_be_synchronous_keeps_a_node_from_leading(tmp_path: Path) -> None:
    """It says so while it follows, and doubts that it looks at the right server."""

    class Alone(MemoryStore):
        def check_synchronous(self) -> None:
            raise Unavailable("no standby is attached")

    async with following(tmp_path) as here:
        alone = replace(here, store=Alone(here.world.medium))
        async with seated(alone) as seat:
            follower = alone.follower(nobody)
            assert await follower.follow(seat) == "no standby is attached"
            assert follower.doubts_server


async def test_whoever_was_overtaken_while_it_took_over_leads_nothing(tmp_path: Path) -> None:
    """What it reads may be its successor's, and not there to stay."""
    async with following(tmp_path) as here, seated(here) as seat:
        epoch = here.store.take_over("follower", "kv-1:7443", here.store.lease())
        here.store.take_over("other", "kv-2:7443", here.store.lease())
        with pytest.raises(Fenced, match="another node took over"):
            await here.follower(nobody).take_over(seat, epoch)


async def test_a_leader_that_is_silent_is_asked_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its address is passed on while it beats; not when it is silent for three beats, or its session is gone."""
    now = 1_000.0
    monkeypatch.setattr("keyvault.engine.follower.since_boot", lambda: now)
    async with following(tmp_path) as here:
        follower = here.follower(nobody)
        lease = replace(here.store.lease(), address="kv-2:7443", session_gone=False)
        assert follower.saw(lease) == "kv-2:7443"
        assert follower.saw(replace(lease, session_gone=True)) == ""
        now += 3 * limits.LEASE_BEAT_MS / 1000 + 0.001
        assert follower.saw(lease) == ""
        assert follower.saw(replace(lease, beat=lease.beat + 1)) == "kv-2:7443"


async def test_a_node_whose_lease_may_be_over_decides_nothing(tmp_path: Path) -> None:
    """The term ends by the clock before anybody tells it: nothing begins after that."""
    async with following(tmp_path) as here:
        node = Node(here.replica)
        node.lead(here.world.enclave, "kv-1:7443")
        assert node.leads
        await node.opened()
        node.may_lead = lambda: False
        with pytest.raises(NotLeader):
            await node.opened()
        with pytest.raises(NotLeader):
            node.request(digest_request("r-late"), SOON)
