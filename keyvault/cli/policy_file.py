"""Policies as people write them: YAML to ``core.policy.Policy`` and back.

The file is read as a tree of nodes with their places, never as Python objects: YAML's own ideas of what a number, a
date or a truth value is do not matter, the field decides. Refused: anchors, aliases, tags, more than one document,
unknown and duplicate fields, floats. All problems are reported at once, each with its line and column.
"""

import difflib
import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import yaml

from keyvault.cli.policy_text import format_policy as format_policy
from keyvault.cli.policy_text import parse_amount, parse_whole, parse_window
from keyvault.core import ids, limits
from keyvault.core.errors import KeyvaultError, Malformed
from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.policy import ANY, Anything, Limit, Policy, Rule, Verdict
from keyvault.core.policy_lint import (
    AMOUNT_MAX,
    check_destination,
    check_primary_type,
    check_selector,
    check_venue,
    lint,
)
from keyvault.core.quorum import parse_quorum, quorum_text
from keyvault.intents.address import parse_address

T = TypeVar("T", bound=Hashable)

_POLICY_FIELDS = ("version", "rules", "limits")
_RULE_FIELDS = (
    "id",
    "verdict",
    "quorum",
    "keys",
    "principals",
    "kinds",
    "operations",
    "chains",
    "destinations",
    "selectors",
    "primary_types",
    "venues",
    "above",
    "amount",
    "fee",
)
_LIMIT_FIELDS = ("id", "keys", "window", "count", "amount", "chain")
_FILE_FIELDS = {
    "amount_max": "amount",
    "fee_max": "fee",
    "amount_above": "above",
    "window_ms": "window",
    "count_max": "count",
    "chain_id": "chain",
}
"""Fields of Rule and Limit that have another name in the file."""

_EVM_ADDRESS = re.compile(r"0[xX][0-9A-Fa-f]{40}(\?|$)", re.ASCII)
_EVM_ADDRESS_CHARS = 42
_SHORT_HEX = re.compile(r"0[xX][0-9A-Fa-f]{0,39}", re.ASCII)


class PolicyFileError(KeyvaultError):
    """The file is not a policy. ``problems`` are all that were found: ``name:line:column: sentence``."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def parse_policy(text: str, *, name: str) -> Policy:
    """Return the policy, free of lint findings; or raise PolicyFileError with every problem. ``name`` is the file's."""
    problems = _Problems(name)
    node = _compose(text, problems)
    if node is None:
        raise problems.error()
    policy = _policy(node, problems)
    if problems.found:
        raise problems.error()
    return policy


