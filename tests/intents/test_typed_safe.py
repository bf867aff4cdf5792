"""Safe transactions as typed data: Bybit's (A01), safe-eth-py as oracle, all versions of the domain."""

import random
from typing import Any

import pytest
from eth_typing import ChecksumAddress
from safe_eth.safe.safe_tx import SafeTx

from keyvault.core.intent import Bound, Completeness, Operation
from keyvault.intents.address import checksum_address
from tests.intents.typed_building import ATTACKER, OWN, TOKEN, base_of, document, effect, payload_of, read, refused

SAFE = "0x1db92e2eebc8e0c075a02bea49a2935bcd2dfcf4"
"""Bybit's cold wallet, version 1.1.1."""
ZERO = "0x" + "00" * 20


def type_text(gas: str = "baseGas") -> str:
    """Return SafeTx with the sixth member called ``gas``."""
    return (
        f"SafeTx(address to,uint256 value,bytes data,uint8 operation,uint256 safeTxGas,uint256 {gas},uint256 gasPrice,"
        "address gasToken,address refundReceiver,uint256 nonce)"
    )


def transaction(domain: dict[str, Any], gas: str = "baseGas", **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any
    """Return a transfer of 1 wei by a Safe with some members changed."""
    message = {
        "to": TOKEN,
        "value": 1,
        "data": "0x",
        "operation": 0,
        "safeTxGas": 0,
        gas: 0,
        "gasPrice": 0,
        "gasToken": ZERO,
        "refundReceiver": ZERO,
        "nonce": 71,
    }
    return document(type_text(gas), {**message, **changes}, domain)


BYBIT: dict[str, Any] = {
    "to": "0x96221423681A6d52E184D440a8eFCEbB105C7242",
    "value": 0,
    "data": "0xa9059cbb" + "bdd077f651ebe7f7b3ce16fe5f2b025be2969516".rjust(64, "0") + "0" * 64,
    "operation": 1,
    "safeTxGas": 45746,
}


def test_bybit() -> None:
    """A01: what Bybit's signers signed is code from elsewhere run as the Safe, whatever its selector says.

    The digest is that of 21 February 2025. The domain has no chain: the signature is valid on all of them.
    """
    value = transaction({"verifyingContract": SAFE}, **BYBIT)
    intent = read(value)
    assert intent.signing_input.hex() == "b3476d061aeb8fc1d605a873c483a2402d88a68a9cdd1a8b47655dd55ba004f8"
    library = "0x96221423681a6d52e184d440a8efcebb105c7242"
    expected = effect(
        value,
        Operation.DELEGATE,
        destination=library,
        contract=library,
        selector="0xa9059cbb",
        source=SAFE,
        via=f"safe {SAFE}",
    )
    assert intent.effects == (expected,)
    assert expected.chain_id is None
    assert intent.completeness is not Completeness.FULL
    assert intent.slot == f"safe:any:{SAFE}:71"
    assert intent.binds == {Bound.ACCOUNT, Bound.NONCE}
    assert intent.expires_at is None


def test_transaction_that_bybit_was_shown() -> None:
    """The transaction on the screens was another one: 30,000 ether as a call, with another digest for the same slot."""
    shown = transaction(
        {"verifyingContract": SAFE},
        to="0x88a1493366D48225fc3cEFbdae9eBb23E323Ade3",
        value=30_000 * 10**18,
        safeTxGas=45745,
    )
    intent = read(shown)
    assert intent.signing_input.hex() == "9d89e67333f99c136537be74029c44592985a4855172f4c2d0d942029868f98e"
    assert intent.slot == read(transaction({"verifyingContract": SAFE}, **BYBIT)).slot
    assert intent.effects == (
        effect(
            shown,
            Operation.TRANSFER,
            destination="0x88a1493366d48225fc3cefbdae9ebb23e323ade3",
            contract=intent.effects[0].contract,
            selector=intent.effects[0].selector,
            amount=30_000 * 10**18,
            source=SAFE,
            via=f"safe {SAFE}",
        ),
    )


def test_domain_with_a_chain() -> None:
    """From 1.3.0 on the chain is bound, and stands in facts and slot."""
    intent = read(transaction({"chainId": 137, "verifyingContract": SAFE}))
    assert [each.chain_id for each in intent.effects] == [137]
    assert intent.slot == f"safe:137:{SAFE}:71"
    assert intent.binds == {Bound.ACCOUNT, Bound.NONCE, Bound.CHAIN}


def test_a_refund_is_an_effect() -> None:
    """A gas price makes the Safe pay somebody an amount that nobody knows before."""
    value = transaction(
        {"chainId": 1, "verifyingContract": SAFE}, gasPrice=10**18, gasToken=TOKEN, refundReceiver=ATTACKER
    )
    sent, refund = read(value).effects
    assert (sent.operation, sent.amount) == (Operation.TRANSFER, 1)
    assert (refund.operation, refund.asset, refund.destination, refund.amount) == (
        Operation.TRANSFER,
        TOKEN,
        ATTACKER,
        None,
    )
    assert refund.type_hash == base_of(value)["type_hash"]


@pytest.mark.parametrize("extra", [{"name": "Safe"}, {"version": "1"}, {"salt": "0x" + "11" * 32}])
def test_domains_of_others(extra: dict[str, Any]) -> None:
    """A SafeTx in a domain that no Safe has is typed data that is not known."""
    value = transaction({**extra, "chainId": 1, "verifyingContract": SAFE})
    assert read(value).effects == (effect(value, Operation.TYPED_DATA, destination=SAFE, fee_max=None),)


def test_too_many_calls() -> None:
    """What the transaction's own reader refuses is refused as typed data."""
    add, entries = "8d80ff0a", ("00" + "11" * 20 + "00" * 31 + "01" + "00" * 32) * 65
    size = len(entries) // 2
    data = f"0x{add}{32:064x}{size:064x}{entries}{'00' * (-size % 32)}"
    multisend = "0x40A2aCCbd92BCA938b02010E17A5b8929b49130D"
    field, problem = refused(
        payload_of(
            transaction({"chainId": 1, "verifyingContract": SAFE}, to=multisend, value=0, data=data, operation=1)
        )
    )
    assert field == "message"
    assert "64" in problem


def test_safe_message() -> None:
    """A message in the Safe's name may be an order or a permit: nothing is known of it."""
    for domain in ({"verifyingContract": SAFE}, {"chainId": 1, "verifyingContract": SAFE}):
        value = document("SafeMessage(bytes message)", {"message": "0x1234"}, domain)
        intent = read(value)
        assert intent.effects == (effect(value, Operation.OPAQUE, source=SAFE, fee_max=None),)
        assert intent.completeness is Completeness.OPAQUE


VERSIONS = ("0.1.0", "1.0.0", "1.1.1", "1.2.0", "1.3.0", "1.4.1", "1.5.0")


def test_hashes_of_safe_eth_py() -> None:
    """2,000 random transactions of all versions have the hash that safe-eth-py computes."""
    chance = random.Random(71)  # noqa: S311 - test data
    for index in range(2_000):
        version = VERSIONS[index % len(VERSIONS)]
        old, chain_id = version == "0.1.0", chance.randint(1, 2**40)
        domain: dict[str, Any] = {"verifyingContract": "0x" + chance.randbytes(20).hex()}
        if version >= "1.3":
            domain = {"chainId": chain_id, **domain}
        to, token, receiver = ("0x" + chance.randbytes(20).hex() for _ in range(3))
        value, safe_gas, gas, nonce = (chance.choice([0, chance.randrange(2**256)]) for _ in range(4))
        data, operation = chance.randbytes(chance.randint(0, 100)), chance.randint(0, 1)
        ours = transaction(
            domain,
            "dataGas" if old else "baseGas",
            to=to,
            value=value,
            data="0x" + data.hex(),
            operation=operation,
            safeTxGas=safe_gas,
            **{"dataGas" if old else "baseGas": gas},
            gasToken=token,
            refundReceiver=receiver,
            nonce=nonce,
        )
        theirs = SafeTx(
            None,  # type: ignore[arg-type] # no network: version, nonce and chain are given
            _checksum(domain["verifyingContract"]),
            _checksum(to),
            value,
            data,
            operation,
            safe_gas,
            gas,
            0,
            _checksum(token),
            _checksum(receiver),
            safe_nonce=nonce,
            safe_version=version,
            chain_id=chain_id,
        )
        assert read(ours).signing_input == bytes(theirs.safe_tx_hash)


def _checksum(address: str) -> ChecksumAddress:
    return ChecksumAddress(checksum_address(address))  # type: ignore[arg-type] # a text is what it is


def test_owner_is_not_the_source() -> None:
    """The assets are the Safe's, not the signer's."""
    assert OWN not in {each.source for each in read(transaction({"chainId": 1, "verifyingContract": SAFE})).effects}
