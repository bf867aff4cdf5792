"""Patroni with etcd moves the primary, under the very configuration that operators are given."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from http.client import HTTPSConnection
from pathlib import Path

import pytest
import yaml

from keyvault.core.ids import EnclaveName
from keyvault.demo.bot import signed_more, signing, until
from keyvault.demo.history import Load, check_history
from keyvault.demo.nodes import Nodes
from keyvault.demo.patroni import SMALL, PatroniCluster, patroni_cluster, put
from keyvault.demo.patroni_programs import EXAMPLE, NoPatroni
from keyvault.demo.postgres_programs import memory
from keyvault.store.anchor import Anchor
from keyvault.store.postgres.store import open_store


@pytest.fixture(scope="module")
def postgres() -> Iterator[PatroniCluster]:
    """Give three servers, each under a Patroni."""
    with patroni_cluster(parent=memory()) as made:
        yield made


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    here: Nodes
    load: Load


def _check_synchronous(here: Nodes, folder: Path) -> None:
    """Ask as a leader does before it signs; raise NotSynchronous."""
    anchor = Anchor(folder / "nothing")
    with closing(
        open_store(here.postgres.conninfo(database=here.database), EnclaveName(here.enclave), anchor)
    ) as store:
        store.check_synchronous()


@asynccontextmanager
async def _under_load(prepared: Path, folder: Path, postgres: PatroniCluster, name: str) -> AsyncIterator[Trial]:
    """Give nodes under load; at the end no call has failed, nothing is lost or repeated, commits are synchronous."""
    await asyncio.to_thread(postgres.create_database, name)
    here, load = await asyncio.to_thread(partial(Nodes, folder, prepared, postgres, database=name)), Load()
    try:
        here.start()
        await here.until_leading()
        await asyncio.to_thread(_check_synchronous, here, folder)
        async with here.client() as client, signing(client, "signer", load, name, in_flight=4):
            await signed_more(load, 40)
            yield Trial(here=here, load=load)
            await asyncio.to_thread(_check_synchronous, here, folder)
            await signed_more(load, 60)
        assert load.errors == []
        check_history(load, await asyncio.to_thread(here.audited, folder))
    finally:
        await asyncio.to_thread(here.close)


@pytest.mark.timeout(240)
async def test_a_primary_is_lost_with_its_host(prepared: Path, tmp_path: Path, postgres: PatroniCluster) -> None:
    """PostgreSQL and its Patroni die under load: a standby is promoted, the dead one rejoins, nothing is lost.

    Commits are synchronous by our own check before, with one server less, and at the end.
    """
    async with _under_load(prepared, tmp_path, postgres, "lost") as trial:
        dead = postgres.primary
        await asyncio.to_thread(dead.kill)
        promoted = await asyncio.to_thread(postgres.fail_over)
        assert promoted is not dead
        await signed_more(trial.load, 60)
        await asyncio.to_thread(_check_synchronous, trial.here, tmp_path)
        await asyncio.to_thread(postgres.rejoin, dead)
        assert not dead.takes_writes()


@pytest.mark.soak
@pytest.mark.timeout(240)
async def test_a_primary_hangs_with_its_host(prepared: Path, tmp_path: Path, postgres: PatroniCluster) -> None:
    """PostgreSQL and its Patroni stand still under load until another is promoted, and go on: as a standby."""
    async with _under_load(prepared, tmp_path, postgres, "hangs") as trial:
        old = postgres.primary
        await asyncio.to_thread(old.pause)
        promoted = await asyncio.to_thread(postgres.fail_over)
        await signed_more(trial.load, 60)
        await asyncio.to_thread(old.resume)
        await until(lambda: not old.takes_writes())
        await asyncio.to_thread(postgres.rejoin, old)
        assert postgres.primary is promoted


NAMES = "SELECT current_setting('synchronous_standby_names')"


def test_without_a_standby_commits_still_wait(postgres: PatroniCluster) -> None:
    """Both standbys are lost: Patroni takes their names out, and what it puts in their place waits for a standby."""
    primary = postgres.primary
    standbys = [server for server in postgres.servers if server is not primary]
    for each in standbys:
        each.kill()
    primary.wait_for(f"SELECT position('pg_' IN ({NAMES})) = 0")
    assert "*" in str(primary.execute(NAMES)[0][0])
    postgres.rejoin(*standbys)
    assert all(each.name in str(postgres.primary.execute(NAMES)[0][0]) for each in standbys)


def _status(address: str, context: ssl.SSLContext) -> int:
    asking = HTTPSConnection(address, timeout=10, context=context)
    try:
        asking.request("GET", "/metrics")
        return asking.getresponse().status
    finally:
        asking.close()


def test_nobody_without_a_certificate_moves_the_primary(postgres: PatroniCluster) -> None:
    """Patroni's own API and etcd answer who has a certificate, and end the connection of who shows none."""
    known, unknown = (ssl.create_default_context(cafile=postgres.authority / "ca.crt") for _ in range(2))
    known.load_cert_chain(postgres.folder / "tls" / "node-client.crt", postgres.folder / "tls" / "node-client.key")
    addresses = [*(server.api for server in postgres.servers), postgres.etcd]
    assert [_status(address, known) for address in addresses] == [200] * len(addresses)
    for address in addresses:
        with pytest.raises(OSError, match=r"(?i)certificate|EOF|reset"):
            _status(address, unknown)


def test_the_example_is_what_runs(postgres: PatroniCluster) -> None:
    """What decides about durability and time stands in each server's configuration as shipped, and is in force."""
    shipped = yaml.safe_load(EXAMPLE.read_text())
    ran = [yaml.safe_load(server.config.read_text()) for server in postgres.servers]
    assert [each["bootstrap"] for each in ran] == [shipped["bootstrap"]] * len(ran)
    for name, value in shipped["bootstrap"]["dcs"]["postgresql"]["parameters"].items():
        if name not in SMALL:
            assert postgres.primary.execute("SELECT current_setting(%s)", name) == [(str(value),)]


def test_the_example_says_what_there_is_to_change() -> None:
    """A setting that the example does not have is not put into it."""
    document = yaml.safe_load(EXAMPLE.read_text())
    put(document, "postgresql.listen", "127.0.0.1:1")
    assert document["postgresql"]["listen"] == "127.0.0.1:1"
    for path in ("postgresql.listens", "restapi.tls.certfile", "name.first"):
        with pytest.raises(NoPatroni, match=path):
            put(document, path, "x")
