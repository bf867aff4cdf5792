"""Followers: what they take, what they refuse, and what a leader reads from its own copy."""

import shutil
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from keyvault.core.errors import Corrupt, NotLeader, OutcomeUnknown, Reason, Refused, RolledBack
from keyvault.core.events import SignatureIssued, TermStarted
from keyvault.core.ids import Epoch, UnixMillis
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.core.marks import Mark
from keyvault.engine.appender import draft
from keyvault.engine.mirror import Mirror
from keyvault.engine.node import Node
from keyvault.engine.replica import Replica
from keyvault.hsm.base import LOG_KEY_OBJECT_ID, SignItem
from keyvault.ledger import checkpoint, codec
from keyvault.ledger.merkle import Tree, leaf_hash
from keyvault.ledger.note import verifier
from keyvault.store.base import Entry, Head
from keyvault.store.memory import MemoryMedium, MemoryStore
from keyvault.store.sqlite import SqliteStore, open_store
from tests.engine.restoring import restored
from tests.engine.world import World, opened_world
from tests.worlds import digest_request


def _copy(folder: Path) -> SqliteStore:
    return open_store(folder / "copy.db", create=not (folder / "copy.db").exists())


def _follow(world: World, folder: Path) -> Replica:
    """Return a follower that has everything that is settled."""
    replica = Replica(_copy(folder), "follower")
    _keep_up(replica, world)
    return replica


def _keep_up(replica: Replica, world: World) -> None:
    shared = MemoryStore(world.medium)
    _take(replica, shared, shared.lease().settled)


def _take(replica: Replica, shared: MemoryStore, until: int) -> None:
    """Take all up to ``until``, and look at the checkpoint once more when nothing is left."""
    fetched = None
    while fetched is None or fetched.entries:
        fetched = replica.fetch(shared, until)
        replica.take(fetched)
        replica.keep(fetched)


def _settle(world: World) -> None:
    """Let the leader say that all it wrote was acknowledged, as its next beat does."""
    MemoryStore(world.medium).beat(world.medium.epoch, world.medium.head.size)


async def test_a_follower_has_the_leaders_state(tmp_path: Path) -> None:
    """Entries, state, request keys and checkpoints: what it folded from its own copy is what the leader has."""
    async with opened_world() as world:
        await world.sign("r1")
        await world.enclave.checkpoint()
        _settle(world)
        replica = _follow(world, tmp_path)
        assert replica.head == world.medium.head
        assert replica.recovered().state == world.enclave.state
        assert replica.copy.read(0, 100) == world.medium.bodies
        assert replica.copy.checkpoint() == world.medium.checkpoints[-1]
        assert replica.copy.anchor() == world.medium.anchor
        replica.copy.close()


async def test_a_follower_goes_on_where_it_was(tmp_path: Path) -> None:
    """Started again it folds its copy, and takes only what is new."""
    async with opened_world() as world:
        _settle(world)
        first = _follow(world, tmp_path)
        first.copy.close()
        first_size = first.head.size
        await world.sign("r1")
        await world.sign("r2")
        _settle(world)
        again = Replica(_copy(tmp_path), "follower")
        assert again.head == first.head
        _keep_up(again, world)
        _keep_up(again, world)
        assert again.head.size == first_size + 2
        assert again.recovered().state == world.enclave.state
        again.copy.close()


async def test_what_is_not_settled_is_not_taken(tmp_path: Path) -> None:
    """The newest write may vanish with its server: a follower waits until the leader says that it was acknowledged."""
    async with opened_world() as world:
        await world.sign("r1")
        replica = _follow(world, tmp_path)
        assert replica.head.size == world.medium.head.size - 1
        _take(replica, MemoryStore(world.medium), world.medium.head.size)
        assert replica.head == world.medium.head
        replica.copy.close()


@pytest.mark.parametrize("cut", [1, 2])
async def test_a_store_that_lost_what_was_acknowledged_is_rolled_back(tmp_path: Path, cut: int) -> None:
    """Fewer entries than the follower has, whether or not others took their place: nothing may be signed on top."""
    async with opened_world() as world:
        for number in range(3):
            await world.sign(f"r{number}")
        await world.enclave.checkpoint()
        _settle(world)
        replica = _follow(world, tmp_path)
        _cut(world.medium, cut)
        with pytest.raises(RolledBack, match="acknowledged"):
            _keep_up(replica, world)
        replica.copy.close()


