"""Somebody with root edits the database: tree, head and request index made to fit, checkpoints after it thrown away.

Recovery does not lead on it, and the audit names the entry. The forged facts themselves stand in
tests/core/test_governance_attacks.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from keyvault.core.approvals import Voice
from keyvault.core.charter import Charter, Duty
from keyvault.core.errors import Corrupt, Reason
from keyvault.core.events import (
    BallotCast,
    ChangeRefused,
    CharterChanged,
    Event,
    FreezeChanged,
    KeyCreated,
    ProposalMade,
    SignatureEscalated,
    SignatureIssued,
)
from keyvault.core.ids import MemberName, UnixMillis
from keyvault.core.statements import Action
from keyvault.engine.recovery import recover
from keyvault.ledger import codec
from keyvault.ledger.codec_policy import encode_policy
from keyvault.ledger.merkle import Tree, leaf_hash
from keyvault.ledger.verify import verify
from keyvault.store.base import Head
from keyvault.store.memory import MemoryMedium, MemoryStore
from tests.engine.governing import approve, asked_members, key_wanted, publish, said, tighter
from tests.engine.world import World, opened_world
from tests.worlds import Person, allow_digest, charter, escalate_digest, people, policy, propose


@dataclass
class Database:
    """The rows of a ledger in the hands of somebody who can write them."""

    medium: MemoryMedium
    events: list[Event]

    def place(self, kind: type[Event], *, last: bool = True) -> int:
        """Return where a fact of this kind stands."""
        places = [place for place, event in enumerate(self.events) if isinstance(event, kind)]
        return places[-1 if last else 0]

    def veto(self) -> int:
        """Return where the veto stands."""
        return next(
            n for n, each in enumerate(self.events) if isinstance(each, BallotCast) and each.voice is Voice.VETO
        )

    def proposal_of(self, word: bytes) -> int:
        """Return where the proposal stands whose statement has this word."""
        return next(
            n for n, each in enumerate(self.events) if isinstance(each, ProposalMade) and word in each.statement
        )

    def write(self, changed_at: int) -> MemoryMedium:
        """Return the medium with these facts, as good as it can be made without the log key."""
        bodies = [codec.encode(event) for event in self.events]
        keys = {codec.key_of(event): place for place, event in reversed(list(enumerate(self.events)))}
        signed = [(size, note) for size, note in self.medium.checkpoints if size <= changed_at]
        tree = Tree.of([leaf_hash(body) for body in bodies])
        return MemoryMedium(
            bodies=bodies,
            index={key: place for key, place in keys.items() if key is not None},
            head=Head(size=len(bodies), root=tree.root()),
            epoch=self.medium.epoch,
            checkpoints=signed,
            anchor=signed[-1][1] if signed else None,
        )


def change_voice(rows: Database) -> int:
    """Make an approval of a veto."""
    place = next(
        n for n, event in enumerate(rows.events) if isinstance(event, BallotCast) and event.voice is Voice.VETO
    )
    ballot = rows.events[place]
    assert isinstance(ballot, BallotCast)
    rows.events[place] = replace(ballot, voice=Voice.APPROVE)
    return place


def change_member(rows: Database) -> int:
    """Write an approval to somebody else's account."""
    place = rows.place(BallotCast)
    ballot = rows.events[place]
    assert isinstance(ballot, BallotCast)
    rows.events[place] = replace(ballot, member=MemberName("carol"))
    return place


def change_policy(rows: Database) -> int:
    """Put another policy under the statement that was approved."""
    place = next(n for n, event in enumerate(rows.events) if isinstance(event, ProposalMade) and event.policy)
    made, loose = rows.events[place], policy(allow_digest("signer", "everything"), version=2)
    assert isinstance(made, ProposalMade)
    rows.events[place] = replace(made, policy=loose, document=encode_policy(loose))
    return place


def change_statement(rows: Database) -> int:
    """Let a key that was asked for be another one, with words and all."""
    place = rows.proposal_of(b"other")
    made = rows.events[place]
    assert isinstance(made, ProposalMade)
    rows.events[place] = replace(made, statement=made.statement.replace(b"other", b"mines"))
    return place


def take_approval_out(rows: Database) -> int:
    """Let a key come about that nobody approved; the change itself is what does not follow."""
    place = rows.place(BallotCast)
    del rows.events[place]
    return next(n for n in range(place, len(rows.events)) if isinstance(rows.events[n], KeyCreated))


def repeat_approval(rows: Database) -> int:
    """Put in an approval for the second time."""
    place = rows.place(BallotCast, last=False)
    rows.events.insert(place + 1, rows.events[place])
    return place + 1


