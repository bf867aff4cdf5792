"""What only a PostgreSQL ledger can do wrong, against real servers."""

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from keyvault.core.errors import Conflict, Corrupt, Malformed, NotFound, OutcomeUnknown, Unavailable
from keyvault.core.ids import EnclaveName
from keyvault.demo.postgres import AUDITOR_ROLE, DATABASE, SERVER_ROLE, Cluster, cluster
from keyvault.demo.postgres_programs import memory
from keyvault.store.anchor import Anchor
from keyvault.store.base import Head
from keyvault.store.postgres.connection import check_conninfo, connect
from keyvault.store.postgres.migrate import migrate, migrations, newest
from keyvault.store.postgres.store import NotSynchronous, PostgresStore, create_ledger, open_store
from tests.ha.proxy import Proxy
from tests.store.worlds import append, cancelled_wait


@pytest.fixture(scope="module")
def pair() -> Iterator[Cluster]:
    """Give a primary with one synchronous standby, and our schema."""
    with cluster(standbys=1, parent=memory()) as made:
        migrate(made.admin_conninfo())
        made.create_roles()
        made.admit("hot")
        yield made


@pytest.fixture
def ledger(pair: Cluster, tmp_path: Path) -> Iterator[PostgresStore]:
    """Give a new ledger on the pair, synchronous."""
    store = _new(pair, tmp_path)
    yield store
    store.close()


def _new(servers: Cluster, folder: Path, *, synchronous: bool = True) -> PostgresStore:
    enclave = EnclaveName(f"l-{secrets.token_hex(8)}")
    create_ledger(servers.admin_conninfo(), enclave)
    servers.admit(enclave)
    return open_store(servers.conninfo(), enclave, Anchor(folder / "ledger"), synchronous=synchronous)


def test_what_is_read_is_of_the_server_that_is_written(pair: Cluster) -> None:
    """Of two that take writes one may have been replaced: a lease that was seen there is no lease here."""
    ways = Proxy([pair.primary.port] * 2)
    try:
        text = pair.conninfo(ports=ways.ports)
        seen = set()
        for _ in range(12):
            with closing(connect(text)) as one, closing(connect(text, beside=one)) as other:
                assert other.info.port == one.info.port
                seen.add(one.info.port)
        assert seen == set(ways.ports)
    finally:
        ways.close()


# Durability ----------------------------------------------------------------------------------------------------------


def test_a_commit_whose_wait_was_cancelled_is_in_doubt(pair: Cluster, ledger: PostgresStore) -> None:
    """PostgreSQL reports success and a warning when the wait for standbys is cancelled; we write nothing more."""
    epoch = ledger.acquire_term("one")
    head = append(ledger, epoch, "a")
    with cancelled_wait(pair.primary, ledger.session), pytest.raises(OutcomeUnknown, match="synchronous replication"):
        append(ledger, epoch, "b")
    with pytest.raises(OutcomeUnknown):
        append(ledger, epoch, "c", expected=head)
    assert ledger.read(0, 10) == [b"a", b"b"]  # it stands on the primary: that is why nobody may be told "failed"


def test_nothing_is_written_without_a_synchronous_standby_in_the_settings(pair: Cluster, ledger: PostgresStore) -> None:
    """When an operator empties synchronous_standby_names, the very next append is refused and writes nothing."""
    epoch = ledger.acquire_term("one")
    append(ledger, epoch, "a")
    ledger.check_synchronous()
    names = str(pair.primary.execute("SELECT current_setting('synchronous_standby_names')")[0][0])
    pair.primary.configure(synchronous_standby_names="")
    try:
        with pytest.raises(NotSynchronous, match="synchronous_standby_names"):
            append(ledger, epoch, "b")
        with pytest.raises(NotSynchronous, match="synchronous_standby_names"):
            ledger.check_synchronous()
    finally:
        pair.primary.configure(synchronous_standby_names=names)
    assert ledger.read(0, 10) == [b"a"]


def test_a_standby_that_is_gone_is_noticed(tmp_path: Path) -> None:
    """The settings may promise a standby that is not there: the check says so."""
    with cluster(standbys=1, parent=memory()) as servers:
        migrate(servers.admin_conninfo())
        servers.create_roles()
        store = _new(servers, tmp_path)
        store.check_synchronous()
        servers.servers[1].kill()
        servers.primary.wait_for("SELECT count(*) = 0 FROM pg_stat_replication")
        with pytest.raises(NotSynchronous, match="no synchronous standby is attached"):
            store.check_synchronous()
        store.close()


