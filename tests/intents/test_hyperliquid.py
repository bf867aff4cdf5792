"""Hyperliquid's L1 actions: the SDK's vectors, what each action does, and what is refused."""

import json
from typing import Any

import coincurve
import pytest

from keyvault.core.errors import Broken, Malformed
from keyvault.core.intent import Bound, Completeness, Operation, Payload, PayloadKind
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.intents import hyperliquid
from tests.intents.building import sign
from tests.intents.hyperliquid_building import (
    CLOID,
    VAULT,
    Action,
    order,
    orders,
    payload,
    read,
    stamped,
    there,
)
from tests.intents.typed_building import ATTACKER, SIGNER

SECRET = bytes.fromhex("0123456789" * 6 + "0123")
"""Published key of the SDK's vectors."""
DUMMY = {"type": "dummy", "num": 100_000_000_000}
STOP = {"trigger": {"isMarket": True, "triggerPx": "103", "tpsl": "sl"}}
SUB_ACCOUNT = {"type": "subAccountTransfer", "subAccountUser": "0x1d9470d4b963f552e6f671a81619d395877bf409"}
VECTORS: list[tuple[Action, str, str, str]] = [
    (DUMMY, "", "mainnet", "53749d5b30552aeb2fca34b530185976545bb22d0b3ce6f62e31be961a59298"),
    (DUMMY, "", "testnet", "542af61ef1f429707e3c76c5293c80d01f74ef853e34b76efffcb57e574f9510"),
    (orders(order()), "", "mainnet", "d65369825a9df5d80099e513cce430311d7d26ddf477f5b3a33d2806b100d78e"),
    (orders(order()), "", "testnet", "82b2ba28e76b3d761093aaded1b1cdad4960b3af30212b343fb2e6cdfa4e3d54"),
    (orders(order(c=CLOID)), "", "mainnet", "41ae18e8239a56cacbc5dad94d45d0b747e5da11ad564077fcac71277a946e3"),
    (orders(order(c=CLOID)), "", "testnet", "eba0664bed2676fc4e5a743bf89e5c7501aa6d870bdb9446e122c9466c5cd16d"),
    (DUMMY, VAULT, "mainnet", "3c548db75e479f8012acf3000ca3a6b05606bc2ec0c29c50c515066a326239"),
    (DUMMY, VAULT, "testnet", "e281d2fb5c6e25ca01601f878e4d69c965bb598b88fac58e475dd1f5e56c362b"),
    (orders(order(t=STOP)), "", "mainnet", "98343f2b5ae8e26bb2587daad3863bc70d8792b09af1841b6fdd530a2065a3f9"),
    (orders(order(t=STOP)), "", "testnet", "971c554d917c44e0e1b6cc45d8f9404f32172a9d3b3566262347d0302896a2e4"),
    (
        {"type": "createSubAccount", "name": "example"},
        "",
        "mainnet",
        "51096fe3239421d16b671e192f574ae24ae14329099b6db28e479b86cdd6caa7",
    ),
    (
        {**SUB_ACCOUNT, "isDeposit": True, "usd": 10},
        "",
        "mainnet",
        "43592d7c6c7d816ece2e206f174be61249d651944932b13343f4d13f306ae602",
    ),
    ({"type": "scheduleCancel"}, "", "mainnet", "6cdfb286702f5917e76cd9b3b8bf678fcc49aec194c02a73e6d4f16891195df9"),
    (
        {"type": "scheduleCancel", "time": 123456789},
        "",
        "mainnet",
        "609cb20c737945d070716dcc696ba030e9976fcf5edad87afa7d877493109d55",
    ),
]


@pytest.mark.parametrize(("action", "vault", "network", "r"), VECTORS)
def test_vectors_of_the_sdk(action: Action, vault: str, network: str, r: str) -> None:
    """Signatures are those of hyperliquid-python-sdk, tests/signing_test.py: r follows from the digest."""
    digest = hyperliquid.parse(payload(action, vault, network=network), stamped(0)).signing_input
    signature = coincurve.PrivateKey(SECRET).sign_recoverable(digest, hasher=None)
    assert int.from_bytes(signature[:32], "big") == int(r, 16)


ETHER = orders(order(a=4, p="1670.1", s="0.0147", t={"limit": {"tif": "Ioc"}}))


