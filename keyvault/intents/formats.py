"""The one door from bytes to meaning, and back to what is sent.

Everything is bounded before it is looked at. A payload that is not exactly one of the known formats raises Malformed;
nothing else escapes ``parse``.

The parts of a payload by kind:

evm-transaction, evm-authorization, evm-message, typed-data, solana-message, cosmos-sign-doc, raw-digest   the bytes
hyperliquid-action   action JSON, vault address or nothing, expiry in ms or nothing, mainnet or testnet
bitcoin-psbt         PSBT, number of the input, mainnet, testnet or regtest
binance-rest         query, body
binance-ws           parameters as JSON, method, account
bybit, okx, coinbase method, path, query, body, account (coinbase without method and path: for a WebSocket)
kraken-rest          path, body, account
deribit-rest         method, URI, body, account
polymarket-rest      method, path, body, account, address
deribit-auth         data, account
other log-ons        account; FIX: SenderCompID, TargetCompID, MsgSeqNum, account
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.intent import Intent, Output, Payload, PayloadKind, Signer
from keyvault.core.keys import KeyAlgorithm, Signature
from keyvault.intents import (
    binance,
    binance_ws,
    bitcoin_psbt,
    bybit,
    coinbase,
    cosmos,
    deribit,
    evm,
    evm_authorization,
    evm_message,
    fix,
    hyperliquid,
    kraken,
    okx,
    polymarket,
    raw_digest,
    solana,
    typed_data,
)
from keyvault.intents.account import account_of
from keyvault.intents.describe import describe


@dataclass(frozen=True, slots=True)
class _Format:
    """How payloads of one kind are read, and put together with their signature."""

    parts: int
    parse: Callable[[Payload, Signer], Intent]
    assemble: Callable[[Payload, Signer, Signature], Output]


_FORMATS: Final[dict[PayloadKind, _Format]] = {
    PayloadKind.EVM_TRANSACTION: _Format(1, evm.parse, evm.assemble),
    PayloadKind.EVM_AUTHORIZATION: _Format(1, evm_authorization.parse, evm_authorization.assemble),
    PayloadKind.EVM_MESSAGE: _Format(1, evm_message.parse, evm_message.assemble),
    PayloadKind.TYPED_DATA: _Format(1, typed_data.parse, typed_data.assemble),
    PayloadKind.HYPERLIQUID_ACTION: _Format(4, hyperliquid.parse, hyperliquid.assemble),
    PayloadKind.SOLANA_MESSAGE: _Format(1, solana.parse, solana.assemble),
    PayloadKind.BITCOIN_PSBT: _Format(3, bitcoin_psbt.parse, bitcoin_psbt.assemble),
    PayloadKind.COSMOS_SIGN_DOC: _Format(1, cosmos.parse, cosmos.assemble),
    PayloadKind.BINANCE_REST: _Format(2, binance.parse, binance.assemble),
    PayloadKind.BINANCE_WS: _Format(3, binance_ws.parse, binance_ws.assemble),
    PayloadKind.BINANCE_WS_LOGON: _Format(1, binance_ws.parse_logon, binance_ws.assemble_logon),
    PayloadKind.BINANCE_FIX_LOGON: _Format(4, fix.parse_binance, fix.assemble_binance),
    PayloadKind.BYBIT_REST: _Format(5, bybit.parse, bybit.assemble),
    PayloadKind.OKX_REST: _Format(5, okx.parse, okx.assemble),
    PayloadKind.OKX_WS_LOGON: _Format(1, okx.parse_logon, okx.assemble_logon),
    PayloadKind.COINBASE_JWT: _Format(5, coinbase.parse, coinbase.assemble),
    PayloadKind.KRAKEN_REST: _Format(3, kraken.parse, kraken.assemble),
    PayloadKind.KRAKEN_FIX_LOGON: _Format(4, fix.parse_kraken, fix.assemble_kraken),
    PayloadKind.DERIBIT_REST: _Format(4, deribit.parse, deribit.assemble),
    PayloadKind.DERIBIT_AUTH: _Format(2, deribit.parse_auth, deribit.assemble_auth),
    PayloadKind.POLYMARKET_REST: _Format(5, polymarket.parse, polymarket.assemble),
    PayloadKind.RAW_DIGEST: _Format(1, raw_digest.parse, raw_digest.assemble),
}


PARTS: Final = {kind: each.parts for kind, each in _FORMATS.items()}
"""How many parts a payload of each kind has."""

_OF_ANY_KEY = frozenset(
    {PayloadKind.EVM_TRANSACTION, PayloadKind.TYPED_DATA, PayloadKind.BINANCE_REST, PayloadKind.RAW_DIGEST}
)
"""Kinds whose payloads are well formed or not, whoever signs."""
ANYBODY = Signer(
    algorithm=KeyAlgorithm.SECP256K1,
    public_key=bytes.fromhex(
        "04"
        "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
        "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"
    ),
)
"""For reading what does not depend on the signer: the generator of secp256k1 (SEC 2), which is nobody's key."""
_NOBODY = account_of(ANYBODY)


def checked(payload: Payload) -> Payload:
    """Return the payload if nothing is wrong with it that can be known before the signer is, or raise Malformed."""
    if payload.kind in _OF_ANY_KEY:
        parse(payload, ANYBODY)
    return payload


def described(payload: Payload) -> str:
    """Return in plain words what a payload means whoever signs it, or raise Malformed where that decides."""
    intent = parse(payload, ANYBODY)
    effects = (replace(each, source=None) if each.source == _NOBODY else each for each in intent.effects)
    return describe(replace(intent, effects=tuple(effects)))


def parse(payload: Payload, signer: Signer) -> Intent:
    """Return what the signature of ``signer`` under ``payload`` means; raise Malformed for what is not well formed."""
    found = _FORMATS.get(payload.kind)
    if found is None:
        raise Malformed("payload", f"this build reads no {payload.kind}")
    if len(payload.parts) != found.parts:
        raise Malformed("payload", f"{payload.kind} has {found.parts} part(s), not {len(payload.parts)}")
    if sum(map(len, payload.parts)) > limits.PAYLOAD_BYTES_MAX:
        raise Malformed("payload", f"has more than {limits.PAYLOAD_BYTES_MAX} bytes")
    return found.parse(payload, signer)


def assemble(payload: Payload, signer: Signer, signature: Signature) -> Output:
    """Return exactly what is to be sent for a payload that ``parse`` accepted, signed with one of its algorithms.

    Raises Broken when the signature is not of the form that the format needs: length, recovery id.
    """
    return _FORMATS[payload.kind].assemble(payload, signer, signature)
