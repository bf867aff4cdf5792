"""What the SDK gives back. Every signature in here was verified against the key that was expected.

The exception is HMAC: only holders of the secret can verify it, so only its length and the text around it are checked.

Signatures and signed requests are bearer instruments: they stay out of ``repr`` and so out of logs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyvault import intents
from keyvault.client.errors import UnusableAnswer
from keyvault.core.approvals import EnvelopeSignature, Voice
from keyvault.core.charter import Charter
from keyvault.core.ids import KeyId, UnixMillis
from keyvault.core.intent import Completeness, Effect, Output, Payload, PayloadKind
from keyvault.core.keys import KeyAlgorithm, KeyProvenance, KeyState
from keyvault.core.marks import Quarantine
from keyvault.core.policy import Policy
from keyvault.core.proposals import Outcome
from keyvault.core.statements import Statement

_DIGITS = 32

S = TypeVar("S", bound="Signed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A verified signature.

    ``key_version`` is ``enclaves/{enclave}/keys/{key}/versions/{version}``. ``signature`` is r||s (64 bytes, low s),
    Ed25519 (64 bytes) or HMAC (32 or 64 bytes); ``recovery_id`` stands for secp256k1 only.
    """

    request_id: str
    key_version: str
    ledger_index: int
    signing_input: bytes
    signature: bytes = field(repr=False)
    recovery_id: int | None
    output: Output = field(repr=False)


class SignedDigest(Signed):
    """A signature over 32 bytes."""

    __slots__ = ()


class SignedTransaction(Signed):
    """A transaction for ``eth_sendRawTransaction``."""

    __slots__ = ()

    @property
    def raw_transaction(self) -> bytes:
        """The signed transaction, made here from what was sent and the signature."""
        return self.output.raw

    @property
    def transaction_hash(self) -> bytes:
        """Keccak-256 of ``raw_transaction``."""
        return self.output.transaction_hash


class SignedTypedData(Signed):
    """A signature over EIP-712 typed data."""

    __slots__ = ()

    @property
    def r(self) -> bytes:
        """32 bytes, big-endian."""
        return self.signature[:_DIGITS]

    @property
    def s(self) -> bytes:
        """32 bytes, big-endian, at most half the group order."""
        return self.signature[_DIGITS:]

    @property
    def v(self) -> int:
        """27 or 28."""
        return self.output.raw[2 * _DIGITS]

    @property
    def rsv(self) -> bytes:
        """65 bytes, r || s || v: what contracts and venues take as "the signature"."""
        return self.output.raw


class SignedBytes(Signed):
    """A signature in the form that a chain takes."""

    __slots__ = ()

    @property
    def raw(self) -> bytes:
        """Bitcoin: DER and sighash byte. Solana, Cosmos: the whole transaction. Else 65 bytes."""
        return self.output.raw

    @property
    def transaction_hash(self) -> bytes:
        """By which the chain names the transaction, if ``raw`` is a whole one; else empty."""
        return self.output.transaction_hash


class SignedExchangeRequest(Signed):
    """What goes to an exchange: a request, or the message of a session, with its signature in place."""

    __slots__ = ()

    @property
    def query(self) -> str:
        """To be sent after "?"."""
        return self.output.query

    @property
    def body(self) -> str:
        """To be sent as body."""
        return self.output.body

    @property
    def path(self) -> str:
        """The path that was signed, where the venue's scheme has one."""
        return self.output.path

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """To be sent as headers; secrets of the caller, such as a passphrase, are not among them."""
        return self.output.headers

    @property
    def message(self) -> str:
        """The whole message of a WebSocket or FIX session; empty for a request."""
        return self.output.message


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedPsbt:
    """A PSBT with all signatures of our key; everything else in it is as it was.

    ``signatures`` are ours, by number of the input. ``transaction`` is what the network takes, empty as long as
    somebody else has to sign or to finalise (multisig). ``request_id`` with ``.`` and the number asked for each.
    """

    request_id: str
    psbt: bytes = field(repr=False)
    signatures: Mapping[int, SignedBytes]
    transaction: bytes = field(repr=False)


RESULTS: Mapping[PayloadKind, type[Signed]] = MappingProxyType(
    {
        **dict.fromkeys(PayloadKind, SignedExchangeRequest),
        **dict.fromkeys(
            (
                PayloadKind.EVM_AUTHORIZATION,
                PayloadKind.EVM_MESSAGE,
                PayloadKind.SOLANA_MESSAGE,
                PayloadKind.BITCOIN_PSBT,
                PayloadKind.COSMOS_SIGN_DOC,
            ),
            SignedBytes,
        ),
        PayloadKind.EVM_TRANSACTION: SignedTransaction,
        PayloadKind.TYPED_DATA: SignedTypedData,
        PayloadKind.RAW_DIGEST: SignedDigest,
    }
)
"""What a signature over each kind of payload comes as."""