def test_connection_id_of_the_sdk() -> None:
    """The phantom connection is that of production; another order of members is another one."""
    connection = hyperliquid.connection_id(ETHER, 1677777606040, None, None).hex()
    assert connection == "0fcbeda5ae3c4950a548021552a4fea2226858c4453571bf3f24ba017eac2908"
    turned = dict(reversed(ETHER.items()))
    assert hyperliquid.connection_id(turned, 1677777606040, None, None).hex() != connection


def test_order() -> None:
    """An order states asset, side, price and size; the nonce is the stamp's, and bounds the signature's life."""
    intent = read(ETHER)
    expected = there(
        Operation.ORDER,
        symbol="perp:4",
        side="BUY",
        quantity=147 * 10**14,
        price=16701 * 10**17,
        time_in_force="Ioc",
    )
    assert intent.effects == (expected,)
    assert intent.completeness is Completeness.FULL
    assert intent.algorithms == {KeyAlgorithm.SECP256K1}
    assert intent.stamped
    assert (intent.issued_at, intent.not_before, intent.slot) == (None, None, None)
    assert intent.expires_at == SIGNER.stamp.nonce + 2 * 24 * 3600 * 1000
    assert intent.binds == set(Bound) - {Bound.HOST, Bound.PATH, Bound.QUERY}


def test_the_stamp_is_signed() -> None:
    """Another nonce, vault, end or network is another digest."""
    one = read(ETHER).signing_input
    others = {
        hyperliquid.parse(payload(ETHER), stamped(5)).signing_input,
        read(ETHER, vault=VAULT).signing_input,
        read(ETHER, expires_after="1700000000500").signing_input,
        read(ETHER, network="testnet").signing_input,
    }
    assert len({one, *others}) == 5


def test_vault_end_and_network_are_facts() -> None:
    """The vault is the source, expiresAfter the end, and the network stands on every effect."""
    intent = read(orders(order(), order()), vault=VAULT, expires_after="1700000000500", network="testnet")
    assert intent.expires_at == 1700000000500
    assert [(each.source, each.network) for each in intent.effects] == [(VAULT, "hyperliquid:testnet")] * 2
    late = read(ETHER, expires_after="999999999999999")
    assert late.expires_at == SIGNER.stamp.nonce + 2 * 24 * 3600 * 1000


def test_every_order_is_an_effect() -> None:
    """Reduce-only counts for perpetuals only; triggers at the market have no price; a position's size is not known."""
    limit = {"trigger": {"isMarket": False, "triggerPx": "90.5", "tpsl": "tp"}}
    action = orders(
        order(r=True),
        order(a=10_107, b=False, r=True),
        order(a=110_000, r=True, t=STOP, s="0"),
        order(a=100_002_200, t=limit),
        builder={"b": ATTACKER, "f": 10},
        grouping={"p": 7},
    )
    ordinary = {"quantity": 100 * 10**18, "price": 100 * 10**18, "time_in_force": "Gtc"}
    via = f"builder {ATTACKER} fee 10 > priority 7"
    assert read(action).effects == (
        there(Operation.REDUCE, symbol="perp:1", side="BUY", via=via, **ordinary),
        there(Operation.ORDER, symbol="spot:10107", side="SELL", via=via, **ordinary),
        there(
            Operation.REDUCE, symbol="perp:110000", side="BUY", time_in_force="sl-market", via=f"{via} > trigger 103"
        ),
        there(
            Operation.ORDER,
            symbol="outcome:100002200",
            side="BUY",
            via=f"{via} > trigger 90.5",
            **{**ordinary, "time_in_force": "tp-limit"},
        ),
        there(Operation.TRANSFER, destination=ATTACKER, via=via),
    )


def test_a_builder_is_paid() -> None:
    """Who gets a fee out of the orders is paid an amount that nobody knows; a builder without a fee is not paid."""
    paying, free = (read(orders(order(), builder={"b": ATTACKER, "f": fee})) for fee in (1, 0))
    assert [each.operation for each in paying.effects] == [Operation.ORDER, Operation.TRANSFER]
    assert paying.effects[1] == there(Operation.TRANSFER, destination=ATTACKER, via=f"builder {ATTACKER} fee 1")
    assert paying.completeness is Completeness.PARTIAL
    assert [each.operation for each in free.effects] == [Operation.ORDER]
    assert free.completeness is Completeness.FULL


