"""What follows from a command. Pure: reads the state and the reservations, changes neither.

A signature is decided in two halves, because the token works between them: ``decide_signature`` says yes or no,
and the yes (``Authorised``) becomes the fact ``SignatureIssued`` once the token has signed. The same holds for keys
that the token has to make (``KeyToMake``).
"""

import hashlib
import re
from dataclasses import dataclass

from keyvault.core import limits
from keyvault.core.approvals import Action
from keyvault.core.commands import ChangeEnclave, RequestSignature, object_id_of
from keyvault.core.errors import Malformed, Reason, Refused
from keyvault.core.events import KeyCreated, KeyStateChanged, PolicyPublished, SignatureIssued, SignatureRefused
from keyvault.core.ids import KeyId, UnixMillis, parse_key_id
from keyvault.core.intent import Completeness, Intent
from keyvault.core.keys import KeyAlgorithm, KeyProvenance, KeyState, KeyVersion, Signature
from keyvault.core.policy import ANY
from keyvault.core.policy_lint import lint
from keyvault.core.state import (
    State,
    authorize_key_creation,
    authorize_key_state,
    authorize_policy,
    find_key,
    split_key_name,
)
from keyvault.core.windows import Reservations, check_limits, outflow

_VERSION = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorised:
    """A yes that still needs its signature. ``outflow`` must stay reserved until it is a fact or given up."""

    command: RequestSignature
    key: KeyVersion
    rules: tuple[str, ...]
    outflow: tuple[tuple[int, int], ...]
    at: UnixMillis
    policy_version: int
    policy_sha256: bytes

    def issued(self, state: State, signature: Signature) -> SignatureIssued:
        """Return the fact."""
        return SignatureIssued(
            at=self.at,
            epoch=state.epoch,
            request=self.command.request,
            key_version=self.key.version,
            signing_input=self.command.intent.signing_input,
            effects=self.command.intent.effects,
            completeness=self.command.intent.completeness,
            policy_version=self.policy_version,
            policy_sha256=self.policy_sha256,
            rules=self.rules,
            signature=signature,
        )


def decide_signature(
    state: State, reservations: Reservations, command: RequestSignature, now: UnixMillis
) -> Authorised | SignatureRefused:
    """Say yes or no to a request whose id is new. Every no is a fact with a reason."""
    try:
        return _authorise(state, reservations, command, now)
    except Refused as refused:
        return SignatureRefused(
            at=now,
            epoch=state.epoch,
            request=command.request,
            reason=refused.reason,
            explanation=refused.explanation[: limits.EXPLANATION_CHARS_MAX],
            policy_version=state.policy.version,
            policy_sha256=state.policy_sha256,
            rules=refused.rules,
        )


def _authorise(state: State, reservations: Reservations, command: RequestSignature, now: UnixMillis) -> Authorised:
    key_id, version = split_key_name(command.request.key)
    key = find_key(state, key_id, version)
    if key.state is not KeyState.ACTIVE:
        raise Refused(Reason.KEY_NOT_ACTIVE, f"key {key_id} version {key.version} is {key.state.lower()}")
    intent = command.intent
    if key.algorithm not in intent.algorithms:
        raise Refused(
            Reason.ALGORITHM_MISMATCH, f"{intent.kind} cannot be signed by a key with algorithm {key.algorithm}"
        )
    _check_time(intent, now)
    rules = state.rules.evaluate(key=key_id, principal=command.request.principal, intent=intent)
    _check_countable(state, key_id, intent)
    flow = outflow(intent.effects)
    check_limits(state.policy.limits, state.windows, reservations, key=key_id, outflow=flow, now=now)
    return Authorised(
        command=command,
        key=key,
        rules=rules,
        outflow=flow,
        at=now,
        policy_version=state.policy.version,
        policy_sha256=state.policy_sha256,
    )


def _check_countable(state: State, key: KeyId, intent: Intent) -> None:
    if intent.completeness is not Completeness.OPAQUE:
        return
    for limit in state.policy.limits:
        if limit.amount_max is not None and (limit.keys is ANY or key in limit.keys):
            raise Refused(
                Reason.LIMIT_EXCEEDED,
                f"limit {limit.id} counts amounts, and what this payload moves is unknown",
                rules=(limit.id,),
            )


