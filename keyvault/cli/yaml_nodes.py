"""YAML read as a tree of nodes with their places, never as Python objects.

YAML's own ideas of what a number, a date or a truth value is do not matter: whoever reads a field decides. Refused:
anchors, aliases, tags, more than one document, unknown and doubled fields. Problems are collected, each with its line
and column, so that all of them are reported at once.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import yaml

from keyvault.core import limits
from keyvault.core.errors import KeyvaultError, Malformed

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How large a file of one kind may be."""

    what: str
    bytes_max: int
    depth_max: int


class Problem(NamedTuple):
    """A problem at a place counted from 1. ``lint`` is the name of the finding, or empty."""

    line: int
    column: int
    sentence: str
    lint: str

    @property
    def text(self) -> str:
        """``line:column: sentence [lint]``."""
        name = f" [{self.lint}]" if self.lint else ""
        return f"{self.line}:{self.column}: {self.sentence}{name}"


class Problems:
    """What was found so far in the file of this name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.found: list[Problem] = []

    def add(self, mark: yaml.Mark | None, sentence: str, *, lint: str = "") -> None:
        """Note a problem at a node, or at the start of the file. ``lint`` is the name of the finding, if it has one."""
        line, column = (0, 0) if mark is None else (mark.line, mark.column)
        self.add_at(line, column, sentence, lint=lint)

    def add_at(self, line: int, column: int, sentence: str, *, lint: str = "") -> None:
        """Note a problem at a place counted from 0."""
        self.found.append(Problem(line + 1, column + 1, sentence, lint))

    def sorted(self) -> tuple[Problem, ...]:
        """Return what was found, in the order of the file, as much of it as anybody reads."""
        return tuple(sorted(set(self.found))[: limits.POLICY_PROBLEMS_MAX])

    def lines(self) -> tuple[str, ...]:
        """Return everything found as ``name:line:column: sentence [lint]``, in the order of the file."""
        lines = [f"{self.name}:{each.text}" for each in sorted(set(self.found))]
        more = len(lines) - limits.POLICY_PROBLEMS_MAX
        if more > 0:
            lines[limits.POLICY_PROBLEMS_MAX :] = [f"{self.name}: {more} more problems"]
        return tuple(lines)


class _TooDeep(yaml.MarkedYAMLError):
    """Nesting that no such file has."""


class _Loader(yaml.SafeLoader):
    """Composes nodes and notes what a file must not have."""

    def __init__(self, text: str, problems: Problems, bounds: Bounds) -> None:
        super().__init__(text)
        self.problems = problems
        self.bounds = bounds
        self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it out
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self.problems.add(event.start_mark, "anchors and aliases are not permitted: write it out")
        elif event.tag is not None:
            self.problems.add(event.start_mark, f"tags are not permitted: leave {event.tag[:80]} out")
        self.depth += 1
        if self.depth > self.bounds.depth_max:
            raise _TooDeep(None, None, f"nested deeper than any {self.bounds.what}", event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def compose(text: str, problems: Problems, bounds: Bounds) -> yaml.Node | None:
    """Return the root; None after noting why there is none."""
    if len(text.encode("utf-8", "surrogatepass")) > bounds.bytes_max:
        problems.add(None, f"longer than {bounds.bytes_max} bytes")
        return None
    try:
        node = _Loader(text, problems, bounds).get_single_node()
    except yaml.MarkedYAMLError as error:
        problems.add(error.problem_mark or error.context_mark, f"not YAML: {error.problem or error.context}")
        return None
    except yaml.reader.ReaderError as error:
        line, column = text.count("\n", 0, error.position), error.position - text.rfind("\n", 0, error.position) - 1
        problems.add_at(line, column, f"the character U+{ord(text[error.position]):04X} is not permitted")
        return None
    if node is None:
        problems.add(None, f"the file is empty: it should hold a {bounds.what}")
    return None if problems.found else node


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The fields of one mapping that are known, each once."""

    start: yaml.Mark
    values: Mapping[str, yaml.Node]
    problems: Problems

    def read(self, field: str, parse: Callable[[str], T], *, needed: str | None = None) -> T | None:
        """Return one value; None if it is absent or, after noting why, wrong."""
        node = self.values.get(field)
        if node is None:
            if needed is not None:
                self.problems.add(self.start, f"{field} is missing: add {needed}")
            return None
        return scalar(field, node, parse, self.problems)

    def items(self, field: str, *, needed: str | None = None) -> tuple[yaml.Node, ...]:
        """Return the items of a list, none of which is missing if ``needed`` says what to add."""
        node = self.values.get(field)
        if node is None:
            if needed is not None:
                self.problems.add(self.start, f"{field} is missing: add {needed}")
            return ()
        if not isinstance(node, yaml.SequenceNode):
            self.problems.add(node.start_mark, f"{field} must be a list like [a, b]")
            return ()
        if needed is not None and not node.value:
            self.problems.add(node.start_mark, f"{field} is empty: add {needed}")
        return tuple(node.value)

    def words(self, field: str, parse: Callable[[str], T], *, needed: str | None = None) -> tuple[T, ...]:
        """Return the values of a list of single values, each once, in their order."""
        return unique(field, self.items(field, needed=needed), parse, self.problems)


def unique(field: str, nodes: tuple[yaml.Node, ...], parse: Callable[[str], T], problems: Problems) -> tuple[T, ...]:
    """Return the values of these nodes, each once; problems tell of the others."""
    values: list[T] = []
    for node in nodes:
        value = scalar(field, node, parse, problems)
        if value is not None and value in values:
            problems.add(node.start_mark, f"{field}: {str(value)[:80]} stands twice")
        elif value is not None:
            values.append(value)
    return tuple(values)


def scalar(field: str, node: yaml.Node, parse: Callable[[str], T], problems: Problems) -> T | None:
    """Return a single value; None after noting what is wrong with it."""
    if not isinstance(node, yaml.ScalarNode):
        problems.add(node.start_mark, f"{field} must be a single value, not a list or a table")
        return None
    if node.value == "":
        problems.add(node.start_mark, f"{field} has no value")
        return None
    try:
        return parse(node.value)
    except Malformed as malformed:
        problems.add(node.start_mark, f"{field}: {malformed.problem}")
    except KeyvaultError as error:
        problems.add(node.start_mark, f"{field}: {error}")
    return None


def table(what: str, node: yaml.Node, known: tuple[str, ...], problems: Problems) -> Table:
    """Return the known fields of a mapping; problems tell of the others."""
    values: dict[str, yaml.Node] = {}
    for key, value in pairs(what, node, problems, f"a table of {', '.join(known)}"):
        if key.value not in known:
            problems.add(key.start_mark, f"unknown field {key.value[:80]!r} in {what}{meant(key.value, known)}")
        else:
            values[key.value] = value
    return Table(start=node.start_mark, values=values, problems=problems)


def pairs(what: str, node: yaml.Node, problems: Problems, form: str) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    """Give the names and values of a mapping whose names are single values and stand once."""
    if not isinstance(node, yaml.MappingNode):
        problems.add(node.start_mark, f"{what} must be {form}")
        return
    seen: set[str] = set()
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            problems.add(key.start_mark, f"a name in {what} must be a single value")
        elif key.value in seen:
            problems.add(key.start_mark, f"{key.value[:80]} stands twice in {what}")
        else:
            seen.add(key.value)
            yield key, value


def meant(word: str, known: tuple[str, ...]) -> str:
    """Return what was probably meant, or what there is."""
    close = difflib.get_close_matches(word[:80], known, n=1)
    return f": did you mean {close[0]}?" if close else f": there is {', '.join(known)}"
