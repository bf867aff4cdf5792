"""EVM transactions: facts, refusals, hostile bytes; the published example of EIP-155."""

from typing import Any

import pytest
import rlp as pyrlp
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.errors import Broken, Malformed
from keyvault.core.intent import Bound, Completeness, Effect, Operation
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.intents import evm, keccak256, rlp
from tests.intents.building import ADDRESS, dynamic_fee, legacy, sign, transaction
from tests.intents.building_evm import ACCOUNT, OTHER_SIGNER, SIGNER, TOKEN, TRANSFER, calling, parsed

TO = bytes.fromhex(ADDRESS[2:])
FEE = 21_000 * 30 * 10**9
COIN = Effect(operation=Operation.TRANSFER, chain_id=1, destination=ADDRESS, amount=10**18, fee_max=FEE, source=ACCOUNT)


def test_example_of_eip_155() -> None:
    """The example in EIP-155 gives its digest, its signature and its raw transaction."""
    payload = transaction(legacy())
    intent = evm.parse(payload, SIGNER)
    assert intent.signing_input.hex() == "daf5a779ae972f972197303d7b574746c7ef83eadac0f2791ad23db92e4c8e53"
    output = evm.assemble(payload, SIGNER, sign(intent.signing_input))
    assert output.raw.hex() == (
        "f86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a76400008025a028ef61340bd939bc2195"
        "fe537567866003e1a15d3c71ff63e1590620aa636276a067cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83"
    )
    assert output.transaction_hash == keccak256(output.raw)


def test_transfer_states_everything() -> None:
    """A transfer without calldata is understood in full: account, destination, amount, highest fee, chain, slot."""
    intent = parsed(dynamic_fee())
    assert intent.effects == (COIN,)
    assert intent.completeness is Completeness.FULL
    assert intent.algorithms == {KeyAlgorithm.SECP256K1}
    assert intent.binds == {Bound.CHAIN, Bound.NONCE, Bound.ACCOUNT}
    assert intent.slot == f"eip155:1:{ACCOUNT}:9"
    assert (intent.issued_at, intent.not_before, intent.expires_at, intent.stamped) == (None, None, None, False)


def test_a_token_is_stated_with_the_fee_on_the_first_effect() -> None:
    """A call with coin is two effects: the coin with the fee, the token without."""
    intent = parsed(calling(TOKEN, TRANSFER, 3))
    coin, token = intent.effects
    assert (coin.fee_max, coin.amount, coin.asset, coin.contract) == (FEE, 3, None, TOKEN)
    assert (token.fee_max, token.amount, token.asset, token.source) == (0, 5_000_000, TOKEN, ACCOUNT)
    assert intent.completeness is Completeness.FULL


def test_a08_retries_fill_one_slot() -> None:
    """A08: transactions of one account and nonce share a slot whatever they do, and no others do."""
    first, retry = parsed(calling(TOKEN, TRANSFER)), parsed(calling(ADDRESS, b"\x36\x59\xcf\xe6" + bytes(32)))
    assert first.slot == retry.slot
    assert (first.signing_input, first.effects) != (retry.signing_input, retry.effects)
    others = [parsed(calling(TOKEN, TRANSFER, nonce=b"\x0a")), parsed(calling(TOKEN, TRANSFER, chain_id=b"\x0a"))]
    assert len({first.slot, *(other.slot for other in others)}) == 3
    assert parsed(legacy()).slot == first.slot


@pytest.mark.parametrize("data", [b"", b"\x60\x00"])
def test_a29_no_destination_creates_a_contract(data: bytes) -> None:
    """A29: an empty ``to`` is CREATE, with neither destination nor selector; coin for it is a transfer besides."""
    intent = parsed(dynamic_fee(to=b"", data=data, nonce=b"\x09"))
    address = keccak256(pyrlp.encode([bytes.fromhex(ACCOUNT[2:]), 9]))[12:].hex()
    create = Effect(operation=Operation.CREATE, chain_id=1, source=ACCOUNT, fee_max=FEE)
    coin = Effect(
        operation=Operation.TRANSFER,
        chain_id=1,
        source=ACCOUNT,
        destination="0x" + address,
        amount=10**18,
        fee_max=0,
    )
    assert (intent.effects, intent.completeness) == ((create, coin), Completeness.PARTIAL)
    assert parsed(dynamic_fee(to=b"", data=data, value=b"")).effects == (create,)


