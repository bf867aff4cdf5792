"""What the tests of the governor share: statements, members' words, and what stands in the ledger."""

import hashlib
from dataclasses import replace

from keyvault.core.approvals import Voice
from keyvault.core.charter import Charter, Duty, Threshold
from keyvault.core.events import (
    Event,
    SignatureEscalated,
)
from keyvault.core.policy import Policy, Verdict
from keyvault.core.proposals import Outcome, Proposal
from keyvault.core.quorum import parse_quorum
from keyvault.core.statements import Action, Statement
from keyvault.engine.sequencer import Recorded
from keyvault.ledger.codec_policy import encode_policy
from tests.engine.world import World
from tests.worlds import (
    BOT,
    Person,
    allow_digest,
    ballot,
    charter,
    key_parameters,
    propose,
    statement,
)

DAY_MS = 24 * 3_600_000
DELAY_MS = 3_600_000
EVERYTHING = {"scope": "enclave", "name": ""}


def said(
    world: World, action: Action, parameters: dict[str, str], *, by: str = "alice", nonce: str = "aa"
) -> Statement:
    """Return a statement of now."""
    return statement(
        world.enclave.state, action, parameters, requester=by, nonce=nonce, expires_at=world.clock.at + 2 * DAY_MS
    )


def key_wanted(world: World, name: str = "other", **more: str) -> Statement:
    return said(world, Action.KEY_CREATE, key_parameters(name) | more)


def facts(world: World, kind: type[Event]) -> list[int]:
    """Return the places of the facts of a kind."""
    return [place for place, event in enumerate(world.decoded()) if isinstance(event, kind)]


def delayed(*persons: Person) -> Charter:
    """Return a charter in which a rotation waits an hour."""
    slow = Threshold(duty=Duty.KEY_ROTATE, quorum=parse_quorum("1 of admins"), delay_ms=DELAY_MS)
    return charter(*persons, thresholds={Duty.KEY_ROTATE: slow})


async def asked_members(world: World, request_id: str, *, digest: bytes = b"d" * 32) -> Proposal:
    """Let the bot ask for what needs approval."""
    answer = await world.sign(request_id, digest=digest)
    assert isinstance(answer.event, SignatureEscalated)
    proposal = world.enclave.state.proposals.of_request(BOT, answer.event.request.request_id)
    assert proposal is not None
    return proposal


async def approve(world: World, proposal: Proposal, by: Person | None = None, voice: Voice = Voice.APPROVE) -> Proposal:
    return await world.enclave.cast(ballot(proposal.statement_bytes, by or world.bob, voice))


def the_same(first: Recorded, *others: Recorded) -> bool:
    """Say whether all are one and the same fact."""
    return all(other == first for other in others)


def tighter(present: Policy) -> Policy:
    """Return the next policy, which denies what nobody asks for."""
    deny = replace(allow_digest("nothing", "never"), verdict=Verdict.DENY)
    return replace(present, version=present.version + 1, rules=(*present.rules, deny))


async def publish(world: World, wanted: Policy) -> None:
    """Let alice publish a policy that only takes away."""
    parameters = {
        "policy_sha256": hashlib.sha256(encode_policy(wanted)).hexdigest(),
        "version": str(wanted.version),
        "replay_sha256": "none",
    }
    asked = said(world, Action.POLICY_PUBLISH, parameters)
    done = await world.enclave.propose(propose(asked, world.alice, policy=wanted, document=encode_policy(wanted)))
    assert done.outcome is Outcome.EXECUTED