async def test_another_history_is_rolled_back(tmp_path: Path) -> None:
    """As many entries as the follower has, or more, but others: the next checkpoint says so."""
    async with opened_world() as world:
        for number in range(3):
            await world.sign(f"r{number}")
        _settle(world)
        replica = _follow(world, tmp_path)
        _cut(world.medium, 2)
        _go_on_elsewhere(world, epoch=9)
        with pytest.raises((RolledBack, Corrupt)):
            _keep_up(replica, world)
        replica.copy.close()


async def test_nothing_is_taken_from_another_history(tmp_path: Path) -> None:
    """It is longer than the copy, and has no checkpoint yet: not one entry of it is folded or copied."""
    async with opened_world() as world:
        for number in range(3):
            await world.sign(f"r{number}")
        _settle(world)
        replica = _follow(world, tmp_path)
        head, signed = replica.head, world.medium.checkpoints[:]
        _cut(world.medium, 1)
        _go_on_elsewhere(world, epoch=9)
        world.medium.checkpoints = [each for each in signed if each[0] < head.size]
        _settle(world)
        with pytest.raises(RolledBack, match=f"entry {head.size - 1} of the store is another"):
            _keep_up(replica, world)
        assert replica.head == replica.copy.head() == head
        replica.copy.close()


def _cut(medium: MemoryMedium, entries: int) -> None:
    """Do what a promoted server that was behind does: the last entries never were."""
    bodies = medium.bodies[:-entries]
    medium.bodies = bodies
    medium.index = {key: index for key, index in medium.index.items() if index < len(bodies)}
    medium.head = Head(size=len(bodies), root=Tree.of(map(leaf_hash, bodies)).root())
    medium.settled = len(bodies)
    medium.checkpoints = [each for each in medium.checkpoints if each[0] <= len(bodies)]


def _go_on_elsewhere(world: World, *, epoch: int) -> None:
    """Append two terms to the cut ledger, as another leader would, with a checkpoint over them."""
    store = MemoryStore(world.medium)
    entries = [
        draft(TermStarted(at=UnixMillis(world.clock.at), epoch=Epoch(number), holder="x", software="x")).entry
        for number in (epoch, epoch + 1)
    ]
    leaves = [leaf_hash(body) for body in (*world.medium.bodies, *(entry.body for entry in entries))]
    new = Head(size=len(leaves), root=Tree.of(leaves).root())
    store.append(epoch=store.acquire_term("x"), expected=world.medium.head, entries=entries, new=new)
    text = checkpoint.signing_text(world.enclave.origin, new.size, new.root)
    key = verifier(world.enclave.origin, world.token.log_public_key)
    item = SignItem(object_id=LOG_KEY_OBJECT_ID, algorithm=KeyAlgorithm.ED25519, public_key=key.public_key, input=text)
    signature = world.token.signature(item)
    assert isinstance(signature, Signature)
    note = checkpoint.assemble(text, key, signature.value)
    store.put_checkpoint(epoch=world.medium.epoch, size=new.size, note=note)


@pytest.mark.parametrize("what", ["body", "request key"])
async def test_an_edited_row_is_found(tmp_path: Path, what: str) -> None:
    """Somebody with the database changes an entry, or files it under another key."""
    async with opened_world() as world:
        for number in range(3):
            await world.sign(f"r{number}")
        await world.enclave.checkpoint()
        medium = world.medium
        if what == "body":
            medium.bodies[-1] = medium.bodies[-1].replace(b"r2", b"r9")
        else:
            (key,) = (key for key, index in medium.index.items() if index == medium.head.size - 1)
            medium.index[b"another"] = medium.index.pop(key)
        _settle(world)
        with pytest.raises((Corrupt, RolledBack)):
            _follow(world, tmp_path)


