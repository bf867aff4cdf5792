"""Endpoints of OKX v5 that a market maker uses, and their facts.

``quantity`` is as the venue counts: base coin for spot and margin, contracts for futures, swaps and options. A market
order at spot counts in what ``tgtCcy`` says; without it, and on margin, the size is not stated.

``reduceOnly`` is for some modes of an account only (not for portfolio margin, not for long/short), and the bytes do
not say the mode: it is not believed. A REDUCE is what closes by itself: an order for a swap or future against its
``posSide``, which no other mode takes, and ``close-position``.

``via`` of an order is its ``tdMode``, with the margin's ``ccy`` if it says one. A pair in another mode than ``cash``
borrows: that is SETUP beside the ORDER.

A withdrawal within OKX has the destination ``internal:login:{toAddr}`` or ``internal:uid:{toAddr}``: the same digits
can be a phone number and a UID, which are other people's. What is meant without ``toAddrType`` is not documented:
refused.

Not known here, hence OPAQUE: algo orders and attached ones (``attachAlgoOrds``, ``tpTriggerPx``), margin of a position,
convert, earn, loans, sub-account keys.

Source: okx.com/docs-v5, sections Order Book Trading, Trading Account, Funding Account, Sub-account.
"""

from collections.abc import Mapping
from typing import Final

from keyvault.core.intent import Effect, Operation
from keyvault.intents.venue_endpoint import Endpoint, endpoint, paths, reads, simple, withdrawal
from keyvault.intents.venue_fields import Fields

VENUE: Final = "okx"

_SIDE: Mapping[str, str] = {"buy": "BUY", "sell": "SELL"}
_TYPES: Mapping[str, str | None] = {
    "market": None,
    "optimal_limit_ioc": "IOC",
    "limit": "GTC",
    "post_only": "POST_ONLY",
    "fok": "FOK",
    "ioc": "IOC",
    "mmp": "GTC",
    "mmp_and_post_only": "POST_ONLY",
    "elp": "ELP",
}
"""Time in force of each type."""
_AT_ANY_PRICE = frozenset({"market", "optimal_limit_ioc"})
_POSITIONS: Mapping[str, str | None] = {"net": None, "long": "BUY", "short": "SELL"}
"""The side that opens a position."""
_UNITS: Mapping[str, bool] = {"base_ccy": False, "quote_ccy": True}
"""Whether a unit is the quote coin."""
_MODES: Mapping[str, str] = {name: name for name in ("cash", "cross", "isolated", "spot_isolated")}
_DESTINATIONS: Mapping[str, bool] = {"3": True, "4": False}
"""Whether a withdrawal stays within the venue."""
_ADDRESSES: Mapping[str, str] = {"1": "login", "2": "uid"}
"""What names a user within the venue: login name, email or phone; or a number. 1 is also an address on a chain."""
_INTERNAL = "internal:"
_PAIR_DASHES = 1
"""``BTC-USDT`` is spot or margin; swaps and futures have two dashes, options four."""
_FUTURE_DASHES = 2


def _order(fields: Fields) -> tuple[Effect, ...]:
    kind, mode = fields.text("ordType"), fields.word("tdMode", _MODES)
    quantity, quote_quantity = _size(fields)
    words = (mode, fields.asset("ccy", VENUE))
    effect = Effect(
        operation=Operation.REDUCE if _reduces(fields) else Operation.ORDER,
        venue=VENUE,
        symbol=fields.symbol("instId", VENUE),
        side=fields.word("side", _SIDE),
        quantity=quantity,
        quote_quantity=quote_quantity,
        price=_price(fields, kind),
        time_in_force=fields.word("ordType", _TYPES),
        via=" ".join(word for word in words if word is not None) or None,
    )
    borrows = _dashes(fields) <= _PAIR_DASHES and mode != "cash"
    return (effect, Effect(operation=Operation.SETUP, venue=VENUE, symbol=effect.symbol)) if borrows else (effect,)


def _dashes(fields: Fields) -> int:
    return (fields.text("instId") or "").count("-")


