"""Real PostgreSQL servers in a folder, for demos, benchmarks and tests: a primary and its synchronous standbys.

They listen on loopback, over TLS with client certificates, and are gone when the cluster is closed. Root runs them as
the user ``postgres``, because PostgreSQL refuses to run as root. Nothing is tuned but what shortens a start.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from keyvault.cli.pki import create_authority, issue
from keyvault.demo.postgres_programs import (
    START_S,
    NoPostgres,
    as_postgres,
    check_reachable,
    descendants,
    free_port,
    give,
    lives,
    programs,
    run,
    wait,
)

DATABASE = "keyvault"
SERVER_ROLE = "keyvault_hot"
"""The login role of keyvault servers."""
AUDITOR_ROLE = "keyvault_audit"

_HBA = """
local replication all peer map=admin
local all all peer map=admin
hostssl all all 127.0.0.1/32 cert map=tls
hostssl replication all 127.0.0.1/32 cert map=tls
"""
_IDENT = """
admin /.* postgres
tls /.* postgres
tls /.* keyvault_hot
tls /.* keyvault_audit
"""


class Cluster:
    """A primary and its standbys. ``conninfo`` is what goes into keyvault.toml."""

    def __init__(self, folder: Path, *, standbys: int) -> None:
        """Make and start the servers in an empty folder; ``standbys`` of them are synchronous, any one is enough."""
        self.folder = folder
        self.servers: list[Server] = []
        self._authority = folder / "ca"
        create_authority(self._authority, "postgres.test")
        issue(self._authority, "node", "database", folder / "tls")
        issue(self._authority, "node", "client", folder / "tls")
        primary = Server(folder / "pg-0", self)
        primary.create()
        self.servers.append(primary)
        self._primary = primary
        primary.start()
        for number in range(1, standbys + 1):
            standby = Server(folder / f"pg-{number}", self)
            standby.follow(primary)
            self.servers.append(standby)
            standby.start()
        if standbys:
            names = ", ".join(f'"{each.name}"' for each in self.servers[1:])
            primary.configure(synchronous_standby_names=f"ANY 1 ({names})")
            primary.wait_for("SELECT count(*) > 0 FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')")

    @property
    def primary(self) -> "Server":
        """The server that takes writes."""
        return self._primary

    def conninfo(self, role: str = SERVER_ROLE, ports: Sequence[int] = (), *, database: str = DATABASE) -> str:
        """Return a connection string to all servers, or through these ports."""
        ports = ports or [server.port for server in self.servers]
        hosts, numbers = ",".join("localhost" for _ in ports), ",".join(map(str, ports))
        key = self.folder / "tls" / "node-client.key"
        return (
            f"host={hosts} port={numbers} dbname={database} user={role} sslmode=verify-full "
            f"sslrootcert={self._authority / 'ca.crt'} sslcert={key.with_suffix('.crt')} sslkey={key}"
        )

    def admin_conninfo(self, *, database: str = DATABASE) -> str:
        """Return a connection string of somebody who may migrate."""
        return self.conninfo("postgres", database=database)

    def create_database(self, name: str) -> None:
        """Make another database, for a ledger that has nothing to do with the others."""
        self.primary.execute(f"CREATE DATABASE {name}")

    def create_roles(self) -> None:
        """Make the login roles of a server and of an auditor, once the schema is there; roles are all databases'."""
        if not self.primary.execute("SELECT true FROM pg_roles WHERE rolname = %s", SERVER_ROLE):
            self.primary.execute(
                f"CREATE ROLE {SERVER_ROLE} LOGIN; GRANT keyvault_server TO {SERVER_ROLE};"
                f"CREATE ROLE {AUDITOR_ROLE} LOGIN; GRANT keyvault_auditor TO {AUDITOR_ROLE};"
            )

    def promote(self, standby: "Server") -> None:
        """Make a standby the primary; the others follow it, any one of them is enough for a commit."""
        names = ", ".join(f'"{each.name}"' for each in self.servers if each is not standby)
        standby.configure(synchronous_standby_names=f"ANY 1 ({names})")  # in force from its first commit on
        standby.promote()
        self._primary = standby
        for each in self.servers:
            if each is not standby and each.running:
                each.follow_from_now(standby)

    def fail_over(self) -> "Server":
        """Promote the standby that has most; the primary must be dead. Return the new primary.

        As Patroni and CloudNativePG do it: of standbys of which any one is enough, only some have the last commit.
        """
        standbys = [each for each in self.servers if each is not self._primary and each.running]
        chosen = max(standbys, key=Server.received)
        self.promote(chosen)
        return chosen

    def rejoin(self, *servers: "Server") -> None:
        """Make these servers standbys of the primary, each from a new base backup; return when all stream."""
        for each in servers:
            each.kill()
            shutil.rmtree(each.folder)
            each.follow(self._primary)
            each.start()
        for each in servers:
            self._primary.wait_for(
                "SELECT count(*) > 0 FROM pg_stat_replication WHERE application_name = %s AND state = 'streaming'",
                each.name,
            )

    def close(self) -> None:
        """Stop every server at once, for good."""
        for server in self.servers:
            server.kill()