def _check_time(intent: Intent, now: UnixMillis) -> None:
    if intent.issued_at is not None and abs(intent.issued_at - now) > limits.EXCHANGE_SKEW_MS_MAX:
        raise Refused(
            Reason.TIMESTAMP_OUT_OF_RANGE,
            f"timestamp {intent.issued_at} is {intent.issued_at - now} ms from our clock;"
            f" at most {limits.EXCHANGE_SKEW_MS_MAX} ms are permitted",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyToMake:
    """An authorized key that the token still has to make."""

    command: ChangeEnclave
    key: KeyId
    algorithm: KeyAlgorithm
    provenance: KeyProvenance
    object_id: bytes
    at: UnixMillis

    def created(self, state: State, public_key: bytes) -> KeyCreated:
        """Return the fact."""
        return KeyCreated(
            at=self.at,
            epoch=state.epoch,
            key=self.key,
            version=1,
            algorithm=self.algorithm,
            provenance=self.provenance,
            public_key=public_key,
            token_object_id=self.object_id,
            authorization=self.command.authorization,
        )


def decide_change(
    state: State, command: ChangeEnclave, now: UnixMillis
) -> KeyToMake | KeyStateChanged | PolicyPublished:
    """Return the fact, or the key to make first; raise Refused or Malformed."""
    match command.statement.action:
        case Action.KEY_CREATE | Action.KEY_IMPORT:
            return _make_key(state, command, now)
        case Action.KEY_DISABLE | Action.KEY_ENABLE:
            return _change_key_state(state, command, now)
        case Action.POLICY_PUBLISH:
            return _publish_policy(state, command, now)


def _make_key(state: State, command: ChangeEnclave, now: UnixMillis) -> KeyToMake:
    parameters = dict(command.statement.parameters)
    imported = command.statement.action is Action.KEY_IMPORT
    try:
        algorithm = KeyAlgorithm(parameters["algorithm"])
    except (KeyError, ValueError):
        raise Malformed("statement.parameters.algorithm", f"must be one of {', '.join(KeyAlgorithm)}") from None
    if imported != (algorithm is KeyAlgorithm.HMAC_SHA256):
        raise Malformed("statement.action", "HMAC secrets are imported, all other keys are created in the token")
    plan = KeyToMake(
        command=command,
        key=parse_key_id(parameters.get("key", "")),
        algorithm=algorithm,
        provenance=KeyProvenance.IMPORTED if imported else KeyProvenance.GENERATED,
        object_id=object_id_of(command.authorization.payload),
        at=now,
    )
    if imported and hashlib.sha256(command.wrapped_secret).hexdigest() != parameters.get("wrapped_sha256"):
        raise Refused(Reason.STATEMENT_MISMATCH, "the wrapped secret is not the one that the statement names")
    authorize_key_creation(state, plan.created(state, b""))
    return plan


def _change_key_state(state: State, command: ChangeEnclave, now: UnixMillis) -> KeyStateChanged:
    parameters = dict(command.statement.parameters)
    if not _VERSION.fullmatch(parameters.get("version", "")):
        raise Malformed("statement.parameters.version", "must be a whole number without leading zeros")
    event = KeyStateChanged(
        at=now,
        epoch=state.epoch,
        key=parse_key_id(parameters.get("key", "")),
        version=int(parameters["version"]),
        state=KeyState.ACTIVE if command.statement.action is Action.KEY_ENABLE else KeyState.DISABLED,
        authorization=command.authorization,
    )
    authorize_key_state(state, event)
    return event


def _publish_policy(state: State, command: ChangeEnclave, now: UnixMillis) -> PolicyPublished:
    if command.policy is None:
        raise Malformed("document", "policy.publish needs the policy document")
    for finding in lint(command.policy):
        raise Malformed(f"document.{finding.section}[{finding.index}].{finding.field}", finding.problem)
    event = PolicyPublished(
        at=now,
        epoch=state.epoch,
        policy=command.policy,
        document=command.document,
        authorization=command.authorization,
    )
    authorize_policy(state, event)
    return event