def test_a31_burning_fees_shows() -> None:
    """A31: the highest fee is gas times the highest price, whatever the priority fee says."""
    (effect,) = parsed(dynamic_fee(gas=rlp.integer(10**6), fee=rlp.integer(50 * 10**12))).effects
    assert effect.fee_max == 50 * 10**18
    (effect,) = parsed(legacy(gas_price=rlp.integer(50 * 10**12), gas=rlp.integer(10**6))).effects
    assert effect.fee_max == 50 * 10**18


def test_a_key_without_an_account_learns_nothing() -> None:
    """For a key that cannot sign it a transaction is OPAQUE, without slot: the algorithm refuses it anyway."""
    intent = evm.parse(transaction(dynamic_fee()), OTHER_SIGNER)
    assert intent.effects == (Effect(operation=Operation.OPAQUE, chain_id=1, fee_max=FEE),)
    assert (intent.slot, intent.completeness) == (None, Completeness.OPAQUE)
    assert OTHER_SIGNER.algorithm not in intent.algorithms


BLOB = b"\x01" + bytes(31)


def blobs(*hashes: rlp.Item, **changes: rlp.Item) -> bytes:
    """Return an EIP-4844 transaction at 2 gwei per blob gas."""
    items = pyrlp.decode(dynamic_fee(**changes)[1:])
    encoded: bytes = pyrlp.encode([*items, rlp.integer(2 * 10**9), list(hashes)])
    return b"\x03" + encoded


def test_blobs_cost_their_gas() -> None:
    """The highest fee of an EIP-4844 transaction has 131,072 blob gas for each blob."""
    intent = parsed(blobs(BLOB, BLOB))
    assert intent.effects[0].fee_max == FEE + 2 * 131_072 * 2 * 10**9
    assert (intent.effects[0].amount, intent.completeness) == (10**18, Completeness.FULL)


def tuples(*entries: rlp.Item, **changes: rlp.Item) -> bytes:
    """Return an EIP-7702 transaction with these authorizations."""
    encoded: bytes = pyrlp.encode([*pyrlp.decode(dynamic_fee(**changes)[1:]), list(entries)])
    return b"\x04" + encoded


ENTRY = (b"\x01", TO, b"", b"", b"\x01", b"\x01")
"""An authorization with r = s = 1: some key has made it."""
HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0

