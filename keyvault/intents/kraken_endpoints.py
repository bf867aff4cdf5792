"""Endpoints of Kraken's spot REST API that a market maker uses, and their facts.

``quantity`` is in the base asset; with the flag ``viqc`` the volume is one of the quote asset. Prices relative to the
market (``+5``, ``#1%``) are refused: they have no value yet. A stop's ``price`` is its trigger, ``price2`` its limit.
What an edit's ``price`` is depends on the order that it edits, so it is not stated.

``reduce_only`` is believed for orders on margin only. ``via`` has their ``leverage``, and what an order waits for: a
stop's trigger, as it is written, and ``starttm``. Other orders on margin borrow: that is SETUP beside the ORDER. A
``cl_ord_id`` is unique among open orders, no longer: no slot.

Not known here, hence OPAQUE: conditional close (``close[ordertype]``), batches (AddOrderBatch, CancelOrderBatch: their
orders have no plain form), settle-position, earn, sub-accounts. GetWebSocketsToken opens a SESSION.

Pairs and assets have several names at Kraken; facts have their altname (``keyvault.core.venue_names``).

Source: docs.kraken.com/api/docs/rest-api, sections Account Data, Trading, Funding.
"""

import re
from collections.abc import Mapping
from typing import Final

from keyvault.core.intent import Effect, Operation
from keyvault.intents.venue_endpoint import Endpoint, endpoint, paths, reads, simple, withdrawal
from keyvault.intents.venue_fields import Fields
from keyvault.intents.venue_request import opaque
from keyvault.intents.venue_trigger import joined, trigger

VENUE: Final = "kraken"

_SIDE: Mapping[str, str] = {"buy": "BUY", "sell": "SELL"}
_LIMITS: Mapping[str, str | None] = {
    "market": None,
    "limit": "price",
    "iceberg": "price",
    "stop-loss": None,
    "take-profit": None,
    "trailing-stop": None,
    "stop-loss-limit": "price2",
    "take-profit-limit": "price2",
    "trailing-stop-limit": None,
}
"""Which parameter is the limit price; the limit of a trailing stop moves, so it has none."""
_WAITING = frozenset(
    {"stop-loss", "take-profit", "trailing-stop", "stop-loss-limit", "take-profit-limit", "trailing-stop-limit"}
)
"""Types of orders that wait for a price."""
_TIMES: Mapping[str, str] = {name: name for name in ("GTC", "IOC", "GTD", "FOK")}
_LEVERAGE = re.compile(r"(?:[2-9]|[1-9][0-9])(?::1)?", re.ASCII)
"""What surely is a margin: 0 and 1 may be an order without one, which cannot reduce anything."""
_WALLETS = frozenset({"Spot Wallet", "Futures Wallet"})
_FLAGS = frozenset({"post", "fcib", "fciq", "nompp", "viqc"})


def _order(fields: Fields) -> tuple[Effect, ...]:
    flags = (fields.text("oflags") or "").split(",") if "oflags" in fields else []
    kind = fields.text("ordertype")
    if kind is None or kind not in _LIMITS or not _FLAGS.issuperset(flags):
        return opaque(VENUE)
    volume = fields.decimal("volume") or None  # 0 stands for the whole position
    quoted, leverage = "viqc" in flags, _leverage(fields)
    effect = Effect(
        operation=Operation.REDUCE if _reduces(fields) else Operation.ORDER,
        venue=VENUE,
        symbol=fields.symbol("pair", VENUE),
        side=fields.word("type", _SIDE),
        quantity=None if quoted else volume,
        quote_quantity=volume if quoted else None,
        price=_price(fields, kind),
        time_in_force="POST_ONLY" if "post" in flags else fields.word("timeinforce", _TIMES),
        via=joined(None if leverage is None else f"leverage {leverage}", _trigger(fields, kind)),
    )
    borrows = leverage is not None and effect.operation is Operation.ORDER
    return (effect, Effect(operation=Operation.SETUP, venue=VENUE, symbol=effect.symbol)) if borrows else (effect,)


def _trigger(fields: Fields, kind: str) -> str | None:
    """Return what an order waits for: the price of a stop, and the time at which it starts (0 is now)."""
    starts = ("starttm",) if (fields.label("starttm") or "0") != "0" else ()
    waits = kind in _WAITING
    return trigger(fields, "price" if waits else "", starts, waits=waits)


def _leverage(fields: Fields) -> str | None:
    text = fields.text("leverage")
    return None if text == "none" else text


