"""Taking ECDSA signatures apart for the formats that need r, s and the parity of R."""

from keyvault.core.errors import Broken
from keyvault.core.keys import Signature

_BYTES = 64


def r_s_parity(signature: Signature) -> tuple[int, int, int]:
    """Return (r, s, recovery id). Raise Broken unless it is what ``hsm`` promises for a secp256k1 key."""
    if len(signature.value) != _BYTES or signature.recovery_id not in (0, 1):
        raise Broken("a secp256k1 signature must have 64 bytes and recovery id 0 or 1")
    r = int.from_bytes(signature.value[:32], "big")
    s = int.from_bytes(signature.value[32:], "big")
    if not r or not s:
        raise Broken("a signature must not have r or s equal to zero")
    return r, s, signature.recovery_id
