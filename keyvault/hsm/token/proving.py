"""Whether a key in the token is the one that it should be: found out by using it."""

import hmac
import secrets

import pkcs11
from pkcs11 import Mechanism

from keyvault.core.errors import Malformed
from keyvault.core.keys import HMAC_ALGORITHMS, KeyAlgorithm
from keyvault.core.limits import CHALLENGE_BYTES
from keyvault.core.wrap import wrap_secret
from keyvault.hsm import proofs, templates
from keyvault.hsm.failures import Remedy, TokenError
from keyvault.hsm.token.handles import destroyed_after
from keyvault.hsm.token.importing import open_blob, proof_of_secret
from keyvault.hsm.token.keys import sign, usable
from keyvault.hsm.verify import WrongSignature, verified

_TRIAL = KeyAlgorithm.HMAC_SHA256
_TRIAL_OBJECT_ID = b"keyvault-trial-import"


def check_proven(key: pkcs11.Object, object_id: bytes, algorithm: KeyAlgorithm, identity: bytes) -> None:
    """Raise TokenError unless the key signs a fresh challenge under this public key, or has this key check (HMAC)."""
    if algorithm in HMAC_ALGORITHMS:
        item = proofs.key_check(object_id, algorithm)
        proven = hmac.compare_digest(proofs.cut(proof_of_secret(key, algorithm, item.input)), identity)
    else:
        proven = _signs(key, object_id, algorithm, identity)
    if not proven:
        raise _not_proven(algorithm)


def check_opens(key: pkcs11.Object, kwp: Mechanism, public_key_der: bytes) -> None:
    """Raise TokenError unless the import key opens a fresh secret that was wrapped for this public key."""
    secret = secrets.token_bytes(CHALLENGE_BYTES)
    challenge = secrets.token_bytes(CHALLENGE_BYTES)
    try:
        blob = wrap_secret(public_key_der, secret, _TRIAL)
        opened = open_blob(key, kwp, templates.hmac_secret(_TRIAL_OBJECT_ID, stored=False), _TRIAL, blob)
    except (Malformed, TokenError) as error:
        raise _not_proven("import") from error
    with destroyed_after(opened):
        if not hmac.compare_digest(
            proof_of_secret(opened, _TRIAL, challenge), hmac.digest(secret, challenge, "sha256")
        ):
            raise _not_proven("import")


def _not_proven(what: str) -> TokenError:
    return TokenError("COPY_NOT_PROVEN", f"it is not the {what} key that it should be", Remedy.KEEP)


def _signs(key: pkcs11.Object, object_id: bytes, algorithm: KeyAlgorithm, identity: bytes) -> bool:
    item = proofs.possession(object_id, algorithm, identity, secrets.token_bytes(CHALLENGE_BYTES))
    try:
        verified(item, sign(usable(key), algorithm, item.input))
    except WrongSignature:
        return False
    return True
