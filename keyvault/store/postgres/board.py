"""Where nodes say that they are there, in PostgreSQL: see ``Board`` in store/base.py, and migrations/0002.

Laws:

1. It has a connection of its own, to whichever server takes writes, and touches no other. So nothing here can make an
   append wait, and nothing that is set here holds for one.
2. No commit waits: the table is unlogged and this session's ``synchronous_commit`` is off. Neither is so for an append.
3. Reads and writes are bounded in time and size. What is wrong here is Unavailable, and costs advice.
"""

from typing import Any

import psycopg

from keyvault.core import limits
from keyvault.core.errors import Unavailable
from keyvault.core.ids import EnclaveName
from keyvault.store.base import Presence
from keyvault.store.postgres.connection import connect, cut, first_line


def open_board(conninfo: str, enclave: EnclaveName) -> "PostgresBoard":
    """Connect to the server that takes writes. Raises Unavailable."""
    connection = connect(conninfo)
    try:
        connection.execute(f"SET statement_timeout = {limits.SPREAD_READ_MS}")
        connection.execute("SET synchronous_commit = off")
    except psycopg.Error as error:
        connection.close()
        raise Unavailable(f"the nodes' table cannot be opened: {first_line(error)}") from error
    return PostgresBoard(connection, enclave)


class PostgresBoard:
    """The table, as one enclave's node writes it and reads it. For one thread, ``abandon`` for any."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]], enclave: EnclaveName) -> None:
        self._connection = connection
        self._enclave = enclave

    def report(self, *, place: str, holder: str, address: str, eligible: bool) -> None:
        """See ``Board``."""
        self._all("SELECT keyvault.report(%s, %s, %s, %s, %s)", self._enclave, place, holder, address, eligible)

    def nodes(self) -> list[Presence]:
        """See ``Board``. At most SPREAD_NODES_MAX."""
        rows = self._all("SELECT enclave, place, holder, address, beat, eligible, leads FROM keyvault.nodes()")
        return [
            Presence(
                enclave=enclave,
                place=place,
                holder=holder,
                address=address,
                beat=beat,
                eligible=eligible,
                leads=leads,
            )
            for enclave, place, holder, address, beat, eligible, leads in rows[: limits.SPREAD_NODES_MAX]
        ]

    def abandon(self) -> None:
        """See ``Board``."""
        cut(self._connection)

    def close(self) -> None:
        """See ``Board``."""
        self._connection.close()

    def _all(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(statement.encode(), values or None, prepare=True).fetchall()
        except psycopg.Error as error:
            raise Unavailable(f"the nodes' table cannot be used: {first_line(error)}") from error
