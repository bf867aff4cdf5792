"""Who rules a Safe: owners, thresholds, modules, guards; and approvals of what is not in the bytes."""

from typing import Any

import pytest

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.intent import Completeness, Effect, Operation
from keyvault.intents import keccak256
from keyvault.intents.evm_message import parse
from tests.intents.building_evm import (
    FRIEND,
    MULTISEND,
    SAFE,
    SIGNER,
    STRANGER,
    TOKEN,
    TRANSFER,
    ZERO,
    batch,
    calldata,
    called,
    effect,
    executing,
    execution,
    message,
    mutations,
)

GRANT, RULE = Operation.KEY_GRANT, Operation.ADMIN
PREVIOUS = "0x" + "00" * 19 + "01"

GOVERNANCE: list[tuple[str, tuple[Any, ...], list[tuple[Operation, str]]]] = [
    ("addOwnerWithThreshold(address,uint256)", (STRANGER, 1), [(GRANT, STRANGER), (RULE, SAFE)]),
    ("removeOwner(address,address,uint256)", (PREVIOUS, FRIEND, 1), [(RULE, SAFE)]),
    ("swapOwner(address,address,address)", (PREVIOUS, FRIEND, STRANGER), [(GRANT, STRANGER)]),
    ("changeThreshold(uint256)", (1,), [(RULE, SAFE)]),
    ("enableModule(address)", (STRANGER,), [(RULE, STRANGER)]),
    ("disableModule(address,address)", (PREVIOUS, FRIEND), [(RULE, SAFE)]),
    ("setGuard(address)", (ZERO,), [(RULE, ZERO)]),
    ("setModuleGuard(address)", (STRANGER,), [(RULE, STRANGER)]),
    ("setFallbackHandler(address)", (STRANGER,), [(RULE, STRANGER)]),
    ("changeMasterCopy(address)", (STRANGER,), [(RULE, STRANGER)]),
]


@pytest.mark.parametrize(("signature", "values", "stated"), GOVERNANCE)
def test_a05_governance(signature: str, values: tuple[Any, ...], stated: list[tuple[Operation, str]]) -> None:
    """A05: a Safe's call of itself that changes its rule is KEY_GRANT or ADMIN, alone and inside a batch."""
    data = calldata(signature, *values)
    alone = tuple(
        effect(operation, SAFE, data, source=SAFE, destination=to, via=f"safe {SAFE}") for operation, to in stated
    )
    assert called(SAFE, execution(SAFE, data)) == ((executing(), *alone), Completeness.PARTIAL)
    hidden = execution(MULTISEND, batch((0, TOKEN, 0, TRANSFER), (0, SAFE, 0, data)), operation=1)
    effects, complete = called(SAFE, hidden)
    assert [(each.operation, each.destination) for each in effects[2:]] == stated
    assert complete is Completeness.PARTIAL


def test_setup_states_owners_code_and_payment() -> None:
    """A new Safe's owners, its fallback handler, the code that it runs and what it pays are effects of their own."""
    signature = "setup(address[],uint256,address,bytes,address,address,uint256,address)"
    data = calldata(signature, (FRIEND, STRANGER), 2, MULTISEND, b"init", STRANGER, ZERO, 5, FRIEND)
    facts: dict[str, Any] = {"source": SAFE, "via": f"safe {SAFE}"}
    paid = Effect(operation=Operation.TRANSFER, chain_id=1, destination=FRIEND, amount=5, **facts)
    assert called(SAFE, data) == (
        (
            effect(RULE, SAFE, data, destination=STRANGER),
            effect(GRANT, SAFE, data, destination=FRIEND),
            effect(GRANT, SAFE, data, destination=STRANGER),
            effect(Operation.DELEGATE, MULTISEND, b"init", **facts),
            paid,
        ),
        Completeness.PARTIAL,
    )


def test_setup_before_1_1() -> None:
    """The oldest Safes have no fallback handler; without code and payment there are only rule and owners."""
    data = calldata(
        "setup(address[],uint256,address,bytes,address,uint256,address)", (FRIEND,), 1, ZERO, b"", ZERO, 0, ZERO
    )
    expected = (effect(RULE, SAFE, data), effect(GRANT, SAFE, data, destination=FRIEND))
    assert called(SAFE, data) == (expected, Completeness.PARTIAL)


