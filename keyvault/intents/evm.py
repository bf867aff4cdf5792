"""Unsigned EVM transactions: legacy with EIP-155, and EIP-1559.

legacy    rlp([nonce, gasPrice, gas, to, value, data, chainId, 0, 0])
EIP-1559  0x02 || rlp([chainId, nonce, maxPriorityFeePerGas, maxFeePerGas, gas, to, value, data, accessList])

The bytes are decoded, the facts are read, the items are encoded again, and only if that gives the same bytes is
their Keccak-256 the digest to sign. Refused by name: transactions without chain id (replayable on every chain), every
other envelope type, and transactions that carry a signature already.
"""

from typing import Final

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.intent import Completeness, Effect, Intent, Operation, Output, Payload, Signer
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.intents import rlp
from keyvault.intents.keccak import keccak256
from keyvault.intents.signature import r_s_parity

FIELD: Final = "evm_transaction"

_ALGORITHMS = frozenset({KeyAlgorithm.SECP256K1})
_DYNAMIC_FEE = 0x02
_LIST_MIN = 0xC0
_ITEMS = 9
"""Items of an unsigned transaction, in both formats."""
_NONCE_MAX = 2**64 - 2
"""EIP-2681."""
_GAS_MAX = 2**64 - 1
_WORD_MAX = 2**256 - 1
_WORD_BYTES = 32
_ADDRESS_BYTES = 20
_SELECTOR_BYTES = 4
_LEGACY_WITHOUT_CHAIN = 6
_DYNAMIC_FEE_SIGNED = 12

_OTHER_ENVELOPES: dict[int, str] = {
    0x01: "EIP-2930 (type 1) is not supported: send EIP-1559 (type 2), which also takes an access list",
    0x03: "EIP-4844 (type 3, blobs) is not supported",
    0x04: "EIP-7702 (type 4, hands the account to code) is not supported",
    0x05: "0x05 starts an EIP-7702 authorization, which hands the account to code: it is not a transaction",
    0x19: "0x19 starts an EIP-191 message: it is not a transaction; send typed data as typed_data",
    0x30: "starts with the text '0': send the bytes of the transaction, not their hex text",
}


def parse(payload: Payload, signer: Signer) -> Intent:  # noqa: ARG001 (every decoder has the same form)
    """Return the intent of an unsigned transaction, or raise Malformed."""
    data = payload.parts[0]
    items = _decode(data)
    effect = _dynamic_fee(items) if data[0] == _DYNAMIC_FEE else _legacy(items)
    if _encode(data, items) != data:
        raise Malformed(FIELD, "is not the canonical encoding of what it says")
    return Intent(
        kind=payload.kind,
        algorithms=_ALGORITHMS,
        signing_input=keccak256(data),
        effects=(effect,),
        completeness=Completeness.FULL if effect.operation is Operation.TRANSFER else Completeness.PARTIAL,
    )


def assemble(payload: Payload, signer: Signer, signature: Signature) -> Output:  # noqa: ARG001 (as parse)
    """Return the signed transaction, ready for ``eth_sendRawTransaction``, and its hash."""
    data = payload.parts[0]
    items = _decode(data)
    r, s, parity = r_s_parity(signature)
    signed: tuple[rlp.Item, ...]
    if data[0] == _DYNAMIC_FEE:
        signed = (*items, rlp.integer(parity), rlp.integer(r), rlp.integer(s))
    else:
        # EIP-155. A chain id may have 256 bits, so v may have more.
        v = 35 + 2 * int.from_bytes(_bytes(items, 6, "chainId"), "big") + parity
        signed = (*items[:6], rlp.integer(v), rlp.integer(r), rlp.integer(s))
    raw = _encode(data, signed)
    return Output(raw=raw, transaction_hash=keccak256(raw))


def _decode(data: bytes) -> tuple[rlp.Item, ...]:
    """Return the items of either format, or raise Malformed for everything else."""
    if not data:
        raise Malformed(FIELD, "is empty")
    if data[0] == _DYNAMIC_FEE:
        return rlp.decode_list(data[1:], FIELD)
    if data[0] >= _LIST_MIN:
        return rlp.decode_list(data, FIELD)
    unknown = f"0x{data[0]:02x} starts no known transaction: send EIP-1559 (0x02) or legacy (an RLP list)"
    raise Malformed(FIELD, _OTHER_ENVELOPES.get(data[0], unknown))


def _encode(data: bytes, items: tuple[rlp.Item, ...]) -> bytes:
    """Return ``items`` in the envelope that ``data`` has."""
    return b"\x02" + rlp.encode(items) if data[0] == _DYNAMIC_FEE else rlp.encode(items)


