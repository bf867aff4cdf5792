"""What other nodes have seen of the ledger, and what a node makes of it before it leads and while it does."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from keyvault.core import limits
from keyvault.core.errors import Fenced, RolledBack
from keyvault.core.marks import Mark
from keyvault.engine.peers import Peers
from keyvault.engine.seat import Seat
from tests.engine.follower_world import Here, following
from tests.software_token import SoftwareToken


class Say:
    """Nodes that answer with the same at every question; ``often`` is set when they were asked three times."""

    def __init__(self, *notes: bytes) -> None:
        self.notes = notes
        self.often = asyncio.Event()
        self._asked = 0

    async def __call__(self) -> Sequence[tuple[str, bytes]]:
        """See Peers."""
        self._asked += 1
        if self._asked > 2:
            self.often.set()
        return [(f"kv-{number}:7443", note) for number, note in enumerate(self.notes, 2)]


async def test_what_others_have_seen_of_this_ledger_is_nothing_new(tmp_path: Path) -> None:
    """Any checkpoint over these entries, the newest included, is no reason not to lead."""
    async with following(tmp_path) as here:
        for size in range(1, here.size + 1):
            assert here.replica.lacks([("kv-2:7443", here.note(size))], here.replica.copy.read) is None


async def test_what_this_ledger_lacks_is_named_with_who_has_seen_it(tmp_path: Path) -> None:
    """A larger checkpoint, one over other entries, or one of a later incarnation: each is a reason, and is said."""
    async with following(tmp_path) as here:
        for note, words in (
            (here.note(here.size + 1, root=bytes(32)), "an older copy was put back"),
            (here.note(here.size, root=bytes(32)), "it has other entries"),
            (here.note(1, root=bytes(32)), "it has other entries"),
            (here.note(1, incarnation=2), "it is in incarnation 1"),
        ):
            seen = [("kv-2:7443", here.note(here.size)), ("kv-3:7443", note)]
            lacking = here.replica.lacks(seen, here.replica.copy.read)
            assert lacking is not None
            assert lacking.found.startswith("kv-3:7443 has seen")
            assert words in lacking.found


async def test_what_the_log_key_did_not_sign_is_nothing(tmp_path: Path) -> None:
    """A node that lies about what it saw stops nobody: another key's checkpoint, a changed one, garbage, too much."""
    async with following(tmp_path) as here:
        later = here.note(here.size + 9, root=bytes(32))
        size = here.size + 9
        for note in (
            later.replace(str(size).encode(), str(size + 1).encode(), 1),
            later.replace(b"hot", b"hut"),
            later.rpartition(b"\xe2\x80\x94")[0],
            b"garbage",
            b"",
            later + bytes(limits.NOTE_BYTES_MAX),
        ):
            assert here.replica.lacks([("kv-2:7443", note)], here.replica.copy.read) is None


async def _take_over(here: Here, peers: Peers, token: SoftwareToken | None = None) -> None:
    seat = Seat(here.store, 0)
    try:
        epoch = here.store.take_over("follower", "kv-1:7443", here.store.lease())
        await here.follower(peers, token).take_over(seat, epoch)
    finally:
        seat.reader.shutdown()
        seat.writer.shutdown()


async def test_whoever_took_over_asks_before_it_leads(tmp_path: Path) -> None:
    """One of two nodes has a later checkpoint: the store was put back, and this node does not lead on it."""
    async with following(tmp_path) as here:
        known, later = here.note(here.size), here.note(here.size + 1, root=bytes(32))
        await _take_over(here, Say(known, known))
        await _take_over(here, Say())
        with pytest.raises(RolledBack, match="kv-3:7443 has seen"):
            await _take_over(here, Say(known, later))


async def test_the_checkpoint_of_a_successor_is_no_sign_of_a_loss(tmp_path: Path) -> None:
    """While it asked another node took over, and wrote on: it is late, and its ledger lacks nothing."""
    async with following(tmp_path) as here:
        token = Telling()

        async def peers() -> Sequence[tuple[str, bytes]]:
            await token.asked.wait()  # the entries were read before
            here.store.take_over("other", "kv-2:7443", here.store.lease())
            return [("kv-2:7443", here.note(here.size + 1, root=bytes(32)))]

        with pytest.raises(Fenced):
            await _take_over(here, peers, token)


class Telling(SoftwareToken):
    """A token that says when its anchor is read."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def read_anchor(self) -> Mark | None:
        """See Token."""
        self.asked.set()
        return None


async def test_a_leader_goes_on_asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known changes nothing; once a node has seen more, the term ends by itself, and nobody is asked again."""
    monkeypatch.setattr(limits, "PEER_LOOK_MS", 1)
    async with following(tmp_path) as here:
        say = Say(here.note(here.size))
        heeding = asyncio.create_task(here.follower(say).heed(here.world.enclave))
        await say.often.wait()
        assert not here.world.enclave.stopped.done()
        say.notes = (here.note(here.size + 1, root=bytes(32)),)
        await heeding
        assert "kv-2:7443 has seen" in str(here.world.enclave.stopped.result())
