"""Cases of a policy as people write them: YAML to values. All problems of a file are reported at once.

A case is a request, and what must become of it. ``defaults`` (key, principal, at) hold for all cases of a file, and
``keys`` says what keys are, where a kind's usual one is not enough.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final, TypeVar, get_args, get_type_hints

import yaml

from keyvault.cli.case_payloads import FORMS, Place, read_payload
from keyvault.cli.params import parse_hex
from keyvault.cli.policy_file import PolicyFileError
from keyvault.cli.policy_trial import Asker, Request, Word
from keyvault.cli.policy_units import parse_span, parse_time, parse_whole
from keyvault.cli.yaml_nodes import Bounds, Problems, Table, compose, meant, pairs, table
from keyvault.core import ids, limits
from keyvault.core.errors import Malformed, Reason
from keyvault.core.ids import KeyId, Principal, UnixMillis
from keyvault.core.intent import Completeness, Effect, Operation, Payload, PayloadKind
from keyvault.core.keys import KeyAlgorithm
from keyvault.core.quorum import parse_quorum, quorum_text
from keyvault.intents import ANYBODY

_BOUNDS = Bounds(what="file of cases", bytes_max=limits.CASES_FILE_BYTES_MAX, depth_max=limits.CASES_FILE_DEPTH_MAX)
_FILE_FIELDS = ("defaults", "keys", "cases")
_DEFAULT_FIELDS = ("key", "principal", "at")
_KEY_FIELDS = ("algorithm", "public_key")
_REQUEST_FIELDS = ("key", "principal", "at", "kind", *FORMS)
_EARLIER_FIELDS = (*_REQUEST_FIELDS, "times", "every")
_SEEN_FIELDS = ("destination", "at")
_CASE_FIELDS = (
    "name",
    "attack",
    *_REQUEST_FIELDS,
    "seen",
    "earlier",
    "expect",
    "reason",
    "rules",
    "quorums",
    "completeness",
    "facts",
)

_HMAC_SHA512_KINDS = frozenset({PayloadKind.KRAKEN_REST, PayloadKind.KRAKEN_FIX_LOGON})
_ED25519_KINDS = frozenset(
    {
        PayloadKind.SOLANA_MESSAGE,
        PayloadKind.COINBASE_JWT,
        PayloadKind.BINANCE_WS_LOGON,
        PayloadKind.BINANCE_FIX_LOGON,
    }
)
_SECP256K1_KINDS = frozenset(
    {
        PayloadKind.EVM_TRANSACTION,
        PayloadKind.EVM_AUTHORIZATION,
        PayloadKind.EVM_MESSAGE,
        PayloadKind.TYPED_DATA,
        PayloadKind.HYPERLIQUID_ACTION,
        PayloadKind.BITCOIN_PSBT,
        PayloadKind.COSMOS_SIGN_DOC,
        PayloadKind.RAW_DIGEST,
    }
)
_P256_GENERATOR = bytes.fromhex(
    "04"
    "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
_ED25519_GENERATOR = bytes.fromhex("58" + "66" * 31)
_NOBODYS: Final[Mapping[KeyAlgorithm, bytes]] = {
    KeyAlgorithm.SECP256K1: ANYBODY.public_key,
    KeyAlgorithm.P256: _P256_GENERATOR,
    KeyAlgorithm.ED25519: _ED25519_GENERATOR,
    KeyAlgorithm.HMAC_SHA256: b"",
    KeyAlgorithm.HMAC_SHA512: b"",
}
"""Where a case names no public key: the generator of each curve (SEC 2, FIPS 186-5, RFC 8032), nobody's key."""

_NUMBERS: Final = frozenset(
    name for name, kind in get_type_hints(Effect).items() if any(each in (int, UnixMillis) for each in get_args(kind))
)
_EFFECT_FIELDS: Final = tuple(each.name for each in fields(Effect))

