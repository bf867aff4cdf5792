"""Several keyvault nodes over PostgreSQL servers, on this machine: for demos, benchmarks and tests.

Each node has its own folder with a token and a copy of the ledger, and is a process of its own. The tokens are copies
of one: how keys come to several real tokens is not shown here.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path

from keyvault.cli.pki import issue
from keyvault.client import AsyncClient, Credentials, KeyvaultRpcError
from keyvault.core.errors import KeyvaultError
from keyvault.core.events import Event
from keyvault.core.ids import EnclaveName
from keyvault.demo.history import HistoryBroken
from keyvault.demo.hosts import DATABASE, Host, Hosts
from keyvault.demo.postgres_programs import free_port
from keyvault.demo.scratch import command
from keyvault.ledger import codec
from keyvault.ledger.archive import audit
from keyvault.store.anchor import Anchor
from keyvault.store.base import Head
from keyvault.store.postgres.migrate import migrate
from keyvault.store.postgres.store import open_store
from keyvault.store.sqlite import open_store as open_file

_OURS = os.pathsep.join(filter(None, (str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH"))))
"""A node runs the code that starts it, whatever else is installed."""
KEYVAULT = (sys.executable, "-m", "keyvault")
WAIT_S = 60
_POLL_S = 0.02
_BATCH = 5_000


class NodeFailed(KeyvaultError):
    """A node did not do what was asked of it."""


class Node:
    """One server in its folder. ``conninfo`` is how it reaches the database."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """What people call it."""
        return self.folder.name

    @property
    def address(self) -> str:
        """Where it is called."""
        return f"127.0.0.1:{self.port}"

    @property
    def config(self) -> Path:
        """Its configuration."""
        return self.folder / "keyvault.toml"

    @property
    def ledger(self) -> Path:
        """Its own copy of the ledger."""
        return self.folder / "ledger.db"

    @property
    def log(self) -> Path:
        """What its servers said, all runs one after the other."""
        return self.folder / "server.log"

    @property
    def running(self) -> bool:
        """Whether its process lives, if only stopped."""
        return self._server is not None and self._server.poll() is None

    @property
    def pid(self) -> int:
        """The process id of its server."""
        return self._process().pid

    def start(self, program: tuple[str, ...] = KEYVAULT) -> None:
        """Start its server; it does not serve yet."""
        with self.log.open("ab") as log:
            self._server = subprocess.Popen(  # noqa: S603  our own program, our own arguments
                (*program, "serve", "--config", str(self.config)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,  # where a guard looks for it
                env={**os.environ, "PYTHONPATH": _OURS},
                start_new_session=True,  # Ctrl-C is for the caller, which ends its servers itself
            )

    def pause(self) -> None:
        """SIGSTOP the server, as a machine that hangs. Its workers, which have nothing to do, go on."""
        self._process().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT the server."""
        self._process().send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL the server and wait for its end; its workers end with it."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None

    def stop(self) -> int:
        """SIGTERM the server and return its exit status."""
        self._process().terminate()
        return self.ended()

    def ended(self) -> int:
        """Return its exit status once it ended."""
        status = self._process().wait(WAIT_S)
        self._server = None
        return status

    def said(self, event: str) -> list[dict[str, object]]:
        """Return all lines of its log about this event."""
        if not self.log.exists():
            return []
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            with suppress(ValueError):
                fields = json.loads(line)
                if isinstance(fields, dict) and fields.get("event") == event:
                    found.append(fields)
        return found

    def leads_in(self) -> int:
        """Return the newest epoch that it said it leads in; 0 if none."""
        return max((int(str(each["epoch"])) for each in self.said("leading")), default=0)

    def _process(self) -> "subprocess.Popen[bytes]":
        if self._server is None:
            raise NodeFailed(f"{self.name} does not run")
        return self._server


