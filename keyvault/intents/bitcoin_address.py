"""Bitcoin addresses of output scripts, as people write them.

P2PKH and P2SH: Base58Check (BIP-13). P2WPKH and P2WSH: Bech32 (BIP-173). P2TR: Bech32m (BIP-350). No other script has
an address here: witness versions whose meaning is not defined yet could be spent by anybody.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from keyvault.core import limits
from keyvault.intents import bitcoin_scripts as scripts
from keyvault.intents.bitcoin_wire import double_sha256


@dataclass(frozen=True, slots=True)
class Network:
    """``name`` is the word of policies; the rest is how addresses of that network begin."""

    name: str
    bech32: str
    p2pkh: bytes
    p2sh: bytes


NETWORKS: Final = {
    b"mainnet": Network("bitcoin", "bc", b"\x00", b"\x05"),
    b"testnet": Network("bitcoin-testnet", "tb", b"\x6f", b"\xc4"),
    b"regtest": Network("bitcoin-regtest", "bcrt", b"\x6f", b"\xc4"),
}

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BECH32_FINAL = 1
_BECH32M_FINAL = 0x2BC830A3
_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECKSUM_SYMBOLS = 6
_LOW_25_BITS = 0x1FFFFFF


def _feedback(top: int) -> int:
    """Return what the five bits that leave the remainder add to it."""
    value = 0
    for bit, generator in enumerate(_GENERATORS):
        value ^= generator if top >> bit & 1 else 0
    return value


_FEEDBACK = tuple(map(_feedback, range(32)))


@lru_cache(maxsize=limits.ADDRESSES_REMEMBERED)
def address(script: bytes, network: Network) -> str | None:
    """Return the address that pays to ``script``, None if it has none."""
    if scripts.is_p2pkh(script):
        return _base58check(network.p2pkh + script[3:-2])
    if scripts.is_p2sh(script):
        return _base58check(network.p2sh + script[2:-1])
    if scripts.is_p2wpkh(script) or scripts.is_p2wsh(script):
        return _bech32(network.bech32, 0, script[2:], _BECH32_FINAL)
    if scripts.is_p2tr(script):
        return _bech32(network.bech32, 1, script[2:], _BECH32M_FINAL)
    return None


def _base58check(payload: bytes) -> str:
    data = payload + double_sha256(payload)[:4]
    number = int.from_bytes(data, "big")
    digits = []
    while number:
        number, digit = divmod(number, 58)
        digits.append(_BASE58[digit])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return _BASE58[0] * zeros + "".join(reversed(digits))


def _bech32(prefix: str, version: int, program: bytes, final: int) -> str:
    bits = len(program) * 8
    padding = -bits % 5
    number = int.from_bytes(program, "big") << padding
    symbols = [version, *[number >> shift & 31 for shift in range(bits + padding - 5, -1, -5)]]
    expanded = [*[ord(c) >> 5 for c in prefix], 0, *[ord(c) & 31 for c in prefix]]
    remainder = 1
    for symbol in (*expanded, *symbols, *(0,) * _CHECKSUM_SYMBOLS):
        remainder = (remainder & _LOW_25_BITS) << 5 ^ symbol ^ _FEEDBACK[remainder >> 25]
    remainder ^= final
    checksum = [remainder >> 5 * (_CHECKSUM_SYMBOLS - 1 - place) & 31 for place in range(_CHECKSUM_SYMBOLS)]
    return f"{prefix}1" + "".join([_BECH32[symbol] for symbol in (*symbols, *checksum)])
