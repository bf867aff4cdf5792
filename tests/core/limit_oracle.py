"""Limits as naively as can be: every signature is kept in a list, and every question reads all of it.

It shares no code with ``keyvault.core.charges``, ``tallies`` and ``windows`` but the prices.
"""

import math
from dataclasses import dataclass, field
from fractions import Fraction

from keyvault.core.intent import Effect, Operation
from keyvault.core.policy import ANY, ASKED_FIELDS, Limit, Policy
from keyvault.core.policy_rules import Per
from keyvault.core.prices import PriceBook

OPEN = "?"
"""What is not known; it may be anything."""
WORTHLESS = {Operation.CANCEL, Operation.REQUEST, Operation.MESSAGE, Operation.SETUP, Operation.SESSION}
MOVING = {Operation.TRANSFER, Operation.ALLOWANCE, Operation.CALL, Operation.CREATE, Operation.WITHDRAW}

Value = int | str | None


@dataclass(frozen=True)
class What:
    """What one effect is about."""

    principal: str
    operation: Operation
    place: Value
    venue: Value
    asset: Value
    to: Value


@dataclass
class Moved:
    """How much of it."""

    amount: int
    fee: int
    usd: int


@dataclass
class Signed:
    """One signature, or all that filled one slot."""

    at: int
    key: str
    rows: dict[What, Moved]
    slot: str | None = None


def read(key: str, principal: str, effects: tuple[Effect, ...], *, unread: bool, book: PriceBook, at: int) -> Signed:
    rows: dict[What, Moved] = {}
    for effect in effects:
        what, moved = _read(principal, effect, unread=unread, book=book)
        total = rows.setdefault(what, Moved(0, 0, 0))
        total.amount += moved.amount
        total.fee += moved.fee
        total.usd += moved.usd
    return Signed(at=at, key=key, rows=rows)


def _read(principal: str, effect: Effect, *, unread: bool, book: PriceBook) -> tuple[What, Moved]:
    operation = effect.operation
    if unread or operation is Operation.OPAQUE:
        return What(principal, Operation.OPAQUE, OPEN, effect.venue or OPEN, OPEN, OPEN), Moved(0, 0, 0)
    asks = ASKED_FIELDS[operation]
    place: Value = effect.network or effect.chain_id
    venue: Value = effect.venue
    if not place and not venue:
        place = OPEN if "chains" in asks else None
        venue = OPEN if "venues" in asks else None
    asset: Value = effect.asset
    if asset is None and operation is Operation.WITHDRAW and place is None:
        asset = effect.symbol
    if asset is None and (operation in MOVING or effect.amount):
        asset = OPEN if place is None else "native"
    amount = effect.amount
    if amount and effect.venue and effect.decimals is not None:
        amount = math.ceil(Fraction(amount, 10**effect.decimals) * 10**18)
    elif amount and effect.venue and place == effect.chain_id is None:
        amount = None
    if amount is None and operation is Operation.WITHDRAW and effect.venue:
        amount = effect.quantity
    usd = 0 if operation in WORTHLESS else (book.usd_of(effect) or 0) + (book.fee_usd_of(effect) or 0)
    to = effect.destination or (OPEN if "destinations" in asks else None)
    return What(principal, operation, place, venue, asset, to), Moved(amount or 0, effect.fee_max or 0, usd)


@dataclass
class Oracle:
    """Everything that was signed, in a list."""

    signed: list[Signed] = field(default_factory=list)

    def add(self, one: Signed, slot: str | None, week_ms: int) -> None:
        on_chain = all(what.place not in (None, OPEN) for what in one.rows)
        if slot is not None and on_chain:
            one.slot = slot
            for before in [each for each in self.signed if (each.key, each.slot) == (one.key, slot)]:
                if before.at > one.at - week_ms:
                    self.signed.remove(before)
                    for what, moved in before.rows.items():
                        mine = one.rows.setdefault(what, Moved(0, 0, 0))
                        # Of the chain's own coin amount and fee are one number.
                        if what.asset == "native" and mine.amount + mine.fee < moved.amount + moved.fee:
                            mine.amount, mine.fee = moved.amount, moved.fee
                        elif what.asset != "native":
                            mine.amount, mine.fee = max(mine.amount, moved.amount), max(mine.fee, moved.fee)
                        mine.usd = max(mine.usd, moved.usd)
                else:
                    before.slot = None
        self.signed.append(one)

    def used(self, limit: Limit, measure: str, policy: Policy, since: int) -> dict[object, int]:
        """Return what each group used after ``since``."""
        totals: dict[object, int] = {}
        for one in self.signed:
            if one.at > since:
                for group, amount in adds(limit, measure, policy, one).items():
                    totals[group] = totals.get(group, 0) + amount
        return {group: total for group, total in totals.items() if total}


def adds(limit: Limit, measure: str, policy: Policy, one: Signed) -> dict[object, int]:
    """Return how much a signature adds to each group of a limit."""
    totals: dict[object, int] = {}
    if limit.keys is not ANY and one.key not in limit.keys:
        return totals
    tags = {tag for tag, keys in policy.tags.items() if one.key in keys} & set(limit.tags or policy.tags)
    if limit.tags is not None and not tags:
        return totals
    for what, moved in one.rows.items():
        if _is_about(limit, policy, what):
            number = _number(limit, measure, what, moved)
            for group in _groups(limit, measure, one.key, tags, what):
                if number is not None:
                    totals[group] = 1 if measure == "count" else totals.get(group, 0) + number
    return totals


def _is_about(limit: Limit, policy: Policy, what: What) -> bool:
    destinations: set[Value] = set()
    for name in limit.destinations or ():
        destinations |= set(policy.lists[name[1:]]) if name[0] == "@" else {name}
    return (
        (not limit.operations or what.operation in limit.operations or what.operation is Operation.OPAQUE)
        and (limit.principals is None or what.principal in limit.principals)
        and (limit.chains is None or what.place in {*limit.chains, OPEN})
        and (limit.venues is None or what.venue in {*limit.venues, OPEN})
        and (limit.destinations is None or what.to in {*destinations, OPEN})
    )


def _number(limit: Limit, measure: str, what: What, moved: Moved) -> int | None:
    if measure != "amount":
        return 1 if measure == "count" else moved.usd
    place = limit.network or limit.chain_id
    if (place and what.place not in (place, OPEN)) or (limit.venue and what.venue not in (limit.venue, OPEN)):
        return None
    asset = limit.asset or "native"
    number = moved.amount if what.asset in (asset, OPEN) else 0
    return number + moved.fee if asset == "native" and place else number


def _groups(limit: Limit, measure: str, key: str, tags: set[str], what: What) -> set[object]:
    place = what.place if what.place is not None else what.venue
    of_amount = (limit.network or limit.chain_id or limit.venue, limit.asset or "native")
    known_asset = what.asset not in (None, OPEN) and place is not None
    nothing: set[object] = {None, OPEN}
    found: dict[Per, set[object]] = {
        Per.KEY: {key},
        Per.PRINCIPAL: {what.principal},
        Per.VENUE: set[object]({what.venue}) - nothing,
        Per.DESTINATION: set[object]({what.to}) - (nothing if measure == "count" else {None}),
        Per.ASSET: {of_amount} if measure == "amount" else {(place, what.asset)} if known_asset else set(),
        Per.TAG: set(tags),
        Per.ALL: {"all"},
    }
    return found[limit.per]
