"""Keccak-256 as Ethereum uses it (the original padding, not FIPS 202's SHA3-256), computed in C."""

from functools import lru_cache

from Crypto.Hash import keccak

from keyvault.core import limits


def keccak256(data: bytes) -> bytes:
    """Return the 32-byte digest of ``data``."""
    return keccak.new(data=data, digest_bits=256).digest()


@lru_cache(maxsize=limits.HASHES_REMEMBERED)
def keccak256_of_recurring(data: bytes) -> bytes:
    """Return the same of what comes again and again: names and domains. One hash takes 6 microseconds."""
    return keccak256(data)
