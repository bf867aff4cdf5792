"""Solana addresses: their text, the programs known by name, and addresses that are derived instead of having a key.

Derivations are those of the Solana SDK (``solana-address``, functions ``create_with_seed`` and
``find_program_address``) and of the Associated Token Account program (``get_associated_token_address``).
"""

from functools import lru_cache
from hashlib import sha256
from typing import Final

from keyvault.core import limits
from keyvault.intents import base58

NETWORK: Final = "solana"
ADDRESS_BYTES: Final = 32
SEED_BYTES_MAX: Final = 32
"""``MAX_SEED_LEN``."""


def _known(text: str) -> bytes:
    return base58.decode(text, ADDRESS_BYTES)


SYSTEM: Final = _known("11111111111111111111111111111111")
TOKEN: Final = _known("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
TOKEN_2022: Final = _known("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
ASSOCIATED_TOKEN: Final = _known("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
COMPUTE_BUDGET: Final = _known("ComputeBudget111111111111111111111111111111")
MEMO: Final = _known("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
MEMO_1: Final = _known("Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo")
ED25519_PROGRAM: Final = _known("Ed25519SigVerify111111111111111111111111111")
SECP256K1_PROGRAM: Final = _known("KeccakSecp256k11111111111111111111111111111")
SECP256R1_PROGRAM: Final = _known("Secp256r1SigVerify1111111111111111111111111")
RECENT_BLOCKHASHES: Final = _known("SysvarRecentB1ockHashes11111111111111111111")
RENT: Final = _known("SysvarRent111111111111111111111111111111111")

_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P
_MARKER: Final = b"ProgramDerivedAddress"
_BUMPS: Final = tuple(bytes((bump,)) for bump in range(255, -1, -1))


@lru_cache(maxsize=limits.SOLANA_ADDRESSES_REMEMBERED)
def address(key: bytes) -> str:
    """Return the address as people write it."""
    return base58.encode(key)


def with_seed(base: bytes, seed: bytes, owner: bytes) -> bytes:
    """Return the address that ``base`` controls under ``seed``, for accounts of the program ``owner``."""
    return sha256(base + seed + owner).digest()


@lru_cache(maxsize=limits.SOLANA_TOKEN_ACCOUNTS_REMEMBERED)
def associated_token_account(wallet: bytes, mint: bytes, token_program: bytes) -> bytes | None:
    """Return the address of the wallet's own account for a mint; None in the case, never met, that there is none."""
    seeds = wallet + token_program + mint
    for bump in _BUMPS:
        derived = sha256(seeds + bump + ASSOCIATED_TOKEN + _MARKER).digest()
        if not on_curve(derived):
            return derived
    return None


def on_curve(key: bytes) -> bool:
    """Return whether 32 bytes are a point of edwards25519, and so may have a private key.

    As curve25519-dalek's ``decompress``, which the chain asks: y may be written unreduced, and the sign of x = 0 is
    free. From RFC 8032, 5.1.3, x^2 = u/v with u = y^2 - 1, v = d y^2 + 1; u/v is a square if and only if uv is one.
    """
    y = int.from_bytes(key, "little") & (2**255 - 1)
    square = y * y % _P
    return _jacobi((square - 1) * (_D * square + 1) % _P) >= 0


def _jacobi(value: int) -> int:
    """Return 1 if ``value`` is a square modulo p, 0 if it is zero, else -1 (Cohen, algorithm 1.4.10).

    A third of the time that Euler's criterion takes. The time depends on the value, which is public.
    """
    modulus, sign = _P, 1
    while value:
        twos = (value & -value).bit_length() - 1
        value >>= twos
        if twos & 1 and modulus & 7 in (3, 5):
            sign = -sign
        if value & modulus & 2:
            sign = -sign
        value, modulus = modulus % value, value
    return sign if modulus == 1 else 0
