"""What commands say about proposals: one JSON object, or lines for people, and what to type next.

What a server sends may have been written by anybody, also by whoever wants a signature; ``printable`` makes it
harmless.
"""

import hashlib
from collections.abc import Mapping

from keyvault.cli.output import JsonValue, emit, fields, printable, time_text
from keyvault.client import Proposal
from keyvault.core.approvals import Voice
from keyvault.core.proposals import Outcome

SHORT_CHARS = 12
"""Hex digits of a proposal's name for people: 48 bits, far more than a list of proposals can confuse."""
_GROUP_CHARS = 4


def short_name(proposal_id: str) -> str:
    """Return the first digits of a proposal's name, as commands take them."""
    return proposal_id[:SHORT_CHARS]


def spoken(proposal_id: str) -> str:
    """Return the same digits in groups, to be compared by voice."""
    return _grouped(short_name(proposal_id))


def _grouped(digits: str) -> str:
    return " ".join(digits[start : start + _GROUP_CHARS] for start in range(0, len(digits), _GROUP_CHARS))


def transport_key_text(der: bytes) -> str:
    """Return what people compare of a transport key."""
    sha256 = hashlib.sha256(der).hexdigest()
    return (
        f"Transport key, SHA-256, to be compared with what the node shows (keyvault token offer):\n  {_grouped(sha256)}"
    )


def emit_proposal(proposal: Proposal, **more: JsonValue) -> None:
    """Print a proposal as the result of a command. ``more`` stands beside it in JSON."""
    text = f"{told(proposal)}\n{next_step(proposal)}".rstrip()
    emit({"proposal": document(proposal), **more}, lambda: text)


def document(proposal: Proposal) -> dict[str, JsonValue]:
    """Return a proposal for JSON; values are as the server sent them."""
    said = proposal.said
    return {
        "name": proposal.name,
        "id": proposal.id,
        "short": short_name(proposal.id),
        "state": proposal.outcome.value,
        "action": said.action.value,
        "parameters": dict(said.parameters),
        "summary": said.summary(),
        "requester": said.requester,
        "policy_version": said.policy_version,
        "quorum": proposal.quorum,
        "approved_by": list(proposal.approved_by),
        "ballots": [
            {"member": each.member, "voice": each.voice.value, "at_ms": each.at, "counts": each.counts}
            for each in proposal.ballots
        ],
        "create_time_ms": proposal.created_at,
        "expire_time_ms": said.expires_at,
        "approved_time_ms": proposal.approved_at,
        "due_time_ms": proposal.due_at,
        "vetoed_before": proposal.vetoed_before,
        "ledger_index": proposal.ledger_index,
        "closed_ledger_index": proposal.closed_index,
    }


def told(proposal: Proposal) -> str:
    """Return how a proposal stands, for people."""
    said = proposal.said
    return fields(
        (
            ("proposal", f"{spoken(proposal.id)}  ({standing(proposal)})"),
            ("asks", printable(said.summary())),
            ("asked by", printable(said.requester)),
            ("needs", _needs(proposal)),
            ("approved by", printable(", ".join(proposal.approved_by)) or "nobody yet"),
            ("against it", printable(_against(proposal))),
            ("carried out", _due(proposal)),
            ("expires", time_text(said.expires_at) if proposal.outcome is Outcome.OPEN else ""),
            ("before", "PREVIOUSLY VETOED: the same was asked for and vetoed" if proposal.vetoed_before else ""),
        )
    )


def standing(proposal: Proposal) -> str:
    """Return in a few words how a proposal stands."""
    match proposal.outcome:
        case Outcome.EXECUTED:
            return f"carried out, entry {proposal.closed_index}"
        case Outcome.VETOED:
            return "vetoed, for good"
        case Outcome.EXPIRED:
            return "expired"
        case Outcome.VOID:
            return "void: policy or charter changed, or its request was refused"
        case Outcome.OPEN:
            return "open" if proposal.approved_at is None else "approved, not carried out yet"


def next_step(proposal: Proposal) -> str:
    """Return what to do about an open proposal, as commands; nothing for one that has ended."""
    name = short_name(proposal.id)
    if proposal.outcome is not Outcome.OPEN:
        return ""
    if _ends_first(proposal):
        return "\nApproved too late for its delay: propose it anew."
    if proposal.approved_at is not None:
        return f"\nWait for it:  keyvault proposals watch {name}\nStop it:      keyvault approve {name} --veto"
    return f"\nNext, as another member:  keyvault approve {name}"


def row(proposal: Proposal) -> tuple[str, ...]:
    """Return a proposal as a row of a table; see HEADER."""
    return (
        short_name(proposal.id),
        standing(proposal),
        printable(proposal.said.requester.split("/", 3)[-1]),
        printable(proposal.said.summary()),
        printable(proposal.quorum),
        printable(", ".join(proposal.approved_by)),
        time_text(proposal.said.expires_at)[:16],
    )


HEADER = ("proposal", "stands", "asked by", "asks", "needs", "approved by", "expires (UTC)")


def approval_needed(details: Mapping[str, str]) -> str:
    """Return what a signature waits for: ``proposal`` (a resource name), ``quorum`` and ``summary`` of the error."""
    proposal_id = details["proposal"].rpartition("/")[2]
    lines = fields(
        (
            ("proposal", spoken(printable(proposal_id))),
            ("needs", printable(details["quorum"])),
            ("would", " ".join(map(printable, details["summary"].split("\n")))),
        )
    )
    return f"{lines}\n\nNext, as a member:  keyvault approve {short_name(printable(proposal_id))}"


def _needs(proposal: Proposal) -> str:
    besides = "" if proposal.approved_by and proposal.said.requester in proposal.approved_by else " besides the asker"
    return printable(f"{proposal.quorum}{besides}") if proposal.quorum else "nobody may do it any more"


def _against(proposal: Proposal) -> str:
    words = {Voice.REJECT: "rejected", Voice.VETO: "vetoed", Voice.REVOKE: "took the approval back"}
    return ", ".join(f"{each.member} {words[each.voice]}" for each in proposal.ballots if each.voice in words)


def _due(proposal: Proposal) -> str:
    if proposal.outcome is not Outcome.OPEN or proposal.due_at is None or proposal.approved_at is None:
        return ""
    if proposal.due_at == proposal.approved_at:
        return "as soon as the same request comes again" if proposal.subject else "at the enclave's next look"
    if _ends_first(proposal):
        return f"NEVER: it expires before its delay is over, at {time_text(proposal.due_at)}"
    return f"at {time_text(proposal.due_at)}, unless somebody vetoes it"


def _ends_first(proposal: Proposal) -> bool:
    """Return whether the proposal expires before it may be carried out."""
    return proposal.due_at is not None and proposal.said.expires_at <= proposal.due_at
