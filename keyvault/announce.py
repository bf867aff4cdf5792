"""What the server tells people about: changes of power, in a sentence each, after they are in the ledger.

It decides nothing and holds no payload: whoever wants to know more asks the server, or reads the ledger.
"""

from collections.abc import Iterator, Sequence

from keyvault.core.approvals import Voice
from keyvault.core.due import keys_near_rotation
from keyvault.core.errors import NotFound
from keyvault.core.events import (
    BallotCast,
    CharterChanged,
    Event,
    FreezeChanged,
    KeyDestroyed,
    ProposalMade,
    SignatureEscalated,
    SignatureIssued,
    SignatureRefused,
    TermStarted,
)
from keyvault.core.ids import KeyId, UnixMillis
from keyvault.core.proposals import Outcome, Proposal, short
from keyvault.core.state import State
from keyvault.core.statements import Action, decode_statement, proposal_id_of
from keyvault.notify import Notice

_SAID = {
    Voice.APPROVE: "proposal.approved",
    Voice.REJECT: "proposal.rejected",
    Voice.VETO: "proposal.vetoed",
    Voice.REVOKE: "proposal.revoked",
}


def announcements(first: int, events: Sequence[Event], state: State) -> Iterator[Notice]:
    """Yield what is worth telling of facts that were just appended, the first at index ``first``."""
    for index, event in enumerate(events, first):
        if not isinstance(event, SignatureRefused | TermStarted):
            yield from _of(index, event, state)


def _of(index: int, event: Event, state: State) -> Iterator[Notice]:
    match event:
        case ProposalMade() | SignatureEscalated():
            name, said = proposal_id_of(event.statement), decode_statement(event.statement)
            yield _notice(state, "proposal.made", name, said.summary(), event.at, index, said.action)
        case BallotCast():
            proposal = _known(state, event.proposal)
            text = f"{event.member} says {event.voice} to proposal {short(event.proposal)}: {_summary(proposal)}"
            action = None if proposal is None else proposal.statement.action
            yield _notice(state, _SAID[event.voice], event.proposal, text, event.at, index, action)
        case SignatureIssued():
            if event.proposal:
                yield _executed(state, event.proposal, event.at, index)
        case FreezeChanged():
            what = f"{event.scope} {event.name}".strip()
            kind, text = (
                ("freeze.set", f"Frozen: {what}.") if event.frozen else ("freeze.lifted", f"No longer frozen: {what}.")
            )
            yield _notice(state, kind, event.proposal, text, event.at, index, None)
        case CharterChanged():
            loud = Action.BREAK_GLASS if event.break_glass else None
            text = f"Charter version {event.version} is in force{', by BREAK GLASS' if event.break_glass else ''}."
            yield _notice(state, "charter.changed", event.proposal, text, event.at, index, loud)
        case KeyDestroyed():
            text = f"Version {event.version} of key {event.key} is destroyed."
            yield _notice(state, "key.destroyed", event.proposal, text, event.at, index, None)
        case _:
            name = getattr(event, "proposal", b"")
            if name:
                yield _executed(state, name, event.at, index)


def expired(state: State, since: UnixMillis, now: UnixMillis) -> Iterator[Notice]:
    """Yield what expired after ``since`` and until ``now``."""
    for proposal in (*state.proposals.open.values(), *state.proposals.closed.values()):
        ended = proposal.outcome in (Outcome.OPEN, Outcome.EXPIRED)
        if ended and since < proposal.statement.expires_at <= now:
            text = f"Nobody may approve any more: {proposal.statement.summary()}"
            action, at = proposal.statement.action, proposal.statement.expires_at
            yield _notice(state, "proposal.expired", proposal.id, text, at, proposal.index, action)


def rotations_due(state: State, now: UnixMillis, told: set[tuple[KeyId, int]]) -> Iterator[Notice]:
    """Yield the keys that are due for rotation, or soon will be, each once; ``told`` remembers them."""
    for key in keys_near_rotation(state, now):
        if (key.key, key.version) in told or key.rotate_by is None:
            continue
        told.add((key.key, key.version))
        days = (key.rotate_by - now) // 86_400_000
        when = f"in {days} days" if days > 0 else "now"
        yield Notice(
            kind="key.rotation-due",
            enclave=state.enclave,
            subject=f"enclaves/{state.enclave}/keys/{key.key}/versions/{key.version}",
            summary=f"Version {key.version} of key {key.key} is due for rotation {when}.",
            at_ms=now,
            ledger_index=0,
            loud=days <= 0,
        )


def _executed(state: State, name: bytes, at: UnixMillis, index: int) -> Notice:
    proposal = _known(state, name)
    action = None if proposal is None else proposal.statement.action
    return _notice(state, "proposal.executed", name, f"Done: {_summary(proposal)}", at, index, action)


def _known(state: State, name: bytes) -> Proposal | None:
    try:
        return state.proposals.find(name)
    except NotFound:
        return None


def _summary(proposal: Proposal | None) -> str:
    return "" if proposal is None else proposal.statement.summary()


def _notice(  # the facts of a notice
    state: State, kind: str, name: bytes, summary: str, at: UnixMillis, index: int, action: Action | None
) -> Notice:
    return Notice(
        kind=kind,
        enclave=state.enclave,
        subject=f"enclaves/{state.enclave}/proposals/{name.hex()}",
        summary=summary,
        at_ms=at,
        ledger_index=index,
        loud=action in (Action.BREAK_GLASS, Action.LEAVE_QUARANTINE),
    )
