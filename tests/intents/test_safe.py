"""Safe transactions: Bybit, MultiSend of every version, governance, refunds; safe-eth-py as oracle."""

import random
from typing import Any

import pytest
from hexbytes import HexBytes
from safe_eth.safe.multi_send import MultiSend, MultiSendOperation, MultiSendTx

from keyvault.core.intent import Completeness, Effect, Operation
from keyvault.intents.safe import SafeTransaction, effects_of_safe_transaction
from tests.intents.building_evm import (
    ACCOUNT,
    CALL_ONLY,
    FRIEND,
    MULTISEND,
    SAFE,
    STRANGER,
    TOKEN,
    TRANSFER,
    ZERO,
    batch,
    calldata,
    called,
    calling,
    effect,
    executing,
    execution,
    mutations,
    parsed,
)

MOVE, RULE = Operation.TRANSFER, Operation.ADMIN
VIA = f"safe {SAFE}"
BATCHED = f"{VIA} > multisend"
BYBIT = "0x1db92e2eebc8e0c075a02bea49a2935bcd2dfcf4"
LIBRARY = "0x96221423681a6d52e184d440a8efcebb105c7242"
MULTISEND_1_1_1 = "0x8d29be29923b68abfdd21e541b9374737b49cdad"
MULTISEND_1_5_0 = "0x218543288004cd07832472d464648173c77d7eb7"
CALL_ONLY_1_5_0 = "0xa83c336b20401af773b6219ba5027174338d1836"
BOTH = [
    MULTISEND_1_1_1,
    "0xa238cbeb142c10ef7ad8442c6d1f9e89e07e7761",
    "0x998739bfdaadde7c933b942a68053933098f9eda",
    MULTISEND,
    MULTISEND_1_5_0,
]
ONLY = [
    CALL_ONLY,
    "0xa1dabef33b3b82c7814b6d82a79e50f4ac44102b",
    "0x9641d764fc13c8b624c04430c7356c1c7c8102e2",
    CALL_ONLY_1_5_0,
]
MOVED = effect(MOVE, TOKEN, TRANSFER, source=SAFE, asset=TOKEN, amount=5_000_000, destination=FRIEND, via=VIA)
MOVED_IN_BATCH = effect(
    MOVE, TOKEN, TRANSFER, source=SAFE, asset=TOKEN, amount=5_000_000, destination=FRIEND, via=BATCHED
)


def transaction(**changes: Any) -> SafeTransaction:  # noqa: ANN401 - any field
    """Return a SafeTx that sends a token, with some fields changed."""
    fields: dict[str, Any] = {
        "to": TOKEN,
        "value": 0,
        "data": TRANSFER,
        "operation": 0,
        "safe_tx_gas": 0,
        "base_gas": 0,
        "gas_price": 0,
        "gas_token": ZERO,
        "refund_receiver": ZERO,
        "nonce": 71,
    }
    return SafeTransaction(**{**fields, **changes})


def signed(
    chain_id: int | None = 1,
    safe: str = SAFE,
    via: str | None = None,
    depth: int = 0,
    **changes: Any,  # noqa: ANN401 - any field
) -> tuple[tuple[Effect, ...], Completeness]:
    """Return what a signed SafeTx does."""
    return effects_of_safe_transaction(transaction(**changes), chain_id=chain_id, safe=safe, via=via, depth=depth)


BYBIT_DATA = bytes.fromhex("a9059cbb" + "00" * 12 + "bdd077f651ebe7f7b3ce16fe5f2b025be2969516" + "00" * 32)


def test_a01_bybit() -> None:
    """A01: the transaction that emptied Bybit's Safe is a delegatecall to an unknown library, not a token transfer."""
    facts: dict[str, Any] = {"to": LIBRARY, "data": BYBIT_DATA, "operation": 1, "safe_tx_gas": 45_746}
    expected = Effect(
        operation=Operation.DELEGATE,
        destination=LIBRARY,
        selector="0xa9059cbb",
        source=BYBIT,
        contract=LIBRARY,
        via=f"safe {BYBIT}",
    )
    assert signed(chain_id=None, safe=BYBIT, **facts) == ((expected,), Completeness.PARTIAL)


