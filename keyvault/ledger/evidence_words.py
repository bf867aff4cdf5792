"""What a bundle of evidence shows, for people and as plain values."""

from collections.abc import Iterator
from datetime import UTC, datetime

from keyvault.core.approvals import Voice
from keyvault.core.events import (
    BallotCast,
    CharterChanged,
    Event,
    IncarnationStarted,
    KeyCreated,
    KeyDestroyed,
    KeyStateChanged,
    ProposalMade,
    SignatureEscalated,
    SignatureIssued,
    TokenJoined,
)
from keyvault.core.ids import UnixMillis
from keyvault.core.proposals import short
from keyvault.ledger.account import Account, Case, Demand, Done
from keyvault.ledger.evidence import Evidence

NOT_SHOWN = (
    "Not shown: that the ledger has nothing else about it that would have said no (a veto, a rejection, a freeze), or"
    " that came later. For that the whole ledger must be verified."
)
"""What no bundle can show; it stands in every text about one."""

_SAID = {
    Voice.REQUEST: "asked for it",
    Voice.APPROVE: "approved",
    Voice.REJECT: "rejected it",
    Voice.VETO: "VETOED it",
    Voice.REVOKE: "took the approval back",
}


def evidence_text(evidence: Evidence) -> str:
    """Return what is shown in plain words: what was done, who asked, who said what and when, by which charter."""
    return "\n".join(_lines(evidence))


def _lines(evidence: Evidence) -> Iterator[str]:
    account, case = evidence.account, evidence.account.case
    yield f"entry {account.index} of {evidence.checkpoint.origin} (covered at {evidence.checkpoint.size} entries)"
    yield f"what      {_what(account.subject)}"
    yield f"statement {case.statement.summary()}"
    yield f"proposal  {case.id.hex()}"
    yield f"asked     by {case.statement.requester} at {_time(case.at)} (entry {case.index})"
    yield from (
        f"said      {each.member} {_SAID[each.voice]} at {_time(each.at)} (entry {each.index}, key"
        f" {each.signature.keyid[:16]})"
        for each in case.said
        if each.voice is not Voice.REQUEST
    )
    yield from _outcome(account)
    if account.signature_verified:
        yield "signature verified under the public key of the entry that made the key"
    elif isinstance(account.subject, SignatureIssued):
        yield "signature is an HMAC: it takes the secret to check it"
    yield from _charter_lines(account)
    yield "Every member's signature was verified. " + NOT_SHOWN


def _outcome(account: Account) -> Iterator[str]:
    done = account.case.done
    if done is None:
        yield "outcome   not carried out up to this entry"
        yield from (f"needs     {_demand(demand)}" for demand in account.demands_open)
        return
    yield from (f"quorum    {_demand(demand)}" for demand in done.demands)
    waited = f", delay {done.delay_ms} ms kept" if done.delay_ms else ""
    yield f"done      at {_time(done.at)} (entry {done.index}); complete since {_time(done.approved_at)}{waited}"


def _charter_lines(account: Account) -> Iterator[str]:
    yield f"charter   version 1 in the genesis of {_time(account.genesis_at)} (entry 0)"
    for case in account.charters:
        done = case.done
        if done is not None and isinstance(done.event, CharterChanged):
            loud = " by BREAK GLASS" if done.event.break_glass else ""
            approved = "; ".join(map(_demand, done.demands))
            yield (
                f"charter   version {done.event.version}{loud} at {_time(done.at)} (entry {done.index}): asked by"
                f" {case.statement.requester}; {approved}"
            )
            if done.event.break_glass:
                yield f"          reason given: {case.statement['reason']}"


def _demand(demand: Demand) -> str:
    people = ", ".join(demand.approvers) or "nobody"
    return f"{demand.quorum} (charter version {demand.charter_version}): {people}"


def _what(event: Event) -> str:
    match event:
        case SignatureIssued():
            return f"Key {event.request.key} version {event.key_version} signed request {event.request.request_id}."
        case KeyCreated():
            origin = event.provenance.lower()
            return f"Key {event.key} version {event.version} ({event.algorithm}) was {origin}; it is {event.state}."
        case KeyStateChanged():
            return f"Key {event.key} version {event.version} is {event.state}."
        case KeyDestroyed():
            return f"Key {event.key} version {event.version} was destroyed."
        case TokenJoined():
            return f"The token of {event.node} joined: it can open every key of the enclave."
        case CharterChanged() if event.break_glass:
            return f"BREAK GLASS: charter version {event.version} is in force."
        case IncarnationStarted():
            return f"A restored ledger went on as incarnation {event.incarnation}; given up: {event.lost}."
        case ProposalMade() | SignatureEscalated():
            return "Members are asked."
        case BallotCast():
            return f"{event.member} {_SAID[event.voice]}."
        case _:
            return "What the statement asks for was done."


def _time(at: UnixMillis) -> str:
    """Return the time, UTC; one that no calendar has, as it stands."""
    try:
        text = datetime.fromtimestamp(at // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"{at} ms"
    return f"{text}.{at % 1000:03d}Z"


def evidence_values(evidence: Evidence) -> dict[str, object]:
    """Return the same as plain values, for JSON."""
    account, case = evidence.account, evidence.account.case
    return {
        "ok": True,
        "origin": evidence.checkpoint.origin,
        "tree_size": evidence.checkpoint.size,
        "root": evidence.checkpoint.root.hex(),
        "index": account.index,
        "at_ms": account.subject.at,
        "what": _what(account.subject),
        **_case_values(case),
        "needs": [_demand_values(demand) for demand in account.demands_open],
        "signature_verified": account.signature_verified,
        "charter_version": account.charter.version,
        "charter_sha256": account.charter_sha256.hex(),
        "charter_changes": [_case_values(each) for each in account.charters],
        "not_shown": NOT_SHOWN,
    }


def _case_values(case: Case) -> dict[str, object]:
    return {
        "proposal": case.id.hex(),
        "short": short(case.id),
        "action": case.statement.action.value,
        "summary": case.statement.summary(),
        "requester": case.statement.requester,
        "asked_index": case.index,
        "asked_at_ms": case.at,
        "said": [
            {
                "member": each.member,
                "voice": each.voice.value,
                "at_ms": each.at,
                "index": each.index,
                "keyid": each.signature.keyid,
            }
            for each in case.said
        ],
        "done": None if case.done is None else _done_values(case.done),
    }


def _done_values(done: Done) -> dict[str, object]:
    return {
        "index": done.index,
        "at_ms": done.at,
        "approved_at_ms": done.approved_at,
        "delay_ms": done.delay_ms,
        "break_glass": isinstance(done.event, CharterChanged) and done.event.break_glass,
        "quorums": [_demand_values(demand) for demand in done.demands],
    }


def _demand_values(demand: Demand) -> dict[str, object]:
    return {
        "quorum": demand.quorum,
        "charter_version": demand.charter_version,
        "approved_by": list(demand.approvers),
    }
