"""Kraken's spot REST API."""

import base64
import hashlib
from typing import Any

import pytest

from keyvault.core.errors import Broken
from keyvault.core.intent import Bound, Completeness, Effect, Operation, Output, Payload, PayloadKind
from keyvault.core.keys import KeyAlgorithm
from tests.intents.venues import NONCE, UNIT, assemble, b64, parse, payload, refusal, sha512, signer

SECRET = base64.b64decode("kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg==")
"""Secret of the example in Kraken's documentation."""
ORDER = "ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25"


def call(name: str, body: str = "", key: str = "k+/=") -> Payload:
    """Return a request."""
    return payload(PayloadKind.KRAKEN_REST, f"/0/private/{name}", body, key)


def order(**changes: Any) -> Effect:  # noqa: ANN401 - any fact
    """Return the effect of ORDER with some facts changed."""
    facts: dict[str, Any] = {
        "operation": Operation.ORDER,
        "venue": "kraken",
        "symbol": "XBTUSD",
        "side": "BUY",
        "quantity": UNIT * 5 // 4,
        "price": 37_500 * UNIT,
    }
    return Effect(**{**facts, **changes})


def test_example_of_kraken() -> None:
    """The documentation's example gives its API-Sign."""
    then = signer(KeyAlgorithm.HMAC_SHA512, nonce=1_616_492_376_594)
    request = call("AddOrder", ORDER)
    value = sha512(parse(request, then).signing_input, SECRET)
    signature = "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ=="
    assert assemble(request, value, then) == Output(
        path="/0/private/AddOrder",
        body=f"nonce=1616492376594&{ORDER}",
        headers=(
            ("API-Key", "k+/="),
            ("API-Sign", signature),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ),
    )


def test_order_states_everything() -> None:
    """An order states its facts; path, body and nonce are bound; it never expires by itself, and no id is a slot."""
    intent = parse(call("AddOrder", ORDER))
    assert intent.effects == (order(),)
    assert intent.completeness is Completeness.FULL
    assert intent.algorithms == {KeyAlgorithm.HMAC_SHA512}
    digest = hashlib.sha256(f"{NONCE}nonce={NONCE}&{ORDER}".encode()).digest()
    assert intent.signing_input == b"/0/private/AddOrder" + digest
    assert intent.binds == {Bound.METHOD, Bound.PATH, Bound.BODY, Bound.NONCE}
    assert (intent.not_before, intent.expires_at, intent.slot, intent.issued_at) == (None, None, None, None)
    assert intent.stamped


