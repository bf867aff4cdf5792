"""What calls of tokens and of rulers do: every function with its whole effects."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.intent import Completeness, Effect, Operation
from keyvault.intents import abi, calls
from keyvault.intents.call import UNLIMITED
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
    calling,
    effect,
    effect_of,
    mutations,
    parsed,
)

HALF = bytes(32)
SIGNED = (27, HALF, HALF)
MOVE, ALLOW, RULE = Operation.TRANSFER, Operation.ALLOWANCE, Operation.ADMIN
WETH = "0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2"

SELECTORS = re.findall(
    r"[0-9a-f]{8}",
    """
a9059cbb 23b872dd 095ea7b3 39509351 a457c2d7 d505accf 9fd5a6cf 8fcbaf0c e3ee160e cf092995 ef55bec6 88b7ab63 42842e0e
b88d4fde f242432a 2eb2c2d6 a22cb465 2e1a7d4d d0e30db0 87517c45 2b67b570 2a2d80d1 36c78516 0d58b1db 30f28b7a edd9444b
137c29fe fe8ec1a7 cc53287f ac9650d8 5ae401dc 1f0464d1 252dba42 bce38bd7 c3077fa9 399542e9 82ad56cb 174dea71 6a761202
d4d9bdcd b63e800d a97ab18a 0d582f13 f8dc5dd9 e318b52b 694e80c3 610b5925 e009cfde e19a9dd9 e068df37 f08a0323 7de7edef
3659cfe6 4f1ef286 8f283970 99a88ec4 9623609d 7eff275e f2fde38b 715018a6 79ba5097 13af4035 704b6c02 2f2ff15d d547741f
36568abe
""",
)


def test_selectors_are_the_well_known_ones() -> None:
    """The signatures that are written in the code hash to the selectors that block explorers show."""
    assert {selector.hex() for selector in calls._FUNCTIONS} == set(SELECTORS)


TOKENS: list[tuple[str, str, tuple[Any, ...], Operation, dict[str, Any]]] = [
    ("transfer", "transfer(address,uint256)", (FRIEND, 7), MOVE, {"amount": 7, "destination": FRIEND}),
    (
        "transferFrom",
        "transferFrom(address,address,uint256)",
        (STRANGER, FRIEND, 7),
        MOVE,
        {"amount": 7, "destination": FRIEND, "source": STRANGER},
    ),
    ("approve", "approve(address,uint256)", (FRIEND, 7), ALLOW, {"amount": 7, "destination": FRIEND}),
    ("increaseAllowance", "increaseAllowance(address,uint256)", (FRIEND, 7), ALLOW, {"destination": FRIEND}),
    ("decreaseAllowance", "decreaseAllowance(address,uint256)", (FRIEND, 7), ALLOW, {"destination": FRIEND}),
    (
        "permit",
        "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)",
        (STRANGER, FRIEND, 7, 99, *SIGNED),
        ALLOW,
        {"amount": 7, "destination": FRIEND, "source": STRANGER},
    ),
    (
        "permit of a contract",
        "permit(address,address,uint256,uint256,bytes)",
        (STRANGER, FRIEND, 7, 99, b"signature"),
        ALLOW,
        {"amount": 7, "destination": FRIEND, "source": STRANGER},
    ),
    (
        "permit of DAI",
        "permit(address,address,uint256,uint256,bool,uint8,bytes32,bytes32)",
        (STRANGER, FRIEND, 0, 99, True, *SIGNED),
        ALLOW,
        {"amount": UNLIMITED, "destination": FRIEND, "source": STRANGER},
    ),
    (
        "permit of DAI, taken back",
        "permit(address,address,uint256,uint256,bool,uint8,bytes32,bytes32)",
        (STRANGER, FRIEND, 0, 99, False, *SIGNED),
        ALLOW,
        {"amount": 0, "destination": FRIEND, "source": STRANGER},
    ),
    (
        "EIP-3009",
        "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)",
        (STRANGER, FRIEND, 7, 0, 99, HALF, *SIGNED),
        MOVE,
        {"amount": 7, "destination": FRIEND, "source": STRANGER},
    ),
    (
        "ERC-721",
        "safeTransferFrom(address,address,uint256)",
        (ACCOUNT, FRIEND, 77),
        MOVE,
        {"asset": f"{TOKEN}/77", "amount": 1, "destination": FRIEND},
    ),
    (
        "ERC-721 with data",
        "safeTransferFrom(address,address,uint256,bytes)",
        (ACCOUNT, FRIEND, 77, b"data"),
        MOVE,
        {"asset": f"{TOKEN}/77", "amount": 1, "destination": FRIEND},
    ),
    (
        "ERC-1155",
        "safeTransferFrom(address,address,uint256,uint256,bytes)",
        (STRANGER, FRIEND, 77, 5, b""),
        MOVE,
        {"asset": f"{TOKEN}/77", "amount": 5, "destination": FRIEND, "source": STRANGER},
    ),
    (
        "collection",
        "setApprovalForAll(address,bool)",
        (FRIEND, True),
        ALLOW,
        {"amount": UNLIMITED, "destination": FRIEND},
    ),
    (
        "collection, taken back",
        "setApprovalForAll(address,bool)",
        (FRIEND, False),
        ALLOW,
        {"amount": 0, "destination": FRIEND},
    ),
]


@pytest.mark.parametrize(
    ("signature", "values", "operation", "facts"), [row[1:] for row in TOKENS], ids=[row[0] for row in TOKENS]
)
def test_tokens(signature: str, values: tuple[Any, ...], operation: Operation, facts: dict[str, Any]) -> None:
    """Each function of a token states who may get how much of what, and whose it is; unknown amounts are partial."""
    data = calldata(signature, *values)
    complete = Completeness.FULL if "amount" in facts else Completeness.PARTIAL
    expected = effect(operation, TOKEN, data, **{"asset": TOKEN, **facts})
    assert called(TOKEN, data) == ((expected,), complete)


def test_batches_of_tokens_state_each() -> None:
    """An ERC-1155 batch is one transfer for each token; ids and amounts that do not pair are OPAQUE."""
    signature = "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)"
    data = calldata(signature, ACCOUNT, FRIEND, (1, 2), (10, 20), b"")
    expected = [
        effect(MOVE, TOKEN, data, asset=f"{TOKEN}/{token}", amount=amount, destination=FRIEND)
        for token, amount in ((1, 10), (2, 20))
    ]
    assert called(TOKEN, data) == (tuple(expected), Completeness.FULL)
    unpaired = calldata(signature, ACCOUNT, FRIEND, (1, 2), (10,), b"")
    assert called(TOKEN, unpaired) == ((effect(Operation.OPAQUE, TOKEN, unpaired),), Completeness.OPAQUE)
    nothing = calldata(signature, ACCOUNT, FRIEND, (), (), b"")
    assert called(TOKEN, nothing) == ((effect(Operation.CALL, TOKEN, nothing),), Completeness.PARTIAL)


def test_wrapping_is_known_where_it_is_unambiguous() -> None:
    """Coin put into WETH comes back as WETH, and goes back; at any other contract the functions are a CALL."""
    deposit, withdraw = calldata("deposit()"), calldata("withdraw(uint256)", 5)
    wrapped = effect(MOVE, WETH, deposit, amount=9, received_asset=WETH, received_min=9)
    assert called(WETH, deposit, 9) == ((wrapped,), Completeness.FULL)
    assert called(WETH, withdraw) == ((effect(MOVE, WETH, withdraw, asset=WETH, amount=5),), Completeness.FULL)
    coin = Effect(operation=MOVE, chain_id=1, destination=STRANGER, amount=9, source=ACCOUNT, contract=STRANGER)
    assert called(STRANGER, deposit, 9) == (
        (coin, effect(Operation.CALL, STRANGER, deposit)),
        Completeness.PARTIAL,
    )
    assert called(WETH, withdraw, chain_id=10)[0][0].operation is Operation.CALL


@pytest.mark.parametrize(
    ("chain", "wrapped"),
    [
        (1, WETH),
        (10, "0x4200000000000000000000000000000000000006"),
        (8453, "0x4200000000000000000000000000000000000006"),
        (42161, "0x82af49447d8a07e3bd95bd0d56f35241523fbab1"),
    ],
)
def test_each_wrapped_coin_is_known_on_its_chain(chain: int, wrapped: str) -> None:
    """Ethereum, Optimism, Base and Arbitrum have one contract each that wraps their coin; elsewhere it is any other."""
    withdraw = calldata("withdraw(uint256)", 5)
    assert called(wrapped, withdraw, chain_id=chain)[0][0].operation is MOVE
    for elsewhere in (chain - 1, chain + 1, 56):
        assert called(wrapped, withdraw, chain_id=elsewhere)[0][0].operation is Operation.CALL


@pytest.mark.parametrize(
    ("signature", "values", "destinations"),
    [
        ("transferOwnership(address)", (STRANGER,), (STRANGER,)),
        ("renounceOwnership()", (), (SAFE,)),
        ("acceptOwnership()", (), (SAFE,)),
        ("setOwner(address)", (STRANGER,), (STRANGER,)),
        ("setAdmin(address)", (STRANGER,), (STRANGER,)),
        ("grantRole(bytes32,address)", (HALF, STRANGER), (STRANGER,)),
        ("revokeRole(bytes32,address)", (HALF, STRANGER), (SAFE,)),
        ("renounceRole(bytes32,address)", (HALF, STRANGER), (SAFE,)),
        ("upgradeTo(address)", (STRANGER,), (STRANGER,)),
        ("upgradeToAndCall(address,bytes)", (STRANGER, b"init"), (STRANGER,)),
        ("changeAdmin(address)", (STRANGER,), (STRANGER,)),
        ("upgrade(address,address)", (TOKEN, STRANGER), (STRANGER, TOKEN)),
        ("upgradeAndCall(address,address,bytes)", (TOKEN, STRANGER, b""), (STRANGER, TOKEN)),
        ("changeProxyAdmin(address,address)", (TOKEN, STRANGER), (STRANGER, TOKEN)),
    ],
)
def test_ruling_a_contract_is_admin(signature: str, values: tuple[Any, ...], destinations: tuple[str, ...]) -> None:
    """Upgrades and changes of owners, roles and admins are ADMIN, to the new ruler or code."""
    data = calldata(signature, *values)
    expected = tuple(effect(RULE, SAFE, data, destination=each) for each in destinations)
    assert called(SAFE, data) == (expected, Completeness.PARTIAL)


def test_coin_with_a_call_is_an_effect_of_its_own() -> None:
    """Value sent along with calldata is a transfer to the contract, before what the function does."""
    coin = Effect(operation=MOVE, chain_id=1, destination=TOKEN, amount=3, source=ACCOUNT, contract=TOKEN)
    token = effect(MOVE, TOKEN, TRANSFER, asset=TOKEN, amount=5_000_000, destination=FRIEND)
    assert called(TOKEN, TRANSFER, 3) == ((coin, token), Completeness.FULL)


@pytest.mark.parametrize("data", [b"\xa9", b"\xa9\x05\x9c", b"abcd", b"abcd" + bytes(64)])
def test_unknown_functions_are_calls(data: bytes) -> None:
    """An unknown selector, or less than one, is a CALL that names contract and selector, and no more."""
    assert called(TOKEN, data) == ((effect(Operation.CALL, TOKEN, data),), Completeness.PARTIAL)


def test_without_a_chain_nothing_is_full() -> None:
    """Where the bytes bind no chain, the chain is unknown, and so the effect is partly known."""
    effects, complete = called(TOKEN, TRANSFER, chain_id=None)
    assert (effects[0].chain_id, complete) == (None, Completeness.PARTIAL)


@pytest.mark.parametrize("data", [TRANSFER, APPROVE])
def test_arguments_that_are_not_canonical_are_opaque(data: bytes) -> None:
    """A known function with cut, padded or superfluous arguments is OPAQUE: tokens read such bytes as they like."""
    for changed in (data[:-1], data + b"\0", data[:4] + b"\1" + data[5:], data[:4], data[:36]):
        assert called(TOKEN, changed) == ((effect(Operation.OPAQUE, TOKEN, changed),), Completeness.OPAQUE)


def test_mutations_never_move_more_than_they_say() -> None:
    """Every changed transfer is opaque, another call, or a transfer of exactly what its bytes say."""
    for changed in mutations(TRANSFER):
        (found,) = called(TOKEN, changed)[0] if changed else called(TOKEN, b"x")[0]
        if found.operation is MOVE:
            assert abi.function("transfer(address,uint256)").encode((found.destination, found.amount)) == changed
        else:
            assert (found.amount or 0, found.destination) == (0, TOKEN)


@given(st.sampled_from(SELECTORS), st.lists(st.one_of(st.integers(0, 400), st.integers(0, 2**256 - 1)), max_size=20))
def test_nothing_but_malformed_escapes(selector: str, words: list[int]) -> None:
    """Any selector with any words gives effects, at least one, or Malformed; nothing else."""
    data = bytes.fromhex(selector) + b"".join(number.to_bytes(32, "big") for number in words)
    for to in (TOKEN, WETH, "0x000000000022d473030f116ddee9f6b43ac78ba3", "0xca11bde05977b3631167028862be2a173976ca11"):
        try:
            effects, complete = called(to, data)
        except Malformed:
            continue
        assert effects
        assert (complete is Completeness.OPAQUE) == any(each.operation is Operation.OPAQUE for each in effects)


def test_an_unknown_call_moves_no_coin_itself() -> None:
    """Coin sent along is a transfer of its own, so the call says 0, and a rule for calls can cap what they move."""
    found = called(STRANGER, b"abcd", value=7)[0]
    assert [(each.operation, each.amount) for each in found] == [(MOVE, 7), (Operation.CALL, 0)]


def test_a19_unlimited_approval_shows() -> None:
    """A19: an approval of 2^256-1 says so, and to whom."""
    assert effect_of(TOKEN, APPROVE) == effect(
        ALLOW, TOKEN, APPROVE, asset=TOKEN, amount=2**256 - 1, destination=STRANGER
    )


def test_a07_radiant() -> None:
    """A07: transferOwnership of the pool's owner is ADMIN with the attacker as destination, at any contract."""
    data = calldata("transferOwnership(address)", STRANGER)
    intent = parsed(calling(SAFE, data))
    assert intent.effects == (effect(RULE, SAFE, data, destination=STRANGER, fee_max=21_000 * 30 * 10**9),)
    assert intent.completeness is Completeness.PARTIAL


def test_effects_are_bounded() -> None:
    """As many effects as the limit are stated, one more is Malformed."""
    signature = "multicall(bytes[])"
    most = calldata(signature, (TRANSFER,) * limits.EFFECTS_MAX)
    assert len(called(TOKEN, most)[0]) == limits.EFFECTS_MAX
    with pytest.raises(Malformed, match="has more than 64 effects"):
        called(TOKEN, calldata(signature, (TRANSFER,) * (limits.EFFECTS_MAX + 1)))
    with pytest.raises(Malformed, match="has more than 64 effects"):
        called(TOKEN, most, 1)
