"""The options that name a secret which a venue made: a file or stdin, and the form in which it stands there.

It is never taken from an argument, where other users of the machine could read it.
"""

import base64
import functools
import sys
from collections.abc import Callable
from pathlib import Path

import click

from keyvault.cli.exits import UsageProblem
from keyvault.cli.target import Command, with_options
from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.secretfile import read_secret_file

_HELD_IN = "File with mode 0600 that holds the secret, or - for stdin. One line end at its end is not part of it."
_FILE = click.Path(dir_okay=False, allow_dash=True, path_type=Path)


def secret_option(*, required: bool) -> Callable[[Command], Command]:
    """Give a command the options of a secret; it gets ``secret``, None where there is none and none is required."""
    held_in = _HELD_IN if required else f"For a key that was imported. {_HELD_IN}"

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_secret(*, secret_file: Path | None, form: str | None, **others: object) -> None:
            command(secret=None if secret_file is None else _secret(secret_file, form), **others)

        return with_options(
            with_secret,
            (
                click.option("--secret-file", type=_FILE, required=required, help=held_in),
                click.option("--hex", "form", flag_value="hex", help="The secret stands there as hex digits."),
                click.option("--base64", "form", flag_value="base64", help="The same as Base64, as Kraken shows it."),
            ),
        )

    return decorate


def _secret(path: Path, form: str | None) -> bytes:
    """Return the secret; errors never quote it."""
    data = sys.stdin.buffer.read(limits.SECRET_FILE_BYTES_MAX + 1) if str(path) == "-" else read_secret_file(path)
    if len(data) > limits.SECRET_FILE_BYTES_MAX:
        raise UsageProblem(f"the secret is longer than {limits.SECRET_FILE_BYTES_MAX} bytes")
    secret = data.removesuffix(b"\n").removesuffix(b"\r")
    if form is not None:
        try:
            secret = _READERS[form](secret)
        except ValueError:
            raise Malformed("secret", f"is not {form}, although --{form} says so") from None
    if not secret:
        raise Malformed("secret", "is empty")
    return secret


def _from_hex(text: bytes) -> bytes:
    return bytes.fromhex(text.decode("ascii").removeprefix("0x"))


def _from_base64(text: bytes) -> bytes:
    found = base64.b64decode(text, validate=True)
    if base64.b64encode(found) != text:
        raise ValueError("not the one form of these bytes")  # what is mistyped at its end would be dropped in silence
    return found


_READERS = {"hex": _from_hex, "base64": _from_base64}