def test_what_was_acknowledged_survives_the_primary(tmp_path: Path) -> None:
    """Kill the primary, promote the standby: the same store address gives every acknowledged entry, and goes on."""
    with cluster(standbys=1, parent=memory()) as servers:
        migrate(servers.admin_conninfo())
        servers.create_roles()
        enclave = EnclaveName("hot")
        create_ledger(servers.admin_conninfo(), enclave)
        servers.admit(enclave)
        conninfo = servers.conninfo()
        store = open_store(conninfo, enclave, Anchor(tmp_path / "ledger"))
        epoch = store.acquire_term("one")
        for number in range(50):
            append(store, epoch, f"{number}")
        servers.primary.kill()
        with pytest.raises(OutcomeUnknown):
            append(store, epoch, "late", expected=Head(size=50, root=bytes(32)))
        servers.promote(servers.servers[1])
        servers.primary.configure(synchronous_standby_names="")
        again = open_store(conninfo, enclave, Anchor(tmp_path / "ledger"), synchronous=False)
        assert again.read(0, 100)[:50] == [f"{number}".encode() for number in range(50)]
        assert again.lease().session_gone
        assert again.acquire_term("two") > epoch
        store.close()
        again.close()


# Rights --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [SERVER_ROLE, AUDITOR_ROLE])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE keyvault.entry SET body = ''",
        "DELETE FROM keyvault.entry",
        "TRUNCATE keyvault.entry CASCADE",
        "INSERT INTO keyvault.entry VALUES ('hot', 0, NULL, '')",
        "UPDATE keyvault.head SET epoch = 0",
        "DELETE FROM keyvault.checkpoint",
        "ALTER TABLE keyvault.entry DISABLE TRIGGER ALL",
        "DROP TABLE keyvault.entry",
        "CREATE FUNCTION keyvault.more() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "SELECT keyvault.create_ledger('other', 0)",
        "SET ROLE keyvault_owner",
    ],
)
def test_servers_and_auditors_may_only_call_their_functions(pair: Cluster, role: str, statement: str) -> None:
    """Neither role can touch a table, whatever it says."""
    with psycopg.connect(pair.conninfo(role), autocommit=True) as connection:
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedTable)):
            connection.execute(statement.encode())
        connection.execute("SELECT * FROM keyvault.entries('hot', 0, 10)")


