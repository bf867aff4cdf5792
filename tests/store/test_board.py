"""What a board promises (Board in keyvault/store/base.py), in memory and in PostgreSQL; and more of the latter."""

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from keyvault.core import limits
from keyvault.core.errors import Unavailable
from keyvault.core.ids import EnclaveName
from keyvault.demo.postgres import AUDITOR_ROLE, SERVER_ROLE, Cluster, cluster
from keyvault.demo.postgres_programs import memory
from keyvault.store.anchor import Anchor
from keyvault.store.base import Board, Presence, SharedStore
from keyvault.store.memory import MemoryBoard, MemoryDatabase, MemoryMedium, MemoryStore
from keyvault.store.postgres.board import open_board
from keyvault.store.postgres.migrate import migrate
from keyvault.store.postgres.store import create_ledger
from keyvault.store.postgres.store import open_store as open_postgres
from tests.store.worlds import append


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """Two enclaves in one database. ``board`` and ``store`` open those of one of them."""

    enclaves: tuple[str, str]
    board: Callable[[str], Board]
    store: Callable[[str], SharedStore]

    def here(self, board: Board) -> list[Presence]:
        """Return what the board has of these enclaves; tests share a server."""
        return [each for each in board.nodes() if each.enclave in self.enclaves]


@pytest.fixture(params=["memory", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Give one of each kind."""
    names = tuple(sorted(f"b-{secrets.token_hex(8)}" for _ in range(2)))
    if request.param == "memory":
        made = MemoryDatabase(media={name: MemoryMedium() for name in names})
        yield Database(
            enclaves=(names[0], names[1]),
            board=lambda name: MemoryBoard(made, name),
            store=lambda name: MemoryStore(made.media[name]),
        )
        return
    servers: Cluster = request.getfixturevalue("postgres")
    opened: list[Board | SharedStore] = []

    def board(name: str) -> Board:
        made = open_board(servers.conninfo(), EnclaveName(name))
        opened.append(made)
        return made

    def store(name: str) -> SharedStore:
        made = open_postgres(servers.conninfo(), EnclaveName(name), Anchor(tmp_path / name), synchronous=False)
        opened.append(made)
        return made

    for name in names:
        create_ledger(servers.admin_conninfo(), EnclaveName(name))
        servers.admit(name)
    yield Database(enclaves=(names[0], names[1]), board=board, store=store)
    for each in opened:
        each.close()


def report(board: Board, number: int = 1, *, place: str = "rack-1", eligible: bool = True) -> None:
    board.report(place=place, holder=f"process-{number}", address=f"kv-{number}:7443", eligible=eligible)


def test_a_board_is_empty_until_somebody_reports(database: Database) -> None:
    """Nobody is there by being configured."""
    assert database.here(database.board(database.enclaves[0])) == []


def test_every_node_sees_every_enclave(database: Database) -> None:
    """What a node says is read by the nodes of all enclaves, as it was said."""
    one, two = (database.board(name) for name in database.enclaves)
    report(one)
    report(two, 2, place="rack-2", eligible=False)
    for board in (one, two):
        assert [(each.enclave, each.place, each.holder, each.address) for each in database.here(board)] == [
            (database.enclaves[0], "rack-1", "process-1", "kv-1:7443"),
            (database.enclaves[1], "rack-2", "process-2", "kv-2:7443"),
        ]
        assert [(each.eligible, each.leads) for each in database.here(board)] == [(True, False), (False, False)]


def test_a_sign_of_life_shows(database: Database) -> None:
    """Each report changes the beat, and replaces what the node said before; a new process at the address too."""
    board = database.board(database.enclaves[0])
    beats = set()
    for eligible in (True, False, True):
        report(board, eligible=eligible)
        (row,) = database.here(board)
        assert row.eligible is eligible
        beats.add(row.beat)
    assert len(beats) == 3
    board.report(place="rack-9", holder="process-1b", address="kv-1:7443", eligible=True)
    (row,) = database.here(board)
    assert (row.place, row.holder) == ("rack-9", "process-1b")
    assert row.beat not in beats


def test_the_board_says_whom_the_lease_names(database: Database) -> None:
    """A node leads if its own process holds the lease of its enclave; after a step-down nobody does."""
    board, store = database.board(database.enclaves[0]), database.store(database.enclaves[0])
    report(board, 1)
    report(board, 2)
    epoch = store.take_over("process-2", "kv-2:7443", store.lease())
    assert [each.leads for each in database.here(board)] == [False, True]
    store.step_down(epoch)
    assert [each.leads for each in database.here(board)] == [False, False]


def test_an_enclave_has_few_nodes(database: Database) -> None:
    """One more than the bound is turned away; those that are there go on."""
    board = database.board(database.enclaves[0])
    for number in range(limits.NODES_MAX):
        report(board, number)
    with pytest.raises(Unavailable, match="16 nodes already"):
        report(board, 99)
    report(board, 3)
    assert len(database.here(board)) == limits.NODES_MAX


# PostgreSQL ----------------------------------------------------------------------------------------------------------


def test_who_is_gone_for_a_minute_makes_room(database: Database, postgres: Cluster) -> None:
    """Rows of nodes that do not exist any more are cleared up when a new node comes."""
    if isinstance(board := database.board(database.enclaves[0]), MemoryBoard):
        return  # it forgets nobody
    for number in range(limits.NODES_MAX):
        report(board, number)
    postgres.primary.execute("UPDATE keyvault.node SET told_at = told_at - interval '2 minutes'")
    report(board, 99)
    assert [each.holder for each in database.here(board)] == ["process-99"]


@pytest.fixture(scope="module")
def servers() -> Iterator[Cluster]:
    """Give one server of which the tests of this module may break settings."""
    with cluster(standbys=0, parent=memory()) as made:
        migrate(made.admin_conninfo())
        made.create_roles()
        create_ledger(made.admin_conninfo(), EnclaveName("hot"))
        made.admit("hot")
        yield made


def test_a_sign_of_life_waits_for_no_standby_and_an_append_does(servers: Cluster, tmp_path: Path) -> None:
    """While every commit waits for a standby that never comes, nodes still see one another, and an append waits."""
    store = open_postgres(servers.conninfo(), EnclaveName("hot"), Anchor(tmp_path / "ledger"), synchronous=False)
    with closing(store), closing(open_board(servers.conninfo(), EnclaveName("hot"))) as board:
        epoch = store.acquire_term("one")
        servers.primary.configure(synchronous_standby_names="nobody")
        appending = threading.Thread(target=lambda: append(store, epoch, "a"))
        try:
            appending.start()
            waits = "SELECT wait_event = 'SyncRep' FROM pg_stat_activity WHERE pid = %s"
            servers.primary.wait_for(waits, store.session)
            for _ in range(20):  # a new row, and changes of it
                report(board)
            assert "process-1" in [each.holder for each in board.nodes()]
            servers.primary.wait_for(waits, store.session)
        finally:
            servers.primary.configure(synchronous_standby_names="")
            appending.join()


def test_the_sessions_of_a_ledger_are_as_they_were(servers: Cluster, tmp_path: Path) -> None:
    """A board has a session of its own, and what it sets there holds for no other."""
    store = open_postgres(servers.conninfo(), EnclaveName("hot"), Anchor(tmp_path / "ledger"), synchronous=False)
    with closing(store), closing(open_board(servers.conninfo(), EnclaveName("hot"))) as board:
        report(board)
        servers.primary.wait_for("SELECT count(*) = 3 FROM pg_stat_activity WHERE usename = %s", SERVER_ROLE)
        assert store._write("SELECT current_setting('synchronous_commit')") == [("on",)]


@pytest.mark.parametrize("role", [SERVER_ROLE, AUDITOR_ROLE])
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM keyvault.node",
        "INSERT INTO keyvault.node VALUES ('hot', 'a:1', 'a', 'h', true, 1, now())",
        "UPDATE keyvault.node SET place = 'a'",
        "DELETE FROM keyvault.node",
        "TRUNCATE keyvault.node",
        "ALTER TABLE keyvault.node SET LOGGED",
    ],
)
def test_nobody_touches_the_table(servers: Cluster, role: str, statement: str) -> None:
    """A role has the two functions, or none; nobody but the owner has the table."""
    with (
        psycopg.connect(servers.conninfo(role), autocommit=True) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement.encode())


def test_an_auditor_says_nothing(servers: Cluster) -> None:
    """Its role can give no advice."""
    with (
        psycopg.connect(servers.conninfo(AUDITOR_ROLE), autocommit=True) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("SELECT keyvault.report('hot', 'a', 'h', 'a:1', true)")


@pytest.mark.parametrize(
    ("enclave", "place", "holder", "address"),
    [
        ("absent", "a", "h", "a:1"),
        ("hot", "", "h", "a:1"),
        ("hot", "A place\n", "h", "a:1"),
        ("hot", "p" * 33, "h", "a:1"),
        ("hot", "a", "h" * 65, "a:1"),
        ("hot", "a", "h", "a" * 262),
        ("hot", "a", "", "a:1"),
        ("hot", None, "h", "a:1"),
    ],
)
def test_what_a_rogue_says_has_bounds(
    servers: Cluster, enclave: str, place: str | None, holder: str, address: str
) -> None:
    """Whoever has a server's login can say what is false, and nothing that is longer than it may be, or of nobody."""
    with psycopg.connect(servers.conninfo(), autocommit=True) as connection:
        before = connection.execute("SELECT * FROM keyvault.nodes()").fetchall()
        with pytest.raises(psycopg.DatabaseError, match=r"violates|not admitted"):
            connection.execute("SELECT keyvault.report(%s, %s, %s, %s, true)", (enclave, place, holder, address))
        assert connection.execute("SELECT * FROM keyvault.nodes()").fetchall() == before


def test_a_rogue_moves_no_lease(servers: Cluster, tmp_path: Path) -> None:
    """Whatever is reported, the lease and the ledger are as they were."""
    store = open_postgres(servers.conninfo(), EnclaveName("hot"), Anchor(tmp_path / "ledger"), synchronous=False)
    with closing(store), psycopg.connect(servers.conninfo(), autocommit=True) as rogue:
        epoch = store.acquire_term("one")
        before = (store.lease(), store.head())
        rogue.execute("SELECT keyvault.report('hot', 'a', 'one', 'a:1', true)")
        rogue.execute("SELECT keyvault.report('hot', 'b', 'two', 'b:1', true)")
        assert (store.lease(), store.head()) == before
        append(store, epoch, "b")


def test_the_bounds_of_the_table_are_those_of_the_code() -> None:
    """The migration's numbers are limits': nodes of an enclave, rows of a reading, characters of a place."""
    text = Path(migrations_folder(), "0002_nodes.up.sql").read_text()
    assert f">= {limits.NODES_MAX} THEN" in text
    assert f"LIMIT {limits.SPREAD_NODES_MAX}\n" in text
    assert f"{{0,{limits.PLACE_CHARS_MAX - 2}}}" in text


def migrations_folder() -> str:
    return str(Path(open_board.__code__.co_filename).parent / "migrations")


def test_a_promoted_server_has_forgotten_and_is_told_anew() -> None:
    """The primary dies: the other server knows no node, takes every sign of life, and says Unavailable meanwhile."""
    with cluster(standbys=1, parent=memory()) as made:
        migrate(made.admin_conninfo())
        made.create_roles()
        create_ledger(made.admin_conninfo(), EnclaveName("hot"))
        made.admit("hot")
        with closing(open_board(made.conninfo(), EnclaveName("hot"))) as board:
            report(board)
            made.primary.kill()
            with pytest.raises(Unavailable):
                report(board)
        made.promote(made.servers[1])
        with closing(open_board(made.conninfo(), EnclaveName("hot"))) as board:
            assert board.nodes() == []
            report(board)
            assert [each.holder for each in board.nodes()] == ["process-1"]


def test_the_way_back_leaves_the_ledgers(tmp_path: Path) -> None:
    """Version 1 again, with the ledgers as they were; and up once more."""
    with cluster(standbys=0, parent=memory()) as made:
        admin = made.admin_conninfo()
        migrate(admin)
        made.create_roles()
        create_ledger(admin, EnclaveName("hot"))
        made.admit("hot")
        store = open_postgres(made.conninfo(), EnclaveName("hot"), Anchor(tmp_path / "ledger"), synchronous=False)
        with closing(store):
            append(store, store.acquire_term("one"), "a")
        assert migrate(admin, 1) == ("back from 3: logins", "back from 2: nodes")
        assert made.primary.execute("SELECT to_regclass('keyvault.node')") == [(None,)]
        assert migrate(admin)[:2] == ("up to 2: nodes", "up to 3: logins")
        made.admit("hot")
        store = open_postgres(made.conninfo(), EnclaveName("hot"), Anchor(tmp_path / "ledger"), synchronous=False)
        with closing(store):
            assert store.read(0, 10) == [b"a"]
