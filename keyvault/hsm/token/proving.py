"""Whether a key in the token is the one that it should be: found out by using it."""

import hmac
import secrets

import pkcs11

from keyvault.core.keys import HMAC_ALGORITHMS, KeyAlgorithm
from keyvault.core.limits import CHALLENGE_BYTES
from keyvault.hsm import proofs
from keyvault.hsm.failures import Remedy, TokenError
from keyvault.hsm.token.importing import proof_of_secret
from keyvault.hsm.token.keys import sign, usable
from keyvault.hsm.verify import WrongSignature, verified


def check_proven(key: pkcs11.Object, object_id: bytes, algorithm: KeyAlgorithm, identity: bytes) -> None:
    """Raise TokenError unless the key signs a fresh challenge under this public key, or has this key check (HMAC)."""
    if algorithm in HMAC_ALGORITHMS:
        item = proofs.key_check(object_id, algorithm)
        proven = hmac.compare_digest(proofs.cut(proof_of_secret(key, algorithm, item.input)), identity)
    else:
        proven = _signs(key, object_id, algorithm, identity)
    if not proven:
        raise TokenError("COPY_NOT_PROVEN", f"it is not the {algorithm} key that it should be", Remedy.KEEP)


def _signs(key: pkcs11.Object, object_id: bytes, algorithm: KeyAlgorithm, identity: bytes) -> bool:
    item = proofs.possession(object_id, algorithm, identity, secrets.token_bytes(CHALLENGE_BYTES))
    try:
        verified(item, sign(usable(key), algorithm, item.input))
    except WrongSignature:
        return False
    return True
