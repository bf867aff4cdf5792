"""What a venue or a chain checks of each format, with its own copy of the secret or the public key."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from urllib.parse import unquote

import coincurve
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from eth_account import Account
from eth_account.messages import encode_defunct, encode_typed_data
from solders.transaction import VersionedTransaction

from keyvault import intents
from keyvault.client import Signed, SignedTypedData
from tests.every_format import ACCOUNT, DIGEST, SECRETS, authorization
from tests.intents import cosmos_building as cosmos
from tests.intents.building import mail


def mac(secret: str, data: str | bytes) -> bytes:
    """Return what a venue computes with its copy of the secret."""
    digest = hashlib.sha512 if secret == "hmac-512" else hashlib.sha256
    return hmac.digest(SECRETS[secret], data if isinstance(data, bytes) else data.encode(), digest)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def edwards(public_key: bytes, signature: bytes, data: bytes) -> None:
    ed25519.Ed25519PublicKey.from_public_bytes(public_key).verify(signature, data)


def recovered(digest: bytes, rsv: bytes) -> bytes:
    """Return the public key that made 65 bytes r, s, v, as a contract does; v is 27 or 28, or 0 or 1."""
    parity = rsv[64] - 27 if rsv[64] >= 27 else rsv[64]
    return coincurve.PublicKey.from_signature_and_message(rsv[:64] + bytes((parity,)), digest, hasher=None).format(
        compressed=False
    )


def check_authorization(signed: Signed, public_key: bytes) -> None:
    assert recovered(intents.keccak256(authorization()), signed.output.raw) == public_key


def check_message(signed: Signed, public_key: bytes) -> None:
    signer = Account.recover_message(encode_defunct(text="Hello, Bob!"), signature=signed.output.raw)
    assert signer == intents.ethereum_address(public_key)


def check_typed_data(signed: Signed, public_key: bytes) -> None:
    assert isinstance(signed, SignedTypedData)
    signer = Account.recover_message(encode_typed_data(full_message=mail()), signature=signed.rsv)
    assert signer == intents.ethereum_address(public_key)


def check_transaction(signed: Signed, public_key: bytes) -> None:
    assert Account.recover_transaction(signed.output.raw) == intents.ethereum_address(public_key)


def check_hyperliquid(signed: Signed, public_key: bytes) -> None:
    """What the venue does: the body's action and nonce, hashed, recover the account."""
    body = json.loads(signed.output.body)
    r, s = (int(body["signature"][name], 16).to_bytes(32, "big") for name in "rs")
    assert recovered(signed.signing_input, r + s + bytes((body["signature"]["v"],))) == public_key
    assert body["nonce"] > 1_700_000_000_000


def check_solana(signed: Signed, public_key: bytes) -> None:
    transaction = VersionedTransaction.from_bytes(signed.output.raw)
    assert transaction.verify_with_results() == [True]
    assert bytes(transaction.message.account_keys[0]) == public_key
    assert bytes(transaction.signatures[0]) == signed.output.transaction_hash


def check_bitcoin(signed: Signed, public_key: bytes) -> None:
    compressed = coincurve.PublicKey(public_key).format()
    assert coincurve.PublicKey(compressed).verify(signed.output.raw[:-1], signed.signing_input, hasher=None)
    assert signed.output.raw[-1] == 1


def check_cosmos(signed: Signed, public_key: bytes) -> None:
    """What a node does: it makes SignDoc of TxRaw, its own chain id and the account's number."""
    raw = cosmos.tx.TxRaw.FromString(signed.output.raw)
    made = cosmos.document(raw.body_bytes, raw.auth_info_bytes).parts[0]
    r, s = (int.from_bytes(raw.signatures[0][half : half + 32], "big") for half in (0, 32))
    ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), public_key).verify(
        utils.encode_dss_signature(r, s), made, ec.ECDSA(hashes.SHA256())
    )
    assert hashlib.sha256(signed.output.raw).digest() == signed.output.transaction_hash


def check_binance(signed: Signed, _: bytes) -> None:
    query, _mark, signature = signed.output.query.rpartition("&signature=")
    assert signature == mac("hmac", query).hex()


def check_binance_ed(signed: Signed, public_key: bytes) -> None:
    body, _mark, signature = signed.output.body.rpartition("&signature=")
    edwards(public_key, base64.b64decode(unquote(signature)), body.encode())


def websocket(signed: Signed) -> tuple[str, str]:
    """Return what Binance makes of a message: the sorted parameters, and the signature beside them."""
    parameters = json.loads(signed.output.message)["params"]
    signature = parameters.pop("signature")
    return "&".join(f"{name}={parameters[name]}" for name in sorted(parameters)), signature


def check_binance_ws(signed: Signed, _: bytes) -> None:
    text, signature = websocket(signed)
    assert signature == mac("hmac", text).hex()


def check_binance_ws_ed(signed: Signed, public_key: bytes) -> None:
    text, signature = websocket(signed)
    edwards(public_key, base64.b64decode(signature), text.encode())


def fix(signed: Signed) -> dict[str, str]:
    """Return the fields of a FIX message whose length and checksum are right."""
    message = signed.output.message
    body, _, checksum = message.rpartition("10=")
    assert int(checksum[:3]) == sum(body.encode()) % 256
    fields = dict(field.split("=", 1) for field in message.split("\x01")[:-1])
    assert len(body.split("\x01", 2)[2]) == int(fields["9"])
    return fields


