"""Leaders in this process, over real PostgreSQL servers: what a term may write, one step at a time.

The token is software, so that a ledger is there in milliseconds; the store, the servers and the engine are real.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from keyvault.core.events import Event
from keyvault.core.ids import EnclaveName, Epoch
from keyvault.demo.history import Load, Signing
from keyvault.demo.postgres import Cluster
from keyvault.engine.enclave import Enclave, Identity
from keyvault.engine.recovery import recover
from keyvault.ledger import codec
from keyvault.store.anchor import Anchor
from keyvault.store.base import Head
from keyvault.store.memory import MemoryStore
from keyvault.store.postgres.migrate import migrate
from keyvault.store.postgres.store import PostgresStore, create_ledger, open_store
from tests.engine.world import SOON, FixedClock, opened_world
from tests.software_token import SoftwareToken
from tests.worlds import digest_request

WAITS = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND usename = 'keyvault_hot'"


@dataclass(slots=True, kw_only=True)
class Term:
    """A leader and the store that it writes to."""

    store: PostgresStore
    enclave: Enclave


@dataclass(kw_only=True)
class Ledger:
    """One enclave's ledger in a database, what its leaders acknowledged, and the terms that are open."""

    servers: Cluster
    database: str
    name: EnclaveName
    token: SoftwareToken
    folder: Path
    load: Load = field(default_factory=Load)
    terms: list[Term] = field(default_factory=list)

    def open(self) -> PostgresStore:
        """Open the store as another node would."""
        anchor = Anchor(self.folder / secrets.token_hex(4))
        return open_store(self.servers.conninfo(database=self.database), self.name, anchor)

    async def lead(self, take_over: Callable[[PostgresStore], int] | None = None) -> Term:
        """Take over, as a new node; return when it may decide."""
        store = await asyncio.to_thread(self.open)
        taken = take_over or (lambda each: each.take_over("h", "a", each.lease()))
        try:
            epoch = await asyncio.to_thread(taken, store)
        except BaseException:
            store.close()
            raise
        enclave = await Enclave.lead(
            store=store,
            token=self.token,
            clock=FixedClock(),
            identity=Identity(holder="h", software="test"),
            recovered=recover(store),
            epoch=Epoch(epoch),
        )
        term = Term(store=store, enclave=enclave)
        self.terms.append(term)
        return term

    async def sign(self, term: Term, request_id: str) -> bool:
        """Ask for a signature; whether it was acknowledged."""
        asked_at = time.monotonic()
        try:
            recorded = await term.enclave.request(digest_request(request_id), SOON)
        except Exception:  # noqa: BLE001  whatever it is, nothing was released
            return False
        signature = getattr(recorded.event, "signature", None)
        assert signature is not None
        self.load.signings.append(
            Signing(
                request_id=request_id,
                asked_at=asked_at,
                answered_at=time.monotonic(),
                index=recorded.index,
                signature=signature.value,
            )
        )
        return True

    def events(self) -> list[Event]:
        """Return what stands on the server that takes writes now."""
        with closing(self.open()) as store:
            return [codec.decode(body) for body in store.read(0, 1_000)]

    async def close(self) -> None:
        """Cut every term off, whatever it waits for."""
        for term in self.terms:
            term.store.abandon()
            await term.enclave.close()
            term.store.close()


async def new_ledger(servers: Cluster, folder: Path, database: str) -> Ledger:
    """Make a ledger with a key and a policy, on these servers."""
    if not servers.primary.execute("SELECT true FROM pg_database WHERE datname = %s", database):
        servers.create_database(database)
    admin = servers.admin_conninfo(database=database)
    migrate(admin)
    servers.create_roles()
    name = EnclaveName(f"l-{secrets.token_hex(6)}")
    async with opened_world() as world:
        source, token = MemoryStore(world.medium), world.token
        entries, signed = source.read_entries(0, 1_000), source.checkpoint()
        epoch = int(world.enclave.state.epoch)
    create_ledger(admin, name, after_epoch=epoch)
    servers.admit(name, database=database)
    made = Ledger(servers=servers, database=database, name=name, token=token, folder=folder)
    with closing(made.open()) as store:
        head = source.head()
        new = Head(size=len(entries), root=head.root)
        assert new == head
        loaded = store.acquire_term("load")
        store.append(epoch=loaded, expected=store.head(), entries=entries, new=new)
        if signed is not None:
            store.put_checkpoint(epoch=loaded, size=signed[0], note=signed[1])
    return made
