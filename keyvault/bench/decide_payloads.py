"""Payloads whose decisions are timed: what desks sign all day, each time another one.

All are made of scratch by this package's own encoders; ``number`` decides every one of their bytes that differs.
Amounts stay small and destinations within the lists of ``decide_policy``, so that every one is permitted.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice
from typing import Final

from keyvault.core.intent import Payload, PayloadKind
from keyvault.core.keys import KeyAlgorithm
from keyvault.intents import ANYBODY, abi, cosmos_address, cosmos_messages, dydx_messages, protobuf_wire, rlp
from keyvault.intents import solana_address as solana
from keyvault.intents import solana_message as message

PAYEES_MAX: Final = 1_000
"""Destinations in a list of the policy."""
CHAIN: Final = 1
USDC: Final = "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48"
TOKENS: Final = tuple("0x" + hashlib.sha256(b"token %d" % number).digest()[:20].hex() for number in range(50))
PERMIT2: Final = "0x000000000022d473030f116ddee9f6b43ac78ba3"
SPENDER: Final = "0x66a9893cc07d91d95644aedd05d03f95e1dba8af"
SPL_MINT: Final = hashlib.sha256(b"mint").digest()
DYDX_CHAIN: Final = "dydx-mainnet-1"
SYMBOLS: Final = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT")
SELECTOR: Final = "0xa9059cbb"
PERMIT_BATCH: Final = (
    "PermitBatch(PermitDetails[] details,address spender,uint256 sigDeadline)"
    "PermitDetails(address token,uint160 amount,uint48 expiration,uint48 nonce)"
)
_GWEI = 10**9
_DAY_S = 86_400
_TRANSFER = abi.function("transfer(address,uint256)")
_BLOCKHASH = hashlib.sha256(b"blockhash").digest()
_BUDGETS, _COINS, _TRANSFERS = 2, 10, 8
"""A Solana message of 20 instructions: compute budget, lamports, tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One sort of payload: ``make`` returns the payload of a number, at a Unix time in milliseconds."""

    name: str
    kind: PayloadKind
    algorithm: KeyAlgorithm
    public_key: bytes
    make: Callable[[int, int], Payload]
    aim_p50_us: int | None = None
    aim_p99_us: int | None = None

    @property
    def key(self) -> str:
        """Name of the key that signs it."""
        return f"desk-{self.name}"


@cache
def payees() -> tuple[bytes, ...]:
    """Return the accounts that the policy lists, 32 bytes each: EVM takes the last 20."""
    return tuple(hashlib.sha256(b"payee %d" % number).digest() for number in range(PAYEES_MAX))


def evm_payee(number: int) -> bytes:
    """Return one of the listed EVM addresses."""
    return payees()[number % PAYEES_MAX][12:]


def _transaction(number: int, to: bytes, value: int, data: bytes, gas: int) -> Payload:
    head = (CHAIN, number, 2 * _GWEI, 40 * _GWEI + number, gas)
    items: tuple[rlp.Item, ...] = (*map(rlp.integer, head), to, rlp.integer(value), data, ())
    return Payload(kind=PayloadKind.EVM_TRANSACTION, parts=(b"\x02" + rlp.encode(items),))


def _coin(number: int, _now: int) -> Payload:
    return _transaction(number, evm_payee(number), 10**15 + number, b"", 21_000)


def _erc20(number: int, _now: int) -> Payload:
    data = _TRANSFER.encode(("0x" + evm_payee(number).hex(), 1_000_000 + number))
    return _transaction(number, bytes.fromhex(USDC[2:]), 0, data, 65_000)


def _binance(number: int, _now: int) -> Payload:
    query = (
        f"symbol={SYMBOLS[number % len(SYMBOLS)]}&side={('BUY', 'SELL')[number & 1]}&type=LIMIT&timeInForce=GTC"
        f"&quantity=0.0{number % 899 + 100}&price=100.{number % 100:02}&newClientOrderId=mm-{number}&recvWindow=5000"
    )
    return Payload(kind=PayloadKind.BINANCE_REST, parts=(query.encode(), b""))


def _members(declared: str) -> list[dict[str, str]]:
    pairs = (each.split(" ") for each in declared.split(","))
    return [{"name": name, "type": kind} for kind, name in pairs]


_PERMIT_TYPES: Final = {
    "EIP712Domain": _members("string name,uint256 chainId,address verifyingContract"),
    "PermitDetails": _members("address token,uint160 amount,uint48 expiration,uint48 nonce"),
    "PermitBatch": _members("PermitDetails[] details,address spender,uint256 sigDeadline"),
}


def _permit2(number: int, now: int) -> Payload:
    details = [
        {
            "token": TOKENS[(number + place) % len(TOKENS)],
            "amount": str(1_000_000 + number),
            "expiration": str(now // 1000 + _DAY_S),
            "nonce": number,
        }
        for place in range(3)
    ]
    document = {
        "types": _PERMIT_TYPES,
        "primaryType": "PermitBatch",
        "domain": {"name": "Permit2", "chainId": CHAIN, "verifyingContract": PERMIT2},
        "message": {"details": details, "spender": SPENDER, "sigDeadline": str(now // 1000 + 600 + number % 60)},
    }
    return Payload(kind=PayloadKind.TYPED_DATA, parts=(json.dumps(document).encode(),))


_SOLANA_KEY = hashlib.sha256(b"solana signer").digest()
_SOLANA_TOKENS = hashlib.sha256(b"token account").digest()


def _solana(number: int, _now: int) -> Payload:
    """Return a legacy message: payer, our tokens, receivers, mint, System, Token, compute budget."""
    receivers = tuple(islice(cycle(payees()), number % PAYEES_MAX, number % PAYEES_MAX + _COINS + _TRANSFERS))
    writable = (_SOLANA_KEY, _SOLANA_TOKENS, *receivers)
    mint = len(writable)
    system, token, budget = mint + 1, mint + 2, mint + 3
    keys = (*writable, SPL_MINT, solana.SYSTEM, solana.TOKEN, solana.COMPUTE_BUDGET)
    units = (400_000).to_bytes(4, "little")
    instructions = [
        message.Instruction(budget, b"", b"\x02" + units),
        message.Instruction(budget, b"", b"\x03" + (1_000 + number).to_bytes(8, "little")),
    ]
    for place in range(_COINS):
        lamports = (1_000_000 + number + place).to_bytes(8, "little")
        instructions.append(message.Instruction(system, bytes((0, 2 + place)), b"\2\0\0\0" + lamports))
    for place in range(_COINS, _COINS + _TRANSFERS):
        amount = (1_000_000 + number + place).to_bytes(8, "little")
        instructions.append(message.Instruction(token, bytes((1, mint, 2 + place, 0)), b"\x0c" + amount + b"\6"))
    header = bytes((1, 0, 4))
    blockhash = hashlib.sha256(_BLOCKHASH + number.to_bytes(8, "big")).digest()
    made = message.Message(header, keys, blockhash, tuple(instructions), None, b"")
    return Payload(kind=PayloadKind.SOLANA_MESSAGE, parts=(message.encode(made),))


_COMPRESSED, _ACCOUNT = cosmos_address.account_of_key(ANYBODY.public_key)
_OWN_SCRIPT = b"\x00\x14" + _ACCOUNT
DYDX_ACCOUNT: Final = cosmos_address.address_text("dydx", _ACCOUNT)


def _string(data: bytes) -> bytes:
    return bytes((len(data),)) + data


def _map(*pairs: tuple[bytes, bytes]) -> bytes:
    return b"".join(_string(key) + _string(value) for key, value in pairs) + b"\0"


def _psbt(number: int, _now: int) -> Payload:
    """Return a payment from one P2WPKH coin to a listed script, with change (BIP-174)."""
    coin = (1_000_000 + number).to_bytes(8, "little") + _string(_OWN_SCRIPT)
    spent = b"\x01" + hashlib.sha256(b"earlier %d" % number).digest() + bytes(5) + b"\xff" * 4
    previous = b"\2\0\0\0" + spent + b"\x01" + coin + bytes(4)
    outpoint = hashlib.sha256(hashlib.sha256(previous).digest()).digest() + bytes(4)
    paid = (600_000).to_bytes(8, "little") + _string(b"\x00\x14" + evm_payee(number))
    change = (399_000 + number).to_bytes(8, "little") + _string(_OWN_SCRIPT)
    unsigned = b"\2\0\0\0\x01" + outpoint + b"\0" + b"\xfd\xff\xff\xff" + b"\x02" + paid + change + bytes(4)
    psbt = b"psbt\xff" + _map((b"\x00", unsigned)) + _map((b"\x00", previous), (b"\x01", coin)) + b"\0\0"
    return Payload(kind=PayloadKind.BITCOIN_PSBT, parts=(psbt, b"0", b"mainnet"))


def _any(type_url: str, value: bytes) -> dict[str, protobuf_wire.Value]:
    return {"type_url": type_url, "value": value}


def _cosmos(number: int, _now: int) -> Payload:
    """Return a short-term order at dYdX."""
    identity: dict[str, protobuf_wire.Value] = {"subaccount_id": {"owner": DYDX_ACCOUNT}, "client_id": number + 1}
    order: dict[str, protobuf_wire.Value] = {
        "order_id": identity,
        "side": 1 + (number & 1),
        "quantums": 10_000_000 + number,
        "subticks": 40_000_000_000,
        "good_til_block": 20_000_000 + number,
    }
    placed = protobuf_wire.encode(dydx_messages.PLACE_ORDER, {"order": order})
    body: dict[str, protobuf_wire.Value] = {"messages": [_any("/dydxprotocol.clob.MsgPlaceOrder", placed)]}
    key = protobuf_wire.encode(cosmos_messages.PUBLIC_KEY, {"key": _COMPRESSED})
    signer: dict[str, protobuf_wire.Value] = {
        "public_key": _any("/cosmos.crypto.secp256k1.PubKey", key),
        "mode_info": {"single": {"mode": 1}},
        "sequence": number + 1,
    }
    auth: dict[str, protobuf_wire.Value] = {"signer_infos": [signer], "fee": {"gas_limit": 200_000}}
    document: dict[str, protobuf_wire.Value] = {
        "body_bytes": protobuf_wire.encode(cosmos_messages.TX_BODY, body),
        "auth_info_bytes": protobuf_wire.encode(cosmos_messages.AUTH_INFO, auth),
        "chain_id": DYDX_CHAIN,
        "account_number": 99,
    }
    return Payload(kind=PayloadKind.COSMOS_SIGN_DOC, parts=(protobuf_wire.encode(cosmos_messages.SIGN_DOC, document),))


def _hyperliquid(number: int, _now: int) -> Payload:
    order = {
        "a": number % 5,
        "b": not number & 1,
        "p": f"100.{number % 899 + 100}".rstrip("0"),
        "s": "0.5",
        "r": False,
        "t": {"limit": {"tif": "Gtc"}},
        "c": f"0x{number:032x}",
    }
    action = {"type": "order", "orders": [order], "grouping": "na"}
    return Payload(kind=PayloadKind.HYPERLIQUID_ACTION, parts=(json.dumps(action).encode(), b"", b"", b"mainnet"))


def _case(
    name: str, kind: PayloadKind, make: Callable[[int, int], Payload], *aims: int, signer: KeyAlgorithm | None = None
) -> Case:
    algorithm = signer or KeyAlgorithm.SECP256K1
    return Case(
        name=name,
        kind=kind,
        algorithm=algorithm,
        public_key=ANYBODY.public_key if algorithm is KeyAlgorithm.SECP256K1 else _SOLANA_KEY,
        make=make,
        aim_p50_us=aims[0] if aims else None,
        aim_p99_us=aims[1] if len(aims) > 1 else None,
    )


_ED25519 = KeyAlgorithm.ED25519
CASES: Final[Mapping[str, Case]] = {
    case.name: case
    for case in (
        _case("erc20-transfer", PayloadKind.EVM_TRANSACTION, _erc20, 150, 500),
        _case("binance-order", PayloadKind.BINANCE_REST, _binance, 150, 500, signer=_ED25519),
        _case("permit2-batch-3", PayloadKind.TYPED_DATA, _permit2, 400),
        _case("solana-20", PayloadKind.SOLANA_MESSAGE, _solana, 400, signer=_ED25519),
        _case("coin-transfer", PayloadKind.EVM_TRANSACTION, _coin),
        _case("psbt-1-in-2-out", PayloadKind.BITCOIN_PSBT, _psbt),
        _case("dydx-order", PayloadKind.COSMOS_SIGN_DOC, _cosmos),
        _case("hyperliquid-order", PayloadKind.HYPERLIQUID_ACTION, _hyperliquid),
    )
}
"""What is measured, with the aims of the project for it in microseconds."""
