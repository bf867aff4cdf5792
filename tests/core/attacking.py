"""Worlds for attackers: who rules, what is asked, and where a no must stand in the ledger."""

from keyvault.core.approvals import EnvelopeSignature, Voice
from keyvault.core.charter import Charter, Duty, Threshold
from keyvault.core.errors import Reason
from keyvault.core.events import (
    BallotCast,
    ChangeRefused,
)
from keyvault.core.ids import MemberName
from keyvault.core.proposals import Proposal
from keyvault.core.quorum import parse_quorum
from tests.core.governed import Governed
from tests.worlds import (
    ADMIN,
    Person,
    allow_digest,
    charter,
    escalate_digest,
    people,
    policy,
)

ESCALATING = policy(allow_digest(), escalate_digest("2 of admins"))


def two_of_admins(*persons: Person, version: int = 1, delay_ms: int = 0) -> Charter:
    """Return a charter in which two admins besides the asker make keys and change the charter."""
    two = parse_quorum("2 of admins")
    thresholds: dict[Duty, str | Threshold] = {
        duty: Threshold(duty=duty, quorum=two, delay_ms=delay_ms) for duty in (Duty.KEY_CREATE, Duty.CHARTER)
    }
    return charter(*persons, version=version, thresholds=thresholds)


def world_of_two(delay_ms: int = 0) -> Governed:
    persons = people("alice", "bob", "carol", "dave")
    return Governed(*persons, rulers=two_of_admins(*persons, delay_ms=delay_ms))


def world_that_asks() -> Governed:
    world = Governed(*people("alice", "bob", "carol", "dave"), rules=ESCALATING)
    world.key()
    return world


def refused_in_ledger(world: Governed, reason: Reason, subject: str, proposal: bytes) -> None:
    """Assert that the last fact tells of the refusal."""
    last = world.events[-1]
    assert isinstance(last, ChangeRefused)
    assert (last.reason, last.subject, last.proposal, last.principal) == (reason, subject, proposal, ADMIN)
    assert last.explanation


def cast_of(world: Governed, proposal: Proposal, person: Person, signature: EnvelopeSignature) -> BallotCast:
    """Return an approval with whatever signature, as a forger writes it."""
    return BallotCast(
        at=world.now,
        epoch=world.state.epoch,
        proposal=proposal.id,
        member=MemberName(person.name),
        voice=Voice.APPROVE,
        signature=signature,
    )
