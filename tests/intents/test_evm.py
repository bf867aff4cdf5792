"""EVM transactions: EIP-155 and EIP-1559 against published vectors, eth-account, rlp and hostile bytes."""

from typing import Any

import pytest
import rlp as pyrlp
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.errors import Broken, Malformed
from keyvault.core.intent import Completeness, Effect, Operation
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.intents import assemble, keccak256, parse, rlp
from tests.intents.building import ADDRESS, SECRET, dynamic_fee, legacy, sign, transaction

TO = bytes.fromhex(ADDRESS[2:])
WORDS = st.integers(0, 2**256 - 1)
# Half of the numbers are small: lengths of 0 and 1 byte are where encodings differ.
AMOUNTS = st.one_of(st.integers(0, 300), st.integers(0, 2**160))
GAS = st.one_of(st.integers(0, 300), st.integers(0, 2**64 - 1))
CHAINS = st.one_of(st.integers(1, 300), st.integers(1, 2**256 - 1))
DATA = st.one_of(st.just(b""), st.binary(max_size=300))


def test_example_of_eip_155() -> None:
    """The example in EIP-155 gives its digest, its signature and its raw transaction."""
    payload = transaction(legacy())
    intent = parse(payload)
    assert intent.signing_input.hex() == "daf5a779ae972f972197303d7b574746c7ef83eadac0f2791ad23db92e4c8e53"
    output = assemble(payload, sign(intent.signing_input))
    assert output.raw.hex() == (
        "f86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a76400008025a028ef61340bd939bc2195"
        "fe537567866003e1a15d3c71ff63e1590620aa636276a067cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83"
    )
    assert output.transaction_hash == keccak256(output.raw)


def test_transfer_states_everything() -> None:
    """A transfer without calldata is understood in full: destination, amount, highest fee, chain."""
    intent = parse(transaction(dynamic_fee()))
    assert intent.completeness is Completeness.FULL
    assert intent.algorithms == {KeyAlgorithm.SECP256K1}
    assert intent.issued_at is None
    expected = Effect(
        operation=Operation.TRANSFER, chain_id=1, destination=ADDRESS, amount=10**18, fee_max=21_000 * 30 * 10**9
    )
    assert intent.effects == (expected,)


@pytest.mark.parametrize(
    ("data", "selector"), [("a9059cbb" + "00" * 64, "0xa9059cbb"), ("a9059cbb", "0xa9059cbb"), ("a905", "0xa905")]
)
def test_call_states_its_selector(data: str, selector: str) -> None:
    """Calldata makes a CALL, understood in part; calldata shorter than a selector is given whole."""
    for encoded in (dynamic_fee(data=bytes.fromhex(data)), legacy(data=bytes.fromhex(data))):
        intent = parse(transaction(encoded))
        assert intent.completeness is Completeness.PARTIAL
        assert [(e.operation, e.selector, e.destination) for e in intent.effects] == [
            (Operation.CALL, selector, ADDRESS)
        ]


@pytest.mark.parametrize("data", [b"", b"\x60\x00"])
def test_no_destination_creates_a_contract(data: bytes) -> None:
    """A29: an empty ``to`` is CREATE, with neither destination nor selector, and never a transfer."""
    (effect,) = parse(transaction(dynamic_fee(to=b"", data=data))).effects
    assert (effect.operation, effect.destination, effect.selector) == (Operation.CREATE, None, None)


def test_burning_fees_shows() -> None:
    """A31: the highest fee is gas times the highest price, whatever the priority fee says."""
    (effect,) = parse(transaction(dynamic_fee(gas=rlp.integer(10**6), fee=rlp.integer(50 * 10**12)))).effects
    assert effect.fee_max == 50 * 10**18


