"""EIP-7702: authorizations to sign, and those that transactions carry."""

from typing import Any

import pytest
import rlp as pyrlp
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core.errors import Broken, Malformed
from keyvault.core.intent import Bound, Completeness, Effect, Operation, Payload, PayloadKind
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.intents import keccak256, rlp
from keyvault.intents.evm_authorization import assemble, parse
from tests.intents.building import ADDRESS, SECRET, dynamic_fee, sign
from tests.intents.building_evm import ACCOUNT, OTHER_SIGNER, SIGNER, ZERO, authorization, mutations, parsed

SWEEPER = "0x" + "e7" * 20
OTHER_SECRET = bytes.fromhex("47" * 32)
OTHER: str = Account.from_key(OTHER_SECRET).address.lower()
FEE = 21_000 * 30 * 10**9


def delegation(chain: int | None, source: str, destination: str = SWEEPER) -> Effect:
    return Effect(operation=Operation.DELEGATE, chain_id=chain, destination=destination, source=source, fee_max=0)


def carrying(*entries: Any) -> bytes:  # noqa: ANN401 - any RLP item
    """Return a transaction of type 4 with these entries."""
    encoded: bytes = pyrlp.encode([*pyrlp.decode(dynamic_fee()[1:]), list(entries)])
    return b"\x04" + encoded


def entry(chain: int, nonce: int, secret: bytes, address: str = SWEEPER) -> list[bytes]:
    """Return a signed authorization, made without our code."""
    signed = Account.sign_authorization({"chainId": chain, "address": address, "nonce": nonce}, secret)
    numbers = (signed.y_parity, signed.r, signed.s)
    return [rlp.integer(chain), bytes.fromhex(address[2:]), rlp.integer(nonce), *map(rlp.integer, numbers)]


def test_an_authorization_hands_the_account_to_code() -> None:
    """On one chain it is DELEGATE of the account to the code there, and shares its slot with a transaction."""
    intent = parse(authorization(1, SWEEPER, 9), SIGNER)
    assert intent.effects == (delegation(1, ACCOUNT),)
    assert intent.completeness is Completeness.PARTIAL
    assert intent.algorithms == {KeyAlgorithm.SECP256K1}
    assert intent.binds == {Bound.CHAIN, Bound.NONCE, Bound.ACCOUNT}
    assert intent.slot == parsed(dynamic_fee()).slot
    assert intent.expires_at is None


def test_a27_all_chains_is_no_known_chain() -> None:
    """A27: chain id 0 is valid everywhere; its chain is unknown, it is not bound, and no slot ends it."""
    intent = parse(authorization(0, SWEEPER, 9), SIGNER)
    assert intent.effects == (delegation(None, ACCOUNT),)
    assert intent.binds == {Bound.NONCE, Bound.ACCOUNT}
    assert intent.slot is None


def test_a27_a_transaction_states_whom_it_hands_over() -> None:
    """A27: a type 4 transaction is its call, and each authority handed to its code, ours among them."""
    data = carrying(entry(0, 7, SECRET), entry(1, 8, OTHER_SECRET), entry(10, 8, OTHER_SECRET, ZERO))
    intent = parsed(data)
    coin = Effect(
        operation=Operation.TRANSFER, chain_id=1, destination=ADDRESS, amount=10**18, fee_max=FEE, source=ACCOUNT
    )
    assert intent.effects == (coin, delegation(None, ACCOUNT), delegation(1, OTHER), delegation(10, OTHER, ZERO))
    assert intent.completeness is Completeness.PARTIAL


def test_clearing_is_a_delegation_to_nobody() -> None:
    """The zero address takes a delegation back; it is stated like any other."""
    assert parse(authorization(1, ZERO, 0), SIGNER).effects == (delegation(1, ACCOUNT, ZERO),)