def test_an_auditor_writes_nothing(pair: Cluster) -> None:
    """An auditor's role reads, and cannot execute what writes."""
    with psycopg.connect(pair.conninfo(AUDITOR_ROLE), autocommit=True) as connection:
        for call in ("beat('hot', 1, 0)", "step_down('hot', 1)", "take_term('hot', '', '', NULL, NULL)"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT keyvault.{call}".encode())


def test_the_ledger_is_append_only_for_its_owner_too(pair: Cluster, ledger: PostgresStore) -> None:
    """Even who owns the tables must first take the triggers off, and the next start sees that they are off."""
    append(ledger, ledger.acquire_term("one"), "a")
    for statement in ("UPDATE keyvault.entry SET body = ''", "DELETE FROM keyvault.entry"):
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            pair.primary.execute(statement)


# What is not there ---------------------------------------------------------------------------------------------------


def test_a_missing_ledger_or_schema_says_so(pair: Cluster, tmp_path: Path) -> None:
    """No ledger of that name; no schema in the database."""
    pair.admit("absent")
    with pytest.raises(NotFound, match="no ledger of enclave absent"):
        open_store(pair.conninfo(), EnclaveName("absent"), Anchor(tmp_path / "ledger"))
    with pytest.raises(Corrupt, match="run keyvault database migrate"):
        open_store(
            pair.conninfo().replace(f"dbname={DATABASE}", "dbname=postgres"), EnclaveName("hot"), Anchor(tmp_path)
        )


def test_a_ledger_is_made_once(pair: Cluster) -> None:
    """A second ledger of the same enclave is refused."""
    create_ledger(pair.admin_conninfo(), EnclaveName("once"))
    with pytest.raises(Conflict, match="once"):
        create_ledger(pair.admin_conninfo(), EnclaveName("once"))
    with pytest.raises(Unavailable, match="permission denied"):
        create_ledger(pair.conninfo(), EnclaveName("twice"))


# Migrations ----------------------------------------------------------------------------------------------------------


def test_every_migration_can_be_taken_back() -> None:
    """Up, back to nothing, and up again gives the same schema; with a ledger in it there is no way back."""
    with cluster(standbys=0, parent=memory()) as servers:
        admin = servers.admin_conninfo()
        assert len(migrate(admin)) == newest()
        assert migrate(admin) == ()
        before = _objects(servers)
        assert len(migrate(admin, 0)) == newest()
        assert not [name for name in _objects(servers) if "migration" not in name]
        migrate(admin)
        assert _objects(servers) == before
        create_ledger(admin, EnclaveName("hot"))
        with pytest.raises(Conflict, match="there are ledgers"):
            migrate(admin, 0)
        assert _objects(servers) == before
        with pytest.raises(Conflict, match="no version 99"):
            migrate(admin, 99)


def _objects(servers: Cluster) -> list[str]:
    rows = servers.primary.execute(
        "SELECT relname || ' ' || relkind::text FROM pg_class WHERE relnamespace = 'keyvault'::regnamespace "
        "UNION ALL SELECT proname || md5(prosrc) FROM pg_proc WHERE pronamespace = 'keyvault'::regnamespace ORDER BY 1"
    )
    return [str(row[0]) for row in rows]


def test_migrations_have_no_gaps() -> None:
    """Versions count from 1 on, each with its way back."""
    assert [step.version for step in migrations()] == list(range(1, newest() + 1))
    assert all(step.up and step.down for step in migrations())


# Connections ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conninfo", "says"),
    [
        ("host=db1 dbname=x", "sslmode=verify-full"),
        ("host=db1 dbname=x sslmode=require", "sslmode=verify-full"),
        ("host=/run/postgresql,db1 dbname=x", "sslmode=verify-full"),
        ("dbname=x sslmode=verify-full", "names no host"),
        ("host=db1 sslmode=verify-full password=hunter2", "password"),
        ("host=db1 sslmode=verify-full options='-c synchronous_commit=off'", "options"),
        ("nonsense", "not a PostgreSQL connection string"),
    ],
)
def test_an_unsafe_connection_string_is_refused(conninfo: str, says: str) -> None:
    """No plaintext, no password in the open, no options that weaken what keyvault sets; the text is not repeated."""
    with pytest.raises(Malformed, match=says) as refused:
        check_conninfo(conninfo)
    assert "hunter2" not in str(refused.value)


def test_a_socket_needs_no_tls() -> None:
    """A Unix socket on the same machine is fine."""
    check_conninfo("host=/run/postgresql dbname=x user=y")


def test_a_server_that_is_not_there_is_unavailable(pair: Cluster) -> None:
    """The error is one to wait for, not one to end for."""
    with pytest.raises(Unavailable, match="cannot be reached"):
        open_store(pair.conninfo(ports=[1]), EnclaveName("hot"), Anchor(Path("none")))


@pytest.mark.parametrize("write", ["append", "take-over", "checkpoint"])
def test_a_wait_that_is_ended_by_the_settings_is_in_doubt(pair: Cluster, ledger: PostgresStore, write: str) -> None:
    """Emptying synchronous_standby_names lets a waiting commit return as if it were acknowledged: it was not."""
    epoch = ledger.acquire_term("one")
    append(ledger, epoch, "a")
    writes: dict[str, Callable[[], object]] = {
        "append": lambda: append(ledger, epoch, "b"),
        "take-over": lambda: ledger.take_over("two", "", ledger.lease()),
        "checkpoint": lambda: ledger.put_checkpoint(epoch=epoch, size=1, note=b"note"),
    }
    names = str(pair.primary.execute("SELECT current_setting('synchronous_standby_names')")[0][0])
    pair.primary.configure(synchronous_standby_names="nobody")

    def give_up_waiting() -> None:
        pair.primary.wait_for("SELECT wait_event = 'SyncRep' FROM pg_stat_activity WHERE pid = %s", ledger.session)
        pair.primary.configure(synchronous_standby_names="")

    operator = threading.Thread(target=give_up_waiting)
    operator.start()
    try:
        with pytest.raises(OutcomeUnknown, match="synchronous_standby_names"):
            writes[write]()
    finally:
        operator.join()
        pair.primary.configure(synchronous_standby_names=names)
