"""``when``: a predicate in CEL (cel.dev) over the facts of one effect, that can only take away.

1. It stands beside the conditions of a rule and must hold as well. A fact that it names and that is not stated makes it
   fail in an allow rule, and hold in a deny or escalate rule; so does any error.
2. A part of CEL only, in which nothing can fail while it runs: comparisons, ``&&``, ``||``, ``!``, ``? :``, ``in`` a
   list of literals, and startsWith, endsWith, contains, matches (RE2) and size of strings. CEL's ``||`` would hide the
   error of one side; here there are none to hide. No arithmetic, no macros (they can be exponential), no conversions.
3. Typed when it is published: names and types that do not fit are refused then, with their place.
4. CEL has integers of 64 bits. An amount that does not fit is a fact that is not stated.
5. A text that a fact can never be is refused when it is published: addresses in another spelling than that of facts,
   venues, operations and sides that do not exist. A rule that denies ``venue == "Binance"`` would deny nothing. What is
   only the beginning, the end or a part of a text is held against much less of this.
6. A pattern of ``matches`` is written out, and valid; see ``limits.PREDICATE_PATTERNS_MAX``.
7. ``destination`` is its account in what restricts, without tag or memo and in its one spelling (``accounts``), as in
   the conditions beside it; so whole texts that it is compared with must be in that spelling.
8. ``fee`` is the fee of the whole signature, whichever effect asks: a memo that comes first hides none.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple

from cel_expr_python import cel  # type: ignore[import-untyped]  # it has stubs and no py.typed

from keyvault.core import limits
from keyvault.core.accounts import CASH_PREFIXES, account_of
from keyvault.core.errors import Malformed
from keyvault.core.intent import Completeness, Operation
from keyvault.core.policy_cel_words import told
from keyvault.core.policy_facts import Facts, Missing, Place
from keyvault.core.policy_kinds import VENUES
from keyvault.core.slots import Replaces
from keyvault.core.venue_names import KRAKEN, asset_at, is_kraken_s_alone, symbol_at

_BOOL, _INT, _STRING = cel.Type.BOOL, cel.Type.INT, cel.Type.STRING
VARIABLES: Final[Mapping[str, tuple[Place, cel.Type]]] = MappingProxyType(
    {
        "principal": (Place.PRINCIPAL, _STRING),
        "operation": (Place.OPERATION, _STRING),
        "venue": (Place.VENUE, _STRING),
        "destination": (Place.DESTINATION, _STRING),
        "selector": (Place.SELECTOR, _STRING),
        "primary_type": (Place.PRIMARY_TYPE, _STRING),
        "symbol": (Place.SYMBOL, _STRING),
        "side": (Place.SIDE, _STRING),
        "asset": (Place.ASSET, _STRING),
        "contract": (Place.CONTRACT, _STRING),
        "type_hash": (Place.TYPE_HASH, _STRING),
        "chain_id": (Place.CHAIN, _INT),
        "amount": (Place.AMOUNT, _INT),
        "fee": (Place.FEES, _INT),
        "usd_micros": (Place.USD, _INT),
        "price_deviation_bps": (Place.DEVIATION, _INT),
        "validity_ms": (Place.VALIDITY, _INT),
        "minute_of_week": (Place.HOUR, _INT),
        "source": (Place.SOURCE, _STRING),
        "via": (Place.VIA, _STRING),
        "completeness": (Place.COMPLETENESS, _STRING),
        "replaces": (Place.REPLACES, _STRING),
    }
)
"""What a predicate can name."""

_FUNCTIONS = frozenset({"startsWith", "endsWith", "contains", "matches", "size"})
_WORDS = frozenset({"true", "false", "in"})
_TOKEN = re.compile(
    r"""\s+
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<number>[0-9]+)
    | (?P<text>"[ !#-\[\]-~]*"|'[ -&(-\[\]-~]*')
    | (?P<sign>==|!=|<=|>=|&&|\|\||[<>!()\[\],.?:])
    """,
    re.VERBOSE | re.ASCII,
)
_INT_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicate:
    """A predicate, typed and ready. ``named``: the facts that it reads, by name and place; whether each is a text."""

    named: tuple[tuple[str, int, bool], ...]
    run: Callable[..., cel.Value]
    unknown_holds: bool

    def holds(self, facts: Facts) -> bool:
        """Return whether it holds; what is not stated, and any error, is as the rule's reading has it."""
        given: dict[str, object] = {}
        for name, place, text in self.named:
            value = facts[place]
            if isinstance(value, str):
                if not text:
                    return self.unknown_holds  # the chain has a name and no number
                given[name] = str(value)
            elif text or isinstance(value, Missing) or value > _INT_MAX:
                return self.unknown_holds
            else:
                given[name] = value
        found = self.run(data=given)
        return found.plain_value() is True if found.type() == _BOOL else self.unknown_holds