def test_a01_bybit_inside_a_transaction() -> None:
    """A01: wrapped into execTransaction and sent by an owner, it is still a delegatecall, on its chain."""
    data = execution(LIBRARY, BYBIT_DATA, operation=1, safe_tx_gas=45_746)
    intent = parsed(calling(BYBIT, data))
    facts = {"source": BYBIT, "via": f"safe {BYBIT}", "fee_max": 21_000 * 30 * 10**9}
    delegated = effect(Operation.DELEGATE, LIBRARY, BYBIT_DATA, **(facts | {"fee_max": 0}))
    assert intent.effects == (executing(BYBIT, fee_max=facts["fee_max"]), delegated)
    assert intent.completeness is Completeness.PARTIAL


def test_a_call_of_a_safe_has_the_safe_as_source() -> None:
    """Operation 0 is the inner call, made by the Safe; signed and executed alike."""
    assert signed() == ((MOVED,), Completeness.FULL)
    assert called(SAFE, execution(TOKEN, TRANSFER)) == ((executing(), MOVED), Completeness.PARTIAL)


def test_a_contract_that_executes_need_be_no_safe() -> None:
    """A stranger's contract does with execTransaction what it likes: the call of it is stated, and nothing is FULL."""
    effects, complete = called(STRANGER, execution(TOKEN, TRANSFER))
    assert effects[0] == executing(STRANGER)
    assert [each.operation for each in effects] == [Operation.CALL, MOVE]
    assert complete is Completeness.PARTIAL


def test_coin_of_a_safe() -> None:
    """Value without calldata is the Safe's coin; value sent into execTransaction is the sender's."""
    out = Effect(operation=MOVE, chain_id=1, destination=FRIEND, amount=5, source=SAFE, via=VIA)
    into = Effect(operation=MOVE, chain_id=1, destination=SAFE, amount=2, source=ACCOUNT, contract=SAFE)
    assert signed(to=FRIEND, value=5, data=b"") == ((out,), Completeness.FULL)
    assert called(SAFE, execution(FRIEND, value=5), 2) == ((into, executing(), out), Completeness.PARTIAL)


def test_a_safe_inside_a_safe() -> None:
    """A Safe that owns another one executes it: the path says both, and the innermost Safe is the source."""
    owner = "0x" + "0a" * 20
    effects, _ = signed(safe=owner, to=SAFE, data=execution(TOKEN, TRANSFER), via="typed", depth=1)
    assert [(each.operation, each.source, each.via) for each in effects] == [
        (Operation.CALL, owner, f"typed > safe {owner}"),
        (MOVE, SAFE, f"typed > safe {owner} > {VIA}"),
    ]


@pytest.mark.parametrize(("token", "receiver"), [(ZERO, STRANGER), (TOKEN, STRANGER), (ZERO, ZERO), (TOKEN, ZERO)])
def test_refunds_are_transfers_of_an_unknown_amount(token: str, receiver: str) -> None:
    """A gas price above zero pays the receiver, or an unknown sender, what nobody knows before."""
    refund = Effect(
        operation=MOVE,
        chain_id=1,
        destination=None if receiver == ZERO else receiver,
        asset=None if token == ZERO else token,
        source=SAFE,
        contract=None if token == ZERO else token,
        via=VIA,
    )
    facts: dict[str, Any] = {"gas_price": 1, "gas_token": token, "refund_receiver": receiver}
    assert signed(**facts) == ((MOVED, refund), Completeness.PARTIAL)
    assert called(SAFE, execution(TOKEN, TRANSFER, **facts)) == ((executing(), MOVED, refund), Completeness.PARTIAL)
    assert signed(**{**facts, "gas_price": 0, "base_gas": 9, "safe_tx_gas": 9}) == ((MOVED,), Completeness.FULL)