@pytest.mark.parametrize(
    ("body", "facts"),
    [
        ("ordertype=market&pair=XBTUSD&type=buy&volume=1.25", {"price": None}),
        (f"{ORDER}&oflags=post", {"time_in_force": "POST_ONLY"}),
        (f"{ORDER}&oflags=fciq%2Cviqc", {"quantity": None, "quote_quantity": UNIT * 5 // 4}),
        (f"{ORDER}&timeinforce=IOC", {"time_in_force": "IOC"}),
        (f"{ORDER}&reduce_only=true&leverage=2", {"operation": Operation.REDUCE, "via": "leverage 2"}),
        (f"{ORDER}&reduce_only=true&leverage=10%3A1", {"operation": Operation.REDUCE, "via": "leverage 10:1"}),
        (f"{ORDER}&reduce_only=true", {}),
        (f"{ORDER}&reduce_only=true&leverage=none", {}),
        (f"{ORDER}&validate=true", {}),
        (ORDER.replace("limit", "stop-loss"), {"price": None, "via": "trigger 37500"}),
        (
            ORDER.replace("limit", "stop-loss-limit") + "&price2=38000",
            {"price": 38_000 * UNIT, "via": "trigger 37500"},
        ),
        (
            ORDER.replace("limit", "take-profit-limit").replace("37500", "%2B1%25") + "&price2=38000&starttm=9",
            {"price": 38_000 * UNIT, "via": "trigger +1% starttm 9"},
        ),
        (ORDER.replace("limit", "trailing-stop-limit"), {"price": None, "via": "trigger 37500"}),
        (f"{ORDER}&starttm=%2B3600", {"via": "trigger starttm +3600"}),
        (f"{ORDER}&starttm=0", {}),
        (ORDER.replace("1.25", "0"), {"quantity": None}),
    ],
)
def test_facts_of_orders(body: str, facts: dict[str, Any]) -> None:
    """Volume in its asset, the price that is the limit, REDUCE only on margin; a validation counts as the order."""
    assert parse(call("AddOrder", body)).effects == (order(**facts),)


def test_password_of_the_second_factor_goes_with_everything() -> None:
    """A key with two factors needs otp in each body: it is signed, and no fact."""
    body = f"{ORDER}&otp=123456"
    intent = parse(call("AddOrder", body))
    assert intent.effects == (order(),)
    assert intent.signing_input != parse(call("AddOrder", ORDER)).signing_input
    assert [each.operation for each in parse(call("CancelAll", "otp=1")).effects] == [Operation.CANCEL]


@pytest.mark.parametrize("more", ["leverage=2", "leverage=2&reduce_only=false", "leverage=1&reduce_only=true"])
def test_order_that_borrows_is_a_setting_besides(more: str) -> None:
    """An order on margin takes a loan: SETUP beside the ORDER, unless it can only reduce."""
    leverage = more.partition("&")[0].replace("=", " ")
    setup = Effect(operation=Operation.SETUP, venue="kraken", symbol="XBTUSD")
    assert parse(call("AddOrder", f"{ORDER}&{more}")).effects == (order(via=leverage), setup)


def withdraw(**facts: Any) -> Effect:  # noqa: ANN401 - any fact
    """Return a withdrawal of 1.5 USDT."""
    return Effect(
        operation=Operation.WITHDRAW,
        venue="kraken",
        symbol="USDT",
        asset="USDT",
        amount=UNIT * 3 // 2,
        decimals=18,
        **facts,
    )


@pytest.mark.parametrize(
    ("name", "body", "effect"),
    [
        ("Balance", "", Effect(operation=Operation.REQUEST, venue="kraken")),
        ("OpenOrders", "trades=true&userref=1", Effect(operation=Operation.REQUEST, venue="kraken")),
        ("CancelOrder", "txid=O1", Effect(operation=Operation.CANCEL, venue="kraken")),
        ("CancelAll", "", Effect(operation=Operation.CANCEL, venue="kraken")),
        ("CancelAllOrdersAfter", "timeout=60", Effect(operation=Operation.CANCEL, venue="kraken")),
        (
            "EditOrder",
            "txid=O1&pair=XBTUSD&volume=2&price=3",
            Effect(operation=Operation.ORDER, venue="kraken", symbol="XBTUSD", quantity=2 * UNIT),
        ),
        (
            "AmendOrder",
            "txid=O1&order_qty=2&limit_price=3&post_only=true",
            Effect(
                operation=Operation.ORDER,
                venue="kraken",
                quantity=2 * UNIT,
                price=3 * UNIT,
                time_in_force="POST_ONLY",
            ),
        ),
        ("Withdraw", "asset=USDT&key=cold&amount=1.5", withdraw(destination="key:cold", network="kraken:cold")),
        (
            "Withdraw",
            "asset=USDT&key=cold&amount=1.5&address=0xAb",
            withdraw(destination="0xAb", network="kraken:cold"),
        ),
        (
            "WalletTransfer",
            "asset=USDT&from=Spot%20Wallet&to=Futures%20Wallet&amount=1.5",
            withdraw(destination="account:Futures Wallet", source="account:Spot Wallet"),
        ),
        ("GetWebSocketsToken", "", Effect(operation=Operation.SESSION, venue="kraken")),
    ],
)
def test_operation_of_each_endpoint(name: str, body: str, effect: Effect) -> None:
    """Each known endpoint states its whole effect; a WebSocket token is a SESSION."""
    assert parse(call(name, body)).effects == (effect,)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("addorder", ORDER),
        ("AddOrderBatch", "pair=XBTUSD"),
        ("CreateSubaccount", "username=a&email=b"),
        ("Earn/Allocate", "amount=1"),
        ("AddOrder/x", ORDER),
        ("AddOrder", f"{ORDER}&hidden=1"),
        ("AddOrder", f"{ORDER}&OTP=1"),
        ("AddOrder", f"{ORDER}&Volume=1"),
        ("AddOrder", f"{ORDER}&oflags=post%2Chidden"),
        ("AddOrder", ORDER.replace("limit", "settle-position")),
        ("AddOrder", "pair=XBTUSD&type=buy&volume=1"),
        ("CancelAll", "txid=1"),
    ],
)
def test_unknown_is_opaque(name: str, body: str) -> None:
    """An unknown path, name, flag or type of order is OPAQUE."""
    intent = parse(call(name, body))
    assert intent.effects == (Effect(operation=Operation.OPAQUE, venue="kraken"),)
    assert intent.completeness is Completeness.OPAQUE