def _legacy(items: tuple[rlp.Item, ...]) -> Effect:
    if len(items) == _LEGACY_WITHOUT_CHAIN:
        raise Malformed(FIELD, "has no chain id (EIP-155): its signature would be valid on every chain")
    if len(items) != _ITEMS:
        raise Malformed(FIELD, f"a legacy transaction has 9 items, this list has {len(items)}")
    if items[7] != b"" or items[8] != b"":
        raise Malformed(FIELD, "is signed already: send it with 0 in the places of r and s, and chainId in that of v")
    _integer(items, 0, "nonce", _NONCE_MAX)
    return _effect(
        chain_id=_chain_id(items, 6),
        fee=_integer(items, 1, "gasPrice"),
        gas=_integer(items, 2, "gas", _GAS_MAX),
        to=_to(items, 3),
        value=_integer(items, 4, "value"),
        data=_bytes(items, 5, "data"),
    )


def _dynamic_fee(items: tuple[rlp.Item, ...]) -> Effect:
    if len(items) == _DYNAMIC_FEE_SIGNED:
        raise Malformed(FIELD, "is signed already: send it without yParity, r and s")
    if len(items) != _ITEMS:
        raise Malformed(FIELD, f"an EIP-1559 transaction has 9 items, this list has {len(items)}")
    _integer(items, 1, "nonce", _NONCE_MAX)
    fee = _integer(items, 3, "maxFeePerGas")
    if _integer(items, 2, "maxPriorityFeePerGas") > fee:
        raise Malformed(f"{FIELD}.maxPriorityFeePerGas", "is higher than maxFeePerGas")
    _check_access_list(items[8])
    return _effect(
        chain_id=_chain_id(items, 0),
        fee=fee,
        gas=_integer(items, 4, "gas", _GAS_MAX),
        to=_to(items, 5),
        value=_integer(items, 6, "value"),
        data=_bytes(items, 7, "data"),
    )


def _effect(*, chain_id: int, gas: int, fee: int, to: bytes, value: int, data: bytes) -> Effect:
    """Return what a transaction does; ``fee`` is the highest price of one unit of gas, in wei."""
    fee_max = gas * fee
    if fee_max > _WORD_MAX:
        raise Malformed(f"{FIELD}.gas", "gas times its price does not fit into 256 bits")
    if not to:
        return Effect(operation=Operation.CREATE, chain_id=chain_id, amount=value, fee_max=fee_max)
    return Effect(
        operation=Operation.CALL if data else Operation.TRANSFER,
        chain_id=chain_id,
        destination="0x" + to.hex(),
        selector="0x" + data[:_SELECTOR_BYTES].hex() if data else None,
        amount=value,
        fee_max=fee_max,
    )


def _bytes(items: tuple[rlp.Item, ...], index: int, name: str) -> bytes:
    item = items[index]
    if isinstance(item, bytes):
        return item
    raise Malformed(f"{FIELD}.{name}", "is a list, must be a string of bytes")


def _integer(items: tuple[rlp.Item, ...], index: int, name: str, maximum: int = _WORD_MAX) -> int:
    item = _bytes(items, index, name)
    if not item:
        return 0
    if item[0] == 0:
        raise Malformed(f"{FIELD}.{name}", "an integer must not begin with a zero byte")
    value = int.from_bytes(item, "big")
    if value > maximum:
        raise Malformed(f"{FIELD}.{name}", f"is higher than {maximum:#x}")
    return value


def _chain_id(items: tuple[rlp.Item, ...], index: int) -> int:
    chain_id = _integer(items, index, "chainId")
    if chain_id == 0:
        raise Malformed(f"{FIELD}.chainId", "is 0: name the one chain on which the transaction shall be valid")
    return chain_id


def _to(items: tuple[rlp.Item, ...], index: int) -> bytes:
    item = _bytes(items, index, "to")
    if len(item) not in (0, _ADDRESS_BYTES):
        raise Malformed(f"{FIELD}.to", f"has {len(item)} bytes, must have 20, or none to create a contract")
    return item


def _check_access_list(item: rlp.Item) -> None:
    """Raise Malformed unless it is a list of [address, [storage key, ...]] (EIP-2930) of bounded size."""
    if isinstance(item, bytes):
        raise Malformed(f"{FIELD}.accessList", "must be a list")
    count = len(item)
    for entry in item:
        count += _storage_keys(entry)
    if count > limits.ACCESS_LIST_ITEMS_MAX:
        raise Malformed(f"{FIELD}.accessList", f"has more than {limits.ACCESS_LIST_ITEMS_MAX} addresses and keys")


def _storage_keys(entry: rlp.Item) -> int:
    if isinstance(entry, bytes) or len(entry) != 2:  # noqa: PLR2004 - a pair
        raise Malformed(f"{FIELD}.accessList", "each entry must be [address, [storage key, ...]]")
    address, keys = entry
    if not isinstance(address, bytes) or len(address) != _ADDRESS_BYTES:
        raise Malformed(f"{FIELD}.accessList", "an address must have 20 bytes")
    if isinstance(keys, bytes) or not all(isinstance(key, bytes) and len(key) == _WORD_BYTES for key in keys):
        raise Malformed(f"{FIELD}.accessList", "storage keys must be a list of 32-byte strings")
    return len(keys)