def test_operations_beyond_delegatecall() -> None:
    """Operation 2 created contracts in old Safes; higher numbers are OPAQUE."""
    create = Effect(operation=Operation.CREATE, chain_id=1, source=SAFE, via=VIA)
    assert signed(operation=2) == ((create,), Completeness.PARTIAL)
    opaque = effect(Operation.OPAQUE, TOKEN, TRANSFER, source=SAFE, via=VIA)
    assert signed(operation=3) == ((opaque,), Completeness.OPAQUE)


@pytest.mark.parametrize("library", BOTH + ONLY)
def test_multisend_is_read(library: str) -> None:
    """A batch through any deployed MultiSend is its calls, made by the Safe."""
    effects, complete = signed(to=library, operation=1, data=batch((0, TOKEN, 0, TRANSFER), (0, FRIEND, 3, b"")))
    coin = Effect(operation=MOVE, chain_id=1, destination=FRIEND, amount=3, source=SAFE, via=BATCHED)
    assert (effects, complete) == ((MOVED_IN_BATCH, coin), Completeness.FULL)


@pytest.mark.parametrize("library", BOTH)
def test_delegatecalls_in_a_batch_show(library: str) -> None:
    """A delegatecall inside a batch is DELEGATE beside the harmless calls; one to a MultiSend is read in turn."""
    inner = batch((0, TOKEN, 0, TRANSFER))
    data = batch((0, TOKEN, 0, TRANSFER), (1, LIBRARY, 0, BYBIT_DATA), (1, MULTISEND, 0, inner))
    twice = f"{BATCHED} > multisend"
    delegate = effect(Operation.DELEGATE, LIBRARY, BYBIT_DATA, source=SAFE, via=BATCHED)
    moved = effect(MOVE, TOKEN, TRANSFER, source=SAFE, asset=TOKEN, amount=5_000_000, destination=FRIEND, via=twice)
    assert signed(to=library, operation=1, data=data) == ((MOVED_IN_BATCH, delegate, moved), Completeness.PARTIAL)


@pytest.mark.parametrize("library", ONLY)
def test_call_only_refuses_delegatecalls(library: str) -> None:
    """MultiSendCallOnly reverts at a delegatecall: the batch is OPAQUE."""
    data = batch((0, TOKEN, 0, TRANSFER), (1, LIBRARY, 0, BYBIT_DATA))
    opaque = effect(Operation.OPAQUE, library, data, source=SAFE, via=VIA)
    assert signed(to=library, operation=1, data=data) == ((opaque,), Completeness.OPAQUE)


@pytest.mark.parametrize("library", BOTH + ONLY)
def test_zero_is_the_safe_itself_since_1_5(library: str) -> None:
    """In MultiSend 1.5.0 the zero address is the Safe: an owner added there is added to the Safe."""
    data = calldata("addOwnerWithThreshold(address,uint256)", STRANGER, 1)
    effects, _ = signed(to=library, operation=1, data=batch((0, ZERO, 0, data)))
    itself = SAFE if library in (MULTISEND_1_5_0, CALL_ONLY_1_5_0) else ZERO
    facts = {"source": SAFE, "via": BATCHED}
    assert effects == (
        effect(Operation.KEY_GRANT, itself, data, destination=STRANGER, **facts),
        effect(RULE, itself, data, **facts),
    )


