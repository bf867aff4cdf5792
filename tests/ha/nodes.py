"""Several keyvault nodes over real PostgreSQL servers on this machine, what breaks them, and what must hold then."""

import asyncio
import hashlib
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from shutil import rmtree

from keyvault.cli.pki import issue
from keyvault.client import AsyncClient
from keyvault.core.events import Event, SignatureIssued, TermStarted
from keyvault.core.ids import EnclaveName
from keyvault.demo.postgres import Cluster, cluster
from keyvault.hsm.create import create_empty_token
from keyvault.ledger import codec
from keyvault.ledger.archive import audit
from keyvault.store.anchor import Anchor
from keyvault.store.postgres.migrate import migrate
from keyvault.store.postgres.store import open_store
from tests.deployment import KEYVAULT, Deployment, copy_of, run_keyvault
from tests.e2e import desk

WAIT_S = 60
_POLL_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """One acknowledged request: what came back, and when it was asked and answered (monotonic seconds)."""

    request_id: str
    asked_at: float
    answered_at: float
    index: int
    signature: bytes


@dataclass(slots=True)
class Load:
    """What a bot had signed, and what went wrong."""

    signings: list[Signing] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def longest_gap_s(self, since: float) -> float:
        """Return the longest time without an answer, from ``since`` on."""
        moments = [since, *sorted(each.answered_at for each in self.signings if each.answered_at > since)]
        return max((after - before for before, after in pairwise(moments)), default=float("inf"))


