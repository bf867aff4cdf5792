"""The local certificate authority of a deployment, and the approval keys of its members.

Formats: X.509 v3 (RFC 5280) with the URI SAN of an X509-SVID (SPIFFE), P-256 keys as PKCS#8 PEM with mode 0600. It does
not revoke: a certificate ends with its life, and what a principal may do is policy. Nothing is ever overwritten.

A firm that has its own authority uses that instead: keyvault only asks for the URI SAN
``spiffe://<trust-domain>/<role>/<name>``.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from keyvault.core import limits
from keyvault.core.errors import KeyvaultError
from keyvault.core.ids import Principal, parse_principal
from keyvault.secretfile import UnsafeFile, read_secret_file, write_new_file, write_secret_file

AUTHORITY_CERTIFICATE = "ca.crt"
AUTHORITY_KEY = "ca.key"
LEAF_DAYS = 397
"""Default life of a leaf, in days: what public authorities came down to, and one renewal a year."""
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
"""What every server certificate names."""

_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.ASCII)
_LISTENING_ROLES = frozenset({"server", "node"})


class PkiError(KeyvaultError):
    """The authority cannot do what was asked; the text says what, where, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """One certificate with its private key, both PEM files."""

    principal: Principal
    certificate: Path
    private_key: Path


def create_authority(directory: Path, trust_domain: str) -> Path:
    """Make a self-signed authority in ``directory`` (made with mode 0700 if missing); return its certificate's path.

    It signs leaves only, for AUTHORITY_DAYS. Raises Malformed for a bad trust domain, and PkiError or UnsafeFile where
    anything is in the way.
    """
    parse_principal(f"spiffe://{trust_domain}/server/name")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _common_name(f"{trust_domain} authority"))])
    builder = (
        _builder(name, name, key.public_key(), days=limits.AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(_names([f"spiffe://{trust_domain}"], ()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256())
    _write_pair(directory, AUTHORITY_CERTIFICATE, AUTHORITY_KEY, certificate, key)
    return directory / AUTHORITY_CERTIFICATE


def issue(
    authority: Path, role: str, name: str, out: Path, *, days: int = LEAF_DAYS, hosts: Sequence[str] = ()
) -> Credential:
    """Make ``<role>-<name>.crt`` and ``.key`` in ``out`` for ``spiffe://<trust-domain>/<role>/<name>``.

    Servers are also named by LOCAL_HOSTS and ``hosts`` (DNS names or IP addresses).
    Raises Malformed for a bad role or name, and PkiError or UnsafeFile for everything else that is wrong.
    """
    issuer, issuer_key = _load_authority(authority)
    principal = parse_principal(f"{_trust_domain(issuer)}/{role}/{name}")
    listens = role in _LISTENING_ROLES
    if hosts and not listens:
        raise PkiError(f"host names are for {' and '.join(sorted(_LISTENING_ROLES))} certificates, not for {role}")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _common_name(f"{role} {name}"))])
    builder = (
        _builder(issuer.subject, subject, key.public_key(), days=_leaf_days(days, issuer))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_purposes(role)), critical=False)
        .add_extension(_names([principal], (*LOCAL_HOSTS, *hosts) if listens else ()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    files = (f"{role}-{name}.crt", f"{role}-{name}.key")
    _write_pair(out, *files, builder.sign(issuer_key, hashes.SHA256()), key)
    return Credential(principal=principal, certificate=out / files[0], private_key=out / files[1])


def create_member_key(path: Path) -> bytes:
    """Make a member's Ed25519 approval key (PKCS#8 PEM, mode 0600); return its SubjectPublicKeyInfo (DER).

    Raises UnsafeFile if anything is at ``path`` already.
    """
    key = ed25519.Ed25519PrivateKey.generate()
    write_secret_file(path, _private_pem(key))
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


# X.509 ------------------------------------------------------------------------------------------------------


def _builder(
    issuer: x509.Name, subject: x509.Name, public_key: ec.EllipticCurvePublicKey, *, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())  # 159 random bits
        .not_valid_before(now - timedelta(milliseconds=limits.CERTIFICATE_BACKDATE_MS))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _purposes(role: str) -> list[x509.ObjectIdentifier]:
    server, client = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
    return {"server": [server], "node": [server, client]}.get(role, [client])


def _names(uris: Sequence[str], hosts: Sequence[str]) -> x509.SubjectAlternativeName:
    if len(hosts) > limits.CERTIFICATE_HOSTS_MAX:
        raise PkiError(f"{len(hosts)} host names are too many; at most {limits.CERTIFICATE_HOSTS_MAX} fit")
    unique = tuple(dict.fromkeys(hosts))
    return x509.SubjectAlternativeName(
        [*map(x509.UniformResourceIdentifier, uris), *(_host_name(host) for host in unique)]
    )


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not _HOST.fullmatch(host):
        raise PkiError(f"{host[:300]!r} is neither an IP address nor a lower-case DNS name")
    return x509.DNSName(host)


def _common_name(text: str) -> str:
    return text[:64]  # RFC 5280 ub-common-name; for people only, names that count are in the SAN


def _leaf_days(days: int, issuer: x509.Certificate) -> int:
    left = (issuer.not_valid_after_utc - datetime.now(UTC)).days
    if left < 1:
        raise PkiError("the authority's own certificate has ended; make a new authority")
    most = min(limits.CERTIFICATE_DAYS_MAX, left)
    if not 1 <= days <= most:
        raise PkiError(f"{days} days is not possible; this authority gives 1 to {most}")
    return days


def _trust_domain(issuer: x509.Certificate) -> str:
    """Return ``spiffe://<trust-domain>``, which the authority's own certificate names (X509-SVID, section 2)."""
    try:
        names = issuer.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise PkiError("the authority's certificate names no trust domain; use one made by keyvault") from error
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise PkiError("the authority's certificate must name exactly one trust domain")
    return uris[0]


# Files ------------------------------------------------------------------------------------------------------


def _load_authority(directory: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    path = directory / AUTHORITY_CERTIFICATE
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise PkiError(f"{path}: is not the certificate of an authority; `keyvault init` makes one") from error
    key = _load_private_key(directory / AUTHORITY_KEY)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise PkiError(f"{directory / AUTHORITY_KEY}: is not the key of {path}")
    return certificate, key


def _load_private_key(path: Path) -> PrivateKeyTypes:
    pem = read_secret_file(path)
    try:
        return serialization.load_pem_private_key(pem, password=None)
    except (TypeError, ValueError) as error:
        # Without the cause's text: it may quote what it could not parse.
        raise PkiError(f"{path}: is not a private key in unencrypted PEM form ({type(error).__name__})") from None


def _write_pair(
    directory: Path,
    certificate_name: str,
    key_name: str,
    certificate: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
) -> None:
    """Write both files or neither."""
    try:
        for each in (
            *reversed(directory.parents),
            directory,
        ):  # ``parents=True`` would let others look into the new ones
            each.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise PkiError(f"{directory}: cannot be made ({error.strerror})") from error
    key_path, certificate_path = directory / key_name, directory / certificate_name
    write_secret_file(key_path, _private_pem(key))
    try:
        write_new_file(certificate_path, certificate.public_bytes(serialization.Encoding.PEM))
    except UnsafeFile:
        key_path.unlink()  # ours, of this moment: O_EXCL made it
        raise


def _private_pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
