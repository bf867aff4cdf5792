"""Deribit: requests, each of which could open a session, and the logon."""

import json
from typing import Any

import pytest

from keyvault.core.errors import Broken
from keyvault.core.intent import Bound, Completeness, Effect, Operation, Output, Payload, PayloadKind
from keyvault.core.keys import KeyAlgorithm
from tests.intents.venues import AT, NONCE, UNIT, assemble, compact, parse, payload, refusal, sha256, signer

SESSION = Effect(operation=Operation.SESSION, venue="deribit", via="public/auth")
ORDER = "instrument_name=BTC-PERPETUAL&amount=40&type=limit&price=25000.5"
SECRET = b"AMANDASECRECT"
"""Secret of the examples in Deribit's documentation."""


def get(name: str, query: str = "") -> Payload:
    """Return a GET of a private method."""
    uri = f"/api/v2/private/{name}" + (f"?{query}" if query else "")
    return payload(PayloadKind.DERIBIT_REST, "GET", uri, "", "AMANDA")


def post(name: str, body: object) -> Payload:
    """Return a POST to a private method."""
    return payload(PayloadKind.DERIBIT_REST, "POST", f"/api/v2/private/{name}", compact(body), "AMANDA")


def rpc(name: str, **params: object) -> dict[str, object]:
    """Return a call."""
    return {"jsonrpc": "2.0", "id": 1, "method": f"private/{name}", "params": params}


def auth(data: str = "") -> Payload:
    """Return a logon."""
    return payload(PayloadKind.DERIBIT_AUTH, data, "AMANDA")


def order(**changes: Any) -> Effect:  # noqa: ANN401 - any fact
    """Return the effect of ORDER as a buy, with some facts changed."""
    facts: dict[str, Any] = {
        "operation": Operation.ORDER,
        "venue": "deribit",
        "symbol": "BTC-PERPETUAL",
        "side": "BUY",
        "quantity": 40 * UNIT,
        "price": 25_000 * UNIT + UNIT // 2,
    }
    return Effect(**{**facts, **changes})


@pytest.mark.parametrize(
    ("request_", "signature"),
    [
        (
            get("get_account_summary", "currency=BTC"),
            "9bfbc51a2bc372d72cc396cf1a213dc78d42eb74cb7dc272351833ad0de276ab",
        ),
        (auth(), "56590594f97921b09b18f166befe0d1319b198bbcdad7ca73382de2f88fe9aa1"),
    ],
)
def test_examples_of_deribit(request_: Payload, signature: str) -> None:
    """Both examples of the documentation come out; only their nonce has letters, which ours never has."""
    then = signer(at=1_576_074_319_000)
    signed = parse(request_, then).signing_input.replace(f"\n{NONCE}\n".encode(), b"\n1iqt2wls\n")
    assert sha256(signed, SECRET).hex() == signature


def test_order_states_everything() -> None:
    """An order states its facts beside the session that its signature could open instead."""
    request = get("buy", ORDER)
    intent = parse(request)
    assert intent.effects == (SESSION, order())
    assert intent.completeness is Completeness.FULL
    assert intent.algorithms == {KeyAlgorithm.HMAC_SHA256}
    assert intent.signing_input == f"{AT}\n{NONCE}\nGET\n/api/v2/private/buy?{ORDER}\n\n".encode()
    assert intent.binds == {Bound.METHOD, Bound.PATH, Bound.QUERY, Bound.BODY, Bound.EXPIRY, Bound.NONCE}
    assert (intent.expires_at, intent.stamped, intent.slot, intent.issued_at) == (AT + 60_000, True, None, None)
    value = sha256(intent.signing_input)
    header = f"deri-hmac-sha256 id=AMANDA,ts={AT},sig={value.hex()},nonce={NONCE}"
    assert assemble(request, value) == Output(
        path="/api/v2/private/buy", query=ORDER, headers=(("Authorization", header),)
    )


def test_request_signs_a_logon() -> None:
    """What a request signs is what a logon with the request as its data signs: hence the SESSION, for reads, too."""
    intent = parse(get("get_positions"))
    assert intent.effects == (SESSION, Effect(operation=Operation.REQUEST, venue="deribit"))
    data = "GET\n/api/v2/private/get_positions\n\n"
    assert intent.signing_input == parse(auth()).signing_input + data.encode()
    assert refusal(auth(data))[0] == "data"


