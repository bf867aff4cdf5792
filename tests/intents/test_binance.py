"""Binance REST: the published vector, one spelling, and the worst meaning of what the signature binds."""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from decimal import Decimal
from urllib.parse import parse_qsl, quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core import limits
from keyvault.core.errors import Broken, Malformed
from keyvault.core.intent import Bound, Completeness, Effect, Operation, Output
from keyvault.core.keys import KeyAlgorithm
from keyvault.intents.binance_parameters import MEANINGS, PARAMETERS
from tests.intents.building import TIME, request
from tests.intents.venues import AT, UNIT, assemble, parse

SECRET = b"NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
"""Secret of the example in Binance's documentation."""
LIMIT_ORDER = f"symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&{TIME}"
WIDE_ORDER = LIMIT_ORDER.replace("LTCBTC", quote("１２３４５６"))  # noqa: RUF001 - the documentation's own symbol
SEVERITY = [Operation.REQUEST, Operation.CANCEL, Operation.ORDER, Operation.WITHDRAW, Operation.OPAQUE]
SETTINGS = {Operation.SETUP}


def worst(names: Iterable[str]) -> Operation:
    """Return the worst operation of a set of names, settings left out."""
    return next((each for each in MEANINGS.of(names) if each not in SETTINGS), Operation.REQUEST)


def _hmac(data: bytes) -> bytes:
    return hmac.digest(SECRET, data, hashlib.sha256)


def refusal(query: str, body: str = "") -> tuple[str, str]:
    """Return field (below exchange_request) and problem of the refusal that must come."""
    with pytest.raises(Malformed) as caught:
        parse(request(query, body))
    assert caught.value.field.split(".")[0] == "exchange_request"
    return caught.value.field.removeprefix("exchange_request").removeprefix("."), caught.value.problem


@pytest.mark.parametrize(
    ("query", "signature"),
    [
        (LIMIT_ORDER, "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"),
        (WIDE_ORDER, "e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3"),
    ],
)
def test_examples_of_binance(query: str, signature: str) -> None:
    """Both HMAC examples of the documentation give their signatures, in the query and in the body."""
    for payload in (request(query), request(body=query)):
        output = assemble(payload, _hmac(parse(payload).signing_input))
        signed = f"{query}&signature={signature}"
        assert output == (Output(query=signed) if payload.parts[0] else Output(body=signed))


def test_ed25519_signature_is_escaped_base64() -> None:
    """An Ed25519 signature is appended as Base64 with +, / and = percent-encoded, and reads back as it was."""
    value = bytes(range(192, 256))
    output = assemble(request(body=LIMIT_ORDER), value)
    assert output.query == ""
    head, _, signature = output.body.rpartition("&signature=")
    assert head == LIMIT_ORDER
    assert not set("+/=") & set(signature)
    assert base64.b64decode(dict(parse_qsl(output.body))["signature"]) == value


@pytest.mark.parametrize("length", [0, 20, 63, 65, 256])
def test_unfit_signature_is_broken(length: int) -> None:
    """A signature that is neither HMAC-SHA256 nor Ed25519 is never appended."""
    with pytest.raises(Broken):
        assemble(request(LIMIT_ORDER), bytes(length))


ORDER = Effect(
    operation=Operation.ORDER,
    venue="binance",
    symbol="LTCBTC",
    side="BUY",
    quantity=UNIT,
    price=UNIT // 10,
    time_in_force="GTC",
)


def test_order_states_everything() -> None:
    """A spot order states symbol, side, quantity, price and time in force, and binds its own time and window."""
    intent = parse(request(LIMIT_ORDER))
    assert intent.effects == (ORDER,)
    assert intent.algorithms == {KeyAlgorithm.HMAC_SHA256, KeyAlgorithm.ED25519}
    assert intent.completeness is Completeness.FULL
    assert intent.signing_input == LIMIT_ORDER.encode()
    assert (intent.issued_at, intent.stamped, intent.slot) == (1499827319559, False, None)
    assert (intent.not_before, intent.expires_at) == (1499827318559, 1499827324559)
    assert intent.binds == {Bound.QUERY, Bound.BODY, Bound.EXPIRY}


