"""Reads a TOML file of sections whose every key is taken once, so that what is left over is a mistake with its line."""

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from keyvault.core import limits
from keyvault.core.errors import KeyvaultError, Malformed
from keyvault.core.ids import Principal, parse_principal, role_of


class ConfigError(KeyvaultError):
    """The deployment is not usable as it stands; the text says what, where, and what to do."""


class Reader:
    """The file, its sections, and where in it a key stands."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path.absolute().parent
        try:
            with path.open("rb") as file:
                data = file.read(limits.CONFIG_BYTES_MAX + 1)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror}); `keyvault init` makes a new one") from error
        if len(data) > limits.CONFIG_BYTES_MAX:
            raise ConfigError(f"{path}: is longer than {limits.CONFIG_BYTES_MAX} bytes; this is not a keyvault.toml")
        try:
            self.text = data.decode()
            self.document: dict[str, object] = tomllib.loads(self.text)
        except ValueError as error:
            raise ConfigError(f"{path}: is not valid TOML: {error}") from error
        self.known: set[str] = set()

    def section(self, name: str, *, optional: bool = False) -> "Section":
        """Return the section; an empty one if it is optional and not there."""
        self.known.add(name)
        table = self.document.get(name, {} if optional else None)
        if table is None:
            raise ConfigError(f"{self.path}: the section [{name}] is missing; add it")
        if not isinstance(table, dict):
            raise ConfigError(f"{self.path}: {name} must be a section: [{name}]")
        return Section(self, name, table)

    def optional_section(self, name: str) -> "Section | None":
        """Return the section, or None if it is not there."""
        self.known.add(name)
        return self.section(name) if name in self.document else None

    def sections(self, name: str, *, most: int) -> "list[Section]":
        """Return the tables [[name]], in order; none is fine."""
        self.known.add(name)
        tables = self.document.get(name, [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise ConfigError(f"{self.path}: {name} must be tables: [[{name}]]")
        if len(tables) > most:
            raise ConfigError(f"{self.path}: {len(tables)} tables [[{name}]]; {most} is the most")
        return [Section(self, name, table, number) for number, table in enumerate(tables)]

    def end(self) -> None:
        """Raise ConfigError if there is a section that nobody asked for."""
        unknown = sorted(self.document.keys() - self.known)
        if unknown:
            where = self.line_of(r"\[\s*" + re.escape(unknown[0]) + r"\s*\]|" + re.escape(unknown[0]) + r"\s*=")
            known = ", ".join(f"[{name}]" for name in sorted(self.known))
            raise ConfigError(f"{self.path}{where}: {unknown[0]!r} is not known here; there are {known}")

    def line_of(self, pattern: str, *, start: int = 0, end: int | None = None) -> str:
        """Return ``:<line>`` of the first line that starts with the pattern, or nothing when it is not found."""
        match = re.compile(rf"^[ \t]*(?:{pattern})", re.MULTILINE).search(self.text, start, end or len(self.text))
        return "" if match is None else f":{self.text.count(chr(10), 0, match.start()) + 1}"


class Section:
    """One table; each key is taken once, with its type checked, and what is left at the end is a mistake."""

    def __init__(self, reader: Reader, name: str, table: dict[str, object], number: int | None = None) -> None:
        """``number`` counts the tables [[name]] from 0; None for a section that is there once."""
        self._reader = reader
        self._name = name
        self._number = number
        self._left = dict(table)
        self._known: list[str] = []

    def checked(self, key: str, default: str | None, check: Callable[[str], object]) -> str:
        """Return the text, once ``check`` did not raise Malformed."""
        value = self._take(key, default)
        if not isinstance(value, str):
            self._fail(key, "must be text in quotes")
        try:
            check(value)
        except Malformed as error:
            self._fail(key, error.problem)
        return value

    def path(self, key: str) -> Path:
        """Return the path; a relative one starts at the file's folder."""
        return self._reader.folder / self.checked(key, None, _check_path)

    def optional_path(self, key: str) -> Path | None:
        """Return the path, or None if the key is left out."""
        if key not in self._left:
            self._known.append(key)
            return None
        return self.path(key)

    def whole(self, key: str, default: int, *, low: int, high: int) -> int:
        """Return a whole number between the two, inclusive."""
        value = self._take(key, default)
        # bool is an int to Python, and never a number of anything to people.
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self._fail(key, f"must be a whole number from {low} to {high}")
        return value

    def principals(self, key: str) -> Iterator[Principal]:
        """Yield the principals of a list; none if the key is left out."""
        values = self._left.pop(key, [])
        self._known.append(key)
        if not isinstance(values, list) or len(values) > limits.NODES_MAX:
            self._fail(key, f"must be a list of at most {limits.NODES_MAX} spiffe:// ids")
        for value in values:
            try:
                principal = parse_principal(value if isinstance(value, str) else "")
            except Malformed as error:
                self._fail(key, error.problem)
            if role_of(principal) != "node":
                self._fail(key, f"{principal} is no node: its role must be node")
            yield principal

    def texts(self, key: str, check: Callable[[str], object], *, most: int) -> Iterator[str]:
        """Yield the texts of a list, once ``check`` did not raise Malformed; none if the key is left out."""
        values = self._left.pop(key, [])
        self._known.append(key)
        if not isinstance(values, list) or len(values) > most or not all(isinstance(each, str) for each in values):
            self._fail(key, f"must be a list of at most {most} texts in quotes")
        for value in values:
            try:
                check(value)
            except Malformed as error:
                self._fail(key, error.problem)
            yield value

    def flag(self, key: str, *, default: bool) -> bool:
        """Return true or false."""
        value = self._left.pop(key, default)
        self._known.append(key)
        if not isinstance(value, bool):
            self._fail(key, "must be true or false")
        return value

    def choices(self, key: str, choices: tuple[str, ...]) -> frozenset[str]:
        """Return which of the choices are listed, at least one; empty if the key is left out."""
        if key not in self._left:
            self._known.append(key)
            return frozenset()
        values = self._take(key, None)
        if not isinstance(values, list) or not values or not all(value in choices for value in values):
            self._fail(key, "must be a list of some of " + ", ".join(f'"{choice}"' for choice in choices))
        return frozenset(values)

    def choice(self, key: str, default: str, choices: tuple[str, ...]) -> str:
        """Return one of the choices."""
        value = self._take(key, default)
        if not isinstance(value, str) or value not in choices:
            self._fail(key, "must be one of " + ", ".join(f'"{choice}"' for choice in choices))
        return value

    def end(self) -> None:
        """Raise ConfigError if there is a key that nobody took."""
        if self._left:
            self._fail(min(self._left), "is not known here; there are " + ", ".join(self._known))

    def _take(self, key: str, default: object) -> object:
        self._known.append(key)
        value = self._left.pop(key, default)
        if value is None:
            self._fail(key, "is missing; add it")
        return value

    def _fail(self, key: str, problem: str) -> NoReturn:
        raise ConfigError(f"{self._reader.path}{self._where(key)}: {self._name}.{key} {problem}")

    def _where(self, key: str) -> str:
        """Return the line of the key in this very table; for one of several tables without it, that of its head."""
        text = self._reader.text
        heads = [*re.finditer(rf"^[ \t]*\[+\s*{re.escape(self._name)}\s*\]", text, re.MULTILINE)]
        if len(heads) <= (self._number or 0):
            return ""
        head = heads[self._number or 0]
        follows = re.compile(r"^[ \t]*\[", re.MULTILINE).search(text, head.end())
        end = follows.start() if follows else len(text)
        where = self._reader.line_of(re.escape(key) + r"\s*=", start=head.end(), end=end)
        return where or ("" if self._number is None else self._reader.line_of(r"\[", start=head.start()))


def _check_path(text: str) -> None:
    if not text or "\0" in text:
        raise Malformed("path", "must be a path")
