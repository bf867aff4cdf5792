"""A leader of a shared ledger, and a node that follows it with a copy in a file."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.engine.cosigning import Cosigning
from keyvault.engine.follower import Follower
from keyvault.engine.node import Node
from keyvault.engine.peers import Peers
from keyvault.engine.replica import READ_ENTRIES, Replica
from keyvault.hsm.base import LOG_KEY_OBJECT_ID, SignItem, Token
from keyvault.ledger import checkpoint
from keyvault.ledger.merkle import Tree, leaf_hash
from keyvault.ledger.note import verifier
from keyvault.store.memory import MemoryStore
from keyvault.store.sqlite import open_store
from tests.engine.world import World, opened_world


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

    def follower(self, peers: Peers, token: Token | None = None) -> Follower:
        """Return what this node would do when others say this; with the leader's token if it has none of its own."""
        token = token or self.world.token
        cosigning = Cosigning(token, self.world.clock, "kv-1:7443", lambda _: None)
        return Follower(self.replica, Node(self.replica), token, cosigning, peers)


@asynccontextmanager
async def following(folder: Path) -> AsyncIterator[Here]:
    """Give a leader that signed three times, and a replica that has it all."""
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