REFUSED: list[tuple[str, bytes, str, str]] = [
    ("nothing", b"", "", "is empty"),
    ("A28 six items", rlp.encode((b"\x09", b"\x01", b"\x01", TO, b"", b"")), "", "no chain id"),
    ("A28 chain 0, EIP-1559", dynamic_fee(chain_id=b""), ".chainId", "is 0"),
    ("A28 chain 0, legacy", legacy(chain_id=b""), ".chainId", "is 0"),
    ("signed legacy", legacy(chain_id=b"\x25", r=b"\x01", s=b"\x01"), "", "is signed already"),
    ("half signed legacy", legacy(r=b"\x01"), "", "is signed already"),
    ("list as r", legacy(r=()), "", "a list in the place of r or s"),
    ("signed EIP-1559", b"\x02" + rlp.encode((b"\x01",) * 12), "", "is signed already"),
    ("too few items", b"\x02" + rlp.encode((b"\x01",) * 8), "", "has 9 items, this list has 8"),
    ("too few items, legacy", rlp.encode((b"\x01",) * 8), "", "a legacy transaction has 9 items, this list has 8"),
    ("signed EIP-2930", b"\x01" + rlp.encode((b"\x01",) * 11), "", "is signed already"),
    ("EIP-1559 as EIP-2930", b"\x01" + dynamic_fee()[1:], "", "an EIP-2930 transaction has 8 items"),
    ("EIP-1559 as EIP-4844", b"\x03" + dynamic_fee()[1:], "", "an EIP-4844 transaction has 11 items"),
    ("EIP-1559 as EIP-7702", b"\x04" + dynamic_fee()[1:], "", "an EIP-7702 transaction has 10 items"),
    ("no blobs", blobs(), ".blobVersionedHashes", "1 to 6 hashes"),
    ("seven blobs", blobs(*(BLOB,) * 7), ".blobVersionedHashes", "1 to 6 hashes"),
    ("blob of another version", blobs(b"\x02" + bytes(31)), ".blobVersionedHashes", "the first 0x01"),
    ("short blob hash", blobs(BLOB[:-1]), ".blobVersionedHashes", "32 bytes"),
    ("list as blob hash", blobs((BLOB,)), ".blobVersionedHashes", "32 bytes"),
    ("blobs without destination", blobs(BLOB, to=b""), ".to", "cannot create"),
    ("no authorizations", tuples(), ".authorizationList", "1 to 16 authorizations"),
    ("17 authorizations", tuples(*(ENTRY,) * 17), ".authorizationList", "1 to 16 authorizations"),
    ("authorizations without destination", tuples(ENTRY, to=b""), ".to", "cannot create"),
    ("bytes as authorization", tuples(b"\x01"), ".authorizationList", "each must be"),
    ("unsigned authorization", tuples(ENTRY[:3]), ".authorizationList", "each must be"),
    ("authorization of short address", tuples((b"\x01", TO[1:], *ENTRY[2:])), ".authorizationList", "20 bytes"),
    ("authorization with parity 2", tuples((*ENTRY[:3], b"\x02", *ENTRY[4:])), ".authorizationList", "higher than 0x1"),
    ("authorization with r 0", tuples((*ENTRY[:4], b"", b"\x01")), ".authorizationList", "must not be 0"),
    ("authorization with high s", tuples((*ENTRY[:5], rlp.integer(HALF_ORDER + 1))), ".authorizationList", "higher"),
    ("authorization by nobody", tuples((*ENTRY[:4], b"\x05", b"\x01")), ".authorizationList", "no key can have made"),
    ("authorization with padded nonce", tuples((*ENTRY[:2], b"\x00", *ENTRY[3:])), ".authorizationList", "zero byte"),
    ("authorization with last nonce", tuples((*ENTRY[:2], b"\xff" * 8, *ENTRY[3:])), ".authorizationList", "higher"),
    ("authorization with list", tuples((*ENTRY[:2], (), *ENTRY[3:])), ".authorizationList", "holds a list"),
    ("EIP-7702 authorization", b"\x05" + rlp.encode((b"", TO, b"")), "", "EIP-7702 authorization"),
    ("EIP-191", b"\x19Ethereum Signed Message:\n32" + bytes(32), "", "EIP-191"),
    ("hex text", b"0x02ef", "", "not their hex text"),
    ("unknown type", b"\x7f", "", "starts no known transaction"),
    ("not a list", b"\x02\x80", "", "is not an RLP list"),
    ("A29 trailing byte", dynamic_fee() + b"\0", "", "1 bytes follow"),
    ("cut off", dynamic_fee()[:-1], "", "is longer than what holds it"),
    ("A29 padded length", b"\x02\xf8\x05" + bytes(5), "", "shortest form"),
    ("A29 length with zeros", b"\x02\xf9\x00\x38" + bytes(56), "", "shortest form"),
    ("length cut off", b"\x02\xf9\x01", "", "cut off"),
    ("byte in long form", b"\x02\xc2\x81\x01", "", "shortest form"),
    ("leading zero", dynamic_fee(nonce=b"\x00"), ".nonce", "zero byte"),
    ("padded value", legacy(value=b"\x00\x01"), ".value", "zero byte"),
    ("EIP-2681 nonce", dynamic_fee(nonce=b"\xff" * 8), ".nonce", "is higher than"),
    ("huge gas", dynamic_fee(gas=b"\x01" + bytes(8)), ".gas", "is higher than"),
    ("huge value", dynamic_fee(value=b"\x01" * 33), ".value", "is higher than"),
    ("fee over 256 bits", legacy(gas_price=b"\xff" * 32), ".gas", "does not fit"),
    ("priority above fee", dynamic_fee(priority_fee=b"\x02", fee=b"\x01"), ".maxPriorityFeePerGas", "higher than"),
    ("short address", dynamic_fee(to=TO[1:]), ".to", "has 19 bytes"),
    ("address as word", dynamic_fee(to=bytes(12) + TO), ".to", "has 32 bytes"),
    ("list as nonce", dynamic_fee(nonce=()), ".nonce", "is a list"),
    ("bytes as access list", dynamic_fee(access_list=b""), ".accessList", "must be a list"),
    ("bare address in access list", dynamic_fee(access_list=(TO,)), ".accessList", "each entry"),
    ("short address in access list", dynamic_fee(access_list=((TO[1:], ()),)), ".accessList", "20 bytes"),
    ("short key in access list", dynamic_fee(access_list=((TO, (b"\x01",)),)), ".accessList", "32-byte"),
    ("A29 deep", dynamic_fee(access_list=((TO, ((),)),))[:1] + rlp.encode((((((),),),),)), "", "nested deeper"),
]