def narrowed(kind: type[S], signed: Signed) -> S:
    """Return the signature as what was asked for, or raise UnusableAnswer."""
    if isinstance(signed, kind):
        return signed
    raise UnusableAnswer(f"{type(signed).__name__} came where {kind.__name__} was asked for")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One version of a key. ``name`` is ``enclaves/{enclave}/keys/{key}/versions/{version}``.

    ``public_key`` is the SEC 1 uncompressed point (65 bytes), the Ed25519 key (32 bytes), or empty for HMAC.
    ``primary``: it signs when a request names no version. ``rotate_by``: when its cryptoperiod ends, if it has one.
    ``destroy_at`` stands while its destruction is scheduled. ``sealed``: tokens that join get it; ``proved_by`` are the
    nodes whose tokens showed that they hold it, ``on_every_token`` whether that are all, and two or more.
    """

    name: str
    key: KeyId
    version: int
    algorithm: KeyAlgorithm
    state: KeyState
    provenance: KeyProvenance
    public_key: bytes
    created_at: UnixMillis
    primary: bool = True
    rotate_by: UnixMillis | None = None
    destroy_at: UnixMillis | None = None
    sealed: bool = False
    proved_by: tuple[str, ...] = ()
    on_every_token: bool = False

    @property
    def public_key_pem(self) -> str:
        """SubjectPublicKeyInfo (RFC 5280) as PEM; empty for HMAC. Made here from ``public_key``."""
        loaded: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
        match self.algorithm:
            case KeyAlgorithm.SECP256K1:
                loaded = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), self.public_key)
            case KeyAlgorithm.P256:
                loaded = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), self.public_key)
            case KeyAlgorithm.ED25519:
                loaded = ed25519.Ed25519PublicKey.from_public_bytes(self.public_key)
            case KeyAlgorithm.HMAC_SHA256 | KeyAlgorithm.HMAC_SHA512:
                return ""
        return loaded.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")

    @property
    def ethereum_address(self) -> str:
        """EIP-55 address of a secp256k1 key, else empty. Made here from ``public_key``."""
        return intents.ethereum_address(self.public_key) if self.algorithm is KeyAlgorithm.SECP256K1 else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnclaveInfo:
    """What statements, audits and imports need to know. ``enclave_id`` has 32 bytes.

    ``quarantine`` is why nothing is signed, if that is so; ``incarnation`` is above 1 once a restored ledger went on.
    """

    name: str
    enclave_id: bytes
    policy_version: int
    log_vkey: str
    import_public_key: bytes
    ledger_size: int
    epoch: int
    charter_version: int = 0
    incarnation: int = 1
    quarantine: Quarantine | None = None
    keys_move: bool = False
    joined_nodes: tuple[str, ...] = ()
    pair: "PairInfo | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PairInfo:
    """Who leads a pair and who follows, by their certificates' names; ``leader`` is empty until members named one.

    ``term_node`` leads the present term; if it ``stands``, nothing is decided before members named it. The last of the
    first ``position`` entries is the last that decided anything, at ``decided_at``.
    """

    leader: str
    followers: tuple[str, ...]
    term_node: str
    stands: bool
    position: int
    decided_at: UnixMillis


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPolicy:
    """The policy in force, its document as it stands in the ledger, and the document's SHA-256."""

    policy: Policy
    document: bytes
    sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedCharter:
    """The charter in force, its document as it stands in the ledger, and the document's SHA-256."""

    charter: Charter
    document: bytes
    sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """A member's word about a proposal. ``counts``: it does now; not if the member, or the key, was removed."""

    member: str
    voice: Voice
    signature: EnvelopeSignature
    at: UnixMillis
    ledger_index: int
    counts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Why to look twice at an effect (from 0), and what it is compared with; the server's word."""

    effect: int
    mark: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureSubject:
    """What is to be signed, decoded on this machine. ``words``: one sentence an effect, joined by line feeds."""

    request_id: str
    principal: str
    key: str
    payload: Payload
    effects: tuple[Effect, ...]
    signing_input: bytes
    completeness: Completeness
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What waits, or waited, for members. ``statement`` is what they sign, ``said`` what it says.

    ``name`` is ``enclaves/{enclave}/proposals/{id}``, ``id`` the SHA-256 of the statement in hex. ``approved_at`` and
    ``due_at`` stand while its quorum is complete. ``document`` is the policy or charter that is proposed; empty in
    lists and when the proposal has ended, as ``subject`` is None in lists.
    """

    name: str
    id: str
    statement: bytes
    said: Statement
    outcome: Outcome
    signature: EnvelopeSignature | None
    created_at: UnixMillis
    ledger_index: int
    quorum: str
    ballots: tuple[Ballot, ...]
    approved_by: tuple[str, ...]
    approved_at: UnixMillis | None
    due_at: UnixMillis | None
    vetoed_before: str
    subject: SignatureSubject | None
    document: bytes
    remarks: tuple[Remark, ...]
    closed_index: int | None
