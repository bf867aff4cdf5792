"""Facts of Bybit's requests.

``quantity`` is as the venue counts: base coin for spot, linear and options, quote coin (USD) for inverse contracts.
A market order that buys at spot says how much quote coin to spend, unless ``marketUnit`` is ``baseCoin``.

``reduceOnly`` is believed where the venue obeys it: linear, inverse and option; and as the truth value that its
documents have: what it makes of the text "true" is not written anywhere. ``order/amend`` ignores it, so what names an
order (``orderId``, ``orderLinkId``) is an ORDER: it could be that order's amendment, whatever else stands there.
(Options need an ``orderLinkId``, so nothing of theirs is a REDUCE.) Nor is one what opens its side of a hedge
(``positionIdx``).

The order endpoint of the spread market takes the same parameters, without ``category``: a category beside a spread's
symbol could be an order of either kind, and is refused. ``via`` of an order is its category, because one symbol can be
of several, and what it waits for; ``isLeverage`` borrows, which is SETUP beside the ORDER.

A withdrawal with ``forceChain`` 2 goes to a user of Bybit, whose number is its ``address``: ``uid:{number}``, by no
network. Its ``amount`` is what arrives: by default (``feeType`` 0) the venue takes its fee on top of that.
"""

import re
from collections.abc import Mapping

from keyvault.core.intent import Effect, Operation
from keyvault.intents import venue_json
from keyvault.intents.bybit_parameters import CATEGORIES, item_operations, operations
from keyvault.intents.strict_json import Value
from keyvault.intents.venue_fields import Fields
from keyvault.intents.venue_request import FIELD, bounded, opaque
from keyvault.intents.venue_trigger import joined, trigger

VENUE = "bybit"

_SIDE: Mapping[str, str] = {"Buy": "BUY", "Sell": "SELL"}
_TYPES: Mapping[str, bool] = {"Limit": True, "Market": False}
"""Whether a type has a limit price."""
_TIMES: Mapping[str, str] = {"GTC": "GTC", "IOC": "IOC", "FOK": "FOK", "PostOnly": "POST_ONLY", "RPI": "RPI"}
_UNITS: Mapping[str, bool] = {"baseCoin": False, "quoteCoin": True}
"""Whether a unit is the quote coin."""
_NAMES_AN_ORDER = ("orderId", "orderLinkId")
_OPENS: Mapping[str, str] = {"1": "BUY", "2": "SELL"}
"""The side that opens a position of a hedge; 0 is the only position of a symbol that is not hedged."""
_ITEMS = ((Operation.ORDER,), (Operation.CANCEL,), (Operation.ORDER, Operation.SETUP))
_FORCED: Mapping[str, bool] = {"0": False, "1": False, "2": True}
"""Whether ``forceChain`` makes ``address`` the number of a user."""
_OURS = ("uid:", "account:", "member:")
"""How destinations begin that are no addresses."""
_USER = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
_LINK = re.compile(r"[A-Za-z0-9_-]{1,36}", re.ASCII)
_BATCH = frozenset({"category", "request"})
_SPREAD = frozenset("_/")
"""Characters that only symbols of the spread market have."""


def effects(parameters: Mapping[str, Value], *, json: bool) -> tuple[tuple[Effect, ...], str | None]:
    """Return what a request can do, at worst; and the slot of one order that has a client's id, after the account."""
    possible = operations(parameters, json=json)
    if possible == (Operation.OPAQUE,):
        return opaque(VENUE), None
    fields = Fields(parameters)
    if "request" in parameters:
        return bounded(_batch(fields)), None
    found = tuple(_effect(operation, fields, fields.text("category")) for operation in possible)
    return found, _slot(found[0], fields)


def _slot(effect: Effect, fields: Fields) -> str | None:
    """Return ``{category}:{symbol}:{orderLinkId}`` of one new order: no second order can have the three."""
    link = fields.text("orderLinkId")
    category = fields.text("category")
    amends = "orderId" in fields  # then the venue may change that order, whatever the client's id says
    if amends or effect.side is None or effect.symbol is None or category is None or not _LINK.fullmatch(link or ""):
        return None
    return f"{category}:{effect.symbol}:{link}"


def _batch(fields: Fields) -> tuple[Effect, ...]:
    """Return the effects of all items of a batch; OPAQUE if one of them, or the request around them, is not known."""
    if not _BATCH.issuperset(fields.names()):
        return opaque(VENUE)
    category = fields.text("category")
    found = []
    for number, item in enumerate(venue_json.objects(fields.get("request"), "request")):
        possible = item_operations(item)
        if possible not in _ITEMS or not _BATCH.isdisjoint(item):
            return opaque(VENUE)
        fields_of_one = Fields(item, f"{FIELD}.request.{number}")
        found += [_effect(operation, fields_of_one, category) for operation in possible]
    return tuple(found)


