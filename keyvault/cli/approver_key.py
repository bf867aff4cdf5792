"""Where a member's approval key may live, and how a command names it.

- ``PATH``: a file, PKCS#8 in PEM (with a passphrase or without) or OpenSSH's form without one. It must be ours alone.
- ``agent:``, ``agent:SHA256:...``, ``agent:COMMENT``: a key in the SSH agent of this login; without more, its only one.
- ``pkcs11:token=LABEL;object=LABEL;id=%01?module-path=/FILE``: a key in a smart card or another token (RFC 7512). Of
  ``object`` and ``id`` either will do, or none where the token has one key only. The PIN is never in the URI.

A file whose name begins like that is ``./agent:...``. A file's passphrase and a token's PIN are typed, or come from a
file or a descriptor (``cli.secret_input``); an option that has no meaning for the key is refused, not ignored.
"""

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHPrivateKeyTypes,
    load_pem_private_key,
    load_ssh_private_key,
)

from keyvault.cli.exits import UsageProblem
from keyvault.cli.secret_input import given_secret
from keyvault.client.credentials import read_small
from keyvault.client.public_key import parse_public_key
from keyvault.client.ssh_agent import AgentKey, SshAgent
from keyvault.client.statements import MemberKey, MemberSigner, PrivateKey
from keyvault.core import limits
from keyvault.core.ids import MemberName
from keyvault.secretfile import read_secret_file

if TYPE_CHECKING:
    from keyvault.hsm.token.approver import TokenKey

PASSPHRASE_OPTION = "--passphrase-file"  # noqa: S105  the name of an option
PIN_OPTION = "--pin-file"

_AGENT = "agent:"
_TOKEN = "pkcs11:"  # noqa: S105  the beginning of a URI
_URI_EXAMPLE = "pkcs11:token=alice;object=approvals?module-path=/usr/lib/opensc-pkcs11.so"
_PATH_NAMES = frozenset({"token", "object", "id", "type"})
_PERCENT = re.compile(r"%(?![0-9a-fA-F]{2})", re.ASCII)
_OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_PRIVATE = b"PRIVATE KEY-----"


def open_signer(
    reference: str, *, member: MemberName, passphrase_file: Path | None, pin_file: Path | None
) -> MemberSigner:
    """Return the key that ``reference`` names, ready to sign; asks for a passphrase or a PIN where one is needed.

    Raises UsageProblem, UnsafeFile, Malformed, AgentProblem or TokenKeyProblem, all KeyvaultError; none holds a secret.
    """
    if reference.startswith(_AGENT):
        _refuse(_AGENT, {PASSPHRASE_OPTION: passphrase_file, PIN_OPTION: pin_file})
        return AgentKey(member, reference.removeprefix(_AGENT))
    if reference.startswith(_TOKEN):
        _refuse(_TOKEN, {PASSPHRASE_OPTION: passphrase_file})
        return _token_signer(parse_token_uri(reference), member, pin_file)
    _refuse(f"{reference}:", {PIN_OPTION: pin_file})
    return MemberKey(member, load_key_file(Path(reference), passphrase_file))


def public_key_of(reference: str, *, passphrase_file: Path | None) -> bytes:
    """Return the SubjectPublicKeyInfo (DER) of the key that ``reference`` names, or that is in a public key's file.

    No PIN is needed; a passphrase is, for the file of an encrypted private key. Raises as ``open_signer``.
    """
    if reference.startswith(_AGENT):
        _refuse(_AGENT, {PASSPHRASE_OPTION: passphrase_file})
        return SshAgent.from_environment().find(reference.removeprefix(_AGENT)).public_key
    if reference.startswith(_TOKEN):
        from keyvault.hsm.token.approver import read_token_public_key  # noqa: PLC0415  only for tokens: loads PKCS#11

        _refuse(_TOKEN, {PASSPHRASE_OPTION: passphrase_file})
        return read_token_public_key(parse_token_uri(reference))
    path = Path(reference)
    data = read_small(path)
    if _PRIVATE in data:
        public = load_key_file(path, passphrase_file).public_key()
        return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    _refuse(f"{reference}:", {PASSPHRASE_OPTION: passphrase_file}, why="it holds a public key")
    return parse_public_key(data, reference)


def load_key_file(path: Path, passphrase_file: Path | None) -> PrivateKey:
    """Return the private key in a file that only we can open. Raises UnsafeFile or UsageProblem."""
    data = read_secret_file(path)
    try:
        key = _plain(path, data)
    except TypeError:  # encrypted, says cryptography
        if data.lstrip().startswith(_OPENSSH):
            raise UsageProblem(
                f"{path}: is encrypted in OpenSSH's own form, which is left to the agent: ssh-add {path}, then {_AGENT}"
            ) from None
        key = _decrypted(path, data, given_secret(passphrase_file, f"Passphrase of {path}", PASSPHRASE_OPTION))
    else:
        _refuse(f"{path}:", {PASSPHRASE_OPTION: passphrase_file}, why="the file is not encrypted")
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise UsageProblem(f"{path}: is not an Ed25519 or P-256 key; `keyvault member keygen` makes one")


