"""Members' public keys as other programs write them: PEM, and the lines of OpenSSH.

Inside keyvault a member's key is SubjectPublicKeyInfo (DER) of an Ed25519 or P-256 key, and nothing else; here the
other forms are turned into that one. OpenSSH's form is that of RFC 4253, section 6.6, with RFC 8709 (``ssh-ed25519``)
and RFC 5656 (``ecdsa-sha2-nistp256``). Certificates and keys of security keys (``sk-...``) are refused: a certificate
is not a key, and a security key signs more than what it is given.
"""

import base64
import binascii
import hashlib
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
    load_ssh_public_key,
)

from keyvault.client.credentials import read_small
from keyvault.core import limits
from keyvault.core.errors import Malformed

PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey

ED25519 = "ssh-ed25519"
P256 = "ecdsa-sha2-nistp256"
KINDS = frozenset({ED25519, P256})
"""OpenSSH's names for the kinds of keys that members may have."""
_SECURITY_KEY = "sk-"


def read_public_key(path: str | Path) -> bytes:
    """Return the SubjectPublicKeyInfo (DER) in a file of PEM or one OpenSSH line. Raises OSError or Malformed."""
    return parse_public_key(read_small(path), str(path))


def parse_public_key(data: bytes, origin: str) -> bytes:
    """Return the SubjectPublicKeyInfo (DER) in PEM or one OpenSSH line; raise Malformed, which names ``origin``."""
    text = data.strip()
    if b"PRIVATE KEY-----" in text:
        raise Malformed(origin, "holds a private key; give the file of its public half, which ends in .pub")
    if text.startswith(b"-----BEGIN "):
        return _from_pem(text, origin)
    return _from_line(text, origin)


def from_ssh_blob(blob: bytes, kind: str, origin: str) -> bytes:
    """Return the SubjectPublicKeyInfo (DER) in OpenSSH's binary form of a key of this kind, or raise Malformed."""
    if kind.startswith(_SECURITY_KEY):
        raise Malformed(
            origin,
            "is the key of a security key (FIDO), which signs its own counter and flags along with what it is given: "
            "no approval can be checked with it. Use an ordinary key, or the smart card side of the same device "
            "(pkcs11:)",
        )
    if kind not in KINDS:
        raise Malformed(origin, f"is {shown(kind)!r}, not {ED25519} or {P256}")
    try:
        key = load_ssh_public_key(b" ".join((kind.encode(), base64.b64encode(blob))))
    except (ValueError, UnsupportedAlgorithm):
        raise Malformed(origin, f"is not a well-formed {kind} key") from None
    return _checked(key, origin)


def ssh_blob(public_key: bytes) -> bytes:
    """Return OpenSSH's binary form of a SubjectPublicKeyInfo (DER), or raise Malformed."""
    line = _loaded(public_key).public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return base64.b64decode(line.split(b" ")[1])


def ssh_fingerprint(blob: bytes) -> str:
    """Return what ``ssh-keygen -l`` shows for OpenSSH's binary form of a key: ``SHA256:`` and unpadded base64."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode("ascii").rstrip("=")


def kind_of(public_key: bytes) -> str:
    """Return OpenSSH's name for the kind of a SubjectPublicKeyInfo (DER), or raise Malformed."""
    return ED25519 if isinstance(_loaded(public_key), ed25519.Ed25519PublicKey) else P256


def pem_of(public_key: bytes) -> str:
    """Return a SubjectPublicKeyInfo (DER) as PEM, or raise Malformed."""
    return _loaded(public_key).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def verifies(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Return whether this is an Ed25519 signature, or ECDSA P-256 with SHA-256 (ASN.1 DER), of the message."""
    key = _loaded(public_key)
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, message)
        else:
            key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def shown(text: str) -> str:
    """Return a stranger's text so that it can do nothing to a terminal, cut to a readable length."""
    return text.encode("unicode_escape").decode("ascii")[: limits.AGENT_TEXT_CHARS_MAX]


def _from_pem(text: bytes, origin: str) -> bytes:
    try:
        key = load_pem_public_key(text)
    except (ValueError, UnsupportedAlgorithm):
        raise Malformed(origin, "is no public key in PEM form (-----BEGIN PUBLIC KEY-----)") from None
    return _checked(key, origin)


def _from_line(text: bytes, origin: str) -> bytes:
    kind, _, rest = text.partition(b" ")
    encoded = rest.partition(b" ")[0]
    if b"\n" in text or not encoded:
        raise Malformed(origin, f"holds neither a public key in PEM form nor one line as in '{ED25519} AAAA...'")
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed(origin, "has no base64 after the kind of the key, as in 'ssh-ed25519 AAAA...'") from None
    return from_ssh_blob(blob, kind.decode("ascii", "backslashreplace"), origin)


def _checked(key: object, origin: str) -> bytes:
    if isinstance(key, ed25519.Ed25519PublicKey) or (
        isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    ):
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    raise Malformed(origin, "must be an Ed25519 or P-256 key")


def _loaded(public_key: bytes) -> PublicKey:
    try:
        key = load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm):
        raise Malformed("public key", "is not SubjectPublicKeyInfo (DER)") from None
    if isinstance(key, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey):
        return key
    raise Malformed("public key", "must be Ed25519 or P-256")
