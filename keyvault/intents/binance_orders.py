"""Facts of Binance's requests, REST and WebSocket API: orders, cancels, settings, withdrawals.

``quantity`` is in the base asset, except for COIN-M futures (``BTCUSD_PERP``), where it is a number of contracts: such
orders are never FULL, and a policy for them must name their symbols. ``price`` is stated where the order's type makes
it a limit. Types that ignore a price must not have one. Legs of order lists state side and quantity; their prices and
conditions are not stated, so they count as orders at any price.

REDUCE is only what no other endpoint could take as an order of its own. Margin orders have the parameters of futures
orders and ignore ``reduceOnly``; ``PUT order`` of futures, which changes an order, ignores it as well. So it is
believed in ``batchOrders`` alone, which only futures have, of new orders that name no other one; and ``closePosition``
of a stop without a size, because only futures take an order that has none.

``via`` says what an order waits for. Conditional orders of the USDS-M futures go to ``algoOrder`` (since 2025-12-09
``order`` refuses them), with ``algoType`` CONDITIONAL and ``triggerPrice`` in the place of ``stopPrice``.

Binance takes a client order id again as soon as the order that had it is filled (rest-api.md), so several signed orders
with one id can all be executed: the id is not a slot.
"""

from collections.abc import Mapping

from keyvault.core.errors import Malformed
from keyvault.core.intent import TRIGGER, Completeness, Effect, Operation
from keyvault.intents import venue_json
from keyvault.intents.binance_parameters import DESTINATIONS, LISTS, MEANINGS, REPLACES, SIDES, SPOT
from keyvault.intents.strict_json import Value
from keyvault.intents.venue_fields import Fields
from keyvault.intents.venue_request import FIELD, bounded, opaque
from keyvault.intents.venue_trigger import joined, trigger

VENUE = "binance"

_SIDE: Mapping[str, str] = {"BUY": "BUY", "SELL": "SELL"}
_QUANTITIES: Mapping[str, str] = {
    "side": "quantity",
    "workingSide": "workingQuantity",
    "pendingSide": "pendingQuantity",
}
_TYPES: Mapping[str, bool] = {
    "LIMIT": True,
    "LIMIT_MAKER": True,
    "STOP_LOSS_LIMIT": True,
    "TAKE_PROFIT_LIMIT": True,
    "STOP": True,
    "TAKE_PROFIT": True,
    "MARKET": False,
    "STOP_LOSS": False,
    "STOP_MARKET": False,
    "TAKE_PROFIT_MARKET": False,
    "TRAILING_STOP_MARKET": False,
}
"""Whether a type has a limit price. TAKE_PROFIT has one at the futures; spot refuses a price there."""
_WAITING_TYPES = frozenset(_TYPES) - {"LIMIT", "LIMIT_MAKER", "MARKET"}
_TRAILING = ("trailingDelta", "activationPrice", "activatePrice", "callbackRate")
_WAITS = frozenset({"stopPrice", "triggerPrice", *_TRAILING})
"""Parameters of orders that wait for a price."""
_ALGORITHMS: Mapping[str, str] = {"CONDITIONAL": "CONDITIONAL"}
_TIMES: Mapping[str, str] = {
    **{name: name for name in ("GTC", "IOC", "FOK", "GTD", "RPI", "GTE_GTC")},
    "GTX": "POST_ONLY",
}
_ISOLATED: Mapping[str, bool] = {"TRUE": True, "FALSE": False, "true": True, "false": False}
_ADDRESS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@:+-")
_WITH_TYPE = frozenset({Operation.ORDER, Operation.WITHDRAW})
_LIQUIDATED = ("MARGIN", "ISOLATED")
_MARKET_PRICES = ("pegPriceType", "priceMatch")
_STOP_NAMES = """
symbol side positionSide type timeInForce stopPrice workingType priceProtect newClientOrderId newOrderRespType
algoType triggerPrice clientAlgoId
"""
_CLOSING = frozenset(f"{_STOP_NAMES} closePosition timestamp recvWindow".split())
"""All that a futures order can say that closes a whole position."""
_CLOSING_TYPES = frozenset({"STOP_MARKET", "TAKE_PROFIT_MARKET"})
_REDUCING_NAMES = f"""
{_STOP_NAMES} reduceOnly quantity price activationPrice callbackRate priceMatch selfTradePreventionMode goodTillDate
activatePrice
"""
_REDUCING = frozenset(_REDUCING_NAMES.split())
"""All that an item of a batch can say that reduces: nothing that names an order which is there already."""