@given(chain=st.integers(0, 2**256 - 1), address=st.binary(min_size=20, max_size=20), nonce=st.integers(0, 2**64 - 2))
def test_signed_like_eth_account(chain: int, address: bytes, nonce: int) -> None:
    """Digest and signature are those of eth-account, and its recovered authority is our account."""
    payload = authorization(chain, "0x" + address.hex(), nonce)
    intent = parse(payload, SIGNER)
    expected = Account.sign_authorization({"chainId": chain, "address": "0x" + address.hex(), "nonce": nonce}, SECRET)
    output = assemble(payload, SIGNER, sign(intent.signing_input))
    assert intent.signing_input == bytes(expected.authorization_hash) == keccak256(payload.parts[0])
    assert output.raw == expected.signature.to_bytes()
    assert "0x" + expected.authority.hex() == ACCOUNT


def raw(*items: rlp.Item) -> bytes:
    return b"\x05" + rlp.encode(items)


TO = bytes.fromhex(SWEEPER[2:])
REFUSED: list[tuple[str, bytes, str]] = [
    ("nothing", b"", "must begin with 0x05"),
    ("transaction", dynamic_fee(), "must begin with 0x05"),
    ("no list", b"\x05\x80", "is not an RLP list"),
    ("two items", raw(b"\x01", TO), "has 2 items"),
    ("signed", raw(b"\x01", TO, b"", b"", b"\x01", b"\x01"), "has 6 items"),
    ("trailing byte", raw(b"\x01", TO, b"") + b"\0", "1 bytes follow"),
    ("short address", raw(b"\x01", TO[1:], b""), "20 bytes"),
    ("no address", raw(b"\x01", b"", b""), "20 bytes"),
    ("list as address", raw(b"\x01", (TO,), b""), "20 bytes"),
    ("list as chain", raw((), TO, b""), "holds a list"),
    ("padded chain", raw(b"\x00", TO, b""), "zero byte"),
    ("chain of 33 bytes", raw(b"\x01" * 33, TO, b""), "is higher than"),
    ("last nonce", raw(b"\x01", TO, b"\xff" * 8), "is higher than"),
]


@pytest.mark.parametrize(("data", "problem"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(data: bytes, problem: str) -> None:
    """What is not exactly one authorization is Malformed with the reason."""
    with pytest.raises(Malformed) as caught:
        parse(Payload(kind=PayloadKind.EVM_AUTHORIZATION, parts=(data,)), SIGNER)
    assert caught.value.field == "evm_authorization"
    assert problem in caught.value.problem


def test_mutations_are_malformed_or_other_authorizations() -> None:
    """A changed authorization is refused, or states what pyrlp reads from its bytes."""
    for changed in mutations(raw(b"\x01", TO, b"\x09")):
        try:
            intent = parse(Payload(kind=PayloadKind.EVM_AUTHORIZATION, parts=(changed,)), SIGNER)
        except Malformed:
            continue
        chain, address, _ = pyrlp.decode(changed[1:], strict=True)
        expected = delegation(int.from_bytes(chain, "big") or None, ACCOUNT, "0x" + address.hex())
        assert intent.effects == (expected,)


@given(st.binary(max_size=120))
def test_noise_in_an_authorization_list_never_crashes(data: bytes) -> None:
    """Whatever stands in the places of r and s, the tuple is refused or somebody's."""
    good = entry(1, 1, OTHER_SECRET)
    for bad in (data, [*good[:4], data[:32], data[32:64]], [*good[:3], data[:1], *good[4:]], [data] * 6):
        try:
            effects = parsed(carrying(bad)).effects
        except Malformed as error:
            assert error.field.startswith("evm_transaction")  # noqa: PT017 - Malformed is one of two outcomes
            continue
        assert effects[1].source is not None


def test_a_key_without_an_account() -> None:
    """For a key of another algorithm there is no account and no slot, and the algorithm is refused."""
    intent = parse(authorization(1, SWEEPER, 9), OTHER_SIGNER)
    assert (intent.effects[0].source, intent.slot) == (None, None)
    assert OTHER_SIGNER.algorithm not in intent.algorithms


def test_unfit_signature_is_broken() -> None:
    """Without a recovery id there is no y_parity."""
    with pytest.raises(Broken):
        assemble(authorization(1, SWEEPER, 9), SIGNER, Signature(value=b"\1" * 64))
