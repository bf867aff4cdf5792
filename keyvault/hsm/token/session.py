"""What a lane does in its session: sign, make, import, destroy."""

import hmac
from functools import partial

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.exceptions import PKCS11Error
from pkcs11.types import SignMixin
from pkcs11.util.rsa import encode_rsa_public_key

from keyvault.core.keys import HMAC_ALGORITHMS, KeyAlgorithm, KeyTransport
from keyvault.core.limits import KEYS_MAX
from keyvault.core.marks import Mark
from keyvault.core.wrap import HASHES
from keyvault.hsm import templates
from keyvault.hsm.base import KEPT_OBJECT_IDS
from keyvault.hsm.failures import Remedy, TokenError
from keyvault.hsm.token import seeds
from keyvault.hsm.token.anchors import find_anchor, replace_anchor, try_anchor
from keyvault.hsm.token.handles import PRIVATE_CLASSES, Handles, destroyed_after, wrapped_by
from keyvault.hsm.token.importing import (
    KWP_MECHANISMS,
    open_blob,
    proof_of_secret,
    trial_blob,
    unsupported,
)
from keyvault.hsm.token.keys import (
    attributes,
    check_algorithm,
    check_object_id,
    check_secrecy,
    public_key,
    sign,
    unwrapping_pair,
    usable,
)
from keyvault.hsm.token.library import Token
from keyvault.hsm.token.storing import finished_private, is_sealed_seed, new_pair, store_copy

DIGEST_BYTES = 32
_ECDSA = frozenset({KeyAlgorithm.SECP256K1, KeyAlgorithm.P256})
_COMPARISON = b"keyvault/are-these-secrets-equal/v1"


