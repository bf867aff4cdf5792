"""Keccak-256 as Ethereum uses it (the original padding, not FIPS 202's SHA3-256), computed in C."""

from Crypto.Hash import keccak


def keccak256(data: bytes) -> bytes:
    """Return the 32-byte digest of ``data``."""
    return keccak.new(data=data, digest_bits=256).digest()
