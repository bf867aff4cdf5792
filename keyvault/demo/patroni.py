"""PostgreSQL servers whose primary Patroni moves, over etcd: for demos, benchmarks and tests.

The configuration is the one that operators are given, ``helm/patroni.yaml``; only what belongs to one machine is put
into it here: addresses, folders, certificates, sizes, and no watchdog, which would restart the machine. Everything
listens on loopback and wants a certificate of this folder's authority: etcd, Patroni's own API, and PostgreSQL.

A server is killed here as a host is lost, its Patroni included: one that lives would start PostgreSQL again, or hand
over at once.
"""

import json
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

import yaml

from keyvault.demo.guard import end_all
from keyvault.demo.hosts import AUDITOR_ROLE, CONNECT_S, DATABASE, IDENT, SERVER_ROLE, Host, Hosts, opened
from keyvault.demo.patroni_programs import EXAMPLE, NoPatroni, Programs, environment, patroni_programs
from keyvault.demo.postgres import cluster
from keyvault.demo.postgres_programs import START_S, NoPostgres, free_port, give, wait

_COUNT = 3
_POLL_S = 0.2
SMALL = {
    "shared_buffers": "32MB",
    "min_wal_size": "32MB",
    "max_wal_size": "1GB",
    "dynamic_shared_memory_type": "mmap",  # in its folder: a killed server leaves what is elsewhere
}
"""What fits several servers onto one machine."""


_DEMO_HBA = f"hostssl all postgres,{SERVER_ROLE},{AUDITOR_ROLE} 127.0.0.1/32 cert map=tls"
_THERE = re.compile(r"10\.0\.0\.\d+/\d+")


class PatroniCluster(Hosts):
    """A primary and two standbys, each under a Patroni of its own."""

    def __init__(self, folder: Path) -> None:
        """Make and start everything in an empty folder; return when both standbys are synchronous."""
        super().__init__(folder)
        self._programs = patroni_programs()
        self._settings = settings()
        self._etcd = Etcd(folder / "etcd", self, self._programs.etcd)
        programs = self._programs.write_folder(folder / "programs")
        self._members = [Member(folder / f"pg-{number}", self, self._programs, programs) for number in range(_COUNT)]
        self._etcd.start()
        for each in self._members:
            each.create(self._etcd.address)
            each.start()
        self._primary = self._search(among=self._members)
        self._until_synchronous()
        self._primary.execute(f"CREATE DATABASE {DATABASE}", database="postgres")

    @property
    def servers(self) -> Sequence["Member"]:
        """See ``Hosts``."""
        return self._members

    @property
    def primary(self) -> "Member":
        """The server that takes writes; while there is none, wait for one."""
        if not (self._primary.running and self._primary.takes_writes()):
            self._primary = self._search(among=self._members)
        return self._primary

    @property
    def etcd(self) -> str:
        """Where etcd listens."""
        return self._etcd.address

    @property
    def promotion(self) -> str:
        """See ``Hosts``."""
        timing = ", ".join(f"{name} {self._settings[name]} s" for name in ("ttl", "loop_wait", "retry_timeout"))
        return f"{self._programs.versions} ({timing})"

    def fail_over(self) -> "Member":
        """Wait until Patroni has promoted another server; return it."""
        self._primary = self._search(among=[each for each in self._members if each is not self._primary])
        return self._primary

    def rejoin(self, *servers: Host) -> None:
        """Start these servers, if they are dead; return when Patroni has made both others synchronous standbys."""
        for each in self._members:
            if each in servers and not each.running:
                each.start()
        self._until_synchronous()

    def close(self) -> None:
        """See ``Hosts``."""
        super().close()
        self._etcd.kill()

    def _search(self, *, among: Sequence["Member"]) -> "Member":
        ends = time.monotonic() + START_S
        while time.monotonic() < ends:
            for each in among:
                if each.running and each.takes_writes():
                    return each
            time.sleep(_POLL_S)
        words = "\n".join(each.last_words() for each in among)
        raise NoPostgres(f"Patroni has promoted nobody:\n{words}")

    def _until_synchronous(self) -> None:
        wait(self._all_synchronous, lambda: f"not all standbys are synchronous:\n{self.primary.last_words()}")

    def _all_synchronous(self) -> bool:
        """Whether Patroni would promote either standby: it notes that in etcd, later than PostgreSQL waits for them."""
        return self.primary.members().count(("quorum_standby", "streaming")) == _COUNT - 1