@lru_cache(maxsize=limits.POLICY_RULES_MAX)
def compile_predicate(text: str, *, unknown_holds: bool) -> Predicate:
    """Return the predicate, or raise Malformed with what is wrong with it."""
    names = frozenset(_names(text, restricts=unknown_holds))
    try:
        expression = _environment().compile(text)
    except RuntimeError as error:
        raise Malformed("when", told(str(error), text)) from None
    if expression.return_type() != _BOOL:
        raise Malformed("when", f"is of type {expression.return_type().name().lower()}, and must be true or false")
    described = ((name, *VARIABLES[name]) for name in sorted(names))
    named = tuple((name, _read_at(place, restricts=unknown_holds), kind == _STRING) for name, place, kind in described)
    return Predicate(named=named, run=expression.eval, unknown_holds=unknown_holds)


def _read_at(place: Place, *, restricts: bool) -> int:
    return int(Place.ACCOUNT if restricts and place is Place.DESTINATION else place)


def named_places(text: str) -> frozenset[Place]:
    """Return the facts that a predicate reads; none of one that cannot be compiled, which is never asked."""
    return frozenset(VARIABLES[name][0] for name in _names(text))


@lru_cache(maxsize=1)
def _environment() -> cel.Env:
    return cel.NewEnv(variables={name: kind for name, (_, kind) in VARIABLES.items()})


class _Token(NamedTuple):
    """``kind`` is name, number, text or sign; ``at`` the character where it begins, from 1."""

    kind: str
    word: str
    at: int


def _names(text: str, *, restricts: bool = False) -> Iterator[str]:
    """Yield the facts that the text names; raise Malformed for what is not part of the language."""
    tokens = [_NOTHING]
    depth, listing = 0, False
    for token in _tokens(text):
        before, word = tokens[-1], token.word
        tokens.append(token)
        depth += (word in ("(", "[")) - (word in (")", "]"))
        if depth > limits.PREDICATE_DEPTH_MAX:
            raise Malformed("when", f"is nested deeper than {limits.PREDICATE_DEPTH_MAX}")
        if word == "[" and before.word != "in":
            raise Malformed("when", f"at character {token.at}: a list may only stand behind in")
        listing = word == "[" or (listing and word != "]")
        if listing and word in VARIABLES:
            problem = f"a list has texts and numbers, no facts: write {word} == ..., for each"
            raise Malformed("when", f"at character {token.at}: {problem}")
        if token.kind == before.kind == "text":
            # Three quotes: CEL would end the text elsewhere than is read here, and what follows would not be looked at.
            raise Malformed("when", f"at character {token.at}: two texts stand side by side")
        if token.kind == "name" and word not in _WORDS:
            _check_name(word, before.word)
            if word in VARIABLES:
                yield word
    _check_texts(tokens, restricts=restricts)


def _tokens(text: str) -> Iterator[_Token]:
    if len(text) > limits.PREDICATE_CHARS_MAX:
        raise Malformed("when", f"is longer than {limits.PREDICATE_CHARS_MAX} characters")
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise Malformed("when", f"at character {at + 1}: {text[at]!r} is not part of a predicate{_hint(text[at])}")
        if token.lastgroup is not None:
            yield _Token(token.lastgroup, token.group(), at + 1)
        at = token.end()


_NOTHING: Final = _Token("", "", 0)


def _check_texts(tokens: list[_Token], *, restricts: bool) -> None:
    """Raise Malformed for a text that what it is compared with can never be, and for a pattern that is none.

    ``tokens`` begin with NOTHING.
    """
    for about, function, token in _texts(tokens):
        if restricts and about == "destination" and function != "matches":
            _check_account(token, function)
        _check_text(token, about, function)


def _texts(tokens: list[_Token]) -> Iterator[tuple[str, str, _Token]]:
    """Yield each text with the fact that it is compared with, and the function if it is not the whole of it."""
    subject, function = "", ""
    for before, token, after in zip(tokens, tokens[1:], (*tokens[2:], _NOTHING), strict=False):
        if function == "matches" and before.word == "(" and not (token.kind == "text" and after.word == ")"):
            raise Malformed("when", f"at character {token.at}: matches takes one text, written out")
        if token.word in VARIABLES:
            subject, function = token.word, ""
        elif token.word in _FUNCTIONS:
            function = token.word
        elif token.word in ("&&", "||", "?", ":"):
            subject, function = "", ""
        if token.kind == "text":
            yield subject or _compared(tokens, token), function, token


