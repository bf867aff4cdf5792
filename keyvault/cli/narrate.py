"""Ledger entries in plain words: when, who, what. For people who read a ledger; verification reads bytes."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from keyvault import intents
from keyvault.cli.output import JsonValue, hexed, time_text
from keyvault.core.approvals import Voice
from keyvault.core.errors import Malformed
from keyvault.core.events import (
    BallotCast,
    CeremonyStepRecorded,
    Change,
    ChangeRefused,
    CharterChanged,
    Copied,
    Event,
    FreezeChanged,
    Genesis,
    IncarnationStarted,
    KeyCreated,
    KeyDestroyed,
    KeyProved,
    KeySealed,
    KeyStateChanged,
    PairSet,
    PolicyPublished,
    ProposalMade,
    SignatureEscalated,
    SignatureIssued,
    SignatureRefused,
    SignatureRequest,
    TermStarted,
    TokenJoined,
    TokenLeft,
)
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Intent
from keyvault.core.keys import KeyState
from keyvault.core.proposals import short
from keyvault.core.quorum import quorum_text
from keyvault.core.statements import Action, FreezeScope, decode_statement, proposal_id_of
from keyvault.ledger.merkle import leaf_hash

_SAYS = {
    Voice.APPROVE: "Approves",
    Voice.REJECT: "Rejects",
    Voice.VETO: "VETOES",
    Voice.REVOKE: "Takes the approval back of",
}
_STATES = {
    KeyState.ACTIVE: "is enabled: it signs",
    KeyState.DISABLED: "is disabled: it signs nothing",
    KeyState.ROTATED: "only verifies",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One entry for people. ``kind`` is the fact's name in event.proto; ``why`` the rules or the reason."""

    index: int
    at: UnixMillis
    kind: str
    who: str
    what: str
    why: str
    facts: Mapping[str, JsonValue]

    def document(self, body: bytes) -> dict[str, JsonValue]:
        """Return the entry for JSON, with the hash that proofs start from."""
        return {
            "index": self.index,
            "at_ms": self.at,
            "kind": self.kind,
            "who": self.who,
            "what": self.what,
            "why": self.why,
            "leaf_hash": hexed(leaf_hash(body)),
            **self.facts,
        }


def narrate(index: int, event: Event) -> Line:
    """Return what this entry says."""
    kind, who, what, why, facts = _words(event)
    return Line(index=index, at=event.at, kind=kind, who=who, what=what, why=why, facts=facts)


_Words = tuple[str, str, str, str, Mapping[str, JsonValue]]


def _words(event: Event) -> _Words:
    match event:
        case SignatureIssued():
            return _issued(event)
        case SignatureRefused():
            return _refused(event)
        case SignatureEscalated():
            return _escalated(event)
        case ProposalMade():
            return _proposed(event)
        case BallotCast():
            facts: Mapping[str, JsonValue] = {
                "proposal": event.proposal.hex(),
                "member": event.member,
                "voice": event.voice.value,
                "keyid": event.signature.keyid,
            }
            return "ballot_cast", event.member, f"{_SAYS[event.voice]} proposal {short(event.proposal)}.", "", facts
        case ChangeRefused():
            return _change_refused(event)
        case TermStarted():
            return _term(event)
        case Genesis():
            return _genesis(event)
        case KeySealed() | KeyProved():
            return _copied(event)
        case _:
            kind, what, facts = _done(event)
            return kind, "", what, f"carries out proposal {short(event.proposal)}", {**_carried(event), **facts}


def _proposed(event: ProposalMade) -> _Words:
    statement = decode_statement(event.statement)
    facts = {
        "proposal": proposal_id_of(event.statement).hex(),
        "action": statement.action.value,
        "parameters": dict(statement.parameters),
        "policy_version": statement.policy_version,
        "expire_time_ms": statement.expires_at,
    }
    loud = statement.action is Action.BREAK_GLASS
    what = f"{'ASKS TO BREAK THE GLASS' if loud else 'Asks'}: {statement.summary()}"
    why = "" if event.signature is not None else "the enclave proposes it by itself: it fell due"
    return "proposal_made", statement.requester, what, why, facts


def _change_refused(event: ChangeRefused) -> _Words:
    about = f" about proposal {short(event.proposal)}" if event.proposal else ""
    facts = {"subject": event.subject, "proposal": event.proposal.hex(), "reason": event.reason.value}
    why = f"{event.reason}: {event.explanation}"
    return "change_refused", event.principal, f"Was not taken: {event.subject}{about}.", why, facts


