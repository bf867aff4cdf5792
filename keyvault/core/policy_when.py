"""Predicates that compile and are no promise: another spelling of what they compare passes by them.

1. In what restricts, the name of an asset or a market, without the name that Kraken's requests have for it. Conditions
   are about all names of a thing (``venue_names``), predicates about the texts that they say.
2. In what restricts orders, the whole of ``via``: a trigger, a leverage, an app-data beside what it names makes it
   another text.
3. In what permits, that a destination is *not* something: ``destination`` is there as the payload has it, with tag and
   memo, and venues take other spellings of an account. Who may not be paid is for deny rules, which go by accounts.
"""

from collections.abc import Iterator
from typing import Final

from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.policy_cel import Compared, compared, words
from keyvault.core.policy_findings import Lint, Problems
from keyvault.core.policy_kinds import KIND_OPERATIONS
from keyvault.core.policy_match import can_permit
from keyvault.core.policy_rules import Rule, Verdict
from keyvault.core.policy_spelling import venues_of
from keyvault.core.venue_names import KRAKEN, part_at_kraken

_ORDERS = frozenset({Operation.ORDER, Operation.REDUCE})


def lint_when(rule: Rule) -> Problems:
    """Say where the predicate of a rule, which compiles, does not hold what it seems to promise."""
    if rule.verdict is not Verdict.ALLOW:
        yield from _named_otherwise(rule)
        yield from _whole_via(rule)
    if can_permit(rule):
        yield from _but_for_some(rule)


def _named_otherwise(rule: Rule) -> Problems:
    """Say which texts are names of things that Kraken's requests call by another."""
    venues = venues_of(rule)
    if venues and KRAKEN not in venues:
        return
    texts = compared(rule.when)
    for each in texts:
        name = part_at_kraken(each.text, each.function) if each.fact in ("asset", "symbol") else each.text
        if name != each.text and not any(_covers(other, each, name) for other in texts):
            where = f"at character {each.at}: at {KRAKEN} {each.text[:80]} is {name[:80]}"
            how = f"{each.fact}.{each.function}" if each.function else each.fact
            problem = f"{where}: ask whether {how} is that as well, or write venues without {KRAKEN}"
            yield Lint.PREDICATE, "when", problem


def _covers(other: Compared, each: Compared, name: str) -> bool:
    """Return whether the other asks the same of Kraken's name, or of more."""
    if (other.fact, other.function) != (each.fact, each.function):
        return False
    if each.function == "matches":
        return name in other.text
    return other.text in name if each.function else other.text == name


def _whole_via(rule: Rule) -> Problems:
    """Say where what an order stands in is compared as a whole."""
    able = frozenset[Operation]().union(*(KIND_OPERATIONS[kind] for kind in rule.kinds or PayloadKind))
    if not able & _ORDERS & (rule.operations or _ORDERS):
        return
    for each in compared(rule.when):
        if each.fact == "via" and not each.function:
            problem = "of an order, via says its trigger and the like, too, so that it is another text"
            how = "write via.startsWith(...) or via.contains(...), or name other operations"
            yield Lint.PREDICATE, "when", f"at character {each.at}: {problem}: {how}"
            return


def _but_for_some(rule: Rule) -> Problems:
    """Say where a predicate that permits may be about whom is not paid."""
    every = words(rule.when)
    if "destination" not in every:
        return
    if not _TURNS.isdisjoint(every) or any(map(_is_turned, _parts(every))):
        problem = "that a destination is not something is no promise in what permits: a tag, another spelling passes"
        yield Lint.PREDICATE, "when", f"{problem}: write a deny rule, which goes by accounts, or say who it is"


def _parts(every: tuple[str, ...]) -> Iterator[frozenset[str]]:
    """Yield the words of each part that stands between && and ||, and names a destination."""
    part: list[str] = []
    for word in (*every, "&&"):
        if word not in ("&&", "||"):
            part.append(word)
            continue
        if "destination" in part:
            yield frozenset(part)
        part = []


def _is_turned(part: frozenset[str]) -> bool:
    """Return whether it compares by !=, or a comparison with something."""
    signs = part & _COMPARISONS
    return "!=" in signs or len(signs) > 1 or (bool(signs) and not _TRUTHS.isdisjoint(part))


_TURNS: Final = frozenset({"!", "?"})
_COMPARISONS: Final = frozenset({"==", "!=", "<", "<=", ">", ">=", "in"})
_TRUTHS: Final = frozenset({"true", "false", "startsWith", "endsWith", "contains", "matches"})
"""What is true or false by itself."""