def _effect(operation: Operation, fields: Fields, category: str | None) -> Effect:
    match operation:
        case Operation.ORDER:
            return _order(fields, category)
        case Operation.WITHDRAW:
            return _withdrawal(fields)
        case _:
            return Effect(operation=operation, venue=VENUE, symbol=fields.symbol("symbol", VENUE))


def _order(fields: Fields, category: str | None) -> Effect:
    side = fields.word("side", _SIDE)
    symbol = fields.symbol("symbol", VENUE)
    if category is not None and not _SPREAD.isdisjoint(symbol or ""):
        raise fields.refuse("category", "stands beside the symbol of a spread: leave it out")
    quantity = fields.decimal("qty") or None  # 0 stands for the whole position
    quoted = _is_quoted(fields, category, side)
    return Effect(
        operation=Operation.REDUCE if _reduces(fields, category, side) else Operation.ORDER,
        venue=VENUE,
        symbol=symbol,
        side=side,
        quantity=None if quoted else quantity,
        quote_quantity=quantity if quoted else None,
        price=_price(fields),
        time_in_force=fields.word("timeInForce", _TIMES),
        via=joined(category, _trigger(fields)),
    )


def _trigger(fields: Fields) -> str | None:
    """Return what an order waits for; a filter other than Order is of such orders, too."""
    waits = (fields.text("orderFilter") or "Order") != "Order"
    return trigger(fields, "triggerPrice", ("triggerDirection", "triggerBy"), waits=waits)


def _reduces(fields: Fields, category: str | None, side: str | None) -> bool:
    """Return whether it can only be a new order that makes a position smaller."""
    said = fields.flag("reduceOnly") and fields.get("reduceOnly") is True
    if not said or not CATEGORIES.get(category or "", False) or any(name in fields for name in _NAMES_AN_ORDER):
        return False
    opening = fields.label("positionIdx") or "0"
    return opening == "0" or (opening in _OPENS and side is not None and _OPENS[opening] != side)


def _is_quoted(fields: Fields, category: str | None, side: str | None) -> bool:
    """Return whether the quantity is one of the quote coin."""
    unit = fields.word("marketUnit", _UNITS)
    market = fields.word("orderType", _TYPES) is False
    if unit is not None and not (market and category == "spot"):
        raise fields.refuse("marketUnit", "is for market orders at spot only")
    if unit is not None:
        return unit
    return market and category == "spot" and side == "BUY"


def _price(fields: Fields) -> int | None:
    """Return the limit price; None where the order may be executed at any price, or at one that is not a price."""
    limited = fields.word("orderType", _TYPES)
    price = fields.decimal("price")
    if limited is False and price is not None:
        raise fields.refuse("price", "stands beside orderType Market, which has no limit price")
    return None if "orderIv" in fields or "bboSideType" in fields else price


def _withdrawal(fields: Fields) -> Effect:
    """Return what leaves the account, or moves to another one of it."""
    coin = fields.asset("coin", VENUE)
    amount = fields.decimal("amount")
    return Effect(
        operation=Operation.WITHDRAW,
        venue=VENUE,
        symbol=coin,
        asset=coin,
        amount=amount,
        decimals=None if amount is None else 18,
        destination=_destination(fields),
        source=fields.label("fromMemberId"),
        network=None if _to_user(fields) else fields.network("chain", VENUE),
    )


def leaves_network_open(effect: Effect) -> bool:
    """Return whether it goes to an address by a network that the venue chooses."""
    return effect.destination is not None and effect.network is None and not effect.destination.startswith(_OURS)


def _to_user(fields: Fields) -> bool:
    """Return whether a withdrawal goes to a user of Bybit by number."""
    forced = fields.label("forceChain") or "0"
    if forced not in _FORCED:
        raise fields.refuse("forceChain", "must be 0, 1 or 2")
    return _FORCED[forced]


def _destination(fields: Fields) -> str | None:
    """Return ``{address}``, ``{address}?tag={tag}``, ``uid:{number}``, ``account:{type}`` or ``member:{id}:{type}``."""
    address, tag = fields.text("address"), fields.text("tag")
    kind, member = fields.text("toAccountType"), fields.label("toMemberId")
    if address is not None and (kind is not None or member is not None):
        raise fields.refuse("address", "stands beside another destination")
    if address is not None and "?" in address:
        raise fields.refuse("address", "has a ?, which parts an address from its tag")
    if address is not None and address.startswith(_OURS):
        raise fields.refuse("address", f"begins as what is no address: {', '.join(_OURS)}")
    if address is not None and _to_user(fields):
        return _user(fields, address)
    if address is not None:
        return address if tag is None else f"{address}?tag={tag}"
    if kind is None:
        return None
    return f"account:{kind}" if member is None else f"member:{member}:{kind}"


def _user(fields: Fields, address: str) -> str:
    """Return ``uid:{number}``."""
    if not _USER.fullmatch(address) or "tag" in fields:
        raise fields.refuse("address", "must be the number of a user, without a tag, beside forceChain 2")
    return f"uid:{address}"
