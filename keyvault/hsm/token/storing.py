"""How objects of a key come to stand in the token, and what a crash may have left of them.

A copy is made as an object of the session, tried, and then copied into the token (C_CopyObject): what is stored was
proven before. SoftHSM 2.6.1 writes an object that it generates or unwraps in two steps, the name before the value; one
that it copies or creates it writes with its value at once, so no crash leaves a name without a key. It copies nothing
that is not MODIFIABLE, as pairs are that are generated here: of those, unfinished ones are recognised.

The half that signs is stored last: an id without it has only leftovers, which may be thrown away.
"""

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11.exceptions import PKCS11Error

from keyvault.core.keys import KeyAlgorithm
from keyvault.hsm import templates
from keyvault.hsm.failures import Remedy, TokenError
from keyvault.hsm.token.handles import Handles
from keyvault.hsm.token.keys import attributes, check_secrecy, keep_only_if_secret, public_key

KEY_TYPES = {
    KeyAlgorithm.SECP256K1: KeyType.EC,
    KeyAlgorithm.P256: KeyType.EC,
    KeyAlgorithm.ED25519: KeyType.EC_EDWARDS,
    KeyAlgorithm.HMAC_SHA256: KeyType.GENERIC_SECRET,
    KeyAlgorithm.HMAC_SHA512: KeyType.GENERIC_SECRET,
}


_AES_BITS = 256
_NUMBERS = {KeyType.RSA: Attribute.MODULUS}
"""What a key of another type than EC has instead of CKA_EC_PARAMS."""


def new_pair(
    session: pkcs11.Session, object_id: bytes, algorithm: KeyAlgorithm, *, stored: bool, way: templates.WayOut
) -> tuple[bytes, pkcs11.PrivateKey, pkcs11.PublicKey]:
    """Return public key and both halves of a new pair. Raises TokenError, PKCS11Error; then nothing of it stays."""
    edwards = algorithm is KeyAlgorithm.ED25519
    pair = templates.signing_pair(object_id, algorithm, stored=stored, way=way)
    parameters = session.create_domain_parameters(
        KEY_TYPES[algorithm], {Attribute.EC_PARAMS: templates.EC_PARAMETERS[algorithm]}, local=True
    )
    public, private = parameters.generate_keypair(
        store=stored,
        capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
        mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN if edwards else Mechanism.EC_KEY_PAIR_GEN,
        public_template=attributes(pair.public),
        private_template=attributes(pair.private),
    )
    keep_only_if_secret(private, public, templates.generated_secrecy(way))
    return public_key(public, algorithm), private, public


def new_wrapping_key(session: pkcs11.Session) -> pkcs11.SecretKey:
    """Return a new key that wraps and unwraps, an object of this session. Raises PKCS11Error."""
    return session.generate_key(
        KeyType.AES,
        _AES_BITS,
        store=False,
        capabilities=MechanismFlag.WRAP | MechanismFlag.UNWRAP,
        mechanism=Mechanism.AES_KEY_GEN,
        template=attributes(templates.wrapping_key()),
    )


def is_sealed_seed(one: pkcs11.Object, algorithm: KeyAlgorithm) -> bool:
    """Return whether the object is the sealed seed of a key of this algorithm (``seeds``)."""
    return (
        algorithm is KeyAlgorithm.ED25519
        and isinstance(one, pkcs11.SecretKey)
        and one.key_type is KeyType.GENERIC_SECRET
        and not one[Attribute.SIGN]
    )


def finished_private(handles: Handles, object_id: bytes) -> pkcs11.Object | None:
    """Return the private key with this CKA_ID, if there is one. Raises TokenError, PKCS11Error.

    One without the numbers that every private key tells is a name that a crash left without a key: it is destroyed.
    """
    private = handles.find(ObjectClass.PRIVATE_KEY, object_id)
    if not isinstance(private, pkcs11.PrivateKey) or private[_NUMBERS.get(private.key_type, Attribute.EC_PARAMS)]:
        return private
    private.destroy()
    return None


def clear_leftovers(handles: Handles, object_id: bytes, algorithm: KeyAlgorithm) -> None:
    """Destroy what a crash left under an id that has no key. Raises TokenError, for anything else that is there."""
    found = handles.everything(object_id)
    if not all(isinstance(one, pkcs11.PublicKey) or is_sealed_seed(one, algorithm) for one in found):
        raise holds_another(object_id)
    for one in found:
        one.destroy()


def holds_another(object_id: bytes) -> TokenError:
    """Return what is said of an id that is taken."""
    return TokenError("OBJECT_EXISTS", f"the token has another key with id {object_id.hex()}; it stays", Remedy.KEEP)


def store_public(handles: Handles, object_id: bytes, algorithm: KeyAlgorithm, public: bytes) -> pkcs11.Object:
    """Store the public half of a pair, and return it. Raises TokenError, PKCS11Error."""
    return handles.session.create_object(
        {
            **attributes(templates.public_half(object_id, algorithm, stored=True)),
            Attribute.CLASS: ObjectClass.PUBLIC_KEY,
            Attribute.KEY_TYPE: KEY_TYPES[algorithm],
            Attribute.EC_POINT: bytes((0x04, len(public))) + public,  # a DER OCTET STRING of less than 128 bytes
        }
    )


def store_copy(key: pkcs11.Object, promised: templates.Template) -> None:
    """Copy an object of the session into the token. Raises TokenError, PKCS11Error; then nothing of it is stored."""
    stored = key.copy({Attribute.TOKEN: True})
    try:
        check_secrecy(stored, {**promised, "TOKEN": True})
    except (TokenError, PKCS11Error):
        stored.destroy()
        raise
