"""Payloads and effects, between core types and protobuf messages.

The parts of a payload stand in the order that ``keyvault.intents.formats`` gives for its kind.
"""

from collections.abc import Callable, Mapping
from operator import attrgetter
from types import MappingProxyType

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import EFFECT_TEXTS, Effect, Payload, PayloadKind, effect_texts
from keyvault.ledger.wire import OPERATIONS, integer_from_wire, integer_to_wire, refuse_unknown_fields
from keyvault.v1 import types_pb2

_BYTES: Mapping[str, PayloadKind] = MappingProxyType(
    {
        "evm_transaction": PayloadKind.EVM_TRANSACTION,
        "evm_authorization": PayloadKind.EVM_AUTHORIZATION,
        "evm_message": PayloadKind.EVM_MESSAGE,
        "typed_data": PayloadKind.TYPED_DATA,
        "solana_message": PayloadKind.SOLANA_MESSAGE,
        "cosmos_sign_doc": PayloadKind.COSMOS_SIGN_DOC,
        "raw_digest": PayloadKind.RAW_DIGEST,
    }
)
"""Formats that are one string of bytes."""
_BYTES_FIELDS = {kind: field for field, kind in _BYTES.items()}

_ALL = ("method", "path", "query", "body", "account")
_REQUESTS: Mapping[PayloadKind, tuple[types_pb2.Venue.ValueType, tuple[str, ...]]] = MappingProxyType(
    {
        PayloadKind.BINANCE_REST: (types_pb2.VENUE_BINANCE, ("query", "body")),
        PayloadKind.BYBIT_REST: (types_pb2.VENUE_BYBIT, _ALL),
        PayloadKind.OKX_REST: (types_pb2.VENUE_OKX, _ALL),
        PayloadKind.COINBASE_JWT: (types_pb2.VENUE_COINBASE, _ALL),
        PayloadKind.KRAKEN_REST: (types_pb2.VENUE_KRAKEN, ("path", "body", "account")),
        PayloadKind.DERIBIT_REST: (types_pb2.VENUE_DERIBIT, ("method", "path", "body", "account")),
        PayloadKind.POLYMARKET_REST: (types_pb2.VENUE_POLYMARKET, ("method", "path", "body", "account", "address")),
    }
)
"""What an ExchangeRequest to a venue is, and which of its fields are the parts."""
_REQUEST_KINDS = {int(venue): kind for kind, (venue, _) in _REQUESTS.items()}
_REQUEST_FIELDS = (*_ALL, "address")

_LOGONS: Mapping[PayloadKind, tuple[types_pb2.Venue.ValueType, types_pb2.LogonProtocol.ValueType, tuple[str, ...]]] = (
    MappingProxyType(
        {
            PayloadKind.BINANCE_WS_LOGON: (
                types_pb2.VENUE_BINANCE,
                types_pb2.LOGON_PROTOCOL_WEBSOCKET,
                ("account",),
            ),
            PayloadKind.BINANCE_FIX_LOGON: (
                types_pb2.VENUE_BINANCE,
                types_pb2.LOGON_PROTOCOL_FIX,
                ("sender_comp_id", "target_comp_id", "sequence_number", "account"),
            ),
            PayloadKind.OKX_WS_LOGON: (types_pb2.VENUE_OKX, types_pb2.LOGON_PROTOCOL_WEBSOCKET, ("account",)),
            PayloadKind.KRAKEN_FIX_LOGON: (
                types_pb2.VENUE_KRAKEN,
                types_pb2.LOGON_PROTOCOL_FIX,
                ("sender_comp_id", "target_comp_id", "sequence_number", "account"),
            ),
            PayloadKind.DERIBIT_AUTH: (types_pb2.VENUE_DERIBIT, types_pb2.LOGON_PROTOCOL_OAUTH, ("data", "account")),
        }
    )
)
"""What an ExchangeLogon is, and which of its fields are the parts."""
_LOGON_KINDS = {(int(venue), int(protocol)): kind for kind, (venue, protocol, _) in _LOGONS.items()}
_LOGON_FIELDS = ("account", "sender_comp_id", "target_comp_id", "sequence_number", "data")
_NUMBERS = frozenset({"sequence_number"})
_PART_NAMES: Mapping[PayloadKind, tuple[str, ...]] = MappingProxyType(
    {
        PayloadKind.BINANCE_WS: ("parameters", "method", "account"),
        PayloadKind.HYPERLIQUID_ACTION: ("action", "vault_address", "expires_after_ms", "network"),
        PayloadKind.BITCOIN_PSBT: ("psbt", "input", "network"),
    }
)


