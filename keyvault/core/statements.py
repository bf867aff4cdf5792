"""Statements: what is asked of an enclave, in a form that members sign (I4).

A statement is canonical JSON: one object, ASCII, keys sorted, no spaces, all values strings (``parameters``: an object
of strings). It says what exactly, in which enclave, under which policy version, who asks, until when, and in plain
words. Bytes that do not come back identical after parsing and writing are refused, also when only the plain words
differ, because they are what a member reads.

Its SHA-256 names the proposal: whoever signs the statement signs for this proposal and no other.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from keyvault.core import limits, pair_words, token_words
from keyvault.core.charter import Duty
from keyvault.core.errors import Malformed
from keyvault.core.ids import (
    EnclaveName,
    UnixMillis,
    parse_enclave_name,
    parse_key_id,
    parse_member_name,
    parse_principal,
)
from keyvault.core.intent import Completeness, Effect, Payload, Signer
from keyvault.core.keys import KeyAlgorithm, KeyVersion
from keyvault.core.replay_read import NO_REPLAY as NO_REPLAY
from keyvault.core.replay_read import READ_PATTERNS, replayed, says_what_it_read

STATEMENT_TYPE = "keyvault/statement/v2"
ROTATION_SERVICE = "service:rotation"
"""Who asks for a rotation that fell due: no member, so nobody is left out of its quorum."""

_ENCLAVE_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NONCE = re.compile(r"([0-9a-f]{2}){1,32}", re.ASCII)


class Action(StrEnum):
    """What a statement can ask for."""

    KEY_CREATE = "key.create"
    KEY_IMPORT = "key.import"
    KEY_ROTATE = "key.rotate"
    KEY_ENABLE = "key.enable"
    KEY_DISABLE = "key.disable"
    KEY_DESTROY = "key.destroy"
    KEY_KEEP = "key.keep"
    POLICY_PUBLISH = "policy.publish"
    CHARTER_CHANGE = "charter.change"
    BREAK_GLASS = "break-glass"
    FREEZE = "freeze"
    THAW = "thaw"
    CEREMONY_STEP = "ceremony.step"
    LEAVE_QUARANTINE = "quarantine.leave"
    SIGN = "sign"
    TOKEN_JOIN = "token.join"  # noqa: S105  a word, no secret
    TOKEN_LEAVE = "token.leave"  # noqa: S105  a word, no secret
    PAIR_SET = "pair.set"


DUTIES: Mapping[Action, Duty] = {
    Action.KEY_CREATE: Duty.KEY_CREATE,
    Action.KEY_IMPORT: Duty.KEY_IMPORT,
    Action.KEY_ROTATE: Duty.KEY_ROTATE,
    Action.KEY_ENABLE: Duty.KEY_ENABLE,
    Action.KEY_DISABLE: Duty.KEY_DISABLE,
    Action.KEY_DESTROY: Duty.KEY_DESTROY,
    Action.KEY_KEEP: Duty.KEY_KEEP,
    Action.CHARTER_CHANGE: Duty.CHARTER,
    Action.BREAK_GLASS: Duty.BREAK_GLASS,
    Action.FREEZE: Duty.FREEZE,
    Action.THAW: Duty.THAW,
    Action.CEREMONY_STEP: Duty.CEREMONY,
    Action.LEAVE_QUARANTINE: Duty.LEAVE_QUARANTINE,
    Action.TOKEN_JOIN: Duty.TOKEN_JOIN,
    Action.TOKEN_LEAVE: Duty.TOKEN_JOIN,
    Action.PAIR_SET: Duty.PAIR,
}
"""Whose threshold an action needs. POLICY_PUBLISH: that depends on the policy; SIGN: the policy's rules say."""


class FreezeScope(StrEnum):
    """What a freeze stops."""

    ENCLAVE = "enclave"
    KEY = "key"
    PRINCIPAL = "principal"
    VENUE = "venue"


_KEY = r"[a-z][a-z0-9-]{0,62}"
_NUMBER = r"[1-9][0-9]{0,8}"
_COUNT = r"0|[1-9][0-9]{0,17}"
_DAYS = r"0|[1-9][0-9]{0,3}"
_HASH = r"[0-9a-f]{64}"
_INITIAL = r"ACTIVE|PRE_ACTIVE"
_ROTATION = r"warn|propose"

