"""All types of transactions against eth-account, and thousands against pyrlp and eth-utils."""

import random
from typing import Any

import pytest
import rlp as pyrlp
from eth_account import Account
from eth_utils.crypto import keccak

from keyvault.core.intent import Completeness, Operation
from keyvault.intents import evm, rlp
from tests.intents.building import SECRET, sign, transaction
from tests.intents.building_evm import ACCOUNT, SIGNER, parsed

GENERATED = 10_000
SIGNED = 60
"""Transactions of each type that eth-account signs: it takes some milliseconds for one."""
EDGES = (0, 1, 127, 128, 255, 256, 2**64 - 2)
CALL = ("gas", "to", "value", "data")
DYNAMIC = ("chainId", "nonce", "maxPriorityFeePerGas", "maxFeePerGas", *CALL, "accessList")
TYPES: dict[int, tuple[str, ...]] = {
    0: ("nonce", "gasPrice", *CALL, "chainId"),
    1: ("chainId", "nonce", "gasPrice", *CALL, "accessList"),
    2: DYNAMIC,
    3: (*DYNAMIC, "maxFeePerBlobGas", "blobVersionedHashes"),
    4: (*DYNAMIC, "authorizationList"),
}
AUTHORIZATIONS = [
    Account.sign_authorization({"chainId": chain, "address": "0x" + bytes((chain + 1,) * 20).hex(), "nonce": 3}, SECRET)
    for chain in range(4)
]
"""eth-account signs them once: that is slow."""


def generated(rng: random.Random, kind: int) -> dict[str, Any]:
    """Return the fields of a transaction as eth-account takes them; half of the numbers are at the edges."""
    fees = sorted(rng.choice((rng.choice(EDGES), rng.getrandbits(rng.randint(1, 100)))) for _ in range(2))
    return {
        "chainId": rng.choice((1, 10, 127, 128, 8453, rng.getrandbits(200) + 1)),
        "nonce": rng.choice((rng.choice(EDGES), rng.getrandbits(60))),
        "gasPrice": fees[1],
        "maxPriorityFeePerGas": fees[0],
        "maxFeePerGas": fees[1],
        "gas": rng.choice((rng.choice(EDGES), rng.getrandbits(60))),
        "to": b"" if kind < 3 and rng.random() < 0.1 else rng.randbytes(20),
        "value": rng.choice((rng.choice(EDGES), rng.getrandbits(256))),
        "data": rng.choice((b"", b"", rng.randbytes(rng.choice((1, 3, 4, 55, 56, 300))))),
        "accessList": [
            (rng.randbytes(20), [rng.randbytes(32) for _ in range(rng.randint(0, 2))])
            for _ in range(rng.choice((0, 0, 2)))
        ],
        "maxFeePerBlobGas": rng.getrandbits(60),
        "blobVersionedHashes": [b"\x01" + rng.randbytes(31) for _ in range(rng.randint(1, 6))],
        "authorizationList": [rng.choice(AUTHORIZATIONS) for _ in range(rng.randint(1, 3))],
    }


def unsigned(kind: int, fields: dict[str, Any]) -> bytes:
    """Return the bytes to sign, by pyrlp."""
    items = [_item(name, fields[name]) for name in TYPES[kind]]
    encoded: bytes = pyrlp.encode([*items, b"", b""] if kind == 0 else items)
    return encoded if kind == 0 else bytes((kind,)) + encoded


def _item(name: str, value: Any) -> Any:  # noqa: ANN401 - any RLP item
    if name == "authorizationList":
        return [
            [rlp.integer(a.chain_id), a.address, rlp.integer(a.nonce), *map(rlp.integer, (a.y_parity, a.r, a.s))]
            for a in value
        ]
    return rlp.integer(value) if isinstance(value, int) else value


def test_thousands_have_their_digest_and_facts() -> None:
    """Random transactions of all types have keccak of their bytes as digest, and their fields as facts."""
    rng = random.Random(1559)  # noqa: S311 - a fixed seed for a test
    for number in range(GENERATED):
        kind = number % 5
        fields = generated(rng, kind)
        data = unsigned(kind, fields)
        intent = parsed(data)
        first = intent.effects[0]
        blob_fee = 131_072 * len(fields["blobVersionedHashes"]) * fields["maxFeePerBlobGas"] if kind == 3 else 0
        assert intent.signing_input == keccak(data)
        assert intent.slot == f"eip155:{fields['chainId']}:{ACCOUNT}:{fields['nonce']}"
        assert (first.chain_id, first.source) == (fields["chainId"], ACCOUNT)
        assert first.fee_max == fields["gas"] * fields["maxFeePerGas"] + blob_fee
        coins = [e.amount for e in intent.effects if e.operation is Operation.TRANSFER]
        assert coins == [fields["value"]] * bool(fields["value"] or (fields["to"] and not fields["data"]))
        delegated = [(e.destination, e.chain_id, e.source) for e in intent.effects if e.operation is Operation.DELEGATE]
        granted = fields["authorizationList"] if kind == 4 else []
        assert delegated == [("0x" + a.address.hex(), a.chain_id or None, ACCOUNT) for a in granted]
        assert (intent.completeness is Completeness.FULL) == (bool(fields["to"]) and not fields["data"] and kind != 4)


@pytest.mark.parametrize("kind", list(TYPES))
def test_signed_like_eth_account(kind: int) -> None:
    """Transactions of each type have the raw bytes and the hash that eth-account gives for the same key."""
    rng = random.Random(kind)  # noqa: S311 - a fixed seed for a test
    for _ in range(SIGNED):
        fields = generated(rng, kind)
        payload = transaction(unsigned(kind, fields))
        asked: dict[str, Any] = {name: fields[name] for name in TYPES[kind]}
        if not asked["to"]:
            del asked["to"]
        if kind:
            asked["type"] = kind
            asked["accessList"] = [
                {"address": "0x" + address.hex(), "storageKeys": ["0x" + key.hex() for key in keys]}
                for address, keys in asked["accessList"]
            ]
        signed = Account.sign_transaction(asked, SECRET)
        output = evm.assemble(payload, SIGNER, sign(evm.parse(payload, SIGNER).signing_input))
        assert output.raw == bytes(signed.raw_transaction)
        assert output.transaction_hash == bytes(signed.hash)
