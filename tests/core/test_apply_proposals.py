"""The fold of proposals and what carries them out: what follows, and what leaves nothing behind."""

import hashlib
from dataclasses import replace

import pytest

from keyvault.core import limits
from keyvault.core.decide import decide_proposal
from keyvault.core.errors import Malformed, Reason, Refused
from keyvault.core.events import (
    ProposalMade,
    SignatureIssued,
    SignatureRefused,
)
from keyvault.core.execution import KeyToMake, carry_out
from keyvault.core.ids import UnixMillis
from keyvault.core.policy import ANY, Limit, Rule
from keyvault.core.proposals import Outcome
from keyvault.core.statements import Action, FreezeScope
from keyvault.ledger.codec_policy import encode_policy
from tests.core.governed import PUBLIC_KEY, Governed, is_open
from tests.worlds import (
    BOT,
    NOW,
    allow_digest,
    escalate_digest,
    key_parameters,
    people,
    policy,
    propose,
)

FEW = Limit(id="few", keys=ANY, window_ms=60_000, count_max=2)
WRAPPED = b"w" * 424
VERSION = {"key": "signer", "version": "1"}


def _world() -> Governed:
    return Governed(*people("alice", "bob"), rules=policy(allow_digest(), limits=(FEW,)))


# Proposals as facts -----------------------------------------------------------------------------------------------


def test_a_refused_change_is_evidence_and_nothing_else() -> None:
    """Recording a refusal changes no state but what time it is, and how long the ledger is."""
    world = _world()
    proposal = world.propose(Action.KEY_CREATE, key_parameters())
    before = world.replayed()
    with pytest.raises(Refused):
        world.cast(proposal, "alice")
    before.size = world.state.size
    assert before == world.state


def test_a_change_dated_before_a_fact_that_came_first_is_corrupt() -> None:
    """For proposals time never goes back: not for asking, not for approving, not for carrying out."""
    world = _world()
    proposal = world.propose(Action.KEY_CREATE, key_parameters())
    approved = world.approve_only(proposal, "bob")
    made = world.events[2]
    early = UnixMillis(NOW - 1)
    for event in (replace(approved, at=early), replace(world.events[3], at=early), replace(made, at=early)):
        assert "dated" in world.refuses(event, Reason.STATE_MISMATCH)


def test_the_same_proposal_is_not_made_twice() -> None:
    """A statement that was made, open or closed, opens nothing."""
    world = _world()
    proposal = world.propose(Action.KEY_CREATE, key_parameters())
    made = world.events[2]
    assert "made before" in world.refuses(made, Reason.STATE_MISMATCH)
    world.cast(proposal, "bob")
    world.refuses(made, Reason.STATE_MISMATCH)


def test_expired_proposals_make_room_and_take_nothing_along() -> None:
    """The next proposal or ballot ends what is past its time; what was approved for a signature is not cut off."""
    rules = policy(allow_digest(), escalate_digest())
    world = Governed(*people("alice", "bob", "carol"), rules=rules)
    world.key()
    old = world.propose(Action.KEY_CREATE, key_parameters("old"), expires_at=world.at + 1_000)
    approved = world.escalated("r1")
    waiting = world.escalated("r2", digest=b"e" * 32)
    world.cast(approved, "carol")
    signed = world.decide("r1")
    assert isinstance(signed, SignatureIssued)
    world.at += 24 * 3_600_000
    world.escalated("r3", digest=b"f" * 32)
    assert (old.outcome, waiting.outcome) == (Outcome.EXPIRED, Outcome.EXPIRED)
    assert is_open(approved)
    world.add(signed)  # decided in time, and the token took long
    assert approved.outcome is Outcome.EXECUTED
    assert world.replayed() == world.state


def test_an_approved_signature_that_nobody_fetched_ends_with_the_next_fact_that_is_alone() -> None:
    """Nothing is under way when a member speaks: then the time that is over ends it."""
    world = Governed(*people("alice", "bob", "carol"), rules=policy(allow_digest(), escalate_digest()))
    world.key()
    approved = world.escalated("r1")
    world.cast(approved, "carol")
    world.at += 24 * 3_600_000
    assert is_open(approved)
    other = world.propose(Action.KEY_CREATE, key_parameters("other"))
    assert approved.outcome is Outcome.EXPIRED
    world.cast(other, "bob")
    assert world.state.proposals.open == {}


def test_a_request_that_is_refused_ends_what_members_were_asked() -> None:
    """Nobody is left to approve a signature that will never be made."""
    world = Governed(*people("alice", "bob", "carol"), rules=policy(allow_digest(), escalate_digest()))
    world.key()
    asked = world.escalated("r1")
    world.cast(asked, "carol")
    world.propose(Action.FREEZE, {"scope": "key", "name": "signer"})
    refused = world.sign("r1")
    assert isinstance(refused, SignatureRefused)
    assert refused.reason is Reason.FROZEN
    assert asked.outcome is Outcome.VOID
    with pytest.raises(Refused) as late:
        world.cast(asked, "bob")
    assert late.value.reason is Reason.POLICY_CHANGED


