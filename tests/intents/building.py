"""Payloads and signatures for the tests of the decoders."""

import json
from collections.abc import Mapping
from typing import Any

import coincurve
import pytest
from eth_account.messages import encode_typed_data

from keyvault.core.errors import Malformed
from keyvault.core.intent import Payload, PayloadKind
from keyvault.core.keys import Signature
from keyvault.intents import ANYBODY, keccak256, parse, rlp

SECRET = bytes.fromhex("46" * 32)
"""Private key of the example in EIP-155."""
ADDRESS = "0x" + "35" * 20
TIME = "timestamp=1499827319559"


def transaction(data: bytes) -> Payload:
    """Return an EVM payload."""
    return Payload(kind=PayloadKind.EVM_TRANSACTION, parts=(data,))


def typed_data(document: Any) -> Payload:  # noqa: ANN401 - any JSON
    """Return a typed-data payload of a JSON value."""
    return Payload(kind=PayloadKind.TYPED_DATA, parts=(json.dumps(document).encode(),))


def request(query: str = "", body: str = "") -> Payload:
    """Return a Binance payload."""
    return Payload(kind=PayloadKind.BINANCE_REST, parts=(query.encode(), body.encode()))


def legacy(**changes: rlp.Item) -> bytes:
    """Return the unsigned transaction of EIP-155's example with some items changed."""
    items: dict[str, rlp.Item] = {
        "nonce": b"\x09",
        "gas_price": rlp.integer(20 * 10**9),
        "gas": rlp.integer(21_000),
        "to": bytes.fromhex(ADDRESS[2:]),
        "value": rlp.integer(10**18),
        "data": b"",
        "chain_id": b"\x01",
        "r": b"",
        "s": b"",
    }
    return rlp.encode(tuple({**items, **changes}.values()))


def dynamic_fee(**changes: rlp.Item) -> bytes:
    """Return an EIP-1559 transfer with some items changed."""
    items: dict[str, rlp.Item] = {
        "chain_id": b"\x01",
        "nonce": b"\x09",
        "priority_fee": rlp.integer(10**9),
        "fee": rlp.integer(30 * 10**9),
        "gas": rlp.integer(21_000),
        "to": bytes.fromhex(ADDRESS[2:]),
        "value": rlp.integer(10**18),
        "data": b"",
        "access_list": (),
    }
    return b"\x02" + rlp.encode(tuple({**items, **changes}.values()))


def sign(digest: bytes, secret: bytes = SECRET) -> Signature:
    """Return what ``hsm`` returns for a secp256k1 key: r||s with low s, and the recovery id."""
    value = coincurve.PrivateKey(secret).sign_recoverable(digest, hasher=None)
    return Signature(value=value[:64], recovery_id=value[64])


def mail(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Return the example of EIP-712 with some members changed."""
    document: dict[str, Any] = {
        "types": {
            "EIP712Domain": members("string name", "string version", "uint256 chainId", "address verifyingContract"),
            "Person": members("string name", "address wallet"),
            "Mail": members("Person from", "Person to", "string contents"),
        },
        "primaryType": "Mail",
        "domain": {
            "name": "Ether Mail",
            "version": "1",
            "chainId": 1,
            "verifyingContract": "0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC",
        },
        "message": {
            "from": {"name": "Cow", "wallet": "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826"},
            "to": {"name": "Bob", "wallet": "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB"},
            "contents": "Hello, Bob!",
        },
    }
    return {**document, **changes}


def members(*declared: str) -> list[dict[str, str]]:
    """Return struct members from ``type name`` texts."""
    return [{"name": name, "type": kind} for kind, _, name in (text.rpartition(" ") for text in declared)]


def one_value(type_name: str, value: Any, more: Mapping[str, Any] | None = None) -> dict[str, Any]:  # noqa: ANN401 any
    """Return typed data whose message is one member ``v``; ``more`` are further structs."""
    domain = {"chainId": 1, "verifyingContract": ADDRESS}
    types = {
        "EIP712Domain": members("uint256 chainId", "address verifyingContract"),
        "Box": members(f"{type_name} v"),
        **(more or {}),
    }
    return {"types": types, "primaryType": "Box", "domain": domain, "message": {"v": value}}


def digest_by_eth_account(document: dict[str, Any]) -> bytes:
    """Return the digest that eth-account computes."""
    message = encode_typed_data(full_message=document)
    return keccak256(b"\x19" + message.version + message.header + message.body)


def text(data: str | bytes) -> Payload:
    """Return a payload of JSON text as it stands."""
    return Payload(kind=PayloadKind.TYPED_DATA, parts=(data if isinstance(data, bytes) else data.encode(),))


def refusal(payload: Payload) -> tuple[str, str]:
    """Return field (below typed_data) and problem of the refusal that must come."""
    with pytest.raises(Malformed) as caught:
        parse(payload, ANYBODY)
    assert caught.value.field.split(".")[0] == "typed_data"
    return caught.value.field.removeprefix("typed_data").removeprefix("."), caught.value.problem


MAIL = json.dumps(mail())
"""The example of EIP-712 as text."""
