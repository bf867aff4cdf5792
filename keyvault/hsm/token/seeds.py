"""Ed25519 keys on a token that cannot wrap them: the exception of I6, asked for key by key.

SoftHSM 2.6.1 neither wraps nor unwraps Ed25519 keys, and makes none out of a secret in it. So the 32 bytes of the seed
pass through this process, twice in a key's life: when it is made, and when it is copied.

Laws:

- The token makes the seed. It is read into a buffer that is locked in memory and zero when the call ends, however it
  ends; no ``bytes``, which Python cannot erase, is ever made of it. It is in no message, log or error.
- In the token stay a private key that cannot leave it, and the seed as a secret that does nothing but be wrapped
  (SENSITIVE, EXTRACTABLE): wrapping it needs no clear text, today or for a third token.
- The private key is stored last: where it is, all is. What a crash left without one is thrown away and made anew.
"""

import ctypes
import sys

import pkcs11
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.exceptions import PKCS11Error

from keyvault.core.keys import KeyAlgorithm, KeyTransport
from keyvault.hsm import templates
from keyvault.hsm.failures import Remedy, TokenError
from keyvault.hsm.locked import Buffer, NotLocked, locked_buffer
from keyvault.hsm.token.handles import Handles, destroyed_after, wrapped_by
from keyvault.hsm.token.keys import attributes, check_algorithm, check_secrecy, not_transportable, public_key
from keyvault.hsm.token.library import Token
from keyvault.hsm.token.proving import check_proven
from keyvault.hsm.token.storing import clear_leftovers, finished_private, is_sealed_seed, store_public

_ED25519 = KeyAlgorithm.ED25519
SEED_BYTES = 32
"""RFC 8032, section 5.1.5."""
WRAPPED_SEED_BYTES = SEED_BYTES + 8
"""AES-KWP puts 8 bytes before; a wrapped Ed25519 key as PKCS#8 has 56 or more."""


def needed(token: Token, algorithm: KeyAlgorithm) -> bool:
    """Return whether only its seed can carry such a key to another token. Raises TokenError if nothing can."""
    if token.key_transport is not KeyTransport.KWP:
        raise off()
    if algorithm in token.wraps:
        return False
    if algorithm is not _ED25519:
        raise TokenError("UNSUPPORTED_TRANSPORT", f"this token wraps no {algorithm} keys", Remedy.KEEP)
    return True


def off() -> TokenError:
    """Return what is said where the enclave's strategy is not AES-KWP."""
    return TokenError(
        "KEY_TRANSPORT_OFF",
        'no key leaves this token: its configuration does not say key_transport = "kwp"',
        Remedy.KEEP,
    )


def sealed(handles: Handles, object_id: bytes) -> pkcs11.Object:
    """Return the seed of a key, to be wrapped. Raises TokenError, with NOT_TRANSPORTABLE if it has none."""
    found = handles.find(ObjectClass.SECRET_KEY, object_id)
    if found is None or not is_sealed_seed(found, _ED25519):
        raise not_transportable()
    check_secrecy(found, templates.imported_secrecy(templates.WayOut(wrapped=True)))
    return found


def generate(handles: Handles, object_id: bytes) -> bytes:
    """Return the public key of the key with this id, made now from a new seed if it was not there."""
    if finished_private(handles, object_id) is not None:
        return _present(handles, object_id)
    clear_leftovers(handles, object_id, _ED25519)
    way = wrapped_by(handles.wrapping_key())
    readable = handles.session.generate_key(
        KeyType.GENERIC_SECRET,
        SEED_BYTES * 8,
        store=False,
        capabilities=0,  # type: ignore[arg-type]  # none at all
        mechanism=Mechanism.GENERIC_SECRET_KEY_GEN,
        template=attributes(templates.readable_seed()),
    )
    return _made(handles, object_id, readable, way, None)


def copy(handles: Handles, object_id: bytes, readable: pkcs11.Object, identity: bytes) -> None:
    """Make the key with this id from its seed, an object of this session, which is destroyed.

    Raises TokenError, with COPY_NOT_PROVEN if it is the seed of another key.
    """
    _made(handles, object_id, readable, wrapped_by(handles.wrapping_key()), identity)


def _present(handles: Handles, object_id: bytes) -> bytes:
    private = handles.found(ObjectClass.PRIVATE_KEY, object_id)
    check_algorithm(private, _ED25519)
    check_secrecy(private, templates.copied_secrecy())
    sealed(handles, object_id)
    return public_key(handles.found(ObjectClass.PUBLIC_KEY, object_id), _ED25519)


def _made(
    handles: Handles, object_id: bytes, readable: pkcs11.Object, way: templates.WayOut, identity: bytes | None
) -> bytes:
    """Store the key of a readable seed, once it has proven to be ``identity``, or to be any if that is None."""
    try:
        with locked_buffer(SEED_BYTES) as seed:
            with destroyed_after(readable):
                handles.token.read_seed(handles.session, readable, seed)
            public = _public_of(seed)
            _check_proven(handles, seed, public if identity is None else identity)
            _store(handles, object_id, seed, public, way)
    except NotLocked as error:
        raise TokenError("MEMORY_NOT_LOCKED", f"no seed is read: {error}", Remedy.KEEP) from None
    return public


def _public_of(seed: Buffer) -> bytes:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(memoryview(seed).cast("B"))  # a view, no copy
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _check_proven(handles: Handles, seed: Buffer, identity: bytes) -> None:
    """Sign a challenge with the key, as an object of this session. Raises TokenError."""
    trial = templates.SEED_OBJECT_ID
    _create(handles, ObjectClass.PRIVATE_KEY, templates.private_of_seed(trial, stored=False), seed)
    private = handles.found(ObjectClass.PRIVATE_KEY, trial)
    with destroyed_after(private):
        check_proven(private, trial, _ED25519, identity)


def _store(handles: Handles, object_id: bytes, seed: Buffer, public: bytes, way: templates.WayOut) -> None:
    """Store public half, sealed seed and private key, in this order, or nothing. Raises TokenError, PKCS11Error."""
    try:
        store_public(handles, object_id, _ED25519, public)
        _create(handles, ObjectClass.SECRET_KEY, templates.sealed_seed(object_id, way=way), seed)
        check_secrecy(handles.found(ObjectClass.SECRET_KEY, object_id), templates.imported_secrecy(way))
        _create(handles, ObjectClass.PRIVATE_KEY, templates.private_of_seed(object_id, stored=True), seed)
        check_secrecy(handles.found(ObjectClass.PRIVATE_KEY, object_id), templates.copied_secrecy())
    except (TokenError, PKCS11Error):
        for half_done in handles.everything(object_id):
            half_done.destroy()
        raise


def _create(handles: Handles, kind: ObjectClass, template: templates.Template, seed: Buffer) -> None:
    key_type = KeyType.EC_EDWARDS if kind is ObjectClass.PRIVATE_KEY else KeyType.GENERIC_SECRET
    whole = {"CLASS": int(kind), "KEY_TYPE": int(key_type), **template}
    encoded = {int(Attribute[name]): _encoded(value) for name, value in whole.items()}
    handles.token.create_from_seed(handles.session, encoded, seed)


def _encoded(value: templates.AttributeValue) -> bytes:
    """Return an attribute's value as PKCS#11 has it: CK_BBOOL, CK_ULONG, or bytes."""
    match value:
        case bool():
            return bytes((value,))
        case int():
            return value.to_bytes(ctypes.sizeof(ctypes.c_ulong), sys.byteorder)
        case str():
            return value.encode()
        case bytes():
            return value