def part_names(kind: PayloadKind) -> tuple[str, ...]:
    """Return the words for the parts of a payload of several parts, in their order."""
    if kind in _REQUESTS:
        return _REQUESTS[kind][-1]
    if kind in _LOGONS:
        return _LOGONS[kind][-1]
    return _PART_NAMES.get(kind, (kind.value,))


def payload_from_proto(message: types_pb2.Payload) -> Payload:
    """Return the payload, or raise Malformed: no known format, a field that this build does not know, or too long."""
    refuse_unknown_fields(message)
    return checked_payload(message)


def checked_payload(message: types_pb2.Payload) -> Payload:
    """Like ``payload_from_proto`` for a message whose unknown fields were refused already."""
    payload = _payload(message)
    if sum(map(len, payload.parts)) > limits.PAYLOAD_BYTES_MAX:
        raise Malformed("payload", f"longer than {limits.PAYLOAD_BYTES_MAX} bytes")
    return payload


def _payload(message: types_pb2.Payload) -> Payload:
    match message.WhichOneof("format"):
        case "exchange_request":
            return _request(message.exchange_request)
        case "exchange_message":
            return _message(message.exchange_message)
        case "exchange_logon":
            return _logon(message.exchange_logon)
        case "hyperliquid_action":
            return _action(message.hyperliquid_action)
        case "bitcoin_input":
            return _input(message.bitcoin_input)
        case None:
            raise Malformed("payload", "has no format that this build knows")
        case field:
            return Payload(kind=_BYTES[field], parts=(getattr(message, field),))


def _request(request: types_pb2.ExchangeRequest) -> Payload:
    kind = _REQUEST_KINDS.get(request.venue)
    if kind is None:
        raise Malformed("payload.exchange_request.venue", f"{request.venue} is not a venue that this build knows")
    _, fields = _REQUESTS[kind]
    return Payload(kind=kind, parts=_parts("payload.exchange_request", request, fields, _REQUEST_FIELDS))


def _logon(logon: types_pb2.ExchangeLogon) -> Payload:
    kind = _LOGON_KINDS.get((logon.venue, logon.protocol))
    if kind is None:
        problem = f"venue {logon.venue} has no log-on with protocol {logon.protocol} that this build knows"
        raise Malformed("payload.exchange_logon", problem)
    *_, fields = _LOGONS[kind]
    return Payload(kind=kind, parts=_parts("payload.exchange_logon", logon, fields, _LOGON_FIELDS))


def _parts(
    at: str,
    message: types_pb2.ExchangeRequest | types_pb2.ExchangeLogon,
    fields: tuple[str, ...],
    known: tuple[str, ...],
) -> tuple[bytes, ...]:
    """Return the fields as parts; raise Malformed if one that the venue's scheme does not take is given."""
    for field in known:
        if field not in fields and getattr(message, field):
            raise Malformed(f"{at}.{field}", "is not part of what this venue signs: leave it empty")
    return tuple(str(getattr(message, field)).encode() for field in fields)


def _message(message: types_pb2.ExchangeMessage) -> Payload:
    if message.venue != types_pb2.VENUE_BINANCE:
        raise Malformed("payload.exchange_message.venue", f"{message.venue} has no messages that this build knows")
    parts = (message.parameters.encode(), message.method.encode(), message.account.encode())
    return Payload(kind=PayloadKind.BINANCE_WS, parts=parts)


def _action(action: types_pb2.HyperliquidAction) -> Payload:
    expires = str(action.expires_after_ms).encode() if action.expires_after_ms else b""
    network = b"testnet" if action.testnet else b"mainnet"
    parts = (action.action, action.vault_address.encode(), expires, network)
    return Payload(kind=PayloadKind.HYPERLIQUID_ACTION, parts=parts)


