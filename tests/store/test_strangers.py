"""What somebody with a login of the same servers can do to a ledger that is not his, against real servers: nothing."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from keyvault.core.errors import Conflict, NotFound, Unavailable
from keyvault.core.ids import EnclaveName
from keyvault.demo.hosts import AUDITOR_ROLE, SERVER_ROLE
from keyvault.demo.postgres import Cluster, cluster
from keyvault.demo.postgres_programs import memory
from keyvault.store.anchor import Anchor
from keyvault.store.postgres.logins import admit, dismiss
from keyvault.store.postgres.migrate import migrate
from keyvault.store.postgres.store import NotAdmitted, PostgresStore, create_ledger, open_store
from tests.deployment import run_keyvault
from tests.store.worlds import append

HOT, OTHER = EnclaveName("hot"), EnclaveName("other")
STRANGER = "rewinder"
"""Whom the servers let in, and the database knows nothing of."""
WRITES = {
    "take_term": "('other', 'thief', 'x:1', NULL, NULL)",
    "append": "('other', 0, 0, sha256(''), sha256('x'), ARRAY['garbage'::bytea], ARRAY[NULL::bytea], false)",
    "put_checkpoint": "('other', 0, 0, 'garbage')",
    "beat": "('other', 0, 0)",
    "step_down": "('other', 0)",
    "report": "('other', 'a', 'h', 'a:1', true)",
}
READS = {
    "lease": "('other')",
    "head_of": "('other')",
    "entries": "('other', 0, 10)",
    "find": "('other', 'key')",
    "checkpoints": "('other')",
    "newest_checkpoint": "('other')",
}
OF_ALL = {"nodes", "not_synchronous", "confirmed"}
"""What is of the database, not of an enclave."""


@pytest.fixture(scope="module")
def servers() -> Iterator[Cluster]:
    """Give a server with a ledger, for tests that leave it as it was."""
    with cluster(standbys=0, parent=memory()) as made:
        migrate(made.admin_conninfo())
        made.create_roles()
        create_ledger(made.admin_conninfo(), HOT)
        made.admit(HOT)
        create_ledger(made.admin_conninfo(), OTHER)
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
    migrate(servers.admin_conninfo())
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
        servers.primary.execute("REVOKE keyvault_owner, pg_read_all_stats FROM rewinder CASCADE")
        servers.primary.execute("GRANT pg_read_all_stats TO keyvault_owner")


def test_a_migration_does_not_wait_for_ever(servers: Cluster) -> None:
    """Who reads in a transaction that he leaves open stops a migration, and with it all appends, for 5 s at most."""
    with psycopg.connect(servers.conninfo(AUDITOR_ROLE)) as auditor:
        auditor.execute("SELECT * FROM keyvault.lease('hot')")
        with pytest.raises(Unavailable, match="a session has held its tables"):
            migrate(servers.admin_conninfo(), 2)


# Nodes of other enclaves ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["", "SET ROLE keyvault_server", "SET search_path = pg_temp, keyvault"])
@pytest.mark.parametrize("function", [*WRITES, *READS])
def test_a_node_has_no_power_over_another_enclave(servers: Cluster, function: str, first: str) -> None:
    """The login of one enclave's node neither writes nor reads the ledger of another; it is told who admits it."""
    before = servers.primary.execute("SELECT * FROM keyvault.head WHERE enclave = 'other'")
    with psycopg.connect(servers.conninfo(), autocommit=True) as node:
        if first:
            node.execute(first.encode())
        with pytest.raises(psycopg.errors.DatabaseError) as refused:
            node.execute(f"SELECT keyvault.{function}{(WRITES | READS)[function]}".encode())
    assert refused.value.sqlstate == "KV006"
    assert "keyvault database admit keyvault_hot --enclave other" in str(refused.value)
    assert servers.primary.execute("SELECT * FROM keyvault.head WHERE enclave = 'other'") == before
    assert servers.primary.execute("SELECT count(*) FROM keyvault.node WHERE enclave = 'other'") == [(0,)]


def test_every_function_of_a_node_is_meant(servers: Cluster) -> None:
    """No function that a node may execute is missing above."""
    rows = servers.primary.execute(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'keyvault'::regnamespace "
        "AND has_function_privilege('keyvault_server', oid, 'EXECUTE')"
    )
    assert {str(row[0]) for row in rows} == WRITES.keys() | READS.keys() | OF_ALL


def test_an_auditor_reads_every_ledger(servers: Cluster) -> None:
    """An auditor's login is listed for no enclave, and reads them all."""
    with psycopg.connect(servers.conninfo(AUDITOR_ROLE), autocommit=True) as auditor:
        for function, arguments in READS.items():
            auditor.execute(f"SELECT keyvault.{function}{arguments}".encode())