def _reduces(fields: Fields) -> bool:
    return fields.flag("reduce_only") and _LEVERAGE.fullmatch(_leverage(fields) or "") is not None


def _price(fields: Fields, kind: str) -> int | None:
    name = _LIMITS[kind]
    if kind == "market" and "price" in fields:
        raise fields.refuse("price", "stands beside ordertype market, which has no limit price")
    if name == "price" and "price2" in fields:
        raise fields.refuse("price2", f"stands beside ordertype {kind}, which has one price")
    return None if name is None else fields.decimal(name)


def _edit(fields: Fields) -> tuple[Effect, ...]:
    """Return what an order becomes: the bytes do not say its side or type."""
    quantity = fields.decimal("volume") if "oflags" not in fields else None
    return (Effect(operation=Operation.ORDER, venue=VENUE, symbol=fields.symbol("pair", VENUE), quantity=quantity),)


def _amendment(fields: Fields) -> tuple[Effect, ...]:
    effect = Effect(
        operation=Operation.ORDER,
        venue=VENUE,
        symbol=fields.symbol("pair", VENUE),
        quantity=fields.decimal("order_qty"),
        price=fields.decimal("limit_price"),
        time_in_force="POST_ONLY" if fields.flag("post_only") else None,
        via=trigger(fields, "trigger_price"),
    )
    return (effect,)


def _withdrawal(fields: Fields) -> tuple[Effect, ...]:
    """Return what leaves: to the address if it is confirmed, else to what ``key`` stands for at the venue.

    The key says by which network, too; nothing else in the request does: ``kraken:{key}``.
    """
    key, address = fields.text("key"), fields.text("address")
    destination = address or (None if key is None else f"key:{key}")
    network = fields.network("key", VENUE)
    return withdrawal(fields, venue=VENUE, asset="asset", amount="amount", destination=destination, network=network)


def _transfer(fields: Fields) -> tuple[Effect, ...]:
    to, origin = _account(fields, "to"), _account(fields, "from")
    return withdrawal(fields, venue=VENUE, asset="asset", amount="amount", destination=to, source=origin)


def _account(fields: Fields, name: str) -> str | None:
    """Return ``account:`` and a wallet, whose name has a space, or a sub-account's id."""
    value = fields.get(name)
    text = value if isinstance(value, str) and value in _WALLETS else fields.text(name)
    return None if text is None else f"account:{text}"


_ORDER = """
userref cl_ord_id ordertype type volume displayvol pair price price2 trigger leverage reduce_only stptype oflags
timeinforce starttm expiretm deadline validate asset_class
"""
_EDIT = "userref txid volume displayvol pair price price2 oflags deadline cancel_response validate asset_class"
_AMENDMENT = "txid cl_ord_id order_qty display_qty limit_price trigger_price pair post_only deadline"
_READS = """
Balance BalanceEx CreditLines TradeBalance OpenOrders ClosedOrders QueryOrders OrderAmends TradesHistory QueryTrades
OpenPositions Ledgers QueryLedgers TradeVolume DepositMethods DepositAddresses DepositStatus WithdrawMethods
WithdrawAddresses WithdrawInfo WithdrawStatus
"""
_FILTERS = """
asset aclass asset_class trades userref cl_ord_id txid start end ofs closetime consolidate_taker without_count type
ledgers consolidation docalcs id pair method new amount key network cursor limit verified rebase_multiplier order_id
"""
_CANCEL = simple(VENUE, Operation.CANCEL)

ENDPOINTS: Final[Mapping[str, Endpoint]] = reads(VENUE, _READS, _FILTERS) | paths(
    [
        ("AddOrder", endpoint(_ORDER, _order)),
        ("EditOrder", endpoint(_EDIT, _edit)),
        ("AmendOrder", endpoint(_AMENDMENT, _amendment)),
        ("CancelOrder", endpoint("txid cl_ord_id", _CANCEL)),
        ("CancelAll", endpoint("", _CANCEL)),
        ("CancelAllOrdersAfter", endpoint("timeout", _CANCEL)),
        ("Withdraw", endpoint("asset aclass key address amount max_fee", _withdrawal)),
        ("WithdrawCancel", endpoint("asset refid", _CANCEL)),
        ("WalletTransfer AccountTransfer", endpoint("asset asset_class from to amount", _transfer)),
        ("GetWebSocketsToken", endpoint("", simple(VENUE, Operation.SESSION))),
    ]
)
