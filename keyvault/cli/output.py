"""What commands print: one JSON object with --json, else text for people. Only results go to stdout."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import click

from keyvault.cli.exits import JSON_MODE

JsonValue = str | int | bool | None | Sequence["JsonValue"] | Mapping[str, "JsonValue"]

_PLAIN_WIDTH = 240
"""Columns where nobody looks: long enough that addresses stay in one line."""

F = TypeVar("F", bound=Callable[..., object])


def json_option(command: F) -> F:
    """Give a command ``--json``; ``is_json`` and the reporting of errors know of it."""
    return click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        callback=_remember,
        help="Print one JSON object; errors are JSON on stderr.",
    )(command)


def _remember(context: click.Context, _option: click.Parameter, value: bool) -> None:
    context.meta[JSON_MODE] = value


def is_json() -> bool:
    """Return whether the running command has --json."""
    return bool(click.get_current_context().meta.get(JSON_MODE))


def emit(document: Mapping[str, JsonValue], human: Callable[[], str]) -> None:
    """Print the result: the document as one line of JSON, or what ``human`` makes."""
    click.echo(json.dumps(document) if is_json() else human())


def say(text: str) -> None:
    """Tell people something that is not the result: on stderr, and not at all with --json."""
    if not is_json():
        click.echo(text, err=True)


def hexed(data: bytes) -> str:
    """Return bytes as JSON and people read them: 0x and lower-case hex."""
    return "0x" + data.hex()


def time_text(unix_ms: int) -> str:
    """Return a time of the ledger, UTC, as ``2026-01-31 23:59:59.999Z``."""
    return datetime.fromtimestamp(unix_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.") + f"{unix_ms % 1000:03d}Z"


def printable(text: str) -> str:
    """Return a stranger's text so that it can do nothing to a terminal and look like nothing else: ASCII, one line.

    Whatever is no ASCII letter, digit, sign or space is written as an escape of Python, and so is the backslash itself.
    """
    return text.encode("unicode_escape", "backslashreplace").decode("ascii")


def printable_lines(text: str) -> str:
    """Return a stranger's text as ``printable`` does, line by line."""
    return "\n".join(map(printable, text.split("\n")))


def fields(pairs: Sequence[tuple[str, str]]) -> str:
    """Return names and values, one pair a line, values under one another; empty values are left out."""
    shown = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in shown), default=0)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in shown)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows under a header for the terminal; as plain columns where the output is not one."""
    from rich.console import Console  # noqa: PLC0415  takes a tenth of a second, which help and JSON do not need
    from rich.table import Table  # noqa: PLC0415  as above
    from rich.text import Text  # noqa: PLC0415  as above

    grid = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        grid.add_column(name, overflow="fold")
    for row in rows:
        grid.add_row(*map(Text, row))  # Text: what stands in a ledger is not rich's markup
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    with console.capture() as captured:
        console.print(grid)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
