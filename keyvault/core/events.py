"""The closed set of facts that a ledger can hold.

Rules for the next editor:

- a fact that was ever written keeps its meaning for ever; a new meaning is a new fact;
- a replica that meets a fact it does not know stops (I2);
- no floats; the only clock is ``at``, stamped by the leader when it decided;
- the bytes of an entry are made once (``ledger.codec``), hashed and stored verbatim; nothing re-encodes them.
"""

from dataclasses import dataclass

from keyvault.core.approvals import EnvelopeSignature, Voice
from keyvault.core.charter import Charter
from keyvault.core.errors import Reason
from keyvault.core.ids import NOBODY, EnclaveName, Epoch, KeyId, MemberName, Principal, RequestId, UnixMillis
from keyvault.core.intent import Completeness, Effect, Payload, Stamp
from keyvault.core.keys import KeyAlgorithm, KeyProvenance, KeyState, SealedRoots, Signature
from keyvault.core.marks import Mark
from keyvault.core.policy import Policy
from keyvault.core.quickly import quickly_made
from keyvault.core.statements import FreezeScope


@dataclass(frozen=True, slots=True, kw_only=True)
class Genesis:
    """Entry 0: who rules the enclave. ``charter`` and ``policy`` are what their documents say, version 1 each."""

    at: UnixMillis
    epoch: Epoch
    enclave: EnclaveName
    log_public_key: bytes
    import_public_key: bytes
    charter: Charter
    charter_document: bytes
    policy: Policy
    policy_document: bytes
    nonce: bytes
    sealed: SealedRoots | None = None
    """Stands where keys move by AES-KWP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TermStarted:
    """A process became the leader; entries up to the next TermStarted carry its epoch.

    ``node`` is where, as its certificate says; empty where the server's configuration names no pair. ``stands``: nobody
    named the node, it asks members to; see ``pair``.
    """

    at: UnixMillis
    epoch: Epoch
    holder: str
    software: str
    node: Principal = NOBODY
    stands: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalMade:
    """Somebody asks for a change: the statement, the asker's own signature under it, and what it speaks of.

    ``signature`` is None for a rotation that fell due, which the enclave proposes by itself. ``document`` holds the
    policy or charter whose hash the statement names (``policy``, ``charter``: what it says); ``wrapped_secret`` the
    secret to be imported, wrapped for the token.
    """

    at: UnixMillis
    epoch: Epoch
    statement: bytes
    signature: EnvelopeSignature | None
    document: bytes = b""
    policy: Policy | None = None
    charter: Charter | None = None
    wrapped_secret: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class BallotCast:
    """A member's signed word about an open proposal."""

    at: UnixMillis
    epoch: Epoch
    proposal: bytes
    member: MemberName
    voice: Voice
    signature: EnvelopeSignature


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRefused:
    """A proposal or a word about one was not taken. ``proposal`` names it; ``subject`` says what was tried."""

    at: UnixMillis
    epoch: Epoch
    principal: Principal
    subject: str
    proposal: bytes
    reason: Reason
    explanation: str


