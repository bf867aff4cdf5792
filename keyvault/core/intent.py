"""The decoded meaning of a payload: what policy judges, and the bytes that the token signs.

Decoders in ``keyvault.intents`` make these values; policy reads them; nobody else invents them.
"""

from dataclasses import dataclass
from enum import StrEnum

from keyvault.core.ids import UnixMillis
from keyvault.core.keys import KeyAlgorithm


class PayloadKind(StrEnum):
    """Formats that can be decoded; values are the words of policies and the CLI."""

    EVM_TRANSACTION = "evm-transaction"
    TYPED_DATA = "typed-data"
    BINANCE_REST = "binance-rest"
    RAW_DIGEST = "raw-digest"


class Operation(StrEnum):
    """What one effect does; values are the words of policies."""

    TRANSFER = "transfer"
    CALL = "call"
    CREATE = "create"
    TYPED_DATA = "typed-data"
    ORDER = "order"
    CANCEL = "cancel"
    WITHDRAW = "withdraw"
    REQUEST = "request"
    OPAQUE = "opaque"


class Completeness(StrEnum):
    """How much of the meaning the decoder could state."""

    FULL = "FULL"
    PARTIAL = "PARTIAL"
    OPAQUE = "OPAQUE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """Bytes as the caller sent them.

    ``parts`` is (query, body) for BINANCE_REST, else one element: the unsigned transaction, the typed-data
    JSON, or the digest.
    """

    kind: PayloadKind
    parts: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One thing that the signature would make possible.

    ``None`` means that the field does not apply to the operation, except for OPAQUE, where nothing is known.
    """

    operation: Operation
    chain_id: int | None = None
    venue: str | None = None
    destination: str | None = None
    """EVM: 0x and 40 lower-case hex digits. Venue: the address exactly as in the request."""
    selector: str | None = None
    """First four bytes of calldata: 0x and 8 lower-case hex digits; shorter calldata is given whole."""
    primary_type: str | None = None
    amount: int | None = None
    """Native amount in the chain's smallest unit (wei)."""
    fee_max: int | None = None
    """Highest fee that the bytes allow, same unit."""
    symbol: str | None = None
    side: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What signing the payload means.

    ``signing_input`` is what the token signs: a 32-byte digest for ECDSA, the message for Ed25519 and HMAC.
    ``algorithms`` are the key algorithms that can make a useful signature for this payload.
    ``issued_at`` is the time that the payload itself binds, if it does.
    """

    kind: PayloadKind
    algorithms: frozenset[KeyAlgorithm]
    signing_input: bytes
    effects: tuple[Effect, ...]
    completeness: Completeness
    issued_at: UnixMillis | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Exactly what is to be sent, ready to copy.

    ``raw`` is the signed raw transaction, or the 65-byte r||s||v of typed data (v is 27 or 28); empty otherwise.
    ``transaction_hash`` is the Keccak-256 of a raw transaction. ``query`` and ``body`` are the signed parts of an
    exchange request.
    """

    raw: bytes = b""
    transaction_hash: bytes = b""
    query: str = ""
    body: str = ""
