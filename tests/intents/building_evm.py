"""EVM payloads, calldata and their signer for the tests."""

from collections.abc import Iterator
from typing import Any

import coincurve
from eth_account import Account

from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Completeness, Effect, Intent, Operation, Payload, PayloadKind, Signer, Stamp
from keyvault.core.keys import KeyAlgorithm
from keyvault.intents import abi, evm, rlp
from keyvault.intents.calls import effects_of_call
from tests.intents.building import SECRET, dynamic_fee, transaction

SIGNER = Signer(
    algorithm=KeyAlgorithm.SECP256K1,
    public_key=coincurve.PrivateKey(SECRET).public_key.format(compressed=False),
    stamp=Stamp(at=UnixMillis(0), nonce=0),
)
OTHER_SIGNER = Signer(algorithm=KeyAlgorithm.ED25519, public_key=bytes(32), stamp=SIGNER.stamp)
ACCOUNT: str = Account.from_key(SECRET).address.lower()
TOKEN = "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48"
FRIEND = "0x" + "f1" * 20
STRANGER = "0x" + "bd" * 20
SAFE = "0x" + "5a" * 20
ZERO = "0x" + "00" * 20
MULTISEND = "0x38869bf66a61cf6bdb996a6ae40d5853fd43b526"
CALL_ONLY = "0x40a2accbd92bca938b02010e17a5b8929b49130d"
EXEC_TRANSACTION = "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)"

_NOTHING = (ZERO, 0, b"", 0, 0, 0, 0, ZERO, ZERO, b"")


def calldata(signature: str, *values: Any) -> bytes:  # noqa: ANN401 - any ABI value
    """Return a call in canonical encoding."""
    return abi.function(signature).encode(values)


def calling(to: str, data: bytes = b"", value: int = 0, **changes: rlp.Item) -> bytes:
    """Return an EIP-1559 transaction of 21,000 gas at 30 gwei, chain 1, nonce 9."""
    return dynamic_fee(to=bytes.fromhex(to[2:]), value=rlp.integer(value), data=data, **changes)


def parsed(data: bytes) -> Intent:
    """Return the intent of a transaction of ACCOUNT."""
    return evm.parse(transaction(data), SIGNER)


def called(to: str, data: bytes, value: int = 0, chain_id: int | None = 1) -> tuple[tuple[Effect, ...], Completeness]:
    """Return what ACCOUNT's call does."""
    return effects_of_call(chain_id=chain_id, source=ACCOUNT, to=to, value=value, data=data, via=None, depth=0)


def effect_of(to: str, data: bytes) -> Effect:
    """Return the one effect of ACCOUNT's call."""
    (effect,) = called(to, data)[0]
    return effect


def effect(operation: Operation, contract: str, data: bytes, **facts: Any) -> Effect:  # noqa: ANN401 - any fact
    """Return an effect of ACCOUNT's call of ``contract`` on chain 1; the destination is the contract by default."""
    known: dict[str, Any] = {
        "chain_id": 1,
        "source": ACCOUNT,
        "contract": contract,
        "destination": contract,
        "selector": "0x" + data[:4].hex(),
        "amount": 0 if operation is Operation.CALL else None,
    }
    return Effect(operation=operation, **{**known, **facts})


def execution(to: str, data: bytes = b"", operation: int = 0, value: int = 0, **refund: Any) -> bytes:  # noqa: ANN401 any
    """Return execTransaction; ``refund`` are safe_tx_gas, base_gas, gas_price, gas_token, refund_receiver."""
    fields = {
        "safe_tx_gas": 0,
        "base_gas": 0,
        "gas_price": 0,
        "gas_token": ZERO,
        "refund_receiver": ZERO,
        **refund,
    }
    return calldata(EXEC_TRANSACTION, to, value, data, operation, *fields.values(), bytes(65))


def executing(contract: str = SAFE, **facts: Any) -> Effect:  # noqa: ANN401 - any fact
    """Return the CALL of execTransaction of a contract that may be a Safe."""
    return effect(Operation.CALL, contract, calldata(EXEC_TRANSACTION, *_NOTHING), **facts)


def batch(*entries: tuple[int, str, int, bytes]) -> bytes:
    """Return multiSend of (operation, to, value, data)."""
    packed = (
        bytes((operation,)) + bytes.fromhex(to[2:]) + value.to_bytes(32, "big") + len(data).to_bytes(32, "big") + data
        for operation, to, value, data in entries
    )
    return calldata("multiSend(bytes)", b"".join(packed))


def message(data: bytes) -> Payload:
    """Return a personal message."""
    return Payload(kind=PayloadKind.EVM_MESSAGE, parts=(data,))


def authorization(chain: int, address: str, nonce: int) -> Payload:
    """Return an EIP-7702 authorization to be signed."""
    items = (rlp.integer(chain), bytes.fromhex(address[2:]), rlp.integer(nonce))
    return Payload(kind=PayloadKind.EVM_AUTHORIZATION, parts=(b"\x05" + rlp.encode(items),))


def mutations(data: bytes) -> Iterator[bytes]:
    """Yield ``data`` with each byte changed, left out, doubled, and cut off there."""
    for place in range(len(data)):
        yield data[:place] + bytes((data[place] ^ 1,)) + data[place + 1 :]
        yield data[:place] + bytes((data[place] ^ 0x80,)) + data[place + 1 :]
        yield data[:place] + data[place + 1 :]
        yield data[:place] + data[place : place + 1] + data[place:]
        yield data[:place]


TRANSFER = calldata("transfer(address,uint256)", FRIEND, 5_000_000)
APPROVE = calldata("approve(address,uint256)", STRANGER, 2**256 - 1)
