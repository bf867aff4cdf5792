"""Whom a server's own certificate names, and whether other nodes will take it for a node."""

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from keyvault.config import ConfigError
from keyvault.core.errors import Malformed
from keyvault.core.ids import Principal, parse_principal, role_of

_CALLS = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}


def own_principal(certificate_chain: bytes) -> Principal:
    """Return whom a certificate (PEM, the leaf first) names. Raises Malformed unless that is exactly one."""
    return _principal(_leaf(certificate_chain))


def node_principal(certificate_chain: bytes) -> Principal:
    """Return the node that a certificate names; raise ConfigError if nobody would take its calls for a node's.

    A node with such a certificate would serve, and what guards it would be dead without a word: its peers tell it
    nothing of what they have seen, and what it passes on is turned away.
    """
    leaf = _leaf(certificate_chain)
    own = _principal(leaf)
    lacks = "" if role_of(own) == "node" else "is not of role node"
    if not lacks and not _calls(leaf):
        lacks = "is not for calling others (TLS client authentication)"
    if lacks:
        raise ConfigError(
            f"[server] certificate names {own} and {lacks}; with [postgres] or [pair] a server calls other nodes, and"
            " needs a node's: keyvault cert issue node/NAME --host HOST, HOST as in its address"
        )
    return own


def _leaf(certificate_chain: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(certificate_chain)[0]
    except ValueError as error:
        raise Malformed("certificate", f"names nobody: {error}") from error


def _principal(leaf: x509.Certificate) -> Principal:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound) as error:
        raise Malformed("certificate", f"names nobody: {error}") from error
    found = [name for name in names.get_values_for_type(x509.UniformResourceIdentifier) if name.startswith("spiffe:")]
    if len(found) != 1:
        raise Malformed("certificate", f"must have exactly one spiffe:// URI, has {len(found)}")
    return parse_principal(found[0])


def _calls(leaf: x509.Certificate) -> bool:
    """Return whether TLS takes it from a client; a certificate that says no purpose is good for all (RFC 5280)."""
    try:
        purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return any(purpose in _CALLS for purpose in purposes)