def _done(event: Change) -> tuple[str, str, Mapping[str, JsonValue]]:  # noqa: C901 (one case for each fact)
    match event:
        case KeyCreated():
            what = f"Key {event.key} version {event.version} ({event.algorithm}) is made: {event.provenance.lower()}."
            if event.state is KeyState.PRE_ACTIVE:
                what = f"{what.removesuffix('.')}, and signs nothing before it is enabled."
            return "key_created", what, _key(event) | {"algorithm": event.algorithm, "state": event.state.value}
        case KeyStateChanged():
            facts = _key(event) | {"state": event.state.value, "destroy_time_ms": event.destroy_at}
            return "key_state_changed", f"Key {event.key} version {event.version} {_state(event)}.", facts
        case KeyDestroyed():
            what = f"Key {event.key} version {event.version} is DESTROYED: the token has it no more."
            return "key_destroyed", what, _key(event)
        case PolicyPublished():
            what = f"Policy version {event.version} decides from here on."
            return "policy_published", what, {"policy_version": event.version}
        case CharterChanged():
            what = f"Charter version {event.version} is in force: members, groups and thresholds are replaced."
            loud = f"BREAK GLASS: {what}" if event.break_glass else what
            return "charter_changed", loud, {"charter_version": event.version, "break_glass": event.break_glass}
        case FreezeChanged():
            return (
                "freeze_changed",
                _freeze(event),
                {
                    "scope": event.scope.value,
                    "name": event.name,
                    "frozen": event.frozen,
                },
            )
        case CeremonyStepRecorded():
            return "ceremony_step_recorded", "Members vouch for a step of a ceremony.", {}
        case IncarnationStarted():
            return "incarnation_started", _begun(event), _lost(event)
        case TokenJoined() | TokenLeft():
            return _token(event)
        case PairSet():
            return _pair(event)
        case _:
            assert_never(event)


def _begun(event: IncarnationStarted) -> str:
    return (
        f"A RESTORED LEDGER GOES ON as incarnation {event.incarnation} from {event.position} entries. GIVEN UP:"
        f" {event.lost}; limits count as full, open proposals are void."
    )


def _lost(event: IncarnationStarted) -> dict[str, JsonValue]:
    return {
        "incarnation": event.incarnation,
        "position": event.position,
        "lost_incarnation": event.lost.incarnation,
        "lost_epoch": event.lost.epoch,
        "lost_position": event.lost.size,
        "lost_root": event.lost.root.hex(),
    }


def _term(event: TermStarted) -> _Words:
    where = f" on {event.node}" if event.node else ""
    stands = ": it STANDS, and decides nothing until members name it" if event.stands else ""
    what = f"Term {event.epoch} started{where} (keyvault {event.software}){stands}."
    facts: dict[str, JsonValue] = {"epoch": event.epoch, "holder": event.holder}
    if event.node:
        facts |= {"node": event.node, "stands": event.stands}
    return "term_started", event.holder[:8], what, "", facts


def _pair(event: PairSet) -> tuple[str, str, Mapping[str, JsonValue]]:
    followers = " and ".join(event.followers)
    behind = f"{followers} must have everything first" if followers else "ALONE, with nobody who has it besides"
    return "pair_set", f"{event.leader} leads, {behind}.", {"leader": event.leader, "followers": list(event.followers)}


def _token(event: TokenJoined | TokenLeft) -> tuple[str, str, Mapping[str, JsonValue]]:
    if isinstance(event, TokenLeft):
        what = f"The token of {event.node} counts no more; what it could open it can open still."
        return "token_left", what, {"node": event.node}
    what = f"The token of {event.node} JOINED: it can open every key of the enclave."
    digest = hashlib.sha256(event.transport_public_key).hexdigest()
    return "token_joined", what, {"node": event.node, "transport_key_sha256": digest}


def _copied(event: Copied) -> _Words:
    name = f"Key {event.key} version {event.version}"
    if isinstance(event, KeyProved):
        facts = _key(event) | {"node": event.node, "token": event.token.hex()}
        return "key_proved", event.node, f"{name} is in this node's token, too: it signed its challenge.", "", facts
    clear = ", by its seed, which is in clear in a worker when it is copied" if event.plaintext else ""
    what = f"{name} is sealed for the tokens that join{clear}."
    return "key_sealed", "", what, "", _key(event) | {"plaintext": event.plaintext}


