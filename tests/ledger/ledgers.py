"""A genuine ledger for auditors to look at, and for tests to tamper with."""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field

import coincurve
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyvault.core.approvals import Action, Envelope
from keyvault.core.commands import object_id_of
from keyvault.core.errors import Reason
from keyvault.core.events import (
    Event,
    KeyCreated,
    KeyStateChanged,
    PolicyPublished,
    SignatureIssued,
    SignatureRefused,
    SignatureRequest,
    TermStarted,
)
from keyvault.core.ids import Epoch, KeyId, RequestId, UnixMillis
from keyvault.core.intent import Completeness, Effect, Operation, Payload, PayloadKind
from keyvault.core.keys import KeyAlgorithm, KeyProvenance, KeyState, Signature
from keyvault.core.policy import Rule, Verdict
from keyvault.core.state import State, apply
from keyvault.ledger import checkpoint
from keyvault.ledger.codec import encode, encode_policy, key_of, policy_sha256
from keyvault.ledger.merkle import Tree, leaf_hash
from keyvault.ledger.note import Verifier, verifier
from keyvault.ledger.signatures import P256_ORDER
from keyvault.store.base import EMPTY_HEAD, Entry, Head, Store
from tests.worlds import BOT, NOW, Person, genesis, policy, signed, statement

Signer = Callable[[bytes], Signature]

RULE = Rule(
    id="digests",
    verdict=Verdict.ALLOW,
    keys=frozenset({"k1", "p1", "e1", "h1"}),
    principals=frozenset({BOT}),
    kinds=frozenset({PayloadKind.RAW_DIGEST, PayloadKind.BINANCE_REST}),
    operations=frozenset({Operation.OPAQUE}),
)
"""What lets every key of these ledgers sign: digests, or requests that nobody could read."""


@dataclass(frozen=True)
class TokenKey:
    """A key as a token would have it."""

    algorithm: KeyAlgorithm
    public_key: bytes
    sign: Signer


def secp256k1_key() -> TokenKey:
    """Make a secp256k1 key."""
    key = coincurve.PrivateKey()

    def sign(digest: bytes) -> Signature:
        made = key.sign_recoverable(digest, hasher=None)
        return Signature(value=made[:64], recovery_id=made[64])

    return TokenKey(KeyAlgorithm.SECP256K1, key.public_key.format(compressed=False), sign)


def p256_key() -> TokenKey:
    """Make a P-256 key."""
    key = ec.generate_private_key(ec.SECP256R1())

    def sign(digest: bytes) -> Signature:
        r, s = decode_dss_signature(key.sign(digest, ec.ECDSA(Prehashed(SHA256()))))
        s = min(s, P256_ORDER - s)
        return Signature(value=r.to_bytes(32, "big") + s.to_bytes(32, "big"))

    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return TokenKey(KeyAlgorithm.P256, point, sign)


def ed25519_key() -> TokenKey:
    """Make an Ed25519 key."""
    key = ed25519.Ed25519PrivateKey.generate()
    return TokenKey(
        KeyAlgorithm.ED25519, key.public_key().public_bytes_raw(), lambda message: Signature(value=key.sign(message))
    )


def hmac_key() -> TokenKey:
    """Make an HMAC secret."""
    return TokenKey(
        KeyAlgorithm.HMAC_SHA256, b"", lambda message: Signature(value=hmac.digest(b"secret", message, hashlib.sha256))
    )