_FORMS: Mapping[Action, Mapping[str, str]] = {
    Action.KEY_CREATE: {
        "key": _KEY,
        "algorithm": "SECP256K1|P256|ED25519",
        "initial": _INITIAL,
        "cryptoperiod_days": _DAYS,
        "rotation": _ROTATION,
    },
    Action.KEY_IMPORT: {
        "key": _KEY,
        "algorithm": "HMAC_SHA256|HMAC_SHA512",
        "initial": _INITIAL,
        "cryptoperiod_days": _DAYS,
        "rotation": "warn",
        "wrapped_sha256": _HASH,
    },
    Action.KEY_ROTATE: {"key": _KEY, "version": _NUMBER, "initial": _INITIAL, "wrapped_sha256": f"({_HASH})?"},
    Action.KEY_ENABLE: {"key": _KEY, "version": _NUMBER},
    Action.KEY_DISABLE: {"key": _KEY, "version": _NUMBER},
    Action.KEY_DESTROY: {"key": _KEY, "version": _NUMBER, "after_days": r"[1-9][0-9]{0,3}"},
    Action.KEY_KEEP: {"key": _KEY, "version": _NUMBER},
    Action.POLICY_PUBLISH: {"policy_sha256": _HASH, "version": _NUMBER, "replay_sha256": rf"{NO_REPLAY}|{_HASH}"},
    Action.CHARTER_CHANGE: {"charter_sha256": _HASH, "version": _NUMBER},
    Action.BREAK_GLASS: {"charter_sha256": _HASH, "version": _NUMBER, "reason": r"[ -~]{1,500}"},
    Action.FREEZE: {"scope": "enclave|key|principal|venue", "name": r"[!-~]{0,256}"},
    Action.THAW: {"scope": "enclave|key|principal|venue", "name": r"[!-~]{0,256}"},
    Action.CEREMONY_STEP: {"ceremony": _KEY, "step": _NUMBER, "record_sha256": _HASH},
    Action.LEAVE_QUARANTINE: {
        "incarnation": _NUMBER,
        "position": _COUNT,
        "lost_incarnation": _NUMBER,
        "lost_epoch": _COUNT,
        "lost_position": _COUNT,
        "lost_root": _HASH,
        "reason": r"[ -~]{1,500}",
    },
    Action.SIGN: {
        "key": _KEY,
        "key_version": _NUMBER,
        "algorithm": r"[A-Z0-9_]{1,40}",
        "public_key": r"none|([0-9a-f]{2}){32,65}",
        "request_id": r"[A-Za-z0-9._:-]{1,64}",
        "kind": r"[a-z-]{1,40}",
        "payload_sha256": _HASH,
        "facts_sha256": _HASH,
        "words_sha256": _HASH,
        "quorum": rf"[ -~]{{1,{4 * limits.EXPLANATION_CHARS_MAX}}}",
    },
    Action.TOKEN_JOIN: token_words.JOIN_FORM,
    Action.TOKEN_LEAVE: token_words.LEAVE_FORM,
    Action.PAIR_SET: pair_words.FORM,
}
"""The parameters of each action, all of them needed, and the form of each."""

_PATTERNS = {
    action: {name: re.compile(form, re.ASCII) for name, form in forms.items()} for action, forms in _FORMS.items()
}

_SUBJECTS: Mapping[Action, frozenset[str]] = {
    Action.KEY_ROTATE: frozenset({"key", "version"}),
    Action.POLICY_PUBLISH: frozenset({"policy_sha256"}),
    Action.CHARTER_CHANGE: frozenset({"charter_sha256"}),
    Action.BREAK_GLASS: frozenset({"charter_sha256"}),
    Action.LEAVE_QUARANTINE: frozenset({"lost_root"}),
    Action.SIGN: frozenset({"key", "payload_sha256"}),
    Action.TOKEN_JOIN: frozenset({"node", "transport_key_sha256"}),
    Action.TOKEN_LEAVE: frozenset({"node"}),
    Action.PAIR_SET: frozenset({"leader", "followers", "epoch"}),
}
"""What makes two statements ask for the same, where that is less than all parameters."""