class Nodes:
    """The nodes of one enclave."""

    def __init__(
        self,
        folder: Path,
        prepared: Path,
        postgres: Hosts,
        *,
        count: int = 3,
        enclave: str = "hot",
        database: str = DATABASE,
        conninfo_of: Callable[[int], str] | None = None,
    ) -> None:
        """Make ``count`` nodes from the folder of a deployment that is not served; none of them runs.

        ``conninfo_of``: how each reaches the database, if not directly.
        """
        self.postgres = postgres
        self.enclave = enclave
        self.database = database
        self.nodes = [Node(folder / f"node-{number + 1}", free_port()) for number in range(count)]
        for number, node in enumerate(self.nodes):
            copy_deployment(prepared, node.folder)
            self._configure(node, postgres.conninfo(database=database) if conninfo_of is None else conninfo_of(number))
        migrate(postgres.admin_conninfo(database=database))
        postgres.create_roles()
        postgres.admit(enclave, database=database)
        admin = postgres.admin_conninfo(database=database)
        command("keyvault", "database", "load", "--conninfo", admin, "--config", str(self.nodes[0].config))
        for node in self.nodes[1:]:
            for file in node.folder.glob("ledger.db*"):
                file.unlink()

    def _configure(self, node: Node, conninfo: str) -> None:
        """Give the node a certificate of its own, and tell it of the database and the others."""
        own = issue(node.folder / "ca", "node", node.name, node.folder / "certs")
        others = [each for each in self.nodes if each is not node]
        names = [own.principal.replace(f"/node/{node.name}", f"/node/{each.name}") for each in others]
        text = node.config.read_text().replace("127.0.0.1:0", node.address)
        text = text.replace(f"certs/server-{self.enclave}.", f"certs/node-{node.name}.")
        section = f'[postgres]\nconninfo = "{conninfo}"\naddress = "{node.address}"\nnodes = {names}\n'
        section += f"peers = {[each.address for each in others]}\n"
        node.config.write_text(f"{text}\n{section}")

    @property
    def log_vkey(self) -> str:
        """What an auditor pins."""
        return (self.nodes[0].folder / "log.vkey").read_text().strip()

    def start(self) -> None:
        """Start all nodes."""
        for node in self.nodes:
            node.start()

    def close(self) -> None:
        """Kill what runs."""
        for node in self.nodes:
            node.kill()

    def head(self, server: Host | None = None) -> Mapping[str, object]:
        """Return epoch, holder, address and size of the ledger, as the primary or this server has them."""
        rows = (server or self.postgres.primary).execute(
            "SELECT epoch, holder, address, size FROM keyvault.head WHERE enclave = %s",
            self.enclave,
            database=self.database,
        )
        return dict(zip(("epoch", "holder", "address", "size"), rows[0], strict=True))

    def leader(self) -> Node | None:
        """Return the node that leads: the database has its address, and it says that it serves in this epoch."""
        head = self.head()
        found = [node for node in self.nodes if node.address == head["address"] and node.leads_in() == head["epoch"]]
        return found[0] if found else None

    async def until_leading(self, among: Callable[[Node], bool] = lambda _: True) -> Node:
        """Return the leader as soon as there is one that signs."""
        async with asyncio.timeout(WAIT_S):
            while True:
                leader = await asyncio.to_thread(self.leader)
                if leader is not None and among(leader):
                    return leader
                await asyncio.sleep(_POLL_S)

    async def until_all_can_lead(self) -> None:
        """Return when every node leads, or could: whoever breaks something before that measures their start."""
        async with asyncio.timeout(WAIT_S):
            for node in self.nodes:
                while not await self._can_lead(node):  # noqa: ASYNC110  what is waited for is in other processes
                    await asyncio.sleep(_POLL_S)

    async def _can_lead(self, node: Node) -> bool:
        try:
            async with self.client("admin-alice", node, deadline_s=2) as admin:
                return not (await admin.get_node()).obstacle
        except KeyvaultRpcError:
            return False

    def client(self, identity: str = "bot-demo", *only: Node, deadline_s: float = 60) -> AsyncClient:
        """Return the SDK with the addresses of all nodes, or of those that are named."""
        return AsyncClient(
            [node.address for node in only or self.nodes],
            self.credentials(identity),
            enclave=self.enclave,
            deadline_s=deadline_s,
            expected_log_vkey=self.log_vkey,
        )

    def credentials(self, identity: str) -> Credentials:
        """Return the certificate of ``bot-demo`` or the like."""
        folder = self.nodes[0].folder
        certificate = folder / "certs" / f"{identity}.crt"
        return Credentials.from_files(folder / "ca" / "ca.crt", certificate, certificate.with_suffix(".key"))

    def audited(self, folder: Path) -> list[Event]:
        """Return the facts of the shared ledger, after an offline audit of a copy of it in this folder.

        Raises HistoryBroken if the audit finds anything wrong.
        """
        path = folder / "audited.db"
        for file in folder.glob("audited.db*"):
            file.unlink()
        events = self._copy(path)
        report = audit(path, log_vkey=self.log_vkey)
        if not report.ok:
            raise HistoryBroken(f"the audit of the shared ledger finds {report.problems}")
        return events

    def _copy(self, path: Path) -> list[Event]:
        anchor = Anchor(path.with_name("nothing"))
        conninfo = self.postgres.conninfo(database=self.database)
        with (
            closing(open_store(conninfo, EnclaveName(self.enclave), anchor, synchronous=False)) as shared,
            closing(open_file(path, create=True)) as file,
        ):
            epoch, head = file.acquire_term("audit"), shared.head()
            entries = [
                entry
                for start in range(0, head.size, _BATCH)
                for entry in shared.read_entries(start, min(_BATCH, head.size - start))
            ]
            file.append(epoch=epoch, expected=file.head(), entries=entries, new=Head(size=len(entries), root=head.root))
            for size, note in shared.checkpoints():
                if size <= head.size:
                    file.put_checkpoint(epoch=epoch, size=size, note=note)
        return [codec.decode(entry.body) for entry in entries]


def copy_deployment(original: Path, folder: Path) -> None:
    """Make the same deployment in a new folder, its keys and ledger included. The original must not be served."""
    shutil.copytree(original, folder, ignore=shutil.ignore_patterns("*.lock.*", "port", "server.log"))
    settings = folder / "token" / "softhsm2.conf"
    settings.write_text(settings.read_text().replace(str(original), str(folder)))  # SoftHSM wants a full path