def _size(fields: Fields) -> tuple[int | None, int | None]:
    """Return base and quote quantity of an order; neither where it depends on what the bytes do not say."""
    size = fields.decimal("sz")
    quoted = fields.word("tgtCcy", _UNITS)
    if fields.text("ordType") != "market" or _dashes(fields) > _PAIR_DASHES:
        if quoted is not None:
            raise fields.refuse("tgtCcy", "is for market orders at spot only")
        return size, None
    if quoted is None or fields.word("tdMode", _MODES) != "cash":
        return None, None
    return (None, size) if quoted else (size, None)


def _reduces(fields: Fields) -> bool:
    """Return whether the order can only make a position smaller, in whatever mode the account is."""
    fields.flag("reduceOnly")  # one of its two words, although nobody believes it
    opening, side = fields.word("posSide", _POSITIONS), fields.word("side", _SIDE)
    if _dashes(fields) != _FUTURE_DASHES or fields.word("tdMode", _MODES) not in {"cross", "isolated"}:
        return False
    return opening is not None and side is not None and opening != side


def _price(fields: Fields, kind: str | None) -> int | None:
    """Return the limit price; None at any price, and for options priced in dollars or volatility."""
    price = fields.decimal("px")
    if kind in _AT_ANY_PRICE and price is not None:
        raise fields.refuse("px", f"stands beside ordType {kind}, which has no limit price")
    return None if "pxUsd" in fields or "pxVol" in fields else price


def _amendment(fields: Fields) -> tuple[Effect, ...]:
    """Return what an order becomes: the bytes do not say its side."""
    effect = Effect(
        operation=Operation.ORDER,
        venue=VENUE,
        symbol=fields.symbol("instId", VENUE),
        quantity=fields.decimal("newSz"),
        price=fields.decimal("newPx"),
    )
    return (effect,)


def _withdrawal(fields: Fields) -> tuple[Effect, ...]:
    """Return what leaves; within OKX (``dest`` 3) ``toAddr`` names a user, by what ``toAddrType`` says."""
    inside, address = fields.word("dest", _DESTINATIONS), fields.text("toAddr")
    by = fields.word("toAddrType", _ADDRESSES)
    if inside and by is None:
        raise fields.refuse("toAddrType", "must be 1 (email, phone, login name) or 2 (UID) beside dest 3")
    if not inside and by == "uid":
        raise fields.refuse("toAddrType", "is a UID, which dest 3 has: the same digits can be an address")
    if address is not None and address.startswith(_INTERNAL):
        raise fields.refuse("toAddr", f"begins as what is no address: {_INTERNAL}")
    known = None if inside is None or address is None else f"{_INTERNAL}{by}:{address}" if inside else address
    network = fields.network("chain", VENUE)
    return withdrawal(fields, venue=VENUE, asset="ccy", amount="amt", destination=known, network=network)


def _transfer(fields: Fields) -> tuple[Effect, ...]:
    """Return a move between accounts; one that involves a sub-account does not say in one place where to."""
    inside = "subAcct" not in fields and (fields.label("type") or "0") == "0"
    to, origin = fields.label("to"), fields.label("from")
    destination = f"account:{to}" if inside and to is not None else None
    source = None if origin is None else f"account:{origin}"
    return withdrawal(fields, venue=VENUE, asset="ccy", amount="amt", destination=destination, source=source)


def _sub_account_transfer(fields: Fields) -> tuple[Effect, ...]:
    to, origin = (
        f"subaccount:{fields.text(name)}:{fields.label(kind)}" if name in fields and kind in fields else None
        for name, kind in (("toSubAccount", "to"), ("fromSubAccount", "from"))
    )
    return withdrawal(fields, venue=VENUE, asset="ccy", amount="amt", destination=to, source=origin)