REFUSED: list[tuple[str, bytes, str, str]] = [
    ("nothing", b"", "", "is empty"),
    ("A28 six items", rlp.encode((b"\x09", b"\x01", b"\x01", TO, b"", b"")), "", "no chain id"),
    ("A28 chain 0, EIP-1559", dynamic_fee(chain_id=b""), ".chainId", "is 0"),
    ("A28 chain 0, legacy", legacy(chain_id=b""), ".chainId", "is 0"),
    ("signed legacy", legacy(chain_id=b"\x25", r=b"\x01", s=b"\x01"), "", "is signed already"),
    ("signed EIP-1559", b"\x02" + rlp.encode((b"\x01",) * 12), "", "is signed already"),
    ("too few items", b"\x02" + rlp.encode((b"\x01",) * 8), "", "has 9 items, this list has 8"),
    ("EIP-2930", b"\x01" + dynamic_fee()[1:], "", "EIP-2930"),
    ("EIP-4844", b"\x03" + dynamic_fee()[1:], "", "EIP-4844"),
    ("EIP-7702", b"\x04" + dynamic_fee()[1:], "", "EIP-7702"),
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
        parse(transaction(data))
    assert caught.value.field == "evm_transaction" + field
    assert problem in caught.value.problem


def test_access_list_is_bounded() -> None:
    """As many addresses and keys as the limit are accepted, one more is refused."""
    keys = tuple(bytes((0,)) * 31 + bytes((n,)) for n in range(limits.ACCESS_LIST_ITEMS_MAX - 1))
    assert parse(transaction(dynamic_fee(access_list=((TO, keys),)))).completeness is Completeness.FULL
    with pytest.raises(Malformed, match="has more than 256 addresses and keys"):
        parse(transaction(dynamic_fee(access_list=((TO, keys), (TO, ())))))


def test_nesting_cannot_exhaust_the_stack() -> None:
    """A29: thousands of nested lists are refused, not a crash."""
    nested = b""
    for _ in range(5_000):
        nested = b"\xf9" + len(nested).to_bytes(2, "big") + nested if len(nested) > 255 else rlp.encode((nested,))
    with pytest.raises(Malformed, match="nested deeper than 4"):
        parse(transaction(nested))


@given(nonce=GAS, price=AMOUNTS, gas=GAS, value=WORDS, data=DATA, chain=CHAINS, create=st.booleans())
def test_legacy_signs_like_eth_account(
    *, nonce: int, price: int, gas: int, value: int, data: bytes, chain: int, create: bool
) -> None:
    """A legacy transaction has the digest, the raw bytes and the hash that eth-account gives, and round-trips."""
    numbers = {"nonce": min(nonce, 2**64 - 2), "gasPrice": min(price, 2**190), "gas": gas, "value": value}
    fields = {**numbers, "data": data, "chainId": chain, **({} if create else {"to": Account.from_key(SECRET).address})}
    to = b"" if create else bytes.fromhex(Account.from_key(SECRET).address[2:])
    heads = [rlp.integer(numbers[name]) for name in ("nonce", "gasPrice", "gas")]
    _check_like_eth_account(rlp.encode((*heads, to, rlp.integer(value), data, rlp.integer(chain), b"", b"")), fields)


@given(
    nonce=GAS,
    fees=st.tuples(AMOUNTS, AMOUNTS),
    gas=GAS,
    value=WORDS,
    data=DATA,
    chain=CHAINS,
    access=st.lists(st.tuples(st.binary(min_size=20, max_size=20), st.lists(st.binary(min_size=32, max_size=32)))),
)
def test_dynamic_fee_signs_like_eth_account(
    *,
    nonce: int,
    fees: tuple[int, int],
    gas: int,
    value: int,
    data: bytes,
    chain: int,
    access: list[tuple[bytes, list[bytes]]],
) -> None:
    """An EIP-1559 transaction has the digest, the raw bytes and the hash that eth-account gives, and round-trips."""
    numbers = {
        "chainId": chain,
        "nonce": min(nonce, 2**64 - 2),
        "maxPriorityFeePerGas": min(fees),
        "maxFeePerGas": max(fees),
        "gas": gas,
    }
    entries = tuple((address, tuple(keys)) for address, keys in access)
    fields = {
        **numbers,
        "type": 2,
        "to": Account.from_key(SECRET).address,
        "value": value,
        "data": data,
        "accessList": [
            {"address": "0x" + address.hex(), "storageKeys": ["0x" + key.hex() for key in keys]}
            for address, keys in entries
        ],
    }
    heads = [rlp.integer(number) for number in numbers.values()]
    to = bytes.fromhex(Account.from_key(SECRET).address[2:])
    _check_like_eth_account(b"\x02" + rlp.encode((*heads, to, rlp.integer(value), data, entries)), fields)


def _check_like_eth_account(unsigned: bytes, fields: dict[str, Any]) -> None:
    payload = transaction(unsigned)
    signed = Account.sign_transaction(fields, SECRET)
    intent = parse(payload)
    output = assemble(payload, sign(intent.signing_input))
    assert output.raw == bytes(signed.raw_transaction)
    assert output.transaction_hash == bytes(signed.hash)
    (effect,) = intent.effects
    assert effect.chain_id == fields["chainId"]
    assert effect.amount == fields["value"]
    assert effect.destination == (fields["to"].lower() if "to" in fields else None)
    assert effect.fee_max == fields["gas"] * fields.get("maxFeePerGas", fields.get("gasPrice"))


MUTATED = st.tuples(
    st.sampled_from(
        [dynamic_fee(), legacy(), dynamic_fee(data=bytes(60)), dynamic_fee(access_list=((TO, (bytes(32),)),))]
    ),
    st.lists(st.tuples(st.integers(0, 200), st.sampled_from("=+-"), st.integers(0, 255)), min_size=1, max_size=4),
)


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
        intent = parse(transaction(data))
    except Malformed:
        return
    envelope, items = data[: data[0] == 2], pyrlp.decode(data[data[0] == 2 :], strict=True)
    assert envelope + pyrlp.encode(items) == data
    assert intent.signing_input == keccak256(data)
    (effect,) = intent.effects
    chain, price, gas, to, value = (0, 3, 4, 5, 6) if envelope else (6, 1, 2, 3, 4)
    assert effect.chain_id == int.from_bytes(items[chain], "big")
    assert effect.amount == int.from_bytes(items[value], "big")
    assert effect.destination == ("0x" + items[to].hex() if items[to] else None)
    assert effect.fee_max == int.from_bytes(items[gas], "big") * int.from_bytes(items[price], "big")


@given(st.binary(max_size=80))
def test_noise_is_malformed(data: bytes) -> None:
    """Random bytes, with and without an envelope or a list around them, never crash the decoder."""
    for noise in (data, b"\x02" + data, b"\x02" + rlp.encode((data,)), b"\xf8" + bytes((len(data),)) + data):
        with pytest.raises(Malformed):
            parse(transaction(noise))


ITEMS: st.SearchStrategy[Any] = st.recursive(
    st.binary(max_size=70), lambda inner: st.lists(inner, max_size=4), max_leaves=9
)


@given(st.lists(ITEMS, max_size=4))
def test_rlp_agrees_with_pyrlp(items: list[Any]) -> None:
    """Lists encode as in pyrlp, and decode to themselves unless they are too deep."""
    data = rlp.encode(items)
    assert data == pyrlp.encode(items)
    try:
        decoded = rlp.decode_list(data, "x")
    except Malformed as error:
        assert "nested deeper" in error.problem  # noqa: PT017 - the only reason to refuse
        return
    assert rlp.encode(decoded) == data


@given(st.binary(max_size=12))
def test_rlp_accepts_what_pyrlp_accepts(content: bytes) -> None:
    """Of arbitrary bytes, exactly those lists are accepted that strict pyrlp accepts, apart from depth."""
    data = bytes((0xC0 + len(content),)) + content
    try:
        accepted = rlp.encode(rlp.decode_list(data, "x")) == data
    except Malformed as error:
        accepted = "nested deeper" in error.problem  # pyrlp has no bound
    try:
        expected = pyrlp.encode(pyrlp.decode(data, strict=True)) == data
    except pyrlp.exceptions.DecodingError:
        expected = False
    assert accepted == expected


@pytest.mark.parametrize(
    "signature",
    [
        Signature(value=b"\1" * 64),
        Signature(value=b"\1" * 64, recovery_id=2),
        Signature(value=b"\1" * 63, recovery_id=0),
        Signature(value=bytes(64), recovery_id=0),
    ],
)
def test_unfit_signature_is_broken(signature: Signature) -> None:
    """A signature that no secp256k1 token returns never becomes a transaction."""
    with pytest.raises(Broken):
        assemble(transaction(dynamic_fee()), signature)
