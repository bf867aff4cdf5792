"""Brings a PostgreSQL database to the schema that this build knows, and back.

One transaction from the version that stands to the one that is wanted, under a lock that nobody else can take, so that
two of them cannot meet. The steps are SQL files in ``migrations``. Who runs it owns the database and may create roles;
servers never need that. Each run takes the right to connect from everybody but keyvault's own roles: whoever may
connect may use up connections, and hold old snapshots open.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import psycopg

from keyvault.core.errors import Conflict, Unavailable
from keyvault.store.postgres.connection import connect, first_line

SERVER_VERSION_MIN = 150_000
"""PostgreSQL 15."""

_LOGINS_SINCE = 3
_UNUSABLE = """
SELECT enclave FROM keyvault.head WHERE NOT EXISTS (SELECT FROM keyvault.login WHERE login.enclave = head.enclave)
ORDER BY enclave
"""
_TO_ADMIT = (
    "no node can use the ledger of enclave {enclave} yet: for the login of each of its nodes run "
    "keyvault database admit LOGIN --enclave {enclave} --conninfo ..."
)
_NAME = re.compile(r"(?P<version>[0-9]{4})_(?P<name>[a-z_]+)\.(?P<way>up|down)\.sql")
_BEFORE = """
SET LOCAL lock_timeout = '5s';  -- a node that was left running waits behind us as long
DO $$
DECLARE
    each text;
BEGIN
    FOREACH each IN ARRAY ARRAY['keyvault_owner', 'keyvault_server', 'keyvault_auditor'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = each) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', each);
        END IF;
    END LOOP;
END $$;
GRANT pg_read_all_stats TO keyvault_owner;
DO $$ BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO keyvault_server, keyvault_auditor', current_database());
END $$;
CREATE SCHEMA IF NOT EXISTS keyvault AUTHORIZATION keyvault_owner;
SET LOCAL ROLE keyvault_owner;
CREATE TABLE IF NOT EXISTS keyvault.migration (
    version int PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
);
LOCK TABLE keyvault.migration IN SHARE ROW EXCLUSIVE MODE;
GRANT SELECT ON keyvault.migration TO keyvault_server, keyvault_auditor;
GRANT USAGE ON SCHEMA keyvault TO keyvault_server, keyvault_auditor;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step and the way back."""

    version: int
    name: str
    up: str
    down: str


def migrations() -> tuple[Migration, ...]:
    """Return all steps that this build knows, from 1 on without gaps."""
    texts: dict[tuple[int, str], dict[str, str]] = {}
    for file in resources.files("keyvault.store.postgres.migrations").iterdir():
        match = _NAME.fullmatch(file.name)
        if match is not None:
            step = texts.setdefault((int(match["version"]), match["name"]), {})
            step[match["way"]] = file.read_text(encoding="utf-8")
    return tuple(_migration(version, name, texts[version, name]) for version, name in sorted(texts))


def _migration(version: int, name: str, ways: Mapping[str, str]) -> Migration:
    return Migration(version=version, name=name, up=ways["up"], down=ways["down"])


def newest() -> int:
    """Return the version that this build needs."""
    return migrations()[-1].version


def migrate(conninfo: str, to: int | None = None) -> tuple[str, ...]:
    """Bring the database to version ``to``, by default the newest; return what was done and is left to do, a line each.

    Raises:
        Conflict: the database has a version that this build does not know, or a step refuses, or there is no ``to``.
        Unavailable: the server cannot be reached, is older than PostgreSQL 15, or does not let this role do it.
    """
    known = migrations()
    target = newest() if to is None else to
    if not 0 <= target <= len(known):
        raise Conflict(f"there is no version {target} of the schema; this build knows 0 to {len(known)}")
    with connect(conninfo) as connection:
        if connection.info.server_version < SERVER_VERSION_MIN:
            raise Unavailable(f"the server is PostgreSQL {connection.info.server_version // 10_000}; 15 is the least")
        try:
            with connection.transaction():
                return _steps(connection, known, target)
        except psycopg.errors.RaiseException as error:
            raise Conflict(f"the database stays as it was: {first_line(error)}") from error
        except psycopg.errors.LockNotAvailable:
            raise Unavailable("the database was not migrated: a session has held its tables for 5 s") from None
        except psycopg.Error as error:
            raise Unavailable(f"the database was not migrated: {first_line(error)}") from error


def _steps(connection: psycopg.Connection, known: tuple[Migration, ...], target: int) -> tuple[str, ...]:
    connection.execute(_BEFORE)
    at = version(connection)
    if at > len(known):
        raise Conflict(f"the database has version {at} of the schema; this build knows {len(known)}: use a newer one")
    done = []
    for step in known[at:target]:
        connection.execute(step.up.encode())
        connection.execute("INSERT INTO keyvault.migration (version, name) VALUES (%s, %s)", (step.version, step.name))
        done.append(f"up to {step.version}: {step.name}")
    for step in reversed(known[target:at]):
        connection.execute(step.down.encode())
        connection.execute("DELETE FROM keyvault.migration WHERE version = %s", (step.version,))
        done.append(f"back from {step.version}: {step.name}")
    if target >= _LOGINS_SINCE:
        done += [_TO_ADMIT.format(enclave=enclave) for (enclave,) in connection.execute(_UNUSABLE)]
    open_to_all = connection.execute(
        "SELECT has_database_privilege('public', current_database(), 'CONNECT')"
    ).fetchone()
    if open_to_all is not None and open_to_all[0]:
        done.append("every role may still connect: let the database's owner run REVOKE ALL ON DATABASE ... FROM PUBLIC")
    return tuple(done)


def version(connection: psycopg.Connection) -> int:
    """Return the version that stands in the database; 0 if none."""
    row = connection.execute("SELECT coalesce(max(version), 0) FROM keyvault.migration").fetchone()
    return 0 if row is None else int(row[0])
