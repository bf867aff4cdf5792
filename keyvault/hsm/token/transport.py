"""How the same keys come into several tokens: AES-KWP under a key that the tokens share.

1. One token makes the wrapping key (AES-256). It is never in clear outside a token.
2. Another makes a transport key (RSA); the first wraps the wrapping key for it (RSA-OAEP), the other opens that, and
   keeps it if it has the check that the first one told.
3. Keys leave a token as AES-KWP under the wrapping key, and come into another; each proves what it is before it stays.

Laws:

- Nothing is wrapped unless the enclave's strategy is AES-KWP, and nothing that was made to stay in its token.
- A blob is believed in nothing. What the key may do comes from our templates, whose key it is from its signature.
- What is stored was proven first; a blob that does not open, or does not prove, leaves nothing. The one exception in
  which clear text is in this process is in ``seeds``.
- Doing it again is fine, after any crash.

OAEP is with SHA-1: SoftHSM 2.6.1 refuses other hashes (C_WrapKey: CKR_ARGUMENTS_BAD), every HSM has it, and OAEP needs
no collision resistance (see ``keyvault.core.wrap``). It is not negotiated: what is negotiated can be talked down.
"""

import hashlib
import hmac

import pkcs11
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11.constants import DEFAULT
from pkcs11.exceptions import (
    EncryptedDataInvalid,
    EncryptedDataLenRange,
    FunctionFailed,
    GeneralError,
    PKCS11Error,
    WrappedKeyInvalid,
    WrappedKeyLenRange,
)
from pkcs11.types import UnwrapMixin, WrapMixin
from pkcs11.util.rsa import encode_rsa_public_key

from keyvault.core.errors import Malformed
from keyvault.core.keys import HMAC_ALGORITHMS, KeyAlgorithm, KeyTransport
from keyvault.core.wrap import parse_transport_key
from keyvault.hsm import templates
from keyvault.hsm.base import IMPORT_KEY_OBJECT_ID, TRANSPORT_KEY_OBJECT_ID, WRAPPING_KEY_OBJECT_ID
from keyvault.hsm.failures import Remedy, TokenError
from keyvault.hsm.token import seeds
from keyvault.hsm.token.handles import PRIVATE_CLASSES, Handles, destroyed_after, wrapped_by
from keyvault.hsm.token.importing import unsupported
from keyvault.hsm.token.keys import (
    attributes,
    check_algorithm,
    check_object_id,
    check_secrecy,
    not_transportable,
    unwrapping_pair,
)
from keyvault.hsm.token.proving import check_opens, check_proven
from keyvault.hsm.token.storing import (
    KEY_TYPES,
    clear_leftovers,
    finished_private,
    holds_another,
    new_wrapping_key,
    store_copy,
    store_public,
)

_OAEP = (Mechanism.SHA_1, pkcs11.MGF.SHA1, None)
_CHECK_SECRET = b"keyvault-check-1"
"""Everybody knows it. 16 bytes: no HMAC key of ours is as short, so its blob is none of a key."""
_CHECK_LABEL = b"keyvault/wrapping-key-check/v1\0"
_NOT_OPENED = (
    *(GeneralError, FunctionFailed, EncryptedDataInvalid, EncryptedDataLenRange),
    *(WrappedKeyInvalid, WrappedKeyLenRange),
)
"""What tokens say of a blob that is damaged, for another key, or of something else. SoftHSM: the first two."""


