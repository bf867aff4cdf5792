"""Quorums: how many members of which groups must approve. Text such as ``2 of risk and (1 of ops or 1 of owners)``.

1. ``N of GROUP`` asks N members of the group. ``and`` asks all its parts, ``or`` at least one of them. Both at one
   level are refused: nobody should have to know which binds first.
2. A person counts once in one whole quorum, also across the parts of an ``and``: who approves as risk does not approve
   as treasury as well, and ``1 of risk and 1 of risk`` asks two persons (separation of duties).
3. A group that does not exist has no members, so it is never met.
4. Each quorum has one text and each text one quorum: parentheses that change nothing, and ``and`` within ``and``,
   disappear when it is read. The order of the parts stays as it was written.
5. More approvers never turn yes into no.

It refuses to hold: weights, vetoes, negation, thresholds as percentages.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import NoReturn, TypeAlias

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.ids import GroupName, MemberName, parse_group_name


@dataclass(frozen=True, slots=True)
class Of:
    """So many members of the group."""

    threshold: int
    group: GroupName

    def __post_init__(self) -> None:
        if not 1 <= self.threshold <= limits.MEMBERS_MAX:
            raise Malformed("quorum", f"{self.threshold} is not a number of persons from 1 to {limits.MEMBERS_MAX}")
        parse_group_name(self.group)


@dataclass(frozen=True, slots=True)
class All:
    """Every part, and nobody counts in two of them. At least two parts, none of which is an All."""

    parts: "tuple[Of | AnyOf, ...]"

    def __post_init__(self) -> None:
        _check_parts(self.parts, All, "and")


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part. At least two parts, none of which is an AnyOf."""

    parts: tuple[Of | All, ...]

    def __post_init__(self) -> None:
        _check_parts(self.parts, AnyOf, "or")


Quorum: TypeAlias = Of | All | AnyOf

Groups: TypeAlias = Mapping[GroupName, frozenset[MemberName]]


def parse_quorum(text: str) -> Quorum:
    """Return what the text asks, or raise Malformed that says what is wrong, at which character, and what is right."""
    if len(text) > limits.QUORUM_CHARS_MAX:
        raise Malformed("quorum", f"longer than {limits.QUORUM_CHARS_MAX} characters")
    reader = _Reader(text)
    quorum = reader.quorum(level=1)
    if reader.word:
        reader.fail(f"{reader.shown()} stands where and, or, or the end should")
    return quorum


def quorum_text(quorum: Quorum) -> str:
    """Return the one text of the quorum; ``parse_quorum`` gives the same quorum back."""
    match quorum:
        case Of():
            return f"{quorum.threshold} of {quorum.group}"
        case All():
            return " and ".join(map(_part_text, quorum.parts))
        case AnyOf():
            return " or ".join(map(_part_text, quorum.parts))


def is_met(quorum: Quorum, groups: Groups, approvers: frozenset[MemberName]) -> bool:
    """Return whether the approvers can be dealt out to the parts so that each part gets its number, nobody twice."""
    return any(_is_dealt(demands, groups, approvers) for demands in _alternatives(quorum))


def persons_min(quorum: Quorum) -> int:
    """Return the fewest persons that could ever meet the quorum, if every group had enough members."""
    match quorum:
        case Of():
            return quorum.threshold
        case All():
            return sum(map(persons_min, quorum.parts))
        case AnyOf():
            return min(map(persons_min, quorum.parts))


def group_names(quorum: Quorum) -> frozenset[GroupName]:
    """Return every group that the quorum names."""
    return frozenset(leaf.group for leaf in _leaves(quorum))


# Bounds ---------------------------------------------------------------------------------------------------------


def _check_parts(parts: tuple[Quorum, ...], kind: type[Quorum], word: str) -> None:
    if len(parts) < 2 or any(isinstance(part, kind) for part in parts):  # noqa: PLR2004  one part is no "and"
        raise Malformed("quorum", f"{word} joins two parts or more, and none that is joined by {word} itself")
    leaves = sum(1 for part in parts for _ in _leaves(part))
    if leaves > limits.QUORUM_PARTS_MAX:
        raise Malformed("quorum", f"asks {leaves} groups; {limits.QUORUM_PARTS_MAX} are the most")
    if 1 + max(map(_depth, parts)) > limits.QUORUM_DEPTH_MAX:
        raise Malformed("quorum", f"and, or within each other more than {limits.QUORUM_DEPTH_MAX} levels deep")


def _leaves(quorum: Quorum) -> Iterator[Of]:
    if isinstance(quorum, Of):
        yield quorum
        return
    for part in quorum.parts:
        yield from _leaves(part)


def _depth(quorum: Quorum) -> int:
    return 0 if isinstance(quorum, Of) else 1 + max(map(_depth, quorum.parts))


# Text -----------------------------------------------------------------------------------------------------------

_TOKEN = re.compile(r"[()]|[^() ]+", re.ASCII)
_THRESHOLD = re.compile(r"[1-9][0-9]{0,5}", re.ASCII)
_EXAMPLE = "2 of risk, or 2 of risk and 1 of treasury"
_SHOWN_CHARS = 80


