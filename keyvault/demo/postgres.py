"""Real PostgreSQL servers in a folder, for demos, benchmarks and tests: a primary and its synchronous standbys.

They listen on loopback, over TLS with client certificates, and are gone when the cluster is closed. Root runs them as
the user ``postgres``, because PostgreSQL refuses to run as root. Nothing is tuned but what shortens a start. Standbys
are promoted by whoever breaks the primary, at once; as Patroni does it: ``keyvault.demo.patroni``.
"""

import shutil
import signal
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import psycopg

from keyvault.demo.hosts import AUDITOR_ROLE as AUDITOR_ROLE
from keyvault.demo.hosts import DATABASE as DATABASE
from keyvault.demo.hosts import HBA, IDENT, Host, Hosts, opened
from keyvault.demo.hosts import SERVER_ROLE as SERVER_ROLE
from keyvault.demo.postgres_programs import START_S, NoPostgres, as_postgres, give, programs, run, wait


class Cluster(Hosts):
    """A primary and its standbys."""

    def __init__(self, folder: Path, *, standbys: int) -> None:
        """Make and start the servers in an empty folder; ``standbys`` of them are synchronous, any one is enough."""
        super().__init__(folder)
        self._servers: list[Server] = []
        primary = Server(folder / "pg-0", self)
        primary.create()
        self._servers.append(primary)
        self._primary = primary
        primary.start()
        for number in range(1, standbys + 1):
            standby = Server(folder / f"pg-{number}", self)
            standby.follow(primary)
            self._servers.append(standby)
            standby.start()
        if standbys:
            names = ", ".join(f'"{each.name}"' for each in self.servers[1:])
            primary.configure(synchronous_standby_names=f"ANY 1 ({names})")
            primary.wait_for("SELECT count(*) > 0 FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')")

    @property
    def servers(self) -> Sequence["Server"]:
        """See ``Hosts``."""
        return self._servers

    @property
    def primary(self) -> "Server":
        """See ``Hosts``."""
        return self._primary

    @property
    def promotion(self) -> str:
        """See ``Hosts``."""
        return "standbys are promoted here, at once: no Patroni"

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
        """Promote the standby that has most; the primary must be dead or hang. Return the new primary.

        As Patroni and CloudNativePG do it: of standbys of which any one is enough, only some have the last commit.
        """
        standbys = [each for each in self.servers if each is not self._primary and each.running]
        chosen = max(standbys, key=Server.received)
        self.promote(chosen)
        return chosen

    def rejoin(self, *servers: Host) -> None:
        """Make these servers standbys of the primary, each from a new base backup; return when all stream."""
        dead = [each for each in self._servers if each in servers]
        for each in dead:
            each.kill()
            shutil.rmtree(each.folder)
            each.follow(self._primary)
            each.start()
        for each in dead:
            self._primary.wait_for(
                "SELECT count(*) > 0 FROM pg_stat_replication WHERE application_name = %s AND state = 'streaming'",
                each.name,
            )


class Server(Host):
    """One server in its data directory."""

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
        return f"host={self._group.sockets} port={primary.port} user=postgres application_name={self.name}"

    def start(self) -> None:
        """Start it and return when it answers."""
        self._run(as_postgres([str(programs() / "postgres"), "-D", str(self.folder)]))
        wait(self._answers, lambda: f"{self.name} does not start:\n{self.last_words()}")

    def kill(self) -> None:
        """SIGKILL everything of it."""
        super().kill()
        with suppress(FileNotFoundError):
            (self.folder / "postmaster.pid").unlink()

    def stop(self) -> None:
        """Shut it down fast: sessions are ended, a checkpoint is written."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(START_S)
            self._process = None

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

    def _write_settings(self) -> None:
        self._copy_tls("node-database.crt", "node-database.key")
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self._group.sockets),
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
        (self.folder / "pg_hba.conf").write_text("\n".join(HBA) + "\n")
        (self.folder / "pg_ident.conf").write_text("\n".join(IDENT) + "\n")
        for path in self.folder.iterdir():
            give(path)


def cluster(*, standbys: int, parent: Path | None = None) -> AbstractContextManager[Cluster]:
    """Give a running cluster in a new folder, of ``parent`` if given; nothing of it is left, however this ends."""
    return opened(lambda folder: Cluster(folder, standbys=standbys), parent)