def parse_token_uri(uri: str) -> "TokenKey":
    """Return which key a ``pkcs11:`` URI names. Raises UsageProblem, which never shows a PIN that stood in it."""
    from keyvault.hsm.token.approver import TokenKey  # noqa: PLC0415  only for tokens: loads PKCS#11

    if "pin-value" in uri or "pin-source" in uri:
        raise UsageProblem(
            f"a PIN does not belong in a URI, where others see it: it is asked for, or {PIN_OPTION} FILE"
        )
    path, _, query = uri.removeprefix(_TOKEN).partition("?")
    named, asked = _attributes(path, ";"), _attributes(query, "&")
    strange = sorted((named.keys() - _PATH_NAMES) | (asked.keys() - {"module-path"}))
    if strange:
        raise UsageProblem(f"pkcs11: URI: {strange[0][:40]!r} is not understood; write it as in {_URI_EXAMPLE}")
    if named.get("type", b"private") != b"private":
        raise UsageProblem("pkcs11: URI: type= must be private, or left out")
    module = Path(_text(asked, "module-path"))
    if not module.is_absolute():
        raise UsageProblem("pkcs11: URI: module-path= must be the full path of the module")
    object_id = named.get("id")
    if object_id is not None and not 0 < len(object_id) <= limits.TOKEN_OBJECT_ID_BYTES_MAX:
        raise UsageProblem(f"pkcs11: URI: id= has 1 to {limits.TOKEN_OBJECT_ID_BYTES_MAX} bytes, as in id=%01")
    return TokenKey(
        module=module,
        token=_text(named, "token"),
        label=_text(named, "object") if "object" in named else None,
        object_id=object_id,
    )


def _token_signer(name: "TokenKey", member: MemberName, pin_file: Path | None) -> MemberSigner:
    from keyvault.hsm.token.approver import ApproverKey  # noqa: PLC0415  only for tokens: loads PKCS#11

    # Once, also for a key that wants it at every signature: a descriptor cannot be read twice.
    pin = functools.cache(lambda: given_secret(pin_file, f"PIN of token {name.token!r}", PIN_OPTION))
    return ApproverKey(member, name, pin=pin)


def _refuse(key: str, options: Mapping[str, Path | None], why: str = "it is for another kind of key") -> None:
    """Raise UsageProblem if one of the options was given. ``key`` is shown: never a whole URI, it may hold a PIN."""
    for option, value in options.items():
        if value is not None:
            raise UsageProblem(f"{key} leave out {option}: {why}")


# Files ------------------------------------------------------------------------------------------------------


def _plain(path: Path, data: bytes) -> PrivateKeyTypes | SSHPrivateKeyTypes:
    """Return the key; raise TypeError if it is encrypted, UsageProblem if it is none."""
    load = load_ssh_private_key if data.lstrip().startswith(_OPENSSH) else load_pem_private_key
    try:
        return load(data, None)
    except (ValueError, UnsupportedAlgorithm) as error:
        # Without the cause's text: it may quote what it could not parse.
        raise UsageProblem(f"{path}: is not a private key in PEM form ({type(error).__name__})") from None


def _decrypted(path: Path, data: bytes, passphrase: str) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(data, passphrase.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise UsageProblem(f"{path}: the passphrase does not open it") from None  # the cause's frames hold it


# URIs -------------------------------------------------------------------------------------------------------


def _attributes(text: str, separator: str) -> dict[str, bytes]:
    """Return the attributes of one half of a URI, percent-decoded, each of them once."""
    found: dict[str, bytes] = {}
    for part in text.split(separator) if text else ():
        name, equals, value = part.partition("=")
        if not equals or name in found or _PERCENT.search(value):
            raise UsageProblem(f"pkcs11: URI: each part must be NAME=VALUE, each name once, as in {_URI_EXAMPLE}")
        found[name] = unquote_to_bytes(value)
    return found


def _text(attributes: Mapping[str, bytes], name: str) -> str:
    try:
        text = attributes.get(name, b"").decode()
    except UnicodeDecodeError:
        raise UsageProblem(f"pkcs11: URI: {name}= is not UTF-8") from None
    if not text or "\0" in text:
        raise UsageProblem(f"pkcs11: URI: it needs {name}=, as in {_URI_EXAMPLE}")
    return text