def test_approve_hash_is_opaque() -> None:
    """An approval of a hash is an approval of a transaction that nobody can see."""
    data = calldata("approveHash(bytes32)", b"\xb3" * 32)
    assert called(SAFE, data) == ((effect(Operation.OPAQUE, SAFE, data),), Completeness.OPAQUE)


def word(value: int | str) -> bytes:
    return value.to_bytes(32, "big") if isinstance(value, int) else bytes.fromhex(value[2:]).rjust(32, b"\0")


def test_a02_bybit_as_it_was_signed() -> None:
    """A02: Bybit's owners signed the hash of the SafeTx as a personal message; such 32 bytes are OPAQUE."""
    safe = "0x1db92e2eebc8e0c075a02bea49a2935bcd2dfcf4"
    data = bytes.fromhex("a9059cbb" + "00" * 12 + "bdd077f651ebe7f7b3ce16fe5f2b025be2969516" + "00" * 32)
    members = (
        "SafeTx(address to,uint256 value,bytes data,uint8 operation,uint256 safeTxGas,uint256 baseGas,"
        "uint256 gasPrice,address gasToken,address refundReceiver,uint256 nonce)"
    )
    values = ("0x96221423681a6d52e184d440a8efcebb105c7242", 0, data, 1, 45_746, 0, 0, ZERO, ZERO, 71)
    words = (keccak256(value) if isinstance(value, bytes) else word(value) for value in values)
    domain = keccak256(keccak256(b"EIP712Domain(address verifyingContract)") + word(safe))
    digest = keccak256(b"\x19\x01" + domain + keccak256(keccak256(members.encode()) + b"".join(words)))
    assert (digest.hex()[:8], digest.hex()[-4:]) == ("b3476d06", "04f8")
    intent = parse(message(digest), SIGNER)
    assert [each.operation for each in intent.effects] == [Operation.OPAQUE]
    assert intent.completeness is Completeness.OPAQUE
    assert intent.signing_input == keccak256(b"\x19Ethereum Signed Message:\n32" + digest)


def test_batches_are_bounded() -> None:
    """A batch of as many calls as the limit is read, one more is Malformed, also beside a refund."""
    most = batch(*((0, TOKEN, 0, TRANSFER),) * (limits.EFFECTS_MAX - 1))  # the call of the Safe is an effect, too
    assert len(called(SAFE, execution(MULTISEND, most, operation=1))[0]) == limits.EFFECTS_MAX
    with pytest.raises(Malformed, match="has more than 64 effects"):
        called(SAFE, execution(MULTISEND, most, operation=1, gas_price=1))
    more = batch(*((0, TOKEN, 0, TRANSFER),) * limits.EFFECTS_MAX)
    with pytest.raises(Malformed, match="has more than 64 effects"):
        called(SAFE, execution(MULTISEND, more, operation=1))


def test_depth_counts_safes_and_batches() -> None:
    """Safes within Safes and batches within batches are bounded by the same depth."""
    data = TRANSFER
    for _ in range(limits.CALL_DEPTH_MAX):
        data = execution(SAFE, data)
    assert called(SAFE, data)[0][-1].amount == 5_000_000
    data = execution(SAFE, data)
    with pytest.raises(Malformed, match="nested deeper than 8"):
        called(SAFE, data)
    inner = batch((0, TOKEN, 0, TRANSFER))
    for _ in range(limits.CALL_DEPTH_MAX):
        inner = batch((1, MULTISEND, 0, inner))
    with pytest.raises(Malformed, match="nested deeper than 8"):
        called(SAFE, execution(MULTISEND, inner, operation=1))


def test_no_change_of_a_batch_loses_its_effects() -> None:
    """Every changed execTransaction gives effects, at least one, or Malformed; the unreadable is OPAQUE."""
    data = execution(MULTISEND, batch((0, TOKEN, 0, TRANSFER), (1, STRANGER, 0, b"abcd")), operation=1, gas_price=1)
    unread = 0
    for changed in filter(None, mutations(data)):
        try:
            effects, complete = called(SAFE, changed)
        except Malformed:
            continue
        assert effects
        assert complete is not Completeness.FULL
        unread += complete is Completeness.OPAQUE
    assert unread > 1_000
