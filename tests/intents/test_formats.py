"""What all formats share: bounds, raw digests, addresses, and words for people."""

import pytest
from coincurve import PrivateKey
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.intent import Completeness, Effect, Operation, Output, Payload, PayloadKind
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.intents import ANYBODY, assemble, described, ethereum_address, keccak256, parse, parse_address, rlp
from keyvault.intents.formats import PARTS
from tests.intents.building import ADDRESS, SECRET, TIME, dynamic_fee, mail, request, transaction, typed_data


@pytest.mark.parametrize("kind", list(PayloadKind))
def test_payloads_are_bounded(kind: PayloadKind) -> None:
    """A payload above the limit is refused before it is read, whatever its format."""
    part = b"\x02" * (limits.PAYLOAD_BYTES_MAX + 1)
    parts = (part, *(b"",) * (PARTS[kind] - 1))
    with pytest.raises(Malformed, match="has more than 24576 bytes"):
        parse(Payload(kind=kind, parts=parts), ANYBODY)


@pytest.mark.parametrize("kind", list(PayloadKind))
@pytest.mark.parametrize("count", [0, 6])
def test_payloads_have_their_parts(kind: PayloadKind, count: int) -> None:
    """A payload with another number of parts than its format has is refused."""
    with pytest.raises(Malformed, match=r"part\(s\), not"):
        parse(Payload(kind=kind, parts=(b"x",) * count), ANYBODY)


@given(st.sampled_from(list(PayloadKind)), st.binary(max_size=200), st.binary(max_size=20))
def test_nothing_but_malformed_escapes(kind: PayloadKind, first: bytes, second: bytes) -> None:
    """For arbitrary bytes, every decoder returns an intent or raises Malformed with a place and a problem."""
    parts = (first, second, b"GET", b"{}", b"1")[: PARTS[kind]]
    try:
        parse(Payload(kind=kind, parts=parts), ANYBODY)
    except Malformed as error:
        said = (error.field, error.problem)
    else:
        said = ("payload", "accepted")
    assert all(said)


def test_raw_digest_is_opaque() -> None:
    """32 bytes are signed as they are, state nothing, and have no further output."""
    payload = Payload(kind=PayloadKind.RAW_DIGEST, parts=(bytes(range(32)),))
    intent = parse(payload, ANYBODY)
    assert intent.signing_input == bytes(range(32))
    assert intent.effects == (Effect(operation=Operation.OPAQUE),)
    assert intent.completeness is Completeness.OPAQUE
    assert intent.algorithms == {KeyAlgorithm.SECP256K1, KeyAlgorithm.P256}
    assert assemble(payload, ANYBODY, Signature(value=bytes(64))) == Output()


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_other_lengths_are_no_digest(length: int) -> None:
    """A digest has exactly 32 bytes."""
    with pytest.raises(Malformed, match="must have exactly 32"):
        parse(Payload(kind=PayloadKind.RAW_DIGEST, parts=(bytes(length),)), ANYBODY)


@given(st.binary(max_size=300))
def test_keccak_is_that_of_ethereum(data: bytes) -> None:
    """keccak256 agrees with eth-utils."""
    assert keccak256(data) == keccak(data)


@given(st.binary(min_size=20, max_size=20))
def test_addresses_have_eip_55_case(address: bytes) -> None:
    """Lower, upper and checksummed spellings are one address; the checksum is that of eth-utils."""
    lower = "0x" + address.hex()
    checksummed = to_checksum_address(lower)
    for text in (lower, "0x" + address.hex().upper(), checksummed):
        assert parse_address(text) == lower


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD".swapcase().replace("0X", "0x"), "wrong EIP-55 checksum"),
        ("0x5aaeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "wrong EIP-55 checksum"),
        ("0X" + "35" * 20, "is not 0x and 40 hex digits"),
        ("35" * 20, "is not 0x and 40 hex digits"),
        (ADDRESS + "\n", "is not 0x and 40 hex digits"),
        (ADDRESS + "00", "is not 0x and 40 hex digits"),
        ("", "is not 0x and 40 hex digits"),
        ("0x" + "٣" * 40, "is not 0x and 40 hex digits"),
    ],
)
def test_wrong_addresses_are_refused(text: str, problem: str) -> None:
    """A wrong checksum, prefix, length or digit is refused."""
    with pytest.raises(Malformed, match=problem):
        parse_address(text)