USDC = {"asset": "USDC", "decimals": 18}
"""The actions state 10**-6; what is said of them is in 10**-18, as all amounts at a venue."""
MODIFIED = {"symbol": "perp:1", "side": "BUY", "quantity": 10**20, "price": 10**20, "time_in_force": "Gtc"}
CASES: list[tuple[Action, list[tuple[Operation, dict[str, Any]]]]] = [
    ({"type": "modify", "oid": 1, "order": order(r=True)}, [(Operation.ORDER, MODIFIED)]),
    ({"type": "modify", "oid": CLOID, "order": order(), "a": True}, [(Operation.ORDER, MODIFIED)]),
    (
        {"type": "batchModify", "modifies": [{"oid": 1, "order": order()}, {"oid": 2, "order": order(b=False)}]},
        [(Operation.ORDER, MODIFIED), (Operation.ORDER, {**MODIFIED, "side": "SELL"})],
    ),
    (
        {"type": "cancel", "cancels": [{"a": 1, "o": 5}, {"a": 10_000, "o": 6}, {"a": 1, "o": 7}]},
        [(Operation.CANCEL, {"symbol": "perp:1"}), (Operation.CANCEL, {"symbol": "spot:10000"})],
    ),
    (
        {"type": "cancelByCloid", "cancels": [{"asset": 1, "cloid": CLOID}], "f": True},
        [(Operation.CANCEL, {"symbol": "perp:1"})],
    ),
    ({"type": "scheduleCancel", "time": 5}, [(Operation.CANCEL, {})]),
    ({"type": "twapCancel", "a": 1, "t": 5}, [(Operation.CANCEL, {"symbol": "perp:1"})]),
    (
        {"type": "twapOrder", "twap": {"a": 1, "b": False, "s": "2", "r": False, "m": 30, "t": True}},
        [
            (
                Operation.ORDER,
                {
                    "symbol": "perp:1",
                    "side": "SELL",
                    "quantity": 2 * 10**18,
                    "time_in_force": "twap",
                    "via": "twap of 30 minutes",
                },
            )
        ],
    ),
    (
        {"type": "updateLeverage", "asset": 1, "isCross": False, "leverage": 40},
        [(Operation.SETUP, {"symbol": "perp:1", "via": "leverage 40 isolated"})],
    ),
    (
        {"type": "updateIsolatedMargin", "asset": 1, "isBuy": True, "ntli": -7},
        [(Operation.SETUP, {"symbol": "perp:1", "via": "margin removed", "amount": 7 * 10**12, **USDC})],
    ),
    (
        {"type": "topUpIsolatedOnlyMargin", "asset": 1, "leverage": "2.5"},
        [(Operation.SETUP, {"symbol": "perp:1", "via": "margin added down to leverage 2.5"})],
    ),
    (
        {"type": "vaultTransfer", "vaultAddress": ATTACKER, "isDeposit": True, "usd": 10**9},
        [(Operation.WITHDRAW, {"destination": ATTACKER, "amount": 10**21, **USDC})],
    ),
    (
        {"type": "vaultTransfer", "vaultAddress": ATTACKER, "isDeposit": False, "usd": 5},
        [(Operation.WITHDRAW, {"source": ATTACKER, "destination": "perp", "amount": 5 * 10**12, **USDC})],
    ),
    (
        {"type": "subAccountTransfer", "subAccountUser": ATTACKER, "isDeposit": True, "usd": 5},
        [(Operation.WITHDRAW, {"destination": ATTACKER, "amount": 5 * 10**12, **USDC})],
    ),
    (
        {
            "type": "subAccountSpotTransfer",
            "subAccountUser": ATTACKER,
            "isDeposit": False,
            "token": "PURR:0xc4bf",
            "amount": "1.5",
        },
        [
            (
                Operation.WITHDRAW,
                {
                    "source": ATTACKER,
                    "destination": "spot",
                    "asset": "PURR:0xc4bf",
                    "amount": 15 * 10**17,
                    "decimals": 18,
                },
            )
        ],
    ),
    ({"type": "noop"}, [(Operation.REQUEST, {})]),
    ({"type": "evmUserModify", "usingBigBlocks": True}, [(Operation.SETUP, {})]),
]


@pytest.mark.parametrize(("action", "expected"), CASES)
def test_every_action(action: Action, expected: list[tuple[Operation, dict[str, Any]]]) -> None:
    """Each action has its effects, and is fully known."""
    intent = read(action)
    assert intent.effects == tuple(there(operation, **facts) for operation, facts in expected)
    assert intent.completeness is Completeness.FULL


