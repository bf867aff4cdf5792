"""A node's token gets the ledger's keys, tells what it has, and loses what is destroyed."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pytest

from keyvault.core.errors import Malformed, Reason, Refused, Unavailable
from keyvault.core.events import BallotCast, ChangeRefused, KeyCreated, KeyProved, KeySealed, TokenJoined
from keyvault.core.ids import KeyId, Principal
from keyvault.core.keys import KeyVersion, Signature
from keyvault.core.proposals import Outcome, Proposal
from keyvault.core.statements import Action
from keyvault.engine.copies import Proof
from keyvault.engine.installer import Installer
from keyvault.store.memory import Fault
from tests.engine.governing import DAY_MS, facts, key_wanted
from tests.engine.world import World, folded, opened_world, restart, settle
from tests.software_token import SoftwareToken
from tests.worlds import ballot, key_parameters, propose

KV2 = Principal("spiffe://test.local/node/kv-2")
SIGNER = KeyId("signer")


class Second:
    """The token of another node, and what brings it up to date."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.token = SoftwareToken()
        self.reports: list[Sequence[Proof]] = []
        self.away = False
        self.installer = self.started()

    def started(self) -> Installer:
        """Return a new one, as after a restart of the node."""
        self.installer = Installer(served=self.world.enclave, token=self.token, own=KV2, report=self._report)
        return self.installer

    async def _report(self, proofs: Sequence[Proof]) -> None:
        if self.away:
            raise Unavailable("nobody leads")
        self.reports.append(proofs)
        await self.world.enclave.report(KV2, proofs)

    async def join(self, nonce: str = "11") -> Proposal:
        """Let members join this token."""
        der = await self.token.transport_public_key()
        parameters = {
            "node": KV2,
            "transport_key_sha256": hashlib.sha256(der).hexdigest(),
            "strategy": "kwp",
            "reason": "a test",
        }
        return await self.world.admin(Action.TOKEN_JOIN, parameters, nonce, document=der)

    def has(self, key: KeyVersion) -> bool:
        return self.token.has(key.token_object_id)


def _key(world: World, name: str = "signer", version: int = 1) -> KeyVersion:
    return world.enclave.state.keys[KeyId(name)].versions[version]


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.KEPT])
async def test_a_key_is_sealed_in_the_append_that_creates_it(fault: Fault) -> None:
    """Whatever becomes of the leader, there is no key in the ledger that could have been sealed and is not."""
    async with opened_world(moves=True) as world:
        wanted = key_wanted(world)
        await world.enclave.propose(propose(wanted, world.alice))
        world.plug.pull(after=BallotCast, fault=fault)
        with suppress(Unavailable):
            await world.enclave.cast(ballot(wanted, world.bob))
        assert len(facts(world, KeyCreated)) == len(facts(world, KeySealed)) == 1 + (fault is Fault.KEPT)
        await restart(world)
        await world.enclave.govern()
        assert facts(world, KeySealed) == [place + 1 for place in facts(world, KeyCreated)]
        assert len(facts(world, KeySealed)) == 2
        assert folded(world) == world.enclave.state


async def test_without_transport_nothing_is_sealed() -> None:
    """In an enclave whose keys stay no key is wrapped."""
    async with opened_world() as world:
        assert facts(world, KeySealed) == []


async def test_a_token_that_joined_gets_every_key_and_says_so() -> None:
    """The second token signs with the same keys, log key included; the ledger has its proof, once."""
    async with opened_world(moves=True) as world:
        second = Second(world)
        await second.installer.look()
        assert "has not joined" in second.installer.obstacle
        assert (await second.join()).outcome is Outcome.EXECUTED
        assert len(facts(world, TokenJoined)) == 1
        await second.installer.look()
        assert second.installer.obstacle == ""
        assert second.has(_key(world))
        assert second.token.log_public_key == world.token.log_public_key
        assert world.enclave.state.tokens.proved_by(SIGNER, 1) == (KV2,)
        await second.started().look()
        assert len(facts(world, KeyProved)) == 1
        assert (await world.admin(Action.KEY_CREATE, key_parameters("other"), "22")).outcome is Outcome.EXECUTED
        await second.installer.look()
        assert second.has(_key(world, "other"))
        assert len(facts(world, KeyProved)) == 2
        assert folded(world) == world.enclave.state


async def test_a_token_with_another_wrapping_key_gets_nothing() -> None:
    """It has one from another enclave, or from before a new one: nothing of this ledger is unwrapped under it."""
    async with opened_world(moves=True) as world:
        second = Second(world)
        await second.token.create_wrapping_key()
        await second.join()
        await second.installer.look()
        assert "another wrapping key" in second.installer.obstacle
        assert not second.has(_key(world))
        assert facts(world, KeyProved) == []