def _key(event: KeyCreated | KeyStateChanged | KeyDestroyed | Copied) -> dict[str, JsonValue]:
    return {"key": event.key, "version": event.version}


def _carried(event: Change) -> dict[str, JsonValue]:
    return {"proposal": event.proposal.hex(), "charter_sha256": event.charter_sha256.hex()}


def _state(event: KeyStateChanged) -> str:
    if event.destroy_at is not None:
        return f"is disabled and will be DESTROYED at {time_text(event.destroy_at)}"
    return _STATES.get(event.state, f"is {event.state.lower()}")


def _freeze(event: FreezeChanged) -> str:
    what = "the whole enclave" if event.scope is FreezeScope.ENCLAVE else f"{event.scope} {event.name}"
    return f"FROZEN: {what}; nothing is signed for it." if event.frozen else f"The freeze of {what} is lifted."


def _issued(event: SignatureIssued) -> _Words:
    facts: dict[str, JsonValue] = {
        **_request_facts(event.request),
        "rules": event.rules,
        "policy_version": event.policy_version,
        "signature": hexed(event.signature.value),
    }
    what = f"Signed with {event.request.key}: {_meaning(event)}"
    why = "allowed by " + ", ".join(dict.fromkeys(event.rules))
    if event.proposal:
        facts |= {"proposal": event.proposal.hex(), "charter_sha256": event.charter_sha256.hex()}
        why += f"; members approved proposal {short(event.proposal)}"
    return "signature_issued", event.request.principal, what, why, facts


def _refused(event: SignatureRefused) -> _Words:
    facts = {
        **_request_facts(event.request),
        "reason": event.reason.value,
        "rules": event.rules,
        "policy_version": event.policy_version,
    }
    what = f"Refused to sign with {event.request.key}: {_asked(event.request)}"
    return "signature_refused", event.request.principal, what, f"{event.reason}: {event.explanation}", facts


def _escalated(event: SignatureEscalated) -> _Words:
    statement = decode_statement(event.statement)
    facts: dict[str, JsonValue] = {
        **_request_facts(event.request),
        "rules": event.rules,
        "policy_version": event.policy_version,
        "proposal": proposal_id_of(event.statement).hex(),
        "quorum": statement["quorum"],
        "expire_time_ms": statement.expires_at,
    }
    what = f"Members are asked before {event.request.key} signs: {_meaning(event)}"
    why = f"{', '.join(dict.fromkeys(event.rules))} escalates it: needs {statement['quorum']}"
    return "signature_escalated", event.request.principal, what, why, facts


def _genesis(event: Genesis) -> _Words:
    charter = event.charter
    members = tuple(
        f"{member.name} ({', '.join(sorted(role.value for role in member.roles))})" for member in charter.members
    )
    what = f"Enclave {event.enclave} begins. Members: {', '.join(members)}."
    if event.sealed is not None:
        what += " Its keys can move to other tokens."
    facts: Mapping[str, JsonValue] = {
        "enclave": event.enclave,
        "members": tuple(member.name for member in charter.members),
        "thresholds": {
            each.duty.value: {"quorum": quorum_text(each.quorum), "delay_ms": each.delay_ms}
            for each in charter.thresholds
        },
        "keys_move": event.sealed is not None,
        "log_key_plaintext": event.sealed is not None and event.sealed.log_key_plaintext,
    }
    return "genesis", "", what, "", facts


def _request_facts(request: SignatureRequest) -> dict[str, JsonValue]:
    return {"request_id": request.request_id, "key": request.key, "payload_kind": request.payload.kind.value}


def _meaning(event: SignatureIssued | SignatureEscalated) -> str:
    """Return in plain words what the entry says that its payload does."""
    intent = Intent(
        kind=event.request.payload.kind,
        algorithms=frozenset(),
        signing_input=event.signing_input,
        effects=event.effects,
        completeness=event.completeness,
    )
    return _one_line(intents.describe(intent))


def _asked(request: SignatureRequest) -> str:
    try:
        return _one_line(intents.described(request.payload))
    except Malformed:  # it was refused; for some kinds only the signer's key tells more
        return f"a {request.payload.kind}"


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())
