"""Laws of all exchange requests: numbers, hostile bytes, bounds, and texts that sign two things."""

import dataclasses
import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.intent import Completeness, Effect, Operation, Payload, PayloadKind
from keyvault.core.keys import KeyAlgorithm
from keyvault.intents.venue_decimal import UNIT, decimal, whole
from keyvault.intents.venue_request import completeness
from tests.intents.venues import AT, DECODERS, compact, parse, payload, refusal, signer

KEY = "A1b2C3d4E5f6G7h8J9"
ADDRESS = "0x" + "12" * 20
VALID = [
    payload(PayloadKind.BINANCE_REST, "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1", ""),
    payload(PayloadKind.BINANCE_REST, "", "coin=XRP&address=rEb8&addressTag=77&amount=1"),
    payload(PayloadKind.BINANCE_WS, '{"symbol":"A","side":"BUY","type":"MARKET","quantity":"1"}', "order.place", KEY),
    payload(PayloadKind.BINANCE_WS_LOGON, KEY),
    payload(PayloadKind.BINANCE_FIX_LOGON, "DESK", "SPOT", "1", KEY),
    payload(
        PayloadKind.BYBIT_REST,
        "POST",
        "/v5/order/create",
        "",
        '{"category":"linear","symbol":"A","side":"Buy","orderType":"Limit","qty":"1","price":"2"}',
        KEY,
    ),
    payload(PayloadKind.BYBIT_REST, "GET", "/v5/order/realtime", "category=linear&symbol=A", "", KEY),
    payload(
        PayloadKind.OKX_REST,
        "POST",
        "/api/v5/trade/batch-orders",
        "",
        '[{"instId":"A-B-SWAP","tdMode":"cross","side":"buy","ordType":"limit","sz":"1","px":"2"}]',
        KEY,
    ),
    payload(PayloadKind.OKX_WS_LOGON, KEY),
    payload(PayloadKind.COINBASE_JWT, "POST", "/api/v3/brokerage/orders", "", "{}", KEY),
    payload(PayloadKind.KRAKEN_REST, "/0/private/AddOrder", "ordertype=limit&pair=A&price=1&type=buy&volume=1", KEY),
    payload(PayloadKind.KRAKEN_FIX_LOGON, "DESK", "KRAKEN-TRD", "1", KEY),
    payload(PayloadKind.DERIBIT_REST, "GET", "/api/v2/private/buy?instrument_name=A-B&amount=1&price=2", "", KEY),
    payload(
        PayloadKind.DERIBIT_REST,
        "POST",
        "/api/v2/private/cancel",
        '{"jsonrpc":"2.0","id":1,"method":"private/cancel","params":{"order_id":"1"}}',
        KEY,
    ),
    payload(PayloadKind.DERIBIT_AUTH, "a1", KEY),
    payload(
        PayloadKind.POLYMARKET_REST,
        "POST",
        "/order",
        compact(
            {
                "order": {"tokenId": "1", "side": "BUY", "makerAmount": "1", "takerAmount": "2"},
                "owner": KEY,
                "orderType": "GTC",
            }
        ),
        KEY,
        ADDRESS,
    ),
]
ALGORITHMS = st.sampled_from(list(KeyAlgorithm))
WORDS = r"""
& = % %20 %2C + " ' { } [ ] , : \u0041 / .. ? # null true 1e9 0.1 -1 "side":"SELL", side=SELL& é side 9
"""
PIECES = [b"", b"\x00", b"\n", b"\xff", b" ", *(word.encode() for word in WORDS.split())]


SIGNED_AS_JSON = [
    each for each in VALID if each.kind is not PayloadKind.COINBASE_JWT and any(b"{" in p for p in each.parts)
]
FOREIGN = "x&symbol=BTCUSDT&side=BUY&type=MARKET&quantity=9&timestamp=1700000000123&"


@pytest.mark.parametrize("request_", SIGNED_AS_JSON)
def test_json_never_holds_the_parameters_of_another_venue(request_: Payload) -> None:
    """With one secret at two venues, a text in JSON could be a request to Binance: refused in each text and name."""
    number = next(number for number, part in enumerate(request_.parts) if b"{" in part)
    pieces = request_.parts[number].decode().split('"')
    assert parse(request_).effects
    for place in range(1, len(pieces), 2):
        for text in (FOREIGN, FOREIGN.replace("&", "\\u0026"), "a\\u003d", "a\\n", "a\\u007f", "a\u0085"):
            changed = '"'.join([*pieces[:place], text, *pieces[place + 1 :]]).encode()
            parts = (*request_.parts[:number], changed, *request_.parts[number + 1 :])
            with pytest.raises(Malformed, match="must be without & ="):
                parse(Payload(kind=request_.kind, parts=parts))