@pytest.mark.parametrize("part", ["query", "body"])
def test_request_without_time_is_stamped(part: str) -> None:
    """A request without a timestamp gets the service's as its last parameter, in the bytes that are signed and sent."""
    order = LIMIT_ORDER.removesuffix(f"&{TIME}")
    payload = request(**{part: order})
    intent = parse(payload)
    assert intent.signing_input == f"{order}&timestamp={AT}".encode()
    assert (intent.issued_at, intent.stamped) == (None, True)
    assert (intent.not_before, intent.expires_at) == (AT - 1000, AT + 5000)
    assert (intent.effects, intent.completeness) == ((ORDER,), Completeness.FULL)
    output = assemble(payload, bytes(32))
    sent = f"{order}&timestamp={AT}&signature={'00' * 32}"
    assert output == (Output(query=sent) if part == "query" else Output(body=sent))


def test_nothing_but_a_stamp_is_a_setting() -> None:
    """Without any parameter the query is the timestamp alone: reads fit it, and so does a collection of all assets."""
    intent = parse(request())
    assert intent.signing_input == f"timestamp={AT}".encode()
    assert intent.effects == (Effect(operation=Operation.SETUP, venue="binance"),)
    assert assemble(request(), bytes(32)) == Output(query=f"timestamp={AT}&signature={'00' * 32}")