async def test_a_rotated_key_follows() -> None:
    """The next version comes as the first did, and the one before stays."""
    async with opened_world(moves=True) as world:
        second = Second(world)
        await second.join()
        rotation = {"key": "signer", "version": "2", "initial": "ACTIVE", "wrapped_sha256": ""}
        assert (await world.admin(Action.KEY_ROTATE, rotation, "33")).outcome is Outcome.EXECUTED
        await second.installer.look()
        assert [second.has(_key(world, version=version)) for version in (1, 2)] == [True, True]


async def test_a_destroyed_version_is_destroyed_in_every_token() -> None:
    """Each node destroys its copy when it folds the fact; again after a restart, and it never comes back."""
    async with opened_world(moves=True) as world:
        second = Second(world)
        await second.join()
        await second.installer.look()
        destroy = {"key": "signer", "version": "1", "after_days": "7"}
        assert (await world.admin(Action.KEY_DESTROY, destroy, "44")).outcome is Outcome.EXECUTED
        world.clock.at += 8 * DAY_MS
        await world.enclave.govern()
        key = _key(world)
        assert second.has(key)
        for _ in range(2):
            await second.started().look()
            assert (second.has(key), second.installer.obstacle) == (False, "")
        assert second.token.destroyed == [key.token_object_id]


async def test_a_fault_costs_a_pause_and_is_told() -> None:
    """A token that is away, and a leader that is not there, hinder the node until they are back; nothing is lost."""
    async with opened_world(moves=True) as world:
        second = Second(world)
        await second.join()
        second.token.away = True
        await second.installer.look()
        assert "told to be away" in second.installer.obstacle
        second.token.away, second.away = False, True
        await second.installer.look()
        assert "nobody leads" in second.installer.obstacle
        assert second.has(_key(world))
        assert facts(world, KeyProved) == []
        second.away = False
        await second.installer.look()
        assert (second.installer.obstacle, len(facts(world, KeyProved))) == ("", 1)


async def test_one_damaged_blob_holds_nothing_else_up() -> None:
    """A version whose blob does not open is named; the others are installed and proved."""
    async with opened_world(moves=True) as world:
        second = Second(world)
        await second.join()
        await world.admin(Action.KEY_CREATE, key_parameters("other"), "55")
        sealed = world.enclave.state.tokens.sealed
        whole = sealed[SIGNER, 1]
        sealed[SIGNER, 1] = replace(whole, blob=bytes(len(whole.blob)))
        await second.installer.look()
        assert second.installer.obstacle == "key signer version 1: UNWRAP_REFUSED"
        assert (second.has(_key(world)), second.has(_key(world, "other"))) == (False, True)
        sealed[SIGNER, 1] = whole
        await second.installer.look()
        assert (second.installer.obstacle, second.has(_key(world))) == ("", True)


async def test_a_report_is_worth_what_it_proves() -> None:
    """Who has not joined, a signature over something else, and another token's proof are refused and not recorded."""
    async with opened_world(moves=True) as world:
        second = Second(world)
        nothing = Proof(key=SIGNER, version=1, signature=Signature(value=b"s" * 64, recovery_id=0))
        with pytest.raises(Refused, match="no token"):
            await world.enclave.report(KV2, [nothing])
        await second.join()
        with pytest.raises(Refused, match="did not prove"):
            await world.enclave.report(KV2, [nothing])
        await second.installer.look()
        (told,) = second.reports[0]
        before = len(world.decoded())
        await world.enclave.report(KV2, [told, told])
        assert len(world.decoded()) == before
        second.token = SoftwareToken()
        await second.join("66")
        with pytest.raises(Refused, match="did not prove"):
            await world.enclave.report(KV2, [told])
        with pytest.raises(Refused):
            await world.enclave.report(KV2, [replace(told, key=KeyId("nothing"))])
        assert len(facts(world, KeyProved)) == 1


async def test_a_leader_without_the_wrapping_key_gives_none_away() -> None:
    """The join waits, approved, until a leader's token can carry it out."""
    async with opened_world(moves=True) as world:
        second = Second(world)
        kept, world.token.wrapping_key = world.token.wrapping_key, b""
        proposal = await second.join()
        assert proposal.outcome is Outcome.OPEN
        world.token.wrapping_key = b"k" * 32
        await world.enclave.govern()
        assert facts(world, TokenJoined) == []
        world.token.wrapping_key = kept
        await world.enclave.govern()
        await settle()
        assert len(facts(world, TokenJoined)) == 1


async def test_several_facts_stand_together_or_not_at_all() -> None:
    """If one of them cannot be written, none is: no key without its blob."""
    async with opened_world(moves=True) as world:
        before = len(world.decoded())
        refused = ChangeRefused(
            at=world.clock.now(),
            epoch=world.enclave.state.epoch,
            principal=KV2,
            subject="s",
            proposal=b"",
            reason=Reason.STATE_MISMATCH,
            explanation="e",
        )
        with pytest.raises(Malformed):
            await world.enclave._sequencer.commit_alone(lambda: (refused, replace(refused, proposal=b"short")))
        assert len(world.decoded()) == before
        await world.enclave._sequencer.commit_alone(lambda: (refused, replace(refused, subject="t")))
        assert facts(world, ChangeRefused) == [before, before + 1]
