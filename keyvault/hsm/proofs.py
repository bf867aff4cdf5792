"""What a key is asked to sign to show that it is there: nothing that anybody could use as a transaction or a request.

Each input is a SHA-256 over a label, the object's id with its length, and the rest. A signature over it is worth
nothing elsewhere: no chain and no venue signs a digest that begins like this.
"""

import hashlib

from keyvault.core.keys import KeyAlgorithm
from keyvault.core.limits import KEY_CHECK_BYTES
from keyvault.core.tokens import possession_input
from keyvault.hsm.base import SignItem

_KEY_CHECK = b"keyvault/key-check/v1\0"


def possession(object_id: bytes, algorithm: KeyAlgorithm, public_key: bytes, challenge: bytes) -> SignItem:
    """Return the item whose signature shows that the token holds the private half of a public key now."""
    digest = possession_input(object_id, public_key, challenge)
    return SignItem(object_id=object_id, algorithm=algorithm, public_key=public_key, input=digest)


def key_check(object_id: bytes, algorithm: KeyAlgorithm) -> SignItem:
    """Return the item whose HMAC, cut by ``cut``, tells whether two tokens have the same secret under an id."""
    return SignItem(object_id=object_id, algorithm=algorithm, public_key=b"", input=_digest(_KEY_CHECK, object_id))


def cut(mac: bytes) -> bytes:
    """Return the check in an HMAC over ``key_check``."""
    return mac[:KEY_CHECK_BYTES]


def _digest(label: bytes, *parts: bytes) -> bytes:
    sized = (len(part).to_bytes(2, "big") + part for part in parts)
    return hashlib.sha256(label + b"".join(sized)).digest()
