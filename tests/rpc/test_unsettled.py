"""What a machine of a pair shows, over real mutual TLS, while its newest change is not confirmed everywhere."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from keyvault.client import Credentials
from keyvault.core.errors import Unavailable
from keyvault.core.events import Event, KeyCreated, KeySealed, SignatureIssued
from keyvault.core.ids import EnclaveName
from keyvault.core.proposals import Outcome
from keyvault.core.statements import Action
from keyvault.rpc.server import Identity, Membership, Server
from keyvault.v1 import (
    cluster_pb2,
    cluster_pb2_grpc,
    governance_pb2,
    governance_pb2_grpc,
    keys_pb2,
    keys_pb2_grpc,
    signing_pb2,
    signing_pb2_grpc,
)
from tests.client.scripted import make_credentials
from tests.engine.pair_world import Machine, PairWorld, node_name, paired, until
from tests.worlds import ballot, key_parameters, propose, statement

HOT = "enclaves/hot"
NEW = f"{HOT}/keys/other"


def _makes_a_key(event: Event) -> bool:
    return isinstance(event, KeyCreated | KeySealed)


@dataclass
class Asked:
    """Stubs of a machine's services, called by an admin; the generated types know blocking stubs only."""

    signing: Any
    keys: Any
    governance: Any
    cluster: Any

    def about_state(self, proposal: str) -> dict[str, Callable[[], Any]]:
        """Return every read of what changes make, by its name."""
        return {
            "GetPublicKey": lambda: self.signing.GetPublicKey(signing_pb2.GetPublicKeyRequest(name=NEW)),
            "GetKey": lambda: self.keys.GetKey(keys_pb2.GetKeyRequest(name=NEW)),
            "ListKeys": lambda: self.keys.ListKeys(keys_pb2.ListKeysRequest(parent=HOT)),
            "versions": lambda: self.keys.ListKeys(keys_pb2.ListKeysRequest(parent=NEW)),
            "GetProposal": lambda: self.governance.GetProposal(governance_pb2.GetProposalRequest(name=proposal)),
            "ListProposals": lambda: self.governance.ListProposals(
                governance_pb2.ListProposalsRequest(parent=HOT, include_closed=True)
            ),
            "WatchProposal": lambda: self.governance.WatchProposal(
                governance_pb2.GetProposalRequest(name=proposal)
            ).read(),
            "GetPolicy": lambda: self.governance.GetPolicy(governance_pb2.GetPolicyRequest(parent=HOT)),
            "GetCharter": lambda: self.governance.GetCharter(governance_pb2.GetCharterRequest(parent=HOT)),
            "ListFreezes": lambda: self.governance.ListFreezes(governance_pb2.ListFreezesRequest(parent=HOT)),
        }

    async def how_it_stands(self) -> keys_pb2.Enclave:
        """Return the enclave; fail unless the node says how it stands, too."""
        await self.cluster.GetNode(cluster_pb2.GetNodeRequest(parent=HOT))
        found: keys_pb2.Enclave = await self.keys.GetEnclave(keys_pb2.GetEnclaveRequest(name=HOT))
        return found


@asynccontextmanager
async def served(world: PairWorld, machine: Machine, folder: Path) -> AsyncIterator[Asked]:
    """Let a server stand before a machine's node."""
    admin: Credentials = make_credentials(folder, "admin", "alice")
    identity = Identity(
        certificate_chain=(folder / "server-local.crt").read_bytes(),
        private_key=(folder / "server-local.key").read_bytes(),
        client_ca=admin.ca,
    )
    server = Server(
        enclave=machine.node,
        clock=world.clock,
        identity=identity,
        listen="localhost:0",
        trust_domain="test.local",
        membership=Membership(
            node=machine.node,
            member=machine.terms,
            address=f"{machine.name}.test:7443",
            nodes=frozenset(link.node for link in machine.wires),
            enclave=EnclaveName("hot"),
            pair=machine.terms,
        ),
    )
    await server.start()
    credentials = grpc.ssl_channel_credentials(admin.ca, admin.private_key, admin.certificate)
    try:
        async with grpc.aio.secure_channel(f"localhost:{server.port}", credentials) as channel:
            yield Asked(
                signing=signing_pb2_grpc.SigningServiceStub(channel),
                keys=keys_pb2_grpc.KeyServiceStub(channel),
                governance=governance_pb2_grpc.GovernanceServiceStub(channel),
                cluster=cluster_pb2_grpc.ClusterServiceStub(channel),
            )
    finally:
        await server.stop(1)


async def _refused(asked: Asked, proposal: str) -> set[str]:
    """Return the names of the reads that are answered with UNAVAILABLE, and say why."""
    failed: dict[str, grpc.aio.AioRpcError] = {}
    for name, read in asked.about_state(proposal).items():
        try:
            await read()
        except grpc.aio.AioRpcError as error:
            failed[name] = error
    assert {error.code() for error in failed.values()} <= {grpc.StatusCode.UNAVAILABLE}, failed
    assert all("not confirmed by every machine of the pair yet" in str(error.details()) for error in failed.values())
    return set(failed)


