"""What Hyperliquid's L1 actions do (docs "Exchange endpoint"; hyperliquid-dex/hyperliquid-python-sdk, exchange.py).

Assets are indexes: ``perp:`` below 10,000 and from 100,000 (dexes of builders), ``spot:`` from 10,000, ``outcome:``
from 100,000,000 (docs "Asset IDs"). What an order says beside price and size stands in ``via``: builder and fee in
tenths of a basis point, priority rate, trigger.

Nothing is guessed: an action with a type, a member or a word that is not known here is OPAQUE as a whole. Actions that
their user must sign as typed data are among these.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.intent import TRIGGER, Completeness, Effect, Operation
from keyvault.intents.hyperliquid_decimal import PLACES, canonical
from keyvault.intents.hyperliquid_shape import ASSET_MAX, FIELD, Shape, UnknownActionError
from keyvault.intents.strict_json import Value
from keyvault.intents.venue_trigger import joined

_SPOT = 10_000
_BUILDER_PERPS = 100_000
_OUTCOMES = 100_000_000
_CLOID = re.compile(r"0x[0-9a-f]{32}", re.ASCII)
_TIMES_IN_FORCE = frozenset({"Gtc", "Ioc", "Alo", "FrontendMarket"})
_GROUPINGS = frozenset({"na", "normalTpsl", "positionTpsl"})
_USD_DECIMALS = 6

Effects = tuple[Effect, ...]


def effects_of_action(action: dict[str, Value], base: Effect) -> tuple[Effects, Completeness]:
    """Return all effects of an action, each like ``base``, at least one, and how much of them is known."""
    name = action.get("type")
    read = _ACTIONS.get(name) if isinstance(name, str) else None
    try:
        if read is not None:
            effects = read(action, base)
            if len(effects) > limits.EFFECTS_MAX:
                raise Malformed(FIELD, f"has more than {limits.EFFECTS_MAX} effects")
            return effects, Completeness.PARTIAL if _pays(effects) else Completeness.FULL
    except UnknownActionError:
        pass
    return (replace(base, operation=Operation.OPAQUE),), Completeness.OPAQUE


def _pays(effects: Effects) -> bool:
    """Return whether the last effect is a fee of an amount that nobody knows before."""
    return effects[-1].operation is Operation.TRANSFER and effects[-1].amount is None


def _symbol(asset: int) -> str:
    if asset < _SPOT or _BUILDER_PERPS <= asset < _OUTCOMES:
        return f"perp:{asset}"
    return f"spot:{asset}" if asset < _BUILDER_PERPS else f"outcome:{asset}"


def _order(value: Value, place: str, base: Effect) -> Effect:
    """Return one order. Only perpetuals have positions that reduce-only could make smaller."""
    order = Shape(value, place, ("a", "b", "p", "s", "r", "t"), ("c",))
    symbol = _symbol(order.integer("a", highest=ASSET_MAX))
    price = canonical(order.value("p"), order.field("p"))
    if not price:
        raise Malformed(order.field("p"), "must be more than 0")
    if "c" in order:
        _cloid(order.value("c"), order.field("c"))
    reduces = order.flag("r") and symbol.startswith("perp:")
    time_in_force, bounded, trigger = _order_type(order.value("t"), order.field("t"))
    # Spelt out instead of replace(), which takes longer than the rest of this function.
    return Effect(
        operation=Operation.REDUCE if reduces else Operation.ORDER,
        venue=base.venue,
        network=base.network,
        source=base.source,
        symbol=symbol,
        side="BUY" if order.flag("b") else "SELL",
        # A size of 0 is that of the position, whatever it will be (take profit and stop loss of positions).
        quantity=canonical(order.value("s"), order.field("s")) or None,
        price=price if bounded else None,
        time_in_force=time_in_force,
        via=joined(base.via, trigger) if trigger else base.via,
    )


def _order_type(value: Value, place: str) -> tuple[str, bool, str | None]:
    """Return time in force, whether the limit price holds, and the trigger."""
    kind = Shape(value, place, (), ("limit", "trigger"))
    if ("limit" in kind) == ("trigger" in kind):
        raise Malformed(place, "must be either limit or trigger")
    if "limit" in kind:
        time_in_force = Shape(kind.value("limit"), kind.field("limit"), ("tif",)).value("tif")
        if not isinstance(time_in_force, str) or time_in_force not in _TIMES_IN_FORCE:
            raise UnknownActionError
        return time_in_force, True, None
    trigger = Shape(kind.value("trigger"), kind.field("trigger"), ("isMarket", "triggerPx", "tpsl"))
    purpose = trigger.value("tpsl")
    if purpose not in ("tp", "sl"):
        raise UnknownActionError
    price = trigger.value("triggerPx")
    canonical(price, trigger.field("triggerPx"))
    market = trigger.flag("isMarket")
    return f"{purpose}-{'market' if market else 'limit'}", not market, f"{TRIGGER} {price}"


def _cloid(value: Value, field: str) -> None:
    if not isinstance(value, str) or not _CLOID.fullmatch(value):
        raise Malformed(field, "must be 0x and 32 lower-case hex digits")


def _orders(action: dict[str, Value], base: Effect) -> Effects:
    shape = Shape(action, FIELD, ("type", "orders", "grouping"), ("builder",))
    builder, fee = _builder(shape)
    via = joined(f"builder {builder} fee {fee}" if builder else None, _grouping(shape))
    base = replace(base, via=via) if via else base
    orders = tuple(_order(order, place, base) for place, order in shape.items("orders"))
    return (*orders, replace(base, operation=Operation.TRANSFER, destination=builder)) if fee else orders


def _builder(shape: Shape) -> tuple[str | None, int]:
    """Return who is paid a fee out of the orders, and how many tenths of a basis point of what they trade.

    It is within what ApproveBuilderFee allowed before, and a TRANSFER all the same, of an amount that nobody knows.
    """
    if "builder" not in shape:
        return None, 0
    builder = Shape(shape.value("builder"), shape.field("builder"), ("b", "f"))
    return builder.address("b"), builder.integer("f", highest=1_000)


def _grouping(shape: Shape) -> str | None:
    grouping = shape.value("grouping")
    if isinstance(grouping, dict):
        rate = Shape(grouping, shape.field("grouping"), ("p",)).integer("p", highest=100_000_000)
        return f"priority {rate}"
    if grouping not in _GROUPINGS:
        raise UnknownActionError
    return None


def _modify(action: dict[str, Value], base: Effect) -> Effects:
    shape = Shape(action, FIELD, ("type", "oid", "order"), ("a",))
    _check_flag(shape, "a")
    return (_modified(shape, base),)


def _batch_modify(action: dict[str, Value], base: Effect) -> Effects:
    shape = Shape(action, FIELD, ("type", "modifies"), ("a",))
    _check_flag(shape, "a")
    return tuple(_modified(Shape(item, place, ("oid", "order")), base) for place, item in shape.items("modifies"))


def _check_flag(shape: Shape, name: str) -> None:
    """Raise Malformed for a flag that is there and is none: "place it even if the cancel failed", "cancel fast"."""
    if name in shape:
        shape.flag(name)


def _modified(shape: Shape, base: Effect) -> Effect:
    """Return the order that takes another's place: that one is cancelled, so it is not only a reduction."""
    if isinstance(shape.value("oid"), str):
        _cloid(shape.value("oid"), shape.field("oid"))
    else:
        shape.integer("oid")
    return replace(_order(shape.value("order"), shape.field("order"), base), operation=Operation.ORDER)


