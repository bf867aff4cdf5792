"""What somebody who may change tables can put in the way of an append, on real servers: the ledger is not opened."""

from collections.abc import Callable, Iterator
from contextlib import closing
from importlib import resources
from pathlib import Path

import pytest

from keyvault.core import limits
from keyvault.core.errors import Corrupt, OutcomeUnknown
from keyvault.core.ids import EnclaveName
from keyvault.demo.postgres import Cluster, cluster
from keyvault.demo.postgres_programs import memory
from keyvault.store.anchor import Anchor
from keyvault.store.postgres import store as postgres_store
from keyvault.store.postgres.connection import connect
from keyvault.store.postgres.migrate import migrate, migrations
from keyvault.store.postgres.schema import written_out
from keyvault.store.postgres.store import PostgresStore, create_ledger, open_store
from tests.store.worlds import append

HOT = EnclaveName("hot")
EVIL = """
CREATE SCHEMA IF NOT EXISTS evil;
CREATE OR REPLACE FUNCTION evil.now() RETURNS text LANGUAGE sql SECURITY DEFINER
    AS $$ SELECT set_config('synchronous_commit', 'local', true) $$;
CREATE OR REPLACE FUNCTION evil.listens() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE OR REPLACE FUNCTION evil.quietly(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT evil.now() $$;
CREATE OR REPLACE FUNCTION evil.fires() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN PERFORM evil.now(); RETURN NEW; END $$;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
"""
"""Turns the waiting of the transaction that it runs in off: its commit is acknowledged though no standby has it."""


@pytest.fixture(scope="module")
def servers() -> Iterator[Cluster]:
    """Give a primary with one synchronous standby, and a ledger. Tests leave the schema as it was."""
    with cluster(standbys=1, parent=memory()) as made:
        migrate(made.admin_conninfo())
        made.create_roles()
        create_ledger(made.admin_conninfo(), HOT)
        made.admit(HOT)
        made.primary.execute(EVIL)
        yield made


def _open(servers: Cluster, folder: Path) -> PostgresStore:
    return open_store(servers.conninfo(), HOT, Anchor(folder / "ledger"))


def _body_of_version_1(name: str) -> str:
    text = migrations()[0].up
    begin = text.index(f"CREATE FUNCTION keyvault.{name}(")
    return text[begin : text.index("$$;", begin) + 3].replace("CREATE", "CREATE OR REPLACE", 1)