_ORDER = """
instId tdMode ccy clOrdId tag side posSide ordType sz px pxUsd pxVol reduceOnly tgtCcy banAmend pxAmendType
tradeQuoteCcy stpMode
"""
_FILTERS = """
instType instFamily uly instId instIdCode ordId clOrdId ordType state category after before begin end limit ccy mgnMode
tdMode px leverage posId type subType subAcct wdId clientId txId depId transId algoId quoteCcy
"""
_READS = """
account/account-position-risk account/balance account/bills account/bills-archive account/config account/greeks
account/instruments account/interest-accrued account/interest-limits account/interest-rate account/leverage-info
account/max-avail-size account/max-loan account/max-size account/max-withdrawal account/mmp-config
account/position-tiers account/positions account/positions-history account/risk-state account/trade-fee
account/subaccount/balances account/subaccount/max-withdrawal
asset/asset-valuation asset/balances asset/bills asset/currencies asset/deposit-address asset/deposit-history
asset/deposit-withdraw-status asset/subaccount/balances asset/subaccount/bills asset/transfer-state
asset/withdrawal-history
trade/account-rate-limit trade/fills trade/fills-history trade/order trade/orders-history trade/orders-history-archive
trade/orders-pending trade/order-algo trade/orders-algo-history trade/orders-algo-pending
users/subaccount/list
"""

_CANCEL = simple(VENUE, Operation.CANCEL, "instId")
_SETUP = simple(VENUE, Operation.SETUP, "instId")


def _with_prefix(endpoints: Mapping[str, Endpoint]) -> dict[str, Endpoint]:
    return {f"/api/v5/{path}": one for path, one in endpoints.items()}


GET: Final[Mapping[str, Endpoint]] = _with_prefix(reads(VENUE, _READS, _FILTERS))
POST: Final[Mapping[str, Endpoint]] = _with_prefix(
    paths(
        [
            ("trade/order", endpoint(_ORDER, _order)),
            ("trade/batch-orders", endpoint(_ORDER, _order, batch=True)),
            ("trade/order-precheck", endpoint(_ORDER, simple(VENUE, Operation.REQUEST, "instId"))),
            ("trade/amend-order", endpoint("instId cxlOnFail ordId clOrdId reqId newSz newPx", _amendment)),
            (
                "trade/amend-batch-orders",
                endpoint("instId cxlOnFail ordId clOrdId reqId newSz newPx", _amendment, batch=True),
            ),
            ("trade/cancel-order", endpoint("instId ordId clOrdId", _CANCEL)),
            ("trade/cancel-batch-orders", endpoint("instId ordId clOrdId", _CANCEL, batch=True)),
            ("trade/cancel-algos", endpoint("instId algoId algoClOrdId", _CANCEL, batch=True)),
            ("trade/mass-cancel", endpoint("instType instFamily lockInterval", _CANCEL)),
            ("trade/cancel-all-after", endpoint("timeOut tag", _CANCEL)),
            (
                "trade/close-position",
                endpoint("instId posSide mgnMode ccy autoCxl clOrdId tag", simple(VENUE, Operation.REDUCE, "instId")),
            ),
            ("account/set-leverage", endpoint("instId ccy lever mgnMode posSide", _SETUP)),
            ("account/set-position-mode", endpoint("posMode", _SETUP)),
            ("account/set-isolated-mode", endpoint("isoMode type", _SETUP)),
            ("account/set-account-level", endpoint("acctLv", _SETUP)),
            ("account/set-greeks", endpoint("greeksType", _SETUP)),
            ("account/activate-option", endpoint("", _SETUP)),
            ("account/mmp-config", endpoint("instFamily timeInterval frozenInterval qtyLimit", _SETUP)),
            ("account/mmp-reset", endpoint("instType instFamily", _SETUP)),
            ("asset/withdrawal", endpoint("ccy amt dest toAddr toAddrType chain clientId rcvrInfo", _withdrawal)),
            ("asset/cancel-withdrawal", endpoint("wdId", _CANCEL)),
            (
                "asset/transfer",
                endpoint("ccy amt from to subAcct type loanTrans clientId omitPosRisk", _transfer),
            ),
            (
                "asset/subaccount/transfer",
                endpoint("ccy amt from to fromSubAccount toSubAccount loanTrans omitPosRisk", _sub_account_transfer),
            ),
        ]
    )
)