def _cancel(action: dict[str, Value], base: Effect) -> Effects:
    shape = Shape(action, FIELD, ("type", "cancels"), ("f",))
    _check_flag(shape, "f")
    items = [Shape(item, place, ("a", "o")) for place, item in shape.items("cancels")]
    for item in items:
        item.integer("o")
    return _cancelled(base, [item.integer("a", highest=ASSET_MAX) for item in items])


def _cancel_by_cloid(action: dict[str, Value], base: Effect) -> Effects:
    shape = Shape(action, FIELD, ("type", "cancels"), ("f",))
    _check_flag(shape, "f")
    items = [Shape(item, place, ("asset", "cloid")) for place, item in shape.items("cancels")]
    for item in items:
        _cloid(item.value("cloid"), item.field("cloid"))
    return _cancelled(base, [item.integer("asset", highest=ASSET_MAX) for item in items])


def _cancelled(base: Effect, assets: list[int]) -> Effects:
    """Return one effect for each asset: orders that are cancelled have no other facts."""
    return tuple(replace(base, operation=Operation.CANCEL, symbol=_symbol(asset)) for asset in dict.fromkeys(assets))


def _schedule_cancel(action: dict[str, Value], base: Effect) -> Effects:
    shape = Shape(action, FIELD, ("type",), ("time",))
    if "time" in shape:
        shape.integer("time")
    return (replace(base, operation=Operation.CANCEL),)


def _twap_cancel(action: dict[str, Value], base: Effect) -> Effects:
    shape = Shape(action, FIELD, ("type", "a", "t"))
    shape.integer("t")
    return _cancelled(base, [shape.integer("a", highest=ASSET_MAX)])


