"""What decoders of EIP-712 messages are given, and what they answer.

A protocol is known by the type hash of its primary type, which is computed here from the type string that its contract
hashes: names alone prove nothing. A domain counts only as far as the protocol's own contract would check it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, cast

from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Bound, Completeness, Effect, Operation, Signer
from keyvault.core.quickly import quickly_made
from keyvault.intents.keccak import keccak256
from keyvault.intents.typed_values import Fact

ZERO_ADDRESS: Final = "0x" + "00" * 20
WORD_MAX: Final = 2**256 - 1

_MILLIS_END = 2**63
"""Later moments do not fit into the ledger's integers, and mean that there is no end."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The members of one struct by name. The type hash says what type each has, so the reader may rely on it."""

    members: Mapping[str, Fact]

    def integer(self, name: str) -> int:
        """Return a number of an ``intN`` or ``uintN``."""
        return cast("int", self.members[name])

    def flag(self, name: str) -> bool:
        """Return a ``bool``."""
        return bool(self.members[name])

    def address(self, name: str) -> str:
        """Return an ``address``: 0x and 40 lower-case hex digits."""
        return cast("str", self.members[name])

    def text(self, name: str) -> str:
        """Return a ``string``: any text, and not fit to be shown before it is checked."""
        return cast("str", self.members[name])

    def data(self, name: str) -> bytes:
        """Return ``bytes`` or ``bytesN``."""
        return cast("bytes", self.members[name])

    def struct(self, name: str) -> "Facts":
        """Return a struct."""
        return Facts(cast("dict[str, Fact]", self.members[name]))

    def structs(self, name: str) -> tuple["Facts", ...]:
        """Return the elements of an array of structs."""
        return tuple(Facts(cast("dict[str, Fact]", item)) for item in cast("tuple[Fact, ...]", self.members[name]))


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """The values of EIP712Domain, None for members that it does not have; ``members`` names those that it has."""

    members: frozenset[str]
    name: str | None
    version: str | None
    chain_id: int | None
    contract: str | None

    def is_of(self, name: str, version: str | None) -> bool:
        """Return whether it is of this protocol, wherever its contract is."""
        return self.name == name and self.version == version


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message to be interpreted.

    ``base`` has what every effect of it states: chain, contract, primary type and type hash, no fee. ``type_hash`` says
    which of a family's types it is.
    """

    domain: Domain
    facts: Facts
    base: Effect
    type_hash: bytes
    signer: Signer

    def allowance(
        self,
        *,
        asset: str | None,
        destination: str,
        amount: int,
        source: str | None = None,
        expires_at: UnixMillis | None = None,
    ) -> Effect:
        """Return ``base`` as an ALLOWANCE; made anew in a third of the time of a copy."""
        base = self.base
        return Effect(
            operation=Operation.ALLOWANCE,
            chain_id=base.chain_id,
            destination=destination,
            primary_type=base.primary_type,
            amount=amount,
            fee_max=base.fee_max,
            asset=asset,
            source=source,
            contract=base.contract,
            type_hash=base.type_hash,
            expires_at=expires_at,
        )


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What signing a message means; the fields are those of Intent."""

    effects: tuple[Effect, ...]
    completeness: Completeness = Completeness.FULL
    binds: frozenset[Bound] = frozenset({Bound.ACCOUNT, Bound.NONCE})
    not_before: UnixMillis | None = None
    expires_at: UnixMillis | None = None
    slot: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One type that is known.

    ``read`` returns None where the domain shows that it is not the protocol's message: then its meaning is not known.
    ``domains`` are the sets of members of EIP712Domain that its contracts use besides those that pin chain and
    contract.
    """

    type_text: str
    read: Callable[[Message], Meaning | None]
    domains: frozenset[frozenset[str]] = frozenset()


def by_type_hash(families: Iterable[Family]) -> dict[bytes, Family]:
    """Return the families by the Keccak-256 of their type strings."""
    return {keccak256(family.type_text.encode("ascii")): family for family in families}


def end(millis: int) -> UnixMillis | None:
    """Return ``millis`` since 1970 as an end; None: there is none that anybody could see."""
    return UnixMillis(millis) if millis < _MILLIS_END else None


def moment(seconds: int) -> UnixMillis | None:
    """Return the end that a contract reads from ``seconds`` since 1970."""
    return end(seconds * 1000)


def start(millis: int) -> UnixMillis | None:
    """Return ``millis`` since 1970 as a beginning: none before 1970, and the last moment for what is too large."""
    return UnixMillis(min(millis, _MILLIS_END - 1)) if millis > 0 else None


def beginning(seconds: int) -> UnixMillis | None:
    """Return the beginning that a contract reads from ``seconds`` since 1970; 0 is no bound."""
    return start(seconds * 1000)
