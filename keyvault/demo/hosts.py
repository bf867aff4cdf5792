"""What every group of PostgreSQL servers can do, whoever moves its primary: to be asked, and to be broken."""

import shutil
import signal
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import psycopg

from keyvault.cli.pki import create_authority, issue
from keyvault.core.ids import EnclaveName
from keyvault.demo.guard import end_all, guarded, signal_all
from keyvault.demo.postgres_programs import NoPostgres, check_reachable, free_port, give, wait
from keyvault.store.postgres.logins import admit

DATABASE = "keyvault"
SERVER_ROLE = "keyvault_hot"
"""The login role of keyvault servers."""
AUDITOR_ROLE = "keyvault_audit"

HBA = (
    "local replication all peer map=admin",
    "local all all peer map=admin",
    "hostssl all all 127.0.0.1/32 cert map=tls",
    "hostssl replication all 127.0.0.1/32 cert map=tls",
)
IDENT = (
    "admin /.* postgres",
    *(f"tls /.* {role}" for role in ("postgres", SERVER_ROLE, AUDITOR_ROLE, "replicator", "rewinder")),
)
"""Whoever can get into the folder of sockets, or has a certificate of this authority, may be anybody: it is a demo."""
CONNECT_S = 2
"""A server that hangs still takes connections: the kernel does."""


class Host:
    """One server in a folder of its own, with all processes that belong to it."""

    def __init__(self, folder: Path, group: "Hosts") -> None:
        self.folder = folder
        self.name = folder.name.replace("-", "_")
        self.port = free_port()
        self._group = group
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether its first process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of what was started first."""
        if self._process is None:
            raise NoPostgres(f"{self.name} does not run")
        return self._process.pid

    @property
    def log(self) -> Path:
        """What its processes say."""
        return self.folder.with_name(f"{self.name}.log")

    def kill(self) -> None:
        """SIGKILL everything of it, as a host that is lost."""
        if self._process is None:
            return
        end_all(self.folder)
        self._process.wait()
        self._process = None

    def pause(self) -> None:
        """SIGSTOP everything of it, as a host that hangs."""
        signal_all(self.folder, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT everything of it."""
        signal_all(self.folder, signal.SIGCONT)

    def received(self) -> int:
        """Return how much of the primary's log this standby has, in bytes."""
        rows = self.execute("SELECT coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0'::pg_lsn")
        return int(str(rows[0][0]))

    def takes_writes(self) -> bool:
        """Whether it answers, and says that it is the primary."""
        try:
            return not self.execute("SELECT pg_is_in_recovery()", database="postgres")[0][0]
        except psycopg.OperationalError:
            return False

    def execute(self, statement: str, *values: object, database: str = "") -> list[tuple[object, ...]]:
        """Run statements as the superuser; return the last one's rows."""
        with self.connect(database) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def connect(self, database: str = "") -> psycopg.Connection[tuple[object, ...]]:
        """Return a connection of the superuser, over TLS."""
        conninfo = self._group.conninfo("postgres", [self.port])
        return psycopg.connect(conninfo, dbname=database or DATABASE, autocommit=True, connect_timeout=CONNECT_S)

    def wait_for(self, statement: str, *values: object) -> None:
        """Return when the query says true."""
        wait(lambda: bool(self.execute(statement, *values)[0][0]), lambda: f"{self.name}: never true: {statement}")

    def last_words(self) -> str:
        """Return the end of its log."""
        with suppress(FileNotFoundError):
            return self.log.read_text(errors="replace")[-2_000:]
        return ""

    def _run(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        """Start its first process."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  PostgreSQL's or Patroni's own program
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the caller, which ends its servers itself
            )

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o700)
        give(self.folder)

    def _copy_tls(self, *names: str) -> None:
        """Give it certificates of its own; keys that others may read are refused by PostgreSQL."""
        for path in (self._group.authority / "ca.crt", *(self._group.folder / "tls" / name for name in names)):
            copy = self.folder / path.name
            shutil.copyfile(path, copy)
            copy.chmod(0o600)
            give(copy)


class Hosts(ABC):
    """Servers in a folder, of which one is the primary. ``conninfo`` is what goes into keyvault.toml."""

    def __init__(self, folder: Path) -> None:
        """Make what all of them need in an empty folder."""
        self.folder = folder
        self.authority = folder / "ca"
        create_authority(self.authority, "postgres.test")
        issue(self.authority, "node", "database", folder / "tls")
        issue(self.authority, "node", "client", folder / "tls")
        self.sockets = folder / "sockets"
        self.sockets.mkdir(mode=0o700)
        give(self.sockets)

    @property
    @abstractmethod
    def servers(self) -> Sequence[Host]:
        """All of them."""

    @property
    @abstractmethod
    def primary(self) -> Host:
        """The server that takes writes."""

    @property
    @abstractmethod
    def promotion(self) -> str:
        """Who makes another server the primary when it dies, in a few words."""

    @abstractmethod
    def fail_over(self) -> Host:
        """Return the new primary, as soon as there is one; the old one must be dead or hang."""

    @abstractmethod
    def rejoin(self, *servers: Host) -> None:
        """Make these servers, dead or not, standbys of the primary; return when all stream."""

    def conninfo(self, role: str = SERVER_ROLE, ports: Sequence[int] = (), *, database: str = DATABASE) -> str:
        """Return a connection string to all servers, or through these ports."""
        ports = ports or [server.port for server in self.servers]
        hosts, numbers = ",".join("localhost" for _ in ports), ",".join(map(str, ports))
        key = self.folder / "tls" / "node-client.key"
        return (
            f"host={hosts} port={numbers} dbname={database} user={role} sslmode=verify-full "
            f"sslrootcert={self.authority / 'ca.crt'} sslcert={key.with_suffix('.crt')} sslkey={key}"
        )

    def admin_conninfo(self, *, database: str = DATABASE) -> str:
        """Return a connection string of somebody who may migrate."""
        return self.conninfo("postgres", database=database)

    def create_database(self, name: str) -> None:
        """Make another database, for a ledger that has nothing to do with the others."""
        self.primary.execute(f"CREATE DATABASE {name}", database="postgres")

    def create_roles(self) -> None:
        """Make the login roles of a server and of an auditor, once the schema is there; roles are all databases'."""
        if not self.primary.execute("SELECT true FROM pg_roles WHERE rolname = %s", SERVER_ROLE):
            self.primary.execute(
                f"CREATE ROLE {SERVER_ROLE} LOGIN; GRANT keyvault_server TO {SERVER_ROLE};"
                f"CREATE ROLE {AUDITOR_ROLE} LOGIN; GRANT keyvault_auditor TO {AUDITOR_ROLE};"
            )

    def admit(self, enclave: str, *, database: str = DATABASE) -> None:
        """Let the servers' login use the ledger of an enclave."""
        admit(self.admin_conninfo(database=database), SERVER_ROLE, EnclaveName(enclave))

    def close(self) -> None:
        """Stop every server at once, for good."""
        for server in self.servers:
            server.kill()


Made = TypeVar("Made", bound=Hosts)


@contextmanager
def opened(make: Callable[[Path], Made], parent: Path | None) -> Iterator[Made]:
    """Give what ``make`` makes in a new folder, of ``parent`` if given; nothing of it is left, however this ends."""
    folder = Path(tempfile.mkdtemp(prefix="keyvault-pg-", dir=parent))
    folder.chmod(0o711)  # the user postgres must reach its own folders in it
    with guarded(folder):
        check_reachable(folder)
        made = make(folder)
        try:
            yield made
        finally:
            made.close()
