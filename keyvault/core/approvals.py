"""Statements that members sign, and the check that enough of them did (I4).

A privileged change is a statement: canonical JSON that says what, in which enclave, under which policy version,
until when, and in plain words. Members sign it as a DSSE envelope (github.com/secure-systems-lab/dsse). The
envelope goes into the ledger as it is, so anybody can check it again, for ever, against the members that the
ledger had at that point.
"""

from dataclasses import dataclass

from keyvault.core.ids import MemberName

PAYLOAD_TYPE = "application/vnd.keyvault.statement+json"


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