async def _key_that_nobody_confirmed(world: PairWorld) -> str:
    """Let machine a make a key of which the others never hear; return the proposal that asked for it."""
    world.loses = _makes_a_key
    made = await world.govern("a", Action.KEY_CREATE, key_parameters("other"), "0c")
    assert made.outcome is Outcome.OPEN  # approved; what came of it nobody knows
    await until(lambda: not world["a"].node.leads and world["a"].state.size == world["a"].store.head().size)
    assert "other" in world["a"].state.keys
    return f"{HOT}/proposals/{made.id.hex()}"


async def test_a_key_that_nobody_confirmed_is_not_shown(tmp_path: Path) -> None:
    """Money that is sent there is lost if that machine burns; how the machine stands can be read."""
    async with paired(tmp_path) as world:
        proposal = await _key_that_nobody_confirmed(world)
        async with served(world, world["a"], tmp_path) as asked:
            assert await _refused(asked, proposal) == set(asked.about_state(proposal))
            assert (await asked.how_it_stands()).pair.leader == node_name("a")
            world.loses = None
            await until(lambda: world["a"].leads)
            assert await _refused(asked, proposal) == set()
            assert "other" in world["b"].state.keys


async def test_a_follower_shows_no_key_that_the_other_follower_lacks(tmp_path: Path) -> None:
    """It cannot know whether the leader will ever get it there."""
    async with paired(tmp_path, "abc") as world:
        world.spares.add(node_name("b"))
        proposal = await _key_that_nobody_confirmed(world)
        await world["a"].crash()
        assert "other" in world["b"].state.keys
        async with served(world, world["b"], tmp_path) as asked:
            assert await _refused(asked, proposal) == set(asked.about_state(proposal))


async def test_an_answer_that_nobody_confirmed_hides_no_key(tmp_path: Path) -> None:
    """So a follower goes on serving keys while its leader signs."""
    async with paired(tmp_path, "abc") as world:
        world.loses, world.spares = (lambda event: isinstance(event, SignatureIssued)), {node_name("b")}
        with pytest.raises(Unavailable):
            await world.sign("a", "r1")
        await until(lambda: "r1" in world.signatures("b"))
        assert world["b"].terms.intake.settled < world["b"].state.size
        async with served(world, world["b"], tmp_path) as asked:
            listed = await asked.keys.ListKeys(keys_pb2.ListKeysRequest(parent=HOT))
            assert [key.name.split("/")[3] for key in listed.keys] == ["signer"]


async def test_members_can_read_what_they_need_on_a_machine_that_stands(tmp_path: Path) -> None:
    """Its own last entries may vanish: who leads can be asked, read and decided there, and no key is shown before."""
    async with paired(tmp_path) as world:
        proposal = await _key_that_nobody_confirmed(world)
        await world["b"].crash()
        await world["a"].stop()
        await world.stand("a")
        said = statement(
            world["a"].state,
            Action.PAIR_SET,
            world.pair_parameters("a", "a"),
            nonce="0d",
            expires_at=world.clock.at + 3_600_000,
        )
        about_the_lead = await world["a"].node.propose(propose(said, world.alice))
        name = f"{HOT}/proposals/{about_the_lead.id.hex()}"
        async with served(world, world["a"], tmp_path) as asked:
            hidden = set(asked.about_state(proposal)) - {"ListProposals", "GetCharter"}
            assert await _refused(asked, proposal) == hidden
            listed = await asked.governance.ListProposals(
                governance_pb2.ListProposalsRequest(parent=HOT, include_closed=True)
            )
            assert [each.name for each in listed.proposals if not each.closed_ledger_index] == [name]
            assert proposal not in [each.name for each in listed.proposals]
            assert await _refused(asked, name) == hidden - {"GetProposal", "WatchProposal"}
            assert (await asked.how_it_stands()).pair.stands
            done = await world["a"].node.cast(ballot(said, world.bob))
            assert done.outcome is Outcome.EXECUTED
            await until(lambda: world["a"].leads)
            assert await _refused(asked, proposal) == set()


async def test_who_watches_a_proposal_on_a_follower_is_told_what_was_confirmed(tmp_path: Path) -> None:
    """The watch does not end because a change is not settled for a moment, and nothing is told before it is."""
    async with paired(tmp_path) as world:
        said = statement(
            world["a"].state,
            Action.KEY_CREATE,
            key_parameters("other"),
            nonce="0e",
            expires_at=world.clock.at + 3_600_000,
        )
        made = await world["a"].node.propose(propose(said, world.alice))
        await until(lambda: world["b"].terms.intake.settled > made.index)
        async with served(world, world["b"], tmp_path) as asked:
            watch = asked.governance.WatchProposal(
                governance_pb2.GetProposalRequest(name=f"{HOT}/proposals/{made.id.hex()}")
            )
            assert (await watch.read()).state == governance_pb2.Proposal.STATE_OPEN
            await world["a"].node.cast(ballot(said, world.bob))
            told = await watch.read()
            while told.state == governance_pb2.Proposal.STATE_OPEN:
                told = await watch.read()
            assert told.state == governance_pb2.Proposal.STATE_EXECUTED
            assert world["b"].terms.intake.settled > told.closed_ledger_index
