"""What each kind of payload can do, and which conditions can ask something of it: what lints reason with."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from keyvault.core.intent import Operation, PayloadKind
from keyvault.core.policy_rules import ASKED_FIELDS

_ORDERS = frozenset({Operation.ORDER, Operation.REDUCE, Operation.CANCEL})
_REST = _ORDERS | {Operation.WITHDRAW, Operation.REQUEST, Operation.SETUP, Operation.KEY_GRANT, Operation.OPAQUE}
_POWERS = frozenset({Operation.DELEGATE, Operation.KEY_GRANT, Operation.ADMIN, Operation.OPAQUE})
_LOGON = frozenset({Operation.SESSION})

KIND_OPERATIONS: Final[Mapping[PayloadKind, frozenset[Operation]]] = MappingProxyType(
    {
        PayloadKind.EVM_TRANSACTION: _POWERS
        | {
            Operation.TRANSFER,
            Operation.ALLOWANCE,
            Operation.CALL,
            Operation.CREATE,
            Operation.SETUP,
            Operation.CANCEL,
        },
        PayloadKind.EVM_AUTHORIZATION: frozenset({Operation.DELEGATE}),
        PayloadKind.EVM_MESSAGE: frozenset({Operation.MESSAGE, Operation.SESSION, Operation.OPAQUE}),
        PayloadKind.TYPED_DATA: _POWERS
        | _ORDERS
        | {
            Operation.TYPED_DATA,
            Operation.TRANSFER,
            Operation.ALLOWANCE,
            Operation.CALL,
            Operation.CREATE,
            Operation.SESSION,
            Operation.SETUP,
            Operation.WITHDRAW,
        },
        PayloadKind.HYPERLIQUID_ACTION: _ORDERS
        | {
            Operation.SETUP,
            Operation.WITHDRAW,
            Operation.TRANSFER,
            Operation.KEY_GRANT,
            Operation.ALLOWANCE,
            Operation.ADMIN,
            Operation.OPAQUE,
        },
        PayloadKind.SOLANA_MESSAGE: _POWERS
        | {Operation.TRANSFER, Operation.ALLOWANCE, Operation.SETUP, Operation.MESSAGE},
        PayloadKind.BITCOIN_PSBT: frozenset({Operation.TRANSFER, Operation.MESSAGE, Operation.OPAQUE}),
        PayloadKind.COSMOS_SIGN_DOC: _ORDERS
        | _POWERS
        | {Operation.TRANSFER, Operation.ALLOWANCE, Operation.WITHDRAW, Operation.SETUP, Operation.MESSAGE},
        PayloadKind.BINANCE_REST: _REST,
        PayloadKind.BINANCE_WS: _REST,
        PayloadKind.BINANCE_WS_LOGON: _LOGON,
        PayloadKind.BINANCE_FIX_LOGON: _LOGON,
        PayloadKind.BYBIT_REST: _REST,
        PayloadKind.OKX_REST: _REST,
        PayloadKind.OKX_WS_LOGON: _LOGON,
        PayloadKind.COINBASE_JWT: frozenset({Operation.SESSION, Operation.REQUEST}),
        PayloadKind.KRAKEN_REST: _REST | _LOGON,  # GetWebSocketsToken
        PayloadKind.KRAKEN_FIX_LOGON: _LOGON,
        PayloadKind.DERIBIT_REST: _REST | _LOGON,  # every request there is one, too
        PayloadKind.DERIBIT_AUTH: _LOGON,
        PayloadKind.POLYMARKET_REST: _REST,
        PayloadKind.RAW_DIGEST: frozenset({Operation.OPAQUE}),
    }
)
"""What payloads of each kind can be."""

CHAIN_KINDS: Final = frozenset(
    {
        PayloadKind.EVM_TRANSACTION,
        PayloadKind.EVM_AUTHORIZATION,
        PayloadKind.SOLANA_MESSAGE,
        PayloadKind.BITCOIN_PSBT,
    }
)
"""Their effects are on a chain, and at no venue."""

MIXED_KINDS: Final = frozenset({PayloadKind.TYPED_DATA, PayloadKind.COSMOS_SIGN_DOC, PayloadKind.EVM_MESSAGE})
"""Their effects are on a chain, at a venue, or both."""

VENUE_KINDS: Final = frozenset(PayloadKind) - CHAIN_KINDS - MIXED_KINDS - {PayloadKind.RAW_DIGEST}
"""Their effects are at a venue, and on no chain; but for Hyperliquid's, which say mainnet or testnet besides, and for
withdrawals, which say by which network."""

SECRETS: Final[Mapping[PayloadKind, tuple[str, frozenset[str]]]] = MappingProxyType(
    {
        PayloadKind.SOLANA_MESSAGE: ("solana", frozenset({"Ed25519"})),
        PayloadKind.BINANCE_REST: ("binance", frozenset({"HMAC", "Ed25519"})),
        PayloadKind.BINANCE_WS: ("binance", frozenset({"HMAC", "Ed25519"})),
        PayloadKind.BINANCE_WS_LOGON: ("binance", frozenset({"Ed25519"})),
        PayloadKind.BINANCE_FIX_LOGON: ("binance", frozenset({"Ed25519"})),
        PayloadKind.BYBIT_REST: ("bybit", frozenset({"HMAC"})),
        PayloadKind.OKX_REST: ("okx", frozenset({"HMAC"})),
        PayloadKind.OKX_WS_LOGON: ("okx", frozenset({"HMAC"})),
        PayloadKind.COINBASE_JWT: ("coinbase", frozenset({"Ed25519", "P-256"})),
        PayloadKind.KRAKEN_REST: ("kraken", frozenset({"HMAC"})),
        PayloadKind.KRAKEN_FIX_LOGON: ("kraken", frozenset({"HMAC"})),
        PayloadKind.DERIBIT_REST: ("deribit", frozenset({"HMAC"})),
        PayloadKind.DERIBIT_AUTH: ("deribit", frozenset({"HMAC"})),
        PayloadKind.POLYMARKET_REST: ("polymarket", frozenset({"HMAC"})),
    }
)
"""Whose texts a key signs, and with what, where nothing in them says whose they are. With secp256k1 it is a hash, and
what is hashed does say so: a transaction, a typed message, a sign doc."""

VENUES: Final = frozenset(
    {"binance", "bybit", "okx", "coinbase", "kraken", "deribit", "polymarket", "hyperliquid", "dydx", "cow"}
)
"""The venues that decoders name."""

NETWORK_VENUES: Final = frozenset({"binance", "bybit", "okx", "kraken"})
"""Venues whose withdrawals say by which network they go, as ``{venue}:{network}``; Kraken: by which key."""

_MOVES = frozenset({Operation.TRANSFER, Operation.ALLOWANCE})
_VALUED = frozenset(
    {
        Operation.TRANSFER,
        Operation.ALLOWANCE,
        Operation.CALL,
        Operation.CREATE,
        Operation.ORDER,
        Operation.REDUCE,
        Operation.WITHDRAW,
    }
)
_MORE: Final[Mapping[Operation, frozenset[str]]] = MappingProxyType(
    {
        Operation.TRANSFER: frozenset({"contracts", "type_hashes", "primary_types", "selectors", "venues"}),
        Operation.ALLOWANCE: frozenset({"contracts", "type_hashes", "primary_types", "selectors", "venues"}),
        Operation.CALL: frozenset({"contracts", "type_hashes", "primary_types"}),
        Operation.CREATE: frozenset({"contracts", "type_hashes", "primary_types"}),
        Operation.DELEGATE: frozenset({"contracts", "selectors", "type_hashes", "primary_types"}),
        Operation.KEY_GRANT: frozenset({"contracts", "selectors", "assets", "type_hashes", "primary_types"}),
        Operation.ADMIN: frozenset({"assets", "type_hashes", "primary_types"}),
        Operation.SETUP: frozenset({"contracts", "destinations", "assets", "symbols", "selectors"}),
        Operation.TYPED_DATA: frozenset({"contracts", "type_hashes"}),
        Operation.ORDER: frozenset(
            {"sides", "price_band_bps", "contracts", "destinations", "type_hashes", "primary_types"}
        ),
        Operation.REDUCE: frozenset({"sides", "price_band_bps"}),
        Operation.CANCEL: frozenset({"symbols", "contracts", "selectors", "type_hashes", "primary_types"}),
        Operation.WITHDRAW: frozenset({"symbols", "amount_max", "contracts", "type_hashes", "primary_types"}),
        Operation.SESSION: frozenset({"destinations", "contracts", "type_hashes", "primary_types", "chains"}),
        Operation.REQUEST: frozenset({"symbols"}),
        Operation.MESSAGE: frozenset({"chains", "contracts"}),
    }
)


def _not_at_venues(operation: Operation) -> frozenset[str]:
    """Return what only effects on chains have; what a venue moves for its user has an amount there, too."""
    only = frozenset({"chains", "fee_max", "selectors", "primary_types", "type_hashes", "contracts"})
    if operation is Operation.WITHDRAW:  # by the venue's own name of a network
        only -= {"chains"}
    return only if operation in _MOVES else only | {"amount_max"}


def asked(kind: PayloadKind, operation: Operation) -> frozenset[str]:
    """Return the conditions that an allow rule must state for this operation in a payload of this kind."""
    if operation is Operation.OPAQUE:
        return frozenset({"venues"}) if kind in VENUE_KINDS else frozenset()
    fields = ASKED_FIELDS[operation] - {"assets"}
    if kind is PayloadKind.HYPERLIQUID_ACTION:
        more = {"amount_max"} if operation in _ORDERS else frozenset()
        return fields - {"fee_max", "contracts", "selectors"} - more
    if kind in VENUE_KINDS:
        return fields - _not_at_venues(operation)
    if kind in CHAIN_KINDS:
        return fields - {"venues", "symbols"}
    if operation is Operation.TYPED_DATA:
        return fields
    if kind is PayloadKind.TYPED_DATA and operation is Operation.ALLOWANCE:
        return (fields | {"contracts", "type_hashes", "validity_ms_max"}) - {"fee_max"}
    if kind is PayloadKind.TYPED_DATA and operation in (Operation.ORDER, Operation.CANCEL):
        # What is known of these says what is given, and the contract that verifies it; Polymarket's a venue, too.
        given = frozenset({"assets"}) if operation is Operation.ORDER else frozenset[str]()
        return (fields | given | {"chains", "contracts", "type_hashes"}) - {"venues", "symbols", "fee_max"}
    return fields - {"chains", "venues", "symbols", "fee_max"}


def known(kind: PayloadKind, operation: Operation) -> frozenset[str]:
    """Return the conditions that can hold for this operation: those that are asked, and those that may be stated."""
    if operation is Operation.OPAQUE:
        return asked(kind, operation)
    fields = ASKED_FIELDS[operation] | _MORE.get(operation, frozenset()) | {"validity_ms_max"}
    if operation in _VALUED:
        fields |= {"usd_max", "amount_max"}
    if "destinations" in fields:
        fields |= {"first_seen_ms", "look_alike"}
    if kind is PayloadKind.HYPERLIQUID_ACTION:
        return fields - {"fee_max", "selectors", "primary_types", "type_hashes", "contracts"}
    if kind in VENUE_KINDS:
        return fields - _not_at_venues(operation)
    if kind in CHAIN_KINDS:
        fields -= {"venues", "symbols", "primary_types", "type_hashes"}
        fields |= {"fee_max"}  # it stands on the first effect, whatever that is
    return fields


_CALL_PINS = frozenset({"selectors", "amount_max"})
_TYPED_PINS = frozenset({"chains", "contracts", "type_hashes", "destinations", "amount_max", "validity_ms_max"})
_UNREAD_PINS = frozenset({"chains", "destinations", "primary_types", "type_hashes"})


def pinned(kind: PayloadKind, operation: Operation) -> frozenset[str]:
    """Return the conditions where ``any`` in an allow rule would be a hole: the meaning then is the contract's alone.

    Typed data is good for whoever holds it, until it ends: its contract, chain and type say what it is. A PSBT binds no
    network, and its addresses are spelt by the one that the caller names.
    """
    if kind is PayloadKind.BITCOIN_PSBT:
        return frozenset({"chains"}) & asked(kind, operation)
    if operation is Operation.CALL:
        return _CALL_PINS
    if kind is not PayloadKind.TYPED_DATA:
        return frozenset()
    if operation in (Operation.ALLOWANCE, Operation.TRANSFER):
        return _TYPED_PINS
    return _UNREAD_PINS if operation is Operation.TYPED_DATA else frozenset()
