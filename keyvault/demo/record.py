"""What the demo found: checks, figures, and what is shown of them."""

import json
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

_WIDTH_MAX = 100
_MARGIN = "    "
_NAME_WIDTH = 14
_HELD, _FAILED = "✓", "✗ FAILED"
_MARKS = frozenset({_HELD, _FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One claim of the product, and whether it was true here."""

    step: str
    claim: str
    held: bool


class Voice(Protocol):
    """Where the story is told."""

    def title(self, number: int, text: str) -> None:
        """Begin a step."""

    def line(self, name: str, value: str) -> None:
        """Say one fact."""

    def check(self, check: Check) -> None:
        """Say one check."""


class Record:
    """Keeps checks and figures, and tells them as they come."""

    def __init__(self, voice: Voice) -> None:
        self.checks: list[Check] = []
        self.figures: dict[str, int | float] = {}
        self._voice = voice
        self._step = "start"
        self._steps = 0

    @property
    def ok(self) -> bool:
        """Whether everything that was claimed was true."""
        return bool(self.checks) and all(check.held for check in self.checks)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Begin a step of the story; checks inside belong to it."""
        self._steps += 1
        self._step = title
        self._voice.title(self._steps, title)
        yield

    def say(self, name: str, value: str) -> None:
        """Tell a fact."""
        self._voice.line(name, value)

    def check(self, claim: str, *, held: bool) -> None:
        """Note whether the claim is true."""
        check = Check(step=self._step, claim=claim, held=held)
        self.checks.append(check)
        self._voice.check(check)

    def fail(self, what: str) -> None:
        """Note that the story cannot go on."""
        self.check(what, held=False)

    def figure(self, name: str, value: float) -> None:
        """Keep a figure for the summary."""
        self.figures[name] = value

    def as_json(self) -> str:
        """Return everything as one line of JSON."""
        checks = [{"step": each.step, "claim": each.claim, "held": each.held} for each in self.checks]
        return json.dumps({"ok": self.ok, "figures": self.figures, "checks": checks})


class Silence:
    """Tells nothing."""

    def title(self, number: int, text: str) -> None:
        """See Voice."""

    def line(self, name: str, value: str) -> None:
        """See Voice."""

    def check(self, check: Check) -> None:
        """See Voice."""


class Terminal:
    """Tells the story to people: 80 to 100 columns, in colour where that is a terminal."""

    def __init__(self) -> None:
        width = Console().width
        self._console = Console(width=min(width, _WIDTH_MAX), highlight=False, soft_wrap=False)
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="replace")  # a C locale gets question marks instead of a traceback

    def open(self, folder: str) -> None:
        """Say what begins."""
        text = Text("keys in a token, policy before every signature, a ledger after it\n", style="dim")
        text.append(f"everything happens in {folder}", style="dim")
        self._console.print(Panel(text, title="[bold]keyvault[/bold]", title_align="left", border_style="cyan"))

    def title(self, number: int, text: str) -> None:
        """See Voice."""
        self._console.print()
        self._console.print(Text.assemble((f"{number:>2}  ", "cyan"), (text, "bold")))

    def line(self, name: str, value: str) -> None:
        """See Voice."""
        self._row(Text(name, style="dim"), Text(value))

    def check(self, check: Check) -> None:
        """See Voice."""
        mark = Text(_HELD, style="green") if check.held else Text(_FAILED, style="bold red")
        self._row(mark, Text(check.claim, style="" if check.held else "bold red"))

    def block(self, text: str) -> None:
        """Show a file."""
        for line in text.splitlines():
            self._console.print(Text(f"{_MARGIN}│ {line}", style="dim", no_wrap=True, overflow="ellipsis"))

    def close(self, record: Record, seconds: float) -> None:
        """Show the figures and say how it ended."""
        figures = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2))
        figures.add_column(justify="right", style="bold")
        figures.add_column()
        for name, value in record.figures.items():
            figures.add_row(f"{value:,.2f}" if isinstance(value, float) else f"{value:,}", name.replace("_", " "))
        failed = [check for check in record.checks if not check.held]
        style, end = (
            ("red", f"{len(failed)} of {len(record.checks)} checks FAILED")
            if failed
            else ("green", f"all {len(record.checks)} checks held")
        )
        self._console.print()
        self._console.print(
            Panel(
                figures,
                title=f"[bold {style}]{end}[/bold {style}] [dim]in {seconds:.1f} s[/dim]",
                title_align="left",
                border_style=style,
            )
        )
        for check in failed:
            self._console.print(Text(f"FAILED  {check.step}: {check.claim}", style="bold red"))

    def _row(self, name: Text, value: Text) -> None:
        start = name.cell_len + 1 if name.plain in _MARKS else _NAME_WIDTH
        width = self._console.width - len(_MARGIN) - start
        lines = [part for line in value.plain.splitlines() for part in textwrap.wrap(line, width)] or [""]
        for number, line in enumerate(lines):
            left = name if number == 0 else Text()
            gap = " " * (start - left.cell_len)
            self._console.print(Text.assemble(_MARGIN, left, gap, (line, value.style)), soft_wrap=True)