class Server:
    """One server in its data directory."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder = folder
        self.name = folder.name.replace("-", "_")
        self.port = free_port()
        self._cluster = cluster
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        if self._process is None:
            raise NoPostgres(f"{self.name} does not run")
        return self._process.pid

    def create(self) -> None:
        """Make a new database cluster."""
        self._make_folder()
        run("initdb", "-D", str(self.folder), "-U", "postgres", "-A", "peer", "-E", "UTF8", "--locale=C", "--no-sync")
        self._write_settings()

    def follow(self, primary: "Server") -> None:
        """Make this a standby of the primary, from a base backup."""
        self._make_folder()
        run(
            "pg_basebackup",
            "-D",
            str(self.folder),
            "-X",
            "stream",
            "-c",
            "fast",
            "--no-sync",
            "-d",
            self._source(primary),
        )
        self._write_settings()
        self.follow_from_now(primary)

    def follow_from_now(self, primary: "Server") -> None:
        """Stream from this primary; takes effect at the next start, or at once if the server runs."""
        with (self.folder / "postgresql.auto.conf").open("a") as file:
            file.write(f"primary_conninfo = '{self._source(primary)}'\nrecovery_target_timeline = 'latest'\n")
        (self.folder / "standby.signal").touch()
        give(self.folder / "standby.signal")
        if self.running:
            run("pg_ctl", "reload", "-D", str(self.folder))

    def _source(self, primary: "Server") -> str:
        sockets = self._cluster.folder / "sockets"
        return f"host={sockets} port={primary.port} user=postgres application_name={self.name}"

    def start(self) -> None:
        """Start it and return when it answers."""
        log = (self.folder.parent / f"{self.name}.log").open("ab")
        with log:
            self._process = subprocess.Popen(  # noqa: S603  PostgreSQL's own program
                as_postgres([str(programs() / "postgres"), "-D", str(self.folder)]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        wait(self._answers, lambda: f"{self.name} does not start:\n{self.last_words()}")

    def kill(self) -> None:
        """SIGKILL the postmaster and everything it started."""
        if self._process is None:
            return
        pids = [self._process.pid, *descendants(self._process.pid)]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        wait(lambda: not any(map(lives, pids)), lambda: f"{self.name} does not die")  # they hold its shared memory
        with suppress(FileNotFoundError):
            (self.folder / "postmaster.pid").unlink()
        self._process = None

    def stop(self) -> None:
        """Shut it down fast: sessions are ended, a checkpoint is written."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(START_S)
            self._process = None

    def pause(self) -> None:
        """SIGSTOP everything of it, as a host that hangs."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT everything of it."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in [self.pid, *descendants(self.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def received(self) -> int:
        """Return how much of the primary's log this standby has, in bytes."""
        rows = self.execute("SELECT coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0'::pg_lsn")
        return int(str(rows[0][0]))

    def promote(self) -> None:
        """Make it a primary, and return when it takes writes."""
        run("pg_ctl", "promote", "-w", "-D", str(self.folder))

    def configure(self, **settings: str) -> None:
        """Change settings and return when sessions have them."""
        for name, value in settings.items():
            self.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        self.execute("SELECT pg_reload_conf()")
        self.execute("CHECKPOINT")  # the checkpointer reads the settings first, and publishes synchronous_standby_names
        for name, value in settings.items():
            self.wait_for("SELECT current_setting(%s) = %s", name, value)

    def execute(self, statement: str, *values: object, database: str = "") -> list[tuple[object, ...]]:
        """Run statements as the superuser through the socket; return the last one's rows."""
        with self.connect(database) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def connect(self, database: str = "") -> psycopg.Connection[tuple[object, ...]]:
        """Return a connection of the superuser, over TLS."""
        return psycopg.connect(
            self._cluster.conninfo("postgres", [self.port]), dbname=database or DATABASE, autocommit=True
        )

    def wait_for(self, statement: str, *values: object) -> None:
        """Return when the query says true."""
        wait(lambda: bool(self.execute(statement, *values)[0][0]), lambda: f"{self.name}: never true: {statement}")

    def last_words(self) -> str:
        """Return the end of its log."""
        with suppress(FileNotFoundError):
            return (self.folder.parent / f"{self.name}.log").read_text(errors="replace")[-2_000:]
        return ""

    def _answers(self) -> bool:
        if not self.running:
            raise NoPostgres(f"{self.name} ended while it started:\n{self.last_words()}")
        try:
            with self.connect("postgres") as connection:
                names = [row[0] for row in connection.execute("SELECT datname FROM pg_database")]
                if DATABASE not in names:
                    connection.execute(f"CREATE DATABASE {DATABASE}".encode())
        except psycopg.OperationalError:
            return False
        return True

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o700)
        sockets = self._cluster.folder / "sockets"
        sockets.mkdir(exist_ok=True)
        give(self.folder)
        give(sockets)

    def _write_settings(self) -> None:
        tls = self._cluster.folder / "tls"
        for name in ("node-database.crt", "node-database.key"):
            shutil.copyfile(tls / name, self.folder / name)
            (self.folder / name).chmod(0o600)
        shutil.copyfile(self._cluster.folder / "ca" / "ca.crt", self.folder / "ca.crt")
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self._cluster.folder / "sockets"),
            "ssl": "on",
            "ssl_cert_file": "node-database.crt",
            "ssl_key_file": "node-database.key",
            "ssl_ca_file": "ca.crt",
            "cluster_name": self.name,
            "wal_level": "replica",
            "hot_standby": "on",
            "wal_receiver_status_interval": "1s",
            "wal_receiver_timeout": "5s",
            "wal_retrieve_retry_interval": "100ms",
            "wal_sender_timeout": "5s",
            "wal_keep_size": "256MB",
            "shared_buffers": "32MB",
            "max_connections": "60",
            "min_wal_size": "32MB",
            "dynamic_shared_memory_type": "mmap",  # in its folder: a killed server leaves what is elsewhere
        }
        with (self.folder / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        (self.folder / "pg_hba.conf").write_text(_HBA)
        (self.folder / "pg_ident.conf").write_text(_IDENT)
        for path in self.folder.iterdir():
            give(path)


@contextmanager
def cluster(*, standbys: int, parent: Path | None = None) -> Iterator[Cluster]:
    """Give a running cluster in a new folder, of ``parent`` if given; nothing of it is left."""
    folder = Path(tempfile.mkdtemp(prefix="keyvault-pg-", dir=parent))
    folder.chmod(0o711)  # the user postgres must reach its own folders in it
    made: Cluster | None = None
    try:
        check_reachable(folder)
        made = Cluster(folder, standbys=standbys)
        yield made
    finally:
        if made is not None:
            made.close()
        shutil.rmtree(folder, ignore_errors=True)
