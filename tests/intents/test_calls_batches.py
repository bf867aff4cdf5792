"""Calls within calls: multicall, Multicall3, and Permit2's lists."""

from typing import Any

import pytest

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Completeness, Effect, Operation
from tests.intents.building_evm import (
    ACCOUNT,
    APPROVE,
    FRIEND,
    SAFE,
    STRANGER,
    TOKEN,
    TRANSFER,
    calldata,
    called,
    effect,
)

MULTICALL3 = "0xca11bde05977b3631167028862be2a173976ca11"
PERMIT2 = "0x000000000022d473030f116ddee9f6b43ac78ba3"
ROUTER = "0x" + "e5" * 20
MOVE, ALLOW = Operation.TRANSFER, Operation.ALLOWANCE
TIME = 1_800_000_000
UINT160_MAX = 2**160 - 1
SINGLE = "((address,uint160,uint48,uint48),address,uint256)"
BATCH = "((address,uint160,uint48,uint48)[],address,uint256)"
PERMITTED = "((address,uint256),uint256,uint256)"
PERMITTED_BATCH = "((address,uint256)[],uint256,uint256)"


@pytest.mark.parametrize(
    ("signature", "before"),
    [
        ("multicall(bytes[])", ()),
        ("multicall(uint256,bytes[])", (TIME,)),
        ("multicall(bytes32,bytes[])", (bytes(32),)),
    ],
)
def test_multicall_is_a_call_of_itself(signature: str, before: tuple[Any, ...]) -> None:
    """Each part is a call of the same contract by the same sender; the coin sent along is stated once, outside."""
    data = calldata(signature, *before, (TRANSFER, b"abcd", b"", APPROVE))
    coin = Effect(operation=MOVE, chain_id=1, destination=TOKEN, amount=9, source=ACCOUNT, contract=TOKEN)
    assert called(TOKEN, data, 9) == (
        (
            coin,
            effect(MOVE, TOKEN, TRANSFER, asset=TOKEN, amount=5_000_000, destination=FRIEND, via="multicall"),
            effect(Operation.CALL, TOKEN, b"abcd", via="multicall"),
            effect(Operation.CALL, TOKEN, b"", via="multicall"),
            effect(ALLOW, TOKEN, APPROVE, asset=TOKEN, amount=2**256 - 1, destination=STRANGER, via="multicall"),
        ),
        Completeness.PARTIAL,
    )


def test_one_opaque_part_makes_all_opaque() -> None:
    """A part that cannot be read shows, and no other part makes up for it."""
    effects, complete = called(TOKEN, calldata("multicall(bytes[])", (TRANSFER, TRANSFER[:-1])))
    assert [each.operation for each in effects] == [MOVE, Operation.OPAQUE]
    assert complete is Completeness.OPAQUE


@pytest.mark.parametrize("to", [TOKEN, MULTICALL3])
@pytest.mark.parametrize(
    "signature", ["multicall(bytes[])", "aggregate3((address,bool,bytes)[])", "lockdown((address,address)[])"]
)
def test_a_batch_of_nothing_is_a_call(to: str, signature: str) -> None:
    """No batch is without effect: a rule for all effects would hold of nothing."""
    data = calldata(signature, ())
    assert called(to, data) == ((effect(Operation.CALL, to, data),), Completeness.PARTIAL)