class _Problems:
    """What was found so far."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.found: list[tuple[int, int, str]] = []

    def add(self, mark: yaml.Mark | None, sentence: str) -> None:
        """Note a problem at a node, or at the start of the file."""
        place = (0, 0) if mark is None else (mark.line, mark.column)
        self.add_at(*place, sentence)

    def add_at(self, line: int, column: int, sentence: str) -> None:
        """Note a problem at a place counted from 0."""
        self.found.append((line + 1, column + 1, sentence))

    def error(self) -> PolicyFileError:
        """Return everything found, in the order of the file."""
        lines = [f"{self.name}:{line}:{column}: {text}" for line, column, text in sorted(set(self.found))]
        more = len(lines) - limits.POLICY_PROBLEMS_MAX
        if more > 0:
            lines[limits.POLICY_PROBLEMS_MAX :] = [f"{self.name}: {more} more problems"]
        return PolicyFileError(tuple(lines))


# YAML -----------------------------------------------------------------------------------------------------------


class _TooDeep(yaml.MarkedYAMLError):
    """Nesting that no policy has."""


class _Loader(yaml.SafeLoader):
    """Composes nodes and notes what a policy file must not have."""

    def __init__(self, text: str, problems: _Problems) -> None:
        super().__init__(text)
        self.problems = problems
        self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it out
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self.problems.add(event.start_mark, "anchors and aliases are not permitted: write it out")
        elif event.tag is not None:
            self.problems.add(event.start_mark, f"tags are not permitted: leave {event.tag[:80]} out")
        self.depth += 1
        if self.depth > limits.POLICY_FILE_DEPTH_MAX:
            raise _TooDeep(None, None, "nested deeper than any policy", event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _compose(text: str, problems: _Problems) -> yaml.Node | None:
    """Return the root; None after noting why there is none."""
    if len(text.encode("utf-8", "surrogatepass")) > limits.POLICY_FILE_BYTES_MAX:
        problems.add(None, f"longer than {limits.POLICY_FILE_BYTES_MAX} bytes")
        return None
    try:
        loader = _Loader(text, problems)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        problems.add(error.problem_mark or error.context_mark, f"not YAML: {error.problem or error.context}")
        return None
    except yaml.reader.ReaderError as error:
        line, column = text.count("\n", 0, error.position), error.position - text.rfind("\n", 0, error.position) - 1
        problems.add_at(line, column, f"the character U+{ord(text[error.position]):04X} is not permitted")
        return None
    if node is None:
        problems.add(None, "the file is empty: it needs version, rules and limits")
    return None if problems.found else node


# Nodes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """The fields of one mapping that are known, each once."""

    start: yaml.Mark
    values: Mapping[str, yaml.Node]
    problems: _Problems

    def mark(self, field: str) -> yaml.Mark:
        """Return the place of a field; of the table, if the field is absent."""
        node = self.values.get(field)
        return self.start if node is None else node.start_mark

    def read(self, field: str, parse: Callable[[str], T], *, needed: str | None = None) -> T | None:
        """Return one value; None if it is absent or, after noting why, wrong."""
        node = self.values.get(field)
        if node is None:
            if needed is not None:
                self.problems.add(self.start, f"{field} is missing: add {needed}")
            return None
        return _scalar(field, node, parse, self.problems)

    def condition(self, field: str, parse: Callable[[str], T]) -> frozenset[T] | Anything | None:
        """Return the values of a list, or ANY."""
        node = self.values.get(field)
        if node is None:
            return None
        if isinstance(node, yaml.ScalarNode) and node.value == ANY.value:
            return ANY
        return self._listed(field, node, parse, "a list like [a, b], or any")

    def words(self, field: str, parse: Callable[[str], T]) -> frozenset[T]:
        """Return the values of a list, nothing if it is absent."""
        node = self.values.get(field)
        return frozenset() if node is None else self._listed(field, node, parse, "a list like [a, b]")

    def _listed(self, field: str, node: yaml.Node, parse: Callable[[str], T], form: str) -> frozenset[T]:
        if not isinstance(node, yaml.SequenceNode):
            self.problems.add(node.start_mark, f"{field} must be {form}")
            return frozenset()
        if not node.value:
            self.problems.add(node.start_mark, f"{field} is empty and would never hold: leave it out, or name values")
        values: set[T] = set()
        for item in node.value:
            value = _scalar(field, item, parse, self.problems, listed=True)
            if value is not None and value in values:
                self.problems.add(item.start_mark, f"{field}: {item.value[:80]} stands twice")
            elif value is not None:
                values.add(value)
        return frozenset(values)


def _scalar(
    field: str, node: yaml.Node, parse: Callable[[str], T], problems: _Problems, *, listed: bool = False
) -> T | None:
    if not isinstance(node, yaml.ScalarNode):
        problems.add(node.start_mark, f"{field} must be a single value, not a list or a table")
        return None
    if node.value == "":
        problems.add(node.start_mark, f"{field} has no value")
        return None
    if listed and node.value == ANY.value:
        problems.add(node.start_mark, f"{field}: write any without brackets, {field}: any")
        return None
    try:
        return parse(node.value)
    except Malformed as malformed:
        problems.add(node.start_mark, f"{field}: {malformed.problem}")
        return None


def _table(what: str, node: yaml.Node, known: tuple[str, ...], problems: _Problems) -> _Table:
    values: dict[str, yaml.Node] = {}
    if not isinstance(node, yaml.MappingNode):
        problems.add(node.start_mark, f"{what} must be a table of {', '.join(known)}")
    else:
        for key, value in node.value:
            field = key.value if isinstance(key, yaml.ScalarNode) else None
            if field not in known:
                problems.add(key.start_mark, f"unknown field {str(field)[:80]!r} in {what}{_meant(str(field), known)}")
            elif field in values:
                problems.add(key.start_mark, f"{field} stands twice in {what}")
            else:
                values[field] = value
    return _Table(start=node.start_mark, values=values, problems=problems)


def _meant(word: str, known: tuple[str, ...]) -> str:
    """Return what was probably meant, or what there is."""
    close = difflib.get_close_matches(word[:80], known, n=1)
    return f": did you mean {close[0]}?" if close else f": there is {', '.join(known)}"


# Policy ---------------------------------------------------------------------------------------------------------


def _policy(node: yaml.Node, problems: _Problems) -> Policy:
    """Return what could be read; problems tell the rest. Rules with a problem are left out, so lint sees whole ones."""
    table = _table("a policy", node, _POLICY_FIELDS, problems)
    version = table.read("version", _number(1, 2**32 - 1), needed="version: 1, or one more than the present policy has")
    rules = _items(table, "rules", _rule)
    capped = _items(table, "limits", _limit)
    policy = Policy(
        version=version or 1,
        rules=tuple(rule for rule, _ in rules),
        limits=tuple(limit for limit, _ in capped),
    )
    tables = {"policy": [table], "rules": [each for _, each in rules], "limits": [each for _, each in capped]}
    for finding in lint(policy):
        field = _FILE_FIELDS.get(finding.field, finding.field)
        place = tables[finding.section][finding.index].mark(field)
        problems.add(place, f"{field}: {finding.problem}")
    return policy


def _items(
    table: _Table, field: str, read: Callable[[yaml.Node, _Problems], tuple[T, _Table]]
) -> list[tuple[T, _Table]]:
    node = table.values.get(field)
    if node is None or (isinstance(node, yaml.ScalarNode) and node.value == ""):
        return []
    if not isinstance(node, yaml.SequenceNode):
        table.problems.add(node.start_mark, f"{field} must be a list: start each with a dash")
        return []
    items = []
    for each in node.value:
        before = len(table.problems.found)
        item = read(each, table.problems)
        if len(table.problems.found) == before:
            items.append(item)
    return items


def _rule(node: yaml.Node, problems: _Problems) -> tuple[Rule, _Table]:
    table = _table("a rule", node, _RULE_FIELDS, problems)
    rule = Rule(
        id=table.read("id", ids.parse_key_id, needed="id: name-of-the-rule") or "",
        verdict=table.read("verdict", _word("verdict", Verdict), needed="verdict: allow, deny or escalate")
        or Verdict.DENY,
        quorum=table.read("quorum", _quorum) or "",
        keys=table.condition("keys", ids.parse_key_id),
        principals=table.condition("principals", ids.parse_principal),
        kinds=table.words("kinds", _word("kind", PayloadKind)),
        operations=table.words("operations", _word("operation", Operation)),
        chains=table.condition("chains", _number(1, AMOUNT_MAX)),
        venues=table.condition("venues", check_venue),
        destinations=table.condition("destinations", _destination),
        selectors=table.condition("selectors", check_selector),
        primary_types=table.condition("primary_types", check_primary_type),
        amount_above=table.read("above", parse_amount),
        amount_max=table.read("amount", _cap),
        fee_max=table.read("fee", _cap),
    )
    return rule, table


def _limit(node: yaml.Node, problems: _Problems) -> tuple[Limit, _Table]:
    table = _table("a limit", node, _LIMIT_FIELDS, problems)
    keys = table.condition("keys", ids.parse_key_id)
    if keys is None:
        problems.add(table.start, "keys is missing: add keys: [name], or keys: any")
    limit = Limit(
        id=table.read("id", ids.parse_key_id, needed="id: name-of-the-limit") or "",
        keys=frozenset() if keys is None else keys,
        window_ms=table.read("window", parse_window, needed="window: 24h") or 0,
        count_max=table.read("count", _number(0, 2**63 - 1)),
        amount_max=table.read("amount", parse_amount),
        chain_id=table.read("chain", _number(1, AMOUNT_MAX)),
    )
    return limit, table


def _number(least: int, most: int) -> Callable[[str], int]:
    return lambda text: parse_whole(text, least=least, most=most)


_E = TypeVar("_E", Verdict, PayloadKind, Operation)


def _word(what: str, words: type[_E]) -> Callable[[str], _E]:
    def parse(text: str) -> _E:
        if text not in list(words):
            raise Malformed(what, f"unknown {what} {text[:80]!r}{_meant(text, tuple(words))}")
        return words(text)

    return parse


def _cap(text: str) -> int | Anything:
    return ANY if text == ANY.value else parse_amount(text)


def _quorum(text: str) -> str:
    """Return the quorum in its one text, however it was spaced and parenthesised."""
    return quorum_text(parse_quorum(text))


def _destination(text: str) -> str:
    """Return the address in normal form; an EVM address in mixed case must have its EIP-55 checksum."""
    if _SHORT_HEX.fullmatch(text):
        raise Malformed("destinations", f"{text} is not an EVM address: 0x and 40 hex digits")
    if _EVM_ADDRESS.match(text):
        text = parse_address(text[:_EVM_ADDRESS_CHARS]) + text[_EVM_ADDRESS_CHARS:]
    return check_destination(text)
