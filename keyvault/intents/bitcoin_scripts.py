"""Output scripts: the templates that are known, and those that one key alone can spend.

P2PKH and P2SH (BIP-16), P2WPKH and P2WSH (BIP-141), P2TR (BIP-341), and inside P2WSH ``<key> OP_CHECKSIG`` and
``OP_m <key>... OP_n OP_CHECKMULTISIG`` (BIP-11) with compressed keys, which segwit wants (BIP-143).
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

from Crypto.Hash import RIPEMD160

from keyvault.core import limits
from keyvault.core.errors import Malformed
from keyvault.intents.psbt import FIELD

P2PKH_HEAD = b"\x76\xa9\x14"
P2PKH_TAIL = b"\x88\xac"
P2PKH_BYTES = 25
P2SH_HEAD = b"\xa9\x14"
P2SH_TAIL = b"\x87"
P2SH_BYTES = 23
P2WPKH_HEAD = b"\x00\x14"
P2WPKH_BYTES = 22
P2WSH_HEAD = b"\x00\x20"
P2TR_HEAD = b"\x51\x20"
WITNESS_32_BYTES = 34
OP_RETURN = b"\x6a"

_OP_1 = 0x51
_KEYS_MAX = 16
"""OP_1 to OP_16 are the numbers that a standard multisig script can say."""
_PUSH_KEY = 33
_CHECKSIG = b"\xac"
_CHECKMULTISIG = 0xAE
_UNCOMPRESSED_BYTES = 65
_UNCOMPRESSED = 4


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A key of ours, and the scripts that it alone can spend."""

    uncompressed: bytes
    compressed: bytes
    p2pkh: bytes
    p2wpkh: bytes
    scripts: frozenset[bytes]
    """P2PKH, P2WPKH and P2SH-P2WPKH of the compressed key."""


def hash160(data: bytes) -> bytes:
    """Return RIPEMD-160 of SHA-256. Not from hashlib, where OpenSSL 3 may lack RIPEMD-160."""
    return RIPEMD160.new(hashlib.sha256(data).digest()).digest()


def p2pkh(key_hash: bytes) -> bytes:
    """Return the script that pays to the key with this hash160; also the script code of P2WPKH (BIP-143)."""
    return P2PKH_HEAD + key_hash + P2PKH_TAIL


def p2sh(script: bytes) -> bytes:
    """Return the script that pays to ``script`` in the way of BIP-16."""
    return P2SH_HEAD + hash160(script) + P2SH_TAIL


def p2wsh(script: bytes) -> bytes:
    """Return the script that pays to ``script`` as a witness script."""
    return P2WSH_HEAD + hashlib.sha256(script).digest()


def is_p2pkh(script: bytes) -> bool:
    """Say whether ``script`` pays to a key hash, without segwit."""
    return len(script) == P2PKH_BYTES and script[:3] == P2PKH_HEAD and script[-2:] == P2PKH_TAIL


def is_p2sh(script: bytes) -> bool:
    """Say whether ``script`` pays to a script hash."""
    return len(script) == P2SH_BYTES and script[:2] == P2SH_HEAD and script[-1:] == P2SH_TAIL


def is_p2wpkh(script: bytes) -> bool:
    """Say whether ``script`` pays to a key hash, with segwit."""
    return len(script) == P2WPKH_BYTES and script[:2] == P2WPKH_HEAD


def is_p2wsh(script: bytes) -> bool:
    """Say whether ``script`` pays to a witness script."""
    return len(script) == WITNESS_32_BYTES and script[:2] == P2WSH_HEAD


def is_p2tr(script: bytes) -> bool:
    """Say whether ``script`` pays to a taproot output."""
    return len(script) == WITNESS_32_BYTES and script[:2] == P2TR_HEAD


def is_witness_program(script: bytes) -> bool:
    """Say whether ``script`` is a witness program of any version (BIP-141)."""
    return 4 <= len(script) <= 42 and (script[0] == 0 or _OP_1 <= script[0] <= 0x60) and script[1] == len(script) - 2  # noqa: PLR2004 - lengths of BIP-141


@lru_cache(maxsize=limits.KEYS_MAX)
def own_key(public_key: bytes) -> OwnKey:
    """Return what an uncompressed secp256k1 point (65 bytes, first 0x04) can spend alone."""
    if len(public_key) != _UNCOMPRESSED_BYTES or public_key[0] != _UNCOMPRESSED:
        raise Malformed(FIELD, "the key that is to sign is not a secp256k1 key: only such keys spend bitcoin")
    compressed = bytes((2 + (public_key[-1] & 1),)) + public_key[1:33]
    key_hash = hash160(compressed)
    legacy, native = p2pkh(key_hash), P2WPKH_HEAD + key_hash
    return OwnKey(public_key, compressed, legacy, native, frozenset((legacy, native, p2sh(native))))


def single_key(script: bytes) -> bytes | None:
    """Return the compressed key of ``<key> OP_CHECKSIG``, None if ``script`` is something else."""
    key = script[1:-1]
    return key if script == bytes((_PUSH_KEY,)) + key + _CHECKSIG and _compressed(key) else None


def multisig_keys(script: bytes) -> tuple[bytes, ...]:
    """Return the keys of a standard m-of-n script in their order, () if ``script`` is something else."""
    count, rest = divmod(len(script) - 3, 1 + _PUSH_KEY)
    if rest or not 1 <= count <= _KEYS_MAX:
        return ()
    if script[-1] != _CHECKMULTISIG or script[-2] != _OP_1 - 1 + count or not _OP_1 <= script[0] <= script[-2]:
        return ()
    pushes = [script[at : at + 1 + _PUSH_KEY] for at in range(1, len(script) - 2, 1 + _PUSH_KEY)]
    keys = tuple([push[1:] for push in pushes])
    if any(push[0] != _PUSH_KEY for push in pushes) or not all(map(_compressed, keys)) or len(set(keys)) != count:
        return ()
    return keys


def _compressed(key: bytes) -> bool:
    return len(key) == _PUSH_KEY and key[0] in (2, 3)