def test_logon_is_a_session() -> None:
    """A logon is a SESSION; its message is public/auth with the client's signature."""
    request = auth("abc123")
    intent = parse(request)
    assert intent.effects == (SESSION,)
    assert intent.signing_input == f"{AT}\n{NONCE}\nabc123".encode()
    assert (intent.stamped, intent.expires_at) == (True, AT + 60_000)
    assert intent.binds == {Bound.EXPIRY, Bound.NONCE}
    value = sha256(intent.signing_input)
    assert json.loads(assemble(request, value).message) == {
        "jsonrpc": "2.0",
        "id": NONCE,
        "method": "public/auth",
        "params": {
            "grant_type": "client_signature",
            "client_id": "AMANDA",
            "timestamp": AT,
            "signature": value.hex(),
            "nonce": str(NONCE),
            "data": "abc123",
        },
    }


@pytest.mark.parametrize(
    ("request_", "facts"),
    [
        (get("sell", ORDER), {"side": "SELL"}),
        (get("buy", f"{ORDER}&reduce_only=true"), {"operation": Operation.REDUCE}),
        (get("buy", f"{ORDER}&reduce_only=false"), {}),
        (get("buy", ORDER.replace("BTC-PERPETUAL", "BTC_USDC") + "&reduce_only=true"), {"symbol": "BTC_USDC"}),
        (get("buy", f"{ORDER}&post_only=true"), {"time_in_force": "POST_ONLY"}),
        (get("buy", f"{ORDER}&time_in_force=fill_or_kill"), {"time_in_force": "FOK"}),
        (get("buy", f"{ORDER}&advanced=usd"), {"price": None}),
        (get("buy", ORDER.replace("amount", "contracts")), {"quantity": None}),
        *[
            (get("buy", ORDER.replace("type=limit", f"type={name}")), {"via": via})
            for name, via in (("limit", None), ("stop_limit", "trigger"), ("take_limit", "trigger"))
        ],
        *[
            (get("buy", f"instrument_name=BTC-PERPETUAL&amount=40&type={name}"), {"price": None, "via": via})
            for name, via in (
                ("market", None),
                ("stop_market", "trigger"),
                ("take_market", "trigger"),
                ("market_limit", None),
                ("trailing_stop", "trigger"),
            )
        ],
        (get("buy", f"{ORDER.replace('=limit', '=take_limit')}&trigger_price=9"), {"via": "trigger 9"}),
        (get("buy", f"{ORDER}&trigger_offset=9&trigger=mark_price"), {"via": "trigger trigger_offset 9"}),
        (
            post("buy", rpc("buy", instrument_name="BTC-PERPETUAL", amount=40, type="market", reduce_only=True)),
            {"operation": Operation.REDUCE, "price": None},
        ),
    ],
)
def test_facts_of_orders(request_: Payload, facts: dict[str, Any]) -> None:
    """Side by the method, amount as the venue counts, price where it is one, REDUCE where there are positions."""
    assert parse(request_).effects == (SESSION, order(**facts))


CANCEL_A = Effect(operation=Operation.CANCEL, venue="deribit", symbol="A")


def test_call_is_sent_as_json() -> None:
    """A POST returns its body as it was signed, and says that it is JSON."""
    request = post("cancel", rpc("cancel", order_id="1"))
    assert parse(request).effects == (SESSION, Effect(operation=Operation.CANCEL, venue="deribit"))
    output = assemble(request, bytes(32))
    assert (output.path, output.query, output.body) == ("/api/v2/private/cancel", "", request.parts[2].decode())
    assert output.headers[-1] == ("Content-Type", "application/json")


def moved(**facts: Any) -> Effect:  # noqa: ANN401 - any fact
    """Return a withdrawal of 1.5 BTC."""
    amount = UNIT * 3 // 2
    return Effect(
        operation=Operation.WITHDRAW,
        venue="deribit",
        symbol="BTC",
        asset="BTC",
        amount=amount,
        decimals=18,
        **facts,
    )


