"""``keyvault key``: the life of keys. Every change is a statement that a member signs."""

import sys
from pathlib import Path

import click

from keyvault.cli.exits import UsageProblem
from keyvault.cli.output import JsonValue, emit, fields, hexed, json_option, say, table, time_text
from keyvault.cli.session import call, signer
from keyvault.cli.target import Approver, Target, member_options, target_options
from keyvault.client.results import Key
from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.keys import KeyAlgorithm
from keyvault.secretfile import read_secret_file

_GENERATED = ("secp256k1", "p256", "ed25519")


@click.group()
def command() -> None:
    """Create, import, list, show, disable and enable keys.

    \b
    Example:
      keyvault key create eth-mm-1 --algorithm secp256k1 --deployment ./desk
      keyvault key list --deployment ./desk
    """  # noqa: D301  \b tells click to keep the lines


@command.command()
@click.argument("key")
@click.option("--algorithm", type=click.Choice(_GENERATED), required=True, help="What the key is to sign with.")
@member_options
@target_options("admin")
@json_option
def create(key: str, algorithm: str, target: Target, approver: Approver) -> None:
    """Generate KEY inside the token; it never leaves it.

    \b
    Example:
      keyvault key create eth-mm-1 --algorithm secp256k1 --deployment ./desk
    """  # noqa: D301  as above
    member, kind = signer(approver), KeyAlgorithm(algorithm.upper())
    say(f"{approver.name} asks: create key {key} ({kind}) in enclave {target.enclave}.")
    _show(call(target, lambda client: client.create_key(key, kind, signer=member)))


@command.command(name="import")
@click.argument("key")
@click.option(
    "--secret-file",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    required=True,
    help="File with mode 0600 that holds the secret, or - for stdin. One line end at its end is not part of it.",
)
@click.option("--hex", "is_hex", is_flag=True, help="The secret stands there as hex digits.")
@member_options
@target_options("admin")
@json_option
def import_key(key: str, secret_file: Path, is_hex: bool, target: Target, approver: Approver) -> None:
    """Import an HMAC-SHA256 secret, such as an exchange's API secret, as KEY.

    The secret is wrapped here for the token's import key: the server never sees it. It is never taken from an argument,
    where other users of the machine could read it.

    \b
    Example:
      keyvault key import binance-1 --secret-file ./binance.secret --deployment ./desk
    """  # noqa: D301  as above
    secret, member = _secret(secret_file, is_hex=is_hex), signer(approver)
    say(f"{approver.name} asks: import key {key} (HMAC_SHA256) into enclave {target.enclave}.")
    _show(call(target, lambda client: client.import_hmac_key(key, secret, signer=member)))


@command.command(name="list")
@target_options("admin", "auditor")
@json_option
def list_keys(target: Target) -> None:
    """List the keys of the enclave.

    \b
    Example:
      keyvault key list --deployment ./desk
    """  # noqa: D301  as above
    keys = call(target, lambda client: client.list_keys())
    rows = [(key.key, str(key.version), key.algorithm, key.state, key.provenance, _identity(key)) for key in keys]
    emit(
        {"keys": [_document(key) for key in keys]},
        lambda: table(("key", "version", "algorithm", "state", "provenance", "address or public key"), rows),
    )


@command.command()
@click.argument("key")
@target_options("admin", "auditor", "bot")
@json_option
def show(key: str, target: Target) -> None:
    """Show KEY with its public key and, for secp256k1, its Ethereum address.

    \b
    Example:
      keyvault key show eth-mm-1 --deployment ./desk
    """  # noqa: D301  as above
    _show(call(target, lambda client: client.public_key(key)))


@command.command()
@click.argument("key")
@member_options
@target_options("admin")
@json_option
def disable(key: str, target: Target, approver: Approver) -> None:
    """Disable KEY: it signs nothing from the next decision on.

    \b
    Example:
      keyvault key disable eth-mm-1 --deployment ./desk
    """  # noqa: D301  as above
    member = signer(approver)
    _show(call(target, lambda client: client.disable_key(key, signer=member)))


@command.command()
@click.argument("key")
@member_options
@target_options("admin")
@json_option
def enable(key: str, target: Target, approver: Approver) -> None:
    """Enable KEY, which was disabled: it signs again.

    \b
    Example:
      keyvault key enable eth-mm-1 --deployment ./desk
    """  # noqa: D301  as above
    member = signer(approver)
    _show(call(target, lambda client: client.enable_key(key, signer=member)))


def _secret(path: Path, *, is_hex: bool) -> bytes:
    """Return the secret; errors never quote it."""
    data = sys.stdin.buffer.read(limits.SECRET_FILE_BYTES_MAX + 1) if str(path) == "-" else read_secret_file(path)
    if len(data) > limits.SECRET_FILE_BYTES_MAX:
        raise UsageProblem(f"the secret is longer than {limits.SECRET_FILE_BYTES_MAX} bytes")
    secret = data.removesuffix(b"\n").removesuffix(b"\r")
    if is_hex:
        try:
            secret = bytes.fromhex(secret.decode("ascii").removeprefix("0x"))
        except ValueError:
            raise Malformed("secret", "is not hex digits, although --hex says so") from None
    if not secret:
        raise Malformed("secret", "is empty")
    return secret


def _show(key: Key) -> None:
    document = _document(key)
    pairs = [(name, str(value)) for name, value in document.items() if not name.endswith(("_pem", "_ms"))]
    emit(document, lambda: fields([*pairs, ("created", time_text(key.created_at))]))


def _document(key: Key) -> dict[str, JsonValue]:
    return {
        "key": key.key,
        "version": key.version,
        "name": key.name,
        "algorithm": key.algorithm.value,
        "state": key.state.value,
        "provenance": key.provenance.value,
        "public_key": hexed(key.public_key) if key.public_key else "",
        "public_key_pem": key.public_key_pem,
        "ethereum_address": key.ethereum_address,
        "create_time_ms": key.created_at,
    }


def _identity(key: Key) -> str:
    return key.ethereum_address or (hexed(key.public_key) if key.public_key else "")
