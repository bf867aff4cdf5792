"""Ledger entries in plain words: when, who, what. For people who read a ledger; verification reads bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from keyvault import intents
from keyvault.cli.output import JsonValue, hexed
from keyvault.core.approvals import Envelope, decode_statement
from keyvault.core.errors import Malformed
from keyvault.core.events import (
    Event,
    Genesis,
    KeyCreated,
    KeyStateChanged,
    PolicyPublished,
    SignatureIssued,
    SignatureRefused,
    SignatureRequest,
    TermStarted,
)
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Intent
from keyvault.core.keys import KeyState
from keyvault.ledger.merkle import leaf_hash


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
        case KeyCreated():
            facts: Mapping[str, JsonValue] = {"key": event.key, "version": event.version, "algorithm": event.algorithm}
            return "key_created", _requester(event.authorization), _summary(event.authorization), "", facts
        case KeyStateChanged():
            kind = "key_enabled" if event.state is KeyState.ACTIVE else "key_disabled"
            facts = {"key": event.key, "version": event.version}
            return kind, _requester(event.authorization), _summary(event.authorization), "", facts
        case PolicyPublished():
            facts = {"policy_version": event.policy.version}
            return "policy_published", _requester(event.authorization), _summary(event.authorization), "", facts
        case TermStarted():
            what = f"Term {event.epoch} started (keyvault {event.software})."
            return "term_started", event.holder[:8], what, "", {"epoch": event.epoch, "holder": event.holder}
        case Genesis():
            return _genesis(event)
        case _:
            assert_never(event)


def _issued(event: SignatureIssued) -> _Words:
    intent = Intent(
        kind=event.request.payload.kind,
        algorithms=frozenset(),
        signing_input=event.signing_input,
        effects=event.effects,
        completeness=event.completeness,
    )
    facts = {
        **_request_facts(event.request),
        "rules": event.rules,
        "policy_version": event.policy_version,
        "signature": hexed(event.signature.value),
    }
    what = f"Signed with {event.request.key}: {_one_line(intents.describe(intent))}"
    why = "allowed by " + ", ".join(dict.fromkeys(event.rules))
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


def _genesis(event: Genesis) -> _Words:
    names = tuple(member.name for member in event.members)
    threshold = event.admin_threshold
    what = f"Enclave {event.enclave} begins: members {', '.join(names)}; {threshold} of them must sign a change."
    facts: Mapping[str, JsonValue] = {
        "enclave": event.enclave,
        "members": names,
        "admin_threshold": threshold,
    }
    return "genesis", "", what, "", facts


def _request_facts(request: SignatureRequest) -> dict[str, JsonValue]:
    return {"request_id": request.request_id, "key": request.key, "payload_kind": request.payload.kind.value}


def _asked(request: SignatureRequest) -> str:
    try:
        return _one_line(intents.describe(intents.parse(request.payload)))
    except Malformed as error:  # an older build may have read what this one does not
        return f"a {request.payload.kind} that this version cannot read ({error})"


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())


def _requester(authorization: Envelope) -> str:
    return decode_statement(authorization.payload).requester


def _summary(authorization: Envelope) -> str:
    return decode_statement(authorization.payload).summary()
