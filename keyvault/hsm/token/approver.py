"""An approver's own key in a token of their own: a smart card, the PIV side of a security key, a SoftHSM token.

This is not the enclave's token. The module is loaded into the approver's own command, on the approver's machine: there
is no worker, because nobody else waits for this process, and it has no secret but the PIN that its user gave it. A
module that crashes or hangs takes one command with it (SIGQUIT ends it).

- The PIN is asked for when the module and the token are there and want it, and tried once. A refused PIN ends the
  command: cards lock themselves after few attempts.
- A key that wants the PIN before each signature (CKA_ALWAYS_AUTHENTICATE: PIV's slot for digital signatures) gets it.
- ECDSA is CKM_ECDSA over a SHA-256 digest computed here: not every card has the hash. Ed25519 is CKM_EDDSA.
- Every signature is verified under the token's public half before anybody gets it.
- Sessions stay open until the process ends: closing the one that logged in would log out all others of the process.

It makes no keys, changes nothing, and does not use readers with a key pad of their own.
"""

import atexit
import functools
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pkcs11
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import Attribute, KeyType, ObjectClass
from pkcs11.exceptions import AttributeTypeInvalid, PKCS11Error

from keyvault.core.errors import KeyvaultError
from keyvault.core.ids import MemberName
from keyvault.core.keys import KeyAlgorithm
from keyvault.hsm import templates
from keyvault.hsm.base import SignItem
from keyvault.hsm.cryptoki import Cryptoki, CryptokiError
from keyvault.hsm.failures import Remedy, TokenError
from keyvault.hsm.token.keys import SIGN_MECHANISMS, public_key, translate, usable
from keyvault.hsm.token.library import _LockingLibrary, load_library
from keyvault.hsm.verify import WrongSignature, verified

_ALGORITHMS = (KeyAlgorithm.ED25519, KeyAlgorithm.P256)
_KEY_TYPES = frozenset({KeyType.EC, KeyType.EC_EDWARDS})
_SIGNATURE_BUFFER_BYTES = 128


class TokenKeyProblem(KeyvaultError):
    """The module, the token, the PIN or the key is not what was asked for; the text says which. Nothing was retried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenKey:
    """Which key, in which token, behind which module. Without ``label`` and ``object_id``: the token's only one."""

    module: Path
    token: str
    label: str | None = None
    object_id: bytes | None = None

    def __str__(self) -> str:
        named = "" if self.label is None else f" labelled {self.label!r}"
        numbered = "" if self.object_id is None else f" with id {self.object_id.hex()}"
        return f"key{named}{numbered} in token {self.token!r}"


