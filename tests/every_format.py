"""One good payload of every kind, for keys that exist: what the tests of SDK, CLI and audit have in common."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import coincurve
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer

from keyvault.client import payloads
from keyvault.core.intent import Operation, Payload, PayloadKind
from keyvault.core.keys import KeyAlgorithm
from keyvault.core.policy import ANY, Rule, Verdict
from keyvault.intents import rlp
from keyvault.intents.cosmos_address import account_of_key, address_text
from tests.intents import bitcoin_building as bitcoin
from tests.intents import cosmos_building as cosmos
from tests.intents import hyperliquid_building as hyperliquid
from tests.intents import solana_building as solana
from tests.intents.building import dynamic_fee, mail
from tests.intents.venues import compact

ACCOUNT = "A1b2C3d4E5f6G7h8J9"
ADDRESS = "0x" + "35" * 20
DIGEST = bytes(range(32))
SECRETS = {"hmac": b"an exchange's API secret", "hmac-512": b"another exchange's API secret"}
ALGORITHMS: Mapping[str, KeyAlgorithm] = {
    "eth": KeyAlgorithm.SECP256K1,
    "p256": KeyAlgorithm.P256,
    "ed": KeyAlgorithm.ED25519,
    "hmac": KeyAlgorithm.HMAC_SHA256,
    "hmac-512": KeyAlgorithm.HMAC_SHA512,
}
"""The keys by name."""
ORDER = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "9000"}
FIX = {"protocol": "fix", "account": ACCOUNT, "sender_comp_id": "DESK", "sequence_number": 1}


@dataclass(frozen=True, slots=True)
class Format:
    """A payload, which may depend on the public key, and the key that signs it."""

    kind: PayloadKind
    key: str
    make: Callable[[bytes], Payload]


def solana_message(public_key: bytes) -> bytes:
    """Return a transfer of 5,000 lamports."""
    payer = Pubkey(public_key)
    sent = TransferParams(from_pubkey=payer, to_pubkey=solana.key("friend"), lamports=5_000)
    return solana.legacy(transfer(sent), payer=payer)


def psbt(public_key: bytes, inputs: int = 1, *, more: tuple[bitcoin.Coin, ...] = ()) -> bytes:
    """Return a payment from ``inputs`` P2WPKH outputs of the key, and from ``more``; 1,000 satoshi an input as fee."""
    ours = bitcoin.p2wpkh(coincurve.PublicKey(public_key).format())
    coins = [*(bitcoin.Coin(ours, salt=number + 1) for number in range(inputs)), *more]
    return bitcoin.version_0(coins, [(99_000 * len(coins), bitcoin.STRANGER)])


def sign_doc(public_key: bytes) -> bytes:
    """Return a transfer on dYdX."""
    own = cosmos.keys.PubKey(key=coincurve.PublicKey(public_key).format())
    body = cosmos.body(cosmos.send(from_address=address_text("dydx", account_of_key(public_key)[1])))
    information = cosmos.auth_info(signer_infos=[cosmos.signer_info(public_key=cosmos.packed(own))])
    return cosmos.document(body, information).parts[0]


def authorization(nonce: int = 7) -> bytes:
    """Return an EIP-7702 authorization for chain 1."""
    return b"\x05" + rlp.encode((b"\x01", bytes.fromhex(ADDRESS[2:]), rlp.integer(nonce)))


def _request(venue: str, **fields: str) -> Callable[[bytes], Payload]:
    return lambda _: payloads.exchange(venue, **fields)


def _logon(venue: str, **fields: object) -> Callable[[bytes], Payload]:
    return lambda _: payloads.logon(venue, **fields)  # type: ignore[arg-type]  # as the table says


_BINANCE = "&".join(f"{name}={value}" for name, value in ORDER.items())
_BYBIT = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "1", "price": "9000"}
_OKX = {"instId": "BTC-USDT", "tdMode": "cash", "side": "buy", "ordType": "limit", "sz": "1", "px": "9000"}
_POLYMARKET = {
    "order": {"tokenId": "1", "side": "BUY", "makerAmount": "1", "takerAmount": "2"},
    "owner": ACCOUNT,
    "orderType": "GTC",
}
_PATH = {"method": "POST", "account": ACCOUNT}
_COINBASE = _request("coinbase", path="/api/v3/brokerage/orders", body='{"product_id":"BTC-USD"}', **_PATH)


def _message(_: bytes) -> Payload:
    return payloads.exchange_message("binance", method="order.place", parameters=ORDER, account=ACCOUNT)


FORMATS: Mapping[str, Format] = {
    "evm-transaction": Format(PayloadKind.EVM_TRANSACTION, "eth", lambda _: payloads.evm_transaction(dynamic_fee())),
    "evm-authorization": Format(
        PayloadKind.EVM_AUTHORIZATION, "eth", lambda _: payloads.evm_authorization(authorization())
    ),
    "evm-message": Format(PayloadKind.EVM_MESSAGE, "eth", lambda _: payloads.evm_message("Hello, Bob!")),
    "typed-data": Format(PayloadKind.TYPED_DATA, "eth", lambda _: payloads.typed_data(mail())),
    "hyperliquid": Format(
        PayloadKind.HYPERLIQUID_ACTION, "eth", lambda _: payloads.hyperliquid(hyperliquid.orders(hyperliquid.order()))
    ),
    "solana": Format(PayloadKind.SOLANA_MESSAGE, "ed", lambda key: payloads.solana(solana_message(key))),
    "bitcoin": Format(
        PayloadKind.BITCOIN_PSBT, "eth", lambda key: payloads.bitcoin_input(psbt(key), 0, network="regtest")
    ),
    "cosmos": Format(PayloadKind.COSMOS_SIGN_DOC, "eth", lambda key: payloads.cosmos(sign_doc(key))),
    "binance": Format(PayloadKind.BINANCE_REST, "hmac", _request("binance", query=_BINANCE)),
    "binance-ed": Format(PayloadKind.BINANCE_REST, "ed", _request("binance", body=_BINANCE)),
    "binance-ws": Format(PayloadKind.BINANCE_WS, "hmac", _message),
    "binance-ws-ed": Format(PayloadKind.BINANCE_WS, "ed", _message),
    "binance-logon": Format(
        PayloadKind.BINANCE_WS_LOGON, "ed", _logon("binance", protocol="websocket", account=ACCOUNT)
    ),
    "binance-fix": Format(PayloadKind.BINANCE_FIX_LOGON, "ed", _logon("binance", target_comp_id="SPOT", **FIX)),
    "bybit": Format(
        PayloadKind.BYBIT_REST, "hmac", _request("bybit", path="/v5/order/create", body=compact(_BYBIT), **_PATH)
    ),
    "okx": Format(
        PayloadKind.OKX_REST, "hmac", _request("okx", path="/api/v5/trade/order", body=compact(_OKX), **_PATH)
    ),
    "okx-logon": Format(PayloadKind.OKX_WS_LOGON, "hmac", _logon("okx", protocol="websocket", account=ACCOUNT)),
    "coinbase": Format(PayloadKind.COINBASE_JWT, "p256", _COINBASE),
    "coinbase-ed": Format(PayloadKind.COINBASE_JWT, "ed", _COINBASE),
    "coinbase-ws": Format(PayloadKind.COINBASE_JWT, "p256", _request("coinbase", account=ACCOUNT)),
    "kraken": Format(
        PayloadKind.KRAKEN_REST,
        "hmac-512",
        _request(
            "kraken",
            path="/0/private/AddOrder",
            body="ordertype=limit&pair=XBTUSD&price=9000&type=buy&volume=1",
            account=ACCOUNT,
        ),
    ),
    "kraken-fix": Format(
        PayloadKind.KRAKEN_FIX_LOGON, "hmac-512", _logon("kraken", target_comp_id="KRAKEN-TRD", **FIX)
    ),
    "deribit": Format(
        PayloadKind.DERIBIT_REST,
        "hmac",
        _request(
            "deribit",
            method="GET",
            path="/api/v2/private/buy?instrument_name=BTC-PERPETUAL&amount=10&price=9000",
            account=ACCOUNT,
        ),
    ),
    "deribit-auth": Format(
        PayloadKind.DERIBIT_AUTH, "hmac", _logon("deribit", protocol="oauth", account=ACCOUNT, data="a1")
    ),
    "polymarket": Format(
        PayloadKind.POLYMARKET_REST,
        "hmac",
        _request("polymarket", path="/order", body=compact(_POLYMARKET), address=ADDRESS, **_PATH),
    ),
    "digest": Format(PayloadKind.RAW_DIGEST, "p256", lambda _: payloads.raw_digest(DIGEST)),
}
"""By a name of their own: some kinds are signed by keys of two algorithms."""

EVERYTHING = Rule(
    id="everything",
    verdict=Verdict.ALLOW,
    keys=frozenset(ALGORITHMS),
    principals=ANY,
    kinds=frozenset(PayloadKind),
    operations=frozenset(Operation),
    chains=ANY,
    venues=ANY,
    destinations=ANY,
    selectors=ANY,
    primary_types=ANY,
    amount_max=ANY,
    fee_max=ANY,
    symbols=ANY,
    assets=ANY,
    contracts=ANY,
    type_hashes=ANY,
    usd_max=ANY,
    validity_ms_max=ANY,
)
"""Lets every bot do everything with these keys: nobody could publish it, a genesis can have it."""
