"""Requests that are cheap to make: the client's own work must not be what is measured.

All are well-formed and unlike each other, as a bot's would be: a new digest, the next nonce, the time of now.
"""

import secrets
import time
from itertools import count

from keyvault.bench.options import Kind
from keyvault.core.intent import Payload, PayloadKind
from keyvault.intents import rlp
from keyvault.v1 import signing_pb2, types_pb2

DESTINATION = bytes.fromhex("52908400098527886e0f7030069857d2e4169ee7")
CHAIN_ID = 1
_NONCE_FIRST = 1 << 24
"""Nonces of four bytes, so that all transactions have one length and one frame."""
_NONCE_BYTES = 4
_GWEI = 10**9
_MILLIS_BITS_LOW = 16
_TAIL_BITS = 72
"""All digits of a UUIDv7 after its time but version and variant: a counter with a random start (RFC 9562, 6.2)."""


def key_of(kind: Kind) -> str:
    """Return the name of the key that signs requests of this kind."""
    return f"bench-{kind}"


class RequestIds:
    """UUIDv7 in their text form, growing; a third of the cost of ``uuid.UUID``."""

    def __init__(self) -> None:
        self._tail = count(secrets.randbits(_TAIL_BITS - 1))

    def next(self, millis: int | None = None) -> str:
        """Return the next id, of now or of the given Unix time in milliseconds."""
        at = time.time_ns() // 1_000_000 if millis is None else millis
        tail = f"{next(self._tail):018x}"
        low = at & ((1 << _MILLIS_BITS_LOW) - 1)
        return f"{at >> _MILLIS_BITS_LOW:08x}-{low:04x}-7{tail[:3]}-8{tail[3:6]}-{tail[6:]}"


class Requests:
    """Requests of one kind to one key."""

    def __init__(self, enclave: str, kind: Kind, ids: RequestIds) -> None:
        self._key = f"enclaves/{enclave}/keys/{key_of(kind)}"
        self._ids = ids
        self._make = {
            Kind.P256: self._digest,
            Kind.SECP256K1: self._transfer,
            Kind.ED25519: self._order,
            Kind.HMAC: self._order,
        }[kind]
        self._numbers = count(_NONCE_FIRST)
        self._random = secrets.token_bytes(24)
        self._before_nonce, self._after_nonce = _transfer_frame()

    def next(self) -> signing_pb2.SignRequest:
        """Return a request that was never sent."""
        return signing_pb2.SignRequest(key=self._key, request_id=self._ids.next(), payload=self._make())

    def _digest(self) -> types_pb2.Payload:
        return types_pb2.Payload(raw_digest=self._random + next(self._numbers).to_bytes(8, "big"))

    def _transfer(self) -> types_pb2.Payload:
        nonce = next(self._numbers).to_bytes(_NONCE_BYTES, "big")
        return types_pb2.Payload(evm_transaction=self._before_nonce + nonce + self._after_nonce)

    def _order(self) -> types_pb2.Payload:
        return types_pb2.Payload(
            exchange_request=types_pb2.ExchangeRequest(
                venue=types_pb2.VENUE_BINANCE, query=_order_query(next(self._numbers), time.time_ns() // 1_000_000)
            )
        )


def sample(kind: Kind) -> Payload:
    """Return one payload of this kind as the core sees it; its time is now."""
    message = Requests("bench", kind, RequestIds()).next().payload
    match kind:
        case Kind.P256:
            return Payload(kind=PayloadKind.RAW_DIGEST, parts=(message.raw_digest,))
        case Kind.SECP256K1:
            return Payload(kind=PayloadKind.EVM_TRANSACTION, parts=(message.evm_transaction,))
        case Kind.ED25519 | Kind.HMAC:
            return Payload(kind=PayloadKind.BINANCE_REST, parts=(message.exchange_request.query.encode(), b""))


def _order_query(number: int, now_ms: int) -> str:
    return (
        f"symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.01000&price=60000.00"
        f"&newClientOrderId=bench-{number}&recvWindow=5000&timestamp={now_ms}"
    )


def _transfer_frame() -> tuple[bytes, bytes]:
    """Return what stands before and after the four bytes of the nonce in an EIP-1559 transfer."""
    nonce = b"\xff" * _NONCE_BYTES  # no other field holds such bytes
    chain, tip, fee, gas, value = map(rlp.integer, (CHAIN_ID, 2 * _GWEI, 40 * _GWEI, 21_000, 10**16))
    transaction = b"\x02" + rlp.encode([chain, nonce, tip, fee, gas, DESTINATION, value, b"", ()])
    before, _, after = transaction.partition(nonce)
    return before, after
