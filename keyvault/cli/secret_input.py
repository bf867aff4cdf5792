"""Passphrases and PINs: typed on the terminal, read from a file, or from a descriptor that the caller hands down.

Never from an argument or a variable: the one is in every user's ``ps``, the other in every child process.
"""

import getpass
import os
import re
import stat
import warnings
from pathlib import Path

import click

from keyvault.cli.exits import UsageProblem
from keyvault.core import limits
from keyvault.secretfile import UnsafeFile, read_secret_file

_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/([0-9]{1,9})", re.ASCII)
_MORE_LINES = frozenset("\n\r\0")


def given_secret(path: Path | None, what: str, option: str) -> str:
    """Return the secret in the file, or ask for it where there is none. Raises UsageProblem or UnsafeFile."""
    return ask_secret(what, option) if path is None else read_secret(path)


def read_secret(path: Path) -> str:
    """Return the one line in a file that only we can open, or in an inherited descriptor (``/dev/fd/3``, ``<(...)``).

    Raises UnsafeFile, or UsageProblem if it is not one line of UTF-8.
    """
    match = _DESCRIPTOR.fullmatch(str(path))
    data = read_secret_file(path) if match is None else _read_descriptor(path, int(match[1]))
    try:
        text = data.decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise UsageProblem(f"{path}: is not UTF-8; it must hold one secret") from None  # the cause holds the secret
    if not text or not _MORE_LINES.isdisjoint(text):
        raise UsageProblem(f"{path}: must hold one line, the secret and nothing else")
    return text


def ask_secret(what: str, option: str, *, twice: bool = False) -> str:
    """Return what is typed on the terminal, unseen; UsageProblem names ``option`` if there is no terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)  # it would go on and show what is typed
        try:
            answer = click.prompt(what, hide_input=True, confirmation_prompt=twice, err=True)
        except getpass.GetPassWarning:
            raise UsageProblem(f"{what}: there is no terminal to ask on; give {option} FILE") from None
    return str(answer)


def _read_descriptor(path: Path, number: int) -> bytes:
    try:
        status = os.fstat(number)
        if not _is_safe(status):
            raise UnsafeFile(f"{path}: must be a pipe, a socket, or a file that nobody else can open (chmod 600)")
        with open(number, "rb", closefd=False) as file:
            data = file.read(limits.SECRET_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise UnsafeFile(f"{path}: cannot be read ({error.strerror}); it must hold a secret") from error
    if len(data) > limits.SECRET_FILE_BYTES_MAX:
        raise UnsafeFile(f"{path}: is longer than {limits.SECRET_FILE_BYTES_MAX} bytes; it must hold one secret")
    return data


def _is_safe(status: os.stat_result) -> bool:
    if stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode):
        return True
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077