@pytest.mark.parametrize(
    "action",
    [
        {},
        {"type": 1},
        {"type": "usdSend", "destination": ATTACKER, "amount": "1"},
        {"type": "withdraw3", "destination": ATTACKER},
        {"type": "approveAgent", "agentAddress": ATTACKER},
        {"type": "agentSendAsset", "destination": ATTACKER},
        {"type": "multiSig", "payload": {}},
        {"type": "Order"},
        {"type": "noop", "more": 1},
        orders(order(), more=1),
        orders(order(x=1)),
        orders(order(t={"limit": {"tif": "Fok"}})),
        orders(order(t={"limit": {"tif": "Gtc", "x": 1}})),
        orders(order(t={"trigger": {"isMarket": True, "triggerPx": "1", "tpsl": "xx"}})),
        orders(order(t={"other": {}})),
        {"type": "order", "orders": [order()], "grouping": "all"},
        {"type": "twapOrder", "twap": {}, "details": {}},
        orders(order(), builder={"b": ATTACKER, "f": 1, "x": 1}),
    ],
)
def test_what_is_not_known_is_opaque(action: Action) -> None:
    """A24: a type, member or word that is not known makes the whole action OPAQUE: no order hides it."""
    intent = read(action)
    assert intent.effects == (there(Operation.OPAQUE),)
    assert intent.completeness is Completeness.OPAQUE


REFUSED: list[tuple[Action, str]] = [
    *[(orders(order(p=p)), "orders.0.p") for p in ("100.0", "1.50", "01", "1e3", "", ".5", "1.", "-1", "0", " 1")],
    *[(orders(order(p=p)), "orders.0.p") for p in (100, None, ["1"], "\u0661", "0." + "1" * 19)],
    *[(orders(order(s=s)), "orders.0.s") for s in ("100.0", "0.0", 1, "+1", "1_0")],
    *[(orders(order(a=a)), "orders.0.a") for a in (-1, 2**32, True, "1", None)],
    (orders(order(b=1)), "orders.0.b"),
    (orders(order(r="false")), "orders.0.r"),
    *[(orders(order(c=c)), "orders.0.c") for c in ("0x1", CLOID[:-1] + "G", CLOID.upper(), CLOID + "0", 1, None)],
    (orders(order(t={})), "orders.0.t"),
    (orders(order(t="limit")), "orders.0.t"),
    (orders(order(t={"limit": {"tif": "Gtc"}, **STOP})), "orders.0.t"),
    (orders(order(t={"limit": {}})), "orders.0.t.limit.tif"),
    (orders(order(t={"trigger": {**STOP["trigger"], "triggerPx": "1.0"}})), "orders.0.t.trigger.triggerPx"),
    (orders(dict(reversed(order().items()))), "orders.0"),
    (dict(reversed(ETHER.items())), ""),
    ({"type": "order", "grouping": "na", "orders": [order()]}, ""),
    ({"type": "order", "orders": [order()]}, "grouping"),
    (orders(), "orders"),
    ({**orders(), "orders": order()}, "orders"),
    (orders(1), "orders.0"),  # type: ignore[arg-type] # wrong on purpose
    (orders(order(), builder={"b": "0x" + "AB" * 20, "f": 1}), "builder.b"),
    (orders(order(), builder={"b": "me", "f": 1}), "builder.b"),
    (orders(order(), builder={"b": 1, "f": 1}), "builder.b"),
    (orders(order(), builder={"b": ATTACKER, "f": 1_001}), "builder.f"),
    ({"type": "order", "orders": [order()], "grouping": {"p": 10**8 + 1}}, "grouping.p"),
    ({"type": "modify", "oid": "1", "order": order()}, "oid"),
    ({"type": "modify", "oid": None, "order": order()}, "oid"),
    ({"type": "modify", "oid": 1, "order": order(), "a": 1}, "a"),
    ({"type": "batchModify", "modifies": [{"oid": 1, "order": order()}], "a": "yes"}, "a"),
    ({"type": "cancel", "cancels": [{"a": 1, "o": 5}], "f": {}}, "f"),
    ({"type": "cancel", "cancels": []}, "cancels"),
    ({"type": "cancel", "cancels": [{"a": 1, "o": "5"}]}, "cancels.0.o"),
    ({"type": "cancelByCloid", "cancels": [{"asset": 1, "cloid": "x"}]}, "cancels.0.cloid"),
    ({"type": "scheduleCancel", "time": None}, "time"),
    ({"type": "vaultTransfer", "vaultAddress": ATTACKER, "isDeposit": True, "usd": -1}, "usd"),
    ({"type": "updateIsolatedMargin", "asset": 1, "isBuy": True, "ntli": "7"}, "ntli"),
    ({"type": "evmUserModify", "usingBigBlocks": 1}, "usingBigBlocks"),
    ({"type": "unknown", "number": 2**64}, ""),
]


