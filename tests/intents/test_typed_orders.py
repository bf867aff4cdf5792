"""Orders: CoW and Polymarket, with the public examples, and what else somebody gets by them."""

import random
from typing import Any

import pytest

from keyvault.core.intent import Bound, Completeness, Operation
from keyvault.intents import ethereum_address
from tests.intents.building import digest_by_eth_account
from tests.intents.typed_building import ATTACKER, OWN, base_of, document, effect, payload_of, read, refused
from tests.intents.typed_random import FAMILIES

COW = next(f.type_text for f in FAMILIES if f.type_text.startswith("Order(address sellToken"))
V1 = next(f.type_text for f in FAMILIES if "address taker" in f.type_text)
V2 = next(f.type_text for f in FAMILIES if f.type_text.startswith("Order(") and "bytes32 builder" in f.type_text)
WRAPPED = next(f.type_text for f in FAMILIES if f.type_text.startswith("TypedDataSign"))
ZERO = "0x" + "00" * 20
ZERO_HASH = "0x" + "00" * 32
USDC, WETH = "0x" + "c1" * 20, "0x" + "c2" * 20
SETTLEMENT = {
    "name": "Gnosis Protocol",
    "version": "v2",
    "chainId": 1,
    "verifyingContract": "0x9008D19f58AAbD9eD0D60971565AA8510560ab41",
}