@pytest.mark.parametrize(
    ("signature", "values"),
    [
        ("aggregate((address,bytes)[])", (((TOKEN, TRANSFER), (ROUTER, b"abcd")),)),
        ("tryAggregate(bool,(address,bytes)[])", (False, ((TOKEN, TRANSFER), (ROUTER, b"abcd")))),
        ("blockAndAggregate((address,bytes)[])", (((TOKEN, TRANSFER), (ROUTER, b"abcd")),)),
        ("tryBlockAndAggregate(bool,(address,bytes)[])", (True, ((TOKEN, TRANSFER), (ROUTER, b"abcd")))),
        ("aggregate3((address,bool,bytes)[])", (((TOKEN, False, TRANSFER), (ROUTER, True, b"abcd")),)),
        (
            "aggregate3Value((address,bool,uint256,bytes)[])",
            (((TOKEN, False, 0, TRANSFER), (ROUTER, True, 0, b"abcd")),),
        ),
    ],
)
def test_multicall3_is_the_sender(signature: str, values: tuple[Any, ...]) -> None:
    """Multicall3 calls in its own name, at its one address; elsewhere the same function is an unknown call."""
    data = calldata(signature, *values)
    facts = {"source": MULTICALL3, "via": "multicall3"}
    assert called(MULTICALL3, data) == (
        (
            effect(MOVE, TOKEN, TRANSFER, asset=TOKEN, amount=5_000_000, destination=FRIEND, **facts),
            effect(Operation.CALL, ROUTER, b"abcd", **facts),
        ),
        Completeness.PARTIAL,
    )
    assert called(ROUTER, data) == ((effect(Operation.CALL, ROUTER, data),), Completeness.PARTIAL)


def test_multicall3_passes_coin_on() -> None:
    """Coin for Multicall3 and coin that it sends on are both stated."""
    data = calldata("aggregate3Value((address,bool,uint256,bytes)[])", ((FRIEND, False, 4, b""),))
    into = Effect(operation=MOVE, chain_id=1, destination=MULTICALL3, amount=4, source=ACCOUNT, contract=MULTICALL3)
    onwards = Effect(operation=MOVE, chain_id=1, destination=FRIEND, amount=4, source=MULTICALL3, via="multicall3")
    assert called(MULTICALL3, data, 4) == ((into, onwards), Completeness.FULL)


def test_depth_is_bounded() -> None:
    """Calls nested as deep as the limit are read, deeper ones are Malformed, however deep."""
    data = TRANSFER
    for _ in range(limits.CALL_DEPTH_MAX):
        data = calldata("multicall(bytes[])", (data,))
    assert called(TOKEN, data)[0][0].via == " > ".join(["multicall"] * limits.CALL_DEPTH_MAX)
    for _ in range(40):
        data = calldata("multicall(bytes[])", (data,))
        with pytest.raises(Malformed, match="nested deeper than 8"):
            called(TOKEN, data)


