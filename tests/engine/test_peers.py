"""What other nodes have seen of the ledger, and what a node makes of it before it leads and while it does."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from keyvault.core import limits
from keyvault.core.errors import Fenced, RolledBack
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.core.marks import Mark
from keyvault.engine.cosigning import Cosigning
from keyvault.engine.follower import Follower
from keyvault.engine.node import Node
from keyvault.engine.peers import Peers
from keyvault.engine.replica import READ_ENTRIES, Replica
from keyvault.engine.seat import Seat
from keyvault.hsm.base import LOG_KEY_OBJECT_ID, SignItem
from keyvault.ledger import checkpoint
from keyvault.ledger.merkle import Tree, leaf_hash
from keyvault.ledger.note import verifier
from keyvault.store.memory import MemoryStore
from keyvault.store.sqlite import open_store
from tests.engine.world import World, opened_world
from tests.software_token import SoftwareToken


@dataclass
class Here:
    """A leader of three signatures, and a replica of all that it wrote."""

    world: World
    replica: Replica
    store: MemoryStore

    @property
    def size(self) -> int:
        """Entries that both have."""
        return self.replica.head.size

    def note(self, size: int, *, root: bytes | None = None, incarnation: int = 1) -> bytes:
        """Return what the log key says of the first ``size`` entries, or of whatever has this root."""
        leaves = [leaf_hash(body) for body in self.world.medium.bodies[:size]]
        origin = checkpoint.incarnated(self.world.enclave.origin, incarnation)
        text = checkpoint.signing_text(origin, size, root or Tree.of(leaves).root())
        key = verifier(origin, self.world.token.log_public_key)
        item = SignItem(
            object_id=LOG_KEY_OBJECT_ID, algorithm=KeyAlgorithm.ED25519, public_key=key.public_key, input=text
        )
        signature = self.world.token.signature(item)
        assert isinstance(signature, Signature)
        return checkpoint.assemble(text, key, signature.value)

    def follower(self, peers: Peers) -> Follower:
        """Return what this node would do when others say this."""
        cosigning = Cosigning(self.world.token, self.world.clock, "kv-1:7443", lambda _: None)
        return Follower(self.replica, Node(self.replica), cosigning, peers)


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


@asynccontextmanager
async def _here(folder: Path) -> AsyncIterator[Here]:
    async with opened_world() as world:
        for number in range(3):
            await world.sign(f"r{number}")
        store = MemoryStore(world.medium)
        replica = Replica(open_store(folder / "copy.db", create=True), "follower")
        fetched = replica.fetch(store, min(READ_ENTRIES, world.medium.head.size))
        replica.take(fetched)
        replica.keep(fetched)
        assert replica.head == world.medium.head
        yield Here(world=world, replica=replica, store=store)
        replica.copy.close()


async def test_what_others_have_seen_of_this_ledger_is_nothing_new(tmp_path: Path) -> None:
    """Any checkpoint over these entries, the newest included, is no reason not to lead."""
    async with _here(tmp_path) as here:
        for size in range(1, here.size + 1):
            assert here.replica.lacks([("kv-2:7443", here.note(size))], here.replica.copy.read) is None


async def test_what_this_ledger_lacks_is_named_with_who_has_seen_it(tmp_path: Path) -> None:
    """A larger checkpoint, one over other entries, or one of a later incarnation: each is a reason, and is said."""
    async with _here(tmp_path) as here:
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
    async with _here(tmp_path) as here:
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
        await here.follower(peers).take_over(seat, epoch, token or here.world.token)
    finally:
        seat.reader.shutdown()
        seat.writer.shutdown()


async def test_whoever_took_over_asks_before_it_leads(tmp_path: Path) -> None:
    """One of two nodes has a later checkpoint: the store was put back, and this node does not lead on it."""
    async with _here(tmp_path) as here:
        known, later = here.note(here.size), here.note(here.size + 1, root=bytes(32))
        await _take_over(here, Say(known, known))
        await _take_over(here, Say())
        with pytest.raises(RolledBack, match="kv-3:7443 has seen"):
            await _take_over(here, Say(known, later))


async def test_the_checkpoint_of_a_successor_is_no_sign_of_a_loss(tmp_path: Path) -> None:
    """While it asked another node took over, and wrote on: it is late, and its ledger lacks nothing."""
    async with _here(tmp_path) as here:
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
    async with _here(tmp_path) as here:
        say = Say(here.note(here.size))
        heeding = asyncio.create_task(here.follower(say).heed(here.world.enclave))
        await say.often.wait()
        assert not here.world.enclave.stopped.done()
        say.notes = (here.note(here.size + 1, root=bytes(32)),)
        await heeding
        assert "kv-2:7443 has seen" in str(here.world.enclave.stopped.result())
