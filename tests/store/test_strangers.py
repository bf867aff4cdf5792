"""What somebody with a login of the same servers can do to a ledger that is not his, against real servers: nothing."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from keyvault.core.errors import Unavailable
from keyvault.core.ids import EnclaveName
from keyvault.demo.hosts import AUDITOR_ROLE, SERVER_ROLE
from keyvault.demo.postgres import Cluster, cluster
from keyvault.demo.postgres_programs import memory
from keyvault.store.anchor import Anchor
from keyvault.store.postgres.migrate import migrate
from keyvault.store.postgres.store import PostgresStore, create_ledger, open_store
from tests.store.worlds import append

HOT = EnclaveName("hot")
STRANGER = "rewinder"
"""Whom the servers let in, and the database knows nothing of."""


@pytest.fixture(scope="module")
def servers() -> Iterator[Cluster]:
    """Give a server with a ledger, for tests that leave it as it was."""
    with cluster(standbys=0, parent=memory()) as made:
        migrate(made.admin_conninfo())
        made.create_roles()
        create_ledger(made.admin_conninfo(), HOT)
        made.primary.execute(f"CREATE ROLE {STRANGER} LOGIN")
        yield made


@pytest.fixture
def stores(servers: Cluster, tmp_path: Path) -> Iterator[list[PostgresStore]]:
    """Give the stores of two nodes."""
    made = [open_store(servers.conninfo(), HOT, Anchor(tmp_path / each), synchronous=False) for each in "ab"]
    yield made
    for each in made:
        each.close()


@contextmanager
def _all_locks(servers: Cluster, epoch: int) -> Iterator[None]:
    """An auditor holds the locks that terms from ``epoch`` on were once known by, of whichever enclave."""
    with psycopg.connect(servers.conninfo(AUDITOR_ROLE), autocommit=True) as auditor:
        auditor.execute(
            "SELECT pg_try_advisory_lock(number, epoch) "
            "FROM generate_series(1, 4) AS number, generate_series(%s::int, %s::int) AS epoch",
            (epoch, epoch + 20),
        )
        yield


def test_nobody_holds_a_take_over_up(servers: Cluster, stores: list[PostgresStore]) -> None:
    """Whatever an auditor locks, a term is taken, used, and given back at once."""
    one, two = stores
    with _all_locks(servers, one.lease().epoch):
        epoch = one.take_over("one", "a:1", one.lease())
        append(one, epoch, "held-up")
        assert not two.lease().session_gone
        one.step_down(epoch)
        assert two.take_over("two", "b:1", two.lease()) > epoch


def test_nobody_keeps_a_dead_leader_alive(servers: Cluster, stores: list[PostgresStore]) -> None:
    """That a leader's session ended shows, whoever waits for what it held."""
    one, two = stores
    epoch = one.take_over("one", "a:1", one.lease())
    with psycopg.connect(servers.conninfo(AUDITOR_ROLE), autocommit=True) as auditor:
        locks = "SELECT count(pg_advisory_lock(number, %s::int)) FROM generate_series(1, 4) AS number"
        waiting = threading.Thread(target=auditor.execute, args=(locks, (epoch,)))
        waiting.start()
        servers.primary.wait_for("SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory'")
        assert not two.lease().session_gone
        one.close()
        waiting.join()
        servers.primary.wait_for("SELECT session_gone FROM keyvault.lease('hot')")


def test_another_session_is_not_the_leaders(servers: Cluster, stores: list[PostgresStore]) -> None:
    """A process that has the number of the leader's, and began at another moment, is somebody else."""
    one, two = stores
    one.take_over("one", "a:1", one.lease())
    assert not two.lease().session_gone
    servers.primary.execute("UPDATE keyvault.head SET session_began = session_began - interval '1 second'")
    assert two.lease().session_gone


def test_where_sessions_do_not_show_silence_decides(servers: Cluster, stores: list[PostgresStore]) -> None:
    """Without pg_read_all_stats nobody knows when a session began: a leader that lives is not taken for gone."""
    one, two = stores
    one.take_over("one", "a:1", one.lease())
    servers.primary.execute("REVOKE pg_read_all_stats FROM keyvault_owner")
    try:
        assert not two.lease().session_gone
        two.take_over("two", "b:1", two.lease())
        assert not one.lease().session_gone
    finally:
        servers.primary.execute("GRANT pg_read_all_stats TO keyvault_owner")
    assert not one.lease().session_gone


def test_only_our_roles_connect(servers: Cluster) -> None:
    """Another role of the servers does not get into the database; a node's and an auditor's do."""
    for role in (SERVER_ROLE, AUDITOR_ROLE):
        psycopg.connect(servers.conninfo(role)).close()
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(servers.conninfo(STRANGER))
    servers.primary.execute("GRANT CONNECT ON DATABASE keyvault TO PUBLIC")
    assert migrate(servers.admin_conninfo()) == ()
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(servers.conninfo(STRANGER))


def test_who_does_not_own_the_database_is_told(servers: Cluster) -> None:
    """A migration that cannot keep others out says who can."""
    servers.create_database("theirs")
    servers.primary.execute("GRANT CREATE, CONNECT ON DATABASE theirs TO rewinder")
    servers.primary.execute("GRANT keyvault_owner TO rewinder; GRANT pg_read_all_stats TO rewinder WITH ADMIN OPTION")
    try:
        done = migrate(servers.conninfo(STRANGER, database="theirs"))
        assert done[-1].startswith("every role may still connect")
    finally:
        servers.primary.execute("REVOKE keyvault_owner, pg_read_all_stats FROM rewinder")


def test_a_migration_does_not_wait_for_ever(servers: Cluster) -> None:
    """Who reads in a transaction that he leaves open stops a migration, and with it all appends, for 5 s at most."""
    with psycopg.connect(servers.conninfo(AUDITOR_ROLE)) as auditor:
        auditor.execute("SELECT * FROM keyvault.lease('hot')")
        with pytest.raises(Unavailable, match="a session has held its tables"):
            migrate(servers.admin_conninfo(), 2)
