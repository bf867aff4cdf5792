"""Connections to PostgreSQL: what every one of them must be, whatever the deployment says.

- A server on another machine is reached over TLS with its certificate and name verified; there is no weaker mode.
  A Unix socket needs none.
- Of several hosts it is the one that takes writes (``target_session_attrs=read-write``).
- ``synchronous_commit`` is on and nothing on the server's side may cancel a statement: a commit that is cancelled while
  it waits for its standbys has happened and looks like it had not (see ``store.postgres``).
- No password stands in the connection string: libpq takes client certificates, or a password file of mode 0600.
"""

import contextlib
import os
import socket
from typing import Any

import psycopg
from psycopg import conninfo

from keyvault.core.errors import Malformed, Unavailable

CONNECT_S = 5
"""One host. libpq's own default is to wait for ever."""
_QUIET = {
    "connect_timeout": str(CONNECT_S),
    # A host that vanished must not keep a thread: probes after 1 s, given up after 3, also while data is unanswered.
    "keepalives_idle": "1",
    "keepalives_interval": "1",
    "keepalives_count": "3",
    "tcp_user_timeout": "4000",
}
_OPTIONS = {
    "synchronous_commit": "on",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "1000",
    "client_connection_check_interval": "1000",
    "default_transaction_isolation": "read\\ committed",
    "client_encoding": "UTF8",
    # Not what somebody set for the role or the database: names are PostgreSQL's own, and shown as schema.py knows them.
    "search_path": "pg_catalog,pg_temp",
    "quote_all_identifiers": "off",
}


def check_conninfo(text: str) -> None:
    """Raise Malformed unless this is a connection string that keeps to the rules above."""
    try:
        values = conninfo.conninfo_to_dict(text)
    except psycopg.ProgrammingError as error:
        raise Malformed("conninfo", f"is not a PostgreSQL connection string: {first_line(error)}") from error
    if "password" in values:
        raise Malformed("conninfo", "has a password; name a passfile, or use sslcert and sslkey")
    if "options" in values:
        raise Malformed("conninfo", "has options; they are set by keyvault")
    if not values.get("host"):
        raise Malformed("conninfo", "names no host: host=db1,db2,db3, or the folder of a Unix socket")
    local = all(host.startswith("/") for host in str(values["host"]).split(","))
    if not local and values.get("sslmode") != "verify-full":
        raise Malformed("conninfo", "must say sslmode=verify-full, and name sslrootcert: there is no plaintext mode")


def connect(
    text: str, *, beside: psycopg.Connection[tuple[Any, ...]] | None = None
) -> psycopg.Connection[tuple[Any, ...]]:
    """Return an open connection in autocommit, to the one of the hosts that takes writes.

    ``beside``: to the server of this connection, and no other. Two may take writes, one of which was replaced; what is
    read on one says nothing about what can be written on the other.

    Raises Malformed for a connection string that breaks the rules, Unavailable if there is no such server.
    """
    check_conninfo(text)
    options = " ".join(f"-c {name}={value}" for name, value in _OPTIONS.items())
    values = {"application_name": "keyvault", **_QUIET}
    values |= {name: str(value) for name, value in conninfo.conninfo_to_dict(text).items()}
    values["target_session_attrs"] = "read-write"
    # Not always the first: a server that was replaced and never told takes writes, and waits for its standbys for ever.
    values["load_balance_hosts"] = "random"
    if beside is not None:
        values |= {"host": beside.info.host, "port": str(beside.info.port)}
        values |= {"hostaddr": beside.info.hostaddr} if "hostaddr" in values else {}
    try:
        return psycopg.connect(conninfo.make_conninfo("", **values, options=options), autocommit=True)
    except psycopg.Error as error:
        raise Unavailable(f"PostgreSQL cannot be reached: {first_line(error)}", retry_after_ms=1_000) from error


def cut(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    """End the connection, from any thread: whoever waits in it is told."""
    # libpq's connection is not safe for two threads; its socket is, and an end of file wakes whoever waits on it.
    with (
        contextlib.suppress(OSError, psycopg.Error),
        socket.socket(fileno=os.dup(connection.fileno())) as same,
    ):
        same.shutdown(socket.SHUT_RDWR)


def first_line(error: Exception) -> str:
    """Return what PostgreSQL says, without the statement and its values."""
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return primary or str(error).partition("\n")[0] or type(error).__name__