class _Reader:
    """Reads a quorum from left to right. ``word`` is the one at hand; empty at the end."""

    def __init__(self, text: str) -> None:
        self._tokens = [(match.start() + 1, match.group()) for match in _TOKEN.finditer(text)]
        self._tokens.append((len(text) + 1, ""))
        self._next = 0
        self._parts = 0

    @property
    def word(self) -> str:
        return self._tokens[self._next][1]

    def shown(self) -> str:
        """Return the word at hand for a message."""
        return ascii(self.word[:_SHOWN_CHARS]) if self.word else "nothing"

    def fail(self, problem: str) -> NoReturn:
        """Raise Malformed at the word at hand."""
        raise Malformed("quorum", f"character {self._tokens[self._next][0]}: {problem}")

    def quorum(self, *, level: int) -> Quorum:
        """Read parts joined by one word, up to what does not belong to them."""
        parts, joint = [self._part(level)], self.word
        if joint not in ("and", "or"):
            return parts[0]
        while self.word == joint:
            self._next += 1
            parts.append(self._part(level))
        if self.word in ("and", "or"):
            self.fail(f"and, or stand side by side: write (... {joint} ...) {self.word} ..., or ... {joint} (...)")
        return _joined(joint, parts)

    def _part(self, level: int) -> Quorum:
        if self.word != "(":
            return self._of()
        if level == limits.QUORUM_DEPTH_MAX:
            self.fail(f"parentheses within each other more than {limits.QUORUM_DEPTH_MAX - 1} deep")
        self._next += 1
        quorum = self.quorum(level=level + 1)
        if self.word != ")":
            self.fail(f"{self.shown()} stands where a parenthesis should close")
        self._next += 1
        return quorum

    def _of(self) -> Of:
        self._parts += 1
        if self._parts > limits.QUORUM_PARTS_MAX:
            self.fail(f"more than {limits.QUORUM_PARTS_MAX} parts")
        threshold = self._threshold()
        self._next += 1
        if self.word != "of":
            self.fail(f"{self.shown()} stands where of should: write {threshold} of a group")
        self._next += 1
        group = self._group()
        self._next += 1
        return Of(threshold, group)

    def _threshold(self) -> int:
        word, most = self.word, limits.MEMBERS_MAX
        if not word[:1].isdecimal():
            self.fail(f"{self.shown()} stands where a number should: write {_EXAMPLE}")
        if not _THRESHOLD.fullmatch(word) or int(word) > most:
            self.fail(f"{self.shown()} is not a number of persons: 1 to {most}, without leading zeros")
        return int(word)

    def _group(self) -> GroupName:
        if self.word in ("", "(", ")"):
            self.fail(f"{self.shown()} stands where the name of a group should")
        try:
            return parse_group_name(self.word)
        except Malformed as malformed:
            self.fail(f"group {malformed.problem}")


def _joined(joint: str, parts: list[Quorum]) -> Quorum:
    """Return the parts as one quorum; parts that are joined by the same word give their own parts."""
    if joint == "and":
        inner = [part.parts if isinstance(part, All) else (part,) for part in parts]
        return All(tuple(each for some in inner for each in some))
    either = [part.parts if isinstance(part, AnyOf) else (part,) for part in parts]
    return AnyOf(tuple(each for some in either for each in some))


def _part_text(part: Quorum) -> str:
    return quorum_text(part) if isinstance(part, Of) else f"({quorum_text(part)})"


# Who counts where -----------------------------------------------------------------------------------------------

_Demands: TypeAlias = tuple[Of, ...]


def _alternatives(quorum: Quorum) -> Iterator[_Demands]:
    """Yield the ways to meet the quorum, as parts that must all be met: its disjunctive normal form.

    QUORUM_PARTS_MAX parts have at most 3 * 3 * 2 = 18 alternatives.
    """
    match quorum:
        case Of():
            yield (quorum,)
        case AnyOf():
            for part in quorum.parts:
                yield from _alternatives(part)
        case All():
            for chosen in product(*map(_alternatives, quorum.parts)):
                yield tuple(demand for demands in chosen for demand in demands)


def _is_dealt(demands: _Demands, groups: Groups, approvers: frozenset[MemberName]) -> bool:
    """Return whether each demand can have its own approvers.

    Hall's marriage theorem (P. Hall, On Representatives of Subsets, 1935), with a demand for n as n brides: it is
    possible exactly if every set of demands, taken together, has as many approvers to choose from as it asks. Demands
    on one group are added up first; the others of its sets ask less of the same approvers.
    """
    asked: dict[GroupName, int] = {}
    for demand in demands:
        asked[demand.group] = asked.get(demand.group, 0) + demand.threshold
    known = [(threshold, approvers & groups.get(group, frozenset())) for group, threshold in asked.items()]
    unions: list[tuple[int, frozenset[MemberName]]] = [(0, frozenset())]
    for threshold, present in known:
        for total, people in tuple(unions):
            union = people | present
            if len(union) < total + threshold:
                return False
            unions.append((total + threshold, union))
    return True
