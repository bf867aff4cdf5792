"""Typed data, built from the type strings that contracts hash, for the tests of its decoders."""

import json
import re
from typing import Any

import coincurve
import pytest

from keyvault.core.errors import Malformed
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Effect, Intent, Operation, Payload, PayloadKind, Signer, Stamp
from keyvault.core.keys import KeyAlgorithm
from keyvault.intents import ethereum_address, keccak256, typed_data
from tests.intents.building import SECRET

SIGNER = Signer(
    algorithm=KeyAlgorithm.SECP256K1,
    public_key=coincurve.PrivateKey(SECRET).public_key.format(compressed=False),
    stamp=Stamp(at=UnixMillis(1_700_000_000_000), nonce=1_700_000_000_001),
)
OWN = ethereum_address(SIGNER.public_key).lower()
"""Address of SECRET."""
ATTACKER = "0x" + "66" * 20
TOKEN = "0x" + "a0" * 20
SPENDER = "0x" + "5e" * 20
PINNED = {"name": "Token", "version": "1", "chainId": 1, "verifyingContract": TOKEN}
DOMAIN_TYPES = {
    "name": "string",
    "version": "string",
    "chainId": "uint256",
    "verifyingContract": "address",
    "salt": "bytes32",
}
_STRUCT = re.compile(r"([^(]+)\(([^)]*)\)")


def types_of(type_text: str) -> dict[str, list[dict[str, str]]]:
    """Return the structs of an encodeType, as JSON has them."""
    structs = {}
    for name, members in _STRUCT.findall(type_text):
        pairs = [member.split(" ") for member in members.split(",")]
        structs[name] = [{"name": member, "type": kind} for kind, member in pairs]
    return structs


def document(type_text: str, message: dict[str, Any], domain: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return typed data of the first struct in ``type_text``."""
    values = PINNED if domain is None else domain
    types = types_of(type_text)
    domain_type = [{"name": name, "type": DOMAIN_TYPES[name]} for name in DOMAIN_TYPES if name in values]
    return {
        "types": {"EIP712Domain": domain_type, **types},
        "primaryType": next(iter(types)),
        "domain": values,
        "message": message,
    }


def payload_of(value: Any) -> Payload:  # noqa: ANN401 - any JSON
    """Return the payload of a JSON value."""
    return Payload(kind=PayloadKind.TYPED_DATA, parts=(json.dumps(value).encode(),))


def parse(payload: Payload) -> Intent:
    """Return the intent of typed data for SIGNER."""
    return typed_data.parse(payload, SIGNER)


def read(value: Any) -> Intent:  # noqa: ANN401 - any JSON
    """Return the intent of a JSON value for SIGNER."""
    return parse(payload_of(value))


def base_of(value: dict[str, Any]) -> dict[str, Any]:
    """Return the facts that every effect of ``value`` must state."""
    text = "".join(
        f"{name}({','.join(' '.join((each['type'], each['name'])) for each in members)})"
        for name, members in value["types"].items()
        if name != "EIP712Domain"
    )
    contract = value["domain"].get("verifyingContract")
    return {
        "chain_id": value["domain"].get("chainId"),
        "contract": contract.lower() if contract else None,
        "primary_type": value["primaryType"],
        "type_hash": "0x" + keccak256(text.encode()).hex(),
        "fee_max": 0,
    }


def effect(value: dict[str, Any], operation: Operation, **facts: Any) -> Effect:  # noqa: ANN401 - any field
    """Return the effect that ``value`` must have."""
    return Effect(operation=operation, **{**base_of(value), **facts})


def refused(payload: Payload) -> tuple[str, str]:
    """Return field (below typed_data) and problem of the refusal that must come."""
    with pytest.raises(Malformed) as caught:
        typed_data.parse(payload, SIGNER)
    assert caught.value.field.split(".")[0] == "typed_data"
    return caught.value.field.removeprefix("typed_data").removeprefix("."), caught.value.problem