# What follows carries out a proposal: ``proposal`` names it, ``charter_sha256`` is the charter whose members approved.


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCreated:
    """A version of a key exists in the token. ``state`` is ACTIVE or PRE_ACTIVE."""

    at: UnixMillis
    epoch: Epoch
    key: KeyId
    version: int
    algorithm: KeyAlgorithm
    provenance: KeyProvenance
    state: KeyState
    public_key: bytes
    token_object_id: bytes
    proposal: bytes
    charter_sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStateChanged:
    """A version of a key was enabled, disabled, or is to be destroyed. ``destroy_at`` stands for the last only."""

    at: UnixMillis
    epoch: Epoch
    key: KeyId
    version: int
    state: KeyState
    destroy_at: UnixMillis | None
    proposal: bytes
    charter_sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDestroyed:
    """The token has this version no more, as it was looked for and not found."""

    at: UnixMillis
    epoch: Epoch
    key: KeyId
    version: int
    proposal: bytes
    charter_sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyPublished:
    """The policy of the proposal decides from the next event on."""

    at: UnixMillis
    epoch: Epoch
    version: int
    proposal: bytes
    charter_sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CharterChanged:
    """The charter of the proposal is in force from the next event on; ``charter_sha256`` is the one before it."""

    at: UnixMillis
    epoch: Epoch
    version: int
    break_glass: bool
    proposal: bytes
    charter_sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeChanged:
    """A freeze was set or lifted."""

    at: UnixMillis
    epoch: Epoch
    scope: FreezeScope
    name: str
    frozen: bool
    proposal: bytes
    charter_sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CeremonyStepRecorded:
    """Members vouched for a step of a ceremony, whose record has the hash that the proposal names."""

    at: UnixMillis
    epoch: Epoch
    proposal: bytes
    charter_sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class IncarnationStarted:
    """Members gave up what a restored ledger has not got: from here on it goes on under another name.

    ``position`` entries were kept when it was put back; ``lost`` is what had been seen of the history that is gone.
    """

    at: UnixMillis
    epoch: Epoch
    incarnation: int
    position: int
    lost: Mark
    proposal: bytes
    charter_sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenJoined:
    """A node's token can open the wrapping key. The proposal's document is its transport key."""

    at: UnixMillis
    epoch: Epoch
    node: Principal
    transport_public_key: bytes
    wrapped_key: bytes
    wrapping_key_check: bytes
    proposal: bytes
    charter_sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLeft:
    """A node's token counts no more. What it can open it can open still."""

    at: UnixMillis
    epoch: Epoch
    node: Principal
    proposal: bytes
    charter_sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSet:
    """Members named who leads, and who must have every entry before it is given out; see ``pair``."""

    at: UnixMillis
    epoch: Epoch
    leader: Principal
    followers: tuple[Principal, ...]
    proposal: bytes
    charter_sha256: bytes


# What follows about tokens the leader says by itself, once a proposal has led to it.


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySealed:
    """A version of a key under the wrapping key; see ``tokens.SealedKey``."""

    at: UnixMillis
    epoch: Epoch
    key: KeyId
    version: int
    blob: bytes
    identity: bytes
    plaintext: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyProved:
    """A joined token signed its challenge with a version of a key. ``token`` is the proposal that joined it."""

    at: UnixMillis
    epoch: Epoch
    token: bytes
    node: Principal
    key: KeyId
    version: int
    signature: Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureRequest:
    """What was asked, by whom. ``key`` is as asked: ``{key}`` or ``{key}/versions/{version}``."""

    request_id: RequestId
    principal: Principal
    key: str
    payload: Payload


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureIssued:
    """The decision and the signature, in one fact: what is not here was never given out (I1).

    ``proposal`` is what members approved, where policy escalated the request, and ``charter_sha256`` who they were;
    otherwise both are empty.
    """

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
    proposal: bytes = b""
    charter_sha256: bytes = b""
    stamp: Stamp | None = None
    slot: str | None = None
    expires_at: UnixMillis | None = None
    shadows: tuple[str, ...] = ()
    usd: int | None = None
    known: int = 0

    @property
    def approved_input(self) -> bytes:
        """What members can have approved of ``signing_input``: nothing that the service stamped."""
        return self.signing_input if self.stamp is None else b""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureEscalated:
    """Policy wants members to approve this request first. The asker is told; the request id stays open.

    ``statement`` is what they sign: it holds the hashes of payload, effects and plain words.
    """

    at: UnixMillis
    epoch: Epoch
    request: SignatureRequest
    signing_input: bytes
    effects: tuple[Effect, ...]
    completeness: Completeness
    policy_version: int
    policy_sha256: bytes
    rules: tuple[str, ...]
    statement: bytes
    slot: str | None = None
    expires_at: UnixMillis | None = None
    known: int = 0


Answer = SignatureIssued | SignatureRefused
"""What a request id stands for, for ever."""
Change = (
    KeyCreated
    | KeyStateChanged
    | KeyDestroyed
    | PolicyPublished
    | CharterChanged
    | FreezeChanged
    | CeremonyStepRecorded
    | IncarnationStarted
    | TokenJoined
    | TokenLeft
    | PairSet
)
"""What carries out a proposal."""
Governance = ProposalMade | BallotCast | ChangeRefused | Change
Copied = KeySealed | KeyProved
"""How keys come into other tokens."""
Event = Genesis | TermStarted | Governance | Copied | SignatureIssued | SignatureRefused | SignatureEscalated


def is_ordinary(event: Event) -> bool:
    """Return whether the fact is an answer that no proposal led to."""
    return isinstance(event, SignatureRefused) or (isinstance(event, SignatureIssued) and not event.proposal)