def thaw(rows: Database) -> int:
    """Turn a freeze into its opposite."""
    place = rows.place(FreezeChanged)
    freeze = rows.events[place]
    assert isinstance(freeze, FreezeChanged)
    rows.events[place] = replace(freeze, frozen=False)
    return place


def ask_an_easier_quorum(rows: Database) -> int:
    """Let a question to members say that one of them is enough."""
    place = rows.place(SignatureEscalated, last=False)
    asked = rows.events[place]
    assert isinstance(asked, SignatureEscalated)
    rows.events[place] = replace(asked, statement=asked.statement.replace(b"2 of admins", b"1 of admins"))
    return place


def forget_who_approved(rows: Database) -> int:
    """Let an escalated signature look like an ordinary one."""
    place = rows.place(SignatureIssued)
    issued = rows.events[place]
    assert isinstance(issued, SignatureIssued)
    rows.events[place] = replace(issued, proposal=b"", charter_sha256=b"")
    return place


def add_a_member(rows: Database) -> int:
    """Put in a change of the charter that nobody asked for."""
    last = rows.events[-1]
    coup = CharterChanged(
        at=last.at, epoch=last.epoch, version=2, break_glass=False, proposal=b"?" * 32, charter_sha256=bytes(32)
    )
    rows.events.append(coup)
    return len(rows.events) - 1


def date_back(rows: Database) -> int:
    """Let a change have happened before what led to it."""
    place = rows.place(KeyCreated)
    made = rows.events[place]
    assert isinstance(made, KeyCreated)
    rows.events[place] = replace(made, at=UnixMillis(made.at - 1))
    return place


EDITS: list[Callable[[Database], int]] = [
    change_voice,
    change_member,
    change_policy,
    change_statement,
    take_approval_out,
    repeat_approval,
    thaw,
    ask_an_easier_quorum,
    forget_who_approved,
    add_a_member,
    date_back,
]


def _rulers(*persons: Person) -> Charter:
    return charter(*persons, thresholds={Duty.KEY_CREATE: "1 of admins"})


async def _history(world: World) -> Database:
    """Return the ledger of an enclave in which everything happened that somebody could want to undo."""
    carol = world.people[2]
    vetoed = await world.enclave.propose(propose(key_wanted(world, "vetoed"), world.alice))
    await approve(world, vetoed, voice=Voice.VETO)
    asked = await asked_members(world, "r1")
    await approve(world, asked)
    await approve(world, asked, carol)
    await world.sign("r1")
    await publish(world, tighter(world.enclave.state.policy))
    wanted = await world.enclave.propose(propose(key_wanted(world, "other"), world.alice))
    await approve(world, wanted)
    await world.enclave.propose(propose(said(world, Action.FREEZE, {"scope": "enclave", "name": ""}), world.alice))
    await world.enclave.close()
    return Database(medium=world.medium, events=[codec.decode(body) for body in world.medium.bodies])


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
async def test_an_edited_row_is_found(edit: Callable[[Database], int]) -> None:
    """Whoever edits a row needs signatures that nobody gave: the server does not lead, the audit names the entry."""
    persons = people("alice", "bob", "carol")
    rule = escalate_digest("2 of admins")
    async with opened_world(rule=rule, rulers=_rulers(*persons), persons=persons) as world:
        rows = await _history(world)
        assert recover(MemoryStore(rows.write(len(rows.events)))).state == world.enclave.state
        place = edit(rows)
        medium = rows.write(min(place, 2))
        with pytest.raises(Corrupt, match=f"entry {place}") as corrupt:
            recover(MemoryStore(medium))
        assert corrupt.value.index == place
        report = verify(medium.bodies, medium.checkpoints)
        assert not report.ok
        assert report.problems[0].index == place


async def test_a_row_that_follows_all_the_same_is_found_by_the_checkpoint() -> None:
    """A veto that becomes a harmless refusal gives the ledger another root than the one that was signed."""
    persons = people("alice", "bob", "carol")
    async with opened_world(rule=escalate_digest("2 of admins"), persons=persons) as world:
        rows = await _history(world)
        place = next(
            n for n, event in enumerate(rows.events) if isinstance(event, BallotCast) and event.voice is Voice.VETO
        )
        veto = rows.events[place]
        rows.events[place] = ChangeRefused(
            at=veto.at,
            epoch=veto.epoch,
            principal=world.issued()[0].request.principal,
            subject="veto",
            proposal=b"",
            reason=Reason.NOT_AUTHORIZED,
            explanation="never happened",
        )
        medium = rows.write(len(rows.events))
        with pytest.raises(Corrupt, match="rewritten or cut"):
            recover(MemoryStore(medium))
        assert not verify(medium.bodies, medium.checkpoints).ok
