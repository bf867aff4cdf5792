"""What one signature uses of limits: its effects, reduced to what limits can ask about, and how much each moves.

1. A part is what a limit can tell apart: who asked, operation, place, venue, asset, destination. Effects that agree in
   all of it are one part, and their amounts are added.
2. What a part has not is None; what the payload left open is UNKNOWN, and that meets every condition: a permit without
   a chain is good on each, and an opaque effect can be anything at the venue that it names, or anywhere.
3. An amount on a chain is in the asset's smallest unit. At a venue it is in 10**-18, whatever decimals the payload
   states it with, so that amounts of one asset can be added; without decimals it is unknown, unless it is on a chain as
   well. The highest fee adds to the amount of the chain's own coin, and else stands beside it, so that a limit on that
   coin finds it.
4. Dollars are those of ``PriceBook``, with those of the fee. None: what can move value, or the coin that pays the fee,
   has no price, or not this much is known of it. Nothing is worth 0 because it is unknown.
5. Signatures with one slot of one version of a key replace each other only if everything that they do is on chains:
   there consensus takes one of them. A venue takes a client order id again once the first order is filled, so that
   each signature must count. A withdrawal is at its venue, whatever network it says that it goes by.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from keyvault.core import limits
from keyvault.core.ids import KeyId, Principal, UnixMillis
from keyvault.core.intent import Completeness, Effect, Operation, PayloadKind
from keyvault.core.policy_kinds import NETWORK_VENUES
from keyvault.core.policy_rules import ASKED_FIELDS, NATIVE, Chain, account_of, normal_destination
from keyvault.core.prices import WITHOUT_VALUE, PriceBook


class Blank(IntEnum):
    """Instead of a value. Negative, so that no chain is equal."""

    EVERY = -2
    """Of a charge that was added to others because there was no more room: it belongs to every group."""
    UNKNOWN = -1


class Part(NamedTuple):
    """What limits can tell apart, in normal form."""

    principal: str | Blank
    operation: Operation
    """OPAQUE meets every condition on operations."""
    place: Chain | Blank | None
    venue: str | Blank | None
    asset: str | Blank | None
    destination: str | Blank | None

    @property
    def where(self) -> Chain | Blank | None:
        """The chain, or the venue of what is on none: a venue's name for a network is no chain."""
        at_venue = self.place is None or (self.venue in NETWORK_VENUES and self.operation is Operation.WITHDRAW)
        return self.venue if at_venue else self.place


COLUMNS: Final = 3
"""Numbers of each part: amount, fee in the chain's own coin where that is not the asset, dollars."""
AMOUNT, FEE, USD = range(COLUMNS)
Numbers: TypeAlias = tuple[int, ...]
_Row: TypeAlias = tuple[Part, Numbers, tuple[int, ...]]
"""A part, its numbers as far as they are known, and the columns of which more is not known."""

VENUE_DIGITS: Final = 18
"""Decimals of every amount at a venue: decoders state up to so many, but not all of them the same."""

Slot: TypeAlias = tuple[KeyId, int, str]
"""Key, its version, and what only one signature of it can fill."""