def effects(parameters: Mapping[str, Value]) -> tuple[tuple[Effect, ...], Completeness]:
    """Return what a request with these parameters can do, at worst, and how much of it is stated."""
    operations = MEANINGS.of(parameters)
    if operations == (Operation.OPAQUE,) or _liquidates(parameters, operations):
        return opaque(VENUE), Completeness.OPAQUE
    fields = Fields(parameters)
    found = tuple(effect for operation in operations for effect in _effects(operation, fields))
    if any(effect.operation is Operation.OPAQUE for effect in found):
        return opaque(VENUE), Completeness.OPAQUE
    return bounded(found), Completeness.FULL if _stated(operations, fields, found) else Completeness.PARTIAL


def _liquidates(parameters: Mapping[str, Value], operations: tuple[Operation, ...]) -> bool:
    """Return whether the request fits the liquidation of a margin account, which needs ``type`` and nothing else.

    A longer ``type`` of a transfer (``MARGIN_MAIN``) fits it when it is cut.
    """
    if "type" not in parameters:
        return False
    return _WITH_TYPE.isdisjoint(operations) or str(parameters["type"]).startswith(_LIQUIDATED)


def _stated(operations: tuple[Operation, ...], fields: Fields, found: tuple[Effect, ...]) -> bool:
    """Return whether the effects say everything: spot's single orders with type and size, cancels, and reads."""
    if operations == (Operation.REQUEST,):
        return True
    if not SPOT.issuperset(fields.names()) or "_" in (fields.symbol("symbol", VENUE) or "_"):
        return False
    if operations == (Operation.CANCEL,):
        return True
    sized = found[0].quantity is not None or found[0].quote_quantity is not None
    return operations == (Operation.ORDER,) and "type" in fields and found[0].side is not None and sized


def _effects(operation: Operation, fields: Fields) -> tuple[Effect, ...]:
    match operation:
        case Operation.ORDER:
            return _batch(fields) if "batchOrders" in fields else _orders(fields, reduces=False)
        case Operation.WITHDRAW:
            return (_withdrawal(fields),)
        case _:
            return (Effect(operation=operation, venue=VENUE, symbol=fields.symbol("symbol", VENUE)),)


def _batch(fields: Fields) -> tuple[Effect, ...]:
    """Return the orders of a futures batch; OPAQUE if the request says anything else of orders."""
    text = fields.get("batchOrders")
    if not isinstance(text, str) or set(fields.names()) - {"batchOrders", "timestamp", "recvWindow"}:
        return opaque(VENUE)
    items = venue_json.objects(venue_json.loads(text.encode("utf-8"), "batchOrders"), "batchOrders")
    found: list[Effect] = []
    for number, item in enumerate(items):
        if MEANINGS.of(item) != (Operation.ORDER,) or "batchOrders" in item:
            return opaque(VENUE)
        fields_of_one = Fields(item, f"{FIELD}.batchOrders.{number}")
        found += _orders(fields_of_one, reduces=_reduces(fields_of_one))
    return tuple(found)


def _reduces(fields: Fields) -> bool:
    """Return whether an item of a batch is a new order that can only make a position smaller.

    It says so with the text that the documents have: what the venue makes of the JSON value true is not written there.
    """
    return fields.flag("reduceOnly") and fields.get("reduceOnly") == "true" and _REDUCING.issuperset(fields.names())


def _closes(fields: Fields) -> bool:
    """Return whether a single order closes a whole position: see the module."""
    of_type = fields.text("type") in _CLOSING_TYPES
    return fields.flag("closePosition") and of_type and _CLOSING.issuperset(fields.names())