@pytest.mark.parametrize(
    ("request_", "field", "problem"),
    [
        (call("AddOrder", f"nonce=1&{ORDER}"), "nonce", "is the service's"),
        (call("AddOrder", f"{ORDER}&volume=9"), "volume", "stands twice"),
        (call("AddOrder", f"{ORDER}&close%5Bordertype%5D=limit"), "body", "is not name=value"),
        (call("AddOrder", ORDER.replace("37500", "%2B5")), "price", "no sign"),
        (call("AddOrder", ORDER.replace("37500", "+5")), "price", "may mean a space"),
        (call("AddOrder", ORDER.replace("limit", "market")), "price", "no limit price"),
        (call("AddOrder", f"{ORDER}&price2=1"), "price2", "has one price"),
        (call("AddOrder", ORDER.replace("buy", "Buy")), "type", "buy, sell"),
        (call("AddOrder", f"{ORDER}&reduce_only=1"), "reduce_only", "true, false"),
        (call("AddOrder?volume=9", ORDER), "path", "without escapes"),
        (call("Add%4frder", ORDER), "path", "without escapes"),
        (call("../private/AddOrder", ORDER), "path", "without escapes"),
        (payload(PayloadKind.KRAKEN_REST, "/0/public/Time", "", "k"), "path", "must begin with"),
        (payload(PayloadKind.KRAKEN_REST, "", "", "k"), "path", "must be /segment"),
        (call("Balance", key="k\n"), "account", "1 to 128"),
    ],
)
def test_refused(request_: Payload, field: str, problem: str) -> None:
    """What overrules the nonce or has two readings is refused by name."""
    found, reason = refusal(request_)
    assert found == field
    assert problem in reason


def test_signed_text_is_no_logon() -> None:
    """What a request signs is longer than the 32 bytes that a FIX logon signs: neither can stand for the other."""
    assert len(parse(call("Balance")).signing_input) > 32
    fix = payload(PayloadKind.KRAKEN_FIX_LOGON, "A", "KRAKEN-TRD", "1", "k")
    assert len(parse(fix).signing_input) == 32


def test_unfit_signature_is_broken() -> None:
    """A signature of another length never leaves, and a right one is Base64 of 64 bytes."""
    with pytest.raises(Broken):
        assemble(call("Balance"), bytes(32))
    assert assemble(call("Balance"), bytes(64)).headers[1] == ("API-Sign", b64(bytes(64)))
    assert assemble(call("Balance"), bytes(64)).body == f"nonce={NONCE}"


@pytest.mark.parametrize("pair", ["XXBTZUSD", "xbtusd", "XBT%2FUSD", "BTC%2FUSD", "BTCUSD"])
def test_each_name_of_a_pair_is_one_symbol(pair: str) -> None:
    """Kraken takes several names for one market: the effect has its altname, and the bytes are signed as they are."""
    body = ORDER.replace("XBTUSD", pair)
    intent = parse(call("AddOrder", body))
    assert intent.effects == (order(),)
    assert intent.signing_input.endswith(hashlib.sha256(f"{NONCE}nonce={NONCE}&{body}".encode()).digest())


@pytest.mark.parametrize("asset", ["XXBT", "xbt", "BTC", "XBT"])
def test_each_name_of_an_asset_is_one_asset(asset: str) -> None:
    """So no other name of an asset passes a rule, or is counted apart."""
    (effect,) = parse(call("Withdraw", f"asset={asset}&key=cold&amount=1")).effects
    assert (effect.asset, effect.symbol) == ("XBT", "XBT")


def test_a_name_that_is_not_ascii_is_refused() -> None:
    """Capitals of other scripts are a venue's own idea."""
    field, reason = refusal(call("Withdraw", "asset=%C5%BFC&key=cold&amount=1"))
    assert field == "asset"
    assert "in capitals" in reason
