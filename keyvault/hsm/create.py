"""A new SoftHSM token for a deployment, made by a process of its own.

The caller (the CLI's ``init`` and ``token create``) never imports ``pkcs11`` and never has a PIN:
``keyvault.hsm.provision`` makes both PINs, writes them to files that only this user can read, and reports public keys.
"""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from keyvault.core.keys import KeyTransport, SealedRoots
from keyvault.core.limits import TOKEN_START_MS
from keyvault.hsm.base import TokenFault
from keyvault.hsm.config import find_module, package_root

_COMMAND = (sys.executable, "-P", "-s", "-m", "keyvault.hsm.provision")
_RSA_MS = 45_000
"""Two primes of 1536 bits on a slow machine, many times over."""
PIN_FILE = "user.pin"
SO_PIN_FILE = "so.pin"
CONF_FILE = "softhsm2.conf"
TOKENS_FOLDER = "tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptyToken:
    """Where a new token is. Nothing in it is secret; the files that it names are."""

    module: Path
    label: str
    softhsm2_conf: Path
    pin_file: Path
    so_pin_file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedToken(EmptyToken):
    """A new token with the keys that an enclave begins with.

    ``log_public_key``: Ed25519, 32 bytes. ``import_public_key``: RSA, SubjectPublicKeyInfo (DER). ``sealed``: both
    private keys under the token's wrapping key, where keys move by AES-KWP.
    """

    log_public_key: bytes
    import_public_key: bytes
    sealed: SealedRoots | None = None


def create_token(
    directory: Path, label: str, module: Path | None = None, *, key_transport: KeyTransport = KeyTransport.NONE
) -> CreatedToken:
    """Make a SoftHSM token under this label in a folder, which is made if need be; nothing in it is overwritten.

    Blocks for up to some seconds (an RSA-3072 key). Raises TokenFault that says what is wrong; then what was begun
    is removed again.
    """
    place = _place(directory, label, module)
    keys = _provisioned(place, "--key-transport", key_transport)
    sealed = keys.get("sealed")
    return CreatedToken(
        **asdict(place),
        log_public_key=bytes.fromhex(keys["log_public_key"]),
        import_public_key=bytes.fromhex(keys["import_public_key"]),
        sealed=None if sealed is None else _sealed(sealed),
    )


def create_empty_token(directory: Path, label: str, module: Path | None = None) -> EmptyToken:
    """Make a token without any key, for a node that joins an enclave; otherwise as ``create_token``."""
    place = _place(directory, label, module)
    _provisioned(place, "--empty")
    return place


def _place(directory: Path, label: str, module: Path | None) -> EmptyToken:
    directory = directory.absolute()
    return EmptyToken(
        module=find_module(module),
        label=label,
        softhsm2_conf=directory / CONF_FILE,
        pin_file=directory / PIN_FILE,
        so_pin_file=directory / SO_PIN_FILE,
    )


def _sealed(told: dict[str, Any]) -> SealedRoots:
    return SealedRoots(
        wrapping_key_check=bytes.fromhex(told["wrapping_key_check"]),
        log_key=bytes.fromhex(told["log_key"]),
        log_key_plaintext=told["log_key_plaintext"],
        import_key=bytes.fromhex(told["import_key"]),
    )


def _provisioned(place: EmptyToken, *options: str) -> dict[str, Any]:
    """Return what the process that made the token says of it. Raises TokenFault."""
    directory = place.pin_file.parent
    arguments = ("--directory", str(directory), "--label", place.label, "--module", str(place.module), *options)
    try:
        done = subprocess.run(  # noqa: S603 - our own module, with paths of the deployment
            (*_COMMAND, *arguments),
            env={"PYTHONPATH": package_root(), "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=(TOKEN_START_MS + _RSA_MS) / 1000,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TokenFault("TOKEN_NOT_CREATED", "the PKCS#11 module did not finish in time") from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise TokenFault("TOKEN_NOT_CREATED", lines[-1] if lines else f"exit status {done.returncode}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told