_SUMMARIES: Mapping[Action, str] = {
    Action.KEY_CREATE: "Create key {key} ({algorithm}) in enclave {enclave}: it is {initial} at once, and {rotated}."
    "{in_clear}",
    Action.KEY_IMPORT: "Import key {key} ({algorithm}, wrapped secret {wrapped_sha256}) into enclave {enclave}: it is"
    " {initial} at once, and {rotated}.",
    Action.KEY_ROTATE: "Rotate key {key} in enclave {enclave} to version {version}: it is {initial} at once{secret}.",
    Action.KEY_ENABLE: "Enable version {version} of key {key} in enclave {enclave}: it signs.",
    Action.KEY_DISABLE: "Disable version {version} of key {key} in enclave {enclave}: it signs nothing any more.",
    Action.KEY_DESTROY: "Destroy version {version} of key {key} in enclave {enclave} for ever, {after_days} days after"
    " this is approved; it is disabled at once.",
    Action.KEY_KEEP: "Keep version {version} of key {key} in enclave {enclave}, which was to be destroyed; it stays"
    " disabled.",
    Action.POLICY_PUBLISH: "Publish policy version {version} ({policy_sha256}) in enclave {enclave}; {replayed}.",
    Action.CHARTER_CHANGE: "Replace the charter (members, groups, thresholds) of enclave {enclave} by version {version}"
    " ({charter_sha256}).",
    Action.BREAK_GLASS: "BREAK GLASS: replace the charter (members, groups, thresholds) of enclave {enclave} by version"
    " {version} ({charter_sha256}). Reason: {reason}",
    Action.FREEZE: "Freeze {scope} {name} in enclave {enclave}: nothing is signed for it.",
    Action.THAW: "Lift the freeze of {scope} {name} in enclave {enclave}.",
    Action.CEREMONY_STEP: "Record step {step} of ceremony {ceremony} ({record_sha256}) in enclave {enclave}.",
    Action.LEAVE_QUARANTINE: "LEAVE THE QUARANTINE of enclave {enclave}: its first {position} entries go on as"
    " incarnation {incarnation}; what came after in the ledger that is gone, which had {lost_position} entries or more"
    " ({lost_root}, incarnation {lost_incarnation}, epoch {lost_epoch}), is given up for ever. Reason: {reason}",
    Action.SIGN: "Sign {kind} {payload_sha256} with version {key_version} of key {key} ({algorithm} {public_key}) in"
    " enclave {enclave} for request {request_id}; needs {quorum}.",
    Action.TOKEN_JOIN: token_words.JOIN_SUMMARY,
    Action.TOKEN_LEAVE: token_words.LEAVE_SUMMARY,
    Action.PAIR_SET: pair_words.SUMMARY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What members sign. ``enclave_id`` and ``nonce`` are lower-case hex; ``parameters`` are sorted by name.

    ``requester`` is a member's name; for SIGN the principal that asks; ROTATION_SERVICE for a rotation that fell due.
    """

    action: Action
    enclave: EnclaveName
    enclave_id: str
    policy_version: int
    requester: str
    parameters: tuple[tuple[str, str], ...]
    nonce: str
    expires_at: UnixMillis

    def __getitem__(self, name: str) -> str:
        """Return a parameter of the action."""
        return dict(self.parameters)[name]

    def summary(self) -> str:
        """Return the statement in plain words; it is part of what is signed. Raises Malformed for bad parameters."""
        parameters = dict(self.parameters)
        check_parameters(self.action, parameters)
        words = _SUMMARIES[self.action].format(enclave=self.enclave, **parameters, **_spoken(parameters))
        return " ".join(words.split())

    def encode(self) -> bytes:
        """Return the canonical JSON."""
        document = {
            "action": self.action.value,
            "enclave": self.enclave,
            "enclave_id": self.enclave_id,
            "expires_at_ms": str(self.expires_at),
            "nonce": self.nonce,
            "parameters": dict(self.parameters),
            "policy_version": str(self.policy_version),
            "requester": self.requester,
            "summary": self.summary(),
            "type": STATEMENT_TYPE,
        }
        return _canonical(document)


def check_parameters(action: Action, parameters: Mapping[str, str]) -> None:
    """Raise Malformed unless these are exactly the parameters of the action, each in its form."""
    patterns = _PATTERNS[action]
    if says_what_it_read(parameters):
        patterns = patterns | READ_PATTERNS
    if action is Action.KEY_CREATE:
        patterns = patterns | token_words.optional_patterns(parameters)
    if parameters.keys() != patterns.keys():
        raise Malformed("statement.parameters", f"{action} has exactly the parameters {', '.join(sorted(patterns))}")
    for name, pattern in patterns.items():
        if not pattern.fullmatch(parameters[name]):
            raise Malformed(
                f"statement.parameters.{name}", f"{parameters[name][:80]!r} is not of the form {pattern.pattern}"
            )
    if action in (Action.FREEZE, Action.THAW):
        check_freeze(FreezeScope(parameters["scope"]), parameters["name"])
    if action in (Action.TOKEN_JOIN, Action.TOKEN_LEAVE):
        token_words.check_node(parameters)
    if action is Action.PAIR_SET:
        pair_words.check_pair(parameters)


def _spoken(parameters: Mapping[str, str]) -> dict[str, str]:
    """Return what sounds odd as a bare value, in words."""
    days, wrapped = parameters.get("cryptoperiod_days", "0"), parameters.get("wrapped_sha256", "")
    asked = " (the enclave proposes that itself)" if parameters.get("rotation") == "propose" else ""
    return {
        "rotated": "never due for rotation" if days == "0" else f"due for rotation after {days} days{asked}",
        "secret": f" (wrapped secret {wrapped})" if wrapped else "",
        "replayed": replayed(parameters),
        "in_clear": token_words.in_clear(parameters),
        **pair_words.spoken(parameters),
    }


def check_freeze(scope: FreezeScope, name: str) -> None:
    """Raise Malformed unless the name is one of the scope's kind."""
    if (scope is FreezeScope.ENCLAVE) != (not name):
        raise Malformed("statement.parameters.name", "a freeze of the whole enclave has no name, any other has one")
    if scope is FreezeScope.KEY:
        parse_key_id(name)
    elif scope is FreezeScope.PRINCIPAL:
        parse_principal(name)


def decode_statement(payload: bytes) -> Statement:
    """Return the statement, or raise Malformed unless ``payload`` is exactly its canonical JSON."""
    if len(payload) > limits.STATEMENT_BYTES_MAX:
        raise Malformed("statement", f"longer than {limits.STATEMENT_BYTES_MAX} bytes")
    try:
        document = json.loads(payload)
        action = Action(document["action"])
        statement = Statement(
            action=action,
            enclave=parse_enclave_name(document["enclave"]),
            enclave_id=str(document["enclave_id"]),
            policy_version=int(document["policy_version"]),
            requester=_requester(action, document["requester"]),
            parameters=tuple(sorted((str(k), str(v)) for k, v in document["parameters"].items())),
            nonce=str(document["nonce"]),
            expires_at=UnixMillis(int(document["expires_at_ms"])),
        )
        canonical = statement.encode()
    except Malformed:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Malformed("statement", f"not a {STATEMENT_TYPE} object ({type(error).__name__})") from None
    if not (_ENCLAVE_ID.fullmatch(statement.enclave_id) and _NONCE.fullmatch(statement.nonce)):
        raise Malformed("statement", "enclave_id is 64 and nonce 2 to 64 lower-case hex digits")
    if canonical != payload:
        raise Malformed(
            "statement", "not canonical: keys sorted, no spaces, strings only, summary as keyvault words it"
        )
    return statement


def proposal_id_of(statement: bytes) -> bytes:
    """Return what a proposal is called: the SHA-256 of its statement, 32 bytes."""
    return hashlib.sha256(statement).digest()


def subject_of(statement: Statement) -> bytes:
    """Return what two statements share that ask for the same thing: SHA-256 over action and parameters, 32 bytes.

    Left out is what a second attempt changes: the number of a charter, a request's id, a reason. The next rotation of a
    key is no second attempt at the last one.
    """
    names = _SUBJECTS.get(statement.action, _PATTERNS[statement.action].keys())
    kept = {name: value for name, value in statement.parameters if name in names}
    return hashlib.sha256(statement.action.encode() + b"\0" + _canonical(kept)).digest()


def payload_sha256(payload: Payload) -> str:
    """Return the hash of a payload, hex: its kind and its parts, each with its length."""
    digest = hashlib.sha256(b"keyvault/payload/v1\0" + payload.kind.encode() + b"\0")
    for part in payload.parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def facts_sha256(effects: Iterable[Effect], signing_input: bytes, completeness: Completeness) -> str:
    """Return the hash of what a decoder found in a payload, hex: canonical JSON of effects and signing input."""
    document = {
        "completeness": completeness.value,
        "effects": [_effect_facts(effect) for effect in effects],
        "signing_input": signing_input.hex(),
        "type": "keyvault/facts/v1",
    }
    return hashlib.sha256(_canonical(document)).hexdigest()


def public_key_text(key: KeyVersion) -> str:
    """Return how a statement names whose signature is asked for."""
    return key.public_key.hex() or "none"


def signer_named(statement: Statement) -> Signer:
    """Return whose signature the statement asks for; raise Malformed if this build does not know the algorithm."""
    try:
        algorithm = KeyAlgorithm(statement["algorithm"])
    except ValueError:
        raise Malformed("statement.parameters.algorithm", "is not one that this build knows") from None
    named = statement["public_key"]
    return Signer(algorithm=algorithm, public_key=b"" if named == "none" else bytes.fromhex(named))


def words_sha256(words: str) -> str:
    """Return the hash of a payload's meaning in plain words, hex."""
    return hashlib.sha256(words.encode()).hexdigest()


def _effect_facts(effect: Effect) -> dict[str, str]:
    facts = {name: getattr(effect, name) for name in effect.__slots__}
    return {name: str(value) for name, value in facts.items() if value is not None}


def _requester(action: Action, text: str) -> str:
    if action is Action.SIGN:
        return parse_principal(text)
    if text == ROTATION_SERVICE and action is Action.KEY_ROTATE:
        return text
    return parse_member_name(text)


def _canonical(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