async def test_a_signature_that_no_token_made_is_found(tmp_path: Path) -> None:
    """Somebody with a node's login appends an answer: no checkpoint covers it, so nobody vouches for it either."""
    async with opened_world() as world:
        await world.sign("r1")
        await world.enclave.checkpoint()
        await world.sign("r2")
        medium = world.medium
        issued = codec.decode(medium.bodies[-1])
        assert isinstance(issued, SignatureIssued)
        value = issued.signature.value
        forged = replace(issued, signature=replace(issued.signature, value=value[:-1] + bytes((value[-1] ^ 1,))))
        medium.bodies[-1] = codec.encode(forged)
        root = Tree.of([leaf_hash(body) for body in medium.bodies]).root()
        medium.head = Head(size=medium.head.size, root=root)
        medium.checkpoints[:] = medium.checkpoints[:1]
        _settle(world)
        with pytest.raises(Corrupt, match=f"entry {medium.head.size - 1} has a signature that is not by key signer"):
            _follow(world, tmp_path)


async def test_what_is_no_checkpoint_is_passed_over(tmp_path: Path) -> None:
    """Whoever can write into the database ends no node with it; it is told once, and a real one counts again."""
    async with opened_world() as world:
        await world.sign("r1")
        size, note = await world.enclave.checkpoint()
        medium, told = world.medium, list[int]()
        for poison in (b"poison", note.replace(b"keyvault", b"kexvault"), note.replace(b"hot", b"hut"), b""):
            medium.checkpoints[-1] = size, poison
            _settle(world)
            replica = Replica(_copy(tmp_path), "follower", is_whole=False, passes_over=told.append)
            for _ in range(2):
                _keep_up(replica, world)
            assert (replica.copy.checkpoint(), told.pop(), told) == (None, size, [])
            replica.copy.close()
        await world.sign("r2")
        signed = await world.enclave.checkpoint()
        _settle(world)
        replica = Replica(_copy(tmp_path), "follower", is_whole=False)
        _keep_up(replica, world)
        assert replica.copy.checkpoint() == signed
        replica.copy.close()


async def test_a_token_that_has_seen_more_than_the_store_is_believed(tmp_path: Path) -> None:
    """Store and copy were put back together: the token of a node alone is enough, and it does not lead."""
    async with opened_world() as world:
        await world.sign("r1")
        _settle(world)
        replica = _follow(world, tmp_path)
        head = replica.head
        here = Mark(incarnation=1, epoch=world.enclave.state.epoch, size=head.size, root=head.root)
        for mark in (None, here, replace(here, size=1, root=leaf_hash(world.medium.bodies[0]))):
            replica.check_has(mark)
        for mark in (
            replace(here, size=head.size + 1),
            replace(here, root=bytes(32)),
            replace(here, size=1, root=bytes(32)),
            replace(here, incarnation=2, size=1),
        ):
            with pytest.raises(RolledBack, match="the token has seen"):
                replica.check_has(mark)
        replica.copy.close()


async def test_a_node_whose_own_copy_was_put_back_is_quarantined(tmp_path: Path) -> None:
    """The checkpoint file beside the copy has seen more: the node reads, and says why it signs nothing."""
    async with opened_world() as world:
        await world.enclave.checkpoint()
        _settle(world)
        _follow(world, tmp_path).copy.close()
        shutil.copyfile(tmp_path / "copy.db", tmp_path / "older.db")
        await world.sign("r1")
        await world.enclave.checkpoint()
        _settle(world)
        _follow(world, tmp_path).copy.close()
        (tmp_path / "older.db").replace(tmp_path / "copy.db")
        replica = Replica(_copy(tmp_path), "follower")
        assert replica.quarantine is not None
        node = Node(replica)
        node.quarantine = replica.quarantined(replica.quarantine.found)
        with pytest.raises(Refused) as refused:
            node.request(digest_request("r2"), 0)
        assert refused.value.reason is Reason.QUARANTINED
        node.follow("other:7443")
        with pytest.raises(NotLeader):
            node.request(digest_request("r2"), 0)
        replica.copy.close()


@pytest.mark.parametrize(
    "address", ["unix:/srv/other.sock", "dns://10.0.0.9/kv-1:7443", "evil:1\nx-other: 1", "a" * 100_000]
)
async def test_a_lease_without_an_address_leads_nobody_anywhere(tmp_path: Path, address: str) -> None:
    """What stands in the lease for an address and is none is dialled by nobody, and told to nobody."""
    async with opened_world() as world:
        _settle(world)
        replica = _follow(world, tmp_path)
        node = Node(replica)
        node.follow("other:7443")
        with pytest.raises(NotLeader, match=r"; ask other:7443$"):
            node.request(digest_request("r1"), 0)
        node.follow(address)
        with pytest.raises(NotLeader) as refused:
            node.request(digest_request("r1"), 0)
        assert str(refused.value) == "this instance does not lead the enclave; nobody here knows which one does"
        assert refused.value.retry_after_ms > 0
        assert (node.leader, refused.value.leader) == ("", "")
        replica.copy.close()


