"""Coinbase Advanced Trade: tokens that bind no body."""

import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature

from keyvault.core.errors import Broken
from keyvault.core.intent import Bound, Completeness, Effect, Operation, Output, Payload, PayloadKind
from keyvault.core.keys import KeyAlgorithm
from tests.intents.venues import AT, ED25519, assemble, parse, payload, refusal, signer

KEY = "organizations/0c1d/apiKeys/7e2f"
ORDERS = "/api/v3/brokerage/orders"
URI = f"POST api.coinbase.com{ORDERS}"
P256 = ec.derive_private_key(7, ec.SECP256R1())
BY_P256 = signer(KeyAlgorithm.P256)
BY_ED25519 = signer(KeyAlgorithm.ED25519)


def token(method: str, path: str, query: str = "", body: str = "") -> Payload:
    """Return a request for a token."""
    return payload(PayloadKind.COINBASE_JWT, method, path, query, body, KEY)


ORDER = token("POST", ORDERS, body='{"side":"BUY","size":0.1}')
SOCKET = token("", "")


def part(text: str) -> bytes:
    """Return the bytes of one part of a token (RFC 7515)."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_unbound_body_is_a_session() -> None:
    """A36: a token for POST orders places any orders for 120 s: a SESSION that names its uri, whatever the body."""
    intent = parse(ORDER, BY_P256)
    assert intent.effects == (Effect(operation=Operation.SESSION, venue="coinbase", via=URI),)
    assert intent == parse(token("POST", ORDERS, body='{"side":"SELL","size":9999}'), BY_P256)
    assert intent.binds == {Bound.METHOD, Bound.HOST, Bound.PATH, Bound.ACCOUNT, Bound.EXPIRY}
    assert (intent.not_before, intent.expires_at) == (1_700_000_000_000, 1_700_000_120_000)
    assert (intent.completeness, intent.stamped, intent.slot) == (Completeness.FULL, True, None)
    assert intent.algorithms == {KeyAlgorithm.P256, KeyAlgorithm.ED25519}


@pytest.mark.parametrize(
    ("method", "operation"),
    [
        ("GET", Operation.REQUEST),
        ("POST", Operation.SESSION),
        ("PUT", Operation.SESSION),
        ("DELETE", Operation.SESSION),
    ],
)
def test_only_a_get_is_a_request(method: str, operation: Operation) -> None:
    """A GET changes nothing, whatever its query; every other method is a SESSION."""
    intent = parse(token(method, "/api/v3/brokerage/accounts"), BY_P256)
    via = f"{method} api.coinbase.com/api/v3/brokerage/accounts"
    assert intent.effects == (Effect(operation=operation, venue="coinbase", via=via),)


def test_socket_token_is_a_session_without_uri() -> None:
    """A WebSocket's token has no uri, binds neither method nor path, and is a SESSION."""
    intent = parse(SOCKET, BY_ED25519)
    assert intent.effects == (Effect(operation=Operation.SESSION, venue="coinbase"),)
    assert intent.binds == {Bound.ACCOUNT, Bound.EXPIRY}
    output = assemble(SOCKET, ED25519.sign(intent.signing_input), BY_ED25519)
    assert output == Output(message=output.message)
    assert "uri" not in json.loads(part(output.message.split(".")[1]))


def test_es256_token_verifies() -> None:
    """A token by P-256 says what the venue's library says, and verifies as ES256 over header and claims."""
    intent = parse(ORDER, BY_P256)
    r, s = decode_dss_signature(P256.sign(intent.signing_input, ec.ECDSA(Prehashed(hashes.SHA256()))))
    output = assemble(ORDER, r.to_bytes(32, "big") + s.to_bytes(32, "big"), BY_P256)
    assert (output.path, output.query, output.body) == (ORDERS, "", '{"side":"BUY","size":0.1}')
    name, text = output.headers[0]
    header, claims, signature = text.removeprefix("Bearer ").split(".")
    assert name == "Authorization"
    assert json.loads(part(claims)) == {
        "sub": KEY,
        "iss": "cdp",
        "nbf": 1_700_000_000,
        "exp": 1_700_000_120,
        "uri": URI,
    }
    head = json.loads(part(header))
    assert {name: head[name] for name in head if name != "nonce"} == {"alg": "ES256", "kid": KEY, "typ": "JWT"}
    assert bytes.fromhex(head["nonce"])
    value = part(signature)
    der = encode_dss_signature(int.from_bytes(value[:32], "big"), int.from_bytes(value[32:], "big"))
    P256.public_key().verify(der, f"{header}.{claims}".encode(), ec.ECDSA(hashes.SHA256()))
    assert intent.signing_input == hashlib.sha256(f"{header}.{claims}".encode()).digest()


def test_eddsa_token_verifies() -> None:
    """A token by Ed25519 says EdDSA, and verifies over header and claims themselves (RFC 8037)."""
    request = token("GET", "/api/v3/brokerage/accounts", "limit=5&product_ids=A&product_ids=B")
    value = ED25519.sign(parse(request, BY_ED25519).signing_input)
    output = assemble(request, value, BY_ED25519)
    header, claims, signature = output.headers[0][1].removeprefix("Bearer ").split(".")
    assert json.loads(part(header))["alg"] == "EdDSA"
    ED25519.public_key().verify(part(signature), f"{header}.{claims}".encode())
    assert (output.query, output.headers[1:]) == ("limit=5&product_ids=A&product_ids=B", ())


def test_nonces_differ() -> None:
    """Two stamps, and two keys with one stamp, never share a nonce."""
    nonces = set()
    for number in range(100):
        for key in (KEY, KEY + "1"):
            request = payload(PayloadKind.COINBASE_JWT, "", "", "", "", key)
            message = assemble(request, bytes(64), signer(KeyAlgorithm.P256, nonce=AT + number)).message
            nonces.add(json.loads(part(message.split(".")[0]))["nonce"])
    assert len(nonces) == 200


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (token("post", ORDERS), "method"),
        (token("POST ", ORDERS), "method"),
        (token("GET", ""), "path"),
        (token("", ORDERS), "method"),
        (token("POST", f"{ORDERS}?x=1"), "path"),
        (token("POST", "api.coinbase.com/x"), "path"),
        (token("GET", "@evil.example/x"), "path"),
        (token("GET", "/a/../b"), "path"),
        (token("GET", "/a%2fb"), "path"),
        (token("GET", ORDERS, "a b"), "query"),
        (token("GET", ORDERS, "a#b"), "query"),
        (token("GET", ORDERS, "a\r\nX: y"), "query"),
        (token("GET", ORDERS, body="{}"), "body"),
        (token("POST", ORDERS, "a=1"), "query"),
        (payload(PayloadKind.COINBASE_JWT, "POST", ORDERS, b"", b"\xff", KEY), "body"),
        (token("", "", body="{}"), ""),
        (payload(PayloadKind.COINBASE_JWT, "", "", "", "", 'k"},{"'), "account"),
    ],
)
def test_refused(request_: Payload, field: str) -> None:
    """Nothing of the caller's can end a uri, a header or a claim."""
    assert refusal(request_, BY_P256)[0] == field


def test_unfit_signature_is_broken() -> None:
    """A signature that is not 64 bytes never leaves."""
    with pytest.raises(Broken):
        assemble(ORDER, bytes(71), BY_P256)
