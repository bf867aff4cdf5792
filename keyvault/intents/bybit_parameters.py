"""What each parameter of Bybit's v5 requests makes possible: the worst of all the endpoints in which it is needed.

``category`` and ``symbol`` fit ``GET order/realtime`` and also ``POST order/cancel-all``: CANCEL. ``coin`` and
``amount`` fit repayments, transfers and withdrawals: WITHDRAW. Take-profit and stop-loss beside an order are further
orders at prices of their own: not known here, hence OPAQUE; so are convert, loans, move-positions, API keys.

Values count where names do not tell endpoints apart:

- ``orderId`` alone releases the assets of a P2P sale (``p2p/order/finish``, "Release Assets", needs nothing else).
  ``order/cancel``, ``order/amend`` and their batches need ``category`` besides, so ``orderId`` without a category is
  OPAQUE. Orders of the spread market have none: they are cancelled and changed by ``orderLinkId``.
- ``category`` is one of the four words that the documents have, in lower case; what the venue makes of another is
  written nowhere: OPAQUE.
- ``isLeverage`` 0 borrows nothing and is as good as absent.
- Reads are GET. As JSON, ``accountType`` sets where deposits go (``deposit/deposit-to-account``), and ``baseCoin``
  without a category lifts the protection of a market maker (``account/mmp-reset``): SETUP.

What the venue does with members that an endpoint does not have is not documented: if it ignores them, ``orderId``
releases assets beside a category as well. An API key for trading must not have the P2P right.

Source: bybit-exchange.github.io/docs/v5, sections Trade, Position, Account, Asset, Spot Margin, Spread Trading;
docs/p2p/order/release-digital-asset.
"""

from collections.abc import Mapping
from typing import Final

from keyvault.core.intent import Operation
from keyvault.intents.strict_json import Value
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

CATEGORIES: Final[Mapping[str, bool]] = {"spot": False, "linear": True, "inverse": True, "option": True}
"""Whether a category has positions, so that an order can be one that only reduces."""

_OPAQUE = (Operation.OPAQUE,)
_ASKS_FOR_CATEGORY = frozenset({"orderId", "request"})


def operations(values: Mapping[str, Value], *, json: bool) -> tuple[Operation, ...]:
    """Return the operations that a request can be, as JSON or as a query."""
    if "category" in values:
        category = values["category"]
        known = isinstance(category, str) and category in CATEGORIES
        return item_operations(values) if known else _OPAQUE
    if not _ASKS_FOR_CATEGORY.isdisjoint(values):
        return _OPAQUE
    found = item_operations(values)
    if json and found == (Operation.REQUEST,):
        return (Operation.SETUP,)
    if json and found == (Operation.CANCEL,) and "baseCoin" in values:
        return (Operation.CANCEL, Operation.SETUP)
    return found


def item_operations(values: Mapping[str, Value]) -> tuple[Operation, ...]:
    """Return the operations that an item of a batch can be: its category stands around it."""
    if type(values.get("isLeverage")) is int and values["isLeverage"] == 0:
        return MEANINGS.of(name for name in values if name != "isLeverage")
    return MEANINGS.of(values)
