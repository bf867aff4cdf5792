"""The key types of PSBT maps: which version may have them, and what their keys and values look like.

Sources: BIP-174 with its type registry, BIP-370 (version 2), BIP-371 (taproot). A key or value that does not have the
form of its type makes the whole PSBT invalid (BIP-174). A type that is not listed here is unknown: it is refused in the
global map and in the input that is to be signed, and is passed through elsewhere, as BIP-174 wants.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from keyvault.core.errors import Malformed
from keyvault.intents.bitcoin_wire import Cursor

UNSIGNED_TX: Final = b"\x00"
XPUB: Final = 0x01
TX_VERSION: Final = b"\x02"
FALLBACK_LOCKTIME: Final = b"\x03"
INPUT_COUNT: Final = b"\x04"
OUTPUT_COUNT: Final = b"\x05"
TX_MODIFIABLE: Final = b"\x06"
VERSION: Final = b"\xfb"

NON_WITNESS_UTXO: Final = b"\x00"
WITNESS_UTXO: Final = b"\x01"
PARTIAL_SIG: Final = b"\x02"
SIGHASH_TYPE: Final = b"\x03"
REDEEM_SCRIPT: Final = b"\x04"
WITNESS_SCRIPT: Final = b"\x05"
INPUT_DERIVATION: Final = b"\x06"
FINAL_SCRIPT_SIG: Final = b"\x07"
FINAL_SCRIPT_WITNESS: Final = b"\x08"
PREVIOUS_TXID: Final = b"\x0e"
OUTPUT_INDEX: Final = b"\x0f"
SEQUENCE: Final = b"\x10"
TIME_LOCKTIME: Final = b"\x11"
HEIGHT_LOCKTIME: Final = b"\x12"

OUTPUT_AMOUNT: Final = b"\x03"
OUTPUT_SCRIPT: Final = b"\x04"

LOCKTIME_THRESHOLD: Final = 500_000_000
"""An nLockTime below is a block height, from here on Unix time in seconds."""

_COMPRESSED = 33
_UNCOMPRESSED = 65
_PATH_STEP = 4
_XPUB_BYTES = 78
_XPUB_DEPTH = 4
"""Where the depth stands in an extended public key (BIP-32)."""
_CONTROL_MIN = 33
_CONTROL_STEP = 32
_CONTROL_STEPS_MAX = 128
_SIGNATURE_BYTES_MIN = 9
_SIGNATURE_BYTES_MAX = 73
_COMPACT_BYTES_MAX = 9

Form = Callable[[bytes], bool]
"""Says whether the data of a key, or a value, has its form."""


@dataclass(frozen=True, slots=True)
class KeyType:
    """One type of key. ``key`` judges what follows the type, ``value`` the value; ``versions`` may have it."""

    name: str
    value: Form
    key: Form = bool
    """``bool``, the default, is not asked: the key is the type alone (``bare``)."""
    bare: bool = True
    versions: tuple[int, ...] = (0, 2)


def _any(_: bytes) -> bool:
    return True


def _sized(*sizes: int) -> Form:
    return lambda data: len(data) in sizes


def public_key(data: bytes) -> bool:
    """Say whether ``data`` has the form of a public key: 33 bytes, or 65."""
    return (len(data) == _COMPRESSED and data[0] in (2, 3)) or (len(data) == _UNCOMPRESSED and data[0] == 4)  # noqa: PLR2004 - SEC 1 prefixes


def _path(data: bytes) -> bool:
    return len(data) >= _PATH_STEP and len(data) % _PATH_STEP == 0


def _signature(data: bytes) -> bool:
    return _SIGNATURE_BYTES_MIN <= len(data) <= _SIGNATURE_BYTES_MAX


def _control_block(data: bytes) -> bool:
    steps, rest = divmod(len(data) - _CONTROL_MIN, _CONTROL_STEP)
    return rest == 0 and 0 <= steps <= _CONTROL_STEPS_MAX


def _count(data: bytes) -> bool:
    return 1 <= len(data) <= _COMPACT_BYTES_MAX


def _time(data: bytes) -> bool:
    return len(data) == 4 and int.from_bytes(data, "little") >= LOCKTIME_THRESHOLD  # noqa: PLR2004 - 32 bits


def _height(data: bytes) -> bool:
    return len(data) == 4 and 0 < int.from_bytes(data, "little") < LOCKTIME_THRESHOLD  # noqa: PLR2004 - 32 bits


def _stack(data: bytes) -> bool:
    """Say whether ``data`` is a witness: a count, and so many strings."""
    cursor = Cursor(data, "")
    try:
        for _ in range(cursor.compact()):
            cursor.string()
        cursor.finish()
    except Malformed:
        return False
    return True


def path_matches(key: bytes, value: bytes) -> bool:
    """Say whether the path in ``value`` is as long as the depth in the extended public key says."""
    return len(value) == _PATH_STEP * (1 + key[1 + _XPUB_DEPTH])


def _keyed(name: str, key: Form, value: Form) -> KeyType:
    return KeyType(name, value, key, bare=False)


def _second(name: str, value: Form) -> KeyType:
    return KeyType(name, value, versions=(2,))


GLOBAL: Mapping[int, KeyType] = MappingProxyType(
    {
        0x00: KeyType("unsigned_tx", _any, versions=(0,)),
        0x01: _keyed("xpub", _sized(_XPUB_BYTES), _path),
        0x02: _second("tx_version", _sized(4)),
        0x03: _second("fallback_locktime", _sized(4)),
        0x04: _second("input_count", _count),
        0x05: _second("output_count", _count),
        0x06: _second("tx_modifiable", _sized(1)),
        0xFB: KeyType("version", _sized(4)),
    }
)

INPUT: Mapping[int, KeyType] = MappingProxyType(
    {
        0x00: KeyType("non_witness_utxo", _any),
        0x01: KeyType("witness_utxo", _any),
        0x02: _keyed("partial_sig", public_key, _signature),
        0x03: KeyType("sighash_type", _sized(4)),
        0x04: KeyType("redeem_script", _any),
        0x05: KeyType("witness_script", _any),
        0x06: _keyed("bip32_derivation", public_key, _path),
        0x07: KeyType("final_scriptsig", _any),
        0x08: KeyType("final_scriptwitness", _stack),
        0x09: KeyType("por_commitment", _any),
        0x0A: _keyed("ripemd160", _sized(20), _any),
        0x0B: _keyed("sha256", _sized(32), _any),
        0x0C: _keyed("hash160", _sized(20), _any),
        0x0D: _keyed("hash256", _sized(32), _any),
        0x0E: _second("previous_txid", _sized(32)),
        0x0F: _second("output_index", _sized(4)),
        0x10: _second("sequence", _sized(4)),
        0x11: _second("required_time_locktime", _time),
        0x12: _second("required_height_locktime", _height),
        0x13: KeyType("tap_key_sig", _sized(64, 65)),
        0x14: _keyed("tap_script_sig", _sized(64), _sized(64, 65)),
        0x15: _keyed("tap_leaf_script", _control_block, bool),
        0x16: _keyed("tap_bip32_derivation", _sized(32), bool),
        0x17: KeyType("tap_internal_key", _sized(32)),
        0x18: KeyType("tap_merkle_root", _sized(32)),
    }
)

OUTPUT: Mapping[int, KeyType] = MappingProxyType(
    {
        0x00: KeyType("redeem_script", _any),
        0x01: KeyType("witness_script", _any),
        0x02: _keyed("bip32_derivation", public_key, _path),
        0x03: _second("amount", _sized(8)),
        0x04: _second("script", _any),
        0x05: KeyType("tap_internal_key", _sized(32)),
        0x06: KeyType("tap_tree", bool),
        0x07: _keyed("tap_bip32_derivation", _sized(32), bool),
    }
)

SIGNABLE: Final = frozenset({0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0E, 0x0F, 0x10, 0x11, 0x12})
"""Types that the input to be signed may have: nothing that a P2PKH, P2WPKH or P2WSH input does not need."""