@pytest.mark.parametrize(("data", "field", "problem"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(data: bytes, field: str, problem: str) -> None:
    """What is not one unsigned transaction for one chain, in canonical form, is Malformed with place and reason."""
    with pytest.raises(Malformed) as caught:
        parsed(data)
    assert caught.value.field == "evm_transaction" + field
    assert problem in caught.value.problem


def test_access_list_is_bounded() -> None:
    """As many addresses and keys as the limit are accepted, one more is refused."""
    keys = tuple(bytes((0,)) * 31 + bytes((n,)) for n in range(limits.ACCESS_LIST_ITEMS_MAX - 1))
    assert parsed(dynamic_fee(access_list=((TO, keys),))).completeness is Completeness.FULL
    with pytest.raises(Malformed, match="has more than 256 addresses and keys"):
        parsed(dynamic_fee(access_list=((TO, keys), (TO, ()))))


def test_nesting_cannot_exhaust_the_stack() -> None:
    """A29: thousands of nested lists are refused, not a crash."""
    nested = b""
    for _ in range(5_000):
        nested = b"\xf9" + len(nested).to_bytes(2, "big") + nested if len(nested) > 255 else rlp.encode((nested,))
    with pytest.raises(Malformed, match="nested deeper than 4"):
        parsed(nested)


MUTATED = st.tuples(
    st.sampled_from(
        [
            dynamic_fee(),
            legacy(),
            dynamic_fee(data=bytes(60)),
            dynamic_fee(access_list=((TO, (bytes(32),)),)),
            calling(TOKEN, TRANSFER, 3),
            blobs(BLOB),
            tuples(ENTRY),
        ]
    ),
    st.lists(st.tuples(st.integers(0, 200), st.sampled_from("=+-"), st.integers(0, 255)), min_size=1, max_size=4),
)
PLACES = {0x01: (0, 2, 3, 4, 5), 0x02: (0, 3, 4, 5, 6), 0x03: (0, 3, 4, 5, 6), 0x04: (0, 3, 4, 5, 6)}
"""Places of chain, price, gas, to and value by type of transaction."""


@given(MUTATED)
def test_mutations_are_malformed_or_other_transactions(
    case: tuple[bytes, list[tuple[int, str, int]]],
) -> None:
    """A changed transaction is refused, or it is canonical and its facts are those that pyrlp reads from its bytes."""
    data, changes = case
    for place, how, byte in changes:
        at = place % (len(data) + 1)
        data = data[:at] + bytes((byte,) * (how != "-")) + data[at + (how != "+") :]
    try:
        intent = parsed(data)
    except Malformed:
        return
    envelope = data[: data[0] in PLACES]
    items: list[Any] = pyrlp.decode(data[len(envelope) :], strict=True)
    assert envelope + pyrlp.encode(items) == data
    assert intent.signing_input == keccak256(data)
    chain, price, gas, to, value = PLACES.get(data[0], (6, 1, 2, 3, 4))
    first = intent.effects[0]
    blob_fee = 131_072 * len(items[10]) * int.from_bytes(items[9], "big") if envelope == b"\x03" else 0
    assert first.chain_id == int.from_bytes(items[chain], "big")
    assert first.fee_max == int.from_bytes(items[gas], "big") * int.from_bytes(items[price], "big") + blob_fee
    assert all(effect.fee_max == 0 for effect in intent.effects[1:])
    amount = int.from_bytes(items[value], "big")
    coins = [each.amount for each in intent.effects if each.operation is Operation.TRANSFER and each.asset is None]
    assert coins == [amount] * bool(amount or (items[to] and not items[value + 1]))


@given(st.binary(max_size=80))
def test_noise_is_malformed(data: bytes) -> None:
    """Random bytes, with and without an envelope or a list around them, never crash the decoder."""
    envelopes = (bytes((kind,)) + data for kind in range(6))
    for noise in (data, *envelopes, b"\x02" + rlp.encode((data,)), b"\xf8" + bytes((len(data),)) + data):
        with pytest.raises(Malformed):
            parsed(noise)


@pytest.mark.parametrize(
    "signature",
    [
        Signature(value=b"\1" * 64),
        Signature(value=b"\1" * 64, recovery_id=2),
        Signature(value=b"\1" * 63, recovery_id=0),
        Signature(value=bytes(64), recovery_id=0),
        Signature(value=bytes(32) + b"\1" * 32, recovery_id=0),
        Signature(value=b"\1" * 32 + bytes(32), recovery_id=0),
    ],
)
def test_unfit_signature_is_broken(signature: Signature) -> None:
    """A signature that no secp256k1 token returns never becomes a transaction."""
    with pytest.raises(Broken):
        evm.assemble(transaction(dynamic_fee()), SIGNER, signature)