@dataclass
class Ledger:
    """A ledger under way: events go in, entries and checkpoints come out."""

    log_key: ed25519.Ed25519PrivateKey = field(default_factory=ed25519.Ed25519PrivateKey.generate)
    admin: Person = field(default_factory=lambda: Person("alice"))
    state: State = field(default_factory=State.empty)
    tree: Tree = field(default_factory=Tree)
    events: list[Event] = field(default_factory=list)
    entries: list[bytes] = field(default_factory=list)
    checkpoints: list[tuple[int, bytes]] = field(default_factory=list)
    token: dict[str, TokenKey] = field(default_factory=dict)
    head: Head = EMPTY_HEAD

    @property
    def at(self) -> UnixMillis:
        """The time of the next event."""
        return UnixMillis(NOW + len(self.entries))

    @property
    def epoch(self) -> Epoch:
        """The term of the next event."""
        return self.state.epoch

    @property
    def key(self) -> Verifier:
        """The log key."""
        name = checkpoint.origin(self.state.enclave, leaf_hash(self.entries[0]))
        return verifier(name, self.log_key.public_key().public_bytes_raw())

    def add(self, event: Event) -> int:
        """Append the event and return its index."""
        index = len(self.entries)
        apply(self.state, index, event)
        return self.force(event)

    def force(self, event: Event) -> int:
        """Append the event as a liar would, whether it follows or not, and return its index."""
        self.events.append(event)
        self.entries.append(encode(event))
        self.tree.append(leaf_hash(self.entries[-1]))
        self.head = Head(size=self.tree.size, root=self.tree.root())
        return self.tree.size - 1

    def start(self) -> None:
        """Genesis and first term."""
        first = policy(RULE)
        self.add(genesis(self.admin, rules=first, log_public_key=self.log_key.public_key().public_bytes_raw()))
        self.start_term()

    def start_term(self) -> int:
        """Let the next term start."""
        return self.add(
            TermStarted(at=self.at, epoch=Epoch(self.epoch + 1), holder=f"process {self.epoch}", software="keyvault 0")
        )

    def authorization(self, action: Action, parameters: dict[str, str]) -> Envelope:
        """Return what the admin signs now."""
        return signed(statement(self.state, action, parameters, nonce=f"{len(self.entries):02x}"), self.admin)

    def create_key(self, name: str, made: TokenKey) -> int:
        """Create or import a key."""
        imported = made.algorithm is KeyAlgorithm.HMAC_SHA256
        parameters = {"key": name, "algorithm": made.algorithm.value} | (
            {"wrapped_sha256": "00" * 32} if imported else {}
        )
        envelope = self.authorization(Action.KEY_IMPORT if imported else Action.KEY_CREATE, parameters)
        self.token[name] = made
        return self.add(
            KeyCreated(
                at=self.at,
                epoch=self.epoch,
                key=KeyId(name),
                version=1,
                algorithm=made.algorithm,
                provenance=KeyProvenance.IMPORTED if imported else KeyProvenance.GENERATED,
                public_key=made.public_key,
                token_object_id=object_id_of(envelope.payload),
                authorization=envelope,
            )
        )

    def set_key_state(self, name: str, state: KeyState) -> int:
        """Enable or disable a key."""
        action = Action.KEY_ENABLE if state is KeyState.ACTIVE else Action.KEY_DISABLE
        return self.add(
            KeyStateChanged(
                at=self.at,
                epoch=self.epoch,
                key=KeyId(name),
                version=1,
                state=state,
                authorization=self.authorization(action, {"key": name, "version": "1"}),
            )
        )

    def publish_policy(self, *rules: Rule) -> int:
        """Publish a policy that is the next version, of these rules or of the same."""
        new = policy(*(rules or (RULE,)), version=self.state.policy.version + 1)
        document = encode_policy(new)
        parameters = {"policy_sha256": policy_sha256(document).hex(), "version": str(new.version)}
        envelope = self.authorization(Action.POLICY_PUBLISH, parameters)
        return self.add(
            PolicyPublished(at=self.at, epoch=self.epoch, policy=new, document=document, authorization=envelope)
        )

    def issued(self, name: str, request_id: str | None = None) -> SignatureIssued:
        """Return a signature that could come next."""
        digest = hashlib.sha256(f"{name} {len(self.entries)}".encode()).digest()
        return SignatureIssued(
            at=self.at,
            epoch=self.epoch,
            request=self._request(name, digest, request_id),
            key_version=1,
            signing_input=digest,
            effects=(Effect(operation=Operation.OPAQUE),),
            completeness=Completeness.OPAQUE,
            policy_version=self.state.policy.version,
            policy_sha256=self.state.policy_sha256,
            rules=("digests",),
            signature=self.token[name].sign(digest),
        )

    def refused(self, name: str = "k1") -> SignatureRefused:
        """Return a refusal that could come next."""
        return SignatureRefused(
            at=self.at,
            epoch=self.epoch,
            request=self._request(name, bytes(32), None),
            reason=Reason.NO_RULE_ALLOWS,
            explanation="no rule allows raw digests with this key",
            policy_version=self.state.policy.version,
            policy_sha256=self.state.policy_sha256,
            rules=(),
        )

    def _request(self, name: str, digest: bytes, request_id: str | None) -> SignatureRequest:
        return SignatureRequest(
            request_id=RequestId(request_id or f"request-{len(self.entries)}"),
            principal=BOT,
            key=name,
            payload=self._payload(name, digest),
        )

    def _payload(self, name: str, digest: bytes) -> Payload:
        if name in self.token and self.token[name].algorithm in {KeyAlgorithm.ED25519, KeyAlgorithm.HMAC_SHA256}:
            return Payload(kind=PayloadKind.BINANCE_REST, parts=(digest.hex().encode(), b""))
        return Payload(kind=PayloadKind.RAW_DIGEST, parts=(digest,))

    def sign_checkpoint(self) -> bytes:
        """Sign the ledger as it is and return the note."""
        text = checkpoint.signing_text(self.key.name, self.head.size, self.head.root)
        note = checkpoint.assemble(text, self.key, self.log_key.sign(text))
        self.checkpoints.append((self.head.size, note))
        return note

    def write(self, store: Store) -> None:
        """Put everything into a store."""
        epoch = store.acquire_term("test")
        entries = [
            Entry(body=body, request_key=key_of(event)) for body, event in zip(self.entries, self.events, strict=True)
        ]
        store.append(epoch=epoch, expected=EMPTY_HEAD, entries=entries, new=self.head)
        for size, note in self.checkpoints:
            store.put_checkpoint(epoch=epoch, size=size, note=note)


def sample(signatures: int = 40) -> Ledger:
    """Return a ledger with every kind of fact and key, some checkpoints, and a tail that none covers yet."""
    ledger = Ledger()
    ledger.start()
    for name, made in (("k1", secp256k1_key()), ("p1", p256_key()), ("e1", ed25519_key()), ("h1", hmac_key())):
        ledger.create_key(name, made)
    ledger.sign_checkpoint()
    for number in range(signatures):
        ledger.add(ledger.issued(("k1", "p1", "e1", "h1")[number % 4]))
        if number % 10 == 9:
            ledger.add(ledger.refused())
            ledger.sign_checkpoint()
    ledger.set_key_state("p1", KeyState.DISABLED)
    ledger.publish_policy()
    ledger.set_key_state("p1", KeyState.ACTIVE)
    ledger.start_term()
    ledger.sign_checkpoint()
    ledger.add(ledger.issued("p1"))
    ledger.add(ledger.refused())
    return ledger
