"""What readers of Cosmos messages share: the transaction around a message, what a message means, and coins."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Effect
from keyvault.intents.cosmos_address import Account, read_account
from keyvault.intents.protobuf_wire import Message, Values, text_of

_DENOMINATION = re.compile(r"[A-Za-z][A-Za-z0-9/:._-]{2,127}", re.ASCII)
"""As ``ValidateDenom`` of cosmos-sdk, ``types/coin.go``."""
_AMOUNT = re.compile(r"[1-9][0-9]{0,77}", re.ASCII)
"""Decimal, in one form. The chain reads Go's literals, where 010 is eight and 0x10 is sixteen: those are refused."""
_AMOUNT_MAX = 2**256 - 1
_TYPE_URL = re.compile(r"/[A-Za-z][A-Za-z0-9_]*(?:\.[A-Za-z][A-Za-z0-9_]*)+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """The transaction that a message stands in. ``prefix`` is that of the chain's addresses, if the chain is known."""

    network: str
    key_identity: bytes
    prefix: str | None
    memo: str
    via: str | None

    def account(self, values: Values, name: str, where: str) -> Account:
        """Return the account that a field names."""
        return read_account(text_of(values, name), f"{where}.{name}", self.prefix)

    def payee(self, account: Account) -> str:
        """Return who is paid: ``{address}``, or ``{address}?memo={memo}``.

        At an exchange the memo decides whose account it is, so permission for the address must not cover it.
        """
        return f"{account.text}?memo={self.memo}" if self.memo else account.text

    def source(self, account: Account) -> str | None:
        """Return whose asset it is, None if it is the key's own."""
        return None if account.identity == self.key_identity else account.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What one message means.

    ``account`` is whose signature the chain asks for, None if nobody here knows. ``alone``: the chain takes it only as
    the one message of a transaction. ``sequenced``: the account's sequence is counted, so a transaction happens once;
    otherwise ``slot`` names what stops a second one. ``until`` is when the chain stops to take it, ``bounded`` whether
    it does at all, at some time or height.
    """

    account: Account | None
    effects: tuple[Effect, ...]
    full: bool = True
    alone: bool = False
    sequenced: bool = True
    slot: str | None = None
    until: UnixMillis | None = None
    bounded: bool = False


Reader: TypeAlias = Callable[[Values, str, Around], Meaning]
Readers: TypeAlias = Mapping[str, tuple[Message, Reader]]
"""Description and reader of each known message, by its type URL."""


def read_coin(values: Values, where: str) -> tuple[str, int]:
    """Return denomination and amount of a coin that is more than nothing."""
    denomination = read_denomination(values, where)
    amount = text_of(values, "amount")
    if not _AMOUNT.fullmatch(amount) or int(amount) > _AMOUNT_MAX:
        raise Malformed(f"{where}.amount", "must be a positive decimal number without sign or leading zeros, < 2^256")
    return denomination, int(amount)


def read_denomination(values: Values, where: str) -> str:
    """Return the denomination of a coin."""
    denomination = text_of(values, "denom")
    if not _DENOMINATION.fullmatch(denomination):
        raise Malformed(f"{where}.denom", "must be 3 to 128 of A-Z a-z 0-9 / : . _ -, a letter first")
    return denomination


def read_coins(coins: list[Values], where: str) -> list[tuple[str, int]]:
    """Return the coins of a list that has at least one; they ascend, so none stands twice."""
    read = [read_coin(coin, f"{where}[{place}]") for place, coin in enumerate(coins)]
    if not read:
        raise Malformed(where, "has no coin")
    check_ascending([denomination for denomination, _ in read], where)
    return read


def check_ascending(denominations: list[str], where: str) -> None:
    """Raise Malformed unless denominations ascend: the chain takes nothing else (``Coins.Validate``)."""
    if any(before >= after for before, after in pairwise(denominations)):
        raise Malformed(where, "must be sorted by denomination, each once")


def read_type_url(text: str, where: str) -> str:
    """Return a type URL: one slash, and a full name."""
    if len(text) > limits.EXCHANGE_FACT_CHARS_MAX or not _TYPE_URL.fullmatch(text):
        raise Malformed(where, "must be a slash and the full name of a message")
    return text