def _twap_order(action: dict[str, Value], base: Effect) -> Effects:
    """Return an order that is executed in parts at the market's price."""
    shape = Shape(action, FIELD, ("type", "twap"))
    twap = Shape(shape.value("twap"), shape.field("twap"), ("a", "b", "s", "r", "m", "t"))
    twap.flag("t")
    symbol = _symbol(twap.integer("a", highest=ASSET_MAX))
    return (
        replace(
            base,
            operation=Operation.REDUCE if twap.flag("r") and symbol.startswith("perp:") else Operation.ORDER,
            symbol=symbol,
            side="BUY" if twap.flag("b") else "SELL",
            quantity=canonical(twap.value("s"), twap.field("s")) or None,
            time_in_force="twap",
            via=f"twap of {twap.integer('m')} minutes",
        ),
    )


def _update_leverage(action: dict[str, Value], base: Effect) -> Effects:
    shape = Shape(action, FIELD, ("type", "asset", "isCross", "leverage"))
    margin = "cross" if shape.flag("isCross") else "isolated"
    return (_setup(base, shape, f"leverage {shape.integer('leverage')} {margin}"),)


def _update_isolated_margin(action: dict[str, Value], base: Effect) -> Effects:
    """Return what moves between an account's free and isolated margin; negative is back to free."""
    shape = Shape(action, FIELD, ("type", "asset", "isBuy", "ntli"))
    shape.flag("isBuy")
    amount = shape.integer("ntli", -(2**63), 2**63 - 1)
    effect = _setup(base, shape, "margin added" if amount >= 0 else "margin removed")
    return (_usd(effect, abs(amount)),)


def _top_up_isolated_margin(action: dict[str, Value], base: Effect) -> Effects:
    shape = Shape(action, FIELD, ("type", "asset", "leverage"))
    canonical(shape.value("leverage"), shape.field("leverage"))
    return (_setup(base, shape, f"margin added down to leverage {shape.value('leverage')}"),)


def _setup(base: Effect, shape: Shape, via: str) -> Effect:
    asset = shape.integer("asset", highest=ASSET_MAX)
    return replace(base, operation=Operation.SETUP, symbol=_symbol(asset), via=via)


def _moved(base: Effect, shape: Shape, other: str, own: str) -> Effect:
    """Return a movement between the account ``own`` and the address in member ``other``."""
    account = shape.address(other)
    ends = (base.source, account) if shape.flag("isDeposit") else (account, own)
    return replace(base, operation=Operation.WITHDRAW, source=ends[0], destination=ends[1])


def _usd(effect: Effect, amount: int) -> Effect:
    """Return the effect with an amount of 10**-6 USDC, stated as every amount at a venue is, so that caps compare."""
    return replace(effect, asset="USDC", amount=amount * 10 ** (PLACES - _USD_DECIMALS), decimals=PLACES)


def _usd_transfer(other: str) -> Callable[[dict[str, Value], Effect], Effects]:
    def read(action: dict[str, Value], base: Effect) -> Effects:
        shape = Shape(action, FIELD, ("type", other, "isDeposit", "usd"))
        return (_usd(_moved(base, shape, other, "perp"), shape.integer("usd")),)

    return read


def _sub_account_spot_transfer(action: dict[str, Value], base: Effect) -> Effects:
    shape = Shape(action, FIELD, ("type", "subAccountUser", "isDeposit", "token", "amount"))
    amount = canonical(shape.value("amount"), shape.field("amount"))
    moved = _moved(base, shape, "subAccountUser", "spot")
    return (replace(moved, asset=shape.text("token"), amount=amount, decimals=PLACES),)


def _noop(action: dict[str, Value], base: Effect) -> Effects:
    Shape(action, FIELD, ("type",))
    return (replace(base, operation=Operation.REQUEST),)


def _use_big_blocks(action: dict[str, Value], base: Effect) -> Effects:
    Shape(action, FIELD, ("type", "usingBigBlocks")).flag("usingBigBlocks")
    return (replace(base, operation=Operation.SETUP),)


_ACTIONS: Final[dict[str, Callable[[dict[str, Value], Effect], Effects]]] = {
    "order": _orders,
    "modify": _modify,
    "batchModify": _batch_modify,
    "twapOrder": _twap_order,
    "cancel": _cancel,
    "cancelByCloid": _cancel_by_cloid,
    "scheduleCancel": _schedule_cancel,
    "twapCancel": _twap_cancel,
    "updateLeverage": _update_leverage,
    "updateIsolatedMargin": _update_isolated_margin,
    "topUpIsolatedOnlyMargin": _top_up_isolated_margin,
    "vaultTransfer": _usd_transfer("vaultAddress"),
    "subAccountTransfer": _usd_transfer("subAccountUser"),
    "subAccountSpotTransfer": _sub_account_spot_transfer,
    "noop": _noop,
    "evmUserModify": _use_big_blocks,
}