def test_a_freeze_stands_for_its_scope_and_name() -> None:
    """Each scope is one entry of the state; thawing one leaves the others."""
    world = _world()
    world.key()
    for scope, name in [("enclave", ""), ("key", "signer"), ("principal", BOT), ("venue", "binance")]:
        world.propose(Action.FREEZE, {"scope": scope, "name": name})
    thaw = world.propose(Action.THAW, {"scope": "enclave", "name": ""})
    world.cast(thaw, "bob")
    assert world.state.frozen == {
        (FreezeScope.KEY, "signer"): "alice",
        (FreezeScope.PRINCIPAL, BOT): "alice",
        (FreezeScope.VENUE, "binance"): "alice",
    }


def test_one_member_s_freezes_leave_room_for_the_others() -> None:
    """I9: a member who froze as many names as one may still freezes keys and the enclave, and others freeze names."""
    world = _world()
    world.key()
    for number in range(limits.MEMBER_FREEZES_MAX):
        world.propose(Action.FREEZE, {"scope": "principal", "name": f"{BOT}-{number}"})
    for scope, name in (("principal", BOT), ("venue", "binance")):
        with pytest.raises(Refused, match=f"alice froze {limits.MEMBER_FREEZES_MAX}") as full:
            world.propose(Action.FREEZE, {"scope": scope, "name": name})
        assert full.value.reason is Reason.STATE_MISMATCH
    world.propose(Action.FREEZE, {"scope": "key", "name": "signer"})
    world.propose(Action.FREEZE, {"scope": "enclave", "name": ""})
    world.propose(Action.FREEZE, {"scope": "principal", "name": BOT}, by="bob")
    assert len(world.state.frozen) == limits.MEMBER_FREEZES_MAX + 3
    assert world.state.frozen[FreezeScope.PRINCIPAL, BOT] == "bob"
    thaw = world.propose(Action.THAW, {"scope": "principal", "name": f"{BOT}-0"})
    world.cast(thaw, "bob")
    world.propose(Action.FREEZE, {"scope": "venue", "name": "binance"})
    assert world.replayed() == world.state


@pytest.mark.parametrize(
    ("extra", "where"),
    [
        (replace(allow_digest(), id="again"), r"document\.rules\[1\]\.id: rule digests allows all that it allows"),
        (replace(allow_digest(), id="all", keys=ANY), r"document\.rules\[1\]\.keys: "),
    ],
)
def test_a_policy_with_findings_is_not_asked(extra: Rule, where: str) -> None:
    """What lint finds is refused when it is proposed, by place and with what would be right; nothing is recorded."""
    world = _world()
    before = len(world.events)
    present = world.state.policy
    with pytest.raises(Malformed, match=where):
        world.propose_policy(replace(present, version=2, rules=(*present.rules, extra)))
    assert len(world.events) == before


def test_a_policy_that_changes_nothing_is_not_asked() -> None:
    """One member cannot void what others wait for by publishing the policy in force anew; a ledger may hold it."""
    world = _world()
    waits = world.propose(Action.KEY_CREATE, key_parameters())
    same = replace(world.state.policy, version=2)
    with pytest.raises(Refused, match="changes nothing") as refused:
        world.propose_policy(same)
    assert (refused.value.reason, waits.outcome) == (Reason.STATE_MISMATCH, Outcome.OPEN)
    document = encode_policy(same)
    parameters = {"policy_sha256": hashlib.sha256(document).hexdigest(), "version": "2", "replay_sha256": "none"}
    asked = propose(world.said(Action.POLICY_PUBLISH, parameters), world.people["alice"])
    world.add(
        ProposalMade(
            at=world.now,
            epoch=world.state.epoch,
            statement=asked.statement,
            signature=asked.signature,
            document=document,
            policy=same,
        )
    )
    world.look()
    assert world.state.policy == same
    other = replace(same, version=3, limits=(replace(FEW, count_max=1),))
    assert world.propose_policy(other).outcome is Outcome.EXECUTED


def test_a_plan_is_made_before_anybody_is_asked() -> None:
    """What cannot be done at all is refused when it is asked for, and the plan for a key lacks its public key only."""
    world = _world()
    with pytest.raises(Refused) as refused:
        world.propose(Action.KEY_ENABLE, VERSION)
    assert refused.value.reason is Reason.KEY_NOT_FOUND
    proposal = world.propose(Action.KEY_CREATE, key_parameters())
    approved = world.approve_only(proposal, "bob")
    plan = carry_out(world.state, proposal.id, world.now)
    assert isinstance(plan, KeyToMake)
    assert plan.created(PUBLIC_KEY) == approved


def test_whoever_carries_a_statement_adds_nothing() -> None:
    """The principal that brings a proposal is not in its fact; only members' signatures count."""
    world = _world()
    said = world.said(Action.KEY_CREATE, key_parameters())
    command = propose(said, world.people["alice"])
    assert decide_proposal(world.state, command, NOW) == decide_proposal(
        world.state, replace(command, principal=BOT), NOW
    )
