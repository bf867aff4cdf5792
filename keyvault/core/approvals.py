"""Statements that members sign, and the check that enough of them did (I4).

A privileged change is a statement: canonical JSON that says what, in which enclave, under which policy version,
until when, and in plain words. Members sign it as a DSSE envelope (github.com/secure-systems-lab/dsse). The
envelope goes into the ledger as it is, so anybody can check it again, for ever, against the members that the
ledger had at that point.

Canonical JSON here: one object, ASCII, keys sorted, no spaces, all values strings (``parameters``: an object of
strings). Bytes that do not come back identical after parsing and writing are refused.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keyvault.core import limits
from keyvault.core.errors import Malformed, Reason, Refused
from keyvault.core.ids import EnclaveName, MemberName, UnixMillis, parse_enclave_name, parse_member_name

PAYLOAD_TYPE = "application/vnd.keyvault.statement+json"
STATEMENT_TYPE = "keyvault/statement/v1"
_ENCLAVE_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NONCE = re.compile(r"([0-9a-f]{2}){1,32}", re.ASCII)


class Action(StrEnum):
    """What a statement can ask for."""

    KEY_CREATE = "key.create"
    KEY_IMPORT = "key.import"
    KEY_DISABLE = "key.disable"
    KEY_ENABLE = "key.enable"
    POLICY_PUBLISH = "policy.publish"


_SUMMARIES: Mapping[Action, str] = {
    Action.KEY_CREATE: "Create key {key} ({algorithm}) in enclave {enclave}.",
    Action.KEY_IMPORT: "Import key {key} ({algorithm}, wrapped secret {wrapped_sha256}) into enclave {enclave}.",
    Action.KEY_DISABLE: "Disable version {version} of key {key} in enclave {enclave}: it signs nothing any more.",
    Action.KEY_ENABLE: "Enable version {version} of key {key} in enclave {enclave}: it signs again.",
    Action.POLICY_PUBLISH: "Publish policy version {version} ({policy_sha256}) in enclave {enclave}.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeSignature:
    """One member's signature. ``keyid`` is the hex SHA-256 of the member's SubjectPublicKeyInfo (DER)."""

    keyid: str
    sig: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A DSSE envelope as it came, not checked."""

    payload: bytes
    payload_type: str
    signatures: tuple[EnvelopeSignature, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A person or machine with approval keys. ``public_keys`` are SubjectPublicKeyInfo (DER), Ed25519 or P-256."""

    name: MemberName
    roles: frozenset[str]
    public_keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What members sign. ``enclave_id`` and ``nonce`` are lower-case hex; ``parameters`` are sorted by name."""

    action: Action
    enclave: EnclaveName
    enclave_id: str
    policy_version: int
    requester: MemberName
    parameters: tuple[tuple[str, str], ...]
    nonce: str
    expires_at: UnixMillis

    def summary(self) -> str:
        """Return the statement in plain words; it is part of what is signed."""
        try:
            return _SUMMARIES[self.action].format(enclave=self.enclave, **dict(self.parameters))
        except KeyError as error:
            raise Malformed("statement.parameters", f"{self.action} needs {error.args[0]!r}") from None

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
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def decode_statement(payload: bytes) -> Statement:
    """Return the statement, or raise Malformed unless ``payload`` is exactly its canonical JSON."""
    if len(payload) > limits.ENVELOPE_BYTES_MAX:
        raise Malformed("statement", f"longer than {limits.ENVELOPE_BYTES_MAX} bytes")
    try:
        document = json.loads(payload)
        statement = Statement(
            action=Action(document["action"]),
            enclave=parse_enclave_name(document["enclave"]),
            enclave_id=str(document["enclave_id"]),
            policy_version=int(document["policy_version"]),
            requester=parse_member_name(document["requester"]),
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


def keyid_of(public_key: bytes) -> str:
    """Return the DSSE keyid of a SubjectPublicKeyInfo (DER)."""
    return hashlib.sha256(public_key).hexdigest()


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that a DSSE signature covers (PAE, DSSE protocol v1)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def signers(envelope: Envelope, members: Iterable[Member]) -> frozenset[MemberName]:
    """Return the members whose valid signatures the envelope carries, each once.

    Signatures with unknown keyids do not count. A known keyid with a signature that does not verify makes the
    whole envelope worthless: Refused(NOT_AUTHORIZED).
    """
    if envelope.payload_type != PAYLOAD_TYPE:
        raise Malformed("authorization.payload_type", f"must be {PAYLOAD_TYPE}")
    if len(envelope.signatures) > limits.ENVELOPE_SIGNATURES_MAX:
        raise Malformed("authorization.signatures", f"more than {limits.ENVELOPE_SIGNATURES_MAX}")
    known = {keyid_of(key): (member.name, key) for member in members for key in member.public_keys}
    signed = pre_authentication_encoding(envelope.payload_type, envelope.payload)
    names = set()
    for signature in envelope.signatures:
        if signature.keyid in known:
            name, public_key = known[signature.keyid]
            _verify(name, public_key, signature.sig, signed)
            names.add(name)
    return frozenset(names)


def check_member_key(public_key: bytes) -> None:
    """Raise Malformed unless this is SubjectPublicKeyInfo (DER) of an Ed25519 or P-256 key."""
    try:
        key = load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm):
        raise Malformed("member.public_keys", "not SubjectPublicKeyInfo (DER)") from None
    if not isinstance(key, ed25519.Ed25519PublicKey) and not (
        isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    ):
        raise Malformed("member.public_keys", "must be Ed25519 or P-256")


def _verify(name: MemberName, public_key: bytes, signature: bytes, signed: bytes) -> None:
    key = load_der_public_key(public_key)
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, signed)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
        else:
            raise Refused(Reason.NOT_AUTHORIZED, f"the key of member {name} is neither Ed25519 nor P-256")
    except InvalidSignature:
        raise Refused(Reason.NOT_AUTHORIZED, f"the signature of member {name} does not verify") from None
