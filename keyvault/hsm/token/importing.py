"""How a secret gets into the token: the blob of ``keyvault.core.wrap``, opened inside in two steps.

1. The import key opens the RSA-OAEP part: an AES key, an object of this session that can only unwrap.
2. The AES key opens the AES-KWP part: the secret.

Laws: nothing of the blob is ever in clear outside the token; there is no other way in. The AES key is destroyed before
the call returns or raises; if the token does not do it, the process ends, and with it every object of its sessions.

The steps are done one by one, and not by CKM_RSA_AES_KEY_WRAP, because SoftHSM 2.6.1 does not have it.
"""

from typing import NamedTuple

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11.exceptions import PKCS11Error
from pkcs11.types import UnwrapMixin
from pkcs11.util.rsa import encode_rsa_public_key

from keyvault.core.errors import Malformed
from keyvault.core.keys import KeyAlgorithm
from keyvault.core.wrap import secret_bounds, split_blob, wrap_secret
from keyvault.hsm import templates
from keyvault.hsm.failures import Remedy, TokenError
from keyvault.hsm.token.keys import attributes, check_secrecy, sign, usable

KWP_MECHANISMS = (Mechanism.AES_KEY_WRAP_KWP, Mechanism.AES_KEY_WRAP_PAD)
"""Numbers under which tokens have RFC 5649; the trial import finds out which one does.

PKCS#11 3.0 gave it 0x210B, because tokens disagreed about the padding of 0x210A. SoftHSM 2.6.1 has it as 0x210A.
"""


class _Step(NamedTuple):
    """What one part of the blob becomes, and by which mechanism."""

    kind: KeyType
    mechanism: Mechanism
    parameter: tuple[Mechanism, pkcs11.MGF, None] | None


# SHA-1 is what SoftHSM 2.6.1 has; OAEP needs no collision resistance (see keyvault.core.wrap).
_FIRST = _Step(KeyType.AES, Mechanism.RSA_PKCS_OAEP, (Mechanism.SHA_1, pkcs11.MGF.SHA1, None))


def open_blob(
    import_key: pkcs11.Object, kwp: Mechanism, template: templates.Template, algorithm: KeyAlgorithm, wrapped: bytes
) -> pkcs11.Object:
    """Return the secret that the token made from a blob for this HMAC. Raises TokenError, PKCS11Error."""
    for_aes_key, for_secret = _parts(import_key, algorithm, wrapped)
    aes_key = _opened(import_key, _FIRST, templates.import_aes_key(), for_aes_key)
    try:
        check_secrecy(aes_key, templates.imported_secrecy())
        return _opened(aes_key, _Step(KeyType.GENERIC_SECRET, kwp, None), template, for_secret)
    finally:
        _destroy(aes_key)


def unsupported() -> TokenError:
    """Return what is said of a token that failed the trial import: there is no other way."""
    return TokenError(
        "UNSUPPORTED_IMPORT",
        "this token imports no secrets: it needs the import key (RSA of 3072 bits or more, unwrap only), RSA-OAEP with "
        "SHA-1, and AES-KWP (RFC 5649) as CKM_AES_KEY_WRAP_KWP or CKM_AES_KEY_WRAP_PAD",
        Remedy.KEEP,
    )


def trial_blob(import_key: pkcs11.Object, algorithm: KeyAlgorithm, secret: bytes) -> bytes:
    """Return a blob for the token's own import key. Raises TokenError, PKCS11Error."""
    try:
        # Modulus and exponent of the private half are public, and it is the half that every token surely has.
        der = encode_rsa_public_key(import_key)  # type: ignore[arg-type]  # it reads these two attributes only
        return wrap_secret(der, secret, algorithm)
    except Malformed as error:
        raise TokenError("IMPORT_KEY_UNUSABLE", str(error), Remedy.KEEP) from error


def proof_of_secret(secret: pkcs11.Object, algorithm: KeyAlgorithm, message: bytes) -> bytes:
    """Return an HMAC under a secret, or raise TokenError if the token cannot use it as it is.

    Done rather than looked up: SoftHSM says 0 for the CKA_VALUE_LEN of an unwrapped secret.
    """
    try:
        return sign(usable(secret), algorithm, message)
    except pkcs11.KeySizeRange as error:
        raise TokenError(
            "SECRET_SIZE",
            f"the wrapped secret is shorter than this token's {algorithm} takes: pad it with zeros to at least "
            f"{secret_bounds(algorithm)[0]} bytes before wrapping (keyvault.core.wrap does), the HMACs are the same",
            Remedy.KEEP,
        ) from error


def _parts(import_key: pkcs11.Object, algorithm: KeyAlgorithm, wrapped: bytes) -> tuple[bytes, bytes]:
    modulus = int.from_bytes(import_key[Attribute.MODULUS], "big")
    try:
        return split_blob(wrapped, (modulus.bit_length() + 7) // 8, algorithm)
    except Malformed as error:
        raise TokenError("WRAPPED_SIZE", error.problem, Remedy.KEEP) from error


def _opened(key: pkcs11.Object, step: _Step, template: templates.Template, wrapped: bytes) -> pkcs11.Object:
    if not isinstance(key, UnwrapMixin):
        raise TokenError("OBJECT_MISMATCH", "the key may not unwrap", Remedy.KEEP)
    uses = MechanismFlag.UNWRAP if template["UNWRAP"] else MechanismFlag.SIGN | MechanismFlag.VERIFY
    try:
        return key.unwrap_key(
            ObjectClass.SECRET_KEY,
            step.kind,
            wrapped,
            mechanism=step.mechanism,
            mechanism_param=step.parameter,  # type: ignore[arg-type]  # the stub knows no tuples
            store=bool(template["TOKEN"]),
            capabilities=uses,
            template=attributes(template),
        )
    except pkcs11.GeneralError as error:
        # SoftHSM's answer to what is for another key or damaged; a member's input, so no reason to doubt the device.
        raise TokenError(
            "UNWRAP_REFUSED",
            f"the token cannot open the {step.kind.name} part of the blob: it is damaged, or for another import key",
            Remedy.KEEP,
        ) from error


def _destroy(aes_key: pkcs11.Object) -> None:
    try:
        aes_key.destroy()
    except PKCS11Error as error:
        explanation = "the token does not destroy the AES key of an import"
        raise TokenError("IMPORT_AES_KEY_LEFT", explanation, Remedy.RETIRE) from error
