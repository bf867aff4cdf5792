"""What people are told of an enclave's life, from the facts of a real one."""

from keyvault.announce import announcements, expired, rotations_due
from keyvault.core.approvals import Voice
from keyvault.core.ids import KeyId, UnixMillis
from keyvault.core.statements import Action
from keyvault.ledger import codec
from keyvault.notify import Notice
from tests.engine.world import World, opened_world
from tests.worlds import NOW, ballot, escalate_digest, key_parameters, propose, statement

_DAY_MS = 86_400_000


def _told(world: World, first: int = 0) -> list[Notice]:
    events = [codec.decode(body) for body in world.medium.bodies[first:]]
    return list(announcements(first, events, world.enclave.state))


async def test_each_step_of_a_proposal_is_told() -> None:
    """Making, approving and doing are a notice each, about the same proposal, and ordinary answers are none."""
    async with opened_world() as world:
        await world.sign("a1")
        told = _told(world)
        assert [notice.kind for notice in told] == ["proposal.made", "proposal.approved", "proposal.executed"]
        assert len({notice.subject for notice in told}) == 1
        assert told[0].summary.startswith("Create key signer")
        assert told[1].summary.startswith("bob says approve to proposal")
        assert [notice.ledger_index for notice in told] == [2, 3, 4]
        assert not any(notice.loud for notice in told)


async def test_freezes_and_escalations_are_told() -> None:
    """A freeze, its lifting, a request that waits, a veto, and an approved signature are told by their own kinds."""
    async with opened_world(rule=escalate_digest()) as world:
        first = len(world.medium.bodies)
        await world.admin(Action.FREEZE, {"scope": "enclave", "name": ""}, nonce="01")
        await world.admin(Action.THAW, {"scope": "enclave", "name": ""}, nonce="02")
        asked = (await world.sign("a1")).event
        await world.enclave.cast(ballot(asked.statement, world.bob))  # type: ignore[union-attr]  # it was escalated
        await world.sign("a1")
        vetoed = (await world.sign("a2")).event
        await world.enclave.cast(ballot(vetoed.statement, world.bob, Voice.VETO))  # type: ignore[union-attr]  # as above
        kinds = [notice.kind for notice in _told(world, first)]
    assert kinds == [
        "proposal.made",
        "freeze.set",
        "proposal.made",
        "proposal.approved",
        "freeze.lifted",
        "proposal.made",
        "proposal.approved",
        "proposal.executed",
        "proposal.made",
        "proposal.vetoed",
    ]


async def test_what_expires_is_told_once() -> None:
    """A proposal that nobody approved in time is told in the look in which its time ended, and in no other."""
    async with opened_world() as world:
        said = statement(world.enclave.state, Action.KEY_CREATE, key_parameters("other"), expires_at=NOW + 1_000)
        await world.enclave.propose(propose(said, world.alice))
        state = world.enclave.state
        looks = [list(expired(state, UnixMillis(NOW + at), UnixMillis(NOW + at + 600))) for at in (0, 600, 1_200)]
    assert [[notice.kind for notice in look] for look in looks] == [[], ["proposal.expired"], []]


async def test_a_key_that_is_due_is_told_once() -> None:
    """Two weeks before its cryptoperiod ends a key is told of, once; one without a cryptoperiod never is."""
    async with opened_world() as world:
        await world.admin(Action.KEY_CREATE, key_parameters("hot-2", cryptoperiod_days=30), nonce="01")
        told: set[tuple[KeyId, int]] = set()
        state = world.enclave.state
        early = list(rotations_due(state, UnixMillis(NOW + 15 * _DAY_MS), told))
        looks = [list(rotations_due(state, UnixMillis(NOW + 17 * _DAY_MS), told)) for _ in range(2)]
    assert early == []
    assert [[(notice.kind, notice.subject) for notice in look] for look in looks] == [
        [("key.rotation-due", "enclaves/hot/keys/hot-2/versions/1")],
        [],
    ]