class Nodes:
    """The nodes of one enclave, each with its own token and copy of the ledger."""

    def __init__(
        self, folder: Path, prepared: Deployment, postgres: Cluster, count: int, *, empty_tokens: bool = False
    ) -> None:
        """Make ``count`` nodes from a prepared deployment; none of them runs.

        Their tokens are copies of the first one's folder; with ``empty_tokens`` all but the first begin with nothing.
        """
        self.postgres = postgres
        self.nodes: list[Deployment] = []
        for number in range(count):
            node = copy_of(prepared, folder / f"node-{number}")
            node.port = _free_port()
            self._configure(node, number, count)
            if empty_tokens and number:
                rmtree(node.dir / "token")
                create_empty_token(node.dir / "token", "hot")
            self.nodes.append(node)
        self._load()
        for node in self.nodes[1:]:
            for file in node.dir.glob("ledger.db*"):
                file.unlink()

    def _configure(self, node: Deployment, number: int, count: int) -> None:
        """Give the node a certificate of its own, and tell it of the database and the others."""
        own = issue(node.dir / "ca", "node", f"kv-{number}", node.dir / "certs")
        others = [own.principal.replace(f"kv-{number}", f"kv-{each}") for each in range(count) if each != number]
        text = node.config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{node.port}")
        text = text.replace("certs/server-hot.", f"certs/node-kv-{number}.")
        node.config.write_text(
            f"""{text}
[postgres]
conninfo = "{self.postgres.conninfo()}"
address = "127.0.0.1:{node.port}"
nodes = {others}
"""
        )

    def _load(self) -> None:
        migrate(self.postgres.admin_conninfo())
        self.postgres.create_roles()
        loaded = run_keyvault(
            "database", "load", "--conninfo", self.postgres.admin_conninfo(), "--config", str(self.nodes[0].config)
        )
        assert loaded.returncode == 0, loaded.stderr

    def start(self, node: Deployment) -> None:
        """Start a node; it does not serve yet."""
        with node.log.open("ab") as log:
            node.process = subprocess.Popen(
                (*KEYVAULT, "serve", "--config", str(node.config)), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def signal(self, node: Deployment, number: signal.Signals) -> None:
        """Send a signal to a node's server."""
        assert node.process is not None
        node.process.send_signal(number)

    def kill(self, node: Deployment) -> None:
        """SIGKILL a node's server and wait for its end; its workers end with it."""
        assert node.process is not None
        node.process.kill()
        node.process.wait()
        node.process = None

    def stop(self, node: Deployment) -> int:
        """SIGTERM a node's server and return its exit status."""
        assert node.process is not None
        node.process.terminate()
        status = node.process.wait(WAIT_S)
        node.process = None
        return status

    def close(self) -> None:
        """Kill what runs."""
        for node in self.nodes:
            if node.process is not None and node.process.poll() is None:
                node.process.send_signal(signal.SIGCONT)
                self.kill(node)

    def leader(self) -> Deployment | None:
        """Return the node that leads, as the database has it."""
        rows = self.postgres.primary.execute("SELECT address FROM keyvault.head")
        addresses = {f"127.0.0.1:{node.port}": node for node in self.nodes}
        return addresses.get(str(rows[0][0]))

    def client(self, name: str = "bot-demo", *only: Deployment, deadline_s: float = 60) -> AsyncClient:
        """Return the SDK with the addresses of all nodes, or of those that are named."""
        targets = [f"127.0.0.1:{node.port}" for node in only or self.nodes]
        return AsyncClient(targets, desk.credentials(self.nodes[0], name), enclave="hot", deadline_s=deadline_s)

    async def until_leading(self, among: Callable[[Deployment], bool] = lambda _: True) -> Deployment:
        """Return the leader as soon as there is one that signs."""
        async with asyncio.timeout(WAIT_S):
            while True:
                leader = await asyncio.to_thread(self.leader)
                if leader is not None and among(leader) and '"leading"' in leader.log.read_text():
                    return leader
                await asyncio.sleep(_POLL_S)

    def audited(self, folder: Path) -> list[Event]:
        """Return the facts of the shared ledger, after an offline audit of a copy of it that found nothing wrong."""
        from keyvault.store.sqlite import open_store as open_file  # noqa: PLC0415  two of that name

        path = folder / "audited.db"
        anchor = Anchor(folder / "nothing")
        with (
            closing(open_store(self.postgres.conninfo(), EnclaveName("hot"), anchor, synchronous=False)) as shared,
            closing(open_file(path, create=True)) as file,
        ):
            entries, head = shared.read_entries(0, 1_000_000), shared.head()
            epoch = file.acquire_term("audit")
            file.append(epoch=epoch, expected=file.head(), entries=entries, new=head)
            for size, note in shared.checkpoints():
                file.put_checkpoint(epoch=epoch, size=size, note=note)
        report = audit(path, log_vkey=self.nodes[0].log_vkey)
        assert report.ok, report.problems
        return [codec.decode(entry.body) for entry in entries]


@contextmanager
def nodes(
    folder: Path, prepared: Deployment, *, count: int = 3, standbys: int = 1, empty_tokens: bool = False
) -> Iterator[Nodes]:
    """Give running nodes over running PostgreSQL servers."""
    with cluster(standbys=standbys) as postgres:
        made = Nodes(folder, prepared, postgres, count, empty_tokens=empty_tokens)
        try:
            for node in made.nodes:
                made.start(node)
            yield made
        finally:
            made.close()


async def sign_forever(client: AsyncClient, load: Load, name: str, done: asyncio.Event, *, in_flight: int = 8) -> None:
    """Sign one digest after the other, some at once, until ``done``."""

    async def one(lane: int) -> None:
        number = 0
        while not done.is_set():
            request_id = f"{name}-{lane}-{number}"
            number += 1
            asked_at = time.monotonic()
            try:
                digest = hashlib.sha256(request_id.encode()).digest()
                signed = await client.sign_digest("signer", digest, request_id=request_id)
            except Exception as error:  # noqa: BLE001  whatever a caller sees is what the test is about
                load.errors.append(f"{request_id}: {error!r}")
                continue
            load.signings.append(
                Signing(
                    request_id=request_id,
                    asked_at=asked_at,
                    answered_at=time.monotonic(),
                    index=signed.ledger_index,
                    signature=signed.signature,
                )
            )

    await asyncio.gather(*(one(lane) for lane in range(in_flight)))


# What must hold of any history, whatever broke ----------------------------------------------------------------------


def check_history(load: Load, events: list[Event]) -> None:
    """Check all named laws, in time linear in the history."""
    acknowledged_stands_once(load, events)
    epochs_are_monotone(events)
    real_time_order(load)


def acknowledged_stands_once(load: Load, events: list[Event]) -> None:
    """Each acknowledged request is in the ledger once, at its index, with the very bytes that were released."""
    signed = [
        (each.request.request_id, index, each.signature.value)
        for index, each in enumerate(events)
        if isinstance(each, SignatureIssued)
    ]
    assert len({request_id for request_id, _, _ in signed}) == len(signed)
    by_index = {index: (request_id, signature) for request_id, index, signature in signed}
    for each in load.signings:
        assert by_index.get(each.index) == (each.request_id, each.signature), each


def epochs_are_monotone(events: list[Event]) -> None:
    """Epochs never fall, and change with a TermStarted only."""
    epoch = 0
    for index, each in enumerate(events):
        if isinstance(each, TermStarted):
            assert each.epoch > epoch, index
            epoch = each.epoch
        elif index:
            assert each.epoch == epoch, index


def real_time_order(load: Load) -> None:
    """What was answered before something else was asked for stands before it."""
    by_index = sorted(load.signings, key=lambda each: each.index)
    earliest_answer_after = float("inf")
    for each in reversed(by_index):
        assert each.asked_at < earliest_answer_after, (
            each
        )  # nothing later in the ledger was answered before it was asked
        earliest_answer_after = min(earliest_answer_after, each.answered_at)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
