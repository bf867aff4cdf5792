"""What each parameter of Binance's signed REST requests makes possible.

The signature covers neither method nor path, so one signed string is good for every request that takes these
parameters. Each known name therefore carries the worst operation of all the requests in which it is needed, and a
request is the worst of its parameters:

    REQUEST < CANCEL < ORDER, WITHDRAW

``type`` says nothing by itself: orders have it, always beside ``side`` or a leg's, and so have universal transfers.
``symbol`` alone is CANCEL: ``symbol`` and ``timestamp`` fit ``GET openOrders`` and also ``DELETE openOrders``. Whoever
may sign an operation can in effect also do those before it. The rule is monotone: leaving parameters out never gives a
worse operation. A name that is not here makes the request OPAQUE, and so does a mixture of ORDER and WITHDRAW, which
no known request has.

Sources: github.com/binance/binance-spot-api-docs rest-api.md (spot), developers.binance.com (wallet, margin, futures).
Left out on purpose, hence OPAQUE: leverage and margin mode, sub-account API keys, convert, loans, earn.
"""

from collections.abc import Iterable
from functools import lru_cache

from keyvault.core.intent import Operation

_REQUEST = """
timestamp recvWindow type limit startTime endTime fromId fromExecutionId fromAllocationId preventedMatchId
fromPreventedMatchId omitZeroBalances current size page pageSize offset
"""

_CANCEL = """
symbol isIsolated orderId origClientOrderId newClientOrderId clientOrderId cancelRestrictions orderListId
listClientOrderId orderIdList origClientOrderIdList countdownTime
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
sideEffectType autoRepayAtCancel
positionSide reduceOnly closePosition activationPrice callbackRate priceProtect priceMatch goodTillDate
"""

_WITHDRAW = """
coin address addressTag network withdrawOrderId amount transactionFeeFlag name walletType questionnaire
asset fromSymbol toSymbol transFrom transTo fromEmail toEmail fromAccountType toAccountType clientTranId tranId
"""

SIDES = ("side", "workingSide", "pendingSide")
"""Parameters that say BUY or SELL, one for each leg that has a side of its own."""
DESTINATIONS = ("address", "toEmail")
"""Parameters that say where assets go."""


def _table() -> dict[str, Operation]:
    names = {
        Operation.REQUEST: _REQUEST,
        Operation.CANCEL: _CANCEL,
        Operation.ORDER: _ORDER,
        Operation.WITHDRAW: _WITHDRAW,
    }
    table = {name: operation for operation, text in names.items() for name in text.split()}
    return table | {leg + part: Operation.ORDER for leg in _LEGS for part in _LEG.split()}


PARAMETERS: dict[str, Operation] = _table()


def operation_of(names: Iterable[str]) -> Operation:
    """Return the worst operation that a request with these parameter names can be."""
    return _operation(frozenset(names))


@lru_cache(maxsize=256)  # a bot uses a handful of sets
def _operation(names: frozenset[str]) -> Operation:
    operations = {PARAMETERS.get(name, Operation.OPAQUE) for name in names}
    if Operation.OPAQUE in operations or {Operation.ORDER, Operation.WITHDRAW} <= operations:
        return Operation.OPAQUE
    for operation in (Operation.WITHDRAW, Operation.ORDER, Operation.CANCEL):
        if operation in operations:
            return operation
    return Operation.REQUEST
