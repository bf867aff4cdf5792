"""A lane's session: find, sign, make; with the retry that a stale session is worth."""

import hmac
from collections.abc import Callable
from functools import partial

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11.exceptions import PKCS11Error
from pkcs11.types import SignMixin
from pkcs11.util.rsa import encode_rsa_public_key

from keyvault.core.keys import HMAC_ALGORITHMS, KeyAlgorithm
from keyvault.core.limits import KEYS_MAX
from keyvault.core.marks import Mark
from keyvault.core.wrap import HASHES
from keyvault.hsm import templates
from keyvault.hsm.base import KEPT_OBJECT_IDS
from keyvault.hsm.failures import Remedy, TokenError
from keyvault.hsm.token.anchors import find_anchor, replace_anchor, try_anchor
from keyvault.hsm.token.importing import (
    KWP_MECHANISMS,
    open_blob,
    proof_of_secret,
    trial_blob,
    unsupported,
)
from keyvault.hsm.token.keys import (
    T,
    attributes,
    check_algorithm,
    check_object_id,
    check_secrecy,
    keep_only_if_secret,
    public_key,
    sign,
    translated,
    usable,
)
from keyvault.hsm.token.library import Token

DIGEST_BYTES = 32
_ECDSA = frozenset({KeyAlgorithm.SECP256K1, KeyAlgorithm.P256})
_PRIVATE_CLASSES = {
    algorithm: ObjectClass.SECRET_KEY if algorithm in HMAC_ALGORITHMS else ObjectClass.PRIVATE_KEY
    for algorithm in KeyAlgorithm
}
_COMPARISON = b"keyvault/are-these-secrets-equal/v1"