async def test_checkpoints_of_several_incarnations_are_followed(tmp_path: Path) -> None:
    """A follower holds each checkpoint against the name that the ledger had at its size."""
    async with restored() as here:
        world = here.world
        _settle(world)
        replica = Replica(_copy(tmp_path), "follower")
        _keep_up(replica, world)
        await here.leave()
        await world.sign("again")
        await world.enclave.checkpoint()
        _settle(world)
        _keep_up(replica, world)
        assert replica.copy.checkpoint() == world.medium.checkpoints[-1]
        assert replica.origin == world.enclave.origin
        assert replica.recovered().state == world.enclave.state
        replica.copy.close()


async def test_a_leader_reads_what_is_not_copied_yet() -> None:
    """Between the acknowledgement and the copy an entry is found and read all the same; then it is in the copy."""
    async with opened_world() as world:
        copy = HeldStore(MemoryMedium())
        replica = Replica(copy, "follower")
        shared = MemoryStore(world.medium)
        _take(replica, shared, world.medium.head.size)
        epoch = shared.take_over("two", "", shared.lease())
        mirror = Mirror(shared=shared, copy=copy, copy_epoch=replica.copy_epoch, head=replica.head)
        head = replica.head
        copy.gate.clear()
        new = _append(mirror, epoch, head, b"a", b"b")
        assert mirror.head() == new
        assert mirror.find(b"key:b") == (head.size + 1, b"b")
        assert mirror.read(head.size - 1, 10) == [world.medium.bodies[head.size - 1], b"a", b"b"]
        assert replica.copy.head() == head
        copy.gate.set()
        mirror.flush()
        assert replica.copy.head() == new
        assert mirror.find(b"key:b") == replica.copy.find(b"key:b") == (head.size + 1, b"b")
        assert mirror.read_entries(head.size, 5) == replica.copy.read_entries(head.size, 5)
        mirror.close()


class HeldStore(MemoryStore):
    """A store whose appends wait at a gate."""

    def __init__(self, medium: MemoryMedium) -> None:
        super().__init__(medium)
        self.gate = threading.Event()
        self.gate.set()

    def append(self, *, epoch: int, expected: Head, entries: Sequence[Entry], new: Head) -> None:
        """See Store."""
        self.gate.wait()
        super().append(epoch=epoch, expected=expected, entries=entries, new=new)


async def test_a_copy_that_cannot_be_written_ends_the_term(tmp_path: Path) -> None:
    """A node that forgets what it saw acknowledged must not lead: the next append is refused."""
    async with opened_world() as world:
        replica = _follow(world, tmp_path)
        _take(replica, MemoryStore(world.medium), world.medium.head.size)
        shared = MemoryStore(world.medium)
        epoch = shared.take_over("two", "", shared.lease())
        mirror = Mirror(shared=shared, copy=replica.copy, copy_epoch=replica.copy_epoch - 1, head=replica.head)
        new = _append(mirror, epoch, replica.head, b"a")
        with pytest.raises(OutcomeUnknown, match="own copy"):
            mirror.flush()
        with pytest.raises(OutcomeUnknown, match="own copy"):
            _append(mirror, epoch, new, b"b")
        mirror.close()
        replica.copy.close()


def _append(store: Mirror, epoch: int, expected: Head, *bodies: bytes) -> Head:
    entries = [Entry(body=body, request_key=b"key:" + body) for body in bodies]
    new = Head(size=expected.size + len(entries), root=bytes([expected.size]) * 32)
    store.append(epoch=epoch, expected=expected, entries=entries, new=new)
    return new


def test_an_empty_copy_leads_nobody(tmp_path: Path) -> None:
    """A node that has no ledger yet has no state to lead with."""
    replica = Replica(_copy(tmp_path), "new")
    with pytest.raises(Corrupt, match="empty"):
        replica.recovered()
    replica.copy.close()
