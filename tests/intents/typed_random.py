"""Random messages of every type that is known, with values that its protocol takes."""

import json
import random
from collections.abc import Callable
from typing import Any

from keyvault.intents import typed_data
from keyvault.intents.typed_message import Family
from tests.intents.typed_building import OWN, document, types_of

FAMILIES = tuple(typed_data._FAMILIES.values())
Value = Any


def address(chance: random.Random) -> str:
    """Return a random address, sometimes zero or the signer's."""
    return chance.choice(["0x" + chance.randbytes(20).hex()] * 6 + ["0x" + "00" * 20, OWN])


def decimal(chance: random.Random) -> str:
    """Return a decimal text, trailing zeros included."""
    return f"{chance.randrange(10 ** chance.randint(1, 12))}.{chance.randrange(10**6):06}"


def signers(chance: random.Random) -> str:
    """Return what ConvertToMultiSigUser hides in a string."""
    users = ["0x" + chance.randbytes(20).hex() for _ in range(chance.randint(1, 5))]
    return chance.choice(["null", json.dumps({"authorizedUsers": users, "threshold": chance.randint(1, len(users))})])


TEXTS: dict[str, Callable[[random.Random], str]] = {
    "hyperliquidChain": lambda chance: chance.choice(["Mainnet", "Testnet"]),
    "destination": address,
    "destinationRecipient": address,
    "amount": decimal,
    "token": lambda chance: chance.choice(["USDC", "PURR:0xc1fb593aeffbeb02f85e0308e9956a90"]),
    "sourceDex": lambda chance: chance.choice(["", "spot", "xyz"]),
    "destinationDex": lambda chance: chance.choice(["", "spot", "xyz"]),
    "fromSubAccount": lambda chance: chance.choice(["", address(chance)]),
    "maxFeeRate": lambda chance: f"{chance.randint(0, 9)}.{chance.randint(0, 99):02}%",
    "signers": signers,
    "addressEncoding": lambda chance: chance.choice(["hex", "base58"]),
    "kind": lambda chance: chance.choice(["sell", "buy"]),
    "sellTokenBalance": lambda chance: chance.choice(["erc20", "external", "internal"]),
    "buyTokenBalance": lambda chance: chance.choice(["erc20", "internal"]),
}
HIGHEST = {"side": 1, "signatureType": 2, "operation": 1, "feeRateBps": 10_000}
DOMAINS: dict[str, dict[str, Value]] = {
    "HyperliquidTransaction": {"name": "HyperliquidSignTransaction", "version": "1"},
    "Agent": {"name": "Exchange", "version": "1"},
    "Order(address": {"name": "Gnosis Protocol", "version": "v2"},
    "OrderCancellation": {"name": "Gnosis Protocol", "version": "v2"},
    "Order(uint256 salt,address maker,address signer,address": {"name": "Polymarket CTF Exchange", "version": "1"},
    "Order(uint256 salt,address maker,address signer,uint256": {"name": "Polymarket CTF Exchange", "version": "2"},
    "TypedDataSign": {"name": "Polymarket CTF Exchange", "version": "2"},
    "SafeTx": {},
    "SafeMessage": {},
}
"""Names of domains by the beginning of the type string; the others have any."""


def random_document(family: Family, chance: random.Random) -> dict[str, Value]:
    """Return typed data of one family."""
    types = types_of(family.type_text)
    primary = next(iter(types))
    names = next((names for start, names in DOMAINS.items() if family.type_text.startswith(start)), {"name": "Any"})
    domain: dict[str, Value] = {
        **names,
        "chainId": chance.choice([1, 137, chance.randint(1, 2**256 - 1)]),
        "verifyingContract": "0x" + chance.randbytes(20).hex(),
    }
    if family.domains and chance.random() < 0.5:
        shape = chance.choice(sorted(family.domains, key=sorted))
        domain = {"name": "Any", "version": "1", **domain}
        domain = {name: value for name, value in domain.items() if name in shape}
    message = {each["name"]: _value(types, each["type"], each["name"], chance) for each in types[primary]}
    if "witness" in message:
        _make_consistent(message, chance)
    return document(family.type_text, message, domain)


def _value(types: dict[str, list[dict[str, str]]], kind: str, name: str, chance: random.Random) -> Value:
    if kind.endswith("[]"):
        return [_value(types, kind[:-2], name, chance) for _ in range(chance.randint(1, 3))]
    if kind in types:
        return {each["name"]: _value(types, each["type"], each["name"], chance) for each in types[kind]}
    if kind == "string":
        return TEXTS[name](chance) if name in TEXTS else chance.choice(["", "text", "é漢"])
    if kind == "address":
        return address(chance)
    if kind == "bool":
        return chance.random() < 0.5
    if kind == "bytes":
        return "0x" + chance.randbytes(56 if name.startswith("orderUid") else chance.randint(0, 70)).hex()
    if kind == "bytes32":
        return "0x" + (bytes(32) if chance.random() < 0.3 else chance.randbytes(32)).hex()
    bits = int(kind.lstrip("uint"))
    if name in HIGHEST:
        return chance.randint(0, HIGHEST[name])
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if kind.startswith("int") else (0, 2**bits - 1)
    return chance.choice([0 if low == 0 else low, 1, high, chance.randint(low, high), chance.randint(0, 2**16)])


def _make_consistent(message: dict[str, Value], chance: random.Random) -> None:
    """Make permit and witness those of one order."""
    witness = message["witness"]
    info = witness["info"]
    message["spender"], message["nonce"], message["deadline"] = info["reactor"], info["nonce"], info["deadline"]
    given = witness.get("baseInput") or witness.get("input") or witness
    token = next(name for name in ("token", "inputToken", "baseInputToken") if name in given)
    message["permitted"] = {"token": given[token], "amount": 2**256 - 1}
    for output in witness.get("outputs") or witness.get("baseOutputs"):
        if chance.random() < 0.6:
            output["recipient"] = info["swapper"]