class Session(Handles):
    """Signs, makes and destroys keys in one lane's session. Every method raises TokenError and nothing else."""

    def __init__(self, token: Token) -> None:
        super().__init__(token)
        self._keys: dict[tuple[bytes, KeyAlgorithm], SignMixin] = {}

    def forget(self) -> None:
        """See Handles."""
        self._keys.clear()

    def sign(self, object_id: bytes, algorithm: KeyAlgorithm, message: bytes) -> bytes:
        """Return r||s (ECDSA over a 32-byte digest, s as it comes), an Ed25519 signature, or an HMAC.

        An HMAC was verified by the token itself: it has no public key, so nobody else can.
        """
        if algorithm in _ECDSA and len(message) != DIGEST_BYTES:
            raise TokenError("INPUT_SIZE", f"ECDSA signs {DIGEST_BYTES} bytes, not {len(message)}", Remedy.KEEP)
        return self.twice(lambda: self._sign_once(object_id, algorithm, message))

    def generate(self, object_id: bytes, algorithm: KeyAlgorithm, *, plaintext_transport: bool = False) -> bytes:
        """Return the public key of the pair with this CKA_ID, generated now if it was not there.

        ``plaintext_transport``: a seed may pass through this process where the token wraps no such key.
        """
        check_object_id(object_id)
        if algorithm in HMAC_ALGORITHMS:
            raise TokenError("NOT_GENERATED", "HMAC secrets are imported, not generated", Remedy.KEEP)
        from_seed = plaintext_transport and seeds.needed(self.token, algorithm)
        with self.token.making():
            # Never twice: if the first attempt failed half way, the second would find what it left.
            if from_seed:
                return self.once(lambda: seeds.generate(self, object_id))
            return self.once(lambda: self._generate_once(object_id, algorithm))

    def generate_import_key(self, object_id: bytes) -> bytes:
        """Return the RSAPublicKey (RFC 8017, DER) of a new import key with this CKA_ID; it must not exist.

        Where keys move by AES-KWP it can be wrapped, and the wrapping key has to be there.
        """
        with self.token.making():
            return self.once(lambda: self._generate_import_once(object_id))

    def unwrap(self, object_id: bytes, import_object_id: bytes, algorithm: KeyAlgorithm, wrapped: bytes) -> None:
        """Make the HMAC secret with this CKA_ID from a blob; done if the same secret is there already.

        It is proven by an HMAC of this algorithm; one that is too short for it does not stay.
        """
        check_object_id(object_id)
        mechanism = self.token.kwp_mechanism
        if mechanism is None:
            raise unsupported()
        with self.token.making():
            self.once(lambda: self._unwrap_once(object_id, import_object_id, mechanism, algorithm, wrapped))

    def destroy(self, object_id: bytes, algorithm: KeyAlgorithm) -> None:
        """Destroy all objects with this CKA_ID, and forget the handles of them; done if there are none.

        A key of another algorithm is not touched, nor is what ``KEPT_OBJECT_IDS`` names.
        """
        check_object_id(object_id)
        if object_id in KEPT_OBJECT_IDS:
            raise TokenError("OBJECT_KEPT", f"{object_id.decode()} is never destroyed", Remedy.KEEP)
        self._keys = {name: key for name, key in self._keys.items() if name[0] != object_id}
        with self.token.making():
            # Destroying what the first attempt destroyed is nothing; so, other than making, it may be done twice.
            self.twice(lambda: self._destroy_once(object_id, algorithm))

    def read_anchor(self) -> Mark | None:
        """Return what the token remembers of the ledger, None if it remembers nothing."""

        def read() -> Mark | None:
            with self.token.finding():
                found = find_anchor(self.session)
                if found is None and not self.token.logged_in(self.session):
                    raise TokenError("USER_NOT_LOGGED_IN", "the token ended the login", Remedy.RETIRE)
                return found

        return self.twice(read)

    def write_anchor(self, mark: Mark) -> None:
        """Let the token remember this, which must come after what it remembers."""
        with self.token.making():
            # As for making a key: if the first attempt failed half way, the next write finds what it left.
            self.once(lambda: replace_anchor(self.session, mark, self.token.destroying))

    def trial_anchor(self) -> bool:
        """Return whether the token keeps data objects."""
        return self.once(lambda: try_anchor(self.session))

    def trial_pair(self, object_id: bytes, algorithm: KeyAlgorithm, message: bytes) -> tuple[bytes, bytes]:
        """Return public key and signature of a key pair made for this session only and destroyed at once."""
        return self.once(lambda: self._trial_pair(object_id, algorithm, message))

    def trial_hmac(self, object_id: bytes, algorithm: KeyAlgorithm, secret: bytes, message: bytes) -> bytes:
        """Return the HMAC under a secret that everybody knows, held in this session only and destroyed at once."""
        return self.once(lambda: self._trial_hmac(object_id, algorithm, secret, message))

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
                answer = self.once(trial)
            except TokenError as error:
                if error.remedy in {Remedy.LATCH, Remedy.RETIRE}:
                    raise
                continue
            if answer == expected:
                self.token.kwp_mechanism = mechanism
                return True
        return False

    def _sign_once(self, object_id: bytes, algorithm: KeyAlgorithm, message: bytes) -> bytes:
        key = self._keys.get((object_id, algorithm)) or self._resolve(object_id, algorithm)
        self.token.begin_using()  # not a with: it is on the path of every signature
        try:
            return sign(key, algorithm, message)
        finally:
            self.token.end_using()

    def _resolve(self, object_id: bytes, algorithm: KeyAlgorithm) -> SignMixin:
        with self.token.finding():
            key = usable(self.found(PRIVATE_CLASSES[algorithm], object_id))
            check_algorithm(key, algorithm)
        if len(self._keys) >= KEYS_MAX:
            self._keys.clear()
        self._keys[object_id, algorithm] = key
        return key

    def _generate_once(self, object_id: bytes, algorithm: KeyAlgorithm) -> bytes:
        private = finished_private(self, object_id)
        public = self.find(ObjectClass.PUBLIC_KEY, object_id)
        if private is None:
            if public is not None:  # a crash between the two halves; without its private half it is worth nothing
                public.destroy()
            return new_pair(self.session, object_id, algorithm, stored=True, way=self.way_out(algorithm))[0]
        if public is None:
            raise TokenError("OBJECT_INCOMPLETE", f"{object_id.hex()} has no public half in the token", Remedy.KEEP)
        check_algorithm(usable(private), algorithm)
        check_secrecy(private, templates.generated_secrecy(self.way_out(algorithm)))
        return public_key(public, algorithm)

    def _generate_import_once(self, object_id: bytes) -> bytes:
        if self.find(ObjectClass.PRIVATE_KEY, object_id) is not None:
            raise TokenError("OBJECT_EXISTS", f"the token has a key with id {object_id.hex()}", Remedy.KEEP)
        moves = self.token.key_transport is KeyTransport.KWP
        way = wrapped_by(self.wrapping_key()) if moves else templates.STAYS
        return encode_rsa_public_key(unwrapping_pair(self.session, object_id, way))

    def _unwrap_once(
        self, object_id: bytes, import_object_id: bytes, mechanism: Mechanism, algorithm: KeyAlgorithm, wrapped: bytes
    ) -> None:
        import_key = self.found(ObjectClass.PRIVATE_KEY, import_object_id)
        present = self.find(ObjectClass.SECRET_KEY, object_id)
        way = self.way_out(algorithm)
        copied = bool(self.token.wraps)  # then the token can copy an object, and leaves none unfinished
        template = templates.hmac_secret(object_id, stored=present is None and not copied, way=way)
        secret = open_blob(import_key, mechanism, template, algorithm, wrapped)
        try:
            check_secrecy(secret, templates.imported_secrecy(way))
            proof = proof_of_secret(secret, algorithm, _COMPARISON)
        except (TokenError, PKCS11Error):
            secret.destroy()
            raise
        if present is None:
            if copied:
                with destroyed_after(secret):
                    store_copy(secret, templates.imported_secrecy(way))
            return
        secret.destroy()
        if not hmac.compare_digest(proof, proof_of_secret(present, algorithm, _COMPARISON)):
            raise TokenError("OBJECT_EXISTS", f"{object_id.hex()} holds another secret", Remedy.KEEP)
        check_secrecy(present, templates.imported_secrecy(way))  # a crash may have come before this was checked

    def _destroy_once(self, object_id: bytes, algorithm: KeyAlgorithm) -> None:
        found = self.everything(object_id)
        for one in found:
            if not is_sealed_seed(one, algorithm):
                check_algorithm(one, algorithm)
        # The half that signs first: with what a crash leaves, a seed or a public half, nobody signs.
        for one in sorted(found, key=lambda half: not isinstance(half, pkcs11.PrivateKey)):
            with self.token.destroying():
                one.destroy()
        left = self.everything(object_id)
        if left:
            raise TokenError("OBJECT_LEFT", f"{len(left)} objects still have the id {object_id.hex()}", Remedy.KEEP)
        if not self.token.logged_in(self.session):  # who is not logged in finds no private object, either
            raise TokenError("USER_NOT_LOGGED_IN", "the token ended the login", Remedy.RETIRE)

    def _trial_pair(self, object_id: bytes, algorithm: KeyAlgorithm, message: bytes) -> tuple[bytes, bytes]:
        point, private, public = new_pair(self.session, object_id, algorithm, stored=False, way=templates.STAYS)
        try:
            return point, sign(usable(private), algorithm, message)
        finally:
            private.destroy()
            public.destroy()

    def _trial_hmac(self, object_id: bytes, algorithm: KeyAlgorithm, secret: bytes, message: bytes) -> bytes:
        template = attributes(templates.hmac_secret(object_id, stored=False))
        identity = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.GENERIC_SECRET}
        key = self.session.create_object({**template, **identity, Attribute.VALUE: secret})
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
        with self.token.finding():
            import_key = self.found(ObjectClass.PRIVATE_KEY, import_object_id)
        template = templates.hmac_secret(object_id, stored=False)
        blob = trial_blob(import_key, algorithm, secret)
        imported = open_blob(import_key, mechanism, template, algorithm, blob)
        try:
            return proof_of_secret(imported, algorithm, message)
        finally:
            imported.destroy()