class Member(Host):
    """One server and its Patroni, in a folder of their own."""

    def __init__(self, folder: Path, group: Hosts, patroni: Programs, postgres: Path) -> None:
        """``postgres``: the folder of PostgreSQL's programs."""
        super().__init__(folder, group)
        self._patroni = patroni
        self._postgres = postgres
        self._api_port = free_port()

    @property
    def api(self) -> str:
        """Where its Patroni listens."""
        return f"127.0.0.1:{self._api_port}"

    @property
    def config(self) -> Path:
        """What its Patroni reads."""
        return self.folder / "patroni.yaml"

    def create(self, etcd: str) -> None:
        """Write its configuration: the one that we ship, with what belongs to this machine."""
        self._make_folder()
        self._copy_tls("node-database.crt", "node-database.key", "node-client.crt", "node-client.key")
        document = yaml.safe_load(EXAMPLE.read_text())
        for path, value in self._own(etcd, document["postgresql"]["pg_hba"]).items():
            put(document, path, value)
        document["postgresql"]["pg_ident"] = list(IDENT)  # the common name of a role's own certificate is the role
        document["postgresql"]["parameters"] |= SMALL
        self.config.write_text(yaml.safe_dump(document))
        self.config.chmod(0o600)
        give(self.config)

    def start(self) -> None:
        """Start its Patroni; PostgreSQL comes later, if Patroni sees fit."""
        self._run(self._patroni.patroni(self.config), environment())

    def members(self) -> list[tuple[str, str]]:
        """Return role and state of each server as its Patroni sees them; nothing if that does not answer."""
        context = ssl.create_default_context(cafile=self.folder / "ca.crt")
        context.load_cert_chain(self.folder / "node-client.crt", self.folder / "node-client.key")
        asking = HTTPSConnection(self.api, timeout=CONNECT_S, context=context)
        try:
            asking.request("GET", "/cluster")
            return [(each["role"], each["state"]) for each in json.loads(asking.getresponse().read())["members"]]
        except (OSError, HTTPException):
            return []
        finally:
            asking.close()

    def _own(self, etcd: str, hba: list[str]) -> Mapping[str, object]:
        authority = str(self.folder / "ca.crt")
        server = [str(self.folder / f"node-database.{kind}") for kind in ("crt", "key")]
        client = [str(self.folder / f"node-client.{kind}") for kind in ("crt", "key")]
        roles = ("superuser", "replication", "rewind")
        return {
            "name": self.name,
            "restapi.listen": self.api,
            "restapi.connect_address": self.api,
            "restapi.cafile": authority,
            **dict(zip(("restapi.certfile", "restapi.keyfile"), server, strict=True)),
            "ctl.cacert": authority,
            **dict(zip(("ctl.certfile", "ctl.keyfile"), client, strict=True)),
            "etcd3.hosts": [etcd],
            "etcd3.cacert": authority,
            **dict(zip(("etcd3.cert", "etcd3.key"), client, strict=True)),
            "postgresql.listen": f"127.0.0.1:{self.port}",
            "postgresql.connect_address": f"127.0.0.1:{self.port}",
            "postgresql.data_dir": str(self.folder / "data"),
            "postgresql.bin_dir": str(self._postgres),
            "postgresql.pgpass": str(self.folder / "pgpass"),
            **{f"postgresql.authentication.{role}.sslrootcert": authority for role in roles},
            **{f"postgresql.authentication.{role}.sslcert": client[0] for role in roles},
            **{f"postgresql.authentication.{role}.sslkey": client[1] for role in roles},
            "postgresql.parameters.unix_socket_directories": str(self._group.sockets),
            "postgresql.parameters.ssl_ca_file": authority,
            "postgresql.parameters.ssl_cert_file": server[0],
            "postgresql.parameters.ssl_key_file": server[1],
            "postgresql.pg_hba": [*map(_here, hba), _DEMO_HBA],
            "watchdog.mode": "off",
        }