def test_address_of_a_public_key() -> None:
    """The address of EIP-155's example key, in EIP-55 case; anything but an uncompressed point is refused."""
    point = PrivateKey(SECRET).public_key.format(compressed=False)
    assert ethereum_address(point) == "0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F"
    for wrong in (point[1:], point + b"\0", b"\x02" + point[1:], b""):
        with pytest.raises(Malformed, match="uncompressed point"):
            ethereum_address(wrong)


def bybit(body: str) -> Payload:
    """Return an order at Bybit."""
    return Payload(
        kind=PayloadKind.BYBIT_REST, parts=(b"POST", b"/v5/order/create", b"", body.encode(), b"ABCDEFGHIJ12345678")
    )


def okx(body: str) -> Payload:
    """Return an order at OKX."""
    return Payload(kind=PayloadKind.OKX_REST, parts=(b"POST", b"/api/v5/trade/order", b"", body.encode(), b"key"))


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (
            transaction(dynamic_fee(value=rlp.integer(15 * 10**17))),
            f"Sends 1.5 native coin to {ADDRESS} on chain 1, for a fee of at most 0.00063 native coin.",
        ),
        (
            transaction(dynamic_fee(data=b"\xa9\x05\x9c\xbc", value=b"")),
            f"Calls 0xa9059cbc of the contract {ADDRESS} on chain 1, for a fee of at most 0.00063 native coin.",
        ),
        (
            transaction(dynamic_fee(data=b"\x60", value=b"\x01", to=b"")),
            (
                "Creates a contract on chain 1, for a fee of at most 0.00063 native coin.\n"
                "Sends 0.000000000000000001 native coin to 0x66a15edcC3b50a663e72F1457FFd49b9AE284dDc on chain 1."
            ),
        ),
        (
            typed_data(mail()),
            "Signs typed data Mail for the contract 0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC on chain 1.",
        ),
        (
            request(f"symbol=LTCBTC&side=SELL&type=MARKET&quantity=1&{TIME}"),
            "Places or changes an order at binance: SELL 1, symbol LTCBTC.",
        ),
        (
            request(f"symbol=AB&side=SELL&type=STOP_LOSS_LIMIT&quantity=1&price=2&stopPrice=3&isIsolated=TRUE&{TIME}"),
            "Places or changes an order at binance: SELL 1, symbol AB at 2 (isolated), NOT AT ONCE BUT ON trigger 3.",
        ),
        (
            request(f"symbol=BTCUSD_PERP&side=BUY&type=LIMIT&quantity=7&price=9&{TIME}"),
            "Places or changes an order at binance: BUY 7 contracts, symbol BTCUSD_PERP at 9.",
        ),
        (
            bybit('{"category":"inverse","symbol":"BTCUSD","side":"Buy","orderType":"Limit","qty":"1000","price":"9"}'),
            "Places or changes an order at bybit: BUY 1000 dollars (inverse), symbol BTCUSD at 9 (inverse).",
        ),
        (
            okx('{"instId":"BTC-USDT-SWAP","tdMode":"cross","side":"buy","ordType":"limit","sz":"2","px":"9"}'),
            "Places or changes an order at okx: BUY 2 contracts, symbol BTC-USDT-SWAP at 9 (cross).",
        ),
        (request(f"symbol=LTCBTC&{TIME}"), "Cancels or reads orders at binance, symbol LTCBTC."),
        (
            request(f"coin=XRP&address=rEb8&addressTag=7&amount=1&{TIME}"),
            "Moves assets out of binance or between accounts: 1 XRP, to rEb8?addressTag=7.",
        ),
        (
            request(f"coin=USDC&network=BSC&address=0xAb&amount=1&{TIME}"),
            "Moves assets out of binance or between accounts: 1 USDC, to 0xAb by binance:BSC.",
        ),
        (request(f"limit=5&{TIME}"), "Reads or sets something at binance; moves no assets and no orders."),
        (
            request(f"leverage=125&{TIME}"),
            "Prepares something at binance; moves no assets beyond fees and rent.",
        ),
        (
            Payload(kind=PayloadKind.RAW_DIGEST, parts=(bytes(32),)),
            "Does something at an unknown place that keyvault cannot read.",
        ),
    ],
)
def test_effects_in_plain_words(payload: Payload, words: str) -> None:
    """Each effect is one sentence with every fact that policy judged."""
    assert described(payload) == words