class Session:
    """One lane's session with its handles. Used by one thread. Every method raises TokenError and nothing else."""

    def __init__(self, token: Token) -> None:
        self._token = token
        self._session = token.open_session()
        self._keys: dict[tuple[bytes, KeyAlgorithm], SignMixin] = {}

    def sign(self, object_id: bytes, algorithm: KeyAlgorithm, message: bytes) -> bytes:
        """Return r||s (ECDSA over a 32-byte digest, s as it comes), an Ed25519 signature, or an HMAC.

        An HMAC was verified by the token itself: it has no public key, so nobody else can.
        """
        if algorithm in _ECDSA and len(message) != DIGEST_BYTES:
            raise TokenError("INPUT_SIZE", f"ECDSA signs {DIGEST_BYTES} bytes, not {len(message)}", Remedy.KEEP)
        return self._twice(lambda: self._sign_once(object_id, algorithm, message))

    def generate(self, object_id: bytes, algorithm: KeyAlgorithm) -> bytes:
        """Return the public key of the pair with this CKA_ID, generated now if it was not there."""
        check_object_id(object_id)
        if algorithm in HMAC_ALGORITHMS:
            raise TokenError("NOT_GENERATED", "HMAC secrets are imported, not generated", Remedy.KEEP)
        with self._token.making():
            # Never twice: if the first attempt failed half way, the second would find what it left.
            return self._once(lambda: self._generate_once(object_id, algorithm))

    def generate_import_key(self, object_id: bytes) -> bytes:
        """Return the RSAPublicKey (RFC 8017, DER) of a new import key with this CKA_ID; it must not exist."""
        with self._token.making():
            return self._once(lambda: self._generate_import_once(object_id))

    def unwrap(self, object_id: bytes, import_object_id: bytes, algorithm: KeyAlgorithm, wrapped: bytes) -> None:
        """Make the HMAC secret with this CKA_ID from a blob; done if the same secret is there already.

        It is proven by an HMAC of this algorithm; one that is too short for it does not stay.
        """
        check_object_id(object_id)
        mechanism = self._token.kwp_mechanism
        if mechanism is None:
            raise unsupported()
        with self._token.making():
            self._once(lambda: self._unwrap_once(object_id, import_object_id, mechanism, algorithm, wrapped))

    def destroy(self, object_id: bytes, algorithm: KeyAlgorithm) -> None:
        """Destroy all objects with this CKA_ID, and forget the handles of them; done if there are none.

        A key of another algorithm is not touched, nor is what ``KEPT_OBJECT_IDS`` names.
        """
        check_object_id(object_id)
        if object_id in KEPT_OBJECT_IDS:
            raise TokenError("OBJECT_KEPT", f"{object_id.decode()} is never destroyed", Remedy.KEEP)
        self._keys = {name: key for name, key in self._keys.items() if name[0] != object_id}
        with self._token.making():
            # Destroying what the first attempt destroyed is nothing; so, other than making, it may be done twice.
            self._twice(lambda: self._destroy_once(object_id, algorithm))

    def read_anchor(self) -> Mark | None:
        """Return what the token remembers of the ledger, None if it remembers nothing."""

        def read() -> Mark | None:
            with self._token.finding():
                found = find_anchor(self._session)
                if found is None and not self._token.logged_in(self._session):
                    raise TokenError("USER_NOT_LOGGED_IN", "the token ended the login", Remedy.RETIRE)
                return found

        return self._twice(read)

    def write_anchor(self, mark: Mark) -> None:
        """Let the token remember this, which must come after what it remembers."""
        with self._token.making():
            # As for making a key: if the first attempt failed half way, the next write finds what it left.
            self._once(lambda: replace_anchor(self._session, mark, self._token.destroying))

    def trial_anchor(self) -> bool:
        """Return whether the token keeps data objects."""
        return self._once(lambda: try_anchor(self._session))

    def trial_pair(self, object_id: bytes, algorithm: KeyAlgorithm, message: bytes) -> tuple[bytes, bytes]:
        """Return public key and signature of a key pair made for this session only and destroyed at once."""
        return self._once(lambda: self._trial_pair(object_id, algorithm, message))

    def trial_hmac(self, object_id: bytes, algorithm: KeyAlgorithm, secret: bytes, message: bytes) -> bytes:
        """Return the HMAC under a secret that everybody knows, held in this session only and destroyed at once."""
        return self._once(lambda: self._trial_hmac(object_id, algorithm, secret, message))

    def trial_import(
        self, object_id: bytes, import_object_id: bytes, algorithm: KeyAlgorithm, secret: bytes, message: bytes
    ) -> bool:
        """Return whether secrets can be imported: one that everybody knows was, for this session only.

        By its HMAC the mechanism for AES-KWP is found, and kept for all sessions of this process.
        """
        expected = hmac.digest(secret, message, HASHES[algorithm])
        for mechanism in KWP_MECHANISMS:
            try:
                trial = partial(self._trial_import, object_id, import_object_id, mechanism, algorithm, secret, message)
                answer = self._once(trial)
            except TokenError as error:
                if error.remedy in {Remedy.LATCH, Remedy.RETIRE}:
                    raise
                continue
            if answer == expected:
                self._token.kwp_mechanism = mechanism
                return True
        return False

    def _once(self, operation: Callable[[], T]) -> T:
        """Do it; after an error that costs the session, the next operation has a new one."""
        try:
            return translated(operation)
        except TokenError as error:
            if error.remedy is Remedy.REOPEN:
                self._reopen()
            raise

    def _twice(self, operation: Callable[[], T]) -> T:
        """Do it; after an error that costs the session, once more in a new session."""
        try:
            return self._once(operation)
        except TokenError as error:
            if error.remedy is not Remedy.REOPEN:
                raise
        try:
            return translated(operation)
        except TokenError as error:
            if error.remedy is Remedy.REOPEN:
                raise TokenError(error.code, f"{error.explanation}; also in a new session", Remedy.RETIRE) from error
            raise

    def _reopen(self) -> None:
        self._keys.clear()
        self._token.close_session(self._session)
        self._session = self._token.open_session()

    def _sign_once(self, object_id: bytes, algorithm: KeyAlgorithm, message: bytes) -> bytes:
        key = self._keys.get((object_id, algorithm)) or self._resolve(object_id, algorithm)
        self._token.begin_using()  # not a with: it is on the path of every signature
        try:
            return sign(key, algorithm, message)
        finally:
            self._token.end_using()

    def _resolve(self, object_id: bytes, algorithm: KeyAlgorithm) -> SignMixin:
        with self._token.finding():
            found = self._find(_PRIVATE_CLASSES[algorithm], object_id)
            if found is None:
                raise self._absent(object_id)
            key = usable(found)
            check_algorithm(key, algorithm)
        if len(self._keys) >= KEYS_MAX:
            self._keys.clear()
        self._keys[object_id, algorithm] = key
        return key

    def _absent(self, object_id: bytes) -> TokenError:
        if not self._token.logged_in(self._session):
            return TokenError("USER_NOT_LOGGED_IN", "the token ended the login", Remedy.RETIRE)
        return TokenError("OBJECT_NOT_FOUND", f"the token has no key with id {object_id.hex()}", Remedy.KEEP)

    def _find(self, kind: ObjectClass, object_id: bytes) -> pkcs11.Object | None:
        # A list at once: an open search would make the next operation fail (OPERATION_ACTIVE).
        found = list(self._session.get_objects({Attribute.CLASS: kind, Attribute.ID: object_id}))
        if len(found) > 1:
            raise TokenError("OBJECT_AMBIGUOUS", f"{len(found)} objects have the id {object_id.hex()}", Remedy.KEEP)
        return found[0] if found else None

    def _generate_once(self, object_id: bytes, algorithm: KeyAlgorithm) -> bytes:
        private = self._find(ObjectClass.PRIVATE_KEY, object_id)
        public = self._find(ObjectClass.PUBLIC_KEY, object_id)
        if private is None:
            if public is not None:  # a crash between the two halves; without its private half it is worth nothing
                public.destroy()
            return self._new_pair(object_id, algorithm, stored=True)[0]
        if public is None:
            raise TokenError("OBJECT_INCOMPLETE", f"{object_id.hex()} has no public half in the token", Remedy.KEEP)
        check_algorithm(usable(private), algorithm)
        check_secrecy(private, templates.GENERATED_SECRECY)
        return public_key(public, algorithm)

    def _new_pair(
        self, object_id: bytes, algorithm: KeyAlgorithm, *, stored: bool
    ) -> tuple[bytes, pkcs11.PrivateKey, pkcs11.PublicKey]:
        edwards = algorithm is KeyAlgorithm.ED25519
        pair = templates.signing_pair(object_id, algorithm, stored=stored)
        parameters = self._session.create_domain_parameters(
            KeyType.EC_EDWARDS if edwards else KeyType.EC,
            {Attribute.EC_PARAMS: templates.EC_PARAMETERS[algorithm]},
            local=True,
        )
        public, private = parameters.generate_keypair(
            store=stored,
            capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
            mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN if edwards else Mechanism.EC_KEY_PAIR_GEN,
            public_template=attributes(pair.public),
            private_template=attributes(pair.private),
        )
        keep_only_if_secret(private, public, templates.GENERATED_SECRECY)
        return public_key(public, algorithm), private, public

    def _generate_import_once(self, object_id: bytes) -> bytes:
        if self._find(ObjectClass.PRIVATE_KEY, object_id) is not None:
            raise TokenError("OBJECT_EXISTS", f"the token has a key with id {object_id.hex()}", Remedy.KEEP)
        pair = templates.import_pair(object_id)
        public, private = self._session.generate_keypair(
            KeyType.RSA,
            templates.RSA_IMPORT_KEY_BITS,
            store=True,
            capabilities=MechanismFlag.UNWRAP,
            mechanism=Mechanism.RSA_PKCS_KEY_PAIR_GEN,
            public_template=attributes(pair.public),
            private_template=attributes(pair.private),
        )
        keep_only_if_secret(private, public, templates.GENERATED_SECRECY)
        return encode_rsa_public_key(public)

    def _unwrap_once(
        self, object_id: bytes, import_object_id: bytes, mechanism: Mechanism, algorithm: KeyAlgorithm, wrapped: bytes
    ) -> None:
        import_key = self._import_key(import_object_id)
        present = self._find(ObjectClass.SECRET_KEY, object_id)
        template = templates.hmac_secret(object_id, stored=present is None)
        secret = open_blob(import_key, mechanism, template, algorithm, wrapped)
        try:
            check_secrecy(secret, templates.IMPORTED_SECRECY)
            proof = proof_of_secret(secret, algorithm, _COMPARISON)
        except (TokenError, PKCS11Error):
            secret.destroy()
            raise
        if present is None:
            return
        secret.destroy()
        if not hmac.compare_digest(proof, proof_of_secret(present, algorithm, _COMPARISON)):
            raise TokenError("OBJECT_EXISTS", f"{object_id.hex()} holds another secret", Remedy.KEEP)
        check_secrecy(present, templates.IMPORTED_SECRECY)  # a crash may have come before this was checked

    def _import_key(self, import_object_id: bytes) -> pkcs11.Object:
        found = self._find(ObjectClass.PRIVATE_KEY, import_object_id)
        if found is None:
            raise self._absent(import_object_id)
        return found

    def _destroy_once(self, object_id: bytes, algorithm: KeyAlgorithm) -> None:
        found = self._all(object_id)
        for one in found:
            check_algorithm(one, algorithm)
        # The private half first: what a crash leaves is a public half, with which nobody signs.
        for one in sorted(found, key=lambda half: isinstance(half, pkcs11.PublicKey)):
            with self._token.destroying():
                one.destroy()
        left = self._all(object_id)
        if left:
            raise TokenError("OBJECT_LEFT", f"{len(left)} objects still have the id {object_id.hex()}", Remedy.KEEP)
        if not self._token.logged_in(self._session):  # who is not logged in finds no private object, either
            raise TokenError("USER_NOT_LOGGED_IN", "the token ended the login", Remedy.RETIRE)

    def _all(self, object_id: bytes) -> list[pkcs11.Object]:
        return list(self._session.get_objects({Attribute.ID: object_id}))

    def _trial_pair(self, object_id: bytes, algorithm: KeyAlgorithm, message: bytes) -> tuple[bytes, bytes]:
        point, private, public = self._new_pair(object_id, algorithm, stored=False)
        try:
            return point, sign(usable(private), algorithm, message)
        finally:
            private.destroy()
            public.destroy()

    def _trial_hmac(self, object_id: bytes, algorithm: KeyAlgorithm, secret: bytes, message: bytes) -> bytes:
        template = attributes(templates.hmac_secret(object_id, stored=False))
        identity = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.GENERIC_SECRET}
        key = self._session.create_object({**template, **identity, Attribute.VALUE: secret})
        try:
            return sign(usable(key), algorithm, message)
        finally:
            key.destroy()

    def _trial_import(
        self,
        object_id: bytes,
        import_object_id: bytes,
        mechanism: Mechanism,
        algorithm: KeyAlgorithm,
        secret: bytes,
        message: bytes,
    ) -> bytes:
        with self._token.finding():
            import_key = self._import_key(import_object_id)
        template = templates.hmac_secret(object_id, stored=False)
        blob = trial_blob(import_key, algorithm, secret)
        imported = open_blob(import_key, mechanism, template, algorithm, blob)
        try:
            return proof_of_secret(imported, algorithm, message)
        finally:
            imported.destroy()
