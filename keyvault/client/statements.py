"""Statements, and how a member says something to them (see ``core.statements`` for what a statement is)."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from keyvault.client.credentials import read_small
from keyvault.client.results import EnclaveInfo
from keyvault.core.approvals import EnvelopeSignature, Voice, keyid_of, signed_bytes
from keyvault.core.errors import Malformed
from keyvault.core.ids import MemberName, UnixMillis, parse_enclave_name, parse_member_name
from keyvault.core.statements import Action, Statement

_NONCE_BYTES = 16

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


class MemberSigner(Protocol):
    """A member's approval key, wherever it is: a file, a smart card, an agent."""

    @property
    def member(self) -> MemberName:
        """Whose key it is, as the ledger calls them."""

    @property
    def public_key(self) -> bytes:
        """SubjectPublicKeyInfo (DER), Ed25519 or P-256."""

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature (64 bytes), or ECDSA P-256 with SHA-256 (ASN.1 DER)."""


class MemberKey:
    """A member's key in this process's memory."""

    __slots__ = ("_member", "_private")

    def __init__(self, member: str, private: PrivateKey) -> None:
        """Raises Malformed for a bad name or a key that is neither Ed25519 nor P-256."""
        if isinstance(private, ec.EllipticCurvePrivateKey) and not isinstance(private.curve, ec.SECP256R1):
            raise Malformed("member key", "must be Ed25519 or P-256")
        self._member = parse_member_name(member)
        self._private = private

    @classmethod
    def from_file(cls, member: str, path: str | Path, *, passphrase: bytes | None = None) -> "MemberKey":
        """Return the key in a PEM file that only its owner can open. Raises OSError or Malformed."""
        if Path(path).stat().st_mode & 0o077:
            raise Malformed(str(path), "others can read or write it: chmod 600")
        try:
            private = load_pem_private_key(read_small(path), passphrase)
        except (ValueError, TypeError) as error:
            # Without the cause's text: it may quote what it could not parse.
            raise Malformed(
                str(path), f"is no private key in PEM, or needs a passphrase ({type(error).__name__})"
            ) from None
        if not isinstance(private, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
            raise Malformed(str(path), "must be Ed25519 or P-256")
        return cls(member, private)

    @property
    def member(self) -> MemberName:
        """Whose key it is."""
        return self._member

    @property
    def public_key(self) -> bytes:
        """SubjectPublicKeyInfo (DER)."""
        return self._private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, message: bytes) -> bytes:
        """Return the signature as DSSE carries it."""
        if isinstance(self._private, ed25519.Ed25519PrivateKey):
            return self._private.sign(message)
        return self._private.sign(message, ec.ECDSA(hashes.SHA256()))


def make_statement(
    enclave: EnclaveInfo,
    action: Action,
    parameters: Mapping[str, str],
    *,
    requester: str,
    expires_at: int,
) -> Statement:
    """Return a new statement for this enclave as it is now. ``expires_at`` is Unix time in milliseconds.

    Each statement has its own nonce: sent twice it is one change, made twice it is two. Raises Malformed if a
    parameter that the action needs is missing.
    """
    statement = Statement(
        action=action,
        enclave=parse_enclave_name(enclave.name.removeprefix("enclaves/")),
        enclave_id=enclave.enclave_id.hex(),
        policy_version=enclave.policy_version,
        requester=str(parse_member_name(requester)),
        parameters=tuple(sorted(parameters.items())),
        nonce=secrets.token_hex(_NONCE_BYTES),
        expires_at=UnixMillis(expires_at),
    )
    statement.summary()  # refuses here what could not be encoded later
    return statement


def say(statement: bytes, voice: Voice, signer: MemberSigner) -> EnvelopeSignature:
    """Return the member's signature that says this to a statement (DSSE, see ``core.approvals``)."""
    return EnvelopeSignature(keyid=keyid_of(signer.public_key), sig=signer.sign(signed_bytes(voice, statement)))