def _orders(fields: Fields, *, reduces: bool) -> tuple[Effect, ...]:
    """Return one effect for each side that the request has, and a CANCEL where it replaces another order."""
    fields.flag("reduceOnly")  # one of its two words, even where nobody believes it
    fields.word("algoType", _ALGORITHMS)
    sides = [name for name in SIDES if name in fields] or ["side"]
    operation = Operation.REDUCE if reduces or _closes(fields) else Operation.ORDER
    found = [_order(name, fields, operation) for name in sides]
    if not REPLACES.isdisjoint(fields.names()):
        found.append(Effect(operation=Operation.CANCEL, venue=VENUE, symbol=fields.symbol("symbol", VENUE)))
    return tuple(found)


def _order(side: str, fields: Fields, operation: Operation) -> Effect:
    quantity = fields.decimal(_QUANTITIES[side])
    return Effect(
        operation=operation,
        venue=VENUE,
        symbol=fields.symbol("symbol", VENUE),
        side=fields.word(side, _SIDE),
        quantity=fields.decimal("newQty") if quantity is None else quantity,
        price=_price(fields),
        quote_quantity=fields.decimal("quoteOrderQty"),
        time_in_force=_time_in_force(fields),
        via=_via(fields),
    )


def _via(fields: Fields) -> str | None:
    """Return in which account of a margin an order is, whether it borrows, and what it waits for; None: none of it."""
    said = ("isolated" if fields.word("isIsolated", _ISOLATED) else None, fields.text("sideEffectType"))
    return joined(" ".join(word for word in said if word is not None), _trigger(fields))


def _trigger(fields: Fields) -> str | None:
    """Return what an order waits for; of a list of orders only that one may wait."""
    if _WAITS.isdisjoint(fields.names()) and fields.text("type") not in _WAITING_TYPES:
        return None if LISTS.isdisjoint(fields.names()) else f"{TRIGGER} legs"
    price = "triggerPrice" if "triggerPrice" in fields else "stopPrice"
    return trigger(fields, price, _TRAILING, waits=True)


def _price(fields: Fields) -> int | None:
    """Return the limit price; None where the order may be executed at any price, or the price is a leg's."""
    limited = fields.word("type", _TYPES)
    price = fields.decimal("price")
    if limited is False and price is not None:
        raise fields.refuse("price", f"stands beside type {fields.text('type')}, which has no limit price")
    if any(name in fields for name in _MARKET_PRICES) or not LISTS.isdisjoint(fields.names()):
        return None
    if limited is None and "stopPrice" in fields:  # order/oco: a limit order and a stop, which has another price
        return None
    return price


def _time_in_force(fields: Fields) -> str | None:
    stated = fields.word("timeInForce", _TIMES)
    return "POST_ONLY" if fields.text("type") == "LIMIT_MAKER" else stated


def _withdrawal(fields: Fields) -> Effect:
    """Return what leaves; ``symbol`` repeats the asset, or is the pair of an isolated margin account."""
    asset = fields.asset("coin", VENUE) or fields.asset("asset", VENUE)
    amount = fields.decimal("amount")
    return Effect(
        operation=Operation.WITHDRAW,
        venue=VENUE,
        symbol=fields.symbol("symbol", VENUE) or asset,
        asset=asset,
        amount=amount,
        decimals=None if amount is None else 18,
        destination=_destination(fields),
        network=fields.network("network", VENUE),
    )


def _destination(fields: Fields) -> str | None:
    """Return where the assets go, None when the parameters do not say.

    An address with a tag (memo) is ``{address}?addressTag={tag}``: at an exchange the tag decides whose account it
    is, so permission for the address alone must not cover it.
    """
    tag = fields.text("addressTag")
    named = [name for name in DESTINATIONS if name in fields]
    if not named:
        return None
    if len(named) > 1:
        raise Malformed(f"{FIELD}.{named[1]}", f"stands beside {named[0]}: there must be one destination")
    address = fields.text(named[0]) or ""
    if not _ADDRESS.issuperset(address):
        raise Malformed(f"{FIELD}.{named[0]}", "may only have A-Z a-z 0-9 . _ @ : + -")
    return address if tag is None else f"{address}?addressTag={tag}"
