"""UniswapX: the permit, the order in its witness, and witnesses that do not belong to their permit."""

import copy
import random
from typing import Any

import pytest

from keyvault.core.intent import Completeness, Operation
from tests.intents.typed_building import ATTACKER, OWN, SPENDER, document, effect, payload_of, read, refused
from tests.intents.typed_random import FAMILIES, random_document

PERMIT2 = {"name": "Permit2", "chainId": 1, "verifyingContract": "0x000000000022D473030F116dDEE9F6B43aC78BA3"}
ZERO = "0x" + "00" * 20
USDC, WETH = "0x" + "c1" * 20, "0x" + "c2" * 20
INFO = {
    "reactor": SPENDER,
    "swapper": OWN,
    "nonce": 5,
    "deadline": 1_800_000_000,
    "additionalValidationContract": ZERO,
    "additionalValidationData": "0x",
}
DUTCH_OUT = {"token": WETH, "startAmount": 9, "endAmount": 3, "recipient": OWN}
CURVE = {"relativeBlocks": 1, "relativeAmounts": [-1]}
WITNESSES: dict[str, dict[str, Any]] = {
    "LimitOrder": {
        "inputToken": USDC,
        "inputAmount": 100,
        "outputs": [{"token": WETH, "amount": 3, "recipient": OWN}],
    },
    "DutchOrder": {
        "decayStartTime": 1,
        "decayEndTime": 2,
        "inputToken": USDC,
        "inputStartAmount": 50,
        "inputEndAmount": 100,
        "outputs": [DUTCH_OUT],
    },
    "ExclusiveDutchOrder": {
        "decayStartTime": 1,
        "decayEndTime": 2,
        "exclusiveFiller": ZERO,
        "exclusivityOverrideBps": 1,
        "inputToken": USDC,
        "inputStartAmount": 100,
        "inputEndAmount": 50,
        "outputs": [DUTCH_OUT],
    },
    "V2DutchOrder": {
        "cosigner": ZERO,
        "baseInputToken": USDC,
        "baseInputStartAmount": 50,
        "baseInputEndAmount": 100,
        "baseOutputs": [DUTCH_OUT],
    },
    "V3DutchOrder": {
        "cosigner": ZERO,
        "startingBaseFee": 1,
        "baseInput": {
            "token": USDC,
            "startAmount": 50,
            "curve": CURVE,
            "maxAmount": 100,
            "adjustmentPerGweiBaseFee": 0,
        },
        "baseOutputs": [
            {
                "token": WETH,
                "startAmount": 9,
                "curve": CURVE,
                "recipient": OWN,
                "minAmount": 3,
                "adjustmentPerGweiBaseFee": 0,
            }
        ],
    },
    "PriorityOrder": {
        "cosigner": ZERO,
        "auctionStartBlock": 1,
        "baselinePriorityFeeWei": 1,
        "input": {"token": USDC, "amount": 100, "mpsPerPriorityFeeWei": 1},
        "outputs": [{"token": WETH, "amount": 3, "mpsPerPriorityFeeWei": 1, "recipient": OWN}],
    },
}


def auction(name: str) -> dict[str, Any]:
    """Return an order of one kind to give at most 100 USDC for at least 3 WETH."""
    message = {
        "permitted": {"token": USDC, "amount": 100},
        "spender": SPENDER,
        "nonce": 5,
        "deadline": 1_800_000_000,
        "witness": {"info": dict(INFO), **copy.deepcopy(WITNESSES[name])},
    }
    type_text = next(f.type_text for f in FAMILIES if f"deadline,{name} witness" in f.type_text)
    return document(type_text, message, PERMIT2)


@pytest.mark.parametrize("name", WITNESSES)
def test_every_kind_of_order(name: str) -> None:
    """The reactor may take the tokens, whatever the witness says; of the order the worst price is stated."""
    value = auction(name)
    intent = read(value)
    assert intent.effects == (
        effect(value, Operation.ALLOWANCE, asset=USDC, destination=SPENDER, amount=100),
        effect(
            value,
            Operation.ORDER,
            asset=USDC,
            amount=100,
            destination=OWN,
            received_asset=WETH,
            received_min=3,
            source=OWN,
            via=f"uniswapx {SPENDER}",
        ),
    )
    assert intent.completeness is Completeness.FULL
    assert intent.expires_at == 1_800_000_000_000
    assert intent.slot == "permit2:1:0x000000000022d473030f116ddee9f6b43ac78ba3:5"


