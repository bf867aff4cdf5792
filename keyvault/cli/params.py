"""Kinds of option values: amounts of native coin, days, and bytes as hex."""

import re
from pathlib import Path

import click

from keyvault.core.errors import Malformed

FILE = click.Path(dir_okay=False, path_type=Path)
_DAYS = re.compile(r"([1-9][0-9]{0,3})d", re.ASCII)
_HEX = re.compile(r"(?:0x)?((?:[0-9a-fA-F]{2})*)", re.ASCII)


class Wei(click.ParamType[int]):
    """``1.5 ether``, ``30 gwei`` or ``21000``; the value is a whole number of wei."""

    name = "amount"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the amount in wei, or fail with what is wrong."""
        from keyvault.cli.policy_units import parse_amount  # noqa: PLC0415  brings the policy's words along

        try:
            return value if isinstance(value, int) else parse_amount(str(value).strip())
        except Malformed as error:
            self.fail(error.problem, param, ctx)


class Days(click.ParamType[int]):
    """``365d``; the value is a number of days."""

    name = "days"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of days, or fail with what is wrong."""
        if isinstance(value, int):
            return value
        match = _DAYS.fullmatch(str(value))
        if match is None:
            self.fail(f"{str(value)[:40]!r} is not a number of days: write 30d", param, ctx)
        return int(match[1])


class Span(click.ParamType[int]):
    """``24h`` or ``7d``; the value is in milliseconds."""

    name = "span"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the milliseconds, or fail with what is wrong."""
        from keyvault.cli.policy_units import parse_span  # noqa: PLC0415  as above

        try:
            return value if isinstance(value, int) else parse_span(str(value))
        except Malformed as error:
            self.fail(error.problem, param, ctx)


class Hex(click.ParamType[bytes]):
    """Bytes as 0x and hex digits."""

    name = "hex"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        """Return the bytes, or fail with what is wrong."""
        try:
            return value if isinstance(value, bytes) else parse_hex(str(value))
        except Malformed as error:
            self.fail(error.problem, param, ctx)


def parse_hex(text: str) -> bytes:
    """Return the bytes of hex digits with or without 0x, or raise Malformed."""
    match = _HEX.fullmatch(text.strip())
    if match is None:
        raise Malformed("hex", f"{text[:40]!r} is not hex: write 0x and an even number of hex digits")
    return bytes.fromhex(match[1])
