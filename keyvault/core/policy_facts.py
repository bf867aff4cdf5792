"""What the rules are compared with, of one effect: a flat tuple, built once for each effect of a request.

Facts that cost something (dollars, the history of a destination) are looked up only if a rule asks for them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Final, TypeAlias

from keyvault.core import limits
from keyvault.core.accounts import whole_of
from keyvault.core.familiar import Familiar, Listed
from keyvault.core.ids import Principal, UnixMillis
from keyvault.core.intent import Completeness, Effect, Intent, Operation, PayloadKind
from keyvault.core.policy_rules import ASKED_FIELDS, account_of, normal_destination
from keyvault.core.prices import WITHOUT_VALUE, PriceBook
from keyvault.core.slots import Replaces


class Missing(IntEnum):
    """Why an effect has no value. Negative, so that no chain or amount is equal; ordered for ``bounds``."""

    NOT_APPLICABLE = -3
    OPAQUE = -2
    UNKNOWN = -1


class Place(IntEnum):
    """Where a fact stands in the tuple."""

    ASKED = 0
    """A mask of the places that an allow rule must mention."""
    PRINCIPAL = 1
    OPERATION = 2
    CHAIN = 3
    VENUE = 4
    DESTINATION = 5
    SELECTOR = 6
    PRIMARY_TYPE = 7
    AMOUNT = 8
    FEE = 9
    SYMBOL = 10
    SIDE = 11
    ASSET = 12
    CONTRACT = 13
    TYPE_HASH = 14
    USD = 15
    DEVIATION = 16
    """How far a limit price is from the table's, in 1/100 of a per cent, rounded up."""
    VALIDITY = 17
    """How long the signature will be worth something, milliseconds."""
    AGE = 18
    """How long ago the destination was signed for first, milliseconds; 0: never before."""
    LOOK_ALIKE = 19
    """1 if the destination resembles a known one and is another."""
    HOUR = 20
    """Minute of the week, UTC, from Monday 00:00."""
    SOURCE = 21
    """Whose asset it is; empty: the signer's own account, which EVM transactions state by its address."""
    VIA = 22
    """The calls that it stands in, and what else the decoder says of it; empty if nothing."""
    COMPLETENESS = 23
    """How much of the payload's meaning is stated."""
    REPLACES = 24
    """What it would do to an earlier signature for the same slot."""
    ACCOUNT = 25
    """The account of the destination, without tag: what restricts compares this one."""
    FEES = 26
    """The fee of the whole signature, which stands on its first effect: what predicates know as the fee."""
    WHEN = 27