def test_what_is_no_known_multisend_is_a_delegatecall() -> None:
    """Another library, another function, value, an empty batch, or 1.1.1 on a chain where it is not: DELEGATE."""
    data = batch((0, TOKEN, 0, TRANSFER))
    cases: list[dict[str, Any]] = [
        {"to": LIBRARY, "data": data},
        {"to": MULTISEND, "data": TRANSFER},
        {"to": MULTISEND, "data": data, "value": 1},
        {"to": MULTISEND, "data": batch()},
        {"to": MULTISEND_1_1_1, "data": data, "chain_id": 8453},
    ]
    for case in cases:
        chain = case.get("chain_id", 1)
        delegate = effect(Operation.DELEGATE, case["to"], case["data"], source=SAFE, via=VIA, chain_id=chain)
        assert signed(operation=1, **case) == ((delegate,), Completeness.PARTIAL), case
    assert signed(operation=1, to=MULTISEND_1_1_1, data=data, chain_id=None)[0][0].operation is MOVE


def test_multisend_1_1_1_is_known_on_its_chains_only() -> None:
    """It was deployed by an account, so it is trusted only where safe-deployments has it."""
    data = batch((0, TOKEN, 0, TRANSFER))
    chains = {1, 4, 5, 42, 88, 100, 246, 369, 73_799}
    for chain in {0, *(near for each in chains for near in (each - 1, each, each + 1)), 10, 137, 73_798}:
        read = signed(operation=1, to=MULTISEND_1_1_1, data=data, chain_id=chain)[0][0].operation
        assert read is (MOVE if chain in chains else Operation.DELEGATE), chain


def test_a_batch_that_is_called_is_not_run_by_the_safe() -> None:
    """Operation 0 to MultiSend, or a transaction to it, is an unknown call: the Safe is not its sender."""
    data = batch((0, TOKEN, 0, TRANSFER))
    assert signed(to=CALL_ONLY, data=data)[0] == (effect(Operation.CALL, CALL_ONLY, data, source=SAFE, via=VIA),)
    assert called(CALL_ONLY, data)[0] == (effect(Operation.CALL, CALL_ONLY, data),)


def test_packed_encoding_is_strict() -> None:
    """Every change of a batch is OPAQUE, or gives exactly the entries that safe-eth-py reads from it."""
    entries = ((0, TOKEN, 0, TRANSFER), (1, LIBRARY, 7, b"abcde"))
    packed = batch(*entries)[68 : 68 + 2 * 85 + len(TRANSFER) + 5]
    accepted = 0
    for changed in mutations(packed):
        data = calldata("multiSend(bytes)", changed)
        effects, complete = signed(to=MULTISEND, operation=1, data=data)
        if complete is Completeness.OPAQUE and effects[0].contract == MULTISEND:
            continue
        accepted += 1
        read = MultiSend.from_transaction_data(data)
        assert b"".join(bytes(each.encoded_data) for each in read) == changed
        assert [each.to.lower() for each in read if each.operation.value] == [
            each.destination for each in effects if each.operation is Operation.DELEGATE and each.via == BATCHED
        ]
    assert accepted > 20


def test_batches_agree_with_safe_eth_py() -> None:
    """Random batches that safe-eth-py encodes are read as what went into them."""
    rng = random.Random(71)  # noqa: S311 - a fixed seed for a test
    for _ in range(500):
        entries = [
            (rng.randrange(2), "0x" + rng.randbytes(20).hex(), rng.getrandbits(90), rng.randbytes(rng.randrange(70)))
            for _ in range(rng.randint(1, 8))
        ]
        encoded = b"".join(
            bytes(MultiSendTx(MultiSendOperation(kind), HexBytes(to).to_0x_hex(), value, data).encoded_data)  # type: ignore[arg-type]  # any hex is taken
            for kind, to, value, data in entries
        )
        assert batch(*entries) == calldata("multiSend(bytes)", encoded)
        effects, _ = signed(to=MULTISEND, operation=1, data=batch(*entries))
        stated = [(each.destination, each.amount) for each in effects if each.operation is MOVE]
        assert stated == [(to, value) for kind, to, value, data in entries if not kind and (value or not data)]
        delegated = [each.destination for each in effects if each.operation is Operation.DELEGATE]
        assert delegated == [to for kind, to, _, _ in entries if kind]