def _input(message: types_pb2.BitcoinInput) -> Payload:
    parts = (message.psbt, str(message.input).encode(), message.network.encode())
    return Payload(kind=PayloadKind.BITCOIN_PSBT, parts=parts)


def fill_payload(message: types_pb2.Payload, payload: Payload) -> None:
    """Write the payload into an empty message; raise Malformed for parts that are not as their kind has them."""
    try:
        _fill(message, payload)
    except UnicodeDecodeError:
        raise Malformed("payload", "not UTF-8 where it must be text") from None
    except ValueError:
        raise Malformed("payload", f"is not what a {payload.kind} is made of") from None


def _fill(message: types_pb2.Payload, payload: Payload) -> None:
    kind, parts = payload.kind, payload.parts
    if kind in _BYTES_FIELDS:
        (only,) = parts
        setattr(message, _BYTES_FIELDS[kind], only)
    elif kind in _REQUESTS:
        venue, fields = _REQUESTS[kind]
        message.exchange_request.venue = venue
        _fill_parts(message.exchange_request, fields, parts)
    elif kind in _LOGONS:
        venue, protocol, fields = _LOGONS[kind]
        message.exchange_logon.venue, message.exchange_logon.protocol = venue, protocol
        _fill_parts(message.exchange_logon, fields, parts)
    elif kind is PayloadKind.BINANCE_WS:
        parameters, method, account = parts
        message.exchange_message.venue = types_pb2.VENUE_BINANCE
        _fill_parts(message.exchange_message, ("parameters", "method", "account"), (parameters, method, account))
    elif kind is PayloadKind.HYPERLIQUID_ACTION:
        action, vault, expires, network = parts
        message.hyperliquid_action.action = action
        message.hyperliquid_action.vault_address = vault.decode()
        message.hyperliquid_action.expires_after_ms = int(expires or b"0")
        message.hyperliquid_action.testnet = network == b"testnet"
    else:
        psbt, number, network = parts
        message.bitcoin_input.psbt = psbt
        message.bitcoin_input.input = int(number)
        message.bitcoin_input.network = network.decode()


def _fill_parts(
    message: types_pb2.ExchangeRequest | types_pb2.ExchangeLogon | types_pb2.ExchangeMessage,
    fields: tuple[str, ...],
    parts: tuple[bytes, ...],
) -> None:
    for field, part in zip(fields, parts, strict=True):
        setattr(message, field, int(part) if field in _NUMBERS else part.decode())


# Effects --------------------------------------------------------------------------------------------------------

_INTEGERS = ("chain_id", "amount", "fee_max", "quantity", "price", "quote_quantity", "received_min")
_integers_of: Callable[[Effect], tuple[int | None, ...]] = attrgetter(*_INTEGERS)


def effect_from_proto(message: types_pb2.Effect) -> Effect:
    """Return the effect, or raise Malformed."""
    given = {field.name for field, _ in message.ListFields()}
    facts: dict[str, str | int] = {name: getattr(message, name) for name in EFFECT_TEXTS if name in given}
    for name in _INTEGERS:
        if name in given:
            facts[name] = integer_from_wire(f"effect.{name}", getattr(message, name))
    return Effect(
        operation=OPERATIONS.word("effect.operation", message.operation),
        decimals=message.decimals if "decimals" in given else None,
        expires_at=UnixMillis(message.expires_at_ms) if "expires_at_ms" in given else None,
        **facts,  # type: ignore[arg-type]  # each name stands in the list of its type
    )


def effect_to_proto(effect: Effect) -> types_pb2.Effect:
    """Return the message; fields that are None stay absent."""
    message = types_pb2.Effect(
        operation=OPERATIONS.numbers[effect.operation], decimals=effect.decimals, expires_at_ms=effect.expires_at
    )
    for name, text in zip(EFFECT_TEXTS, effect_texts(effect), strict=True):
        if text is not None:
            setattr(message, name, text)
    for name, number in zip(_INTEGERS, _integers_of(effect), strict=True):
        if number is not None:
            setattr(message, name, integer_to_wire(number))
    return message
