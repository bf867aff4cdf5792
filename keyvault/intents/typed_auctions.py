"""UniswapX orders: Permit2's PermitWitnessTransferFrom with an order as its witness.

The type strings are those of Uniswap/UniswapX, src/lib/*OrderLib.sol. A witness is free text to Permit2, so only these
are known; every other one is TYPED_DATA.

Permit2 lets the spender take the tokens whatever the witness says, so the allowance is an effect of its own. The order
is what a reactor makes of it: at most so much goes, at least so much comes. Outputs to others than the swapper are
transfers; their amounts may rise in an auction and are stated for limit orders only. What the reactor would not execute
(another reactor, token, nonce or deadline within than without) is refused. A validation contract can only prevent
execution, but it is code that nobody here has read: completeness is PARTIAL then.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from keyvault.core.errors import Malformed
from keyvault.core.intent import Completeness, Effect, Operation
from keyvault.intents.typed_message import ZERO_ADDRESS, Facts, Family, Meaning, Message
from keyvault.intents.typed_permits import TOKEN_PERMISSIONS, transfer_permit
from keyvault.intents.typed_schema import FIELD


@dataclass(frozen=True, slots=True)
class _Output:
    token: str
    recipient: str
    minimum: int
    maximum: int | None


@dataclass(frozen=True, slots=True)
class _Order:
    token: str
    maximum: int
    outputs: tuple[_Output, ...]


def _limit(witness: Facts) -> _Order:
    outputs = tuple(
        _Output(each.address("token"), each.address("recipient"), each.integer("amount"), each.integer("amount"))
        for each in witness.structs("outputs")
    )
    return _Order(witness.address("inputToken"), witness.integer("inputAmount"), outputs)


def _dutch_outputs(outputs: tuple[Facts, ...]) -> tuple[_Output, ...]:
    return tuple(
        _Output(
            each.address("token"),
            each.address("recipient"),
            min(each.integer("startAmount"), each.integer("endAmount")),
            None,
        )
        for each in outputs
    )


def _dutch(witness: Facts) -> _Order:
    maximum = max(witness.integer("inputStartAmount"), witness.integer("inputEndAmount"))
    return _Order(witness.address("inputToken"), maximum, _dutch_outputs(witness.structs("outputs")))


def _dutch_v2(witness: Facts) -> _Order:
    maximum = max(witness.integer("baseInputStartAmount"), witness.integer("baseInputEndAmount"))
    return _Order(witness.address("baseInputToken"), maximum, _dutch_outputs(witness.structs("baseOutputs")))


def _dutch_v3(witness: Facts) -> _Order:
    given = witness.struct("baseInput")
    outputs = tuple(
        _Output(
            each.address("token"),
            each.address("recipient"),
            min(each.integer("startAmount"), each.integer("minAmount")),
            None,
        )
        for each in witness.structs("baseOutputs")
    )
    return _Order(given.address("token"), max(given.integer("startAmount"), given.integer("maxAmount")), outputs)


def _priority(witness: Facts) -> _Order:
    given = witness.struct("input")
    outputs = tuple(
        _Output(each.address("token"), each.address("recipient"), each.integer("amount"), None)
        for each in witness.structs("outputs")
    )
    return _Order(given.address("token"), given.integer("amount"), outputs)


def _reader(order_of: Callable[[Facts], _Order]) -> Callable[[Message], Meaning]:
    def read(message: Message) -> Meaning:
        facts = message.facts
        info, order = facts.struct("witness").struct("info"), order_of(facts.struct("witness"))
        _check(facts, info, order)
        meaning = transfer_permit(message, (facts.struct("permitted"),), _effects(message, info, order))
        known = info.address("additionalValidationContract") == ZERO_ADDRESS
        return meaning if known else replace(meaning, completeness=Completeness.PARTIAL)

    return read


def _check(facts: Facts, info: Facts, order: _Order) -> None:
    """Raise Malformed unless permit and witness are of one order, as the reactor builds the permit from the witness."""
    permitted = facts.struct("permitted")
    for name, within, without in (
        ("info.reactor", info.address("reactor"), facts.address("spender")),
        ("info.nonce", info.integer("nonce"), facts.integer("nonce")),
        ("info.deadline", info.integer("deadline"), facts.integer("deadline")),
        ("input token", order.token, permitted.address("token")),
    ):
        if within != without:
            raise Malformed(f"{FIELD}.message.witness", f"{name} is not that of the permit")
    if order.maximum > permitted.integer("amount"):
        raise Malformed(f"{FIELD}.message.witness", "may take more than the permit allows")


def _effects(message: Message, info: Facts, order: _Order) -> tuple[Effect, ...]:
    """Return one order for each token that the swapper gets, and a transfer for each output to somebody else."""
    swapper, via = info.address("swapper"), f"uniswapx {info.address('reactor')}"
    received: dict[str, int] = {}
    for output in order.outputs:
        if output.recipient == swapper:
            received[output.token] = received.get(output.token, 0) + output.minimum
    base = replace(message.base, source=swapper, via=via)
    exchange = replace(base, operation=Operation.ORDER, asset=order.token, amount=order.maximum)
    orders = tuple(
        replace(exchange, destination=swapper, received_asset=token, received_min=minimum)
        for token, minimum in received.items()
    )
    transfers = tuple(
        replace(
            base,
            operation=Operation.TRANSFER,
            asset=output.token,
            amount=output.maximum,
            destination=output.recipient,
        )
        for output in order.outputs
        if output.recipient != swapper
    )
    return (*(orders or (exchange,)), *transfers)


_INFO = (
    "OrderInfo(address reactor,address swapper,uint256 nonce,uint256 deadline,address additionalValidationContract,"
    "bytes additionalValidationData)"
)
_LIMIT = "LimitOrder(OrderInfo info,address inputToken,uint256 inputAmount,OutputToken[] outputs)"
_OUTPUT = "OutputToken(address token,uint256 amount,address recipient)"
_DUTCH_OUTPUT = "DutchOutput(address token,uint256 startAmount,uint256 endAmount,address recipient)"
_DUTCH = (
    "DutchOrder(OrderInfo info,uint256 decayStartTime,uint256 decayEndTime,address inputToken,"
    "uint256 inputStartAmount,uint256 inputEndAmount,DutchOutput[] outputs)"
)
_EXCLUSIVE = (
    "ExclusiveDutchOrder(OrderInfo info,uint256 decayStartTime,uint256 decayEndTime,address exclusiveFiller,"
    "uint256 exclusivityOverrideBps,address inputToken,uint256 inputStartAmount,uint256 inputEndAmount,"
    "DutchOutput[] outputs)"
)
_V2 = (
    "V2DutchOrder(OrderInfo info,address cosigner,address baseInputToken,uint256 baseInputStartAmount,"
    "uint256 baseInputEndAmount,DutchOutput[] baseOutputs)"
)
_CURVE = "NonlinearDutchDecay(uint256 relativeBlocks,int256[] relativeAmounts)"
_V3_INPUT = (
    "V3DutchInput(address token,uint256 startAmount,NonlinearDutchDecay curve,uint256 maxAmount,"
    "uint256 adjustmentPerGweiBaseFee)"
)
_V3 = (
    "V3DutchOrder(OrderInfo info,address cosigner,uint256 startingBaseFee,V3DutchInput baseInput,"
    "V3DutchOutput[] baseOutputs)"
)
_V3_OUTPUT = (
    "V3DutchOutput(address token,uint256 startAmount,NonlinearDutchDecay curve,address recipient,uint256 minAmount,"
    "uint256 adjustmentPerGweiBaseFee)"
)
_PRIORITY_INPUT = "PriorityInput(address token,uint256 amount,uint256 mpsPerPriorityFeeWei)"
_PRIORITY = (
    "PriorityOrder(OrderInfo info,address cosigner,uint256 auctionStartBlock,uint256 baselinePriorityFeeWei,"
    "PriorityInput input,PriorityOutput[] outputs)"
)
_PRIORITY_OUTPUT = "PriorityOutput(address token,uint256 amount,uint256 mpsPerPriorityFeeWei,address recipient)"


def _family(order_of: Callable[[Facts], _Order], witness: str, *structs: str) -> Family:
    """Return the family of one witness type; ``structs`` are in the order of EIP-712, by name."""
    permit = (
        "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,"
        f"{witness} witness)"
    )
    return Family(type_text=permit + "".join(structs), read=_reader(order_of))


FAMILIES: Final = (
    _family(_limit, "LimitOrder", _LIMIT, _INFO, _OUTPUT, TOKEN_PERMISSIONS),
    _family(_dutch, "DutchOrder", _DUTCH, _DUTCH_OUTPUT, _INFO, TOKEN_PERMISSIONS),
    _family(_dutch, "ExclusiveDutchOrder", _DUTCH_OUTPUT, _EXCLUSIVE, _INFO, TOKEN_PERMISSIONS),
    _family(_dutch_v2, "V2DutchOrder", _DUTCH_OUTPUT, _INFO, TOKEN_PERMISSIONS, _V2),
    _family(_dutch_v3, "V3DutchOrder", _CURVE, _INFO, TOKEN_PERMISSIONS, _V3_INPUT, _V3, _V3_OUTPUT),
    _family(_priority, "PriorityOrder", _INFO, _PRIORITY_INPUT, _PRIORITY, _PRIORITY_OUTPUT, TOKEN_PERMISSIONS),
)
"""Every kind of order that a reactor of UniswapX takes."""
