"""Servers of a pair in folders of their own, as processes, each with a copy of one token."""

import asyncio
import subprocess
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path

from keyvault.cli.pki import issue
from keyvault.client import AsyncClient, Credentials, MemberKey, Proposal
from keyvault.core.events import Event
from keyvault.core.proposals import Outcome
from keyvault.demo.bot import until
from keyvault.demo.nodes import KEYVAULT, WAIT_S, Node, copy_deployment
from keyvault.demo.postgres_programs import free_port
from keyvault.ledger import codec
from keyvault.ledger.archive import audit, open_archive

SERVES = "serving"


class PairNode(Node):
    """One server of a pair."""

    principal = ""

    def start(self, program: tuple[str, ...] = KEYVAULT, *, stand_after_epoch: int = 0) -> None:
        """Start its server; it does not serve yet."""
        stand = ("--stand-after-epoch", str(stand_after_epoch)) if stand_after_epoch else ()
        with self.log.open("ab") as log:
            self._server = subprocess.Popen(
                (*program, "serve", "--config", str(self.config), *stand),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def throw_away(self) -> None:
        """Delete its ledger."""
        for file in self.folder.glob("ledger.db*"):
            file.unlink()


class Servers:
    """Two servers; the first has a ledger, whose members named nobody."""

    def __init__(self, folder: Path, prepared: Path) -> None:
        self.first, self.second = nodes = [PairNode(folder / f"kv-{each}", free_port()) for each in "ab"]
        for node in nodes:
            copy_deployment(prepared, node.folder)
            node.principal = issue(node.folder / "ca", "node", node.name, node.folder / "certs").principal
        for node, peer in (nodes, reversed(nodes)):
            text = node.config.read_text().replace("127.0.0.1:0", node.address)
            text = text.replace("certs/server-hot.", f"certs/node-{node.name}.")
            pair = f'[pair]\naddress = "{node.address}"\nlog_vkey = "log.vkey"\n'
            pair += f'[[peer]]\nnode = "{peer.principal}"\naddress = "{peer.address}"\n'
            node.config.write_text(f"{text}\n{pair}")
        self.second.throw_away()

    def close(self) -> None:
        """Kill what runs."""
        for node in (self.first, self.second):
            node.kill()

    def client(self, name: str = "bot-demo", *only: PairNode, deadline_s: float = 60) -> AsyncClient:
        """Return the SDK with the addresses of both, or of those that are named."""
        ca, certs = self.first.folder / "ca" / "ca.crt", self.first.folder / "certs"
        credentials = Credentials.from_files(ca, certs / f"{name}.crt", certs / f"{name}.key")
        addresses = [node.address for node in only or (self.first, self.second)]
        return AsyncClient(addresses, credentials, enclave="hot", deadline_s=deadline_s)

    def admin(self, node: PairNode) -> AbstractAsyncContextManager[AsyncClient]:
        """Return the SDK for an admin of this node alone."""
        return self.client("admin-alice", node)

    async def name(self, at: PairNode, leader: PairNode, *followers: PairNode) -> Proposal:
        """Let three members name who leads, on this node."""
        alice, bob, carol = map(self.member, ("alice", "bob", "carol"))
        async with self.admin(at) as admin:
            async with asyncio.timeout(WAIT_S):
                while not await self._is_level(admin, followers):
                    pass
            proposal = await admin.set_pair(
                leader.principal,
                [each.principal for each in followers],
                reason="a test",
                signer=alice,
                approvers=[bob, carol],
            )
        assert proposal.outcome is Outcome.EXECUTED
        return proposal

    @staticmethod
    async def _is_level(admin: AsyncClient, followers: tuple[PairNode, ...]) -> bool:
        """Whether the node that is asked knows that all of these, itself aside, have what it has; or it stands."""
        enclave, node = await admin.get_enclave(), await admin.get_node()
        known = {peer.node: None if peer.obstacle else peer.position for peer in node.peers}
        stands = enclave.pair is not None and enclave.pair.stands
        return stands or all(known.get(each.principal, 0) is not None for each in followers)

    def member(self, name: str) -> MemberKey:
        """Return a member's approval key."""
        return MemberKey.from_file(name, self.first.folder / "members" / f"{name}.key")

    async def position(self, node: PairNode) -> int:
        """Return how many entries it has."""
        async with self.client("admin-alice", node) as admin:
            return (await admin.get_node()).position

    async def start(self) -> None:
        """Start both; the first leads alone."""
        for node in (self.first, self.second):
            node.start()
        await until(lambda: bool(self.first.said("leading") and self.second.said(SERVES)))

    async def pair_up(self) -> None:
        """Let the second follow the first, by members' word."""
        await self.name(self.first, self.first, self.second)

    async def stand(self, node: PairNode) -> None:
        """Start a server that was ended, to stand."""
        epoch = max(int(str(each["epoch"])) for server in (self.first, self.second) for each in server.said("leading"))
        led = len(node.said("leading"))
        node.start(stand_after_epoch=epoch)
        await until(lambda: len(node.said("leading")) > led)

    def audited(self, node: PairNode) -> list[Event]:
        """Return the facts in the file of a server that does not run, after an offline audit."""
        report = audit(node.ledger, log_vkey=(node.folder / "log.vkey").read_text().strip())
        assert report.ok, report.problems
        with closing(open_archive(node.ledger)) as archive:
            return [codec.decode(row.body) for row in archive.rows()]
