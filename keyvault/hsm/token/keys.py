"""What is done with one key object, and what is checked about it."""

from collections.abc import Callable
from typing import TypeVar

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag
from pkcs11.exceptions import PKCS11Error
from pkcs11.types import SignMixin, VerifyMixin

from keyvault.core.errors import Malformed
from keyvault.core.keys import HMAC_ALGORITHMS, KeyAlgorithm
from keyvault.core.limits import TOKEN_OBJECT_ID_BYTES_MAX
from keyvault.hsm import templates
from keyvault.hsm.base import ROOT_OBJECT_IDS
from keyvault.hsm.failures import Remedy, TokenError, code_of, remedy_for

T = TypeVar("T")
SIGN_MECHANISMS = {
    KeyAlgorithm.SECP256K1: Mechanism.ECDSA,
    KeyAlgorithm.P256: Mechanism.ECDSA,
    KeyAlgorithm.ED25519: Mechanism.EDDSA,
    KeyAlgorithm.HMAC_SHA256: Mechanism.SHA256_HMAC,
    KeyAlgorithm.HMAC_SHA512: Mechanism.SHA512_HMAC,
}
_SIGNATURE_BUFFER_BYTES = 128
_CURVE_TYPES = frozenset({KeyType.EC, KeyType.EC_EDWARDS})


def translated(operation: Callable[[], T]) -> T:
    """Do it; a PKCS#11 error comes out as a TokenError."""
    try:
        return operation()
    except PKCS11Error as error:
        raise translate(error) from error


def translate(error: PKCS11Error) -> TokenError:
    """Return the error as a TokenError with its remedy."""
    name = type(error).__name__
    return TokenError(code_of(name), str(error) or name, remedy_for(name, str(error)))


def sign(key: SignMixin, algorithm: KeyAlgorithm, message: bytes) -> bytes:
    """Return the raw signature; an HMAC only after the token verified it. Raises TokenError, PKCS11Error."""
    mechanism = SIGN_MECHANISMS[algorithm]
    signature = key.sign(message, mechanism=mechanism, buffer_size=_SIGNATURE_BUFFER_BYTES)
    if algorithm in HMAC_ALGORITHMS:
        _check_hmac(key, mechanism, message, signature)
    return signature


def _check_hmac(key: SignMixin, mechanism: Mechanism, message: bytes, signature: bytes) -> None:
    if isinstance(key, VerifyMixin) and key.verify(message, signature, mechanism=mechanism):
        return
    raise TokenError("WRONG_SIGNATURE", "the token does not verify its own HMAC", Remedy.RETIRE)


def attributes(template: templates.Template) -> dict[Attribute, templates.AttributeValue]:
    """Return a template with the names that python-pkcs11 has for them."""
    return {Attribute[name]: value for name, value in template.items()}


def usable(found: pkcs11.Object) -> SignMixin:
    """Return the object as a key that may sign, or raise TokenError."""
    if isinstance(found, SignMixin):
        return found
    raise TokenError("OBJECT_MISMATCH", "the object is not a key that may sign", Remedy.KEEP)


def check_algorithm(key: pkcs11.Object, algorithm: KeyAlgorithm) -> None:
    """Raise TokenError unless the object is a key, or half a pair, of this algorithm.

    A generic secret fits every HMAC: the ledger alone says which one it is for.
    """
    if algorithm in HMAC_ALGORITHMS:
        fits = isinstance(key, pkcs11.SecretKey) and key.key_type is KeyType.GENERIC_SECRET
    else:
        fits = isinstance(key, pkcs11.PrivateKey | pkcs11.PublicKey) and key.key_type in _CURVE_TYPES
        fits = fits and templates.is_on_curve(algorithm, key[Attribute.EC_PARAMS])
    if not fits:
        raise TokenError("OBJECT_MISMATCH", f"the object is no {algorithm} key", Remedy.KEEP)


def check_secrecy(key: pkcs11.Object, promised: templates.Template) -> None:
    """Raise TokenError unless every attribute reads back as promised (I6)."""
    wrong = sorted(name for name, value in promised.items() if key[Attribute[name]] != value)
    if wrong == ["EXTRACTABLE"] and promised["EXTRACTABLE"]:
        raise not_transportable()
    if wrong:
        raise TokenError("NOT_SECRET", f"the token does not hold to {', '.join(wrong)} (I6)", Remedy.KEEP)


def not_transportable() -> TokenError:
    """Return what is said of a key that was made to stay in its token."""
    return TokenError(
        "NOT_TRANSPORTABLE",
        "the key was made to stay in its token, and that cannot be changed: make a new version of it",
        Remedy.KEEP,
    )


def unwrapping_pair(
    session: pkcs11.Session, object_id: bytes, way: templates.WayOut = templates.STAYS
) -> pkcs11.PublicKey:
    """Return the public half of a new RSA pair whose private half unwraps. Raises TokenError, PKCS11Error."""
    pair = templates.unwrapping_pair(object_id, way=way)
    public, private = session.generate_keypair(
        KeyType.RSA,
        templates.RSA_KEY_BITS,
        store=True,
        capabilities=MechanismFlag.UNWRAP,
        mechanism=Mechanism.RSA_PKCS_KEY_PAIR_GEN,
        public_template=attributes(pair.public),
        private_template=attributes(pair.private),
    )
    keep_only_if_secret(private, public, templates.generated_secrecy(way))
    return public


def keep_only_if_secret(private: pkcs11.PrivateKey, public: pkcs11.PublicKey, promised: templates.Template) -> None:
    """Destroy both halves and raise unless the private one reads back as promised (I6)."""
    try:
        check_secrecy(private, promised)
    except (TokenError, PKCS11Error):
        private.destroy()
        public.destroy()
        raise


def public_key(public: pkcs11.Object, algorithm: KeyAlgorithm) -> bytes:
    """Return a public object's point: 65 bytes (SEC 1, uncompressed) or 32 (Ed25519). Raises TokenError."""
    try:
        return templates.parse_ec_point(algorithm, public[Attribute.EC_POINT])
    except Malformed as error:
        raise TokenError("PUBLIC_KEY_FORM", str(error), Remedy.KEEP) from error


def check_object_id(object_id: bytes) -> None:
    """Raise TokenError unless the id has a length that tokens take, and is none of what opens other objects."""
    if not 1 <= len(object_id) <= TOKEN_OBJECT_ID_BYTES_MAX:
        raise TokenError("OBJECT_ID_SIZE", f"an id has 1 to {TOKEN_OBJECT_ID_BYTES_MAX} bytes", Remedy.KEEP)
    if object_id in ROOT_OBJECT_IDS:
        raise TokenError(
            "OBJECT_KEPT", f"{object_id.decode()} is not made, moved or destroyed as keys are", Remedy.KEEP
        )
