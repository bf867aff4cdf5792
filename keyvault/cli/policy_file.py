"""Policies as people write them: YAML to ``core.policy.Policy`` and back. All problems are reported at once."""

import re
from collections.abc import Callable, Hashable, Mapping
from types import MappingProxyType
from typing import TypeVar

import yaml

from keyvault.cli.policy_prices_file import read_prices
from keyvault.cli.policy_text import format_policy as format_policy
from keyvault.cli.policy_units import (
    parse_amount,
    parse_band,
    parse_dollars,
    parse_hours,
    parse_span,
    parse_whole,
    parse_window,
)
from keyvault.cli.yaml_nodes import Bounds, Problems, Table, compose, meant, pairs, scalar, table
from keyvault.core import ids, limits
from keyvault.core.errors import KeyvaultError, Malformed
from keyvault.core.intent import AUTHORITY, Authority, Operation, PayloadKind
from keyvault.core.policy import ANY, Anything, Limit, Policy, Rule, Verdict
from keyvault.core.policy_findings import FIELD_WORDS, Finding, Lint
from keyvault.core.policy_lint import lint
from keyvault.core.policy_rules import LIST_MARK, Chain, Interval, Per
from keyvault.core.policy_values import (
    AMOUNT_MAX,
    check_chain,
    check_destination,
    check_name,
    check_primary_type,
    check_selector,
    check_side,
    check_type_hash,
    check_venue,
)
from keyvault.core.quorum import parse_quorum, quorum_text
from keyvault.intents.address import parse_address

T = TypeVar("T", bound=Hashable)

_BOUNDS = Bounds(what="policy", bytes_max=limits.POLICY_FILE_BYTES_MAX, depth_max=limits.POLICY_FILE_DEPTH_MAX)
POLICY_FIELDS = ("version", "lists", "tags", "prices", "rules", "limits")
RULE_FIELDS = (
    "id",
    "verdict",
    "quorum",
    "shadow",
    "keys",
    "principals",
    "kinds",
    "operations",
    "authorities",
    "chains",
    "venues",
    "destinations",
    "contracts",
    "selectors",
    "primary_types",
    "type_hashes",
    "symbols",
    "sides",
    "assets",
    "above",
    "amount",
    "fee",
    "usd_above",
    "usd",
    "price_band",
    "validity",
    "first_seen",
    "look_alike",
    "hours",
    "when",
)
LIMIT_FIELDS = (
    "id",
    "keys",
    "per",
    "principals",
    "operations",
    "authorities",
    "chains",
    "venues",
    "destinations",
    "tags",
    "window",
    "count",
    "usd",
    "amount",
    "chain",
    "venue",
    "asset",
)
_FILE_FIELDS = {
    **FIELD_WORDS,
    "window_ms": "window",
    "count_max": "count",
    "chain_id": "chain",
    "network": "chain",
}
"""Fields of Rule and Limit that have another name in the file."""

_EVM_ADDRESS = re.compile(r"0[xX][0-9A-Fa-f]{40}(\?|$)", re.ASCII)
_EVM_ADDRESS_CHARS = 42


class PolicyFileError(KeyvaultError):
    """The file is not a policy. ``problems`` are all that were found: ``name:line:column: sentence [lint]``.

    ``found`` are the same by their parts.
    """

    def __init__(self, problems: Problems) -> None:
        self.problems = problems.lines()
        self.found = problems.sorted()
        super().__init__("\n".join(self.problems))


def parse_policy(text: str, *, name: str) -> Policy:
    """Return the policy, free of lint findings; or raise PolicyFileError with every problem. ``name`` is the file's."""
    problems = Problems(name)
    node = compose(text, problems, _BOUNDS)
    policy = None if node is None else _policy(node, problems)
    if policy is None or problems.found:
        raise PolicyFileError(problems)
    return policy


def _policy(node: yaml.Node, problems: Problems) -> Policy:
    """Return what could be read; problems tell the rest. Rules with a problem are left out, so lint sees whole ones."""
    top = table("a policy", node, POLICY_FIELDS, problems)
    version = top.read("version", _number(1, 2**32 - 1), needed="version: 1, or one more than the present policy has")
    lists = _named(top, "lists", _destination)
    rules = _items(top, "rules", _rule)
    capped = _items(top, "limits", _limit)
    policy = Policy(
        version=version or 1,
        rules=tuple(rule for rule, _ in rules),
        limits=tuple(limit for limit, _ in capped),
        lists=lists,
        tags=_named(top, "tags", ids.parse_key_id),
        prices=read_prices(top.values.get("prices"), problems),
    )
    tables = {"policy": [top], "rules": [each for _, each in rules], "limits": [each for _, each in capped]}
    whole = not problems.found
    for finding in lint(policy):
        if finding.lint is Lint.NEVER_COUNTS and not whole:
            continue  # a rule that was left out may permit what the limit is about
        field = _FILE_FIELDS.get(finding.field, finding.field)
        word = f"{field}.{finding.name[:80]}" if finding.name else field
        mark = _place(tables[finding.section][finding.index], field, finding)
        problems.add(mark, f"{word}: {finding.problem}", lint=finding.lint)
    return policy


