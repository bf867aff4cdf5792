"""What the desk in the demo wants signed: payloads as their venues and chains publish them, and the policy for them."""

import json
import time
from dataclasses import dataclass, replace
from types import MappingProxyType

from keyvault.demo.outside import rlp

ETHER = 10**18
GWEI = 10**9
KEY_CHAIN, KEY_ED25519, KEY_HMAC = "eth-mm-1", "binance-ed", "binance-1"

COLD_WALLET = "0x52908400098527886E0F7030069857D2E4169EE7"
"""Where the policy lets money go; an example address of EIP-55."""
STRANGER = "0x8617E340B3D01FA5F11F306F4090FD50E238070D"
"""Where it does not; another one."""
SETTLEMENT = "0x9008D19f58AAbD9eD0D60971565AA8510560ab41"
"""GPv2Settlement of CoW Protocol on Ethereum mainnet."""
WETH = "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2"
USDC = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"

POLICY = f"""\
version: 2
rules:
  - id: to-the-cold-wallet
    verdict: allow
    keys: [{KEY_CHAIN}]
    principals: ["spiffe://keyvault.local/bot/demo"]
    kinds: [evm-transaction]
    operations: [transfer]
    chains: [1]
    destinations: ["{COLD_WALLET}"]
    amount: 10 ether
    fee: 0.01 ether
  - id: above-two-somebody-looks
    verdict: escalate
    quorum: 1 of everybody
    keys: [{KEY_CHAIN}]
    kinds: [evm-transaction]
    above: 2 ether
  - id: cow-orders
    verdict: allow
    keys: [{KEY_CHAIN}]
    principals: ["spiffe://keyvault.local/bot/demo"]
    kinds: [typed-data]
    operations: [order]
    chains: [1]
    contracts: ["{SETTLEMENT}"]
    type_hashes: any
    assets: any
    amount: any
  - id: binance-orders
    verdict: allow
    keys: [{KEY_HMAC}, {KEY_ED25519}]
    principals: ["spiffe://keyvault.local/bot/demo"]
    kinds: [binance-rest]
    operations: [order]
    venues: [binance]
    symbols: [ETHUSDT]
limits:
  - id: a-day-of-ether
    keys: [{KEY_CHAIN}]
    window: 24h
    amount: 20 ether
    chain: 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A plain EIP-1559 transfer on mainnet; amounts in wei."""

    nonce: int
    to: str = COLD_WALLET
    value: int = ETHER * 3 // 2
    gas: int = 21_000
    max_fee: int = 30 * GWEI
    max_priority_fee: int = GWEI

    @property
    def fields(self) -> tuple[int | bytes | tuple[()], ...]:
        """What is signed, in the order of EIP-1559: the last item is the access list."""
        to = bytes.fromhex(self.to[2:])
        return (1, self.nonce, self.max_priority_fee, self.max_fee, self.gas, to, self.value, b"", ())

    @property
    def unsigned(self) -> bytes:
        """``0x02 || rlp(fields)``."""
        return b"\x02" + rlp(self.fields)


FIRST = Transfer(nonce=0)
ASTRAY = replace(FIRST, nonce=1, to=STRANGER)
OTHER = replace(FIRST, value=FIRST.value + 1)
"""The first transfer with one wei more."""


LARGE = replace(FIRST, nonce=2, value=5 * ETHER)
"""More than the policy lets a bot send alone."""
VETOED = replace(LARGE, nonce=3)


def burst_transfer(number: int) -> Transfer:
    """Return the transfer with this number of the burst: 0.001 ether each."""
    return Transfer(nonce=2 + number, value=ETHER // 1_000)


ORDER_FIELDS = (
    ("sellToken", "address"),
    ("buyToken", "address"),
    ("receiver", "address"),
    ("sellAmount", "uint256"),
    ("buyAmount", "uint256"),
    ("validTo", "uint32"),
    ("appData", "bytes32"),
    ("feeAmount", "uint256"),
    ("kind", "string"),
    ("partiallyFillable", "bool"),
    ("sellTokenBalance", "string"),
    ("buyTokenBalance", "string"),
)
"""GPv2Order.Data, as the settlement contract hashes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Sell WETH for USDC through CoW Protocol."""

    receiver: str
    valid_to: int
    sell_amount: int = 3 * ETHER
    buy_amount: int = 9_000 * 10**6

    @property
    def message(self) -> dict[str, str | int | bool]:
        """The order's fields by name."""
        return {
            "sellToken": WETH,
            "buyToken": USDC,
            "receiver": self.receiver,
            "sellAmount": str(self.sell_amount),
            "buyAmount": str(self.buy_amount),
            "validTo": self.valid_to,
            "appData": "0x" + "00" * 32,
            "feeAmount": "0",
            "kind": "sell",
            "partiallyFillable": False,
            "sellTokenBalance": "erc20",
            "buyTokenBalance": "erc20",
        }

    @property
    def typed_data(self) -> bytes:
        """The order as EIP-712 JSON, as a wallet gets it."""
        names = (("name", "string"), ("version", "string"), ("chainId", "uint256"), ("verifyingContract", "address"))
        types = {"EIP712Domain": names, "Order": ORDER_FIELDS}
        domain = {"name": "Gnosis Protocol", "version": "v2", "chainId": 1, "verifyingContract": SETTLEMENT}
        document = {
            "types": {each: [{"name": name, "type": kind} for name, kind in types[each]] for each in types},
            "primaryType": "Order",
            "domain": domain,
            "message": self.message,
        }
        return json.dumps(document).encode()


def binance_order(order_id: str) -> str:
    """Return the query of ``POST /api/v3/order``: a limit order for ether, as of now."""
    values = MappingProxyType(
        {
            "symbol": "ETHUSDT",
            "side": "BUY",
            "type": "LIMIT",
            "timeInForce": "GTC",
            "quantity": "0.25",
            "price": "2950.10",
            "newClientOrderId": order_id,
            "recvWindow": "5000",
            "timestamp": str(time.time_ns() // 1_000_000),
        }
    )
    return "&".join(f"{name}={value}" for name, value in values.items())