@pytest.mark.parametrize("role", [SERVER_ROLE, AUDITOR_ROLE])
def test_nobody_lists_himself(servers: Cluster, role: str) -> None:
    """Only the owner admits a login."""
    with psycopg.connect(servers.conninfo(role), autocommit=True) as connection:
        for statement in (
            "INSERT INTO keyvault.login VALUES (session_user, 'other')",
            "UPDATE keyvault.login SET enclave = 'other'",
            "DELETE FROM keyvault.login",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())
    with pytest.raises(Unavailable, match=r"permission denied|must have admin option"):
        admit(servers.conninfo(role), role, OTHER)


def test_a_login_that_is_taken_away_writes_nothing_more(servers: Cluster, stores: list[PostgresStore]) -> None:
    """From its next statement on a leader is refused, nothing is in doubt, and it goes on when it is admitted again."""
    store = stores[0]
    epoch = store.take_over("one", "a:1", store.lease())
    head = append(store, epoch, "before")
    dismiss(servers.admin_conninfo(), SERVER_ROLE, HOT)
    try:
        with pytest.raises(NotAdmitted, match="keyvault database admit keyvault_hot --enclave hot"):
            append(store, epoch, "meanwhile", expected=head)
        with pytest.raises(Unavailable, match="keyvault database admit"):
            store.head()
        with pytest.raises(NotFound, match="was not admitted"):
            dismiss(servers.admin_conninfo(), SERVER_ROLE, HOT)
    finally:
        servers.admit(HOT)
    assert store.head() == head
    append(store, epoch, "after")


def test_who_cannot_be_admitted(servers: Cluster) -> None:
    """A role that is not there, or cannot log in, is refused with what to do."""
    admin = servers.admin_conninfo()
    with pytest.raises(NotFound, match="run CREATE ROLE nobody LOGIN first"):
        admit(admin, "nobody", HOT)
    with pytest.raises(Conflict, match="cannot log in"):
        admit(admin, "keyvault_server", HOT)
    assert servers.primary.execute("SELECT login, enclave FROM keyvault.login") == [(SERVER_ROLE, "hot")]


def test_a_database_of_the_version_before_says_who_is_to_be_admitted(tmp_path: Path) -> None:
    """Before the migration there is no list; after it the ledger is as it was, and one command lets its nodes in."""
    with cluster(standbys=0, parent=memory()) as made:
        admin = made.admin_conninfo()
        migrate(admin, 2)
        made.create_roles()
        create_ledger(admin, HOT)
        made.primary.execute("SELECT keyvault.take_term('hot', 'one', 'a:1', NULL, NULL)")
        with pytest.raises(Unavailable, match="run keyvault database migrate first"):
            made.admit(HOT)
        done = migrate(admin)
        assert done[0] == "up to 3: logins"
        assert "keyvault database admit LOGIN --enclave hot" in done[1]
        with pytest.raises(Unavailable, match="keyvault database admit keyvault_hot --enclave hot"):
            open_store(made.conninfo(), HOT, Anchor(tmp_path / "ledger"), synchronous=False)
        made.admit(HOT)
        assert migrate(admin) == ()
        store = open_store(made.conninfo(), HOT, Anchor(tmp_path / "ledger"), synchronous=False)
        with closing(store):
            assert (store.lease().epoch, store.lease().session_gone) == (1, True)
            append(store, store.take_over("two", "b:1", store.lease()), "a")


@pytest.mark.parametrize(
    "address", ["a" * 301, "a:1\nx-more: 1", "a\x7f", "a b:1", "\N{LATIN SMALL LETTER E WITH ACUTE}:1"]
)
def test_an_address_is_one(servers: Cluster, address: str) -> None:
    """What others will call has bounds, and is no more than printable ASCII; a take-over with other is refused."""
    before = servers.primary.execute("SELECT epoch FROM keyvault.head WHERE enclave = 'hot'")
    with (
        psycopg.connect(servers.conninfo(), autocommit=True) as node,
        pytest.raises(psycopg.errors.CheckViolation, match="head_address_check"),
    ):
        node.execute("SELECT keyvault.take_term('hot', 'h', %s, NULL, NULL)", (address,))
    assert servers.primary.execute("SELECT epoch FROM keyvault.head WHERE enclave = 'hot'") == before


def test_the_command_admits_and_takes_back(servers: Cluster) -> None:
    """The command lists a login, says so to people and programs, and --remove takes it back."""
    admin = ("--conninfo", servers.admin_conninfo())
    asked = ("database", "admit", SERVER_ROLE, "--enclave", "other", *admin)
    told = run_keyvault(*asked)
    assert told.stdout == "keyvault_hot may use the ledger of other.\n", told.stderr
    with psycopg.connect(servers.conninfo(), autocommit=True) as node:
        node.execute("SELECT keyvault.lease('other')")
    told = run_keyvault(*asked, "--remove", "--json")
    assert json.loads(told.stdout) == {"login": SERVER_ROLE, "enclave": "other", "admitted": False}
    told = run_keyvault(*asked, "--remove")
    assert (told.returncode, "was not admitted to enclave other" in told.stderr) == (3, True)
    told = run_keyvault("database", "admit", "nobody", "--enclave", "other", *admin)
    assert (told.returncode, "CREATE ROLE nobody LOGIN" in told.stderr) == (3, True)
