"""A lane's session as such: done once or twice, given up, searched. What is done in it is in the modules beside."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pkcs11
from pkcs11 import Attribute, ObjectClass
from pkcs11.exceptions import AttributeTypeInvalid, PKCS11Error

from keyvault.core.keys import HMAC_ALGORITHMS, KeyAlgorithm, KeyTransport
from keyvault.hsm import templates
from keyvault.hsm.base import WRAPPING_KEY_OBJECT_ID
from keyvault.hsm.failures import Remedy, TokenError
from keyvault.hsm.token.keys import T, check_secrecy, translated
from keyvault.hsm.token.library import Token

PRIVATE_CLASSES = {
    algorithm: ObjectClass.SECRET_KEY if algorithm in HMAC_ALGORITHMS else ObjectClass.PRIVATE_KEY
    for algorithm in KeyAlgorithm
}


class Handles:
    """One lane's session. Used by one thread."""

    def __init__(self, token: Token) -> None:
        self.token = token
        self.session = token.open_session()

    def forget(self) -> None:
        """Let go of every handle that was kept: the session is given up."""

    def once(self, operation: Callable[[], T]) -> T:
        """Do it; after an error that costs the session, the next operation has a new one. Raises TokenError."""
        try:
            return translated(operation)
        except TokenError as error:
            if error.remedy is Remedy.REOPEN:
                self._reopen()
            raise

    def twice(self, operation: Callable[[], T]) -> T:
        """Do it; after an error that costs the session, once more in a new session. Raises TokenError."""
        try:
            return self.once(operation)
        except TokenError as error:
            if error.remedy is not Remedy.REOPEN:
                raise
        try:
            return translated(operation)
        except TokenError as error:
            if error.remedy is Remedy.REOPEN:
                raise TokenError(error.code, f"{error.explanation}; also in a new session", Remedy.RETIRE) from error
            raise

    def find(self, kind: ObjectClass, object_id: bytes) -> pkcs11.Object | None:
        """Return the object of this class and CKA_ID, if there is one. Raises TokenError if there are more."""
        # A list at once: an open search would make the next operation fail (OPERATION_ACTIVE).
        found = list(self.session.get_objects({Attribute.CLASS: kind, Attribute.ID: object_id}))
        if len(found) > 1:
            raise TokenError("OBJECT_AMBIGUOUS", f"{len(found)} objects have the id {object_id.hex()}", Remedy.KEEP)
        return found[0] if found else None

    def found(self, kind: ObjectClass, object_id: bytes) -> pkcs11.Object:
        """Return the object of this class and CKA_ID, which must be there. Raises TokenError."""
        found = self.find(kind, object_id)
        if found is None:
            raise self.absent(object_id)
        return found

    def everything(self, object_id: bytes) -> list[pkcs11.Object]:
        """Return all objects with this CKA_ID."""
        return list(self.session.get_objects({Attribute.ID: object_id}))

    def absent(self, object_id: bytes) -> TokenError:
        """Return why an object was not found: it is not there, or the login is gone."""
        if not self.token.logged_in(self.session):
            return TokenError("USER_NOT_LOGGED_IN", "the token ended the login", Remedy.RETIRE)
        return TokenError("OBJECT_NOT_FOUND", f"the token has no key with id {object_id.hex()}", Remedy.KEEP)

    def wrapping_key(self) -> pkcs11.Object:
        """Return the wrapping key, read back as what it must be (I6). Raises TokenError."""
        found = self.find(ObjectClass.SECRET_KEY, WRAPPING_KEY_OBJECT_ID)
        if found is None:
            raise TokenError(
                "WRAPPING_KEY_MISSING",
                "this token has no wrapping key: create it, or import that of another token, before keys are made here",
                Remedy.KEEP,
            )
        check_secrecy(found, templates.WRAPPING_SECRECY)
        return found

    def way_out(self, algorithm: KeyAlgorithm) -> templates.WayOut:
        """Return how a key that is made here may leave. Raises TokenError, PKCS11Error."""
        if self.token.key_transport is not KeyTransport.KWP or algorithm not in self.token.wraps:
            return templates.STAYS
        return wrapped_by(self.wrapping_key())

    def _reopen(self) -> None:
        self.forget()
        self.token.close_session(self.session)
        self.session = self.token.open_session()


def wrapped_by(wrapping_key: pkcs11.Object) -> templates.WayOut:
    """Return the way out under this key: if the security officer trusts it, under trusted keys only.

    Trust is set with the vendor's tools. Tokens that do not know it read as not trusted.
    """
    try:
        trusted = bool(wrapping_key[Attribute.TRUSTED])
    except AttributeTypeInvalid:
        trusted = False
    return templates.WayOut(wrapped=True, with_trusted=trusted)


@contextmanager
def destroyed_after(made: pkcs11.Object, *more: pkcs11.Object) -> Iterator[None]:
    """Destroy objects of this session when the block is left. Raises TokenError if the token does not.

    Then this process ends, and the objects with it.
    """
    try:
        yield
    finally:
        for one in (made, *more):
            try:
                one.destroy()
            except PKCS11Error as error:
                explanation = "the token does not destroy a key that was meant for one operation"
                raise TokenError("SESSION_KEY_LEFT", explanation, Remedy.RETIRE) from error
