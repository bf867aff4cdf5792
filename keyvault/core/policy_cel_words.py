"""What CEL's compiler says is wrong with a predicate, in the words of this product: where, what, and what to do."""

import re
from typing import Final

_PLACE = re.compile(r"(?:INVALID_ARGUMENT: )?(?:ERROR: <input>:)?(\d+):(\d+): (?:Syntax error: )?(.*)", re.ASCII)
_OVERLOAD = re.compile(r"found no matching overload for '(.+)' applied to '\((.*)\)'", re.ASCII)
_SURPLUS = re.compile(r"(?:extraneous input|mismatched input|token recognition error at:) '(.+?)'(?: expecting .*)?")
_MISSING = re.compile(r"missing '(.+?)' at .*", re.ASCII)
_UNDECLARED = re.compile(r"undeclared reference to '(\w+)'.*", re.ASCII)
_ENDS: Final = "'<EOF>' expecting {"
_TYPES: Final = (("list(", "list of "), (")", ""), ("int", "number"), ("string", "text"), ("bool", "yes or no"))
_CHARS_SHOWN: Final = 160


def told(error: str, text: str) -> str:
    """Return what is wrong with the predicate ``text``, of which the compiler said ``error``."""
    first = error.splitlines()[0] if error else ""
    found = _PLACE.match(first)
    if found is None:
        return f"cannot be compiled: {first[:_CHARS_SHOWN] or 'the compiler does not say why'}"
    line, column, sentence = found.groups()
    before = text.splitlines(keepends=True)[: int(line) - 1]
    return f"at character {sum(map(len, before)) + int(column)}: {_in_words(sentence)}"


def _in_words(sentence: str) -> str:
    if _ENDS in sentence:
        return "it ends where a fact, a text or a number must follow: write the rest, or leave out the end"
    if sentence == "invalid int literal":
        return "the number is above 2^63 - 1, which no fact is: use amount or above for large amounts"
    overload = _OVERLOAD.fullmatch(sentence)
    if overload:
        return f"{_operator(overload.group(1))} does not fit {_types(overload.group(2))}: compare what is of one type"
    missing, undeclared, surplus = (each.fullmatch(sentence) for each in (_MISSING, _UNDECLARED, _SURPLUS))
    if missing:
        return f"a {missing.group(1)} is missing"
    if undeclared:
        return f"{undeclared.group(1)} is not used like that: write it behind a text, with one text in parentheses"
    if surplus:
        return f"{surplus.group(1)[:80]} is too much: join conditions by && or ||, or leave it out"
    return sentence[:_CHARS_SHOWN]


def _operator(name: str) -> str:
    """Return what people write for ``_>_``, ``@in`` or ``contains``."""
    return name.strip("_@").replace("_", " ")


def _types(text: str) -> str:
    for theirs, ours in _TYPES:
        text = text.replace(theirs, ours)
    kinds = text.split(", ")
    return " and ".join(f"a {kind}" for kind in kinds)
