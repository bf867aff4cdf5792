"""What each parameter of Binance's signed requests makes possible.

The signature covers neither method nor path, so one signed string is good for every request that takes these
parameters: each name carries the worst operation of all the requests in which it is needed (``venue_meaning``).

``type`` has its meaning from what stands beside it: orders have it beside a side, transfers beside an amount. Without
these it liquidates a margin account (``POST margin/manual-liquidation``), so it is OPAQUE then (``binance_orders``).
``symbol`` alone is CANCEL: ``symbol`` and ``timestamp`` fit ``GET openOrders`` and also ``DELETE openOrders``; ``POST
order/test`` takes what ``POST order`` takes. ``sideEffectType`` of an order borrows: that is SETUP beside the ORDER.

Endpoints without any needed parameter change something, too: ``portfolio/auto-collection``, ``portfolio/repay``,
``portfolio/repay-futures-negative-balance``, the switches for fast withdrawals, ``um/stock/contract``, ``DELETE
margin/apiKey``; with ``symbol`` alone an isolated margin account is opened or closed. They move assets between
accounts of the same user, and nothing away. A request that says nothing is one of them as well as a read: SETUP. One
that says more fits them only if the venue does not look at what it does not need (it documents errors -1101 and -1104
for that): they are not among its effects. So what is left as REQUEST reads, but for that; an API key that only reads
should have no right to trade at the venue.

Sources: github.com/binance/binance-spot-api-docs rest-api.md (spot), developers.binance.com (wallet, margin, futures).
Left out on purpose, hence OPAQUE: margin of a position, sub-account API keys, convert, loans, earn.
"""

from typing import Final

from keyvault.core.intent import Operation
from keyvault.intents.venue_meaning import Meanings, table

_REQUEST = """
timestamp recvWindow type limit startTime endTime fromId fromExecutionId fromAllocationId preventedMatchId
fromPreventedMatchId omitZeroBalances current size page pageSize offset
"""

_CANCEL = """
symbol isIsolated orderId origClientOrderId newClientOrderId clientOrderId cancelRestrictions orderListId
listClientOrderId orderIdList origClientOrderIdList countdownTime algoId clientAlgoId
"""

_LEG = """
Type ClientOrderId Price StopPrice TrailingDelta IcebergQty TimeInForce StrategyId StrategyType
PegPriceType PegOffsetType PegOffsetValue
"""
_LEGS = ("above", "below", "working", "pending", "pendingAbove", "pendingBelow")

_ORDER = """
side timeInForce quantity quoteOrderQty price strategyId strategyType stopPrice trailingDelta icebergQty
newOrderRespType selfTradePreventionMode pegPriceType pegOffsetValue pegOffsetType newQty computeCommissionRates
cancelReplaceMode cancelNewClientOrderId cancelOrigClientOrderId cancelOrderId orderRateLimitExceededMode
limitClientOrderId limitStrategyId limitStrategyType limitIcebergQty stopClientOrderId stopStrategyId
stopStrategyType stopLimitPrice stopIcebergQty stopLimitTimeInForce
workingSide workingQuantity pendingSide pendingQuantity
autoRepayAtCancel
positionSide reduceOnly closePosition activationPrice callbackRate priceProtect priceMatch goodTillDate batchOrders
algoType triggerPrice activatePrice
"""

_SETUP = """
leverage marginType dualSidePosition multiAssetsMargin sideEffectType
"""

_WITHDRAW = """
coin address addressTag network withdrawOrderId amount transactionFeeFlag name walletType questionnaire
asset fromSymbol toSymbol transFrom transTo fromEmail toEmail fromAccountType toAccountType clientTranId tranId
"""

SIDES = ("side", "workingSide", "pendingSide")
"""Parameters that say BUY or SELL, one for each leg that has a side of its own."""
LONG: Final = frozenset({"batchOrders", "orderIdList", "origClientOrderIdList", "questionnaire"})
"""Parameters whose values are lists or objects."""
DESTINATIONS = ("address", "toEmail")
"""Parameters that say where assets go."""


def _table() -> dict[str, Operation]:
    names = table(
        {
            Operation.REQUEST: _REQUEST,
            Operation.CANCEL: _CANCEL,
            Operation.ORDER: _ORDER,
            Operation.SETUP: _SETUP,
            Operation.WITHDRAW: _WITHDRAW,
        }
    )
    return names | {leg + part: Operation.ORDER for leg in _LEGS for part in _LEG.split()}


PARAMETERS: Final = _table()
MEANINGS: Final = Meanings(PARAMETERS, saying_nothing=frozenset({"timestamp", "recvWindow"}))

REPLACES: Final = frozenset({"cancelReplaceMode", "cancelNewClientOrderId", "cancelOrigClientOrderId", "cancelOrderId"})
"""Parameters of an order that cancels another one first."""
LISTS: Final = frozenset(
    {leg + part for leg in _LEGS for part in _LEG.split()}
    | {"workingSide", "workingQuantity", "pendingSide", "pendingQuantity", "stopClientOrderId", "stopLimitPrice"}
    | {"limitClientOrderId", "stopLimitTimeInForce"}
) - {"workingType"}
"""Parameters of lists of orders: their legs' prices and conditions are not among the facts.

Not ``workingType``: futures call so the price that triggers an order, and order lists never have it alone.
"""
_SPOT = """
timestamp recvWindow symbol side type timeInForce quantity quoteOrderQty price newClientOrderId strategyId
strategyType stopPrice trailingDelta icebergQty newOrderRespType selfTradePreventionMode pegPriceType pegOffsetValue
pegOffsetType computeCommissionRates cancelReplaceMode cancelNewClientOrderId cancelOrigClientOrderId cancelOrderId
orderRateLimitExceededMode cancelRestrictions orderId origClientOrderId orderListId listClientOrderId
"""
SPOT: Final = frozenset(_SPOT.split())
"""Parameters of single orders and of cancels whose meaning is stated in full."""