class Compared(NamedTuple):
    """A text in a predicate. ``function``: how the fact is asked about it; empty: whether it is the whole of it."""

    fact: str
    function: str
    text: str
    at: int


def compared(when: str) -> tuple[Compared, ...]:
    """Return every text that a predicate, which compiles, compares a fact with."""
    tokens = [_NOTHING, *_tokens(when)]
    return tuple(Compared(fact, function, token.word[1:-1], token.at) for fact, function, token in _texts(tokens))


def words(when: str) -> tuple[str, ...]:
    """Return the names, numbers, texts and signs of a predicate that compiles, one after the other."""
    return tuple(token.word for token in _tokens(when))


def _compared(tokens: list[_Token], text: _Token) -> str:
    """Return the fact that stands behind ``text ==``, if one does."""
    behind = [each.word for each in tokens[tokens.index(text) + 1 :] if each.word not in ("(", ")")]
    return behind[1] if len(behind) > 1 and behind[0] in ("==", "!=") and behind[1] in VARIABLES else ""


def _check_account(token: _Token, function: str) -> None:
    """Raise Malformed for a text that no account is, where a destination is its account: in what restricts."""
    text, where = token.word[1:-1], f"at character {token.at}"
    if "?" in text:
        raise Malformed("when", f"{where}: what restricts goes by accounts: leave out what stands behind the ?")
    account = account_of(text)
    if not function and account != text:
        problem = f"{token.word[:80]} is never a destination in what restricts, which goes by accounts"
        raise Malformed("when", f"{where}: {problem}: write {account[:80]}")
    prefix = next((each for each in CASH_PREFIXES if f"{each}:" in text.lower()), "")
    if prefix:
        raise Malformed("when", f"{where}: what restricts goes by accounts, which have no {prefix}: leave it out")


def _check_text(token: _Token, subject: str, function: str) -> None:
    text = token.word[1:-1]
    where = f"at character {token.at}: {token.word[:80]}"
    if function == "matches":
        if not _is_pattern(token.word):
            raise Malformed("when", f"{where} is no pattern (RE2)")
        return
    if subject in _SPELT and text.startswith(_HEX) and text != text.lower():
        raise Malformed("when", f"{where} is never a {subject}: write {text.lower()[:80]}")
    if subject in _NAMED and not function and is_kraken_s_alone(text):
        raise Malformed("when", f"{where} is never a {subject}: write {_NAMED[subject](KRAKEN, text)[:80]}")
    known = _CLOSED.get(subject)
    if known is not None and not function and text not in known:
        raise Malformed("when", f"{where} is never a {subject}: there is {', '.join(sorted(known))}")


_HEX: Final = ("0x", "0X")
_SPELT: Final = frozenset({"destination", "asset", "contract", "source", "selector", "type_hash"})
"""Facts in which hexadecimal digits are in lower case."""
_NAMED: Final = {"asset": asset_at, "symbol": symbol_at}
"""Facts that are a venue's one name for a thing."""
_CLOSED: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "operation": frozenset(Operation),
        "venue": VENUES,
        "side": frozenset({"BUY", "SELL"}),
        "completeness": frozenset({Completeness.FULL, Completeness.PARTIAL}),
        "replaces": frozenset(Replaces),
    }
)


def _is_pattern(literal: str) -> bool:
    """Return whether RE2 takes the pattern, as CEL would while it runs."""
    run = cel.NewEnv(variables={}).compile(f"''.matches({literal})").eval
    return bool(run(data={}).type() == _BOOL)


def patterns(text: str) -> int:
    """Return how many patterns a predicate tries."""
    return sum(token.group() == "matches" for token in _TOKEN.finditer(text))


def _check_name(word: str, before: str) -> None:
    """Raise Malformed unless it is a fact, or a function behind a point."""
    known = word in _FUNCTIONS if before == "." else word in VARIABLES
    if not known:
        raise Malformed("when", _unknown(word))


def _unknown(word: str) -> str:
    return (
        f"{word[:80]} is not known: there is {', '.join(VARIABLES)}; and of a text"
        f" {', '.join(f'.{name}()' for name in sorted(_FUNCTIONS))}"
    )


def _hint(character: str) -> str:
    return ": there is no arithmetic" if character in "+-*/%" else ""