@given(st.sampled_from(list(DECODERS)), st.lists(st.binary(max_size=60), min_size=1, max_size=6), ALGORITHMS)
def test_noise_is_malformed_or_known(kind: PayloadKind, parts: list[bytes], algorithm: KeyAlgorithm) -> None:
    """Random parts, in any number, never raise anything but Malformed."""
    try:
        intent = parse(Payload(kind=kind, parts=tuple(parts)), signer(algorithm))
    except Malformed:
        return
    assert intent.effects


def mutated(request: Payload, dice: random.Random) -> Payload:
    """Return a payload with one to three pieces put in, or over what stood there."""
    parts = list(request.parts)
    for _ in range(dice.randrange(1, 4)):
        index = dice.randrange(len(parts))
        part = parts[index]
        place = dice.randrange(len(part) + 1)
        parts[index] = part[:place] + dice.choice(PIECES) + part[place + dice.randrange(4) :]
    return Payload(kind=request.kind, parts=tuple(parts))


@pytest.mark.parametrize("request_", VALID)
def test_mutations_are_malformed_or_stated(request_: Payload) -> None:
    """A changed request is refused, or stated as effects that are OPAQUE if completeness says so, never less."""
    dice = random.Random(str(request_))  # noqa: S311 - repeatable, not secret
    refused = 0
    for _ in range(600):
        changed = mutated(request_, dice)
        try:
            intent = parse(changed, signer(dice.choice(list(KeyAlgorithm))))
        except Malformed:
            refused += 1
            continue
        opaque = any(effect.operation is Operation.OPAQUE for effect in intent.effects)
        assert opaque == (intent.completeness is Completeness.OPAQUE)
        assert all(effect.venue for effect in intent.effects)
    assert refused


@pytest.mark.parametrize("request_", VALID)
def test_parts_are_counted_and_bounded(request_: Payload) -> None:
    """One part too few, one too many, and more bytes than a payload may have are refused before anything is read."""
    for parts in (request_.parts[:-1], (*request_.parts, b"")):
        with pytest.raises(Malformed, match="part"):
            parse(Payload(kind=request_.kind, parts=parts))
    big = b"x" * limits.PAYLOAD_BYTES_MAX
    with pytest.raises(Malformed, match="bytes"):
        parse(Payload(kind=request_.kind, parts=(request_.parts[0] + big, *request_.parts[1:])))


@pytest.mark.parametrize("request_", VALID)
def test_stamp_is_the_services(request_: Payload) -> None:
    """Each kind is stamped: another stamp gives other bytes to sign and the same effects; no time is the caller's."""
    now, later = parse(request_, signer()), parse(request_, signer(at=AT + 60_000, nonce=AT + 60_001))
    assert now.stamped
    assert now.issued_at is None
    assert now.signing_input != later.signing_input
    assert now.effects == later.effects


@pytest.mark.parametrize("depth", [20, 900])
@pytest.mark.parametrize("request_", [each for each in VALID if any(b"{" in part for part in each.parts)])
def test_deep_json_is_malformed(request_: Payload, depth: int) -> None:
    """JSON that is nested deeper than anything known is refused, and never exhausts the stack."""
    deep = b'{"a":' * depth + b"1" + b"}" * depth
    parts = tuple(deep if b"{" in part else part for part in request_.parts)
    if request_.kind is PayloadKind.COINBASE_JWT:
        assert [e.operation for e in parse(Payload(kind=request_.kind, parts=parts)).effects] == [Operation.SESSION]
        return
    with pytest.raises(Malformed):
        parse(Payload(kind=request_.kind, parts=parts))


@given(st.integers(0, 10**30 - 1), st.text("0123456789", max_size=18))
def test_decimals_are_exact(number: int, fraction: str) -> None:
    """Every number with up to 30 digits and 18 after the dot is read exactly."""
    text = f"{number}.{fraction}" if fraction else str(number)
    whole_part, _, rest = text.partition(".")
    assert decimal(text, "f") == int(whole_part + rest) * 10 ** (18 - len(rest))
    assert whole(number, "f") == number * UNIT


