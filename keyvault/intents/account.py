"""The EVM account of the key that signs: EVM payloads name it nowhere, the signature does."""

from functools import lru_cache
from typing import Final

from keyvault.core import limits
from keyvault.core.intent import Signer
from keyvault.core.keys import KeyAlgorithm
from keyvault.intents.address import ethereum_address

EVM_ALGORITHMS: Final = frozenset({KeyAlgorithm.SECP256K1})


def account_of(signer: Signer) -> str | None:
    """Return the signer's address, ``0x`` and 40 lower-case hex digits; None for a key that has none.

    Such a key's algorithm is not in EVM_ALGORITHMS, so its payload is never signed. Raises Malformed for what is not
    an uncompressed point.
    """
    return _address(signer.public_key) if signer.algorithm in EVM_ALGORITHMS else None


@lru_cache(maxsize=limits.ADDRESSES_REMEMBERED)
def _address(public_key: bytes) -> str:
    return ethereum_address(public_key).lower()
