"""Hyperliquid's actions, valid and random, for the tests of their decoder."""

import json
import random
from dataclasses import replace
from typing import Any

from keyvault.core.ids import UnixMillis
from keyvault.core.intent import Effect, Intent, Operation, Payload, PayloadKind, Signer, Stamp
from keyvault.intents import hyperliquid
from tests.intents.typed_building import SIGNER

VAULT = "0x1719884eb866cb12b2287399b15f7db5e7d775ea"
CLOID = "0x" + "00" * 15 + "01"
Action = dict[str, Any]


def order(**changes: Any) -> Action:  # noqa: ANN401 - any JSON
    """Return a limit order to buy 100 at 100, as in the SDK's vectors."""
    wire = {"a": 1, "b": True, "p": "100", "s": "100", "r": False, "t": {"limit": {"tif": "Gtc"}}}
    return {**wire, **changes}


def orders(*wires: Action, **more: Any) -> Action:  # noqa: ANN401 - any JSON
    """Return an action of orders."""
    return {"type": "order", "orders": list(wires), "grouping": "na", **more}


def payload(
    action: Any,  # noqa: ANN401 - any JSON
    vault: str = "",
    expires_after: str = "",
    network: str = "mainnet",
) -> Payload:
    """Return the payload of an action."""
    parts = (json.dumps(action).encode(), vault.encode(), expires_after.encode(), network.encode())
    return Payload(kind=PayloadKind.HYPERLIQUID_ACTION, parts=parts)


def stamped(nonce: int) -> Signer:
    """Return SIGNER with a stamp."""
    return replace(SIGNER, stamp=Stamp(at=UnixMillis(nonce), nonce=nonce))


def read(action: Any, **parts: str) -> Intent:  # noqa: ANN401 - any JSON
    """Return the intent of an action for SIGNER."""
    return hyperliquid.parse(payload(action, **parts), SIGNER)


def there(operation: Operation, **facts: Any) -> Effect:  # noqa: ANN401 - any field
    """Return an effect on mainnet."""
    return Effect(operation=operation, **{"venue": "hyperliquid", "network": "hyperliquid:mainnet", **facts})


def random_number(chance: random.Random) -> str:
    """Return a canonical number above 0."""
    whole, fraction = chance.randrange(10**6), f"{chance.randrange(10**6):06}".rstrip("0")
    text = f"{whole}.{fraction}" if fraction else str(whole)
    return "1" if text == "0" else text


def random_order(chance: random.Random) -> Action:
    """Return any order."""
    limit: Action = {"limit": {"tif": chance.choice(["Gtc", "Ioc", "Alo", "FrontendMarket"])}}
    trigger = {
        "isMarket": chance.random() < 0.5,
        "triggerPx": random_number(chance),
        "tpsl": chance.choice(["tp", "sl"]),
    }
    wire = order(
        a=chance.choice([0, 4, 9_999, 10_000, 10_107, 99_999, 110_000, 100_002_200]),
        b=chance.random() < 0.5,
        p=random_number(chance),
        s=random_number(chance),
        r=chance.random() < 0.5,
        t=chance.choice([limit, {"trigger": trigger}]),
    )
    return {**wire, "c": "0x" + chance.randbytes(16).hex()} if chance.random() < 0.3 else wire


def random_action(chance: random.Random) -> Action:
    """Return any action that is known."""
    asset, flag, number = chance.randrange(20_000), chance.random() < 0.5, chance.randrange(2**40)
    address = "0x" + chance.randbytes(20).hex()
    builder = {"builder": {"b": address, "f": chance.randrange(1_000)}} if flag else {}
    wires = [random_order(chance) for _ in range(chance.randint(1, 20))]
    grouping = chance.choice(["na", "normalTpsl", "positionTpsl", {"p": chance.randrange(10**8)}])
    oid = chance.choice([number, "0x" + chance.randbytes(16).hex()])
    twap = {"a": asset, "b": flag, "s": random_number(chance), "r": not flag, "m": 5, "t": flag}
    always = {"a": True} if flag else {}
    return chance.choice(
        [
            {"type": "order", "orders": wires, "grouping": grouping, **builder},
            {"type": "order", "orders": wires[:1], "grouping": "na"},
            {"type": "modify", "oid": oid, "order": wires[0], **always},
            {"type": "batchModify", "modifies": [{"oid": oid, "order": wire} for wire in wires], **always},
            {"type": "cancel", "cancels": [{"a": asset, "o": number}] * chance.randint(1, 40)},
            {"type": "cancelByCloid", "cancels": [{"asset": asset, "cloid": CLOID}], **({"f": True} if flag else {})},
            {"type": "scheduleCancel", **({"time": number} if flag else {})},
            {"type": "twapOrder", "twap": twap},
            {"type": "twapCancel", "a": asset, "t": number},
            {"type": "updateLeverage", "asset": asset, "isCross": flag, "leverage": 5},
            {"type": "updateIsolatedMargin", "asset": asset, "isBuy": flag, "ntli": number * chance.choice([1, -1])},
            {"type": "topUpIsolatedOnlyMargin", "asset": asset, "leverage": random_number(chance)},
            {"type": "vaultTransfer", "vaultAddress": address, "isDeposit": flag, "usd": number},
            {"type": "subAccountTransfer", "subAccountUser": address, "isDeposit": flag, "usd": number},
            {
                "type": "subAccountSpotTransfer",
                "subAccountUser": address,
                "isDeposit": flag,
                "token": "PURR:0xc4bf",
                "amount": random_number(chance),
            },
            {"type": "noop"},
            {"type": "evmUserModify", "usingBigBlocks": flag},
        ]
    )