RULE = "CREATE RULE r AS ON UPDATE TO keyvault.head DO ALSO SELECT evil.now()"
CHECK = "ALTER TABLE keyvault.head ADD CONSTRAINT c CHECK (evil.now() IS NOT NULL)"
BODY = "ALTER TABLE keyvault.entry DROP CONSTRAINT entry_body_check, ADD CONSTRAINT entry_body_check CHECK "
CHANGES = {
    "rule": (RULE, "DROP RULE r ON keyvault.head", "'rule r on head' is not ours: '.*evil.now"),
    "check": (CHECK, "ALTER TABLE keyvault.head DROP CONSTRAINT c", "'constraint c on head' is not ours: .*evil.now"),
    "check of ours that calls more": (
        f"{BODY}(length(body) <= 65535 AND set_config('synchronous_commit', 'local', true) IS NOT NULL)",
        f"{BODY}(length(body) <= 65535)",
        "'constraint entry_body_check on entry' is not as keyvault made it: .*set_config",
    ),
    "check of ours that is gone": (
        "ALTER TABLE keyvault.entry DROP CONSTRAINT entry_body_check",
        "ALTER TABLE keyvault.entry ADD CONSTRAINT entry_body_check CHECK (length(body) <= 65535)",
        "'constraint entry_body_check on entry' is missing",
    ),
    "unlogged": (
        "ALTER TABLE keyvault.entry SET UNLOGGED",
        "ALTER TABLE keyvault.entry SET LOGGED",
        "'relation entry' is not as keyvault made it: 'not logged table",
    ),
    "trigger switched off": (
        "ALTER TABLE keyvault.entry DISABLE TRIGGER entries_are_never_changed",
        "ALTER TABLE keyvault.entry ENABLE TRIGGER entries_are_never_changed",
        "'trigger entries_are_never_changed on entry' is not as keyvault made it: .*switched off",
    ),
    "trigger": (
        "CREATE TRIGGER more BEFORE UPDATE ON keyvault.head FOR EACH ROW EXECUTE FUNCTION evil.fires()",
        "DROP TRIGGER more ON keyvault.head",
        "'trigger more on head' is not ours",
    ),
    "foreign keys switched off": (
        "ALTER TABLE keyvault.entry DISABLE TRIGGER ALL",
        "ALTER TABLE keyvault.entry ENABLE TRIGGER ALL",
        "'trigger entries_are_never_changed on entry'",
    ),
    "foreign key from elsewhere": (
        "CREATE TABLE evil.more (enclave text REFERENCES keyvault.head ON UPDATE CASCADE)",
        "DROP TABLE evil.more",
        "'trigger of a foreign key on head, .* is not ours",
    ),
    "default": (
        "ALTER TABLE keyvault.entry ALTER request_key SET DEFAULT evil.now()::bytea",
        "ALTER TABLE keyvault.entry ALTER request_key DROP DEFAULT",
        "'column entry.request_key' is not as keyvault made it: .*evil.now",
    ),
    "generated column": (
        "ALTER TABLE keyvault.head ADD more text GENERATED ALWAYS AS (evil.quietly(holder)) STORED",
        "ALTER TABLE keyvault.head DROP more",
        "'column head.more' is not ours: .*evil.quietly",
    ),
    "row security": (
        "ALTER TABLE keyvault.head ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE keyvault.head DISABLE ROW LEVEL SECURITY",
        "'relation head' is not as keyvault made it: .*row security",
    ),
    "policy": (
        "CREATE POLICY p ON keyvault.head USING (evil.now() IS NOT NULL)",
        "DROP POLICY p ON keyvault.head",
        "'policy p on head' is not ours: .*evil.now",
    ),
    "child": (
        "CREATE TABLE evil.more () INHERITS (keyvault.entry)",
        "DROP TABLE evil.more",
        "'inheritance of keyvault.entry by evil.more' is not ours",
    ),
    "event trigger": (
        "CREATE EVENT TRIGGER more ON ddl_command_end EXECUTE FUNCTION evil.listens()",
        "DROP EVENT TRIGGER more",
        "'event trigger more' is not ours: .*evil.listens",
    ),
    "index over an expression": (
        "CREATE INDEX more ON keyvault.head (evil.quietly(holder))",
        "DROP INDEX keyvault.more",
        "'index more' is not ours: .*evil.quietly",
    ),
    "unique index that is gone": (
        "DROP INDEX keyvault.entry_request",
        "CREATE UNIQUE INDEX entry_request ON keyvault.entry (enclave, request_key) WHERE request_key IS NOT NULL",
        "'index entry_request' is missing",
    ),
    "function": (
        "CREATE FUNCTION keyvault.find(text) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "DROP FUNCTION keyvault.find(text)",
        r"'function find\(text\)' is not ours",
    ),
    "body of an older version": (
        _body_of_version_1("take_term"),
        "",
        r"'function take_term\(.*\)' is not as keyvault made it: .*body ",
    ),
    "search_path": (
        "ALTER FUNCTION keyvault.append SET search_path = public, pg_catalog",
        "ALTER FUNCTION keyvault.append SET search_path = pg_catalog, pg_temp",
        "function append.* is not as keyvault made it: .*search_path=public",
    ),
    "setting of a function": (
        "ALTER FUNCTION keyvault.beat SET synchronous_commit = off",
        "ALTER FUNCTION keyvault.beat RESET synchronous_commit",
        "function beat.* is not as keyvault made it: .*synchronous_commit=off",
    ),
    "no security definer": (
        "ALTER FUNCTION keyvault.append SECURITY INVOKER",
        "ALTER FUNCTION keyvault.append SECURITY DEFINER",
        "function append.* is not as keyvault made it",
    ),
    "volatility": (
        "ALTER FUNCTION keyvault.find STRICT VOLATILE",
        "ALTER FUNCTION keyvault.find CALLED ON NULL INPUT STABLE",
        "function find.* is not as keyvault made it: .*volatile",
    ),
    "owner of a function": (
        "ALTER FUNCTION keyvault.append OWNER TO postgres",
        "ALTER FUNCTION keyvault.append OWNER TO keyvault_owner",
        "function append.* is not as keyvault made it: .*of postgres",
    ),
    "right to write": (
        "GRANT INSERT ON keyvault.entry TO PUBLIC",
        "REVOKE INSERT ON keyvault.entry FROM PUBLIC",
        "'right of PUBLIC on entry' is not ours: 'INSERT'",
    ),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_changed_schema_is_not_opened(servers: Cluster, tmp_path: Path, kind: str) -> None:
    """Whatever would run in an append, or takes from what it makes: the ledger is not opened, and it says what."""
    change, back, says = CHANGES[kind]
    before = _catalog(servers)
    restores = back or "CREATE OR REPLACE" + _newest_body("take_term")
    servers.primary.execute(change)
    try:
        with pytest.raises(Corrupt, match=f"(?s)somebody changed the database: .*{says}"):
            _open(servers, tmp_path)
    finally:
        servers.primary.execute(restores)
    assert _catalog(servers) == before
    _open(servers, tmp_path).close()


def _newest_body(name: str) -> str:
    text = migrations()[-1].up
    begin = text.index(f"FUNCTION keyvault.{name}(")
    return " " + text[begin : text.index("$$;", begin) + 3]


def _catalog(servers: Cluster) -> list[str]:
    with closing(connect(servers.conninfo())) as connection:
        return written_out(connection)


def test_what_is_expected_is_what_the_migrations_make(servers: Cluster) -> None:
    """schema.txt has every object of a new database as the migrations made it, and nothing else."""
    text = resources.files("keyvault.store.postgres.migrations").joinpath("schema.txt").read_text()
    assert _catalog(servers) == text.splitlines()


@pytest.mark.parametrize("setting", ["search_path = evil, pg_catalog", "quote_all_identifiers = on"])
def test_what_is_set_for_a_role_shows_nothing_else(servers: Cluster, tmp_path: Path, setting: str) -> None:
    """Settings of the role or the database change neither what names mean nor how they are written."""
    servers.primary.execute(f"ALTER ROLE ALL SET {setting}")
    try:
        _open(servers, tmp_path).close()
    finally:
        servers.primary.execute(f"ALTER ROLE ALL RESET {setting.partition(' ')[0]}")


def test_triggers_that_are_off_for_a_role_are_noticed(servers: Cluster, tmp_path: Path) -> None:
    """With session_replication_role somebody can switch all triggers off at once."""
    servers.primary.execute("ALTER ROLE ALL SET session_replication_role = replica")
    try:
        with pytest.raises(Corrupt, match="session_replication_role"):
            _open(servers, tmp_path)
    finally:
        servers.primary.execute("ALTER ROLE ALL RESET session_replication_role")


@pytest.mark.parametrize("write", ["take-over", "checkpoint"])
def test_a_change_is_noticed_while_a_node_leads(
    servers: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    """A schema that is changed under an open ledger: no term begins on it, and no checkpoint is kept."""
    monkeypatch.setattr(limits, "SCHEMA_COMPARED_MS", 0)
    with closing(_open(servers, tmp_path)) as store:
        epoch = store.take_over("one", "", store.lease())
        head, before = append(store, epoch, write), store.lease()
        writes: dict[str, Callable[[], object]] = {
            "take-over": lambda: store.take_over("two", "", before),
            "checkpoint": lambda: store.put_checkpoint(epoch=epoch, size=head.size, note=b"note"),
        }
        servers.primary.execute(CHECK)
        try:
            with pytest.raises(Corrupt, match="constraint c on head"):
                writes[write]()
        finally:
            servers.primary.execute("ALTER TABLE keyvault.head DROP CONSTRAINT c")
        assert (store.lease(), store.checkpoint()) == (before, None)
        append(store, epoch, f"{write} went on")


@pytest.mark.parametrize("change", [RULE, CHECK])
def test_a_commit_that_no_standby_has_is_in_doubt(
    servers: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Though nobody compares the schema: of two commits that did not wait, the second is not taken for acknowledged."""
    monkeypatch.setattr(postgres_store, "_check_schema", lambda _connection: None)
    monkeypatch.setattr(limits, "CONFIRMED_MS", 0)
    servers.primary.execute(change)
    standby = servers.servers[1]
    try:
        with closing(_open(servers, tmp_path)) as store:
            epoch = store.acquire_term("one")
            append(store, epoch, f"before {change}")
            store.beat(epoch, 0)
            standby.pause()
            append(store, epoch, f"at once {change}")
            with pytest.raises(OutcomeUnknown, match="no synchronous standby has"):
                append(store, epoch, f"again {change}")
    finally:
        standby.resume()
        servers.primary.execute("DROP RULE IF EXISTS r ON keyvault.head")
        servers.primary.execute("ALTER TABLE keyvault.head DROP CONSTRAINT IF EXISTS c")