def _place(found: Table, field: str, finding: Finding) -> yaml.Mark:
    """Return where in the file the finding is: at its field, at the name in it, else where its rule or limit begins."""
    at = found.values.get(field)
    if at is None:
        return found.start
    names = [key for key, _ in at.value] if isinstance(at, yaml.MappingNode) else []
    return next((key.start_mark for key in names if key.value == finding.name), at.start_mark)


def _named(top: Table, field: str, parse: Callable[[str], str]) -> Mapping[str, frozenset[str]]:
    """Return lists by their names."""
    node = top.values.get(field)
    found: dict[str, frozenset[str]] = {}
    if node is not None:
        for name, values in pairs(field, node, top.problems, "a table of lists, each with a name"):
            known = scalar("name", name, ids.parse_key_id, top.problems)
            listed = _listed(f"{field}.{name.value[:80]}", values, parse, top.problems, "a list like [a, b]")
            if known is not None:
                found[known] = listed
    return MappingProxyType(found)


def _items(top: Table, field: str, read: Callable[[yaml.Node, Problems], tuple[T, Table]]) -> list[tuple[T, Table]]:
    node = top.values.get(field)
    if node is None or (isinstance(node, yaml.ScalarNode) and node.value == ""):
        return []
    if not isinstance(node, yaml.SequenceNode):
        top.problems.add(node.start_mark, f"{field} must be a list: start each with a dash")
        return []
    items = []
    for each in node.value:
        before = len(top.problems.found)
        item = read(each, top.problems)
        if len(top.problems.found) == before:
            items.append(item)
    return items


def _rule(node: yaml.Node, problems: Problems) -> tuple[Rule, Table]:
    fields = table("a rule", node, RULE_FIELDS, problems)
    rule = Rule(
        id=fields.read("id", ids.parse_key_id, needed="id: name-of-the-rule") or "",
        verdict=fields.read("verdict", _word("verdict", Verdict), needed="verdict: allow, deny or escalate")
        or Verdict.DENY,
        quorum=fields.read("quorum", _quorum) or "",
        shadow=fields.read("shadow", _truth) or False,
        keys=_condition(fields, "keys", ids.parse_key_id),
        principals=_condition(fields, "principals", ids.parse_principal),
        kinds=_words(fields, "kinds", _word("kind", PayloadKind)),
        operations=_operations(fields),
        chains=_condition(fields, "chains", _chain),
        venues=_condition(fields, "venues", check_venue),
        destinations=_condition(fields, "destinations", _destination),
        contracts=_condition(fields, "contracts", _destination),
        selectors=_condition(fields, "selectors", check_selector),
        primary_types=_condition(fields, "primary_types", check_primary_type),
        type_hashes=_condition(fields, "type_hashes", check_type_hash),
        symbols=_condition(fields, "symbols", check_name),
        sides=_condition(fields, "sides", check_side),
        assets=_condition(fields, "assets", _destination),
        amount_above=fields.read("above", parse_amount),
        amount_max=fields.read("amount", _or_any(parse_amount)),
        fee_max=fields.read("fee", _or_any(parse_amount)),
        usd_above=fields.read("usd_above", parse_dollars),
        usd_max=fields.read("usd", _or_any(parse_dollars)),
        price_band_bps=fields.read("price_band", _or_any(parse_band)),
        validity_ms_max=fields.read("validity", _or_any(parse_span)),
        first_seen_ms=fields.read("first_seen", parse_span),
        look_alike=fields.read("look_alike", _truth) or False,
        hours=_hours(fields),
        when=fields.read("when", str) or "",
    )
    return rule, fields