class ApproverKey:
    """A member's approval key in a token: a MemberSigner. Used by one thread."""

    __slots__ = ("_algorithm", "_key", "_member", "_name", "_pin", "_point")

    def __init__(self, member: MemberName, name: TokenKey, *, pin: Callable[[], str]) -> None:
        """Find the key, after logging in with the PIN that ``pin`` gives, if the process is not logged in yet.

        Raises TokenKeyProblem, and whatever ``pin`` raises.
        """
        with _explained(name):
            session = _logged_in(name, pin)
            private = _only(session, name, ObjectClass.PRIVATE_KEY)
            self._key = usable(private)
            self._algorithm = _algorithm(self._key)
            self._point = public_key(_public_half(session, private, name), self._algorithm)
            self._pin = pin if _wants_pin_each_time(private) else None
        self._member = member
        self._name = name

    @property
    def member(self) -> MemberName:
        """Whose key it is."""
        return self._member

    @property
    def public_key(self) -> bytes:
        """SubjectPublicKeyInfo (DER)."""
        return _subject_public_key_info(self._algorithm, self._point)

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature, or ECDSA P-256 with SHA-256 (ASN.1 DER). Raises TokenKeyProblem."""
        hashed = self._algorithm is KeyAlgorithm.P256
        item = SignItem(
            object_id=b"",
            algorithm=self._algorithm,
            public_key=self._point,
            input=hashlib.sha256(message).digest() if hashed else message,
        )
        pin = None if self._pin is None else self._pin()
        with _explained(self._name):
            raw = self._key.sign(
                item.input, mechanism=SIGN_MECHANISMS[item.algorithm], pin=pin, buffer_size=_SIGNATURE_BUFFER_BYTES
            )
        try:
            value = verified(item, raw).value
        except WrongSignature as error:
            raise TokenKeyProblem(f"{self._name}: gave a signature that {error}; it is thrown away") from None
        return _der(value) if hashed else value


def read_token_public_key(name: TokenKey) -> bytes:
    """Return the SubjectPublicKeyInfo (DER) of a public object of the token, without logging in.

    Raises TokenKeyProblem, also where the token shows its public objects only after a login.
    """
    with _explained(name):
        found = _only(_token(name).open(), name, ObjectClass.PUBLIC_KEY)
        algorithm = _algorithm(found)
        return _subject_public_key_info(algorithm, public_key(found, algorithm))


# Token ------------------------------------------------------------------------------------------------------


@functools.cache
def _library(module: Path) -> _LockingLibrary:
    """Return the module, loaded once in this process."""
    library = load_library(module)
    atexit.register(_close, library.cryptoki)
    return library


def _close(module: Cryptoki) -> None:
    """End the use of a module while Python still runs: python-pkcs11 cannot do it later."""
    with suppress(CryptokiError):  # a card that is gone: the process ends all the same
        module.finalize()
    _library.cache_clear()


def _token(name: TokenKey) -> pkcs11.Token:
    tokens: list[pkcs11.Token] = list(_library(name.module).get_tokens())
    found = [token for token in tokens if token.label == name.token]
    if len(found) == 1:
        return found[0]
    labels = ", ".join(sorted(repr(token.label) for token in tokens if token.label)) or "none"
    raise TokenKeyProblem(
        f"{name.module} has {len(found)} tokens labelled {name.token!r}, not one. It has: {labels}. Is the card in?"
    )


def _logged_in(name: TokenKey, pin: Callable[[], str]) -> pkcs11.Session:
    token = _token(name)
    session = token.open()
    if _library(name.module).cryptoki.logged_in(session.handle):  # type: ignore[attr-defined]  # a Cython field
        return session
    return token.open(user_pin=pin())


@contextmanager
def _explained(name: TokenKey) -> Iterator[None]:
    """Turn what a token raises into TokenKeyProblem."""
    try:
        yield
    except TokenError as error:
        problem = error
    except PKCS11Error as error:
        problem = translate(error)
    except CryptokiError as error:
        problem = TokenError("SESSION_INFO_FAILED", str(error), Remedy.KEEP)
    else:
        return
    # Without its cause, whose frames hold the PIN.
    if problem.remedy is Remedy.LATCH:
        raise TokenKeyProblem(
            f"token {name.token!r} refused the PIN ({problem.code}). It was tried once and is not tried again: "
            "tokens lock themselves after few attempts"
        ) from None
    raise TokenKeyProblem(f"{name}: {problem.explanation} ({problem.code})") from None


# Keys -------------------------------------------------------------------------------------------------------


def _only(session: pkcs11.Session, name: TokenKey, kind: ObjectClass) -> pkcs11.Object:
    wanted: dict[Attribute, object] = {Attribute.CLASS: kind}
    if name.label is not None:
        wanted[Attribute.LABEL] = name.label
    if name.object_id is not None:
        wanted[Attribute.ID] = name.object_id
    found = _elliptic(session, wanted)
    if len(found) == 1:
        return found[0]
    there = ", ".join(_told(each) for each in _elliptic(session, {Attribute.CLASS: kind})) or "none"
    raise TokenKeyProblem(
        f"{name}: {len(found)} fit, not one; say which with object= or id=. Keys on an elliptic curve there: {there}"
    )


def _elliptic(session: pkcs11.Session, wanted: dict[Attribute, object]) -> list[pkcs11.Object]:
    # A list at once: an open search would make the next operation fail (OPERATION_ACTIVE).
    found = list(session.get_objects(wanted))
    return [each for each in found if isinstance(each, pkcs11.Key) and each.key_type in _KEY_TYPES]


def _public_half(session: pkcs11.Session, private: pkcs11.Object, name: TokenKey) -> pkcs11.Object:
    object_id = private[Attribute.ID]
    found = _elliptic(session, {Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.ID: object_id})
    if len(found) == 1:
        return found[0]
    raise TokenKeyProblem(
        f"{name}: the token has {len(found)} public halves with its id ({object_id.hex()}), not one; write the public "
        "key (not only a certificate) into the token under the same id"
    )


def _algorithm(key: pkcs11.Object) -> KeyAlgorithm:
    parameters = key[Attribute.EC_PARAMS]
    for algorithm in _ALGORITHMS:
        if templates.is_on_curve(algorithm, parameters):
            return algorithm
    raise TokenError("OBJECT_MISMATCH", "is neither an Ed25519 nor a P-256 key", Remedy.KEEP)


def _wants_pin_each_time(private: pkcs11.Object) -> bool:
    try:
        return bool(private[Attribute.ALWAYS_AUTHENTICATE])
    except AttributeTypeInvalid:
        return False  # PKCS#11 before 2.20


def _told(key: pkcs11.Object) -> str:
    return f"{key[Attribute.LABEL]!r} (id {key[Attribute.ID].hex()})"


def _subject_public_key_info(algorithm: KeyAlgorithm, point: bytes) -> bytes:
    key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey
    if algorithm is KeyAlgorithm.ED25519:
        key = ed25519.Ed25519PublicKey.from_public_bytes(point)
    else:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _der(value: bytes) -> bytes:
    return encode_dss_signature(int.from_bytes(value[:32], "big"), int.from_bytes(value[32:], "big"))