def cow(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Return an order to sell 1,000 USDC."""
    message = {
        "sellToken": USDC,
        "buyToken": WETH,
        "receiver": ZERO,
        "sellAmount": 1_000,
        "buyAmount": 3,
        "validTo": 1_800_000_000,
        "appData": ZERO_HASH,
        "feeAmount": 7,
        "kind": "sell",
        "partiallyFillable": False,
        "sellTokenBalance": "erc20",
        "buyTokenBalance": "erc20",
    }
    return document(COW, {**message, **changes}, SETTLEMENT)


def cow_facts(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any field
    """Return the facts of ``cow()``."""
    facts = {
        "asset": USDC,
        "amount": 1_007,
        "destination": OWN,
        "received_asset": WETH,
        "received_min": 3,
        "time_in_force": "fill-or-kill",
    }
    return {**facts, **changes}


UID = "0x" + "1d" * 56


@pytest.mark.parametrize(
    ("type_text", "message"),
    [
        ("OrderCancellation(bytes orderUid)", {"orderUid": UID}),
        ("OrderCancellations(bytes[] orderUids)", {"orderUids": [UID, UID.replace("1", "2")]}),
    ],
)
def test_cow_cancellations(type_text: str, message: dict[str, Any]) -> None:
    """The order book takes back what they name; no contract reads them. Of another protocol they mean nothing known."""
    value = document(type_text, message, SETTLEMENT)
    intent = read(value)
    assert intent.effects == (effect(value, Operation.CANCEL),)
    assert intent.completeness is Completeness.FULL
    assert intent.binds == {Bound.ACCOUNT, Bound.CHAIN}
    foreign = document(type_text, message, {**SETTLEMENT, "version": "v1"})
    assert [each.operation for each in read(foreign).effects] == [Operation.TYPED_DATA]


@pytest.mark.parametrize("uids", [[], ["0x"], [UID, UID + "00"], [UID[:-2]]])
def test_what_names_no_order_of_cow_cancels_nothing(uids: list[str]) -> None:
    """The name of an order has 56 bytes."""
    value = document("OrderCancellations(bytes[] orderUids)", {"orderUids": uids}, SETTLEMENT)
    assert [each.operation for each in read(value).effects] == [Operation.TYPED_DATA]


@pytest.mark.parametrize("receiver", [ZERO, OWN])
def test_cow_order(receiver: str) -> None:
    """An order says what goes, fee included, what comes at least, and until when; the owner gets it."""
    value = cow(receiver=receiver)
    intent = read(value)
    assert intent.effects == (effect(value, Operation.ORDER, **cow_facts()),)
    assert (intent.completeness, intent.expires_at) == (Completeness.FULL, 1_800_000_000_000)
    assert intent.binds == {Bound.EXPIRY, Bound.CHAIN}
    assert intent.slot is None


@pytest.mark.parametrize(("kind", "amount"), [("sell", None), ("buy", 3)])
def test_cow_order_for_somebody_else(kind: str, amount: int | None) -> None:
    """A receiver that is not the owner gets what comes: a transfer, whose amount a sell order does not bound."""
    value = cow(receiver=ATTACKER, kind=kind, partiallyFillable=True)
    facts = cow_facts(destination=ATTACKER, time_in_force="partially-fillable")
    assert read(value).effects == (
        effect(value, Operation.ORDER, **facts),
        effect(value, Operation.TRANSFER, asset=WETH, amount=amount, destination=ATTACKER),
    )


def test_cow_order_with_app_data() -> None:
    """A document behind a hash may name hooks: the hash is a fact, and not everything is known."""
    value = cow(appData="0x" + "ab" * 32)
    intent = read(value)
    assert intent.effects == (effect(value, Operation.ORDER, **cow_facts(via="app-data 0x" + "ab" * 32)),)
    assert intent.completeness is Completeness.PARTIAL


@pytest.mark.parametrize(
    ("name", "text"),
    [("kind", "Sell"), ("kind", ""), ("sellTokenBalance", "erc721"), ("buyTokenBalance", "external")],
)
def test_cow_words(name: str, text: str) -> None:
    """Words that the settlement contract does not know are refused."""
    assert refused(payload_of(cow(**{name: text})))[0] == f"message.{name}"


@pytest.mark.parametrize("change", [{"name": "Gnosis Protocol v2"}, {"version": "v1"}])
def test_cow_order_of_another_protocol(change: dict[str, str]) -> None:
    """The same type in another domain is not an order of CoW."""
    value = {**cow(), "domain": {**SETTLEMENT, **change}}
    contract = base_of(value)["contract"]
    assert read(value).effects == (effect(value, Operation.TYPED_DATA, destination=contract, fee_max=None),)


HARDHAT = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
"""Address of the first key of local development chains, as in Polymarket's examples."""


def exchange(version: str, contract: str = "0xdFE02Eb6733538f8Ea35D585af8DE5958AD99E40") -> dict[str, Any]:
    """Return the domain of an exchange of Polymarket on Amoy."""
    name = "Polymarket CTF Exchange"
    return {"name": name, "version": version, "chainId": 80002, "verifyingContract": contract}


def polymarket(version: str = "1", **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Return the order of Polymarket's examples: 100 collateral for at least 50 positions."""
    message = {
        "salt": 479249096354,
        "maker": HARDHAT,
        "signer": HARDHAT,
        "taker": ZERO,
        "tokenId": 1234,
        "makerAmount": 100_000_000,
        "takerAmount": 50_000_000,
        "expiration": 0,
        "nonce": 0,
        "feeRateBps": 100,
        "side": 0,
        "signatureType": 0,
        "timestamp": 1710000000000,
        "metadata": ZERO_HASH,
        "builder": ZERO_HASH,
    }
    unused = ("timestamp", "metadata", "builder") if version == "1" else ("taker", "expiration", "nonce", "feeRateBps")
    kept = {name: value for name, value in message.items() if name not in unused}
    return document(V1 if version == "1" else V2, {**kept, **changes}, exchange(version))


def bought(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any field
    """Return the facts of ``polymarket()``."""
    facts = {
        "venue": "polymarket",
        "symbol": "1234",
        "side": "BUY",
        "asset": "collateral",
        "amount": 100_000_000,
        "source": HARDHAT.lower(),
        "received_asset": "1234",
        "received_min": 49_500_000,
        "quantity": 50 * 10**18,
        "quote_quantity": 100 * 10**18,
        "price": 2 * 10**18,
    }
    return {**facts, **changes}


def test_polymarket_v1() -> None:
    """An order of version 1 says price, quantity, what comes after the highest fee; its hash is published."""
    value = polymarket()
    intent = read(value)
    assert intent.signing_input.hex() == "02ca1d1aa31103804173ad1acd70066cb6c1258a4be6dada055111f9a7ea4e55"
    assert intent.effects == (effect(value, Operation.ORDER, **bought()),)
    assert (intent.completeness, intent.expires_at) == (Completeness.FULL, None)
    assert intent.binds == {Bound.ACCOUNT, Bound.EXPIRY, Bound.NONCE, Bound.CHAIN}


def test_polymarket_v1_sold_to_one_taker() -> None:
    """A sale names the positions as what goes, and the only taker as who gets them."""
    value = polymarket(side=1, taker=ATTACKER, expiration=1_800_000_000, feeRateBps=0)
    facts = bought(side="SELL", asset="1234", received_asset="collateral", received_min=50_000_000)
    facts |= {"quantity": 100 * 10**18, "quote_quantity": 50 * 10**18, "price": 5 * 10**17, "destination": ATTACKER}
    intent = read(value)
    assert intent.effects == (effect(value, Operation.ORDER, **facts),)
    assert intent.expires_at == 1_800_000_000_000


@pytest.mark.parametrize(
    ("side", "maker", "taker", "price"),
    [
        (0, 1, 3, 333333333333333334),
        (1, 3, 1, 333333333333333333),
        (0, 5, 0, None),
        (1, 0, 5, None),
        (1, 5, 0, 0),
        (0, 0, 5, 0),
    ],
)
def test_prices_are_rounded_against_the_signer(side: int, maker: int, taker: int, price: int | None) -> None:
    """A price without exact decimals is a little worse than what is signed; for no positions it is any price."""
    value = polymarket(side=side, makerAmount=maker, takerAmount=taker, feeRateBps=0)
    assert read(value).effects[0].price == price


@pytest.mark.parametrize(("bps", "least"), [(0, 50_000_000), (1, 49_995_000), (10_000, 0), (2**256 - 1, 0)])
def test_fees_reduce_what_comes(bps: int, least: int) -> None:
    """The fee that an order of version 1 allows is taken from what comes, never below nothing."""
    assert read(polymarket(feeRateBps=bps)).effects[0].received_min == least


def test_polymarket_v2() -> None:
    """An order of version 2 has no end and an unsigned fee: what comes is not known. Builder and metadata are facts."""
    value = polymarket("2", builder="0x" + "bb" * 32, metadata="0x" + "dd" * 32)
    intent = read(value)
    via = f"builder 0x{'bb' * 32} > metadata 0x{'dd' * 32}"
    assert intent.effects == (effect(value, Operation.ORDER, **bought(received_min=None, via=via)),)
    assert (intent.completeness, intent.expires_at) == (Completeness.PARTIAL, None)
    assert intent.binds == {Bound.ACCOUNT, Bound.CHAIN}


def test_polymarket_v2_for_a_contract_wallet() -> None:
    """The order inside TypedDataSign is read; the published signature of the example is that of our digest."""
    import coincurve  # noqa: PLC0415 - here only

    wallet = "0x" + "11" * 20
    order = polymarket("2", maker=wallet, signer=wallet, signatureType=3)["message"]
    message = {"contents": order, "name": "DepositWallet", "version": "1", "chainId": 80002}
    message |= {"verifyingContract": wallet, "salt": ZERO_HASH}
    value = document(WRAPPED, message, exchange("2", "0xE111180000d2663C0091e4f400237545B87B996B"))
    intent = read(value)
    facts = bought(received_min=None, source=wallet, via=f"wallet {wallet}")
    assert intent.effects == (effect(value, Operation.ORDER, **facts),)
    raw = bytes.fromhex(
        "a3a093c83b6c20c83355c16ce94c92e6e9fcbdeb840618cc74f6c57a42ad145b"
        "2b98db73d2c73cbf1f2b6af288566ae81960ddbc3a13921027358a8bff3be6ff"
    )
    key = coincurve.PublicKey.from_signature_and_message(raw + b"\1", intent.signing_input, hasher=None)
    assert ethereum_address(key.format(compressed=False)) == HARDHAT


@pytest.mark.parametrize(
    ("version", "name", "number"),
    [("1", "side", 2), ("2", "side", 2), ("1", "signatureType", 3), ("2", "signatureType", 4)],
)
def test_polymarket_words(version: str, name: str, number: int) -> None:
    """Sides and kinds of signature that the exchange does not know are refused."""
    assert refused(payload_of(polymarket(version, **{name: number})))[0] == f"message.{name}"


@pytest.mark.parametrize("version", ["1", "2"])
def test_polymarket_order_of_another_exchange(version: str) -> None:
    """The type of one version in the domain of the other is not understood."""
    value = polymarket(version)
    value["domain"]["version"] = "2" if version == "1" else "1"
    contract = base_of(value)["contract"]
    assert read(value).effects == (effect(value, Operation.TYPED_DATA, destination=contract, fee_max=None),)


def test_wrapped_order_of_another_exchange() -> None:
    """TypedDataSign in another domain is not understood either."""
    order = polymarket("2")["message"]
    message = {"contents": order, "name": "", "version": "", "chainId": 1, "verifyingContract": ZERO, "salt": ZERO_HASH}
    value = document(WRAPPED, message, {**exchange("2"), "name": "Other"})
    assert read(value).effects[0].operation is Operation.TYPED_DATA


def test_facts_of_random_orders() -> None:
    """1,000 orders: amounts are those of the message, and price times quantity is never less than what a buyer pays."""
    chance = random.Random(1)  # noqa: S311 - test data
    for _ in range(1_000):
        side, given, taken = chance.randint(0, 1), chance.randint(1, 10**12), chance.randint(1, 10**12)
        value = polymarket(side=side, makerAmount=given, takerAmount=taken, feeRateBps=0)
        intent = read(value)
        assert intent.signing_input == digest_by_eth_account(value)
        (order,) = intent.effects
        assert (order.amount, order.received_min) == (given, taken)
        shares, collateral = (taken, given) if side == 0 else (given, taken)
        price = order.price or 0
        assert (price * shares >= collateral * 10**18) if side == 0 else (price * shares <= collateral * 10**18)
        assert abs(price * shares - collateral * 10**18) < shares