@pytest.mark.parametrize(
    ("name", "query", "effect"),
    [
        (
            "edit",
            "order_id=1&amount=2&price=3",
            Effect(operation=Operation.ORDER, venue="deribit", quantity=2 * UNIT, price=3 * UNIT),
        ),
        ("cancel", "order_id=1", Effect(operation=Operation.CANCEL, venue="deribit")),
        ("cancel_all", "", Effect(operation=Operation.CANCEL, venue="deribit")),
        (
            "cancel_all_by_instrument",
            "instrument_name=A",
            Effect(operation=Operation.CANCEL, venue="deribit", symbol="A"),
        ),
        (
            "close_position",
            "instrument_name=A-B&type=market",
            Effect(operation=Operation.REDUCE, venue="deribit", symbol="A-B"),
        ),
        ("withdraw", "currency=BTC&address=bc1q&amount=1.5", moved(destination="bc1q")),
        ("submit_transfer_to_subaccount", "currency=BTC&amount=1.5&destination=7", moved(destination="user:7")),
        (
            "submit_transfer_between_subaccounts",
            "currency=BTC&amount=1.5&destination=7&source=6",
            moved(destination="user:7", source="user:6"),
        ),
        ("reset_mmp", "index_name=btc_usd", Effect(operation=Operation.SETUP, venue="deribit")),
    ],
)
def test_operation_of_each_method(name: str, query: str, effect: Effect) -> None:
    """Each known method states its whole effect beside the session."""
    assert parse(get(name, query)).effects == (SESSION, effect)


@pytest.mark.parametrize(
    "request_",
    [
        get("Buy", ORDER),
        get("buy", f"{ORDER}&otoco_config=1"),
        get("buy", f"{ORDER}&Amount=1"),
        get("create_api_key", "max_scope=wallet%3Aread_write"),
        post("buy", rpc("buy", instrument_name="A", amount=1, hidden=1)),
        payload(PayloadKind.DERIBIT_REST, "GET", "/api/v2/public/auth", "", "AMANDA"),
        payload(PayloadKind.DERIBIT_REST, "GET", "/api/v1/private/buy?amount=1", "", "AMANDA"),
    ],
)
def test_unknown_is_opaque(request_: Payload) -> None:
    """An unknown method or name is OPAQUE, and a session besides."""
    intent = parse(request_)
    assert intent.effects == (SESSION, Effect(operation=Operation.OPAQUE, venue="deribit"))
    assert intent.completeness is Completeness.OPAQUE


@pytest.mark.parametrize(
    ("request_", "field", "problem"),
    [
        (get("buy", f"{ORDER}&amount=9"), "amount", "stands twice"),
        (get("buy", ORDER.replace("=40", "=4e1")), "amount", "no exponent"),
        *[
            (get("buy", ORDER.replace("=limit", f"={name}")), "price", "no limit price")
            for name in ("market", "stop_market", "take_market", "market_limit", "trailing_stop")
        ],
        (get("buy", ORDER.replace("=limit", "=LIMIT")), "type", "must be one of"),
        (get("buy", f"{ORDER}&reduce_only=1"), "reduce_only", "true, false"),
        (get("buy", f"{ORDER}&nonce=1"), "nonce", "is the service's"),
        (get("buy", f"{ORDER}&timestamp=1"), "timestamp", "is the service's"),
        (get("buy", f"{ORDER}&access_token=x"), "access_token", "another way to say who asks"),
        (get("buy?"), "uri", "no query after it"),
        (get("buy", f"{ORDER}\nPOST"), "price", "upper-case hex"),
        (payload(PayloadKind.DERIBIT_REST, "GET", "/api/v2/private/buy\n\n", "", "A"), "path", "without escapes"),
        (payload(PayloadKind.DERIBIT_REST, "GET", "/api/v2/private/buy", "\n", "A"), "body", "has no body"),
        (payload(PayloadKind.DERIBIT_REST, "POST", "/api/v2/private/buy?a=1", "{}", "A"), "query", "in the body"),
        (post("buy", rpc("sell", amount=1)), "method", "must be the path's"),
        (post("buy", rpc("buy", amount=1) | {"usIn": 1}), "body", "JSON-RPC 2.0"),
        (post("buy", rpc("buy") | {"params": []}), "params", "JSON object"),
        (post("buy", rpc("buy", amount=0.1)), "body", "not an integer"),
        (post("buy", rpc("buy", amount=True)), "amount", "must be a string"),
        (post("buy", rpc("buy", amount=10**30)), "body", "2^53 - 1"),
        (auth("a\nb"), "data", "signs a request"),
        (auth("é"), "data", "signs a request"),
        (auth("a" * 65), "data", "signs a request"),
        (payload(PayloadKind.DERIBIT_AUTH, "", "A,ts=1"), "account", "1 to 128"),
    ],
)
def test_refused(request_: Payload, field: str, problem: str) -> None:
    """What overrules the stamp, hides a second line or has two readings is refused by name."""
    found, reason = refusal(request_)
    assert found == field
    assert problem in reason


def test_unfit_signature_is_broken() -> None:
    """A signature of another length never leaves."""
    for request in (get("buy", ORDER), auth()):
        with pytest.raises(Broken):
            assemble(request, bytes(64))