E = TypeVar("E", Word, PayloadKind, KeyAlgorithm, Completeness, Reason)
Known = Mapping[str, str | int]
"""The fields of an effect that are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a case says must come; None where it says nothing."""

    word: Word
    reason: str | None
    rules: frozenset[str] | None
    quorums: frozenset[str] | None
    completeness: Completeness | None
    facts: tuple[Known, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case.

    ``seen``: destinations that were signed for before. ``earlier``: requests before it, in order, of the same key and
    principal unless they name others.
    """

    name: str
    attack: str
    line: int
    request: Request
    seen: tuple[tuple[str, UnixMillis], ...]
    earlier: tuple[Request, ...]
    expected: Expected


@dataclass(frozen=True, slots=True, kw_only=True)
class _Defaults:
    key: KeyId | None
    principal: Principal | None
    at: UnixMillis


def parse_cases(text: str, *, name: str, folder: Path, at: UnixMillis) -> tuple[Case, ...]:
    """Return the cases, or raise PolicyFileError with every problem.

    ``name`` is the file's, ``folder`` where it stands, ``at`` the time of cases that say none.
    """
    problems = Problems(name)
    node = compose(text, problems, _BOUNDS)
    cases = () if node is None else tuple(_file(node, Place(folder, problems), at))
    if problems.found:
        raise PolicyFileError(problems)
    return cases


def effect_facts(effect: Effect) -> Known:
    """Return the fields of an effect that are known, as cases write them."""
    values = ((name, getattr(effect, name)) for name in _EFFECT_FIELDS)
    return {name: value if isinstance(value, int) else str(value) for name, value in values if value is not None}


def _file(node: yaml.Node, place: Place, at: UnixMillis) -> Iterator[Case]:
    top = table("a file of cases", node, _FILE_FIELDS, place.problems)
    given = top.values.get("defaults")
    default = None if given is None else table("defaults", given, _DEFAULT_FIELDS, place.problems)
    defaults = _Defaults(
        key=default.read("key", ids.parse_key_id) if default else None,
        principal=default.read("principal", ids.parse_principal) if default else None,
        at=(default.read("at", _time) if default else None) or at,
    )
    keys = _keys(top)
    names: set[str] = set()
    for each in top.items("cases", needed="cases, each with name and expect"):
        before = len(place.problems.found)
        case = _case(each, place, defaults, keys)
        if case is not None and case.name in names:
            place.problems.add(each.start_mark, f"the name {case.name[:80]} is taken: results name it")
        elif case is not None and len(place.problems.found) == before:
            names.add(case.name)
            yield case


def _keys(top: Table) -> Mapping[str, Table]:
    node = top.values.get("keys")
    if node is None:
        return {}
    found = pairs("keys", node, top.problems, "a table of keys, each with algorithm and public_key")
    return {name.value: table("a key", value, _KEY_FIELDS, top.problems) for name, value in found}


def _case(node: yaml.Node, place: Place, defaults: _Defaults, keys: Mapping[str, Table]) -> Case | None:
    said = table("a case", node, _CASE_FIELDS, place.problems)
    name = said.read("name", str, needed="name: what is tried")
    request = _request(said, place, defaults, keys)
    expected = _expected(said)
    if name is None or request is None or expected is None:
        return None
    mine = replace(defaults, key=request.asker.key, principal=request.asker.principal)
    earlier = (table("a request", each, _EARLIER_FIELDS, place.problems) for each in said.items("earlier"))
    return Case(
        name=name,
        attack=said.read("attack", str) or "",
        line=node.start_mark.line + 1,
        request=request,
        seen=tuple(_seen(said, defaults.at)),
        earlier=tuple(request for each in earlier for request in _repeated(each, place, mine, keys)),
        expected=expected,
    )


def _repeated(said: Table, place: Place, defaults: _Defaults, keys: Mapping[str, Table]) -> Iterator[Request]:
    """Yield a request as often as it says, from its time on."""
    request = _request(said, place, defaults, keys)
    times = said.read("times", lambda text: parse_whole(text, least=1, most=limits.CASE_REPEATED_MAX)) or 1
    every = said.read("every", parse_span) or 0
    if request is not None:
        yield from (replace(request, at=UnixMillis(request.at + number * every)) for number in range(times))


def _request(said: Table, place: Place, defaults: _Defaults, keys: Mapping[str, Table]) -> Request | None:
    key = said.read("key", ids.parse_key_id) or defaults.key
    principal = said.read("principal", ids.parse_principal) or defaults.principal
    for word, value in (("key", key), ("principal", principal)):
        if value is None:
            place.problems.add(said.start, f"{word} is missing: name it here, or in defaults")
    payload = _payload(said, place)
    if key is None or principal is None or payload is None:
        return None
    asker = _asker(key, principal, payload.kind, keys)
    return Request(asker=asker, payload=payload, at=said.read("at", _time) or defaults.at)


def _payload(said: Table, place: Place) -> Payload | None:
    kind = said.read("kind", _word("kind", PayloadKind))
    forms = [form for form in FORMS if form in said.values]
    if len(forms) != 1:
        place.problems.add(said.start, f"a request has one of {', '.join(FORMS)}, this one has {len(forms)}")
        return None
    payload = read_payload(kind, forms[0], said.values[forms[0]], place)
    if payload is not None and kind not in (None, payload.kind):
        place.problems.add(said.start, f"kind is {kind}, but {forms[0]} makes {payload.kind}")
    return payload


def _seen(said: Table, at: UnixMillis) -> Iterator[tuple[str, UnixMillis]]:
    for each in said.items("seen"):
        known = table("a destination", each, _SEEN_FIELDS, said.problems)
        destination = known.read("destination", str, needed="destination: 0x...")
        yield destination or "", known.read("at", _time) or at


def _asker(key: KeyId, principal: Principal, kind: PayloadKind, keys: Mapping[str, Table]) -> Asker:
    said = keys.get(key)
    algorithm = said.read("algorithm", _algorithm) if said else None
    chosen = algorithm or _usual(kind)
    public_key = said.read("public_key", parse_hex) if said else None
    return Asker(key=key, principal=principal, algorithm=chosen, public_key=public_key or _NOBODYS[chosen])


def _usual(kind: PayloadKind) -> KeyAlgorithm:
    """Return what keys for payloads of this kind are, where there is a choice the usual one."""
    if kind in _SECP256K1_KINDS:
        return KeyAlgorithm.SECP256K1
    if kind in _ED25519_KINDS:
        return KeyAlgorithm.ED25519
    return KeyAlgorithm.HMAC_SHA512 if kind in _HMAC_SHA512_KINDS else KeyAlgorithm.HMAC_SHA256


# What must come ---------------------------------------------------------------------------------------------------


def _expected(said: Table) -> Expected | None:
    word = said.read("expect", _word("verdict", Word), needed="expect: allow, deny, escalate or malformed")
    reason = said.read("reason", str)
    if word is Word.DENY and reason is not None and reason not in list(Reason):
        at = said.values["reason"].start_mark
        said.problems.add(at, f"unknown reason {reason[:80]!r}{meant(reason, tuple(Reason))}")
    if word in (Word.ALLOW, Word.ESCALATE) and reason is not None:
        said.problems.add(said.start, f"{word} has no reason: say rules: [...] instead")
    if word is None:
        return None
    return Expected(
        word=word,
        reason=reason,
        rules=_named(said, "rules", ids.parse_key_id),
        quorums=_named(said, "quorums", lambda text: quorum_text(parse_quorum(text))),
        completeness=said.read("completeness", _word("completeness", Completeness)),
        facts=tuple(map(_known, said.items("facts"), [said.problems] * len(said.items("facts"))))
        if "facts" in said.values
        else None,
    )


def _named(said: Table, field: str, parse: Callable[[str], str]) -> frozenset[str] | None:
    return frozenset(said.words(field, parse)) if field in said.values else None


def _known(node: yaml.Node, problems: Problems) -> Known:
    known = table("an effect", node, _EFFECT_FIELDS, problems)
    found: dict[str, str | int] = {}
    for name in known.values:
        value = known.read(name, _parser(name))
        if value is not None:
            found[name] = value
    return found


def _parser(name: str) -> Callable[[str], str | int]:
    if name in _NUMBERS:
        return _integer
    return _operation if name == "operation" else str


def _integer(text: str) -> int:
    return parse_whole(text, least=0, most=2**256 - 1)


def _operation(text: str) -> str:
    if text not in list(Operation):
        raise Malformed("operation", f"unknown operation {text[:80]!r}{meant(text, tuple(Operation))}")
    return text


def _time(text: str) -> UnixMillis:
    return UnixMillis(parse_time(text))


def _algorithm(text: str) -> KeyAlgorithm:
    return _word("algorithm", KeyAlgorithm)(text.upper().replace("-", "_"))


def _word(what: str, words: type[E]) -> Callable[[str], E]:
    def parse(text: str) -> E:
        if text not in list(words):
            raise Malformed(what, f"unknown {what} {text[:80]!r}{meant(text, tuple(words))}")
        return words(text)

    return parse
