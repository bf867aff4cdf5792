"""The process that makes a new SoftHSM token: ``python -m keyvault.hsm.provision --directory D --label L --module M``.

It writes ``softhsm2.conf``, a ``tokens`` folder (0700) and two PIN files (0600); initialises the token; generates the
log key and the import key; and prints their public keys as JSON. With ``--key-transport kwp`` it makes the wrapping key
first, makes both so that they can leave under it, and prints the blobs, too. With ``--empty`` it makes no key.

Both PINs are random and stand nowhere but in their files: not in arguments, not in the environment, not in the output.
Existing files are refused, what was begun is removed when something fails.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from keyvault.core.keys import KeyAlgorithm, KeyTransport
from keyvault.hsm.base import IMPORT_KEY_OBJECT_ID, LOG_KEY_OBJECT_ID
from keyvault.hsm.create import CONF_FILE, PIN_FILE, SO_PIN_FILE, TOKENS_FOLDER
from keyvault.hsm.failures import TokenError
from keyvault.hsm.harden import harden
from keyvault.hsm.pin import write_new_pin
from keyvault.hsm.token import Session, Token, Transport, new_token
from keyvault.hsm.worker import self_test

_CONF = """\
# SoftHSM2 configuration of this deployment; keyvault gives it to its workers as SOFTHSM2_CONF.
directories.tokendir = {tokens}
objectstore.backend = file
objectstore.umask = 0077
log.level = ERROR
slots.removable = false
# A child of a process that is logged in must not be logged in.
library.reset_on_fork = true
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the token; return the exit status."""
    options = _parser().parse_args(arguments)
    harden()
    directory: Path = options.directory.absolute()
    made = tuple(directory / name for name in (CONF_FILE, TOKENS_FOLDER, PIN_FILE, SO_PIN_FILE))
    existing = [path for path in made if path.exists() or path.is_symlink()]
    if existing:
        return _complain(f"{existing[0]} exists; nothing is overwritten: choose another folder")
    try:
        made_keys = _provision(directory, options)
    except (OSError, TokenError, ValueError) as error:
        _remove(made)
        return _complain(str(error))
    print(json.dumps(made_keys))  # noqa: T201 - the result, for the process that started this one
    return 0


def _provision(directory: Path, options: argparse.Namespace) -> dict[str, object]:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    tokens = directory / TOKENS_FOLDER
    tokens.mkdir(mode=0o700)
    conf = directory / CONF_FILE
    with conf.open("x") as file:
        file.write(_CONF.format(tokens=tokens))
    os.environ["SOFTHSM2_CONF"] = str(conf)
    pin = write_new_pin(directory / PIN_FILE)
    new_token(module=options.module, label=options.label, so_pin=write_new_pin(directory / SO_PIN_FILE), pin=pin)
    if options.empty:
        return {}
    token = Token(
        module=options.module,
        label=options.label,
        lock_file=directory / "token.lock",
        key_transport=options.key_transport,
    )
    token.log_in(pin)
    return _first_keys(token, Session(token))


def _first_keys(token: Token, session: Session) -> dict[str, object]:
    transport, moves = Transport(session), token.key_transport is KeyTransport.KWP
    if moves:
        self_test(token, session)  # finds out what the token can wrap, and by which mechanism
        transport.create_wrapping_key()
    log_key = session.generate(LOG_KEY_OBJECT_ID, KeyAlgorithm.ED25519, plaintext_transport=moves)
    import_key = _subject_public_key_info(session.generate_import_key(IMPORT_KEY_OBJECT_ID))
    keys: dict[str, object] = {"log_public_key": log_key.hex(), "import_public_key": import_key.hex()}
    if moves:
        keys["sealed"] = {
            "wrapping_key_check": transport.check().hex(),
            "log_key": transport.wrap(LOG_KEY_OBJECT_ID, KeyAlgorithm.ED25519).hex(),
            "log_key_plaintext": KeyAlgorithm.ED25519 not in token.wraps,
            "import_key": transport.wrap_import_key().hex(),
        }
    return keys


def _subject_public_key_info(rsa_public_key: bytes) -> bytes:
    """Return an RSAPublicKey (RFC 8017, appendix A.1.1) as SubjectPublicKeyInfo (RFC 5280), both DER."""
    return load_der_public_key(rsa_public_key).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _remove(made: Sequence[Path]) -> None:
    for path in made:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _complain(text: str) -> int:
    print(text, file=sys.stderr)  # noqa: T201 - for the process that started this one
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="keyvault.hsm.provision", description="Make a new SoftHSM token.")
    parser.add_argument("--directory", type=Path, required=True, help="folder for the token, its configuration, PINs")
    parser.add_argument("--label", required=True, help="label of the new token")
    parser.add_argument("--module", type=Path, required=True, help="SoftHSM's PKCS#11 module")
    parser.add_argument("--key-transport", type=KeyTransport, default=KeyTransport.NONE, help="as in keyvault.toml")
    parser.add_argument("--empty", action="store_true", help="make no key")
    return parser


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # SoftHSM's static destructors can crash after OpenSSL's (SoftHSM issue 729)
