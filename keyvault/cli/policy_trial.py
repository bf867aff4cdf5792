"""One request against one policy, from its bytes to the verdict, exactly as a server decides; pure and offline.

The state is what a ledger would say after the earlier requests. Nothing is signed: where a fact needs a signature,
there are zeros, which the core never looks at.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from keyvault.core.apply import apply
from keyvault.core.commands import RequestSignature
from keyvault.core.decide import Authorised, Waiting, decide_signature
from keyvault.core.errors import Malformed
from keyvault.core.escalation import QUORUM_SEPARATOR
from keyvault.core.events import SignatureEscalated, SignatureIssued, SignatureRefused, SignatureRequest
from keyvault.core.ids import EnclaveName, Epoch, KeyId, Principal, RequestId, UnixMillis
from keyvault.core.intent import Completeness, Effect, Intent, Operation, Payload, Signer, Stamp
from keyvault.core.keys import KeyAlgorithm, KeyLine, KeyProvenance, KeyState, KeyVersion, Signature
from keyvault.core.policy import CompiledPolicy
from keyvault.core.state import State
from keyvault.core.statements import decode_statement
from keyvault.core.windows import Reservations
from keyvault.intents import describe, parse

_NO_KEY = KeyId("somebody")
"""Who signed for what was seen before."""
_BEFORE_US = 2
"""Entries that every ledger begins with: its genesis, and the first term."""


class Word(StrEnum):
    """What became of a request."""

    ALLOW = "allow"
    DENY = "deny"
    ESCALATE = "escalate"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks with which key, and what the key is."""

    key: KeyId
    principal: Principal
    algorithm: KeyAlgorithm
    public_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A payload, who asks for its signature, and when."""

    asker: Asker
    payload: Payload
    at: UnixMillis


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a request came to.

    ``reason`` is that of a refusal, or the field that is malformed. ``rules`` permit, refuse or ask; ``quorums`` are
    whom they ask.
    """

    word: Word
    reason: str = ""
    rules: tuple[str, ...] = ()
    quorums: tuple[str, ...] = ()
    explanation: str
    effects: tuple[Effect, ...] = ()
    completeness: Completeness | None = None


class Trial:
    """A ledger that has this policy and the keys that are asked for, for as long as one case lasts."""

    def __init__(self, rules: CompiledPolicy) -> None:
        state = State.empty()
        state.enclave, state.enclave_id, state.epoch, state.size = EnclaveName("trial"), bytes(32), Epoch(1), _BEFORE_US
        state.policy, state.policy_sha256, state.rules = rules.policy, bytes(32), rules
        state.windows.watch(rules.policy)
        self._state = state

    def saw(self, destinations: Iterable[tuple[str, UnixMillis]]) -> None:
        """Remember destinations that were signed for at these times."""
        for name, at in destinations:
            effects = (Effect(operation=Operation.TRANSFER, destination=name, amount=1),)
            self._state.familiar.saw(_NO_KEY, effects, self._state.size, at)
            self._state.size += 1

    def ask(self, request: Request) -> Outcome:
        """Return what the request comes to; what is allowed is in the ledger from then on."""
        asker = request.asker
        self._state.keys.setdefault(asker.key, KeyLine(primary=1, versions={1: _key(asker)}))
        stamp = Stamp(at=request.at, nonce=max(request.at, self._state.nonces.get(asker.key, 0) + 1))
        try:
            signer = Signer(algorithm=asker.algorithm, public_key=asker.public_key, stamp=stamp)
            intent = parse(request.payload, signer)
        except Malformed as error:
            return Outcome(word=Word.MALFORMED, reason=error.field, explanation=str(error))
        return self._judged(request, intent, stamp if intent.stamped else None)

    def _judged(self, request: Request, intent: Intent, stamp: Stamp | None) -> Outcome:
        asked = SignatureRequest(
            request_id=RequestId(f"request-{self._state.size}"),
            principal=request.asker.principal,
            key=request.asker.key,
            payload=request.payload,
        )
        command = RequestSignature(request=asked, intent=intent, stamp=stamp)
        decided = decide_signature(self._state, Reservations(), command, request.at, describe)
        if isinstance(decided, Authorised):
            self._apply(decided.issued(self._state, Signature(value=b"")))
        return _outcome(decided, intent)

    def _apply(self, event: SignatureIssued) -> None:
        apply(self._state, self._state.size, event)


def _outcome(decided: Authorised | SignatureRefused | SignatureEscalated | Waiting, intent: Intent) -> Outcome:
    match decided:
        case Authorised():
            rules = tuple(dict.fromkeys(decided.rules))
            found = Outcome(word=Word.ALLOW, rules=rules, explanation=f"allowed by rule {', '.join(rules)}")
        case SignatureEscalated():
            quorums = tuple(dict(decode_statement(decided.statement).parameters)["quorum"].split(QUORUM_SEPARATOR))
            text = f"rule {', '.join(decided.rules)} asks members: {' and '.join(quorums)}"
            found = Outcome(word=Word.ESCALATE, rules=decided.rules, quorums=quorums, explanation=text)
        case SignatureRefused():
            text = decided.explanation
            found = Outcome(word=Word.DENY, reason=decided.reason.value, rules=decided.rules, explanation=text)
        case _:
            found = Outcome(word=Word.DENY, reason=decided.reason.value, explanation=decided.explanation)
    return replace(found, effects=intent.effects, completeness=intent.completeness)


def _key(asker: Asker) -> KeyVersion:
    return KeyVersion(
        key=asker.key,
        version=1,
        algorithm=asker.algorithm,
        state=KeyState.ACTIVE,
        provenance=KeyProvenance.GENERATED,
        public_key=asker.public_key,
        token_object_id=bytes(20),
        created_at=UnixMillis(0),
    )