def test_outputs_to_others() -> None:
    """What others get is a transfer each, and is not counted as received."""
    value = auction("LimitOrder")
    outputs = value["message"]["witness"]["outputs"]
    outputs += [{"token": WETH, "amount": 2, "recipient": ATTACKER}, {"token": WETH, "amount": 4, "recipient": OWN}]
    rest = {"source": OWN, "via": f"uniswapx {SPENDER}"}
    order = {"asset": USDC, "amount": 100, "destination": OWN, "received_asset": WETH, "received_min": 7}
    assert read(value).effects[1:] == (
        effect(value, Operation.ORDER, **order, **rest),
        effect(value, Operation.TRANSFER, asset=WETH, amount=2, destination=ATTACKER, **rest),
    )


def test_nothing_for_the_swapper() -> None:
    """An order whose swapper gets nothing states no received asset, and the transfer of an auction no amount."""
    value = auction("DutchOrder")
    value["message"]["witness"]["outputs"][0]["recipient"] = ATTACKER
    rest = {"source": OWN, "via": f"uniswapx {SPENDER}"}
    assert read(value).effects[1:] == (
        effect(value, Operation.ORDER, asset=USDC, amount=100, **rest),
        effect(value, Operation.TRANSFER, asset=WETH, destination=ATTACKER, **rest),
    )


def test_unlimited_permit_around_a_small_order() -> None:
    """The permit's own amount is what the spender may take, not the order's."""
    value = auction("LimitOrder")
    value["message"]["permitted"]["amount"] = 2**256 - 1
    value["message"]["spender"] = value["message"]["witness"]["info"]["reactor"] = ATTACKER
    allowance, order = read(value).effects
    assert (allowance.destination, allowance.amount) == (ATTACKER, 2**256 - 1)
    assert order.amount == 100


def test_validation_contract() -> None:
    """Code that may refuse the order makes the knowledge of it partial."""
    value = auction("V2DutchOrder")
    value["message"]["witness"]["info"]["additionalValidationContract"] = ATTACKER
    assert read(value).completeness is Completeness.PARTIAL


@pytest.mark.parametrize(
    ("path", "changed", "problem"),
    [
        (("spender",), ATTACKER, "info.reactor is not that of the permit"),
        (("nonce",), 6, "info.nonce is not that of the permit"),
        (("deadline",), 6, "info.deadline is not that of the permit"),
        (("permitted", "token"), WETH, "input token is not that of the permit"),
        (("permitted", "amount"), 99, "may take more than the permit allows"),
    ],
)
@pytest.mark.parametrize("name", WITNESSES)
def test_witnesses_of_other_permits(name: str, path: tuple[str, ...], changed: object, problem: str) -> None:
    """A witness that does not belong to its permit is refused: the reactor would not execute it, others might."""
    value = auction(name)
    place = value["message"]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = changed
    assert refused(payload_of(value)) == ("message.witness", problem)


def test_random_auctions_state_their_bounds() -> None:
    """600 random orders: the permit comes first, all outputs are effects, and nothing goes beyond the permit."""
    chance = random.Random(3)  # noqa: S311 - test data
    kinds = [f for f in FAMILIES if f.type_text.startswith("PermitWitness")]
    for index in range(600):
        value = random_document(kinds[index % len(kinds)], chance)
        witness = value["message"]["witness"]
        outputs = witness.get("outputs") or witness["baseOutputs"]
        first, *rest = read(value).effects
        assert (first.operation, first.amount) == (Operation.ALLOWANCE, 2**256 - 1)
        others = [output["recipient"] for output in outputs if output["recipient"] != witness["info"]["swapper"]]
        assert [each.destination for each in rest if each.operation is Operation.TRANSFER] == others
        assert all((each.amount or 0) <= 2**256 - 1 for each in rest)
        assert any(each.operation is Operation.ORDER for each in rest)