NOT_NUMBERS = """
-1 +1 1. .1 . 01 00 1e3 1E3 0x1 1_000 1,5 1.2.3 NaN Infinity inf ٣ １ 1.٣ ² 1.0e1 --1 1-
"""  # noqa: RUF001 - digits of other scripts are the point


@pytest.mark.parametrize("text", [*NOT_NUMBERS.split(), "", " 1", "1 ", "1\n", "1" * 31, "0." + "1" * 19])
def test_other_spellings_are_refused(text: str) -> None:
    """What languages and venues read apart is not a number here."""
    with pytest.raises(Malformed):
        decimal(text, "f")


@given(st.text("0123456789.-+eE ", max_size=12))
def test_accepted_decimals_are_pythons(text: str) -> None:
    """What is accepted means to Python what it means here."""
    try:
        value = decimal(text, "f")
    except Malformed:
        return
    assert Fraction(text) * UNIT == value


@pytest.mark.parametrize("number", [-1, 10**30])
def test_whole_numbers_are_bounded(number: int) -> None:
    """A JSON integer that is negative or longer than 30 digits is no quantity."""
    with pytest.raises(Malformed):
        whole(number, "f")


@pytest.mark.parametrize(
    "whole",
    [
        Effect(operation=Operation.ORDER, venue="okx", symbol="A-B", side="BUY", quantity=1),
        Effect(operation=Operation.REDUCE, venue="okx", symbol="A-B", side="BUY", quote_quantity=1),
        Effect(operation=Operation.WITHDRAW, venue="okx", asset="A", amount=1, decimals=18, destination="B"),
    ],
)
def test_an_effect_that_lacks_a_fact_is_stated_in_part(whole: Effect) -> None:
    """Each fact that the venue always needs is one without which nobody knows all; one effect of several is enough."""
    cancel = Effect(operation=Operation.CANCEL, venue="okx")
    assert completeness((cancel, whole)) is Completeness.FULL
    assert completeness((whole,), partial=True) is Completeness.PARTIAL
    for fact in ("symbol", "side", "quantity", "quote_quantity", "asset", "amount", "destination"):
        if getattr(whole, fact) is not None:
            less = dataclasses.replace(whole, **{fact: None})  # type: ignore[arg-type]  # names of fields
            assert completeness((whole, less, cancel)) is Completeness.PARTIAL, fact


@pytest.mark.parametrize(
    ("request_", "field", "write"),
    [
        (payload(PayloadKind.BINANCE_REST, "symbol=btcusdt&side=BUY&type=MARKET&quantity=1", ""), "symbol", "BTCUSDT"),
        (payload(PayloadKind.BINANCE_REST, "coin=usdc&address=a&amount=1", ""), "coin", "USDC"),
        (
            payload(PayloadKind.BYBIT_REST, "POST", "/v5/a", "", '{"coin":"Usdc","chain":"ETH","address":"a"}', KEY),
            "coin",
            "USDC",
        ),
        (
            payload(PayloadKind.BYBIT_REST, "GET", "/v5/a", "category=linear&symbol=btcusdt", "", KEY),
            "symbol",
            "BTCUSDT",
        ),
        (
            payload(PayloadKind.OKX_REST, "POST", "/api/v5/trade/order", "", '{"instId":"btc-USDT"}', KEY),
            "instId",
            "BTC-USDT",
        ),
        (
            payload(PayloadKind.OKX_REST, "POST", "/api/v5/asset/withdrawal", "", '{"ccy":"usdt","amt":"1"}', KEY),
            "ccy",
            "USDT",
        ),
        (
            payload(PayloadKind.DERIBIT_REST, "GET", "/api/v2/private/buy?instrument_name=btc-PERPETUAL", "", KEY),
            "instrument_name",
            "BTC-PERPETUAL",
        ),
    ],
)
def test_a_name_in_small_letters_is_refused(request_: Payload, field: str, write: str) -> None:
    """Rules go by names in capitals: one in small letters would pass them, were the venue to take it."""
    found, reason = refusal(request_)
    assert found == field
    assert reason.endswith(f"in capitals: write {write}")
