"""The closed set of facts that a ledger can hold.

Rules for the next editor:

- a fact that was ever written keeps its meaning for ever; a new meaning is a new fact;
- a replica that meets a fact it does not know stops (I2);
- no floats; the only clock is ``at``, stamped by the leader when it decided;
- the bytes of an entry are made once (``ledger.codec``), hashed and stored verbatim; nothing re-encodes them.
"""

from dataclasses import dataclass

from keyvault.core.approvals import Envelope, Member
from keyvault.core.errors import Reason
from keyvault.core.ids import EnclaveName, Epoch, KeyId, Principal, RequestId, UnixMillis
from keyvault.core.intent import Completeness, Effect, Payload
from keyvault.core.keys import KeyAlgorithm, KeyProvenance, KeyState, Signature
from keyvault.core.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Genesis:
    """Entry 0: who rules the enclave."""

    at: UnixMillis
    epoch: Epoch
    enclave: EnclaveName
    log_public_key: bytes
    import_public_key: bytes
    members: tuple[Member, ...]
    admin_threshold: int
    policy: Policy
    policy_document: bytes
    nonce: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TermStarted:
    """A process became the leader; entries up to the next TermStarted carry its epoch."""

    at: UnixMillis
    epoch: Epoch
    holder: str
    software: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCreated:
    """A key exists in the token, generated or imported under the members' authorization."""

    at: UnixMillis
    epoch: Epoch
    key: KeyId
    version: int
    algorithm: KeyAlgorithm
    provenance: KeyProvenance
    public_key: bytes
    token_object_id: bytes
    authorization: Envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStateChanged:
    """A key was enabled or disabled."""

    at: UnixMillis
    epoch: Epoch
    key: KeyId
    version: int
    state: KeyState
    authorization: Envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyPublished:
    """A new policy decides from the next event on. ``policy`` is what ``document`` says."""

    at: UnixMillis
    epoch: Epoch
    policy: Policy
    document: bytes
    authorization: Envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureRequest:
    """What was asked, by whom. ``key`` is as asked: ``{key}`` or ``{key}/versions/{version}``."""

    request_id: RequestId
    principal: Principal
    key: str
    payload: Payload


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureIssued:
    """The decision and the signature, in one fact: what is not here was never given out (I1)."""

    at: UnixMillis
    epoch: Epoch
    request: SignatureRequest
    key_version: int
    signing_input: bytes
    effects: tuple[Effect, ...]
    completeness: Completeness
    policy_version: int
    policy_sha256: bytes
    rules: tuple[str, ...]
    signature: Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureRefused:
    """A no, with its reason; as final for its request id as a yes (I3)."""

    at: UnixMillis
    epoch: Epoch
    request: SignatureRequest
    reason: Reason
    explanation: str
    policy_version: int
    policy_sha256: bytes
    rules: tuple[str, ...]


Answer = SignatureIssued | SignatureRefused
Change = KeyCreated | KeyStateChanged | PolicyPublished
Event = Genesis | TermStarted | KeyCreated | KeyStateChanged | PolicyPublished | SignatureIssued | SignatureRefused