WORDS: Final = {
    place: place.name.lower().replace("_", " ") for place in Place
} | {
    Place.USD: "value in dollars",
    Place.DEVIATION: "distance from the table's price",
    Place.AGE: "age of the destination",
    Place.LOOK_ALIKE: "look-alike",
    Place.HOUR: "time of the week",
}  # fmt: skip

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""Days of the week as policies write them."""

OF_FIELD: Final = {
    "chains": Place.CHAIN,
    "venues": Place.VENUE,
    "destinations": Place.DESTINATION,
    "selectors": Place.SELECTOR,
    "primary_types": Place.PRIMARY_TYPE,
    "amount_max": Place.AMOUNT,
    "fee_max": Place.FEE,
    "symbols": Place.SYMBOL,
    "assets": Place.ASSET,
    "contracts": Place.CONTRACT,
    "type_hashes": Place.TYPE_HASH,
    "usd_max": Place.USD,
    "validity_ms_max": Place.VALIDITY,
}
"""Where the fact stands that a condition asks about, of those that an operation can demand."""
FIELDS: Final = tuple(OF_FIELD)

Facts: TypeAlias = tuple[str | int, ...]

_MINUTE_MS = 60_000
_WEEK_MINUTES = 7 * 24 * 60
_EPOCH_MINUTES = 3 * 24 * 60
"""The Unix epoch was a Thursday."""
_KNOWN_TYPED = 1 << Place.CONTRACT | 1 << Place.TYPE_HASH


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When a decision is made, and what was signed for before: in the first ``known`` entries of the ledger."""

    now: UnixMillis
    familiar: Familiar
    known: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which of the facts that cost something any rule asks for."""

    usd: bool
    deviation: bool
    history: bool
    slots: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Aids:
    """What a policy brings to a decision: prices that are not stale, and the destinations that it names."""

    prices: PriceBook
    listed: Listed
    wanted: Wanted


def _mask_of(operation: Operation) -> int:
    mask = 0
    for field in ASKED_FIELDS[operation]:
        mask |= 1 << OF_FIELD[field]
    return mask


_ASKED = {operation: _mask_of(operation) for operation in Operation}


def facts_of(principal: Principal, intent: Intent, moment: Moment, aids: Aids) -> list[Facts]:
    """Return what the rules are compared with, of each effect; the order is that of ``Place``."""
    now, familiar, known, wanted = moment.now, moment.familiar, moment.known, aids.wanted
    minute = (now // _MINUTE_MS + _EPOCH_MINUTES) % _WEEK_MINUTES
    if intent.kind is PayloadKind.RAW_DIGEST or intent.completeness is Completeness.OPAQUE:
        return [_opaque(principal, effect, minute) for effect in intent.effects]
    replaces = familiar.slots.replaced(intent.slot, intent.effects, known) if wanted.slots else Replaces.NOTHING
    amounts, dollars = _totals(intent.effects, aids)
    fees = sum(effect.fee_max or 0 for effect in intent.effects)
    found: list[Facts] = []
    for number, effect in enumerate(intent.effects):
        operation = effect.operation
        if operation is Operation.OPAQUE:
            found.append(_opaque(principal, effect, minute))
            continue
        asked = _asked(operation, effect)
        absent = _absent(asked)
        chain = effect.chain_id if effect.network is None else effect.network
        end = intent.expires_at if effect.expires_at is None else effect.expires_at
        destination, asset, contract = effect.destination, effect.asset, effect.contract
        account: str | int = absent[_DESTINATION]
        age = alike = absent[_DESTINATION]  # unknown where one is asked: what restricts holds (law 6)
        if destination is not None:
            destination = normal_destination(destination)
            account = account_of(destination)
            age, alike = _history(effect, account, moment, aids) if wanted.history else _NO_HISTORY
        # Written out: a decision reads up to 64 effects, and a call for each fact took half of the time.
        found.append(
            (
                asked,
                principal,
                operation,
                absent[_CHAIN] if chain is None else chain,
                absent[_VENUE] if effect.venue is None else effect.venue,
                absent[_DESTINATION] if destination is None else destination,
                absent[_SELECTOR] if effect.selector is None else effect.selector,
                absent[_PRIMARY_TYPE] if effect.primary_type is None else effect.primary_type,
                absent[_AMOUNT] if effect.amount is None else amounts[number],
                absent[_FEE] if effect.fee_max is None else effect.fee_max,
                absent[_SYMBOL] if effect.symbol is None else effect.symbol,
                _side(effect),
                absent[_ASSET] if asset is None else normal_destination(asset),
                absent[_CONTRACT] if contract is None else normal_destination(contract),
                absent[_TYPE_HASH] if effect.type_hash is None else effect.type_hash,
                dollars[number],
                _priced(aids.prices.deviation_bps, effect) if wanted.deviation else _UNKNOWN,
                _UNKNOWN if end is None else max(0, end - now),
                age,
                alike,
                minute,
                "" if effect.source is None else normal_destination(effect.source),
                effect.via or "",
                intent.completeness,
                replaces,
                account,
                absent[_FEE] if effect.fee_max is None else fees,
            )
        )
    return found


def _history(effect: Effect, account: str, moment: Moment, aids: Aids) -> tuple[int, int]:
    """Return the age of an effect's destination, and whether it looks like a known one and is another."""
    familiar, known = moment.familiar, moment.known
    whole = whole_of(effect.destination or "", account)
    age = familiar.age_ms(effect.operation, whole, known, moment.now)
    return age, int(familiar.is_look_alike(account, known, aids.listed))


def _totals(effects: Sequence[Effect], aids: Aids) -> tuple[Sequence[int], Sequence[int]]:
    """Return for each effect what its whole signature moves: of the same asset in the same place, and in dollars.

    So many small ones do not pass where a large one would not. Amounts are added for each operation; dollars over all
    that moves an asset or lets somebody move it, for orders by side, and what says no side counts for both. What is
    unknown of an effect stays so for itself, and adds nothing to the others.
    """
    dollars = [_priced(aids.prices.usd_of, each) if aids.wanted.usd else _UNKNOWN for each in effects]
    if len(effects) == 1:
        return (effects[0].amount or 0,), dollars
    of_asset: dict[tuple[object, ...], int] = {}
    of_side: dict[tuple[Operation, str | None], int] = {}
    assets = [(each.operation, each.chain_id, each.network, each.venue, each.asset) for each in effects]
    for asset, effect, usd in zip(assets, effects, dollars, strict=True):
        if effect.amount is not None:
            of_asset[asset] = of_asset.get(asset, 0) + effect.amount
        if usd > 0:
            side = _together(effect), effect.side
            of_side[side] = of_side.get(side, 0) + usd
    return (
        [of_asset.get(asset, 0) for asset in assets],
        [usd if usd < 0 else _of_sides(of_side, each) for each, usd in zip(effects, dollars, strict=True)],
    )


_MOVING: Final = frozenset({Operation.TRANSFER, Operation.ALLOWANCE, Operation.WITHDRAW})


def _together(effect: Effect) -> Operation:
    """Return what stands for all operations with which this one is added."""
    return Operation.TRANSFER if effect.operation in _MOVING else effect.operation