class Transport:
    """Moves keys between tokens, in one lane's session. Every method raises TokenError and nothing else."""

    def __init__(self, handles: Handles) -> None:
        self._handles = handles
        self._token = handles.token

    def transport_key(self) -> bytes:
        """Return this token's transport key (SubjectPublicKeyInfo, DER), made now if it was not there."""
        self._check_on()
        with self._token.making():
            return self._handles.once(self._transport_key)

    def create_wrapping_key(self) -> None:
        """Make the wrapping key unless it is there."""
        self._check_on()
        with self._token.making():
            self._handles.once(self._create_wrapping_key)

    def check(self) -> bytes:
        """Return by what tokens find out that they hold the same wrapping key."""
        self._check_on()
        with self._token.finding():
            return self._handles.twice(lambda: self._check_of(self._handles.wrapping_key()))

    def export_wrapping_key(self, to: bytes) -> bytes:
        """Return the wrapping key for another token's transport key (SubjectPublicKeyInfo, DER)."""
        self._check_on()
        try:
            modulus, exponent = parse_transport_key(to)
        except Malformed as error:
            raise TokenError("TRANSPORT_KEY_UNUSABLE", str(error), Remedy.KEEP) from error
        with self._token.finding():
            return self._handles.twice(lambda: self._export(modulus, exponent))

    def import_wrapping_key(self, wrapped: bytes, check: bytes) -> None:
        """Make the wrapping key from another token's export, if it is the one with this check."""
        self._check_on()
        with self._token.making():
            self._handles.once(lambda: self._import(wrapped, check))

    def wrap(self, object_id: bytes, algorithm: KeyAlgorithm) -> bytes:
        """Return a key, or the seed of one, under the wrapping key."""
        self._check_movable(object_id)
        with self._token.finding():
            return self._handles.twice(lambda: self._wrap(object_id, algorithm))

    def unwrap_copy(
        self, object_id: bytes, algorithm: KeyAlgorithm, wrapped: bytes, identity: bytes, *, plaintext_transport: bool
    ) -> None:
        """Make the key with this CKA_ID from a blob, if it proves to be ``identity``; done if it is there."""
        self._check_movable(object_id)
        by_seed = algorithm is KeyAlgorithm.ED25519 and len(wrapped) == seeds.WRAPPED_SEED_BYTES
        if by_seed and not plaintext_transport:
            raise TokenError(
                "PLAINTEXT_TRANSPORT",
                "this is the seed of a key that no plaintext transport was allowed for",
                Remedy.KEEP,
            )
        if not by_seed and algorithm not in self._token.wraps:
            raise TokenError("UNSUPPORTED_TRANSPORT", f"this token unwraps no {algorithm} keys", Remedy.KEEP)
        with self._token.making():
            self._handles.once(lambda: self._copy(object_id, algorithm, wrapped, identity, by_seed=by_seed))

    def wrap_import_key(self) -> bytes:
        """Return the import key under the wrapping key."""
        self._check_on()
        with self._token.finding():
            return self._handles.twice(self._wrap_import_key)

    def unwrap_import_copy(self, wrapped: bytes, public_key_der: bytes) -> None:
        """Make the import key from a blob, if it opens what is wrapped for this public key; done if it is there."""
        self._check_on()
        with self._token.making():
            self._handles.once(lambda: self._copy_import_key(wrapped, public_key_der))

    # Wrapping key -------------------------------------------------------------------------------------------

    def _transport_key(self) -> bytes:
        private = finished_private(self._handles, TRANSPORT_KEY_OBJECT_ID)
        if private is None:
            clear_leftovers(self._handles, TRANSPORT_KEY_OBJECT_ID, KeyAlgorithm.P256)
            unwrapping_pair(self._handles.session, TRANSPORT_KEY_OBJECT_ID)
            private = self._handles.found(ObjectClass.PRIVATE_KEY, TRANSPORT_KEY_OBJECT_ID)
        check_secrecy(private, templates.generated_secrecy())
        # Modulus and exponent of the private half are public, and it is the half that unwraps.
        der = encode_rsa_public_key(private)  # type: ignore[arg-type]  # it reads these two attributes only
        return load_der_public_key(der).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def _create_wrapping_key(self) -> None:
        if self._handles.find(ObjectClass.SECRET_KEY, WRAPPING_KEY_OBJECT_ID) is not None:
            self._check_of(self._handles.wrapping_key())  # it works, too
            return
        made = new_wrapping_key(self._handles.session)
        with destroyed_after(made):
            store_copy(made, {**templates.WRAPPING_SECRECY, "ALWAYS_SENSITIVE": True})

    def _check_of(self, wrapping_key: pkcs11.Object) -> bytes:
        """Return the hash of a known secret's blob: AES-KWP is deterministic, and every token that moves keys has it.

        The hash, not the blob: nobody gets a blob of a secret that everybody knows.
        """
        secret = self._handles.session.create_object(
            {
                **attributes(templates.check_secret()),
                Attribute.CLASS: ObjectClass.SECRET_KEY,
                Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
                Attribute.VALUE: _CHECK_SECRET,
            }
        )
        with destroyed_after(secret):
            return hashlib.sha256(_CHECK_LABEL + self.wrapped(wrapping_key, secret)).digest()

    def _export(self, modulus: int, exponent: int) -> bytes:
        wrapping_key = self._handles.wrapping_key()
        to = self._handles.session.create_object(
            {
                **attributes(templates.transport_public_half()),
                Attribute.CLASS: ObjectClass.PUBLIC_KEY,
                Attribute.KEY_TYPE: KeyType.RSA,
                Attribute.MODULUS: modulus.to_bytes((modulus.bit_length() + 7) // 8, "big"),
                Attribute.PUBLIC_EXPONENT: exponent.to_bytes((exponent.bit_length() + 7) // 8, "big"),
            }
        )
        with destroyed_after(to):
            if not isinstance(to, WrapMixin):
                raise TokenError("OBJECT_MISMATCH", "another token's transport key may not wrap here", Remedy.KEEP)
            return to.wrap_key(wrapping_key, mechanism=Mechanism.RSA_PKCS_OAEP, mechanism_param=_OAEP)  # type: ignore[arg-type]  # the stub knows no tuples

    def _import(self, wrapped: bytes, check: bytes) -> None:
        private = self._handles.found(ObjectClass.PRIVATE_KEY, TRANSPORT_KEY_OBJECT_ID)
        present = self._handles.find(ObjectClass.SECRET_KEY, WRAPPING_KEY_OBJECT_ID)
        if present is not None:
            if not hmac.compare_digest(self._check_of(self._handles.wrapping_key()), check):
                raise holds_another(WRAPPING_KEY_OBJECT_ID)
            return
        template = templates.wrapping_key()
        uses = MechanismFlag.WRAP | MechanismFlag.UNWRAP
        opened = _opened(private, Mechanism.RSA_PKCS_OAEP, ObjectClass.SECRET_KEY, KeyType.AES, template, uses, wrapped)
        with destroyed_after(opened):
            check_secrecy(opened, templates.WRAPPING_SECRECY)
            if not hmac.compare_digest(self._check_of(opened), check):
                raise TokenError("COPY_NOT_PROVEN", "it is not the other token's wrapping key", Remedy.KEEP)
            store_copy(opened, templates.WRAPPING_SECRECY)

    # Keys ---------------------------------------------------------------------------------------------------

    def _wrap(self, object_id: bytes, algorithm: KeyAlgorithm) -> bytes:
        wrapping_key = self._handles.wrapping_key()
        key = self._handles.found(PRIVATE_CLASSES[algorithm], object_id)
        check_algorithm(key, algorithm)
        if not key[Attribute.EXTRACTABLE]:
            if algorithm is not KeyAlgorithm.ED25519:
                raise not_transportable()
            key = seeds.sealed(self._handles, object_id)
        return self.wrapped(wrapping_key, key)

    def _copy(
        self, object_id: bytes, algorithm: KeyAlgorithm, wrapped: bytes, identity: bytes, *, by_seed: bool
    ) -> None:
        wrapping_key = self._handles.wrapping_key()
        present = self._handles.find(PRIVATE_CLASSES[algorithm], object_id)
        if present is not None:
            self._check_present(present, object_id, algorithm, identity)
            return
        clear_leftovers(self._handles, object_id, algorithm)
        way = wrapped_by(wrapping_key)
        if by_seed:
            readable = self.opened_key(wrapping_key, KeyType.GENERIC_SECRET, templates.readable_seed(), wrapped)
            seeds.copy(self._handles, object_id, readable, identity)
        elif algorithm in HMAC_ALGORITHMS:
            template = templates.hmac_secret(object_id, stored=False, way=way)
            secret = self.opened_key(wrapping_key, KeyType.GENERIC_SECRET, template, wrapped)
            with destroyed_after(secret):
                check_secrecy(secret, templates.imported_secrecy(way))
                check_proven(secret, object_id, algorithm, identity)
                store_copy(secret, templates.imported_secrecy(way))
        else:
            template = templates.private_copy(object_id, way=way)
            private = self.opened_key(wrapping_key, KEY_TYPES[algorithm], template, wrapped)
            with destroyed_after(private):
                self._store_pair(private, object_id, algorithm, identity, way)

    def _store_pair(
        self, private: pkcs11.Object, object_id: bytes, algorithm: KeyAlgorithm, identity: bytes, way: templates.WayOut
    ) -> None:
        """Store both halves of a pair whose private half is an object of the session, once it has proven itself."""
        check_algorithm(private, algorithm)
        check_secrecy(private, templates.copied_secrecy(way))
        check_proven(private, object_id, algorithm, identity)
        public = store_public(self._handles, object_id, algorithm, identity)
        try:
            store_copy(private, templates.copied_secrecy(way))
        except (TokenError, PKCS11Error):
            public.destroy()
            raise

    def _check_present(
        self, present: pkcs11.Object, object_id: bytes, algorithm: KeyAlgorithm, identity: bytes
    ) -> None:
        try:
            check_algorithm(present, algorithm)
            check_proven(present, object_id, algorithm, identity)
        except TokenError as error:
            if error.code in {"OBJECT_MISMATCH", "COPY_NOT_PROVEN", "SECRET_SIZE"}:
                raise holds_another(object_id) from error
            raise
        secret = algorithm in HMAC_ALGORITHMS
        way = templates.WayOut(wrapped=bool(present[Attribute.EXTRACTABLE]))
        check_secrecy(present, templates.imported_secrecy(way) if secret else templates.copied_secrecy(way))

    def _wrap_import_key(self) -> bytes:
        wrapping_key = self._handles.wrapping_key()
        key = self._handles.found(ObjectClass.PRIVATE_KEY, IMPORT_KEY_OBJECT_ID)
        if not key[Attribute.EXTRACTABLE]:
            raise not_transportable()
        return self.wrapped(wrapping_key, key)

    def _copy_import_key(self, wrapped: bytes, public_key_der: bytes) -> None:
        wrapping_key = self._handles.wrapping_key()
        present = finished_private(self._handles, IMPORT_KEY_OBJECT_ID)
        if present is not None:
            check_opens(present, self._kwp, public_key_der)
            return
        way = wrapped_by(wrapping_key)
        template = templates.import_key_copy(IMPORT_KEY_OBJECT_ID, way=way)
        uses = MechanismFlag.UNWRAP
        opened = _opened(wrapping_key, self._kwp, ObjectClass.PRIVATE_KEY, KeyType.RSA, template, uses, wrapped)
        with destroyed_after(opened):
            check_secrecy(opened, templates.copied_secrecy(way))
            check_opens(opened, self._kwp, public_key_der)
            store_copy(opened, templates.copied_secrecy(way))

    def opened_key(
        self, wrapping_key: pkcs11.Object, key_type: KeyType, template: templates.Template, wrapped: bytes
    ) -> pkcs11.Object:
        """Return the signing key, an object of this session, that a blob becomes. Raises TokenError, PKCS11Error."""
        kind = ObjectClass.SECRET_KEY if key_type is KeyType.GENERIC_SECRET else ObjectClass.PRIVATE_KEY
        uses = MechanismFlag(0)
        if template["SIGN"]:
            uses = MechanismFlag.SIGN
        return _opened(wrapping_key, self._kwp, kind, key_type, template, uses, wrapped)

    def wrapped(self, wrapping_key: pkcs11.Object, key: pkcs11.Object) -> bytes:
        """Return a key under the wrapping key. Raises TokenError, PKCS11Error."""
        if not isinstance(wrapping_key, WrapMixin) or not isinstance(key, pkcs11.Key):
            raise TokenError("OBJECT_MISMATCH", "the wrapping key may not wrap", Remedy.KEEP)
        return wrapping_key.wrap_key(key, mechanism=self._kwp)

    @property
    def _kwp(self) -> Mechanism:
        if self._token.kwp_mechanism is None:
            raise unsupported()
        return self._token.kwp_mechanism

    def _check_on(self) -> None:
        if self._token.key_transport is not KeyTransport.KWP:
            raise seeds.off()

    def _check_movable(self, object_id: bytes) -> None:
        self._check_on()
        check_object_id(object_id)


def _opened(
    key: pkcs11.Object,
    mechanism: Mechanism,
    kind: ObjectClass,
    key_type: KeyType,
    template: templates.Template,
    uses: MechanismFlag,
    wrapped: bytes,
) -> pkcs11.Object:
    """Return the object of this session that a blob becomes. Raises TokenError, PKCS11Error."""
    if not isinstance(key, UnwrapMixin):
        raise TokenError("OBJECT_MISMATCH", "the key may not unwrap", Remedy.KEEP)
    # SoftHSM refuses uses that a private key cannot have, and python-pkcs11 would state them all.
    foreign = {} if kind is ObjectClass.SECRET_KEY else dict.fromkeys(_NOT_PRIVATE, DEFAULT)
    try:
        return key.unwrap_key(
            kind,
            key_type,
            wrapped,
            mechanism=mechanism,
            mechanism_param=_OAEP if mechanism is Mechanism.RSA_PKCS_OAEP else None,  # type: ignore[arg-type]  # as above
            store=False,
            capabilities=uses,
            template={**attributes(template), **foreign},
        )
    except _NOT_OPENED as error:
        raise TokenError(
            "UNWRAP_REFUSED", "the token cannot open the blob: it is damaged, or under another key", Remedy.KEEP
        ) from error


_NOT_PRIVATE = (Attribute.ENCRYPT, Attribute.VERIFY, Attribute.WRAP)