def _limit(node: yaml.Node, problems: Problems) -> tuple[Limit, Table]:
    fields = table("a limit", node, LIMIT_FIELDS, problems)
    keys = _condition(fields, "keys", ids.parse_key_id)
    if keys is None:
        problems.add(fields.start, "keys is missing: add keys: [name], or keys: any")
    chain = fields.read("chain", _chain)
    limit = Limit(
        id=fields.read("id", ids.parse_key_id, needed="id: name-of-the-limit") or "",
        keys=frozenset() if keys is None else keys,
        window_ms=fields.read("window", parse_window, needed="window: 24h") or 0,
        count_max=fields.read("count", _number(0, 2**63 - 1)),
        amount_max=fields.read("amount", parse_amount),
        usd_max=fields.read("usd", parse_dollars),
        chain_id=chain if isinstance(chain, int) else None,
        network=chain if isinstance(chain, str) else None,
        venue=fields.read("venue", check_venue),
        asset=fields.read("asset", _destination),
        per=fields.read("per", _word("per", Per)) or Per.KEY,
        principals=_words(fields, "principals", ids.parse_principal) or None,
        operations=_operations(fields),
        chains=_words(fields, "chains", _chain) or None,
        venues=_words(fields, "venues", check_venue) or None,
        destinations=_words(fields, "destinations", _destination) or None,
        tags=_words(fields, "tags", ids.parse_key_id) or None,
    )
    return limit, fields


def _operations(fields: Table) -> frozenset[Operation]:
    """Return the operations that are named, and those of the authority classes that are."""
    named = _words(fields, "operations", _word("operation", Operation))
    classes = _words(fields, "authorities", _word("authority class", Authority))
    return named | {operation for operation, authority in AUTHORITY.items() if authority in classes}


def _hours(fields: Table) -> tuple[Interval, ...]:
    """Return one interval for each time of the day, with all its days, in order."""
    days: dict[tuple[int, int], frozenset[int]] = {}
    for each in _words(fields, "hours", parse_hours):
        time = each.start, each.end
        days[time] = days.get(time, frozenset()) | each.days
    return tuple(Interval(days=days[time], start=time[0], end=time[1]) for time in sorted(days))


# Values -----------------------------------------------------------------------------------------------------------


def _condition(fields: Table, field: str, parse: Callable[[str], T]) -> frozenset[T] | Anything | None:
    """Return the values of a list, or ANY; None if it is absent."""
    node = fields.values.get(field)
    if node is None:
        return None
    if isinstance(node, yaml.ScalarNode) and node.value == ANY.value:
        return ANY
    return _listed(field, node, parse, fields.problems, "a list like [a, b], or any")


def _words(fields: Table, field: str, parse: Callable[[str], T]) -> frozenset[T]:
    """Return the values of a list, nothing if it is absent."""
    node = fields.values.get(field)
    return frozenset() if node is None else _listed(field, node, parse, fields.problems, "a list like [a, b]")


def _listed(field: str, node: yaml.Node, parse: Callable[[str], T], problems: Problems, form: str) -> frozenset[T]:
    if not isinstance(node, yaml.SequenceNode):
        problems.add(node.start_mark, f"{field} must be {form}")
        return frozenset()
    if not node.value:
        problems.add(node.start_mark, f"{field} is empty and would never hold: leave it out, or name values")
    values: set[T] = set()
    for item in node.value:
        if isinstance(item, yaml.ScalarNode) and item.value == ANY.value:
            problems.add(item.start_mark, f"{field}: write any without brackets, {field}: any")
            continue
        value = scalar(field, item, parse, problems)
        if value is not None and value in values:
            problems.add(item.start_mark, f"{field}: {item.value[:80]} stands twice")
        elif value is not None:
            values.add(value)
    return frozenset(values)


def _number(least: int, most: int) -> Callable[[str], int]:
    return lambda text: parse_whole(text, least=least, most=most)


_E = TypeVar("_E", Verdict, PayloadKind, Operation, Authority, Per)


def _word(what: str, words: type[_E]) -> Callable[[str], _E]:
    def parse(text: str) -> _E:
        if text not in list(words):
            raise Malformed(what, f"unknown {what} {text[:80]!r}{meant(text, tuple(words))}")
        return words(text)

    return parse


def _or_any(parse: Callable[[str], int]) -> Callable[[str], int | Anything]:
    return lambda text: ANY if text == ANY.value else parse(text)


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise Malformed("truth", f"{text[:80]!r} is neither true nor false")
    return text == "true"


def _chain(text: str) -> Chain:
    """Return an EIP-155 chain id, or the name of another network."""
    return check_chain(parse_whole(text, least=1, most=AMOUNT_MAX) if text[:1].isdigit() else text)


def _quorum(text: str) -> str:
    """Return the quorum in its one text, however it was spaced and parenthesised."""
    return quorum_text(parse_quorum(text))


def _destination(text: str) -> str:
    """Return the address in normal form; an EVM address in mixed case must have its EIP-55 checksum."""
    if text.startswith(LIST_MARK):
        return LIST_MARK + ids.parse_key_id(text[len(LIST_MARK) :])
    if _EVM_ADDRESS.match(text):
        text = parse_address(text[:_EVM_ADDRESS_CHARS]) + text[_EVM_ADDRESS_CHARS:]
    return check_destination(text)
