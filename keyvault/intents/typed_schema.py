"""EIP-712 type sets: checked once, compiled to functions from JSON values to struct hashes and facts.

A type set is good when it has one reading: names are identifiers and no struct is named like an atomic type, so
encodeType cannot be parsed in two ways; every type is defined; every struct but EIP712Domain is reached from the
primary type; none contains itself; EIP712Domain has only the members that the EIP lists, in its order. A struct's name
may have one colon inside (``HyperliquidTransaction:UsdSend``): encodeType gives it no meaning.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.intents.keccak import keccak256, keccak256_of_recurring
from keyvault.intents.strict_json import Value
from keyvault.intents.typed_values import Fact, Reader, atomic_reader, is_reserved

Member: TypeAlias = tuple[str, str]
"""Name and type."""
Types: TypeAlias = tuple[tuple[str, tuple[Member, ...]], ...]
"""Structs in the order of the document."""

FIELD: Final = "typed_data"
DOMAIN: Final = "EIP712Domain"
DOMAIN_MEMBERS: Final[tuple[Member, ...]] = (
    ("name", "string"),
    ("version", "string"),
    ("chainId", "uint256"),
    ("verifyingContract", "address"),
    ("salt", "bytes32"),
)

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_STRUCT = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}(?:[A-Za-z0-9_]{0,64}|:[A-Za-z_][A-Za-z0-9_]{0,63})", re.ASCII)
_ARRAY = re.compile(r"(.*)\[([1-9][0-9]{0,8})?\]", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Struct:
    """One compiled struct type."""

    name: str
    type_hash: bytes
    members: tuple[tuple[str, Reader], ...]

    def read(self, value: Value) -> tuple[bytes, dict[str, Fact]]:
        """Return hashStruct(value) and what the members say; Malformed names the member from here on."""
        if not isinstance(value, dict):
            raise Malformed("", f"must be an object with the members of {self.name}")
        words = [self.type_hash]
        facts: dict[str, Fact] = {}
        for name, read in self.members:
            if name not in value:
                raise Malformed(name, f"is missing: {self.name} has it")
            try:
                word, facts[name] = read(value[name])
            except Malformed as error:
                raise Malformed(_join(name, error.field), error.problem) from None
            words.append(word)
        if len(value) != len(self.members):
            known = {name for name, _ in self.members}
            extra = next(name for name in value if name not in known)
            raise Malformed(place(extra), f"is not a member of {self.name}")
        # Payloads of a bot have one domain, and messages that differ.
        return (keccak256_of_recurring if self.name == DOMAIN else keccak256)(b"".join(words)), facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """What one type set with one primary type compiles to."""

    domain: Struct
    domain_members: frozenset[str]
    primary: Struct


@lru_cache(maxsize=limits.TYPED_DATA_SCHEMAS_REMEMBERED)
def compile_schema(types: Types, primary: str) -> Schema:
    """Return the compiled type set, or raise Malformed with a field under ``typed_data.types``."""
    structs = dict(types)
    if len(structs) > limits.TYPED_DATA_TYPES_MAX:
        raise Malformed(f"{FIELD}.types", f"has more than {limits.TYPED_DATA_TYPES_MAX} structs")
    for name, members in types:
        _check_struct(name, members)
    _check_domain(structs)
    if primary == DOMAIN:
        raise Malformed(f"{FIELD}.primaryType", "is EIP712Domain: wallets disagree about what is hashed then")
    if primary not in structs:
        raise Malformed(f"{FIELD}.primaryType", f"{primary[:80]!r} is not defined in types")
    compiler = _Compiler(structs)
    schema = Schema(
        domain=compiler.struct(DOMAIN, ()),
        domain_members=frozenset(name for name, _ in structs[DOMAIN]),
        primary=compiler.struct(primary, ()),
    )
    unused = [name for name in structs if name not in compiler.done]
    if unused:
        raise Malformed(f"{FIELD}.types.{unused[0]}", f"is not used by {primary}")
    return schema


def _check_struct(name: str, members: tuple[Member, ...]) -> None:
    field = f"{FIELD}.types.{place(name)}"
    if not _STRUCT.fullmatch(name):
        raise Malformed(field, "a struct's name must be an identifier of A-Z a-z 0-9 _")
    if is_reserved(name):
        raise Malformed(field, "is the name of an atomic type: it would have two readings")
    if not members:
        raise Malformed(field, "has no members")
    if len({member for member, _ in members}) != len(members):
        raise Malformed(field, "has two members of one name")
    for member, _ in members:
        if not _IDENTIFIER.fullmatch(member):
            raise Malformed(field, f"the member name {member[:80]!r} is not an identifier of A-Z a-z 0-9 _")


def _check_domain(structs: dict[str, tuple[Member, ...]]) -> None:
    """Raise Malformed unless the domain has members that the EIP defines, in its order."""
    field = f"{FIELD}.types.{DOMAIN}"
    if DOMAIN not in structs:
        raise Malformed(field, "must be defined, with exactly the members that domain has")
    members = structs[DOMAIN]
    if members != tuple(member for member in DOMAIN_MEMBERS if member in members):
        listed = ", ".join(f"{type_name} {name}" for name, type_name in DOMAIN_MEMBERS)
        raise Malformed(field, f"may only have these members, in this order: {listed}")


class _Compiler:
    """Turns structs into readers, each once. Depth is bounded, so the recursion is."""

    def __init__(self, structs: dict[str, tuple[Member, ...]]) -> None:
        self._structs = structs
        self.done: dict[str, Struct] = {}
        self._reached: dict[str, frozenset[str]] = {}

    def struct(self, name: str, inside: tuple[str, ...]) -> Struct:
        """Return the compiled struct; ``inside`` are the structs that are being compiled around it."""
        if name in inside:
            raise Malformed(f"{FIELD}.types.{name}", "contains itself")
        if name in self.done:
            return self.done[name]
        inside = (*inside, name)
        if len(inside) > limits.TYPED_DATA_DEPTH_MAX:
            raise Malformed(f"{FIELD}.types.{name}", f"structs are nested deeper than {limits.TYPED_DATA_DEPTH_MAX}")
        members = tuple((member, self._reader(type_name, name, inside)) for member, type_name in self._structs[name])
        reached = frozenset[str]().union(*(self._reach(type_name) for _, type_name in self._structs[name]))
        self._reached[name] = reached | {name}
        struct = Struct(name, keccak256(self._type_text(name, reached).encode("ascii")), members)
        self.done[name] = struct
        return struct

    def _reader(self, type_name: str, owner: str, inside: tuple[str, ...], dimensions: int = 0) -> Reader:
        if (match := _ARRAY.fullmatch(type_name)) is not None:
            if dimensions == limits.TYPED_DATA_DEPTH_MAX:
                raise Malformed(f"{FIELD}.types.{owner}", "an array has too many dimensions")
            element = self._reader(match[1], owner, inside, dimensions + 1)
            return _array_reader(element, None if match[2] is None else int(match[2]))
        atomic = atomic_reader(type_name)
        if atomic is not None:
            return atomic
        if type_name not in self._structs or type_name == DOMAIN:
            raise Malformed(f"{FIELD}.types.{owner}", f"the type {type_name[:80]!r} is neither atomic nor defined here")
        return self.struct(type_name, inside).read

    def _reach(self, type_name: str) -> frozenset[str]:
        return self._reached.get(type_name.partition("[")[0], frozenset())

    def _type_text(self, name: str, reached: frozenset[str]) -> str:
        """Return encodeType: the struct itself, then all that it reaches, sorted by name."""
        return "".join(
            f"{struct}({','.join(f'{type_name} {member}' for member, type_name in self._structs[struct])})"
            for struct in (name, *sorted(reached))
        )


def _array_reader(element: Reader, length: int | None) -> Reader:
    def read(value: Value) -> tuple[bytes, Fact]:
        if not isinstance(value, list):
            raise Malformed("", "must be an array")
        if length is not None and len(value) != length:
            raise Malformed("", f"has {len(value)} elements, must have exactly {length}")
        words = []
        facts = []
        for index, item in enumerate(value):
            try:
                word, fact = element(item)
            except Malformed as error:
                raise Malformed(_join(str(index), error.field), error.problem) from None
            words.append(word)
            facts.append(fact)
        return keccak256(b"".join(words)), tuple(facts)

    return read


def place(name: str) -> str:
    """Return a caller's name as part of a field: as it is if it is a struct's or member's, else quoted and escaped."""
    return name if _STRUCT.fullmatch(name) else ascii(name[:80])


def _join(outer: str, inner: str) -> str:
    return f"{outer}.{inner}" if inner else outer