class Etcd:
    """One etcd, which is enough where everything stands on one machine anyway."""

    def __init__(self, folder: Path, group: Hosts, etcd: Path) -> None:
        self.folder = folder
        self._port = free_port()
        self._peer_port = free_port()
        self._group = group
        self._program = etcd
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where Patroni finds it."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it and return when it takes connections."""
        self.folder.mkdir(mode=0o700)
        with (self.folder.with_name("etcd.log")).open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  etcd's own program
                [str(self._program), *self._flags()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )
        wait(self._answers, lambda: f"etcd does not start: {self.folder.with_name('etcd.log').read_text()[-2_000:]}")

    def kill(self) -> None:
        """SIGKILL it."""
        if self._process is not None:
            end_all(self.folder)
            self._process.wait()
            self._process = None

    def _flags(self) -> list[str]:
        tls = self._group.folder / "tls"
        own, peer = f"https://{self.address}", f"https://127.0.0.1:{self._peer_port}"
        flags = {
            "--name": "etcd",
            "--data-dir": str(self.folder / "data"),
            "--listen-client-urls": own,
            "--advertise-client-urls": own,
            "--listen-peer-urls": peer,
            "--initial-advertise-peer-urls": peer,
            "--initial-cluster": f"etcd={peer}",
        }
        for prefix in ("", "peer-"):
            flags |= {
                f"--{prefix}cert-file": str(tls / "node-database.crt"),
                f"--{prefix}key-file": str(tls / "node-database.key"),
                f"--{prefix}trusted-ca-file": str(self._group.authority / "ca.crt"),
            }
        return [*(f"{name}={value}" for name, value in flags.items()), "--client-cert-auth", "--peer-client-cert-auth"]

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise NoPatroni(f"etcd ended: {self.folder.with_name('etcd.log').read_text()[-2_000:]}")
        with socket.socket() as trying:
            return trying.connect_ex(("127.0.0.1", self._port)) == 0


def settings() -> Mapping[str, Any]:
    """Return what we ship for all servers of a cluster."""
    dcs: Mapping[str, Any] = yaml.safe_load(EXAMPLE.read_text())["bootstrap"]["dcs"]
    return dcs


def put(document: dict[str, Any], path: str, value: object) -> None:
    """Change what stands at this path. Raises NoPatroni if nothing does: the example says what there is to change."""
    *parents, last = path.split(".")
    at: Any = document
    for name in parents:
        at = at.get(name) if isinstance(at, dict) else None
    if not isinstance(at, dict) or last not in at:
        raise NoPatroni(f"{EXAMPLE} has no {path}")
    at[last] = value


def _here(line: str) -> str:
    """Return a line of pg_hba with this machine's addresses, and the names that are in our certificates."""
    return f"{_THERE.sub('127.0.0.1/32', line)} map={'admin' if line.startswith('local') else 'tls'}"


def patroni_cluster(*, parent: Path | None = None) -> AbstractContextManager[PatroniCluster]:
    """Give a running cluster in a new folder, of ``parent`` if given; nothing of it is left, however this ends."""
    return opened(PatroniCluster, parent)


def replicated(*, by_patroni: bool, parent: Path | None = None) -> AbstractContextManager[Hosts]:
    """Give a primary and two synchronous standbys, with Patroni or without."""
    return patroni_cluster(parent=parent) if by_patroni else cluster(standbys=_COUNT - 1, parent=parent)