PERMIT2_CALLS: list[tuple[str, str, tuple[Any, ...], list[dict[str, Any]]]] = [
    (
        "approve",
        "approve(address,address,uint160,uint48)",
        (TOKEN, FRIEND, 7, TIME),
        [{"asset": TOKEN, "amount": 7, "destination": FRIEND, "expires_at": UnixMillis(TIME * 1000)}],
    ),
    (
        "approve for this block",
        "approve(address,address,uint160,uint48)",
        (TOKEN, FRIEND, 7, 0),
        [{"asset": TOKEN, "amount": 7, "destination": FRIEND, "expires_at": None}],
    ),
    (
        "permit",
        f"permit(address,{SINGLE},bytes)",
        (STRANGER, ((TOKEN, 7, TIME, 0), FRIEND, 2**256 - 1), b"signature"),
        [{"asset": TOKEN, "amount": 7, "destination": FRIEND, "source": STRANGER, "expires_at": TIME * 1000}],
    ),
    (
        "A20 permit batch",
        f"permit(address,{BATCH},bytes)",
        (ACCOUNT, (((TOKEN, 1, TIME, 0), (ROUTER, UINT160_MAX, 2**48 - 1, 0)), STRANGER, TIME), b"signature"),
        [
            {"asset": TOKEN, "amount": 1, "destination": STRANGER, "expires_at": TIME * 1000},
            {"asset": ROUTER, "amount": UINT160_MAX, "destination": STRANGER, "expires_at": (2**48 - 1) * 1000},
        ],
    ),
    (
        "lockdown",
        "lockdown((address,address)[])",
        (((TOKEN, FRIEND),),),
        [{"asset": TOKEN, "amount": 0, "destination": FRIEND}],
    ),
    (
        "transferFrom",
        "transferFrom(address,address,uint160,address)",
        (STRANGER, FRIEND, 7, TOKEN),
        [{"asset": TOKEN, "amount": 7, "destination": FRIEND, "source": STRANGER}],
    ),
    (
        "transferFrom batch",
        "transferFrom((address,address,uint160,address)[])",
        (((STRANGER, FRIEND, 7, TOKEN), (ACCOUNT, SAFE, 8, ROUTER)),),
        [
            {"asset": TOKEN, "amount": 7, "destination": FRIEND, "source": STRANGER},
            {"asset": ROUTER, "amount": 8, "destination": SAFE},
        ],
    ),
    (
        "permitTransferFrom",
        f"permitTransferFrom({PERMITTED},(address,uint256),address,bytes)",
        (((TOKEN, 100), 0, TIME), (FRIEND, 7), STRANGER, b"signature"),
        [{"asset": TOKEN, "amount": 7, "destination": FRIEND, "source": STRANGER}],
    ),
    (
        "permitWitnessTransferFrom",
        f"permitWitnessTransferFrom({PERMITTED},(address,uint256),address,bytes32,string,bytes)",
        (((TOKEN, 100), 0, TIME), (FRIEND, 7), STRANGER, bytes(32), "Witness w)", b"signature"),
        [{"asset": TOKEN, "amount": 7, "destination": FRIEND, "source": STRANGER}],
    ),
    (
        "permitTransferFrom batch",
        f"permitTransferFrom({PERMITTED_BATCH},(address,uint256)[],address,bytes)",
        ((((TOKEN, 100), (ROUTER, 200)), 0, TIME), ((FRIEND, 7), (SAFE, 8)), STRANGER, b"signature"),
        [
            {"asset": TOKEN, "amount": 7, "destination": FRIEND, "source": STRANGER},
            {"asset": ROUTER, "amount": 8, "destination": SAFE, "source": STRANGER},
        ],
    ),
    (
        "permitWitnessTransferFrom batch",
        f"permitWitnessTransferFrom({PERMITTED_BATCH},(address,uint256)[],address,bytes32,string,bytes)",
        ((((TOKEN, 100),), 0, TIME), ((FRIEND, 7),), STRANGER, bytes(32), "W w)", b"signature"),
        [{"asset": TOKEN, "amount": 7, "destination": FRIEND, "source": STRANGER}],
    ),
]


@pytest.mark.parametrize(
    ("signature", "values", "facts"), [row[1:] for row in PERMIT2_CALLS], ids=[row[0] for row in PERMIT2_CALLS]
)
def test_permit2(signature: str, values: tuple[Any, ...], facts: list[dict[str, Any]]) -> None:
    """Permit2's functions state every token of their lists, at its one address; elsewhere they are an unknown call."""
    data = calldata(signature, *values)
    operation = MOVE if "ransfer" in signature else ALLOW
    expected = tuple(effect(operation, PERMIT2, data, **each) for each in facts)
    assert called(PERMIT2, data) == (expected, Completeness.FULL)
    assert called(ROUTER, data) == ((effect(Operation.CALL, ROUTER, data),), Completeness.PARTIAL)


def test_lists_that_do_not_pair_are_opaque() -> None:
    """A batch by permit with more transfers than permissions reverts at Permit2: nothing is guessed of it."""
    data = calldata(
        f"permitTransferFrom({PERMITTED_BATCH},(address,uint256)[],address,bytes)",
        (((TOKEN, 100),), 0, TIME),
        ((FRIEND, 7), (SAFE, 8)),
        STRANGER,
        b"",
    )
    assert called(PERMIT2, data) == ((effect(Operation.OPAQUE, PERMIT2, data),), Completeness.OPAQUE)