def check_binance_fix(signed: Signed, public_key: bytes) -> None:
    fields = fix(signed)
    text = "\x01".join(fields[tag] for tag in ("35", "49", "56", "34", "52"))
    edwards(public_key, base64.b64decode(fields["96"]), text.encode())


def check_kraken_fix(signed: Signed, _: bytes) -> None:
    fields = fix(signed)
    text = "".join(f"{tag}={fields[tag]}\x01" for tag in ("35", "34", "49", "56", "553")) + fields["5025"]
    assert fields["554"] == b64(mac("hmac-512", hashlib.sha256(text.encode()).digest()))


def check_bybit(signed: Signed, _: bytes) -> None:
    headers = dict(signed.output.headers)
    text = headers["X-BAPI-TIMESTAMP"] + ACCOUNT + headers["X-BAPI-RECV-WINDOW"] + signed.output.body
    assert headers["X-BAPI-SIGN"] == mac("hmac", text).hex()


def check_okx(signed: Signed, _: bytes) -> None:
    headers = dict(signed.output.headers)
    text = headers["OK-ACCESS-TIMESTAMP"] + "POST" + signed.output.path + signed.output.body
    assert headers["OK-ACCESS-SIGN"] == b64(mac("hmac", text))


def check_okx_logon(signed: Signed, _: bytes) -> None:
    (argument,) = json.loads(signed.output.message)["args"]
    assert argument["sign"] == b64(mac("hmac", argument["timestamp"] + "GET/users/self/verify"))


def token_of(signed: Signed) -> tuple[bytes, dict[str, object], bytes]:
    """Return what is signed of a JWT, its claims, and the signature."""
    text = signed.output.message or dict(signed.output.headers)["Authorization"].removeprefix("Bearer ")
    head, claims, signature = text.split(".")
    unpacked = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in (claims, signature))
    return f"{head}.{claims}".encode(), json.loads(next(unpacked)), next(unpacked)


def check_coinbase(signed: Signed, public_key: bytes) -> None:
    text, claims, signature = token_of(signed)
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public_key).verify(
        utils.encode_dss_signature(r, s), text, ec.ECDSA(hashes.SHA256())
    )
    assert claims["sub"] == ACCOUNT


def check_coinbase_ed(signed: Signed, public_key: bytes) -> None:
    text, claims, signature = token_of(signed)
    edwards(public_key, signature, text)
    assert claims["uri"] == "POST api.coinbase.com/api/v3/brokerage/orders"


def check_kraken(signed: Signed, _: bytes) -> None:
    nonce = signed.output.body.split("&")[0].removeprefix("nonce=")
    inside = hashlib.sha256((nonce + signed.output.body).encode()).digest()
    assert dict(signed.output.headers)["API-Sign"] == b64(mac("hmac-512", signed.output.path.encode() + inside))


def check_deribit(signed: Signed, _: bytes) -> None:
    credentials = dict(signed.output.headers)["Authorization"].removeprefix("deri-hmac-sha256 ")
    said = dict(field.split("=", 1) for field in credentials.split(","))
    text = f"{said['ts']}\n{said['nonce']}\nGET\n{signed.output.path}?{signed.output.query}\n\n"
    assert said["sig"] == mac("hmac", text).hex()


def check_deribit_auth(signed: Signed, _: bytes) -> None:
    said = json.loads(signed.output.message)["params"]
    assert said["signature"] == mac("hmac", f"{said['timestamp']}\n{said['nonce']}\n{said['data']}").hex()


def check_polymarket(signed: Signed, _: bytes) -> None:
    headers = dict(signed.output.headers)
    text = f"{headers['POLY_TIMESTAMP']}POST{signed.output.path}{signed.output.body}"
    assert headers["POLY_SIGNATURE"] == base64.urlsafe_b64encode(mac("hmac", text)).decode()


def check_digest(signed: Signed, public_key: bytes) -> None:
    r, s = (int.from_bytes(half, "big") for half in (signed.signature[:32], signed.signature[32:]))
    ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public_key).verify(
        utils.encode_dss_signature(r, s), DIGEST, ec.ECDSA(utils.Prehashed(hashes.SHA256()))
    )


CHECKS: Mapping[str, Callable[[Signed, bytes], None]] = {
    "evm-transaction": check_transaction,
    "evm-authorization": check_authorization,
    "evm-message": check_message,
    "typed-data": check_typed_data,
    "hyperliquid": check_hyperliquid,
    "solana": check_solana,
    "bitcoin": check_bitcoin,
    "cosmos": check_cosmos,
    "binance": check_binance,
    "binance-ed": check_binance_ed,
    "binance-ws": check_binance_ws,
    "binance-ws-ed": check_binance_ws_ed,
    "binance-logon": check_binance_ws_ed,
    "binance-fix": check_binance_fix,
    "bybit": check_bybit,
    "okx": check_okx,
    "okx-logon": check_okx_logon,
    "coinbase": check_coinbase,
    "coinbase-ed": check_coinbase_ed,
    "coinbase-ws": check_coinbase,
    "kraken": check_kraken,
    "kraken-fix": check_kraken_fix,
    "deribit": check_deribit,
    "deribit-auth": check_deribit_auth,
    "polymarket": check_polymarket,
    "digest": check_digest,
}
