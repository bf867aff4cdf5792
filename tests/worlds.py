"""Small worlds for tests: members with keys, a genesis, statements, policies, requests."""

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyvault import intents
from keyvault.core.approvals import (
    PAYLOAD_TYPE,
    Action,
    Envelope,
    EnvelopeSignature,
    Member,
    Statement,
    keyid_of,
    pre_authentication_encoding,
)
from keyvault.core.commands import ChangeEnclave, RequestSignature
from keyvault.core.events import Genesis, SignatureRequest
from keyvault.core.ids import EnclaveName, Epoch, MemberName, Principal, RequestId, UnixMillis
from keyvault.core.intent import Operation, Payload, PayloadKind
from keyvault.core.keys import KeyAlgorithm
from keyvault.core.policy import ANY, Limit, Policy, Rule, Verdict
from keyvault.core.state import State
from keyvault.ledger.codec_policy import encode_policy

NOW = UnixMillis(1_790_000_000_000)
BOT = Principal("spiffe://test.local/bot/maker")
OTHER_BOT = Principal("spiffe://test.local/bot/taker")

MemberKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


def spki(key: MemberKey) -> bytes:
    """Return SubjectPublicKeyInfo (DER)."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True)
class Person:
    """A member and the private key in their hands."""

    name: str
    roles: frozenset[str] = frozenset({"admin"})
    key: MemberKey = field(default_factory=ed25519.Ed25519PrivateKey.generate)

    @property
    def member(self) -> Member:
        """What the ledger knows of this person."""
        return Member(name=MemberName(self.name), roles=self.roles, public_keys=(spki(self.key),))

    def sign(self, payload: bytes) -> EnvelopeSignature:
        """Sign a statement as DSSE does."""
        message = pre_authentication_encoding(PAYLOAD_TYPE, payload)
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            signature = self.key.sign(message)
        else:
            signature = self.key.sign(message, ec.ECDSA(SHA256()))
        return EnvelopeSignature(keyid=keyid_of(spki(self.key)), sig=signature)


def policy(*rules: Rule, limits: tuple[Limit, ...] = (), version: int = 1) -> Policy:
    """Return a policy of these rules."""
    return Policy(version=version, rules=rules, limits=limits)


def allow_digest(key: str = "signer", rule_id: str = "digests") -> Rule:
    """Return a rule that lets the bot sign raw digests with this key."""
    return Rule(
        id=rule_id,
        verdict=Verdict.ALLOW,
        keys=frozenset({key}),
        principals=frozenset({BOT}),
        kinds=frozenset({PayloadKind.RAW_DIGEST}),
        operations=frozenset({Operation.OPAQUE}),
    )


def allow_transfers(key: str = "signer", amount_max: int = 10**18) -> Rule:
    """Return a rule that lets any bot send so much anywhere on any chain."""
    return Rule(
        id="transfers",
        verdict=Verdict.ALLOW,
        keys=frozenset({key}),
        principals=ANY,
        kinds=frozenset({PayloadKind.EVM_TRANSACTION}),
        operations=frozenset({Operation.TRANSFER}),
        chains=ANY,
        destinations=ANY,
        amount_max=amount_max,
        fee_max=ANY,
    )


def genesis(
    *people: Person, rules: Policy | None = None, threshold: int = 1, log_public_key: bytes = b"L" * 32
) -> Genesis:
    """Return entry 0 of an enclave named hot."""
    first = rules or policy()
    return Genesis(
        at=NOW,
        epoch=Epoch(0),
        enclave=EnclaveName("hot"),
        log_public_key=log_public_key,
        import_public_key=b"",
        members=tuple(person.member for person in people),
        admin_threshold=threshold,
        policy=first,
        policy_document=encode_policy(first),
        nonce=b"n" * 16,
    )


def statement(  # the facts of a statement, each with a default that fits
    state: State,
    action: Action,
    parameters: dict[str, str],
    *,
    requester: str = "alice",
    nonce: str = "00",
    expires_at: int = NOW + 600_000,
    policy_version: int | None = None,
    enclave_id: str | None = None,
) -> Statement:
    """Return a statement that fits the state unless told otherwise."""
    return Statement(
        action=action,
        enclave=state.enclave,
        enclave_id=enclave_id or state.enclave_id.hex(),
        policy_version=policy_version or state.policy.version,
        requester=MemberName(requester),
        parameters=tuple(sorted(parameters.items())),
        nonce=nonce,
        expires_at=UnixMillis(expires_at),
    )


def signed(said: Statement, *people: Person) -> Envelope:
    """Return the envelope with these people's signatures."""
    payload = said.encode()
    return Envelope(
        payload=payload, payload_type=PAYLOAD_TYPE, signatures=tuple(person.sign(payload) for person in people)
    )


def change(said: Statement, *people: Person, **extra: object) -> ChangeEnclave:
    """Return the command that carries the signed statement."""
    return ChangeEnclave(authorization=signed(said, *people), statement=said, **extra)  # type: ignore[arg-type]  # test glue


def create_key(
    state: State, person: Person, key: str = "signer", algorithm: KeyAlgorithm = KeyAlgorithm.SECP256K1
) -> ChangeEnclave:
    """Return the command that creates a key."""
    return change(statement(state, Action.KEY_CREATE, {"key": key, "algorithm": algorithm.value}), person)


def digest_request(
    request_id: str, *, digest: bytes = b"d" * 32, key: str = "signer", principal: Principal = BOT
) -> RequestSignature:
    """Return a request for a signature over a raw digest."""
    return request(request_id, Payload(kind=PayloadKind.RAW_DIGEST, parts=(digest,)), key=key, principal=principal)


def request(request_id: str, payload: Payload, *, key: str = "signer", principal: Principal = BOT) -> RequestSignature:
    """Return a parsed request."""
    asked = SignatureRequest(request_id=RequestId(request_id), principal=principal, key=key, payload=payload)
    return RequestSignature(request=asked, intent=intents.parse(payload))