def test_length_is_known_before_anything_is_decoded() -> None:
    """A value that no fact can have is refused as it stands, without a look at its escapes; a list may be as long."""
    long = "%FF" * (limits.EXCHANGE_VALUE_CHARS_MAX // 3 + 1)
    assert refusal(f"symbol={long}") == ("symbol", "is longer than 128 characters")
    assert refusal(f"batchOrders={long}") == ("batchOrders", "its escapes are not UTF-8")
    most = quote("\U0001f600" * limits.EXCHANGE_FACT_CHARS_MAX)
    assert parse(request(f"symbol={most}")).effects[0].symbol == "\U0001f600" * limits.EXCHANGE_FACT_CHARS_MAX


def test_order_that_can_lose_a_value_is_stated_in_part() -> None:
    """Where parameters stand behind the timestamp, a cut could drop them unread: the order is not FULL."""
    assert parse(request(f"{TIME}&{LIMIT_ORDER.removesuffix('&' + TIME)}")).completeness is Completeness.PARTIAL


def test_legs_are_effects() -> None:
    """An order list whose legs have sides of their own has one effect for each side."""
    query = (
        f"symbol=LTCBTC&workingType=LIMIT&workingSide=BUY&workingQuantity=1&pendingSide=SELL&pendingType=MARKET&{TIME}"
    )
    assert [(e.operation, e.side) for e in parse(request(query)).effects] == [
        (Operation.ORDER, "BUY"),
        (Operation.ORDER, "SELL"),
    ]


ENDPOINTS = {
    # rest-api.md of binance-spot-api-docs: what each request needs at least, apart from the timestamp.
    "GET account": (Operation.REQUEST, ""),
    "GET openOrderList": (Operation.REQUEST, ""),
    "GET rateLimit/order": (Operation.REQUEST, ""),
    "DELETE order": (Operation.CANCEL, "symbol orderId"),
    "DELETE order by client id": (Operation.CANCEL, "symbol origClientOrderId"),
    "DELETE openOrders": (Operation.CANCEL, "symbol"),
    "DELETE orderList": (Operation.CANCEL, "symbol orderListId"),
    "DELETE margin order": (Operation.CANCEL, "symbol isIsolated orderId"),
    "DELETE futures batchOrders": (Operation.CANCEL, "symbol orderIdList"),
    "POST countdownCancelAll": (Operation.CANCEL, "symbol countdownTime"),
    "POST order": (Operation.ORDER, "symbol side type"),
    "POST order, market by quote": (Operation.ORDER, "symbol side type quoteOrderQty"),
    "POST order/cancelReplace": (Operation.ORDER, "symbol side type cancelReplaceMode"),
    "PUT order/amend/keepPriority": (Operation.ORDER, "symbol newQty"),
    "POST order/oco": (Operation.ORDER, "symbol side quantity price stopPrice"),
    "POST orderList/oco": (Operation.ORDER, "symbol side quantity aboveType belowType"),
    "POST orderList/oto": (
        Operation.ORDER,
        "symbol workingType workingSide workingPrice workingQuantity pendingType pendingSide pendingQuantity",
    ),
    "POST orderList/opoco": (
        Operation.ORDER,
        "symbol workingType workingSide workingPrice workingQuantity pendingSide pendingAboveType pendingBelowType",
    ),
    "POST sor/order": (Operation.ORDER, "symbol side type quantity"),
    "POST margin order": (Operation.ORDER, "symbol side type quantity sideEffectType"),
    "POST futures order": (Operation.ORDER, "symbol side type positionSide closePosition stopPrice"),
    "POST futures leverage": (Operation.CANCEL, "symbol leverage"),
    "PUT futures order": (Operation.ORDER, "symbol side quantity price orderId"),
    # developers.binance.com, wallet, margin and sub-account.
    "POST capital/withdraw/apply": (Operation.WITHDRAW, "coin address amount"),
    "POST localentity/withdraw/apply": (Operation.WITHDRAW, "coin address amount questionnaire"),
    "POST asset/transfer": (Operation.WITHDRAW, "type asset amount"),
    "POST asset/dust": (Operation.WITHDRAW, "asset"),
    "POST margin/borrow-repay": (Operation.WITHDRAW, "asset isIsolated symbol amount type"),
    "POST margin/isolated/transfer": (Operation.WITHDRAW, "asset symbol transFrom transTo amount"),
    "POST sub-account/universalTransfer": (Operation.WITHDRAW, "fromAccountType toAccountType asset amount"),
    "POST sub-account/transfer/subToSub": (Operation.WITHDRAW, "toEmail asset amount"),
}


@pytest.mark.parametrize(("operation", "needed"), ENDPOINTS.values(), ids=ENDPOINTS.keys())
def test_operation_of_each_endpoint(operation: Operation, needed: str) -> None:
    """What an endpoint needs is judged as what the endpoint does."""
    assert worst([*needed.split(), "timestamp", "recvWindow"]) is operation


@given(st.sets(st.sampled_from(sorted([*PARAMETERS, "lever"])), max_size=8), st.sampled_from(list(ENDPOINTS.values())))
def test_every_fitting_endpoint_is_judged(names: set[str], endpoint: tuple[Operation, str]) -> None:
    """A set of parameters is at least as bad as each endpoint whose needs it meets, whatever stands beside them."""
    operation, needed = endpoint
    judged = worst([*names, *needed.split()])
    assert SEVERITY.index(judged) >= SEVERITY.index(operation)


@given(st.sets(st.sampled_from(sorted([*PARAMETERS, "lever"])), min_size=1), st.data())
def test_leaving_out_never_makes_it_worse(names: set[str], data: st.DataObject) -> None:
    """A parameter that is lost when the bytes are cut anew never gives a worse operation."""
    lost = data.draw(st.sampled_from(sorted(names)))
    assert SEVERITY.index(worst(names - {lost})) <= SEVERITY.index(worst(names))


def test_no_name_ends_in_another() -> None:
    """Cutting a request inside a known name never leaves a known name at the start of the body."""
    assert [(a, b) for a in PARAMETERS for b in PARAMETERS if a != b and a.endswith(b)] == []


@pytest.mark.parametrize(
    ("query", "operation"),
    [
        (f"symbol=BTCUSDT&{TIME}", Operation.CANCEL),
        (f"symbol=BTCUSDT&orderId=1&limit=5&{TIME}", Operation.CANCEL),
        (TIME, Operation.SETUP),
        (f"recvWindow=5000&{TIME}", Operation.SETUP),
        (f"limit=5&{TIME}", Operation.REQUEST),
        (f"type=MARGIN&{TIME}", Operation.OPAQUE),
        (f"type=ISOLATED&symbol=BTCUSDT&{TIME}", Operation.OPAQUE),
        (f"type=SPOT&limit=5&{TIME}", Operation.OPAQUE),
        (f"type=MARGIN_MAIN&asset=USDT&amount=1&{TIME}", Operation.OPAQUE),
        (f"type=ISOLATEDMARGIN_MARGIN&asset=USDT&amount=1&{TIME}", Operation.OPAQUE),
        (f"type=MARGIN&symbol=BTCUSDT&side=BUY&quantity=1&{TIME}", Operation.OPAQUE),
        (f"type=MAIN_MARGIN&asset=USDT&amount=1&{TIME}", Operation.WITHDRAW),
        (f"omitZeroBalances=true&{TIME}", Operation.REQUEST),
        (f"symbol=BTCUSDT&lever=125&{TIME}", Operation.OPAQUE),
        (f"Symbol=BTCUSDT&{TIME}", Operation.OPAQUE),
        (f"symbol=BTCUSDT&side=BUY&type=MARKET&quantity=1&coin=BTC&address=x&amount=1&{TIME}", Operation.OPAQUE),
        (f"subAccountApiKey=a&email=b&ipAddress=1.2.3.4&{TIME}", Operation.OPAQUE),
    ],
)
def test_worst_meaning_counts(query: str, operation: Operation) -> None:
    """Method and path are not signed, so the worst request that fits is what is judged; unknown names are OPAQUE."""
    intent = parse(request(query))
    assert [e.operation for e in intent.effects] == [operation]
    assert (intent.completeness is Completeness.OPAQUE) == (operation is Operation.OPAQUE)


@pytest.mark.parametrize(
    ("parameters", "destination", "symbol"),
    [
        ("coin=ETH&address=0xAb&amount=1", "0xAb", "ETH"),
        ("coin=ETH&network=ETH&address=0xAb&amount=1", "0xAb", "ETH"),
        ("coin=XRP&address=rEb8&addressTag=77&amount=1", "rEb8?addressTag=77", "XRP"),
        ("coin=BCH&address=bitcoincash%3Aqq&amount=1", "bitcoincash:qq", "BCH"),
        ("toEmail=a%40b.c&asset=BTC&amount=1", "a@b.c", "BTC"),
        ("type=MAIN_UMFUTURE&asset=USDT&amount=1", None, "USDT"),
        ("coin=USDT&network=TRX", None, "USDT"),
    ],
)
def test_withdrawals_state_their_destination(parameters: str, destination: str | None, symbol: str) -> None:
    """What, where to, by which network; a tag is part of the destination, because it decides whose account it is."""
    amount = UNIT if "amount" in parameters else None
    network = dict(parse_qsl(parameters)).get("network")
    expected = Effect(
        operation=Operation.WITHDRAW,
        venue="binance",
        destination=destination,
        symbol=symbol,
        asset=symbol,
        amount=amount,
        decimals=None if amount is None else 18,
        network=network and f"binance:{network}",
    )
    intent = parse(request(f"{parameters}&{TIME}"))
    assert intent.effects == (expected,)
    assert intent.completeness is Completeness.PARTIAL


@pytest.mark.parametrize(
    ("query", "body", "field", "problem"),
    [
        (f"a=1&{TIME}", "b=2", "", "both given"),
        (f"symbol=BTCUSDT&{TIME}", "address=x", "", "both given"),
        (f"{TIME}&{TIME}", "", "timestamp", "stands twice"),
        (f"symbol=A&side=BUY&symbol=B&{TIME}", "", "symbol", "stands twice"),
        (f"{TIME}000", "", "timestamp", "microseconds are not supported"),
        ("timestamp=149982731955", "", "timestamp", "13 digits"),
        ("timestamp=0499827319559", "", "timestamp", "13 digits"),
        ("timestamp=%31499827319559", "", "timestamp", "needs no escape"),
        (f"recvWindow=0&{TIME}", "", "recvWindow", "1 to 60000"),
        (f"recvWindow=60001&{TIME}", "", "recvWindow", "1 to 60000"),
        (f"recvWindow=5000.5&{TIME}", "", "recvWindow", "whole number"),
        (f"recvWindow=05000&{TIME}", "", "recvWindow", "1 to 60000"),
        (f"{TIME}&signature=00", "", "signature", "leave it out"),
        (f"apiKey=x&{TIME}", "", "apiKey", "open a session"),
        (f"{TIME}&", "", "query", "an empty parameter"),
        ("", f"&{TIME}", "body", "an empty parameter"),
        (f"symbol=A&&{TIME}", "", "query", "an empty parameter"),
        (f"symbol&{TIME}", "", "query", "is not name=value"),
        (f"=A&{TIME}", "", "query", "is not name=value"),
        (f"sym%62ol=A&{TIME}", "", "query", "is not name=value"),
        (f"batch[0]=A&{TIME}", "", "query", "is not name=value"),
        (f"symbol=&{TIME}", "", "symbol", "has no value"),
        (f"symbol=A=B&{TIME}", "", "symbol", "upper-case hex"),
        (f"name=a+b&{TIME}", "", "name", "may mean a space"),
        (f"name=a%2fb&{TIME}", "", "name", "upper-case hex"),
        (f"name=a%2&{TIME}", "", "name", "upper-case hex"),
        (f"name=a;b&{TIME}", "", "name", "upper-case hex"),
        (f"name=%41&{TIME}", "", "name", "needs no escape"),
        (f"name=%FF&{TIME}", "", "name", "not UTF-8"),
        (f"name=%00&{TIME}", "", "name", "cannot be printed"),
        (f"name=%E2%80%AE&{TIME}", "", "name", "cannot be printed"),
        (f"name=é&{TIME}", "", "query", "not ASCII"),
        (f"symbol=A&side=buy&type=MARKET&{TIME}", "", "side", "BUY, SELL"),
        ("symbol=A&side=BUY&type=market", "", "type", "must be one of"),
        ("symbol=A&side=BUY&type=MARKET&price=1", "", "price", "no limit price"),
        ("symbol=A&side=BUY&type=LIMIT&price=1e3", "", "price", "no exponent"),
        ("symbol=A&side=BUY&type=LIMIT&price=-1", "", "price", "no sign"),
        ("symbol=A&side=BUY&type=LIMIT&price=01", "", "price", "must be digits"),
        ("symbol=A&side=BUY&type=LIMIT&price=.5", "", "price", "must be digits"),
        ("symbol=A&side=BUY&type=LIMIT&price=0.0000000000000000001", "", "price", "fractional digits"),
        ("symbol=A&side=BUY&type=LIMIT&quantity=%D9%A1", "", "quantity", "must be digits"),
        ("symbol=A&side=BUY&type=LIMIT&reduceOnly=TRUE", "", "reduceOnly", "true, false"),
        ("symbol=A%20B&side=BUY&type=LIMIT", "", "symbol", "has a space"),
        ("batchOrders=%5B%7B%22side%22%3A%22BUY%22%2C%22side%22%3A%22SELL%22%7D%5D", "", "batchOrders", "stands twice"),
        ("batchOrders=%5B%5D", "", "batchOrders", "not empty"),
        ("batchOrders=1", "", "batchOrders", "must be a JSON list"),
        (f"coin=A&amount=1&address=x&toEmail=y&{TIME}", "", "toEmail", "one destination"),
        (f"coin=A&amount=1&address=x%3FaddressTag%3D1&{TIME}", "", "address", "may only have"),
        (f"symbol={'A' * 129}&{TIME}", "", "symbol", "longer than 128"),
        ("&".join(f"p{n}=1" for n in range(limits.EXCHANGE_PARAMETERS_MAX)) + "&" + TIME, "", "query", "more than 64"),
    ],
)
def test_refused(query: str, body: str, field: str, problem: str) -> None:
    """What has two spellings, two readers or two places is refused with place and reason."""
    found, reason = refusal(query, body)
    assert found == field
    assert problem in reason


VALUES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(str.isprintable)


@given(st.dictionaries(st.sampled_from(["withdrawOrderId", "name", "listClientOrderId", "unknown"]), VALUES))
def test_what_python_encodes_is_accepted(parameters: dict[str, str]) -> None:
    """What urlencode with %20 for blanks makes is accepted as it is, and reads back as it was."""
    query = urlencode({**parameters, "timestamp": "1499827319559"}, quote_via=quote, safe="")
    intent = parse(request(query))
    assert intent.signing_input == query.encode()
    assert dict(parse_qsl(query, strict_parsing=True)).items() >= parameters.items()


@given(
    st.lists(
        st.tuples(
            st.integers(0, len(LIMIT_ORDER)),
            st.integers(0, 9),
            st.sampled_from(["", "&", "=", "%", "%20", "a", "+", "side=BUY&", "é"]),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_mutations_have_one_reading(changes: list[tuple[int, int, str]]) -> None:
    """A changed request is refused, or the standard library reads the very parameters that were judged."""
    query = LIMIT_ORDER
    for place, length, text in changes:
        query = query[:place] + text + query[place + length :]
    try:
        intent = parse(request(query))
    except Malformed:
        return
    pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
    assert urlencode(pairs, quote_via=quote, safe="") == query
    assert len(dict(pairs)) == len(pairs)
    read = dict(pairs)
    effect = intent.effects[0]
    assert effect.operation is worst(read)
    if effect.operation is Operation.ORDER:
        assert (effect.symbol, effect.side) == (read.get("symbol"), read.get("side"))
        assert effect.quantity == (int(Decimal(read["quantity"]) * UNIT) if "quantity" in read else None)


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_noise_is_malformed(query: bytes, body: bytes) -> None:
    """Random bytes never crash the decoder."""
    if query or body:
        with pytest.raises(Malformed):
            parse(request(query.decode("latin-1"), body.decode("latin-1")))