@pytest.mark.parametrize(("action", "place"), REFUSED)
def test_what_the_venue_would_hash_otherwise_is_refused(action: Action, place: str) -> None:
    """Numbers that are not canonical, addresses in another case and members in another order are refused."""
    with pytest.raises(Malformed) as caught:
        read(action)
    assert caught.value.field == ".".join(filter(None, ("hyperliquid_action", place)))


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ((b"{}", b"", b""), ""),
        ((b"{}", b"", b"", b"mainnet", b""), ""),
        ((b"[]", b"", b"", b"mainnet"), ""),
        ((b'["0x", "0x", {}]', b"", b"", b"mainnet"), ""),
        ((b"", b"", b"", b"mainnet"), ""),
        ((b'{"type": "noop", "type": "order"}', b"", b"", b"mainnet"), ""),
        ((b'{"type": "noop", "n": 1.0}', b"", b"", b"mainnet"), ""),
        ((b"[" * 20_000, b"", b"", b"mainnet"), ""),
        ((b"{}", b"", b"", b"Mainnet"), "network"),
        ((b"{}", b"", b"", b""), "network"),
        ((b"{}", b"", b"", b"a"), "network"),
        ((b"{}", VAULT.upper().encode(), b"", b"mainnet"), "vault"),
        ((b"{}", VAULT[2:].encode(), b"", b"mainnet"), "vault"),
        ((b"{}", b"0x" + b"AB" * 20, b"", b"mainnet"), "vault"),
        ((b"{}", b"\xff", b"", b"mainnet"), "vault"),
        ((b"{}", b"null", b"", b"mainnet"), "vault"),
        *[
            ((b"{}", b"", text, b"mainnet"), "expires_after")
            for text in (b"0", b"01", b"-1", b"1.0", b"1" * 16, b"null", b" 1", b"1\n")
        ],
    ],
)
def test_parts_that_are_not_well_formed(parts: tuple[bytes, ...], field: str) -> None:
    """Each part has one form, and there are four."""
    with pytest.raises(Malformed) as caught:
        hyperliquid.parse(Payload(kind=PayloadKind.HYPERLIQUID_ACTION, parts=parts), SIGNER)
    assert caught.value.field == ".".join(filter(None, ("hyperliquid_action", field)))


def test_effects_are_bounded() -> None:
    """More orders than the limit of effects are refused; cancels of one asset are one effect."""
    assert len(read(orders(*[order()] * 64)).effects) == 64
    with pytest.raises(Malformed, match="more than 64 effects"):
        read(orders(*[order()] * 65))
    assert len(read({"type": "cancel", "cancels": [{"a": 1, "o": n} for n in range(200)]}).effects) == 1


def test_body() -> None:
    """What is sent has the action as it was hashed, the stamp's nonce, and the signature in three parts."""
    parts = payload(ETHER, VAULT, "1700000000500")
    signature = sign(hyperliquid.parse(parts, SIGNER).signing_input)
    output = hyperliquid.assemble(parts, SIGNER, signature)
    body = json.loads(output.body)
    assert list(body) == ["action", "nonce", "signature", "vaultAddress", "expiresAfter"]
    assert json.dumps(body["action"]) == json.dumps(ETHER)
    assert (body["nonce"], body["vaultAddress"], body["expiresAfter"]) == (SIGNER.stamp.nonce, VAULT, 1700000000500)
    assert body["signature"] == {
        "r": "0x" + signature.value[:32].hex(),
        "s": "0x" + signature.value[32:].hex(),
        "v": 27 + (signature.recovery_id or 0),
    }
    assert output.path == "/exchange"
    plain = json.loads(hyperliquid.assemble(payload(ETHER), SIGNER, signature).body)
    assert (plain["vaultAddress"], plain["expiresAfter"]) == (None, None)


def test_signatures_of_another_form() -> None:
    """A signature that is not r, s and a recovery id ends the term."""
    with pytest.raises(Broken):
        hyperliquid.assemble(payload(ETHER), SIGNER, Signature(value=bytes(64)))