def _of_sides(of_side: Mapping[tuple[Operation, str | None], int], effect: Effect) -> int:
    kind, side = _together(effect), effect.side
    return sum(
        usd for (each, other), usd in of_side.items() if each is kind and (side is None or other in (None, side))
    )


_NO_HISTORY: Final[tuple[int, int]] = (Missing.NOT_APPLICABLE, Missing.NOT_APPLICABLE)
_UNKNOWN: Final[int] = Missing.UNKNOWN
_NOT_APPLICABLE: Final[int] = Missing.NOT_APPLICABLE
_CHAIN, _VENUE, _DESTINATION, _SELECTOR = map(int, (Place.CHAIN, Place.VENUE, Place.DESTINATION, Place.SELECTOR))
_PRIMARY_TYPE, _AMOUNT, _FEE, _SYMBOL = map(int, (Place.PRIMARY_TYPE, Place.AMOUNT, Place.FEE, Place.SYMBOL))
_ASSET, _CONTRACT, _TYPE_HASH = map(int, (Place.ASSET, Place.CONTRACT, Place.TYPE_HASH))
"""Members of ``Place`` as plain numbers, which index in half of the time."""


@lru_cache(maxsize=limits.ASKED_MASKS_REMEMBERED)
def _absent(asked: int) -> tuple[int, ...]:
    """Return for each place why an effect has nothing there: an allow rule must mention it, or it does not apply."""
    return tuple(_UNKNOWN if asked >> place & 1 else _NOT_APPLICABLE for place in Place)


_NO_ASSET, _NO_FEE, _NO_SELECTOR = ~(1 << Place.ASSET), ~(1 << Place.FEE), ~(1 << Place.SELECTOR)
_NO_SYMBOL, _NO_AMOUNT_OF_ASSET = ~(1 << Place.SYMBOL), ~(1 << Place.ASSET | 1 << Place.AMOUNT)
_NO_VENUE = ~(1 << Place.VENUE)
_NO_CONTRACT = ~(1 << Place.CONTRACT | 1 << Place.SELECTOR)
"""What is at a venue calls no contract."""
_NO_CHAIN = _NO_CONTRACT & ~(1 << Place.CHAIN)
_VALIDITY = 1 << Place.VALIDITY
_FEE_ASKED = 1 << Place.FEE
"""What pays a fee is asked for it whatever it does: a memo that comes first carries the fee of the whole message."""


def _asked(operation: Operation, effect: Effect) -> int:
    """Return the places that an allow rule must mention for this effect; see ASKED_FIELDS."""
    asked = _ASKED[operation]
    if effect.venue is None:
        asked &= _NO_VENUE
    else:
        on_chain = effect.chain_id is not None or effect.network is not None or operation is Operation.WITHDRAW
        asked &= _NO_CONTRACT if on_chain else _NO_CHAIN  # a withdrawal goes by some network, said or not
    if effect.asset is None:
        asked &= _NO_ASSET
    if effect.fee_max is None and (effect.type_hash is not None or effect.venue is not None):
        asked &= _NO_FEE  # what is not sent to a chain by its signer pays no fee
    if operation is Operation.ADMIN and effect.selector is None:
        asked &= _NO_SELECTOR
    if operation in _ORDERS:  # it names a symbol, or the assets that it exchanges
        asked &= _NO_SYMBOL if effect.symbol is None and effect.asset is not None else _NO_AMOUNT_OF_ASSET
    if effect.type_hash is not None and operation is not Operation.TYPED_DATA:
        asked |= _KNOWN_TYPED
        if operation is Operation.ALLOWANCE:
            asked |= _VALIDITY
    return asked | _FEE_ASKED if effect.fee_max else asked


_ORDERS = frozenset({Operation.ORDER, Operation.REDUCE})


def _opaque(principal: Principal, effect: Effect, minute: int) -> Facts:
    """Law 7: nothing is stated, but for the venue that was addressed."""
    missing: list[str | int] = [Missing.OPAQUE] * Place.WHEN
    missing[Place.ASKED] = 0
    missing[Place.PRINCIPAL] = principal
    missing[Place.OPERATION] = Operation.OPAQUE
    missing[Place.HOUR] = minute
    if effect.venue is not None:
        missing[Place.VENUE] = effect.venue
        missing[Place.ASKED] = 1 << Place.VENUE
    return tuple(missing)


def _side(effect: Effect) -> str | int:
    if effect.side is not None:
        return effect.side
    return Missing.UNKNOWN if effect.operation in _ORDERS else Missing.NOT_APPLICABLE


def _priced(measure: Callable[[Effect], int | None], effect: Effect) -> int:
    if effect.operation in WITHOUT_VALUE:
        return Missing.NOT_APPLICABLE
    found = measure(effect)
    return Missing.UNKNOWN if found is None else found