_ANYTHING = Part(Blank.EVERY, Operation.OPAQUE, Blank.EVERY, Blank.EVERY, Blank.EVERY, Blank.EVERY)
_BEARS_AMOUNT = frozenset(
    {Operation.TRANSFER, Operation.ALLOWANCE, Operation.CALL, Operation.CREATE, Operation.WITHDRAW}
)
_ON_CHAINS = frozenset(operation for operation, fields in ASKED_FIELDS.items() if "chains" in fields)
_AT_VENUES = frozenset(operation for operation, fields in ASKED_FIELDS.items() if "venues" in fields)
_TO_SOMEBODY = frozenset(operation for operation, fields in ASKED_FIELDS.items() if "destinations" in fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One signature as windows count it: once, and ``COLUMNS`` numbers of each part, one part after the other.

    ``unknown`` are the places in ``moved`` where it is not known how much more there is. ``usd``: dollars of all
    parts, in 10**-6; None if that is not known, or the policy has no prices.
    """

    key: KeyId
    parts: tuple[Part, ...]
    moved: Numbers
    unknown: frozenset[int] = frozenset()
    slot: Slot | None = None
    usd: int | None = None

    @property
    def is_opaque(self) -> bool:
        """Whether anything that it does cannot be read."""
        return any(part.operation is Operation.OPAQUE for part in self.parts)

    def joined(self, newer: "Charge") -> "Charge":
        """Return the most of both, part by part and number by number; unknown is what is unknown of the newer."""
        if self.parts == newer.parts:  # as when only the fee is raised
            return replace(newer, moved=tuple(map(max, self.moved, newer.moved)))
        found = {part: (part, numbers, ()) for part, numbers, _ in self.rows()}
        rows: dict[Part, _Row] = dict(found)
        for part, numbers, unknown in newer.rows():
            before = found.get(part)
            rows[part] = part, numbers if before is None else tuple(map(max, before[1], numbers)), unknown
        return newer.with_rows(rows.values())

    def anywhere(self) -> "Charge":
        """Return it without its destinations: it counts for each."""
        return self.with_rows(
            (part if part.destination is None else part._replace(destination=Blank.EVERY), numbers, unknown)
            for part, numbers, unknown in self.rows()
        )

    def anything(self) -> "Charge":
        """Return it without all but its key; amounts of all assets are added, whatever their units."""
        moved = self.moved
        amount = sum(moved[AMOUNT::COLUMNS]) + sum(moved[FEE::COLUMNS])
        return replace(self, parts=(_ANYTHING,), moved=(amount, 0, sum(moved[USD::COLUMNS])), unknown=frozenset())

    def rows(self) -> Iterator[_Row]:
        """Return each part with its numbers."""
        for number, part in enumerate(self.parts):
            first = COLUMNS * number
            unknown = tuple(column for column in range(COLUMNS) if first + column in self.unknown)
            yield part, self.moved[first : first + COLUMNS], unknown

    def with_rows(self, rows: Iterable[_Row]) -> "Charge":
        """Return the charge of these parts; equal ones are added."""
        parts, moved, unknown = _added(rows)
        return replace(self, parts=parts, moved=moved, unknown=unknown)


def _added(rows: Iterable[_Row]) -> tuple[tuple[Part, ...], Numbers, frozenset[int]]:
    """Return each part once, with the sums of its numbers and the places of what is unknown."""
    found: dict[Part, Numbers] = {}
    blanks: dict[Part, set[int]] = {}
    for part, numbers, unknown in rows:
        before = found.get(part)
        found[part] = numbers if before is None else tuple(map(int.__add__, before, numbers))
        if unknown:
            blanks.setdefault(part, set()).update(unknown)
    return (
        tuple(found),
        tuple(number for numbers in found.values() for number in numbers),
        frozenset(COLUMNS * n + column for n, part in enumerate(found) for column in blanks.get(part, ())),
    )


# From effects -----------------------------------------------------------------------------------------------------


def charge_of(
    key: KeyId,
    principal: Principal,
    effects: Sequence[Effect],
    *,
    unread: bool,
    slot: tuple[int, str] | None,
    prices: PriceBook,
    at: UnixMillis,
) -> Charge:
    """Return what a signature with these effects uses. ``unread``: nothing is known of any of them.

    ``slot``: version of the key, and the slot as the decoder names it. ``at``: when it was decided, for the prices.
    """
    if unread and len(effects) == 1:  # every raw digest: all of it follows from who asks where
        return _unread(key, principal, effects[0].venue)
    book = prices.at(at)
    rows = [_row_of(_part_of(principal, effect, unread=unread), effect, book) for effect in effects]
    if len(rows) == 1:  # as most have
        parts: tuple[Part, ...] = (rows[0][0],)
        moved, unknown = rows[0][1], frozenset(rows[0][2])
    else:
        parts, moved, unknown = _added(rows)
    known = bool(prices.by_place) and not (unknown and any(place % COLUMNS == USD for place in unknown))
    replaces = slot is not None and all(part.where not in (part.venue, None, *Blank) for part in parts)
    return Charge(
        key=key,
        parts=parts,
        moved=moved,
        unknown=unknown,
        slot=(key, *slot) if slot is not None and replaces else None,
        usd=sum(moved[USD::COLUMNS]) if known else None,
    )


@lru_cache(maxsize=limits.UNREAD_CHARGES_REMEMBERED)
def _unread(key: KeyId, principal: Principal, venue: str | None) -> Charge:
    """Return what one effect uses of which nothing but its venue is known: no slot, no dollars."""
    part = _part_of(principal, Effect(operation=Operation.OPAQUE, venue=venue), unread=True)
    return Charge(key=key, parts=(part,), moved=(0, 0, 0), unknown=frozenset({AMOUNT, USD}), slot=None, usd=None)


def is_unread(kind: PayloadKind, completeness: Completeness) -> bool:
    """Return whether nothing is known of what a payload does."""
    return kind is PayloadKind.RAW_DIGEST or completeness is Completeness.OPAQUE


def _part_of(principal: Principal, effect: Effect, *, unread: bool) -> Part:
    operation, venue = effect.operation, effect.venue
    if unread or operation is Operation.OPAQUE:
        unknown = Blank.UNKNOWN
        return Part(principal, Operation.OPAQUE, unknown, unknown if venue is None else venue, unknown, unknown)
    place: Chain | Blank | None = effect.chain_id if effect.network is None else effect.network
    at_venue: str | Blank | None = venue
    if place is None and venue is None:
        place = Blank.UNKNOWN if operation in _ON_CHAINS else None
        at_venue = Blank.UNKNOWN if operation in _AT_VENUES else None
    to: str | Blank | None = Blank.UNKNOWN if operation in _TO_SOMEBODY else None
    if effect.destination is not None:
        to = account_of(effect.destination)
    return Part(principal, operation, place, at_venue, _asset_of(effect, place), to)


def _asset_of(effect: Effect, place: Chain | Blank | None) -> str | Blank | None:
    if effect.asset is not None:
        return normal_destination(effect.asset)
    no_chain = place is None or effect.venue in NETWORK_VENUES
    if no_chain and effect.operation is Operation.WITHDRAW and effect.symbol is not None:
        return effect.symbol
    if effect.operation in _BEARS_AMOUNT or effect.amount:
        return Blank.UNKNOWN if place is None else NATIVE
    return None


def _row_of(part: Part, effect: Effect, book: PriceBook) -> _Row:
    operation = part.operation
    if operation is Operation.OPAQUE:
        return part, (0, 0, 0), (AMOUNT, USD)
    amount, fee = _amount_of(effect), effect.fee_max or 0
    if effect.amount is None:
        if operation is Operation.WITHDRAW and effect.venue is not None:
            amount = effect.quantity
        elif operation not in _BEARS_AMOUNT:
            amount = 0
    usd = 0 if operation in WITHOUT_VALUE else book.usd_of(effect)
    unknown: tuple[int, ...] = ()
    fee_usd = book.fee_usd_of(effect) if fee else 0
    if amount is None or usd is None or fee_usd is None:
        unknown = (AMOUNT,) if amount is None else ()
        unknown += (USD,) if usd is None or fee_usd is None else ()
        amount, usd, fee_usd = amount or 0, usd or 0, fee_usd or 0
    if fee and part.asset == NATIVE:
        amount, fee = amount + fee, 0
    return part, (amount, fee, usd + fee_usd), unknown


def _amount_of(effect: Effect) -> int | None:
    """Return the amount in the unit that is counted where the effect is; see law 3."""
    if not effect.amount or effect.venue is None:
        return effect.amount
    if effect.decimals is None:
        no_chain = (effect.chain_id is None and effect.network is None) or effect.venue in NETWORK_VENUES
        return None if no_chain else effect.amount
    unit: int = 10**effect.decimals
    return -(-effect.amount * 10**VENUE_DIGITS // unit)
