"""What each parameter of Bybit's v5 requests makes possible: the worst of all the endpoints in which it is needed.

``category`` and ``symbol`` fit ``GET order/realtime`` and also ``POST order/cancel-all``: CANCEL. ``coin`` and
``amount`` fit repayments, transfers and withdrawals: WITHDRAW. Take-profit and stop-loss beside an order are further
orders at prices of their own: not known here, hence OPAQUE; so are convert, loans, move-positions, API keys.

Source: bybit-exchange.github.io/docs/v5, sections Trade, Position, Account, Asset, Spot Margin, Spread Trading.
"""

from typing import Final

from keyvault.core.intent import Operation
from keyvault.intents.venue_meaning import Meanings, table

_REQUEST = """
limit cursor startTime endTime status execType orderStatus openOnly accountType memberId withBonus
withTransferSafeAmount withLtvTransferSafeAmount type transSubType currency expDate valuationCurrency txID withdrawID
withdrawType createTimeFrom createTimeTo
"""

_CANCEL = """
category symbol baseCoin settleCoin orderId orderLinkId orderFilter stopOrderType timeWindow product id
"""

_ORDER = """
side orderType qty marketUnit slippageToleranceType slippageTolerance price triggerDirection triggerPrice triggerBy
orderIv timeInForce positionIdx reduceOnly closeOnTrigger smpType mmp bboSideType bboLevel rpiTakerAccess
request
"""

_SETUP = """
buyLeverage sellLeverage tradeMode tpSlMode mode riskId autoAddMargin setMarginMode collateralSwitch spotMarginMode
leverage isLeverage window frozenPeriod qtyLimit deltaLimit vegaLimit modifyEnable setHedgingMode autoRepayMode
"""

_WITHDRAW = """
coin chain address tag amount timestamp forceChain feeType requestId transferId fromMemberId toMemberId fromAccountType
toAccountType
"""

PARAMETERS: Final = table(
    {
        Operation.REQUEST: _REQUEST,
        Operation.CANCEL: _CANCEL,
        Operation.ORDER: _ORDER,
        Operation.SETUP: _SETUP,
        Operation.WITHDRAW: _WITHDRAW,
    }
)
MEANINGS: Final = Meanings(PARAMETERS)
