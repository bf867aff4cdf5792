"""Which login may use which enclave's ledger: written by whoever owns the database, checked in every function.

A login that is not listed may nothing, whatever role it has. What is listed is a name: who drops a login and makes
another of that name gives it what the first one had.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
from psycopg import sql

from keyvault.core.errors import Conflict, NotFound, Unavailable
from keyvault.core.ids import EnclaveName
from keyvault.store.postgres.connection import connect, first_line


def admit(conninfo: str, login: str, enclave: EnclaveName) -> None:
    """Let a login role use the enclave's ledger, which may come later: it is listed, and a member of keyvault_server.

    Raises NotFound if there is no such role, Conflict if it cannot log in, Unavailable.
    """
    with _opened(conninfo) as connection:
        role = connection.execute("SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", (login,)).fetchone()
        if role is None:
            raise NotFound(f"there is no role {login}: run CREATE ROLE {login} LOGIN first")
        if not role[0]:
            raise Conflict(f"the role {login} cannot log in: list the login of each node")
        try:
            connection.execute(sql.SQL("GRANT keyvault_server TO {}").format(sql.Identifier(login)))
            connection.execute("SET LOCAL ROLE keyvault_owner")
            connection.execute(
                "INSERT INTO keyvault.login (login, enclave) VALUES (%s, %s) ON CONFLICT DO NOTHING", (login, enclave)
            )
        except psycopg.Error as error:
            raise _unavailable(error) from error


def dismiss(conninfo: str, login: str, enclave: EnclaveName) -> None:
    """Let the login use the enclave's ledger no more, from its next statement on. Raises NotFound, Unavailable."""
    with _opened(conninfo) as connection:
        try:
            connection.execute("SET LOCAL ROLE keyvault_owner")
            row = connection.execute(
                "DELETE FROM keyvault.login WHERE login = %s AND enclave = %s RETURNING login", (login, enclave)
            ).fetchone()
        except psycopg.Error as error:
            raise _unavailable(error) from error
        if row is None:
            raise NotFound(f"the login {login} was not admitted to enclave {enclave}")


@contextmanager
def _opened(conninfo: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    with closing(connect(conninfo)) as connection, connection.transaction():
        yield connection


def _unavailable(error: psycopg.Error) -> Unavailable:
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedObject):
        return Unavailable("the database has no list of logins: run keyvault database migrate first")
    return Unavailable(f"the list of logins was not changed: {first_line(error)}")
