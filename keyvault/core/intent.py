"""The decoded meaning of a payload: what policy judges, and the bytes that the token signs.

Decoders in ``keyvault.intents`` make these values; policy reads them; nobody else invents them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from operator import attrgetter
from types import MappingProxyType

from keyvault.core.ids import UnixMillis
from keyvault.core.keys import KeyAlgorithm, KeyVersion
from keyvault.core.quickly import quickly_made


class PayloadKind(StrEnum):
    """Formats that can be decoded; values are the words of policies and the CLI."""

    EVM_TRANSACTION = "evm-transaction"
    EVM_AUTHORIZATION = "evm-authorization"
    EVM_MESSAGE = "evm-message"
    TYPED_DATA = "typed-data"
    HYPERLIQUID_ACTION = "hyperliquid-action"
    SOLANA_MESSAGE = "solana-message"
    BITCOIN_PSBT = "bitcoin-psbt"
    COSMOS_SIGN_DOC = "cosmos-sign-doc"
    BINANCE_REST = "binance-rest"
    BINANCE_WS = "binance-ws"
    BINANCE_WS_LOGON = "binance-ws-logon"
    BINANCE_FIX_LOGON = "binance-fix-logon"
    BYBIT_REST = "bybit-rest"
    OKX_REST = "okx-rest"
    OKX_WS_LOGON = "okx-ws-logon"
    COINBASE_JWT = "coinbase-jwt"
    KRAKEN_REST = "kraken-rest"
    KRAKEN_FIX_LOGON = "kraken-fix-logon"
    DERIBIT_REST = "deribit-rest"
    DERIBIT_AUTH = "deribit-auth"
    POLYMARKET_REST = "polymarket-rest"
    RAW_DIGEST = "raw-digest"


class Operation(StrEnum):
    """What one effect does; values are the words of policies."""

    TRANSFER = "transfer"
    """Moves an asset on a chain."""
    ALLOWANCE = "allowance"
    """Lets ``destination`` move an asset later, up to ``amount``."""
    CALL = "call"
    """Calls a contract or program whose meaning is not known here."""
    CREATE = "create"
    """Creates a contract: code that nobody here has read."""
    DELEGATE = "delegate"
    """Lets the code at ``destination`` act as the account: delegatecall, EIP-7702."""
    KEY_GRANT = "key-grant"
    """Lets another key sign for the account: owners, agents, authorities."""
    ADMIN = "admin"
    """Changes who rules a contract or what it does: ownership, upgrades, modules, guards, thresholds."""
    SETUP = "setup"
    """Prepares something and moves no assets beyond fees and rent: token accounts, leverage."""
    MESSAGE = "message"
    """Signs text without known effect."""
    TYPED_DATA = "typed-data"
    """Signs typed data whose meaning is not known here."""
    ORDER = "order"
    REDUCE = "reduce"
    """An order that can only make a position smaller."""
    CANCEL = "cancel"
    WITHDRAW = "withdraw"
    """Moves assets out of a venue or between its accounts."""
    SESSION = "session"
    """Opens a session, or signs what leaves the request itself unbound: its holder acts without asking again."""
    REQUEST = "request"
    """Reads something at a venue, or sets something that moves no assets and no orders."""
    OPAQUE = "opaque"


class Authority(StrEnum):
    """What power a signature gives away, coarser than the operation; values are the words of policies."""

    TRANSFER = "transfer"
    ALLOWANCE = "allowance"
    ORDER = "order"
    REDUCE = "reduce"
    CANCEL = "cancel"
    SESSION_GRANT = "session-grant"
    KEY_GRANT = "key-grant"
    CODE_GRANT = "code-grant"
    ADMIN = "admin"
    SETUP = "setup"
    MESSAGE = "message"
    REQUEST = "request"
    OPAQUE = "opaque"


AUTHORITY: Mapping[Operation, Authority] = MappingProxyType(
    {
        Operation.TRANSFER: Authority.TRANSFER,
        Operation.WITHDRAW: Authority.TRANSFER,
        Operation.ALLOWANCE: Authority.ALLOWANCE,
        Operation.ORDER: Authority.ORDER,
        Operation.REDUCE: Authority.REDUCE,
        Operation.CANCEL: Authority.CANCEL,
        Operation.SESSION: Authority.SESSION_GRANT,
        Operation.KEY_GRANT: Authority.KEY_GRANT,
        Operation.CREATE: Authority.CODE_GRANT,
        Operation.DELEGATE: Authority.CODE_GRANT,
        Operation.ADMIN: Authority.ADMIN,
        Operation.SETUP: Authority.SETUP,
        Operation.MESSAGE: Authority.MESSAGE,
        Operation.REQUEST: Authority.REQUEST,
        Operation.CALL: Authority.OPAQUE,
        Operation.TYPED_DATA: Authority.OPAQUE,
        Operation.OPAQUE: Authority.OPAQUE,
    }
)
"""The authority class of each operation."""


class Completeness(StrEnum):
    """How much of the meaning the decoder could state."""

    FULL = "FULL"
    PARTIAL = "PARTIAL"
    OPAQUE = "OPAQUE"


class Bound(StrEnum):
    """What the signed bytes bind; what is missing here, the signature's holder may choose."""

    METHOD = "method"
    HOST = "host"
    PATH = "path"
    QUERY = "query"
    BODY = "body"
    ACCOUNT = "account"
    CHAIN = "chain"
    EXPIRY = "expiry"
    NONCE = "nonce"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """Bytes as the caller sent them; ``keyvault.intents`` says for each kind what its ``parts`` are."""

    kind: PayloadKind
    parts: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What the service adds to a payload that binds a time: the caller cannot choose it.

    ``nonce`` is higher than that of every earlier stamp of the same key, and at least ``at``.
    """

    at: UnixMillis
    nonce: int


UNSTAMPED = Stamp(at=UnixMillis(0), nonce=0)
"""For reading a payload again that takes no stamp."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Whose signature is asked for: the public key as in KeyVersion (empty for HMAC), and the stamp."""

    algorithm: KeyAlgorithm
    public_key: bytes
    stamp: Stamp = UNSTAMPED

    @classmethod
    def of(cls, key: KeyVersion, stamp: Stamp = UNSTAMPED) -> "Signer":
        """Return this version of a key as signer."""
        return cls(algorithm=key.algorithm, public_key=key.public_key, stamp=stamp)


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One thing that the signature would make possible.

    ``None`` means that the field does not apply to the operation, except for OPAQUE, where nothing is known.
    """

    operation: Operation
    chain_id: int | None = None
    """EIP-155."""
    network: str | None = None
    """A chain that is not an EVM chain: ``bitcoin``, ``solana``, ``cosmos:{chain-id}``. Of a withdrawal the network by
    which it goes, as the venue calls it: ``binance:BSC``; None: the venue chooses, or it goes by none."""
    venue: str | None = None
    destination: str | None = None
    """Who gets the asset, or may move it (ALLOWANCE); the new key, owner or code; else the contract.

    EVM: 0x and 40 lower-case hex digits. Others: the address as people write it on that chain. Venue: the address
    exactly as in the request.
    """
    selector: str | None = None
    """First four bytes of calldata: 0x and 8 lower-case hex digits; shorter calldata is given whole."""
    primary_type: str | None = None
    amount: int | None = None
    """Of ``asset``, in its smallest unit (wei, satoshi, lamport)."""
    fee_max: int | None = None
    """Highest fee that the bytes allow, in the chain's own coin, with the rent of accounts that are paid for and belong
    to others (Solana), and without what a roll-up charges besides for data. It stands on the first effect; 0 on the
    others."""
    symbol: str | None = None
    """Trading symbol as in the request."""
    side: str | None = None
    """BUY or SELL."""
    asset: str | None = None
    """Token contract, mint or denomination; at a venue the asset's code. None: the chain's own coin."""
    decimals: int | None = None
    """Of ``asset``, only if the signed bytes bind it."""
    source: str | None = None
    """Whose asset it is, where that is not simply the signer's account."""
    contract: str | None = None
    """The contract or program that the bytes address: called, or verifying."""
    type_hash: str | None = None
    """EIP-712 type hash of the primary type: 0x and 64 lower-case hex digits."""
    via: str | None = None
    """The calls that this one stands in, outermost first, as ``safe 0x... > multisend``. At a venue, what an order's
    symbol leaves open: Bybit's category, OKX's mode, an account or loan of margin, and last what it waits for
    (``trigger 90000``, see ``waits``); the uri of a token."""
    quantity: int | None = None
    """Of an order, in 10**-18 of its base asset."""
    price: int | None = None
    """Limit price in 10**-18 of the quote asset; None: at any price. Of an order that waits: once it no longer does."""
    quote_quantity: int | None = None
    """Of an order that says how much to spend or receive, in 10**-18 of the quote asset."""
    time_in_force: str | None = None
    received_asset: str | None = None
    """Of an exchange on a chain: what must come back for ``amount`` of ``asset``, at least ``received_min``."""
    received_min: int | None = None
    expires_at: UnixMillis | None = None
    """When this effect ends (a permit's expiration); None: with the payload, see ``Intent.expires_at``."""


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What signing the payload means.

    ``signing_input`` is what the token signs: a 32-byte digest for ECDSA, the message for Ed25519 and HMAC.
    ``algorithms`` are the key algorithms that can make a useful signature for this payload.
    ``issued_at`` is the time that the caller's payload itself binds, if it does (a stamp is not the caller's).
    ``not_before`` and ``expires_at`` bound when the signature is worth something; None: it never begins, never ends.
    ``slot`` names what only one of several signed payloads can fill (account and nonce; outpoints; client order id):
    signatures for one slot replace each other. ``stamped``: the stamp is part of ``signing_input``.
    ``decoder_version`` grows when a decoder of this kind states other facts about equal bytes.
    """

    kind: PayloadKind
    algorithms: frozenset[KeyAlgorithm]
    signing_input: bytes
    effects: tuple[Effect, ...]
    completeness: Completeness
    issued_at: UnixMillis | None = None
    binds: frozenset[Bound] = frozenset()
    not_before: UnixMillis | None = None
    expires_at: UnixMillis | None = None
    slot: str | None = None
    stamped: bool = False
    decoder_version: int = 1

    @property
    def approved_input(self) -> bytes:
        """What members can approve of ``signing_input``: nothing that the service stamps later."""
        return b"" if self.stamped else self.signing_input


EFFECT_TEXTS = tuple(each.name for each in fields(Effect) if each.type == str | None)
"""The fields of an effect that are text."""
effect_texts: Callable[[Effect], tuple[str | None, ...]] = attrgetter(*EFFECT_TEXTS)
"""Returns these fields, in this order."""

TRIGGER = "trigger"
"""How the part of ``via`` begins that says what an order waits for."""


def waits(effect: Effect) -> bool:
    """Return whether an order stands for a later time: it comes into the market once a price or a time is reached.

    Nobody knows the market of that time, so a limit price that is near today's says nothing: the order may then be
    executed at once, far from the price of that time.
    """
    return effect.via is not None and TRIGGER in effect.via


SOLANA_BLOCKHASH_MS = 120_000
"""A recent blockhash dies after 150 blocks, about a minute (Solana documentation, "Transaction confirmation"); one that
is not known yet cannot be guessed. So a message that was signed now is worth nothing after this."""


def ending(intent: Intent, at: UnixMillis) -> UnixMillis | None:
    """Return when a signature that is made at this time is worth nothing any more; None: never, or nobody knows."""
    if intent.expires_at is None and intent.kind is PayloadKind.SOLANA_MESSAGE and Bound.EXPIRY in intent.binds:
        return UnixMillis(at + SOLANA_BLOCKHASH_MS)
    return intent.expires_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Exactly what is to be sent, ready to copy.

    ``raw`` is the signed raw transaction, or the 65-byte r||s||v of typed data and messages (v is 27 or 28), or the
    signature in the form that the chain takes; empty otherwise. ``transaction_hash`` is the hash of a raw transaction.
    ``path``, ``query``, ``headers`` and ``body`` are the signed parts of an exchange request; ``message`` is the whole
    message of a WebSocket or FIX session.
    """

    raw: bytes = b""
    transaction_hash: bytes = b""
    path: str = ""
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    message: str = ""
